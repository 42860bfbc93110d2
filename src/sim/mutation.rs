//! Planted bugs: each is what an engine, an adapter or a history could get wrong, made at the
//! simulator's own seam. The net must catch every one of them.

use super::balancer::FakeBalancer;
use super::check::Checks;
use super::run::{Checked, Sim};
use crate::engine;
use crate::model::effect::{EffectKey, ServerSetting};
use crate::model::entry::WeightReason;
use crate::model::input::{Observation, Settled};
use crate::model::pipeline::{Rerun, StageSpec};
use crate::model::strategy::{Rolling, Strategy};
use crate::model::{Effect, Event, Outcome, PlacementState, Record, State};

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Records count as durable as soon as they are written, before the disk has them.
    ActsBeforeDurable,
    /// A restarted engine does not fold one kind of record.
    ReplaySkipsAKind,
    /// The way back sets the new release's weight to 100.
    AbortRaises,
    /// An instance is stopped when its drain begins.
    StopsWithoutDrain,
    /// An unknown write counts as applied, and nobody reads it back.
    NoReadBack,
    /// A promotion is taken although the rollout moved on.
    StalePromoteAccepted,
    /// While the balancer cannot be read, figures are made up.
    NoDataIsGood,
    /// The outcome of an old write settles the one under way.
    LateOutcomeSettles,
    /// A restarted engine goes on with the raise it finds.
    RaiseRepeated,
    /// A share above the intent is left alone once it was settled.
    DriftIgnored,
    /// An old release's time out of traffic ends at once.
    WarmRetiredEarly,
    /// Weights are set in the wrong order.
    WrongOrder,
    /// A restarted engine's clock begins in the past.
    ClockRunsBack,
    /// A hold stops nothing.
    HoldIgnored,
    /// An abort is answered but not carried out while the history is slow.
    AbortForgotten,
    /// A drained server counts as idle whatever it is serving.
    SessionsIgnored,
    /// While one balancer of a pair cannot be read, the other is not set either.
    OneWaitsForTheOther,
    /// A rolling update takes out more than may be missing.
    BatchTooBig,
    /// What may run only once is begun beside what runs.
    BothAtOnce,
    /// What a rolling update replaced is not restored on the way back.
    NotRestored,
    /// A part goes its own way.
    PartAlone,
    /// A stage begins before what it needs.
    NeedsIgnored,
    /// What may have happened is done again although nobody said that this does no harm.
    UnknownRunAgain,
    /// It is forgotten that a stage's deploy was asked for.
    DeployedTwice,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::ActsBeforeDurable,
        Self::ReplaySkipsAKind,
        Self::AbortRaises,
        Self::StopsWithoutDrain,
        Self::NoReadBack,
        Self::StalePromoteAccepted,
        Self::NoDataIsGood,
        Self::LateOutcomeSettles,
        Self::RaiseRepeated,
        Self::DriftIgnored,
        Self::WarmRetiredEarly,
        Self::WrongOrder,
        Self::ClockRunsBack,
        Self::HoldIgnored,
        Self::AbortForgotten,
        Self::SessionsIgnored,
        Self::OneWaitsForTheOther,
        Self::BatchTooBig,
        Self::BothAtOnce,
        Self::NotRestored,
        Self::PartAlone,
        Self::NeedsIgnored,
        Self::UnknownRunAgain,
        Self::DeployedTwice,
    ];
}

impl Sim<'_> {
    /// What a planted bug makes of an event on its way to the engine.
    pub(super) fn tamper(&mut self, event: Event) -> Event {
        match (self.mutation, event) {
            (Some(Mutation::NoReadBack), Event::Settled(mut settled)) => {
                self.pretend_applied(&mut settled);
                Event::Settled(settled)
            }
            (Some(Mutation::NoDataIsGood), Event::Settled(mut settled)) => {
                self.make_up_figures(&mut settled);
                Event::Settled(settled)
            }
            (Some(Mutation::SessionsIgnored), Event::Settled(mut settled)) => {
                if let Some(Observation::Balancer {
                    reading: Ok(reading),
                    ..
                }) = &mut settled.seen
                {
                    reading
                        .servers
                        .values_mut()
                        .for_each(|view| view.sessions = 0);
                }
                Event::Settled(settled)
            }
            (Some(Mutation::LateOutcomeSettles), Event::Settled(mut settled)) => {
                if let Some(ticket) = self.checks.ticket_under_way(&settled.key) {
                    settled.ticket = ticket;
                }
                Event::Settled(settled)
            }
            (Some(Mutation::StalePromoteAccepted), Event::Command(mut asked)) => {
                let now = self.checks.revision();
                if let crate::model::Command::Promote { revision, .. } = &mut asked.command {
                    *revision = now;
                }
                Event::Command(asked)
            }
            (Some(Mutation::AbortForgotten), Event::Command(mut asked)) => {
                let slow = self.pending.is_some() || self.disk.dead;
                if let (true, crate::model::Command::Abort { placement, .. }) =
                    (slow, &asked.command)
                {
                    asked.command = crate::model::Command::Hold {
                        placement: placement.clone(),
                        reason: None,
                    };
                }
                Event::Command(asked)
            }
            (_, event) => event,
        }
    }

    fn pretend_applied(&mut self, settled: &mut Settled) {
        let unknown = matches!(settled.outcome, Outcome::Unknown { .. });
        let EffectKey::Balancer(placement, balancer) = &settled.key else {
            return;
        };
        let Some(settings) = self
            .checks
            .last_settings(balancer)
            .filter(|_| unknown && settled.id.is_some())
        else {
            return;
        };
        let mut wished: FakeBalancer = self.balancers.get(balancer).clone();
        wished.set(&settings, settings.len());
        settled.outcome = Outcome::Applied;
        settled.seen = Some(Observation::Balancer {
            placement: placement.clone(),
            balancer: balancer.clone(),
            reading: Ok(wished.reading(self.now_ms)),
        });
    }

    fn make_up_figures(&mut self, settled: &mut Settled) {
        if let Some(Observation::Balancer {
            reading: found,
            balancer,
            ..
        }) = &mut settled.seen
            && found.is_err()
            && settled.id.is_none()
        {
            settled.outcome = Outcome::Applied;
            *found = Ok(self.balancers.get(balancer).reading(self.now_ms));
        }
    }

    /// The planted bug that stops an instance when its drain begins.
    pub(super) fn stop_early(&mut self, records: &[crate::model::Record]) -> Checked {
        if self.mutation != Some(Mutation::StopsWithoutDrain) {
            return Ok(());
        }
        for record in records {
            if let crate::model::Entry::DrainBegun { server, .. } = &record.entry {
                let effect = Effect::StopInstance {
                    id: record.seq,
                    placement: super::scenario::placement(),
                    runtime: self.scenario.spec.runtimes[0].clone(),
                    server: server.clone(),
                    grace_ms: 500,
                    failed: false,
                };
                self.checks
                    .start_in_world(&effect, &self.balancers, &self.fleet, self.now_ms)?;
            }
        }
        Ok(())
    }
}

/// What a planted bug makes of the state after a fold.
pub(super) fn spoil(mutation: Option<Mutation>, state: &mut State) {
    match mutation {
        Some(Mutation::RaiseRepeated) => state.engine_seq = 0,
        Some(Mutation::WarmRetiredEarly) => {
            for place in state.placements.values_mut() {
                place.warm.values_mut().for_each(|due_ms| *due_ms = 0);
            }
        }
        Some(Mutation::HoldIgnored) => {
            let places = state.placements.values_mut();
            for rollout in places.filter_map(|place| place.rollout.as_mut()) {
                rollout.hold = None;
            }
        }
        Some(Mutation::BatchTooBig) => rolls(state, |settings, instances| {
            settings.max_unavailable = instances;
            settings.batch = instances;
        }),
        Some(Mutation::BothAtOnce) => {
            for place in state.placements.values_mut() {
                if let Strategy::Recreate(_) = place.spec.strategy {
                    place.spec.strategy = Strategy::Rolling(BESIDE);
                }
            }
        }
        Some(Mutation::PartAlone) => {
            let places = state.placements.values_mut();
            for rollout in places.filter_map(|place| place.rollout.as_mut()) {
                rollout.led_by = None;
            }
        }
        Some(Mutation::NeedsIgnored) => stages(state, |stage| stage.needs.clear()),
        Some(Mutation::UnknownRunAgain) => stages(state, |stage| stage.rerun = Rerun::Safe),
        Some(Mutation::DeployedTwice) => state.requests.clear(),
        Some(Mutation::NotRestored) => {
            for place in state.placements.values_mut() {
                let back = place
                    .rollout
                    .as_ref()
                    .is_some_and(|open| open.is_reverting());
                if back && matches!(place.spec.strategy, Strategy::Rolling(_)) {
                    place.spec.instances = 1;
                }
            }
        }
        _ => {}
    }
}

/// How what may run only once would be replaced if it were anything else.
const BESIDE: Rolling = Rolling {
    batch: 1,
    max_unavailable: 0,
    max_surge: 1,
    min_healthy_ms: 600,
    first_watch_ms: None,
    pause_after_first: false,
    progress_deadline_ms: 9_000,
};

fn stages(state: &mut State, change: impl Fn(&mut StageSpec)) {
    let runs = state.pipelines.runs.values_mut();
    runs.flat_map(|run| &mut run.spec.stages).for_each(change);
}

fn rolls(state: &mut State, change: impl Fn(&mut Rolling, u32)) {
    for place in state.placements.values_mut() {
        let instances = place.spec.instances;
        if let Strategy::Rolling(settings) = &mut place.spec.strategy {
            change(settings, instances);
        }
    }
}

/// What a planted bug makes of an effect.
pub(super) fn spoil_effect(mutation: Option<Mutation>, effect: Effect, checks: &Checks) -> Effect {
    let Effect::SetWeights {
        id,
        placement,
        backend,
        mut settings,
    } = effect
    else {
        return effect;
    };
    let place = checks.place();
    let intent = place.and_then(|place| place.weight.as_ref());
    match mutation {
        Some(Mutation::AbortRaises) if intent.is_some_and(|i| i.reason == WeightReason::Revert) => {
            let canary = place.and_then(PlacementState::canary);
            for (server, setting) in &mut settings {
                let there = place.and_then(|place| place.instances.get(server));
                let mine = there.is_some_and(|there| Some(there.release) == canary);
                *setting = if mine {
                    ServerSetting::ready(100)
                } else {
                    *setting
                };
            }
        }
        Some(Mutation::WrongOrder) => settings.reverse(),
        Some(Mutation::OneWaitsForTheOther) if checks.another_is_blind(&backend.balancer) => {
            settings.clear();
        }
        Some(Mutation::DriftIgnored) if intent.is_some_and(|intent| intent.settled.is_some()) => {
            settings.clear();
        }
        _ => {}
    }
    Effect::SetWeights {
        id,
        placement,
        backend,
        settings,
    }
}

/// One more record is durable.
pub(super) fn fold(oracle: &mut State, record: &Record, mutation: Option<Mutation>) {
    engine::evolve(oracle, record);
    spoil(mutation, oracle);
}
