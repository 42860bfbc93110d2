//! Effects → calls to adapters, each within its deadline, each with an outcome.

use crate::model::command::Answer;
use crate::model::effect::{ASK_DEPLOY_MS, EffectKey};
use crate::model::input::{Event, Inspection, Observation, RuntimeInspection, Settled};
use crate::model::metrics::MetricsReading;
use crate::model::service::{Server, SmokeTest, Workload};
use crate::model::world::{BalancerReading, RuntimeReading, SmokeReport, SmokeResult};
use crate::model::{
    BalancerName, Clean, Effect, EffectId, MetricsName, Outcome, Placement, ReleaseId, RuntimeName,
    ServerName, ServiceSpec, Stock, Version,
};
use crate::ports::{
    Balancer, Metrics, NOTE, Probe, Quiet, ReadError, Runtime, RuntimeLook, Stages, Start, Stop,
    Written,
};
use crate::view::words;
use futures::future::join_all;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Everything the engine can reach.
pub trait Peers: Send + Sync + 'static {
    /// What its balancers are.
    type Balancer: Balancer;
    /// What its runtimes are.
    type Runtime: Runtime;
    /// What its sources of metrics are.
    type Metrics: Metrics;
    /// What its probes are.
    type Probe: Probe;
    /// What does the stages of its pipelines.
    type Stages: Stages;

    /// The balancer in front of a placement.
    fn balancer(&self, placement: &Placement, name: &BalancerName) -> Option<&Self::Balancer>;
    /// A runtime.
    fn runtime(&self, name: &RuntimeName) -> Option<&Self::Runtime>;
    /// The runtimes there are.
    fn runtimes(&self) -> Vec<RuntimeName> {
        Vec::new()
    }
    /// A source of metrics.
    fn metrics(&self, name: &MetricsName) -> Option<&Self::Metrics>;
    /// The probe.
    fn probe(&self) -> &Self::Probe;
    /// What does the stages of pipelines.
    fn stages(&self) -> &Self::Stages;

    /// Whether a write may be carried out at this moment; asked before each one, so that an engine
    /// that lost its right while it stood still does nothing. Must answer soon, and must not stop
    /// an engine that holds that right.
    ///
    /// # Errors
    /// Why not, with the mend.
    fn permit(&self, effect: &Effect) -> impl Future<Output = Result<(), Clean>> + Send {
        let _ = effect;
        async { Ok(()) }
    }
}

/// How long balancers have to be looked over before a deploy is decided.
const LOOK: Duration = Duration::from_secs(3);

/// Looks over every peer that a deploy of this version would need, for its parts too.
pub(super) async fn look_over<P: Peers>(
    peers: &P,
    spec: &ServiceSpec,
    version: &Version,
) -> Vec<Event> {
    let all = std::iter::once(spec).chain(&spec.parts);
    let looks = all.map(|spec| look_over_one(peers, spec, version));
    futures::future::join_all(looks).await.concat()
}

async fn look_over_one<P: Peers>(peers: &P, spec: &ServiceSpec, version: &Version) -> Vec<Event> {
    let (balancers, runtimes) = tokio::join!(
        look_over_balancers(peers, spec),
        look_over_runtimes(peers, spec, version)
    );
    let balancers = balancers.into_iter().map(Event::Inspected);
    let runtimes = runtimes
        .into_iter()
        .map(|seen| Event::RuntimeInspected(Box::new(seen)));
    balancers.chain(runtimes).collect()
}

/// For a runtime's look: a registry may have to be asked too.
const LOOK_AT_RUNTIME: Duration = Duration::from_secs(10);

async fn look_over_runtimes<P: Peers>(
    peers: &P,
    spec: &ServiceSpec,
    version: &Version,
) -> Vec<RuntimeInspection> {
    let workload = &spec.workload.of_version(version);
    let looks = spec.runtimes.iter().map(|name| async move {
        let runs = |server: &&Server| spec.runtime_of(&server.name) == Some(name);
        let servers: Vec<_> = spec
            .servers
            .iter()
            .filter(runs)
            .map(|server| (server.name.clone(), server.address))
            .collect();
        let look = match peers.runtime(name) {
            None => Err(unknown_peer("runtime", name.as_str())),
            Some(runtime) => {
                let look = runtime.inspect(&spec.placement, workload, &servers);
                in_time(LOOK_AT_RUNTIME, look).await
            }
        };
        let look = look.unwrap_or_else(|error| RuntimeLook {
            lines: vec![error.0],
            pinned: None,
        });
        let (unfit, notes) = told_apart(look.lines);
        RuntimeInspection {
            placement: spec.placement.clone(),
            runtime: name.clone(),
            unfit,
            notes,
            pinned: look.pinned,
        }
    });
    join_all(looks).await
}

/// A look's answer, or that none came within the limit.
async fn in_time<T>(
    limit: Duration,
    look: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, ReadError> {
    let late = |_| {
        let text = format!("no answer within {} s; see its process", limit.as_secs());
        Err(ReadError(Clean::new(&text)))
    };
    tokio::time::timeout(limit, look).await.unwrap_or_else(late)
}

/// Lines that make unfit, and notes.
fn told_apart(lines: Vec<Clean>) -> (Vec<Clean>, Vec<Clean>) {
    let (mut unfit, mut notes) = (Vec::new(), Vec::new());
    for line in lines {
        match line.as_str().strip_prefix(NOTE) {
            Some(note) => notes.push(Clean::new(note)),
            None => unfit.push(line),
        }
    }
    (unfit, notes)
}

/// Looks over every balancer that would carry a rollout of this service.
async fn look_over_balancers<P: Peers>(peers: &P, spec: &ServiceSpec) -> Vec<Inspection> {
    let servers: Vec<_> = spec
        .servers
        .iter()
        .map(|server| (server.name.clone(), server.address))
        .collect();
    let looks = spec.balancers.iter().map(|backend| async {
        let lines = match peers.balancer(&spec.placement, &backend.balancer) {
            None => Err(unknown_peer("balancer", backend.balancer.as_str())),
            Some(balancer) => in_time(LOOK, balancer.inspect(backend, &servers)).await,
        };
        let (unfit, notes) = told_apart(lines.unwrap_or_else(|error| vec![error.0]));
        Inspection {
            placement: spec.placement.clone(),
            balancer: backend.balancer.clone(),
            unfit,
            notes,
        }
    });
    join_all(looks).await
}

/// Does one effect and says how it ended; after its deadline the outcome is unknown.
pub(super) async fn perform<P: Peers>(
    peers: &P,
    ticket: u64,
    key: EffectKey,
    effect: Effect,
) -> Settled {
    let id = effect.id();
    let limit = Duration::from_millis(effect.deadline_ms());
    let (outcome, seen) = match tokio::time::timeout(limit, call(peers, &effect)).await {
        Ok(ended) => ended,
        Err(_) => too_late(&effect, limit),
    };
    Settled {
        ticket,
        key,
        id,
        outcome,
        seen,
    }
}

/// Waits for the answer to a stage's deploy. Without one it is asked again: it begins only once.
pub(super) async fn deployed(
    ticket: u64,
    key: EffectKey,
    id: EffectId,
    answered: oneshot::Receiver<Answer>,
) -> Settled {
    let limit = Duration::from_millis(ASK_DEPLOY_MS);
    let (outcome, seen) = match tokio::time::timeout(limit, answered).await {
        Ok(Ok(answer)) => {
            let answer = Box::new(answer);
            (Outcome::Applied, Some(Observation::Deploy { id, answer }))
        }
        _ => {
            let why = "the deploy was not answered in time".into();
            (Outcome::Unknown { why }, None)
        }
    };
    Settled {
        ticket,
        key,
        id: Some(id),
        outcome,
        seen,
    }
}

type Ended = (Outcome, Option<Observation>);

async fn call<P: Peers>(peers: &P, effect: &Effect) -> Ended {
    if effect.is_write()
        && let Err(why) = peers.permit(effect).await
    {
        return (Outcome::Rejected { why }, None);
    }
    match effect {
        Effect::ReadBalancer { placement, backend } => {
            let reading = match peers.balancer(placement, &backend.balancer) {
                Some(balancer) => balancer.read(backend).await,
                None => Err(unknown_peer("balancer", backend.balancer.as_str())),
            };
            (
                Outcome::Applied,
                balancer_seen(placement, &backend.balancer, reading),
            )
        }
        Effect::SetWeights {
            placement,
            backend,
            settings,
            ..
        } => {
            let Some(balancer) = peers.balancer(placement, &backend.balancer) else {
                return rejected(&unknown_peer("balancer", backend.balancer.as_str()));
            };
            let written = balancer.write(backend, settings).await;
            let seen = |reading| balancer_seen(placement, &backend.balancer, Ok(reading));
            (written.outcome, written.reading.and_then(seen))
        }
        Effect::ReadRuntime { placement, runtime } => {
            let reading = match peers.runtime(runtime) {
                Some(peer) => peer.read(placement).await,
                None => Err(unknown_peer("runtime", runtime.as_str())),
            };
            (Outcome::Applied, runtime_seen(placement, runtime, reading))
        }
        Effect::ReadMetrics {
            placement,
            source,
            question,
        } => {
            let reading = match peers.metrics(source) {
                Some(metrics) => metrics.read(placement, question).await,
                None => Err(unknown_peer("source of metrics", source.as_str())),
            };
            (Outcome::Applied, metrics_seen(placement, source, reading))
        }
        Effect::StartInstance { .. }
        | Effect::QuietInstance { .. }
        | Effect::StopInstance { .. } => instance(peers, effect).await,
        Effect::Probe {
            placement,
            server,
            address,
            release,
            check,
        } => {
            let begun = Instant::now();
            let result = peers.probe().probe(server, *address, check).await;
            let seen = Observation::Probe {
                placement: placement.clone(),
                server: server.clone(),
                release: *release,
                took_ms: Some(since_ms(begun)),
                result,
            };
            (Outcome::Applied, Some(seen))
        }
        Effect::Smoke { .. } => smoke(peers, effect).await,
        Effect::ReadEvidence {
            placement,
            runtime,
            server,
            release,
        } => {
            let reading = match peers.runtime(runtime) {
                Some(peer) => peer.evidence(placement, server, *release).await,
                None => Err(unknown_peer("runtime", runtime.as_str())),
            };
            let seen = Observation::Evidence {
                placement: placement.clone(),
                server: server.clone(),
                release: *release,
                reading: reading.map_err(|error| error.0),
            };
            (Outcome::Applied, Some(seen))
        }
        Effect::ReadStock { .. } => stock(peers, effect).await,
        Effect::RunStage { id, call } => {
            let result = peers.stages().run((**call).clone()).await;
            (
                Outcome::Applied,
                Some(Observation::Stage { id: *id, result }),
            )
        }
        Effect::CancelStage { run_id, stage, .. } => {
            peers.stages().cancel(*run_id, stage);
            (Outcome::Applied, None)
        }
        // The shell asks its own loop.
        Effect::AskDeploy { .. } | Effect::WakeAt { .. } => (Outcome::Applied, None),
    }
}

/// Asks for every release at once.
async fn stock<P: Peers>(peers: &P, effect: &Effect) -> Ended {
    let Effect::ReadStock {
        placement,
        runtime,
        releases,
    } = effect
    else {
        return (Outcome::Applied, None);
    };
    let ask = async |(release, workload): &(ReleaseId, Workload)| {
        let stock = match peers.runtime(runtime) {
            Some(peer) => peer.stock(workload).await,
            None => Stock::unknown(unknown_peer("runtime", runtime.as_str()).0.as_str()),
        };
        (*release, stock)
    };
    let found = futures::future::join_all(releases.iter().map(ask)).await;
    let seen = Observation::Stock {
        placement: placement.clone(),
        runtime: runtime.clone(),
        found: found.into_iter().collect(),
    };
    (Outcome::Applied, Some(seen))
}

async fn instance<P: Peers>(peers: &P, effect: &Effect) -> Ended {
    let (Effect::StartInstance {
        placement, runtime, ..
    }
    | Effect::QuietInstance {
        placement, runtime, ..
    }
    | Effect::StopInstance {
        placement, runtime, ..
    }) = effect
    else {
        return (Outcome::Applied, None);
    };
    let Some(peer) = peers.runtime(runtime) else {
        return rejected(&unknown_peer("runtime", runtime.as_str()));
    };
    let Written { outcome, reading } = match effect.clone() {
        Effect::StartInstance {
            id,
            placement,
            server,
            address,
            release,
            workload,
            keep_running,
            rollout,
            ..
        } => {
            peer.start(Start {
                id,
                placement,
                server,
                address,
                release,
                workload,
                keep_running,
                rollout,
            })
            .await
        }
        Effect::QuietInstance {
            placement,
            server,
            signal,
            ..
        } => {
            peer.quiet(Quiet {
                placement,
                server,
                signal,
            })
            .await
        }
        Effect::StopInstance {
            placement,
            server,
            grace_ms,
            failed,
            ..
        } => {
            peer.stop(Stop {
                placement,
                server,
                grace_ms,
                failed,
            })
            .await
        }
        _ => return (Outcome::Applied, None),
    };
    (
        outcome,
        reading.and_then(|reading| runtime_seen(placement, runtime, Ok(reading))),
    )
}

/// Instances are asked side by side, each its tests in their order.
async fn smoke<P: Peers>(peers: &P, effect: &Effect) -> Ended {
    let Effect::Smoke {
        placement,
        rollout,
        tests,
        limit_ms,
        instances,
    } = effect
    else {
        return (Outcome::Applied, None);
    };
    let begun = Instant::now();
    let limit = SmokeLimit {
        until: begun + Duration::from_millis(*limit_ms),
        ms: *limit_ms,
    };
    let probe = peers.probe();
    let each = instances.iter().map(|(server, address)| async move {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            results.push(attempts(probe, server, *address, test, limit).await);
        }
        results
    });
    let results = join_all(each).await.into_iter().flatten().collect();
    let report = SmokeReport {
        rollout: *rollout,
        results,
        took_ms: since_ms(begun),
    };
    let seen = Observation::Smoke {
        placement: placement.clone(),
        report,
    };
    (Outcome::Applied, Some(seen))
}

/// When a smoke run is over, and how long it was given.
#[derive(Debug, Clone, Copy)]
struct SmokeLimit {
    until: Instant,
    ms: u64,
}

/// One test on one instance until it passes, its attempts are used up or the run's time is over.
async fn attempts<P: Probe>(
    probe: &P,
    server: &ServerName,
    address: SocketAddr,
    test: &SmokeTest,
    limit: SmokeLimit,
) -> SmokeResult {
    let pause = Duration::from_millis(test.retry_interval_ms);
    let over = format!(
        "not passed within the smoke run's {}",
        words::span(limit.ms)
    );
    let mut last = SmokeResult {
        attempts: 0,
        trouble: Some(Clean::new(&over)),
        ..SmokeResult::passed(test, server, 0)
    };
    for attempt in 1..=test.attempts.max(1) {
        if attempt > 1 {
            tokio::time::sleep_until(limit.until.min(Instant::now() + pause)).await;
        }
        let begun = Instant::now();
        if begun >= limit.until {
            break;
        }
        let asked = tokio::time::timeout_at(limit.until, probe.smoke(server, address, test)).await;
        last = asked.unwrap_or_else(|_| SmokeResult {
            took_ms: since_ms(begun),
            trouble: Some(Clean::new(&over)),
            ..SmokeResult::passed(test, server, 0)
        });
        last.attempts = attempt;
        if last.trouble.is_none() {
            break;
        }
    }
    last
}

fn since_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn unknown_peer(kind: &str, name: &str) -> ReadError {
    let text = format!("{kind} {name} is not in the configuration; restore it");
    ReadError(Clean::new(&text))
}

fn rejected(error: &ReadError) -> Ended {
    (
        Outcome::Rejected {
            why: error.0.clone(),
        },
        None,
    )
}

fn balancer_seen(
    placement: &Placement,
    balancer: &BalancerName,
    reading: Result<BalancerReading, ReadError>,
) -> Option<Observation> {
    Some(Observation::Balancer {
        placement: placement.clone(),
        balancer: balancer.clone(),
        reading: reading.map_err(|error| error.0),
    })
}

fn runtime_seen(
    placement: &Placement,
    runtime: &RuntimeName,
    reading: Result<RuntimeReading, ReadError>,
) -> Option<Observation> {
    Some(Observation::Runtime {
        placement: placement.clone(),
        runtime: runtime.clone(),
        reading: reading.map_err(|error| error.0),
    })
}

fn metrics_seen(
    placement: &Placement,
    source: &MetricsName,
    reading: Result<MetricsReading, ReadError>,
) -> Option<Observation> {
    Some(Observation::Metrics {
        placement: placement.clone(),
        source: source.clone(),
        reading: reading.map_err(|error| error.0),
    })
}

/// Nobody knows how it ended. What was being asked counts as not answering.
fn too_late(effect: &Effect, limit: Duration) -> Ended {
    let text = format!("no answer within {} ms", limit.as_millis());
    let why = Clean::new(&text);
    let seen = match effect {
        Effect::ReadBalancer { placement, backend }
        | Effect::SetWeights {
            placement, backend, ..
        } => {
            let text = format!("balancer {}: {text}", backend.balancer);
            balancer_seen(
                placement,
                &backend.balancer,
                Err(ReadError(Clean::new(&text))),
            )
        }
        Effect::ReadRuntime { placement, runtime } => {
            let text = format!("runtime {runtime}: {text}");
            runtime_seen(placement, runtime, Err(ReadError(Clean::new(&text))))
        }
        Effect::ReadMetrics {
            placement, source, ..
        } => {
            let text = format!("metrics {source}: {text}");
            metrics_seen(placement, source, Err(ReadError(Clean::new(&text))))
        }
        Effect::Probe {
            placement,
            server,
            release,
            ..
        } => Some(Observation::Probe {
            placement: placement.clone(),
            server: server.clone(),
            release: *release,
            took_ms: None,
            result: Err(why.clone()),
        }),
        Effect::ReadEvidence {
            placement,
            server,
            release,
            ..
        } => Some(Observation::Evidence {
            placement: placement.clone(),
            server: server.clone(),
            release: *release,
            reading: Err(why.clone()),
        }),
        Effect::ReadStock {
            placement,
            runtime,
            releases,
        } => {
            let unknown = |(release, _): &(ReleaseId, Workload)| {
                (*release, Stock::Unknown { why: why.clone() })
            };
            Some(Observation::Stock {
                placement: placement.clone(),
                runtime: runtime.clone(),
                found: releases.iter().map(unknown).collect(),
            })
        }
        _ => None,
    };
    (Outcome::Unknown { why }, seen)
}

#[cfg(test)]
mod tests;
