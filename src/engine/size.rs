//! The stable release stands in the size that is wanted: what is missing is begun, what is too
//! much is drained. While a rollout goes forward its strategy decides instead.

use super::look::Look;
use super::{instance, recreate, retire};
use crate::model::state::{Instance, InstanceStatus};
use crate::model::strategy::Strategy;
use crate::model::{Entry, Phase, ReleaseId, Rollout, ServerName};

pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let goes_back = |rollout: &Rollout| rollout.is_reverting();
    if !look.place.rollout.as_ref().is_none_or(goes_back) {
        return Vec::new();
    }
    let Some(stable) = look.place.stable() else {
        return Vec::new();
    };
    let wanted = look.place.spec.instances as usize;
    let there = standing(look, stable);
    if there < wanted && may_begin(look, stable) {
        return instance::intend(look, stable, wanted - there);
    }
    match look.place.rollout {
        None => surplus(look, stable, there.saturating_sub(wanted)),
        Some(_) => Vec::new(),
    }
}

/// Instances of a release that are up or on their way to it.
pub(super) fn standing(look: &Look<'_>, release: ReleaseId) -> usize {
    let servers = look.place.servers_of(release);
    servers.filter(|(_, there)| there.is_standing()).count()
}

/// What may run only once waits until nothing else does.
fn may_begin(look: &Look<'_>, stable: ReleaseId) -> bool {
    let alone = matches!(look.place.spec.strategy, Strategy::Recreate(_));
    !alone || recreate::others(look, stable).next().is_none()
}

/// Drains instances that are too many, first those that do not serve; never while those that stay
/// do not all serve.
fn surplus(look: &Look<'_>, stable: ReleaseId, too_many: usize) -> Vec<Entry> {
    let mut standing: Vec<_> = look
        .place
        .servers_of(stable)
        .filter(|(_, there)| there.is_standing())
        .collect();
    let serves = |(server, _): &(&ServerName, &Instance)| look.serves(server);
    standing.sort_by_key(serves);
    let (go, stay) = standing.split_at(too_many);
    match stay.iter().all(serves) {
        true => go
            .iter()
            .map(|(server, _)| retire::drain(look, server))
            .collect(),
        false => Vec::new(),
    }
}

/// Whether the stable release stands whole again by the records, and the balancers show it.
pub(super) fn is_whole(look: &Look<'_>, stable: ReleaseId) -> bool {
    let up = |(server, instance): &(&ServerName, &Instance)| {
        let serves = look.place.out.contains(*server) || look.gets_traffic(server);
        instance.status == InstanceStatus::Up && serves
    };
    let up = look.place.servers_of(stable).filter(up).count();
    up >= look.place.spec.instances as usize
}

/// On the way back, where stable lacks instances and servers for them: instances of the release
/// that is taken back go, all of them once they are out of traffic, else one while it serves.
pub(super) fn make_room(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    let lacks = |stable: &ReleaseId| {
        standing(look, *stable) < look.place.spec.instances as usize
            && (!may_begin(look, *stable) || instance::free_for(look, *stable).is_empty())
    };
    let reverting = matches!(rollout.phase, Phase::Reverting { .. });
    if !reverting
        || rollout.from == Some(rollout.release)
        || !look.place.stable().is_some_and(|id| lacks(&id))
    {
        return Vec::new();
    }
    let mine = look.place.servers_of(rollout.release);
    let stand: Vec<_> = mine
        .filter(|(_, one)| !one.is_leaving())
        .map(|(server, _)| server)
        .collect();
    let all = look.place.servers_of(rollout.release).count();
    let serving = look.place.share(rollout.release) > 0;
    let go = match serving {
        // One at a time while nobody else serves, and never the last.
        true => usize::from(stand.len() > 1 && stand.len() == all),
        false => stand.len(),
    };
    stand
        .into_iter()
        .take(go)
        .map(|server| retire::drain(look, server))
        .collect()
}
