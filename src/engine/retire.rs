//! Releases out of traffic go: drained, proven idle, stopped.

use super::look::Look;
use crate::model::entry::IdleProof;
use crate::model::service::QuietSignal;
use crate::model::state::{Instance, InstanceStatus};
use crate::model::world::{BalancerReading, InstanceView};
use crate::model::{BalancerName, Entry, ReleaseId, ServerName};
use std::collections::BTreeMap;

pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let instances = look.place.instances.iter();
    instances
        .filter_map(|(server, instance)| next(look, server, instance))
        .chain(found(look))
        .collect()
}

/// Instances that run behind servers nothing is recorded behind.
fn found(look: &Look<'_>) -> impl Iterator<Item = Entry> {
    look.place.free_servers().filter_map(|server| {
        let there = look.instance(server).flatten()?;
        Some(Entry::InstanceFound {
            placement: look.placement.clone(),
            server: server.clone(),
            release: there.release,
            epochs: look.epochs(),
        })
    })
}

fn is_due(look: &Look<'_>, release: ReleaseId) -> bool {
    let due_ms = look.place.warm.get(&release);
    due_ms.is_some_and(|due_ms| *due_ms <= look.now_ms) && is_out(look, release)
}

/// Neither stable nor the open rollout's, nor has the history ever left it a share.
fn is_out(look: &Look<'_>, release: ReleaseId) -> bool {
    look.place.stable() != Some(release)
        && look.place.canary() != Some(release)
        && look.place.share(release) == 0
}

fn next(look: &Look<'_>, server: &ServerName, instance: &Instance) -> Option<Entry> {
    let placement = look.placement.clone();
    let server_name = server.clone();
    match &instance.status {
        InstanceStatus::Draining { epochs, quiet_ms } => {
            if quiet_ms.is_none() && is_quiet(look, server, instance) {
                return Some(Entry::InstanceQuieted {
                    placement,
                    server: server_name,
                });
            }
            let proof = match look.place.spec.has_traffic() {
                true => idle(look, server, instance.since_ms, epochs)?,
                false => done(look, server, instance, *quiet_ms)?,
            };
            Some(Entry::StopIntended {
                placement,
                server: server_name,
                proof,
            })
        }
        InstanceStatus::Stopping => {
            let gone = look.instance_since(server, instance.since_ms) == Some(None);
            gone.then_some(Entry::InstanceStopped {
                placement,
                server: server_name,
            })
        }
        InstanceStatus::Starting | InstanceStatus::Up | InstanceStatus::Failed { .. } => {
            is_due(look, instance.release).then(|| drain(look, server))
        }
    }
}

/// Takes an instance out of traffic for good.
pub(super) fn drain(look: &Look<'_>, server: &ServerName) -> Entry {
    Entry::DrainBegun {
        placement: look.placement.clone(),
        server: server.clone(),
        epochs: look.epochs(),
    }
}

/// Whether a balancer's former process may still be serving an instance: it had traffic there
/// when that process went away, and the drain timeout has not run out since.
fn lingers(look: &Look<'_>, server: &ServerName) -> bool {
    let timeout_ms = look.place.spec.canary.drain_timeout_ms;
    let views = look
        .seen
        .into_iter()
        .flat_map(|seen| seen.balancers.values());
    let mut since = views.filter_map(|view| view.lingering.get(server));
    since.any(|since_ms| since_ms + timeout_ms > look.now_ms)
}

/// What tells a worker to take no new work, where something does.
pub(super) fn quiet_signal(look: &Look<'_>, instance: &Instance) -> Option<QuietSignal> {
    let release = look.place.releases.get(&instance.release);
    let workload = release.map_or(&look.place.spec.workload, |release| &release.workload);
    workload.quiet.filter(|_| !look.place.spec.has_traffic())
}

/// Whether a reading shows that a draining worker was told to take no new work.
fn is_quiet(look: &Look<'_>, server: &ServerName, instance: &Instance) -> bool {
    let there = look.instance(server).flatten();
    there.is_some_and(|view| view.release == instance.release && view.quiet)
}

/// What proves that a worker may be stopped: nothing tells it to take no new work; it was told and
/// has ended; or the drain timeout has run out since it was told, or could not be.
fn done(
    look: &Look<'_>,
    server: &ServerName,
    instance: &Instance,
    quiet_ms: Option<u64>,
) -> Option<IdleProof> {
    if quiet_signal(look, instance).is_none() {
        return Some(IdleProof::NoTraffic);
    }
    let runs = |there: &InstanceView| {
        there.release == instance.release && there.exited.is_none() && there.waiting.is_none()
    };
    let there = look.instance_since(server, instance.since_ms);
    if there.is_some_and(|there| !there.is_some_and(runs)) {
        return Some(IdleProof::Ended);
    }
    // One that could not be told is not waited for any longer than one that was.
    let told_ms = quiet_ms.unwrap_or(instance.since_ms);
    let due_ms = told_ms + look.place.spec.canary.drain_timeout_ms;
    (due_ms <= look.now_ms).then_some(IdleProof::Timeout)
}

/// What proves an instance idle: every balancer shows it out of traffic, and either no session is left, in the process the drain began with, or the drain timeout ran out.
fn idle(
    look: &Look<'_>,
    server: &ServerName,
    since_ms: u64,
    epochs: &BTreeMap<BalancerName, String>,
) -> Option<IdleProof> {
    let view = |reading: &BalancerReading| {
        let view = reading.servers.get(server);
        view.map_or((0, 0), |view| (view.effective_weight(), view.sessions))
    };
    if !look.is_out_of_traffic(server) {
        return None;
    }
    let drained = look.readings().is_some_and(|readings| {
        readings.iter().all(|(name, reading)| {
            epochs.get(*name) == Some(&reading.epoch) && view(reading) == (0, 0)
        })
    });
    let read_since = look
        .newest_common_reading_ms()
        .is_some_and(|read_ms| read_ms > since_ms);
    if drained && read_since && !lingers(look, server) {
        return Some(IdleProof::Idle);
    }
    let late = since_ms + look.place.spec.canary.drain_timeout_ms <= look.now_ms;
    late.then_some(IdleProof::Timeout)
}
