//! Rolling: instances change hands a batch at a time.

use crate::engine::tests::stage::*;
use crate::model::command::PromoteTo;
use crate::model::entry::IdleProof;
use crate::model::service::Server;
use crate::model::state::HoldReason;
use crate::model::strategy::{Rolling, Strategy};
use crate::model::{Entry, ServiceSpec, Status};

pub(super) fn settings() -> Rolling {
    Rolling {
        batch: 1,
        max_unavailable: 0,
        max_surge: 1,
        min_healthy_ms: 5_000,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: 120_000,
    }
}

/// Three instances on so many servers.
pub(super) fn rolls(servers: u16, settings: Rolling) -> ServiceSpec {
    let mut spec = spec();
    spec.instances = 3;
    spec.servers = (1..=servers)
        .map(|number| Server {
            name: server(usize::from(number)),
            address: ([127, 0, 0, 1], 18_000 + number).into(),
            runtime: None,
        })
        .collect();
    spec.strategy = Strategy::Rolling(settings);
    spec
}

/// The fewest instances that had traffic while something went on.
fn fewest_serving(stage: &mut Stage, until: impl Fn(&Stage) -> bool) -> usize {
    let mut fewest = usize::MAX;
    for _ in 0..3_000 {
        if until(stage) {
            return fewest;
        }
        stage.tick();
        let serving = stage.balancer.servers.iter().filter(|(server, view)| {
            let there = stage.runtime.instances.get(*server);
            view.effective_weight() > 0 && there.is_some_and(|there| there.exited.is_none())
        });
        fewest = fewest.min(serving.count());
    }
    panic!(
        "it did not end: {:#?}",
        stage.entries.iter().rev().take(8).collect::<Vec<_>>()
    );
}

fn ended(stage: &Stage) -> bool {
    stage.ended().is_some()
}

#[test]
fn with_a_surge_as_many_serve_as_ever() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.deploy("v2");
    let fewest = fewest_serving(&mut stage, ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(fewest, 3);
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (0, 3));
    assert_eq!(stage.share("v2"), 100);
}

#[test]
fn without_a_free_server_one_is_missing_and_no_more() {
    let in_place = Rolling {
        max_unavailable: 1,
        max_surge: 0,
        ..settings()
    };
    let mut stage = stable_with(rolls(3, in_place));
    stage.deploy("v2");
    let fewest = fewest_serving(&mut stage, ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(fewest, 2);
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (0, 3));
}

#[test]
fn a_batch_of_two_takes_two_batches() {
    let pairs = Rolling {
        batch: 2,
        max_surge: 2,
        ..settings()
    };
    let mut stage = stable_with(rolls(5, pairs));
    stage.deploy("v2");
    let fewest = fewest_serving(&mut stage, ended);
    assert_eq!((stage.ended(), fewest), (Some(Status::Succeeded), 3));
    assert_eq!(stage.count("batch_begun"), 1);
}

#[test]
fn it_pauses_after_the_first_batch_until_a_person_goes_on() {
    let careful = Rolling {
        pause_after_first: true,
        ..settings()
    };
    let mut stage = stable_with(rolls(4, careful));
    stage.deploy("v2");
    stage.until("the pause", |stage| stage.held().is_some());
    stage.pass_ms(60_000);
    assert_eq!(stage.running("v2"), 1);
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::PauseStep)
    );
    refused(stage.promote(PromoteTo::Full), "batch by batch");
    stage.promote(PromoteTo::Next).expect("taken");
    stage.until("the end", ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_failing_version_is_taken_back_and_only_what_was_replaced_is_restored() {
    let mut stage = stable_with(rolls(4, settings()));
    let untouched = stage.place().instances[&server(3)].since_ms;
    stage.errors.insert("v2".to_owned(), 40);
    stage.deploy("v2");
    stage.until("the end", ended);
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (3, 0));
    assert_eq!(stage.place().instances[&server(3)].since_ms, untouched);
}

#[test]
fn an_abort_in_the_last_batch_brings_all_back() {
    for (servers, surge, missing) in [(4, 1, 0), (3, 0, 1)] {
        let how = Rolling {
            max_surge: surge,
            max_unavailable: missing,
            min_healthy_ms: 60_000,
            ..settings()
        };
        let mut stage = stable_with(rolls(servers, how));
        stage.deploy("v2");
        stage.until("all new", |stage| stage.share("v2") == 100);
        stage.abort().expect("an abort is always taken");
        let fewest = fewest_serving(&mut stage, ended);
        assert!(fewest >= 1, "somebody always serves");
        assert_eq!(stage.ended(), Some(Status::RolledBack));
        stage.pass_ms(60_000);
        assert_eq!(
            (stage.running("v1"), stage.running("v2")),
            (3, 0),
            "{servers} servers"
        );
        assert_eq!(stage.share("v1"), 100);
    }
}

#[test]
fn an_instance_that_never_comes_up_ends_it_and_nothing_is_lost() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.sick.insert(server(4));
    stage.deploy("v2");
    let fewest = fewest_serving(&mut stage, ended);
    assert_eq!((stage.ended(), fewest), (Some(Status::Failed), 3));
}

#[test]
fn a_restarted_engine_goes_on_with_the_batch() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.deploy("v2");
    stage.until("the second batch", |stage| stage.count("batch_begun") == 1);
    stage.restart();
    let fewest = fewest_serving(&mut stage, ended);
    assert_eq!((stage.ended(), fewest), (Some(Status::Succeeded), 3));
}

#[test]
fn a_rollback_without_servers_for_both_goes_batch_by_batch_without_waiting() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.deploy("v2");
    stage.until("the end", ended);
    stage.pass_ms(30_000);
    stage.rollback(None).expect("taken");
    let before_ms = stage.world.now_ms;
    let fewest = fewest_serving(&mut stage, |stage| !stage.is_open());
    assert_eq!((stage.ended(), fewest), (Some(Status::Succeeded), 3));
    assert!(stage.world.now_ms - before_ms < 15_000, "no soaks");
    stage.pass_ms(30_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (3, 0));
}

#[test]
fn a_batch_that_cannot_begin_is_refused_with_the_mend() {
    let mut spec = rolls(3, settings());
    spec.strategy = Strategy::Rolling(settings());
    let mut stage = empty_with(spec);
    let spec = Box::new(stage.spec.clone());
    let result = stage.ask(crate::model::Command::Deploy {
        spec,
        version: "v1".parse().expect("a version"),
        reason: None,
        request_id: None,
    });
    refused(result, "max_unavailable = 1");
}

#[test]
fn a_batch_that_would_break_the_minimum_is_refused() {
    let of = |batch, max_surge, max_unavailable, servers| {
        let settings = Rolling {
            batch,
            max_surge,
            max_unavailable,
            ..settings()
        };
        let mut stage = empty_with(rolls(servers, settings));
        let spec = Box::new(stage.spec.clone());
        stage.ask(crate::model::Command::Deploy {
            spec,
            version: "v1".parse().expect("a version"),
            reason: None,
            request_id: None,
        })
    };
    refused(of(2, 1, 0, 6), "needs 2 servers beside the 3 instances");
    refused(of(2, 2, 0, 4), "needs 2 servers beside the 3 instances");
    refused(of(3, 1, 1, 6), "lower rolling.batch");
    refused(
        of(1, 1, 0, 2),
        "3 instances are needed but there are only 2 servers",
    );
    for (batch, surge, missing, servers) in [(2, 2, 0, 5), (2, 1, 1, 4), (2, 0, 2, 3)] {
        assert!(of(batch, surge, missing, servers).is_ok());
    }
}

#[test]
fn a_batch_of_two_that_is_not_refused_ends() {
    for (max_surge, max_unavailable, servers) in [(2, 0, 5), (1, 1, 4), (0, 2, 3)] {
        let mut stage = stable_with(rolls(
            servers,
            Rolling {
                batch: 2,
                max_surge,
                max_unavailable,
                ..settings()
            },
        ));
        stage.deploy("v2");
        stage.until("the end", ended);
        assert_eq!(
            stage.ended(),
            Some(Status::Succeeded),
            "{max_surge} {servers}"
        );
    }
}

#[test]
fn too_late_is_said_with_the_limit_that_was_passed() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.sick.insert(server(4));
    stage.deploy("v2");
    stage.until("the end", ended);
    let because = &stage.place().last.as_ref().expect("it ended").because;
    assert!(because.as_str().contains("within 120 s"), "{because}");
}

#[test]
fn workers_roll_without_a_balancer() {
    let mut spec = rolls(4, settings());
    spec.balancers.clear();
    let mut stage = stable_with(spec);
    stage.deploy("v2");
    stage.until("the end", ended);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (0, 3));
    assert!(!stage.is_recorded(|entry| matches!(entry, Entry::Held { .. })));
    let waited = |entry: &Entry| {
        matches!(
            entry,
            Entry::StopIntended {
                proof: IdleProof::Timeout,
                ..
            }
        )
    };
    assert!(!stage.is_recorded(waited), "nobody sends a worker requests");
}

#[test]
fn workers_are_replaced_one_by_one_too() {
    let mut spec = rolls(4, settings());
    spec.balancers.clear();
    let mut stage = stable_with(spec);
    stage.deploy("v2");
    let mut fewest = usize::MAX;
    while !ended(&stage) {
        stage.tick();
        fewest = fewest.min(stage.running("v1") + stage.running("v2"));
    }
    assert_eq!(fewest, 3);
}
