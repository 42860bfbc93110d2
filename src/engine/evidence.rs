//! What failed instances left: read once, recorded once. Nothing waits for it but the stop that
//! would take it away, and that only for a few tries.

use super::look::Look;
use crate::model::effect::Effect;
use crate::model::state::{EvidenceStatus, Instance};
use crate::model::world::EvidenceView;
use crate::model::{Entry, ServerName};

/// Between two tries.
const AGAIN_MS: u64 = 1_000;
/// Tries; what cannot be read in so many is given up until the next engine.
const TRIES_MAX: u32 = 5;

/// Records what was read. It must come after whatever leads towards stable: it has to wait for a
/// history that cannot be written, and nothing after it is decided then.
pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let kept = |(server, instance): (&ServerName, &Instance)| {
        let evidence = view(look, server, instance)?.found.clone()??;
        Some(Entry::EvidenceKept {
            placement: look.placement.clone(),
            server: server.clone(),
            release: instance.release,
            rollout: instance.rollout,
            evidence: Box::new(evidence),
        })
    };
    let wanted = look.place.instances.iter();
    wanted
        .filter(|(_, instance)| instance.evidence == EvidenceStatus::Wanted)
        .filter_map(kept)
        .collect()
}

/// What is still to be read of an instance, and when.
pub(super) fn due(
    look: &Look<'_>,
    server: &ServerName,
    instance: &Instance,
) -> Option<(u64, Effect)> {
    let seen = view(look, server, instance);
    let over = seen.is_some_and(|seen| seen.found.is_some() || seen.tries >= TRIES_MAX);
    if instance.evidence != EvidenceStatus::Wanted || over {
        return None;
    }
    let effect = Effect::ReadEvidence {
        placement: look.placement.clone(),
        runtime: look.place.spec.runtime_of(server)?.clone(),
        server: server.clone(),
        release: instance.release,
    };
    Some((seen.map_or(0, |seen| seen.tried_ms + AGAIN_MS), effect))
}

fn view<'a>(look: &Look<'a>, server: &ServerName, instance: &Instance) -> Option<&'a EvidenceView> {
    let view = look.seen?.evidence.get(server)?;
    (view.release == instance.release).then_some(view)
}
