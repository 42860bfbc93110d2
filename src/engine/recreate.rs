//! The recreate strategy: the old instances end before the new ones begin. Where nothing old stands,
//! that is how any strategy without a second set begins.

use super::look::Look;
use super::steps::{self, Ready};
use super::{instance, parts, retire};
use crate::model::state::Instance;
use crate::model::{Entry, Phase, ReleaseId, Rollout, ServerName};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout, watch_ms: u64) -> Vec<Entry> {
    if let Some(reverted) = instance::revert_failed(look, rollout) {
        return vec![reverted];
    }
    match rollout.phase {
        Phase::Starting { since_ms } => starting(look, rollout, since_ms),
        Phase::Shifting { since_ms } => steps::shifting(look, rollout, since_ms),
        Phase::Soaking { since_ms } => watching(look, rollout, watch_ms, since_ms),
        Phase::Reverting { .. } => Vec::new(),
    }
}

/// Ends what stands, then brings up the new instances and gives them the traffic.
fn starting(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Vec<Entry> {
    let begun = look.place.servers_of(rollout.release).next().is_some();
    let old: Vec<_> = others(look, rollout.release).collect();
    let leaves = old.iter().any(|(_, there)| there.is_leaving());
    if !begun && !leaves && !parts::may_begin(look, rollout, 1) {
        return Vec::new();
    }
    if !begun && !old.is_empty() {
        let waits = rollout.hold.is_some() || look.out_of_sight().is_some();
        return if waits {
            Vec::new()
        } else {
            take_out(look, &old)
        };
    }
    // How long the old ones took to end is not held against the new ones.
    let mine = look.place.servers_of(rollout.release);
    let begun_ms = mine.map(|(_, there)| there.since_ms).min();
    let since_ms = since_ms.max(begun_ms.unwrap_or(look.now_ms));
    let need = look.place.spec.instances as usize;
    match steps::stand_beside(look, rollout, need, since_ms) {
        Ready::Yes => steps::first(look, rollout),
        Ready::Not(entries) => entries,
    }
}

fn watching(look: &Look<'_>, rollout: &Rollout, watch_ms: u64, since_ms: u64) -> Vec<Entry> {
    let judged = rollout.kind.is_judged();
    let watch_ms = if judged { watch_ms } else { 0 };
    match steps::health_gated(look, rollout, since_ms, watch_ms) {
        Ready::Not(entries) => entries,
        Ready::Yes if parts::awaited(look, rollout).is_some() => Vec::new(),
        Ready::Yes if judged => {
            let told = rollout.led_by.is_some() && steps::has_passed(rollout, since_ms);
            let passed = || steps::passed(look, rollout, steps::verdict(look, rollout));
            let mut entries: Vec<_> = (!told).then(passed).into_iter().collect();
            if !parts::ends_with_its_lead(look, rollout) {
                entries.extend(steps::finished(look, rollout));
            }
            entries
        }
        Ready::Yes if parts::ends_with_its_lead(look, rollout) => Vec::new(),
        Ready::Yes => steps::finished(look, rollout),
    }
}

/// Instances of other releases, whatever their status.
pub(super) fn others<'a>(
    look: &Look<'a>,
    release: ReleaseId,
) -> impl Iterator<Item = (&'a ServerName, &'a Instance)> {
    let all = look.place.instances.iter();
    all.filter(move |(_, instance)| instance.release != release)
}

fn take_out(look: &Look<'_>, old: &[(&ServerName, &Instance)]) -> Vec<Entry> {
    let stand = old.iter().filter(|(_, there)| !there.is_leaving());
    stand
        .map(|(server, _)| retire::drain(look, server))
        .collect()
}
