//! What people do with a rollout, told over both fronts.

use crate::judge::{Expected, judge, records};
use crate::stage::{BAD, Front, Pace, QUICK, SERVICE, SLOW, Stage, WAITING};
use crate::terminal::Terminal;
use wheelhouse::model::{Entry, Record, Status, VerdictClass};

async fn a_good_canary_goes_out(front: Front) {
    let Some(stage) = Stage::set(front, QUICK).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let said = stage.run(&["wait", &number.to_string()]).await;
    assert_eq!(said.code, 0, "{said:?}");
    stage.ends(number, Status::Succeeded).await;
    let blind = |record: &Record| match &record.entry {
        Entry::VerdictChanged { verdict, .. } => verdict.class == VerdictClass::NoData,
        _ => false,
    };
    let records = records(&stage);
    let blind: Vec<_> = records.iter().filter(|record| blind(record)).collect();
    assert!(blind.is_empty(), "nothing kept it from looking: {blind:#?}");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_canary_goes_out_behind_the_proxy() {
    a_good_canary_goes_out(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_canary_goes_out_behind_haproxy() {
    a_good_canary_goes_out(Front::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_is_not_held_against_a_version() {
    let pace = Pace {
        slow_start_ms: 3_000,
        ..QUICK
    };
    let Some(stage) = Stage::set(Front::Embedded, pace).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    stage.ends(number, Status::Succeeded).await;
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

async fn a_bad_canary_is_taken_back(front: Front) {
    // Enough requests for the five errors without which no error rule binds.
    let pace = Pace {
        steps: "[50, 100]",
        soak: "2s",
        min_requests: 150,
        ..QUICK
    };
    let Some(stage) = Stage::set(front, pace).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy(BAD).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("error rate"), "{because}");
    judge(&stage, load, &Expected::of("v1", &[BAD])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_is_taken_back_behind_the_proxy() {
    a_bad_canary_is_taken_back(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_is_taken_back_behind_haproxy() {
    a_bad_canary_is_taken_back(Front::Haproxy).await;
}

/// HAProxy counts no latencies: only its log tells that this version is slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_canary_is_taken_back_behind_haproxy_by_its_log() {
    let pace = Pace {
        steps: "[50, 100]",
        soak: "5s",
        min_requests: 150,
        mean_ms: "80",
        ..QUICK
    };
    let Some(stage) = Stage::set(Front::Haproxy, pace).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy(SLOW).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("mean response"), "{because}");
    judge(&stage, load, &Expected::of("v1", &[SLOW])).await;
}

async fn an_abort_by_command(front: Front) {
    let Some(stage) = Stage::set(front, WAITING).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    stage
        .does(&["abort", SERVICE, "--reason", "changed our mind"])
        .await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("changed our mind"), "{because}");
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_command_behind_the_proxy() {
    an_abort_by_command(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_command_behind_haproxy() {
    an_abort_by_command(Front::Haproxy).await;
}

async fn an_abort_by_key(front: Front) {
    let Some(stage) = Stage::set(front, WAITING).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    let mut terminal = Terminal::with_console(&stage.config);
    terminal.shows("CANARY 25%").await;
    terminal.press("A");
    terminal.shows("y does it").await;
    terminal.press("y");
    terminal.shows("accepted").await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("aborted by"), "{because}");
    terminal.shows("no rollout open").await;
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_key_behind_the_proxy() {
    an_abort_by_key(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_key_behind_haproxy() {
    an_abort_by_key(Front::Haproxy).await;
}

async fn a_rollback(front: Front) {
    let Some(stage) = Stage::set(front, WAITING).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    let number = stage.begins(&["rollback", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_behind_the_proxy() {
    a_rollback(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_behind_haproxy() {
    a_rollback(Front::Haproxy).await;
}
