//! From the merged tree to settings: lays the tables of each service in each environment over each
//! other, and judges what keys mean to each other.

use super::accepted::{ROOT, SERVICE, SERVICE_ENV};
use super::check::{self, BackendClaim, Claim};
use super::console;
use super::defaults;
use super::errors::{Problems, quoted};
use super::limits::{self, Supply};
use super::parts;
use super::pipeline::{self, Ground};
use super::policy::{self, Policy};
use super::reader::{Located, Reader, parsed};
use super::relations;
use super::roles;
use super::service::{self, Instances, ServiceText};
use super::strategy;
use super::suggest;
use super::takeover::{self, Kind, SHARED};
use super::tree::{Node, Place, overlay};
use super::webhook;
use super::world::{self, BalancerSettings, EnvSettings, RuntimeSettings, WorldText};
use super::{Config, Judging, Placed};
use crate::model::metrics::MetricsSource;
use crate::model::service::Backend;
use crate::model::{BalancerName, EnvName, Placement, ServiceName, ServiceSpec};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Entries of a service that an override replaces whole: half a list of servers, or of
/// slots, is none.
const REPLACED_WHOLE: [&str; 2] = ["servers", "slots"];

/// Makes settings of the tree. After a fault they are incomplete and must not be used.
pub(super) fn resolve(root: &Node, hash: &str, problems: &Problems<'_>) -> Config {
    let reader = Reader::new(root, &ROOT, problems);
    let mut world = world::read(root, problems);
    let policy = policy::read(root, problems);
    for (name, env) in &mut world.environments {
        env.protected = policy.protects(name, root, env.protected, problems);
    }
    let absent = |key| Node::empty(root.place.of_key(key));
    let table = |key| root.get(key).cloned().unwrap_or_else(|| absent(key));
    let shared = Shared {
        tables: SHARED.map(|key| (key, table(key))),
        hash,
        world: &world,
        policy: &policy,
        problems,
    };
    // Once for themselves: a fault in them must show even where no service uses them.
    let canary = strategy::canary(&table("canary"), problems);
    let analysis = strategy::analysis(&table("analysis"), problems);
    takeover::blue_green(&table("blue_green"), problems);
    takeover::rolling(&table("rolling"), problems);
    takeover::recreate(&table("recreate"), problems);
    let mut settled = Vec::new();
    for (key, place, node) in Reader::open(&table("service"), problems).entries() {
        let name = Located {
            value: key,
            place: place.clone(),
        };
        if let Some(name) = parsed(&name, "choose another name", problems) {
            settled.extend(shared.service(&name.value, node));
        }
    }
    let claims: Vec<Claim> = settled
        .iter_mut()
        .flat_map(|s| s.claims.drain(..))
        .collect();
    check::addresses(&claims, problems);
    let backends: Vec<BackendClaim> = settled
        .iter_mut()
        .flat_map(|s| s.backends.drain(..))
        .collect();
    check::backends(&backends, problems);
    let parts: parts::Claims = settled
        .iter_mut()
        .filter_map(|s| Some((s.placed.as_ref()?.spec.placement.clone(), s.part_of.take()?)))
        .collect();
    let state_dir = reader
        .text("state_dir")
        .map(|text| problems.absolute(&text.place, text.value));
    let mut config = Config {
        console: console::settings(&table("console"), problems),
        keys: console::keys(&table("keys"), problems),
        state_dir,
        access: roles::read(&table("roles"), problems),
        placements: settled
            .into_iter()
            .filter_map(|s| s.placed)
            .map(|placed| (placed.spec.placement.clone(), placed))
            .collect(),
        environments: world.environments,
        runtimes: world.runtimes,
        balancers: world.balancers,
        metrics: world.metrics,
        judging: Judging {
            min_requests: canary.settings.min_requests,
            latency_p99_at: analysis.latency_p99().map(|place| problems.line_of(place)),
            analysis: analysis.settings,
        },
        pipelines: BTreeMap::new(),
        webhook: None,
    };
    parts::join(&mut config, &parts, problems);
    let ground = Ground {
        root,
        placements: &config.placements,
        environments: &config.environments,
        problems,
    };
    let pipelines = pipeline::read(&ground);
    let webhook = webhook::read(&ground, &pipelines, &listeners(&config));
    Config {
        pipelines,
        webhook,
        ..config
    }
}

/// Addresses that are taken already, and by what.
fn listeners(config: &Config) -> Vec<(SocketAddr, String)> {
    let services = config.placements.values().flat_map(|placed| {
        let servers = placed.spec.servers.iter().map(|server| server.address);
        let all = placed.listen.into_iter().chain(servers);
        all.map(|address| (address, placed.spec.placement.to_string()))
    });
    let metrics = config.metrics.iter();
    let metrics = metrics.filter_map(|(name, it)| Some((it.http_sd?, format!("metrics {name}"))));
    services.chain(metrics).collect()
}

/// What all services share.
struct Shared<'a> {
    /// Tables that every service has, by key.
    tables: [(&'static str, Node); SHARED.len()],
    hash: &'a str,
    world: &'a WorldText,
    policy: &'a Policy,
    problems: &'a Problems<'a>,
}

/// A service in an environment, with what it takes from others.
struct Settled {
    placed: Option<Placed>,
    kind: Kind,
    part_of: Option<Located<ServiceName>>,
    claims: Vec<Claim>,
    backends: Vec<BackendClaim>,
}

impl Shared<'_> {
    /// A service in each of its environments.
    fn service(&self, name: &ServiceName, node: &Node) -> Vec<Settled> {
        // Once for itself: a fault must show even where every environment overrides it.
        service::read(node, &SERVICE, self.problems);
        if node.table().is_none() {
            return Vec::new();
        }
        let base = node.without("env");
        let is_empty = |env: &Node| env.table().is_some_and(BTreeMap::is_empty);
        let overrides = node.get("env").filter(|env| !is_empty(env));
        let settled: Vec<Settled> = match overrides {
            None => {
                let all = self.world.environments.iter();
                all.map(|(env, settings)| self.placement(name, env, settings, &base))
                    .collect()
            }
            Some(overrides) => self.overridden(name, &base, overrides),
        };
        let kinds: Vec<Kind> = settled.iter().map(|settled| settled.kind).collect();
        takeover::unused(&base, &kinds, self.problems);
        settled
    }

    /// A service in the environments that it names.
    fn overridden(&self, name: &ServiceName, base: &Node, overrides: &Node) -> Vec<Settled> {
        Reader::open(overrides, self.problems)
            .entries()
            .filter_map(|(env, place, over)| {
                let (env, settings) = self.environment(env, place)?;
                Reader::new(over, &SERVICE_ENV, self.problems);
                let effective = overlay(base, over, &REPLACED_WHOLE);
                let settled = self.placement(name, env, settings, &effective);
                takeover::unused(over, &[settled.kind], self.problems);
                Some(settled)
            })
            .collect()
    }

    /// The environment a service names; unknown ones are reported.
    fn environment(&self, name: &str, place: &Place) -> Option<(&EnvName, &EnvSettings)> {
        let environments = &self.world.environments;
        let found = environments.iter().find(|(env, _)| env.as_str() == name);
        if found.is_none() && !self.world.faulty_environments.iter().any(|f| f == name) {
            let known = environments.keys().map(EnvName::as_str);
            let mend = match suggest::nearest(name, known) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => format!("add a table [env.{}]", Place::file(0).of_key(name).key),
            };
            let what = format!("environment {} is not configured", quoted(name));
            self.problems.error(place, what, mend);
        }
        found
    }

    fn placement(
        &self,
        name: &ServiceName,
        env: &EnvName,
        settings: &EnvSettings,
        node: &Node,
    ) -> Settled {
        let mut node = node.clone();
        for (key, shared) in &self.tables {
            let own = node.get(key).cloned();
            let own = own.unwrap_or_else(|| Node::empty(node.place.of_key(key)));
            node.set(key, overlay(shared, &own, &[]));
        }
        let placement = Placement {
            service: name.clone(),
            environment: env.clone(),
        };
        let text = service::read(&node, &SERVICE, self.problems);
        let (canary, analysis) = (&text.canary.settings, &text.analysis.settings);
        self.policy
            .judge(env, &node, text.steps(), canary, analysis, self.problems);
        self.settle(placement, settings, text)
    }

    /// The sources of metrics of an environment.
    fn metrics(&self, env: &EnvSettings) -> Vec<MetricsSource> {
        let named = env.metrics.iter();
        named
            .filter_map(|name| Some(self.world.metrics.get(name)?.source(name)))
            .collect()
    }

    /// What an environment's runtimes run; a mixture is reported.
    fn instances(&self, env: &EnvSettings, text: &ServiceText) -> Instances {
        let kind = |name| match self.world.runtimes.get(name) {
            Some(RuntimeSettings::Docker(_)) => Instances::Containers,
            _ => Instances::Processes,
        };
        let first = env.runtimes.first().map_or(Instances::Processes, kind);
        if let Some(other) = env.runtimes.iter().find(|name| kind(name) != first) {
            let what = format!("would run both as a program and, on {other}, as a container");
            let mend = "name runtimes of one kind for the environment";
            self.problems.error(&text.place, what, mend);
        }
        first
    }

    /// Judges what keys mean to each other and makes the spec.
    fn settle(&self, placement: Placement, env: &EnvSettings, text: ServiceText) -> Settled {
        let instances = text
            .instances
            .as_ref()
            .map_or(defaults::INSTANCES, |found| found.value);
        let kind = self.instances(env, &text);
        relations::workload(&text, kind, self.problems);
        relations::quiet(&text, self.problems);
        relations::times(&text, self.problems);
        relations::evidence(&text, self.problems);
        relations::canary_size(&text, instances, self.problems);
        text.takeover.keeps_some(instances, self.problems);
        text.takeover.batch_fits(instances, self.problems);
        text.takeover.suits(&text.has_traffic, self.problems);
        let has_traffic = text.has_traffic.value;
        let behind: Vec<_> = env
            .balancers
            .iter()
            .filter(|_| has_traffic)
            .filter_map(|name| Some((name, self.world.balancers.get(name)?)))
            .collect();
        let first = behind.first().map(|(_, settings)| *settings);
        let servers = match first {
            _ if !has_traffic => {
                relations::servers_of_worker(&text, kind, instances, self.problems)
            }
            Some(BalancerSettings::Haproxy(_)) => {
                relations::servers_of_haproxy(&text, instances, self.problems)
            }
            _ => relations::servers_of_proxy(&text, instances, self.problems),
        };
        relations::homes(&env.runtimes, &text, &servers, self.problems);
        let strategy =
            text.takeover
                .strategy(&text, &servers, instances, env.protected, self.problems);
        let metrics = self.metrics(env);
        limits::soak_spans_scrapes(&text, &metrics, self.problems);
        let runtimes = &self.world.runtimes;
        let known = |name| runtimes.get(name);
        let supply = Supply {
            balancer: has_traffic,
            balancer_latencies: has_traffic
                && behind.iter().all(|(_, settings)| settings.has_latencies()),
            runtime_gauges: env
                .runtimes
                .iter()
                .filter_map(known)
                .all(RuntimeSettings::has_gauges),
            metrics: &metrics,
        };
        let analysis = limits::judgeable(&text, &supply, self.problems);
        let claim = |(name, settings): &(&BalancerName, &BalancerSettings)| {
            let backend = relations::backend(&placement, settings, &text, self.problems)?;
            Some(BackendClaim {
                backend: Backend {
                    balancer: (*name).clone(),
                    backend: backend.value,
                },
                by: placement.clone(),
                place: backend.place,
            })
        };
        let backends: Vec<_> = behind.iter().filter_map(claim).collect();
        let listen = match first {
            Some(BalancerSettings::Haproxy(_)) => None,
            _ => text.listen.clone().filter(|_| has_traffic),
        };
        let strategy_kind = text.takeover.kind.value;
        let claims = relations::claims(&placement, listen.as_ref(), &servers);
        let is_reached = !has_traffic || !backends.is_empty();
        let part_of = text.part_of.clone();
        let spec = is_reached.then(|| ServiceSpec {
            strategy,
            placement,
            protected: env.protected,
            runtimes: env.runtimes.clone(),
            balancers: backends.iter().map(|claim| claim.backend.clone()).collect(),
            servers: servers.into_iter().map(|server| server.value).collect(),
            instances,
            workload: text.workload(kind),
            health: text.health.value,
            smoke: text.smoke,
            smoke_timeout_ms: text.smoke_timeout_ms,
            canary: text.canary.settings,
            analysis,
            metrics,
            parts: Vec::new(),
            part_of: part_of.as_ref().map(|lead| lead.value.clone()),
            config_hash: self.hash.to_owned(),
        });
        Settled {
            placed: spec.map(|spec| Placed {
                spec,
                listen: listen.map(|listen| listen.value),
            }),
            kind: strategy_kind,
            part_of,
            claims,
            backends,
        }
    }
}
