//! Bugs the simulator found in the pure engine, each kept as a scenario.

use super::stage::{Stage, server, soaking, soaking_with, spec, stable};
use crate::model::command::PromoteTo;
use crate::model::effect::Effect;
use crate::model::state::InstanceStatus;
use crate::model::world::{Admin, InstanceView};
use crate::model::{Entry, ReleaseId, Status};
use uuid::Uuid;

#[test]
fn a_canary_instance_that_exits_while_it_soaks_takes_the_rollout_back() {
    let mut stage = soaking();
    stage.exits(3);
    stage.pass_ms(3_000);
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!(stage.count("step_passed"), 1, "only v1's own");
}

#[test]
fn a_verified_release_that_exits_while_it_comes_back_is_started_again() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.rollback(None).expect("rollback is taken");
    stage.exits(1);
    stage.until("v1 is back", |stage| !stage.is_open());
    stage.pass_ms(3_000);
    assert_eq!(stage.count("instance_failed"), 0);
    assert_eq!(stage.running("v1"), 2);
    assert_eq!(stage.status_of(1), Some(&InstanceStatus::Up));
}

#[test]
fn an_instance_nobody_recorded_is_drained_and_stopped() {
    let mut stage = stable();
    let stray = InstanceView {
        pid: 7,
        started_ms: stage.world.now_ms,
        keep_running: true,
        ..InstanceView::of(ReleaseId(Uuid::from_u128(99)))
    };
    stage.runtime.instances.insert(server(4), stray);
    stage.pass_ms(10_000);
    assert_eq!(stage.runtime.instances.len(), 2, "v1's own");
    assert!(stage.is_recorded(|entry| matches!(entry, Entry::InstanceFound { .. })));
    assert_eq!(stage.status_of(4), None, "its server is free");
}

#[test]
fn on_the_way_back_nothing_is_raised_while_stable_comes_up() {
    let mut stage = soaking();
    stage.stubborn = true;
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(1_000);
    stage.no_runtime = true;
    stage.exits(1);
    stage.exits(2);
    stage.pass_ms(2_000);
    stage.abort().expect("abort is taken");
    stage.stubborn = false;
    stage.pass_ms(5_000);
    assert!(stage.share("v2") <= 5, "raised to {} %", stage.share("v2"));
}

#[test]
fn a_promotion_does_not_end_what_somebody_took_the_traffic_from() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Full).expect("promote is taken");
    stage.until("100 %", |stage| {
        stage.share("v2") == 100 && stage.is_soaking()
    });
    stage.by_hand(&[(3, 0), (4, 0)]);
    stage.pass_ms(1_500);
    assert!(stage.held().is_some());
    stage.promote(PromoteTo::Full).expect("promote is taken");
    assert!(stage.is_open(), "with nobody serving it is not done");
    stage.pass_ms(1_500);
    assert_eq!(stage.share("v2"), 100, "it is asserted anew");
}

#[test]
fn a_second_drift_within_seconds_is_held_too() {
    let mut stage = soaking();
    stage.by_hand(&[(3, 200), (4, 200)]);
    stage.pass_ms(1_500);
    assert_eq!(stage.share("v2"), 5);
    stage.by_hand(&[(3, 0), (4, 0)]);
    stage.pass_ms(1_500);
    assert!(stage.held().is_some());
}

#[test]
fn nothing_is_stopped_while_the_balancer_is_silent() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.dark = true;
    stage.pass_ms(150_000);
    assert_eq!(stage.running("v1"), 2, "nobody proved them idle");
    stage.dark = false;
    stage.pass_ms(10_000);
    assert_eq!(stage.running("v1"), 0);
}

#[test]
fn an_aborted_rollback_leaves_the_verified_release_warm() {
    let mut stage = soaking();
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.rollback(None).expect("rollback is taken");
    stage.abort().expect("abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    stage.pass_ms(30_000);
    assert_eq!(stage.running("v1"), 2, "it may still be gone back to");
}

#[test]
fn weights_of_another_scale_are_lowered_without_a_peak() {
    let mut stage = soaking();
    stage.promote(PromoteTo::Next).expect("promote is taken");
    stage.pass_ms(2_000);
    stage.by_hand(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let before = stage.writes.len();
    stage.until("the correction", |stage| stage.writes.len() > before);
    let Some(Effect::SetWeights { settings, .. }) = stage.writes.get(before) else {
        panic!("weights are set");
    };
    // One after the other, as a balancer may take them.
    let mut weights = [1_u64, 1, 1, 1];
    let mut highest = 0.0_f64;
    for (name, setting) in settings {
        let number = (1..=4)
            .find(|number| server(*number) == *name)
            .expect("one of four");
        let ready = setting.admin == Admin::Ready;
        weights[number - 1] = if ready { u64::from(setting.weight) } else { 0 };
        let canary = weights[2] + weights[3];
        let all: u64 = weights.iter().sum();
        highest = highest.max(canary as f64 / all as f64);
    }
    assert!(
        highest <= 0.5,
        "on the way from 50 % to 25 % it was {highest}"
    );
}

#[test]
fn after_a_pause_it_reads_before_it_stops_or_raises() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    stage.until("the drain", |stage| stage.count("drain_begun") > 0);
    // While the engine stood still, somebody gave the canary its traffic back.
    stage.world.now_ms += 60_000;
    stage.by_hand(&[(3, 50), (4, 50)]);
    let before = stage.writes.len();
    stage.pass_ms(3_000);
    let first = |is_it: fn(&Effect) -> bool| stage.writes[before..].iter().position(is_it);
    let lowered = first(|write| matches!(write, Effect::SetWeights { .. }));
    let stopped = first(|write| matches!(write, Effect::StopInstance { .. }));
    assert!(
        lowered.is_some() && lowered < stopped,
        "{lowered:?} {stopped:?}"
    );
}

#[test]
fn what_a_gap_tells_late_does_not_bring_back_what_drains() {
    let mut stage = soaking();
    stage.abort().expect("abort is taken");
    stage.until("the drain", |stage| stage.count("drain_begun") > 0);
    let before = stage.status_of(3).cloned();
    let (placement, server) = (stage.placement(), server(3));
    stage.record(Entry::InstanceUp { placement, server });
    assert_eq!(stage.status_of(3).cloned(), before);
}

#[test]
fn another_release_in_the_way_is_not_stopped_while_it_gets_requests() {
    let mut stage = stable();
    stage.no_runtime = true;
    stage.deploy("v2");
    stage.pass_ms(500);
    let stray = InstanceView {
        pid: 7,
        started_ms: stage.world.now_ms,
        keep_running: true,
        ..InstanceView::of(ReleaseId(Uuid::from_u128(99)))
    };
    stage.runtime.instances.insert(server(3), stray);
    stage.stubborn = true;
    stage.by_hand(&[(3, 50)]);
    stage.pass_ms(1_000);
    stage.no_runtime = false;
    stage.pass_ms(5_000);
    let there = stage
        .runtime
        .instances
        .get(&server(3))
        .map(|there| there.pid);
    assert_eq!(there, Some(7), "it was stopped under load");
    stage.stubborn = false;
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

/// Keeps the list above honest: each scenario starts from a rollout that would go well.
#[test]
fn undisturbed_the_same_rollout_goes_well() {
    let mut stage: Stage = soaking();
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn fault_044_what_a_gone_process_may_still_serve_is_not_idle() {
    let mut spec = spec();
    spec.canary.keep_warm_ms = 1_000;
    let mut stage = soaking_with(spec);
    let weights: Vec<_> = (1..=4)
        .map(|number| (number, stage.balancer.servers[&server(number)].weight))
        .collect();
    // A reload, with the same weights; the former process goes on with what it was serving.
    stage.restart_balancer(&weights);
    stage.pass_ms(1_000);
    stage.abort().expect("an abort is always taken");
    stage.pass_ms(10_000);
    assert_eq!(stage.running("v2"), 2, "nobody has seen them idle");
    stage.until("the drain timeout", |stage| stage.running("v2") == 0);
}
