//! What the keys of one service mean to each other: enough servers, times that fit, a command that
//! can learn its port. Must not know other services.

use super::check::Claim;
use super::defaults;
use super::durations;
use super::errors::Problems;
use super::reader::Located;
use super::service::{Instances, ServiceText, instance_ip};
use super::suggest;
use super::takeover::Kind;
use super::world::BalancerSettings;
use crate::model::service::{CheckKind, Server};
use crate::model::{Name, Placement, RuntimeName};
use std::net::SocketAddr;

/// What tells an instance from its neighbours.
const OWN_MARKS: [&str; 3] = ["{port}", "{address}", "{server}"];

/// What the runtimes run must be there: a program and a way to learn where to listen, or an image.
pub(super) fn workload(text: &ServiceText, kind: Instances, problems: &Problems<'_>) {
    match kind {
        Instances::Processes => command(text, problems),
        Instances::Containers => image(text, problems),
    }
}

fn image(text: &ServiceText, problems: &Problems<'_>) {
    if !text.image_is_written {
        let mend = "add the image its containers are made of, e.g. image = \"shop:{version}\"";
        problems.error(&text.place.of_key("image"), "is missing", mend);
    }
    if text.servers.is_none() {
        let mend = "name the host ports at which containers are published, \
                    e.g. servers = { web1 = \"127.0.0.1:18001\" }";
        problems.error(&text.place.of_key("servers"), "is missing", mend);
    }
    let Some(container) = &text.container else {
        return;
    };
    if !container.value.image.contains("{version}") {
        let what = "names the same image for every version";
        let mend = "put {version} into it, e.g. image = \"shop:{version}\"";
        problems.error(&container.place, what, mend);
    }
    let own_network = container.value.port.is_none();
    if own_network && container.value.shape.networks.is_some() {
        let what = "is missing: containers with networks of their own are reached at a port";
        let mend = "add the port on which the service listens inside, e.g. port = 8080";
        problems.error(&text.place.of_key("port"), what, mend);
    }
}

/// There must be a command, and it should be able to learn where to listen.
fn command(text: &ServiceText, problems: &Problems<'_>) {
    if !text.command_is_written {
        let mend = "add the program and its arguments, e.g. command = [\"./app\", \"{port}\"]";
        problems.error(&text.place.of_key("command"), "is missing", mend);
    }
    let Some(command) = &text.command else {
        return;
    };
    if !must_listen(text) {
        return;
    }
    let mut words = command.value.iter().chain(text.variables.values());
    if !words.any(|word| OWN_MARKS.iter().any(|mark| word.contains(mark))) {
        let what = "no instance can tell where it is to listen";
        let mend = "put {port} or {address} into command or variables";
        problems.warning(&command.place, what, mend);
    }
}

/// Whether anything ever connects to an instance: a worker that a command of its own finds healthy
/// need not listen, unless that command is told where.
fn must_listen(text: &ServiceText) -> bool {
    let checks = [&text.health.value.kind];
    let mut checks = checks
        .into_iter()
        .chain(text.smoke.iter().map(|test| &test.kind));
    text.has_traffic.value
        || checks.any(|check| match check {
            CheckKind::Command { command } => {
                let told = |word: &String| word.contains("{port}") || word.contains("{address}");
                command.iter().any(told)
            }
            CheckKind::Tcp | CheckKind::Http(_) => true,
        })
}

/// A worker alone is told to take no new work: from other services the balancer keeps it away.
pub(super) fn quiet(text: &ServiceText, problems: &Problems<'_>) {
    let Some(signal) = &text.quiet else {
        return;
    };
    let drain_ms = text.canary.settings.drain_timeout_ms;
    text.takeover.leaves_time(&signal.place, drain_ms, problems);
    if text.has_traffic.value {
        let what = "is for workers: a balancer takes this service out of traffic";
        let mend = "take it away, or write traffic = \"none\" if no requests are to reach it";
        problems.error(&signal.place, what, mend);
    }
}

/// Times that contradict each other.
pub(super) fn times(text: &ServiceText, problems: &Problems<'_>) {
    let health = &text.health.value;
    let health_place = &text.health.place;
    if health.timeout_ms > health.interval_ms {
        let what = format!(
            "{} is longer than the interval of {}",
            durations::text(health.timeout_ms),
            durations::text(health.interval_ms)
        );
        let mend = "lower timeout or raise interval: probes of one instance must not overlap";
        problems.error(&health_place.of_key("timeout"), what, mend);
    }
    let needed_ms = health.interval_ms * u64::from(health.successes);
    if health.start_timeout_ms < needed_ms {
        let what = format!(
            "{} is shorter than the {} that {} successes take",
            durations::text(health.start_timeout_ms),
            durations::text(needed_ms),
            health.successes
        );
        let mend = "raise start_timeout, or lower successes or interval";
        problems.error(&health_place.of_key("start_timeout"), what, mend);
    }
    let analysis = &text.analysis.settings;
    let held_ms = analysis.interval_ms * u64::from(analysis.no_data_intervals);
    if analysis.no_data_abort_ms < held_ms {
        let what = format!(
            "{} is shorter than the {} after which a rollout without data is held",
            durations::text(analysis.no_data_abort_ms),
            durations::text(held_ms)
        );
        let mend = "raise no_data_abort, or lower no_data_intervals or interval";
        problems.error(&text.analysis.place.of_key("no_data_abort"), what, mend);
    }
    soak(text, problems);
}

/// Errors an absolute limit needs to see before it can bind.
const ERRORS_MIN: f64 = 5.0;

/// A step that may pass on so few requests that its error limit could not have bound yet.
pub(super) fn evidence(text: &ServiceText, problems: &Problems<'_>) {
    if text.steps().is_none() {
        return;
    }
    let min_requests = text.canary.settings.min_requests;
    let Some(limit) = text.analysis.settings.error_ratio else {
        return;
    };
    let errors = min_requests as f64 * limit;
    if limit > 0.0 && errors < ERRORS_MIN {
        let needed = (ERRORS_MIN / limit).ceil();
        let what = format!(
            "{min_requests} requests at the limit of {limit} make {errors:.1} errors, and fewer \
             than {ERRORS_MIN} are never judged: a step could pass before the limit can bind"
        );
        let mend = format!("raise min_requests to {needed}, or raise analysis.error_ratio");
        problems.warning(&text.canary.place.of_key("min_requests"), what, mend);
    }
}

fn soak(text: &ServiceText, problems: &Problems<'_>) {
    let interval_ms = text.analysis.settings.interval_ms;
    let Some(text) = text.steps() else {
        return;
    };
    let shortest = text.steps.iter().map(|s| s.soak_ms).min();
    if let Some(soak_ms) = shortest.filter(|&soak_ms| soak_ms < interval_ms) {
        let what = format!(
            "a step soaks for {}, shorter than the {} between two judgements",
            durations::text(soak_ms),
            durations::text(interval_ms)
        );
        let mend = "raise the soak or lower analysis.interval";
        problems.warning(&text.place.of_key("soak"), what, mend);
    }
}

/// A canary larger than the service would not find servers.
pub(super) fn canary_size(text: &ServiceText, instances: u32, problems: &Problems<'_>) {
    if text.takeover.kind.value != Kind::Canary {
        return;
    }
    if let (Some(canary), Some(place)) = (text.canary.settings.instances, &text.canary.instances)
        && canary > instances
    {
        let what = format!("{canary} is more than the service's {instances} instances");
        problems.error(place, what, "lower it, or raise the service's instances");
    }
}

/// HAProxy's servers stand in its own configuration and must be named here.
pub(super) fn servers_of_haproxy(
    text: &ServiceText,
    instances: u32,
    problems: &Problems<'_>,
) -> Vec<Located<Server>> {
    if text.servers.is_none() {
        let mend = format!(
            "name the backend's {} servers as haproxy.cfg does, \
             e.g. servers = {{ web1 = \"127.0.0.1:18001\" }}",
            text.takeover.servers_needed(instances)
        );
        problems.error(&text.place.of_key("servers"), "is missing", mend);
    }
    configured_servers(text, instances, problems)
}

/// Without a balancer, servers are only the places where instances run.
pub(super) fn servers_of_worker(
    text: &ServiceText,
    kind: Instances,
    instances: u32,
    problems: &Problems<'_>,
) -> Vec<Located<Server>> {
    if text.servers.is_none() && kind == Instances::Processes {
        let mend = format!(
            "name {} places where an instance can run, each with the address at which it is \
             probed, e.g. servers = {{ worker1 = \"127.0.0.1:18001\" }}",
            text.takeover.servers_needed(instances)
        );
        problems.error(&text.place.of_key("servers"), "is missing", mend);
    }
    let listen = text.listen.as_ref().map(|listen| &listen.place);
    let backend = text.backend.as_ref().map(|backend| &backend.place);
    for place in [listen, backend].into_iter().flatten() {
        let what = "is not used: traffic is \"none\"";
        problems.warning(place, what, "take one of the two out");
    }
    configured_servers(text, instances, problems)
}

/// The embedded proxy's servers: as written, else at the ports after the one it listens on.
pub(super) fn servers_of_proxy(
    text: &ServiceText,
    instances: u32,
    problems: &Problems<'_>,
) -> Vec<Located<Server>> {
    let Some(listen) = &text.listen else {
        if !text.listen_is_written {
            let mend = "add the port on which the service is reached, e.g. listen = 8080";
            problems.error(&text.place.of_key("listen"), "is missing", mend);
        }
        return configured_servers(text, instances, problems);
    };
    if text.servers.is_some() {
        return configured_servers(text, instances, problems);
    }
    let count = text.takeover.servers_needed(instances).max(2 * instances);
    if u32::from(listen.value.port()) + count > u32::from(u16::MAX) {
        let what = format!("leaves no room for the {count} ports after it");
        problems.error(&listen.place, what, "use a lower port, or name the servers");
        return Vec::new();
    }
    (1_u16..)
        .zip(0..count)
        .map(|(i, _)| derived(listen, i))
        .collect()
}

/// The `i`-th server derived from where the proxy listens, from 1.
fn derived(listen: &Located<SocketAddr>, i: u16) -> Located<Server> {
    let ip = instance_ip(listen.value.ip());
    let name = format!("s{i}").parse();
    Located {
        value: Server {
            name: name.expect("invariant: s and a number is a server's name"),
            address: SocketAddr::new(ip, listen.value.port() + i),
            runtime: None,
        },
        place: listen.place.clone(),
    }
}

fn configured_servers(
    text: &ServiceText,
    instances: u32,
    problems: &Problems<'_>,
) -> Vec<Located<Server>> {
    let Some(servers) = &text.servers else {
        return Vec::new();
    };
    let (found, needed) = (servers.written, text.takeover.servers_needed(instances));
    if found < needed as usize {
        let what = format!("has {found} servers, but {instances} instances need {needed}");
        problems.error(&servers.place, what, text.takeover.servers_mend());
    }
    servers.list.clone()
}

/// Every server's instance has one runtime: named where the environment has several.
pub(super) fn homes(
    runtimes: &[RuntimeName],
    text: &ServiceText,
    servers: &[Located<Server>],
    problems: &Problems<'_>,
) {
    let known: Vec<_> = runtimes.iter().map(RuntimeName::as_str).collect();
    for server in servers {
        match &server.value.runtime {
            Some(runtime) if !runtimes.contains(runtime) => {
                let what = format!("runs on {runtime}, which this environment does not have");
                let mend = suggest::mend(runtime.as_str(), known.iter().copied());
                problems.error(&server.place, what, mend);
            }
            None if runtimes.len() > 1 && text.servers.is_some() => {
                let what = format!("does not say on which of {} it runs", known.join(", "));
                let mend = "write { address = \"IP:PORT\", runtime = \"NAME\" }";
                problems.error(&server.place, what, mend);
            }
            _ => {}
        }
    }
    let unused = runtimes.iter().find(|runtime| {
        let runs_on = |server: &Located<Server>| server.value.runtime.as_ref() == Some(runtime);
        runtimes.len() > 1 && !servers.iter().any(runs_on)
    });
    if let Some(runtime) = unused {
        let what = format!("leaves runtime {runtime} of its environment without a server");
        let mend = "give it a server, or take it out of the environment";
        problems.warning(&text.place.of_key("servers"), what, mend);
    }
}

/// The backend that carries the service: its own, else by the balancer's pattern.
pub(super) fn backend(
    placement: &Placement,
    balancer: &BalancerSettings,
    text: &ServiceText,
    problems: &Problems<'_>,
) -> Option<Located<Name>> {
    if let Some(own) = &text.backend {
        return Some(own.clone());
    }
    let pattern = match balancer {
        BalancerSettings::Host { .. } => defaults::HOST_BACKEND,
        BalancerSettings::Haproxy(haproxy) => &haproxy.backend,
    };
    let name = pattern
        .replace("{service}", placement.service.as_str())
        .replace("{env}", placement.environment.as_str());
    let place = text.place.of_key("backend");
    match name.parse() {
        Ok(value) => Some(Located { value, place }),
        Err(error) => {
            let what = format!("made from \"{pattern}\": {error}");
            problems.error(&place, what, "set backend under [service.NAME]");
            None
        }
    }
}

/// The addresses a placement uses.
pub(super) fn claims(
    placement: &Placement,
    listen: Option<&Located<SocketAddr>>,
    servers: &[Located<Server>],
) -> Vec<Claim> {
    let claim = |address, what, place: &super::tree::Place| Claim {
        address,
        by: placement.clone(),
        what,
        place: place.clone(),
    };
    listen
        .map(|listen| claim(listen.value, "listen".to_owned(), &listen.place))
        .into_iter()
        .chain(servers.iter().map(|server| {
            let what = format!("server {}", server.value.name);
            claim(server.value.address, what, &server.place)
        }))
        .collect()
}
