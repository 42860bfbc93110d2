//! Counts that were measured, and what the judge makes of them.

use super::Clean;
use super::comparison::EventEvidence;
use serde::{Deserialize, Serialize};

/// Upper edges of the latency buckets in ms; one more bucket holds everything above the last.
pub const LATENCY_EDGES_MS: [u32; 21] = [
    1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000,
    5_000, 10_000,
];

/// Buckets of a [`Histogram`]: the edges and the one above them.
pub const BUCKETS: usize = LATENCY_EDGES_MS.len() + 1;

/// Latencies counted per bucket. A request of exactly an edge's length is in that edge's bucket.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Requests per bucket, in the order of [`LATENCY_EDGES_MS`], then those above the last.
    pub buckets: [u64; BUCKETS],
    /// Sum of all latencies in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one request of `us` microseconds.
    pub fn record_us(&mut self, us: u64) {
        let bucket = LATENCY_EDGES_MS.partition_point(|&edge| u64::from(edge) * 1_000 < us);
        self.buckets[bucket] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Requests counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
    }

    /// What was counted since `earlier`; `None` if any count went backwards (a new process).
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut delta = Self::default();
        for (i, slot) in delta.buckets.iter_mut().enumerate() {
            *slot = self.buckets[i].checked_sub(earlier.buckets[i])?;
        }
        delta.sum_us = self.sum_us.checked_sub(earlier.sum_us)?;
        Some(delta)
    }

    /// Requests that took longer than `edge_ms`, which must be one of [`LATENCY_EDGES_MS`].
    pub fn above(&self, edge_ms: u32) -> Option<u64> {
        let edge = LATENCY_EDGES_MS.binary_search(&edge_ms).ok()?;
        Some(self.buckets[edge + 1..].iter().sum())
    }

    /// The bucket edge that `quantile` (0–1) of the requests stayed within, in ms; `None` without
    /// requests or when it lies above the last edge.
    pub fn quantile_edge_ms(&self, quantile: f64) -> Option<u32> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (count as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return LATENCY_EDGES_MS.get(i).copied();
            }
        }
        None
    }

    /// Mean latency in ms; `None` without requests.
    pub fn mean_ms(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_us as f64 / 1_000.0 / count as f64)
    }
}

/// What one server answered since some moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Requests given to it.
    pub requests: u64,
    /// Of those: answered 5xx, answered brokenly, not answered, retried or given to another.
    pub errors: u64,
    /// Latencies, where the balancer counts them.
    pub latency: Option<Histogram>,
    /// Requests that ended without a latency where latencies are counted: a log line was lost.
    #[serde(default)]
    pub unmeasured: u64,
}

impl Counters {
    /// Adds another server's or interval's counts.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.unmeasured += other.unmeasured;
        if let Some(theirs) = &other.latency {
            self.latency.get_or_insert_default().add(theirs);
        }
    }

    /// What was counted since `earlier`; `None` if any count went backwards.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(earlier.requests)?,
            errors: self.errors.checked_sub(earlier.errors)?,
            unmeasured: self.unmeasured.checked_sub(earlier.unmeasured)?,
            latency: match (&self.latency, &earlier.latency) {
                (Some(now), Some(then)) => Some(now.since(then)?),
                (Some(now), None) => Some(now.clone()),
                (None, _) => None,
            },
        })
    }

    /// Errors ÷ requests, 0–1; `None` without requests. A request with no counted answer is an
    /// error, so errors may exceed requests: the ratio is capped at 1.
    pub fn error_ratio(&self) -> Option<f64> {
        match (self.requests, self.errors) {
            (0, 0) => None,
            (requests, errors) => Some((errors as f64 / requests.max(1) as f64).min(1.0)),
        }
    }
}

/// The judge's word. Nothing is never a pass: without data it is [`VerdictClass::NoData`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictClass {
    /// Every rule that can judge is satisfied, and enough was seen.
    Pass,
    /// Not enough was seen yet.
    Inconclusive,
    /// The counters could not be read, or are too old.
    NoData,
    /// A rule is broken.
    Fail,
}

impl VerdictClass {
    /// The word screens show.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::NoData => "no-data",
            Self::Fail => "fail",
        }
    }
}

/// How one rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// Within its limit.
    Ok,
    /// Below its own minimum of samples: counts neither way.
    Wait,
    /// The source supplies no such figure.
    NoData,
    /// Over its limit.
    Broken,
}

/// One rule with the values it was held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable machine name, e.g. `error_ratio` or `latency_p99_vs_stable`.
    pub rule: String,
    /// How it stands.
    pub state: RuleState,
    /// The new release's value, in the rule's unit.
    pub canary: Option<f64>,
    /// Stable's value, in the same unit.
    pub stable: Option<f64>,
    /// The limit in force now, in the same unit; for a relative rule stable's value × ratio.
    pub limit: Option<f64>,
    /// Requests of the new release that were looked at.
    pub samples: u64,
    /// Requests it needs before it may judge.
    pub needs: u64,
    /// Where the values come from; empty for the balancers' counters and our own probes.
    #[serde(default, skip_serializing_if = "Clean::is_empty")]
    pub source: Clean,
    /// Why there is no value to judge, where there is none; for a comparison what it says so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Clean>,
    /// What the sequential test behind it says, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Box<EventEvidence>>,
}

/// The judge's verdict with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The word.
    pub class: VerdictClass,
    /// Consecutive failing judgements up to now.
    pub failures: u32,
    /// Every rule with its values, in the order of the decision tree.
    pub findings: Vec<Finding>,
    /// One sentence for people.
    pub because: Clean,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_an_edge_is_within_it() {
        let mut histogram = Histogram::default();
        histogram.record_us(1_000_000);
        histogram.record_us(1_000_001);
        assert_eq!(histogram.above(1_000), Some(1));
        assert_eq!(histogram.above(999), None, "no edge, no answer");
        assert_eq!(histogram.quantile_edge_ms(0.5), Some(1_000));
        assert_eq!(histogram.quantile_edge_ms(1.0), Some(1_500));
    }

    #[test]
    fn counts_that_go_backwards_have_no_difference() {
        let then = Counters {
            requests: 5,
            ..Counters::default()
        };
        let now = Counters {
            requests: 4,
            ..Counters::default()
        };
        assert_eq!(now.since(&then), None);
        assert_eq!(
            Counters::default().error_ratio(),
            None,
            "nothing is not zero"
        );
    }
}
