use super::*;
use crate::analysis::{Evidence, judge};
use crate::model::comparison::Answer;
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{RuleState, VerdictClass};

const SETTINGS: ComparisonSettings = ComparisonSettings {
    false_alarm_per_rollout: 0.01,
    tolerated_ratio: 1.2,
    smallest_regression: 2.0,
    latencies: false,
    early_safety: false,
};

fn counted(requests: u64, errors: u64) -> Counters {
    Counters {
        requests,
        errors,
        ..Counters::default()
    }
}

fn known() -> Vec<Counters> {
    vec![counted(450, 2); 120]
}

/// The nth interval, fed in slices of a second.
fn feed(comparison: &mut Comparison, at: u64, canary: (u64, u64), stable: (u64, u64)) {
    for second in 0..5 {
        let errors = |errors: u64| errors / 5 + u64::from(second < errors % 5);
        comparison.add(Slice {
            from_ms: at * 5_000 + second * 1_000,
            to_ms: at * 5_000 + second * 1_000 + 1_000,
            canary: counted(canary.0 / 5, errors(canary.1)),
            stable: counted(stable.0 / 5, errors(stable.1)),
        });
    }
    finish(comparison);
}

fn finish(comparison: &mut Comparison) {
    for _ in 0..100 {
        if comparison.work() == Work::Done {
            return;
        }
    }
    panic!("the history is endless");
}

fn answer(comparison: &Comparison) -> Option<Answer> {
    let tests = &comparison.said().tests;
    tests.first().map(|test| test.evidence.answer)
}

#[test]
fn slices_add_up_to_intervals_and_history_is_what_came_before_the_canary() {
    let mut comparison = Comparison::new(&SETTINGS, Vec::new());
    for at in 0..50 {
        feed(&mut comparison, at, (0, 0), (450, 2));
    }
    assert_eq!(
        comparison.said(),
        &Compared::default(),
        "nothing to compare"
    );
    for at in 50..60 {
        feed(&mut comparison, at, (50, 0), (450, 2));
    }
    let said = comparison.said();
    assert_eq!((said.history, said.intervals), (50, 10));
    assert_eq!(said.requests_per_s, Some(10.0));
    let test = &said.tests[0].evidence;
    assert_eq!((test.canary.requests, test.stable.events), (500, 20));
}

#[test]
fn the_tests_are_made_at_the_first_error_and_else_after_a_few_intervals() {
    let mut clean = Comparison::new(&SETTINGS, known());
    feed(&mut clean, 0, (50, 0), (450, 2));
    feed(&mut clean, 1, (50, 0), (450, 2));
    assert_eq!(answer(&clean), None);
    feed(&mut clean, 2, (50, 0), (450, 2));
    assert_eq!(answer(&clean), Some(Answer::Open));
    assert_eq!(clean.said().tests[0].evidence.canary.requests, 150);
    let mut failing = Comparison::new(&SETTINGS, known());
    feed(&mut failing, 0, (50, 1), (450, 2));
    assert_eq!(answer(&failing), Some(Answer::Open));
}

#[test]
fn it_says_what_the_tests_say_that_are_fed_at_once() {
    let mut comparison = Comparison::new(&SETTINGS, known());
    let question = Question::default();
    let mut judge = CountJudge::unlearned(question, Watched::Errors, &known());
    known().iter().for_each(|counters| judge.learn(counters));
    judge.begin();
    for at in 0..20 {
        let errors = at % 3;
        feed(&mut comparison, at, (50, errors), (450, 2));
        judge.add(&counted(50, errors), &counted(450, 2));
    }
    assert_eq!(comparison.said().tests, judge.evidence());
}

#[test]
fn an_hour_of_history_is_followed_in_pieces_and_nothing_is_lost_meanwhile() {
    let mut comparison = Comparison::new(&SETTINGS, vec![counted(450, 2); HISTORY_MAX]);
    let slice = |at: u64| Slice {
        from_ms: at * 5_000,
        to_ms: at * 5_000 + 5_000,
        canary: counted(50, 3),
        stable: counted(450, 2),
    };
    comparison.add(slice(0));
    assert_eq!(comparison.work(), Work::Left);
    assert_eq!(answer(&comparison), None);
    comparison.add(slice(1));
    comparison.add(slice(2));
    finish(&mut comparison);
    assert_eq!(comparison.said().intervals, 3);
    assert_eq!(answer(&comparison), Some(Answer::Worse));
}

#[test]
fn without_requests_of_stable_s_nothing_is_compared() {
    let mut comparison = Comparison::new(&SETTINGS, known());
    for at in 0..30 {
        feed(&mut comparison, at, (500, 50), (0, 0));
    }
    assert_eq!(answer(&comparison), None);
}

fn settings() -> AnalysisSettings {
    AnalysisSettings {
        interval_ms: 10_000,
        failures: 2,
        no_data_intervals: 5,
        no_data_abort_ms: 600_000,
        error_ratio: Some(0.05),
        latency_p99_ms: None,
        mean_ms: None,
        error_ratio_vs_stable: None,
        latency_p99_vs_stable: None,
        mean_vs_stable: None,
        infrastructure_health: None,
        cpu: None,
        memory: None,
        disk: None,
        uptime: None,
        comparison: Some(SETTINGS),
    }
}

fn judged(comparison: &Comparison) -> crate::model::Verdict {
    let evidence = Evidence {
        canary: counted(600, 9),
        stable: Some(counted(5_000, 25)),
        fresh: true,
        compared: Some(comparison.said().clone()),
        ..Evidence::default()
    };
    judge(&evidence, &settings(), 300)
}

fn row(verdict: &crate::model::Verdict) -> &crate::model::verdict::Finding {
    let mut rows = verdict.findings.iter();
    rows.find(|row| row.rule.ends_with("_compared"))
        .expect("a row")
}

#[test]
fn a_crossing_fails_at_once_and_says_by_how_much() {
    let mut comparison = Comparison::new(&SETTINGS, known());
    for at in 0..12 {
        feed(&mut comparison, at, (50, 2), (450, 2));
    }
    let verdict = judged(&comparison);
    assert_eq!(verdict.class, VerdictClass::Fail);
    assert!(crate::analysis::is_unmistakable(&verdict, None));
    let text = verdict.because.as_str();
    assert!(
        text.starts_with("error rate 4.00 % (stable 0.44 %): errors "),
        "{text}"
    );
    assert!(text.contains("worse than tolerated, evidence "), "{text}");
}

#[test]
fn an_open_comparison_waits_and_lets_a_step_pass() {
    let mut comparison = Comparison::new(&SETTINGS, known());
    for at in 0..4 {
        feed(&mut comparison, at, (50, 0), (450, 2));
    }
    let verdict = judged(&comparison);
    assert_eq!(verdict.class, VerdictClass::Pass);
    let row = row(&verdict);
    assert_eq!(
        (row.rule.as_str(), row.state),
        ("errors_compared", RuleState::Wait)
    );
    assert!(row.needs > row.samples && row.samples == 200, "{row:?}");
    let note = row.note.as_ref().expect("a sentence").as_str();
    assert!(
        note.contains("needs about ") && note.contains(" at this traffic"),
        "{note}"
    );
}

#[test]
fn before_there_is_anything_to_compare_the_row_says_what_it_waits_for() {
    let mut comparison = Comparison::new(&SETTINGS, known());
    comparison.said.anew = true;
    let verdict = judged(&comparison);
    let row = row(&verdict);
    let note = row.note.as_ref().expect("a sentence").as_str();
    assert!(note.starts_with("begins once both versions"), "{note}");
    assert!(
        note.ends_with("begun anew when the engine started"),
        "{note}"
    );
    let mut off = settings();
    off.comparison = None;
    let evidence = Evidence {
        stable: Some(Counters::default()),
        ..Evidence::default()
    };
    assert!(
        judge(&evidence, &off, 1)
            .findings
            .iter()
            .all(|row| row.compared.is_none())
    );
}
