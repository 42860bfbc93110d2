//! The deployment tables say what the records say, in the columns other tools rely on.

use super::support::{self, Story, finished, intended, open, placement, settled, started, verdict};
use rusqlite::Connection;
use std::path::Path;
use wheelhouse::history::{HistoryReader, Integrity, RolloutRef, verify};
use wheelhouse::model::world::Evidence;
use wheelhouse::model::{Clean, Entry, RolloutKind, RolloutNumber, Status, VerdictClass};

/// status, completed_at, duration_ms, rolled_back, target, current, error_rate, latency_p99.
type Row = (String, Option<i64>, Option<i64>, bool, i64, i64, f64, i64);

fn row(dir: &Path, n: u64) -> Row {
    let connection = Connection::open(dir.join("history.db")).expect("opened");
    connection
        .query_row(
            "SELECT deployment_status, completed_at, duration_ms, rolled_back,
                 target_traffic_percent, current_traffic_percent, error_rate, latency_p99
             FROM deployments JOIN canary_deployments ON deployment_id = id WHERE id = ?1",
            [support::rollout_id(n).to_string()],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                ))
            },
        )
        .expect("the row")
}

/// Tells entries, each in a transaction of its own.
fn append(opened: &mut wheelhouse::history::Opened, story: &mut Story, entry: Entry) -> u64 {
    let records = story.tell([entry]);
    opened.history.append(&records, None).expect("appended")
}

#[test]
fn a_rollouts_row_follows_its_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut story, mut opened) = (Story::default(), open(dir.path()));
    let mut tell = |entry| append(&mut opened, &mut story, entry);
    let in_progress = || "in_progress".to_owned();

    tell(started(7, RolloutKind::Deploy, 7, Some(6)));
    assert_eq!(
        row(dir.path(), 7),
        (in_progress(), None, None, false, 5, 0, 0.0, 0)
    );
    let intent = tell(intended(7, 5, 6));
    tell(settled(99));
    assert_eq!(
        row(dir.path(), 7).5,
        0,
        "another intent's settling is not this one's"
    );
    tell(settled(intent));
    assert_eq!(
        row(dir.path(), 7),
        (in_progress(), None, None, false, 5, 5, 0.0, 0)
    );
    tell(Entry::VerdictChanged {
        placement: placement(),
        verdict: verdict(VerdictClass::Pass, 0.003_7, 212.4),
    });
    assert_eq!(
        row(dir.path(), 7),
        (in_progress(), None, None, false, 5, 5, 0.003_7, 212)
    );
    tell(Entry::StepPassed {
        placement: placement(),
        step: 1,
        verdict: verdict(VerdictClass::Pass, 0.002, 180.6),
    });
    assert_eq!((row(dir.path(), 7).6, row(dir.path(), 7).7), (0.002, 181));
    let intent = tell(intended(7, 25, 6));
    tell(Entry::WeightAbandoned {
        placement: placement(),
        id: intent,
        shares: support::shares(7, 5, 6),
    });
    assert_eq!((row(dir.path(), 7).4, row(dir.path(), 7).5), (5, 5));
    tell(finished(Status::Succeeded));
    let (status, completed, duration, rolled_back, ..) = row(dir.path(), 7);
    assert_eq!((status.as_str(), rolled_back), ("succeeded", false));
    let records = i64::try_from(story.state.seq).expect("small");
    assert_eq!(duration, Some((records - 1) * 1_000));
    assert_eq!(completed, i64::try_from(story.state.at_ms).ok());
    assert_eq!(
        verify(dir.path()).expect("readable").integrity,
        Integrity::Whole
    );
}

#[test]
fn a_row_is_carried_on_by_the_next_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let mut opened = open(dir.path());
    append(
        &mut opened,
        &mut story,
        started(1, RolloutKind::Deploy, 1, None),
    );
    assert_eq!(row(dir.path(), 1).4, 100, "a first deploy makes one move");
    let intent = append(&mut opened, &mut story, intended(1, 100, 0));
    drop(opened);
    let mut opened = open(dir.path());
    append(&mut opened, &mut story, settled(intent));
    assert_eq!(row(dir.path(), 1).5, 100);
    assert_eq!(
        verify(dir.path()).expect("readable").integrity,
        Integrity::Whole
    );
}

#[test]
fn ends_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut story, mut opened) = (Story::default(), open(dir.path()));
    for (n, status, word, rolled_back) in [
        (1, Status::Succeeded, "succeeded", false),
        (2, Status::Failed, "failed", false),
        (3, Status::RolledBack, "rolled_back", true),
    ] {
        append(
            &mut opened,
            &mut story,
            started(n, RolloutKind::Deploy, n, Some(1)),
        );
        append(&mut opened, &mut story, finished(status));
        let row = row(dir.path(), n);
        assert_eq!((row.0.as_str(), row.3), (word, rolled_back));
    }
}

#[test]
fn a_rollback_marks_the_newest_deployment_of_the_release_it_leaves() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut story, mut opened) = (Story::default(), open(dir.path()));
    let mut roll = |n, kind, brings, from, status| {
        append(&mut opened, &mut story, started(n, kind, brings, from));
        append(&mut opened, &mut story, finished(status));
    };
    let marks = || -> Vec<bool> {
        let reader = HistoryReader::open(dir.path()).expect("readable");
        let rows = reader.list(9).expect("listed");
        rows.iter().rev().map(|row| row.rolled_back).collect()
    };
    roll(1, RolloutKind::Deploy, 1, None, Status::Succeeded);
    roll(2, RolloutKind::Deploy, 2, Some(1), Status::Succeeded);
    roll(3, RolloutKind::Rollback, 1, Some(2), Status::Failed);
    assert_eq!(
        marks(),
        [false; 3],
        "a rollback that failed supersedes nothing"
    );
    roll(4, RolloutKind::Rollback, 1, Some(2), Status::Succeeded);
    assert_eq!(marks(), [false, true, false, false]);
    roll(5, RolloutKind::Rollback, 2, Some(1), Status::Succeeded);
    assert_eq!(
        marks(),
        [false, true, false, true, false],
        "#4 brought release 1 last"
    );
    let reader = HistoryReader::open(dir.path()).expect("readable");
    let superseded = reader
        .find(RolloutRef::Number(RolloutNumber(2)))
        .expect("read")
        .expect("there");
    assert_eq!(superseded.status, Status::Succeeded, "its own end stays");
    assert_eq!(
        verify(dir.path()).expect("readable").integrity,
        Integrity::Whole
    );
}

#[test]
fn the_tables_have_the_promised_columns_and_refuse_what_is_too_long() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let connection = Connection::open(dir.path().join("history.db")).expect("opened");
    let columns = |table: &str| -> String {
        let mut statement = connection
            .prepare("SELECT name || ' ' || type FROM pragma_table_info(?1)")
            .expect("prepared");
        let names = statement.query_map([table], |row| row.get::<_, String>(0));
        let names: Result<Vec<_>, _> = names.expect("queried").collect();
        names.expect("read").join(", ")
    };
    assert_eq!(
        columns("deployments"),
        "id UUID, version VARCHAR(32), environment VARCHAR(16), deployment_status VARCHAR(16), \
         started_at BIGINT, completed_at BIGINT, duration_ms INT, rolled_back BOOLEAN"
    );
    assert_eq!(
        columns("deployment_artifacts"),
        "id VARCHAR(64), version VARCHAR(32), artifact_type VARCHAR(32), file_hash VARCHAR(64), \
         file_size INT, created_at BIGINT"
    );
    assert_eq!(
        columns("canary_deployments"),
        "deployment_id UUID, target_traffic_percent INT, current_traffic_percent INT, \
         error_rate FLOAT, latency_p99 INT, created_at BIGINT"
    );
    let (ok, long) = ("a".repeat(32), "a".repeat(33));
    let artifact = |id: &str, version: &str| {
        connection.execute(
            "INSERT INTO deployment_artifacts VALUES (?1, ?2, 'image', 'ff', 1, 1)",
            [id, version],
        )
    };
    assert!(artifact("1", &ok).is_ok());
    assert!(
        artifact("2", &ok).is_err(),
        "one artifact per version and type"
    );
    assert!(artifact("3", &long).is_err());
    let deployment = |status: &str, environment: &str| {
        connection.execute(
            "INSERT INTO deployments (id, version, environment, deployment_status, started_at)
             VALUES (?1, 'v1', ?2, ?3, 1)",
            [&support::rollout_id(1).to_string(), environment, status],
        )
    };
    assert!(deployment("paused", "production").is_err());
    assert!(deployment("pending", "a-long-environment").is_err());
    assert!(deployment("pending", "production").is_ok());
}

#[test]
fn a_reader_sees_whole_moments_while_an_engine_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut opened = open(dir.path());
    let writer = std::thread::spawn(move || {
        let mut story = Story::default();
        support::write_rollouts(&mut opened.history, &mut story, 25).len() as u64
    });
    let reader = HistoryReader::open(dir.path()).expect("readable");
    let mut looks = 0;
    let mut done = false;
    while !done {
        done = writer.is_finished();
        looks += 1;
        let rows = reader.list(100).expect("listed");
        for (row, number) in rows.iter().zip((1..=rows.len() as u64).rev()) {
            assert_eq!(row.number.0, number);
            let is_newest = number == rows.len() as u64;
            let is_open = row.status == Status::InProgress;
            assert!(!is_open || is_newest, "only the newest can be open");
            assert_eq!(is_open, row.completed_at.is_none());
        }
        if let Some(newest) = rows.first() {
            let which = RolloutRef::Id(newest.id);
            let (row, records) = reader.show(which).expect("read").expect("there");
            let ended = records
                .iter()
                .any(|record| matches!(record.entry, Entry::RolloutFinished { .. }));
            assert_eq!(ended, row.completed_at.is_some(), "row and records agree");
        }
    }
    assert!(looks > 1);
    let records = writer.join().expect("the writer ends well");
    let report = verify(dir.path()).expect("readable");
    assert_eq!(
        (report.integrity, report.records),
        (Integrity::Whole, records)
    );
    assert_eq!(report.deployments, Some(25));
}

#[test]
fn evidence_that_is_recorded_after_a_rollouts_end_is_shown_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut opened = open(dir.path());
    let mut story = Story::default();
    support::write_rollouts(&mut opened.history, &mut story, 2);
    let mut evidence = Evidence::default();
    evidence.keep_log((0..1_100).map(|number| Clean::new(&format!("line {number}"))));
    assert_eq!((evidence.log.len(), evidence.log_dropped), (1_000, 100));
    let kept = Entry::EvidenceKept {
        placement: placement(),
        server: "web3".parse().expect("a name"),
        release: support::release_id(1),
        rollout: Some(RolloutNumber(1)),
        evidence: Box::new(evidence),
    };
    let late = story.tell([kept]);
    opened.history.append(&late, None).expect("appended");
    let reader = HistoryReader::open(dir.path()).expect("readable");
    for (number, shown) in [(1, true), (2, false)] {
        let which = RolloutRef::Number(RolloutNumber(number));
        let (_, records) = reader.show(which).expect("read").expect("there");
        assert_eq!(records.last() == late.last(), shown, "#{number}");
    }
    let report = verify(dir.path()).expect("readable");
    assert_eq!(report.integrity, Integrity::Whole);
}

#[test]
fn the_output_kept_is_bounded_in_bytes_and_the_newest_lines_stay() {
    let mut evidence = Evidence::default();
    let long = "x".repeat(8_000);
    evidence.keep_log((0..20).map(|number| Clean::new(&format!("{number} {long}"))));
    let bytes: usize = evidence.log.iter().map(|line| line.as_str().len()).sum();
    assert!(bytes <= 64 * 1024, "{bytes}");
    assert_eq!(evidence.log.len() as u64 + evidence.log_dropped, 20);
    let last = evidence.log.back().expect("a line");
    assert!(last.as_str().starts_with("19 "), "{last}");
}
