//! The judge's mathematics from outside: what holds whatever is counted, and the bound on false
//! alarms over seeded traffic. `cargo bench --bench judge` has the figures.

#[path = "../benches/support/traffic.rs"]
mod traffic;

use proptest::prelude::*;
use traffic::{Scenario, Traffic};
use wheelhouse::analysis::sequential::{
    Answer, CountEvidence, Counted, Dynamics, Question, SequentialTest,
};

/// A quarter of an hour.
const INTERVALS: usize = 180;

fn question() -> Question {
    Question::default()
}

fn known(requests: u64, events: u64) -> Vec<Counted> {
    vec![Counted::new(requests, events); 120]
}

#[track_caller]
fn after(history: &[Counted], seen: &[(Counted, Counted)]) -> CountEvidence {
    fed(SequentialTest::new(question(), history), seen)
}

fn fed(mut test: SequentialTest, seen: &[(Counted, Counted)]) -> CountEvidence {
    for (canary, stable) in seen {
        test.add(*canary, *stable);
    }
    test.evidence()
}

#[test]
fn ten_times_the_errors_are_caught_within_a_few_intervals_and_three_times_later() {
    let history = known(450, 2);
    let bad = (Counted::new(50, 3), Counted::new(450, 2));
    assert_eq!(after(&history, &[bad; 3]).answer, Answer::Worse);
    let mut seen = Vec::new();
    for _ in 0..14 {
        seen.push((Counted::new(50, 0), Counted::new(450, 3)));
        seen.push((Counted::new(50, 1), Counted::new(450, 2)));
        seen.push((Counted::new(50, 1), Counted::new(450, 2)));
    }
    let evidence = after(&history, &seen);
    assert_eq!(evidence.answer, Answer::Worse, "{evidence:?}");
    assert!((2.0..4.0).contains(&evidence.ratio), "{evidence:?}");
    assert!(evidence.ratio_low > 1.2, "{evidence:?}");
}

#[test]
fn a_regression_that_comes_late_is_caught_too() {
    let history = known(450, 2);
    let mut seen = vec![(Counted::new(50, 0), Counted::new(450, 2)); 400];
    assert_eq!(after(&history, &seen).answer, Answer::Safe);
    seen.extend([(Counted::new(50, 3), Counted::new(450, 2)); 10]);
    assert_eq!(after(&history, &seen).answer, Answer::Worse);
}

#[test]
fn a_shock_to_both_versions_is_no_regression_and_the_same_without_stable_s_part_is() {
    let history = known(250, 1);
    let calm = (Counted::new(250, 1), Counted::new(250, 1));
    let both = (Counted::new(250, 25), Counted::new(250, 24));
    let one = (Counted::new(250, 25), Counted::new(250, 1));
    let story = |shock| [vec![calm; 20], vec![shock; 12], vec![calm; 20]].concat();
    assert_ne!(after(&history, &story(both)).answer, Answer::Worse);
    assert_eq!(after(&history, &story(one)).answer, Answer::Worse);
}

#[test]
fn an_error_or_two_beside_a_spotless_stable_are_no_regression() {
    let history = known(450, 0);
    let mut seen = vec![(Counted::new(50, 0), Counted::new(450, 0)); 60];
    for at in [20, 45] {
        seen[at].0.events = 1;
    }
    assert_ne!(after(&history, &seen).answer, Answer::Worse);
}

#[test]
fn without_history_it_takes_more_and_without_requests_nothing_is_said() {
    let bad = (Counted::new(50, 3), Counted::new(50, 0));
    let (told, untold) = (after(&known(450, 2), &[bad; 2]), after(&[], &[bad; 2]));
    assert!(told.log10_worse > untold.log10_worse, "{told:?} {untold:?}");
    assert_eq!(after(&[], &[bad; 12]).answer, Answer::Worse);
    let silent = after(
        &known(450, 2),
        &[(Counted::default(), Counted::new(450, 2)); 50],
    );
    assert_eq!(silent.answer, Answer::Open);
    assert!(
        silent.log10_worse < 0.5 && silent.log10_safe < 0.5,
        "{silent:?}"
    );
}

#[test]
fn bursts_that_stable_is_known_for_count_for_less() {
    let smooth = known(450, 2);
    let mut bursty = Vec::new();
    for _ in 0..12 {
        bursty.extend([Counted::new(450, 0); 9]);
        bursty.push(Counted::new(450, 20));
    }
    let burst = [(Counted::new(50, 6), Counted::new(450, 2))];
    let (smooth, bursty) = (after(&smooth, &burst), after(&bursty, &burst));
    assert!(bursty.correlation > 0.005, "{bursty:?}");
    assert!(
        smooth.log10_worse > bursty.log10_worse + 1.0,
        "{smooth:?} {bursty:?}"
    );
}

#[test]
fn slower_than_stable_s_median_is_judged_by_the_same_test() {
    let history = known(100, 50);
    let same = (Counted::new(100, 55), Counted::new(100, 50));
    let slower = (Counted::new(100, 75), Counted::new(100, 50));
    assert_ne!(after(&history, &[same; 60]).answer, Answer::Worse);
    assert_eq!(after(&history, &[slower; 20]).answer, Answer::Worse);
}

#[test]
fn what_is_needed_shrinks_as_evidence_grows() {
    let fair = (Counted::new(50, 0), Counted::new(450, 2));
    let needs = |n: usize| after(&known(450, 2), &vec![fair; n]).needs_requests;
    let (early, late) = (needs(2).expect("open"), needs(8).expect("open"));
    assert!(late < early, "{early} {late}");
    assert_eq!(needs(400), None, "it is safe by then");
}

#[test]
fn heavy_traffic_is_judged_by_numbers_too() {
    let history = known(50_000_000, 250_000);
    let same = (
        Counted::new(5_000_000, 25_100),
        Counted::new(45_000_000, 225_000),
    );
    let worse = (
        Counted::new(5_000_000, 75_000),
        Counted::new(45_000_000, 225_000),
    );
    let evidence = after(&history, &[same; 20]);
    assert_eq!(evidence.answer, Answer::Safe, "{evidence:?}");
    let evidence = after(&history, &[worse; 2]);
    assert_eq!(evidence.answer, Answer::Worse, "{evidence:?}");
}

/// Seeded: the outcome is always the same. One alarm in so few rollouts of a quarter of an hour
/// would be one too many to expect.
#[test]
fn identical_versions_are_hardly_ever_called_worse() {
    let bursty = Scenario {
        name: "bursty, shaken, in steps of the day",
        correlation: 0.02,
        swing: 2.0,
        shock: 0.02,
        shock_times: 20.0,
        ..Scenario::SMOOTH
    };
    for scenario in [Scenario::SMOOTH, bursty] {
        let mut alarms = 0;
        for seed in 0..15 {
            let mut traffic = Traffic::new(scenario, 1.0, seed);
            let mut test = SequentialTest::new(question(), &traffic.history()[..INTERVALS]);
            for at in 0..INTERVALS {
                let [canary, stable] = traffic.interval(at);
                test.add(canary, stable);
            }
            alarms += u32::from(test.evidence().answer == Answer::Worse);
        }
        assert!(alarms <= 1, "{}: {alarms} of 15", scenario.name);
    }
}

fn counted() -> impl Strategy<Value = (Counted, Counted)> {
    let one = |most: u64| (0..most, 0u64..6).prop_map(|(n, e)| Counted::new(n, e.min(n)));
    (one(120), one(600))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is counted, evidence is a number, intervals hold their estimate and the peak is
    /// the peak.
    #[test]
    fn evidence_is_always_sound(seen in prop::collection::vec(counted(), 1..40)) {
        let evidence = after(&known(300, 2), &seen);
        prop_assert!(evidence.log10_worse.is_finite() && evidence.log10_safe.is_finite());
        prop_assert!(evidence.log10_worse <= evidence.log10_worse_peak);
        prop_assert!(evidence.ratio_low <= evidence.ratio + 1e-9);
        prop_assert!(evidence.ratio_high.is_none_or(|high| evidence.ratio <= high + 1e-9));
        prop_assert_eq!(evidence.needs_requests.is_some(), evidence.answer == Answer::Open);
        let written = serde_json::to_string(&evidence).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<CountEvidence>(&written).expect("the same"), evidence);
    }

    /// One more error of the canary instead of a success never speaks for it, as long as nothing
    /// shakes both versions: else it may speak for a shock.
    #[test]
    fn more_errors_are_more_evidence(
        seen in prop::collection::vec(counted(), 1..20),
        at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(seen.len());
        let mut worse = seen.clone();
        worse[at].0 = Counted::new(worse[at].0.requests.max(1), worse[at].0.events);
        let still = || SequentialTest::with_dynamics(question(), Dynamics::STILL, &known(300, 2));
        let before = fed(still(), &worse);
        worse[at].0 = Counted::new(worse[at].0.requests, worse[at].0.events + 1);
        let now = fed(still(), &worse);
        prop_assert!(now.log10_worse >= before.log10_worse - 1e-9, "{before:?} {now:?}");
        prop_assert!(now.log10_safe <= before.log10_safe + 1e-9, "{before:?} {now:?}");
    }

    /// The same is found every time.
    #[test]
    fn the_same_counts_give_the_same_evidence(seen in prop::collection::vec(counted(), 1..10)) {
        prop_assert_eq!(after(&known(300, 2), &seen), after(&known(300, 2), &seen));
    }
}
