//! What a metrics source is asked, and what it may answer. Must not know query languages.

use super::{Clean, MetricsName, Name, ReleaseId, ServerName, Version};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A figure that a source may supply for one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Requests answered within the window.
    Requests,
    /// Of those: errors.
    Errors,
    /// How long requests took within the window: counts per bucket.
    Latency,
    /// Mean response in ms.
    Mean,
    /// CPU used ÷ what may be used, 0–1.
    Cpu,
    /// Memory used ÷ what may be used, 0–1.
    Memory,
    /// Disk used ÷ its size, 0–1, of the fullest file system.
    Disk,
    /// Scrapes answered ÷ made over the last hour, 0–1.
    Uptime,
}

/// How far back [`Figure::Uptime`] looks.
pub const UPTIME_MS: u64 = 3_600_000;

impl Figure {
    /// Every figure with the word that configurations use.
    pub const ALL: [(&'static str, Self); 8] = [
        ("requests", Self::Requests),
        ("errors", Self::Errors),
        ("latency", Self::Latency),
        ("mean", Self::Mean),
        ("cpu", Self::Cpu),
        ("memory", Self::Memory),
        ("disk", Self::Disk),
        ("uptime", Self::Uptime),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, figure)| *figure == self);
        found.map_or("?", |(word, _)| word)
    }
}

/// By what a source's series tell two releases apart; never by a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldBy {
    /// By the label `release`, which the targets carry.
    Release,
    /// By the balancer's servers: what they counted before belongs to whoever stood there then.
    Server,
}

/// Questions that come ready-made, by what was scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The services' own `http_requests_total` and `http_request_duration_seconds`.
    Http,
    /// HAProxy's own exporter.
    Haproxy,
    /// Containers as cAdvisor sees them.
    Cadvisor,
    /// The machine as node-exporter sees it.
    Node,
}

impl Preset {
    /// Every preset with its word.
    pub const ALL: [(&'static str, Self); 4] = [
        ("http", Self::Http),
        ("haproxy", Self::Haproxy),
        ("cadvisor", Self::Cadvisor),
        ("node", Self::Node),
    ];

    /// The figures it supplies.
    pub fn supplies(self) -> &'static [Figure] {
        match self {
            Self::Http => &[
                Figure::Requests,
                Figure::Errors,
                Figure::Latency,
                Figure::Mean,
                Figure::Uptime,
            ],
            Self::Haproxy => &[Figure::Requests, Figure::Errors],
            Self::Cadvisor => &[Figure::Cpu, Figure::Memory],
            Self::Node => &[Figure::Disk],
        }
    }

    /// By what its series tell releases apart.
    pub fn told_by(self) -> ToldBy {
        match self {
            Self::Haproxy => ToldBy::Server,
            Self::Http | Self::Cadvisor | Self::Node => ToldBy::Release,
        }
    }
}

/// A source of metrics as one placement uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsSource {
    /// As `[metrics.NAME]` names it.
    pub name: MetricsName,
    /// Between two scrapes; samples older than two of them are no data.
    pub scrape_ms: u64,
    /// How far back each question looks; at least four scrapes.
    pub window_ms: u64,
    /// By what its series tell releases apart.
    pub told_by: ToldBy,
    /// The figures it supplies.
    pub supplies: BTreeSet<Figure>,
}

/// One release, as a source must tell it from others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: Version,
    /// The servers it stands behind.
    pub servers: BTreeSet<ServerName>,
    /// The balancer's backend.
    pub backend: Option<Name>,
}

/// What a source is asked: everything it supplies for these releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsQuestion {
    /// The release under way, once there is one.
    pub canary: Option<Subject>,
    /// What it is compared with.
    pub stable: Option<Subject>,
    /// How far back it is to tell latencies, for screens of an engine that just began to look; 0
    /// asks for none.
    pub past_ms: u64,
}

/// An answer that is a value, or says why it is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured<T> {
    /// A finite value.
    Value(T),
    /// There is none: no series, or none that is new enough.
    Nothing(Clean),
    /// There is one that means nothing, such as NaN.
    Doubtful(Clean),
}

impl<T> Measured<T> {
    /// The value, if it is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

/// Latencies counted by somebody else, between edges of their own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Buckets {
    /// Upper edge in ms → requests within it, both rising. The last edge may be infinite and is
    /// then kept apart, in `count`.
    pub within: Vec<(f64, f64)>,
    /// All requests.
    pub count: f64,
}

impl Buckets {
    /// Requests that took longer than `limit_ms`; `None` where that is no edge.
    pub fn above(&self, limit_ms: f64) -> Option<f64> {
        let close = |edge: f64| (edge - limit_ms).abs() <= limit_ms * 1e-6;
        let (_, within) = self.within.iter().find(|(edge, _)| close(*edge))?;
        Some((self.count - within).max(0.0))
    }

    /// The first edge not below `ms`; `None` above the last finite one.
    pub fn edge_at_least(&self, ms: f64) -> Option<f64> {
        let mut edges = self.within.iter().map(|(edge, _)| *edge);
        edges.find(|edge| *edge >= ms * (1.0 - 1e-6))
    }

    /// The edges next to `ms`, below and above.
    pub fn nearest_edges(&self, ms: f64) -> Vec<f64> {
        let above = self.within.partition_point(|(edge, _)| *edge < ms);
        let from = above.saturating_sub(1);
        let near = self.within.iter().skip(from).take(above - from + 1);
        near.map(|(edge, _)| *edge).collect()
    }

    /// The edge in ms that `quantile` (0–1) of the requests stayed within; `None` without requests
    /// or above the last finite edge. For display and for limits relative to stable.
    pub fn quantile_edge_ms(&self, quantile: f64) -> Option<f64> {
        let rank = self.count * quantile;
        let mut edges = self.within.iter();
        let found = edges.find(|(_, within)| self.count > 0.0 && *within >= rank);
        found.map(|(edge, _)| *edge)
    }
}

/// What a source said of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseFigures {
    /// Which release.
    pub release: ReleaseId,
    /// One answer per figure asked; latencies are in `latency`.
    pub figures: BTreeMap<Figure, Measured<f64>>,
    /// Latencies, where the source supplies them.
    pub latency: Option<Measured<Buckets>>,
    /// Age of its newest sample, by the source's own clock.
    pub age_ms: Option<u64>,
    /// Its p99 in ms at earlier times by our clock, as far as that was asked for and known; for
    /// screens, not for the judge.
    pub past_p99_ms: Vec<(u64, f64)>,
}

impl ReleaseFigures {
    /// A figure's value, if it has one.
    pub fn value(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure)?.value().copied()
    }

    /// Why something is missing that was asked for; `None` when all is there.
    pub fn nothing(&self) -> Option<&Clean> {
        let of_latency = self.latency.iter().find_map(|latency| match latency {
            Measured::Nothing(why) => Some(why),
            _ => None,
        });
        let mut of_figures = self.figures.values().filter_map(|figure| match figure {
            Measured::Nothing(why) => Some(why),
            _ => None,
        });
        of_figures.next().or(of_latency)
    }

    /// Why something that was answered means nothing; `None` when all does.
    pub fn doubtful(&self) -> Option<&Clean> {
        let of_latency = self.latency.iter().find_map(|latency| match latency {
            Measured::Doubtful(why) => Some(why),
            _ => None,
        });
        let mut of_figures = self.figures.values().filter_map(|figure| match figure {
            Measured::Doubtful(why) => Some(why),
            _ => None,
        });
        of_figures.next().or(of_latency)
    }
}

/// One whole answer of a metrics source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricsReading {
    /// Of the release under way.
    pub canary: Option<ReleaseFigures>,
    /// Of what it is compared with.
    pub stable: Option<ReleaseFigures>,
    /// Its clock minus ours, in ms; ages are by its clock all the same.
    pub skew_ms: i64,
}

/// What a source of metrics needs to know to find instances: addresses, and the labels that their
/// series shall carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Addresses, as `IP:PORT`.
    pub targets: Vec<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets {
        Buckets {
            within: vec![(100.0, 90.0), (250.0, 98.0), (1_000.0, 99.5)],
            count: 100.0,
        }
    }

    #[test]
    fn a_limit_is_judged_at_an_edge_only_and_the_nearest_are_told() {
        assert_eq!(buckets().above(250.0), Some(2.0));
        assert_eq!(buckets().above(200.0), None, "no edge, no answer");
        assert_eq!(buckets().nearest_edges(200.0), [100.0, 250.0]);
        assert_eq!(buckets().nearest_edges(1.0), [100.0]);
        assert_eq!(buckets().nearest_edges(5_000.0), [1_000.0]);
        assert!(Buckets::default().nearest_edges(1.0).is_empty());
    }

    #[test]
    fn a_quantile_above_the_last_edge_is_unknown() {
        assert_eq!(buckets().quantile_edge_ms(0.9), Some(100.0));
        assert_eq!(buckets().quantile_edge_ms(0.99), Some(1_000.0));
        assert_eq!(buckets().quantile_edge_ms(0.999), None);
        assert_eq!(Buckets::default().quantile_edge_ms(0.5), None);
    }
}
