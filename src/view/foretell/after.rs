//! Where a command leads by itself once it is done, and how it is undone.

use super::{line, version};
use crate::engine::{Look, rolling};
use crate::model::command::Command;
use crate::model::state::HoldReason;
use crate::model::{PlacementState, Rollout, RolloutKind, State, Status, Step, Strategy, World};
use crate::view::preview::PreviewLine;
use crate::view::words;

/// Where it comes to rest by itself.
pub(super) fn after_that(
    state: &State,
    world: &World,
    after: &PlacementState,
) -> Option<PreviewLine> {
    let Some(rollout) = &after.rollout else {
        return kept(after);
    };
    let text = match &rollout.hold {
        Some(hold) if hold.why == HoldReason::Switch => {
            "nothing more until somebody promotes, which switches, or aborts".to_owned()
        }
        Some(_) => "nothing more until somebody resumes, promotes or aborts".to_owned(),
        None => {
            let look = Look::at(state, world, &after.spec.placement)?;
            going_on(&look, rollout)?
        }
    };
    Some(line("Then", &text))
}

/// What stays warm, and for how long.
fn kept(after: &PlacementState) -> Option<PreviewLine> {
    let last = after.last.as_ref()?;
    let mut warm = after.warm.iter();
    let (id, until_ms) = warm.find(|(id, _)| Some(**id) != after.stable())?;
    let keep_ms = until_ms.saturating_sub(last.at_ms);
    (last.status == Status::Succeeded && keep_ms > 0).then(|| {
        let (old, keep) = (version(after, *id), words::span(keep_ms));
        line(
            "Keeps",
            &format!("{old} warm {keep} for an instant rollback"),
        )
    })
}

fn going_on(look: &Look<'_>, rollout: &Rollout) -> Option<String> {
    let after = look.place;
    let share = after.share(rollout.release);
    let steps = rollout.steps(&after.spec);
    let step = steps.iter().find(|step| step.weight_percent >= share)?;
    let next = steps.iter().find(|step| step.weight_percent > share);
    let batches = rolling::batches(look, rollout).filter(|batches| batches.number < batches.of);
    if let Some(batches) = batches {
        let next = format!("batch {}/{}", batches.number + 1, batches.of);
        return Some(match rollout.kind.is_judged() {
            true => watched(*step, &next),
            false => format!("then {next}, to the last"),
        });
    }
    Some(match (rollout.kind, next) {
        (RolloutKind::Rollback | RolloutKind::Restart, _) => "done".to_owned(),
        (RolloutKind::Drill, _) => {
            let back = rollout.from.map(|from| version(after, from));
            let soak = words::span(step.soak_ms);
            let back = back.unwrap_or_else(|| "stable".to_owned());
            format!("watch for {soak}; then all traffic back to {back}: a drill")
        }
        (_, Some(next)) => watched(*step, &format!("{}%", next.weight_percent)),
        (_, None) => format!("watch for {}; then done", words::span(step.soak_ms)),
    })
}

fn watched(step: Step, next: &str) -> String {
    let soak = words::span(step.soak_ms);
    match step.pause {
        true => format!("watch for {soak}; then it waits for a person before {next}"),
        false => format!("watch for {soak}; then {next} unless it fails"),
    }
}

/// How it is undone.
pub(super) fn undo(command: &Command, look: Option<&Look<'_>>, after: &PlacementState) -> String {
    match command {
        Command::Deploy { .. } | Command::Promote { .. } => taken_back(look, after),
        Command::Hold { .. } => "H resume".to_owned(),
        Command::Resume { .. } => "H hold".to_owned(),
        Command::Abort { .. } => "deploy it again".to_owned(),
        Command::Rollback { .. } => "deploy or roll back to the other version".to_owned(),
        Command::Restart { .. } => "A abort leaves the rest as they are".to_owned(),
        Command::Scale { .. } => match look {
            Some(look) => format!(":scale {}", look.place.spec.instances),
            None => "scale it back".to_owned(),
        },
        Command::Drain { server, .. } => format!(":undrain {server}"),
        Command::Undrain { server, .. } => format!(":drain {server}"),
        Command::Drill { .. } => "it goes back by itself; A abort at once".to_owned(),
        Command::Note { .. } => "none: what is written stays".to_owned(),
        Command::Pipeline(_) => "cancel the run".to_owned(),
    }
}

fn taken_back(look: Option<&Look<'_>>, after: &PlacementState) -> String {
    let place = look.map(|look| look.place);
    let from = place.and_then(|place| Some(version(place, place.stable()?)));
    let Some(from) = from else {
        return "A abort; there is no earlier version to return to".to_owned();
    };
    if after.rollout.is_none() {
        return format!("R rollback to {from}");
    }
    match &after.spec.strategy {
        Strategy::Canary | Strategy::BlueGreen(_) => {
            "A abort, traffic back within a second".to_owned()
        }
        Strategy::Rolling(_) => {
            format!(
                "A abort, traffic back to what is left of {from} at once; the rest is started anew"
            )
        }
        Strategy::Recreate(_) => {
            format!("A abort ends it and starts {from} anew: no service until that is up")
        }
    }
}
