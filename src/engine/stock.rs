//! What is still to be had of the releases one may go back to: asked once an engine begins, after
//! each rollout and once a day, never at every look.

use super::look::Look;
use crate::model::world::StockView;
use crate::model::{Effect, ReleaseId, RuntimeName, Stock};

/// Between two looks where nothing happened.
const AGAIN_MS: u64 = 24 * 3_600_000;
/// Between two looks where something could not be found out.
const UNKNOWN_AGAIN_MS: u64 = 10 * 60_000;

/// The look that is due at a runtime, and when. None while a rollout is open: its hosts have other
/// things to do.
pub(super) fn due(look: &Look<'_>, runtime: &RuntimeName) -> Option<(u64, Effect)> {
    let place = look.place;
    let releases: Vec<_> = earlier(look)
        .filter_map(|id| Some((id, place.releases.get(&id)?.workload.clone())))
        .collect();
    if releases.is_empty() || place.rollout.is_some() {
        return None;
    }
    let ended_ms = place.last.as_ref().map_or(0, |last| last.at_ms);
    let view = look.seen.and_then(|seen| seen.stock.get(runtime));
    let at_ms = match view {
        None => 0,
        Some(view) if view.tried_ms < ended_ms => 0,
        Some(view) if is_unclear(view, &releases) => view.tried_ms + UNKNOWN_AGAIN_MS,
        Some(view) => view.tried_ms + AGAIN_MS,
    };
    let effect = Effect::ReadStock {
        placement: look.placement.clone(),
        runtime: runtime.clone(),
        releases,
    };
    Some((at_ms, effect))
}

/// Verified releases beside the stable one.
fn earlier(look: &Look<'_>) -> impl Iterator<Item = ReleaseId> {
    look.place.verified.iter().rev().skip(1).copied()
}

fn is_unclear<T>(view: &StockView, releases: &[(ReleaseId, T)]) -> bool {
    let known = |id| {
        let found = view.found.get(id);
        found.is_some_and(|stock| !matches!(stock, Stock::Unknown { .. }))
    };
    !releases.iter().all(|(id, _)| known(id))
}
