//! A source of metrics beside the balancer: it confirms, it fails by itself, and its silence is
//! never a pass.

use super::stage::{Stage, Told, soaking_with, spec};
use crate::model::metrics::{Figure, MetricsSource, ToldBy};
use crate::model::service::ServiceSpec;
use crate::model::state::HoldReason;
use crate::model::verdict::{RuleState, Verdict};
use crate::model::world::PlacementWorld;
use crate::model::{Effect, Status, VerdictClass};

fn with_source() -> ServiceSpec {
    let mut spec = spec();
    spec.analysis.no_data_abort_ms = 60_000;
    spec.metrics = vec![MetricsSource {
        name: "prom".parse().expect("a name"),
        scrape_ms: 1_000,
        window_ms: 4_000,
        told_by: ToldBy::Release,
        supplies: [Figure::Requests, Figure::Errors].into(),
    }];
    spec
}

fn verdict(stage: &Stage) -> Verdict {
    let look = crate::engine::Look::at(&stage.state, &stage.world, &stage.spec.placement);
    crate::engine::verdict(&look.expect("it is recorded"), stage.rollout())
}

fn because(stage: &Stage) -> String {
    let last = stage.place().last.as_ref().expect("it ended");
    last.because.to_string()
}

#[test]
fn a_source_that_agrees_confirms_in_rows_of_its_own() {
    let mut stage = soaking_with(with_source());
    stage.pass_ms(6_000);
    let rows: Vec<_> = verdict(&stage)
        .findings
        .into_iter()
        .filter(|finding| finding.source.as_str() == "prom")
        .map(|finding| (finding.rule, finding.state))
        .collect();
    let ok = |rule: &str| (rule.to_owned(), RuleState::Ok);
    assert_eq!(rows, [ok("error_ratio"), ok("error_ratio_vs_stable")]);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_source_fails_a_release_by_itself() {
    let mut stage = soaking_with(with_source());
    stage.told = Told::Counts(500.0, 50.0);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert!(because(&stage).contains("by prom"), "{}", because(&stage));
}

/// FAULTS 72 and 78: no series, or no source at all.
#[test]
fn faults_72_78_without_its_data_nothing_advances_it_is_held_and_in_the_end_taken_back() {
    for told in [Told::Nothing, Told::Refused] {
        let mut stage = soaking_with(with_source());
        stage.pass_ms(4_000);
        stage.told = told;
        let share = stage.share("v2");
        stage.until("a hold", |stage| stage.held().is_some());
        assert_eq!(
            stage.held().map(|hold| &hold.why),
            Some(&HoldReason::NoData)
        );
        assert_eq!(stage.share("v2"), share, "{told:?}: it advanced");
        assert_eq!(verdict(&stage).class, VerdictClass::NoData);
        stage.until("the end", |stage| !stage.is_open());
        assert_eq!(stage.ended(), Some(Status::RolledBack));
        assert!(because(&stage).contains("no data"), "{}", because(&stage));
    }
}

#[test]
fn data_that_comes_back_lets_it_go_on() {
    let mut stage = soaking_with(with_source());
    stage.told = Told::Refused;
    stage.until("a hold", |stage| stage.held().is_some());
    stage.told = Told::Counts(500.0, 0.0);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

/// FAULTS 71.
#[test]
fn fault_71_a_value_that_is_no_number_never_passes() {
    let mut stage = soaking_with(with_source());
    stage.told = Told::NotANumber;
    stage.pass_ms(9_000);
    assert_eq!(verdict(&stage).class, VerdictClass::Inconclusive);
    let share = stage.share("v2");
    stage.until("a hold", |stage| stage.held().is_some());
    assert_eq!(stage.share("v2"), share);
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::Inconclusive)
    );
}

/// FAULTS 79: three requests say nothing either way.
#[test]
fn fault_79_too_few_samples_wait() {
    let mut stage = soaking_with(with_source());
    stage.requests = 0;
    stage.told = Told::Counts(3.0, 3.0);
    stage.pass_ms(8_000);
    let verdict = verdict(&stage);
    assert_eq!(verdict.class, VerdictClass::Inconclusive);
    let row = verdict
        .findings
        .iter()
        .find(|finding| finding.source.as_str() == "prom")
        .expect("a row");
    assert_eq!((row.state, row.samples), (RuleState::Wait, 3));
    assert!(row.needs > 3);
}

/// FAULTS 81: the source counts stable's requests for the new release.
#[test]
fn fault_81_a_share_that_cannot_be_is_inconclusive_and_says_so() {
    let mut stage = soaking_with(with_source());
    stage.told = Told::Counts(9_500.0, 0.0);
    stage.pass_ms(9_500);
    let verdict = verdict(&stage);
    assert_eq!(verdict.class, VerdictClass::Inconclusive, "{verdict:#?}");
    assert!(
        verdict.because.as_str().contains("the right release"),
        "{}",
        verdict.because
    );
    let share = stage.share("v2");
    stage.until("a hold", |stage| stage.held().is_some());
    assert_eq!(stage.share("v2"), share);
}

/// J15: a release that is not scraped is told of, once it should have been.
#[test]
fn a_release_that_is_not_found_in_time_is_told_of() {
    let mut stage = stable_unscraped();
    stage.pass_ms(500);
    assert_eq!(
        verdict(&stage).class,
        VerdictClass::Inconclusive,
        "it is early"
    );
    stage.pass_ms(5_000);
    let verdict = verdict(&stage);
    assert_eq!(verdict.class, VerdictClass::NoData);
    let row = verdict.findings.last().expect("a row");
    assert_eq!(
        (row.rule.as_str(), row.state),
        ("source", RuleState::NoData)
    );
    assert!(row.note.is_some());
}

fn stable_unscraped() -> Stage {
    let mut stage = super::stage::stable_with(with_source());
    stage.told = Told::Nothing;
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    stage
}

#[test]
fn counts_by_server_are_heard_after_one_window() {
    let mut spec = with_source();
    spec.metrics[0].told_by = ToldBy::Server;
    spec.metrics[0].window_ms = 20_000;
    let mut stage = soaking_with(spec);
    stage.told = Told::Counts(500.0, 400.0);
    stage.pass_ms(9_000);
    assert!(
        stage.is_open(),
        "what the servers counted before is not its fault"
    );
    let verdict = verdict(&stage);
    assert_eq!(verdict.class, VerdictClass::Inconclusive);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
}

#[test]
fn a_new_engine_asks_for_the_past_of_an_open_rollout_once() {
    let mut stage = soaking_with(with_source());
    stage.pass_ms(4_000);
    let past_ms = |stage: &Stage| {
        let plan = crate::engine::plan(&stage.state, &stage.world).into_iter();
        let mut asked = plan.filter_map(|(_, effect)| match effect {
            Effect::ReadMetrics { question, .. } => Some(question.past_ms),
            _ => None,
        });
        asked.next()
    };
    stage.restart();
    assert!(past_ms(&stage).is_some_and(|ms| ms >= 4_000));
    stage.pass_ms(200);
    stage.world.now_ms += 60_000;
    assert_eq!(past_ms(&stage), Some(0), "it knows now");
}

#[test]
fn it_is_asked_at_every_judgement_and_now_and_then_otherwise() {
    let count = |stage: &Stage| {
        let place: &PlacementWorld = &stage.world.placements[&stage.spec.placement];
        place
            .metrics
            .values()
            .map(|view| view.readings.len())
            .sum::<usize>()
    };
    let mut stage = super::stage::stable_with(with_source());
    let before = count(&stage);
    stage.pass_ms(24_000);
    let idle = count(&stage) - before;
    assert!((1..=3).contains(&idle), "asked {idle} times in 24 s");
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    let before = count(&stage);
    stage.pass_ms(8_000);
    let open = count(&stage) - before;
    assert!((3..=5).contains(&open), "asked {open} times in 8 s");
    let asks = |effect: &&Effect| matches!(effect, Effect::ReadMetrics { .. });
    assert_eq!(
        stage.writes.iter().filter(asks).count(),
        0,
        "it is no write"
    );
}
