//! Blue-green: verified in the idle slot, switched, warm for the way back.

use crate::engine::tests::stage::*;
use crate::model::command::PromoteTo;
use crate::model::service::Step;
use crate::model::state::HoldReason;
use crate::model::strategy::{BlueGreen, Slots, Strategy};
use crate::model::{Effect, Entry, Phase, ServiceSpec, Status};

fn step(weight_percent: u8) -> Step {
    Step {
        weight_percent,
        soak_ms: 5_000,
        pause: false,
    }
}

fn slots(confirm: bool, shares: &[u8]) -> ServiceSpec {
    let mut spec = spec();
    spec.strategy = Strategy::BlueGreen(BlueGreen {
        slots: Slots {
            blue: vec![server(1), server(2)],
            green: vec![server(3), server(4)],
        },
        switch: shares.iter().copied().map(step).collect(),
        confirm,
    });
    spec
}

fn ready() -> Stage {
    let mut stage = stable_with(slots(true, &[100]));
    stage.deploy("v2");
    stage.until(
        "verified in the idle slot",
        |stage| matches!(stage.held(), Some(hold) if hold.why == HoldReason::Switch),
    );
    stage
}

fn servers_of(stage: &Stage, version: &str) -> Vec<String> {
    let place = stage.place();
    let is_it = |id| place.releases[id].version.as_str() == version;
    let all = place.instances.iter();
    let mine = all.filter(|(_, instance)| is_it(&instance.release));
    mine.map(|(server, _)| server.to_string()).collect()
}

#[test]
fn the_first_version_stands_in_blue_and_the_next_in_green() {
    let stage = ready();
    assert_eq!(servers_of(&stage, "v1"), ["web1", "web2"]);
    assert_eq!(servers_of(&stage, "v2"), ["web3", "web4"]);
}

#[test]
fn nothing_reaches_the_idle_slot_before_a_person_switches() {
    let mut stage = ready();
    stage.pass_ms(120_000);
    assert_eq!(stage.share("v2"), 0);
    assert!(
        matches!(stage.rollout().phase, Phase::Starting { .. }),
        "it waits for ever"
    );
    stage.promote(PromoteTo::Next).expect("the switch is taken");
    stage.until("the switch", |stage| stage.share("v2") == 100);
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_eq!(stage.running("v1"), 2, "the old slot stays warm");
}

#[test]
fn an_unhealthy_idle_slot_is_not_switched_to() {
    let mut stage = ready();
    stage.sick.insert(server(3));
    stage.pass_ms(1_500);
    let result = stage.promote(PromoteTo::Next);
    if result.is_ok() {
        // Its probe may not have failed often enough yet to be known for sick.
        assert_eq!(stage.share("v2"), 0);
        return;
    }
    refused(result, "healthy");
    assert_eq!(stage.share("v2"), 0);
}

#[test]
fn an_idle_slot_that_fell_ill_ends_the_rollout_before_it_had_traffic() {
    let mut stage = ready();
    stage.sick.insert(server(3));
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!(stage.share("v1"), 100);
}

/// Probes pass and fail in turn from the switch on, at every pace.
#[test]
fn fault_048_health_that_flaps_at_the_switch_moves_traffic_there_and_back_at_most_once() {
    for pace_ms in [500, 2_000, 3_000, 6_000, 10_000] {
        let mut stage = ready();
        let before = switches(&stage);
        stage.promote(PromoteTo::Next).expect("the switch is taken");
        for turn in 0..20 {
            match turn % 2 {
                0 => stage.sick.extend([server(3), server(4)]),
                _ => stage.sick.clear(),
            }
            stage.pass_ms(pace_ms);
        }
        stage.sick.clear();
        stage.until("the end", |stage| !stage.is_open());
        stage.pass_ms(30_000);
        let moved = switches(&stage) - before;
        assert!((1..=2).contains(&moved), "{moved} switches at {pace_ms} ms");
        let shares = (stage.share("v1"), stage.share("v2"));
        assert!(matches!(shares, (100, 0) | (0, 100)), "{shares:?}");
    }
}

/// How often traffic was to move from one slot to the other.
fn switches(stage: &Stage) -> usize {
    let is_switch = |entry: &&Entry| matches!(entry, Entry::WeightIntended { .. });
    stage.entries.iter().filter(is_switch).count()
}

#[test]
fn a_gradual_switch_is_watched_at_each_share() {
    let mut stage = stable_with(slots(false, &[10, 50, 100]));
    stage.deploy("v2");
    for share in [10, 50, 100] {
        stage.until("the next share", |stage| stage.share("v2") == share);
    }
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn a_bad_version_goes_back_to_the_live_slot_by_itself() {
    let mut stage = stable_with(slots(false, &[100]));
    stage.errors.insert("v2".to_owned(), 30);
    stage.deploy("v2");
    stage.until("the switch", |stage| stage.share("v2") == 100);
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(Status::RolledBack));
    assert_eq!(stage.share("v1"), 100);
}

#[test]
fn the_way_back_to_a_warm_slot_is_one_change_of_weights() {
    let mut stage = ready();
    stage.promote(PromoteTo::Next).expect("taken");
    stage.until("the end", |stage| stage.ended().is_some());
    stage.writes.clear();
    stage.rollback(None).expect("taken");
    stage.until("the way back", |stage| stage.share("v1") == 100);
    let is_weights = |effect: &&Effect| matches!(effect, Effect::SetWeights { .. });
    assert_eq!(stage.writes.iter().filter(is_weights).count(), 1);
    let starts = |effect: &&Effect| matches!(effect, Effect::StopInstance { .. });
    assert_eq!(stage.writes.iter().filter(starts).count(), 0);
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Succeeded));
}

#[test]
fn the_third_version_goes_where_the_first_was() {
    let mut stage = ready();
    stage.promote(PromoteTo::Next).expect("taken");
    stage.until("the end", |stage| stage.ended().is_some());
    stage.deploy("v3");
    stage.until("verified", |stage| stage.held().is_some());
    assert_eq!(servers_of(&stage, "v3"), ["web1", "web2"]);
    assert!(stage.is_recorded(|entry| matches!(entry, Entry::RetireIntended { .. })));
}

#[test]
fn two_live_slots_are_refused() {
    let mut stage = stable_with(slots(true, &[100]));
    stage.by_hand(&[(3, 100)]);
    stage.dark = false;
    // What the driver looks at before a deploy.
    let placement = stage.placement();
    let seen = stage
        .world
        .placements
        .get_mut(&placement)
        .expect("it was seen");
    for view in seen.balancers.values_mut() {
        view.reading = stage.balancer.clone();
    }
    let spec = Box::new(stage.spec.clone());
    let result = stage.ask(crate::model::Command::Deploy {
        spec,
        version: "v2".parse().expect("a version"),
        reason: None,
        request_id: None,
    });
    refused(result, "both slots have traffic");
}

#[test]
fn a_restarted_engine_waits_on_in_the_same_slot() {
    let mut stage = ready();
    stage.restart();
    stage.pass_ms(60_000);
    assert_eq!(servers_of(&stage, "v2"), ["web3", "web4"]);
    assert_eq!(stage.share("v2"), 0);
    stage.promote(PromoteTo::Next).expect("taken");
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.share("v2"), 100);
}

#[test]
fn a_balancer_that_forgot_its_weights_makes_no_live_slot_idle() {
    let mut stage = stable_with(slots(false, &[100]));
    stage.restart_balancer(&[]);
    stage.stubborn = true;
    stage.deploy("v2");
    stage.until("new instances", |stage| stage.running("v2") == 2);
    assert_eq!(servers_of(&stage, "v1"), ["web1", "web2"]);
    assert_eq!(servers_of(&stage, "v2"), ["web3", "web4"]);
}
