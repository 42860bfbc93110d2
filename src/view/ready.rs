//! How ready each earlier version is for a rollback: only what is known.

use super::snapshot::{HostStock, Ready, ReadyView};
use crate::engine::Look;
use crate::model::state::InstanceStatus;
use crate::model::{Release, ReleaseId, RuntimeName, Stock};

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
        hosts: hosts(look, id),
    })
}

/// What each runtime said of a release when it was last asked.
pub(super) fn hosts(look: &Look<'_>, id: ReleaseId) -> Vec<HostStock> {
    let one = |runtime: &RuntimeName| {
        let view = look.seen?.stock.get(runtime)?;
        Some(HostStock {
            runtime: runtime.clone(),
            stock: view.found.get(&id)?.clone(),
            asked_ms: view.tried_ms,
        })
    };
    look.place.spec.runtimes.iter().filter_map(one).collect()
}

impl ReadyView {
    /// `image here`, `pull 142 MB`, `app1 image here, app2 gone`; `None` until the hosts were asked,
    /// and while its instances are up.
    pub fn stock_words(&self) -> Option<String> {
        let here = match self.ready {
            Ready::Warm | Ready::Here => return None,
            Ready::Pinned => "image here",
            Ready::Anew => "program here",
        };
        words(&self.hosts, here)
    }
}

/// What the hosts have, said once where all have the same; `None` where none was asked.
pub(super) fn words(hosts: &[HostStock], here: &str) -> Option<String> {
    let word = |host: &HostStock| match &host.stock {
        Stock::Here => here.to_owned(),
        Stock::Pull { bytes: Some(bytes) } => format!("pull {} MB", bytes.div_ceil(1_000_000)),
        Stock::Pull { bytes: None } => "pull, size unknown".to_owned(),
        Stock::Gone { .. } => "gone".to_owned(),
        Stock::Unknown { .. } => "unknown".to_owned(),
    };
    let first = word(hosts.first()?);
    if hosts.iter().all(|host| word(host) == first) {
        return Some(first);
    }
    let each = hosts
        .iter()
        .map(|host| format!("{} {}", host.runtime, word(host)));
    Some(each.collect::<Vec<_>>().join(", "))
}

fn image(release: &Release) -> Ready {
    let container = release.workload.container.as_ref();
    let pinned = container.is_some_and(|container| container.pin.is_some());
    match pinned {
        true => Ready::Pinned,
        false => Ready::Anew,
    }
}
