//! Releases out of traffic go: drained, proven idle, stopped.

use super::look::Look;
use crate::model::entry::IdleProof;
use crate::model::state::{Instance, InstanceStatus};
use crate::model::world::BalancerReading;
use crate::model::{BalancerName, Entry, ReleaseId, ServerName};
use std::collections::BTreeMap;

pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let instances = look.place.instances.iter();
    instances
        .filter_map(|(server, instance)| next(look, server, instance))
        .collect()
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
        InstanceStatus::Draining { epochs } => {
            let proof = idle(look, server, instance.since_ms, epochs)?;
            Some(Entry::StopIntended {
                placement,
                server: server_name,
                proof,
            })
        }
        InstanceStatus::Stopping => {
            let read_since = look.seen.is_some_and(|seen| {
                let views = &seen.runtimes;
                look.place.spec.runtimes.iter().all(|runtime| {
                    views.get(runtime).and_then(|view| view.read_ms) >= Some(instance.since_ms)
                })
            });
            let gone = matches!(look.instance(server), Some(None));
            (gone && read_since).then_some(Entry::InstanceStopped {
                placement,
                server: server_name,
            })
        }
        InstanceStatus::Starting | InstanceStatus::Up | InstanceStatus::Failed { .. } => {
            is_due(look, instance.release).then(|| Entry::DrainBegun {
                placement,
                server: server_name,
                epochs: look.epochs(),
            })
        }
    }
}

/// What proves an instance idle: every balancer shows it out of traffic with no session left, in
/// the process the drain began with; or the drain timeout ran out while no balancer that can be
/// read still sends it requests.
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
    let backends = look.place.spec.balancers.iter();
    let known = backends.filter_map(|backend| look.reading(&backend.balancer));
    if known.map(view).any(|(weight, _)| weight > 0) {
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
    if drained && read_since {
        return Some(IdleProof::Idle);
    }
    let late = since_ms + look.place.spec.canary.drain_timeout_ms <= look.now_ms;
    late.then_some(IdleProof::Timeout)
}
