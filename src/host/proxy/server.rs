//! One server of a backend: where it is, whether it can be reached, and what it answered.

use super::pool::Pool;
use crate::model::ServerName;
use crate::model::verdict::Counters;
use hyper::StatusCode;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: ServerName,
    pub(super) address: SocketAddr,
    pub(super) pool: Pool,
    up: AtomicBool,
    sessions: AtomicU64,
    counters: Mutex<Counters>,
}

impl Server {
    pub(super) fn new(name: ServerName, address: SocketAddr) -> Self {
        Self {
            name,
            address,
            pool: Pool::default(),
            up: AtomicBool::new(true),
            sessions: AtomicU64::new(0),
            counters: Mutex::new(Counters {
                latency: Some(crate::model::verdict::Histogram::default()),
                ..Counters::default()
            }),
        }
    }

    /// Whether the last attempt to connect did not show that nobody listens.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Notes what an attempt to connect has shown.
    pub(super) fn set_up(&self, up: bool) {
        if self.up.swap(up, Ordering::Relaxed) != up {
            tracing::info!(server = %self.name, address = %self.address, up, "a server changed");
        }
    }

    /// Requests and upgraded connections under way.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Acquire)
    }

    /// What it answered since the host began.
    pub(super) fn counters(&self) -> Counters {
        self.lock().clone()
    }

    /// Counts an answer, by the time from the request's arrival to the answer's head.
    pub(super) fn answered(&self, took: Duration, status: StatusCode) {
        let mut counters = self.lock();
        counters.requests += 1;
        counters.errors += u64::from(status.is_server_error());
        record(&mut counters, took);
    }

    /// Counts a request that got no answer in the time it had.
    pub(super) fn timed_out(&self, took: Duration) {
        let mut counters = self.lock();
        counters.requests += 1;
        counters.errors += 1;
        record(&mut counters, took);
    }

    /// Counts a request that its client gave up: no error of the server, but if it hangs its
    /// latency shows it.
    pub(super) fn given_up(&self, waited: Duration) {
        let mut counters = self.lock();
        counters.requests += 1;
        record(&mut counters, waited);
    }

    /// Counts a request that could not be sent or got a broken answer or none.
    pub(super) fn failed(&self) {
        let mut counters = self.lock();
        counters.requests += 1;
        counters.errors += 1;
    }

    /// Counts an answer as broken that was counted as good by its head.
    pub(super) fn broke_off(&self) {
        self.lock().errors += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters
            .lock()
            .expect("invariant: nothing panics under a server's counters")
    }
}

fn record(counters: &mut Counters, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    counters.latency.get_or_insert_default().record_us(us);
}

/// Something under way on a server; it counts as a session until it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) server: Arc<Server>,
}

impl Session {
    pub(super) fn begin(server: &Arc<Server>) -> Self {
        server.sessions.fetch_add(1, Ordering::AcqRel);
        Self {
            server: Arc::clone(server),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}
