//! Appending, starting again, reading meanwhile.

use super::support::{self, Story, holder, open};
use std::fs;
use wheelhouse::history::{
    AppendError, History, HistoryError, HistoryReader, Integrity, RolloutRef, verify,
};
use wheelhouse::model::{Entry, Record, RolloutNumber, Status};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    assert_eq!(opened.history.last_seq(), 0);
    let written = story.tell(support::every_entry());
    let last = opened.history.append(&written, None).expect("appended");
    assert_eq!(last, written.len() as u64);
    drop(opened);

    let again = open(dir.path());
    assert_eq!(again.checkpoint, None);
    assert_eq!(again.tail, written);
    assert!(!again.newer && !again.torn);
    drop(again);
    let report = verify(dir.path()).expect("readable");
    assert_eq!(report.integrity, Integrity::Whole);
    assert_eq!(report.records, written.len() as u64);
}

#[test]
fn a_start_reads_the_newest_checkpoint_and_what_follows_it() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    support::write_rollouts(&mut opened.history, &mut story, 3);
    let at_checkpoint = story.state.clone();
    let tail = story.tell([support::refused(1), support::refused(2)]);
    opened.history.append(&tail, None).expect("appended");
    drop(opened);

    let again = open(dir.path());
    assert_eq!(again.checkpoint, Some(at_checkpoint));
    assert_eq!(again.tail, tail);
}

#[test]
fn a_checkpoint_can_go_with_the_records_it_follows() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    let records = story.tell([support::refused(1)]);
    opened
        .history
        .append(&records, Some(&story.state))
        .expect("appended");
    assert_eq!(opened.history.checkpointed(), 1);
    let ahead = story.tell([support::refused(2)]);
    let refused = opened.history.checkpoint(&story.state);
    assert!(matches!(refused, Err(AppendError::OutOfOrder { .. })));
    opened.history.append(&ahead, None).expect("still alive");
}

#[test]
fn records_out_of_order_are_refused_and_leave_no_trace() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    let records = story.tell([
        support::refused(1),
        support::refused(2),
        support::refused(3),
    ]);
    let gap: Vec<Record> = vec![records[0].clone(), records[2].clone()];
    for (wrong, expected) in [(&records[1..], 1), (&gap[..], 2)] {
        match opened.history.append(wrong, None) {
            Err(AppendError::OutOfOrder { expected: at, .. }) => assert_eq!(at, expected),
            other => panic!("{other:?}"),
        }
    }
    opened.history.append(&records, None).expect("in order");
    match opened.history.append(&records[2..], None) {
        Err(AppendError::OutOfOrder { expected, found }) => assert_eq!((expected, found), (4, 3)),
        other => panic!("{other:?}"),
    }
    assert_eq!(opened.history.last_seq(), 3);
}

#[test]
fn what_would_not_read_back_is_refused() {
    let dir = dir();
    let mut opened = open(dir.path());
    let mut not_a_number = support::every_entry().remove(17);
    let Entry::DriftFound { wanted_percent, .. } = &mut not_a_number else {
        panic!("the 18th entry is a drift");
    };
    *wanted_percent = f64::NAN;
    for entry in [not_a_number, Entry::Unknown] {
        let records = Story::default().tell([entry]);
        let refused = opened.history.append(&records, None);
        assert!(
            matches!(refused, Err(AppendError::Unstorable { seq: 1, .. })),
            "{refused:?}"
        );
    }
    assert_eq!(opened.history.last_seq(), 0);
}

#[test]
fn fault_026_a_second_engine_is_refused_and_told_who_and_since() {
    let dir = dir();
    let first = open(dir.path());
    match History::open(dir.path(), &holder()) {
        Err(error @ HistoryError::Locked { pid: 4242, .. }) => {
            let text = error.to_string();
            assert!(text.contains("alice") && text.contains("4242"), "{text}");
            assert!(text.contains("2023-11-14T22:13:20Z"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    drop(first);
    open(dir.path());
}

#[test]
fn fault_027_a_lock_file_left_by_a_dead_process_is_no_lock() {
    let dir = dir();
    drop(open(dir.path()));
    fs::write(
        dir.path().join("history.lock"),
        r#"{"pid":1,"user":"root","since_ms":1}"#,
    )
    .expect("written");
    open(dir.path());
}

#[test]
fn lists_show_and_find_read_while_the_engine_writes() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    let written = support::write_rollouts(&mut opened.history, &mut story, 4);

    let reader = HistoryReader::open(dir.path()).expect("readable");
    let rows = reader.list(3).expect("listed");
    let numbers: Vec<u64> = rows.iter().map(|row| row.number.0).collect();
    assert_eq!(numbers, [4, 3, 2], "newest first");
    assert_eq!(rows[0].status, Status::RolledBack);
    assert_eq!(rows[1].actor, "alice");

    let by_number = "#2".parse::<RolloutRef>().expect("a number");
    let by_id = support::rollout_id(2)
        .to_string()
        .parse::<RolloutRef>()
        .expect("an id");
    assert_eq!(
        reader.find(by_number).expect("found"),
        reader.find(by_id).expect("found")
    );
    let (row, records) = reader.show(by_number).expect("read").expect("there");
    assert_eq!(row.number, RolloutNumber(2));
    let per_rollout = written.len() / 4;
    assert_eq!(records, written[per_rollout..2 * per_rollout]);
    assert_eq!(
        reader
            .find(RolloutRef::Number(RolloutNumber(9)))
            .expect("read"),
        None
    );
    assert!("web".parse::<RolloutRef>().is_err());
    assert_eq!(reader.records(2, 3).expect("read"), written[2..5]);
}

#[test]
fn an_export_is_one_line_per_record_with_its_hash() {
    let dir = dir();
    let mut story = Story::default();
    let mut opened = open(dir.path());
    let written = story.tell(support::every_entry());
    opened.history.append(&written, None).expect("appended");
    let mut out = Vec::new();
    let reader = HistoryReader::open(dir.path()).expect("readable");
    assert_eq!(
        reader.export_jsonl(&mut out).expect("exported"),
        written.len() as u64
    );
    let text = String::from_utf8(out).expect("UTF-8");
    let mut before = "0".repeat(64);
    for (line, record) in text.lines().zip(&written) {
        assert_eq!(
            &serde_json::from_str::<Record>(line).expect("a record"),
            record
        );
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["prev_hash"], before, "the chain is in the export");
        assert_eq!(line["kind"], record.entry.kind());
        before = line["hash"].as_str().expect("a hash").to_owned();
    }
    assert_eq!(text.lines().count(), written.len());
}

#[test]
fn nothing_to_read_is_said_as_such() {
    let dir = dir();
    assert!(matches!(
        HistoryReader::open(dir.path()),
        Err(HistoryError::Missing { .. })
    ));
    assert!(matches!(
        verify(dir.path()),
        Err(HistoryError::Missing { .. })
    ));
}
