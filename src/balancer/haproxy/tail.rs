//! Listens for HAProxy's log lines and keeps what they add up to.
//!
//! A thread of its own receives, because a unix datagram socket may queue as few as ten datagrams
//! and HAProxy drops what does not fit. What was lost on the way is not known here but by
//! comparison: HAProxy's counters say how many requests ended, the lines how many were seen. A
//! reading first takes what is queued, so that whatever HAProxy logged before it answered is in.
//!
//! Must not know what latencies are judged by.

mod counts;
mod socket;

pub(super) use counts::{Measured, Told};

use crate::model::{Clean, LogAddress};
use counts::Counts;
use socket::Socket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest line that is looked at, in bytes; of longer ones the beginning counts.
const LINE_MAX: usize = 8 * 1024;
/// How long the thread waits for a datagram before it looks whether all is well.
const PATIENCE: Duration = Duration::from_millis(250);
/// Between two attempts to bind the socket.
const RETRY: Duration = Duration::from_secs(1);
/// Datagrams one reading takes in itself, at most: more than a socket's buffer holds.
const CATCH_UP_MAX: usize = 50_000;

/// The log of one HAProxy, shared by all its backends. Listens from its first measurement on.
#[derive(Debug)]
pub struct HttpLog {
    tail: Arc<Tail>,
    thread: OnceLock<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Tail {
    address: LogAddress,
    counts: Mutex<Counts>,
    socket: Mutex<Option<Arc<Socket>>>,
    /// Why nobody listens.
    trouble: Mutex<Option<String>>,
    ends: AtomicBool,
}

impl HttpLog {
    /// Binds nothing yet.
    pub fn new(address: LogAddress) -> Self {
        let tail = Tail {
            address,
            counts: Mutex::default(),
            socket: Mutex::default(),
            trouble: Mutex::default(),
            ends: AtomicBool::new(false),
        };
        Self {
            tail: Arc::new(tail),
            thread: OnceLock::new(),
        }
    }

    /// Begins to listen, unless it does already. A socket that cannot be bound is tried again
    /// until this is dropped.
    pub fn listen(&self) {
        self.thread.get_or_init(|| {
            let tail = Arc::clone(&self.tail);
            let thread = std::thread::Builder::new().name("haproxy-log".to_owned());
            let spawned = thread.spawn(move || tail.run());
            let why = spawned.as_ref().err().map(ToString::to_string);
            if why.is_some() {
                *lock(&self.tail.trouble) = why;
            }
            spawned.ok()
        });
    }

    /// Why nobody listens; `None` while somebody does, or before it was asked for.
    pub fn trouble(&self) -> Option<Clean> {
        lock(&self.tail.trouble).as_deref().map(Clean::new)
    }

    /// Datagrams that were no httplog line.
    pub fn foreign(&self) -> u64 {
        lock(&self.tail.counts).foreign()
    }

    /// Takes in what is queued.
    pub(super) fn catch_up(&self) {
        let Some(socket) = lock(&self.tail.socket).clone() else {
            return;
        };
        let mut buffer = [0; LINE_MAX];
        let mut counts = lock(&self.tail.counts);
        for _ in 0..CATCH_UP_MAX {
            match socket.take(&mut buffer) {
                Ok(Some(length)) => counts.take(&buffer[..length]),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// What was logged of a server (`backend/server`) by one HAProxy process, against its own
    /// counters.
    pub(super) fn measure(&self, pid: u32, epoch: &str, server: &str, told: Told) -> Measured {
        lock(&self.tail.counts).measure(pid, epoch, server, told)
    }
}

impl Drop for HttpLog {
    fn drop(&mut self) {
        self.tail.ends.store(true, Ordering::Release);
        if let Some(Some(thread)) = self.thread.take() {
            thread.thread().unpark();
            // It ends within its patience; a panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Tail {
    fn run(&self) {
        while !self.ends() {
            match Socket::bind(&self.address, PATIENCE) {
                Ok(socket) => self.listen(Arc::new(socket)),
                Err(why) => {
                    self.note(Some(why));
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Receives until the end, or until HAProxy can no longer reach the socket.
    fn listen(&self, socket: Arc<Socket>) {
        self.note(None);
        *lock(&self.socket) = Some(Arc::clone(&socket));
        let mut buffer = [0; LINE_MAX];
        while !self.ends() {
            match socket.receive(&mut buffer) {
                Ok(Some(length)) => lock(&self.counts).take(&buffer[..length]),
                Ok(None) if socket.is_reachable() => {}
                Ok(None) => {
                    self.note(Some("its socket was taken away".to_owned()));
                    break;
                }
                Err(error) => {
                    self.note(Some(error.to_string()));
                    break;
                }
            }
        }
        lock(&self.socket).take();
    }

    /// Tells a change of what is wrong, once.
    fn note(&self, now: Option<String>) {
        let mut last = lock(&self.trouble);
        match &now {
            Some(why) if *last != now => {
                tracing::warn!(address = %self.address, "no HAProxy log can be received: {why}");
            }
            None => tracing::info!(address = %self.address, "listening for HAProxy's log"),
            Some(_) => {}
        }
        *last = now;
    }
}

/// What is counted stays usable whatever panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
