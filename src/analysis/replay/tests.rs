use super::*;
use crate::model::service::ComparisonSettings;

fn judging() -> Judging {
    Judging {
        analysis: AnalysisSettings {
            interval_ms: 10_000,
            failures: 2,
            no_data_intervals: 5,
            no_data_abort_ms: 600_000,
            error_ratio: Some(0.05),
            latency_p99_ms: Some(1_000),
            mean_ms: Some(2_000.0),
            error_ratio_vs_stable: None,
            latency_p99_vs_stable: Some(1.3),
            mean_vs_stable: Some(2.0),
            infrastructure_health: Some(0.95),
            cpu: Some(0.8),
            memory: Some(0.85),
            disk: Some(0.9),
            uptime: Some(0.999),
            comparison: Some(ComparisonSettings {
                false_alarm_per_rollout: 0.01,
                tolerated_ratio: 1.2,
                smallest_regression: 2.0,
                latencies: false,
                early_safety: false,
            }),
        },
        min_requests: 300,
    }
}

fn side(requests: u64, errors: u64) -> Option<Side> {
    Some(Side {
        counts: Counts {
            requests,
            errors,
            within: Vec::new(),
        },
        gauges: Vec::new(),
    })
}

/// Five minutes of stable alone, then both for so many intervals; the canary's errors per 50
/// requests go round.
fn story(intervals: u64, errors: &[u64]) -> Samples {
    let point = |n: u64| Point {
        at_ms: (n + 1) * 5_000,
        canary: match n.checked_sub(60) {
            None => None,
            Some(at) => side(50, errors[at as usize % errors.len()]),
        },
        stable: side(450, 2 + n % 2),
    };
    Samples {
        points: (0..60 + intervals).map(point).collect(),
        ..Samples::default()
    }
}

const BEGAN_MS: u64 = 61 * 5_000;

#[test]
fn a_sound_release_passes_at_the_last_sample() {
    let judged = replay(&story(120, &[0, 0, 1, 0]), &judging());
    assert_eq!(
        judged.class,
        VerdictClass::Pass,
        "{}",
        judged.verdict.because
    );
    assert_eq!(judged.decided_at_ms, Some(180 * 5_000));
    assert_eq!(
        (judged.canary_requests, judged.thoughts.len()),
        (6_000, 120)
    );
}

#[test]
fn three_and_ten_times_the_errors_fail_soon_and_below_the_absolute_limit() {
    for (errors, within_ms) in [(&[1, 1, 0][..], 180_000), (&[2, 3][..], 30_000)] {
        let mut judging = judging();
        judging.analysis.error_ratio = Some(0.2);
        let judged = replay(&story(120, errors), &judging);
        assert_eq!(
            judged.class,
            VerdictClass::Fail,
            "{}",
            judged.verdict.because
        );
        let at_ms = judged.decided_at_ms.expect("decided");
        assert!(at_ms - BEGAN_MS < within_ms, "{at_ms}");
        assert!(
            judged
                .verdict
                .because
                .as_str()
                .contains("worse than tolerated")
        );
        assert_eq!(judged.canary_requests, (at_ms - BEGAN_MS) / 100 + 50);
    }
}

#[test]
fn too_few_requests_are_inconclusive_and_none_are_no_data() {
    let few = replay(&story(3, &[0]), &judging());
    assert_eq!(
        (few.class, few.decided_at_ms),
        (VerdictClass::Inconclusive, None)
    );
    let none = replay(&story(0, &[0]), &judging());
    assert_eq!(
        (none.class, none.decided_at_ms),
        (VerdictClass::NoData, None)
    );
    assert_eq!(
        replay(&Samples::default(), &judging()).class,
        VerdictClass::NoData
    );
    let mut silent = story(120, &[0]);
    silent.points[100..]
        .iter_mut()
        .for_each(|point| point.canary = None);
    assert_eq!(replay(&silent, &judging()).class, VerdictClass::NoData);
}

#[test]
fn an_absolute_limit_fails_without_any_stable_sample() {
    let mut samples = story(40, &[10]);
    samples
        .points
        .iter_mut()
        .for_each(|point| point.stable = None);
    let judged = replay(&samples, &judging());
    assert_eq!(judged.class, VerdictClass::Fail);
    assert!(
        judged
            .verdict
            .because
            .as_str()
            .contains("error rate 20.00 %")
    );
    assert_eq!(
        judged.decided_at_ms,
        Some(BEGAN_MS + 10_000),
        "failed twice"
    );
}

#[test]
fn early_safety_lets_it_pass_before_the_last_sample() {
    let mut judging = judging();
    let comparison = judging.analysis.comparison.as_mut().expect("it compares");
    comparison.early_safety = true;
    let judged = replay(&story(700, &[0, 0, 1, 0]), &judging);
    assert_eq!(judged.class, VerdictClass::Pass);
    let at_ms = judged.decided_at_ms.expect("decided");
    assert!(at_ms < 760 * 5_000 - 60_000, "{at_ms}");
}

#[test]
fn latencies_are_judged_between_the_file_s_own_edges() {
    let mut samples = story(120, &[0]);
    samples.edges_ms = vec![250.0, 1_000.0];
    for point in &mut samples.points {
        let within = |side: &mut Side, slow: u64| {
            let all = side.counts.requests;
            side.counts.within = vec![all - slow, all - slow];
        };
        point.stable.iter_mut().for_each(|side| within(side, 0));
        point.canary.iter_mut().for_each(|side| within(side, 5));
    }
    let judged = replay(&samples, &judging());
    assert_eq!(judged.class, VerdictClass::Fail);
    assert!(
        judged.verdict.because.as_str().contains("p99"),
        "{}",
        judged.verdict.because
    );
    samples.edges_ms = vec![250.0, 900.0];
    let mut absolute = judging();
    absolute.analysis.latency_p99_vs_stable = None;
    let unjudged = replay(&samples, &absolute);
    assert_eq!(unjudged.class, VerdictClass::Pass, "no edge, no limit");
}

#[test]
fn a_gauge_with_a_limit_is_held_against_it_and_its_silence_is_no_pass() {
    let mut samples = story(120, &[0]);
    samples.gauges = vec!["cpu".to_owned(), "queue".to_owned()];
    let set = |samples: &mut Samples, cpu: Option<f64>| {
        let sides = samples
            .points
            .iter_mut()
            .filter_map(|point| point.canary.as_mut());
        sides.for_each(|side| side.gauges = vec![cpu, Some(1e9)]);
    };
    set(&mut samples, Some(0.5));
    assert_eq!(replay(&samples, &judging()).class, VerdictClass::Pass);
    set(&mut samples, Some(0.95));
    assert_eq!(replay(&samples, &judging()).class, VerdictClass::Fail);
    set(&mut samples, None);
    assert_eq!(replay(&samples, &judging()).class, VerdictClass::NoData);
}

/// Rows of a minute, or of a second: the evidence is of the same kind.
#[test]
fn rows_of_another_length_are_judged_too() {
    for (length_ms, scale) in [(1_000, 1), (60_000, 60)] {
        let point = |n: u64| Point {
            at_ms: (n + 1) * length_ms,
            canary: (n >= 30)
                .then(|| side(10 * scale, scale / 10 + u64::from(n % 10 < 2)))
                .flatten(),
            stable: side(90 * scale, scale / 4 + u64::from(n.is_multiple_of(4))),
        };
        let samples = Samples {
            points: (0..330).map(point).collect(),
            ..Samples::default()
        };
        let judged = replay(&samples, &judging());
        assert_eq!(
            judged.class,
            VerdictClass::Fail,
            "{length_ms} {}",
            judged.verdict.because
        );
    }
}
