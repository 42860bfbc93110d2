//! Restart, scale, drain, undrain, drill.

use super::rolling::{rolls, settings};
use crate::engine::tests::stage::*;
use crate::model::state::InstanceStatus;
use crate::model::strategy::Rolling;
use crate::model::{Command, RolloutKind, ServiceSpec, Status};

fn restart(stage: &mut Stage) {
    let placement = stage.placement();
    stage
        .ask(Command::Restart {
            placement,
            reason: None,
        })
        .expect("taken");
}

fn scale(stage: &mut Stage, instances: u32) -> Result<(), crate::model::Refusal> {
    let placement = stage.placement();
    stage.ask(Command::Scale {
        placement,
        instances,
        reason: None,
    })
}

fn drain(stage: &mut Stage, number: usize) -> Result<(), crate::model::Refusal> {
    let placement = stage.placement();
    stage.ask(Command::Drain {
        placement,
        server: server(number),
        reason: None,
    })
}

fn begun(stage: &Stage) -> Vec<u64> {
    let all = stage.runtime.instances.values();
    let mut begun: Vec<_> = all.map(|there| there.started_ms).collect();
    begun.sort_unstable();
    begun
}

#[test]
fn a_restart_begins_every_instance_anew_and_as_many_serve_as_ever() {
    for spec in [
        spec(),
        rolls(4, settings()),
        rolls(
            3,
            Rolling {
                max_unavailable: 1,
                max_surge: 0,
                ..settings()
            },
        ),
    ] {
        let in_place = spec.servers.len() == spec.instances as usize;
        let mut stage = stable_with(spec);
        stage.pass_ms(5_000);
        let before = begun(&stage);
        let release = stage.place().stable();
        restart(&mut stage);
        let mut fewest = usize::MAX;
        for _ in 0..3_000 {
            if !stage.is_open() {
                break;
            }
            stage.tick();
            let serving = stage.balancer.servers.iter().filter(|(server, view)| {
                view.effective_weight() > 0 && stage.runtime.instances.contains_key(*server)
            });
            fewest = fewest.min(serving.count());
        }
        assert_eq!(stage.ended(), Some(Status::Succeeded));
        assert_eq!(stage.place().stable(), release, "it is the same release");
        let after = begun(&stage);
        assert_eq!(after.len(), before.len());
        assert!(
            after.iter().all(|at| at > before.last().expect("some")),
            "{before:?} {after:?}"
        );
        let least = before.len() - usize::from(in_place);
        assert!(fewest >= least, "{fewest} of {least} served");
    }
}

#[test]
fn a_restarted_instance_is_up_by_its_own_probes_only() {
    let in_place = Rolling {
        max_unavailable: 1,
        max_surge: 0,
        ..settings()
    };
    let mut stage = stable_with(rolls(3, in_place));
    stage.pass_ms(5_000);
    restart(&mut stage);
    let (begun, up) = (stage.count("instance_intended"), stage.count("instance_up"));
    (1..=3).for_each(|number| {
        stage.sick.insert(server(number));
    });
    stage.until("a new instance in the place of an old one", |stage| {
        stage.count("instance_intended") > begun
    });
    stage.pass_ms(20_000);
    assert_eq!(stage.count("instance_up"), up, "it never passed a probe");
}

#[test]
fn a_restart_that_is_aborted_leaves_the_rest_and_stands_whole() {
    let mut stage = stable_with(rolls(4, settings()));
    restart(&mut stage);
    stage.until("the first begins", |stage| stage.count("drain_begun") > 0);
    stage.abort().expect("taken");
    stage.until("the end", |stage| !stage.is_open());
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.share("v1")), (3, 100));
}

#[test]
fn more_instances_come_up_and_fewer_are_drained() {
    let mut stage = stable_with(rolls(5, settings()));
    scale(&mut stage, 4).expect("taken");
    stage.until("the fourth serves", |stage| {
        let serving = stage.balancer.servers.values();
        serving.filter(|view| view.effective_weight() > 0).count() == 4
    });
    scale(&mut stage, 2).expect("taken");
    stage.until("two are left", |stage| stage.running("v1") == 2);
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn a_size_the_servers_do_not_allow_is_refused_with_the_most_they_do() {
    let mut stage = stable();
    refused(scale(&mut stage, 3), "at most 2");
    refused(scale(&mut stage, 0), "at least 1");
}

#[test]
fn a_rolling_service_keeps_the_servers_that_its_batches_need() {
    let of = |batch, max_unavailable| Rolling {
        batch,
        max_surge: batch,
        max_unavailable,
        ..settings()
    };
    let mut stage = stable_with(rolls(6, of(2, 0)));
    refused(scale(&mut stage, 5), "at most 4");
    assert!(scale(&mut stage, 4).is_ok());
    let mut stage = stable_with(rolls(6, of(2, 1)));
    refused(scale(&mut stage, 6), "at most 5");
    assert!(scale(&mut stage, 5).is_ok());
}

#[test]
fn a_drained_server_gets_nothing_until_it_is_undrained() {
    let mut stage = stable();
    drain(&mut stage, 1).expect("taken");
    stage.until("it is out", |stage| {
        stage.balancer.servers[&server(1)].effective_weight() == 0
    });
    stage.pass_ms(30_000);
    assert_eq!(stage.running("v1"), 2, "its instance stays");
    refused(drain(&mut stage, 2), "last healthy instance");
    let placement = stage.placement();
    let back = Command::Undrain {
        placement,
        server: server(1),
    };
    stage.ask(back).expect("taken");
    stage.until("it is in", |stage| {
        stage.balancer.servers[&server(1)].effective_weight() > 0
    });
}

#[test]
fn a_drill_goes_to_the_first_step_and_back() {
    let mut stage = stable();
    let placement = stage.placement();
    let drill = Command::Drill {
        placement,
        reason: None,
    };
    stage.ask(drill).expect("taken");
    stage.until("the first share", |stage| {
        let place = stage.place();
        place.canary().is_some_and(|id| place.share(id) == 5)
    });
    assert_eq!(stage.rollout().kind, RolloutKind::Drill);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    stage.pass_ms(60_000);
    assert_eq!(stage.running("v1"), 2);
}

#[test]
fn none_of_them_begins_beside_an_open_rollout() {
    let mut stage = soaking();
    refused(scale(&mut stage, 1), "still open");
    let placement = stage.placement();
    let restart = Command::Restart {
        placement,
        reason: None,
    };
    refused(stage.ask(restart), "still open");
}

#[test]
fn a_restart_does_not_end_what_serves_for_what_somebody_drained() {
    let mut stage = stable_with(ServiceSpec {
        instances: 1,
        ..spec()
    });
    stage.stubborn = true;
    restart(&mut stage);
    stage.until("the new instance is up", |stage| {
        matches!(stage.status_of(2), Some(InstanceStatus::Up))
    });
    drain(&mut stage, 2).expect("the other one serves");
    stage.stubborn = false;
    stage.sick.insert(server(1));
    stage.pass_ms(30_000);
    assert!(
        stage.place().instances.contains_key(&server(1)),
        "nobody else may serve"
    );
}
