//! The everyday verbs: restart, drill, scale, drain, undrain.

use super::begin::refuse_open;
use super::command::{Decision, impossible, not_now};
use super::look::Look;
use crate::model::input::Asked;
use crate::model::service::{Release, ServiceSpec};
use crate::model::strategy::Strategy;
use crate::model::{
    Clean, Entry, Placement, Refusal, ReleaseId, RolloutKind, RolloutNumber, ServerName, State,
    Urgency, World,
};

/// Begins every instance of the stable release anew.
pub(super) fn restart(
    state: &State,
    world: &World,
    asked: &Asked,
    placement: &Placement,
    reason: Option<Clean>,
) -> Decision {
    let (look, stable) = at_rest(state, world, placement)?;
    let release = release(&look, stable)?.clone();
    Ok(vec![started(
        state,
        &look,
        asked,
        RolloutKind::Restart,
        release,
        reason,
    )])
}

/// Brings the stable version once more, as a release of its own, to the first step and back.
pub(super) fn drill(
    state: &State,
    world: &World,
    asked: &Asked,
    placement: &Placement,
    reason: Option<Clean>,
) -> Decision {
    let (look, stable) = at_rest(state, world, placement)?;
    let strategy = &look.place.spec.strategy;
    if !strategy.stands_beside() {
        return Err(impossible(format!(
            "a drill needs a set beside the stable one; {placement} is deployed by {}",
            strategy.word()
        )));
    }
    let again = Release {
        id: asked.release,
        created_ms: look.now_ms,
        part_of: None,
        ..release(&look, stable)?.clone()
    };
    Ok(vec![started(
        state,
        &look,
        asked,
        RolloutKind::Drill,
        again,
        reason,
    )])
}

/// Records another number of instances.
pub(super) fn scale(
    state: &State,
    world: &World,
    placement: &Placement,
    instances: u32,
    reason: Option<Clean>,
) -> Decision {
    let (look, _) = at_rest(state, world, placement)?;
    check_size(&look.place.spec, instances)?;
    if look.place.spec.instances == instances {
        return Ok(Vec::new());
    }
    Ok(vec![Entry::Scaled {
        placement: placement.clone(),
        instances,
        reason,
    }])
}

/// The servers must suffice, and for the next rollout too.
fn check_size(spec: &ServiceSpec, instances: u32) -> Result<(), Refusal> {
    let servers = u32::try_from(spec.servers.len()).unwrap_or(u32::MAX);
    let (most, why) = match &spec.strategy {
        Strategy::Canary => (servers / 2, "a canary needs as many again"),
        Strategy::BlueGreen(settings) => {
            let least = settings.slots.blue.len().min(settings.slots.green.len());
            (
                u32::try_from(least).unwrap_or(u32::MAX),
                "each slot must hold them",
            )
        }
        Strategy::Rolling(settings) => match settings.beside(instances) {
            0 => (servers, "that is all there are"),
            more => (
                servers.saturating_sub(more),
                "a batch needs servers beside them",
            ),
        },
        Strategy::Recreate(_) => (servers, "that is all there are"),
    };
    match instances {
        0 => Err(impossible(
            "at least 1 instance must stay; use abort or drain",
        )),
        wanted if wanted > most => Err(impossible(format!(
            "{servers} servers allow at most {most} instances: {why}; add servers"
        ))),
        _ => Ok(()),
    }
}

/// Takes a server out of traffic until it is undrained.
pub(super) fn drain(
    state: &State,
    world: &World,
    placement: &Placement,
    server: &ServerName,
    reason: Option<Clean>,
) -> Decision {
    let look = known(state, world, placement)?;
    let place = look.place;
    let there = place
        .instances
        .get(server)
        .ok_or_else(|| nothing_behind(&look, server))?;
    if place.out.contains(server) {
        return Ok(Vec::new());
    }
    let serves =
        |other: &ServerName| other != server && !place.out.contains(other) && look.is_well(other);
    let needed = [place.stable(), place.canary()].contains(&Some(there.release));
    if !needed {
        return Err(not_now(format!(
            "{server} gets no traffic: its version is retired"
        )));
    }
    if !place
        .servers_of(there.release)
        .any(|(other, _)| serves(other))
    {
        return Err(not_now(format!(
            "{server} is the last healthy instance of its version; nobody else would serve"
        )));
    }
    Ok(vec![Entry::ServerDrained {
        placement: placement.clone(),
        server: server.clone(),
        reason,
    }])
}

/// Gives a drained server its traffic back.
pub(super) fn undrain(
    state: &State,
    world: &World,
    placement: &Placement,
    server: &ServerName,
) -> Decision {
    let look = known(state, world, placement)?;
    if !look.place.out.contains(server) {
        return match look.place.instances.contains_key(server) {
            true => Ok(Vec::new()),
            false => Err(nothing_behind(&look, server)),
        };
    }
    Ok(vec![Entry::ServerUndrained {
        placement: placement.clone(),
        server: server.clone(),
    }])
}

fn nothing_behind(look: &Look<'_>, server: &ServerName) -> Refusal {
    let known: Vec<_> = look
        .place
        .instances
        .keys()
        .map(ServerName::as_str)
        .collect();
    impossible(format!(
        "no instance stands behind server {server}; there are: {}",
        known.join(", ")
    ))
}

fn known<'a>(
    state: &'a State,
    world: &'a World,
    placement: &Placement,
) -> Result<Look<'a>, Refusal> {
    Look::at(state, world, placement)
        .ok_or_else(|| impossible(format!("nothing was ever deployed to {placement}")))
}

/// A placement with a stable release and no open rollout.
fn at_rest<'a>(
    state: &'a State,
    world: &'a World,
    placement: &Placement,
) -> Result<(Look<'a>, ReleaseId), Refusal> {
    let look = known(state, world, placement)?;
    refuse_open(&look.place.spec, Some(look.place))?;
    let stable = look.place.stable();
    let stable =
        stable.ok_or_else(|| impossible(format!("no version of {placement} was ever verified")))?;
    Ok((look, stable))
}

fn release<'a>(look: &Look<'a>, id: ReleaseId) -> Result<&'a Release, Refusal> {
    let release = look.place.releases.get(&id);
    release.ok_or_else(|| impossible("what the stable release was is not recorded any more"))
}

fn started(
    state: &State,
    look: &Look<'_>,
    asked: &Asked,
    rollout: RolloutKind,
    release: Release,
    reason: Option<Clean>,
) -> Entry {
    Entry::RolloutStarted {
        id: asked.rollout,
        number: RolloutNumber(state.rollouts + 1),
        rollout,
        release: Box::new(release),
        from: look.place.stable(),
        spec: Box::new(look.place.spec.clone()),
        reason,
        request_id: None,
        led_by: None,
        urgency: Urgency::Ordinary,
    }
}
