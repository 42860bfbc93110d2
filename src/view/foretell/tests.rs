//! What dialogs say, by strategy: texts a person decides by must be true.

use super::{Asking, foretell};
use crate::engine::tests::parts;
use crate::engine::tests::stage::{Stage, empty_with, person, server, spec, stable_with};
use crate::model::command::{Command, PromoteTo};
use crate::model::input::Asked;
use crate::model::service::{CheckKind, HttpCheck, Step};
use crate::model::strategy::{BlueGreen, Recreate, Rolling, Slots, Strategy};
use crate::model::{ReleaseId, RolloutId, ServiceSpec, Urgency};
use crate::view::{Preview, Tier};
use uuid::Uuid;

fn step(weight_percent: u8, pause: bool) -> Step {
    Step {
        weight_percent,
        soak_ms: 10_000,
        pause,
    }
}

fn with(strategy: Strategy) -> ServiceSpec {
    ServiceSpec { strategy, ..spec() }
}

fn blue_green(confirm: bool) -> ServiceSpec {
    with(Strategy::BlueGreen(BlueGreen {
        slots: Slots {
            blue: vec![server(1), server(2)],
            green: vec![server(3), server(4)],
        },
        switch: vec![step(10, false), step(100, false)],
        confirm,
    }))
}

fn rolling(max_unavailable: u32, max_surge: u32) -> ServiceSpec {
    with(Strategy::Rolling(Rolling {
        batch: 1,
        max_unavailable,
        max_surge,
        min_healthy_ms: 5_000,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: 120_000,
    }))
}

fn recreate() -> ServiceSpec {
    with(Strategy::Recreate(Recreate { watch_ms: 20_000 }))
}

fn told(stage: &Stage, command: Command) -> Preview {
    let at = command.placement().expect("no pipeline").clone();
    let asked = Asked {
        request: 900,
        by: person(),
        command,
        rollout: RolloutId(Uuid::from_u128(900 << 64)),
        release: ReleaseId(Uuid::from_u128(900)),
    };
    let asking = Asking {
        placement: at,
        asked,
        protected: true,
        to_the_end: false,
    };
    let preview = foretell(&stage.state, &stage.world, &asking);
    assert_eq!(preview.refused, None, "{}", preview.title);
    preview
}

/// All of a preview as one text: labels, lines, warnings.
fn text(preview: &Preview) -> String {
    let lines = preview.lines.iter();
    let lines = lines.map(|line| format!("{}: {}", line.label, line.text));
    let warnings = preview
        .warnings
        .iter()
        .map(|text| format!("WARNING: {text}"));
    let all: Vec<_> = lines.chain(warnings).collect();
    all.join("\n")
}

#[track_caller]
fn says(preview: &Preview, parts: &[&str]) {
    let text = text(preview);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn deploy(stage: &Stage) -> Command {
    Command::Deploy {
        spec: Box::new(stage.spec.clone()),
        version: "v2".parse().expect("valid"),
        reason: None,
        request_id: None,
    }
}

fn promote(stage: &Stage) -> Command {
    Command::Promote {
        placement: stage.placement(),
        to: PromoteTo::Next,
        revision: 0,
    }
}

fn rollback(stage: &Stage) -> Command {
    Command::Rollback {
        spec: Box::new(stage.spec.clone()),
        to: None,
        reason: None,
        urgency: Urgency::Ordinary,
    }
}

#[test]
fn a_recreate_says_the_downtime_beforehand() {
    let stage = stable_with(recreate());
    let preview = told(&stage, deploy(&stage));
    says(
        &preview,
        &[
            "WARNING: no service from the stop of v1 until v2 is up: 2 instances, drain up to 20 s, \
             start up to 30 s",
            "drain web1, web2, then stop them",
            "start and verify web1, web2",
            "Then: watch for 20 s; then done",
            "Undo: A abort ends it and starts v1 anew: no service until that is up",
        ],
    );
    let text = text(&preview);
    let at = |part: &str| text.find(part).expect("it is there");
    assert!(at("drain web1") < at("start and verify"), "in its order");
}

#[test]
fn a_first_deploy_by_recreate_ends_nothing() {
    let stage = empty_with(recreate());
    let preview = told(&stage, deploy(&stage));
    assert_eq!(preview.warnings, Vec::new());
    says(&preview, &["Undo: A abort; there is no earlier version"]);
}

#[test]
fn a_rolling_deploy_says_its_batches_and_what_may_be_missing() {
    let stage = stable_with(rolling(1, 0));
    says(
        &told(&stage, deploy(&stage)),
        &[
            "Batches: 2 batches of 1; up to 1 of 2 instances missing, none beside them",
            "Then: watch for 5 s; then batch 2/2 unless it fails",
            "what is left of v1 at once; the rest is started anew",
        ],
    );
    let stage = stable_with(rolling(0, 1));
    says(
        &told(&stage, deploy(&stage)),
        &["no instance missing, up to 1 more meanwhile"],
    );
}

#[test]
fn a_promotion_between_batches_names_the_batch() {
    let mut stage = stable_with(rolling(0, 1));
    stage.deploy("v2");
    stage.until("the first watch", Stage::is_soaking);
    let preview = told(&stage, promote(&stage));
    assert!(preview.title.as_str().starts_with("PROMOTE to batch 2/2"));
    assert_eq!(preview.button.as_str(), "Begin batch 2/2");
    says(&preview, &["Then: watch for 5 s; then done"]);
}

#[test]
fn a_deploy_into_a_slot_says_which_and_who_switches() {
    let stage = stable_with(blue_green(true));
    says(
        &told(&stage, deploy(&stage)),
        &[
            "Slot: green, blue keeps the traffic; the switch waits for you",
            "Then: nothing more until somebody promotes, which switches, or aborts",
        ],
    );
    let stage = stable_with(blue_green(false));
    says(
        &told(&stage, deploy(&stage)),
        &[
            "until it is verified; then it switches by itself",
            "Then: watch for 10 s; then 100% unless it fails",
        ],
    );
}

#[test]
fn promoting_a_ready_slot_is_the_switch() {
    let mut stage = stable_with(blue_green(true));
    stage.deploy("v2");
    stage.until("it is ready", |stage| stage.held().is_some());
    let preview = told(&stage, promote(&stage));
    assert_eq!(preview.title.as_str(), "SWITCH to green - shop PROD");
    assert_eq!(preview.button.as_str(), "Switch to green: 0% -> 10%");
    assert_eq!(preview.tier, Tier::Two);
    says(&preview, &["share traffic v2 10%, v1 90%, read back"]);
    stage.promote(PromoteTo::Next).expect("it is taken");
    stage.until("the switch is watched", Stage::is_soaking);
    let preview = told(&stage, promote(&stage));
    assert_eq!(preview.title.as_str(), "PROMOTE to 100% - shop PROD");
}

#[test]
fn a_rollback_to_a_warm_slot_is_one_command() {
    let mut stage = stable_with(blue_green(false));
    stage.deploy("v2");
    stage.until("v2 is verified", |stage| !stage.is_open());
    let preview = told(&stage, rollback(&stage));
    assert_eq!(preview.tier, Tier::One);
    says(&preview, &["How: one balancer command: v1 is warm in blue"]);
    // Where it must be started first, that is what it says.
    stage.until("v1 is gone", |stage| stage.running("v1") == 0);
    let preview = told(&stage, rollback(&stage));
    says(&preview, &["start and verify web1, web2"]);
    assert!(!text(&preview).contains("one balancer command"));
}

#[test]
fn a_rolling_deploy_keeps_nothing_warm_and_does_not_say_so() {
    let mut stage = stable_with(rolling(0, 1));
    stage.deploy("v2");
    stage.until("the first watch", Stage::is_soaking);
    stage.promote(PromoteTo::Next).expect("it is taken");
    stage.until("the last batch", |stage| {
        stage.is_soaking() && stage.rollout().step == 2
    });
    let preview = told(&stage, promote(&stage));
    assert!(!text(&preview).contains("warm"), "{}", text(&preview));
    says(&preview, &["Undo: R rollback to v1"]);
}

#[test]
fn a_restart_says_its_batches() {
    let stage = stable_with(rolling(0, 1));
    let placement = stage.placement();
    let reason = None;
    let preview = told(&stage, Command::Restart { placement, reason });
    assert_eq!(preview.tier, Tier::Two);
    says(
        &preview,
        &[
            "Version: v1, once more",
            "Batches: 2 batches of 1; no instance missing",
        ],
    );
}

#[test]
fn a_lonely_instance_is_restarted_without_service() {
    let mut spec = recreate();
    spec.instances = 1;
    spec.servers.truncate(1);
    let stage = stable_with(spec);
    let placement = stage.placement();
    let reason = None;
    let preview = told(&stage, Command::Restart { placement, reason });
    says(&preview, &["WARNING: no service while it restarts"]);
}

fn scale(stage: &Stage, instances: u32) -> Command {
    Command::Scale {
        placement: stage.placement(),
        instances,
        reason: None,
    }
}

#[test]
fn scaling_names_the_servers() {
    let mut spec = rolling(1, 0);
    spec.canary.drain_timeout_ms = 1_000;
    let stage = stable_with(spec);
    let up = told(&stage, scale(&stage, 3));
    assert_eq!(up.title.as_str(), "SCALE to 3 - shop PROD");
    says(
        &up,
        &[
            "keep 3 instances",
            "start and verify web3",
            "WARNING: the next deploy takes the configuration's number",
            "Undo: :scale 2",
        ],
    );
    assert!(!text(&up).contains("Versions"), "no version moves");
    says(
        &told(&stage, scale(&stage, 1)),
        &["drain web1, then stop it"],
    );
}

#[test]
fn draining_says_what_is_left() {
    let mut stage = stable_with(spec());
    let placement = stage.placement();
    let drain = |n| Command::Drain {
        placement: placement.clone(),
        server: server(n),
        reason: None,
    };
    let preview = told(&stage, drain(1));
    assert_eq!(preview.tier, Tier::Two);
    says(
        &preview,
        &[
            "take web1 out of traffic; its instance stays",
            "Leaves: 1 of 2 instances of v1 in traffic",
            "Undo: :undrain web1",
        ],
    );
    stage.ask(drain(1)).expect("it is taken");
    let undrain = Command::Undrain {
        placement: placement.clone(),
        server: server(1),
    };
    let preview = told(&stage, undrain);
    assert_eq!(preview.tier, Tier::One);
    says(&preview, &["give web1 its traffic back"]);
}

#[test]
fn a_drill_says_that_it_goes_back() {
    let stage = stable_with(spec());
    let placement = stage.placement();
    let reason = None;
    let preview = told(&stage, Command::Drill { placement, reason });
    says(
        &preview,
        &[
            "Version: v1, once more",
            "Then: watch for 10 s; then all traffic back to v1: a drill",
        ],
    );
}

#[test]
fn a_step_that_waits_for_a_person_does_not_say_that_it_goes_on() {
    let mut spec = spec();
    spec.canary.steps[0].pause = true;
    let stage = stable_with(spec);
    says(
        &told(&stage, deploy(&stage)),
        &["Then: watch for 10 s; then it waits for a person before 25%"],
    );
}

#[test]
fn a_rollback_says_what_an_emergency_skips_and_what_it_restores() {
    let mut spec = spec();
    spec.health.successes = 2;
    let mut stage = stable_with(spec);
    stage.spec.health.kind = CheckKind::Http(HttpCheck::get("/ready"));
    stage.deploy("v2");
    stage.until("v2 is verified", |stage| !stage.is_open());
    let urgent = |stage: &Stage| Command::Rollback {
        spec: Box::new(stage.spec.clone()),
        to: None,
        reason: Some("it leaks".into()),
        urgency: Urgency::Emergency,
    };
    let preview = told(&stage, urgent(&stage));
    assert_eq!(preview.tier, Tier::One);
    assert!(
        preview
            .title
            .as_str()
            .starts_with("EMERGENCY ROLLBACK to v1")
    );
    says(
        &preview,
        &[
            "Skips: 1 passed probe makes an instance up, instead of 2 in a row; no rollback makes \
             smoke tests",
            "Restores: v1's health check: GET /readyz, not GET /ready",
        ],
    );
    let usual = text(&told(&stage, rollback(&stage)));
    assert!(
        !usual.contains("Skips") && usual.contains("Restores"),
        "{usual}"
    );
    stage.deploy("v3");
    stage.until("the first soak", Stage::is_soaking);
    let preview = told(&stage, urgent(&stage));
    says(
        &preview,
        &["Skips: none: this aborts #3, which has nothing to skip"],
    );
}

#[test]
fn what_moves_with_a_service_is_told_by_its_name() {
    let mut stage = parts::stands(parts::with_jobs(2, parts::rolling()));
    let preview = told(&stage, deploy(&stage));
    says(&preview, &["With: shop-jobs: 2 instances, rolling"]);
    assert!(!text(&preview).contains('?'), "{}", text(&preview));
    stage.deploy("v2");
    stage.until("a share", |stage| stage.share("v2") > 0);
    let abort = Command::Abort {
        placement: parts::at(),
        reason: None,
    };
    says(&told(&stage, abort), &["shop: share traffic v1 100%"]);
}
