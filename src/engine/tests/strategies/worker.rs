//! Workers: told to take no new work, given their time, and stopped.

use super::rolling::{rolls, settings};
use crate::engine::tests::stage::*;
use crate::model::entry::IdleProof;
use crate::model::service::QuietSignal;
use crate::model::state::InstanceStatus;
use crate::model::{Effect, Entry, ServerName, Status};

/// Three workers on four servers, with v1 verified.
fn workers(quiet: Option<QuietSignal>) -> Stage {
    let mut spec = rolls(4, settings());
    spec.balancers.clear();
    spec.workload.quiet = quiet;
    stable_with(spec)
}

/// The first worker of v1 that is on its way out.
fn draining(stage: &Stage) -> Option<ServerName> {
    let mut all = stage.place().instances.iter();
    let drains = |status: &InstanceStatus| matches!(status, InstanceStatus::Draining { .. });
    let (server, _) = all.find(|(_, there)| drains(&there.status))?;
    Some(server.clone())
}

fn told(stage: &Stage, server: &ServerName) -> usize {
    let is_it = |effect: &&Effect| matches!(effect, Effect::QuietInstance { server: to, .. } if to == server);
    stage.writes.iter().filter(is_it).count()
}

fn proofs(stage: &Stage) -> Vec<IdleProof> {
    let proof = |entry: &Entry| match entry {
        Entry::StopIntended { proof, .. } => Some(*proof),
        _ => None,
    };
    stage.entries.iter().filter_map(proof).collect()
}

/// v2 is on its way, and the first worker of v1 was told.
fn told_one() -> (Stage, ServerName) {
    let mut stage = workers(Some(QuietSignal::Tstp));
    stage.deploy("v2");
    stage.until("a drain", |stage| draining(stage).is_some());
    let server = draining(&stage).expect("just seen");
    stage.pass_ms(1_000);
    assert_eq!(told(&stage, &server), 1);
    (stage, server)
}

#[test]
fn a_worker_is_told_once_and_given_its_time() {
    let mut stage = workers(Some(QuietSignal::Tstp));
    stage.deploy("v2");
    stage.until("a drain", |stage| draining(stage).is_some());
    let begun_ms = stage.world.now_ms;
    let server = draining(&stage).expect("just seen");
    stage.until("its stop", |stage| !proofs(stage).is_empty());
    let took_ms = stage.world.now_ms - begun_ms;
    let limit_ms = stage.spec.canary.drain_timeout_ms;
    assert!(took_ms >= limit_ms, "{took_ms} of {limit_ms} ms");
    assert_eq!(told(&stage, &server), 1);
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    stage.pass_ms(60_000);
    assert_eq!((stage.running("v1"), stage.running("v2")), (0, 3));
    assert_eq!(proofs(&stage), [IdleProof::Timeout; 3]);
    let quiet = |entry: &&Entry| matches!(entry, Entry::InstanceQuieted { .. });
    assert_eq!(stage.entries.iter().filter(quiet).count(), 3);
}

#[test]
fn a_worker_that_is_done_is_not_waited_for() {
    let (mut stage, server) = told_one();
    let there = stage.runtime.instances.get_mut(&server);
    there.expect("it runs").exited = Some("exit status 0".into());
    stage.pass_ms(2_000);
    assert_eq!(proofs(&stage), [IdleProof::Ended]);
}

#[test]
fn an_engine_that_begins_anew_tells_nobody_twice() {
    let (mut stage, server) = told_one();
    // A runtime need not remember.
    let there = stage.runtime.instances.get_mut(&server).expect("it runs");
    there.quiet = false;
    stage.restart();
    stage.pass_ms(5_000);
    assert_eq!(told(&stage, &server), 1);
    // A process that was begun since knows nothing of it.
    let there = stage.runtime.instances.get_mut(&server).expect("it runs");
    there.started_ms = stage.world.now_ms;
    stage.pass_ms(5_000);
    assert_eq!(told(&stage, &server), 2);
}

#[test]
fn a_worker_that_cannot_be_told_is_stopped_all_the_same() {
    let mut stage = workers(Some(QuietSignal::Usr1));
    stage.deaf = true;
    stage.deploy("v2");
    stage.until("a drain", |stage| draining(stage).is_some());
    let begun_ms = stage.world.now_ms;
    stage.until("its stop", |stage| !proofs(stage).is_empty());
    assert!(stage.world.now_ms - begun_ms >= stage.spec.canary.drain_timeout_ms);
    assert_eq!(proofs(&stage), [IdleProof::Timeout]);
    assert!(!stage.is_recorded(|entry| matches!(entry, Entry::InstanceQuieted { .. })));
}

#[test]
fn a_worker_that_nothing_tells_is_stopped_at_once() {
    let mut stage = workers(None);
    stage.deploy("v2");
    stage.until("its stop", |stage| !proofs(stage).is_empty());
    assert_eq!(proofs(&stage), [IdleProof::NoTraffic]);
    assert!(!stage.is_recorded(|entry| matches!(entry, Entry::InstanceQuieted { .. })));
}
