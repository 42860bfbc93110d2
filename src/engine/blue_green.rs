//! The blue-green strategy: a second set in the slot without traffic, then the switch.

use super::look::Look;
use super::steps::{self, Ready};
use super::{instance, slots};
use crate::model::state::HoldReason;
use crate::model::strategy::BlueGreen;
use crate::model::{Entry, Phase, Rollout};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout, settings: &BlueGreen) -> Vec<Entry> {
    if let Some(reverted) = instance::revert_failed(look, rollout) {
        return vec![reverted];
    }
    match rollout.phase {
        Phase::Starting { since_ms } => starting(look, rollout, settings, since_ms),
        Phase::Shifting { since_ms } => steps::shifting(look, rollout, since_ms),
        Phase::Soaking { since_ms } => steps::soaking(look, rollout, since_ms),
        Phase::Reverting { .. } => Vec::new(),
    }
}

/// Verified in the idle slot, it is switched to, or waits for the person who does.
fn starting(look: &Look<'_>, rollout: &Rollout, settings: &BlueGreen, since_ms: u64) -> Vec<Entry> {
    let need = look.place.spec.instances as usize;
    // What waits for a person waits as long as they like.
    let since_ms = if is_ready(rollout) {
        look.now_ms
    } else {
        since_ms
    };
    match steps::stand_beside(look, rollout, need, since_ms) {
        Ready::Not(entries) => entries,
        Ready::Yes if settings.confirm && rollout.from.is_some() => {
            vec![steps::held(look, HoldReason::Switch)]
        }
        Ready::Yes if slots::is_idle(look, &settings.slots, rollout.release) => {
            steps::first(look, rollout)
        }
        Ready::Yes => Vec::new(),
    }
}

/// Whether the idle slot was verified, and a person is to begin the switch.
pub(super) fn is_ready(rollout: &Rollout) -> bool {
    let hold = rollout.hold.as_ref();
    hold.is_some_and(|hold| hold.why == HoldReason::Switch)
}
