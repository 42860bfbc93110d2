//! What a command does by the service's strategy: slots, batches, the time without service.

use super::{line, version};
use crate::engine::{Look, rolling};
use crate::model::command::Command;
use crate::model::state::{HoldReason, Instance, InstanceStatus};
use crate::model::strategy::{BlueGreen, Rolling};
use crate::model::{
    Clean, Entry, PlacementState, ReleaseId, Rollout, ServerName, ServiceSpec, Strategy,
};
use crate::view::preview::PreviewLine;
use crate::view::words;

/// Whether the open rollout stands verified in its slot, and where that is.
pub(super) fn ready_slot(look: &Look<'_>) -> Option<String> {
    let rollout = look.place.rollout.as_ref()?;
    let hold = rollout.hold.as_ref()?;
    (hold.why == HoldReason::Switch).then(|| slot_of(look.place, rollout.release))?
}

/// The slot that a release stands in, by the records.
fn slot_of(place: &PlacementState, release: ReleaseId) -> Option<String> {
    let slots = place.spec.strategy.slots()?;
    let mut servers = place.servers_of(release);
    let slot = servers.find_map(|(server, _)| slots.of(server))?;
    Some(slot.to_string())
}

/// What the open rollout's new release is called in titles: its slot, else "canary".
pub(super) fn new_name(look: &Look<'_>) -> String {
    let rollout = look.place.rollout.as_ref();
    let slot = rollout.and_then(|rollout| slot_of(look.place, rollout.release));
    slot.unwrap_or_else(|| match look.place.spec.strategy {
        Strategy::Canary => "canary".to_owned(),
        _ => "new version".to_owned(),
    })
}

/// The batch a promotion would begin, and of how many; `None` where none is left.
pub(super) fn next_batch(look: &Look<'_>) -> Option<(usize, usize)> {
    let rollout = look.place.rollout.as_ref()?;
    let batches = rolling::batches(look, rollout)?;
    (batches.number < batches.of).then_some((batches.number + 1, batches.of))
}

/// How it goes about it, where that is not told by what would be recorded.
pub(super) fn lines(
    command: &Command,
    look: Option<&Look<'_>>,
    after: &PlacementState,
    entries: &[(u64, Entry)],
) -> Vec<PreviewLine> {
    let found = match command {
        Command::Deploy { .. } => match &after.spec.strategy {
            Strategy::BlueGreen(settings) => slot_line(settings, look, after),
            Strategy::Rolling(settings) if look.is_some_and(has_stable) => {
                Some(batch_line(*settings, &after.spec))
            }
            _ => None,
        },
        Command::Restart { .. } => {
            look.map(|look| batch_line(rolling::settings(look), &after.spec))
        }
        Command::Rollback { .. } => at_once(look, after, entries),
        Command::Drain { server, .. } => look.and_then(|look| left(look, server)),
        _ => None,
    };
    let parts = match command {
        Command::Deploy { spec, .. } | Command::Rollback { spec, .. } => spec.parts.as_slice(),
        _ => &[],
    };
    let with = parts.iter().map(|part| {
        let (name, all, how) = (
            &part.placement.service,
            part.instances,
            part.strategy.word(),
        );
        line(
            "With",
            &format!("{name}: {all} instances, {how}, step by step with this one"),
        )
    });
    found.into_iter().chain(with).collect()
}

fn has_stable(look: &Look<'_>) -> bool {
    look.place.stable().is_some()
}

fn slot_line(
    settings: &BlueGreen,
    look: Option<&Look<'_>>,
    after: &PlacementState,
) -> Option<PreviewLine> {
    let release = after.rollout.as_ref().map(|rollout| rollout.release);
    let release = release.or(after.stable())?;
    let slot = slot_of(after, release)?;
    let stable = look.and_then(|look| slot_of(look.place, look.place.stable()?));
    let text = match (stable, settings.confirm) {
        (None, _) => format!("{slot}; no other slot has traffic yet"),
        (Some(live), true) => format!("{slot}, {live} keeps the traffic; the switch waits for you"),
        (Some(live), false) => {
            format!(
                "{slot}, {live} keeps the traffic until it is verified; then it switches by itself"
            )
        }
    };
    Some(line("Slot", &text))
}

/// `3 batches of 1; at most 1 of 3 instances missing, 1 more than 3 meanwhile`.
fn batch_line(settings: Rolling, spec: &ServiceSpec) -> PreviewLine {
    let all = spec.instances;
    let batches = settings.batches(all);
    let missing = match settings.max_unavailable.min(all) {
        0 => "no instance missing".to_owned(),
        some => format!("up to {some} of {all} instances missing"),
    };
    let room = spec.servers.len().saturating_sub(all as usize);
    let more = match room.min(settings.max_surge as usize) {
        0 => "none beside them".to_owned(),
        more => format!("up to {more} more meanwhile"),
    };
    let plural = if batches == 1 { "batch" } else { "batches" };
    let size = settings.batch.min(all);
    line(
        "Batches",
        &format!("{batches} {plural} of {size}; {missing}, {more}"),
    )
}

/// A rollback to what is up already takes nothing but the balancers' weights.
fn at_once(
    look: Option<&Look<'_>>,
    after: &PlacementState,
    entries: &[(u64, Entry)],
) -> Option<PreviewLine> {
    let starts = |(_, entry): &(u64, Entry)| matches!(entry, Entry::InstanceIntended { .. });
    let place = look.map(|look| look.place)?;
    if place.rollout.is_some() || entries.iter().any(starts) {
        return None;
    }
    let rollout = after.rollout.as_ref().map(|rollout| rollout.release);
    let release = rollout.or(after.last.as_ref().map(|last| last.release))?;
    let up = place.servers_of(release).any(|(_, one)| is_up(one));
    let slot = slot_of(place, release).map(|slot| format!(" in {slot}"));
    let how = match after.spec.balancers.len() {
        1 => "one balancer command".to_owned(),
        several => format!("one command to each of {several} balancers"),
    };
    up.then(|| {
        let (version, slot) = (version(place, release), slot.unwrap_or_default());
        line("How", &format!("{how}: {version} is warm{slot}"))
    })
}

fn is_up(instance: &Instance) -> bool {
    instance.status == InstanceStatus::Up
}

/// What goes on serving while a server is drained.
fn left(look: &Look<'_>, server: &ServerName) -> Option<PreviewLine> {
    let there = look.place.instances.get(server)?;
    let mine: Vec<_> = look.place.servers_of(there.release).collect();
    let serves = |(other, one): &&(&ServerName, &Instance)| {
        *other != server && is_up(one) && !look.place.out.contains(*other)
    };
    let stay = mine.iter().filter(serves).count();
    let version = version(look.place, there.release);
    Some(line(
        "Leaves",
        &format!("{stay} of {} instances of {version} in traffic", mine.len()),
    ))
}

/// What a careful person should know of the strategy first.
pub(super) fn warnings(
    command: &Command,
    look: &Look<'_>,
    after: Option<&PlacementState>,
) -> Vec<Clean> {
    let place = look.place;
    let spec = after.map_or(&place.spec, |after| &after.spec);
    let recreates = matches!(spec.strategy, Strategy::Recreate(_));
    let text = match command {
        Command::Deploy { version, .. } if recreates => {
            downtime(place, spec, version.as_str(), spec.health.start_timeout_ms)
        }
        Command::Rollback { .. } if recreates && place.rollout.is_none() => {
            let release = after.and_then(|after| Some(after.rollout.as_ref()?.release));
            let to = release.map_or_else(|| "it".to_owned(), |id| version(place, id));
            let health = release.map_or(&spec.health, |id| place.health_of(id));
            downtime(place, spec, &to, health.start_timeout_ms)
        }
        Command::Abort { .. } | Command::Rollback { .. } if recreates => place
            .rollout
            .as_ref()
            .and_then(|open| restored(place, open)),
        Command::Restart { .. } => alone(look),
        Command::Scale { .. } => Some(
            "the next deploy takes the configuration's number of instances; change it there too"
                .to_owned(),
        ),
        _ => None,
    };
    text.iter().map(|text| Clean::new(text)).collect()
}

/// The time without service, before anybody agrees to it.
fn downtime(
    place: &PlacementState,
    spec: &ServiceSpec,
    to: &str,
    start_timeout_ms: u64,
) -> Option<String> {
    let stable = place.stable()?;
    let from = version(place, stable);
    let count = place.servers_of(stable).count();
    let plural = if count == 1 { "instance" } else { "instances" };
    Some(format!(
        "no service from the stop of {from} until {to} is up: {count} {plural}, drain up to {}, \
         start up to {}",
        words::span(spec.canary.drain_timeout_ms),
        words::span(start_timeout_ms)
    ))
}

/// The way back needs what was ended.
fn restored(place: &PlacementState, rollout: &Rollout) -> Option<String> {
    let from = rollout.from?;
    let gone = place.servers_of(from).all(|(_, one)| !is_up(one));
    gone.then(|| {
        format!(
            "{} was ended: no service until it is up again, up to {}",
            version(place, from),
            words::span(place.health_of(from).start_timeout_ms)
        )
    })
}

/// A single instance that is restarted in its place serves nobody meanwhile.
fn alone(look: &Look<'_>) -> Option<String> {
    let settings = rolling::settings(look);
    let all = look.place.spec.instances;
    let none_left = settings.max_surge == 0 && settings.max_unavailable.max(1) >= all;
    let stable = look.place.stable()?;
    none_left.then(|| {
        let limit = words::span(look.place.health_of(stable).start_timeout_ms);
        format!(
            "no service while it restarts: there is no server for another instance; up to {limit}"
        )
    })
}
