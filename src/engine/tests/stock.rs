//! What is still to be had of earlier releases: when it is asked, and what is said of it.

use super::stage::{Stage, soaking, spec, stable_with};
use crate::model::{Clean, Stock};
use crate::view;
use crate::view::snapshot::PlacementView;

const DAY_MS: u64 = 24 * 3_600_000;

/// v2 has the traffic, v1 is gone.
fn replaced(stock: Stock) -> Stage {
    let mut stage = stable_with(spec());
    stage.stock = stock;
    stage.deploy("v2");
    stage.until("v2 is verified", |stage| !stage.is_open());
    stage.until("v1 is retired", |stage| stage.running("v1") == 0);
    stage
}

fn shown(stage: &Stage) -> PlacementView {
    view::placements(&stage.state, &stage.world, &[]).remove(0)
}

/// Lets so much time pass in one step, as for an engine that slept.
fn later(stage: &mut Stage, ms: u64) {
    stage.world.now_ms += ms;
    stage.tick();
}

#[test]
fn it_is_asked_after_a_rollout_once_a_day_and_when_an_engine_begins() {
    let mut stage = replaced(Stock::Here);
    assert_eq!(stage.asked_stock, 1, "not while the rollout was open");
    stage.pass_ms(20_000);
    assert_eq!(stage.asked_stock, 1, "not at every look");
    later(&mut stage, DAY_MS);
    assert_eq!(stage.asked_stock, 2);
    stage.restart();
    stage.tick();
    assert_eq!(stage.asked_stock, 3);
    stage.rollback(None).expect("it is taken");
    stage.until("v1 is back", |stage| !stage.is_open());
    stage.tick();
    assert_eq!(stage.asked_stock, 4);
}

#[test]
fn what_could_not_be_found_out_is_asked_again_sooner_and_said() {
    let mut stage = replaced(Stock::unknown("connection refused"));
    assert_eq!(stage.asked_stock, 1);
    let view = shown(&stage);
    assert_eq!(view.ready[0].stock_words().as_deref(), Some("unknown"));
    later(&mut stage, 11 * 60_000);
    assert_eq!(stage.asked_stock, 2);
}

#[test]
fn nobody_asks_for_what_is_not_there() {
    let mut stage = stable_with(spec());
    stage.pass_ms(10_000);
    assert_eq!(stage.asked_stock, 0, "there is no earlier version");
    let stage = soaking();
    assert_eq!(stage.asked_stock, 0);
}

#[test]
fn readiness_says_what_each_host_has() {
    let bytes = Some(141_200_000);
    let view = shown(&replaced(Stock::Pull { bytes }));
    assert_eq!(view.ready[0].stock_words().as_deref(), Some("pull 142 MB"));
    let back = view.rollback.expect("v1");
    assert_eq!(
        back.readiness.as_str(),
        "pull 142 MB, then started (up to 30 s)"
    );
    let why = Clean::new("no registry has it");
    let view = shown(&replaced(Stock::Gone { why }));
    assert_eq!(view.ready[0].stock_words().as_deref(), Some("gone"));
    let back = view.rollback.expect("v1");
    assert_eq!(back.readiness.as_str(), "gone on host: no registry has it");
    let view = shown(&replaced(Stock::Here));
    assert_eq!(view.ready[0].stock_words().as_deref(), Some("program here"));
}
