//! One instance: started, watched, started again, stopped, and why it is not running.
//!
//! Must not know the other instances or the disk; whoever runs it is told of every change.

use super::{Key, new_run, spawn};
use crate::host::logs::Log;
use crate::host::process;
use crate::host::store::RecordedProcess;
use crate::model::Clean;
use crate::model::service::QuietSignal;
use crate::model::world::InstanceView;
use crate::ports::Start;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// First pause before an instance is started again.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// An instance that ran this long begins with the first pause again.
const RAN_WELL: Duration = Duration::from_secs(60);
/// From an instance's end until its last output was read; a process that left the group may hold
/// the pipe open for ever.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(1);

/// The pause before the next start, after this many starts that failed in a row (from 0).
fn backoff(failed_in_a_row: u32) -> Duration {
    BACKOFF_FIRST
        .saturating_mul(2_u32.saturating_pow(failed_in_a_row))
        .min(BACKOFF_MAX)
}

/// What is known of an instance.
#[derive(Debug)]
struct Known {
    process: Option<RecordedProcess>,
    started_ms: u64,
    restarts: u32,
    exited: Option<Clean>,
    /// The process that was told to take no new work.
    quiet: Option<RecordedProcess>,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) start: Start,
    /// Identity of this instance in its processes' environment.
    pub(super) run: Uuid,
    /// The first attempt to start it was made.
    pub(super) begun: CancellationToken,
    /// It was stopped and forgotten.
    pub(super) ended: CancellationToken,
    log: Arc<Log>,
    known: Mutex<Known>,
    keep_running: watch::Sender<bool>,
    stop: watch::Sender<Option<Duration>>,
}

impl Instance {
    /// An instance that is to be started, unless it is known to have `exited` for good.
    pub(super) fn new(start: Start, log: Arc<Log>, exited: Option<Clean>) -> Arc<Self> {
        Arc::new(Self {
            run: new_run(),
            begun: CancellationToken::new(),
            ended: CancellationToken::new(),
            log,
            known: Mutex::new(Known {
                process: None,
                started_ms: 0,
                restarts: 0,
                exited,
                quiet: None,
            }),
            keep_running: watch::Sender::new(start.keep_running),
            stop: watch::Sender::new(None),
            start,
        })
    }

    pub(super) fn key(&self) -> Key {
        Key {
            placement: self.start.placement.clone(),
            server: self.start.server.clone(),
        }
    }

    pub(super) fn view(&self) -> InstanceView {
        let known = self.lock();
        InstanceView {
            pid: known.process.map_or(0, |process| process.pid),
            started_ms: known.started_ms,
            restarts: known.restarts,
            keep_running: *self.keep_running.borrow(),
            // What was not started yet has not exited: whoever reads it meanwhile must wait.
            exited: known.exited.clone(),
            quiet: known.quiet.is_some(),
            ..InstanceView::of(self.start.release)
        }
    }

    pub(super) fn process(&self) -> Option<RecordedProcess> {
        self.lock().process
    }

    /// Whether it runs, is about to, or will be started again.
    pub(super) fn is_wanted(&self) -> bool {
        let known = self.lock();
        known.process.is_some() || known.exited.is_none() || *self.keep_running.borrow()
    }

    /// Why it ended, when it is not started again.
    pub(super) fn final_exit(&self) -> Option<Clean> {
        if *self.keep_running.borrow() {
            return None;
        }
        self.lock().exited.clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    pub(super) fn set_keep_running(&self, keep_running: bool) {
        self.keep_running.send_replace(keep_running);
    }

    /// Tells its process to take no new work, unless that one was told already; when it ends it is
    /// not started again. Says whether there is a process that was told.
    ///
    /// The leader alone is told: what the signal means to processes of its own is its business.
    pub(super) fn quiet(&self, signal: QuietSignal) -> bool {
        self.set_keep_running(false);
        let mut known = self.lock();
        let Some(process) = known.process else {
            return known.quiet.is_some();
        };
        if known.quiet == Some(process) {
            return true;
        }
        let told = process::signal_leader(process.pid, quiet_signal(signal));
        if told {
            known.quiet = Some(process);
            drop(known);
            let word = signal.word();
            self.log.say(&format!("told to take no new work ({word})"));
        }
        told
    }

    /// Asks it to end; the first grace asked for holds.
    pub(super) fn stop(&self, grace: Duration) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(grace);
            is_first
        });
    }

    /// Its life until it was stopped. `changed` is called whenever its record is out of date.
    pub(super) async fn run(&self, changed: impl Fn(&Self)) {
        let mut failed_in_a_row = 0;
        let mut is_first = true;
        loop {
            let is_over = is_first && self.lock().exited.is_some();
            is_first = false;
            if !is_over && !self.is_stopping() {
                let began = Instant::now();
                self.run_once(&changed).await;
                if began.elapsed() >= RAN_WELL {
                    failed_in_a_row = 0;
                }
            }
            self.begun.cancel();
            tokio::select! {
                _ = self.stop_asked() => return,
                () = self.restart_due(backoff(failed_in_a_row)) => {}
            }
            failed_in_a_row += 1;
            self.lock().restarts += 1;
        }
    }

    /// One process from its start to its end.
    async fn run_once(&self, changed: &impl Fn(&Self)) {
        let mut child = match spawn::spawn(&self.start, self.run) {
            Ok(child) => child,
            Err(error) => {
                let why = format!("cannot start `{}`: {error}", self.start.workload.command[0]);
                self.exited(&why, changed);
                return;
            }
        };
        let Some(pid) = child.id() else {
            self.exited("ended before it could be watched", changed);
            return;
        };
        let mut output = self.follow(&mut child);
        self.running(pid, changed);
        let (end, is_stopped) = tokio::select! {
            end = child.wait() => (end, false),
            grace = self.stop_asked() => (terminate(&mut child, pid, grace).await, true),
        };
        if !is_stopped {
            // Its leader is gone; whoever is left of the group serves nobody and holds its port.
            process::signal_group(pid, Signal::KILL);
        }
        let drained = async { while output.join_next().await.is_some() {} };
        let _ = timeout(OUTPUT_DEADLINE, drained).await;
        let why = end.map_or_else(|error| format!("lost: {error}"), describe);
        if is_stopped {
            // Not its own end, so its record stays as it is: a host that keeps its records when
            // it is stopped has it started again by the next one.
            self.note_exit(&format!("stopped: {why}"));
        } else {
            self.exited(&why, changed);
        }
    }

    fn follow(&self, child: &mut Child) -> JoinSet<()> {
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            let log = Arc::clone(&self.log);
            output.spawn(async move { log.follow(stdout).await });
        }
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&self.log);
            output.spawn(async move { log.follow(stderr).await });
        }
        output
    }

    fn running(&self, pid: u32, changed: &impl Fn(&Self)) {
        {
            let mut known = self.lock();
            known.process = Some(RecordedProcess {
                pid,
                start_ticks: process::start_ticks(pid).unwrap_or(0),
            });
            known.started_ms = now_ms();
            known.exited = None;
        }
        let release = self.start.release;
        self.log
            .say(&format!("started, pid {pid}, release {release}"));
        changed(self);
        self.begun.cancel();
    }

    fn exited(&self, why: &str, changed: &impl Fn(&Self)) {
        self.note_exit(why);
        changed(self);
    }

    fn note_exit(&self, why: &str) {
        let mut known = self.lock();
        known.process = None;
        known.exited = Some(Clean::new(why));
        drop(known);
        self.log.say(why);
    }

    /// Waits until somebody asks it to end.
    async fn stop_asked(&self) -> Duration {
        let mut stop = self.stop.subscribe();
        let asked = stop.wait_for(Option::is_some).await.map(|grace| *grace);
        match asked {
            Ok(Some(grace)) => grace,
            // Cannot be: the sender lives in `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Waits until it is to be started again; for ever while it is not.
    async fn restart_due(&self, pause: Duration) {
        let mut keep = self.keep_running.subscribe();
        loop {
            if keep.wait_for(|keep| *keep).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(pause).await;
            if *keep.borrow() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known
            .lock()
            .expect("invariant: nothing panics under an instance's lock")
    }
}

fn quiet_signal(signal: QuietSignal) -> Signal {
    match signal {
        QuietSignal::Hup => Signal::HUP,
        QuietSignal::Int => Signal::INT,
        QuietSignal::Quit => Signal::QUIT,
        QuietSignal::Usr1 => Signal::USR1,
        QuietSignal::Usr2 => Signal::USR2,
        QuietSignal::Term => Signal::TERM,
        QuietSignal::Tstp => Signal::TSTP,
        QuietSignal::Ttin => Signal::TTIN,
        QuietSignal::Ttou => Signal::TTOU,
        QuietSignal::Winch => Signal::WINCH,
    }
}

/// Ends a whole group: politely, and for good once the grace is over. The leader may end at once
/// while its children still finish requests, so the grace is the group's.
async fn terminate(child: &mut Child, pid: u32, grace: Duration) -> std::io::Result<ExitStatus> {
    let deadline = Instant::now() + grace;
    process::signal_group(pid, Signal::TERM);
    let polite = timeout(grace, child.wait()).await;
    if polite.is_ok() && process::group_ends(pid, deadline).await {
        return polite.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    }
    process::signal_group(pid, Signal::KILL);
    child.wait().await
}

/// A process's end in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal} ({})", signal_word(signal)),
        (None, None) => "ended without a reason".to_owned(),
    }
}

fn signal_word(signal: i32) -> &'static str {
    const WORDS: [(Signal, &str); 9] = [
        (Signal::HUP, "hung up"),
        (Signal::INT, "interrupted"),
        (Signal::ILL, "illegal instruction"),
        (Signal::ABORT, "aborted"),
        (Signal::BUS, "bus error"),
        (Signal::FPE, "arithmetic error"),
        (Signal::KILL, "killed"),
        (Signal::SEGV, "segmentation fault"),
        (Signal::TERM, "terminated"),
    ];
    WORDS
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or("by the system", |(_, word)| word)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_restart_doubles_up_to_its_limit() {
        let pauses: Vec<u128> = (0..5).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000]);
        assert_eq!(backoff(40), BACKOFF_MAX);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "signal 9 (killed)");
    }
}
