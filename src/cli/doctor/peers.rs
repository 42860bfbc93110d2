//! Runtimes and balancers: do they answer, and what do they say of themselves? What a peer holds
//! for unfit comes from its adapter's own look, the very one a deploy is decided on.

use super::PATIENCE;
use super::finding::{Finding, Subject};
use crate::balancer::Balancer as AnyBalancer;
use crate::cli::assemble::World;
use crate::config::{BalancerSettings, Config};
use crate::driver::Peers;
use crate::model::service::Backend;
use crate::model::world::InstanceView;
use crate::model::{Clean, RuntimeName, ServerName, ServiceSpec, Version};
use crate::ports::{Balancer, Metrics, NOTE, Runtime};
use crate::runtime::Runtime as AnyRuntime;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// For a look for which a registry may have to be asked too.
const PATIENCE_WITH_REGISTRY: Duration = Duration::from_secs(10);
const SILENT: &str = "no answer within 3 s; see its process";

/// Lines about the runtimes of a placement, and the instances they tell of.
pub(super) async fn runtimes(
    world: &World,
    spec: &ServiceSpec,
    stable: Option<&Version>,
) -> (Vec<Finding>, BTreeMap<ServerName, InstanceView>) {
    let (mut all, mut instances) = (Vec::new(), BTreeMap::new());
    for name in &spec.runtimes {
        let subject = Subject::new("runtime", &format!("{} runtime {name}", spec.placement));
        let Some(runtime) = world.runtime(name) else {
            continue;
        };
        match timeout(PATIENCE, runtime.read(&spec.placement)).await {
            Ok(Ok(reading)) => {
                let count = reading.instances.len();
                let text = format!("{} answers, {count} instances", reading.software);
                instances.extend(reading.instances);
                all.push(subject.ok(&text));
                all.extend(room_for_a_release(&subject, runtime, spec, name, stable).await);
            }
            Ok(Err(error)) => {
                let text = match runtime {
                    AnyRuntime::Host(_) => format!("{error}; is `wheelhouse host` running?"),
                    AnyRuntime::Docker(_) => format!("{error}; does `docker version` answer?"),
                };
                all.push(subject.unreachable(&text));
            }
            Err(_) => all.push(subject.unreachable(SILENT)),
        }
    }
    (all, instances)
}

/// What a release like the one that stands would need there: its image, the login for it, room.
async fn room_for_a_release(
    subject: &Subject,
    runtime: &AnyRuntime,
    spec: &ServiceSpec,
    name: &RuntimeName,
    stable: Option<&Version>,
) -> Vec<Finding> {
    if matches!(runtime, AnyRuntime::Host(_)) {
        // Nothing can be told of a program before it is started.
        return Vec::new();
    }
    let workload = stable.map(|version| spec.workload.of_version(version));
    let workload = workload.as_ref().unwrap_or(&spec.workload);
    let servers: Vec<_> = spec
        .servers
        .iter()
        .filter(|server| spec.runtime_of(&server.name) == Some(name))
        .map(|server| (server.name.clone(), server.address))
        .collect();
    let look = runtime.inspect(&spec.placement, workload, &servers);
    let lines = match timeout(PATIENCE_WITH_REGISTRY, look).await {
        Ok(Ok(look)) => look.lines,
        Ok(Err(error)) => return vec![subject.unreachable(&error.to_string())],
        Err(_) => return vec![subject.unreachable("no answer within 10 s; see its registry")],
    };
    let is_fit = lines.iter().all(|line| line.as_str().starts_with(NOTE));
    let fit = is_fit.then(|| match stable {
        Some(version) => format!("has what {version} needs, and room for a release"),
        None => "has room for a release".to_owned(),
    });
    let fit = fit.map(|text| subject.part("release").ok(&text));
    let told = lines.iter().map(|line| told(subject, line));
    fit.into_iter().chain(told).collect()
}

/// Lines about the balancers in front of a placement.
pub(super) async fn balancers(config: &Config, world: &World, spec: &ServiceSpec) -> Vec<Finding> {
    let servers: Vec<(ServerName, SocketAddr)> = spec
        .servers
        .iter()
        .map(|server| (server.name.clone(), server.address))
        .collect();
    let mut all = Vec::new();
    for backend in &spec.balancers {
        let what = format!("{} balancer {}", spec.placement, backend.balancer);
        let subject = Subject::new("balancer", &what);
        let Some(balancer) = world.balancer(&spec.placement, &backend.balancer) else {
            continue;
        };
        if let Some(BalancerSettings::Haproxy(haproxy)) = config.balancer(&backend.balancer) {
            all.push(socket(&subject.part("socket"), &haproxy.socket));
        }
        all.extend(looked_over(&subject, balancer, backend, &servers).await);
        if let Some(settings) = config.balancer(&backend.balancer) {
            all.push(latencies(&subject.part("latencies"), settings));
        }
    }
    all
}

/// Lines about the sources of metrics that confirm what a placement's balancers count.
pub(super) async fn metrics(world: &World, spec: &ServiceSpec) -> Vec<Finding> {
    let mut all = Vec::new();
    for source in &spec.metrics {
        let what = format!("{} metrics {}", spec.placement, source.name);
        let subject = Subject::new("metrics", &what);
        let Some(metrics) = world.metrics(&source.name) else {
            continue;
        };
        // It keeps a deadline of its own.
        match metrics.inspect(spec).await {
            Ok(lines) => {
                let is_fit = lines.iter().all(|line| line.as_str().starts_with(NOTE));
                all.extend(is_fit.then(|| subject.ok("answers, and can confirm a rollout")));
                all.extend(lines.iter().map(|line| told(&subject, line)));
            }
            Err(error) => all.push(subject.unreachable(&error.to_string())),
        }
    }
    all
}

async fn looked_over(
    subject: &Subject,
    balancer: &AnyBalancer,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) -> Vec<Finding> {
    let lines = match timeout(PATIENCE, balancer.inspect(backend, servers)).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => return vec![subject.unreachable(&error.to_string())],
        Err(_) => return vec![subject.unreachable(SILENT)],
    };
    let mut all: Vec<_> = lines.iter().map(|line| told(subject, line)).collect();
    let is_fit = lines.iter().all(|line| line.as_str().starts_with(NOTE));
    if is_fit {
        let software = software(balancer, backend).await;
        let text = format!("{software} fit to carry a rollout");
        all.insert(0, subject.ok(text.trim_start()));
    }
    if let AnyBalancer::Haproxy(haproxy) = balancer
        && let Ok(Ok(facts)) = timeout(PATIENCE, haproxy.facts(backend, servers)).await
    {
        let good = facts
            .iter()
            .map(|(key, text)| subject.part(key).ok(text.as_str()));
        all.extend(good);
    }
    all
}

fn told(subject: &Subject, line: &Clean) -> Finding {
    match line.as_str().starts_with(NOTE) {
        true => subject.part("note").note(line.as_str()),
        false => subject.part("unfit").bad(line.as_str()),
    }
}

/// What a balancer says it is; empty where it says nothing.
async fn software(balancer: &impl Balancer, backend: &Backend) -> String {
    match timeout(PATIENCE, balancer.read(backend)).await {
        Ok(Ok(reading)) => format!("{} is", reading.software),
        _ => String::new(),
    }
}

/// Where latencies come from, if from anywhere.
fn latencies(subject: &Subject, settings: &BalancerSettings) -> Finding {
    match settings.has_latencies() {
        true => subject.ok("counted per request"),
        false => subject.note("its counters carry none: limits on latency are not judged"),
    }
}

/// A stats socket: whoever may write to it may move traffic.
fn socket(subject: &Subject, path: &Path) -> Finding {
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            return subject.bad(&format!("{shown}: {error}; start HAProxy, or correct it"));
        }
    };
    if !meta.file_type().is_socket() {
        return subject.bad(&format!("{shown} is no socket; correct the path"));
    }
    let (mode, group) = (meta.permissions().mode() & 0o777, meta.gid());
    let text = format!("{shown} mode {mode:o} group {group}");
    match mode & 0o002 {
        0 => subject.ok(&text),
        _ => subject.note(&format!(
            "{text}: everybody on this machine may move traffic; give it `mode 660` and a group"
        )),
    }
}
