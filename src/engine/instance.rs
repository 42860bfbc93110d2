//! Instances: intended, up, failed.

use super::look::{Health, Look};
use super::{slots, steps};
use crate::model::state::{Instance, InstanceStatus};
use crate::model::{Clean, Entry, ReleaseId, Rollout, RuntimeName, ServerName, Urgency};
use std::collections::BTreeMap;

/// Records what became of instances that are being started or carry the new release.
pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    // A verified release is kept running by its runtime: it never fails for good.
    let verified = &look.place.verified;
    let canary = look.place.canary().filter(|id| !verified.contains(id));
    let fate = |(server, instance): (&ServerName, &Instance)| {
        let new = Some(instance.release) == canary;
        match (&instance.status, look.health(server)) {
            (InstanceStatus::Starting, Health::Bad(why)) if new => {
                gone(look, server).then(|| failed(look, server, why))
            }
            (InstanceStatus::Starting, _) => up(look, server),
            (InstanceStatus::Up, Health::Bad(_)) if look.host_is_lost(server) => None,
            (InstanceStatus::Up, Health::Bad(why)) if new => Some(failed(look, server, why)),
            _ => None,
        }
    };
    look.place.instances.iter().filter_map(fate).collect()
}

/// Whether a starting instance exited; failing probes alone are expected until its deadline.
fn gone(look: &Look<'_>, server: &ServerName) -> bool {
    matches!(look.instance(server), Some(Some(view)) if view.exited.is_some())
}

fn up(look: &Look<'_>, server: &ServerName) -> Option<Entry> {
    let instance = look.place.instances.get(server)?;
    let release = instance.release;
    let log = look.seen?.probes.get(server)?;
    // What a former instance of the same release passed there proves nothing.
    let passed = log.release == Some(release)
        && log.passed_in_a_row_since(instance.since_ms) >= successes(look, release);
    let runs = matches!(look.instance(server), Some(Some(view))
        if view.release == release && view.exited.is_none());
    (passed && runs).then(|| Entry::InstanceUp {
        placement: look.placement.clone(),
        server: server.clone(),
    })
}

/// Probes in a row that an instance must pass to be up. In an emergency one that says who it is has
/// to do.
fn successes(look: &Look<'_>, release: ReleaseId) -> u32 {
    let rollout = look.place.rollout.as_ref();
    let urgent = rollout
        .is_some_and(|rollout| rollout.release == release && rollout.urgency == Urgency::Emergency);
    match urgent {
        true => 1,
        false => look.place.health_of(release).successes,
    }
}

fn failed(look: &Look<'_>, server: &ServerName, why: Clean) -> Entry {
    Entry::InstanceFailed {
        placement: look.placement.clone(),
        server: server.clone(),
        why,
    }
}

/// Takes the rollout back when one instance of the new release failed, however far it is.
pub(super) fn revert_failed(look: &Look<'_>, rollout: &Rollout) -> Option<Entry> {
    let mut mine = look.place.servers_of(rollout.release);
    let cause = mine.find_map(|(server, instance)| match &instance.status {
        InstanceStatus::Failed { why } => Some(format!("instance {server} failed: {why}")),
        _ => None,
    })?;
    Some(steps::revert(look, &cause, None))
}

/// Intends the instances a rollout still needs, makes room for them, and takes the rollout back
/// when the deadline passed.
pub(super) fn bring_up(
    look: &Look<'_>,
    rollout: &Rollout,
    need: usize,
    since_ms: u64,
) -> Vec<Entry> {
    let release = rollout.release;
    if start_deadline_ms(look, rollout, need, since_ms) <= look.now_ms {
        let limit_ms = look.place.health_of(release).start_timeout_ms;
        return give_up(look, rollout, limit_ms);
    }
    let coming = look
        .place
        .servers_of(release)
        .filter(|(_, there)| there.is_standing());
    let missing = need.saturating_sub(coming.count());
    let mut entries = intend(look, release, missing);
    if entries.len() < missing {
        entries.extend(make_room(look));
    }
    entries
}

/// Until when the release must be ready for traffic: once all its instances are up, the smoke run
/// has its own time.
fn start_deadline_ms(look: &Look<'_>, rollout: &Rollout, need: usize, since_ms: u64) -> u64 {
    let place = look.place;
    let mine = place.servers_of(rollout.release);
    let up = mine.filter(|(_, instance)| instance.status == InstanceStatus::Up);
    let smoke_ms = match smokes(look, rollout) && up.count() >= need {
        true => place.smoke_timeout_ms_of(rollout.release),
        false => 0,
    };
    since_ms + place.health_of(rollout.release).start_timeout_ms + smoke_ms
}

pub(super) fn smokes(look: &Look<'_>, rollout: &Rollout) -> bool {
    rollout.kind.is_judged() && !look.place.smoke_of(rollout.release).is_empty()
}

/// Intends so many more instances of a release, fewer where servers are short.
pub(super) fn intend(look: &Look<'_>, release: ReleaseId, missing: usize) -> Vec<Entry> {
    let servers = spread(look, release, missing).into_iter();
    let entry = |server: &ServerName| Entry::InstanceIntended {
        placement: look.placement.clone(),
        server: server.clone(),
        release,
    };
    servers.map(entry).collect()
}

/// Servers nothing stands behind that a release may use: with slots only those of its own.
pub(super) fn free_for<'a>(look: &Look<'a>, release: ReleaseId) -> Vec<&'a ServerName> {
    let free = look.place.free_servers();
    let Some(slots) = look.place.spec.strategy.slots() else {
        return free.collect();
    };
    match slots::destination(look, slots, release) {
        Some(slot) => free
            .filter(|server| slots.of(server) == Some(slot))
            .collect(),
        None => Vec::new(),
    }
}

/// Free servers for so many more instances of a release, evenly over the runtimes; those that
/// cannot be read come last.
fn spread<'a>(look: &Look<'a>, release: ReleaseId, missing: usize) -> Vec<&'a ServerName> {
    let spec = &look.place.spec;
    let mut on: BTreeMap<Option<&RuntimeName>, usize> = BTreeMap::new();
    for (server, _) in look.place.servers_of(release) {
        *on.entry(spec.runtime_of(server)).or_default() += 1;
    }
    let mut free = free_for(look, release);
    let mut chosen = Vec::new();
    while chosen.len() < missing && !free.is_empty() {
        let rank = |server: &&ServerName| {
            let runtime = spec.runtime_of(server);
            let view = look.runtime(server);
            let dark = view.is_some_and(|view| view.trouble.is_some());
            (dark, on.get(&runtime).copied().unwrap_or(0))
        };
        let next = (0..free.len()).min_by_key(|at| rank(&free[*at]));
        let server = free.remove(next.expect("invariant: some server is free"));
        *on.entry(spec.runtime_of(server)).or_default() += 1;
        chosen.push(server);
    }
    chosen
}

/// Takes the rollout back for want of time, and with it what is still being started.
pub(super) fn give_up(look: &Look<'_>, rollout: &Rollout, limit_ms: u64) -> Vec<Entry> {
    let seconds = limit_ms / 1_000;
    let cause = late(look, rollout, seconds);
    let failed = given_up(look, rollout, seconds);
    failed.chain([steps::revert(look, &cause, None)]).collect()
}

/// Instances that had all the time there is. A verified release never fails for good.
fn given_up<'a>(look: &Look<'a>, rollout: &Rollout, seconds: u64) -> impl Iterator<Item = Entry> {
    let release = rollout.release;
    let verified = look.place.verified.contains(&release);
    let starting = look
        .place
        .servers_of(release)
        .filter(move |(_, instance)| instance.status == InstanceStatus::Starting && !verified);
    starting.map(move |(server, _)| {
        let why = match waits_for(look, server) {
            why if why.is_empty() => format!("not healthy within {seconds} s"),
            why => format!("not healthy within {seconds} s: {why}"),
        };
        failed(look, server, Clean::new(&why))
    })
}

/// What a starting instance waits for, or why it is not healthy.
fn waits_for(look: &Look<'_>, server: &ServerName) -> Clean {
    let waiting = match look.instance(server) {
        Some(Some(view)) => view.waiting.clone(),
        _ => None,
    };
    let log = look.seen.and_then(|seen| seen.probes.get(server));
    let trouble = || log.and_then(|log| log.trouble.clone());
    waiting.or_else(trouble).unwrap_or_default()
}

fn late(look: &Look<'_>, rollout: &Rollout, seconds: u64) -> String {
    let waits: Vec<_> = look
        .place
        .servers_of(rollout.release)
        .filter(|(_, instance)| instance.status == InstanceStatus::Starting)
        .map(|(server, _)| format!("{server} {}", waits_for(look, server)))
        .collect();
    match waits.is_empty() {
        true if smokes(look, rollout) && rollout.smoke.is_none() => {
            "the smoke tests did not end in time".to_owned()
        }
        true => format!("no server became free within {seconds} s"),
        false => format!("not healthy within {seconds} s: {}", waits.join(", ")),
    }
}

/// A rollout that is short of servers sends the warm releases away before their time.
pub(super) fn make_room(look: &Look<'_>) -> impl Iterator<Item = Entry> {
    let due = look
        .place
        .warm
        .iter()
        .filter(|(_, due_ms)| **due_ms > look.now_ms);
    due.map(|(release, _)| Entry::RetireIntended {
        placement: look.placement.clone(),
        release: *release,
        why: "the new release needs its servers".into(),
    })
}
