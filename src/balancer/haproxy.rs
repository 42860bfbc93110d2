//! HAProxy as a balancer, through its stats socket.
//!
//! Servers are fixed in haproxy.cfg; only weight and state change here. A line is carried out
//! command by command inside one connection, and HAProxy answers success and failure alike with
//! free text, so *reply text decides nothing*: what a write did is read back from `show servers
//! state`. Runtime changes live in the process alone, so the backend's state file is rewritten
//! before a change counts as applied.
//!
//! Must not know rollouts, steps or directions: the order of a change is the caller's.

mod change;
mod configuration;
mod inspect;
mod log;
mod parse;
mod snippet;
mod socket;
mod state_file;
mod table;
mod tail;

pub use snippet::{Snippet, snippet};
pub use tail::HttpLog;

use crate::model::effect::ServerSetting;
use crate::model::service::Backend;
use crate::model::world::BalancerReading;
use crate::model::{BalancerName, Clean, LogAddress, Name, Outcome, ServerName};
use crate::ports::{Balancer, ReadError, Written};
use change::{Sent, change_line, missing, not_applied};
use parse::{Dump, StateTable};
use socket::{AskError, LINE_MAX, ask};
use state_file::{StateFiles, Ticket};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Fault;
use tail::Told;
use tokio::time::Instant;

/// How long HAProxy has to answer one call, its read-back included.
const DEADLINE: Duration = Duration::from_secs(1);

/// What the log says of a change as soon as it was read back, before the state file is kept.
pub const READ_BACK: &str = "read back";

/// How exactly the observed shares must follow the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// Only `balance roundrobin` will do.
    Exact,
    /// `balance leastconn` will do too: weights then steer open connections, not requests.
    Approximate,
}

/// Which HAProxy, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyOptions {
    /// What the configuration calls it; used in messages.
    pub name: BalancerName,
    /// Its stats socket, `level admin`.
    pub socket: PathBuf,
    /// The file its backend loads its state from; `{backend}` stands for the backend's name.
    /// Each backend needs a file of its own: `load-server-state-from-file local`.
    pub state_file: PathBuf,
    /// Which balancing algorithms will do.
    pub shares: Shares,
    /// Where it sends its httplog lines, if latencies are counted from them.
    pub log: Option<LogAddress>,
}

/// One HAProxy process (or its successors after reloads). Holds no connection.
#[derive(Debug)]
pub struct HaproxyBalancer {
    options: HaproxyOptions,
    files: StateFiles,
    /// Its log lines; shared with its other backends.
    log: Option<Arc<HttpLog>>,
    /// HAProxy's numbers of the backends, as last seen; a reload may change them.
    numbers: Mutex<BTreeMap<Name, u32>>,
    /// The last trouble with a state file that a plain reading met, so that it is logged once.
    trouble: Mutex<Option<String>>,
}

/// Why a backend could not be read.
enum Unread {
    Asking(AskError),
    Answer(Fault),
}

impl HaproxyBalancer {
    /// Connects to nothing yet. Its log, if any, is its own; see [`Self::with_log`].
    pub fn new(options: HaproxyOptions) -> Self {
        let log = options.log.clone().map(|at| Arc::new(HttpLog::new(at)));
        let files = StateFiles::new(options.state_file.clone());
        Self {
            options,
            files,
            log,
            numbers: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Takes its latencies from a log that other backends of the same HAProxy share.
    #[must_use]
    pub fn with_log(self, log: Arc<HttpLog>) -> Self {
        Self {
            log: Some(log),
            ..self
        }
    }

    /// The file that keeps this backend's state over a restart.
    pub fn state_file(&self, backend: &Name) -> PathBuf {
        self.files.path(backend)
    }

    /// Reads everything in one connection, so that the epoch, the counters and the states belong
    /// to one process. A backend whose number is unknown, or is another's since a reload (whose
    /// answer makes no sense), is asked for it first.
    async fn dump(&self, backend: &Name, deadline: Instant) -> Result<(Dump, Ticket), Unread> {
        if let Some(number) = self.number(backend) {
            match self.dump_numbered(backend, number, deadline).await {
                Err(Unread::Answer(_)) => {}
                read => return read,
            }
        }
        let line = format!("show servers state {backend}");
        let reply = ask(&self.options, &line, deadline)
            .await
            .map_err(Unread::Asking)?;
        let number = parse::state_reply(&reply, backend)
            .map_err(Unread::Answer)?
            .backend_id;
        self.dump_numbered(backend, number, deadline).await
    }

    fn number(&self, backend: &Name) -> Option<u32> {
        lock(&self.numbers).get(backend).copied()
    }

    /// As [`Self::dump`] for a backend whose number is known.
    async fn dump_numbered(
        &self,
        backend: &Name,
        number: u32,
        deadline: Instant,
    ) -> Result<(Dump, Ticket), Unread> {
        let ticket = self.files.ticket();
        let line = parse::dump_line(number, backend);
        let reply = ask(&self.options, &line, deadline)
            .await
            .map_err(Unread::Asking)?;
        Ok((self.understood(&reply, backend)?, ticket))
    }

    fn understood(&self, reply: &str, backend: &Name) -> Result<Dump, Unread> {
        let mut dump = parse::dump(reply, backend).map_err(Unread::Answer)?;
        lock(&self.numbers).insert(backend.clone(), dump.table.backend_id);
        self.add_latencies(backend, &mut dump);
        Ok(dump)
    }

    /// Adds what was logged up to now: HAProxy wrote it before it answered.
    fn add_latencies(&self, backend: &Name, dump: &mut Dump) {
        let Some(log) = &self.log else { return };
        log.listen();
        log.catch_up();
        let Dump { reading, .. } = dump;
        for (server, view) in &mut reading.servers {
            let told = Told {
                requests: view.counters.requests,
                open: view.sessions,
                repeated: dump.repeated.get(server).copied().unwrap_or(0),
            };
            let name = format!("{backend}/{server}");
            let measured = log.measure(dump.pid, &reading.epoch, &name, told);
            view.counters.latency = Some(measured.latency);
            view.counters.unmeasured = measured.unmeasured;
        }
    }

    /// What is there after a change: mostly HAProxy said so behind the change itself.
    async fn read_back(
        &self,
        backend: &Name,
        sent: &mut Sent,
        deadline: Instant,
    ) -> Result<(Dump, Ticket), Unread> {
        let (reply, ticket) = match sent.after.take() {
            Some(after) => after,
            None => return self.dump(backend, deadline).await,
        };
        match self.understood(&reply, backend) {
            Ok(dump) => Ok((dump, ticket)),
            Err(_) => self.dump(backend, deadline).await,
        }
    }

    fn says(&self, backend: &Name, unread: Unread) -> Clean {
        match unread {
            Unread::Asking(error) => error.into_why(),
            Unread::Answer(fault) => Clean::new(&format!(
                "HAProxy {} at {}, backend {backend}: {fault}",
                self.options.name,
                self.options.socket.display()
            )),
        }
    }

    /// Keeps what a plain reading showed. A reading stays good when this fails; a write or an
    /// inspection will say so.
    async fn keep_quietly(&self, backend: &Name, table: &StateTable, ticket: Ticket) {
        let result = self.files.keep(backend, table, ticket).await;
        let now = result.err().map(|error| error.to_string());
        let mut last = lock(&self.trouble);
        if let Some(what) = now.as_ref().filter(|_| *last != now) {
            tracing::warn!(balancer = %self.options.name, backend = %backend, "{what}");
        }
        *last = now;
    }

    /// Sends the change, after a look at what is there, in one line.
    ///
    /// # Errors
    /// Why it certainly was not sent.
    async fn send(&self, backend: &Name, change: &str, deadline: Instant) -> Result<Sent, Clean> {
        let look = |number| format!("; {}", parse::dump_line(number, backend));
        let after = self.number(backend).map_or_else(String::new, look);
        let mut line = format!("show info; show servers state {backend}; {change}");
        // A change that only fits by itself is read back in a call of its own.
        if line.len() + after.len() <= LINE_MAX {
            line.push_str(&after);
        }
        match ask(&self.options, &line, deadline).await {
            // Numbered only now: a reading that began meanwhile may have missed the change.
            Ok(reply) => Ok(Sent::answered(&reply, backend, self.files.ticket())),
            Err(AskError::NotSent(why)) => Err(why),
            Err(AskError::Unanswered(words)) => Ok(Sent {
                answered: false,
                before: None,
                after: None,
                words,
            }),
        }
    }

    async fn apply(
        &self,
        backend: &Name,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        let deadline = Instant::now() + DEADLINE;
        let change = match change_line(backend, settings) {
            Ok(change) => change,
            Err(why) => return ended(Outcome::Rejected { why }, None),
        };
        let mut sent = match self.send(backend, &change, deadline).await {
            Ok(sent) => sent,
            Err(why) => return ended(Outcome::Rejected { why }, None),
        };
        let (dump, ticket) = match self.read_back(backend, &mut sent, deadline).await {
            Ok(read) => read,
            Err(unread) => return ended(self.not_read_back(backend, sent, unread), None),
        };
        tracing::debug!(balancer = %self.options.name, backend = %backend, "{READ_BACK}");
        // Also a change that came out otherwise must not be lost at a reload.
        let kept = self.files.keep(backend, &dump.table, ticket).await;
        let outcome = match (missing(&dump.table, settings), kept) {
            (Some(missing), _) => not_applied(&sent, &dump, settings, &missing),
            (None, Ok(())) => Outcome::Applied,
            (None, Err(error)) => Outcome::Unknown {
                why: Clean::new(&format!("set, but would be lost at a reload: {error}")),
            },
        };
        ended(outcome, Some(dump.reading))
    }

    fn not_read_back(&self, backend: &Name, sent: Sent, unread: Unread) -> Outcome {
        if !sent.answered {
            return Outcome::Unknown { why: sent.words };
        }
        // Where there is no backend, nothing can have changed in it.
        let nothing_there = matches!(unread, Unread::Answer(Fault::NoBackend));
        let why = self.says(backend, unread);
        match nothing_there {
            true => Outcome::Rejected { why },
            false => Outcome::Unknown { why },
        }
    }
}

/// What is kept stays usable whatever panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn ended(outcome: Outcome, reading: Option<BalancerReading>) -> Written<BalancerReading> {
    Written { outcome, reading }
}

impl Balancer for HaproxyBalancer {
    async fn read(&self, backend: &Backend) -> Result<BalancerReading, ReadError> {
        let backend = &backend.backend;
        let read = self.dump(backend, Instant::now() + DEADLINE).await;
        let (dump, ticket) = read.map_err(|unread| ReadError(self.says(backend, unread)))?;
        self.keep_quietly(backend, &dump.table, ticket).await;
        Ok(dump.reading)
    }

    async fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        self.apply(&backend.backend, settings).await
    }

    async fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        self.look_over(&backend.backend, servers).await
    }
}

#[cfg(test)]
mod tests;
