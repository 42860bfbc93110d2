//! What would happen if everything went well: the engine's own functions on a copy, every effect
//! assumed applied, every probe passed, every request answered.

use super::{decide, evolve, observe, plan};
use crate::model::effect::{Effect, EffectKey};
use crate::model::input::{Asked, Observation, Settled};
use crate::model::metrics::{MetricsQuestion, MetricsReading, ReleaseFigures, Subject};
use crate::model::verdict::Histogram;
use crate::model::world::{
    BalancerReading, InstanceView, RuntimeReading, ServerView, SmokeReport, SmokeResult,
};
use crate::model::{
    Actor, Entry, Event, Input, Outcome, Phase, Placement, PlacementState, Record, Refusal, State,
    Stock, World,
};

/// How far a rehearsal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the next soak, hold or end: what a confirm dialog tells.
    NextWait,
    /// Through all waits until nothing is left to do: what a dry run prints.
    End,
}

/// What would be recorded and done, and where that leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Dream {
    /// What would be recorded, with when.
    pub entries: Vec<(u64, Entry)>,
    /// What would be changed in the world, with when.
    pub writes: Vec<(u64, Effect)>,
    /// Where it leads.
    pub state: State,
}

/// Rounds a rehearsal may take; the longest configured rollout stays far below it.
const ROUNDS_MAX: usize = 100_000;
/// Requests per second the rehearsal pretends each serving server answers.
const PRETENDED_PER_S: u64 = 100;
/// Longest step of pretended time.
const STEP_MS_MAX: u64 = 5_000;

/// Rehearses a command.
///
/// # Errors
/// The refusal the command would get now.
pub fn rehearse(
    state: &State,
    world: &World,
    placement: &Placement,
    asked: Asked,
    until: Until,
) -> Result<Dream, Refusal> {
    let actor = asked.by.clone();
    let input = Input {
        now_ms: world.now_ms,
        event: Event::Command(asked),
    };
    let entries = decide(state, world, &input)?;
    let mut stage = Stage {
        world: world.clone(),
        tick_ms: 0,
        dream: Dream {
            entries: Vec::new(),
            writes: Vec::new(),
            state: state.clone(),
        },
    };
    stage.fold(&actor, entries);
    for _ in 0..ROUNDS_MAX {
        stage.settle();
        if stage.is_over(placement, until) {
            break;
        }
        stage.pass_time();
    }
    Ok(stage.dream)
}

struct Stage {
    world: World,
    tick_ms: u64,
    dream: Dream,
}

impl Stage {
    fn fold(&mut self, actor: &Actor, entries: Vec<Entry>) {
        for entry in entries {
            let (seq, at_ms) = (self.dream.state.seq + 1, self.world.now_ms);
            let record = Record {
                seq,
                at_ms,
                actor: actor.clone(),
                entry,
            };
            evolve(&mut self.dream.state, &record);
            self.dream.entries.push((at_ms, record.entry));
        }
    }

    /// Decides and does until nothing more happens at this moment.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let wake = Input {
                now_ms: self.world.now_ms,
                event: Event::Wake,
            };
            let entries = decide(&self.dream.state, &self.world, &wake).unwrap_or_default();
            let idle = entries.is_empty();
            self.fold(&Actor::Engine, entries);
            if !self.act() && idle {
                break;
            }
        }
    }

    /// Does what is outstanding; says whether anything was.
    fn act(&mut self) -> bool {
        let mut acted = false;
        for (_, effect) in plan(&self.dream.state, &self.world) {
            // What pipelines do is not what anybody asked about.
            let Some(key) = effect.key().filter(|key| key.placement().is_some()) else {
                continue;
            };
            observe::begun(&mut self.world, &effect);
            let seen = self.pretend(&effect);
            if effect.is_write() {
                self.dream.writes.push((self.world.now_ms, effect.clone()));
            }
            let settled = Settled {
                ticket: 0,
                key,
                id: effect.id(),
                outcome: Outcome::Applied,
                seen: Some(seen),
            };
            let now_ms = self.world.now_ms;
            observe::settled(&mut self.world, &settled, now_ms, now_ms);
            acted = true;
        }
        acted
    }

    fn pretend(&self, effect: &Effect) -> Observation {
        match effect {
            Effect::ReadBalancer { placement, .. } => {
                self.balancer(placement, effect, self.reading(placement, effect))
            }
            Effect::SetWeights {
                placement,
                settings,
                ..
            } => {
                let mut reading = self.reading(placement, effect);
                for (server, setting) in settings {
                    if let Some(view) = reading.servers.get_mut(server) {
                        view.admin = setting.admin;
                        view.weight = setting.weight;
                        view.up = true;
                        view.sessions = 0;
                    }
                }
                self.balancer(placement, effect, reading)
            }
            Effect::ReadRuntime { placement, .. }
            | Effect::StartInstance { placement, .. }
            | Effect::QuietInstance { placement, .. }
            | Effect::StopInstance { placement, .. } => self.runtime(placement, effect),
            Effect::ReadMetrics {
                placement,
                source,
                question,
            } => Observation::Metrics {
                placement: placement.clone(),
                source: source.clone(),
                reading: Ok(nothing_against(question)),
            },
            Effect::Probe {
                placement,
                server,
                release,
                ..
            } => Observation::Probe {
                placement: placement.clone(),
                server: server.clone(),
                release: *release,
                took_ms: None,
                result: Ok(()),
            },
            Effect::Smoke {
                placement,
                rollout,
                tests,
                instances,
                ..
            } => {
                let passed = |test| move |server| SmokeResult::passed(test, server, 0);
                let results = tests
                    .iter()
                    .flat_map(|test| instances.keys().map(passed(test)));
                let report = SmokeReport {
                    rollout: *rollout,
                    results: results.collect(),
                    took_ms: 0,
                };
                Observation::Smoke {
                    placement: placement.clone(),
                    report,
                }
            }
            Effect::ReadEvidence {
                placement,
                server,
                release,
                ..
            } => Observation::Evidence {
                placement: placement.clone(),
                server: server.clone(),
                release: *release,
                reading: Ok(None),
            },
            Effect::ReadStock {
                placement,
                runtime,
                releases,
            } => Observation::Stock {
                placement: placement.clone(),
                runtime: runtime.clone(),
                found: releases.iter().map(|(id, _)| (*id, Stock::Here)).collect(),
            },
            Effect::RunStage { .. }
            | Effect::CancelStage { .. }
            | Effect::AskDeploy { .. }
            | Effect::WakeAt { .. } => {
                unreachable!("invariant: only what concerns a placement is rehearsed")
            }
        }
    }

    /// The balancer as last seen, every server present, after the pretended traffic.
    fn reading(&self, placement: &Placement, effect: &Effect) -> BalancerReading {
        let seen = self.world.placements.get(placement);
        let backend = match effect {
            Effect::ReadBalancer { backend, .. } | Effect::SetWeights { backend, .. } => backend,
            _ => return BalancerReading::default(),
        };
        let view = seen.and_then(|seen| seen.balancers.get(&backend.balancer));
        let mut reading = view.map(|view| view.reading.clone()).unwrap_or_default();
        let place = self.dream.state.placements.get(placement);
        for server in place.iter().flat_map(|place| &place.spec.servers) {
            reading
                .servers
                .entry(server.name.clone())
                .or_insert_with(|| ServerView {
                    admin: crate::model::world::Admin::Maintenance,
                    weight: 0,
                    up: false,
                    sessions: 0,
                    counters: crate::model::verdict::Counters::default(),
                });
        }
        let answered = PRETENDED_PER_S * self.tick_ms / 1_000;
        for view in reading.servers.values_mut() {
            if view.effective_weight() > 0 {
                view.counters.requests += answered;
                if let Some(latency) = &mut view.counters.latency {
                    let mut good = Histogram::default();
                    good.buckets[0] = answered;
                    latency.add(&good);
                }
            }
        }
        reading
    }

    fn balancer(
        &self,
        placement: &Placement,
        effect: &Effect,
        reading: BalancerReading,
    ) -> Observation {
        let balancer = match effect.key() {
            Some(EffectKey::Balancer(_, balancer)) => balancer,
            _ => unreachable!("invariant: balancer effects have a balancer's key"),
        };
        Observation::Balancer {
            placement: placement.clone(),
            balancer,
            reading: Ok(reading),
        }
    }

    fn runtime(&self, placement: &Placement, effect: &Effect) -> Observation {
        let (Effect::ReadRuntime { runtime, .. }
        | Effect::StartInstance { runtime, .. }
        | Effect::QuietInstance { runtime, .. }
        | Effect::StopInstance { runtime, .. }) = effect
        else {
            unreachable!("invariant: only runtime effects come here")
        };
        let seen = self.world.placements.get(placement);
        let view = seen.and_then(|seen| seen.runtimes.get(runtime));
        let mut reading: RuntimeReading = view.map(|view| view.reading.clone()).unwrap_or_default();
        match effect {
            Effect::StartInstance {
                server,
                release,
                keep_running,
                ..
            } => {
                let instance = InstanceView {
                    pid: 1,
                    started_ms: self.world.now_ms,
                    keep_running: *keep_running,
                    ..InstanceView::of(*release)
                };
                reading.instances.insert(server.clone(), instance);
            }
            Effect::QuietInstance { server, .. } => {
                if let Some(there) = reading.instances.get_mut(server) {
                    there.quiet = true;
                    there.keep_running = false;
                }
            }
            Effect::StopInstance { server, .. } => {
                reading.instances.remove(server);
            }
            _ => {}
        }
        Observation::Runtime {
            placement: placement.clone(),
            runtime: runtime.clone(),
            reading: Ok(reading),
        }
    }

    fn is_over(&mut self, placement: &Placement, until: Until) -> bool {
        let Some(place) = self.dream.state.placements.get(placement) else {
            return true;
        };
        match (&place.rollout, until) {
            (None, Until::NextWait) => true,
            (None, Until::End) => {
                let parts = place.spec.parts.iter();
                let parts =
                    parts.filter_map(|part| self.dream.state.placements.get(&part.placement));
                std::iter::once(place).chain(parts).all(is_at_rest)
            }
            (Some(rollout), Until::NextWait) => {
                rollout.hold.is_some() || matches!(rollout.phase, Phase::Soaking { .. })
            }
            (Some(rollout), Until::End) => {
                if rollout.hold.is_some() {
                    let placement = placement.clone();
                    self.fold(&Actor::Engine, vec![Entry::Resumed { placement }]);
                }
                false
            }
        }
    }

    /// Lets time pass to the next look, in steps small enough for readings to stay fresh.
    fn pass_time(&mut self) {
        let specs = self
            .dream
            .state
            .placements
            .values()
            .map(|place| &place.spec);
        let interval_ms = specs.map(|spec| spec.analysis.interval_ms / 2).min();
        self.tick_ms = interval_ms.unwrap_or(STEP_MS_MAX).clamp(500, STEP_MS_MAX);
        self.world.now_ms += self.tick_ms;
    }
}

/// Whether no rollout is open and nothing but the stable release stands.
fn is_at_rest(place: &PlacementState) -> bool {
    let stable = place.stable();
    let mut all = place.instances.values();
    place.rollout.is_none() && all.all(|instance| Some(instance.release) == stable)
}

/// What a source of metrics answers when nothing speaks against a release.
fn nothing_against(question: &MetricsQuestion) -> MetricsReading {
    let about = |subject: &Subject| ReleaseFigures {
        release: subject.release,
        figures: std::collections::BTreeMap::new(),
        latency: None,
        age_ms: Some(0),
        past_p99_ms: Vec::new(),
    };
    MetricsReading {
        canary: question.canary.as_ref().map(about),
        stable: question.stable.as_ref().map(about),
        skew_ms: 0,
    }
}
