//! `runbook`: the way back to stable by hand, printed from the history, whether an engine runs or
//! not; and the engine's own copies of it, refreshed whenever traffic is to move.

use super::assemble::host_socket;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::config::{BalancerSettings, Config, DaemonAt, DockerSettings, RuntimeSettings};
use crate::engine;
use crate::history::HistoryReader;
use crate::model::{EnvName, ServiceName, State};
use crate::runbook::{Access, BalancerAccess, Runbook, RuntimeAccess};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Args)]
pub(super) struct RunbookArgs {
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: EnvName,
    /// Only this service
    service: Option<ServiceName>,
}

pub(super) fn run(context: &Context, args: &RunbookArgs) -> Ended {
    let loaded = context.load()?;
    if loaded.config.env(&args.environment).is_none() {
        let text = format!("the configuration has no environment {}", args.environment);
        return Err(Failure::new(Exit::Config, text));
    }
    let state_dir = context.state_dir(&loaded)?;
    let state = recorded(&state_dir)?;
    let access = access(&loaded.config, &state_dir);
    let runbook = Runbook::of(&state, &access, &args.environment, args.service.as_ref());
    match context.json {
        true => print::json(&runbook),
        false => print::line(runbook.text().trim_end()),
    }
    Ok(Exit::Done)
}

/// The state as the history file tells it.
fn recorded(state_dir: &Path) -> Result<State, Failure> {
    let newest = HistoryReader::open(state_dir).and_then(|reader| reader.newest());
    let (state, tail) = newest.map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let mut state = state.unwrap_or_default();
    tail.iter()
        .for_each(|record| engine::evolve(&mut state, record));
    Ok(state)
}

/// The `docker` command that reaches a daemon.
fn docker_command(settings: &DockerSettings) -> Vec<String> {
    let mut words = vec!["docker".to_owned()];
    match &settings.daemon {
        Some(DaemonAt::Host(host)) => words.extend(["--host".to_owned(), host.clone()]),
        Some(DaemonAt::Context(context)) => {
            words.extend(["--context".to_owned(), context.clone()]);
        }
        None => {}
    }
    if let Some(tls) = &settings.tls {
        words.push("--tlsverify".to_owned());
        for (flag, file) in [
            ("--tlscacert", &tls.ca),
            ("--tlscert", &tls.cert),
            ("--tlskey", &tls.key),
        ] {
            words.extend([flag.to_owned(), file.display().to_string()]);
        }
    }
    words
}

/// How everything in a configuration is reached by hand.
pub(super) fn access(config: &Config, state_dir: &Path) -> Access {
    let host = |socket: &Option<PathBuf>| socket.clone().unwrap_or_else(|| host_socket(state_dir));
    let mut access = Access::default();
    for (name, settings) in config.runtimes() {
        let way = match settings {
            RuntimeSettings::Host { socket } => RuntimeAccess::Host {
                socket: host(socket),
            },
            RuntimeSettings::Docker(docker) => RuntimeAccess::Docker {
                command: docker_command(docker),
            },
        };
        access.runtimes.insert(name.clone(), way);
    }
    for spec in config.specs() {
        for backend in &spec.balancers {
            let way = match config.balancer(&backend.balancer) {
                None => continue,
                Some(BalancerSettings::Host { socket }) => BalancerAccess::Embedded {
                    socket: host(socket),
                },
                Some(BalancerSettings::Haproxy(haproxy)) => BalancerAccess::Haproxy {
                    socket: haproxy.socket.clone(),
                    state_file: haproxy.state_file(&backend.backend),
                },
            };
            let key = (spec.placement.clone(), backend.balancer.clone());
            access.balancers.insert(key, way);
        }
    }
    access
}

/// Keeps `runbook-ENV.txt` in the state directory as the records say.
pub(super) struct Keeper {
    pub(super) states: watch::Receiver<Arc<State>>,
    /// Another one after each reload of the configuration.
    pub(super) access: watch::Receiver<Access>,
    pub(super) state_dir: PathBuf,
}

impl Keeper {
    /// Writes each environment's runbook now and after every change, until `shutdown`. A disk
    /// that fails is said once and stops nothing.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut written = BTreeMap::new();
        let mut told = false;
        loop {
            let state = Arc::clone(&self.states.borrow_and_update());
            for (environment, runbook) in self.changed(&state, &written) {
                let path = self.state_dir.join(format!("runbook-{environment}.txt"));
                let (target, text) = (path.clone(), runbook.text());
                let work = tokio::task::spawn_blocking(move || replace(&target, &text));
                match work.await {
                    Ok(Ok(())) => {
                        told = false;
                        written.insert(environment, runbook);
                    }
                    Ok(Err(error)) if !told => {
                        told = true;
                        tracing::warn!("{} is not up to date: {error}", path.display());
                    }
                    Ok(Err(_)) => {}
                    Err(error) => tracing::error!("writing a runbook: {error}"),
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                more = self.states.changed() => if more.is_err() { return },
                more = self.access.changed() => if more.is_err() { return },
            }
        }
    }

    /// The runbooks that say something else than those last written.
    fn changed(
        &mut self,
        state: &State,
        written: &BTreeMap<EnvName, Runbook>,
    ) -> Vec<(EnvName, Runbook)> {
        let access = self.access.borrow_and_update().clone();
        let environments: BTreeSet<_> = state
            .placements
            .keys()
            .map(|placement| &placement.environment)
            .collect();
        environments
            .into_iter()
            .map(|name| {
                let runbook = Runbook::of(state, &access, name, None);
                (name.clone(), runbook)
            })
            .filter(|(name, runbook)| {
                let old = written.get(name);
                old.is_none_or(|old| old.pages != runbook.pages)
            })
            .collect()
    }
}

/// Old content or new, never half; for the owner alone.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("txt.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
