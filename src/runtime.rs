//! Adapters for whatever runs instances: one file per real system, dispatched by match.

pub mod docker;
pub mod host;

use crate::model::service::Workload;
use crate::model::world::{Evidence, RuntimeReading};
use crate::model::{Placement, ReleaseId, ServerName, Stock};
use crate::ports::{self, LogPage, Quiet, ReadError, RuntimeLook, Start, Stop, Written};
use std::net::SocketAddr;

/// Every runtime this program can drive.
#[derive(Debug)]
pub enum Runtime {
    /// Child processes of the embedded host.
    Host(host::HostRuntime),
    /// Containers of a Docker daemon.
    Docker(docker::DockerRuntime),
}

impl ports::Runtime for Runtime {
    async fn read(&self, placement: &Placement) -> Result<RuntimeReading, ReadError> {
        match self {
            Self::Host(host) => host.read(placement).await,
            Self::Docker(docker) => docker.read(placement).await,
        }
    }

    async fn start(&self, start: Start) -> Written<RuntimeReading> {
        match self {
            Self::Host(host) => host.start(start).await,
            Self::Docker(docker) => docker.start(start).await,
        }
    }

    async fn quiet(&self, quiet: Quiet) -> Written<RuntimeReading> {
        match self {
            Self::Host(host) => host.quiet(quiet).await,
            Self::Docker(docker) => docker.quiet(quiet).await,
        }
    }

    async fn stop(&self, stop: Stop) -> Written<RuntimeReading> {
        match self {
            Self::Host(host) => host.stop(stop).await,
            Self::Docker(docker) => docker.stop(stop).await,
        }
    }

    async fn evidence(
        &self,
        placement: &Placement,
        server: &ServerName,
        release: ReleaseId,
    ) -> Result<Option<Evidence>, ReadError> {
        match self {
            Self::Host(host) => host.evidence(placement, server, release).await,
            Self::Docker(docker) => docker.evidence(placement, server, release).await,
        }
    }

    async fn inspect(
        &self,
        placement: &Placement,
        workload: &Workload,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<RuntimeLook, ReadError> {
        match self {
            Self::Host(host) => host.inspect(placement, workload, servers).await,
            Self::Docker(docker) => docker.inspect(placement, workload, servers).await,
        }
    }

    async fn watch(&self, tell: impl Fn(Option<Placement>) + Send + Sync) {
        match self {
            Self::Host(host) => host.watch(tell).await,
            Self::Docker(docker) => docker.watch(tell).await,
        }
    }

    async fn stock(&self, workload: &Workload) -> Stock {
        match self {
            Self::Host(host) => host.stock(workload).await,
            Self::Docker(docker) => docker.stock(workload).await,
        }
    }

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, ReadError> {
        match self {
            Self::Host(host) => host.logs(placement, server, from).await,
            Self::Docker(docker) => docker.logs(placement, server, from).await,
        }
    }
}
