//! Judging over time: soaks, missing data, drift, failing instances.

use super::stage::{Stage, server, soaking, soaking_with, spec, stable};
use crate::model::command::PromoteTo;
use crate::model::entry::Drift;
use crate::model::state::HoldReason;
use crate::model::{Entry, Status, VerdictClass};

fn drifts(stage: &Stage) -> Vec<Drift> {
    let found = |entry: &Entry| match entry {
        Entry::DriftFound { drift, .. } => Some(*drift),
        _ => None,
    };
    stage.entries.iter().filter_map(found).collect()
}

#[test]
fn a_good_canary_takes_every_step_and_ends_verified() {
    let mut stage = soaking();
    stage.until("the end", |stage| !stage.is_open());
    let shares: Vec<u8> = stage
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::WeightIntended { shares, .. } => shares.values().next_back().copied(),
            _ => None,
        })
        .collect();
    assert_eq!(shares, [100, 5, 25, 100]);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_bad_canary_is_taken_back_and_the_evidence_is_kept() {
    let mut stage = soaking();
    stage.errors.insert("v2".to_owned(), 10);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    let last = stage.place().last.as_ref().expect("it ended");
    assert!(
        last.because.as_str().contains("error rate"),
        "{}",
        last.because
    );
    assert_eq!(
        last.verdict.as_ref().map(|verdict| verdict.class),
        Some(VerdictClass::Fail)
    );
}

#[test]
fn a_soak_short_of_requests_goes_on_to_its_limit_and_is_held() {
    let mut stage = soaking();
    stage.requests = 0;
    stage.pass_ms(25_000);
    assert!(stage.held().is_none(), "three times the soak is not over");
    stage.pass_ms(6_000);
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::TooFewRequests)
    );
    assert_eq!(stage.share("v2"), 5);
    stage.requests = 20;
    stage.resume().expect("resume is taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn five_intervals_without_data_are_held_and_data_resumes_it() {
    let mut stage = soaking();
    stage.dark = true;
    stage.pass_ms(9_000);
    assert!(stage.held().is_none());
    stage.pass_ms(2_500);
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::NoData)
    );
    stage.dark = false;
    stage.pass_ms(2_000);
    assert!(stage.held().is_none(), "data is back");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn ten_minutes_without_data_are_an_abort_but_not_of_what_a_person_holds() {
    for by_person in [false, true] {
        let mut spec = spec();
        spec.analysis.no_data_abort_ms = 60_000;
        let mut stage = soaking_with(spec);
        if by_person {
            stage.hold().expect("hold is taken");
        }
        stage.dark = true;
        stage.pass_ms(65_000);
        assert_eq!(stage.rollout().is_reverting(), !by_person);
        stage.dark = false;
        stage.pass_ms(3_000);
        assert_eq!(stage.share("v2"), if by_person { 5 } else { 0 });
    }
}

#[test]
fn a_held_canary_is_still_judged() {
    let mut stage = soaking();
    stage.hold().expect("hold is taken");
    stage.errors.insert("v2".to_owned(), 20);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
}

#[test]
fn a_share_above_the_intent_is_corrected_at_once() {
    let mut stage = soaking();
    stage.by_hand(&[(3, 200), (4, 200)]);
    stage.pass_ms(1_500);
    assert_eq!((stage.share("v1"), stage.share("v2")), (95, 5));
    assert_eq!(drifts(&stage), [Drift::Above]);
    assert!(stage.held().is_none());
}

#[test]
fn a_share_below_the_intent_is_held_and_a_person_decides() {
    let mut stage = soaking();
    stage.by_hand(&[(3, 0), (4, 0)]);
    stage.pass_ms(5_000);
    assert_eq!(stage.share("v2"), 0, "it is not raised again");
    assert_eq!(drifts(&stage), [Drift::Below]);
    assert!(matches!(
        stage.held().map(|hold| &hold.why),
        Some(HoldReason::Drift { .. })
    ));
    stage.resume().expect("resume is taken");
    stage.pass_ms(1_500);
    assert_eq!(stage.share("v2"), 5, "a person decided");
}

#[test]
fn a_share_below_the_intent_after_a_balancer_restart_is_set_again() {
    let mut stage = soaking();
    stage.restart_balancer(&[(1, 100), (2, 100)]);
    stage.pass_ms(2_000);
    assert_eq!((stage.share("v1"), stage.share("v2")), (95, 5));
    assert_eq!(drifts(&stage), [Drift::BalancerRestarted]);
    assert!(stage.held().is_none());
}

#[test]
fn a_settled_share_found_lower_after_an_engine_restart_is_held() {
    let mut stage = soaking();
    stage.by_hand(&[(3, 0), (4, 0)]);
    stage.restart();
    stage.pass_ms(5_000);
    assert_eq!(stage.share("v2"), 0);
    assert!(stage.held().is_some());
}

#[test]
fn stable_is_watched_after_the_end_too() {
    let mut stage = stable();
    stage.by_hand(&[(1, 0)]);
    stage.pass_ms(3_000);
    assert_eq!(stage.balancer.servers[&server(1)].weight, 100);
    stage.exits(2);
    stage.pass_ms(3_000);
    assert_eq!(stage.running("v1"), 2);
}

#[test]
fn the_share_does_not_rise_because_a_stable_instance_died() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(2_000);
    stage.no_runtime = true;
    stage.exits(1);
    stage
        .balancer
        .servers
        .get_mut(&server(1))
        .expect("it is there")
        .up = false;
    stage.pass_ms(2_000);
    assert!(
        (24..=26).contains(&stage.share("v2")),
        "{}",
        stage.share("v2")
    );
}

#[test]
fn one_instance_failing_three_probes_in_a_row_fails_the_release() {
    let mut stage = soaking();
    stage.sick.insert(server(4));
    stage.until("the end", |stage| !stage.is_open());
    let last = stage.place().last.as_ref().expect("it ended");
    assert_eq!(last.status, Status::RolledBack);
    assert!(last.because.as_str().contains("web4"), "{}", last.because);
}

#[test]
fn probes_that_pass_too_seldom_fail_the_release() {
    let mut stage = soaking();
    stage.hold().expect("hold is taken");
    for _ in 0..30 {
        stage.sick.insert(server(4));
        stage.until("a failed probe", |stage| {
            let log = &stage.world.placements[&stage.placement()].probes[&server(4)];
            log.trouble.is_some()
        });
        stage.sick.clear();
        stage.pass_ms(1_000);
        if !stage.is_open() || stage.rollout().is_reverting() {
            break;
        }
    }
    stage.until("the end", |stage| !stage.is_open());
    let last = stage.place().last.as_ref().expect("it ended");
    assert!(
        last.because.as_str().contains("infrastructure health"),
        "{}",
        last.because
    );
}

#[test]
fn two_failing_judgements_are_needed() {
    let mut stage = soaking();
    stage.pass_ms(4_000);
    // Above stable's, and not so far that two looks are enough.
    stage.errors.insert("v2".to_owned(), 10);
    stage.until("a failing verdict", |stage| {
        stage.verdict() == VerdictClass::Fail
    });
    assert!(!stage.rollout().is_reverting(), "one is not enough");
    stage.pass_ms(3_000);
    assert!(!stage.is_open() || stage.rollout().is_reverting());
}

#[test]
fn a_balancer_that_does_not_take_the_weight_holds_the_rollout_and_says_so() {
    let mut stage = soaking();
    stage.stubborn = true;
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(35_000);
    assert!(matches!(
        stage.held().map(|hold| &hold.why),
        Some(HoldReason::Shift { .. })
    ));
    stage.stubborn = false;
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_breach_beyond_chance_is_taken_back_at_the_next_reading() {
    let mut stage = soaking();
    stage.pass_ms(4_000);
    stage.errors.insert("v2".to_owned(), 100);
    stage.until("a failing verdict", |stage| {
        stage.verdict() == VerdictClass::Fail
    });
    assert!(!stage.rollout().is_reverting(), "one look is not enough");
    stage.pass_ms(1_000);
    assert!(!stage.is_open() || stage.rollout().is_reverting());
}
