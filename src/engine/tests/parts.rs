//! Parts: workers that move with the service they are part of.

use super::stage::*;
use crate::model::command::{Command, PromoteTo};
use crate::model::service::Server;
use crate::model::strategy::{Recreate, Rolling, Strategy};
use crate::model::{
    Entry, Phase, Placement, PlacementState, Rollout, ServerName, ServiceSpec, Status,
};

fn job(number: u16) -> ServerName {
    format!("job{number}").parse().expect("a valid name")
}

pub(crate) fn at() -> Placement {
    "shop-jobs@prod".parse().expect("a valid placement")
}

/// A web service, and so many workers that it is deployed with.
pub(crate) fn with_jobs(instances: u32, strategy: Strategy) -> ServiceSpec {
    let web = spec();
    let jobs = ServiceSpec {
        placement: at(),
        balancers: Vec::new(),
        servers: (1..=instances as u16 + 1)
            .map(|number| Server {
                name: job(number),
                address: ([127, 0, 0, 1], 19_000 + number).into(),
                runtime: None,
            })
            .collect(),
        instances,
        strategy,
        part_of: Some("shop".parse().expect("a valid name")),
        ..web.clone()
    };
    ServiceSpec {
        parts: vec![jobs],
        ..web
    }
}

pub(crate) fn rolling() -> Strategy {
    Strategy::Rolling(Rolling {
        batch: 1,
        max_unavailable: 0,
        max_surge: 1,
        min_healthy_ms: 3_000,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: 60_000,
    })
}

fn jobs(stage: &Stage) -> &PlacementState {
    &stage.state.placements[&at()]
}

fn open(stage: &Stage) -> Option<&Rollout> {
    jobs(stage).rollout.as_ref()
}

/// Workers that run, of a version.
fn working(stage: &Stage, version: &str) -> usize {
    let is_it = |name: &ServerName| {
        let there = stage.runtime.instances.get(name)?;
        let release = jobs(stage).releases.get(&there.release)?;
        (there.exited.is_none() && release.version.as_str() == version).then_some(())
    };
    let names = stage.spec.parts[0].servers.iter();
    names.filter_map(|server| is_it(&server.name)).count()
}

fn both_ended(stage: &Stage) -> bool {
    stage.ended().is_some() && open(stage).is_none()
}

/// v1 of both is verified.
pub(crate) fn stands(spec: ServiceSpec) -> Stage {
    let mut stage = stable_with(spec);
    stage.until("v1 of the workers too", |stage| {
        jobs(stage).stable().is_some() && both_ended(stage)
    });
    stage
}

#[test]
fn a_first_deploy_brings_the_service_and_then_its_workers() {
    let mut stage = empty_with(with_jobs(2, rolling()));
    stage.deploy("v1");
    stage.until("both are done", both_ended);
    let when = |is_it: &dyn Fn(&Entry) -> bool| stage.entries.iter().position(is_it);
    let served = when(
        &|entry| matches!(entry, Entry::WeightSettled { placement, .. } if *placement != at()),
    );
    let begun = when(
        &|entry| matches!(entry, Entry::InstanceIntended { placement, .. } if *placement == at()),
    );
    assert!(served.is_some() && served < begun, "the lead goes first");
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(working(&stage, "v1"), 2);
    let (lead, part) = (stage.place().stable(), jobs(&stage).stable());
    let part = part.and_then(|id| jobs(&stage).releases[&id].part_of);
    assert_eq!((lead.is_some(), part), (true, lead), "one release of both");
}

#[test]
fn workers_follow_up_to_the_share_of_the_service_and_no_further() {
    let mut stage = stands(with_jobs(4, rolling()));
    stage.deploy("v2");
    let mut most = Vec::new();
    while !both_ended(&stage) {
        stage.tick();
        let share = stage
            .place()
            .share(stage.place().canary().unwrap_or_else(|| {
                // It is stable by now.
                stage.place().stable().expect("one is")
            }));
        most.push((share, working(&stage, "v2")));
    }
    let up_to = |percent: u8| {
        let seen = most.iter().filter(|(share, _)| *share == percent);
        seen.map(|(_, new)| *new).max()
    };
    assert_eq!(up_to(0), Some(0), "nothing moves before the first share");
    assert_eq!(up_to(5), Some(1), "one of four shows how it works");
    assert_eq!(up_to(25), Some(1));
    assert_eq!(up_to(100), Some(4));
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    stage.pass_ms(60_000);
    assert_eq!((working(&stage, "v1"), working(&stage, "v2")), (0, 4));
}

#[test]
fn the_next_step_waits_until_the_workers_are_there() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage.deploy("v2");
    stage.until("the first share", Stage::is_soaking);
    // The new worker takes its time, but not too much of it.
    stage.sick.insert(job(3));
    stage.pass_ms(25_000);
    assert_eq!(stage.share("v2"), 5, "its soak is over");
    let look = crate::engine::Look::at(&stage.state, &stage.world, &stage.spec.placement);
    let look = look.expect("it is known");
    let waits = crate::engine::parts::awaited(&look, stage.rollout());
    assert!(waits.is_some_and(|why| why.as_str().contains("shop-jobs")));
    refused(
        stage.promote(PromoteTo::Full).and_then(|()| {
            stage.until("all traffic", |stage| {
                stage.share("v2") == 100 && stage.is_soaking()
            });
            stage.promote(PromoteTo::Full)
        }),
        "shop-jobs",
    );
    stage.sick.clear();
    stage.until("both are done", both_ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_worker_that_fails_takes_both_back() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage.deploy("v2");
    stage.until("a new worker", |stage| {
        working(stage, "v2") == 1
            && open(stage).is_some_and(|open| matches!(open.phase, Phase::Soaking { .. }))
    });
    let new = jobs(&stage).servers_of(open(&stage).expect("open").release);
    let (server, _) = new.into_iter().next().expect("one stands");
    let server = server.clone();
    let there = stage.runtime.instances.get_mut(&server).expect("it runs");
    there.exited = Some("exit status 1".into());
    stage.until("both are back", both_ended);
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!(stage.share("v1"), 100);
    stage.until("the workers are whole", |stage| working(stage, "v1") == 2);
    let last = stage.place().last.as_ref().expect("it ended");
    assert!(
        last.because.as_str().starts_with("shop-jobs: instance"),
        "{}",
        last.because
    );
}

#[test]
fn a_bad_share_takes_the_workers_back_too() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage.errors.insert("v2".to_owned(), 30);
    stage.deploy("v2");
    stage.until("both are back", both_ended);
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    stage.until("the workers are whole", |stage| {
        (working(stage, "v1"), working(stage, "v2")) == (2, 0)
    });
}

#[test]
fn one_abort_takes_all_back_whoever_is_named() {
    for placement in [spec().placement, at()] {
        let mut stage = stands(with_jobs(2, rolling()));
        stage.deploy("v2");
        stage.until("a new worker", |stage| working(stage, "v2") == 1);
        let reason = None;
        stage
            .ask(Command::Abort { placement, reason })
            .expect("an abort is taken");
        stage.until("both are back", both_ended);
        assert_eq!(stage.share("v1"), 100);
        stage.until("the workers are whole", |stage| {
            (working(stage, "v1"), working(stage, "v2")) == (2, 0)
        });
    }
}

#[test]
fn what_runs_once_is_replaced_once_the_service_has_all_traffic() {
    let mut stage = stands(with_jobs(
        1,
        Strategy::Recreate(Recreate { watch_ms: 2_000 }),
    ));
    stage.deploy("v2");
    while !both_ended(&stage) {
        stage.tick();
        let both = working(&stage, "v1") + working(&stage, "v2");
        assert!(both <= 1, "never two of them");
        if stage.share("v2") < 100 {
            assert_eq!(working(&stage, "v2"), 0, "the old one works on");
        }
    }
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(working(&stage, "v2"), 1);
}

#[test]
fn a_rollback_takes_the_workers_of_that_release_along() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage.deploy("v2");
    stage.until("both are done", both_ended);
    stage.rollback(None).expect("a rollback is taken");
    stage.until("both are back", both_ended);
    assert_eq!(stage.share("v1"), 100);
    stage.until("the workers too", |stage| {
        (working(stage, "v1"), working(stage, "v2")) == (2, 0)
    });
    let (lead, part) = (stage.place().stable(), jobs(&stage).stable());
    let part = part.and_then(|id| jobs(&stage).releases[&id].part_of);
    assert_eq!(part, lead, "one release of both");
}

#[test]
fn a_restarted_engine_goes_on_with_both() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage.deploy("v2");
    stage.until("a new worker", |stage| working(stage, "v2") == 1);
    stage.restart();
    stage.until("both are done", both_ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    let is_it = |entry: &Entry| matches!(entry, Entry::RolloutFinished { placement, status: Status::Succeeded, .. } if *placement == at());
    assert!(stage.is_recorded(is_it));
}

#[test]
fn a_part_is_not_moved_alone() {
    let mut stage = stands(with_jobs(2, rolling()));
    let part = stage.spec.parts[0].clone();
    let deploy = Command::Deploy {
        spec: Box::new(part.clone()),
        version: "v9".parse().expect("a version"),
        reason: None,
        request_id: None,
    };
    refused(stage.ask(deploy), "is a part of shop; deploy that one");
    let rollback = Command::Rollback {
        spec: Box::new(part),
        to: None,
        reason: None,
        urgency: crate::model::Urgency::Ordinary,
    };
    refused(stage.ask(rollback), "is a part of shop; roll back that one");
    stage.deploy("v2");
    let promote = |stage: &mut Stage| {
        let revision = open(stage).expect("it is open").revision;
        stage.ask(Command::Promote {
            placement: at(),
            to: PromoteTo::Next,
            revision,
        })
    };
    stage.until("the workers watch", |stage| {
        open(stage).is_some_and(|open| matches!(open.phase, Phase::Soaking { .. }))
    });
    refused(
        promote(&mut stage),
        "moves with shop@prod (#3); promote that one",
    );
}

#[test]
fn a_worker_that_is_restarted_is_in_the_way_of_a_deploy() {
    let mut stage = stands(with_jobs(2, rolling()));
    stage
        .ask(Command::Restart {
            placement: at(),
            reason: None,
        })
        .expect("a restart is taken");
    let deploy = Command::Deploy {
        spec: Box::new(stage.spec.clone()),
        version: "v2".parse().expect("a version"),
        reason: None,
        request_id: None,
    };
    refused(stage.ask(deploy), "of shop-jobs@prod is still open");
    assert!(!stage.is_open(), "nothing of it was begun");
}

#[test]
fn a_rollback_goes_on_without_a_worker_that_fails_and_that_one_follows_alone() {
    let mut stage = stands(with_jobs(
        1,
        Strategy::Recreate(Recreate { watch_ms: 2_000 }),
    ));
    stage.deploy("v2");
    stage.until("both are done", both_ended);
    stage.sick.insert(job(1));
    stage.rollback(None).expect("a rollback is taken");
    stage.until("the traffic is back", |stage| stage.share("v1") == 100);
    stage.until("the workers gave up", both_ended);
    assert_eq!(
        stage.ended(),
        Some(Status::Succeeded),
        "traffic comes first"
    );
    stage.sick.clear();
    stage.until("the old worker works on", |stage| working(stage, "v2") == 1);
    let rollback = Command::Rollback {
        spec: Box::new(stage.spec.parts[0].clone()),
        to: None,
        reason: None,
        urgency: crate::model::Urgency::Ordinary,
    };
    stage
        .ask(rollback)
        .expect("what was left behind may follow");
    stage.until("the workers are back too", |stage| {
        open(stage).is_none() && working(stage, "v1") == 1
    });
}
