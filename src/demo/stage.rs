//! What a story needs around it: a private directory with a configuration, a host and an engine
//! as processes of their own, and the certainty that nothing is left of them afterwards.

mod settings;

use super::chapter::Chapter;
use super::repository::{Repository, RepositoryError};
use crate::link::{self, Client, ClientOptions};
use settings::Settings;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The demo's environment, protected like a real one.
pub const ENVIRONMENT: &str = "production";
/// A version that answers one request in twenty with an error.
pub const BAD_VERSION: &str = "v3";

/// How long host and engine have to begin.
const START: Duration = Duration::from_secs(20);
/// How long host and engine have to end before they are killed.
const END: Duration = Duration::from_secs(15);
/// Between two looks at a process that begins.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Ports of one service in a row: the proxy's and six servers'.
const PORTS_EACH: u16 = 7;
/// Ports a demo uses in a row: one service for each chapter.
const PORTS: u16 = PORTS_EACH * Chapter::ALL.len() as u16;
/// Where they are looked for. Linux gives outgoing connections ports from 32,768 on.
const FIRST_PORT: u16 = 20_000;
const PORT_RANGE: u16 = 12_000;

/// Why there is no stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A file or directory of the demo.
    #[error("cannot prepare {path}")]
    Prepare {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No ports.
    #[error("found no {PORTS} free ports in a row on 127.0.0.1")]
    Ports,
    /// A process could not be started.
    #[error("cannot start {what}")]
    Start {
        /// Which one.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The repository of a pipeline.
    #[error("cannot make the demo's repository")]
    Repository(#[from] RepositoryError),
    /// A process ended or does not answer.
    #[error("{what} does not answer; its log ends with: {log}")]
    Silent {
        /// Which one.
        what: &'static str,
        /// The end of its log.
        log: String,
    },
}

/// How the story's rollouts go.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A step's soak in seconds.
    pub soak_s: u32,
}

/// A private directory, a host and an engine.
#[derive(Debug)]
pub struct Stage {
    dir: PathBuf,
    config: PathBuf,
    first_port: u16,
    repository: Repository,
    host: Child,
    engine: Child,
}

impl Stage {
    /// Sets everything up for these chapters and waits until it answers.
    ///
    /// # Errors
    /// Any [`StageError`]; what was begun is ended again.
    pub async fn set(pace: Pace, chapters: &[Chapter]) -> Result<Self, StageError> {
        let program = std::env::current_exe().map_err(|source| StageError::Start {
            what: "this program",
            source,
        })?;
        let first_port = free_ports().ok_or(StageError::Ports)?;
        let dir = std::env::temp_dir().join(format!("wheelhouse-demo-{}", uuid::Uuid::now_v7()));
        let prepare = |source| StageError::Prepare {
            path: dir.clone(),
            source,
        };
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(prepare)?;
        let config = dir.join("wheelhouse.toml");
        let repository = Repository::below(&dir);
        let settings = Settings {
            program: &program,
            state_dir: &dir.join("state"),
            repository: repository.dir(),
            first_port,
            pace,
        };
        let prepared = match write_private(&config, &settings.text(chapters)) {
            Ok(()) => commits(&repository, chapters).await,
            Err(source) => Err(StageError::Prepare {
                path: config.clone(),
                source,
            }),
        };
        let started = prepared.and_then(|()| {
            let host = start(&program, &dir, &config, "host", &["host"])?;
            let engine = start(&program, &dir, &config, "engine", &["engine", "run"])?;
            Ok((host, engine))
        });
        let (host, engine) = match started {
            Ok(both) => both,
            Err(error) => {
                forget(&dir);
                return Err(error);
            }
        };
        let mut stage = Self {
            dir,
            config,
            first_port,
            repository,
            host,
            engine,
        };
        match stage.answer().await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.strike().await;
                Err(error)
            }
        }
    }

    /// The configuration file, for a second terminal.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where the proxy listens for a chapter's service.
    pub fn listen(&self, chapter: Chapter) -> SocketAddr {
        settings::listen(self.first_port, chapter)
    }

    /// Where the pipeline's commits come from; made only for a chapter that needs it.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Where engine and host keep everything.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The engine's own log.
    pub fn engine_log(&self) -> PathBuf {
        log_file(&self.dir, "engine")
    }

    /// The engine's process, for tests that end it.
    pub fn engine_pid(&self) -> Option<u32> {
        self.engine.id()
    }

    /// Kills the engine and starts another on the same state; traffic goes on meanwhile.
    ///
    /// # Errors
    /// When the new one does not answer.
    pub async fn restart_engine(&mut self) -> Result<(), StageError> {
        let program = std::env::current_exe().map_err(|source| StageError::Start {
            what: "this program",
            source,
        })?;
        self.restart_engine_of(&program).await
    }

    /// As [`Stage::restart_engine`], with a program of the caller's choice.
    ///
    /// # Errors
    /// When the new one does not answer.
    pub async fn restart_engine_of(&mut self, program: &Path) -> Result<(), StageError> {
        let failed = |source| StageError::Start {
            what: "engine",
            source,
        };
        self.engine.kill().await.map_err(failed)?;
        self.engine = start(
            program,
            &self.dir,
            &self.config,
            "engine",
            &["engine", "run"],
        )?;
        self.answer().await
    }

    /// Ends everything, waits for it, and removes the directory. Says whether anything had to be
    /// killed.
    pub async fn strike(mut self) -> bool {
        let engine = end(&mut self.engine).await;
        let host = end(&mut self.host).await;
        forget(&self.dir);
        engine && host
    }

    async fn answer(&mut self) -> Result<(), StageError> {
        let deadline = Instant::now() + START;
        let socket = link::socket_path(&self.state_dir());
        let host = self.state_dir().join("host.sock");
        let options = ClientOptions::command(None);
        loop {
            let listens = tokio::net::UnixStream::connect(&host).await.is_ok();
            if listens && Client::connect(&socket, &options).await.is_ok() {
                return Ok(());
            }
            let ended = [("host", &mut self.host), ("engine", &mut self.engine)]
                .into_iter()
                .find_map(|(what, child)| matches!(child.try_wait(), Ok(Some(_))).then_some(what));
            let late =
                (Instant::now() >= deadline).then_some(if listens { "engine" } else { "host" });
            if let Some(what) = ended.or(late) {
                return Err(StageError::Silent {
                    what,
                    log: log_end(&self.dir, what),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Finds ports in a row that nobody listens on now, below those that the system gives to outgoing
/// connections: an instance that starts later must find its port still free.
fn free_ports() -> Option<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let offset = (std::process::id() % 1_000) as u16 * PORTS_EACH;
    let mut candidates =
        (0..1_000_u16).map(|n| FIRST_PORT + (offset + n * PORTS_EACH) % PORT_RANGE);
    candidates.find(|first| (0..PORTS).all(|n| free(first + n)))
}

/// Makes the repository where a chapter needs one.
async fn commits(repository: &Repository, chapters: &[Chapter]) -> Result<(), StageError> {
    match chapters.iter().any(|chapter| chapter.needs_git()) {
        true => Ok(repository.make().await?),
        false => Ok(()),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn start(
    program: &Path,
    dir: &Path,
    config: &Path,
    what: &'static str,
    args: &[&str],
) -> Result<Child, StageError> {
    let failed = |source| StageError::Start { what, source };
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log_file(dir, what))
        .map_err(failed)?;
    Command::new(program)
        .arg("--config")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)
}

fn log_file(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("{what}.log"))
}

/// The last lines of a log, for an error.
fn log_end(dir: &Path, what: &str) -> String {
    let text = std::fs::read_to_string(log_file(dir, what)).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Asks a process to end and waits; kills it if it does not. Says whether it ended by itself.
async fn end(child: &mut Child) -> bool {
    let pid = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    let asked = pid.is_some_and(|pid| {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
    });
    if asked && matches!(timeout(END, child.wait()).await, Ok(Ok(_))) {
        return true;
    }
    if let Err(error) = child.kill().await {
        tracing::warn!("a process of the demo could not be killed: {error}");
    }
    pid.is_none()
}

fn forget(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        tracing::warn!("{} was not removed: {error}", dir.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_below_those_of_outgoing_connections() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let outgoing = range.ok().and_then(|text| {
            let first = text.split_whitespace().next()?;
            first.parse::<u16>().ok()
        });
        let last = FIRST_PORT + PORT_RANGE - 1 + PORTS;
        assert!(last < outgoing.unwrap_or(32_768), "up to {last}");
        let found = free_ports().expect("free ports");
        assert!((FIRST_PORT..=last).contains(&found), "{found}");
    }
}
