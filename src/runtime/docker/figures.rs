//! Processor time and memory of running containers, read beside the readings so that none waits
//! for them.

use super::read::Ours;
use bollard::Docker;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Between two looks at one container.
const INTERVAL: Duration = Duration::from_secs(5);
/// For one look.
const DEADLINE: Duration = Duration::from_secs(3);
/// Containers remembered.
const CONTAINERS_MAX: usize = 512;

/// What one container uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    /// Percent of one processor since the look before; `None` after the first.
    pub(super) cpu_percent: Option<f64>,
    /// Without what the kernel would give back.
    pub(super) memory_bytes: u64,
    /// What it may use; `None` where that is the whole machine.
    pub(super) memory_limit_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Container {
    asked: Option<Instant>,
    cpu: Option<(Instant, u64)>,
    figure: Option<Figure>,
}

/// The newest figures, by container.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    all: Arc<Mutex<HashMap<String, Container>>>,
}

impl Figures {
    pub(super) fn of(&self, id: &str) -> Option<Figure> {
        self.all.lock().ok()?.get(id)?.figure
    }

    /// Begins a look at each container whose last one is old. Returns at once.
    pub(super) fn refresh(&self, docker: &Docker, ours: &[Ours]) {
        let Ok(mut all) = self.all.lock() else {
            return;
        };
        if all.len() > CONTAINERS_MAX {
            all.clear();
        }
        for ours in ours.iter().filter(|ours| ours.is_running()) {
            let known = all.entry(ours.id.clone()).or_default();
            if known.asked.is_some_and(|asked| asked.elapsed() < INTERVAL) {
                continue;
            }
            known.asked = Some(Instant::now());
            let limited = ours.inspected.host_config.as_ref();
            let limited = limited.is_some_and(|host| host.memory.unwrap_or_default() > 0);
            tokio::spawn(look(self.clone(), docker.clone(), ours.id.clone(), limited));
        }
    }

    fn take(&self, id: &str, stats: &ContainerStatsResponse, limited: bool) {
        let Ok(mut all) = self.all.lock() else {
            return;
        };
        let known = all.entry(id.to_owned()).or_default();
        let now = Instant::now();
        let memory = stats.memory_stats.clone().unwrap_or_default();
        let detail = memory.stats.unwrap_or_default();
        // Version 2 of control groups says `inactive_file`, version 1 `total_inactive_file`.
        let cache = detail.get("total_inactive_file");
        let cache = cache.or_else(|| detail.get("inactive_file")).copied();
        let usage = memory.usage.unwrap_or_default();
        let cpu = stats
            .cpu_stats
            .as_ref()
            .and_then(|cpu| cpu.cpu_usage.as_ref());
        let used_ns = cpu.and_then(|cpu| cpu.total_usage);
        let cpu_percent = match (known.cpu, used_ns) {
            (Some((then, before)), Some(used)) if used >= before && now > then => {
                let passed_ns = now.duration_since(then).as_nanos() as f64;
                Some((used - before) as f64 / passed_ns * 100.0)
            }
            _ => None,
        };
        known.cpu = used_ns.map(|used| (now, used));
        known.figure = Some(Figure {
            cpu_percent,
            memory_bytes: usage.saturating_sub(cache.unwrap_or_default()),
            memory_limit_bytes: memory.limit.filter(|_| limited),
        });
    }
}

async fn look(figures: Figures, docker: Docker, id: String, limited: bool) {
    let options = StatsOptionsBuilder::default()
        .stream(false)
        .one_shot(true)
        .build();
    let mut stream = docker.stats(&id, Some(options)).boxed();
    match timeout(DEADLINE, stream.next()).await {
        Ok(Some(Ok(stats))) => figures.take(&id, &stats, limited),
        Ok(Some(Err(error))) => tracing::debug!("figures of container {id}: {error}"),
        Ok(None) | Err(_) => tracing::debug!("figures of container {id}: no answer"),
    }
}
