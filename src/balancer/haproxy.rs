//! HAProxy as a balancer, through its stats socket.
//!
//! Servers are fixed in haproxy.cfg; only weight and state change here. A line is carried out
//! command by command inside one connection, and HAProxy answers success and failure alike with
//! free text, so *reply text decides nothing*: what a write did is read back from `show servers
//! state`. Runtime changes live in the process alone, so the backend's state file is rewritten
//! before a change counts as applied.
//!
//! Must not know rollouts, steps or directions: the order of a change is the caller's.

mod configuration;
mod inspect;
mod parse;
mod snippet;
mod socket;
mod state_file;
mod table;

pub use inspect::NOTE;
pub use snippet::{Snippet, snippet};

use crate::model::effect::ServerSetting;
use crate::model::service::Backend;
use crate::model::world::{Admin, BalancerReading};
use crate::model::{BalancerName, Clean, Name, Outcome, ServerName};
use crate::ports::{Balancer, ReadError, Written};
use parse::{Dump, ServerState, StateTable};
use socket::{AskError, LINE_MAX, ask};
use state_file::{StateFiles, Ticket};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use table::Fault;
use tokio::time::Instant;

/// How long HAProxy has to answer one call, its read-back included.
const DEADLINE: Duration = Duration::from_secs(1);

/// Longest part of HAProxy's own words that is passed on, in characters.
const WORDS_MAX: usize = 300;

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
}

/// One HAProxy process (or its successors after reloads). Holds no connection.
#[derive(Debug)]
pub struct HaproxyBalancer {
    options: HaproxyOptions,
    files: StateFiles,
    /// The last trouble with a state file that a plain reading met, so that it is logged once.
    trouble: Mutex<Option<String>>,
}

/// Why a backend could not be read.
enum Unread {
    Asking(AskError),
    Answer(Fault),
}

impl HaproxyBalancer {
    /// Connects to nothing yet.
    pub fn new(options: HaproxyOptions) -> Self {
        let files = StateFiles::new(options.state_file.clone());
        Self {
            options,
            files,
            trouble: Mutex::default(),
        }
    }

    /// The file that keeps this backend's state over a restart.
    pub fn state_file(&self, backend: &Name) -> PathBuf {
        self.files.path(backend)
    }

    /// Reads the state table, then everything in one connection, so that the epoch, the counters
    /// and the states belong to one process. The first is only for the backend's number.
    async fn dump(&self, backend: &Name, deadline: Instant) -> Result<(Dump, Ticket), Unread> {
        let line = format!("show servers state {backend}");
        let reply = ask(&self.options, &line, deadline)
            .await
            .map_err(Unread::Asking)?;
        let number = parse::state_reply(&reply, backend)
            .map_err(Unread::Answer)?
            .backend_id;
        let ticket = self.files.ticket();
        let line = parse::dump_line(number, backend);
        let reply = ask(&self.options, &line, deadline)
            .await
            .map_err(Unread::Asking)?;
        let dump = parse::dump(&reply, backend).map_err(Unread::Answer)?;
        Ok((dump, ticket))
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
        let mut last = self
            .trouble
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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
        let line = format!("show info; show servers state {backend}; {change}");
        match ask(&self.options, &line, deadline).await {
            Ok(reply) => Ok(Sent::answered(&reply, backend)),
            Err(AskError::NotSent(why)) => Err(why),
            Err(AskError::Unanswered(words)) => Ok(Sent {
                answered: false,
                before: None,
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
        let sent = match self.send(backend, &change, deadline).await {
            Ok(sent) => sent,
            Err(why) => return ended(Outcome::Rejected { why }, None),
        };
        let (dump, ticket) = match self.dump(backend, deadline).await {
            Ok(read) => read,
            Err(unread) => return ended(self.not_read_back(backend, sent, unread), None),
        };
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

/// What came of a line that HAProxy may have got.
struct Sent {
    /// Whether it answered. If not, it may carry the line out even later.
    answered: bool,
    /// Epoch and state table from just before the change, if it told.
    before: Option<(String, StateTable)>,
    /// Its own words about the change, or why there are none.
    words: Clean,
}

impl Sent {
    fn answered(reply: &str, backend: &Name) -> Self {
        let mut parts = reply.trim_start_matches('\n').splitn(3, "\n\n");
        let (info, table) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let before = parse::process(info).ok().map(|(_, epoch)| epoch);
        let before = before.zip(parse::state_table(table.trim_start_matches('\n'), backend).ok());
        let said: Vec<&str> = parts
            .next()
            .unwrap_or("")
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let words = match said.is_empty() {
            true => "HAProxy said nothing".to_owned(),
            false => format!("HAProxy said: {}", said.join(" ")),
        };
        Self {
            answered: true,
            before,
            words: Clean::line(&words, WORDS_MAX),
        }
    }
}

fn ended(outcome: Outcome, reading: Option<BalancerReading>) -> Written<BalancerReading> {
    Written { outcome, reading }
}

/// The commands that make the settings, in the order given. Inside one server the order is such
/// that no request reaches it at a weight nobody asked for: weight before `ready`, `maint` and
/// `drain` before weight.
fn change_line(backend: &Name, settings: &[(ServerName, ServerSetting)]) -> Result<String, Clean> {
    let mut commands = Vec::with_capacity(2 * settings.len());
    for (server, setting) in settings {
        let place = format!("{backend}/{server}");
        // Names are validated where they are made; this line is the last place to be sure.
        if place.contains([';', '\n', '\r', ' ', '\\', '"']) {
            return Err(Clean::new(&format!("{place} cannot be put into a command")));
        }
        if setting.weight > 256 {
            let weight = setting.weight;
            return Err(Clean::new(&format!(
                "{place}: weight {weight} is above 256"
            )));
        }
        // Absolute numbers only: HAProxy takes "50%" and makes it 0 (measured).
        let weight = format!("set weight {place} {}", setting.weight);
        let state = |word: &str| format!("set server {place} state {word}");
        commands.extend(match setting.admin {
            Admin::Ready => [weight, state("ready")],
            Admin::Drain => [state("drain"), weight],
            Admin::Maintenance => [state("maint"), weight],
        });
    }
    let line = commands.join("; ");
    if line.len() > LINE_MAX - backend.as_str().len() - 64 {
        let count = settings.len();
        return Err(Clean::new(&format!(
            "{count} servers do not fit into one command line"
        )));
    }
    Ok(line)
}

/// Whether a server is as it was to be. A weight is held only against a ready server: elsewhere
/// it moves no request.
fn is_set(state: &ServerState, setting: &ServerSetting) -> bool {
    let weight_holds = setting.admin != Admin::Ready || state.weight == setting.weight;
    state.admin() == setting.admin && weight_holds
}

/// The first setting the table does not show, in words; `None` if it shows them all. A server
/// that was set twice is to be as set last.
fn missing(table: &StateTable, settings: &[(ServerName, ServerSetting)]) -> Option<String> {
    let last: BTreeMap<_, _> = settings
        .iter()
        .map(|(server, setting)| (server, setting))
        .collect();
    last.into_iter()
        .find_map(|(server, setting)| match table.servers.get(server) {
            None => Some(format!("no server {server}")),
            Some(state) if is_set(state, setting) => None,
            Some(state) => {
                let (admin, weight) = (state.admin(), state.weight);
                Some(format!("server {server} is {admin:?} at weight {weight}"))
            }
        })
}

/// Rejected if certainly nothing changed: HAProxy answered, the same process still runs, and the
/// tables before and after are the same. Unknown otherwise.
fn not_applied(
    sent: &Sent,
    after: &Dump,
    settings: &[(ServerName, ServerSetting)],
    missing: &str,
) -> Outcome {
    let view = |table: &StateTable, server: &ServerName| {
        let state = table.servers.get(server);
        state.map(|state| (state.admin(), state.weight))
    };
    let unchanged = sent.before.as_ref().is_some_and(|(epoch, before)| {
        let mut servers = settings.iter().map(|(server, _)| server);
        *epoch == after.reading.epoch
            && servers.all(|server| view(before, server) == view(&after.table, server))
    });
    let why = Clean::new(&format!("{missing} after the change; {}", sent.words));
    match unchanged {
        true => Outcome::Rejected { why },
        false => Outcome::Unknown { why },
    }
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
