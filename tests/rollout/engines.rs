//! The engine dies, is stopped and comes back in the middle of a rollout.

use crate::judge::{Expected, judge, records};
use crate::stage::{Front, Pace, QUICK, Stage};
use std::time::{Duration, Instant};
use wheelhouse::model::{Entry, Status};

/// Numbers that look random, from a seed that is printed.
struct Dice(u64);

impl Dice {
    /// From `WHEELHOUSE_SEED`, else a new one.
    fn roll() -> Self {
        let given = std::env::var("WHEELHOUSE_SEED").ok();
        let given = given.and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64 | 1);
        eprintln!("seed: WHEELHOUSE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Rows 1–6 of the fault catalogue, wherever the dice put them: every second death meets an
/// engine that is still recovering from the last one.
async fn ten_deaths_of_the_engine(front: Front) {
    const DEATHS: u64 = 10;
    let pace = Pace {
        steps: "[10, 25, 50, 100]",
        ..QUICK
    };
    let Some(mut stage) = Stage::set(front, pace).await else {
        return;
    };
    let mut dice = Dice::roll();
    let load = stage.load();
    let number = stage.deploy("v2").await;
    for death in 0..DEATHS {
        let limit_ms = if death % 2 == 0 { 1_500 } else { 150 };
        // Not a wait for anything: the moment of a fault.
        tokio::time::sleep(Duration::from_millis(dice.below(limit_ms))).await;
        stage.engine.kill();
        stage.begin_engine();
    }
    stage.ends(number, Status::Succeeded).await;
    let began = |entry: &Entry| matches!(entry, Entry::EngineStarted { .. });
    let began = records(&stage).iter().filter(|r| began(&r.entry)).count();
    assert!(began > 1, "no engine lived long enough to say so");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_002_ten_deaths_of_the_engine_behind_the_proxy() {
    ten_deaths_of_the_engine(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_002_ten_deaths_of_the_engine_behind_haproxy() {
    ten_deaths_of_the_engine(Front::Haproxy).await;
}

async fn a_stopped_engine_resumes_with_a_new_soak(front: Front) {
    const SOAK_MS: u64 = 2_000;
    let pace = Pace {
        steps: "[25, 100]",
        soak: "2s",
        ..QUICK
    };
    let Some(mut stage) = Stage::set(front, pace).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    load.answers(200).await;
    let asked = Instant::now();
    let ended = stage.engine.end().expect("it ends when it is asked to");
    assert!(ended.success(), "{ended}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    stage.start_engine().await;
    stage.ends(number, Status::Succeeded).await;
    let records = records(&stage);
    let last_start = records.iter().rev().find_map(|record| {
        matches!(record.entry, Entry::EngineStarted { .. }).then_some(record.at_ms)
    });
    let passed = records.iter().find_map(|record| match record.entry {
        Entry::StepPassed { step: 1, .. } => Some(record.at_ms),
        _ => None,
    });
    // The first deploy has a step 1 of its own only if nobody promoted it.
    let passed = passed.filter(|at_ms| Some(*at_ms) > last_start);
    let soaked_ms = passed.zip(last_start).map(|(passed, start)| passed - start);
    assert!(soaked_ms >= Some(SOAK_MS), "soaked {soaked_ms:?} ms anew");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_012_a_stopped_engine_resumes_with_a_new_soak_behind_the_proxy() {
    a_stopped_engine_resumes_with_a_new_soak(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_012_a_stopped_engine_resumes_with_a_new_soak_behind_haproxy() {
    a_stopped_engine_resumes_with_a_new_soak(Front::Haproxy).await;
}
