//! An input → the entries to record. Judged once, when it happens; never again on replay.

use super::look::Look;
use super::{
    blue_green, canary, command, evidence, instance, parts, pipeline, recreate, retire, revert,
    rollback, rolling, size, traffic,
};
use crate::model::state::Phase;
use crate::model::{Entry, Event, Input, Placement, Refusal, RolloutKind, State, Strategy, World};

/// A refusal leaves a record at most this often per placement.
const REFUSED_EVERY_MS: u64 = 10_000;

/// Decides what is to be recorded. An input that changes nothing yields nothing; a command that
/// may not be carried out yields a refusal and leaves no trace in the state.
///
/// Call it again after its entries were folded, until it yields nothing.
///
/// # Errors
/// [`Refusal`], with the text for the person who asked.
pub fn decide(state: &State, world: &World, input: &Input) -> Result<Vec<Entry>, Refusal> {
    if state.newer {
        return refuse_newer(input);
    }
    match &input.event {
        Event::Started(engine) => Ok(vec![Entry::EngineStarted {
            engine: engine.clone(),
        }]),
        Event::Command(asked) => command::decide(state, world, asked),
        _ => Ok(progress(state, world)),
    }
}

fn refuse_newer(input: &Input) -> Result<Vec<Entry>, Refusal> {
    match &input.event {
        Event::Command(_) => Err(Refusal::Impossible {
            why: "a newer Wheelhouse wrote this history; use that version to act".into(),
        }),
        _ => Ok(Vec::new()),
    }
}

/// What moves by itself, over all placements and pipelines.
fn progress(state: &State, world: &World) -> Vec<Entry> {
    let placements = state.placements.keys();
    let looks = placements.filter_map(|placement| Look::at(state, world, placement));
    let mut entries: Vec<_> = looks.flat_map(|look| one(&look)).collect();
    entries.extend(pipeline::progress(state, world));
    entries
}

/// The first group of entries that is due; the rest is decided once these are folded.
fn one(look: &Look<'_>) -> Vec<Entry> {
    let steps = [
        traffic::progress,
        instance::progress,
        rollout,
        size::progress,
        evidence::progress,
        retire::progress,
    ];
    steps
        .into_iter()
        .map(|step| step(look))
        .find(|entries| !entries.is_empty())
        .unwrap_or_default()
}

fn rollout(look: &Look<'_>) -> Vec<Entry> {
    let Some(rollout) = &look.place.rollout else {
        return Vec::new();
    };
    if let Phase::Reverting { since_ms, .. } = rollout.phase {
        return revert::progress(look, rollout, since_ms);
    }
    if let Some(reverted) = parts::follow(look, rollout) {
        return vec![reverted];
    }
    let spec = &look.place.spec;
    match (&spec.strategy, rollout.kind) {
        (_, RolloutKind::Restart) => rolling::progress(look, rollout),
        (Strategy::Rolling(_), _) if rollout.is_by_batches(spec) => {
            rolling::progress(look, rollout)
        }
        (Strategy::Recreate(settings), _) => recreate::progress(look, rollout, settings.watch_ms),
        (_, RolloutKind::Rollback) => rollback::progress(look, rollout),
        (Strategy::Rolling(settings), _) => {
            recreate::progress(look, rollout, settings.min_healthy_ms)
        }
        (Strategy::BlueGreen(settings), _) => blue_green::progress(look, rollout, settings),
        (Strategy::Canary, _) => canary::progress(look, rollout),
    }
}

/// The record a refusal leaves, unless one was left a moment ago.
pub fn refusal_entry(
    state: &State,
    now_ms: u64,
    placement: &Placement,
    verb: &str,
    refusal: &Refusal,
) -> Option<Entry> {
    let told = state
        .placements
        .get(placement)
        .and_then(|place| place.refused.as_ref())
        .is_some_and(|told| told.at_ms + REFUSED_EVERY_MS > now_ms);
    let known = state.placements.contains_key(placement);
    (known && !told).then(|| Entry::Refused {
        placement: placement.clone(),
        verb: verb.to_owned(),
        why: refusal.to_string().as_str().into(),
    })
}
