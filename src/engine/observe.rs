//! What was seen → [`World`], in bounded windows.

use crate::model::command::Answer;
use crate::model::effect::{Effect, EffectKey};
use crate::model::input::{Inspection, Observation, RuntimeInspection, Settled};
use crate::model::metrics::MetricsReading;
use crate::model::pipeline::StageResult;
use crate::model::world::{
    BalancerReading, BalancerView, Evidence, EvidenceView, PlacementWorld, ProbeLog,
    RuntimeReading, Sample, ServerView, StageView, Unjudged, UsageSample,
};
use crate::model::{
    BalancerName, Clean, EffectId, Event, Input, MetricsName, Outcome, Placement, ReleaseId,
    RunNumber, RuntimeName, ServerName, StageName, World,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Samples kept per server; at about one a second, a quarter of an hour.
const SAMPLES_MAX: usize = 900;
/// Shortest sample; readings in between are added to the last one.
const SAMPLE_MS_MIN: u64 = 1_000;
/// Samples kept of what an instance used: the recent window, twice.
const USAGE_MAX: usize = 120;
/// Probe results kept per instance: the last minute at the shortest interval, and more.
const PROBES_MAX: usize = 128;

/// Answers kept per source of metrics: as many judgements in a row as a rollout may fail by, and
/// more.
const READINGS_MAX: usize = 128;

/// Attempts of stages kept; far fewer are under way at once.
const STAGES_MAX: usize = 512;

/// Takes in what an input shows. Time only moves forward.
pub fn observe(world: &mut World, input: &Input) {
    world.now_ms = world.now_ms.max(input.now_ms);
    let now_ms = world.now_ms;
    match &input.event {
        Event::Started(_) => world.since_ms = now_ms,
        Event::Inspected(inspection) => look_over(world, inspection),
        Event::RuntimeInspected(inspection) => look_over_runtime(world, inspection),
        Event::RuntimeHinted { runtime, placement } => hint(world, runtime, placement.as_ref()),
        _ => {}
    }
}

/// Remembers since when a runtime waits to be read. Placements that nobody reads are not begun.
fn hint(world: &mut World, runtime: &RuntimeName, placement: Option<&Placement>) {
    let now_ms = world.now_ms;
    let meant = |whose: &Placement| placement.is_none_or(|placement| placement == whose);
    for (_, place) in world
        .placements
        .iter_mut()
        .filter(|(whose, _)| meant(whose))
    {
        if let Some(view) = place.runtimes.get_mut(runtime) {
            view.hinted_ms.get_or_insert(now_ms);
        }
    }
}

/// An effect is under way from now on. What happened before shows in a reading that begins now;
/// what happens during it may not, so hints are forgotten here and not when it ends.
pub fn begun(world: &mut World, effect: &Effect) {
    match effect {
        Effect::RunStage { id, call } => begin_stage(world, *id, call.number, &call.stage),
        Effect::AskDeploy { id, run, stage, .. } => begin_stage(world, *id, *run, stage),
        Effect::CancelStage { id, .. } => {
            let now_ms = world.now_ms;
            if let Some(view) = world.stages.get_mut(id) {
                view.told_to_end_ms = Some(now_ms);
            }
        }
        _ => {}
    }
    let Effect::ReadRuntime { placement, runtime } = effect else {
        return;
    };
    let place = world.placements.get_mut(placement);
    if let Some(view) = place.and_then(|place| place.runtimes.get_mut(runtime)) {
        view.hinted_ms = None;
    }
}

/// An attempt of a stage is under way from now on; the oldest ones are over long ago.
fn begin_stage(world: &mut World, id: EffectId, run: RunNumber, stage: &StageName) {
    let view = world.stages.entry(id).or_insert_with(|| StageView {
        run,
        stage: stage.clone(),
        begun: true,
        told_to_end_ms: None,
        result: None,
        refused: None,
    });
    view.begun = true;
    if world.stages.len() > STAGES_MAX {
        world.stages.pop_first();
    }
}

/// The newest attempt of a stage that this engine saw.
fn stage<'a>(world: &'a mut World, run: RunNumber, stage: &StageName) -> Option<&'a mut StageView> {
    let mut newest_first = world.stages.values_mut().rev();
    newest_first.find(|view| view.run == run && view.stage == *stage)
}

fn look_over(world: &mut World, seen: &Inspection) {
    let place = world.placements.entry(seen.placement.clone()).or_default();
    let view = place.balancers.entry(seen.balancer.clone()).or_default();
    view.unfit.clone_from(&seen.unfit);
    view.notes.clone_from(&seen.notes);
}

fn look_over_runtime(world: &mut World, seen: &RuntimeInspection) {
    let place = world.placements.entry(seen.placement.clone()).or_default();
    let view = place.runtimes.entry(seen.runtime.clone()).or_default();
    view.unfit.clone_from(&seen.unfit);
    view.notes.clone_from(&seen.notes);
    view.pinned.clone_from(&seen.pinned);
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
        EffectKey::Evidence(placement, server) => {
            let now_ms = world.now_ms;
            let place = world.placements.entry(placement.clone()).or_default();
            if let Some(view) = place.evidence.get_mut(server) {
                view.tried_ms = now_ms;
                view.tries += 1;
            }
        }
        EffectKey::Stock(placement, runtime) => {
            let now_ms = world.now_ms;
            let place = world.placements.entry(placement.clone()).or_default();
            let view = place.stock.entry(runtime.clone()).or_default();
            view.tried_ms = now_ms;
        }
        EffectKey::Stage(run, name) => {
            if let Some(view) = stage(world, *run, name) {
                let why = "it was lost sight of while it was under way".into();
                view.result.get_or_insert(StageResult::Unknown { why });
            }
        }
        EffectKey::Probe(..)
        | EffectKey::Smoke(..)
        | EffectKey::Metrics(..)
        | EffectKey::StageCancel(..) => {}
    }
}

/// Takes in how an effect ended that began at `began_ms`. Time only moves forward.
pub fn settled(world: &mut World, settled: &Settled, began_ms: u64, now_ms: u64) {
    world.now_ms = world.now_ms.max(now_ms);
    let now_ms = world.now_ms;
    let applied = settled.id.is_some() && settled.outcome == Outcome::Applied;
    if let EffectKey::Instance(placement, server) = &settled.key {
        let place = world.placements.entry(placement.clone()).or_default();
        place.attempts.insert(server.clone(), now_ms);
    }
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
            see_runtime(place, runtime, reading, began_ms..=now_ms);
        }
        Some(Observation::Metrics {
            placement,
            source,
            reading,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            see_metrics(place, source, reading, now_ms);
        }
        Some(Observation::Probe {
            placement,
            server,
            release,
            took_ms,
            result,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            let log = place.probes.entry(server.clone()).or_default();
            see_probe(log, *release, result, now_ms);
            log.took_ms = *took_ms;
        }
        Some(Observation::Smoke { placement, report }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            place.smoke = Some(report.clone());
        }
        Some(Observation::Evidence {
            placement,
            server,
            release,
            reading,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            see_evidence(place, server, *release, reading, now_ms);
        }
        Some(Observation::Stock {
            placement,
            runtime,
            found,
        }) => {
            let place = world.placements.entry(placement.clone()).or_default();
            let view = place.stock.entry(runtime.clone()).or_default();
            view.tried_ms = now_ms;
            view.found.clone_from(found);
        }
        Some(Observation::Stage { id, result }) => {
            if let Some(view) = world.stages.get_mut(id) {
                view.result = Some(result.clone());
            }
        }
        Some(Observation::Deploy { id, answer }) => {
            if let (Some(view), Answer::Refused(refusal)) = (world.stages.get_mut(id), &**answer) {
                view.refused = Some((now_ms, refusal.clone()));
            }
        }
        None => not_seen(world, settled),
    }
    if matches!(settled.outcome, Outcome::Unknown { .. }) {
        distrust(world, &settled.key);
    }
}

/// A stage that certainly was not begun is still to begin; nobody knows of anything else.
fn not_seen(world: &mut World, settled: &Settled) {
    if let (EffectKey::Stage(run, name), Outcome::Rejected { .. }) =
        (&settled.key, &settled.outcome)
        && let Some(view) = stage(world, *run, name)
    {
        view.begun = false;
        return;
    }
    distrust(world, &settled.key);
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
        sample(view, reading, from_ms, now_ms);
    } else {
        view.asserted = None;
        linger(view, now_ms);
    }
    if applied {
        view.asserted = Some(reading.settings());
        view.set_ms = Some(now_ms);
    }
    view.read_ms = Some(now_ms);
    view.trouble = None;
    view.reading = reading.clone();
}

/// The balancer's process is another one: whatever the former one was serving may go on there.
fn linger(view: &mut BalancerView, now_ms: u64) {
    let had_traffic = |view: &ServerView| view.effective_weight() > 0 || view.sessions > 0;
    let servers = view.reading.servers.iter();
    let busy = servers.filter(|(_, view)| had_traffic(view));
    view.lingering
        .extend(busy.map(|(server, _)| (server.clone(), now_ms)));
}

fn sample(view: &mut BalancerView, reading: &BalancerReading, from_ms: u64, to_ms: u64) {
    let set_ms = view.set_ms;
    let is_open = |last: &Sample| {
        let is_short = last.to_ms - last.from_ms < SAMPLE_MS_MIN;
        last.to_ms == from_ms && is_short && set_ms.is_none_or(|set_ms| set_ms <= last.from_ms)
    };
    for (server, now) in &reading.servers {
        let Some(then) = view.reading.servers.get(server) else {
            continue;
        };
        let Some(counters) = now.counters.since(&then.counters) else {
            continue;
        };
        if counters.requests > 0 || counters.errors > 0 {
            let unjudged = view.unjudged.entry(server.clone());
            let unjudged = unjudged.or_insert_with(|| Unjudged {
                from_ms,
                ..Unjudged::default()
            });
            unjudged.counters.add(&counters);
        }
        let log = view.samples.entry(server.clone()).or_default();
        match log.back_mut() {
            Some(last) if is_open(last) => {
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
    took: RangeInclusive<u64>,
) {
    let view = place.runtimes.entry(runtime.clone()).or_default();
    let (began_ms, now_ms) = took.into_inner();
    view.tried_ms = now_ms;
    match reading {
        Ok(reading) => {
            view.read_ms = Some(now_ms);
            view.began_ms = Some(began_ms);
            view.trouble = None;
            view.reading = reading.clone();
            see_usage(&mut place.usage, reading, now_ms);
        }
        Err(why) => view.trouble = Some(why.clone()),
    }
}

/// Keeps what instances used, at most one sample a second, where the runtime says it.
fn see_usage(
    usage: &mut BTreeMap<ServerName, VecDeque<UsageSample>>,
    reading: &RuntimeReading,
    now_ms: u64,
) {
    for (server, view) in &reading.instances {
        let used = view.memory_bytes.zip(view.memory_limit_bytes);
        let sample = UsageSample {
            at_ms: now_ms,
            release: view.release,
            cpu: view.cpu_percent.map(|percent| percent / 100.0),
            memory: used
                .filter(|(_, limit)| *limit > 0)
                .map(|(used, limit)| used as f64 / limit as f64),
        };
        if sample.cpu.is_none() && sample.memory.is_none() {
            continue;
        }
        let log = usage.entry(server.clone()).or_default();
        let soon = |last: &UsageSample| last.at_ms + SAMPLE_MS_MIN > now_ms;
        if log.back().is_some_and(soon) {
            continue;
        }
        log.push_back(sample);
        if log.len() > USAGE_MAX {
            log.pop_front();
        }
    }
}

fn see_metrics(
    place: &mut PlacementWorld,
    source: &MetricsName,
    reading: &Result<MetricsReading, Clean>,
    now_ms: u64,
) {
    let view = place.metrics.entry(source.clone()).or_default();
    view.tried_ms = now_ms;
    match reading {
        Ok(reading) => {
            view.read_ms = Some(now_ms);
            view.trouble = None;
            view.readings.push_back((now_ms, reading.clone()));
            if view.readings.len() > READINGS_MAX {
                view.readings.pop_front();
            }
        }
        Err(why) => view.trouble = Some(why.clone()),
    }
}

fn see_evidence(
    place: &mut PlacementWorld,
    server: &ServerName,
    release: ReleaseId,
    reading: &Result<Option<Evidence>, Clean>,
    now_ms: u64,
) {
    let anew = EvidenceView {
        release,
        tried_ms: now_ms,
        tries: 0,
        found: None,
    };
    let view = place.evidence.entry(server.clone());
    let view = view.or_insert_with(|| anew.clone());
    if view.release != release {
        *view = anew;
    }
    view.tried_ms = now_ms;
    match reading {
        Ok(found) => view.found = Some(found.clone()),
        Err(_) => view.tries += 1,
    }
}

fn see_probe(log: &mut ProbeLog, release: ReleaseId, result: &Result<(), Clean>, now_ms: u64) {
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
