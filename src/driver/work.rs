//! Effects → calls to adapters, each within its deadline, each with an outcome.

use crate::model::effect::EffectKey;
use crate::model::input::{Observation, Settled};
use crate::model::world::{BalancerReading, RuntimeReading, SmokeReport};
use crate::model::{BalancerName, Clean, Effect, Outcome, Placement, RuntimeName};
use crate::ports::{Balancer, Probe, ReadError, Runtime, Start, Written};
use futures::future::join_all;
use std::time::Duration;

/// Everything the engine can reach.
pub trait Peers: Send + Sync + 'static {
    /// What its balancers are.
    type Balancer: Balancer;
    /// What its runtimes are.
    type Runtime: Runtime;
    /// What its probes are.
    type Probe: Probe;

    /// The balancer in front of a placement.
    fn balancer(&self, placement: &Placement, name: &BalancerName) -> Option<&Self::Balancer>;
    /// A runtime.
    fn runtime(&self, name: &RuntimeName) -> Option<&Self::Runtime>;
    /// The probe.
    fn probe(&self) -> &Self::Probe;
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

type Ended = (Outcome, Option<Observation>);

async fn call<P: Peers>(peers: &P, effect: &Effect) -> Ended {
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
        Effect::StartInstance { .. } | Effect::StopInstance { .. } => instance(peers, effect).await,
        Effect::Probe {
            placement,
            server,
            address,
            release,
            check,
        } => {
            let result = peers.probe().probe(*address, check).await;
            let seen = Observation::Probe {
                placement: placement.clone(),
                server: server.clone(),
                release: *release,
                result,
            };
            (Outcome::Applied, Some(seen))
        }
        Effect::Smoke { .. } => smoke(peers, effect).await,
        Effect::WakeAt { .. } => (Outcome::Applied, None),
    }
}

async fn instance<P: Peers>(peers: &P, effect: &Effect) -> Ended {
    let (Effect::StartInstance {
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
            })
            .await
        }
        Effect::StopInstance {
            placement,
            server,
            grace_ms,
            ..
        } => peer.stop(&placement, &server, grace_ms).await,
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
        instances,
    } = effect
    else {
        return (Outcome::Applied, None);
    };
    let probe = peers.probe();
    let each = instances.iter().map(|(server, address)| async move {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            results.push(probe.smoke(server, *address, test).await);
        }
        results
    });
    let results = join_all(each).await.into_iter().flatten().collect();
    let report = SmokeReport {
        rollout: *rollout,
        results,
    };
    let seen = Observation::Smoke {
        placement: placement.clone(),
        report,
    };
    (Outcome::Applied, Some(seen))
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
        Effect::Probe {
            placement,
            server,
            release,
            ..
        } => Some(Observation::Probe {
            placement: placement.clone(),
            server: server.clone(),
            release: *release,
            result: Err(why.clone()),
        }),
        _ => None,
    };
    (Outcome::Unknown { why }, seen)
}
