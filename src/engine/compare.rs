//! Feeds the comparison of each open rollout with what balancers counted, in intervals of about
//! five seconds, and keeps stable's own intervals of the last hour in between: so the judge knows
//! how bursty a service is before a rollout begins.
//!
//! All of it is of this engine's life, like the [`World`]: never recorded, empty after every start.
//! Must not know what the comparison makes of the counts.

use crate::analysis::comparison::{Comparison, INTERVAL_MS, Slice, remember};
use crate::model::state::Phase;
use crate::model::verdict::Counters;
use crate::model::world::PlacementWorld;
use crate::model::{Placement, PlacementState, ReleaseId, Rollout, RolloutId, State, World};
use std::collections::{BTreeMap, VecDeque};

/// The running comparisons, and what is remembered of stable releases.
#[derive(Debug, Clone, Default)]
pub struct Comparisons {
    places: BTreeMap<Placement, Place>,
}

/// Of one placement.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Whose history it is.
    stable: Option<ReleaseId>,
    /// Stable's closed intervals, oldest first.
    history: VecDeque<Counters>,
    /// When the present interval began.
    from_ms: u64,
    running: Option<Running>,
}

/// Of an open rollout.
#[derive(Debug, Clone)]
struct Running {
    rollout: RolloutId,
    canary: ReleaseId,
    comparison: Comparison,
    /// The canary's own intervals: its history, should it become stable.
    own: VecDeque<Counters>,
}

/// Closes what intervals are over, and leaves in World what comparisons say. Cheap when nothing is
/// due; a bounded piece of work when something is.
pub fn follow(comparisons: &mut Comparisons, state: &State, world: &mut World) {
    let (now_ms, since_ms) = (world.now_ms, world.since_ms);
    for (placement, place) in &state.placements {
        let Some(seen) = world.placements.get_mut(placement) else {
            continue;
        };
        let known = match comparisons.places.get_mut(placement) {
            Some(known) => known,
            None => comparisons
                .places
                .entry(placement.clone())
                .or_insert(Place {
                    from_ms: now_ms,
                    ..Place::default()
                }),
        };
        known.attend(place, since_ms);
        if known.from_ms + INTERVAL_MS <= now_ms {
            known.close(place, seen, now_ms);
        }
        known.tell(seen);
    }
}

/// The rollout whose release is compared with what had the traffic, if there is one.
fn compared(place: &PlacementState) -> Option<(&Rollout, ReleaseId)> {
    let rollout = place.rollout.as_ref()?;
    let stable = rollout.from.filter(|from| *from != rollout.release)?;
    let ends = matches!(rollout.phase, Phase::Reverting { .. });
    (rollout.kind.is_judged() && !ends).then_some((rollout, stable))
}

impl Place {
    /// Begins and ends with the rollout.
    fn attend(&mut self, place: &PlacementState, since_ms: u64) {
        let open = compared(place);
        let is_other = |running: &Running| open.is_none_or(|(open, _)| open.id != running.rollout);
        if self.running.as_ref().is_some_and(is_other) {
            self.end(place);
        }
        let stable = place
            .rollout
            .as_ref()
            .map_or(place.stable(), |open| open.from);
        if self.stable != stable {
            self.stable = stable;
            self.history.clear();
        }
        let settings = place.spec.analysis.comparison.as_ref();
        let (Some((open, _)), Some(settings), None) = (open, settings, &self.running) else {
            return;
        };
        let comparison = Comparison::new(settings, self.history.iter().cloned());
        self.running = Some(Running {
            rollout: open.id,
            canary: open.release,
            comparison: match since_ms > open.started_ms {
                true => comparison.begun_anew(),
                false => comparison,
            },
            own: VecDeque::new(),
        });
    }

    /// The rollout is over: a canary that became stable brings its own history.
    fn end(&mut self, place: &PlacementState) {
        let Some(running) = self.running.take() else {
            return;
        };
        if place.rollout.is_none() && place.stable() == Some(running.canary) {
            self.stable = Some(running.canary);
            self.history = running.own;
        }
    }

    /// The present interval is over.
    fn close(&mut self, place: &PlacementState, seen: &mut PlacementWorld, now_ms: u64) {
        let canary = self.running.as_ref().map(|running| running.canary);
        let mut slice = Slice {
            from_ms: self.from_ms,
            to_ms: now_ms,
            ..Slice::default()
        };
        self.from_ms = now_ms;
        for view in seen.balancers.values_mut() {
            for (server, counted) in &view.unjudged {
                let there = place.instances.get(server);
                // What was counted before belongs to whoever stood there then.
                let there = there.filter(|there| there.since_ms <= counted.from_ms);
                match there.map(|there| there.release) {
                    None => {}
                    release if release == canary => slice.canary.add(&counted.counters),
                    release if release == self.stable => slice.stable.add(&counted.counters),
                    Some(_) => {}
                }
            }
            view.unjudged.clear();
        }
        if self.stable.is_some() && !place.spec.balancers.is_empty() {
            remember(&mut self.history, slice.stable.clone());
        }
        if let Some(running) = &mut self.running {
            remember(&mut running.own, slice.canary.clone());
            running.comparison.add(slice);
        }
    }

    /// Works off what came, and leaves in World what it says.
    fn tell(&mut self, seen: &mut PlacementWorld) {
        let Some(running) = &mut self.running else {
            seen.compared = None;
            return;
        };
        let is_told = seen
            .compared
            .as_ref()
            .is_some_and(|(of, _)| *of == running.rollout);
        if running.comparison.is_idle() && is_told {
            return;
        }
        running.comparison.work();
        seen.compared = Some((running.rollout, running.comparison.said().clone()));
    }
}
