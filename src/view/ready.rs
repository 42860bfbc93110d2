//! How ready each earlier version is for a rollback: only what is known.

use super::snapshot::{Ready, ReadyView};
use crate::engine::Look;
use crate::model::state::InstanceStatus;
use crate::model::{Release, ReleaseId};

/// Verified versions beside the stable one, the newest first.
pub(super) fn versions(look: &Look<'_>) -> Vec<ReadyView> {
    let earlier = look.place.verified.iter().rev().skip(1);
    earlier.filter_map(|id| version(look, *id)).collect()
}

fn version(look: &Look<'_>, id: ReleaseId) -> Option<ReadyView> {
    let place = look.place;
    let release = place.releases.get(&id)?;
    let up = place
        .servers_of(id)
        .filter(|(_, instance)| instance.status == InstanceStatus::Up)
        .count();
    let until_ms = place.warm.get(&id).copied();
    let warm_until_ms = until_ms.filter(|until_ms| up > 0 && *until_ms > look.now_ms);
    Some(ReadyView {
        version: release.version.clone(),
        release: id,
        ready: match (up, warm_until_ms) {
            (0, _) => image(release),
            (_, Some(_)) => Ready::Warm,
            (_, None) => Ready::Here,
        },
        up,
        warm_until_ms,
        withdrawn: place.withdrawn.contains(&id),
    })
}

fn image(release: &Release) -> Ready {
    let container = release.workload.container.as_ref();
    let pinned = container.is_some_and(|container| container.pin.is_some());
    match pinned {
        true => Ready::Pinned,
        false => Ready::Anew,
    }
}
