//! What failed instances left: read once, recorded once, and nothing that matters waits for it.

use super::stage::{Stage, server, soaking, stable};
use crate::model::{Entry, RolloutNumber, Status};

fn kept(stage: &Stage) -> Vec<&Entry> {
    let kept = |entry: &&Entry| matches!(entry, Entry::EvidenceKept { .. });
    stage.entries.iter().filter(kept).collect()
}

#[test]
fn what_a_failed_instance_left_is_recorded_once_with_its_rollout() {
    let mut stage = soaking();
    stage.exits(3);
    stage.until("the end", |stage| !stage.is_open());
    stage.pass_ms(5_000);
    let kept = kept(&stage);
    let [
        Entry::EvidenceKept {
            server: behind,
            rollout,
            evidence,
            ..
        },
    ] = kept.as_slice()
    else {
        panic!("{kept:?}");
    };
    assert_eq!((behind, *rollout), (&server(3), Some(RolloutNumber(2))));
    assert!(evidence.ended.is_some());
    assert_eq!(evidence.log.len(), 1);
    assert_eq!(stage.asked_evidence, [server(3)], "nobody else failed");
}

#[test]
fn a_runtime_that_does_not_tell_delays_nothing_and_is_not_asked_for_ever() {
    let mut stage = soaking();
    stage.evidence_fails = true;
    stage.exits(3);
    stage.until("traffic back", |stage| stage.share("v2") == 0);
    assert!(
        stage.asked_evidence.len() <= 2,
        "{:?}",
        stage.asked_evidence
    );
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    stage.until("they are stopped", |stage| stage.running("v2") == 0);
    stage.pass_ms(10_000);
    assert!(kept(&stage).is_empty());
    assert_eq!(stage.asked_evidence.len(), 5);
}

#[test]
fn an_instance_that_was_given_up_has_failed_and_leaves_evidence() {
    let mut stage = stable();
    stage.sick.extend([server(3), server(4)]);
    stage.deploy("v2");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Failed));
    let why = |entry: &Entry| match entry {
        Entry::InstanceFailed { why, .. } => why.as_str().starts_with("not healthy within 30 s"),
        _ => false,
    };
    assert!(stage.is_recorded(why));
    stage.pass_ms(1_000);
    assert_eq!(kept(&stage).len(), 2);
    let left = |entry: &&Entry| match entry {
        Entry::EvidenceKept { evidence, .. } => evidence.ended.is_none(),
        _ => false,
    };
    assert!(kept(&stage).iter().all(left), "they still ran");
}

#[test]
fn a_restarted_engine_reads_what_was_not_read_before() {
    let mut stage = soaking();
    stage.evidence_fails = true;
    stage.exits(3);
    stage.until("the end", |stage| !stage.is_open());
    stage.evidence_fails = false;
    stage.restart();
    stage.until("the record", |stage| stage.count("evidence_kept") == 1);
    stage.until("they are stopped", |stage| stage.running("v2") == 0);
    stage.pass_ms(5_000);
    assert_eq!(kept(&stage).len(), 1, "once");
}
