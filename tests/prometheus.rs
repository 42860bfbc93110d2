//! The adapter for Prometheus: against a server that lies, hangs and floods (FAULTS 71-77, 80, 86),
//! and against a real one (72, 74, 76, 78, 79, 81, 83, 86), with discovery both ways.

#[path = "support/haproxy.rs"]
mod haproxy;
#[path = "support/needs.rs"]
mod needs;
#[path = "support/prometheus.rs"]
mod support;

#[path = "prometheus/fake.rs"]
mod fake;
#[path = "prometheus/faults.rs"]
mod faults;
#[path = "prometheus/real.rs"]
mod real;

use std::collections::BTreeMap;
use uuid::Uuid;
use wheelhouse::metrics::prometheus::{Prometheus, PrometheusOptions};
use wheelhouse::model::metrics::{MetricsQuestion, MetricsReading, Preset, Subject};
use wheelhouse::model::{Placement, ReleaseId};
use wheelhouse::ports::{Metrics, ReadError};

const CANARY: ReleaseId = ReleaseId(Uuid::from_u128(2));
const STABLE: ReleaseId = ReleaseId(Uuid::from_u128(1));

fn placement() -> Placement {
    "shop@production".parse().expect("a placement")
}

fn subject(release: ReleaseId, version: &str, server: &str) -> Subject {
    Subject {
        release,
        version: version.parse().expect("a version"),
        servers: [server.parse().expect("a name")].into(),
        backend: Some("web".parse().expect("a name")),
    }
}

fn question() -> MetricsQuestion {
    MetricsQuestion {
        canary: Some(subject(CANARY, "v2", "web2")),
        stable: Some(subject(STABLE, "v1", "web1")),
        past_ms: 0,
    }
}

fn options(url: &str, preset: Preset) -> PrometheusOptions {
    PrometheusOptions {
        name: "prom".parse().expect("a name"),
        url: url.to_owned(),
        preset: Some(preset),
        selector: None,
        queries: BTreeMap::new(),
        series: None,
        scrape_ms: 1_000,
        window_ms: 5_000,
        login: None,
        ca: None,
    }
}

fn adapter(url: &str, preset: Preset) -> Prometheus {
    Prometheus::new(options(url, preset)).expect("an adapter")
}

async fn read(prometheus: &Prometheus) -> Result<MetricsReading, ReadError> {
    prometheus.read(&placement(), &question()).await
}

/// Only about the new release.
async fn read_canary(prometheus: &Prometheus) -> Result<MetricsReading, ReadError> {
    let question = MetricsQuestion {
        stable: None,
        ..question()
    };
    prometheus.read(&placement(), &question).await
}
