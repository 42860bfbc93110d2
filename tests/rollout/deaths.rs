//! Instances and their host die in the middle of a step.

use crate::judge::{Expected, Span, judge};
use crate::load::{Load, now_ms};
use crate::stage::{Front, SERVICE, Stage, WAITING};
use rustix::process::{Pid, Signal, kill_process};
use wheelhouse::model::{RolloutNumber, Status};
use wheelhouse::view::snapshot::{InstanceRow, PlacementView, Role};

/// What was under way with an instance when it was killed is gone; it takes at most this long.
const UNDER_WAY_MS: u64 = 60;
/// A dead instance's part falls to the others until the weights are solved again.
const SOLVED_ANEW_MS: u64 = 4_000;

async fn half_way(front: Front) -> Option<(Stage, Load, RolloutNumber)> {
    let stage = Stage::set(front, WAITING).await?;
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    load.answers(100).await;
    Some((stage, load, number))
}

fn first(view: &PlacementView, role: Role) -> InstanceRow {
    let found = view.instances.iter().find(|row| row.role == role);
    found.expect("an instance in that role").clone()
}

/// Kills an instance; says when requests could be lost.
fn kill(row: &InstanceRow) -> Span {
    let from_ms = now_ms();
    let pid = row.pid.expect("a running instance").cast_signed();
    let pid = Pid::from_raw(pid).expect("a pid");
    kill_process(pid, Signal::KILL).expect("a signal");
    (from_ms, now_ms() + UNDER_WAY_MS)
}

async fn a_dying_canary_is_taken_back(front: Front) {
    let Some((stage, load, number)) = half_way(front).await else {
        return;
    };
    let view = stage.soaks_at(25.0).await;
    let lost_within = vec![kill(&first(&view, Role::Canary))];
    let because = stage.ends(number, Status::RolledBack).await;
    // Behind HAProxy its refused connections may be counted before its end is seen.
    let seen = because.contains("killed") || because.contains("error rate");
    assert!(seen, "{because}");
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        lost_within,
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_058_a_dying_canary_is_taken_back_behind_the_proxy() {
    a_dying_canary_is_taken_back(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_058_a_dying_canary_is_taken_back_behind_haproxy() {
    a_dying_canary_is_taken_back(Front::Haproxy).await;
}

async fn a_dying_stable_instance_raises_no_share(front: Front) {
    let Some((stage, load, number)) = half_way(front).await else {
        return;
    };
    let view = stage.soaks_at(25.0).await;
    let victim = first(&view, Role::Stable);
    let killed = kill(&victim);
    let back = |view: &PlacementView| {
        let rows = view.instances.iter();
        rows.filter(|row| row.server == victim.server).any(|row| {
            row.pid.is_some_and(|pid| Some(pid) != victim.pid) && row.healthy == Some(true)
        })
    };
    stage.until("its successor", back).await;
    stage.soaks_at(25.0).await;
    load.answers(200).await;
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    let expected = Expected {
        serving: "v2",
        silent: &["v1"],
        lost_within: vec![killed],
        above_within: vec![(killed.0, killed.0 + SOLVED_ANEW_MS)],
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_stable_instance_raises_no_share_behind_the_proxy() {
    a_dying_stable_instance_raises_no_share(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_stable_instance_raises_no_share_behind_haproxy() {
    a_dying_stable_instance_raises_no_share(Front::Haproxy).await;
}

async fn a_dying_host_is_noticed_and_said(front: Front) {
    let Some((mut stage, load, _)) = half_way(front).await else {
        return;
    };
    let from_ms = now_ms();
    stage.kill_host();
    stage
        .until("the trouble to be said", |view| {
            let mut peers = view.peers.iter();
            peers.any(|peer| peer.name.as_str() == "runtime host" && peer.trouble.is_some())
        })
        .await;
    let noticed_ms = now_ms();
    stage.start_host().await;
    stage.front_answers().await;
    // Behind HAProxy the orphans go on serving until a new host ends them.
    let lost_from_ms = match front {
        Front::Embedded => from_ms,
        Front::Haproxy => noticed_ms,
    };
    let lost_within = vec![(lost_from_ms, now_ms())];
    stage
        .until("an end of the trouble", |view| {
            let mut peers = view.peers.iter();
            !peers.any(|peer| peer.trouble.is_some())
        })
        .await;
    // The canary's death may have ended the rollout already.
    stage.does_or_not(&["abort", SERVICE]).await;
    stage
        .until("the rollout's end", |view| view.rollout.is_none())
        .await;
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        lost_within,
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_host_is_noticed_and_said_behind_the_proxy() {
    a_dying_host_is_noticed_and_said(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_host_is_noticed_and_said_behind_haproxy() {
    a_dying_host_is_noticed_and_said(Front::Haproxy).await;
}
