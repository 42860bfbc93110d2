//! Bugs of other tools that need more than a canary, each a scenario. The names say whose.

use super::rolling::{rolls, settings};
use crate::engine::tests::stage::*;
use crate::model::command::{Command, PromoteTo};
use crate::model::strategy::{Recreate, Rolling, Strategy};
use crate::model::{ServerName, ServiceSpec, Status};
use std::collections::BTreeMap;

/// When the process behind each server began.
fn began(stage: &Stage) -> BTreeMap<ServerName, u64> {
    let all = stage.runtime.instances.iter();
    all.map(|(server, there)| (server.clone(), there.started_ms))
        .collect()
}

/// Instances that run and get requests.
fn serving(stage: &Stage) -> usize {
    let servers = stage.balancer.servers.iter();
    let serves = servers.filter(|(server, view)| {
        let there = stage.runtime.instances.get(*server);
        view.effective_weight() > 0 && there.is_some_and(|there| there.exited.is_none())
    });
    serves.count()
}

fn restart(stage: &mut Stage) -> Result<(), crate::model::Refusal> {
    let placement = stage.placement();
    stage.ask(Command::Restart {
        placement,
        reason: None,
    })
}

fn one(strategy: Strategy) -> ServiceSpec {
    ServiceSpec {
        instances: 1,
        strategy,
        ..spec()
    }
}

#[test]
fn argo_4221_a_deploy_and_a_restart_do_not_take_instances_at_once() {
    let mut stage = stable_with(rolls(4, settings()));
    restart(&mut stage).expect("a restart is taken");
    stage.pass_ms(500);
    let deploy = Command::Deploy {
        spec: Box::new(stage.spec.clone()),
        version: "v2".parse().expect("a version"),
        reason: None,
        request_id: None,
    };
    refused(stage.ask(deploy), "still open");
    while stage.is_open() {
        stage.tick();
        assert!(serving(&stage) >= 3);
    }
    stage.deploy("v2");
    stage.pass_ms(500);
    refused(restart(&mut stage), "still open");
}

#[test]
fn argo_1583_a_single_instance_is_restarted_without_an_outage() {
    let mut stage = stable_with(one(Strategy::Canary));
    let before = began(&stage);
    restart(&mut stage).expect("a restart is taken");
    while stage.is_open() {
        stage.tick();
        assert!(serving(&stage) >= 1, "somebody serves at any time");
    }
    assert_eq!(stage.ended(), Some(Status::Succeeded));
    assert_ne!(began(&stage), before);
}

#[test]
fn argo_2117_there_are_never_two_leaders() {
    let recreate = Strategy::Recreate(Recreate { watch_ms: 2_000 });
    let mut stage = stable_with(one(recreate));
    let alone = |stage: &mut Stage| {
        while stage.is_open() {
            stage.tick();
            assert!(stage.runtime.instances.len() <= 1, "two of them stand");
        }
    };
    restart(&mut stage).expect("a restart is taken");
    alone(&mut stage);
    stage.deploy("v2");
    alone(&mut stage);
    stage.rollback(None).expect("a rollback is taken");
    alone(&mut stage);
    assert_eq!(stage.running("v1"), 1);
}

#[test]
fn argo_3888_an_abort_waits_until_a_stable_that_is_down_is_up() {
    let mut stage = soaking();
    for number in [1, 2] {
        stage.exits(number);
    }
    stage.sick.extend([server(1), server(2)]);
    stage.until("the canary serves alone", |stage| stage.share("v2") == 100);
    stage.abort().expect("an abort is taken");
    stage.pass_ms(3_000);
    assert_eq!(stage.share("v2"), 100, "nobody else could answer");
    stage.sick.clear();
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 2));
}

#[test]
fn argo_4841_an_abort_reaches_nothing_at_every_share() {
    for step in 1..=3 {
        let mut stage = soaking();
        stage.until("its step", |stage| {
            stage.is_soaking() && stage.rollout().step == step
        });
        stage.abort().expect("an abort is taken");
        stage.until("the end", |stage| !stage.is_open());
        assert_eq!(
            (stage.share("v1"), stage.share("v2")),
            (100, 0),
            "step {step}"
        );
    }
}

#[test]
fn argo_4753_there_is_no_weight_before_our_own_probe_passed() {
    let mut stage = stable();
    stage.sick.extend([server(3), server(4)]);
    stage.deploy("v2");
    stage.until("new instances", |stage| stage.running("v2") == 2);
    stage.pass_ms(10_000);
    assert_eq!(stage.share("v2"), 0, "they run, but do not answer");
    stage.sick.clear();
    stage.until("the first share", Stage::is_soaking);
    assert_eq!(stage.share("v2"), 5);
}

#[test]
fn swarm_37972_a_way_back_leaves_the_old_instances_that_were_not_replaced() {
    let mut stage = stable_with(rolls(4, settings()));
    let before = began(&stage);
    stage.deploy("v2");
    stage.until("the first batch has its share", |stage| {
        stage.share("v2") >= 33
    });
    stage.abort().expect("an abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    stage.until("all are back", |stage| stage.running("v1") == 3);
    let after = began(&stage);
    let kept = before
        .iter()
        .filter(|(server, at)| after.get(*server) == Some(at));
    assert!(kept.count() >= 2, "{before:?} {after:?}");
}

#[test]
fn nomad_6864_what_is_healthy_is_not_taken_for_what_never_gets_up() {
    let mut stage = stable_with(rolls(4, settings()));
    stage.sick.insert(server(4));
    stage.deploy("v2");
    while stage.is_open() {
        stage.tick();
        assert_eq!(serving(&stage), 3);
    }
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!(stage.running("v1"), 3);
}

#[test]
fn nomad_20295_a_batch_without_progress_ends_by_its_deadline() {
    let short = Rolling {
        progress_deadline_ms: 15_000,
        ..settings()
    };
    let mut stage = stable_with(rolls(4, short));
    stage.no_runtime = true;
    stage.deploy("v2");
    stage.pass_ms(16_000);
    assert_ne!(stage.ended(), Some(Status::Succeeded));
    stage.no_runtime = false;
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!(stage.ended(), Some(Status::Failed));
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 3));
}

#[test]
fn flagger_1588_a_last_step_that_the_balancer_does_not_take_is_held_and_can_be_aborted() {
    let mut stage = soaking();
    stage.until("the step before the last", |stage| {
        stage.is_soaking() && stage.rollout().step == 2
    });
    stage.stubborn = true;
    stage
        .promote(PromoteTo::Full)
        .expect("a promotion is taken");
    stage.until("it is held", |stage| stage.held().is_some());
    stage.stubborn = false;
    stage.abort().expect("an abort is taken");
    stage.until("the end", |stage| !stage.is_open());
    assert_eq!((stage.share("v1"), stage.share("v2")), (100, 0));
}
