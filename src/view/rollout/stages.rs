//! The stages of a rollout, as its strategy has them.

use super::{is_ready, needed, slot_word, smokes, up_of};
use crate::engine::Look;
use crate::engine::rolling::{self, Batches};
use crate::model::state::InstanceStatus;
use crate::model::world::SmokeReport;
use crate::model::{Clean, Phase, Rollout, RolloutKind, ServerName, Step, Strategy};
use crate::view::snapshot::{StageState, StageView};
use crate::view::{smoke, words};

/// Canary: Start, Smoke, 5%, 100%. Blue-green: Start, Smoke, switch 10%, 100%. Rolling: Start,
/// Smoke, batch 1/3 … Recreate: stop old, start new, Smoke, watch.
pub(super) fn of(look: &Look<'_>, rollout: &Rollout) -> Vec<StageView> {
    let spec = &look.place.spec;
    let batches = rolling::batches(look, rollout);
    let recreates = matches!(spec.strategy, Strategy::Recreate(_)) && batches.is_none();
    let mut stages = Vec::new();
    if recreates && rollout.from.is_some() {
        stages.push(stop_stage(look, rollout));
    }
    if rollout.kind != RolloutKind::Restart {
        stages.push(start_stage(look, rollout, batches.as_ref()));
    }
    if rollout.kind.is_judged() && !look.place.smoke_of(rollout.release).is_empty() {
        stages.push(smoke_stage(look, rollout));
    }
    if let Some(batches) = &batches {
        stages.extend((1..=batches.of).map(|number| batch_stage(look, rollout, batches, number)));
        return stages;
    }
    let steps = rollout.steps(spec);
    stages.extend((1..=steps.len()).map(|number| step_stage(look, rollout, number)));
    stages
}

/// How a stage that is under way stands, given what else is going on.
fn running(rollout: &Rollout) -> StageState {
    match (rollout.is_reverting(), &rollout.hold) {
        (true, _) => StageState::Failed,
        (false, Some(_)) => StageState::Held,
        (false, None) => StageState::Running,
    }
}

fn plain(name: &str, state: StageState, detail: &str) -> StageView {
    StageView {
        name: name.into(),
        state,
        detail: Clean::new(detail),
        began_ms: None,
        length_ms: None,
        warns: false,
    }
}

/// Whether old instances still end, before the first new one may begin.
pub(super) fn stops_old(look: &Look<'_>, rollout: &Rollout) -> bool {
    let begun = look.place.servers_of(rollout.release).next().is_some();
    rollout.step == 0 && !begun && !others(look, rollout).is_empty()
}

fn others<'a>(look: &Look<'a>, rollout: &Rollout) -> Vec<&'a ServerName> {
    let all = look.place.instances.iter();
    let others = all.filter(|(_, instance)| instance.release != rollout.release);
    others.map(|(server, _)| server).collect()
}

fn stop_stage(look: &Look<'_>, rollout: &Rollout) -> StageView {
    if !stops_old(look, rollout) {
        return plain("stop old", StageState::Passed, "ended");
    }
    let detail = format!(
        "{} to end, drained first, up to {}",
        named(&others(look, rollout)),
        words::span(look.place.spec.canary.drain_timeout_ms)
    );
    plain("stop old", running(rollout), &detail)
}

fn named(servers: &[&ServerName]) -> String {
    let names: Vec<_> = servers.iter().map(|server| server.as_str()).collect();
    names.join(", ")
}

fn started(rollout: &Rollout) -> bool {
    rollout.step > 0 || rollout.smoke.is_some()
}

fn start_stage(look: &Look<'_>, rollout: &Rollout, batches: Option<&Batches>) -> StageView {
    let recreates = matches!(look.place.spec.strategy, Strategy::Recreate(_));
    let name = match recreates && rollout.from.is_some() {
        true => "start new",
        false => "Start",
    };
    let (up, all) = up_of(look, rollout);
    if recreates && stops_old(look, rollout) {
        return plain(name, StageState::Todo, &format!("{all} instances"));
    }
    let failed = look
        .place
        .servers_of(rollout.release)
        .find_map(|(server, instance)| match &instance.status {
            InstanceStatus::Failed { why } => Some(format!("{server}: {why}")),
            _ => None,
        });
    let leaving = batches.filter(|batches| up < all && !batches.leaving.is_empty());
    let leaving = leaving.map(|batches| {
        let names: Vec<_> = batches.leaving.iter().collect();
        format!("{up}/{all} up, {} makes room", named(&names))
    });
    let detail = failed
        .or(leaving)
        .unwrap_or_else(|| format!("{up}/{all} up"));
    let done = up >= all || started(rollout);
    let state = if done {
        StageState::Passed
    } else {
        running(rollout)
    };
    StageView {
        began_ms: Some(rollout.started_ms),
        ..plain(name, state, &detail)
    }
}

fn smoke_stage(look: &Look<'_>, rollout: &Rollout) -> StageView {
    let tests = look.place.smoke_of(rollout.release).len() * needed(look, rollout);
    let (state, detail) = match &rollout.smoke {
        None if smokes(look, rollout) => (running(rollout), format!("{tests} tests")),
        None => (StageState::Todo, format!("{tests} tests")),
        Some(report) => {
            let state = match report.failures().next() {
                None => StageState::Passed,
                Some(_) => StageState::Failed,
            };
            (state, smoke::summary(report))
        }
    };
    let warnings = rollout.smoke.iter().flat_map(SmokeReport::warnings);
    StageView {
        warns: warnings.count() > 0,
        ..plain("Smoke", state, &detail)
    }
}

fn step_stage(look: &Look<'_>, rollout: &Rollout, number: usize) -> StageView {
    let step = rollout.steps(&look.place.spec)[number - 1];
    let current = rollout.step == number;
    let passed = rollout.passed.iter().any(|(passed, _)| *passed == number);
    let waits = number == 1 && is_ready(rollout);
    let state = match (current, rollout.step > number) {
        _ if waits => StageState::Held,
        (true, _) => running(rollout),
        (false, true) if passed => StageState::Passed,
        (false, true) => StageState::Skipped,
        (false, false) => StageState::Todo,
    };
    let detail = match (&rollout.phase, current) {
        _ if waits => format!("promote switches to {}", slot_word(look, rollout)),
        (Phase::Shifting { .. }, true) => "setting weights".to_owned(),
        (Phase::Reverting { .. }, true) => "taken back".to_owned(),
        _ if !rollout.kind.is_judged() => "at once".to_owned(),
        _ => soak(look, step),
    };
    let soaks = current && matches!(rollout.phase, Phase::Soaking { .. });
    StageView {
        began_ms: soaks.then(|| rollout.phase.since_ms()),
        length_ms: rollout.kind.is_judged().then_some(step.soak_ms),
        ..plain(&name(look, step, number), state, &detail)
    }
}

fn soak(look: &Look<'_>, step: Step) -> String {
    let verb = match look.place.spec.strategy {
        Strategy::Canary | Strategy::BlueGreen(_) => "soak",
        Strategy::Rolling(_) | Strategy::Recreate(_) => "watch",
    };
    let person = if step.pause { " + person" } else { "" };
    format!("{verb} {}{person}", words::span(step.soak_ms))
}

fn name(look: &Look<'_>, step: Step, number: usize) -> String {
    match &look.place.spec.strategy {
        Strategy::Recreate(_) => "watch".to_owned(),
        Strategy::BlueGreen(_) if number == 1 => format!("switch {}%", step.weight_percent),
        _ => format!("{}%", step.weight_percent),
    }
}

fn batch_stage(look: &Look<'_>, rollout: &Rollout, batches: &Batches, number: usize) -> StageView {
    let settings = rolling::settings(look);
    let all = look.place.spec.instances;
    let steps = settings.steps(all);
    let soak_ms = steps.get(number - 1).map_or(0, |step| step.soak_ms);
    // Before the first batch has its traffic, it is being started.
    let first = rollout.step == 0 && rollout.kind != RolloutKind::Restart;
    let current = batches.number == number && !first;
    let state = match number.cmp(&batches.number) {
        _ if current => running(rollout),
        std::cmp::Ordering::Less => StageState::Passed,
        _ => StageState::Todo,
    };
    let replaced = format!("{}/{all} replaced", settings.replaced(number, all));
    let detail = match (&rollout.phase, current, state) {
        (Phase::Starting { .. }, true, _) => moving(batches),
        (Phase::Shifting { .. }, true, _) => "setting weights".to_owned(),
        (Phase::Reverting { .. }, true, _) => "taken back".to_owned(),
        (_, _, StageState::Passed) => replaced,
        _ if !rollout.kind.is_judged() => replaced,
        _ => steps
            .get(number - 1)
            .map_or(replaced, |step| soak(look, *step)),
    };
    let soaks = current && matches!(rollout.phase, Phase::Soaking { .. });
    StageView {
        began_ms: soaks.then(|| rollout.phase.since_ms()),
        length_ms: rollout.kind.is_judged().then_some(soak_ms),
        ..plain(&format!("batch {number}/{}", batches.of), state, &detail)
    }
}

/// What of a batch is on its way in and out.
fn moving(batches: &Batches) -> String {
    let list = |verb: &str, servers: &[ServerName]| {
        let names: Vec<_> = servers.iter().collect();
        (!names.is_empty()).then(|| format!("{verb} {}", named(&names)))
    };
    let parts = [
        list("starting", &batches.starting),
        list("draining", &batches.leaving),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "replacing".to_owned(),
        false => parts.join(", "),
    }
}
