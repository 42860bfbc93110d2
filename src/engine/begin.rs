//! What begins a rollout: a deploy here, a rollback in `back`; and what refuses it.

mod back;

pub(super) use back::{WayBack, go_back};

use super::command::{Decision, impossible};
use super::look::Look;
use super::{capacity, parts, pipeline, shares, slots};
use crate::model::command::Refusal;
use crate::model::container::Container;
use crate::model::input::Asked;
use crate::model::service::{Release, ServiceSpec, Workload};
use crate::model::strategy::{Rolling, Slots, Strategy};
use crate::model::world::{BalancerView, RuntimeView};
use crate::model::{
    BalancerName, Checks, Clean, Entry, PlacementState, ReleaseId, RequestId, RolloutKind,
    RolloutNumber, State, Urgency, Version, World,
};

/// What is to be deployed.
pub(super) struct Wanted<'a> {
    pub(super) spec: &'a ServiceSpec,
    pub(super) version: &'a Version,
    pub(super) reason: Option<Clean>,
    pub(super) request_id: Option<&'a RequestId>,
}

/// Whether a request began this very deploy already.
///
/// # Errors
/// When it began another one.
fn is_repeated(state: &State, wanted: &Wanted<'_>) -> Result<bool, Refusal> {
    let Some(begun) = wanted.request_id.and_then(|id| state.requested(id)) else {
        return Ok(false);
    };
    begun.check(&wanted.spec.placement, wanted.version)?;
    Ok(true)
}

pub(super) fn deploy(state: &State, world: &World, asked: &Asked, wanted: Wanted<'_>) -> Decision {
    if is_repeated(state, &wanted)? {
        return Ok(Vec::new());
    }
    pipeline::refuse_late(state, wanted.request_id)?;
    parts::refuse_part(wanted.spec, "deploy")?;
    let mut entries = vec![begun(state, world, asked, &wanted, None)?];
    for (n, spec) in (1..).zip(&wanted.spec.parts) {
        let part = Wanted {
            spec,
            reason: wanted.reason.clone(),
            request_id: None,
            ..wanted
        };
        entries.push(begun(state, world, asked, &part, Some(n))?);
    }
    check_one_image(&entries)?;
    Ok(entries)
}

/// The beginning of a deploy, or of its n-th part.
fn begun(
    state: &State,
    world: &World,
    asked: &Asked,
    wanted: &Wanted<'_>,
    part: Option<u8>,
) -> Result<Entry, Refusal> {
    let Wanted { spec, version, .. } = *wanted;
    let look = Look::at(state, world, &spec.placement);
    let place = look.as_ref().map(|look| look.place);
    refuse_open(spec, place)?;
    check_balancers(spec, world)?;
    check_runtimes(spec, world)?;
    check_servers(spec, place)?;
    check_strategy(spec, look.as_ref(), world)?;
    let release = Release {
        id: part.map_or(asked.release, |n| asked.release.of_part(n)),
        version: version.clone(),
        workload: pinned(spec, version, world)?,
        config_hash: spec.config_hash.clone(),
        checks: Some(Box::new(Checks::of(spec))),
        created_ms: world.now_ms,
        part_of: part.map(|_| asked.release),
    };
    Ok(Entry::RolloutStarted {
        id: part.map_or(asked.rollout, |n| asked.rollout.of_part(n)),
        number: RolloutNumber(state.rollouts + 1 + u64::from(part.unwrap_or(0))),
        rollout: RolloutKind::Deploy,
        release: Box::new(release),
        from: place.and_then(PlacementState::stable),
        spec: Box::new(spec.clone()),
        reason: wanted.reason.clone(),
        request_id: wanted.request_id.cloned(),
        led_by: part.map(|_| asked.rollout),
        urgency: Urgency::Ordinary,
    })
}

/// Parts that name the same image must get the same one: a tag may move between two looks.
fn check_one_image(begun: &[Entry]) -> Result<(), Refusal> {
    let images: Vec<_> = begun
        .iter()
        .filter_map(|entry| match entry {
            Entry::RolloutStarted { release, spec, .. } => {
                Some((&spec.placement, release.workload.container.as_ref()?))
            }
            _ => None,
        })
        .collect();
    let Some((_, lead)) = images.first() else {
        return Ok(());
    };
    let unlike = images
        .iter()
        .find(|(_, part)| part.image == lead.image && part.pin != lead.pin);
    match unlike {
        None => Ok(()),
        Some((part, image)) => Err(impossible(format!(
            "image {} is {} but {} for {}: its tag moved just now; deploy again",
            lead.image,
            lead.reference(),
            image.reference(),
            part.service,
        ))),
    }
}

pub(super) fn refuse_open(
    spec: &ServiceSpec,
    place: Option<&PlacementState>,
) -> Result<(), Refusal> {
    match place.and_then(|place| place.rollout.as_ref()) {
        Some(rollout) => Err(Refusal::RolloutOpen {
            placement: spec.placement.clone(),
            number: rollout.number,
        }),
        None => Ok(()),
    }
}

/// Every balancer must be fit, by the look that the driver takes before each deploy.
fn check_balancers(spec: &ServiceSpec, world: &World) -> Result<(), Refusal> {
    let balancers = world.placements.get(&spec.placement).map(|p| &p.balancers);
    let unfit = |(name, view): (&BalancerName, &BalancerView)| {
        cannot_carry("balancer", name.as_str(), &view.unfit)
    };
    let refusal = balancers.and_then(|balancers| balancers.iter().find_map(unfit));
    refusal.map_or(Ok(()), Err)
}

/// The refusal for a peer that its look found unfit.
fn cannot_carry(kind: &str, name: &str, unfit: &[Clean]) -> Option<Refusal> {
    let (first, others) = unfit.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        more => format!(" (and {more} more; see `wheelhouse doctor`)"),
    };
    let why = format!("{kind} {name} cannot carry a rollout: {first}{more}");
    Some(impossible(why))
}

/// No runtime may be known to be out of reach: a new release would stand on half its hosts.
fn check_runtimes(spec: &ServiceSpec, world: &World) -> Result<(), Refusal> {
    let seen = world.placements.get(&spec.placement);
    let dark = spec.runtimes.iter().find_map(|runtime| {
        let view = seen?.runtimes.get(runtime)?;
        Some((runtime, view.trouble.as_ref()?))
    });
    let unfit = spec.runtimes.iter().find_map(|runtime| {
        let view = seen?.runtimes.get(runtime)?;
        cannot_carry("runtime", runtime.as_str(), &view.unfit)
    });
    if let Some(refusal) = unfit {
        return Err(refusal);
    }
    match dark {
        Some((runtime, why)) => Err(impossible(format!(
            "runtime {runtime} cannot be reached: {why}; a rollout needs every host of {}",
            spec.placement.environment
        ))),
        None => Ok(()),
    }
}

/// The release's workload: its image is what the look before this deploy found, and stays it.
fn pinned(spec: &ServiceSpec, version: &Version, world: &World) -> Result<Workload, Refusal> {
    let mut workload = spec.workload.of_version(version);
    let Some(wanted) = &workload.container else {
        return Ok(workload);
    };
    let runtimes = world.placements.get(&spec.placement).map(|p| &p.runtimes);
    let seen = |name| {
        let view: &RuntimeView = runtimes?.get(name)?;
        let pinned = view.pinned.as_ref()?;
        (pinned.image == wanted.image).then(|| (name, pinned.clone()))
    };
    let mut all = spec.runtimes.iter().filter_map(seen);
    let Some((first, container)) = all.next() else {
        let image = &wanted.image;
        return Err(impossible(format!(
            "what image {image} is was not found out"
        )));
    };
    if let Some((other, unlike)) = all.find(|(_, pinned)| pinned.pin != container.pin) {
        return Err(impossible(format!(
            "image {} is {} on {first} but {} on {other}; push it to a registry both can reach",
            container.image,
            container.reference(),
            unlike.reference(),
        )));
    }
    check_proven(wanted, &container)?;
    workload.container = Some(Box::new(container));
    Ok(workload)
}

/// Where it was said what the image must be, its name still stands for that: what was proven
/// elsewhere is what is deployed, and a tag that moved stops here.
fn check_proven(wanted: &Container, found: &Container) -> Result<(), Refusal> {
    if wanted.pin.is_none() || wanted.pin == found.pin {
        return Ok(());
    }
    Err(impossible(format!(
        "{} is not what was proven: that is {}, but the tag stands for {} now; push it under a tag \
         that nobody moves",
        wanted.image,
        wanted.reference(),
        found.reference(),
    )))
}

/// Servers in use may not vanish from the configuration or move under a running instance.
fn check_servers(spec: &ServiceSpec, place: Option<&PlacementState>) -> Result<(), Refusal> {
    for server in place.iter().flat_map(|place| place.instances.keys()) {
        let (now, then) = (
            spec.address(server),
            place.and_then(|p| p.spec.address(server)),
        );
        if now != then {
            return Err(impossible(format!(
                "server {server} is in use at {} but the configuration says {}; restore it first",
                then.map_or_else(|| "?".to_owned(), |a| a.to_string()),
                now.map_or_else(|| "nothing".to_owned(), |a| a.to_string()),
            )));
        }
    }
    Ok(())
}

/// What the strategy needs must be there.
fn check_strategy(
    spec: &ServiceSpec,
    look: Option<&Look<'_>>,
    world: &World,
) -> Result<(), Refusal> {
    let place = look.map(|look| look.place);
    let stable = place.and_then(PlacementState::stable);
    match &spec.strategy {
        Strategy::Canary => check_room(spec, place, spec.canary_instances() as usize)?,
        Strategy::BlueGreen(settings) => check_slots(spec, &settings.slots, place, world)?,
        Strategy::Rolling(settings) => return check_batches(spec, *settings),
        Strategy::Recreate(_) => return check_count(spec, spec.instances),
    }
    if let Some(stable) = stable {
        let rate = look.and_then(capacity::requests_per_s);
        check_shares(spec, place, stable, rate)?;
    }
    Ok(())
}

fn check_count(spec: &ServiceSpec, need: u32) -> Result<(), Refusal> {
    match need as usize > spec.servers.len() {
        true => Err(impossible(format!(
            "{need} instances are needed but there are only {} servers; add servers",
            spec.servers.len()
        ))),
        false => Ok(()),
    }
}

/// A batch needs servers beside those in use, or leave for instances to be missing.
fn check_batches(spec: &ServiceSpec, settings: Rolling) -> Result<(), Refusal> {
    let room = spec.servers.len().saturating_sub(spec.instances as usize);
    check_count(spec, spec.instances)?;
    let surge = room.min(settings.max_surge as usize);
    let needed = settings.beside(spec.instances) as usize;
    match needed > surge {
        true if surge == 0 && settings.max_unavailable == 0 => Err(impossible(format!(
            "all {} servers are in use and rolling.max_unavailable is 0; \
             add a server or set rolling.max_unavailable = 1",
            spec.servers.len()
        ))),
        true => Err(impossible(format!(
            "a batch of {} needs {needed} servers beside the {} instances, but only {surge} can be \
             used ({} servers, rolling.surge {}); lower rolling.batch, add servers or raise \
             rolling.max_unavailable",
            settings.batch,
            spec.instances,
            spec.servers.len(),
            settings.max_surge
        ))),
        false => Ok(()),
    }
}

/// Where both sets fit, a rollback stands beside the old one and replaces no batches.
fn check_batches_back(spec: &ServiceSpec, settings: Rolling) -> Result<(), Refusal> {
    match spec.servers.len() >= 2 * spec.instances as usize {
        true => Ok(()),
        false => check_batches(spec, settings),
    }
}

/// The balancers must agree which slot is live, and stable must stand there.
fn check_slots(
    spec: &ServiceSpec,
    slots: &Slots,
    place: Option<&PlacementState>,
    world: &World,
) -> Result<(), Refusal> {
    let views = world.placements.get(&spec.placement).map(|p| &p.balancers);
    let readings = views.into_iter().flat_map(|views| views.values());
    let live = slots::live(readings.map(|view| &view.reading), slots);
    let live = live.map_err(|why| {
        impossible(format!(
            "{why}: {}; take one of them out of traffic first",
            spec.placement
        ))
    })?;
    let stable = place.and_then(|place| {
        let (server, _) = place.servers_of(place.stable()?).next()?;
        slots.of(server)
    });
    match (stable, live) {
        (Some(stable), Some(live)) if stable != live => Err(impossible(format!(
            "the last verified version stands in {stable}, but {live} has the traffic; \
             roll back or restore {stable} first"
        ))),
        _ => Ok(()),
    }
}

/// Enough servers must be free, or stand for releases that are out of traffic.
fn check_room(
    spec: &ServiceSpec,
    place: Option<&PlacementState>,
    need: usize,
) -> Result<(), Refusal> {
    let stable = place.and_then(PlacementState::stable);
    let kept = place.map_or(0, |place| {
        place
            .instances
            .values()
            .filter(|instance| Some(instance.release) == stable)
            .count()
    });
    let room = spec.servers.len().saturating_sub(kept);
    match need > room {
        true => Err(impossible(format!(
            "{need} instances are needed but only {room} of {} servers are not in use; \
             add servers or set canary.instances",
            spec.servers.len()
        ))),
        false => Ok(()),
    }
}

fn check_shares(
    spec: &ServiceSpec,
    place: Option<&PlacementState>,
    stable: ReleaseId,
    rate: Option<f64>,
) -> Result<(), Refusal> {
    let canary = spec.canary_instances() as usize;
    let stable = place
        .map_or(0, |place| place.servers_of(stable).count())
        .max(1);
    for step in &spec.steps() {
        let load = spec.canary.max_load_factor.and_then(|factor| {
            let percent = step.weight_percent;
            let asked = capacity::Asked {
                percent,
                canary,
                stable,
                factor,
            };
            asked.overload()
        });
        if let Some(load) = load {
            return Err(impossible(format!(
                "{}; set canary.instances, or canary.max_load_factor",
                load.sentence(rate)
            )));
        }
        if shares::solve(step.weight_percent, canary, stable).is_none() {
            let near = shares::nearest(step.weight_percent, canary, stable).unwrap_or(100);
            return Err(impossible(format!(
                "no weights give {canary} new and {stable} old instances a share of {} %; \
                 the nearest that can be met is {near} %",
                step.weight_percent
            )));
        }
    }
    Ok(())
}
