//! What the balancers show against what is intended: settled, abandoned or drifted.

use super::look::Look;
use super::shares::{self, Wanted};
use crate::model::entry::{Drift, Shares};
use crate::model::service::Backend;
use crate::model::state::{HoldReason, WeightIntent};
use crate::model::world::BalancerReading;
use crate::model::{BalancerName, Clean, Entry, Rollout};
use std::collections::BTreeMap;

/// Shares closer than this count as equal, in percentage points.
const EQUAL: f64 = 0.5;
/// One drift is told at most this often.
const TELL_EVERY_MS: u64 = 10_000;

pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let Some(intent) = &look.place.weight else {
        return Vec::new();
    };
    let shown = read_since(look, intent);
    let all = shown.len() == look.place.spec.balancers.len();
    if all && shown.iter().all(|one| shows(look, one)) {
        return settled(look, intent, look.epochs());
    }
    if look.is_stale_raise(intent) {
        let found = all.then(|| abandoned(look, intent, &shown)).flatten();
        return found.into_iter().collect();
    }
    drifted(look, intent, &shown)
}

/// What one balancer showed after the intent, and what it is to show.
struct Shown<'a> {
    balancer: &'a BalancerName,
    reading: &'a BalancerReading,
    wanted: Wanted,
}

/// The balancers that were read since the intent. One that is dead delays nothing on the others.
fn read_since<'a>(look: &Look<'a>, intent: &WeightIntent) -> Vec<Shown<'a>> {
    let shown = |backend: &'a Backend| {
        let balancer = &backend.balancer;
        let read_ms = look.balancer(balancer)?.read_ms?;
        let reading = look.reading(balancer)?;
        (read_ms >= intent.at_ms).then_some(Shown {
            balancer,
            reading,
            wanted: shares::wanted(look, balancer)?,
        })
    };
    look.place.spec.balancers.iter().filter_map(shown).collect()
}

/// Whether a reading shows the intended settings, and a share that follows from them. Servers
/// that the balancer holds for down make the share wrong although the settings are right.
fn shows(look: &Look<'_>, shown: &Shown<'_>) -> bool {
    shown.wanted.shown_by(shown.reading)
        && look.place.canary().is_none_or(|canary| {
            let applied = look.applied_percent(shown.reading, canary);
            (applied - shown.wanted.canary_percent).abs() <= shares::TOLERANCE
        })
}

fn settled(
    look: &Look<'_>,
    intent: &WeightIntent,
    epochs: BTreeMap<BalancerName, String>,
) -> Vec<Entry> {
    if intent.settled.as_ref() == Some(&epochs) {
        return Vec::new();
    }
    vec![Entry::WeightSettled {
        placement: look.placement.clone(),
        id: intent.id,
        epochs,
    }]
}

/// A raise that an earlier engine left behind and that did not arrive: the share that is there
/// holds, and the next raise will be a new decision. A share above the intent is corrected first.
fn abandoned(look: &Look<'_>, intent: &WeightIntent, shown: &[Shown<'_>]) -> Option<Entry> {
    let rollout = look.place.rollout.as_ref()?;
    let applied = shown
        .iter()
        .map(|one| look.applied_percent(one.reading, rollout.release))
        .fold(f64::INFINITY, f64::min);
    let intended = f64::from(look.place.share(rollout.release));
    if applied > intended - EQUAL {
        return None;
    }
    let percent = (applied + EQUAL).floor() as u8;
    let mut shares = Shares::from([(rollout.release, percent)]);
    shares.extend(rollout.from.map(|from| (from, 100 - percent)));
    Some(Entry::WeightAbandoned {
        placement: look.placement.clone(),
        id: intent.id,
        shares,
    })
}

fn drifted(look: &Look<'_>, intent: &WeightIntent, shown: &[Shown<'_>]) -> Vec<Entry> {
    let Some(epochs) = intent.settled.as_ref() else {
        return Vec::new();
    };
    shown
        .iter()
        .filter(|one| !asserted(look, one.balancer, one.reading))
        .find_map(|one| {
            let restarted = epochs.get(one.balancer) != Some(&one.reading.epoch);
            drift(look, one, restarted)
        })
        .unwrap_or_default()
}

/// Whether one is told already. A drift that holds the rollout is told whenever it is not held.
fn is_told(look: &Look<'_>, drift: Drift) -> bool {
    let held = look
        .place
        .rollout
        .as_ref()
        .map(|rollout| rollout.hold.is_some());
    match (drift, held) {
        (Drift::Below, Some(held)) => held,
        _ => look
            .place
            .drift
            .as_ref()
            .is_some_and(|told| told.at_ms + TELL_EVERY_MS > look.now_ms),
    }
}

/// Whether a reading shows what this engine last set: then nobody else changed it.
pub(super) fn asserted(look: &Look<'_>, name: &BalancerName, reading: &BalancerReading) -> bool {
    let asserted = look.balancer(name).and_then(|view| view.asserted.as_ref());
    asserted.is_some_and(|asserted| *asserted == reading.settings())
}

fn drift(look: &Look<'_>, shown: &Shown<'_>, restarted: bool) -> Option<Vec<Entry>> {
    let Shown {
        balancer,
        reading,
        wanted,
    } = shown;
    let canary = look.place.canary();
    let observed = canary.map_or(0.0, |canary| look.applied_percent(reading, canary));
    let drift = match (observed - wanted.canary_percent, restarted) {
        (off, _) if off > EQUAL => Drift::Above,
        (off, true) if off < -EQUAL => Drift::BalancerRestarted,
        (off, false) if off < -EQUAL && !wanted.by_drain => Drift::Below,
        _ if wanted.shown_by(reading) || wanted.by_drain => return None,
        _ => Drift::Above,
    };
    if is_told(look, drift) {
        return None;
    }
    let found = Entry::DriftFound {
        placement: look.placement.clone(),
        balancer: (*balancer).clone(),
        drift,
        wanted_percent: wanted.canary_percent,
        observed_percent: observed,
    };
    let text = format!(
        "{balancer} shows {observed:.0} % instead of {:.0} %",
        wanted.canary_percent
    );
    let held = Entry::Held {
        placement: look.placement.clone(),
        why: HoldReason::Drift {
            text: Clean::new(&text),
        },
    };
    Some(match drift {
        Drift::Below => vec![found, held],
        Drift::Above | Drift::BalancerRestarted => vec![found],
    })
}

/// Whether a release has an intended share that is neither verified nor the rollout's: one whose
/// end is not recorded yet.
fn has_unverified(look: &Look<'_>, intent: &WeightIntent) -> bool {
    let place = look.place;
    let mut shares = intent.shares.iter();
    shares.any(|(release, share)| {
        *share > 0 && place.canary() != Some(*release) && !place.verified.contains(release)
    })
}

/// Whether a backend may be written now, and which way that moves the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// Nothing to write, or not allowed.
    No,
    /// The canary's share does not rise.
    Safe,
    /// The canary's share rises.
    Raise,
}

/// Whether and which way a balancer is to be written. Towards stable always; a raise only while
/// its intent is this engine's own and unsettled, where the balancer restarted, or where only
/// the set of servers that are up changed.
pub(super) fn write(look: &Look<'_>, wanted: &Wanted, name: &BalancerName) -> Write {
    let Some(intent) = &look.place.weight else {
        return Write::No;
    };
    let Some(reading) = look.reading(name) else {
        let lowers = wanted.canary_percent == 0.0 && intent.settled.is_none();
        let tried = look
            .balancer(name)
            .is_some_and(|view| view.trouble.is_some());
        return if lowers && tried {
            Write::Safe
        } else {
            Write::No
        };
    };
    // After an outcome nobody vouches for, and after a pause, it is read before it is written.
    if wanted.shown_by(reading) || !look.is_fresh(name) {
        return Write::No;
    }
    let canary = look.place.canary();
    let applied = canary.map_or(0.0, |canary| look.applied_percent(reading, canary));
    if wanted.canary_percent <= applied + EQUAL && !has_unverified(look, intent) {
        return Write::Safe;
    }
    if look
        .place
        .rollout
        .as_ref()
        .is_some_and(Rollout::is_reverting)
    {
        return Write::No;
    }
    let restarted = intent
        .settled
        .as_ref()
        .is_some_and(|epochs| epochs.get(name) != Some(&reading.epoch));
    let stale = look.is_stale_raise(intent);
    let expected = restarted || wanted.by_drain || asserted(look, name, reading);
    let own = intent.settled.is_none() || expected;
    match own && !stale {
        true => Write::Raise,
        false => Write::No,
    }
}
