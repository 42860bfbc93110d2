//! Several hosts and several balancers: what a dead one of them stops, and what it does not.

use super::stage::*;
use crate::model::command::PromoteTo;
use crate::model::service::Backend;
use crate::model::state::HoldReason;
use crate::model::{BalancerName, Effect, Entry, ServiceSpec, Status};

/// Two hosts with two servers each, behind two balancers.
fn pair() -> ServiceSpec {
    let mut spec = spec();
    spec.runtimes = vec![name("app1"), name("app2")];
    spec.balancers = ["lb1", "lb2"]
        .map(|balancer| Backend {
            balancer: name(balancer),
            backend: name("shop"),
        })
        .to_vec();
    for (server, runtime) in spec
        .servers
        .iter_mut()
        .zip(["app1", "app1", "app2", "app2"])
    {
        server.runtime = Some(name(runtime));
    }
    spec
}

fn name<N: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> N {
    text.parse().expect("a valid name")
}

fn second(stage: &Stage) -> u64 {
    stage.share_at(&stage.others[&name::<BalancerName>("lb2")], "v2")
}

#[test]
fn instances_of_a_release_are_spread_over_the_hosts() {
    let stage = soaking_with(pair());
    for version in ["v1", "v2"] {
        let release = stage
            .place()
            .releases
            .values()
            .find(|r| r.version.as_str() == version);
        let release = release.expect("it was deployed").id;
        let mut hosts: Vec<_> = stage
            .place()
            .servers_of(release)
            .map(|(server, _)| stage.spec.runtime_of(server).expect("a home").as_str())
            .collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["app1", "app2"], "{version}");
    }
}

#[test]
fn a_step_counts_once_every_balancer_shows_it() {
    let mut stage = stable_with(pair());
    stage.deploy("v2");
    stage.until("a first share", |stage| stage.share("v2") > 0);
    stage.until("the first soak", Stage::is_soaking);
    assert_eq!((stage.share("v2"), second(&stage)), (5, 5));

    stage.dead.insert("lb2".to_owned());
    stage.pass_ms(3_000);
    refused(stage.promote(PromoteTo::Next), "balancer lb2");
    stage.until("held for want of data", |stage| stage.held().is_some());
    assert_eq!((stage.share("v2"), second(&stage)), (5, 5));
    assert!(stage.is_soaking(), "nothing moved forward");
}

#[test]
fn one_dead_balancer_does_not_delay_the_abort_on_the_other_and_is_corrected_first() {
    let mut stage = soaking_with(pair());
    stage.dead.insert("lb2".to_owned());
    stage.pass_ms(1_000);
    stage.abort().expect("an abort is always taken");
    stage.tick();
    assert_eq!(stage.share("v2"), 0, "the one that lives is at 0 at once");
    stage.pass_ms(60_000);
    assert!(stage.is_open(), "the other is not proven at 0");
    assert_eq!(stage.running("v2"), 2, "nothing is stopped that may serve");

    let before = stage.writes.len();
    stage.dead.clear();
    stage.until("the other at 0", |stage| second(stage) == 0);
    let first = stage.writes[before..]
        .iter()
        .find(|write| matches!(write, Effect::SetWeights { .. }) || !write.is_write());
    assert!(
        matches!(first, Some(Effect::SetWeights { backend, .. }) if backend.balancer.as_str() == "lb2")
    );
    stage.until("the end", |stage| stage.ended() == Some(Status::RolledBack));
}

#[test]
fn a_bad_release_is_taken_back_although_one_balancer_is_dead() {
    let mut stage = soaking_with(pair());
    stage.dead.insert("lb2".to_owned());
    stage.errors.insert("v2".to_owned(), 50);
    stage.requests = 200;
    stage.until("0 % on the one that lives", |stage| stage.share("v2") == 0);
}

#[test]
fn a_dead_host_holds_forward_moves_and_no_abort() {
    let mut stage = soaking_with(pair());
    stage.dead.insert("app2".to_owned());
    for number in [3, 4] {
        stage.sick.insert(server(number));
    }
    stage.until("held", |stage| stage.held().is_some());
    assert!(matches!(
        &stage.held().expect("it is held").why,
        HoldReason::OutOfSight { text } if text.as_str().contains("app2")
    ));
    assert_eq!(
        stage.share("v2"),
        5,
        "the instances that are left keep the share"
    );
    refused(stage.promote(PromoteTo::Full), "app2");
    stage.abort().expect("an abort is always taken");
    stage.tick();
    assert_eq!((stage.share("v2"), second(&stage)), (0, 0));
}

#[test]
fn a_host_that_returns_lets_the_rollout_go_on() {
    let mut stage = soaking_with(pair());
    stage.dead.insert("app2".to_owned());
    stage.until("held", |stage| stage.held().is_some());
    stage.dead.clear();
    stage.until("the end", |stage| stage.ended() == Some(Status::Succeeded));
    assert_eq!((stage.share("v2"), second(&stage)), (100, 100));
}

#[test]
fn an_instance_that_dies_on_a_host_that_answers_is_no_lost_host() {
    let mut stage = soaking_with(pair());
    let canary = stage.rollout().release;
    let there = |(server, _): (&_, &_)| {
        stage
            .place()
            .spec
            .servers
            .iter()
            .position(|s| s.name == *server)
    };
    let number = stage
        .place()
        .servers_of(canary)
        .find_map(there)
        .expect("it runs")
        + 1;
    stage.exits(number);
    stage.until("taken back", |stage| {
        stage.ended() == Some(Status::RolledBack)
    });
}

#[test]
fn a_deploy_is_refused_while_a_host_is_out_of_reach() {
    let mut stage = stable_with(pair());
    stage.dead.insert("app1".to_owned());
    stage.pass_ms(5_000);
    let spec = Box::new(stage.spec.clone());
    let version = "v2".parse().expect("a valid version");
    let asked = stage.ask(crate::model::Command::Deploy {
        spec,
        version,
        reason: None,
        request_id: None,
    });
    refused(asked, "runtime app1 cannot be reached");
    assert!(!stage.is_open());
}

#[test]
fn weights_set_by_hand_on_one_of_two_balancers_are_told_of_that_one() {
    let mut stage = soaking_with(pair());
    let lb2 = stage
        .others
        .get_mut(&name::<BalancerName>("lb2"))
        .expect("it is there");
    for view in lb2
        .servers
        .values_mut()
        .filter(|view| view.effective_weight() > 0)
    {
        view.weight = 50;
    }
    stage.until("corrected", |stage| second(stage) == 5);
    assert!(stage.is_recorded(
        |entry| matches!(entry, Entry::DriftFound { balancer, .. } if balancer.as_str() == "lb2")
    ));
}
