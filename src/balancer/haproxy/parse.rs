//! HAProxy's replies, read strictly: by column name, whole or not at all.
//!
//! Columns differ between versions, so none is read by position; a column that is missing, a
//! number that is none, a row that is cut off or a bit that is unknown is an error and never a
//! guess. Pure: knows no socket and no file.

use super::table::{Columns, Fault, Row, csv, nonsense, quote, refusal, sections};
use crate::model::verdict::Counters;
use crate::model::world::{Admin, BalancerReading, ServerView};
use crate::model::{Clean, Name, ServerName};
use std::collections::BTreeMap;

/// `show servers state BACKEND`, the part of it that is used, and the whole of it as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateTable {
    /// HAProxy's number for the backend; a reload may change it.
    pub(super) backend_id: u32,
    /// Its servers.
    pub(super) servers: BTreeMap<ServerName, ServerState>,
    /// The dump as HAProxy wrote it, which is what its state file must hold.
    pub(super) text: String,
}

/// One server's line of the state table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerState {
    /// Its IP address as HAProxy writes it.
    pub(super) address: String,
    /// Its port.
    pub(super) port: u16,
    /// 0 stopped, 1 starting, 2 running, 3 stopping.
    pub(super) operation: u8,
    /// HAProxy's `SRV_ADMF_*` bits.
    pub(super) admin_bits: u8,
    /// The weight set at run time.
    pub(super) weight: u16,
    /// The weight haproxy.cfg gives it.
    pub(super) initial_weight: u16,
    /// Whether HAProxy checks its health.
    pub(super) checked: bool,
}

/// Forced into maintenance at run time, or at start by `disabled`.
const FORCED_MAINTENANCE: u8 = 0x01;
/// In maintenance because a tracked server is.
const INHERITED_MAINTENANCE: u8 = 0x02;
/// `disabled` in haproxy.cfg. It stays set for ever; a server with this bit alone is ready.
const CONFIGURED_MAINTENANCE: u8 = 0x04;
/// Forced to drain at run time, or at start by `weight 0`.
const FORCED_DRAIN: u8 = 0x08;
/// Draining because a tracked server is.
const INHERITED_DRAIN: u8 = 0x10;
/// In maintenance because its name does not resolve.
const UNRESOLVED: u8 = 0x20;
/// Its name was changed at run time; says nothing of its state.
const RENAMED: u8 = 0x40;

impl ServerState {
    /// Whether the server may get requests.
    pub(super) fn admin(&self) -> Admin {
        let has = |bits: u8| self.admin_bits & bits != 0;
        if has(FORCED_MAINTENANCE | INHERITED_MAINTENANCE | UNRESOLVED) {
            Admin::Maintenance
        } else if has(FORCED_DRAIN | INHERITED_DRAIN) {
            Admin::Drain
        } else {
            Admin::Ready
        }
    }

    /// Whether haproxy.cfg says `disabled`, so that a start without state file gives it nothing.
    pub(super) fn starts_disabled(&self) -> bool {
        self.admin_bits & CONFIGURED_MAINTENANCE != 0
    }

    /// Whether HAProxy holds it for usable: starting (slow start) or running.
    pub(super) fn up(&self) -> bool {
        matches!(self.operation, 1 | 2)
    }
}

/// Parses the reply to `show servers state BACKEND` alone.
pub(super) fn state_reply(reply: &str, backend: &Name) -> Result<StateTable, Fault> {
    let [table] = sections(reply)?;
    state_table(table, backend)
}

/// Parses one dump of `show servers state BACKEND`, also as a state file holds it.
pub(super) fn state_table(text: &str, backend: &Name) -> Result<StateTable, Fault> {
    refusal(text)?;
    let mut lines = text.lines();
    if lines.next() != Some("1") {
        let what = quote(text);
        return Err(nonsense(format!("not a state table of version 1: {what}")));
    }
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let header = header.ok_or_else(|| nonsense("a state table without column names"))?;
    let columns = Columns::new(header.split(' ').collect());
    let mut backend_id = None;
    let mut servers = BTreeMap::new();
    for line in lines {
        let row = columns.row(line.split(' ').collect())?;
        if row.text("be_name")? != backend.as_str() {
            return Err(nonsense(format!(
                "a line of another backend: {}",
                quote(line)
            )));
        }
        if *backend_id.get_or_insert(row.number::<u32>("be_id")?) != row.number::<u32>("be_id")? {
            return Err(nonsense("two backends of this name"));
        }
        let (name, state) = server_state(&row)?;
        if servers.insert(name, state).is_some() {
            return Err(nonsense(format!("a server twice: {}", quote(line))));
        }
    }
    Ok(StateTable {
        backend_id: backend_id.ok_or_else(|| nonsense("a backend without servers"))?,
        servers,
        text: format!("{}\n", text.trim_end()),
    })
}

fn server_state(row: &Row<'_, '_>) -> Result<(ServerName, ServerState), Fault> {
    let name = row.server("srv_name")?;
    let admin_bits: u8 = row.number("srv_admin_state")?;
    let known = FORCED_MAINTENANCE
        | INHERITED_MAINTENANCE
        | CONFIGURED_MAINTENANCE
        | FORCED_DRAIN
        | INHERITED_DRAIN
        | UNRESOLVED
        | RENAMED;
    if admin_bits & !known != 0 {
        return Err(nonsense(format!("srv_admin_state {admin_bits} is unknown")));
    }
    let operation: u8 = row.number("srv_op_state")?;
    if operation > 3 {
        return Err(nonsense(format!("srv_op_state {operation} is unknown")));
    }
    let check_bits: u32 = row.number("srv_check_state")?;
    let state = ServerState {
        address: row.text("srv_addr")?.to_owned(),
        port: row.number("srv_port")?,
        operation,
        admin_bits,
        weight: row.weight("srv_uweight")?,
        initial_weight: row.weight("srv_iweight")?,
        checked: check_bits & CHECK_CONFIGURED != 0,
    };
    Ok((name, state))
}

/// HAProxy's `CHK_ST_CONFIGURED`.
const CHECK_CONFIGURED: u32 = 0x02;

/// Everything one reading needs, taken from one process in one connection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dump {
    /// What the port hands out.
    pub(super) reading: BalancerReading,
    /// HAProxy's process.
    pub(super) pid: u32,
    /// Attempts of each server that were made again, here or elsewhere.
    pub(super) repeated: BTreeMap<ServerName, u64>,
    /// `balance`, where the socket's level shows it.
    pub(super) algorithm: Option<String>,
    /// Name of the stickiness cookie, if any.
    pub(super) cookie: Option<String>,
    /// The state table.
    pub(super) table: StateTable,
}

/// The line whose reply [`dump`] parses. The number is the backend's own: by name, a frontend
/// that is called the same would answer instead.
pub(super) fn dump_line(backend_id: u32, backend: &Name) -> String {
    format!("show info; show stat {backend_id} 6 -1; show servers state {backend}")
}

/// Parses the reply to [`dump_line`].
pub(super) fn dump(reply: &str, backend: &Name) -> Result<Dump, Fault> {
    let [info, statistics, table] = sections(reply)?;
    let (pid, epoch) = process(info)?;
    let table = state_table(table, backend)?;
    let statistics = Statistics::parse(statistics, backend)?;
    let mut servers = BTreeMap::new();
    let mut repeated = BTreeMap::new();
    for (name, state) in &table.servers {
        let row = statistics.servers.get(name);
        let row = row.ok_or_else(|| nonsense(format!("no statistics of server {name}")))?;
        let view = ServerView {
            admin: state.admin(),
            weight: row.weight,
            up: state.up(),
            sessions: row.sessions,
            counters: row.counters.clone(),
        };
        repeated.insert(name.clone(), row.repeated);
        servers.insert(name.clone(), view);
    }
    if statistics.servers.len() != servers.len() {
        return Err(nonsense("statistics of servers the state table lacks"));
    }
    Ok(Dump {
        reading: BalancerReading {
            epoch,
            software: software(info),
            servers,
        },
        pid,
        repeated,
        algorithm: statistics.algorithm,
        cookie: statistics.cookie,
        table,
    })
}

/// Name and version from `show info`, as far as it tells.
fn software(info: &str) -> Clean {
    let value = |key| {
        let mut lines = info.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let name = value("Name").unwrap_or("HAProxy");
    let version = value("Version").unwrap_or("of an unknown version");
    Clean::new(&format!("{} {}", name.trim(), version.trim()))
}

/// Pid and epoch from `show info`. The start time is part of the epoch because in a container
/// every HAProxy has the same pid.
pub(super) fn process(info: &str) -> Result<(u32, String), Fault> {
    refusal(info)?;
    let value = |key: &str| -> Result<u64, Fault> {
        let mut found = info.lines().filter_map(|line| line.split_once(": "));
        let text = found.find(|(name, _)| *name == key).map(|(_, value)| value);
        text.and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| {
                nonsense(format!(
                    "`show info` without {key}; HAProxy 2.6 or later has it"
                ))
            })
    };
    let (pid, start) = (value("Pid")?, value("Start_time_sec")?);
    let pid = u32::try_from(pid).map_err(|_| nonsense(format!("pid {pid}")))?;
    Ok((pid, format!("{pid}@{start}")))
}

/// What `show stat` says of one backend.
struct Statistics {
    algorithm: Option<String>,
    cookie: Option<String>,
    servers: BTreeMap<ServerName, ServerStatistics>,
}

struct ServerStatistics {
    weight: u16,
    sessions: u64,
    repeated: u64,
    counters: Counters,
}

impl Statistics {
    fn parse(text: &str, backend: &Name) -> Result<Self, Fault> {
        refusal(text)?;
        let text = text
            .strip_prefix("# ")
            .ok_or_else(|| nonsense(format!("statistics without column names: {}", quote(text))))?;
        let mut records = csv(text)?.into_iter();
        let header = records.next().unwrap_or_default();
        let columns = Columns::new(header.iter().map(String::as_str).collect());
        let mut all = Self {
            algorithm: None,
            cookie: None,
            servers: BTreeMap::new(),
        };
        for record in records {
            let row = columns.row(record.iter().map(String::as_str).collect())?;
            if row.text("pxname")? != backend.as_str() {
                return Err(nonsense(
                    "statistics of another backend; HAProxy was just reloaded",
                ));
            }
            all.take(&row)?;
        }
        Ok(all)
    }

    fn take(&mut self, row: &Row<'_, '_>) -> Result<(), Fault> {
        match row.text("type")? {
            "1" => {
                let shown = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                self.algorithm = shown(row.text("algo")?);
                self.cookie = shown(row.text("cookie")?);
            }
            "2" => {
                self.servers
                    .insert(row.server("svname")?, server_statistics(row)?);
            }
            other => return Err(nonsense(format!("a row of type {}", quote(other)))),
        }
        Ok(())
    }
}

/// Counts one server.
///
/// **Requests** are `stot`: HAProxy raises it each time it hands a request to the server, also
/// on a retry and also over a reused connection. **Errors** are the attempts that ended badly:
/// `hrsp_5xx` (answered 5xx), `eresp` (closed, cut off, or timed out; a server that closes every
/// connection has no `hrsp_5xx` at all), `econ` (last attempt failed to connect), `wretr` and
/// `wredis` (an attempt failed and was made again here or elsewhere). Measured on 2.6: a failed
/// attempt raises one of them, so that errors ÷ requests is the failure ratio per attempt, with
/// exceptions that are all on the side of more errors: a reset connection may raise `eresp` twice;
/// with `retry-on` beyond `conn-failure`, an attempt repeated on another server raises `wretr` and
/// `wredis`; an answer that begins well and is cut off counts in `hrsp_2xx` and in `eresp`.
/// `srv_abrt` is contained in `eresp`. Taking errors from the missing answers instead (`stot` less
/// all `hrsp_*`) would count each request under way and could fall again.
fn server_statistics(row: &Row<'_, '_>) -> Result<ServerStatistics, Fault> {
    let mut errors: u64 = 0;
    for column in ["hrsp_5xx", "eresp", "econ", "wretr", "wredis"] {
        errors = errors.saturating_add(row.count(column)?);
    }
    Ok(ServerStatistics {
        weight: row.weight("weight")?,
        repeated: row.count("wretr")?.saturating_add(row.count("wredis")?),
        sessions: row.count("scur")?.saturating_add(row.count("qcur")?),
        counters: Counters {
            requests: row.count("stot")?,
            errors,
            ..Counters::default()
        },
    })
}

#[cfg(test)]
mod tests;
