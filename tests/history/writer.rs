//! The history's own thread, and the shapes of records that must stay readable for ever.

use super::support::{self, Story, open};
use std::sync::mpsc;
use wheelhouse::history::{AppendError, Appended, HistoryWriter, SendError, verify};
use wheelhouse::model::{Entry, Record, Status};

#[test]
fn answers_come_in_order_with_the_time_the_disk_took() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let writer = HistoryWriter::spawn(open(dir.path()).history).expect("a thread");
    let (answers, answered) = mpsc::channel();
    for batch in story.rollout(Status::Succeeded) {
        let answers = answers.clone();
        let last = batch[batch.len() - 1].seq;
        let due = writer.checkpoint_due(&batch);
        assert_eq!(due, matches!(batch[0].entry, Entry::RolloutFinished { .. }));
        let state = due.then(|| Box::new(story.state.clone()));
        writer
            .append(batch, state, move |appended| {
                answers.send(appended).expect("heard")
            })
            .expect("taken");
        let Appended { result, commit_us } = answered.recv().expect("answered");
        assert_eq!(result.expect("appended"), last);
        assert!(commit_us > 0);
    }
    drop(writer);
    assert_eq!(open(dir.path()).checkpoint, Some(story.state));
}

#[test]
fn a_thousand_records_make_a_checkpoint_due() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let writer = HistoryWriter::spawn(open(dir.path()).history).expect("a thread");
    let records = story.tell((0..1_000).map(support::refused));
    assert!(!writer.checkpoint_due(&records[..999]));
    assert!(writer.checkpoint_due(&records));
    let (answers, answered) = mpsc::channel();
    let state = Box::new(story.state.clone());
    let next = story.tell([support::refused(1)]);
    let done = answers.clone();
    writer
        .append(records, None, move |it| {
            done.send(it.result.map(drop)).expect("heard")
        })
        .expect("taken");
    writer
        .checkpoint(state, move |result| answers.send(result).expect("heard"))
        .expect("taken");
    for _ in 0..2 {
        answered.recv().expect("answered").expect("stored");
    }
    assert!(!writer.checkpoint_due(&next));
}

#[test]
fn a_caller_is_never_blocked_and_told_when_too_much_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let writer = HistoryWriter::spawn(open(dir.path()).history).expect("a thread");
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    // The first answer holds the thread, as a slow disk would.
    writer
        .append(story.tell([support::refused(0)]), None, move |_| {
            entered.send(()).expect("heard");
            released.recv().expect("released");
        })
        .expect("taken");
    is_in.recv().expect("the thread answers");
    let taken = (1..100)
        .take_while(|n| {
            let sent = writer.append(story.tell([support::refused(*n)]), None, |_| {});
            assert!(matches!(sent, Ok(()) | Err(SendError::Full)));
            sent.is_ok()
        })
        .count() as u64;
    assert!((1..99).contains(&taken), "{taken}");
    release.send(()).expect("the thread waits");
    drop(writer);
    assert_eq!(
        verify(dir.path()).expect("readable").records,
        taken + 1,
        "what was taken is carried out before the end"
    );
}

#[test]
fn a_dead_handle_is_reopened_by_request() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let writer = HistoryWriter::spawn(open(dir.path()).history).expect("a thread");
    let (answers, answered) = mpsc::channel();
    let append = |records: Vec<Record>| {
        let answers = answers.clone();
        writer
            .append(records, None, move |it| {
                answers.send(it.result).expect("heard")
            })
            .expect("taken");
        answered.recv().expect("answered")
    };
    let (db, aside) = (dir.path().join("history.db"), dir.path().join("aside"));
    let records = story.tell([support::refused(1)]);
    std::fs::rename(&db, &aside).expect("moved");
    assert!(matches!(
        append(records.clone()),
        Err(AppendError::Moved { .. })
    ));
    std::fs::rename(&aside, &db).expect("moved back");
    assert!(matches!(
        append(records.clone()),
        Err(AppendError::Dead { .. })
    ));
    let (reopened, is_reopened) = mpsc::channel();
    writer
        .reopen(move |result| reopened.send(result).expect("heard"))
        .expect("taken");
    assert_eq!(is_reopened.recv().expect("answered").expect("reopened"), 0);
    assert_eq!(append(records).expect("appended"), 1);
}

/// Every kind there is; a new one does not compile until it is listed here and in the fixtures.
fn place(entry: &Entry) -> Option<usize> {
    Some(match entry {
        Entry::EngineStarted { .. } => 0,
        Entry::RolloutStarted { .. } => 1,
        Entry::InstanceIntended { .. } => 2,
        Entry::InstanceUp { .. } => 3,
        Entry::InstanceFailed { .. } => 4,
        Entry::SmokeFinished { .. } => 5,
        Entry::WeightIntended { .. } => 6,
        Entry::WeightSettled { .. } => 7,
        Entry::WeightAbandoned { .. } => 8,
        Entry::StepPassed { .. } => 9,
        Entry::VerdictChanged { .. } => 10,
        Entry::Held { .. } => 11,
        Entry::Resumed { .. } => 12,
        Entry::Promoted { .. } => 13,
        Entry::AbortRequested { .. } => 14,
        Entry::RevertDecided { .. } => 15,
        Entry::RolloutFinished { .. } => 16,
        Entry::DriftFound { .. } => 17,
        Entry::RetireIntended { .. } => 18,
        Entry::DrainBegun { .. } => 19,
        Entry::StopIntended { .. } => 20,
        Entry::InstanceStopped { .. } => 21,
        Entry::Refused { .. } => 22,
        Entry::HistoryGap { .. } => 23,
        Entry::Noted { .. } => 24,
        Entry::InstanceFound { .. } => 25,
        Entry::ConfigReloaded { .. } => 26,
        Entry::LeaseTaken { .. } => 27,
        Entry::BatchBegun { .. } => 28,
        Entry::Scaled { .. } => 29,
        Entry::ServerDrained { .. } => 30,
        Entry::ServerUndrained { .. } => 31,
        Entry::EvidenceKept { .. } => 32,
        Entry::InstanceQuieted { .. } => 33,
        Entry::PipelineStarted { .. } => 34,
        Entry::StageIntended { .. } => 35,
        Entry::StageConfirmed { .. } => 36,
        Entry::StageEnded { .. } => 37,
        Entry::PipelineCanceled { .. } => 38,
        Entry::PipelineEnded { .. } => 39,
        Entry::Unknown => return None,
    })
}

#[test]
fn records_written_by_version_1_are_read_for_ever() {
    let fixtures = include_str!("../journals/v1.jsonl");
    for (i, line) in fixtures.lines().enumerate() {
        let record: Record = serde_json::from_str(line).expect("a record");
        assert_eq!(place(&record.entry), Some(i), "{line}");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), line);
    }
    assert_eq!(fixtures.lines().count(), 40);
}

#[test]
fn a_kind_of_a_later_version_is_unknown_and_no_error() {
    let line = r#"{"kind":"approved","by":{"person":{"uid":7,"user":"bob"}},"of":3}"#;
    assert_eq!(
        serde_json::from_str::<Entry>(line).expect("read"),
        Entry::Unknown
    );
}
