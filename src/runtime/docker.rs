//! Docker as a runtime: instances are labelled containers, published at their servers' addresses.
//!
//! What a write did is decided by reading back. Every reading lists the containers anew: the
//! daemon's events only say when to read sooner, nothing depends on one. Containers without our labels are never touched.

mod clone;
mod connect;
mod container;
mod difference;
mod endpoint;
mod events;
mod evidence;
mod figures;
mod labels;
mod login;
mod logs;
mod look;
mod marker;
mod pull;
mod read;
mod registry;
mod shape;
mod stock;
mod tls;

pub use connect::{API_MAX, API_MIN};
pub use endpoint::{Endpoint, EndpointError, Surroundings, Tls};
pub use login::{Login, Logins};
pub use marker::Marker;
pub use registry::{Tagged, tagged};

use crate::model::service::Workload;
use crate::model::world::{Evidence, RuntimeReading};
use crate::model::{Clean, Placement, ReleaseId, RuntimeName, ServerName, Stock};
use crate::ports::{self, LogPage, Quiet, ReadError, RuntimeLook, Start, Stop, Written};
use connect::{CallError, Connection};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For one reading; a little less than the engine gives it, so that the words are ours.
const READ_DEADLINE: Duration = Duration::from_millis(1_800);

/// For what a failed instance left; a little less than the engine gives it.
const EVIDENCE_DEADLINE: Duration = Duration::from_millis(4_500);

/// For what is still to be had of one release.
const STOCK_DEADLINE: Duration = Duration::from_secs(15);

/// How a daemon is reached and used.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The runtime's name in the configuration.
    pub name: RuntimeName,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Logins for its registries.
    pub logins: Logins,
}

/// Runs instances as containers of one daemon.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    name: RuntimeName,
    connection: Connection,
    logins: Logins,
    pulls: pull::Pulls,
    figures: figures::Figures,
    logs: logs::Logs,
    pending: Pending,
    quiet: Quieted,
}

/// Why an instance is not a container yet.
#[derive(Debug, Clone, PartialEq)]
struct NotYet {
    release: ReleaseId,
    keep_running: bool,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq)]
enum Cause {
    /// Its image is being pulled; the reference.
    Image(String),
    /// It could not be made, and trying again will not mend it.
    Failed(Clean),
}

/// Starts that have not become containers, by what they were for.
type Pending = Arc<Mutex<HashMap<(Placement, ServerName), NotYet>>>;

/// Containers that were told to take no new work, by their id. What is forgotten is told again.
type Quieted = Arc<Mutex<HashSet<String>>>;

impl DockerRuntime {
    /// Connects to nothing yet.
    pub fn new(options: DockerOptions) -> Self {
        let connection = Connection::new(options.endpoint);
        Self {
            name: options.name,
            logins: options.logins,
            pulls: pull::Pulls::default(),
            figures: figures::Figures::default(),
            logs: logs::Logs::default(),
            pending: Pending::default(),
            quiet: Quieted::default(),
            connection,
        }
    }

    /// How its daemon is reached, for people.
    pub fn address(&self) -> String {
        connect::words(self.connection.endpoint())
    }

    fn not_yet(&self, placement: &Placement) -> BTreeMap<ServerName, NotYet> {
        let Ok(pending) = self.pending.lock() else {
            return BTreeMap::new();
        };
        let mine = pending.iter().filter(|((whose, _), _)| whose == placement);
        mine.map(|((_, server), not_yet)| (server.clone(), not_yet.clone()))
            .collect()
    }

    /// Whether a container was told to take no new work.
    fn is_quiet(&self, id: &str) -> bool {
        self.quiet.lock().is_ok_and(|quiet| quiet.contains(id))
    }

    /// Remembers that a container was told, and forgets those that are gone.
    fn set_quiet(&self, id: &str, there: &[&str]) {
        if let Ok(mut quiet) = self.quiet.lock() {
            quiet.retain(|told| there.contains(&told.as_str()));
            quiet.insert(id.to_owned());
        }
    }

    fn set_not_yet(&self, placement: &Placement, server: &ServerName, not_yet: Option<NotYet>) {
        let key = (placement.clone(), server.clone());
        if let Ok(mut pending) = self.pending.lock() {
            match not_yet {
                Some(not_yet) => pending.insert(key, not_yet),
                None => pending.remove(&key),
            };
        }
    }

    /// The words for a call that failed, naming this runtime.
    fn unreadable(&self, error: &CallError) -> ReadError {
        if !matches!(error, CallError::Refused { .. }) {
            // Another daemon, or another version of it, may answer next.
            self.connection.forget();
        }
        let text = format!("runtime {}: {error}", self.name);
        ReadError(Clean::new(&text))
    }

    async fn within<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let ended = tokio::time::timeout(limit, asked).await;
        ended.unwrap_or_else(|_| {
            let text = format!(
                "no answer within {} ms; see the daemon's process",
                limit.as_millis()
            );
            Err(CallError::Lost(text))
        })
    }
}

impl ports::Runtime for DockerRuntime {
    async fn read(&self, placement: &Placement) -> Result<RuntimeReading, ReadError> {
        let reading = self.within(READ_DEADLINE, self.reading(placement)).await;
        reading.map_err(|error| self.unreadable(&error))
    }

    async fn start(&self, start: Start) -> Written<RuntimeReading> {
        self.start_container(start).await
    }

    async fn quiet(&self, quiet: Quiet) -> Written<RuntimeReading> {
        self.quiet_container(quiet).await
    }

    async fn stop(&self, stop: Stop) -> Written<RuntimeReading> {
        self.stop_container(stop).await
    }

    async fn evidence(
        &self,
        placement: &Placement,
        server: &ServerName,
        release: ReleaseId,
    ) -> Result<Option<Evidence>, ReadError> {
        let left = self.left_by(placement, server, release);
        let left = self.within(EVIDENCE_DEADLINE, left).await;
        left.map_err(|error| self.unreadable(&error))
    }

    async fn inspect(
        &self,
        placement: &Placement,
        workload: &Workload,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<RuntimeLook, ReadError> {
        let look = self.look_over(placement, workload, servers).await;
        look.map_err(|error| self.unreadable(&error))
    }

    async fn watch(&self, tell: impl Fn(Option<Placement>) + Send + Sync) {
        self.follow_events(tell).await;
    }

    async fn stock(&self, workload: &Workload) -> Stock {
        let asked = self.within(STOCK_DEADLINE, self.stock_of(workload)).await;
        asked.unwrap_or_else(|error| Stock::Unknown {
            why: self.unreadable(&error).0,
        })
    }

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, ReadError> {
        let page = self.within(READ_DEADLINE, self.log_page(placement, server, from));
        page.await.map_err(|error| self.unreadable(&error))
    }
}
