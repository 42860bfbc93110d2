//! Idle connections to one server, kept so that the next request need not connect.

use super::body::RequestBody;
use hyper::client::conn::http1::SendRequest;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Oldest idle connection a request takes that may be sent twice. Below the shortest idle limits
/// in common use (5 s), so that a server seldom closes one as it is taken.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(4);
/// Oldest idle connection a request takes that must not be sent twice.
pub(super) const IDLE_MAX_ONCE: Duration = Duration::from_secs(1);
/// Most idle connections per server; the oldest is closed for one more.
const KEPT_MAX: usize = 1_024;

pub(super) type Connection = SendRequest<RequestBody>;

/// A connection and when it was last used.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// Idle connections, the newest last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
}

impl Pool {
    /// Takes the newest connection that is no older than `age_max` at `now`.
    pub(super) fn take(&self, age_max: Duration, now: Instant) -> Option<Connection> {
        let mut idle = self.lock();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let candidate = &idle[at];
            if candidate.connection.is_closed() {
                idle.remove(at);
            } else if now.saturating_duration_since(candidate.since) > age_max {
                return None;
            } else if candidate.connection.is_ready() {
                return idle.remove(at).map(|found| found.connection);
            }
            // Otherwise it has only just been given back and is not ready yet: leave it.
        }
        None
    }

    /// Gives a connection back after its answer was read to the end.
    pub(super) fn put(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() >= KEPT_MAX {
            idle.pop_front();
        }
        idle.push_back(Idle {
            connection,
            since: Instant::now(),
        });
    }

    /// Closes what nobody will take any more.
    pub(super) fn prune(&self) {
        self.lock()
            .retain(|idle| !idle.connection.is_closed() && idle.since.elapsed() <= IDLE_MAX);
    }

    /// Closes every idle connection.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle
            .lock()
            .expect("invariant: nothing panics under a pool's lock")
    }
}
