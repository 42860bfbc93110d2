//! The embedded host as a runtime: instances are its child processes.
//!
//! Must not know how the host keeps them. What a write did is decided by reading back, never by
//! the answer to the write alone.

mod program;

use crate::host::wire::client::{CallError, ClientError, HostClient, judged};
use crate::host::wire::{InstancesBody, LogBody, QuietBody, StartBody};
use crate::model::service::Workload;
use crate::model::world::{Evidence, InstanceView, RuntimeReading};
use crate::model::{Clean, Placement, ReleaseId, ServerName, Stock};
use crate::ports::{self, LogPage, Quiet, ReadError, RuntimeLook, Start, Stop, Written};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Pages of output read of an instance that failed: more than the host keeps.
const PAGES_MAX: u32 = 64;
/// For one reading.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);
/// For one start: the process is spawned and recorded on disk before the host answers.
const START_DEADLINE: Duration = Duration::from_secs(5);
/// Beyond the grace of a stop: for the final signal, and the read-back.
const STOP_MARGIN: Duration = Duration::from_millis(2_500);

/// Runs instances on the embedded host.
#[derive(Debug, Clone)]
pub struct HostRuntime {
    client: HostClient,
}

impl HostRuntime {
    /// Speaks to the host on this socket. Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        Ok(Self {
            client: HostClient::new(socket)?,
        })
    }

    async fn reading(&self, placement: &Placement) -> Result<RuntimeReading, CallError> {
        let path = format!("/instances/{placement}");
        self.client.get::<InstancesBody>(&path, READ_DEADLINE).await
    }

    async fn log_page(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, CallError> {
        let path = format!("/instances/{placement}/{server}/logs?from={from}");
        let body: LogBody = self.client.get(&path, READ_DEADLINE).await?;
        Ok(body.into())
    }

    /// Adds the output there is, to where it ends now.
    async fn add_log(&self, evidence: &mut Evidence, placement: &Placement, server: &ServerName) {
        let mut from = 0;
        for _ in 0..PAGES_MAX {
            match self.log_page(placement, server, from).await {
                Ok(page) if page.lines.is_empty() => return,
                Ok(page) => {
                    from = page.next;
                    evidence.log_dropped += page.skipped;
                    evidence.keep_log(page.lines);
                }
                Err(error) => {
                    evidence.log_trouble = Some(Clean::new(&error.to_string()));
                    return;
                }
            }
        }
    }

    /// Reads back and lets `done` decide by what it sees; `sent` only explains what it does not.
    async fn settle(
        &self,
        placement: &Placement,
        sent: Result<(), CallError>,
        done: impl FnOnce(&RuntimeReading) -> bool,
    ) -> Written<RuntimeReading> {
        let reading = self.reading(placement).await;
        let outcome = judged(&sent, reading.as_ref().map(done));
        Written {
            outcome,
            reading: reading.ok(),
        }
    }
}

fn unreadable(error: CallError) -> ReadError {
    ReadError(Clean::new(&error.to_string()))
}

impl ports::Runtime for HostRuntime {
    async fn read(&self, placement: &Placement) -> Result<RuntimeReading, ReadError> {
        self.reading(placement).await.map_err(unreadable)
    }

    async fn start(&self, start: Start) -> Written<RuntimeReading> {
        let path = format!("/instances/{}/{}", start.placement, start.server);
        let body = StartBody::of(&start);
        let sent = self.client.put(&path, &body, START_DEADLINE).await;
        let stands = |view: &InstanceView| {
            view.release == start.release && view.keep_running == start.keep_running
        };
        self.settle(&start.placement, sent, |reading| {
            reading.instances.get(&start.server).is_some_and(stands)
        })
        .await
    }

    async fn quiet(&self, quiet: Quiet) -> Written<RuntimeReading> {
        let Quiet {
            placement,
            server,
            signal,
        } = quiet;
        let path = format!("/instances/{placement}/{server}/quiet");
        let body = QuietBody { signal };
        let sent = self.client.put(&path, &body, READ_DEADLINE).await;
        let told = |view: &InstanceView| view.quiet && !view.keep_running;
        self.settle(&placement, sent, |reading| {
            reading.instances.get(&server).is_some_and(told)
        })
        .await
    }

    /// A process that ended leaves nothing to keep but its output, which goes with it.
    async fn stop(&self, stop: Stop) -> Written<RuntimeReading> {
        let Stop {
            placement,
            server,
            grace_ms,
            failed: _,
        } = stop;
        let path = format!("/instances/{placement}/{server}?grace_ms={grace_ms}");
        let deadline = Duration::from_millis(grace_ms) + STOP_MARGIN;
        let sent = self.client.delete(&path, deadline).await;
        self.settle(&placement, sent, |reading| {
            !reading.instances.contains_key(&server)
        })
        .await
    }

    async fn evidence(
        &self,
        placement: &Placement,
        server: &ServerName,
        release: ReleaseId,
    ) -> Result<Option<Evidence>, ReadError> {
        let reading = self.reading(placement).await.map_err(unreadable)?;
        let there = reading.instances.get(server);
        let Some(view) = there.filter(|view| view.release == release) else {
            return Ok(None);
        };
        let mut evidence = Evidence {
            identity: view.identity.clone(),
            ended: view.exited.clone(),
            started_ms: Some(view.started_ms).filter(|at_ms| *at_ms > 0),
            restarts: view.restarts,
            ..Evidence::default()
        };
        self.add_log(&mut evidence, placement, server).await;
        Ok(Some(evidence))
    }

    /// Nothing can be told of a program before it is started.
    async fn inspect(
        &self,
        _: &Placement,
        _: &Workload,
        _: &[(ServerName, SocketAddr)],
    ) -> Result<RuntimeLook, ReadError> {
        Ok(RuntimeLook::default())
    }

    async fn stock(&self, workload: &Workload) -> Stock {
        program::stock(workload)
    }

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, ReadError> {
        let page = self.log_page(placement, server, from).await;
        page.map_err(unreadable)
    }
}
