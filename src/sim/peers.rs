//! Calls to the fake world: what arrives, what comes back, and what goes wrong on the way.

mod metrics;
mod pipeline;

use super::check::Change;
use super::run::{Checked, Happening, Sim, say};
use super::scenario::Boundary;
use crate::model::effect::ServerSetting;
use crate::model::input::{Observation, Settled};
use crate::model::world::{
    Admin, BalancerReading, Evidence, InstanceView, RuntimeReading, SmokeReport, SmokeResult,
};
use crate::model::{BalancerName, Clean, Effect, Event, Outcome, ServerName, Stock};
pub(super) use pipeline::Works;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// It never arrives; the caller waits in vain.
    LostRequest,
    /// It happens; the answer is lost.
    LostReply,
    /// It happens long after the caller gave up.
    Late,
    /// The peer cannot be reached, and the caller knows.
    Refused,
    /// Only the first settings are made.
    Partial,
    /// It happens, and the worker dies: no outcome ever.
    Silent,
    /// It happens, and once more later.
    Twice,
}

/// The life of a call nobody waits for and nobody answers for.
const NOBODY: u32 = u32::MAX;

/// A call on its way.
#[derive(Debug, Clone)]
pub(super) struct Call {
    life: u32,
    ticket: u64,
    effect: Effect,
    fate: Fate,
    /// When the caller gives up, in virtual time.
    deadline_ms: u64,
}

impl Call {
    /// The life of the engine that called.
    fn life(&self) -> u32 {
        self.life
    }
}

impl Sim<'_> {
    /// Sends a call off.
    pub(super) fn send(&mut self, ticket: u64, effect: Effect, deadline_ms: u64) {
        let fate = self.fate(&effect);
        if fate != Fate::Done {
            say!(self, "  will be {fate:?}");
            self.checks.call_failed(&effect, self.now_ms);
        }
        let deadline_ms = deadline_ms.saturating_sub(self.ahead_ms).max(self.now_ms);
        let mut call = Call {
            life: self.life,
            ticket,
            effect,
            fate,
            deadline_ms,
        };
        let left_ms = deadline_ms - self.now_ms;
        let mut after_ms = self.rng.between(1, 20);
        if self.rng.chance(self.scenario.rates.slow_percent) {
            after_ms = self.rng.between(20, 900);
        }
        match fate {
            Fate::LostRequest => return self.give_up(&call, left_ms),
            Fate::LostReply => self.give_up(&call, left_ms),
            Fate::Late => {
                self.give_up(&call, left_ms);
                call.life = NOBODY;
                after_ms = left_ms + self.rng.between(1, 3_000);
            }
            Fate::Twice => {
                let again = Call {
                    fate: Fate::LostReply,
                    life: NOBODY,
                    ..call.clone()
                };
                let again_ms = after_ms + self.rng.between(1, 2_500);
                self.later(again_ms, Happening::Perform(Box::new(again)));
            }
            Fate::Done | Fate::Refused | Fate::Partial | Fate::Silent => {}
        }
        if matches!(
            fate,
            Fate::Done | Fate::Refused | Fate::Partial | Fate::Twice
        ) && after_ms + 20 > left_ms
        {
            self.give_up(&call, left_ms);
            self.checks.call_failed(&call.effect, self.now_ms);
            let call = Call {
                fate: Fate::LostReply,
                ..call
            };
            return self.later(after_ms, Happening::Perform(Box::new(call)));
        }
        self.later(after_ms, Happening::Perform(Box::new(call)));
    }

    fn fate(&mut self, effect: &Effect) -> Fate {
        let rates = self.scenario.rates;
        // A stage is a process of the engine's own machine: only its worker may die.
        let local = effect.key().is_some_and(|key| key.placement().is_none());
        match effect {
            Effect::Probe { .. } => return Fate::Done,
            Effect::RunStage { .. } if self.rng.chance(rates.silent) => return Fate::Silent,
            _ if local => return Fate::Done,
            _ => {}
        }
        let all = [
            (rates.lost_request, Fate::LostRequest),
            (rates.lost_reply, Fate::LostReply),
            (rates.refused, Fate::Refused),
            (rates.silent, Fate::Silent),
            (if effect.is_write() { rates.late } else { 0 }, Fate::Late),
            (if effect.is_write() { rates.twice } else { 0 }, Fate::Twice),
            (
                if matches!(effect, Effect::SetWeights { .. }) {
                    rates.partial
                } else {
                    0
                },
                Fate::Partial,
            ),
        ];
        let dice = self.rng.below(100);
        let mut sum = 0;
        for (percent, fate) in all {
            sum += percent;
            if dice < sum {
                return fate;
            }
        }
        Fate::Done
    }

    /// The caller's deadline passes: the outcome is unknown.
    fn give_up(&mut self, call: &Call, after_ms: u64) {
        let why: Clean = "no answer in time".into();
        let seen = match &call.effect {
            Effect::ReadBalancer { placement, backend }
            | Effect::SetWeights {
                placement, backend, ..
            } => Some(Observation::Balancer {
                placement: placement.clone(),
                balancer: backend.balancer.clone(),
                reading: Err(why.clone()),
            }),
            Effect::ReadRuntime { placement, runtime } => Some(Observation::Runtime {
                placement: placement.clone(),
                runtime: runtime.clone(),
                reading: Err(why.clone()),
            }),
            Effect::ReadMetrics {
                placement, source, ..
            } => Some(Observation::Metrics {
                placement: placement.clone(),
                source: source.clone(),
                reading: Err(why.clone()),
            }),
            _ => None,
        };
        self.reply(call, after_ms, Outcome::Unknown { why }, seen);
    }

    fn reply(&mut self, call: &Call, after_ms: u64, outcome: Outcome, seen: Option<Observation>) {
        let Some(key) = call.effect.key() else {
            return;
        };
        let event = Event::Settled(Settled {
            ticket: call.ticket,
            key,
            id: call.effect.id(),
            outcome,
            seen,
        });
        self.later(
            after_ms,
            Happening::Feed {
                life: call.life,
                event: Box::new(event),
            },
        );
    }

    /// A call arrives.
    pub(super) fn perform(&mut self, call: Call) -> Checked {
        self.advance_world();
        match call.effect.clone() {
            Effect::ReadBalancer { .. } | Effect::SetWeights { .. } => self.at_balancer(&call)?,
            Effect::ReadRuntime { .. }
            | Effect::StartInstance { .. }
            | Effect::QuietInstance { .. }
            | Effect::StopInstance { .. } => self.at_runtime(&call)?,
            Effect::ReadEvidence { .. } => self.evidence(&call),
            Effect::ReadStock { .. } => self.stock(&call),
            Effect::Probe { .. } => self.probe(&call),
            Effect::Smoke { .. } => self.smoke(&call),
            Effect::ReadMetrics { .. } => self.at_metrics(&call),
            Effect::RunStage { .. } => self.begin_stage(&call),
            Effect::CancelStage { .. } => self.cancel_stage(&call),
            Effect::AskDeploy { .. } => self.ask_deploy(&call),
            Effect::WakeAt { .. } => {}
        }
        if call.effect.is_write() && call.life == self.life {
            self.strikes(Boundary::AfterEffect);
        }
        Ok(())
    }

    fn at_balancer(&mut self, call: &Call) -> Checked {
        let (placement, backend, settings) = match &call.effect {
            Effect::ReadBalancer { placement, backend } => (placement, backend, None),
            Effect::SetWeights {
                placement,
                backend,
                settings,
                ..
            } => (placement, backend, Some(settings)),
            _ => return Ok(()),
        };
        let seen = |reading| Observation::Balancer {
            placement: placement.clone(),
            balancer: backend.balancer.clone(),
            reading,
        };
        let name = &backend.balancer;
        let dark = self.balancers.is_dark(name, self.now_ms) || call.fate == Fate::Refused;
        if dark {
            self.checks.call_failed(&call.effect, self.now_ms);
            let why: Clean = "connection refused".into();
            let (outcome, seen) = match settings {
                None => (Outcome::Applied, Some(seen(Err(why)))),
                Some(_) => (Outcome::Rejected { why }, None),
            };
            self.answer(call, outcome, seen);
            return Ok(());
        }
        let Some(settings) = settings else {
            let reading = self.balancers.get(name).reading(self.now_ms);
            self.answer(call, Outcome::Applied, Some(seen(Ok(reading))));
            return Ok(());
        };
        let count = match call.fate {
            Fate::Partial if !settings.is_empty() => self.rng.below(settings.len() as u64) as usize,
            _ => settings.len(),
        };
        self.set(name, settings, count, call.life == self.life)?;
        let reading = self.balancers.get(name).reading(self.now_ms);
        let outcome = match shows(&reading, settings) {
            true => Outcome::Applied,
            false => Outcome::Unknown {
                why: "reading back does not show it".into(),
            },
        };
        self.answer(call, outcome, Some(seen(Ok(reading))));
        Ok(())
    }

    /// The balancer takes settings, one after the other.
    fn set(
        &mut self,
        name: &BalancerName,
        settings: &[(ServerName, ServerSetting)],
        count: usize,
        own: bool,
    ) -> Checked {
        let before = self.balancers.get(name).clone();
        for done in 1..=count {
            let balancer = self.balancers.get_mut(name);
            balancer.set(&settings[done - 1..], 1);
            if own {
                let change = Change {
                    name,
                    before: &before,
                    now: balancer,
                };
                self.checks.on_the_way(
                    &change,
                    settings,
                    &self.fleet,
                    self.now_ms,
                    self.now_ms + self.ahead_ms,
                )?;
            }
        }
        let balancer = self.balancers.get_mut(name);
        balancer.keep_file();
        let set = balancer.settings();
        if settings
            .iter()
            .all(|(server, to)| set.get(server) == Some(to))
        {
            self.checks.weights_set(name);
        }
        if !own || count < settings.len() {
            self.checks.flux(self.now_ms);
        }
        Ok(())
    }

    fn at_runtime(&mut self, call: &Call) -> Checked {
        let Some(placement) = call.effect.key().and_then(|key| key.placement().cloned()) else {
            return Ok(());
        };
        let (Effect::ReadRuntime { runtime, .. }
        | Effect::StartInstance { runtime, .. }
        | Effect::QuietInstance { runtime, .. }
        | Effect::StopInstance { runtime, .. }) = call.effect.clone()
        else {
            return Ok(());
        };
        let seen = |reading: Result<RuntimeReading, Clean>| Observation::Runtime {
            placement: placement.clone(),
            runtime: runtime.clone(),
            reading,
        };
        let dark_ms = self.runtimes_dark_ms.get(&runtime).copied().unwrap_or(0);
        if self.now_ms < dark_ms || call.fate == Fate::Refused {
            let why: Clean = "connection refused".into();
            let (outcome, seen) = match call.effect.is_write() {
                false => (Outcome::Applied, Some(seen(Err(why)))),
                true => (Outcome::Rejected { why }, None),
            };
            self.answer(call, outcome, seen);
            return Ok(());
        }
        let now_ms = self.now_ms;
        if call.effect.is_write() && call.life != self.life {
            self.checks.flux(now_ms);
        }
        let done = match &call.effect {
            Effect::StartInstance {
                id,
                server,
                release,
                keep_running,
                ..
            } => self
                .fleet
                .start(server, *release, *id, *keep_running, now_ms),
            Effect::QuietInstance { server, .. } => self.fleet.quiet(server, now_ms),
            Effect::StopInstance { server, .. } => {
                self.checks
                    .stopped(server, &self.balancers, call.life == self.life, now_ms)?;
                self.fleet.stop(server);
                Ok(())
            }
            _ => Ok(()),
        };
        let outcome = match done {
            Ok(()) => Outcome::Applied,
            Err(why) => Outcome::Rejected { why: why.into() },
        };
        let mut reading = self.fleet.reading();
        let lead = &self.scenario.spec;
        let part = lead.parts.iter().find(|part| part.placement == placement);
        let spec = part.unwrap_or(lead);
        let on = |server: &ServerName| {
            spec.address(server).is_some() && spec.runtime_of(server) == Some(&runtime)
        };
        reading.instances.retain(|server, _| on(server));
        self.answer(call, outcome, Some(seen(Ok(reading))));
        Ok(())
    }

    fn probe(&mut self, call: &Call) {
        let Effect::Probe {
            placement,
            server,
            release,
            ..
        } = &call.effect
        else {
            return;
        };
        let lucky = !self.rng.chance(self.scenario.rates.probe_fails);
        let ok =
            self.fleet.serves(server, self.now_ms) && self.now_ms >= self.probes_dark_ms && lucky;
        if !ok {
            self.checks.flux(self.now_ms);
        }
        let seen = Observation::Probe {
            placement: placement.clone(),
            server: server.clone(),
            release: *release,
            took_ms: Some(1),
            result: if ok {
                Ok(())
            } else {
                Err("connection refused".into())
            },
        };
        self.answer(call, Outcome::Applied, Some(seen));
    }

    fn evidence(&mut self, call: &Call) {
        let Effect::ReadEvidence {
            placement,
            runtime,
            server,
            release,
        } = &call.effect
        else {
            return;
        };
        let dark_ms = self.runtimes_dark_ms.get(runtime).copied().unwrap_or(0);
        let left = |view: &InstanceView| Evidence {
            ended: view.exited.clone(),
            restarts: view.restarts,
            ..Evidence::default()
        };
        let reading = match self.now_ms < dark_ms || call.fate == Fate::Refused {
            true => Err("connection refused".into()),
            false => {
                let reading = self.fleet.reading();
                let there = reading.instances.get(server);
                let there = there.filter(|view| view.release == *release);
                Ok(there.map(left))
            }
        };
        let seen = Observation::Evidence {
            placement: placement.clone(),
            server: server.clone(),
            release: *release,
            reading,
        };
        self.answer(call, Outcome::Applied, Some(seen));
    }

    fn stock(&mut self, call: &Call) {
        let Effect::ReadStock {
            placement,
            runtime,
            releases,
        } = &call.effect
        else {
            return;
        };
        let dark_ms = self.runtimes_dark_ms.get(runtime).copied().unwrap_or(0);
        let stock = match self.now_ms < dark_ms || call.fate == Fate::Refused {
            true => Stock::unknown("connection refused"),
            false => Stock::Here,
        };
        let seen = Observation::Stock {
            placement: placement.clone(),
            runtime: runtime.clone(),
            found: releases
                .iter()
                .map(|(release, _)| (*release, stock.clone()))
                .collect(),
        };
        self.answer(call, Outcome::Applied, Some(seen));
    }

    fn smoke(&mut self, call: &Call) {
        let Effect::Smoke {
            placement,
            rollout,
            tests,
            instances,
            ..
        } = &call.effect
        else {
            return;
        };
        let mut results = Vec::new();
        for server in instances.keys() {
            let there = self.fleet.instances.get(server);
            let fails = there.is_none_or(|there| self.fleet.traits(there.release).smoke_fails);
            let result = |test| SmokeResult {
                trouble: fails.then(|| "status 500".into()),
                ..SmokeResult::passed(test, server, 5)
            };
            results.extend(tests.iter().map(result));
        }
        let report = SmokeReport {
            rollout: *rollout,
            results,
            took_ms: 5,
        };
        let seen = Observation::Smoke {
            placement: placement.clone(),
            report,
        };
        self.answer(call, Outcome::Applied, Some(seen));
    }

    /// Answers a call, if its answer is to arrive.
    fn answer(&mut self, call: &Call, outcome: Outcome, seen: Option<Observation>) {
        if matches!(
            call.fate,
            Fate::LostReply | Fate::Late | Fate::Silent | Fate::LostRequest
        ) {
            return;
        }
        let left_ms = call.deadline_ms.saturating_sub(self.now_ms);
        let after_ms = self.rng.between(1, 20).min(left_ms);
        self.reply(call, after_ms, outcome, seen);
    }
}

fn shows(reading: &BalancerReading, settings: &[(ServerName, ServerSetting)]) -> bool {
    settings.iter().all(|(server, setting)| {
        reading.servers.get(server).is_some_and(|view| {
            view.admin == setting.admin
                && (setting.admin != Admin::Ready || view.weight == setting.weight)
        })
    })
}
