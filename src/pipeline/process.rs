//! Runs one program for a stage under a shepherd ([`super::shepherd`]), with its output kept, until it
//! ended, its time is up or somebody cancels it. Whoever stops waiting ends it too: the shepherd sees
//! its socket close.

use super::failing::{exit_words, signal_words};
use super::output::Output;
use super::shepherd::Said;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Between the polite and the final signal.
const GRACE_MS: u64 = 5_000;
/// How long an earlier attempt's end is waited for.
pub(super) const LOCK_WAIT_MS: u64 = 15_000;
/// For the shepherd to end everything once it was told: the grace, then what it allows itself.
const ENDING: Duration = Duration::from_millis(GRACE_MS + 40_000);
/// For the rest of the output, once everything has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Read from the pipe at once.
const READ_BYTES: usize = 64 * 1024;

/// An attempt's output, shared with the threads that write it.
pub(super) type SharedOutput = Arc<Mutex<Output>>;

/// Locks an output. Blocks on the file system while another writes.
pub(super) fn locked(output: &SharedOutput) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program to be run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// With its arguments.
    pub(super) program: Vec<OsString>,
    pub(super) directory: PathBuf,
    /// All it gets.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Held while it lives.
    pub(super) lock: PathBuf,
    /// Run at the end, however that came.
    pub(super) cleanup: Vec<OsString>,
}

/// Until when a stage may go on.
#[derive(Debug, Clone)]
pub(super) struct Until {
    pub(super) canceled: CancellationToken,
    pub(super) deadline: Instant,
}

/// Why a stage must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Canceled,
    TimeIsUp,
}

impl Until {
    /// Waits until it must not go on.
    pub(super) async fn over(&self) -> Stop {
        tokio::select! {
            biased;
            () = self.canceled.cancelled() => Stop::Canceled,
            () = sleep_until(self.deadline) => Stop::TimeIsUp,
        }
    }

    /// Does something, unless it must not go on before that is done.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            stop = self.over() => Err(stop),
            done = work => Ok(done),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Exit(i32),
    /// By a signal of somebody else.
    Signal(i32),
    /// By us; nothing of it is left.
    Stopped(Stop),
    /// It never began.
    NotBegun(String),
    /// Nobody knows what is left of it.
    Unknown(String),
}

impl Ended {
    /// How, in words, where it was not by us.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Exit(code) => exit_words(*code),
            Self::Signal(signal) => signal_words(*signal),
            Self::Stopped(Stop::Canceled) => "canceled".to_owned(),
            Self::Stopped(Stop::TimeIsUp) => "its time was up".to_owned(),
            Self::NotBegun(why) | Self::Unknown(why) => why.clone(),
        }
    }
}

/// Runs a program to its end.
pub(super) async fn run(shepherd: &Path, job: Job, until: &Until, output: &SharedOutput) -> Ended {
    let name = job.program.first().cloned().unwrap_or_default();
    let begun = match begin(shepherd, &job) {
        Ok(begun) => begun,
        Err(error) => {
            let shown = shepherd.display();
            return Ended::NotBegun(format!("the shepherd {shown} cannot be run: {error}"));
        }
    };
    let Begun {
        mut child,
        socket,
        pipe,
    } = begun;
    let mut pump = std::pin::pin!(pump(pipe, output));
    let mut is_drained = false;
    let mut talk = std::pin::pin!(talk(socket, until, &name));
    let ended = loop {
        tokio::select! {
            ended = &mut talk => break ended,
            () = &mut pump, if !is_drained => is_drained = true,
        }
    };
    if !is_drained {
        // Only what left the tree could still hold it open.
        let _ = timeout(LAST_WORDS, pump).await;
    }
    // It has said its last word; one that lingers ends by itself.
    let _ = timeout(LAST_WORDS, child.wait()).await;
    ended
}

struct Begun {
    child: Child,
    socket: UnixStream,
    pipe: pipe::Receiver,
}

fn begin(shepherd: &Path, job: &Job) -> io::Result<Begun> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(shepherd);
    // What a list of processes shows, whatever path leads to the program.
    command.arg0("wheelhouse");
    command.arg(super::shepherd::SUBCOMMAND);
    command.arg("--lock").arg(&job.lock);
    command.args(["--lock-wait-ms", &LOCK_WAIT_MS.to_string()]);
    command.args(["--grace-ms", &GRACE_MS.to_string()]);
    for word in &job.cleanup {
        let mut argument = OsString::from("--cleanup=");
        argument.push(word);
        command.arg(argument);
    }
    command
        .arg("--")
        .args(&job.program)
        .current_dir(&job.directory)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(writer.try_clone()?))
        .stderr(Stdio::from(writer))
        .process_group(0);
    let child = command.spawn()?;
    // The command holds the pipe's other end until here.
    drop(command);
    Ok(Begun {
        child,
        socket: UnixStream::from_std(ours)?,
        pipe: pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?,
    })
}

/// Listens to the shepherd; tells it to end where it must not go on.
async fn talk(socket: UnixStream, until: &Until, name: &OsString) -> Ended {
    let (reader, mut writer) = socket.into_split();
    let mut lines = BufReader::new(reader.take(MESSAGES_MAX)).lines();
    let mut group = None;
    let mut stopped = None;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            stop = until.over(), if stopped.is_none() => {
                stopped = Some(stop);
                // A shepherd that is gone shows in what is read next.
                let _ = writer.shutdown().await;
                continue;
            }
            () = sleep(ENDING), if stopped.is_some() => {
                return Ended::Unknown("its processes did not end when they were killed".to_owned());
            }
        };
        let said = line.ok().flatten().and_then(|line| Said::parse(&line));
        let Some(said) = said else {
            return lost(group);
        };
        if let Said::Began(pid) = said {
            group = Pid::from_raw(pid);
            continue;
        }
        return ended(said, stopped, name);
    }
}

/// A shepherd says three short lines at most.
const MESSAGES_MAX: u64 = 16 * 1024;

fn ended(said: Said, stopped: Option<Stop>, name: &OsString) -> Ended {
    match (said, stopped) {
        (Said::Left(count), _) => {
            Ended::Unknown(format!("{count} of its processes could not be ended"))
        }
        (_, Some(stop)) => Ended::Stopped(stop),
        (Said::Exit(code), None) => Ended::Exit(code),
        (Said::Signal(signal), None) => Ended::Signal(signal),
        (Said::Locked, None) => Ended::NotBegun(format!(
            "what an earlier attempt began has not ended within {} s",
            LOCK_WAIT_MS / 1_000
        )),
        (Said::NotBegun(why), None) => {
            let name = name.to_string_lossy();
            Ended::NotBegun(format!(
                "`{name}` cannot be run: {why}; see that it is installed and on the engine's PATH"
            ))
        }
        (Said::Began(_), None) => Ended::Unknown("its shepherd said nothing more".to_owned()),
    }
}

/// The shepherd ended without its last word: somebody killed it.
fn lost(group: Option<Pid>) -> Ended {
    let Some(group) = group else {
        return Ended::NotBegun("its shepherd ended before it began".to_owned());
    };
    // A group that is gone needs no signal.
    let _ = kill_process_group(group, Signal::KILL);
    Ended::Unknown("its shepherd was killed, and so was it; look for what is left".to_owned())
}

/// Keeps what comes through the pipe, to its end.
async fn pump(mut pipe: pipe::Receiver, output: &SharedOutput) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        let chunk = buffer[..read].to_vec();
        let output = Arc::clone(output);
        let kept = tokio::task::spawn_blocking(move || locked(&output).take(&chunk));
        if kept.await.is_err() {
            break;
        }
    }
    let output = Arc::clone(output);
    // Its only fault would be a panic, and that is reported.
    let _ = tokio::task::spawn_blocking(move || locked(&output).end_line()).await;
}
