//! Traffic on its way back to stable, whatever the rollout was.

use super::command;
use super::look::Look;
use crate::model::entry::{Shares, WeightReason};
use crate::model::{Clean, Entry, Phase, Rollout};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Vec<Entry> {
    match settled_back(look) {
        None => lower(look, rollout, since_ms).into_iter().collect(),
        Some(false) => Vec::new(),
        Some(true) => vec![Entry::RolloutFinished {
            placement: look.placement.clone(),
            status: command::lost(rollout),
            because: cause(rollout),
        }],
    }
}

fn cause(rollout: &Rollout) -> Clean {
    match &rollout.phase {
        Phase::Reverting { cause, .. } => cause.clone(),
        _ => Clean::default(),
    }
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
/// request: stable gets its start timeout to come up. Where both are down, or nobody knows,
/// it is lowered at once.
pub(super) fn lower(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Option<Entry> {
    let deadline_ms = since_ms + look.place.spec.health.start_timeout_ms;
    let stable_down = rollout.from.is_some_and(|from| !look.can_serve(from));
    let intended = f64::from(look.place.share(rollout.release));
    let observed = look.highest_applied_percent(rollout.release);
    let had_share = observed.unwrap_or(intended) > 0.0;
    let waits =
        stable_down && had_share && look.can_serve(rollout.release) && look.now_ms < deadline_ms;
    (!waits).then(|| Entry::WeightIntended {
        placement: look.placement.clone(),
        shares: rollout
            .from
            .map(|from| Shares::from([(from, 100)]))
            .unwrap_or_default(),
        reason: WeightReason::Revert,
    })
}
