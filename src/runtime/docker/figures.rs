//! Processor time and memory of running containers, read beside the readings so that none waits
//! for them.

use super::read::Ours;
use bollard::Docker;
use bollard::models::{ContainerStatsResponse, HostConfig};
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
/// The time over which a quota counts where none is written, as the kernel has it.
const PERIOD_US: i64 = 100_000;
/// Containers remembered.
const CONTAINERS_MAX: usize = 512;

/// What one container uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    /// Processor time since the look before, in percent of what it may use; `None` after the
    /// first.
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

/// What a container was given of its machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Limits {
    /// Whether its memory is limited.
    memory: bool,
    /// Processors it may use, in parts of them; `None` where that is the whole machine.
    processors: Option<f64>,
}

impl Limits {
    fn of(host: &HostConfig) -> Self {
        let above_0 = |number: Option<i64>| number.filter(|number| *number > 0);
        let nano = above_0(host.nano_cpus).map(|nano| nano as f64 / 1e9);
        let period = above_0(host.cpu_period).unwrap_or(PERIOD_US);
        let quota = above_0(host.cpu_quota).map(|quota| quota as f64 / period as f64);
        let set = host.cpuset_cpus.as_deref().and_then(processors_in);
        Self {
            memory: above_0(host.memory).is_some(),
            processors: [nano, quota, set].into_iter().flatten().reduce(f64::min),
        }
    }

    /// Processors it may use on a machine of so many; `None` when neither is known.
    fn processors_of(self, online: Option<u32>) -> Option<f64> {
        let online = online.filter(|online| *online > 0).map(f64::from);
        [self.processors, online]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    }
}

/// Processor time used in a time that passed, in percent of so many processors.
fn share_percent(used_ns: u64, passed: Duration, processors: f64) -> f64 {
    used_ns as f64 / (passed.as_nanos() as f64 * processors) * 100.0
}

/// How many a set like `0-2,7` names; `None` for what is none.
fn processors_in(set: &str) -> Option<f64> {
    let counts = set.split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(f64::from(last.checked_sub(first)?) + 1.0)
    });
    counts.sum()
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
            let limits = ours.inspected.host_config.as_ref().map(Limits::of);
            let limits = limits.unwrap_or_default();
            tokio::spawn(look(self.clone(), docker.clone(), ours.id.clone(), limits));
        }
    }

    fn take(&self, id: &str, stats: &ContainerStatsResponse, limits: Limits) {
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
        let cpu = stats.cpu_stats.as_ref();
        let used_ns = cpu.and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage);
        let processors = limits.processors_of(cpu.and_then(|cpu| cpu.online_cpus));
        let cpu_percent = match (known.cpu, used_ns) {
            (Some((then, before)), Some(used)) if used >= before && now > then => {
                let passed = now.duration_since(then);
                processors.map(|processors| share_percent(used - before, passed, processors))
            }
            _ => None,
        };
        known.cpu = used_ns.map(|used| (now, used));
        known.figure = Some(Figure {
            cpu_percent,
            memory_bytes: usage.saturating_sub(cache.unwrap_or_default()),
            memory_limit_bytes: memory.limit.filter(|_| limits.memory),
        });
    }
}

async fn look(figures: Figures, docker: Docker, id: String, limits: Limits) {
    let options = StatsOptionsBuilder::default()
        .stream(false)
        .one_shot(true)
        .build();
    let mut stream = docker.stats(&id, Some(options)).boxed();
    match timeout(DEADLINE, stream.next()).await {
        Ok(Some(Ok(stats))) => figures.take(&id, &stats, limits),
        Ok(Some(Err(error))) => tracing::debug!("figures of container {id}: {error}"),
        Ok(None) | Err(_) => tracing::debug!("figures of container {id}: no answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_is_what_a_container_may_use() {
        let host = |nano, quota, period, set: &str| HostConfig {
            nano_cpus: nano,
            cpu_quota: quota,
            cpu_period: period,
            cpuset_cpus: Some(set.to_owned()),
            ..HostConfig::default()
        };
        for (host, online, may) in [
            (HostConfig::default(), Some(8), Some(8.0)),
            (HostConfig::default(), None, None),
            (host(Some(0), Some(0), Some(0), ""), Some(4), Some(4.0)),
            (host(Some(500_000_000), None, None, ""), Some(8), Some(0.5)),
            (host(None, Some(150_000), None, ""), Some(8), Some(1.5)),
            (
                host(None, Some(50_000), Some(25_000), ""),
                Some(8),
                Some(2.0),
            ),
            (host(None, Some(-1), None, "0-2,7"), Some(8), Some(4.0)),
            (
                host(Some(3_000_000_000), None, None, "0,1"),
                Some(8),
                Some(2.0),
            ),
            (
                host(Some(16_000_000_000), None, None, "x"),
                Some(8),
                Some(8.0),
            ),
        ] {
            assert_eq!(Limits::of(&host).processors_of(online), may, "{host:?}");
        }
    }

    #[test]
    fn a_core_of_eight_is_an_eighth_and_of_half_a_one_twice_what_is_allowed() {
        let second = Duration::from_secs(1);
        for (processors, percent) in [(8.0, 12.5), (0.5, 200.0), (1.0, 100.0), (2.0, 50.0)] {
            assert_eq!(share_percent(1_000_000_000, second, processors), percent);
        }
    }
}
