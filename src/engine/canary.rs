//! The canary strategy: a second set beside the old one, and step by step a larger share.

use super::instance;
use super::look::Look;
use super::steps::{self, Ready};
use crate::model::{Entry, Phase, Rollout};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    if let Some(reverted) = instance::revert_failed(look, rollout) {
        return vec![reverted];
    }
    match rollout.phase {
        Phase::Starting { since_ms } => {
            let need = look.place.spec.canary_instances() as usize;
            match steps::stand_beside(look, rollout, need, since_ms) {
                Ready::Yes => steps::first(look, rollout),
                Ready::Not(entries) => entries,
            }
        }
        Phase::Shifting { since_ms } => steps::shifting(look, rollout, since_ms),
        Phase::Soaking { since_ms } => steps::soaking(look, rollout, since_ms),
        Phase::Reverting { .. } => Vec::new(),
    }
}
