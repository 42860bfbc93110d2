use super::*;
use crate::model::verdict::Histogram;

fn settings() -> AnalysisSettings {
    AnalysisSettings {
        interval_ms: 10_000,
        failures: 2,
        no_data_intervals: 5,
        no_data_abort_ms: 600_000,
        error_ratio: Some(0.05),
        latency_p99_ms: Some(1_000),
        mean_ms: Some(2_000.0),
        error_ratio_vs_stable: Some(1.5),
        latency_p99_vs_stable: Some(1.3),
        mean_vs_stable: Some(2.0),
        infrastructure_health: Some(0.95),
        cpu: None,
        memory: None,
        disk: None,
        uptime: None,
        comparison: None,
    }
}

fn counted(requests: u64, errors: u64, ms: u64) -> Counters {
    let mut latency = Histogram::default();
    for _ in 0..requests {
        latency.record_us(ms * 1_000);
    }
    Counters {
        requests,
        errors,
        latency: Some(latency),
        unmeasured: 0,
    }
}

fn evidence(canary: Counters, stable: Counters) -> Evidence {
    Evidence {
        recent_canary: canary.clone(),
        recent_stable: Some(stable.clone()),
        canary,
        stable: Some(stable),
        probes_passed: 30,
        probes_made: 30,
        fresh: true,
        ..Evidence::default()
    }
}

#[track_caller]
fn check(evidence: &Evidence, class: VerdictClass, broken: &[&str]) {
    let verdict = judge(evidence, &settings(), 300);
    let names: Vec<_> = verdict
        .findings
        .iter()
        .filter(|finding| finding.state == RuleState::Broken)
        .map(|finding| finding.rule.as_str())
        .collect();
    assert_eq!(
        (verdict.class, names.as_slice()),
        (class, broken),
        "{verdict:#?}"
    );
    assert!(!verdict.because.is_empty());
}

#[test]
fn identical_versions_pass_and_one_error_on_a_spotless_stable_is_no_alarm() {
    check(
        &evidence(counted(5_000, 10, 20), counted(50_000, 100, 20)),
        VerdictClass::Pass,
        &[],
    );
    check(
        &evidence(counted(400, 1, 20), counted(4_000, 0, 20)),
        VerdictClass::Pass,
        &[],
    );
    check(
        &evidence(counted(400, 4, 20), counted(4_000, 0, 20)),
        VerdictClass::Pass,
        &[],
    );
}

#[test]
fn errors_over_the_absolute_or_the_relative_limit_fail() {
    check(
        &evidence(counted(100, 6, 20), counted(4_000, 0, 20)),
        VerdictClass::Fail,
        &["error_ratio"],
    );
    check(
        &evidence(counted(400, 8, 20), counted(4_000, 8, 20)),
        VerdictClass::Fail,
        &["error_ratio_vs_stable"],
    );
}

#[test]
fn a_relative_rule_waits_below_its_own_minimum() {
    let few = evidence(counted(299, 14, 20), counted(4_000, 0, 20));
    check(&few, VerdictClass::Inconclusive, &[]);
    let verdict = judge(&few, &settings(), 300);
    let relative = &verdict.findings[1];
    assert_eq!(
        (relative.rule.as_str(), relative.state),
        ("error_ratio_vs_stable", RuleState::Wait)
    );
}

#[test]
fn latency_is_judged_as_the_share_above_an_edge() {
    let mut slow = counted(985, 0, 20);
    slow.add(&counted(15, 0, 1_200));
    check(
        &evidence(slow, counted(4_000, 0, 20)),
        VerdictClass::Fail,
        &["latency_p99", "latency_p99_vs_stable"],
    );
    check(
        &evidence(counted(2_000, 0, 40), counted(4_000, 0, 20)),
        VerdictClass::Fail,
        &["latency_p99_vs_stable"],
    );
    let twice = evidence(counted(400, 0, 45), counted(4_000, 0, 20));
    check(&twice, VerdictClass::Fail, &["mean_vs_stable"]);
}

#[test]
fn a_late_burst_is_not_diluted_by_a_long_good_step() {
    let mut burst = evidence(counted(50_000, 50, 20), counted(500_000, 500, 20));
    burst.recent_canary = counted(1_000, 40, 20);
    check(&burst, VerdictClass::Fail, &["error_ratio_vs_stable"]);
}

#[test]
fn no_fresh_data_is_never_a_pass_and_a_source_without_latency_says_so() {
    let mut stale = evidence(counted(5_000, 0, 20), counted(5_000, 0, 20));
    stale.fresh = false;
    check(&stale, VerdictClass::NoData, &[]);
    check(
        &Evidence {
            fresh: true,
            ..Evidence::default()
        },
        VerdictClass::Inconclusive,
        &[],
    );
    let bare = Counters {
        requests: 400,
        errors: 0,
        ..Counters::default()
    };
    let verdict = judge(&evidence(bare.clone(), bare), &settings(), 300);
    let p99 = verdict
        .findings
        .iter()
        .find(|finding| finding.rule == "latency_p99");
    assert_eq!(p99.map(|finding| finding.state), Some(RuleState::NoData));
}

#[test]
fn a_canary_that_answers_nothing_fails_although_no_request_was_counted() {
    let silent = Counters {
        requests: 0,
        errors: 60,
        ..Counters::default()
    };
    check(
        &evidence(silent, counted(4_000, 0, 20)),
        VerdictClass::Fail,
        &["error_ratio"],
    );
}

#[test]
fn failing_probes_fail_only_from_twenty_probes_on() {
    let mut sick = evidence(counted(5_000, 0, 20), counted(5_000, 0, 20));
    (sick.probes_passed, sick.probes_made) = (10, 19);
    check(&sick, VerdictClass::Pass, &[]);
    (sick.probes_passed, sick.probes_made) = (18, 20);
    check(&sick, VerdictClass::Fail, &["infrastructure_health"]);
}

#[test]
fn requests_whose_latency_was_lost_are_no_data_and_never_a_pass() {
    let lost = |unmeasured| Counters {
        unmeasured,
        ..counted(2_000, 0, 20)
    };
    check(
        &evidence(lost(20), counted(4_000, 0, 20)),
        VerdictClass::Pass,
        &[],
    );
    check(
        &evidence(lost(21), counted(4_000, 0, 20)),
        VerdictClass::NoData,
        &[],
    );
    // Stable's are only missed where it is compared with.
    check(
        &evidence(counted(2_000, 0, 20), lost(21)),
        VerdictClass::NoData,
        &[],
    );
    // What was seen and is bad stays bad.
    let slow = Counters {
        unmeasured: 500,
        ..counted(2_000, 0, 4_000)
    };
    let verdict = judge(&evidence(slow, counted(4_000, 0, 20)), &settings(), 300);
    assert_eq!(verdict.class, VerdictClass::Fail);
    let verdict = judge(
        &evidence(lost(500), counted(4_000, 0, 20)),
        &settings(),
        300,
    );
    assert_eq!(
        verdict.because.as_str(),
        "500 of 2000 requests came without a latency; see the balancer's log"
    );
    let unlimited = AnalysisSettings {
        latency_p99_ms: None,
        mean_ms: None,
        latency_p99_vs_stable: None,
        mean_vs_stable: None,
        ..settings()
    };
    let verdict = judge(&evidence(lost(500), counted(4_000, 0, 20)), &unlimited, 300);
    assert_eq!(
        verdict.class,
        VerdictClass::Pass,
        "nobody asks for latencies"
    );
}
