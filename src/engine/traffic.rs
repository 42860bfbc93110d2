//! What the balancers show against what is intended: settled, abandoned or drifted.

use super::look::Look;
use super::shares::{self, Wanted};
use crate::model::entry::{Drift, Shares};
use crate::model::state::{HoldReason, WeightIntent};
use crate::model::world::BalancerReading;
use crate::model::{BalancerName, Clean, Entry};
use std::collections::BTreeMap;

/// Shares closer than this count as equal, in percentage points.
const EQUAL: f64 = 0.5;
/// One drift is told at most this often.
const TELL_EVERY_MS: u64 = 10_000;

pub(super) fn progress(look: &Look<'_>) -> Vec<Entry> {
    let (Some(intent), Some(wanted)) = (&look.place.weight, shares::wanted(look)) else {
        return Vec::new();
    };
    let Some(readings) = look
        .readings()
        .filter(|_| is_read_since(look, intent.at_ms))
    else {
        return Vec::new();
    };
    let shown = |(_, reading): &(&BalancerName, &BalancerReading)| shows(look, &wanted, reading);
    let epochs = look.epochs();
    if readings.iter().all(shown) {
        return settled(look, intent, epochs);
    }
    if look.is_stale_raise(intent) {
        return abandoned(look, intent, &readings).into_iter().collect();
    }
    drifted(look, intent, &wanted, &readings)
}

fn is_read_since(look: &Look<'_>, at_ms: u64) -> bool {
    look.newest_common_reading_ms()
        .is_some_and(|read_ms| read_ms >= at_ms)
}

/// Whether a reading shows the intended settings, and a share that follows from them. Servers
/// that the balancer holds for down make the share wrong although the settings are right.
fn shows(look: &Look<'_>, wanted: &Wanted, reading: &BalancerReading) -> bool {
    wanted.shown_by(reading)
        && look.place.canary().is_none_or(|canary| {
            let applied = look.applied_percent(reading, canary);
            (applied - wanted.canary_percent).abs() <= shares::TOLERANCE
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
fn abandoned(
    look: &Look<'_>,
    intent: &WeightIntent,
    readings: &[(&BalancerName, &BalancerReading)],
) -> Option<Entry> {
    let rollout = look.place.rollout.as_ref()?;
    let applied = readings
        .iter()
        .map(|(_, reading)| look.applied_percent(reading, rollout.release))
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

fn drifted(
    look: &Look<'_>,
    intent: &WeightIntent,
    wanted: &Wanted,
    readings: &[(&BalancerName, &BalancerReading)],
) -> Vec<Entry> {
    let told = look.place.drift.as_ref();
    let told_lately = told.is_some_and(|told| told.at_ms + TELL_EVERY_MS > look.now_ms);
    let Some(epochs) = intent.settled.as_ref().filter(|_| !told_lately) else {
        return Vec::new();
    };
    readings
        .iter()
        .filter(|(name, reading)| !asserted(look, name, reading))
        .find_map(|(name, reading)| {
            let restarted = epochs.get(*name) != Some(&reading.epoch);
            drift(look, name, reading, wanted, restarted)
        })
        .unwrap_or_default()
}

/// Whether a reading shows what this engine last set: then nobody else changed it.
pub(super) fn asserted(look: &Look<'_>, name: &BalancerName, reading: &BalancerReading) -> bool {
    let asserted = look.balancer(name).and_then(|view| view.asserted.as_ref());
    asserted.is_some_and(|asserted| *asserted == reading.settings())
}

fn drift(
    look: &Look<'_>,
    balancer: &BalancerName,
    reading: &BalancerReading,
    wanted: &Wanted,
    restarted: bool,
) -> Option<Vec<Entry>> {
    let canary = look.place.canary();
    let observed = canary.map_or(0.0, |canary| look.applied_percent(reading, canary));
    let drift = match (observed - wanted.canary_percent, restarted) {
        (off, _) if off > EQUAL => Drift::Above,
        (off, true) if off < -EQUAL => Drift::BalancerRestarted,
        (off, false) if off < -EQUAL => Drift::Below,
        _ if wanted.shown_by(reading) => return None,
        _ => Drift::Above,
    };
    let found = Entry::DriftFound {
        placement: look.placement.clone(),
        balancer: balancer.clone(),
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
    if wanted.shown_by(reading) {
        return Write::No;
    }
    let canary = look.place.canary();
    let applied = canary.map_or(0.0, |canary| look.applied_percent(reading, canary));
    if wanted.canary_percent <= applied + EQUAL {
        return Write::Safe;
    }
    let restarted = intent
        .settled
        .as_ref()
        .is_some_and(|epochs| epochs.get(name) != Some(&reading.epoch));
    let own = intent.settled.is_none() && !look.is_stale_raise(intent);
    match own || restarted || asserted(look, name, reading) {
        true => Write::Raise,
        false => Write::No,
    }
}
