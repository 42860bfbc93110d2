//! What is done to a service every day, under load: rolled out, restarted, scaled, drained.

use crate::judge::{Expected, judge};
use crate::stage::{Front, QUICK, SERVICE, Stage};
use std::collections::BTreeSet;
use wheelhouse::model::Status;
use wheelhouse::view::snapshot::{InstanceRow, PlacementView};

/// Two at a time, so that a slow machine is done in time.
const ROLLING: &str = "\n[rolling]\nbatch = 2\nsurge = 2\nmin_healthy = \"1s\"\n";

fn serves(row: &InstanceRow) -> bool {
    row.status.as_str() == "up" && row.weight.is_some_and(|weight| weight > 0)
}

/// Waits until so many instances stand and all of them serve.
async fn stand(stage: &Stage, count: usize) -> PlacementView {
    let what = format!("{count} instances that serve");
    let all =
        |view: &PlacementView| view.instances.len() == count && view.instances.iter().all(serves);
    stage.until(&what, all).await
}

fn processes(view: &PlacementView) -> BTreeSet<u32> {
    view.instances.iter().filter_map(|row| row.pid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_out_restarted_scaled_and_drained_a_service_loses_no_request() {
    let stage = Stage::set_by("rolling", Front::Embedded, QUICK, ROLLING).await;
    let stage = stage.expect("the embedded front is always there");
    let load = stage.load();
    let number = stage.deploy("v2").await;
    stage.ends(number, Status::Succeeded).await;

    let before = processes(&stand(&stage, 3).await);
    let patience = ["--wait", "--timeout", "90s"];
    let restart = [&["restart", SERVICE, "--reason", "a leak"], &patience[..]].concat();
    stage.does(&restart).await;
    let after = processes(&stand(&stage, 3).await);
    assert_eq!((before.len(), after.len()), (3, 3));
    assert!(before.is_disjoint(&after), "every instance was begun anew");

    stage.does(&["scale", SERVICE, "4"]).await;
    stand(&stage, 4).await;
    stage.does(&["scale", SERVICE, "2"]).await;
    let view = stand(&stage, 2).await;

    let server = view.instances[0].server.clone();
    let is_it = |row: &&InstanceRow| row.server == server;
    stage.does(&["drain", SERVICE, server.as_str()]).await;
    let drained = |view: &PlacementView| {
        let row = view.instances.iter().find(is_it);
        row.is_some_and(|row| row.out && row.status.as_str() == "up" && !serves(row))
    };
    stage.until("a drained server", drained).await;
    let other = view.instances[1].server.as_str();
    let said = stage.does_or_not(&["drain", SERVICE, other]).await;
    assert_eq!(said.code, 3, "the last one that serves stays: {said:?}");
    load.answers(100).await;
    stage.does(&["undrain", SERVICE, server.as_str()]).await;
    stand(&stage, 2).await;

    let said = stage.does_or_not(&["drill", SERVICE]).await;
    assert_eq!(said.code, 3, "there is no second set: {said:?}");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}
