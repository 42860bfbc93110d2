//! What the log lines of one HAProxy added up to, by process and server, within fixed bounds.
//!
//! Pure: knows no socket. Counts are kept by the process that wrote the line, because a reload
//! leaves the old worker logging while the new one's counters begin at 0.

use super::super::log::{Line, parse};
use crate::model::verdict::Histogram;
use std::collections::BTreeMap;

/// Processes whose lines are kept: the present worker and those before it that may still log.
const PROCESSES_MAX: usize = 8;
/// Servers of one process that are counted.
const SERVERS_MAX: usize = 4_096;

/// What arrived.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Newest last.
    processes: Vec<Process>,
    /// Datagrams that were no httplog line, and lines beyond the bounds.
    foreign: u64,
}

#[derive(Debug, Default)]
struct Process {
    /// `None` for lines in a format that tells no process.
    pid: Option<u32>,
    /// The epoch it was last read as; another one with the same pid is another process.
    epoch: Option<String>,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Default)]
struct Server {
    lines: u64,
    latency: Histogram,
    unmeasured: u64,
}

/// What HAProxy's own counters say of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// Attempts that were given to it.
    pub(crate) requests: u64,
    /// Those still under way.
    pub(crate) open: u64,
    /// Those that were made again, here or elsewhere: they have no line of their own.
    pub(crate) repeated: u64,
}

/// Latencies of a server, and how many of its requests ended without one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Measured {
    /// By the log.
    pub(crate) latency: Histogram,
    /// Requests that ended and were not logged. Never falls within an epoch.
    pub(crate) unmeasured: u64,
}

impl Counts {
    /// Takes in one datagram.
    pub(super) fn take(&mut self, datagram: &[u8]) {
        let counted = parse(datagram).is_some_and(|line| self.count(&line));
        self.foreign += u64::from(!counted);
    }

    /// Datagrams that were not counted.
    pub(super) fn foreign(&self) -> u64 {
        self.foreign
    }

    fn count(&mut self, line: &Line<'_>) -> bool {
        let servers = &mut self.process(line.pid).servers;
        if !servers.contains_key(line.server) {
            if servers.len() >= SERVERS_MAX {
                return false;
            }
            servers.insert(line.server.to_owned(), Server::default());
        }
        let Some(server) = servers.get_mut(line.server) else {
            return false;
        };
        server.lines += 1;
        if let Some(ms) = line.took_ms {
            server.latency.record_us(ms.saturating_mul(1_000));
        }
        true
    }

    fn process(&mut self, pid: Option<u32>) -> &mut Process {
        let known = self.processes.iter().position(|process| process.pid == pid);
        let at = known.unwrap_or_else(|| {
            if self.processes.len() >= PROCESSES_MAX {
                self.processes.remove(0);
            }
            self.processes.push(Process {
                pid,
                ..Process::default()
            });
            self.processes.len() - 1
        });
        &mut self.processes[at]
    }

    /// Holds what was logged of a server against what HAProxy counted.
    pub(super) fn measure(&mut self, pid: u32, epoch: &str, server: &str, told: Told) -> Measured {
        let names_itself = self.processes.iter().any(|known| known.pid == Some(pid));
        let process = self.process(names_itself.then_some(pid));
        if process.epoch.as_deref() != Some(epoch) {
            let began = process.epoch.replace(epoch.to_owned()).is_none();
            if !began {
                process.servers.clear();
            }
        }
        let server = process.servers.entry(server.to_owned()).or_default();
        let expected = told
            .requests
            .saturating_sub(told.open)
            .saturating_sub(told.repeated);
        let missing = expected.saturating_sub(server.lines);
        server.unmeasured = server.unmeasured.max(missing);
        Measured {
            latency: server.latency.clone(),
            unmeasured: server.unmeasured,
        }
    }
}

#[cfg(test)]
mod tests;
