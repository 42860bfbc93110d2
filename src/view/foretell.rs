//! A command → the text of its confirm dialog and dry run, from the engine's own rehearsal.

mod after;
mod back;
mod strategy;
mod warnings;

use super::preview::{Preview, PreviewLine, Tier};
use super::{explain, words};
use crate::engine::{self, Dream, Look, Until};
use crate::model::command::{Command, PromoteTo};
use crate::model::input::Asked;
use crate::model::state::HoldReason;
use crate::model::{
    Clean, Entry, Phase, Placement, PlacementState, ReleaseId, Rollout, State, World,
};

/// Who would ask for what.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Where.
    pub placement: Placement,
    /// The command with everything a decision may not invent.
    pub asked: Asked,
    /// Whether forward moves in its environment ask for the environment's name.
    pub protected: bool,
    /// Whether every effect to the end is wanted (a dry run), or only up to the next wait.
    pub to_the_end: bool,
}

/// Says what a command would do now. The revision it carries does not matter here: the preview
/// says which one it was made at.
pub fn foretell(state: &State, world: &World, asking: &Asking) -> Preview {
    let placement = &asking.placement;
    let asked = at_present(state, placement, asking.asked.clone());
    let command = &asked.command;
    let look = Look::at(state, world, placement);
    let until = if asking.to_the_end {
        Until::End
    } else {
        Until::NextWait
    };
    let dream = engine::rehearse(state, world, placement, asked.clone(), until);
    let rollout = look.and_then(|look| look.place.rollout.as_ref());
    let mut preview = Preview {
        placement: placement.clone(),
        verb: command.verb().into(),
        title: title(command, placement, look.as_ref()),
        button: button(command, placement, look.as_ref(), dream.as_ref().ok()),
        tier: tier(command, look.as_ref(), asking.protected),
        number: rollout.map(|rollout| rollout.number),
        revision: rollout.map_or(0, |rollout| rollout.revision),
        lines: Vec::new(),
        warnings: Vec::new(),
        refused: None,
        effects: Vec::new(),
    };
    match dream {
        Err(refusal) => preview.refused = Some(refusal),
        Ok(dream) => {
            preview.lines = lines(command, placement, look.as_ref(), world, &dream);
            if let Some(look) = &look {
                let after = dream.state.placements.get(placement);
                preview.warnings = warnings::of(command, look);
                let more = strategy::warnings(command, look, after);
                preview.warnings.extend(more);
                preview
                    .warnings
                    .extend(back::warnings(command, look, after));
            }
            preview
                .warnings
                .extend(warnings::of_peers(world, placement, command));
            preview.effects = effects(&dream, world.now_ms);
        }
    }
    preview
}

fn at_present(state: &State, placement: &Placement, mut asked: Asked) -> Asked {
    let place = state.placements.get(placement);
    let now = place
        .and_then(|place| place.rollout.as_ref())
        .map_or(0, |open| open.revision);
    if let Command::Promote { revision, .. } | Command::Resume { revision, .. } = &mut asked.command
    {
        *revision = now;
    }
    asked
}

fn environment(placement: &Placement) -> String {
    placement.environment.as_str().to_uppercase()
}

fn title(command: &Command, placement: &Placement, look: Option<&Look<'_>>) -> Clean {
    let what = match command {
        Command::Deploy { version, .. } => format!("DEPLOY {version}"),
        Command::Promote { to, .. } => promotion(look, *to),
        Command::Hold { .. } => "HOLD rollout".to_owned(),
        Command::Resume { .. } => "RESUME rollout".to_owned(),
        Command::Abort { .. } => "ABORT rollout".to_owned(),
        Command::Rollback { urgency, .. } => {
            let urgent = if urgency.is_ordinary() {
                ""
            } else {
                "EMERGENCY "
            };
            match back_to(look, command) {
                Some(version) => format!("{urgent}ROLLBACK to {version}"),
                None => format!("{urgent}ROLLBACK"),
            }
        }
        Command::Restart { .. } => "RESTART".to_owned(),
        Command::Scale { instances, .. } => format!("SCALE to {instances}"),
        Command::Drain { server, .. } => format!("DRAIN {server}"),
        Command::Undrain { server, .. } => format!("UNDRAIN {server}"),
        Command::Drill { .. } => "DRILL".to_owned(),
        Command::Note { .. } => "NOTE".to_owned(),
        Command::Pipeline(command) => command.verb().to_uppercase(),
    };
    Clean::new(&format!(
        "{what} - {} {}",
        placement.service,
        environment(placement)
    ))
}

fn promotion(look: Option<&Look<'_>>, to: PromoteTo) -> String {
    if let Some(slot) = look.and_then(strategy::ready_slot) {
        return format!("SWITCH to {slot}");
    }
    if let Some((batch, of)) = look.and_then(strategy::next_batch) {
        return format!("PROMOTE to batch {batch}/{of}");
    }
    let name = look.map_or_else(|| "canary".to_owned(), strategy::new_name);
    match promoted_share(look, to) {
        Some(100) | None => "PROMOTE to 100%".to_owned(),
        Some(share) => format!("PROMOTE {name} to {share}%"),
    }
}

fn promoted_share(look: Option<&Look<'_>>, to: PromoteTo) -> Option<u8> {
    let look = look?;
    let rollout = look.place.rollout.as_ref()?;
    let share = look.place.share(rollout.release);
    match to {
        PromoteTo::Full => Some(100),
        PromoteTo::Percent(percent) => Some(percent),
        PromoteTo::Next => rollout
            .steps(&look.place.spec)
            .iter()
            .map(|step| step.weight_percent)
            .find(|percent| *percent > share),
    }
}

fn version(place: &PlacementState, release: ReleaseId) -> String {
    let release = place.releases.get(&release);
    release.map_or_else(|| "?".to_owned(), |release| release.version.to_string())
}

fn back_to(look: Option<&Look<'_>>, command: &Command) -> Option<String> {
    let place = look?.place;
    match command {
        Command::Rollback {
            to: Some(version), ..
        } => Some(version.to_string()),
        Command::Rollback { to: None, .. } => {
            let open = place.rollout.as_ref().and_then(|rollout| rollout.from);
            Some(version(place, open.or_else(|| place.previous())?))
        }
        _ => None,
    }
}

fn button(
    command: &Command,
    placement: &Placement,
    look: Option<&Look<'_>>,
    dream: Option<&Dream>,
) -> Clean {
    let share = look.and_then(|look| {
        let rollout = look.place.rollout.as_ref()?;
        Some(look.place.share(rollout.release))
    });
    let after = dream.and_then(|dream| {
        let place = dream.state.placements.get(placement)?;
        Some(place.canary().map_or(100, |canary| place.share(canary)))
    });
    let text = match command {
        Command::Deploy { version, .. } => format!("Deploy {version}"),
        Command::Promote { .. } => {
            let slot = look.and_then(strategy::ready_slot);
            let batch = look.and_then(strategy::next_batch);
            match (slot, batch, share, after) {
                (Some(slot), ..) => format!("Switch to {slot}: 0% -> {}%", after.unwrap_or(100)),
                (None, Some((batch, of)), ..) => format!("Begin batch {batch}/{of}"),
                (.., Some(100), _) => "Finish rollout".to_owned(),
                (.., Some(from), Some(to)) => format!("Shift {from}% -> {to}%"),
                _ => "Promote".to_owned(),
            }
        }
        Command::Hold { .. } => "Hold".to_owned(),
        Command::Resume { .. } => "Resume".to_owned(),
        Command::Abort { .. } => format!("Shift {}% -> 0%", share.unwrap_or(0)),
        Command::Rollback { .. } => match back_to(look, command) {
            Some(version) => format!("Roll back to {version}"),
            None => "Roll back".to_owned(),
        },
        Command::Restart { .. } => "Restart".to_owned(),
        Command::Scale { instances, .. } => format!("Scale to {instances}"),
        Command::Drain { server, .. } => format!("Drain {server}"),
        Command::Undrain { server, .. } => format!("Undrain {server}"),
        Command::Drill { .. } => "Drill".to_owned(),
        Command::Note { .. } => "Write note".to_owned(),
        Command::Pipeline(command) => command.verb().to_owned(),
    };
    Clean::new(&text)
}

/// Going back to the last verified version is one key and `y` everywhere, and so is everything
/// in an unprotected environment; other moves in a protected one ask for its name.
fn tier(command: &Command, look: Option<&Look<'_>>, protected: bool) -> Tier {
    let forward = match command {
        Command::Deploy { .. }
        | Command::Promote { .. }
        | Command::Restart { .. }
        | Command::Scale { .. }
        | Command::Drain { .. }
        | Command::Drill { .. } => protected,
        Command::Rollback { to: Some(_), .. } => {
            look.is_none_or(|look| back_to(Some(look), command) != default_target(look))
        }
        Command::Rollback { to: None, .. }
        | Command::Hold { .. }
        | Command::Resume { .. }
        | Command::Abort { .. }
        | Command::Undrain { .. }
        | Command::Pipeline(_)
        | Command::Note { .. } => false,
    };
    if forward { Tier::Two } else { Tier::One }
}

fn default_target(look: &Look<'_>) -> Option<String> {
    let open = look.place.rollout.as_ref().and_then(|rollout| rollout.from);
    Some(version(look.place, open.or_else(|| look.place.previous())?))
}

fn line(label: &str, text: &str) -> PreviewLine {
    PreviewLine {
        label: label.into(),
        text: Clean::new(text),
    }
}

fn lines(
    command: &Command,
    placement: &Placement,
    look: Option<&Look<'_>>,
    world: &World,
    dream: &Dream,
) -> Vec<PreviewLine> {
    let Some(after) = dream.state.placements.get(placement) else {
        return Vec::new();
    };
    let rollout = look.and_then(|look| look.place.rollout.as_ref());
    let mut lines: Vec<_> = versions(command, look, after).into_iter().collect();
    lines.extend(strategy::lines(command, look, after, &dream.entries));
    lines.extend(back::lines(command, look, after));
    lines.extend(deeds(after, dream));
    lines.extend(
        look.zip(rollout)
            .and_then(|(look, rollout)| checks(look, rollout)),
    );
    lines.extend(look.and_then(|look| warnings::little_traffic(command, look, after)));
    lines.extend(after::after_that(&dream.state, world, after));
    lines.push(line("Undo", &after::undo(command, look, after)));
    lines
}

fn versions(
    command: &Command,
    look: Option<&Look<'_>>,
    after: &PlacementState,
) -> Option<PreviewLine> {
    // These move no version.
    if let Command::Scale { .. }
    | Command::Drain { .. }
    | Command::Undrain { .. }
    | Command::Note { .. } = command
    {
        return None;
    }
    let before = look.map(|look| look.place);
    let rollout = after.rollout.as_ref().or_else(|| before?.rollout.as_ref());
    let (from, to) = match (rollout, &after.last) {
        (Some(rollout), _) => (rollout.from, rollout.release),
        (None, Some(last)) => (last.from, last.release),
        (None, None) => return None,
    };
    let known = |id: ReleaseId| match before.filter(|place| place.releases.contains_key(&id)) {
        Some(place) => version(place, id),
        None => version(after, id),
    };
    let from = from.map_or_else(|| "nothing".to_owned(), known);
    let to = known(to);
    Some(match from == to {
        true => line("Version", &format!("{to}, once more")),
        false => line("Versions", &format!("{from} -> {to}")),
    })
}

/// What would be recorded, in the words of a dialog and in its order; what is done to several
/// servers is told once, where it begins.
fn deeds(after: &PlacementState, dream: &Dream) -> Vec<PreviewLine> {
    let entries = || dream.entries.iter().map(|(_, entry)| entry);
    let started = entries().filter_map(|entry| match entry {
        Entry::InstanceIntended { server, .. } => Some(server.as_str()),
        _ => None,
    });
    let drained = entries().filter_map(|entry| match entry {
        Entry::DrainBegun { server, .. } => Some(server.as_str()),
        _ => None,
    });
    let starts = format!(
        "start and verify {}",
        started.collect::<Vec<_>>().join(", ")
    );
    let drained: Vec<_> = drained.collect();
    let them = if drained.len() == 1 { "it" } else { "them" };
    let drains = format!("drain {}, then stop {them}", drained.join(", "));
    let mut texts: Vec<String> = Vec::new();
    for entry in entries() {
        let text = match entry {
            Entry::InstanceIntended { .. } => Some(starts.clone()),
            Entry::DrainBegun { .. } => Some(drains.clone()),
            entry => match entry.placement().filter(|at| **at != after.spec.placement) {
                None => deed(after, entry),
                Some(at) => dream
                    .state
                    .placements
                    .get(at)
                    .and_then(|place| beside(place, entry)),
            },
        };
        texts.extend(text.filter(|text| !texts.contains(text)));
    }
    let label = |n: usize| if n == 0 { "This will" } else { "" };
    texts
        .iter()
        .enumerate()
        .map(|(n, text)| line(label(n), text))
        .collect()
}

/// What is told of another service that moves too: where its traffic goes.
fn beside(place: &PlacementState, entry: &Entry) -> Option<String> {
    let moves = matches!(entry, Entry::WeightIntended { .. }) && place.spec.has_traffic();
    let text = moves.then(|| deed(place, entry)).flatten()?;
    Some(format!("{}: {text}", place.spec.placement.service))
}

fn deed(after: &PlacementState, entry: &Entry) -> Option<String> {
    Some(match entry {
        Entry::WeightIntended { shares, .. } => match shares.len() {
            0 => "take all traffic away: there is no stable version to return to".to_owned(),
            _ => format!(
                "share traffic {}, read back",
                words::shares(&after.releases, shares)
            ),
        },
        Entry::RetireIntended { .. } => {
            "stop the warm release first: its servers are needed".to_owned()
        }
        Entry::Held {
            why: HoldReason::Switch,
            ..
        } => "then wait for the person who switches".to_owned(),
        Entry::Held { .. } => "stop automatic progress; the judge goes on watching".to_owned(),
        Entry::Resumed { .. } => "let the rollout go on by itself".to_owned(),
        Entry::RolloutFinished { because, .. } => format!("close the rollout: {because}"),
        Entry::Scaled { instances, .. } => format!("keep {instances} instances"),
        Entry::ServerDrained { server, .. } => {
            format!("take {server} out of traffic; its instance stays")
        }
        Entry::ServerUndrained { server, .. } => format!("give {server} its traffic back"),
        Entry::Noted { text, .. } => format!("write into the timeline: {text}"),
        _ => return None,
    })
}

fn checks(look: &Look<'_>, rollout: &Rollout) -> Option<PreviewLine> {
    if !matches!(rollout.phase, Phase::Soaking { .. }) {
        return None;
    }
    let verdict = engine::verdict(look, rollout);
    let text = format!("{}: {}", verdict.class.word(), verdict.because);
    Some(line("Checks", &text))
}

fn effects(dream: &Dream, now_ms: u64) -> Vec<Clean> {
    dream
        .writes
        .iter()
        .map(|(at_ms, effect)| {
            let after = words::clock(at_ms.saturating_sub(now_ms));
            Clean::new(&format!("+{after} {}", explain::effect_text(effect)))
        })
        .collect()
}

#[cfg(test)]
mod tests;
