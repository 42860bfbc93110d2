//! Samples of a rollout: what both versions answered, point by point, and their running sums.

use super::INTERVAL_MS;
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Counters, Histogram, LATENCY_EDGES_MS};

/// Every sample of a rollout.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Edges in ms between which latencies are counted, rising.
    pub edges_ms: Vec<f64>,
    /// Names of the gauges.
    pub gauges: Vec<String>,
    /// The points in the order of time, each time once.
    pub points: Vec<Point>,
}

/// What was counted within the interval that ends at a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// The end of the interval, in ms.
    pub at_ms: u64,
    /// Of the canary; `None` where nobody says.
    pub canary: Option<Side>,
    /// Of stable.
    pub stable: Option<Side>,
}

/// What one version did within an interval.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Side {
    /// Its counts.
    pub counts: Counts,
    /// One value per gauge; `None` where there is none.
    pub gauges: Vec<Option<f64>>,
}

/// Counts of one version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Of those: errors.
    pub errors: u64,
    /// Of those: not slower than each edge.
    pub within: Vec<u64>,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.within
            .resize(other.within.len().max(self.within.len()), 0);
        for (mine, theirs) in self.within.iter_mut().zip(&other.within) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else {
            return self.clone();
        };
        let within = self.within.iter().enumerate();
        let before = |at: usize| earlier.within.get(at).copied().unwrap_or(0);
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            within: within.map(|(at, n)| n.saturating_sub(before(at))).collect(),
        }
    }

    /// As counters of which no latency is known.
    pub(super) fn without_latency(&self) -> Counters {
        Counters {
            requests: self.requests,
            errors: self.errors,
            ..Counters::default()
        }
    }
}

/// What both versions counted from the first point up to one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sums {
    pub(super) canary: Counts,
    pub(super) stable: Counts,
}

impl Sums {
    pub(super) fn since(&self, earlier: Option<&Self>) -> Self {
        Self {
            canary: self.canary.since(earlier.map(|sums| &sums.canary)),
            stable: self.stable.since(earlier.map(|sums| &sums.stable)),
        }
    }
}

impl Samples {
    /// The first point that says anything of the canary.
    pub(super) fn first_canary(&self) -> Option<usize> {
        self.points.iter().position(|point| point.canary.is_some())
    }

    pub(super) fn sums(&self) -> Vec<Sums> {
        let mut sum = Sums::default();
        let points = self.points.iter();
        let sums = points.map(|point| {
            let canary = point.canary.iter();
            canary.for_each(|side| sum.canary.add(&side.counts));
            let stable = point.stable.iter();
            stable.for_each(|side| sum.stable.add(&side.counts));
            sum.clone()
        });
        sums.collect()
    }

    /// The usual time between two points, in ms: the median; that of the comparison for a single
    /// one.
    pub(super) fn spacing_ms(&self) -> u64 {
        let gaps = self
            .points
            .windows(2)
            .map(|pair| pair[1].at_ms - pair[0].at_ms);
        let mut gaps: Vec<u64> = gaps.collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().unwrap_or(INTERVAL_MS)
    }

    /// The limits that these samples can be held against.
    pub(super) fn judgeable(&self, analysis: &AnalysisSettings) -> AnalysisSettings {
        let mut settings = analysis.clone();
        // Nobody probed, and counts between edges make no mean.
        (settings.infrastructure_health, settings.mean_ms) = (None, None);
        settings.mean_vs_stable = None;
        if !settings
            .latency_p99_ms
            .is_some_and(|limit| self.has_edge(limit))
        {
            settings.latency_p99_ms = None;
        }
        if self.edges_ms.is_empty() {
            settings.latency_p99_vs_stable = None;
        }
        settings
    }

    /// Whether latencies are counted up to exactly that.
    pub fn has_edge(&self, limit_ms: u32) -> bool {
        let is_it = |edge: &f64| (edge - f64::from(limit_ms)).abs() < 1e-6;
        self.edges_ms.iter().any(is_it)
    }

    /// Counts as counters. A request counted up to an edge that a [`Histogram`] does not have goes to
    /// the next one above: for the edges written here, shares of slower requests stay exact.
    pub(super) fn counters(&self, counts: &Counts) -> Counters {
        let mut counters = counts.without_latency();
        if counts.within.is_empty() {
            return counters;
        }
        let mut latency = Histogram::default();
        let mut below = 0;
        for (edge_ms, within) in self.edges_ms.iter().zip(&counts.within) {
            let bucket = LATENCY_EDGES_MS.partition_point(|edge| f64::from(*edge) < *edge_ms);
            latency.buckets[bucket] += within.saturating_sub(below);
            below = (*within).max(below);
        }
        latency.buckets[LATENCY_EDGES_MS.len()] += counts.requests.saturating_sub(below);
        counters.latency = Some(latency);
        counters
    }
}
