//! Copies of the history, made while it is written; and requests found in it by their id.

use super::support::{self, Story, open};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wheelhouse::history::{BackupError, Existing, HistoryReader, Integrity, backup, verify};
use wheelhouse::model::{Entry, RolloutNumber, Status};

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).expect("there");
    metadata.permissions().mode() & 0o777
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("readable");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Puts a copy where a history is looked for.
fn restored(copy: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::copy(copy, dir.path().join("history.db")).expect("copied");
    dir
}

#[test]
fn a_copy_made_while_an_engine_writes_is_whole_and_can_be_gone_on_with() {
    let (home, away) = (tempfile::tempdir(), tempfile::tempdir());
    let (home, away) = (home.expect("a directory"), away.expect("a directory"));
    let mut opened = open(home.path());
    let mut story = Story::default();
    support::write_rollouts(&mut opened.history, &mut story, 3);
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(story.state.seq));
    let copies: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                support::write_rollouts(&mut opened.history, &mut story, 1);
                written.store(story.state.seq, Ordering::SeqCst);
            }
        });
        let copies = (0..8).map(|n| {
            let before = written.load(Ordering::SeqCst);
            let target = away.path().join(format!("copy-{n}"));
            let report = backup(home.path(), &target, Existing::Keep).expect("copied");
            assert!(report.records >= before, "what was durable before is in it");
            // The writer goes on meanwhile and afterwards.
            while written.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            report.records
        });
        let copies = copies.collect();
        stop.store(true, Ordering::SeqCst);
        copies
    });
    assert!(copies.is_sorted() && copies[0] < copies[7], "{copies:?}");
    assert_eq!(
        names_in(away.path()).len(),
        8,
        "nothing else is left behind"
    );
    drop(opened);
    for (n, records) in copies.iter().enumerate() {
        let copy = away.path().join(format!("copy-{n}"));
        assert_eq!(mode(&copy), 0o600);
        let dir = restored(&copy);
        let report = verify(dir.path()).expect("readable");
        assert_eq!(
            (report.integrity, report.records),
            (Integrity::Whole, *records)
        );
        let mut again = open(dir.path());
        let next = Story::after(*records).tell([support::refused(1)]);
        again.history.append(&next, None).expect("it goes on");
    }
    let report = verify(home.path()).expect("readable");
    assert_eq!(report.integrity, Integrity::Whole);
}

#[test]
fn nothing_is_overwritten_unasked_and_nothing_damaged_is_kept() {
    let home = tempfile::tempdir().expect("a directory");
    let away = tempfile::tempdir().expect("a directory");
    let mut opened = open(home.path());
    support::write_rollouts(&mut opened.history, &mut Story::default(), 2);
    let target = away.path().join("copy");
    fs::write(&target, "mine").expect("written");
    let refused = backup(home.path(), &target, Existing::Keep);
    assert!(
        matches!(refused, Err(BackupError::Exists { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&target).expect("readable"), b"mine");
    backup(home.path(), &target, Existing::Replace).expect("replaced");
    assert_eq!(mode(&target), 0o600);

    let own = home.path().join("history.db");
    let refused = backup(home.path(), &own, Existing::Replace);
    assert!(
        matches!(refused, Err(BackupError::Itself { .. })),
        "{refused:?}"
    );
    let refused = backup(home.path(), Path::new("/"), Existing::Replace);
    assert!(
        matches!(refused, Err(BackupError::NoName { .. })),
        "{refused:?}"
    );
    drop(opened);

    let connection = rusqlite::Connection::open(&own).expect("opened");
    connection
        .execute_batch(
            "DROP TRIGGER events_stay;
             UPDATE events SET body = replace(body, 'v1.1.0', 'v9.9.9') WHERE seq = 1;",
        )
        .expect("damaged");
    drop(connection);
    let good = fs::read(&target).expect("readable");
    let refused = backup(home.path(), &target, Existing::Replace);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(fs::read(&target).expect("readable"), good);
    assert_eq!(names_in(away.path()), ["copy"]);
}

#[test]
fn a_request_is_found_by_its_id_however_long_ago() {
    let home = tempfile::tempdir().expect("a directory");
    let mut opened = open(home.path());
    let mut story = Story::default();
    support::write_rollouts(&mut opened.history, &mut story, 2);
    let mut started = support::started(3, wheelhouse::model::RolloutKind::Deploy, 3, Some(2));
    let Entry::RolloutStarted { request_id, .. } = &mut started else {
        panic!("a start");
    };
    *request_id = Some("run/17".parse().expect("an id"));
    let records = story.tell([started, support::finished(Status::Succeeded)]);
    opened.history.append(&records, None).expect("appended");
    let reader = HistoryReader::open(home.path()).expect("readable");
    let found = |id: &str| {
        let id = id.parse().expect("an id");
        reader.requested(&id).expect("readable")
    };
    let begun = found("run/17").expect("found");
    assert_eq!(begun.number, RolloutNumber(3));
    let (placement, version) = (support::placement(), support::release(3).version);
    assert_eq!(begun.check(&placement, &version), Ok(RolloutNumber(3)));
    let other = support::release(4).version;
    let refused = begun.check(&placement, &other).expect_err("another deploy");
    assert!(refused.to_string().contains("run/17 began #3"), "{refused}");
    assert_eq!(found("run/1"), None);
}
