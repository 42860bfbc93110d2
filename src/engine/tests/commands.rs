//! Each command in each phase.

use super::stage::{Stage, empty, refused, server, soaking, soaking_with, spec, stable};
use crate::model::command::{PromoteTo, Refusal};
use crate::model::entry::WeightReason;
use crate::model::state::HoldReason;
use crate::model::{Entry, Phase, Status};

/// The phases a command may meet.
fn phases() -> Vec<(&'static str, Stage)> {
    let starting = {
        let mut stage = stable();
        stage.sick.extend([server(3), server(4)]);
        stage.deploy("v2");
        stage.pass_ms(1_000);
        assert!(matches!(stage.rollout().phase, Phase::Starting { .. }));
        stage
    };
    let shifting = {
        let mut stage = soaking();
        stage.stubborn = true;
        stage.promote(PromoteTo::Next).expect("promote is taken");
        stage.pass_ms(1_000);
        assert!(matches!(stage.rollout().phase, Phase::Shifting { .. }));
        stage
    };
    let reverting = {
        let mut stage = soaking();
        stage.stubborn = true;
        stage.abort().expect("abort is taken");
        stage.pass_ms(1_000);
        assert!(stage.rollout().is_reverting());
        stage
    };
    vec![
        ("none", stable()),
        ("starting", starting),
        ("shifting", shifting),
        ("soaking", soaking()),
        ("reverting", reverting),
    ]
}

/// Asks in each phase; `says` names the phases in which it is refused, and the text.
#[track_caller]
fn check(ask: impl Fn(&mut Stage) -> Result<(), Refusal>, says: &[(&str, &str)]) {
    for (phase, mut stage) in phases() {
        let before = stage.state.clone();
        let answer = ask(&mut stage);
        match says.iter().find(|(name, _)| *name == phase) {
            Some((_, text)) => {
                refused(answer, text);
                assert_eq!(
                    stage.state, before,
                    "refused in {phase}, and it left a trace"
                );
            }
            None => answer.unwrap_or_else(|refusal| panic!("refused in {phase}: {refusal}")),
        }
    }
}

#[test]
fn promote_in_each_phase() {
    check(
        |stage| stage.promote(PromoteTo::Next),
        &[
            ("none", "no open rollout"),
            ("starting", "still being started"),
            ("shifting", "still being set"),
            ("reverting", "on its way back"),
        ],
    );
}

#[test]
fn hold_in_each_phase() {
    let says = [("none", "no open rollout"), ("reverting", "never held")];
    check(Stage::hold, &says);
}

#[test]
fn resume_in_each_phase() {
    check(Stage::resume, &[("none", "no open rollout")]);
}

#[test]
fn abort_in_each_phase_leads_to_stable_alone() {
    check(Stage::abort, &[("none", "no open rollout")]);
    for (phase, mut stage) in phases().into_iter().skip(1) {
        stage.abort().expect("abort is taken");
        stage.stubborn = false;
        stage.until("the end", |stage| !stage.is_open());
        let shares = (stage.share("v1"), stage.share("v2"));
        assert_eq!(shares, (100, 0), "aborted while {phase}");
        let lost = if phase == "starting" {
            Status::Failed
        } else {
            Status::RolledBack
        };
        assert_eq!(stage.ended(), Some(lost), "aborted while {phase}");
    }
}

#[test]
fn rollback_in_each_phase() {
    let says = [("none", "no earlier verified version")];
    check(|stage| stage.rollback(None), &says);
    let open = ["starting", "shifting", "soaking", "reverting"].map(|phase| (phase, "still open"));
    let mut says = open.to_vec();
    says.push(("none", "never verified"));
    check(|stage| stage.rollback(Some("v0")), &says);
}

#[test]
fn a_request_that_began_a_rollout_begins_no_other_in_any_phase() {
    let request = |stage: &mut Stage, version: &str| {
        let spec = Box::new(stage.spec.clone());
        let version = version.parse().expect("a valid version");
        stage.ask(crate::model::Command::Deploy {
            spec,
            version,
            reason: None,
            request_id: Some("run-17".parse().expect("a valid id")),
        })
    };
    let mut stage = stable();
    request(&mut stage, "v2").expect("it begins");
    let number = stage.rollout().number;
    for until_ms in [0, 1_000, 600_000] {
        stage.pass_ms(until_ms);
        let before = stage.state.clone();
        request(&mut stage, "v2").expect("it is known");
        assert_eq!(stage.state, before, "nothing was recorded");
        let other = request(&mut stage, "v3");
        refused(other, &format!("run-17 began {number}"));
    }
    let id = "run-17".parse().expect("a valid id");
    assert!(stage.state.requested(&id).is_some());
}

#[test]
fn deploy_in_each_phase() {
    let deploy = |stage: &mut Stage| {
        let spec = Box::new(stage.spec.clone());
        let version = "v3".parse().expect("a valid version");
        stage.ask(crate::model::Command::Deploy {
            spec,
            version,
            reason: None,
            request_id: None,
        })
    };
    let open = ["starting", "shifting", "soaking", "reverting"].map(|phase| (phase, "still open"));
    check(deploy, &open);
}

#[test]
fn a_promotion_of_a_revision_that_passed_is_refused() {
    let mut stage = soaking();
    let seen = stage.revision();
    stage.hold().expect("hold is taken");
    refused(stage.promote_at(PromoteTo::Next, seen), "moved on");
    refused(stage.promote_at(PromoteTo::Next, seen + 9), "moved on");
    stage
        .promote(PromoteTo::Next)
        .expect("the present revision is taken");
}

#[test]
fn a_promotion_against_the_verdict_or_without_data_is_refused() {
    let mut stage = soaking();
    stage.errors.insert("v2".to_owned(), 50);
    stage.spec.analysis.failures = 100;
    stage.until("a failing verdict", |stage| {
        !stage.is_open() || stage.verdict() == crate::model::VerdictClass::Fail
    });
    refused(stage.promote(PromoteTo::Full), "the verdict is fail");

    let mut stage = soaking();
    stage.pass_ms(2_000);
    stage.dark = true;
    stage.pass_ms(4_000);
    refused(
        stage.promote(PromoteTo::Next),
        "balancer proxy: connection refused",
    );
}

#[test]
fn a_promotion_goes_to_the_next_step_to_a_share_or_to_the_end() {
    for (to, share, step) in [
        (PromoteTo::Next, 25, 2),
        (PromoteTo::Percent(40), 40, 2),
        (PromoteTo::Full, 100, 3),
    ] {
        let mut stage = soaking();
        stage.promote(to).expect("promote is taken");
        stage.pass_ms(1_000);
        assert_eq!(stage.share("v2"), share, "{to:?}");
        assert_eq!(stage.rollout().step, step, "{to:?}");
    }
    let mut stage = soaking();
    refused(stage.promote(PromoteTo::Percent(5)), "not above");
    refused(stage.promote(PromoteTo::Percent(3)), "not above");
    refused(stage.promote(PromoteTo::Percent(101)), "not above");
}

#[test]
fn hold_and_resume_are_absolute() {
    let mut stage = soaking();
    stage.hold().expect("hold is taken");
    let held = stage.state.clone();
    stage.hold().expect("a second one finds it so");
    assert_eq!(stage.state, held, "and changes nothing");
    stage.pass_ms(120_000);
    assert_eq!(stage.share("v2"), 5, "held is held");
    stage.resume().expect("resume is taken");
    let resumed = stage.state.clone();
    stage.resume().expect("a second one finds it so");
    assert_eq!(stage.state, resumed, "and changes nothing");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn an_abort_asked_twice_is_one() {
    let mut stage = soaking();
    stage.stubborn = true;
    stage.abort().expect("abort is taken");
    let state = stage.state.clone();
    stage.abort().expect("a second one finds it so");
    assert_eq!(stage.state, state);
    assert_eq!(stage.count("abort_requested"), 1);
}

#[test]
fn a_rollback_of_an_open_rollout_is_an_abort() {
    for to in [None, Some("v1")] {
        let mut stage = soaking();
        stage.rollback(to).expect("rollback is taken");
        stage.until("the end", |stage| !stage.is_open());
        assert_eq!(stage.count("abort_requested"), 1);
        assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    }
}

#[test]
fn a_rollback_names_the_release_it_leaves_and_none_goes_back_to_it_unasked() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.rollback(None).expect("rollback is taken");
    stage.until("v1 is back", |stage| !stage.is_open());
    assert_eq!(stage.share("v1"), 100);
    refused(stage.rollback(None), "no earlier verified version");
    stage
        .rollback(Some("v2"))
        .expect("asked for by name it is taken");
}

#[test]
fn a_first_deploy_goes_to_the_end_in_one_move() {
    let mut stage = empty();
    stage.deploy("v1");
    stage.until("the end", |stage| stage.ended().is_some());
    let raises = stage
        .entries
        .iter()
        .filter(|entry| matches!(entry, Entry::WeightIntended { .. }));
    assert_eq!(raises.count(), 1);
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_pause_step_waits_for_a_person_and_a_promotion_ends_the_wait() {
    let mut spec = spec();
    spec.canary.steps[0].pause = true;
    let mut stage = soaking_with(spec);
    stage.until("the pause", |stage| stage.held().is_some());
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::PauseStep)
    );
    stage.pass_ms(60_000);
    assert_eq!(stage.share("v2"), 5);
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(1_000);
    assert_eq!(stage.share("v2"), 25);
    let promoted = |entry: &Entry| {
        matches!(
            entry,
            Entry::WeightIntended {
                reason: WeightReason::Promotion { step: 2 },
                ..
            }
        )
    };
    assert!(stage.is_recorded(promoted));
}

/// A service of two whose canary is one.
fn small_canary() -> crate::model::ServiceSpec {
    let mut spec = spec();
    spec.canary.instances = Some(1);
    spec
}

#[test]
fn a_deploy_whose_steps_would_overload_its_instances_is_refused_with_what_fits() {
    let mut stage = stable();
    stage.spec = small_canary();
    let deploy = |stage: &mut Stage| {
        let spec = Box::new(stage.spec.clone());
        stage.ask(crate::model::Command::Deploy {
            spec,
            version: "v2".parse().expect("a valid version"),
            reason: None,
            request_id: None,
        })
    };
    let refusal = deploy(&mut stage).expect_err("refused").to_string();
    let parts = [
        "2.0 times",
        "requests/s against",
        "60 % fits",
        "needs 2 instances",
    ];
    for part in parts {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
    stage.spec.canary.max_load_factor = Some(2.0);
    deploy(&mut stage).expect("twice the load is allowed");
    let mut stage = stable();
    stage.spec = small_canary();
    stage.spec.canary.max_load_factor = None;
    deploy(&mut stage).expect("nobody judges it");
}

#[test]
fn a_step_that_too_few_instances_could_carry_is_held_until_they_can() {
    let mut stage = soaking();
    let canary = stage.rollout().release;
    let lost = stage.place().servers_of(canary).next();
    let lost = lost.map(|(server, _)| server.clone()).expect("an instance");
    // Our own probe reaches it, the balancer does not.
    let up = |stage: &mut Stage, up| {
        let view = stage.balancer.servers.get_mut(&lost);
        view.expect("a server").up = up;
    };
    up(&mut stage, false);
    stage.until("the hold", |stage| stage.held().is_some());
    let Some(HoldReason::Capacity { text }) = stage.held().map(|hold| &hold.why) else {
        panic!("{:?}", stage.held());
    };
    assert!(text.as_str().contains("2.0 times"), "{text}");
    assert_eq!(stage.share("v2"), 25, "a quarter on one is half a load");
    stage.pass_ms(60_000);
    assert_eq!(stage.share("v2"), 25);
    up(&mut stage, true);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}
