//! The strategies beside the canary, each played against real parts and under load: what it
//! promises of requests, of processes and of the way back, and that an engine that dies in the
//! middle changes none of it.

use crate::judge::{Expected, Span, judge, nothing_was_lost, records};
use crate::process::PROGRAM;
use crate::stage::{BAD, Front, Pace, QUICK, SERVICE, Stage, placement};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::path::Path;
use wheelhouse::model::strategy::Slot;
use wheelhouse::model::{Entry, Record, RolloutNumber, Seq, Status};
use wheelhouse::view::snapshot::{InstanceRow, LiveSlot, OutageView, PhaseView, PlacementView};

/// Which servers are blue and which green.
pub const SLOTS: &str =
    "\n[service.shop.slots]\nblue = [\"s1\", \"s2\", \"s3\"]\ngreen = [\"s4\", \"s5\", \"s6\"]\n";
/// A person begins the switch.
const CONFIRMED: &str = "\n[blue_green]\nswitch = [100]\nsoak = \"1s\"\nconfirm = true\n";
/// Half of the requests first, and nobody is asked.
const BY_HALVES: &str = "\n[blue_green]\nswitch = [50, 100]\nsoak = \"2s\"\nconfirm = false\n";
/// One by one.
pub const ONE_BY_ONE: &str = "\n[rolling]\nbatch = 1\nsurge = 1\nmin_healthy = \"1s\"\n";
/// The first batch stays under the judge's eyes until a person sends it on.
const WATCHED: &str = "pause_after_first = true\n";
/// This version of a recreated service runs and is never healthy.
const DEAF: &str = "v3";
/// Enough requests for the five errors without which no error rule binds.
const JUDGED: Pace = Pace {
    min_requests: 150,
    ..QUICK
};

fn of_version<'a>(
    view: &'a PlacementView,
    version: &'a str,
) -> impl Iterator<Item = &'a InstanceRow> {
    let rows = view.instances.iter();
    rows.filter(move |row| row.version.as_str() == version)
}

pub fn processes(view: &PlacementView) -> BTreeSet<u32> {
    view.instances.iter().filter_map(|row| row.pid).collect()
}

/// Whether so many instances of this version are well, and no other stands.
fn alone(view: &PlacementView, version: &str, count: usize) -> bool {
    let well = |row: &InstanceRow| row.status.as_str() == "up" && row.healthy == Some(true);
    let mine = of_version(view, version).filter(|row| well(row)).count();
    mine == count && view.instances.len() == count
}

/// The records of one rollout, from its beginning on.
pub fn records_of(stage: &Stage, number: RolloutNumber) -> Vec<Record> {
    let all = records(stage);
    let begins = |record: &Record| matches!(&record.entry, Entry::RolloutStarted { number: begun, .. } if *begun == number);
    let begun = all.iter().find(|record| begins(record)).map(|r| r.seq);
    let begun: Seq = begun.expect("it is recorded before it is answered");
    all.into_iter().filter(|r| r.seq >= begun).collect()
}

fn count(records: &[Record], kind: &str) -> usize {
    let kinds = records.iter().map(|record| record.entry.kind());
    kinds.filter(|found| *found == kind).count()
}

impl Stage {
    /// Waits until so many instances of this version are well and nothing else stands.
    pub async fn stands(&self, version: &str, count: usize) -> PlacementView {
        let what = format!("{count} of {version} and nothing else");
        self.until(&what, |view| alone(view, version, count)).await
    }

    /// What `status --json` says of the service.
    pub async fn says(&self) -> PlacementView {
        let said = self.status().await;
        said.placement(&placement()).expect("the service").clone()
    }

    /// Which slot `status --json` says is live.
    async fn live(&self) -> LiveSlot {
        self.says().await.slots.expect("slots").live
    }

    /// Waits until the rollout stops by itself and asks for a person.
    async fn pauses(&self) {
        let held = |view: &PlacementView| {
            let open = view.rollout.as_ref();
            open.is_some_and(|open| open.phase == PhaseView::Soaking && open.hold.is_some())
        };
        self.until("a pause after the first batch", held).await;
    }

    /// Kills the engine as a crash would, each time as soon as a rollout's history has so many
    /// records of a kind, and starts its successor.
    pub async fn engine_dies_at(&mut self, number: RolloutNumber, moments: &[(&str, usize)]) {
        for (kind, times) in moments {
            let what = format!("{times} × {kind}");
            crate::haproxy::until(&what, async || {
                count(&records_of(self, number), kind) >= *times
            })
            .await;
            self.engine.kill();
            self.begin_engine();
        }
    }
}

async fn blue_green(front: Front, pace: Pace, switch: &str) -> Option<Stage> {
    Stage::set_by("blue-green", front, pace, &format!("{SLOTS}{switch}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_behind_haproxy_serves_nobody_before_it_is_promoted_and_goes_back_at_once() {
    let Some(stage) = blue_green(Front::Haproxy, QUICK, CONFIRMED).await else {
        return;
    };
    assert_eq!(stage.live().await, LiveSlot::Blue);
    let before = stage.load();
    let number = stage.deploy("v2").await;
    let ready = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.is_some_and(|open| open.phase == PhaseView::Ready)
    };
    stage.until("a verified idle slot", ready).await;
    before.answers(300).await;
    let view = stage.says().await;
    let slots = view.slots.clone().expect("slots");
    assert_eq!(slots.live, LiveSlot::Blue);
    let green = slots.of(Slot::Green).expect("green");
    assert_eq!(green.release.as_ref().expect("v2").version.as_str(), "v2");
    assert_eq!((green.up, green.serves), (3, Some(false)));
    let in_green = ["s4", "s5", "s6"];
    assert!(of_version(&view, "v2").all(|row| in_green.contains(&row.server.as_str())));

    let load = stage.load();
    let answered = before.stop().await;
    nothing_was_lost(&answered, &[]);
    assert!(answered.iter().all(|exchange| exchange.is_of("v1")));
    stage.promote(&[]).await;
    stage.ends(number, Status::Succeeded).await;
    assert_eq!(stage.live().await, LiveSlot::Green);

    let number = stage.begins(&["rollback", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;
    assert_eq!(stage.live().await, LiveSlot::Blue);
    let begun = count(&records_of(&stage, number), "instance_intended");
    assert_eq!(begun, 0, "the warm slot serves as it stands");
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_047_a_slot_that_died_before_the_switch_gets_no_request_behind_haproxy() {
    let Some(stage) = blue_green(Front::Haproxy, QUICK, CONFIRMED).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let ready = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.is_some_and(|open| open.phase == PhaseView::Ready)
    };
    let view = stage.until("a verified idle slot", ready).await;
    for pid in of_version(&view, "v2").filter_map(|row| row.pid) {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    let because = stage.ends(number, Status::Failed).await;
    assert!(because.contains("failed"), "{because}");
    let said = stage.does_or_not(&["promote", SERVICE]).await;
    assert_eq!(said.code, 3, "there is nothing to switch to: {said:?}");
    load.answers(100).await;
    assert_eq!(stage.live().await, LiveSlot::Blue);
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_switched_back_by_itself() {
    let stage = blue_green(Front::Embedded, JUDGED, BY_HALVES).await;
    let stage = stage.expect("the embedded front is always there");
    let load = stage.load();
    let number = stage.deploy(BAD).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("error rate"), "{because}");
    assert_eq!(stage.live().await, LiveSlot::Blue);
    judge(&stage, load, &Expected::of("v1", &[BAD])).await;
}

/// Only so many of the six servers.
pub fn first_servers(text: &str, count: usize) -> String {
    let beyond = |line: &&str| (count + 1..=6).any(|n| line.starts_with(&format!("s{n} = ")));
    let lines = text.lines().filter(|line| !beyond(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_behind_haproxy_with_one_server_more_loses_no_request_and_restores_a_bad_batch() {
    let tables = format!("{ONE_BY_ONE}{WATCHED}");
    let edit = |text: String, _: &Path| first_servers(&text, 4) + &tables;
    let Some(stage) = Stage::set_as("rolling", Front::Haproxy, JUDGED, edit).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    stage.pauses().await;
    stage.promote(&[]).await;
    stage.ends(number, Status::Succeeded).await;
    stage.stands("v2", 3).await;

    let number = stage.deploy(BAD).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("error rate"), "{because}");
    stage.stands("v2", 3).await;
    judge(&stage, load, &Expected::of("v2", &["v1", BAD])).await;
}

/// A service that may run only once: each process locks a file for as long as it lives, and writes
/// into another where it finds it locked. [`DEAF`] never listens.
fn only_once(text: &str, dir: &Path) -> String {
    let script = format!(
        r#"exec 9> "$0.lock"; flock -n 9 || echo "$1" >> "$0.twice"; \
        test "$1" != {DEAF} || exec sleep 600; \
        exec "{PROGRAM}" demo-service --address "$2" --version "$1" --latency-ms 8"#
    );
    let script = script.replace("\\\n", "");
    let file = dir.join("ledger");
    let arguments = format!("\"{}\", \"{{version}}\", \"{{address}}\"", file.display());
    let text = commanded(
        text,
        &format!("\"sh\", \"-c\", '''{script}''', {arguments}"),
    );
    let text = text.replace("instances = 3\n", "instances = 1\n");
    let text = text.replace(
        "timeout = \"900ms\"\n",
        "timeout = \"900ms\"\nstart_timeout = \"10s\"\n",
    );
    first_servers(&text, 2) + "\n[recreate]\nwatch = \"60s\"\n"
}

/// The configuration with another command.
pub fn commanded(text: &str, command: &str) -> String {
    let (before, rest) = text.split_once("command = [").expect("a command");
    let (_, after) = rest.split_once("\n]\n").expect("its end");
    format!("{before}command = [{command}]\n{after}")
}

async fn recreated() -> Option<Stage> {
    if !crate::needs::has("flock", "--version") {
        return None;
    }
    let edit = |text: String, dir: &Path| only_once(&text, dir);
    Stage::set_as("recreate", Front::Embedded, QUICK, edit).await
}

fn never_ran_twice(stage: &Stage) {
    let twice = std::fs::read_to_string(stage.dir.path().join("ledger.twice"));
    assert!(twice.is_err(), "begun while another ran: {twice:?}");
}

/// The time without service as the records have it: from the first drain to the settled weight,
/// or where it was taken back, to the old instance's return.
fn outage(records: &[Record]) -> Span {
    let at_ms = |kind: &str, from: usize| {
        let mut rest = records.iter().enumerate().skip(from);
        let found = rest.find(|(_, record)| record.entry.kind() == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {records:#?}"))
    };
    let (drained, begun) = at_ms("drain_begun", 0);
    let (stopped, _) = at_ms("instance_stopped", drained);
    let (intended, _) = at_ms("instance_intended", stopped);
    let (_, settled) = at_ms("weight_settled", intended);
    (begun.at_ms, settled.at_ms)
}

impl Stage {
    /// Waits until the new instance serves and is watched, and holds what `status --json` says of
    /// the outage against the records; says when it was, and ends the watch.
    async fn outage_of(&self, number: RolloutNumber) -> Span {
        let watched = |view: &PlacementView| {
            let open = view.rollout.as_ref();
            open.is_some_and(|open| open.phase == PhaseView::Soaking)
        };
        self.until("the watch after the outage", watched).await;
        let said = self.says().await.rollout.and_then(|open| open.outage);
        let (since_ms, until_ms) = outage(&records_of(self, number));
        let recorded = OutageView {
            since_ms,
            until_ms: Some(until_ms),
        };
        assert_eq!(said, Some(recorded));
        self.promote(&["--full"]).await;
        self.ends(number, Status::Succeeded).await;
        (since_ms, until_ms)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_never_runs_two_measures_its_outage_and_goes_back_from_what_is_never_healthy() {
    let Some(stage) = recreated().await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let without = stage.outage_of(number).await;
    stage.stands("v2", 1).await;

    let number = stage.deploy(DEAF).await;
    let because = stage.ends(number, Status::Failed).await;
    assert!(because.contains("not healthy within"), "{because}");
    stage.stands("v2", 1).await;
    never_ran_twice(&stage);
    let second = records_of(&stage, number);
    let (from, to) = (&second[0], second.last().expect("its end"));
    let expected = Expected {
        serving: "v2",
        silent: &["v1", DEAF],
        lost_within: vec![without, (from.at_ms, to.at_ms)],
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_in_a_switch_ends_it_without_a_lost_request() {
    let by_halves = BY_HALVES.replace("2s", "1s");
    let Some(mut stage) = blue_green(Front::Haproxy, QUICK, &by_halves).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let moments = [
        ("instance_intended", 3),
        ("weight_intended", 1),
        ("weight_settled", 1),
        ("step_passed", 1),
        ("weight_intended", 2),
    ];
    stage.engine_dies_at(number, &moments).await;
    stage.ends(number, Status::Succeeded).await;
    assert_eq!(stage.live().await, LiveSlot::Green);
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_in_a_batch_or_a_restart_ends_both_without_a_lost_request() {
    let stage = Stage::set_by("rolling", Front::Embedded, QUICK, ONE_BY_ONE).await;
    let mut stage = stage.expect("the embedded front is always there");
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let moments = [
        ("instance_intended", 1),
        ("weight_intended", 1),
        ("drain_begun", 1),
        ("batch_begun", 1),
        ("instance_stopped", 2),
    ];
    stage.engine_dies_at(number, &moments).await;
    stage.ends(number, Status::Succeeded).await;
    let before = processes(&stage.stands("v2", 3).await);

    let number = stage.begins(&["restart", SERVICE]).await;
    let moments = [
        ("instance_intended", 1),
        ("instance_up", 1),
        ("drain_begun", 1),
        ("instance_stopped", 1),
        ("batch_begun", 2),
    ];
    stage.engine_dies_at(number, &moments).await;
    stage.ends(number, Status::Succeeded).await;
    let after = processes(&stage.stands("v2", 3).await);
    assert!(before.is_disjoint(&after), "every instance was begun anew");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_in_an_outage_ends_it_and_never_runs_two() {
    let Some(mut stage) = recreated().await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let moments = [
        ("drain_begun", 1),
        ("stop_intended", 1),
        ("instance_stopped", 1),
        ("instance_intended", 1),
        ("weight_intended", 1),
    ];
    stage.engine_dies_at(number, &moments).await;
    let without = stage.outage_of(number).await;
    stage.stands("v2", 1).await;
    never_ran_twice(&stage);
    let expected = Expected {
        serving: "v2",
        silent: &["v1"],
        lost_within: vec![without],
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}
