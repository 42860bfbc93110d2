//! Every way back: to a release with the configuration it was made with.

use crate::judge::{Expected, judge};
use crate::stage::{ENVIRONMENT, Front, SERVICE, Stage, WAITING};
use wheelhouse::model::Status;
use wheelhouse::view::snapshot::{InstanceRow, PlacementView, ReadyView};

/// v1 is asked where any version answers; what replaces it is asked what only v2 says.
const OLD_CHECK: &str = "path = \"/healthz\"";
const NEW_CHECK: &str = "path = \"/served\"\njson = { \"/version\" = \"v2\" }";
/// Old versions are ended at once, so that a rollback has to begin them anew.
const NOTHING_WARM: &str = "\nkeep_warm = \"0s\"\n";

async fn set(strategy: &str) -> Stage {
    let edit = |text: String, _: &std::path::Path| {
        text.replace("path = \"/readyz\"", OLD_CHECK)
            .replace("[canary]\n", &format!("[canary]{NOTHING_WARM}"))
    };
    let stage = Stage::set_as(strategy, Front::Embedded, WAITING, edit).await;
    stage.expect("the embedded front is always there")
}

/// The configuration moves on, to a check that v1 cannot pass.
async fn moves_on(stage: &Stage) {
    let text = std::fs::read_to_string(&stage.config).expect("the configuration");
    assert!(text.contains(OLD_CHECK));
    let moved = text.replace(OLD_CHECK, NEW_CHECK);
    std::fs::write(&stage.config, moved).expect("the configuration");
    let said = stage.run(&["engine", "reload"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_and_an_abort_judge_the_old_release_by_its_own_check() {
    let stage = set("canary").await;
    moves_on(&stage).await;
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    stage.does(&["abort", SERVICE]).await;
    stage.ends(number, Status::RolledBack).await;

    let number = stage.deploy("v2").await;
    stage.soaks_at(25.0).await;
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    let ended = |view: &PlacementView| {
        let old = |row: &&InstanceRow| row.version.as_str() == "v1";
        view.instances.iter().filter(old).count() == 0
    };
    stage.until("the end of v1's instances", ended).await;
    let known = |view: &PlacementView| {
        let words = view.ready.iter().filter_map(ReadyView::stock_words);
        words.collect::<Vec<_>>() == ["program here"]
    };
    stage.until("what the host has of v1", known).await;
    let said = stage.run(&["status"]).await;
    assert!(said.out.contains("earlier: v1 program here"), "{said:?}");
    let number = stage.begins(&["rollback", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;

    let said = stage
        .run(&["rollback", SERVICE, "-e", ENVIRONMENT, "--emergency"])
        .await;
    assert_eq!(said.code, 64, "without a reason: {said:?}");
    let urgent = [
        "rollback",
        SERVICE,
        "--to",
        "v2",
        "--emergency",
        "--reason",
        "v1 leaks",
    ];
    let said = stage.does(&[&urgent[..], &["--dry-run"]].concat()).await;
    assert!(said.out.contains("EMERGENCY ROLLBACK to v2"), "{said:?}");
    let number = stage.begins(&urgent).await;
    stage.ends(number, Status::Succeeded).await;
    let said = stage.run(&["history", "show", &number.to_string()]).await;
    assert!(said.out.contains("emergency rollback to v2"), "{said:?}");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_begun_anew_and_judged_by_its_own_check() {
    let stage = set("rolling").await;
    moves_on(&stage).await;
    let text = std::fs::read_to_string(&stage.config).expect("the configuration");
    let paused = text + "\n[rolling]\nmin_healthy = \"1s\"\npause_after_first = true\n";
    std::fs::write(&stage.config, paused).expect("the configuration");
    let said = stage.run(&["engine", "reload"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let held = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.is_some_and(|open| open.hold.is_some())
    };
    stage.until("the pause after the first batch", held).await;
    stage.does(&["abort", SERVICE]).await;
    stage.ends(number, Status::RolledBack).await;
    judge(&stage, load, &Expected::of("v1", &["v2"])).await;
}
