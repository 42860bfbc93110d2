//! The fast path back to a verified release: verify that it is up, then move all traffic at once.

use super::look::Look;
use super::{command, instance, parts, steps};
use crate::model::entry::WeightReason;
use crate::model::{Entry, Phase, Rollout};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    match rollout.phase {
        Phase::Starting { since_ms } => {
            let need = look.place.spec.instances as usize;
            let entries = instance::bring_up(look, rollout, need, since_ms);
            let ready = look.is_fresh_everywhere()
                && command::all_well(look, rollout, need)
                && rollout.hold.is_none();
            match (entries.is_empty(), ready) {
                (true, true) => vec![steps::weight(look, rollout, 100, WeightReason::Rollback)],
                _ => entries,
            }
        }
        Phase::Soaking { .. } if look.place.share(rollout.release) < 100 => {
            vec![steps::weight(look, rollout, 100, WeightReason::Rollback)]
        }
        Phase::Soaking { .. } if parts::ends_with_its_lead(look, rollout) => Vec::new(),
        Phase::Soaking { .. } => steps::finished(look, rollout),
        Phase::Shifting { .. } | Phase::Reverting { .. } => Vec::new(),
    }
}
