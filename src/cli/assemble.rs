//! Puts an engine together: configuration → adapters, history, driver, socket.

use super::exit::{Exit, Failure};
use crate::balancer::Balancer;
use crate::balancer::embedded::EmbeddedBalancer;
use crate::balancer::haproxy::{HaproxyBalancer, HaproxyOptions};
use crate::config::{BalancerSettings, Config, Loaded, RuntimeSettings};
use crate::driver::{Clock, EngineHandle, Peers, Shell, ShellOptions};
use crate::history::{History, HistoryError, HistoryReader, HistoryWriter, Holder, RolloutRef};
use crate::host::wire::BackendBody;
use crate::link::wire::{CommandRequest, Reply, Request};
use crate::link::{EngineSide, Peer, ServerHello, ServerOptions, Trouble, own_uid};
use crate::model::command::Command;
use crate::model::input::EngineInfo;
use crate::model::service::ServiceSpec;
use crate::model::{Actor, BalancerName, Clean, Placement, RuntimeName, ServerName, State};
use crate::ports::Runtime as _;
use crate::probe::HttpProbe;
use crate::runtime::Runtime;
use crate::runtime::host::HostRuntime;
use crate::view::snapshot::Attached;
use crate::view::{About, Snapshot};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The adapters a configuration names.
#[derive(Clone)]
pub(super) struct World {
    runtimes: Arc<BTreeMap<RuntimeName, Runtime>>,
    balancers: Arc<BTreeMap<(Placement, BalancerName), Balancer>>,
    probe: Arc<HttpProbe>,
}

impl Peers for World {
    type Balancer = Balancer;
    type Runtime = Runtime;
    type Probe = HttpProbe;

    fn balancer(&self, placement: &Placement, name: &BalancerName) -> Option<&Balancer> {
        self.balancers.get(&(placement.clone(), name.clone()))
    }

    fn runtime(&self, name: &RuntimeName) -> Option<&Runtime> {
        self.runtimes.get(name)
    }

    fn probe(&self) -> &HttpProbe {
        &self.probe
    }
}

/// Where the embedded host listens, unless the configuration says otherwise.
pub(super) fn host_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("host.sock")
}

impl World {
    /// Makes an adapter for every peer; connects to none.
    pub(super) fn new(config: &Config, state_dir: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::because(Exit::Config, error);
        let mut runtimes = BTreeMap::new();
        for (name, settings) in config.runtimes() {
            let RuntimeSettings::Host { socket } = settings;
            let socket = socket.clone().unwrap_or_else(|| host_socket(state_dir));
            let host = HostRuntime::new(&socket).map_err(|error| failed(&error))?;
            runtimes.insert(name.clone(), Runtime::Host(host));
        }
        let mut balancers = BTreeMap::new();
        for spec in config.specs() {
            for backend in &spec.balancers {
                let Some(settings) = config.balancer(&backend.balancer) else {
                    continue;
                };
                let key = (spec.placement.clone(), backend.balancer.clone());
                let balancer = balancer(config, settings, spec, &backend.balancer, state_dir)?;
                balancers.insert(key, balancer);
            }
        }
        Ok(Self {
            runtimes: Arc::new(runtimes),
            balancers: Arc::new(balancers),
            probe: Arc::new(HttpProbe::new()),
        })
    }
}

fn balancer(
    config: &Config,
    settings: &BalancerSettings,
    spec: &ServiceSpec,
    name: &BalancerName,
    state_dir: &Path,
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
            Ok(Balancer::Haproxy(HaproxyBalancer::new(HaproxyOptions {
                name: name.clone(),
                socket: haproxy.socket.clone(),
                state_file: state_file.unwrap_or_else(|| haproxy.state_file.clone()),
                shares: super::haproxy::shares(haproxy.shares),
            })))
        }
    }
}

/// An engine, ready to run.
pub(super) struct Assembled {
    pub(super) shell: Shell<World>,
    pub(super) side: Arc<Side>,
    pub(super) server: ServerOptions,
}

/// How many records the timeline begins with.
const RECENT: u64 = 60;

/// Opens the history, folds it, and puts the engine around it.
pub(super) async fn assemble(loaded: &Loaded, state_dir: &Path) -> Result<Assembled, Failure> {
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
    let configured = loaded.config.specs().map(|spec| About {
        placement: spec.placement.clone(),
        protected: spec.protected,
    });
    let options = ShellOptions {
        configured: configured.collect(),
        state,
        recent,
        info,
        history: writer,
    };
    let (shell, handle) = Shell::new(options, world.clone());
    let paths: Vec<_> = loaded
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let hello = ServerHello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_path: paths.join(", "),
        config_hash: loaded.hash.clone(),
    };
    let side = Side {
        handle,
        config: loaded.config.clone(),
        world,
        clock,
        state_dir: state_dir.to_owned(),
        stop: CancellationToken::new(),
    };
    Ok(Assembled {
        shell,
        side: Arc::new(side),
        server: ServerOptions::personal(hello),
    })
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

/// The engine as the socket sees it.
pub(super) struct Side {
    handle: EngineHandle,
    config: Config,
    world: World,
    clock: Clock,
    state_dir: PathBuf,
    /// Cancelled when somebody asks the engine to stop.
    pub(super) stop: CancellationToken,
}

impl EngineSide for Side {
    fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.handle.snapshots()
    }

    async fn ask(&self, by: Actor, request: Request) -> Reply {
        match self.reply(by, request).await {
            Ok(reply) => reply,
            Err(text) => Reply::Error { text },
        }
    }

    fn attached(&self, consoles: Vec<Attached>) {
        self.handle.attached(consoles);
    }

    fn trouble(&self, trouble: Trouble) {
        tracing::warn!("{trouble}");
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

impl Side {
    async fn reply(&self, by: Actor, request: Request) -> Result<Reply, Clean> {
        let text = |error: &dyn std::error::Error| Clean::new(&error.to_string());
        match request {
            Request::Command { command } => {
                let command = self.fill(command)?;
                let answer = self
                    .handle
                    .command(by, command)
                    .await
                    .map_err(|e| text(&e))?;
                Ok(Reply::Answer { answer })
            }
            Request::Preview { command } => self.preview(by, command, false).await,
            Request::DryRun { command } => self.preview(by, command, true).await,
            Request::Snapshot | Request::Watch => Ok(Reply::Snapshot {
                snapshot: self.handle.snapshots().borrow().clone(),
            }),
            Request::History { limit } => {
                let rows = self
                    .read(move |reader| reader.list(limit.min(1_000)))
                    .await?;
                Ok(Reply::History { rows })
            }
            Request::Show { id } => self.show(&id).await,
            Request::Logs {
                placement,
                server,
                from,
            } => self.logs(&placement, &server, from).await,
            Request::Stop => {
                self.stop.cancel();
                Ok(Reply::Done)
            }
        }
    }

    async fn preview(
        &self,
        by: Actor,
        command: CommandRequest,
        to_the_end: bool,
    ) -> Result<Reply, Clean> {
        let command = self.fill(command)?;
        let preview = self.handle.preview(by, command, to_the_end).await;
        let preview = preview.map_err(|error| Clean::new(&error.to_string()))?;
        Ok(Reply::Preview {
            preview: Box::new(preview),
        })
    }

    /// Fills in what the engine's own configuration says.
    fn fill(&self, command: CommandRequest) -> Result<Command, Clean> {
        let spec = |placement: &Placement| {
            self.config
                .spec(&placement.service, &placement.environment)
                .map(|spec| Box::new(spec.clone()))
                .map_err(|error| Clean::new(&error.to_string()))
        };
        Ok(match command {
            CommandRequest::Deploy {
                placement,
                version,
                reason,
            } => Command::Deploy {
                spec: spec(&placement)?,
                version,
                reason,
            },
            CommandRequest::Rollback {
                placement,
                to,
                reason,
            } => Command::Rollback {
                spec: spec(&placement)?,
                to,
                reason,
            },
            CommandRequest::Promote {
                placement,
                to,
                revision,
            } => Command::Promote {
                placement,
                to,
                revision,
            },
            CommandRequest::Hold { placement, reason } => Command::Hold { placement, reason },
            CommandRequest::Resume {
                placement,
                revision,
            } => Command::Resume {
                placement,
                revision,
            },
            CommandRequest::Abort { placement, reason } => Command::Abort { placement, reason },
        })
    }

    async fn show(&self, id: &str) -> Result<Reply, Clean> {
        let which: RolloutRef = id
            .parse()
            .map_err(|error: crate::history::RolloutRefError| Clean::new(&error.to_string()))?;
        let unknown = Clean::new(&format!("the history knows no rollout {id}"));
        let found = self.read(move |reader| reader.show(which)).await?;
        let (row, mut records) = found.ok_or(unknown)?;
        let first = records.len().saturating_sub(RECORDS_MAX);
        records.drain(..first);
        Ok(Reply::Show { row, records })
    }

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<Reply, Clean> {
        let unplaced = || Clean::new(&format!("{placement} is not in the configuration"));
        let spec = self
            .config
            .spec(&placement.service, &placement.environment)
            .map_err(|_| unplaced())?;
        let runtime = spec
            .runtimes
            .first()
            .and_then(|name| self.world.runtime(name));
        let page = runtime
            .ok_or_else(unplaced)?
            .logs(placement, server, from)
            .await;
        let page = page.map_err(|error| error.0)?;
        Ok(Reply::Logs {
            next: page.next,
            skipped: page.skipped,
            lines: page.lines,
        })
    }

    /// Reads the history beside the driver, which must not wait for a disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&HistoryReader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Clean> {
        let dir = self.state_dir.clone();
        let job = move || HistoryReader::open(&dir).and_then(|reader| read(&reader));
        let done = tokio::task::spawn_blocking(job).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(crate::history::sentence(&error)),
            Err(_) => Err("reading the history failed".into()),
        }
    }
}

/// Records one reply carries at most; the frame must stay below its limit.
const RECORDS_MAX: usize = 200;
