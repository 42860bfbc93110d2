//! Puts an engine together: configuration → adapters, history, driver, socket.

mod leases;
mod pipeline;
pub(super) mod reload;
mod side;

use super::docker;
use super::exit::{Exit, Failure};
use super::runbook;
use crate::balancer::Balancer;
use crate::balancer::embedded::EmbeddedBalancer;
use crate::balancer::haproxy::{HaproxyBalancer, HaproxyOptions, HttpLog};
use crate::config::{
    BalancerSettings, Config, HaproxySettings, Home, Loaded, Ownership, RuntimeSettings,
};
use crate::driver::{Clock, Peers, Shell, ShellOptions};
use crate::history::{History, HistoryError, HistoryReader, HistoryWriter, Holder};
use crate::host::wire::BackendBody;
use crate::link::{Access, Limits, MachineAccounts, Peer, ServerHello, ServerOptions, own_uid};
use crate::metrics::prometheus::Prometheus;
use crate::model::input::EngineInfo;
use crate::model::service::ServiceSpec;
use crate::model::{
    BalancerName, Clean, Effect, LogAddress, MetricsName, Placement, RuntimeName, State,
};
use crate::pipeline::LocalStages;
use crate::probe::InstanceProbe;
use crate::runtime::Runtime;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::host::HostRuntime;
use crate::view::About;
use leases::Leases;
pub(super) use side::Side;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, Weak};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The adapters a configuration names.
#[derive(Clone)]
pub(super) struct World {
    runtimes: Arc<BTreeMap<RuntimeName, Arc<Runtime>>>,
    balancers: Arc<BTreeMap<(Placement, BalancerName), Arc<Balancer>>>,
    /// Logs of HAProxys, kept while a balancer uses them.
    logs: Arc<BTreeMap<LogAddress, Weak<HttpLog>>>,
    metrics: Arc<BTreeMap<MetricsName, Arc<Prometheus>>>,
    probe: Arc<InstanceProbe>,
    stages: LocalStages,
    leases: Arc<Leases>,
    /// What they were made of.
    config: Arc<Config>,
}

impl Peers for World {
    type Balancer = Balancer;
    type Runtime = Runtime;
    type Metrics = Prometheus;
    type Probe = InstanceProbe;
    type Stages = LocalStages;

    fn balancer(&self, placement: &Placement, name: &BalancerName) -> Option<&Balancer> {
        let key = (placement.clone(), name.clone());
        self.balancers.get(&key).map(|balancer| &**balancer)
    }

    fn runtime(&self, name: &RuntimeName) -> Option<&Runtime> {
        self.runtimes.get(name).map(|runtime| &**runtime)
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        self.runtimes.keys().cloned().collect()
    }

    fn metrics(&self, name: &MetricsName) -> Option<&Prometheus> {
        self.metrics.get(name).map(|source| &**source)
    }

    fn probe(&self) -> &InstanceProbe {
        &self.probe
    }

    fn stages(&self) -> &LocalStages {
        &self.stages
    }

    async fn permit(&self, effect: &Effect) -> Result<(), Clean> {
        self.leases.permit(effect).await
    }
}

/// Where the embedded host listens, unless the configuration says otherwise.
pub(super) fn host_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("host.sock")
}

impl World {
    /// Makes an adapter for every peer; connects to none.
    pub(super) fn new(config: &Config, state_dir: &Path) -> Result<Self, Failure> {
        Self::build(config, state_dir, None)
    }

    /// The same for a configuration read anew. Adapters whose settings are the same are kept with
    /// what they know; so are those that nothing names any more, for an open rollout may.
    fn renewed(&self, config: &Config, state_dir: &Path) -> Result<Self, Failure> {
        Self::build(config, state_dir, Some(self))
    }

    fn build(config: &Config, state_dir: &Path, old: Option<&Self>) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::because(Exit::Config, error);
        let mut runtimes = old.map_or_else(BTreeMap::new, |old| (*old.runtimes).clone());
        for (name, settings) in config.runtimes() {
            let is_same = |old: &Self| old.config.runtime(name) == Some(settings);
            if old.is_some_and(is_same) {
                continue;
            }
            let runtime = match settings {
                RuntimeSettings::Host { socket } => {
                    let socket = socket.clone().unwrap_or_else(|| host_socket(state_dir));
                    let host = HostRuntime::new(&socket).map_err(|error| failed(&error))?;
                    Runtime::Host(host)
                }
                RuntimeSettings::Docker(docker) => {
                    let options = docker::options(name, docker);
                    let options = options.map_err(|error| failed(&error))?;
                    Runtime::Docker(DockerRuntime::new(options))
                }
            };
            runtimes.insert(name.clone(), Arc::new(runtime));
        }
        let mut logs = old.map_or_else(BTreeMap::new, |old| (*old.logs).clone());
        let mut balancers = old.map_or_else(BTreeMap::new, |old| (*old.balancers).clone());
        for spec in config.specs() {
            for backend in &spec.balancers {
                let Some(settings) = config.balancer(&backend.balancer) else {
                    continue;
                };
                let key = (spec.placement.clone(), backend.balancer.clone());
                if old.is_some_and(|old| old.has_same(config, spec, &backend.balancer)) {
                    continue;
                }
                let log = log_of(settings, &mut logs);
                let name = &backend.balancer;
                let balancer = balancer(config, settings, spec, name, state_dir, log)?;
                balancers.insert(key, Arc::new(balancer));
            }
        }
        let mut metrics = old.map_or_else(BTreeMap::new, |old| (*old.metrics).clone());
        for (name, settings) in config.metrics() {
            let source = super::metrics::adapter(name, settings);
            let source = source.map_err(|error| failed(&error))?;
            metrics.insert(name.clone(), Arc::new(source));
        }
        let old_leases = old.map(|old| old.leases.as_ref());
        let leases = Leases::new(config, state_dir, &runtimes, old_leases);
        Ok(Self {
            metrics: Arc::new(metrics),
            runtimes: Arc::new(runtimes),
            balancers: Arc::new(balancers),
            logs: Arc::new(logs),
            probe: Arc::new(InstanceProbe::new()),
            stages: old.map_or_else(
                || pipeline::stages(config, state_dir),
                // Stages under way must be found again, to be ended.
                |old| old.stages.clone(),
            ),
            leases: Arc::new(leases),
            config: Arc::new(config.clone()),
        })
    }

    /// Whether the adapter of a balancer is made of the same settings as it would be now.
    fn has_same(&self, config: &Config, spec: &ServiceSpec, name: &BalancerName) -> bool {
        let Placement {
            service,
            environment,
        } = &spec.placement;
        let before = self.config.spec(service, environment).ok();
        before.is_some_and(|before| {
            (&before.servers, &before.balancers) == (&spec.servers, &spec.balancers)
                && self.config.listen(&spec.placement) == config.listen(&spec.placement)
                && self.config.balancer(name) == config.balancer(name)
        })
    }
}

/// The log a balancer writes to, one for all its backends.
fn log_of(
    settings: &BalancerSettings,
    logs: &mut BTreeMap<LogAddress, Weak<HttpLog>>,
) -> Option<Arc<HttpLog>> {
    let BalancerSettings::Haproxy(HaproxySettings { log: Some(at), .. }) = settings else {
        return None;
    };
    if let Some(known) = logs.get(at).and_then(Weak::upgrade) {
        return Some(known);
    }
    let log = Arc::new(HttpLog::new(at.clone()));
    logs.insert(at.clone(), Arc::downgrade(&log));
    Some(log)
}

fn balancer(
    config: &Config,
    settings: &BalancerSettings,
    spec: &ServiceSpec,
    name: &BalancerName,
    state_dir: &Path,
    log: Option<Arc<HttpLog>>,
) -> Result<Balancer, Failure> {
    match settings {
        BalancerSettings::Host { socket } => {
            let socket = socket.clone().unwrap_or_else(|| host_socket(state_dir));
            let Some(listen) = config.listen(&spec.placement) else {
                let text = format!("{} has no listen address for the proxy", spec.placement);
                return Err(Failure::new(Exit::Config, text));
            };
            let body = BackendBody {
                listen,
                servers: spec.servers.clone(),
            };
            let mine = spec
                .balancers
                .iter()
                .filter(|backend| backend.balancer == *name);
            let backends = mine
                .map(|backend| (backend.backend.clone(), body.clone()))
                .collect();
            EmbeddedBalancer::new(&socket, backends)
                .map(Balancer::Embedded)
                .map_err(|error| Failure::because(Exit::Config, &error))
        }
        BalancerSettings::Haproxy(haproxy) => {
            let backend = spec
                .balancers
                .iter()
                .find(|backend| backend.balancer == *name);
            let state_file = backend.map(|backend| haproxy.state_file(&backend.backend));
            let adapter = HaproxyBalancer::new(HaproxyOptions {
                name: name.clone(),
                socket: haproxy.socket.clone(),
                state_file: state_file.unwrap_or_else(|| haproxy.state_file.clone()),
                shares: super::haproxy::shares(haproxy.shares),
                log: haproxy.log.clone(),
            });
            Ok(Balancer::Haproxy(match log {
                Some(log) => adapter.with_log(log),
                None => adapter,
            }))
        }
    }
}

/// An engine, ready to run.
pub(super) struct Assembled {
    pub(super) shell: Shell<World>,
    pub(super) keeper: runbook::Keeper,
    pub(super) side: Arc<Side>,
    pub(super) server: ServerOptions,
}

/// How many records the timeline begins with.
const RECENT: u64 = 60;

/// Opens the history, folds it, and puts the engine around it.
pub(super) async fn assemble(loaded: &Loaded, home: &Home) -> Result<Assembled, Failure> {
    let state_dir = &home.state_dir;
    let clock = Clock::start(0);
    let me = Peer {
        uid: own_uid(),
        pid: None,
    };
    let holder = Holder {
        pid: std::process::id(),
        user: Clean::new(&me.person().await.to_string()),
        since_ms: clock.now_ms(),
    };
    let opened = History::open(state_dir, &holder).map_err(|error| locked_or(&error))?;
    let mut state = opened.checkpoint.unwrap_or_default();
    opened
        .tail
        .iter()
        .for_each(|record| crate::engine::evolve(&mut state, record));
    state.newer |= opened.newer;
    let recent = recent(state_dir, &state);
    let writer = HistoryWriter::spawn(opened.history)
        .map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let world = World::new(&loaded.config, state_dir)?;
    let info = EngineInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: Clean::new(&rustix::system::uname().nodename().to_string_lossy()),
        config_hash: loaded.hash.clone(),
    };
    let options = ShellOptions {
        configured: placed(&loaded.config),
        state,
        recent,
        info,
        history: writer,
    };
    let (shell, handle) = Shell::new(options, world.clone());
    let refits = shell.refits();
    let (hello, hello_told) = watch::channel(hello(loaded));
    let (roles, roles_told) = watch::channel(loaded.config.access().roles.clone());
    let access = match home.ownership {
        Ownership::Personal => Access::personal(),
        Ownership::System => Access::by_name(roles_told, Arc::new(MachineAccounts)),
    };
    let (by_hand, by_hand_told) = watch::channel(runbook::access(&loaded.config, state_dir));
    let keeper = runbook::Keeper {
        states: handle.states(),
        access: by_hand_told,
        state_dir: state_dir.to_owned(),
    };
    let side = Side {
        handle,
        by_hand,
        hello,
        roles,
        refits,
        reloading: tokio::sync::Mutex::new(()),
        current: RwLock::new((Arc::new(loaded.clone()), world)),
        clock,
        state_dir: state_dir.to_owned(),
        stop: CancellationToken::new(),
    };
    Ok(Assembled {
        shell,
        keeper,
        side: Arc::new(side),
        server: ServerOptions {
            hello: hello_told,
            access,
            limits: Limits::default(),
        },
    })
}

/// What callers are told of an engine with this configuration.
fn hello(loaded: &Loaded) -> ServerHello {
    let paths: Vec<_> = loaded
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    ServerHello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_path: paths.join(", "),
        config_hash: loaded.hash.clone(),
    }
}

/// What is configured.
fn placed(config: &Config) -> Vec<About> {
    let all = config.specs().map(|spec| About {
        placement: spec.placement.clone(),
        protected: spec.protected,
    });
    all.collect()
}

fn locked_or(error: &HistoryError) -> Failure {
    match error {
        HistoryError::Locked { .. } => Failure::because(Exit::Locked, error),
        _ => Failure::because(Exit::Unreachable, error),
    }
}

fn recent(state_dir: &Path, state: &State) -> Vec<crate::model::Record> {
    let after = state.seq.saturating_sub(RECENT);
    HistoryReader::open(state_dir)
        .and_then(|reader| reader.records(after, RECENT as u32))
        .unwrap_or_default()
}
