//! Starting a personal engine in the background.
//!
//! Must not know what an engine does, or whether one may be started: the caller has decided.

use super::client::{Client, ClientOptions, ConnectError};
use super::socket::shown;
use crate::model::Clean;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// Read and write for the owner, nothing for anybody else.
const LOG_MODE: u32 = 0o600;

/// How often the socket is tried: the engine is another process and cannot call back.
const POLL: Duration = Duration::from_millis(20);

/// The exit code of an engine that found the state directory locked by another one.
const LOCKED: i32 = 73;

/// How much of the log's end an error quotes.
const TAIL_BYTES_MAX: u64 = 8 * 1024;

/// How many of its last lines.
const TAIL_LINES_MAX: usize = 10;

/// Longest line of those, in characters.
const LINE_CHARS_MAX: usize = 400;

/// How to start an engine.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The program: as a rule the one that is running.
    pub program: &'a Path,
    /// Its arguments; with them it must call [`detach`] before anything else.
    pub args: &'a [OsString],
    /// Where its output goes: created with mode 0600, else appended to.
    pub log_file: &'a Path,
    /// Where it will listen.
    pub socket: &'a Path,
    /// How long it has until it answers.
    pub deadline: Duration,
}

/// Why no engine answers.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its log cannot be written.
    #[error("cannot open the engine's log {path}; check its directory")]
    Log {
        /// The log.
        path: Clean,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("cannot start the engine {program}; check the file and its mode")]
    Start {
        /// The program.
        program: Clean,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// It ended at once.
    #[error(
        "the engine ended at once ({status}); its log {log} ends with:{}",
        quoted(lines)
    )]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its log.
        log: Clean,
        /// The last lines of it.
        lines: Vec<Clean>,
    },
    /// It runs and does not answer.
    #[error("the engine did not answer within {deadline:?}; it may still be starting: see {log}")]
    Silent {
        /// How long it had.
        deadline: Duration,
        /// Its log.
        log: Clean,
    },
    /// Something else answers where it should.
    #[error(transparent)]
    Connect(ConnectError),
}

fn quoted(lines: &[Clean]) -> String {
    match lines {
        [] => " nothing".to_owned(),
        lines => lines.iter().map(|line| format!("\n  {line}")).collect(),
    }
}

/// Leaves the terminal: a session of its own, so that no hang-up or Ctrl-C there reaches the
/// engine. For the engine itself, at its start.
///
/// # Errors
/// When the process leads a process group already, which one started by [`spawn_engine`] does
/// not.
pub fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Starts an engine and waits until one says hello on the socket. If another process starts one
/// at the same moment, whichever answers will do.
///
/// Dropping the future leaves the engine running.
///
/// # Errors
/// Any [`SpawnError`]; after [`SpawnError::Silent`] the engine goes on running.
pub async fn spawn_engine(launch: Launch<'_>) -> Result<(), SpawnError> {
    let (log, begins) = open_log(launch.log_file)?;
    let mut child = start(&launch, log)?;
    let until = Instant::now() + launch.deadline;
    let mut ended = None;
    loop {
        if answers(launch.socket).await? {
            return Ok(());
        }
        if let Some(status) = ended {
            return Err(SpawnError::Ended {
                status,
                log: shown(launch.log_file),
                lines: tail(launch.log_file, begins).unwrap_or_default(),
            });
        }
        let Ok(exited) = timeout_at(until, pause(&mut child)).await else {
            return Err(SpawnError::Silent {
                deadline: launch.deadline,
                log: shown(launch.log_file),
            });
        };
        // One that found the lock held leaves the field to another; that one is waited for.
        // After any other end the socket gets one last try.
        ended = exited.filter(|status| status.code() != Some(LOCKED));
    }
}

/// Waits until the next try is due: for [`POLL`], or until the child ends. After a child has
/// ended its status comes at once, so a locked-out one still waits for [`POLL`].
async fn pause(child: &mut Child) -> Option<ExitStatus> {
    let status = tokio::select! {
        biased;
        // An error here means that nobody can tell; the deadline decides then.
        status = child.wait() => status.ok(),
        () = sleep(POLL) => return None,
    };
    if status.is_none_or(|status| status.code() == Some(LOCKED)) {
        sleep(POLL).await;
    }
    status
}

async fn answers(socket: &Path) -> Result<bool, SpawnError> {
    let options = ClientOptions::command(None);
    match Client::connect(socket, &options).await {
        Ok(_) => Ok(true),
        Err(ConnectError::NotRunning { .. }) => Ok(false),
        Err(error) => Err(SpawnError::Connect(error)),
    }
}

fn start(launch: &Launch<'_>, log: File) -> Result<Child, SpawnError> {
    let failed = |source| SpawnError::Start {
        program: shown(launch.program),
        source,
    };
    let errors = log.try_clone().map_err(failed)?;
    Command::new(launch.program)
        .args(launch.args)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)
}

/// Opens the log for appending and says where this engine's part begins.
fn open_log(path: &Path) -> Result<(File, u64), SpawnError> {
    let open = || {
        let mut options = OpenOptions::new();
        let follow_no_link = rustix::fs::OFlags::NOFOLLOW.bits();
        options.append(true).create(true).mode(LOG_MODE);
        let log = options
            .custom_flags(follow_no_link.cast_signed())
            .open(path)?;
        log.set_permissions(Permissions::from_mode(LOG_MODE))?;
        let length = log.metadata()?.len();
        Ok((log, length))
    };
    open().map_err(|source| SpawnError::Log {
        path: shown(path),
        source,
    })
}

/// The last lines of a log, from `begins` on.
fn tail(path: &Path, begins: u64) -> io::Result<Vec<Clean>> {
    let mut log = File::open(path)?;
    let end = log.metadata()?.len();
    let from = begins.max(end.saturating_sub(TAIL_BYTES_MAX));
    log.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    let newest = lines.len().saturating_sub(TAIL_LINES_MAX);
    let clean = |line: &&str| Clean::line(line, LINE_CHARS_MAX);
    Ok(lines[newest..].iter().map(clean).collect())
}
