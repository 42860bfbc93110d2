//! What the driver needs of the outside world: one small trait per kind of peer.
//!
//! Adapters live in `runtime/` and `balancer/`; one contract test per trait holds the embedded
//! default and the real systems to the same words. Writes return an [`Outcome`], never a bare
//! error: after a failed call nobody knows what happened unless the read-back says so.

use crate::model::effect::ServerSetting;
use crate::model::service::{Backend, HealthCheck, SmokeTest, Workload};
use crate::model::world::{BalancerReading, RuntimeReading, SmokeResult};
use crate::model::{Clean, EffectId, Outcome, Placement, ReleaseId, ServerName};
use std::future::Future;
use std::net::SocketAddr;

/// Why a peer could not be read. The text names the peer, what went wrong and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub Clean);

/// A write's end, with the read-back that decided it (absent when that failed too).
#[derive(Debug, Clone, PartialEq)]
pub struct Written<R> {
    /// How it ended, by the read-back.
    pub outcome: Outcome,
    /// What the read-back showed.
    pub reading: Option<R>,
}

/// Something that shares requests between servers.
pub trait Balancer: Send + Sync {
    /// Reads one backend whole.
    ///
    /// # Errors
    /// When the balancer cannot be reached or its answer makes no sense; nothing is assumed.
    fn read(
        &self,
        backend: &Backend,
    ) -> impl Future<Output = Result<BalancerReading, ReadError>> + Send;

    /// Sets servers in the order given, then reads back. Idempotent. Dropping the future leaves
    /// the outcome unknown.
    fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> impl Future<Output = Written<BalancerReading>> + Send;

    /// Says in lines for people what would make this backend unfit to carry a rollout; empty when
    /// nothing does.
    fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> impl Future<Output = Result<Vec<Clean>, ReadError>> + Send;
}

/// One instance to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The intent; starting the same one twice makes one instance.
    pub id: EffectId,
    /// For which placement.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// Where it must listen.
    pub address: SocketAddr,
    /// The release it is.
    pub release: ReleaseId,
    /// How it is started.
    pub workload: Workload,
    /// Whether the runtime starts it again when it exits.
    pub keep_running: bool,
}

/// Log lines of an instance, bounded, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogPage {
    /// Where to read on.
    pub next: u64,
    /// Lines lost between the asked position and the first one here.
    pub skipped: u64,
    /// The lines.
    pub lines: Vec<Clean>,
}

/// Something that runs instances.
pub trait Runtime: Send + Sync {
    /// Reads the placement's instances.
    ///
    /// # Errors
    /// When the runtime cannot be reached.
    fn read(
        &self,
        placement: &Placement,
    ) -> impl Future<Output = Result<RuntimeReading, ReadError>> + Send;

    /// Starts an instance, then reads back. Idempotent: a running instance of the same release
    /// behind the server stays, only its restart policy is brought up to date.
    fn start(&self, start: Start) -> impl Future<Output = Written<RuntimeReading>> + Send;

    /// Stops and forgets the instance behind a server, then reads back. Idempotent.
    fn stop(
        &self,
        placement: &Placement,
        server: &ServerName,
        grace_ms: u64,
    ) -> impl Future<Output = Written<RuntimeReading>> + Send;

    /// Reads an instance's output from a position on.
    ///
    /// # Errors
    /// When the runtime cannot be reached or keeps no output.
    fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> impl Future<Output = Result<LogPage, ReadError>> + Send;
}

/// Our own requests to instances.
pub trait Probe: Send + Sync {
    /// Asks one instance whether it is healthy; `Err` says why it is not.
    fn probe(
        &self,
        address: SocketAddr,
        check: &HealthCheck,
    ) -> impl Future<Output = Result<(), Clean>> + Send;

    /// Sends one smoke request to one instance.
    fn smoke(
        &self,
        server: &ServerName,
        address: SocketAddr,
        test: &SmokeTest,
    ) -> impl Future<Output = SmokeResult> + Send;
}
