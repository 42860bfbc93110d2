//! What is said on the host's socket: HTTP/1.1 with JSON bodies under `/v1`.
//!
//! Adapters speak these types through [`client::HostClient`]; the host answers with them. Must not
//! know how the host does any of it. A field may be added here, never renamed or removed.

pub mod client;

use crate::model::effect::ServerSetting;
use crate::model::service::{QuietSignal, Server, Workload};
use crate::model::world::{BalancerReading, RuntimeReading};
use crate::model::{Clean, EffectId, Name, Placement, ReleaseId, ServerName};
use crate::ports::{LogPage, Start};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// First segment of every path; another number is another protocol.
pub const VERSION: &str = "v1";

/// Largest request body the host reads. The largest real one, a backend with 256 servers, is far
/// below.
pub const BODY_MAX_BYTES: usize = 256 * 1024;

/// Most lines in one [`LogBody`]; a reader that wants more asks again.
pub const LOG_PAGE_LINES: usize = 1_000;

/// Answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The host's process id.
    pub pid: u32,
    /// When the process began.
    pub started_ms: u64,
    /// Identity of the process; counters and sessions belong to it.
    pub epoch: String,
    /// The program's version.
    pub version: String,
    /// Placements that have instances.
    pub placements: Vec<Placement>,
    /// Instances kept, running or not.
    pub instances: usize,
    /// Backends that are served.
    pub backends: Vec<Name>,
    /// Why the set could not be recorded; a host that starts now would restore an older one.
    pub trouble: Option<Clean>,
}

/// Body of `PUT /v1/instances/PLACEMENT/SERVER`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartBody {
    /// The intent; starting the same one twice makes one instance.
    pub id: EffectId,
    /// Where it must listen.
    pub address: SocketAddr,
    /// The release it is.
    pub release: ReleaseId,
    /// How it is started.
    pub workload: Workload,
    /// Whether it is started again when it exits.
    pub keep_running: bool,
}

impl StartBody {
    /// What travels in the body; placement and server travel in the path.
    pub fn of(start: &Start) -> Self {
        Self {
            id: start.id,
            address: start.address,
            release: start.release,
            workload: start.workload.clone(),
            keep_running: start.keep_running,
        }
    }

    /// The start it asks for.
    pub fn at(self, placement: Placement, server: ServerName) -> Start {
        Start {
            id: self.id,
            placement,
            server,
            address: self.address,
            release: self.release,
            workload: self.workload,
            keep_running: self.keep_running,
            // A process has no labels to carry it.
            rollout: None,
        }
    }
}

/// Body of `PUT /v1/instances/PLACEMENT/SERVER/quiet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietBody {
    /// What tells the worker to take no new work.
    pub signal: QuietSignal,
}

/// Answer to `GET /v1/instances/PLACEMENT`.
pub type InstancesBody = RuntimeReading;

/// Answer to `GET /v1/instances/PLACEMENT/SERVER/logs?from=N`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogBody {
    /// Where to read on.
    pub next: u64,
    /// Lines lost between the asked position and the first one here.
    pub skipped: u64,
    /// The lines, at most [`LOG_PAGE_LINES`].
    pub lines: Vec<Clean>,
}

impl From<LogBody> for LogPage {
    fn from(body: LogBody) -> Self {
        Self {
            next: body.next,
            skipped: body.skipped,
            lines: body.lines,
        }
    }
}

/// Body of `PUT /v1/backends/NAME`: what the backend is, not how its traffic is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendBody {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Its servers. A new one begins in maintenance; one that is left out is removed.
    pub servers: Vec<Server>,
}

/// Answer to `GET /v1/backends/NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendReading {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Its servers with their addresses.
    pub servers: Vec<Server>,
    /// How they stand.
    pub reading: BalancerReading,
    /// Why the settings could not be recorded; see [`Status::trouble`].
    pub trouble: Option<Clean>,
}

/// One entry of the body of `PUT /v1/backends/NAME/servers`, a list: what each server is to be,
/// in the order of change. Servers left out stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingBody {
    /// Which server.
    pub server: ServerName,
    /// What it is to be.
    #[serde(flatten)]
    pub setting: ServerSetting,
}

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What, where, and the mend.
    pub error: Clean,
}
