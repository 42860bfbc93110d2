//! The demo service's counters in the text form Prometheus reads.

use crate::model::verdict::{Histogram, LATENCY_EDGES_MS};
use hyper::StatusCode;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Statuses that are told from the start: a series first seen at 12 has no increase.
const FROM_THE_START: [u16; 2] = [200, 500];

#[derive(Debug)]
struct Counts {
    by_status: BTreeMap<u16, u64>,
    latency: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            by_status: FROM_THE_START.map(|status| (status, 0)).into(),
            latency: Histogram::default(),
        }
    }
}

/// Requests by status, and how long they took.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Counts one request.
    pub(super) fn count(&self, status: StatusCode, took: Duration) {
        let mut counts = self.lock();
        *counts.by_status.entry(status.as_u16()).or_default() += 1;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counts.latency.record_us(us);
    }

    /// Everything counted so far.
    pub(super) fn text(&self, version: &str) -> String {
        let counts = self.lock();
        let mut text = String::from(
            "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n",
        );
        for (status, count) in &counts.by_status {
            text.push_str(&format!(
                "http_requests_total{{version=\"{version}\",code=\"{status}\"}} {count}\n"
            ));
        }
        histogram(&mut text, version, &counts.latency);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts
            .lock()
            .expect("invariant: nothing panics under the counters' lock")
    }
}

fn histogram(text: &mut String, version: &str, latency: &Histogram) {
    const NAME: &str = "http_request_duration_seconds";
    text.push_str(&format!(
        "# HELP {NAME} Time to answer.\n# TYPE {NAME} histogram\n"
    ));
    let mut within = 0;
    let edges = LATENCY_EDGES_MS
        .iter()
        .map(|ms| (f64::from(*ms) / 1_000.0).to_string());
    let edges = edges.chain(["+Inf".to_owned()]);
    for (edge, count) in edges.zip(latency.buckets) {
        within += count;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{NAME}_bucket{{version=\"{version}\",le=\"{edge}\"}} {within}"
        );
    }
    let sum = latency.sum_us as f64 / 1_000_000.0;
    text.push_str(&format!("{NAME}_sum{{version=\"{version}\"}} {sum}\n"));
    text.push_str(&format!("{NAME}_count{{version=\"{version}\"}} {within}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_begin_at_zero() {
        let text = Metrics::default().text("2.0");
        for code in ["200", "500"] {
            let line = format!("http_requests_total{{version=\"2.0\",code=\"{code}\"}} 0");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all_requests() {
        let metrics = Metrics::default();
        metrics.count(StatusCode::OK, Duration::from_millis(7));
        metrics.count(StatusCode::INTERNAL_SERVER_ERROR, Duration::from_secs(60));
        let text = metrics.text("2.0");
        for line in [
            "http_requests_total{version=\"2.0\",code=\"500\"} 1",
            "http_request_duration_seconds_bucket{version=\"2.0\",le=\"0.005\"} 0",
            "http_request_duration_seconds_bucket{version=\"2.0\",le=\"0.01\"} 1",
            "http_request_duration_seconds_bucket{version=\"2.0\",le=\"+Inf\"} 2",
            "http_request_duration_seconds_count{version=\"2.0\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
