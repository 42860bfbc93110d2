//! A rollback in an emergency: fewer probes, and nothing else is left out.

use super::stage::{Stage, server, spec, stable_with};
use crate::model::{Entry, RolloutKind, ServiceSpec, Status, Urgency};

/// v2 has the traffic, v1 is gone; an instance is up after three probes in a row.
fn replaced() -> Stage {
    let mut strict: ServiceSpec = spec();
    strict.health.successes = 3;
    let mut stage = stable_with(strict);
    stage.deploy("v2");
    stage.until("v2 is verified", |stage| stage.ended().is_some());
    stage.until("v1 is retired", |stage| stage.running("v1") == 0);
    stage
}

/// How long a rollback takes until traffic moves.
fn takes_ms(stage: &mut Stage, urgency: Urgency) -> u64 {
    let begun_ms = stage.world.now_ms;
    let moves = stage.count("weight_intended");
    stage
        .go_back(None, Some("it leaks"), urgency)
        .expect("it is taken");
    stage.until("traffic moves", |stage| {
        stage.count("weight_intended") > moves
    });
    let took_ms = stage.world.now_ms - begun_ms;
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    took_ms
}

#[test]
fn one_passed_probe_is_enough_and_the_record_says_so() {
    let usual_ms = takes_ms(&mut replaced(), Urgency::Ordinary);
    let mut stage = replaced();
    let urgent_ms = takes_ms(&mut stage, Urgency::Emergency);
    assert!(urgent_ms < usual_ms, "{urgent_ms} ms and {usual_ms} ms");
    let recorded = |entry: &Entry| {
        matches!(entry, Entry::RolloutStarted { rollout: RolloutKind::Rollback, urgency, reason, .. }
            if *urgency == Urgency::Emergency && reason.is_some())
    };
    assert!(stage.is_recorded(recorded));
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 2));
    let settled = |entry: &Entry| matches!(entry, Entry::WeightSettled { .. });
    assert!(stage.is_recorded(settled), "it is read back like any other");
}

#[test]
fn what_does_not_pass_a_probe_gets_no_traffic() {
    let mut stage = replaced();
    stage.sick.extend((1..=4).map(server));
    stage
        .go_back(None, Some("it leaks"), Urgency::Emergency)
        .expect("it is taken");
    for _ in 0..200 {
        stage.tick();
        assert_eq!(stage.share("v1"), 0);
    }
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!((stage.share("v2"), stage.running("v2")), (100, 2));
}

#[test]
fn it_needs_its_reason() {
    let mut stage = replaced();
    let refusal = stage.go_back(None, None, Urgency::Emergency);
    let why = refusal.expect_err("refused").to_string();
    assert!(why.contains("--reason"), "{why}");
    assert!(!stage.is_open());
}

#[test]
fn beside_an_open_rollout_it_is_an_abort() {
    let mut stage = stable_with(spec());
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    stage
        .go_back(None, Some("it leaks"), Urgency::Emergency)
        .expect("it is taken");
    assert!(stage.rollout().is_reverting());
    assert_eq!(stage.count("abort_requested"), 1);
}
