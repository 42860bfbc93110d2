//! Latencies and gauges of a file of samples, as a source of metrics would tell them: between the
//! file's own edges, by the file's own names.

use super::samples::{Counts, Samples, Side, Sums};
use crate::analysis::rules::P99_REQUESTS_MIN;
use crate::analysis::{RECENT_MS, SourceEvidence, SourceState};
use crate::model::metrics::{Buckets, Figure, Measured, ReleaseFigures};
use crate::model::{Clean, ReleaseId};
use std::collections::BTreeMap;

/// What a file says beside requests and errors; nothing where it has neither latencies nor a gauge
/// that there is a limit for.
pub(super) fn evidence(
    samples: &Samples,
    at: usize,
    whole: &Sums,
    recent: &Sums,
) -> Vec<SourceEvidence> {
    let gauges: Vec<(usize, Figure)> = judged(samples);
    if samples.edges_ms.is_empty() && gauges.is_empty() {
        return Vec::new();
    }
    // A minute that is enough by itself shows a late failure undiluted.
    let enough = recent.canary.requests.min(recent.stable.requests) >= P99_REQUESTS_MIN;
    let sums = if enough { recent } else { whole };
    let has_stable = samples.points.iter().any(|point| point.stable.is_some());
    let stable = || figures(samples, &sums.stable, BTreeMap::new());
    vec![SourceEvidence {
        name: Clean::new("samples"),
        state: SourceState::Answers,
        canary: Some(figures(samples, &sums.canary, values(samples, at, &gauges))),
        stable: has_stable.then(stable),
        share_percent: None,
        scrapes: at as u64 + 1,
    }]
}

/// Gauges that there may be a limit for, with where they stand.
fn judged(samples: &Samples) -> Vec<(usize, Figure)> {
    let limited = [Figure::Cpu, Figure::Memory, Figure::Disk, Figure::Uptime];
    let names = samples.gauges.iter().enumerate();
    let found = names.filter_map(|(column, name)| {
        let figure = limited.into_iter().find(|figure| figure.word() == name)?;
        Some((column, figure))
    });
    found.collect()
}

/// The canary's gauges, in the mean over the last minute.
fn values(
    samples: &Samples,
    at: usize,
    gauges: &[(usize, Figure)],
) -> BTreeMap<Figure, Measured<f64>> {
    let until = &samples.points[..=at];
    let recent_ms = until[at].at_ms.saturating_sub(RECENT_MS);
    let recent = |column: usize| {
        let points = until
            .iter()
            .rev()
            .take_while(|point| point.at_ms > recent_ms);
        let sides = points.filter_map(|point| point.canary.as_ref());
        let values: Vec<f64> = sides
            .filter_map(|side: &Side| side.gauges.get(column)?.as_ref().copied())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let measured = |(column, figure): &(usize, Figure)| {
        let value = match recent(*column) {
            Some(value) => Measured::Value(value),
            None => {
                let text = format!("no {} of the canary within the last minute", figure.word());
                Measured::Nothing(Clean::new(&text))
            }
        };
        (*figure, value)
    };
    gauges.iter().map(measured).collect()
}

fn figures(
    samples: &Samples,
    counts: &Counts,
    figures: BTreeMap<Figure, Measured<f64>>,
) -> ReleaseFigures {
    let buckets = || {
        let edges = samples.edges_ms.iter().zip(&counts.within);
        Measured::Value(Buckets {
            within: edges
                .map(|(edge, within)| (*edge, *within as f64))
                .collect(),
            count: counts.requests as f64,
        })
    };
    ReleaseFigures {
        release: ReleaseId(uuid::Uuid::nil()),
        figures,
        latency: (!samples.edges_ms.is_empty()).then(buckets),
        age_ms: Some(0),
        past_p99_ms: Vec::new(),
    }
}
