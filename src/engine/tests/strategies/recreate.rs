//! Recreate: never two versions at once, and the time without service is measured.

use crate::engine::tests::stage::*;
use crate::model::entry::IdleProof;
use crate::model::service::Server;
use crate::model::strategy::{Recreate, Strategy};
use crate::model::{Entry, ServiceSpec, Status};

fn singleton() -> ServiceSpec {
    let mut spec = spec();
    spec.instances = 1;
    spec.servers = vec![Server {
        name: server(1),
        address: ([127, 0, 0, 1], 18_001).into(),
        runtime: None,
    }];
    spec.strategy = Strategy::Recreate(Recreate { watch_ms: 10_000 });
    spec
}

fn never_two(stage: &mut Stage) {
    for _ in 0..3_000 {
        if stage.ended().is_some() {
            return;
        }
        stage.tick();
        let both = stage.running("v1") > 0 && stage.running("v2") > 0;
        assert!(!both, "two versions ran at once");
    }
    panic!(
        "it did not end: {:#?}",
        stage.entries.iter().rev().take(8).collect::<Vec<_>>()
    );
}

#[test]
fn the_old_version_ends_before_the_new_one_begins() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    never_two(&mut stage);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!((stage.share("v2"), stage.running("v2")), (100, 1));
}

#[test]
fn a_long_drain_is_not_held_against_the_new_version() {
    let mut spec = singleton();
    spec.health.start_timeout_ms = 10_000;
    spec.canary.drain_timeout_ms = 30_000;
    let mut stage = stable_with(spec);
    let view = stage.balancer.servers.get_mut(&server(1));
    view.expect("its server").sessions = 1;
    stage.deploy("v2");
    never_two(&mut stage);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    let late = |entry: &Entry| {
        matches!(
            entry,
            Entry::StopIntended {
                proof: IdleProof::Timeout,
                ..
            }
        )
    };
    assert!(stage.is_recorded(late));
}

#[test]
fn the_time_without_service_is_measured() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the watch", Stage::is_soaking);
    let outage = stage.rollout().outage.expect("it is measured");
    let until_ms = outage.until_ms.expect("it is over");
    assert!(until_ms > outage.since_ms && until_ms - outage.since_ms < 5_000);
    stage.until("the end", |stage| stage.ended().is_some());
    let last = stage.place().last.as_ref().expect("it ended");
    assert!(
        last.because.as_str().ends_with("s without service"),
        "{}",
        last.because
    );
}

#[test]
fn a_version_that_does_not_come_up_gives_way_to_the_old_one() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the old one is gone", |stage| stage.running("v1") == 0);
    stage.sick.insert(server(1));
    stage.until("it is taken back", |stage| stage.rollout().is_reverting());
    stage.sick.clear();
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!(
        (stage.running("v1"), stage.share("v1")),
        (1, 100),
        "at the end all is back"
    );
}

#[test]
fn an_abort_in_the_watch_brings_the_old_version_back() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the watch", Stage::is_soaking);
    stage.abort().expect("taken");
    never_two(&mut stage);
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!((stage.running("v1"), stage.share("v1")), (1, 100));
}

#[test]
fn an_abort_while_nothing_runs_brings_the_old_version_back() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the old one drains", |stage| stage.count("drain_begun") > 0);
    stage.abort().expect("taken");
    never_two(&mut stage);
    assert_eq!((stage.running("v1"), stage.share("v1")), (1, 100));
}

#[test]
fn a_rollback_recreates_too() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the end", |stage| stage.ended().is_some());
    stage.rollback(None).expect("taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!((stage.running("v1"), stage.share("v1")), (1, 100));
}

#[test]
fn a_restarted_engine_goes_on_in_the_outage() {
    let mut stage = stable_with(singleton());
    stage.deploy("v2");
    stage.until("the old one is gone", |stage| stage.running("v1") == 0);
    stage.restart();
    never_two(&mut stage);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert!(stage.is_recorded(|entry| matches!(entry, Entry::InstanceStopped { .. })));
}
