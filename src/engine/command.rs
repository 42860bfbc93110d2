//! What people ask for → entries, or a refusal.

use super::look::{Health, Look};
use super::{canary, evolve, revert, shares};
use crate::model::command::{Command, PromoteTo, Refusal};
use crate::model::entry::{Shares, WeightReason};
use crate::model::input::Asked;
use crate::model::service::{Release, ServiceSpec, Workload};
use crate::model::state::{HoldReason, InstanceStatus};
use crate::model::verdict::VerdictClass;
use crate::model::{
    Clean, Entry, Phase, Placement, PlacementState, ReleaseId, Rollout, RolloutKind, RolloutNumber,
    State, Status, Version, World,
};

type Decision = Result<Vec<Entry>, Refusal>;

pub(super) fn decide(state: &State, world: &World, asked: &Asked) -> Decision {
    match &asked.command {
        Command::Deploy {
            spec,
            version,
            reason,
        } => deploy(state, world, asked, spec, version, reason.clone()),
        Command::Rollback { spec, to, reason } => {
            go_back(state, world, asked, spec, to.as_ref(), reason.clone())
        }
        Command::Promote {
            placement,
            to,
            revision,
        } => {
            let (look, rollout) = open(state, world, placement)?;
            promote(&look, rollout, *to, *revision)
        }
        Command::Hold { placement, reason } => {
            let (look, rollout) = open(state, world, placement)?;
            hold(&look, rollout, asked, reason.clone())
        }
        Command::Resume {
            placement,
            revision,
        } => {
            let (look, rollout) = open(state, world, placement)?;
            resume(&look, rollout, *revision)
        }
        Command::Abort { placement, reason } => {
            let (look, rollout) = open(state, world, placement)?;
            Ok(abort(&look, rollout, reason.clone()))
        }
    }
}

fn open<'a>(
    state: &'a State,
    world: &'a World,
    placement: &Placement,
) -> Result<(Look<'a>, &'a Rollout), Refusal> {
    let look = Look::at(state, world, placement);
    look.and_then(|look| Some((look, look.place.rollout.as_ref()?)))
        .ok_or_else(|| Refusal::NoRollout {
            placement: placement.clone(),
        })
}

fn not_now(why: impl AsRef<str>) -> Refusal {
    Refusal::NotNow {
        why: Clean::new(why.as_ref()),
    }
}

fn impossible(why: impl AsRef<str>) -> Refusal {
    Refusal::Impossible {
        why: Clean::new(why.as_ref()),
    }
}

fn deploy(
    state: &State,
    world: &World,
    asked: &Asked,
    spec: &ServiceSpec,
    version: &Version,
    reason: Option<Clean>,
) -> Decision {
    let look = Look::at(state, world, &spec.placement);
    let place = look.map(|look| look.place);
    refuse_open(spec, place)?;
    check_servers(spec, place)?;
    check_room(spec, place, spec.canary_instances() as usize)?;
    let stable = place.and_then(PlacementState::stable);
    if let Some(stable) = stable {
        check_shares(spec, place, stable)?;
    }
    let release = Release {
        id: asked.release,
        version: version.clone(),
        workload: fill_version(&spec.workload, version),
        config_hash: spec.config_hash.clone(),
        created_ms: world.now_ms,
    };
    Ok(vec![begin(
        state,
        asked,
        spec,
        RolloutKind::Deploy,
        release,
        stable,
        reason,
    )])
}

fn begin(
    state: &State,
    asked: &Asked,
    spec: &ServiceSpec,
    rollout: RolloutKind,
    release: Release,
    from: Option<ReleaseId>,
    reason: Option<Clean>,
) -> Entry {
    Entry::RolloutStarted {
        id: asked.rollout,
        number: RolloutNumber(state.rollouts + 1),
        rollout,
        release: Box::new(release),
        from,
        spec: Box::new(spec.clone()),
        reason,
    }
}

fn fill_version(workload: &Workload, version: &Version) -> Workload {
    let fill = |text: &String| text.replace("{version}", version.as_str());
    Workload {
        command: workload.command.iter().map(fill).collect(),
        env: workload
            .env
            .iter()
            .map(|(key, value)| (key.clone(), fill(value)))
            .collect(),
        ..workload.clone()
    }
}

fn refuse_open(spec: &ServiceSpec, place: Option<&PlacementState>) -> Result<(), Refusal> {
    match place.and_then(|place| place.rollout.as_ref()) {
        Some(rollout) => Err(Refusal::RolloutOpen {
            placement: spec.placement.clone(),
            number: rollout.number,
        }),
        None => Ok(()),
    }
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
) -> Result<(), Refusal> {
    let canary = spec.canary_instances() as usize;
    let stable = place
        .map_or(0, |place| place.servers_of(stable).count())
        .max(1);
    for step in &spec.canary.steps {
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

fn go_back(
    state: &State,
    world: &World,
    asked: &Asked,
    spec: &ServiceSpec,
    to: Option<&Version>,
    reason: Option<Clean>,
) -> Decision {
    let look = Look::at(state, world, &spec.placement).ok_or_else(|| nothing_before(spec))?;
    let place = look.place;
    if let Some(rollout) = &place.rollout {
        return go_back_from_open(&look, rollout, to, reason);
    }
    let target = match to {
        None => place.previous().ok_or_else(|| nothing_before(spec))?,
        Some(version) => verified_as(place, version)?,
    };
    if Some(target) == place.stable() {
        return Err(impossible("that version has the traffic already"));
    }
    let release = place
        .releases
        .get(&target)
        .ok_or_else(|| nothing_before(spec))?;
    check_servers(spec, Some(place))?;
    let there = place.servers_of(target).count();
    check_room(spec, Some(place), (spec.instances as usize).max(there))?;
    let from = place.stable();
    Ok(vec![begin(
        state,
        asked,
        spec,
        RolloutKind::Rollback,
        release.clone(),
        from,
        reason,
    )])
}

/// While a rollout is open, going back to the last verified release is what abort does.
fn go_back_from_open(
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

fn compare(rollout: &Rollout, seen: u64) -> Result<(), Refusal> {
    match seen == rollout.revision {
        true => Ok(()),
        false => Err(Refusal::Stale {
            seen,
            now: rollout.revision,
        }),
    }
}

fn promote(look: &Look<'_>, rollout: &Rollout, to: PromoteTo, revision: u64) -> Decision {
    compare(rollout, revision)?;
    let since_ms = match rollout.phase {
        Phase::Soaking { since_ms } => since_ms,
        Phase::Starting { .. } => {
            return Err(not_now(
                "the new instances are still being started and verified",
            ));
        }
        Phase::Shifting { .. } => return Err(not_now("the balancer is still being set")),
        Phase::Reverting { .. } => return Err(not_now("traffic is on its way back to stable")),
    };
    check_forward(look, rollout)?;
    let verdict = canary::verdict(look, rollout);
    match verdict.class {
        VerdictClass::Fail => {
            return Err(not_now(format!("the verdict is fail: {}", verdict.because)));
        }
        VerdictClass::NoData => {
            return Err(not_now(format!("there is no data: {}", verdict.because)));
        }
        VerdictClass::Pass | VerdictClass::Inconclusive => {}
    }
    let soak_ms = canary::current_step(look, rollout).map_or(0, |step| step.soak_ms);
    let soak_left_ms = (since_ms + soak_ms).saturating_sub(look.now_ms);
    let placement = look.placement.clone();
    let promoted = Entry::Promoted {
        placement,
        to,
        verdict: verdict.clone(),
        soak_left_ms,
    };
    let mut entries = vec![promoted];
    entries.extend(go_forward(look, rollout, to)?);
    Ok(entries)
}

/// Away from the last verified release only on fresh readings and with healthy instances.
fn check_forward(look: &Look<'_>, rollout: &Rollout) -> Result<(), Refusal> {
    if !look.fresh_within(look.place.spec.analysis.interval_ms) {
        return Err(not_now(
            "the balancer was not read within the last interval; wait for it",
        ));
    }
    let mut canary = look.place.servers_of(rollout.release);
    let sick = canary.find_map(|(server, _)| match look.health(server) {
        Health::Bad(why) => Some(format!("instance {server} is not healthy: {why}")),
        Health::Good | Health::Unknown => None,
    });
    sick.map_or(Ok(()), |why| Err(not_now(why)))
}

fn go_forward(look: &Look<'_>, rollout: &Rollout, to: PromoteTo) -> Decision {
    let share = look.place.share(rollout.release);
    let steps = rollout.steps(&look.place.spec);
    let percent = match to {
        PromoteTo::Full => 100,
        PromoteTo::Percent(percent) => percent,
        PromoteTo::Next => steps
            .iter()
            .map(|step| step.weight_percent)
            .find(|percent| *percent > share)
            .unwrap_or(100),
    };
    if share == 100 {
        return Ok(vec![canary::finished(look, rollout)]);
    }
    if percent <= share || percent > 100 {
        return Err(impossible(format!(
            "{percent} % is not above the present {share} %"
        )));
    }
    check_percent(look, rollout, percent)?;
    let step = steps
        .iter()
        .filter(|step| step.weight_percent <= percent)
        .count();
    Ok(vec![canary::weight(
        look,
        rollout,
        percent,
        WeightReason::Promotion { step },
    )])
}

fn check_percent(look: &Look<'_>, rollout: &Rollout, percent: u8) -> Result<(), Refusal> {
    let stable = rollout
        .from
        .map_or(0, |from| look.place.servers_of(from).count());
    let canary = look.place.servers_of(rollout.release).count();
    if stable == 0 || shares::solve(percent, canary, stable).is_some() {
        return Ok(());
    }
    let near = shares::nearest(percent, canary, stable).unwrap_or(100);
    Err(impossible(format!(
        "{percent} % cannot be met; the nearest that can is {near} %"
    )))
}

fn hold(look: &Look<'_>, rollout: &Rollout, asked: &Asked, reason: Option<Clean>) -> Decision {
    if rollout.is_reverting() {
        return Err(not_now(
            "traffic is on its way back to stable; that is never held",
        ));
    }
    let held = rollout
        .hold
        .as_ref()
        .and_then(|hold| evolve::held_by(&hold.why));
    if held.is_some() {
        return Ok(Vec::new());
    }
    let why = HoldReason::Person {
        by: asked.by.clone(),
        reason,
    };
    Ok(vec![Entry::Held {
        placement: look.placement.clone(),
        why,
    }])
}

fn resume(look: &Look<'_>, rollout: &Rollout, revision: u64) -> Decision {
    let Some(hold) = &rollout.hold else {
        return Ok(Vec::new());
    };
    compare(rollout, revision)?;
    let mut entries = vec![Entry::Resumed {
        placement: look.placement.clone(),
    }];
    if let HoldReason::Drift { .. } = hold.why {
        check_forward(look, rollout)?;
        let share = look.place.share(rollout.release);
        let reason = WeightReason::Promotion { step: rollout.step };
        entries.push(canary::weight(look, rollout, share, reason));
    }
    Ok(entries)
}

/// Only ever lowers; beats everything; is never stale. Asked again it changes nothing.
fn abort(look: &Look<'_>, rollout: &Rollout, reason: Option<Clean>) -> Vec<Entry> {
    if rollout.is_reverting() {
        return Vec::new();
    }
    let placement = look.placement.clone();
    let mut entries = vec![Entry::AbortRequested { placement, reason }];
    entries.extend(revert::lower(look, rollout, look.now_ms));
    entries
}

/// The shares that give a release `percent` and what had the traffic before the rest.
pub(super) fn split(rollout: &Rollout, percent: u8) -> Shares {
    let mut shares = Shares::new();
    shares.insert(rollout.release, percent);
    if let Some(from) = rollout.from {
        shares.insert(from, 100 - percent);
    }
    shares
}

/// How a rollout that is taken back ends.
pub(super) fn lost(rollout: &Rollout) -> Status {
    match rollout.had_traffic {
        true => Status::RolledBack,
        false => Status::Failed,
    }
}

/// Whether every instance a rollout needs is recorded up and our newest probe passed.
pub(super) fn all_well(look: &Look<'_>, rollout: &Rollout, need: usize) -> bool {
    let well = look
        .place
        .servers_of(rollout.release)
        .filter(|(server, instance)| {
            instance.status == InstanceStatus::Up && look.health(server) == Health::Good
        });
    well.count() >= need
}
