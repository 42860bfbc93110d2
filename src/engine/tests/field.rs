//! Canary bugs of other tools, each a scenario. The names say whose.

use super::stage::{Stage, empty, refused, server, soaking, stable, stable_with};
use crate::model::command::PromoteTo;
use crate::model::effect::Effect;
use crate::model::state::HoldReason;
use crate::model::world::Admin;
use crate::model::{Entry, Phase, Status, VerdictClass};

#[test]
fn argo_4461_an_abort_is_obeyed_after_full_promotion_was_asked_for() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Full).expect("promote is taken");
    stage.abort().expect("abort is taken");
    stage.pass_ms(5_000);
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    assert_eq!(stage.ended(), Some(Status::RolledBack));
}

#[test]
fn argo_1152_an_abort_is_obeyed_during_a_pause() {
    let mut stage = soaking();
    stage.hold().expect("hold is taken");
    stage.pass_ms(3_000);
    stage.abort().expect("abort is taken");
    stage.pass_ms(5_000);
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
}

#[test]
fn argo_1292_an_abort_with_nothing_in_progress_leaves_stable_alone() {
    let mut stage = stable();
    let before = stage.writes.len();
    refused(stage.abort(), "no open rollout");
    stage.pass_ms(10_000);
    assert_eq!(stage.share("v1"), 100);
    assert_eq!(stage.running("v1"), 2);
    assert_eq!(stage.writes.len(), before, "nothing was touched");
}

#[test]
fn argo_1665_a_restart_after_an_abort_sends_no_traffic_to_the_canary() {
    let mut stage = soaking();
    stage.stubborn = true;
    stage.abort().expect("abort is taken");
    stage.pass_ms(1_000);
    stage.restart();
    stage.stubborn = false;
    let before = stage.writes.len();
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    let raised = stage.writes[before..].iter().any(|write| match write {
        Effect::SetWeights { settings, .. } => settings
            .iter()
            .any(|(name, setting)| *name == server(3) && setting.admin == Admin::Ready),
        _ => false,
    });
    assert!(!raised, "the canary was set ready again");
}

#[test]
fn argo_1794_an_abort_only_lowers_even_where_the_canary_has_less_than_intended() {
    let mut stage = soaking();
    stage.by_hand(&[(3, 0), (4, 0)]);
    stage.abort().expect("abort is taken");
    for _ in 0..50 {
        stage.tick();
        assert_eq!(stage.share("v2"), 0, "it was raised on the way back");
    }
}

#[test]
fn argo_4612_all_stable_instances_are_up_before_a_rollback_moves_traffic() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.pass_ms(100_000);
    assert_eq!(stage.running("v1"), 0, "the warm set is gone");
    stage.sick.extend([server(1), server(2)]);
    stage.rollback(None).expect("rollback is taken");
    stage.pass_ms(5_000);
    assert_eq!(stage.share("v1"), 0, "not before its probes pass");
    stage.sick.remove(&server(1));
    stage.pass_ms(5_000);
    assert_eq!(stage.share("v1"), 0, "not on half of its capacity");
    stage.sick.clear();
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
}

#[test]
fn fault_065_the_old_set_stays_as_long_as_promised_and_is_recreated_as_it_was_after_that() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    let first = stage.place().verified[0];
    let workload = stage.place().releases[&first].workload.clone();
    stage.pass_ms(stage.spec.canary.keep_warm_ms - 2_000);
    assert_eq!(stage.running("v1"), 2, "kept for its whole time");
    stage.pass_ms(60_000);
    assert_eq!(stage.running("v1"), 0, "the warm set is gone");
    // The configuration has moved on; the way back leads to what was.
    stage.spec.workload.command = vec!["another".to_owned()];
    stage.writes.clear();
    stage.rollback(None).expect("rollback is taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    let started = stage.writes.iter().position(|effect| {
        matches!(effect, Effect::StartInstance { release, workload: with, .. }
            if *release == first && *with == workload)
    });
    let shifted = stage
        .writes
        .iter()
        .position(|effect| matches!(effect, Effect::SetWeights { .. }));
    assert!(
        started.is_some() && started < shifted,
        "{:#?}",
        stage.writes
    );
}

#[test]
fn argo_3078_nothing_flaps_after_an_abort() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    let writes = stage
        .writes
        .iter()
        .filter(|write| matches!(write, Effect::SetWeights { .. }))
        .count();
    stage.pass_ms(30_000);
    let after = stage
        .writes
        .iter()
        .filter(|write| matches!(write, Effect::SetWeights { .. }))
        .count();
    assert_eq!(writes, after);
}

#[test]
fn argo_4128_a_start_that_hangs_is_ended_by_its_deadline() {
    let mut stage = stable();
    stage.no_runtime = true;
    stage.deploy("v2");
    stage.pass_ms(35_000);
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn argo_3064_an_abort_of_what_is_fully_promoted_ends_and_rests() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Full).expect("promote is taken");
    stage.until("100 %", |stage| {
        stage.share("v2") == 100 && stage.is_soaking()
    });
    stage.abort().expect("abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    stage.pass_ms(60_000);
    let entries = stage.entries.len();
    stage.pass_ms(60_000);
    assert_eq!(stage.entries.len(), entries, "nothing more is recorded");
}

#[test]
fn radar_1380_a_refused_promotion_leaves_nothing_that_a_later_one_obeys() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    let state = stage.state.clone();
    refused(stage.promote(PromoteTo::Full), "on its way back");
    assert_eq!(stage.state, state, "it left something behind");
    stage.until("the end", |stage| !stage.is_open());
    stage.deploy("v3");
    stage.until("the first soak", Stage::is_soaking);
    assert_eq!(stage.share("v3"), 5);
}

#[test]
fn flagger_1898_the_only_healthy_set_is_not_deleted_by_an_abort_after_the_last_step() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Full).expect("promote is taken");
    stage.until("100 %", |stage| {
        stage.share("v2") == 100 && stage.is_soaking()
    });
    // Stable dies and cannot be started: lowering at once would lose every request.
    stage.no_runtime = true;
    stage.exits(1);
    stage.exits(2);
    stage.pass_ms(3_000);
    stage.abort().expect("abort is taken");
    stage.pass_ms(5_000);
    assert_eq!(stage.share("v2"), 100, "nobody else serves");
    assert_eq!(stage.running("v2"), 2);
    stage.no_runtime = false;
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
    assert_eq!(stage.running("v1"), 2, "stable was brought up first");
}

#[test]
fn argo_4479_no_data_is_never_a_pass() {
    let mut stage = soaking();
    stage.pass_ms(5_000);
    stage.dark = true;
    stage.pass_ms(60_000);
    assert_eq!(stage.count("step_passed"), 1, "only v1's own");
    assert_eq!(stage.verdict(), VerdictClass::NoData);
    assert_eq!(
        stage.held().map(|hold| &hold.why),
        Some(&HoldReason::NoData)
    );
}

#[test]
fn argo_1774_a_bad_stable_does_not_block_the_fix() {
    let mut stage = stable();
    stage.errors.insert("v1".to_owned(), 40);
    stage.deploy("v2");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(stage.share("v2"), 100);
}

#[test]
fn argo_4534_no_instance_is_stopped_while_it_gets_requests_or_serves_some() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    for number in [3, 4] {
        let view = stage
            .balancer
            .servers
            .get_mut(&server(number))
            .expect("it is there");
        view.sessions = 7;
    }
    stage.pass_ms(10_000);
    assert_eq!(stage.running("v2"), 2, "requests are still being answered");
    for view in stage.balancer.servers.values_mut() {
        view.sessions = 0;
    }
    stage.pass_ms(5_000);
    assert_eq!(stage.running("v2"), 0);
}

#[test]
fn swarm_35498_a_failed_start_is_taken_back_and_says_why() {
    let mut stage = stable();
    stage.sick.extend([server(3), server(4)]);
    stage.deploy("v2");
    stage.pass_ms(35_000);
    assert_eq!(stage.ended(), Some(Status::Failed));
    let last = stage.place().last.as_ref().expect("it ended");
    assert!(
        last.because.as_str().contains("web3 no answer"),
        "{}",
        last.because
    );
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn nomad_10882_a_rollback_takes_no_canary_steps() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.rollback(None).expect("rollback is taken");
    let mut shares = Vec::new();
    while stage.is_open() {
        stage.tick();
        shares.push(stage.share("v1"));
    }
    assert!(
        shares.iter().all(|share| [0, 100].contains(share)),
        "{shares:?}"
    );
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn nomad_10465_a_dead_canary_does_not_stall() {
    let mut stage = soaking();
    stage.exits(3);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn kamal_1922_a_rollout_elsewhere_touches_nothing_here() {
    let mut stage = soaking();
    let mut other = super::stage::spec();
    other.placement = "shop@staging".parse().expect("a valid placement");
    let here = stage.place().clone();
    let version = "v9".parse().expect("a valid version");
    let command = crate::model::Command::Deploy {
        spec: Box::new(other),
        version,
        reason: None,
        request_id: None,
    };
    stage.ask(command).expect("deploy is taken");
    assert_eq!(*stage.place(), here);
}

#[test]
fn docker_rollout_21_the_old_set_drains_before_it_is_stopped() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    assert_eq!(stage.running("v1"), 2, "kept warm");
    stage.pass_ms(70_000);
    assert_eq!(stage.running("v1"), 0);
    let at = |kind: &str| stage.entries.iter().position(|entry| entry.kind() == kind);
    assert!(at("drain_begun") < at("stop_intended"));
}

#[test]
fn fact_7_abort_of_a_first_deploy_goes_to_nothing_and_ends() {
    let mut stage = empty();
    stage.deploy("v1");
    stage.until("the first soak", Stage::is_soaking);
    stage.abort().expect("abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!(stage.share("v1"), 0);
}

#[test]
fn haproxy_2085_weights_lost_in_a_restart_are_set_again() {
    let mut stage = soaking();
    stage.restart_balancer(&[]);
    stage.pass_ms(2_000);
    assert_eq!((stage.share("v1"), stage.share("v2")), (95, 5));
    assert!(stage.held().is_none());
}

#[test]
fn haproxy_3296_a_stale_state_file_does_not_bring_back_what_was_aborted() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    stage.restart_balancer(&[(1, 50), (2, 50), (3, 50), (4, 50)]);
    stage.pass_ms(2_500);
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
}

#[test]
fn an_engine_restart_repeats_no_raise() {
    let mut stage = soaking();
    stage.stubborn = true;
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(500);
    stage.restart();
    stage.stubborn = false;
    stage.pass_ms(2_000);
    assert_eq!(stage.share("v2"), 5);
    assert!(stage.is_recorded(|entry| matches!(entry, Entry::WeightAbandoned { .. })));
    assert!(matches!(stage.rollout().phase, Phase::Soaking { .. }));
}

#[test]
fn a_service_without_spare_servers_is_told_before_anything_happens() {
    let mut spec = super::stage::spec();
    spec.servers.truncate(3);
    let mut stage = stable_with(spec);
    let spec = Box::new(stage.spec.clone());
    let version = "v2".parse().expect("a valid version");
    let command = crate::model::Command::Deploy {
        spec,
        version,
        reason: None,
        request_id: None,
    };
    refused(stage.ask(command), "only 1 of 3 servers");
}
