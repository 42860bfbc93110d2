//! The way back restores what belongs to a release: its instances are judged by its own checks,
//! whatever the configuration says since.

use super::stage::{Stage, empty_with, spec, stable_with};
use crate::engine::Look;
use crate::model::service::{CheckKind, HttpCheck, Server};
use crate::model::strategy::Recreate;
use crate::model::{Checks, Command, ReleaseId, ServiceSpec, Status, Strategy};

/// v1 answers at `/healthz` only, v2 at `/ready` only; the configuration moved with v2.
fn moved(before: ServiceSpec) -> Stage {
    let mut stage = empty_with(ServiceSpec {
        health: asking("/healthz", &before),
        ..before
    });
    stage.paths.insert("v1".to_owned(), "/healthz".to_owned());
    stage.paths.insert("v2".to_owned(), "/ready".to_owned());
    stage.deploy("v1");
    stage.until("v1 is verified", |stage| stage.place().stable().is_some());
    stage.spec.health = asking("/ready", &stage.spec);
    stage
}

fn asking(path: &str, spec: &ServiceSpec) -> crate::model::service::HealthCheck {
    crate::model::service::HealthCheck {
        kind: CheckKind::Http(HttpCheck::get(path)),
        ..spec.health.clone()
    }
}

fn can_serve(stage: &Stage, release: ReleaseId) -> bool {
    let look = Look::at(&stage.state, &stage.world, &stage.spec.placement);
    look.expect("it is known").can_serve(release)
}

fn ends(stage: &mut Stage, status: Status) {
    stage.until("the end", |stage| stage.ended().is_some());
    assert_eq!(stage.ended(), Some(status));
}

#[test]
fn a_rollback_asks_the_old_release_where_it_answers() {
    let mut stage = moved(spec());
    stage.deploy("v2");
    ends(&mut stage, Status::Succeeded);
    stage.until("v1 is retired", |stage| stage.running("v1") == 0);
    stage.rollback(None).expect("it is taken");
    ends(&mut stage, Status::Succeeded);
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 2));
    stage
        .rollback(Some("v2"))
        .expect("a rollback of the rollback");
    ends(&mut stage, Status::Succeeded);
    assert_eq!(stage.share("v2"), 100);
}

#[test]
fn stable_stays_healthy_beside_a_release_with_another_check() {
    let mut stage = moved(spec());
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    stage.pass_ms(8_000);
    let stable = stage.place().stable().expect("v1");
    assert!(can_serve(&stage, stable));
    stage.abort().expect("it is taken");
    ends(&mut stage, Status::RolledBack);
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 2));
}

#[test]
fn what_was_ended_is_brought_back_by_its_own_check() {
    let mut before = spec();
    before.instances = 1;
    before.servers = vec![Server {
        name: super::stage::server(1),
        address: ([127, 0, 0, 1], 18_001).into(),
        runtime: None,
    }];
    before.strategy = Strategy::Recreate(Recreate { watch_ms: 10_000 });
    let mut stage = moved(before);
    stage.deploy("v2");
    stage.until("the watch", Stage::is_soaking);
    stage.abort().expect("it is taken");
    ends(&mut stage, Status::RolledBack);
    assert_eq!((stage.share("v1"), stage.running("v1")), (100, 1));
    let because = stage
        .place()
        .last
        .as_ref()
        .expect("it ended")
        .because
        .clone();
    assert!(
        !because.as_str().contains("not every instance"),
        "{because}"
    );
}

#[test]
fn a_drill_puts_stable_to_its_own_smoke_tests() {
    let mut stage = stable_with(spec());
    stage.spec.smoke = vec![crate::model::service::SmokeTest {
        name: "order".parse().expect("a name"),
        critical: true,
        kind: CheckKind::Tcp,
        timeout_ms: 1_000,
        attempts: 1,
        retry_interval_ms: 0,
    }];
    stage.deploy("v2");
    ends(&mut stage, Status::Succeeded);
    stage.rollback(None).expect("it is taken");
    ends(&mut stage, Status::Succeeded);
    let placement = stage.placement();
    let runs = stage.count("smoke_finished");
    stage.failing_tests.insert("order".to_owned());
    let reason = None;
    stage
        .ask(Command::Drill { placement, reason })
        .expect("it is taken");
    stage.until("the first soak", Stage::is_soaking);
    assert_eq!(stage.count("smoke_finished"), runs, "v1 had no such test");
}

#[test]
fn a_release_recorded_without_checks_is_judged_by_those_of_today() {
    let mut stage = stable_with(spec());
    let id = stage.place().stable().expect("v1");
    let placement = stage.placement();
    let place = stage.state.placements.get_mut(&placement).expect("known");
    let release = place.releases.get_mut(&id).expect("v1");
    assert_eq!(release.checks.as_deref(), Some(&Checks::of(&place.spec)));
    release.checks = None;
    place.spec.health.failures = 7;
    assert_eq!(place.health_of(id).failures, 7);
    let written = serde_json::to_string(&place.releases[&id]).expect("JSON");
    assert!(!written.contains("checks"), "{written}");
}
