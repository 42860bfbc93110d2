//! State and World → what is outstanding. Derived anew each time, so nothing can be forgotten.

use super::evidence;
use super::look::{Health, Look};
use super::pipeline;
use super::retire;
use super::shares;
use super::sources;
use super::stock;
use super::traffic::{self, Write};
use crate::model::effect::Effect;
use crate::model::metrics::MetricsQuestion;
use crate::model::service::{Backend, CheckKind, HealthCheck};
use crate::model::state::{Instance, InstanceStatus};
use crate::model::{Phase, Placement, ReleaseId, RuntimeName, ServerName, State, World};

/// Between two readings of a balancer while a rollout is open, at most: it bounds how soon bad
/// answers are seen.
const POLL_OPEN_MS: u64 = 250;
/// Between two readings while an instance's last requests are waited for, for so long: most end
/// within a moment, and the next batch waits for them. Those that do not are asked for as ever.
const POLL_DRAIN_MS: u64 = 25;
const DRAIN_HASTE_MS: u64 = 1_000;
/// Between two readings of a runtime then.
const RUNTIME_OPEN_MS: u64 = 500;
/// After a reading of a runtime until the next one that a hint of its own asks for: an instance
/// that dies over and over is no reason to ask without pause.
const RUNTIME_HINTED_MS: u64 = 100;
/// Between two readings while nothing is under way: the watch never ends.
const POLL_IDLE_MS: u64 = 2_000;
/// Between two probes of an instance that began so short a time ago, until one passes: most are up
/// within a moment, and the rollout waits for them. A slow one is asked less often.
const PROBE_BEGUN_MS: u64 = 25;
const BEGUN_MS: u64 = 2_000;
/// Between two probes of one whose health is not known yet.
const PROBE_UNSURE_MS: u64 = 250;
/// Between two starts of an instance that exited although its runtime keeps it running: that takes
/// a moment of its own.
const START_AGAIN_MS: u64 = 1_000;
/// Idle instances are probed this many times less often than while a rollout is open.
const PROBE_IDLE_FACTOR: u64 = 5;

/// Sources of metrics are asked this many times less often than while a rollout is open.
const METRICS_IDLE_FACTOR: u64 = 6;

/// Which way an effect leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It changes nothing, or leads towards the last verified release.
    Safe,
    /// It needs a durable intent.
    Forward,
}

/// Everything that is outstanding, in the order of its urgency, each with its direction. Ends
/// with the time of the next look.
pub fn plan(state: &State, world: &World) -> Vec<(Direction, Effect)> {
    let mut agenda = Agenda {
        now_ms: world.now_ms,
        wake_ms: None,
        effects: Vec::new(),
    };
    if state.newer {
        return Vec::new();
    }
    for placement in state.placements.keys() {
        if let Some(look) = Look::at(state, world, placement) {
            plan_one(&look, &mut agenda);
        }
    }
    pipeline::plan(state, world, &mut agenda);
    let wake = agenda
        .wake_ms
        .map(|at_ms| (Direction::Safe, Effect::WakeAt { at_ms }));
    agenda.effects.extend(wake);
    agenda.effects
}

pub(super) struct Agenda {
    now_ms: u64,
    wake_ms: Option<u64>,
    effects: Vec<(Direction, Effect)>,
}

impl Agenda {
    pub(super) fn now(&mut self, direction: Direction, effect: Effect) {
        self.effects.push((direction, effect));
    }

    fn safely(&mut self, effect: Option<Effect>) {
        self.effects
            .extend(effect.map(|effect| (Direction::Safe, effect)));
    }

    /// Does it now if its time has come, else remembers to look again then.
    pub(super) fn due(&mut self, at_ms: u64, effect: impl FnOnce() -> Effect) {
        if at_ms <= self.now_ms {
            self.effects.push((Direction::Safe, effect()));
        } else {
            self.wake(at_ms);
        }
    }

    /// The same of what needs a durable intent.
    pub(super) fn forward(&mut self, at_ms: u64, effect: impl FnOnce() -> Effect) {
        if at_ms <= self.now_ms {
            self.effects.push((Direction::Forward, effect()));
        } else {
            self.wake(at_ms);
        }
    }

    /// Remembers to look again at a time, if that is still to come.
    pub(super) fn wake(&mut self, at_ms: u64) {
        if at_ms > self.now_ms {
            self.wake_ms = Some(self.wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
        }
    }
}

fn plan_one(look: &Look<'_>, agenda: &mut Agenda) {
    plan_weights(look, agenda);
    for (server, instance) in &look.place.instances {
        plan_instance(look, server, instance, agenda);
    }
    plan_reads(look, agenda);
    plan_metrics(look, agenda);
    plan_smoke(look, agenda);
}

fn plan_weights(look: &Look<'_>, agenda: &mut Agenda) {
    let Some(intent) = &look.place.weight else {
        return;
    };
    for backend in &look.place.spec.balancers {
        let Some(wanted) = shares::wanted(look, &backend.balancer) else {
            return;
        };
        let direction = match traffic::write(look, &wanted, &backend.balancer) {
            Write::No => continue,
            Write::Safe => Direction::Safe,
            Write::Raise => Direction::Forward,
        };
        let reading = look.reading(&backend.balancer);
        let effect = Effect::SetWeights {
            id: intent.id,
            placement: look.placement.clone(),
            backend: backend.clone(),
            settings: shares::ordered(look, &wanted, reading),
        };
        agenda.now(direction, effect);
    }
}

fn poll_ms(look: &Look<'_>, open_ms: u64) -> u64 {
    let busy = look.place.rollout.is_some()
        || look.place.instances.values().any(|instance| {
            matches!(
                instance.status,
                InstanceStatus::Draining { .. } | InstanceStatus::Stopping
            )
        });
    // The judge takes no reading older than an interval: the next must be there before that.
    let in_time_ms = look.place.spec.analysis.interval_ms / 2;
    match busy {
        true => open_ms.min(in_time_ms),
        false => POLL_IDLE_MS,
    }
}

/// Whether an instance began to drain a moment ago.
fn drains_now(look: &Look<'_>) -> bool {
    let mut instances = look.place.instances.values();
    instances.any(|instance| {
        matches!(instance.status, InstanceStatus::Draining { .. })
            && instance.since_ms + DRAIN_HASTE_MS > look.now_ms
    })
}

fn plan_reads(look: &Look<'_>, agenda: &mut Agenda) {
    let due_ms = |tried_ms: Option<u64>, open_ms| {
        tried_ms.map_or(0, |tried_ms| tried_ms + poll_ms(look, open_ms))
    };
    for backend in &look.place.spec.balancers {
        let tried_ms = look.balancer(&backend.balancer).map(|view| view.tried_ms);
        let open_ms = if drains_now(look) {
            POLL_DRAIN_MS
        } else {
            POLL_OPEN_MS
        };
        agenda.due(due_ms(tried_ms, open_ms), || {
            read_balancer(look.placement, backend)
        });
    }
    for runtime in &look.place.spec.runtimes {
        let view = look.seen.and_then(|seen| seen.runtimes.get(runtime));
        let polled_ms = due_ms(view.map(|view| view.tried_ms), RUNTIME_OPEN_MS);
        let hinted_ms = view.and_then(|view| {
            let rested_ms = view.tried_ms + RUNTIME_HINTED_MS;
            view.hinted_ms.map(|hinted_ms| hinted_ms.max(rested_ms))
        });
        agenda.due(
            hinted_ms.map_or(polled_ms, |at_ms| at_ms.min(polled_ms)),
            || read_runtime(look.placement, runtime),
        );
        if let Some((at_ms, effect)) = stock::due(look, runtime) {
            agenda.due(at_ms, || effect);
        }
    }
}

/// Sources of metrics are asked at every judgement while a rollout is open, and now and then
/// otherwise, so that one that does not answer is known before it is needed.
fn plan_metrics(look: &Look<'_>, agenda: &mut Agenda) {
    let Some(question) = sources::question(look) else {
        return;
    };
    let open = look.place.rollout.is_some();
    let poll_ms = sources::poll_ms(look) * if open { 1 } else { METRICS_IDLE_FACTOR };
    for source in &look.place.spec.metrics {
        let view = look.seen.and_then(|seen| seen.metrics.get(&source.name));
        agenda.due(view.map_or(0, |view| view.tried_ms + poll_ms), || {
            Effect::ReadMetrics {
                placement: look.placement.clone(),
                source: source.name.clone(),
                question: Box::new(MetricsQuestion {
                    past_ms: sources::past_ms(look, source),
                    ..question.clone()
                }),
            }
        });
    }
}

fn read_balancer(placement: &Placement, backend: &Backend) -> Effect {
    Effect::ReadBalancer {
        placement: placement.clone(),
        backend: backend.clone(),
    }
}

fn read_runtime(placement: &Placement, runtime: &RuntimeName) -> Effect {
    Effect::ReadRuntime {
        placement: placement.clone(),
        runtime: runtime.clone(),
    }
}

fn plan_instance(look: &Look<'_>, server: &ServerName, instance: &Instance, agenda: &mut Agenda) {
    let evidence = evidence::due(look, server, instance);
    let awaited = evidence.is_some();
    if let Some((at_ms, effect)) = evidence {
        agenda.due(at_ms, || effect);
    }
    match &instance.status {
        InstanceStatus::Starting | InstanceStatus::Up => {
            plan_start(look, server, instance, agenda);
            plan_probe(look, server, instance, agenda);
        }
        InstanceStatus::Stopping => {
            let there = matches!(look.instance(server), Some(Some(_)));
            if there && !awaited && look.is_out_of_traffic(server) {
                agenda.safely(stop(look, server, instance));
            }
        }
        InstanceStatus::Draining { quiet_ms, .. } => {
            if retire::quiet_signal(look, instance).is_some() {
                let told_ms = quiet_ms.unwrap_or(instance.since_ms);
                agenda.wake(told_ms + look.place.spec.canary.drain_timeout_ms);
            }
            agenda.safely(quiet(look, server, instance, *quiet_ms));
        }
        InstanceStatus::Failed { .. } => {}
    }
}

/// Tells a draining worker to take no new work, where that is not known to have been done to the
/// process that runs.
fn quiet(
    look: &Look<'_>,
    server: &ServerName,
    instance: &Instance,
    told_ms: Option<u64>,
) -> Option<Effect> {
    let signal = retire::quiet_signal(look, instance)?;
    let there = look.instance(server)??;
    let begun = there.exited.is_none() && there.waiting.is_none();
    let runs = there.release == instance.release && begun;
    let begun_since = told_ms.is_none_or(|told_ms| there.started_ms > told_ms);
    (runs && !there.quiet && begun_since).then(|| {
        Some(Effect::QuietInstance {
            id: instance.intent,
            placement: look.placement.clone(),
            runtime: look.place.spec.runtime_of(server)?.clone(),
            server: server.clone(),
            signal,
        })
    })?
}

/// Starts what is missing, and brings the restart policy up to date: verified releases are kept
/// running by the runtime, a canary that exits has failed.
fn plan_start(look: &Look<'_>, server: &ServerName, instance: &Instance, agenda: &mut Agenda) {
    let Some(there) = look.instance(server) else {
        return;
    };
    let keep_running = look.place.verified.contains(&instance.release);
    let wanted = match there {
        None => keep_running || instance.status == InstanceStatus::Starting,
        Some(view) if view.release != instance.release => {
            if look.is_out_of_traffic(server) {
                agenda.safely(stop(look, server, instance));
            }
            false
        }
        Some(view) if view.keep_running != keep_running => true,
        Some(view) if keep_running && view.exited.is_some() => {
            let tried_ms = look.seen.and_then(|seen| seen.attempts.get(server));
            let due_ms = tried_ms.map_or(0, |tried_ms| tried_ms + START_AGAIN_MS);
            agenda.wake(due_ms);
            due_ms <= look.now_ms
        }
        Some(_) => false,
    };
    let direction = match keep_running {
        true => Direction::Safe,
        false => Direction::Forward,
    };
    if let Some(effect) = wanted
        .then(|| start(look, server, instance, keep_running))
        .flatten()
    {
        agenda.now(direction, effect);
    }
}

fn start(
    look: &Look<'_>,
    server: &ServerName,
    instance: &Instance,
    keep_running: bool,
) -> Option<Effect> {
    Some(Effect::StartInstance {
        id: instance.intent,
        placement: look.placement.clone(),
        runtime: look.place.spec.runtime_of(server)?.clone(),
        server: server.clone(),
        address: look.place.spec.address(server)?,
        release: instance.release,
        workload: look.place.releases.get(&instance.release)?.workload.clone(),
        keep_running,
        rollout: instance.rollout,
    })
}

fn stop(look: &Look<'_>, server: &ServerName, instance: &Instance) -> Option<Effect> {
    let release = look.place.releases.get(&instance.release);
    let workload = release.map_or(&look.place.spec.workload, |release| &release.workload);
    Some(Effect::StopInstance {
        id: instance.intent,
        placement: look.placement.clone(),
        runtime: look.place.spec.runtime_of(server)?.clone(),
        server: server.clone(),
        grace_ms: workload.stop_grace_ms,
        failed: !instance.evidence.is_none(),
    })
}

fn plan_probe(look: &Look<'_>, server: &ServerName, instance: &Instance, agenda: &mut Agenda) {
    let (Some(Some(view)), Some(address)) =
        (look.instance(server), look.place.spec.address(server))
    else {
        return;
    };
    let begun = view.exited.is_none() && view.waiting.is_none();
    if view.release != instance.release || !begun {
        return;
    }
    let check = look.place.health_of(instance.release);
    let interval_ms = probe_ms(look, server, instance, check);
    let last_ms = probed_ms(look, server, instance.release);
    agenda.due(last_ms.map_or(0, |last_ms| last_ms + interval_ms), || {
        Effect::Probe {
            placement: look.placement.clone(),
            server: server.clone(),
            address,
            release: instance.release,
            check: Box::new(check.clone()),
        }
    });
}

fn probe_ms(look: &Look<'_>, server: &ServerName, instance: &Instance, check: &HealthCheck) -> u64 {
    // A command is a process of its own each time.
    let is_cheap = !matches!(check.kind, CheckKind::Command { .. });
    let is_new = instance.since_ms + BEGUN_MS > look.now_ms;
    let is_urgent = is_cheap && is_new && look.health(server) != Health::Good;
    match (&instance.status, &look.place.rollout) {
        (InstanceStatus::Starting, _) if is_urgent => check.interval_ms.min(PROBE_BEGUN_MS),
        (InstanceStatus::Starting, _) => check.interval_ms.min(PROBE_UNSURE_MS),
        (_, Some(_)) if look.health(server) == Health::Unknown => PROBE_UNSURE_MS,
        (_, Some(_)) => check.interval_ms,
        (_, None) => check.interval_ms * PROBE_IDLE_FACTOR,
    }
}

fn probed_ms(look: &Look<'_>, server: &ServerName, release: ReleaseId) -> Option<u64> {
    let log = look.seen?.probes.get(server)?;
    (log.release == Some(release)).then_some(log.last_ms)
}

/// The smoke tests are made once every new instance is healthy.
fn plan_smoke(look: &Look<'_>, agenda: &mut Agenda) {
    let Some(rollout) = &look.place.rollout else {
        return;
    };
    let tests = look.place.smoke_of(rollout.release);
    let done = rollout.smoke.is_some()
        || look
            .seen
            .and_then(|seen| seen.smoke.as_ref())
            .is_some_and(|report| report.rollout == rollout.id);
    let starting = matches!(rollout.phase, Phase::Starting { .. });
    if tests.is_empty() || done || !starting || !rollout.kind.is_judged() {
        return;
    }
    let up = |(_, instance): &(&ServerName, &Instance)| instance.status == InstanceStatus::Up;
    let instances: std::collections::BTreeMap<_, _> = look
        .place
        .servers_of(rollout.release)
        .filter(up)
        .filter_map(|(server, _)| Some((server.clone(), look.place.spec.address(server)?)))
        .collect();
    if instances.len() >= rollout.first_instances(&look.place.spec) as usize {
        let effect = Effect::Smoke {
            placement: look.placement.clone(),
            rollout: rollout.id,
            tests: tests.to_vec(),
            limit_ms: look.place.smoke_timeout_ms_of(rollout.release),
            instances,
        };
        agenda.now(Direction::Safe, effect);
    }
}
