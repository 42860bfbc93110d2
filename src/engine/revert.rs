//! Traffic on its way back to stable, whatever the rollout was.

use super::look::Look;
use super::{command, size};
use crate::model::entry::{Shares, WeightReason};
use crate::model::strategy::Strategy;
use crate::model::{Clean, Entry, Phase, Rollout};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Vec<Entry> {
    let room = size::make_room(look, rollout);
    if !room.is_empty() {
        return room;
    }
    match settled_back(look) {
        None => lower(look, rollout, since_ms).into_iter().collect(),
        Some(false) => Vec::new(),
        Some(true) => restored(look, rollout, since_ms).into_iter().collect(),
    }
}

/// The end, once what was replaced is restored, or the time for it ran out.
fn restored(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Option<Entry> {
    let spec = &look.place.spec;
    let deadline_ms = since_ms + start_timeout_ms(look, rollout) + spec.canary.drain_timeout_ms;
    let replaces = !spec.strategy.stands_beside();
    let missing = replaces && rollout.from.is_some_and(|from| !size::is_whole(look, from));
    let cause = match missing {
        true if look.now_ms < deadline_ms => return None,
        true => Clean::new(&format!("{}; not every instance is back", cause(rollout))),
        false => cause(rollout),
    };
    Some(Entry::RolloutFinished {
        placement: look.placement.clone(),
        status: command::lost(rollout),
        because: cause,
    })
}

fn cause(rollout: &Rollout) -> Clean {
    match &rollout.phase {
        Phase::Reverting { cause, .. } => cause.clone(),
        _ => Clean::default(),
    }
}

/// What the release that gets the traffic back may take to come up.
fn start_timeout_ms(look: &Look<'_>, rollout: &Rollout) -> u64 {
    let release = rollout.from.unwrap_or(rollout.release);
    look.place.health_of(release).start_timeout_ms
}

/// Whether the way back is intended (`None`: not yet) and every balancer shows it.
fn settled_back(look: &Look<'_>) -> Option<bool> {
    let intent = look.place.weight.as_ref();
    intent
        .filter(|intent| intent.reason == WeightReason::Revert)
        .map(|intent| intent.settled.is_some())
}

/// The intent to return all traffic to stable; `None` while stable must be brought up first.
///
/// Where no stable instance can serve but the canary can, lowering at once would lose every
/// request: stable gets its start timeout to come up, unless both may never run together. Where both are down, or nobody knows,
/// it is lowered at once.
pub(super) fn lower(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Option<Entry> {
    let deadline_ms = since_ms + start_timeout_ms(look, rollout);
    let stable_down = rollout.from.is_some_and(|from| !look.can_serve(from));
    let intended = f64::from(look.place.share(rollout.release));
    let observed = look.highest_applied_percent(rollout.release);
    let had_share = observed.unwrap_or(intended) > 0.0;
    let alone = matches!(look.place.spec.strategy, Strategy::Recreate(_));
    let serves = had_share && look.can_serve(rollout.release);
    let waits = stable_down && serves && !alone && look.now_ms < deadline_ms;
    (!waits).then(|| Entry::WeightIntended {
        placement: look.placement.clone(),
        shares: rollout
            .from
            .map(|from| Shares::from([(from, 100)]))
            .unwrap_or_default(),
        reason: WeightReason::Revert,
    })
}
