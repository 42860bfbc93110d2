//! What stands in front forgets, dies, hangs, or is changed by a stranger's hands.

use crate::haproxy::until;
use crate::judge::{Expected, Span, judge, records};
use crate::load::{Load, now_ms};
use crate::stage::{ENVIRONMENT, Front, SERVICE, Stage, WAITING};
use rustix::process::{Signal, kill_process};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::entry::Drift;
use wheelhouse::model::{Entry, ServerName, Status};
use wheelhouse::ports::Balancer as _;
use wheelhouse::view::snapshot::{PlacementView, Role};

/// A stranger's change, or an old file's, must be undone within this: one slow look and a write.
const CORRECTED_MS: u64 = 4_000;

fn trouble(view: &PlacementView, peer: &str) -> bool {
    let mut peers = view.peers.iter();
    peers.any(|view| view.name.as_str().contains(peer) && view.trouble.is_some())
}

async fn half_way_behind_haproxy() -> Option<(Stage, Load, wheelhouse::model::RolloutNumber)> {
    let stage = Stage::set(Front::Haproxy, WAITING).await?;
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    Some((stage, load, number))
}

/// Waits until the engine has read the balancer after now.
async fn read_anew(stage: &Stage) -> PlacementView {
    let now_ms = now_ms();
    let fresh = |view: &PlacementView| view.traffic.read_ms.is_some_and(|read| read > now_ms);
    stage.until("a fresh reading", fresh).await
}

impl Stage {
    fn lb(&mut self) -> &mut crate::haproxy::Haproxy {
        self.haproxy.as_mut().expect("a stage behind HAProxy")
    }

    /// Kills HAProxy and starts it again; says when requests could be lost.
    async fn haproxy_dies(&mut self) -> Span {
        let from_ms = now_ms();
        self.lb().crash().await;
        self.lb().start_again().await;
        self.front_answers().await;
        (from_ms, now_ms())
    }

    pub async fn front_answers(&self) {
        let url = format!("http://{}/", self.listen);
        until("an answer of an instance", async || {
            let answer = reqwest::get(&url).await;
            answer.is_ok_and(|answer| answer.headers().contains_key("x-version"))
        })
        .await;
    }
}

/// HAProxy holds every server for up that takes a connection; our own probe asks for more.
#[tokio::test(flavor = "multi_thread")]
async fn fault_046_what_haproxy_holds_for_up_is_taken_back_when_our_own_probe_fails() {
    let edit = |text: String, dir: &std::path::Path| {
        let asked = format!(
            "kind = \"command\"\ncommand = [\"sh\", \"-c\", 'test ! -e \"$0.$1\"', \"{}\", \
             \"{{server}}\"]\n",
            dir.join("sick").display()
        );
        text.replace("path = \"/readyz\"\n", &asked)
    };
    let Some(stage) = Stage::set_as("canary", Front::Haproxy, WAITING, edit).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    let view = stage.soaks_at(25.0).await;
    let canary = view.instances.iter().find(|row| row.role == Role::Canary);
    let name: ServerName = canary.expect("a canary").server.clone();
    let mark = stage.dir.path().join(format!("sick.{name}"));
    std::fs::write(mark, "").expect("a file");
    let asked = reqwest::get(format!("http://{}/", stage.address(name.as_str()))).await;
    assert!(asked.expect("an answer").status().is_success(), "it serves");
    let failing = |view: &PlacementView| {
        let mut rows = view.instances.iter();
        view.rollout.is_none() || rows.any(|row| row.server == name && row.healthy == Some(false))
    };
    stage.until("a probe that fails", failing).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("failed: run sh"), "{because}");
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_033_a_reload_loses_neither_share_nor_request() {
    let Some((mut stage, load, number)) = half_way_behind_haproxy().await else {
        return;
    };
    stage.lb().reload().await;
    let view = read_anew(&stage).await;
    assert_eq!(view.traffic.applied_percent, Some(25.0));
    load.answers(200).await;
    stage.promote(&["--full"]).await;
    // In the middle of the change, as near as a test can be.
    stage.lb().reload().await;
    stage.ends(number, Status::Succeeded).await;
    assert!(stage.engine.end().is_some_and(|status| status.success()));
    stage.lb().reload().await;
    load.answers(200).await;
    stage.start_engine().await;
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_034_an_old_state_file_brings_no_old_version_back() {
    let Some((mut stage, load, number)) = half_way_behind_haproxy().await else {
        return;
    };
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    let file = stage.lb().path("be_shop.state");
    let old = std::fs::read(&file).expect("a state file");
    let number = stage.begins(&["rollback", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;
    let from_ms = now_ms();
    stage.lb().crash().await;
    std::fs::write(&file, &old).expect("the old state file");
    stage.lb().start_again().await;
    stage.front_answers().await;
    let answers_ms = now_ms();
    stage.until_drift(Drift::Above).await;
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        lost_within: vec![(from_ms, answers_ms)],
        above_within: vec![(answers_ms, answers_ms + CORRECTED_MS)],
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_035_a_killed_haproxy_comes_back_with_the_same_share() {
    let Some((mut stage, load, number)) = half_way_behind_haproxy().await else {
        return;
    };
    let mut lost_within = vec![stage.haproxy_dies().await];
    let view = read_anew(&stage).await;
    assert_eq!(view.traffic.applied_percent, Some(25.0));
    load.answers(200).await;
    stage.promote(&["--full"]).await;
    lost_within.push(stage.haproxy_dies().await);
    stage.ends(number, Status::Succeeded).await;
    assert!(stage.engine.end().is_some_and(|status| status.success()));
    lost_within.push(stage.haproxy_dies().await);
    load.answers(200).await;
    stage.start_engine().await;
    let expected = Expected {
        serving: "v2",
        silent: &["v1"],
        lost_within,
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_036_an_abort_waits_for_a_haproxy_that_is_down_and_comes_first() {
    let Some((mut stage, load, number)) = half_way_behind_haproxy().await else {
        return;
    };
    let from_ms = now_ms();
    stage.lb().crash().await;
    stage
        .until("the trouble to be said", |view| trouble(view, "lb"))
        .await;
    stage.does(&["abort", SERVICE]).await;
    stage.lb().start_again().await;
    stage.front_answers().await;
    let lost_within = vec![(from_ms, now_ms())];
    stage.ends(number, Status::RolledBack).await;
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        lost_within,
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_037_a_haproxy_that_hangs_is_said_and_waited_for() {
    let Some((mut stage, load, number)) = half_way_behind_haproxy().await else {
        return;
    };
    let worker = stage.lb().worker().await;
    kill_process(worker, Signal::STOP).expect("a signal");
    stage
        .until("the trouble to be said", |view| trouble(view, "lb"))
        .await;
    kill_process(worker, Signal::CONT).expect("a signal");
    stage
        .until("the end of the trouble", |view| !trouble(view, "lb"))
        .await;
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test]
async fn fault_040_a_backend_that_could_not_carry_a_rollout_is_refused_with_the_mend() {
    let Some(mut stage) = Stage::set(Front::Haproxy, WAITING).await else {
        return;
    };
    let unfit = |text: String| text.replace("balance roundrobin", "balance leastconn");
    stage.lb().edit(unfit);
    stage.lb().reload().await;
    let deploy = ["deploy", SERVICE, "v2", "-e", ENVIRONMENT];
    let said = stage
        .run(&[&deploy[..], &["--confirm", ENVIRONMENT]].concat())
        .await;
    assert_eq!(said.code, 3, "{said:?}");
    for word in ["`balance leastconn`", "`balance roundrobin`"] {
        assert!(said.err.contains(word), "{said:?}");
    }
    let snapshot = stage.status().await;
    assert!(
        snapshot
            .placements
            .iter()
            .all(|view| view.rollout.is_none())
    );
}

impl Stage {
    /// Sets every canary server's weight by a stranger's hands.
    async fn by_hand(&self, view: &PlacementView, weight: u16) {
        let canaries = view.instances.iter().filter(|row| row.role == Role::Canary);
        let settings: Vec<(ServerName, ServerSetting)> = canaries
            .map(|row| (row.server.clone(), ServerSetting::ready(weight)))
            .collect();
        assert!(!settings.is_empty(), "no canary in {view:?}");
        let written = self.balancer().write(&self.backend(), &settings).await;
        assert!(written.reading.is_some(), "{:?}", written.outcome);
    }

    async fn until_drift(&self, wanted: Drift) {
        until("a record of the drift", async || {
            records(self).iter().any(
                |record| matches!(&record.entry, Entry::DriftFound { drift, .. } if *drift == wanted),
            )
        })
        .await;
    }
}

async fn a_strangers_hands(front: Front) {
    let Some(stage) = Stage::set(front, WAITING).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let view = stage.soaks_at(25.0).await;
    let above_ms = now_ms();
    stage.by_hand(&view, 75).await;
    stage.until_drift(Drift::Above).await;
    let view = stage.soaks_at(25.0).await;
    stage.by_hand(&view, 5).await;
    let held = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.and_then(|open| open.hold.as_ref())
            .is_some_and(|hold| !hold.by_person)
    };
    stage.until("a hold", held).await;
    let view = read_anew(&stage).await;
    let applied = view.traffic.applied_percent;
    assert!(
        applied < Some(7.0),
        "nobody decided to raise it: {applied:?}"
    );
    assert!(held(&view));
    stage.does(&["abort", SERVICE]).await;
    stage
        .until("the end", |view| {
            view.last.as_ref().is_some_and(|last| last.number == number)
        })
        .await;
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        above_within: vec![(above_ms, above_ms + CORRECTED_MS)],
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_041_a_strangers_hands_on_the_proxy() {
    a_strangers_hands(Front::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_041_a_strangers_hands_on_haproxy() {
    a_strangers_hands(Front::Haproxy).await;
}
