//! Signals, as the loop understands them.

use rustix::process::{Signal as Kill, getpid, kill_process};
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// How long a stop may take to be noticed; longer, and there was none.
const STOP: Duration = Duration::from_millis(300);

/// What a signal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// End.
    End,
    /// The terminal is gone.
    HungUp,
    /// It has another size.
    Resized,
    /// The process goes on after a stop.
    Continued,
}

/// The signals a console listens to.
pub(super) struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    window: Signal,
    go_on: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            window: signal(SignalKind::window_change())?,
            go_on: signal(SignalKind::from_raw(Kill::CONT.as_raw()))?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hang_up.recv() => Told::HungUp,
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.quit.recv() => Told::End,
            _ = self.window.recv() => Told::Resized,
            _ = self.go_on.recv() => Told::Continued,
        }
    }

    /// Stops the process until it is continued. False if it did not stop: a process without a
    /// shell behind it cannot be.
    pub(super) async fn stop(&mut self) -> bool {
        if kill_process(getpid(), Kill::TSTP).is_err() {
            return false;
        }
        timeout(STOP, self.go_on.recv()).await.is_ok()
    }
}
