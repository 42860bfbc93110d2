//! Adapters for whatever shares requests between servers: one file per real system, dispatched
//! by match.

pub mod embedded;
pub mod haproxy;

use crate::model::effect::ServerSetting;
use crate::model::service::Backend;
use crate::model::world::BalancerReading;
use crate::model::{Clean, ServerName};
use crate::ports::{self, ReadError, Written};
use std::net::SocketAddr;

/// Every balancer this program can drive.
#[derive(Debug)]
pub enum Balancer {
    /// The embedded host's proxy.
    Embedded(embedded::EmbeddedBalancer),
    /// HAProxy, through its stats socket.
    Haproxy(haproxy::HaproxyBalancer),
}

impl ports::Balancer for Balancer {
    async fn read(&self, backend: &Backend) -> Result<BalancerReading, ReadError> {
        match self {
            Self::Embedded(embedded) => embedded.read(backend).await,
            Self::Haproxy(haproxy) => haproxy.read(backend).await,
        }
    }

    async fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        match self {
            Self::Embedded(embedded) => embedded.write(backend, settings).await,
            Self::Haproxy(haproxy) => haproxy.write(backend, settings).await,
        }
    }

    async fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        match self {
            Self::Embedded(embedded) => embedded.inspect(backend, servers).await,
            Self::Haproxy(haproxy) => haproxy.inspect(backend, servers).await,
        }
    }
}
