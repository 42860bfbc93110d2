//! What was seen → [`World`], in bounded windows.

use crate::model::effect::EffectKey;
use crate::model::input::{Observation, Settled};
use crate::model::world::{
    BalancerReading, BalancerView, PlacementWorld, ProbeLog, RuntimeReading, Sample,
};
use crate::model::{
    BalancerName, Clean, Event, Input, Outcome, ReleaseId, RuntimeName, ServerName, World,
};
use std::collections::VecDeque;

/// Samples kept per server; at about one a second, a quarter of an hour.
const SAMPLES_MAX: usize = 900;
/// Shortest sample; readings in between are added to the last one.
const SAMPLE_MS_MIN: u64 = 1_000;
/// Probe results kept per instance: the last minute at the shortest interval, and more.
const PROBES_MAX: usize = 128;

/// Takes in what an input shows. Time only moves forward.
pub fn observe(world: &mut World, input: &Input) {
    world.now_ms = world.now_ms.max(input.now_ms);
    let now_ms = world.now_ms;
    match &input.event {
        Event::Started(_) => world.since_ms = now_ms,
        Event::Settled(settled) => settle(world, settled, now_ms),
        _ => {}
    }
}

/// Forgets a balancer's or runtime's freshness after an outcome nobody vouches for: it must be
/// read before anything else.
pub fn distrust(world: &mut World, key: &EffectKey) {
    match key {
        EffectKey::Balancer(placement, balancer) => {
            let views = &mut world
                .placements
                .entry(placement.clone())
                .or_default()
                .balancers;
            if let Some(view) = views.get_mut(balancer) {
                view.tried_ms = 0;
            }
        }
        EffectKey::Runtime(placement, _) | EffectKey::Instance(placement, _) => {
            let world = world.placements.entry(placement.clone()).or_default();
            for view in world.runtimes.values_mut() {
                view.tried_ms = 0;
            }
        }
        EffectKey::Probe(..) | EffectKey::Smoke(..) => {}
    }
}

fn settle(world: &mut World, settled: &Settled, now_ms: u64) {
    let applied = settled.id.is_some() && settled.outcome == Outcome::Applied;
    match &settled.seen {
        Some(Observation::Balancer {
            placement,
            balancer,
            reading,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            see_balancer(place, balancer, reading, applied, now_ms);
        }
        Some(Observation::Runtime {
            placement,
            runtime,
            reading,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            see_runtime(place, runtime, reading, now_ms);
        }
        Some(Observation::Probe {
            placement,
            server,
            release,
            result,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            see_probe(place, server, *release, result, now_ms);
        }
        Some(Observation::Smoke { placement, report }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            place.smoke = Some(report.clone());
        }
        None => distrust(world, &settled.key),
    }
    if matches!(settled.outcome, Outcome::Unknown { .. }) {
        distrust(world, &settled.key);
    }
}

fn see_balancer(
    place: &mut PlacementWorld,
    balancer: &BalancerName,
    reading: &Result<BalancerReading, Clean>,
    applied: bool,
    now_ms: u64,
) {
    let view = place.balancers.entry(balancer.clone()).or_default();
    view.tried_ms = now_ms;
    let reading = match reading {
        Ok(reading) => reading,
        Err(why) => {
            view.trouble = Some(why.clone());
            return;
        }
    };
    if view.reading.epoch == reading.epoch
        && let Some(from_ms) = view.read_ms
    {
        sample(&mut place.samples, view, reading, from_ms, now_ms);
    } else {
        view.asserted = None;
    }
    if applied {
        view.asserted = Some(reading.settings());
    }
    view.read_ms = Some(now_ms);
    view.trouble = None;
    view.reading = reading.clone();
}

fn sample(
    samples: &mut std::collections::BTreeMap<ServerName, VecDeque<Sample>>,
    before: &BalancerView,
    reading: &BalancerReading,
    from_ms: u64,
    to_ms: u64,
) {
    for (server, now) in &reading.servers {
        let Some(then) = before.reading.servers.get(server) else {
            continue;
        };
        let Some(counters) = now.counters.since(&then.counters) else {
            continue;
        };
        let log = samples.entry(server.clone()).or_default();
        match log.back_mut() {
            Some(last) if last.to_ms == from_ms && last.to_ms - last.from_ms < SAMPLE_MS_MIN => {
                last.counters.add(&counters);
                last.to_ms = to_ms;
            }
            _ => log.push_back(Sample {
                from_ms,
                to_ms,
                counters,
            }),
        }
        if log.len() > SAMPLES_MAX {
            log.pop_front();
        }
    }
}

fn see_runtime(
    place: &mut PlacementWorld,
    runtime: &RuntimeName,
    reading: &Result<RuntimeReading, Clean>,
    now_ms: u64,
) {
    let view = place.runtimes.entry(runtime.clone()).or_default();
    view.tried_ms = now_ms;
    match reading {
        Ok(reading) => {
            view.read_ms = Some(now_ms);
            view.trouble = None;
            view.reading = reading.clone();
        }
        Err(why) => view.trouble = Some(why.clone()),
    }
}

fn see_probe(
    place: &mut PlacementWorld,
    server: &ServerName,
    release: ReleaseId,
    result: &Result<(), Clean>,
    now_ms: u64,
) {
    let log = place.probes.entry(server.clone()).or_default();
    if log.release != Some(release) {
        *log = ProbeLog {
            release: Some(release),
            ..ProbeLog::default()
        };
    }
    log.last_ms = now_ms;
    log.results.push_back((now_ms, result.is_ok()));
    if log.results.len() > PROBES_MAX {
        log.results.pop_front();
    }
    log.trouble = result.as_ref().err().cloned();
}
