//! Runs of pipelines as an engine would send them.

use super::fixture::{self, NOW_MS};
use std::collections::BTreeMap;
use wheelhouse::model::pipeline::RunResult;
use wheelhouse::model::{Clean, RolloutNumber, RunId, RunNumber};
use wheelhouse::view::Snapshot;
use wheelhouse::view::pipeline::{RunView, StageView};

/// A stage that has not begun, done after those.
pub fn stage(name: &str, work: &str, needs: &[&str]) -> StageView {
    StageView {
        name: name.parse().expect("valid"),
        work: work.to_owned(),
        needs: needs
            .iter()
            .map(|name| name.parse().expect("valid"))
            .collect(),
        status: "waiting".to_owned(),
        why: None,
        since_ms: NOW_MS,
        took_ms: None,
        usual_ms: None,
        attempts: 0,
        placement: None,
        rollout: None,
        waits_for_person: false,
        last_line: None,
        values: BTreeMap::new(),
    }
}

fn deploy(name: &str, place: &str, needs: &[&str]) -> StageView {
    StageView {
        placement: Some(place.parse().expect("valid")),
        ..stage(name, "deploy", needs)
    }
}

/// Nothing of it has begun.
pub fn queued(number: u64) -> RunView {
    RunView {
        number: RunNumber(number),
        id: RunId(uuid::Uuid::from_u128(1_000 + u128::from(number))),
        pipeline: "shop".parse().expect("valid"),
        branch: "main".into(),
        commit: Some("c0ffee1a2b3c4d5e6f708192a3b4c5d6e7f80910".into()),
        subject: Some("Fix the cart".into()),
        changed: Some("3 commits since the last, 5 files, +120 -14".into()),
        by: "alice".into(),
        reason: None,
        began_ms: NOW_MS - 200_000,
        result: None,
        ended_ms: None,
        canceled: None,
        waits: None,
        left_ms: None,
        stages: vec![
            stage("checkout", "checkout", &[]),
            stage("lint", "command", &["checkout"]),
            stage("test", "command", &["checkout"]),
            stage("image", "build", &["lint", "test"]),
            stage("push", "push", &["image"]),
            deploy("staging", "shop@staging", &["push"]),
            deploy("canary", "shop@production", &["staging"]),
        ],
    }
}

pub fn of<'a>(run: &'a mut RunView, name: &str) -> &'a mut StageView {
    let mut stages = run.stages.iter_mut();
    let found = stages.find(|stage| stage.name.as_str() == name);
    found.expect("it is declared")
}

pub fn pass(run: &mut RunView, name: &str, took_ms: u64) {
    let stage = of(run, name);
    stage.status = "passed".to_owned();
    stage.took_ms = Some(took_ms);
    stage.usual_ms = Some(took_ms * 10 / 11);
    stage.attempts = 1;
}

fn begin(run: &mut RunView, name: &str, ago_ms: u64, usual_ms: u64) {
    let stage = of(run, name);
    stage.status = "running".to_owned();
    stage.since_ms = NOW_MS - ago_ms;
    stage.usual_ms = Some(usual_ms);
    stage.attempts = 1;
}

/// Linted and tested at the same time.
pub fn parallel() -> RunView {
    let mut run = queued(12);
    pass(&mut run, "checkout", 3_000);
    begin(&mut run, "lint", 42_000, 70_000);
    begin(&mut run, "test", 62_000, 52_500);
    of(&mut run, "test").last_line = Some("test cart::sums ... ok".into());
    run.left_ms = Some(252_300);
    run
}

/// A test failed.
pub fn failed() -> RunView {
    let mut run = parallel();
    pass(&mut run, "lint", 44_000);
    let test = of(&mut run, "test");
    test.status = "failed".to_owned();
    test.took_ms = Some(64_000);
    let why = "exit status 101: test cart::sums ... FAILED: assertion `left == right` failed: \
               left: 41, right: 42, at src/cart/sums.rs:118, after 1284 others had passed";
    test.why = Some(Clean::new(why));
    for name in ["image", "push", "staging", "canary"] {
        of(&mut run, name).status = "canceled".to_owned();
    }
    run.result = Some(RunResult::Failed);
    run.ended_ms = Some(NOW_MS - 60_000);
    run.left_ms = None;
    run
}

/// Staging is done; production waits for a person.
pub fn waiting() -> RunView {
    let mut run = parallel();
    pass(&mut run, "lint", 44_000);
    pass(&mut run, "test", 64_000);
    pass(&mut run, "image", 95_000);
    pass(&mut run, "push", 9_000);
    pass(&mut run, "staging", 120_000);
    let values = [
        ("digest", "sha256:9f3c2a11d0e4b7"),
        ("image", "registry/shop:c0ffee1"),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), Clean::new(value)));
    of(&mut run, "push").values = BTreeMap::from(values);
    of(&mut run, "staging").rollout = Some(RolloutNumber(1_840));
    of(&mut run, "canary").waits_for_person = true;
    run.left_ms = None;
    let waits = "canary: a person lets it begin: wheelhouse pipeline confirm p12 canary";
    run.waits = Some(waits.into());
    run
}

/// The engine ended in the middle of the build.
pub fn unknown() -> RunView {
    let mut run = parallel();
    pass(&mut run, "lint", 44_000);
    pass(&mut run, "test", 64_000);
    let image = of(&mut run, "image");
    image.status = "unknown".to_owned();
    image.attempts = 1;
    image.why = Some("the engine ended while it was under way".into());
    image.waits_for_person = true;
    run.left_ms = None;
    let waits = "image: nobody knows how far it got: wheelhouse pipeline confirm p12 image";
    run.waits = Some(waits.into());
    run
}

/// Its canary is the rollout of [`fixture::soaking`].
pub fn deploying() -> RunView {
    let mut run = waiting();
    run.waits = None;
    begin(&mut run, "canary", 500_000, 1_200_000);
    let canary = of(&mut run, "canary");
    canary.waits_for_person = false;
    canary.rollout = Some(RolloutNumber(1_841));
    run
}

/// All went well, long ago.
pub fn passed(number: u64) -> RunView {
    let mut run = queued(number);
    for stage in &mut run.stages {
        stage.status = "passed".to_owned();
        stage.took_ms = Some(30_000);
        stage.attempts = 1;
    }
    run.result = Some(RunResult::Passed);
    run.began_ms = NOW_MS - 8_000_000;
    run.ended_ms = Some(NOW_MS - 7_200_000);
    run
}

/// A run of a pipeline that deploys nothing.
pub fn nightly(number: u64) -> RunView {
    let mut run = queued(number);
    run.pipeline = "nightly-checks".parse().expect("valid");
    run.branch = "release/2026".into();
    run.subject = None;
    run.stages.truncate(3);
    run.waits = Some("p9 goes first".into());
    run
}

/// What runs, the newest first, beside that.
pub fn with(mut snapshot: Snapshot, runs: Vec<RunView>) -> Snapshot {
    snapshot.runs = runs;
    snapshot
}

/// Nothing is rolled out, this runs.
pub fn idle(run: RunView) -> Snapshot {
    with(fixture::idle(), vec![run])
}

/// The fleet, with several runs.
pub fn fleet() -> Snapshot {
    let mut canceled = passed(9);
    canceled.result = Some(RunResult::Canceled);
    canceled.canceled = Some("bob: wrong branch".into());
    let mut old = failed();
    old.number = RunNumber(8);
    old.id = RunId(uuid::Uuid::from_u128(1_008));
    let runs = vec![nightly(13), parallel(), passed(11), canceled, old];
    with(fixture::fleet(), runs)
}
