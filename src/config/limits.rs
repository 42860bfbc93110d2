//! Which limits of the analysis somebody can judge: a limit without a source for it is off where it
//! is a default, and a fault where it is written. Must not know what the judge does.

use super::durations;
use super::errors::Problems;
use super::service::ServiceText;
use crate::config::defaults;
use crate::model::metrics::{Figure, MetricsSource};
use crate::model::service::AnalysisSettings;
use crate::model::verdict::LATENCY_EDGES_MS;
use std::collections::BTreeSet;

/// Who supplies what.
pub(super) struct Supply<'a> {
    /// Whether there is a balancer, which counts requests and errors.
    pub(super) balancer: bool,
    /// Whether the balancer counts latencies, between the edges of its own.
    pub(super) balancer_latencies: bool,
    /// Whether the runtime says what containers use.
    pub(super) runtime_gauges: bool,
    /// Sources of metrics.
    pub(super) metrics: &'a [MetricsSource],
}

impl Supply<'_> {
    fn figures(&self) -> BTreeSet<Figure> {
        let mut all: BTreeSet<Figure> = self
            .metrics
            .iter()
            .flat_map(|source| source.supplies.iter().copied())
            .collect();
        if self.balancer {
            all.extend([Figure::Requests, Figure::Errors]);
        }
        if self.balancer_latencies {
            all.extend([Figure::Latency, Figure::Mean]);
        }
        if self.runtime_gauges {
            all.extend([Figure::Cpu, Figure::Memory]);
        }
        all
    }
}

/// The analysis with those limits that can be judged; those that were written and cannot are
/// reported.
pub(super) fn judgeable(
    text: &ServiceText,
    supply: &Supply<'_>,
    problems: &Problems<'_>,
) -> AnalysisSettings {
    let there = supply.figures();
    for (figure, place) in &text.analysis.latency_limits {
        if !there.contains(figure) {
            let (what, mend) = without_latencies(supply);
            problems.error(place, what, mend);
        }
    }
    for (figure, place) in &text.analysis.error_limits {
        if !there.contains(figure) {
            let mend = "name a [metrics.NAME] that counts them in the environment, or set it to \
                        false where traffic is \"none\"";
            problems.error(place, WITHOUT_BALANCER, mend);
        }
    }
    for (figure, place) in &text.analysis.gauge_limits {
        if !there.contains(figure) {
            let (what, mend) = without_gauge(*figure);
            problems.error(place, what, mend);
        }
    }
    if supply.balancer_latencies {
        p99_edge(text, problems);
    }
    let mut analysis = text.analysis.settings.clone();
    let lacks = |figure| !there.contains(&figure);
    if !supply.balancer {
        // Only a balancer counts both versions side by side.
        analysis.comparison = None;
        if text.analysis.relative_errors_unset {
            let times = defaults::ERROR_RATIO_VS_STABLE_OF_SOURCES;
            analysis.error_ratio_vs_stable = Some(times);
        }
    }
    if lacks(Figure::Errors) {
        (analysis.error_ratio, analysis.error_ratio_vs_stable) = (None, None);
    }
    if lacks(Figure::Latency) {
        (analysis.latency_p99_ms, analysis.latency_p99_vs_stable) = (None, None);
    }
    if lacks(Figure::Mean) {
        (analysis.mean_ms, analysis.mean_vs_stable) = (None, None);
    }
    let gauges = [
        (Figure::Cpu, &mut analysis.cpu),
        (Figure::Memory, &mut analysis.memory),
        (Figure::Disk, &mut analysis.disk),
        (Figure::Uptime, &mut analysis.uptime),
    ];
    for (figure, limit) in gauges {
        if lacks(figure) {
            *limit = None;
        }
    }
    analysis
}

const WITHOUT_BALANCER: &str = "cannot be judged: without a balancer nobody counts requests";

fn without_latencies(supply: &Supply<'_>) -> (&'static str, &'static str) {
    match supply.balancer {
        true => (
            "cannot be judged: HAProxy's counters carry no latencies",
            "give the balancer a log, name a [metrics.NAME] that has latencies in the \
             environment, or set it to false where HAProxy stands in front",
        ),
        false => (
            WITHOUT_BALANCER,
            "name a [metrics.NAME] that has latencies in the environment, or set it to false \
             where traffic is \"none\"",
        ),
    }
}

fn without_gauge(figure: Figure) -> (String, String) {
    let what = format!("cannot be judged: nothing here measures {}", figure.word());
    let preset = match figure {
        Figure::Disk => "node",
        Figure::Uptime => "http",
        _ => "cadvisor",
    };
    let mend = format!(
        "name a [metrics.NAME] with preset = \"{preset}\", or with a query of its own, in the \
         environment; or set it to false"
    );
    (what, mend)
}

/// The balancer counts between edges of its own: the limit must be one of them.
fn p99_edge(text: &ServiceText, problems: &Problems<'_>) {
    let place = text.analysis.latency_p99();
    if let (Some(place), Some(ms)) = (place, text.analysis.settings.latency_p99_ms)
        && !LATENCY_EDGES_MS.contains(&ms)
    {
        let what = format!("{ms} ms is no edge of the latency histogram");
        problems.error(place, what, nearest_edges(ms));
    }
}

fn nearest_edges(written: u32) -> String {
    let above = LATENCY_EDGES_MS.partition_point(|&edge| edge < written);
    let below = above.checked_sub(1).and_then(|i| LATENCY_EDGES_MS.get(i));
    match (below, LATENCY_EDGES_MS.get(above)) {
        (Some(below), Some(above)) => format!("use the next edge: {below} or {above}"),
        (Some(edge), None) | (None, Some(edge)) => format!("use the next edge: {edge}"),
        (None, None) => "use false".to_owned(),
    }
}

/// A soak must span a few scrapes, else nothing could confirm the step.
pub(super) fn soak_spans_scrapes(
    text: &ServiceText,
    metrics: &[MetricsSource],
    problems: &Problems<'_>,
) {
    let Some(text) = text.steps() else {
        return;
    };
    let Some(slowest) = metrics.iter().max_by_key(|source| source.scrape_ms) else {
        return;
    };
    let least_ms = slowest.scrape_ms * defaults::SCRAPES_MIN;
    let steps = text.steps.iter();
    if let Some(soak_ms) = steps.map(|step| step.soak_ms).min()
        && soak_ms < least_ms
    {
        let what = format!(
            "a step soaks for {}, shorter than {} scrapes of {}, which confirms it",
            durations::text(soak_ms),
            defaults::SCRAPES_MIN,
            slowest.name
        );
        let mend = format!(
            "soak for at least \"{}\", or scrape more often and say so with scrape_interval",
            durations::text(least_ms)
        );
        problems.error(&text.place.of_key("soak"), what, mend);
    }
}
