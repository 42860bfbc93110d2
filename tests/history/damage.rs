//! Whatever happens to the bytes: found by `verify`, or refused at the start, and never a state
//! that is silently another one.

use super::support::{self, Story, fold, holder, open};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};
use wheelhouse::history::{History, HistoryError, Integrity, Report, verify};
use wheelhouse::model::{Record, State};

const DB: &str = "history.db";
const LOG: &str = "history.db-wal";

/// The tables with all their rows.
type Content = Vec<Vec<Vec<Value>>>;

/// A history as it should be, with its files.
struct Original {
    records: Vec<Record>,
    /// The state after each record; the first before all.
    states: Vec<State>,
    files: Vec<(&'static str, Vec<u8>)>,
    content: Content,
}

impl Original {
    /// About `rollouts` × 12 records and two that no checkpoint covers; with its log still
    /// unmerged if `log`.
    fn write(rollouts: usize, log: Log) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut story = Story::default();
        let mut opened = open(dir.path());
        let mut records = support::write_rollouts(&mut opened.history, &mut story, rollouts);
        for n in 1..=2 {
            let tail = story.tell([support::refused(n)]);
            opened.history.append(&tail, None).expect("appended");
            records.extend(tail);
        }
        let names = match log {
            Log::Merged => {
                drop(opened);
                vec![DB, "history.head"]
            }
            Log::Beside => vec![DB, LOG, "history.head"],
        };
        let files: Vec<_> = names
            .into_iter()
            .map(|name| (name, fs::read(dir.path().join(name)).expect("read")))
            .collect();
        let mut states = vec![State::default()];
        for record in &records {
            let mut state = states[states.len() - 1].clone();
            fold(&mut state, record);
            states.push(state);
        }
        let mut original = Self {
            records,
            states,
            files,
            content: Vec::new(),
        };
        let copy = original.copy();
        original.content = content(copy.path()).expect("an intact history is readable");
        original
    }

    fn bytes(&self, name: &str) -> &[u8] {
        let file = self.files.iter().find(|(found, _)| *found == name);
        &file.expect("one of the files").1
    }

    fn copy(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        self.restore(dir.path());
        dir
    }

    fn restore(&self, dir: &Path) {
        for stale in [DB, LOG, "history.db-shm"] {
            let _absent = fs::remove_file(dir.join(stale));
        }
        for (name, bytes) in &self.files {
            fs::write(dir.join(name), bytes).expect("written");
        }
    }

    /// Holds one damaged copy against everything that is promised.
    fn judge(&self, dir: &Path, what: &str) -> Judged {
        let report = verify(dir);
        let integrity = report.as_ref().map(|report| report.integrity.clone());
        let whole = matches!(integrity, Ok(Integrity::Whole));
        if whole {
            let same = content(dir).is_ok_and(|content| content == self.content);
            assert!(same, "{what}: verify missed a change");
        }
        let Ok(opened) = History::open(dir, &holder()) else {
            return Judged::Refused;
        };
        let from = opened.checkpoint.as_ref().map_or(0, |state| state.seq) as usize;
        let last = from + opened.tail.len();
        if let Some(state) = &opened.checkpoint {
            assert_eq!(state, &self.states[from], "{what}: another state");
        }
        assert_eq!(
            opened.tail,
            self.records[from..last],
            "{what}: other records"
        );
        if last < self.records.len() {
            let torn = matches!(integrity, Ok(Integrity::TornTail { .. }));
            assert!(
                torn && opened.torn,
                "{what}: records are missing, {report:?}"
            );
        }
        if whole {
            Judged::Harmless
        } else {
            Judged::Found
        }
    }
}

#[derive(Clone, Copy)]
enum Log {
    Merged,
    Beside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Harmless,
    Found,
    Refused,
}

/// Everything that matters in the file, read past our own code.
fn content(dir: &Path) -> rusqlite::Result<Content> {
    let connection = Connection::open_with_flags(dir.join(DB), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let tables = [
        "events NOT INDEXED",
        "tip NOT INDEXED",
        "checkpoints NOT INDEXED",
        "deployments NOT INDEXED",
        "canary_deployments NOT INDEXED",
        "deployment_details NOT INDEXED",
        "deployment_artifacts NOT INDEXED",
        "(SELECT type, name, tbl_name, sql, 0 AS rowid FROM sqlite_master)",
    ];
    tables
        .iter()
        .map(|table| {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_count();
            let rows = statement.query_map((), |row| (0..columns).map(|i| row.get(i)).collect())?;
            rows.collect()
        })
        .collect()
}

/// A fixed sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

/// Flips one bit per round at each place; counts what came of it.
fn flip(original: &Original, name: &str, places: impl Iterator<Item = usize>) -> [usize; 3] {
    let dir = original.copy();
    let mut dice = Dice(26);
    let mut counts = [0; 3];
    for at in places {
        let bit = dice.roll(8);
        original.restore(dir.path());
        let mut bytes = original.bytes(name).to_vec();
        bytes[at] ^= 1 << bit;
        fs::write(dir.path().join(name), &bytes).expect("written");
        let judged = original.judge(dir.path(), &format!("{name}: byte {at}, bit {bit}"));
        counts[judged as usize] += 1;
    }
    counts
}

/// Places all over a file, and every byte that steers SQLite: the file's header, the pages' heads.
fn places(bytes: &[u8], random: usize) -> impl Iterator<Item = usize> {
    let mut dice = Dice(18);
    let size = bytes.len();
    let random: Vec<usize> = (0..random).map(|_| dice.roll(size)).collect();
    let heads = (0..size / 4_096).flat_map(|page| (0..16).map(move |i| page * 4_096 + i));
    (0..100).chain(heads).chain(random)
}

#[test]
fn fault_018_a_flipped_bit_in_the_file_is_found_or_changes_nothing() {
    let original = Original::write(17, Log::Merged);
    assert!(original.records.len() > 190);
    let counts = flip(&original, DB, places(original.bytes(DB), 1_500));
    println!("harmless, found, refused: {counts:?}");
    assert!(counts.iter().sum::<usize>() > 2_000);
    assert!(counts[1] > 500 && counts[2] > 50, "{counts:?}");
}

#[test]
fn fault_018_a_flipped_bit_in_the_log_is_found_or_changes_nothing() {
    let original = Original::write(4, Log::Beside);
    let mut dice = Dice(7);
    let size = original.bytes(LOG).len();
    let header_and_frames = (0..32).chain((0..size / 4_120).map(|i| 32 + i * 4_120 + i % 24));
    let random: Vec<usize> = (0..200).map(|_| dice.roll(size)).collect();
    let counts = flip(&original, LOG, header_and_frames.chain(random));
    println!("harmless, found, refused: {counts:?}");
    assert!(counts[2] > 200, "{counts:?}");
}

#[test]
fn fault_018_a_flipped_bit_in_the_head_is_found() {
    let original = Original::write(2, Log::Merged);
    let size = original.bytes("history.head").len();
    let counts = flip(&original, "history.head", 0..size);
    // Upper and lower case of a hexadecimal digit are one bit apart and mean the same.
    assert!(counts[0] < size / 4, "{counts:?}");
}

#[test]
fn fault_016_a_file_cut_anywhere_is_refused_or_found() {
    for (log, name, step) in [(Log::Merged, DB, 1_021), (Log::Beside, LOG, 2_039)] {
        let original = Original::write(4, log);
        let bytes = original.bytes(name);
        let dir = original.copy();
        let mut counts = [0; 3];
        for to in (0..bytes.len()).step_by(step) {
            original.restore(dir.path());
            fs::write(dir.path().join(name), &bytes[..to]).expect("cut");
            let judged = judge_cut(&original, dir.path(), name, to);
            counts[judged as usize] += 1;
        }
        println!("{name}: harmless, found, refused: {counts:?}");
        assert!(counts[2] > 0, "{counts:?}");
    }
}

/// A log that ends early is what a crash leaves: records that only it held and the head does not
/// vouch for may be missing, the rest must be there.
fn judge_cut(original: &Original, dir: &Path, name: &str, to: usize) -> Judged {
    if name == DB {
        return original.judge(dir, &format!("{name} cut to {to}"));
    }
    let Ok(opened) = History::open(dir, &holder()) else {
        return Judged::Refused;
    };
    let from = opened.checkpoint.as_ref().map_or(0, |state| state.seq) as usize;
    let last = from + opened.tail.len();
    assert_eq!(opened.checkpoint.as_ref(), Some(&original.states[from]));
    assert_eq!(opened.tail, original.records[from..last]);
    assert!(
        last + 2 >= original.records.len(),
        "the head vouches for all but two"
    );
    match opened.torn {
        true => Judged::Found,
        false => Judged::Harmless,
    }
}

#[test]
fn fault_017_zeros_behind_the_log_are_dropped() {
    let original = Original::write(2, Log::Beside);
    let dir = original.copy();
    let mut bytes = original.bytes(LOG).to_vec();
    bytes.resize(bytes.len() + 4_096, 0);
    fs::write(dir.path().join(LOG), bytes).expect("written");
    assert_eq!(original.judge(dir.path(), "zeros"), Judged::Harmless);
}

/// Works on a copy of the history as somebody with an editor would.
struct Forger {
    dir: tempfile::TempDir,
}

impl Forger {
    fn of(original: &Original) -> Self {
        Self {
            dir: original.copy(),
        }
    }

    /// Runs SQL with the triggers out of the way, then puts them back as they were.
    fn run(self, sql: &str) -> Self {
        let connection = Connection::open(self.path().join(DB)).expect("opened");
        let mut statement = connection
            .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            .expect("prepared");
        let triggers: Vec<(String, String)> = statement
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("queried")
            .collect::<Result<_, _>>()
            .expect("read");
        for (name, _) in &triggers {
            connection
                .execute_batch(&format!("DROP TRIGGER {name}"))
                .expect("dropped");
        }
        connection
            .execute_batch(sql)
            .expect("the forgery is possible");
        for (_, text) in &triggers {
            connection.execute_batch(text).expect("put back");
        }
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    fn report(&self) -> Report {
        verify(&self.path()).expect("readable")
    }

    #[track_caller]
    fn broken_at(&self, seq: u64) {
        match self.report().integrity {
            Integrity::Broken { seq: found, .. } => assert_eq!(found, seq),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn events_cannot_be_changed_by_accident() {
    let original = Original::write(1, Log::Merged);
    let dir = original.copy();
    let connection = Connection::open(dir.path().join(DB)).expect("opened");
    for sql in [
        "UPDATE events SET at_ms = 0 WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "INSERT INTO events SELECT seq + 40, at_ms, actor, kind, body, prev_hash, hash
         FROM events WHERE seq = 3",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 3",
    ] {
        let error = connection.execute(sql, ()).expect_err("refused");
        assert!(error.to_string().contains("events are"), "{error}");
    }
}

#[test]
fn fault_019_the_first_bad_record_is_named() {
    let original = Original::write(17, Log::Merged);
    let n = original.records.len();
    let forge = |sql: &str| Forger::of(&original).run(sql);
    let columns = "at_ms, actor, kind, body, prev_hash, hash";

    forge("DELETE FROM events WHERE seq = 50").broken_at(50);
    forge("DELETE FROM events WHERE seq = 1").broken_at(1);
    forge(
        "DELETE FROM events WHERE seq = 50;
         UPDATE events SET seq = -seq WHERE seq > 50;
         UPDATE events SET seq = -seq - 1 WHERE seq < 0",
    )
    .broken_at(50);
    forge(
        "UPDATE events SET seq = -50 WHERE seq = 50;
         UPDATE events SET seq = 50 WHERE seq = 51;
         UPDATE events SET seq = 51 WHERE seq = -50",
    )
    .broken_at(50);
    forge(&format!(
        "INSERT INTO events SELECT {n} + 1, {columns} FROM events WHERE seq = 60"
    ))
    .broken_at(n as u64 + 1);
    forge(&format!(
        "INSERT INTO events SELECT {n} + 1, {columns} FROM events WHERE seq = {n}"
    ))
    .broken_at(n as u64 + 1);
    forge("UPDATE events SET body = replace(body, 'checkout', 'checkin') WHERE seq = 99")
        .broken_at(99);
    forge("UPDATE events SET actor = '\"engine\"' WHERE seq = 1").broken_at(1);
    forge("UPDATE events SET kind = 'refused' WHERE seq = 70").broken_at(70);
}

#[test]
fn fault_019_a_history_put_back_from_an_earlier_time_shows_against_the_head() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::default();
    let mut opened = open(dir.path());
    support::write_rollouts(&mut opened.history, &mut story, 2);
    drop(opened);
    let earlier = fs::read(dir.path().join(DB)).expect("read");
    let early = story.state.seq;
    let mut opened = open(dir.path());
    support::write_rollouts(&mut opened.history, &mut story, 1);
    drop(opened);
    let late = story.state.seq;

    fs::write(dir.path().join(DB), earlier).expect("put back");
    let report = verify(dir.path()).expect("readable");
    assert_eq!(
        report.integrity,
        Integrity::Truncated {
            head: late,
            last: early
        }
    );
    match History::open(dir.path(), &holder()) {
        Err(HistoryError::Truncated { head, last }) => assert_eq!((head, last), (late, early)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fault_019_a_cut_that_moves_the_tip_along_shows_against_the_head() {
    let original = Original::write(3, Log::Merged);
    let forged = Forger::of(&original).run(
        "DELETE FROM events WHERE seq > 20;
         DELETE FROM checkpoints WHERE seq > 20;
         UPDATE tip SET seq = 20, hash = (SELECT hash FROM events WHERE seq = 20)",
    );
    let last = 20;
    match forged.report().integrity {
        Integrity::Truncated { head, last: found } => assert!(found == last && head > last),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        History::open(&forged.path(), &holder()),
        Err(HistoryError::Truncated { .. })
    ));
}

#[test]
fn rows_that_the_records_do_not_say_are_found() {
    let original = Original::write(4, Log::Merged);
    for sql in [
        "UPDATE deployments SET deployment_status = 'succeeded', rolled_back = 0
         WHERE rolled_back",
        "UPDATE deployments SET version = 'v9' WHERE version = 'v1.2.0'",
        "UPDATE deployments SET duration_ms = duration_ms - 1 WHERE version = 'v1.2.0'",
        "UPDATE canary_deployments SET error_rate = 0",
        "UPDATE canary_deployments SET created_at = 0",
        "UPDATE deployment_details SET actor = 'bob' WHERE number = 3",
        "UPDATE deployment_details SET reason = 'none' WHERE number = 3",
        "DELETE FROM canary_deployments WHERE rowid = 2",
        "PRAGMA foreign_keys = OFF;
         DELETE FROM deployments WHERE version = 'v1.2.0';
         DELETE FROM deployment_details WHERE number = 2;
         DELETE FROM canary_deployments WHERE rowid = 2",
    ] {
        let report = Forger::of(&original).run(sql).report();
        let found = matches!(report.integrity, Integrity::ProjectionDiffers { .. });
        assert!(found, "{sql}: {report:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_found() {
    let original = Original::write(3, Log::Merged);
    let forged = Forger::of(&original).run(
        "UPDATE checkpoints SET state = CAST(replace(CAST(state AS TEXT), '\"rollouts\":3',
             '\"rollouts\":9') AS BLOB) WHERE seq = (SELECT max(seq) FROM checkpoints)",
    );
    assert!(matches!(
        forged.report().integrity,
        Integrity::CheckpointDamaged { .. }
    ));
    let opened = open(&forged.path());
    let state = opened.checkpoint.expect("the one before it");
    assert_eq!(state.rollouts, 2);
    assert_eq!(opened.skipped_checkpoints, 1);
    assert_eq!(opened.tail, original.records[state.seq as usize..]);
}

#[test]
fn checkpoints_of_another_shape_are_passed_over() {
    let original = Original::write(2, Log::Merged);
    let forged = Forger::of(&original).run("UPDATE checkpoints SET schema = 999");
    let opened = open(&forged.path());
    assert_eq!(opened.checkpoint, None);
    assert_eq!(opened.tail, original.records);
}

#[test]
fn a_start_does_not_read_what_a_checkpoint_covers() {
    let original = Original::write(17, Log::Merged);
    let forged = Forger::of(&original).run("UPDATE events SET body = 'nonsense' WHERE seq = 5");
    forged.broken_at(5);
    let opened = open(&forged.path());
    assert_eq!(opened.tail.len(), 2);
    assert_eq!(opened.history.last_seq(), original.records.len() as u64);
}

#[test]
fn a_missing_trigger_is_found_and_refused() {
    let original = Original::write(1, Log::Merged);
    let dir = original.copy();
    Connection::open(dir.path().join(DB))
        .and_then(|connection| connection.execute_batch("DROP TRIGGER events_stay"))
        .expect("dropped");
    match History::open(dir.path(), &holder()) {
        Err(HistoryError::Layout { object, .. }) => assert_eq!(object, "events_stay"),
        other => panic!("{other:?}"),
    }
    let report = verify(dir.path()).expect("readable");
    assert!(
        matches!(report.integrity, Integrity::FileDamaged { .. }),
        "{report:?}"
    );
}

#[test]
fn a_newer_layout_is_refused_with_a_clear_text() {
    let original = Original::write(1, Log::Merged);
    let forged = Forger::of(&original).run("PRAGMA user_version = 3");
    for error in [
        verify(&forged.path()).expect_err("refused"),
        History::open(&forged.path(), &holder()).expect_err("refused"),
    ] {
        assert!(
            matches!(error, HistoryError::Newer { found: 3, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}
