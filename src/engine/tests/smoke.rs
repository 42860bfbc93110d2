//! Smoke tests: what ends a rollout, what only warns, what waits.

use super::stage::{Stage, spec, stable_with};
use crate::model::service::{CheckKind, ServiceSpec, SmokeTest};
use crate::model::world::SmokeReport;
use crate::model::{Entry, Status};
use crate::view;
use crate::view::snapshot::{PhaseView, RolloutView, StageState, StageView};

fn tested() -> ServiceSpec {
    let test = |name: &str, critical| SmokeTest {
        name: name.parse().expect("a name"),
        critical,
        kind: CheckKind::Tcp,
        timeout_ms: 1_000,
        attempts: 1,
        retry_interval_ms: 0,
    };
    ServiceSpec {
        smoke: vec![test("order", true), test("cache", false)],
        smoke_timeout_ms: 60_000,
        ..spec()
    }
}

fn stage() -> Stage {
    stable_with(tested())
}

fn reported(stage: &Stage) -> &SmokeReport {
    let mut reports = stage.entries.iter().rev().filter_map(|entry| match entry {
        Entry::SmokeFinished { report, .. } => Some(report),
        _ => None,
    });
    reports.next().expect("a smoke run was recorded")
}

fn shown(stage: &Stage) -> RolloutView {
    let mut views = view::placements(&stage.state, &stage.world, &[]);
    views.remove(0).rollout.expect("a rollout is open")
}

fn smoke_stage(view: &RolloutView) -> &StageView {
    let stage = view.stages.iter().find(|it| it.name.as_str() == "Smoke");
    stage.expect("a smoke stage")
}

#[test]
fn an_uncritical_failure_is_recorded_and_shown_and_ends_nothing() {
    let mut stage = stage();
    stage.failing_tests.insert("cache".to_owned());
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    let report = reported(&stage);
    assert_eq!(report.results.len(), 4, "two tests on two instances");
    assert_eq!(
        (report.failures().count(), report.warnings().count()),
        (0, 2)
    );

    let view = shown(&stage);
    let smoke = smoke_stage(&view);
    assert_eq!((smoke.state, smoke.warns), (StageState::Passed, true));
    let detail = smoke.detail.as_str();
    assert!(
        detail.starts_with("warning: cache fails on web"),
        "{detail}"
    );
    assert!(detail.ends_with("status 500; 2/4 ok (5 ms)"), "{detail}");
    let counts = view.smoke.as_ref().expect("its results");
    assert_eq!((counts.passed, counts.warned, counts.failed), (2, 2, 0));
    assert!(counts.results[0].trouble.is_some(), "failures first");

    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_critical_failure_ends_the_rollout_before_it_had_traffic() {
    let mut stage = stage();
    stage
        .failing_tests
        .extend(["order", "cache"].map(str::to_owned));
    stage.deploy("v2");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!(reported(&stage).failures().count(), 2);
    let cause = stage.entries.iter().find_map(|entry| match entry {
        Entry::RevertDecided { cause, .. } => Some(cause.as_str()),
        _ => None,
    });
    let cause = cause.expect("it was taken back");
    assert!(
        cause.starts_with("smoke test order failed on web"),
        "{cause}"
    );
}

#[test]
fn a_smoke_run_has_its_own_time_beside_the_starts() {
    let mut stage = stage();
    stage.smoke_hangs = true;
    stage.deploy("v2");
    stage.pass_ms(stage.spec.health.start_timeout_ms + 1_000);
    let view = shown(&stage);
    assert_eq!(view.phase, PhaseView::Smoking);
    assert_eq!(smoke_stage(&view).detail.as_str(), "4 tests");
    stage.smoke_hangs = false;
    stage.until("the first soak", Stage::is_soaking);
    assert_eq!(smoke_stage(&shown(&stage)).detail.as_str(), "4/4 ok (5 ms)");
}

#[test]
fn a_smoke_run_that_never_reports_ends_the_rollout() {
    let mut stage = stage();
    stage.smoke_hangs = true;
    stage.deploy("v2");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Failed));
    let late = stage.entries.iter().any(|entry| {
        matches!(entry, Entry::RevertDecided { cause, .. }
            if cause.as_str() == "the smoke tests did not end in time")
    });
    assert!(late, "{:#?}", stage.entries);
}
