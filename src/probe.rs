//! Our own checks of instances: health probes and smoke tests, over HTTP, TCP or by a program.
//!
//! They go straight to the instance, past every balancer, and prove what a balancer's check does
//! not: that the answer is the expected one. Must not know what follows from a failure.

mod command;
mod http;

use crate::model::service::{CheckKind, HealthCheck, SmokeTest};
use crate::model::world::SmokeResult;
use crate::model::{Clean, ServerName};
use crate::ports::Probe;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub use command::OUTPUT_MAX;
pub use http::BODY_MAX;

/// Longest reason, in characters.
const REASON_MAX: usize = 400;

/// Checks instances. Cheap to clone; holds no connections and no processes.
#[derive(Debug, Clone)]
pub struct InstanceProbe {
    client: reqwest::Client,
}

/// How a check ended.
struct Checked {
    /// HTTP status of the answer, where there was one.
    status: Option<u16>,
    result: Result<(), String>,
}

impl InstanceProbe {
    /// Makes a probe; connects to nothing yet.
    pub fn new() -> Self {
        Self {
            client: http::client(),
        }
    }

    /// Checks one instance, all within the time given; a check that is dropped ends at once.
    async fn check(
        &self,
        kind: &CheckKind,
        server: &ServerName,
        address: SocketAddr,
        timeout_ms: u64,
    ) -> Checked {
        let mut status = None;
        let asked = async {
            match kind {
                CheckKind::Tcp => connect(address).await,
                CheckKind::Command { command } => command::run(command, server, address).await,
                CheckKind::Http(check) => {
                    http::ask(&self.client, check, address, &mut status).await
                }
            }
        };
        let result = match timeout(Duration::from_millis(timeout_ms), asked).await {
            Ok(result) => result,
            Err(_) => Err(format!("{} within {timeout_ms} ms", late(kind))),
        };
        Checked { status, result }
    }
}

impl Default for InstanceProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for InstanceProbe {
    async fn probe(
        &self,
        server: &ServerName,
        address: SocketAddr,
        check: &HealthCheck,
    ) -> Result<(), Clean> {
        let checked = self.check(&check.kind, server, address, check.timeout_ms);
        let reason = |what| format!("{}: {what}", check.kind.words(address));
        checked.await.result.map_err(|what| cut(&reason(what)))
    }

    async fn smoke(
        &self,
        server: &ServerName,
        address: SocketAddr,
        test: &SmokeTest,
    ) -> SmokeResult {
        let begun = Instant::now();
        let checked = self.check(&test.kind, server, address, test.timeout_ms);
        let Checked { status, result } = checked.await;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        SmokeResult {
            status,
            trouble: result.err().map(|what| cut(&what)),
            ..SmokeResult::passed(test, server, took_ms)
        }
    }
}

fn cut(reason: &str) -> Clean {
    Clean::line(reason, REASON_MAX)
}

/// What a check that took too long did not do.
fn late(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp => "not connected",
        CheckKind::Command { .. } => "it did not end",
        CheckKind::Http(_) => "no whole answer",
    }
}

async fn connect(address: SocketAddr) -> Result<(), String> {
    let connected = TcpStream::connect(address).await;
    connected.map(drop).map_err(|error| cause(&error))
}

/// A failed connection in plain words.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
