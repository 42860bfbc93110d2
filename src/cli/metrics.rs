//! Sources of metrics as commands need them: the adapters a configuration names, and what each says
//! of itself.

use super::assemble::World;
use crate::config::{Config, Credentials, Loaded, PrometheusSettings};
use crate::driver::Peers;
use crate::metrics::discovery;
use crate::metrics::prometheus::{Login, Prometheus, PrometheusOptions};
use crate::model::{Clean, MetricsName, ServiceSpec};
use crate::ports::{Metrics, ReadError};
use crate::view::Snapshot;
use crate::view::discovery::targets;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The adapter of one source.
pub(super) fn adapter(
    name: &MetricsName,
    settings: &PrometheusSettings,
) -> Result<Prometheus, ReadError> {
    Prometheus::new(PrometheusOptions {
        name: name.clone(),
        url: settings.url.clone(),
        preset: settings.preset,
        selector: settings.selector.clone(),
        queries: settings.queries.clone(),
        series: settings.series.clone(),
        scrape_ms: settings.scrape_ms,
        window_ms: settings.window_ms,
        login: settings
            .credentials
            .clone()
            .map(|credentials| match credentials {
                Credentials::Bearer(token) => Login::Bearer(token),
                Credentials::Basic { user, password } => Login::Basic { user, password },
            }),
        ca: settings.ca.clone(),
    })
}

/// What one source of a service says of itself: its lines, or why it could not be asked.
pub(super) struct Inspected {
    pub(super) spec: ServiceSpec,
    pub(super) name: MetricsName,
    pub(super) lines: Result<Vec<Clean>, ReadError>,
}

/// Looks over every source of every service.
pub(super) async fn inspect(world: &World, loaded: &Loaded) -> Vec<Inspected> {
    let mut all = Vec::new();
    for spec in loaded.config.specs() {
        for source in &spec.metrics {
            let Some(metrics) = world.metrics(&source.name) else {
                continue;
            };
            all.push(Inspected {
                spec: spec.clone(),
                name: source.name.clone(),
                lines: metrics.inspect(spec).await,
            });
        }
    }
    all
}

/// Between two attempts to serve targets at an address somebody else holds.
const AGAIN: Duration = Duration::from_secs(10);

/// Lets every source of metrics find the instances that snapshots show, until `stop`.
pub(super) async fn publish_targets(
    config: Config,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    let served: BTreeSet<_> = config.metrics().filter_map(|(_, s)| s.http_sd).collect();
    let kept: BTreeSet<_> = config
        .metrics()
        .filter_map(|(_, s)| s.file_sd.clone())
        .collect();
    if served.is_empty() && kept.is_empty() {
        return;
    }
    let first = targets(&snapshots.borrow_and_update());
    let (tell, told) = watch::channel(Arc::new(first));
    let mut tasks = JoinSet::new();
    for address in served {
        tasks.spawn(serve(address, told.clone(), stop.clone()));
    }
    for path in kept {
        tasks.spawn(discovery::keep_file(path, told.clone(), stop.clone()));
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = snapshots.changed() => if changed.is_err() { break },
        }
        let now = targets(&snapshots.borrow_and_update());
        tell.send_if_modified(|before| {
            let changed = **before != now;
            if changed {
                *before = Arc::new(now);
            }
            changed
        });
    }
    tasks.shutdown().await;
}

async fn serve(address: SocketAddr, targets: discovery::Targets, stop: CancellationToken) {
    loop {
        match discovery::serve(address, targets.clone(), stop.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!("http_sd cannot listen at {address}: {error}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
