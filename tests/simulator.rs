//! The simulator as a test: thousands of schedules on every run, and the planted bugs it must
//! find.
//!
//! A failing seed prints the command that replays it, event by event.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wheelhouse::sim::{Mutation, Report, SPECS, Simulator, Violation};

/// Schedules with the same seeds on every run.
const FIXED: u64 = 99_500;
/// Schedules with seeds from a base that is new, and printed, on every run.
const RANDOM: u64 = 500;
/// Kinds of records an engine of this version makes.
const KINDS: usize = 37;
/// Within so many seeds each planted bug must be found.
const PLANTED_WITHIN: u64 = 5_000;

/// Says something also where the test passes; `println!` would be swallowed.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "simulator: {line}").expect("standard error is open");
}

fn simulator() -> Simulator {
    Simulator::new().unwrap_or_else(|found| panic!("without any fault: {found:?}"))
}

fn fail(found: &Violation, mutation: Option<Mutation>) -> ! {
    let planted = mutation.map_or(String::new(), |mutation| {
        format!("WHEELHOUSE_SIM_MUTATION={mutation:?} ")
    });
    panic!(
        "seed {}: at {} ms: {}\nreplay it with: \
         {planted}WHEELHOUSE_SIM_SEED={} cargo test --test simulator replay -- --nocapture",
        found.seed, found.at_ms, found.what, found.seed
    )
}

/// Plays seeds on every core; ends at the first violation.
fn play_all(
    simulator: &Simulator,
    seeds: impl Fn(u64) -> u64 + Sync,
    count: u64,
) -> (Vec<Report>, Duration) {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut total = Report::default();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(total);
            }
            let report = simulator
                .play(seeds(i), None)
                .inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            total.events += report.events;
            total.turns += report.turns;
            total.crashes += report.crashes;
            total.kinds.extend(report.kinds);
        }
    };
    let results: Vec<Result<Report, Violation>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    });
    let reports = results
        .into_iter()
        .map(|result| result.unwrap_or_else(|found| fail(&found, None)));
    (reports.collect(), began.elapsed())
}

#[test]
fn schedules_hold_every_invariant() {
    let simulator = simulator();
    let count: u64 = std::env::var("WHEELHOUSE_SIM_COUNT")
        .map_or(FIXED + RANDOM, |text| text.parse().expect("a number"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let base = std::env::var("WHEELHOUSE_SIM_BASE").map_or(now.as_nanos() as u64, |text| {
        text.parse().expect("a number")
    });
    tell(&format!("random base seed {base}"));
    let fixed = count * FIXED / (FIXED + RANDOM);
    let seed = |i: u64| if i < fixed { i } else { base.wrapping_add(i) };
    let (reports, took) = play_all(&simulator, seed, count);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (events, turns, crashes) = (sum(|r| r.events), sum(|r| r.turns), sum(|r| r.crashes));
    tell(&format!(
        "{count} schedules, {events} events, {turns} turns, {crashes} crashes in {took:.1?}: \
         {:.0} schedules/s on {} threads",
        count as f64 / took.as_secs_f64(),
        reports.len()
    ));
    let kinds: BTreeSet<_> = reports
        .iter()
        .flat_map(|report| report.kinds.iter().copied())
        .collect();
    println!(
        "kinds of records: {}",
        kinds.iter().copied().collect::<Vec<_>>().join(" ")
    );
    // Whoever adds a kind of record makes the schedules reach it.
    assert!(
        count < FIXED || kinds.len() >= KINDS,
        "only {} kinds of records were reached",
        kinds.len()
    );
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("WHEELHOUSE_SIM_SEED") else {
        return;
    };
    let seed = seed.parse().expect("WHEELHOUSE_SIM_SEED is a number");
    let named = std::env::var("WHEELHOUSE_SIM_MUTATION").ok();
    let mutation = named.map(|name| {
        let found = Mutation::ALL
            .into_iter()
            .find(|mutation| format!("{mutation:?}") == name);
        found.expect("WHEELHOUSE_SIM_MUTATION names a planted bug")
    });
    let played = simulator().replay(seed, mutation, &mut |line| println!("{line}"));
    if let Err(found) = played {
        fail(&found, mutation);
    }
}

/// Kills the engine at every boundary of every strategy's ways, and again in the recovery.
#[test]
fn a_crash_anywhere_is_recovered_from() {
    let simulator = simulator();
    let next = AtomicU64::new(0);
    let work = || {
        let mut points = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed) as usize;
            if number >= SPECS {
                return points;
            }
            let found = simulator.crash_everywhere(number);
            points += found.unwrap_or_else(|found| panic!("service {number}: {found:?}"));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let points: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .sum()
    });
    tell(&format!("{points} points at which the engine was killed"));
    assert!(points >= 1_000, "only {points} points");
}

/// Plays so many seeds to the end whatever they find, and prints one line for each that fails: for
/// whoever changes the engine.
#[test]
fn survey() {
    let Ok(count) = std::env::var("WHEELHOUSE_SIM_SURVEY") else {
        return;
    };
    let count = count.parse().expect("WHEELHOUSE_SIM_SURVEY is a number");
    let simulator = simulator();
    let found = (0..count).filter_map(|seed| simulator.play(seed, None).err());
    for found in found {
        println!("seed {}: at {} ms: {}", found.seed, found.at_ms, found.what);
    }
}

#[test]
fn every_planted_bug_is_found() {
    let simulator = simulator();
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let found = (0..PLANTED_WITHIN).find_map(|seed| simulator.play(seed, Some(mutation)).err());
        match found {
            Some(found) => println!("{mutation:?}: seed {}: {}", found.seed, found.what),
            None => missed.push(mutation),
        }
    }
    assert!(
        missed.is_empty(),
        "not found within {PLANTED_WITHIN} seeds: {missed:?}"
    );
}
