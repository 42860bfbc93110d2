//! What a long history costs: the start must not depend on its length, an append must not either.
//!
//! `cargo bench --bench history` prints figures; it holds nothing against a limit.

#[path = "../tests/history/support.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};
use support::Story;
use wheelhouse::history::{History, verify};

/// Records of the long history, in transactions of this many.
const RECORDS: u64 = 100_000;
const BATCH: u64 = 500;

/// The tail a start has to read: half of what makes a checkpoint due.
const TAIL: u64 = 500;

const STARTS: usize = 21;
const APPENDS: usize = 500;

fn main() {
    let (empty, long) = (directory(), directory());
    drop(support::open(empty.path()));
    let mut story = Story::default();
    let began = Instant::now();
    fill(&mut support::open(long.path()).history, &mut story);
    println!("{RECORDS} records written in {:.1?}", began.elapsed());

    let start_empty = median(STARTS, || start(empty.path()));
    let start_long = median(STARTS, || start(long.path()));
    let ratio = start_long.as_secs_f64() / start_empty.as_secs_f64();
    println!("start, empty history:            {start_empty:.2?}");
    println!("start, {RECORDS} records, tail {TAIL}:  {start_long:.2?}");
    println!("ratio:                           {ratio:.2}");

    for (name, dir, story) in [
        ("empty", &empty, &mut Story::default()),
        ("long", &long, &mut story),
    ] {
        let mut history = support::open(dir.path()).history;
        let p50 = median(APPENDS, || append_one(&mut history, story));
        println!("append of one record, p50, {name:>5}: {p50:.2?}");
    }
    let began = Instant::now();
    let report = verify(long.path()).expect("readable");
    println!("verify: {:?} in {:.2?}", report.integrity, began.elapsed());
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn fill(history: &mut History, story: &mut Story) {
    for batch in 0..RECORDS / BATCH {
        let entries = (0..BATCH).map(|n| support::refused(batch * BATCH + n));
        let records = story.tell(entries);
        let ends_before_the_tail = story.state.seq == RECORDS - TAIL;
        let state = ends_before_the_tail.then_some(&story.state);
        history.append(&records, state).expect("appended");
    }
}

fn start(dir: &Path) -> Duration {
    let began = Instant::now();
    let opened = support::open(dir);
    let took = began.elapsed();
    assert!(opened.tail.len() as u64 <= TAIL);
    took
}

fn append_one(history: &mut History, story: &mut Story) -> Duration {
    let records = story.tell([support::refused(0)]);
    let began = Instant::now();
    history.append(&records, None).expect("appended");
    began.elapsed()
}

fn median(rounds: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<Duration> = (0..rounds).map(|_| measure()).collect();
    all.sort_unstable();
    all[rounds / 2]
}
