//! The embedded host as a runtime: instances are its child processes.
//!
//! Must not know how the host keeps them. What a write did is decided by reading back, never by
//! the answer to the write alone.

use crate::host::wire::client::{CallError, ClientError, HostClient, judged};
use crate::host::wire::{InstancesBody, LogBody, StartBody};
use crate::model::service::Workload;
use crate::model::world::{InstanceView, RuntimeReading};
use crate::model::{Clean, Placement, ServerName};
use crate::ports::{self, LogPage, ReadError, RuntimeLook, Start, Written};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

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

    async fn stop(
        &self,
        placement: &Placement,
        server: &ServerName,
        grace_ms: u64,
    ) -> Written<RuntimeReading> {
        let path = format!("/instances/{placement}/{server}?grace_ms={grace_ms}");
        let deadline = Duration::from_millis(grace_ms) + STOP_MARGIN;
        let sent = self.client.delete(&path, deadline).await;
        self.settle(placement, sent, |reading| {
            !reading.instances.contains_key(server)
        })
        .await
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

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, ReadError> {
        let path = format!("/instances/{placement}/{server}/logs?from={from}");
        let body: LogBody = self
            .client
            .get(&path, READ_DEADLINE)
            .await
            .map_err(unreadable)?;
        Ok(body.into())
    }
}
