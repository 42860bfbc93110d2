//! The comparison with stable from the engine's side: what it takes back, what it leaves alone, and
//! what a restart does to it.

use super::stage::{Stage, soaking_with, spec, stable_with};
use crate::model::comparison::Answer;
use crate::model::service::{ComparisonSettings, ServiceSpec};
use crate::model::verdict::{Finding, RuleState, Verdict};
use crate::model::{Entry, Status, VerdictClass};

/// Every absolute limit is out of reach.
fn comparing() -> ServiceSpec {
    let mut spec = spec();
    spec.analysis.error_ratio = Some(0.5);
    spec.analysis.error_ratio_vs_stable = None;
    spec.analysis.comparison = Some(ComparisonSettings {
        false_alarm_per_rollout: 0.01,
        tolerated_ratio: 1.2,
        smallest_regression: 2.0,
        latencies: false,
        early_safety: false,
    });
    for step in &mut spec.canary.steps {
        step.soak_ms = 60_000;
    }
    spec
}

/// Stable has served for a while, with so many errors in a hundred, and v2 begins with its own.
fn served(spec: ServiceSpec, errors: [u64; 2]) -> Stage {
    let mut stage = stable_with(spec);
    stage.requests = 100;
    stage.errors.insert("v1".to_owned(), errors[0]);
    stage.errors.insert("v2".to_owned(), errors[1]);
    stage.pass_ms(60_000);
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    stage
}

fn verdict(stage: &Stage) -> Verdict {
    let look = crate::engine::Look::at(&stage.state, &stage.world, &stage.spec.placement);
    crate::engine::verdict(&look.expect("it is recorded"), stage.rollout())
}

fn row(verdict: &Verdict) -> Option<&Finding> {
    let mut rows = verdict.findings.iter();
    rows.find(|row| row.rule == "errors_compared")
}

#[test]
fn three_and_ten_times_stable_s_errors_below_every_limit_are_taken_back_at_once() {
    for (percent, within_ms) in [(3, 20_000), (10, 12_000)] {
        let mut stage = served(comparing(), [1, percent]);
        let began_ms = stage.world.now_ms;
        stage.until("the end", |stage| !stage.is_open());
        assert_eq!(stage.ended(), Some(Status::RolledBack));
        assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
        let decided = stage.entries.iter().find_map(|entry| match entry {
            Entry::RevertDecided { cause, verdict, .. } => Some((cause, verdict.as_ref()?)),
            _ => None,
        });
        let (cause, verdict) = decided.expect("with its evidence");
        assert!(
            cause.as_str().contains("worse than tolerated, evidence "),
            "{cause}"
        );
        let row = row(verdict).expect("quoted");
        let quoted = row.compared.as_ref().expect("the evidence");
        assert_eq!(quoted.evidence.answer, Answer::Worse);
        assert_eq!(row.state, RuleState::Broken);
        let took_ms = stage.world.now_ms - began_ms;
        assert!(took_ms < within_ms, "{percent} %: {took_ms} ms");
    }
}

#[test]
fn without_the_comparison_the_same_regression_goes_through() {
    let mut spec = comparing();
    spec.analysis.comparison = None;
    for step in &mut spec.canary.steps {
        step.soak_ms = 20_000;
    }
    let mut stage = served(spec, [1, 3]);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

/// Both versions fail 0 to 4 of 100 requests, 2 in the mean, each by a dice of its own.
#[test]
fn identical_versions_soak_for_long_and_never_fail() {
    let mut spec = comparing();
    spec.canary.steps[0].soak_ms = 1_200_000;
    let mut stage = served(spec, [2, 2]);
    let mut seed = 7_u64;
    let mut dice = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % 5
    };
    while stage.world.now_ms < 1_000_000 + 900_000 {
        stage.errors.insert("v1".to_owned(), dice());
        stage.errors.insert("v2".to_owned(), dice());
        stage.tick();
    }
    assert!(stage.is_soaking());
    assert!(!stage.is_recorded(|entry| matches!(
        entry,
        Entry::VerdictChanged { verdict, .. } if verdict.class == VerdictClass::Fail
    )));
    let verdict = verdict(&stage);
    let row = row(&verdict).expect("a row");
    assert_eq!(row.state, RuleState::Ok, "{row:?}");
    assert!(row.samples > 100_000, "{row:?}");
}

#[test]
fn after_a_restart_it_begins_anew_and_says_so() {
    let mut stage = served(comparing(), [1, 1]);
    stage.pass_ms(20_000);
    let before = verdict(&stage);
    let told = |verdict: &Verdict| {
        let note = row(verdict).and_then(|row| row.note.as_ref());
        note.expect("a sentence").to_string()
    };
    assert!(!told(&before).contains("anew"), "{}", told(&before));
    stage.restart();
    stage.pass_ms(1_000);
    let at_once = verdict(&stage);
    assert_eq!(
        row(&at_once).map(|row| row.samples),
        Some(0),
        "nothing is left of it"
    );
    assert!(told(&at_once).ends_with("begun anew when the engine started"));
    stage.pass_ms(20_000);
    let after = verdict(&stage);
    assert!(row(&after).expect("a row").samples > 0);
    assert!(told(&after).ends_with("begun anew when the engine started"));
    stage.errors.insert("v2".to_owned(), 10);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
}

#[test]
fn a_hold_does_not_stop_it() {
    let mut stage = served(comparing(), [1, 1]);
    stage.hold().expect("it is taken");
    stage.pass_ms(10_000);
    stage.errors.insert("v2".to_owned(), 10);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
}

#[test]
fn evidence_is_kept_over_steps_and_the_next_rollout_begins_with_none() {
    let mut spec = comparing();
    for step in &mut spec.canary.steps {
        step.soak_ms = 11_000;
    }
    let mut stage = served(spec, [1, 1]);
    stage.until("the second soak", |stage| {
        stage.rollout().step == 2 && stage.is_soaking()
    });
    let seen = row(&verdict(&stage)).map_or(0, |row| row.samples);
    assert!(seen > 0, "what the first step showed still counts");
    stage.abort().expect("it is taken");
    stage.until("the end", |stage| !stage.is_open());
    stage.tick();
    assert_eq!(stage.world.placements[&stage.placement()].compared, None);
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    let anew = verdict(&stage);
    assert_eq!(row(&anew).map(|row| row.samples), Some(0));
    stage.pass_ms(20_000);
    let compared = stage.world.placements[&stage.placement()].compared.clone();
    let history = compared.expect("it compares").1.history;
    assert!(
        history >= 14,
        "stable was watched before and between: {history}"
    );
}

#[test]
fn a_ruled_out_regression_spares_the_rest_of_a_soak_only_where_that_is_configured() {
    let ended = |early_safety| {
        let mut spec = comparing();
        spec.canary.steps[0].soak_ms = 250_000;
        let settings = spec.analysis.comparison.as_mut().expect("it compares");
        settings.early_safety = early_safety;
        let mut stage = served(spec, [1, 1]);
        let began_ms = stage.world.now_ms;
        stage.until("the second step", |stage| stage.rollout().step == 2);
        stage.world.now_ms - began_ms
    };
    assert!(ended(false) >= 250_000);
    assert!(ended(true) < 200_000);
}

#[test]
fn there_is_no_row_without_a_stable_release_or_a_comparison() {
    let mut stage = super::stage::empty_with(comparing());
    stage.deploy("v1");
    stage.until("its soak", Stage::is_soaking);
    assert!(row(&verdict(&stage)).is_none());
    let stage = soaking_with(spec());
    assert!(row(&verdict(&stage)).is_none());
}
