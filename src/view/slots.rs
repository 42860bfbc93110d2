//! Blue and green: what stands in each, which one is live by the balancers' own word, and since
//! when. What is not known is left out.

use super::build;
use super::snapshot::{LiveSlot, SlotView, SlotsView, Snapshot};
use crate::engine::{self, Look, look::Health};
use crate::model::state::{Instance, InstanceStatus};
use crate::model::strategy::{Slot, Slots};
use crate::model::world::{BalancerReading, ServerView};
use crate::model::{Clean, ReleaseId, ServerName};
use std::collections::BTreeSet;

/// Both slots; `None` where the strategy has none.
pub(super) fn view(look: &Look<'_>) -> Option<SlotsView> {
    let slots = look.place.spec.strategy.slots()?;
    let serving = serving(look, slots);
    let live = live(serving.as_ref());
    let of = |slot: Slot| SlotView {
        serves: serving.as_ref().map(|serving| serving.contains(&slot)),
        ..one(look, slots, slot)
    };
    let mut view = SlotsView {
        live,
        text: Clean::default(),
        slots: Slot::BOTH.map(of).to_vec(),
    };
    for slot in view
        .slots
        .iter_mut()
        .filter(|slot| is_live(live, slot.slot))
    {
        tell_since(look, slot);
    }
    view.text = Clean::new(&sentence(look, &view));
    Some(view)
}

/// The slots that have traffic on any balancer; `None` unless every balancer was read.
fn serving(look: &Look<'_>, slots: &Slots) -> Option<BTreeSet<Slot>> {
    let readings = look.readings().filter(|readings| !readings.is_empty())?;
    let seen = readings.into_iter();
    Some(
        seen.flat_map(|(_, reading)| engine::slots::with_traffic(reading, slots))
            .collect(),
    )
}

fn live(serving: Option<&BTreeSet<Slot>>) -> LiveSlot {
    let Some(serving) = serving else {
        return LiveSlot::Unknown;
    };
    match (
        serving.contains(&Slot::Blue),
        serving.contains(&Slot::Green),
    ) {
        (true, true) => LiveSlot::Both,
        (true, false) => LiveSlot::Blue,
        (false, true) => LiveSlot::Green,
        (false, false) => LiveSlot::Neither,
    }
}

fn is_live(live: LiveSlot, slot: Slot) -> bool {
    matches!(
        (live, slot),
        (LiveSlot::Blue, Slot::Blue) | (LiveSlot::Green, Slot::Green)
    )
}

/// What stands in a slot, and its share three ways.
fn one(look: &Look<'_>, slots: &Slots, slot: Slot) -> SlotView {
    let there = standing(look, slots, slot);
    let release = holds(look, &there);
    let mine = |instance: &&Instance| Some(instance.release) == release;
    let mut rollouts = there.iter().map(|(_, one)| one).filter(|one| mine(one));
    let well = |(server, one): &&(&ServerName, &Instance)| {
        one.status == InstanceStatus::Up && !matches!(look.health(server), Health::Bad(_))
    };
    let up = there.iter().filter(|it| mine(&it.1)).filter(well).count();
    SlotView {
        slot,
        serves: None,
        release: release.and_then(|id| build::release(look.place, id)),
        rollout: rollouts.find_map(|one| one.rollout),
        up,
        needed: look.place.spec.instances as usize,
        wanted_percent: look.place.weight.as_ref().map(|intent| {
            let share = release.and_then(|id| intent.shares.get(&id));
            f64::from(share.copied().unwrap_or(0))
        }),
        applied_percent: applied(look, slots, slot),
        observed_percent: observed(look, slots, slot),
        warm_until_ms: release.and_then(|id| look.place.warm.get(&id).copied()),
        since_ms: None,
        record: None,
        by: None,
    }
}

fn standing<'a>(look: &Look<'a>, slots: &Slots, slot: Slot) -> Vec<(&'a ServerName, &'a Instance)> {
    let all = look.place.instances.iter();
    all.filter(|(server, _)| slots.of(server) == Some(slot))
        .collect()
}

/// The release a slot stands for: the open rollout's, else stable, else whatever is there.
fn holds(look: &Look<'_>, there: &[(&ServerName, &Instance)]) -> Option<ReleaseId> {
    let is_there = |id: &ReleaseId| there.iter().any(|(_, one)| one.release == *id);
    let first = there.first().map(|(_, one)| one.release);
    let known = [look.place.canary(), look.place.stable(), first];
    known.into_iter().flatten().find(is_there)
}

/// The highest share of a slot's servers over all balancers; `None` unless all were read.
fn applied(look: &Look<'_>, slots: &Slots, slot: Slot) -> Option<f64> {
    let share = |reading: &BalancerReading| {
        let all: u64 = reading
            .servers
            .values()
            .map(ServerView::effective_weight)
            .sum();
        let mine = slots.servers(slot).iter();
        let mine: u64 = mine
            .filter_map(|server| Some(reading.servers.get(server)?.effective_weight()))
            .sum();
        mine as f64 * 100.0 / all.max(1) as f64
    };
    let readings = look.readings()?;
    let shares = readings.into_iter().map(|(_, reading)| share(reading));
    shares.max_by(f64::total_cmp)
}

fn observed(look: &Look<'_>, slots: &Slots, slot: Slot) -> Option<f64> {
    let since_ms = look.now_ms.saturating_sub(build::OBSERVED_MS);
    let counted = |slot: Slot| -> u64 {
        let servers = slots.servers(slot).iter();
        let one = |server| look.counted_on(server, since_ms..=look.now_ms).requests;
        servers.map(one).sum()
    };
    let all = counted(slot) + counted(slot.other());
    (all > 0).then(|| counted(slot) as f64 * 100.0 / all as f64)
}

/// Since when the live slot is: the newest settled intent, if it gave all traffic to what stands
/// there. One that found it there already, as an abort before the switch does, says nothing.
fn tell_since(look: &Look<'_>, slot: &mut SlotView) {
    let settled = look.place.weight.as_ref();
    let settled = settled.filter(|intent| intent.settled.is_some());
    if let (Some(intent), Some(release)) = (settled, &slot.release)
        && intent.shares.get(&release.id) == Some(&100)
        && intent.before.get(&release.id) != Some(&100)
    {
        slot.since_ms = Some(intent.at_ms);
        slot.record = Some(intent.id);
    }
}

fn sentence(look: &Look<'_>, view: &SlotsView) -> String {
    let switching = look.place.rollout.as_ref().and_then(|rollout| {
        let share = look.place.share(rollout.release);
        let slots = look.place.spec.strategy.slots()?;
        let to = engine::slots::of(look, slots, rollout.release)?;
        (share > 0 && share < 100).then(|| format!("both have traffic: {share} % to {to}"))
    });
    match view.live {
        LiveSlot::Blue => "blue is live".to_owned(),
        LiveSlot::Green => "green is live".to_owned(),
        LiveSlot::Both => switching.unwrap_or_else(|| "BOTH have traffic".to_owned()),
        LiveSlot::Neither => "NEITHER has traffic".to_owned(),
        LiveSlot::Unknown => "not known: a balancer was not read".to_owned(),
    }
}

/// Fills in who gave a live slot its traffic, as far as the timeline reaches back.
pub fn name_switchers(snapshot: &mut Snapshot) {
    let Snapshot {
        engine, placements, ..
    } = snapshot;
    let slots = placements.iter_mut().filter_map(|view| view.slots.as_mut());
    for slot in slots.flat_map(|slots| &mut slots.slots) {
        let mut rows = engine.timeline.iter().rev();
        let row = rows.find(|row| Some(row.seq) == slot.record);
        slot.by = row.map(|row| row.actor.clone());
    }
}
