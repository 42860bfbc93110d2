use super::*;
use crate::config::defaults;
use crate::model::ReleaseId;
use std::collections::BTreeMap;

fn figures(values: &[(Figure, f64)]) -> ReleaseFigures {
    let measured = values.iter().map(|(f, v)| (*f, Measured::Value(*v)));
    ReleaseFigures {
        release: ReleaseId(uuid::Uuid::nil()),
        figures: measured.collect(),
        latency: None,
        age_ms: Some(0),
        past_p99_ms: Vec::new(),
    }
}

fn source(canary: ReleaseFigures, stable: Option<ReleaseFigures>) -> SourceEvidence {
    SourceEvidence {
        name: "prom".into(),
        state: SourceState::Answers,
        canary: Some(canary),
        stable,
        share_percent: None,
        scrapes: 100,
    }
}

fn states(source: &SourceEvidence) -> BTreeMap<String, RuleState> {
    let (rows, _) = findings(source, &defaults::analysis());
    rows.into_iter().map(|row| (row.rule, row.state)).collect()
}

fn word(source: &SourceEvidence) -> Option<VerdictClass> {
    let (_, word) = findings(source, &defaults::analysis());
    word.map(|(class, _)| class)
}

#[test]
fn gauges_are_held_against_their_limits() {
    for (figure, value, state) in [
        (Figure::Cpu, 0.79, RuleState::Ok),
        (Figure::Cpu, 0.81, RuleState::Broken),
        (Figure::Memory, 0.86, RuleState::Broken),
        (Figure::Disk, 0.89, RuleState::Ok),
        (Figure::Disk, 0.91, RuleState::Broken),
        (Figure::Uptime, 0.9995, RuleState::Ok),
        (Figure::Uptime, 0.97, RuleState::Broken),
    ] {
        let source = source(figures(&[(figure, value)]), None);
        let expected = BTreeMap::from([(figure.word().to_owned(), state)]);
        assert_eq!(states(&source), expected, "{figure:?} {value}");
    }
}

#[test]
fn one_scrape_that_failed_is_bad_luck_and_few_say_nothing() {
    let mut source = source(figures(&[(Figure::Uptime, 0.99)]), None);
    assert_eq!(states(&source)["uptime"], RuleState::Ok, "one of a hundred");
    source.scrapes = 10;
    assert_eq!(states(&source)["uptime"], RuleState::Wait);
    assert_eq!(scrapes(60_000, 15_000), 4);
    assert_eq!(scrapes(7 * 86_400_000, 15_000), 240, "an hour at most");
}

fn latency(within: &[(f64, f64)], count: f64) -> ReleaseFigures {
    let mut figures = figures(&[]);
    figures.latency = Some(Measured::Value(Buckets {
        within: within.to_vec(),
        count,
    }));
    figures
}

#[test]
fn p99_is_the_share_above_an_edge_and_no_other_limit_is_judged() {
    let good = latency(&[(500.0, 1_980.0), (1_000.0, 1_990.0)], 2_000.0);
    assert_eq!(states(&source(good, None))["latency_p99"], RuleState::Ok);
    let slow = latency(&[(500.0, 1_900.0), (1_000.0, 1_970.0)], 2_000.0);
    assert_eq!(
        states(&source(slow, None))["latency_p99"],
        RuleState::Broken
    );
    let few = latency(&[(500.0, 0.0), (1_000.0, 0.0)], 20.0);
    assert_eq!(states(&source(few, None))["latency_p99"], RuleState::Wait);
    let other = source(latency(&[(800.0, 0.0), (2_500.0, 0.0)], 2_000.0), None);
    assert_eq!(states(&other)["latency_p99"], RuleState::NoData);
    let (_, word) = findings(&other, &defaults::analysis());
    let (class, why) = word.expect("a word");
    assert_eq!(class, VerdictClass::Inconclusive);
    assert!(why.as_str().contains("800 and 2500"), "{why}");
}

#[test]
fn p99_against_stable_is_judged_at_the_edge_above_its_multiple() {
    let edges =
        |at: [f64; 3]| latency(&[(100.0, at[0]), (200.0, at[1]), (1_000.0, at[2])], 2_000.0);
    let stable = edges([1_990.0, 2_000.0, 2_000.0]);
    let fast = source(edges([1_900.0, 1_999.0, 2_000.0]), Some(stable.clone()));
    assert_eq!(states(&fast)["latency_p99_vs_stable"], RuleState::Ok);
    let slow = source(edges([1_000.0, 1_500.0, 2_000.0]), Some(stable));
    assert_eq!(states(&slow)["latency_p99_vs_stable"], RuleState::Broken);
}

#[test]
fn what_is_missing_is_no_data_and_what_means_nothing_is_inconclusive() {
    let mut nothing = figures(&[(Figure::Requests, 500.0)]);
    let why = || "why".into();
    nothing
        .figures
        .insert(Figure::Errors, Measured::Nothing(why()));
    assert_eq!(word(&source(nothing, None)), Some(VerdictClass::NoData));
    let mut doubtful = figures(&[(Figure::Requests, 500.0), (Figure::Errors, 0.0)]);
    doubtful
        .figures
        .insert(Figure::Mean, Measured::Doubtful(why()));
    assert_eq!(
        word(&source(doubtful.clone(), None)),
        Some(VerdictClass::Inconclusive)
    );
    doubtful
        .figures
        .insert(Figure::Requests, Measured::Value(0.0));
    assert_eq!(word(&source(doubtful, None)), None, "a mean of nothing");
    let mut silent = source(figures(&[]), None);
    silent.state = SourceState::Silent(why());
    assert_eq!(word(&silent), Some(VerdictClass::NoData));
    silent.state = SourceState::Awaited(why());
    assert_eq!(word(&silent), Some(VerdictClass::Inconclusive));
}

#[test]
fn shares_are_compared_where_there_is_enough_to_compare() {
    let of = |requests| figures(&[(Figure::Requests, requests), (Figure::Errors, 0.0)]);
    let mut source = source(of(900.0), Some(of(100.0)));
    assert_eq!(word(&source), None, "the balancers' share is not known");
    source.share_percent = Some(10.0);
    assert_eq!(word(&source), Some(VerdictClass::Inconclusive));
    source.share_percent = Some(85.0);
    assert_eq!(word(&source), None);
    source.canary = Some(of(9.0));
    source.stable = Some(of(1.0));
    source.share_percent = Some(10.0);
    assert_eq!(word(&source), None, "ten requests");
}

#[test]
fn usage_is_judged_once_there_are_samples() {
    let usage = |cpu, samples| Usage {
        name: "docker".into(),
        cpu: Some(cpu),
        memory: None,
        samples,
    };
    let judged = |usage: &Usage| usage_findings(usage, &defaults::analysis())[0].state;
    assert_eq!(judged(&usage(0.9, 10)), RuleState::Broken);
    assert_eq!(judged(&usage(0.9, 9)), RuleState::Wait);
    assert_eq!(judged(&usage(0.5, 30)), RuleState::Ok);
    assert_eq!(
        usage_findings(&usage(0.5, 30), &defaults::analysis()).len(),
        1
    );
}
