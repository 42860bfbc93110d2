//! What begins a rollback, and what refuses it.

use super::{check_batches_back, check_count, check_room, check_servers, refuse_open};
use crate::engine::command::{Decision, abort, impossible};
use crate::engine::look::Look;
use crate::engine::parts;
use crate::model::command::Refusal;
use crate::model::input::Asked;
use crate::model::service::{Release, ServiceSpec};
use crate::model::strategy::Strategy;
use crate::model::{
    Clean, Entry, PlacementState, ReleaseId, Rollout, RolloutKind, RolloutNumber, State, Urgency,
    Version, World,
};

/// Where a rollback is to go.
pub(in crate::engine) struct WayBack<'a> {
    pub(in crate::engine) spec: &'a ServiceSpec,
    pub(in crate::engine) to: Option<&'a Version>,
    pub(in crate::engine) reason: Option<Clean>,
    pub(in crate::engine) urgency: Urgency,
}

pub(in crate::engine) fn go_back(
    state: &State,
    world: &World,
    asked: &Asked,
    wanted: &WayBack<'_>,
) -> Decision {
    let WayBack { spec, to, .. } = *wanted;
    if wanted.urgency == Urgency::Emergency && wanted.reason.is_none() {
        return Err(impossible(
            "an emergency rollback needs its reason in the record; say it with --reason",
        ));
    }
    let look = Look::at(state, world, &spec.placement).ok_or_else(|| nothing_before(spec))?;
    if let Some(rollout) = &look.place.rollout {
        return from_open(&look, rollout, to, wanted.reason.clone());
    }
    let target = target(&look, spec, to)?;
    let mut entries = vec![began(state, asked, wanted, look.place, target, None)?];
    for part in &spec.parts {
        let Some(place) = state.placements.get(&part.placement) else {
            continue;
        };
        // A part that has no such release stays as it is.
        let Some(release) = parts::made_with(place, target.id) else {
            continue;
        };
        refuse_open(part, Some(place))?;
        let n = u8::try_from(entries.len()).unwrap_or(u8::MAX);
        let wanted = WayBack {
            spec: part,
            reason: wanted.reason.clone(),
            ..*wanted
        };
        entries.push(began(state, asked, &wanted, place, release, Some(n))?);
    }
    Ok(entries)
}

/// The release to go back to.
fn target<'a>(
    look: &Look<'a>,
    spec: &ServiceSpec,
    to: Option<&Version>,
) -> Result<&'a Release, Refusal> {
    let place = look.place;
    let is_asked = |id: &ReleaseId| {
        let release = place.releases.get(id);
        to.is_none_or(|to| release.is_some_and(|release| release.version == *to))
    };
    let behind = parts::behind(look).filter(is_asked);
    if behind.is_none() {
        parts::refuse_part(spec, "roll back")?;
    }
    let target = match (behind, to) {
        (Some(behind), _) => behind,
        (None, None) => place.previous().ok_or_else(|| nothing_before(spec))?,
        (None, Some(version)) => verified_as(place, version)?,
    };
    if Some(target) == place.stable() {
        return Err(impossible("that version has the traffic already"));
    }
    let release = place.releases.get(&target);
    release.ok_or_else(|| nothing_before(spec))
}

/// The beginning of a rollback to a release that was verified, or of its n-th part.
fn began(
    state: &State,
    asked: &Asked,
    wanted: &WayBack<'_>,
    place: &PlacementState,
    release: &Release,
    part: Option<u8>,
) -> Result<Entry, Refusal> {
    let spec = wanted.spec;
    check_servers(spec, Some(place))?;
    let there = place.servers_of(release.id).count();
    match &spec.strategy {
        Strategy::Rolling(settings) => check_batches_back(spec, *settings)?,
        Strategy::Recreate(_) => check_count(spec, spec.instances)?,
        Strategy::Canary | Strategy::BlueGreen(_) => {
            check_room(spec, Some(place), (spec.instances as usize).max(there))?;
        }
    }
    Ok(Entry::RolloutStarted {
        id: part.map_or(asked.rollout, |n| asked.rollout.of_part(n)),
        number: RolloutNumber(state.rollouts + 1 + u64::from(part.unwrap_or(0))),
        rollout: RolloutKind::Rollback,
        release: Box::new(release.clone()),
        from: place.stable(),
        spec: Box::new(spec.clone()),
        reason: wanted.reason.clone(),
        request_id: None,
        led_by: part.map(|_| asked.rollout),
        urgency: wanted.urgency,
    })
}

/// While a rollout is open, going back to the last verified release is what abort does.
fn from_open(
    look: &Look<'_>,
    rollout: &Rollout,
    to: Option<&Version>,
    reason: Option<Clean>,
) -> Decision {
    let stable = look
        .place
        .stable()
        .and_then(|id| look.place.releases.get(&id));
    let is_stable = |version: &Version| stable.is_some_and(|stable| stable.version == *version);
    if to.is_none_or(is_stable) {
        return Ok(abort(look, rollout, reason));
    }
    Err(Refusal::RolloutOpen {
        placement: look.placement.clone(),
        number: rollout.number,
    })
}

fn nothing_before(spec: &ServiceSpec) -> Refusal {
    impossible(format!(
        "{} has no earlier verified version to go back to",
        spec.placement
    ))
}

fn verified_as(place: &PlacementState, version: &Version) -> Result<ReleaseId, Refusal> {
    let is_it = |id: &&ReleaseId| {
        place
            .releases
            .get(id)
            .is_some_and(|release| release.version == *version)
    };
    place
        .verified
        .iter()
        .rev()
        .find(is_it)
        .copied()
        .ok_or_else(|| {
            let known: Vec<_> = place
                .verified
                .iter()
                .filter_map(|id| Some(place.releases.get(id)?.version.to_string()))
                .collect();
            impossible(format!(
                "{version} was never verified here; verified: {}",
                known.join(", ")
            ))
        })
}
