//! How the key metrics moved, in buckets; a gap stays a gap.

use super::rules;
use super::snapshot::{MetricRow, Trend};
use crate::engine::Look;
use crate::model::metrics::{Figure, ReleaseFigures};
use crate::model::verdict::Counters;
use crate::model::{Clean, ReleaseId};

/// Length of a bucket.
const BUCKET_MS: u64 = 2_000;
/// Buckets of a trend.
const BUCKETS: u64 = 90;
/// Shortest time over which a rate is told.
const RATE_MS_MIN: u64 = 1_000;

/// Trends of error rate and p99 while a rollout is open.
pub(super) fn trends(look: &Look<'_>) -> Vec<Trend> {
    let Some(rollout) = &look.place.rollout else {
        return Vec::new();
    };
    let until_ms = look.now_ms / BUCKET_MS * BUCKET_MS;
    let canary = buckets(look, Some(rollout.release), until_ms);
    let stable = buckets(look, rollout.from, until_ms);
    let limits = &look.place.spec.analysis;
    let error = |counters: &Counters| counters.error_ratio().map(|ratio| ratio * 100.0);
    let p99 = |counters: &Counters| {
        let edge = counters.latency.as_ref()?.quantile_edge_ms(0.99)?;
        Some(f64::from(edge))
    };
    let trend = |rule: &str, figure: &dyn Fn(&Counters) -> Option<f64>, limit: Option<f64>| {
        let (name, unit, factor) = rules::named(rule);
        Trend {
            name: name.into(),
            unit: unit.into(),
            bucket_ms: BUCKET_MS,
            until_ms,
            canary: canary.iter().map(figure).collect(),
            stable: stable.iter().map(figure).collect(),
            limit: limit.map(|limit| limit * factor),
        }
    };
    let error = trend("error_ratio", &error, limits.error_ratio);
    let p99 = trend("latency_p99", &p99, limits.latency_p99_ms.map(f64::from));
    let has_latency = |p99: &Trend| p99.canary.iter().chain(&p99.stable).any(Option::is_some);
    // Where the balancers count no latencies, a source of metrics may.
    let p99 = Some(p99)
        .filter(has_latency)
        .or_else(|| of_source(look, until_ms).filter(has_latency));
    std::iter::once(error).chain(p99).collect()
}

/// How the p99 moved by the first source of metrics that has latencies.
fn of_source(look: &Look<'_>, until_ms: u64) -> Option<Trend> {
    let sources = look.place.spec.metrics.iter();
    let source = sources
        .filter(|source| source.supplies.contains(&Figure::Latency))
        .find_map(|source| Some((source, look.seen?.metrics.get(&source.name)?)));
    let (source, view) = source?;
    let first_ms = until_ms.saturating_sub(BUCKETS * BUCKET_MS);
    let p99 = |about: &Option<ReleaseFigures>| {
        let latency = about.as_ref()?.latency.as_ref()?.value()?;
        latency.quantile_edge_ms(0.99)
    };
    let mut canary = vec![None; BUCKETS as usize];
    let mut stable = canary.clone();
    let put = |values: &mut [Option<f64>], at_ms: u64, value: Option<f64>| {
        let index = at_ms.checked_sub(first_ms + 1).map(|ms| ms / BUCKET_MS);
        let slot = index.and_then(|index| values.get_mut(index as usize));
        if let Some(slot) = slot {
            *slot = value.or(*slot);
        }
    };
    for (at_ms, reading) in &view.readings {
        for (values, about) in [
            (&mut canary, &reading.canary),
            (&mut stable, &reading.stable),
        ] {
            for (past_ms, value) in about.iter().flat_map(|about| &about.past_p99_ms) {
                put(values, *past_ms, Some(*value));
            }
            put(values, *at_ms, p99(about));
        }
    }
    let (name, unit, factor) = rules::named("latency_p99");
    let limit = look.place.spec.analysis.latency_p99_ms;
    Some(Trend {
        name: rules::sourced(name, &Clean::new(source.name.as_str())),
        unit: unit.into(),
        bucket_ms: BUCKET_MS,
        until_ms,
        canary,
        stable,
        limit: limit.map(|limit| f64::from(limit) * factor),
    })
}

fn buckets(look: &Look<'_>, release: Option<ReleaseId>, until_ms: u64) -> Vec<Counters> {
    let first_ms = until_ms.saturating_sub(BUCKETS * BUCKET_MS);
    let mut buckets = vec![Counters::default(); BUCKETS as usize];
    let Some(release) = release else {
        return buckets;
    };
    for (server, instance) in look.place.servers_of(release) {
        let from_ms = first_ms.max(instance.since_ms);
        for sample in look.samples_since(server, from_ms) {
            let index = (sample.to_ms.saturating_sub(first_ms + 1) / BUCKET_MS) as usize;
            if let Some(bucket) = buckets.get_mut(index) {
                bucket.add(&sample.counters);
            }
        }
    }
    buckets
}

/// Requests per second of some releases since a time; `None` before two readings.
pub(super) fn rate(look: &Look<'_>, releases: &[ReleaseId], since_ms: u64) -> Option<f64> {
    let views = look.seen?.balancers.values();
    let samples = views.flat_map(|view| view.samples.values()).flatten();
    let in_window = samples.filter(|sample| sample.from_ms >= since_ms);
    let (from_ms, to_ms) = in_window.fold((u64::MAX, 0), |(from_ms, to_ms), sample| {
        (from_ms.min(sample.from_ms), to_ms.max(sample.to_ms))
    });
    let length_ms = to_ms
        .checked_sub(from_ms)
        .filter(|length| *length >= RATE_MS_MIN)?;
    let requests: u64 = releases
        .iter()
        .map(|release| look.counted(*release, since_ms, look.now_ms).requests)
        .sum();
    Some(requests as f64 * 1_000.0 / length_ms as f64)
}

/// Length of the window for the table's request rates.
const RATE_WINDOW_MS: u64 = 5_000;

/// Requests per second, canary against stable: a figure nobody judges.
pub(super) fn request_rate_row(look: &Look<'_>) -> Option<MetricRow> {
    let since_ms = look.now_ms.saturating_sub(RATE_WINDOW_MS);
    let canary = look.place.canary();
    let stable = match &look.place.rollout {
        Some(rollout) => rollout.from,
        None => look.place.stable(),
    };
    let of = |release: Option<ReleaseId>| rate(look, &[release?], since_ms);
    let (canary, stable) = (of(canary), of(stable));
    (canary.is_some() || stable.is_some()).then(|| MetricRow {
        name: "requests".into(),
        unit: "/s".into(),
        stable,
        canary,
        limit: None,
        state: None,
        samples: 0,
        needs: 0,
        source: Clean::default(),
        note: None,
        compared: None,
    })
}
