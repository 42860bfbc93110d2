//! The parent of one program of a stage: our own binary, begun by the engine. It ends the program
//! with everything that program began, when the program ends, when the engine says so, and when the
//! engine itself is gone.
//!
//! Its standard input is a socket to the engine. Nothing comes in over it; its end means the end.
//! Over it go lines that say how the program began and ended ([`Said`]). Where the system can, it
//! adopts what leaves the program's process group, so that this ends too. Must not know what the
//! program is for.

mod tree;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The subcommand of our own binary that is one.
pub const SUBCOMMAND: &str = "stage-shepherd";

/// Between two looks at what must become free or end.
const LOOK: Duration = Duration::from_millis(20);
/// Between two times of reaping what was adopted and ended while the program runs.
const REAP: Duration = Duration::from_secs(5);
/// For everything to end that was killed.
const KILLED: Duration = Duration::from_secs(10);
/// For the clean-up.
const CLEANUP: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// Locked while the program lives.
    pub lock: PathBuf,
    /// How long whoever holds that lock is waited for, in milliseconds.
    pub lock_wait_ms: u64,
    /// Between the polite and the final signal, in milliseconds.
    pub grace_ms: u64,
    /// A program with its arguments that is run at the end, however that came; may be empty.
    pub cleanup: Vec<OsString>,
    /// The program with its arguments.
    pub program: Vec<OsString>,
}

/// What the shepherd tells the engine, each on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The program began, with this id, which is also its group's.
    Began(i32),
    /// It ended with this exit code.
    Exit(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// So many of its processes could not be ended.
    Left(usize),
    /// It could not be begun.
    NotBegun(String),
    /// What came before still holds the lock.
    Locked,
}

impl Said {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "began" => rest.parse().ok().map(Self::Began),
            "exit" => rest.parse().ok().map(Self::Exit),
            "signal" => rest.parse().ok().map(Self::Signal),
            "left" => rest.parse().ok().map(Self::Left),
            "not-begun" => Some(Self::NotBegun(rest.to_owned())),
            "locked" => Some(Self::Locked),
            _ => None,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Began(pid) => format!("began {pid}\n"),
            Self::Exit(code) => format!("exit {code}\n"),
            Self::Signal(signal) => format!("signal {signal}\n"),
            Self::Left(count) => format!("left {count}\n"),
            Self::NotBegun(why) => format!("not-begun {}\n", why.replace('\n', " ")),
            Self::Locked => "locked\n".to_owned(),
        }
    }
}

/// Does it, to the end. Needs a tokio runtime with several threads; its standard input must be the
/// engine's socket.
pub async fn run(order: Order) {
    let mut told = Told::listen();
    let Ok(mut engine) = told.engine.try_clone() else {
        return;
    };
    let mut say = move |said: &Said| {
        // An engine that is gone needs no answer.
        let _ = engine.write_all(said.line().as_bytes());
    };
    let wait = Duration::from_millis(order.lock_wait_ms);
    let _locked = match lock(&order.lock, wait, &mut told).await {
        Ok(Some(file)) => file,
        Ok(None) => return say(&Said::Locked),
        Err(error) => return say(&Said::NotBegun(format!("its lock: {error}"))),
    };
    if told.is_over() {
        return;
    }
    tree::adopt();
    let mut spare = Spare::open();
    let mut child = match begin(&order.program) {
        Ok(child) => child,
        Err(error) => {
            clean_up(&order.cleanup).await;
            return say(&Said::NotBegun(error.to_string()));
        }
    };
    let group = group(&child);
    say(&Said::Began(
        group.map_or(0, |pid| pid.as_raw_nonzero().get()),
    ));
    let grace = Duration::from_millis(order.grace_ms);
    end(group, grace, &mut told, &mut spare).await;
    let status = child.try_wait();
    let left = sweep().await;
    clean_up(&order.cleanup).await;
    say(&match status {
        _ if left > 0 => Said::Left(left),
        Ok(Some(status)) => ended(status),
        // It was killed and is not gone: one of those that are left.
        Ok(None) | Err(_) => Said::Left(1),
    });
}

fn ended(status: ExitStatus) -> Said {
    match (status.code(), status.signal()) {
        (Some(code), _) => Said::Exit(code),
        (None, signal) => Said::Signal(signal.unwrap_or(0)),
    }
}

/// Whether it must end: the engine said so or is gone, or somebody sent this process a signal.
struct Told {
    engine: File,
    over: watch::Receiver<bool>,
}

impl Told {
    fn listen() -> Self {
        let (tell, over) = watch::channel(false);
        let engine = File::from(owned_stdin());
        let mut input = engine.try_clone().ok();
        let by_engine = tell.clone();
        // Blocks in its read until the engine closes its end; the process ends before, or then.
        std::thread::spawn(move || {
            let mut byte = [0];
            while let Some(input) = &mut input {
                match input.read(&mut byte) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(1..) => {}
                    _ => break,
                }
            }
            by_engine.send_replace(true);
        });
        for kind in [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ] {
            let by_signal = tell.clone();
            if let Ok(mut signals) = signal(kind) {
                tokio::spawn(async move {
                    signals.recv().await;
                    by_signal.send_replace(true);
                });
            }
        }
        Self { engine, over }
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Whether nobody is at the other end, which an engine that only asks for the end still is.
    fn is_engine_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.engine, PollFlags::empty())];
        let none = Timespec::default();
        poll(&mut polled, Some(&none)).is_ok_and(|_| polled[0].revents().contains(PollFlags::HUP))
    }

    async fn over(&mut self) {
        // The sender lives in a thread of its own; without it, it is over too.
        let _ = self.over.wait_for(|over| *over).await;
    }
}

/// The reading end of our own standard output, where the system gives it: what the program says
/// while it ends would kill it, once the engine that read it is gone.
struct Spare(Option<File>);

impl Spare {
    fn open() -> Self {
        Self(File::open("/proc/self/fd/1").ok())
    }

    /// Takes everything from here on, for nobody.
    fn drain(&mut self) {
        if let Some(mut output) = self.0.take() {
            // Ends with the process.
            std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        }
    }
}

/// The socket, apart from the process's standard input.
fn owned_stdin() -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    let stdin = io::stdin();
    stdin
        .as_fd()
        .try_clone_to_owned()
        .expect("invariant: the engine gave a socket as standard input")
}

/// Waits for the lock; `None` where another held it all the time, or it is over.
async fn lock(path: &Path, wait: Duration, told: &mut Told) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    let until = Instant::now() + wait;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= until || timeout(LOOK, told.over()).await.is_ok() {
            return Ok(None);
        }
    }
}

fn begin(program: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
}

/// The group that the program leads.
fn group(child: &Child) -> Option<Pid> {
    let id = i32::try_from(child.id()).ok();
    id.and_then(Pid::from_raw)
}

/// Waits for the program's end, brings it about where that is asked, and ends the rest of its
/// group. The program itself is not reaped, so that its group's number stays its own.
async fn end(group: Option<Pid>, grace: Duration, told: &mut Told, spare: &mut Spare) {
    let Some(group) = group else {
        return;
    };
    // Blocks in its thread until the program ended.
    let mut ended = tokio::task::spawn_blocking(move || wait_for(group));
    let mut is_over = false;
    while !is_over && !ended.is_finished() {
        tokio::select! {
            _ = &mut ended => break,
            () = told.over() => is_over = true,
            () = sleep(REAP) => tree::reap_adopted(group),
        }
    }
    if is_over {
        // A group that is gone needs no signal.
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + grace;
        while Instant::now() < until && !tree::is_over(group) {
            if told.is_engine_gone() {
                spare.drain();
            }
            sleep(LOOK).await;
        }
    }
    let _ = kill_process_group(group, Signal::KILL);
    if !ended.is_finished() {
        // One that is not gone by then is counted among those left.
        let _ = timeout(KILLED, ended).await;
    }
}

/// Waits until a child ended, and leaves it to be reaped.
fn wait_for(child: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(Errno::INTR) = waitid(WaitId::Pid(child), options) {}
}

/// Ends whatever the program left, also what has a group of its own. Gives back how many could not
/// be ended.
async fn sweep() -> usize {
    let until = Instant::now() + KILLED;
    loop {
        let left = tree::kill_all();
        if left == 0 || Instant::now() >= until {
            return left;
        }
        sleep(LOOK).await;
    }
}

async fn clean_up(words: &[OsString]) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    let begun = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = begun else {
        return;
    };
    let until = Instant::now() + CLEANUP;
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= until {
            // It has had its time; that it is gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        sleep(LOOK).await;
    }
}
