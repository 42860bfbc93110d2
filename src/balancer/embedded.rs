//! The embedded host as a balancer: its proxy carries the backends this adapter declares.
//!
//! Must not know how the proxy shares requests. What a write did is decided by reading back.

use crate::host::wire::client::{CallError, ClientError, HostClient, judged};
use crate::host::wire::{BackendBody, BackendReading, SettingBody};
use crate::model::effect::ServerSetting;
use crate::model::service::Backend;
use crate::model::world::BalancerReading;
use crate::model::{Clean, Name, ServerName};
use crate::ports::{self, ReadError, Written};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// For one write. With [`READ_DEADLINE`] it stays within the balancer's second.
const WRITE_DEADLINE: Duration = Duration::from_millis(550);
/// For one reading.
const READ_DEADLINE: Duration = Duration::from_millis(400);

/// Drives the embedded host's proxy.
#[derive(Debug)]
pub struct EmbeddedBalancer {
    client: HostClient,
    /// What each backend is, by the configuration.
    backends: BTreeMap<Name, BackendBody>,
    /// The host's process to which each backend was last declared.
    declared: Mutex<BTreeMap<Name, String>>,
}

impl EmbeddedBalancer {
    /// Speaks to the host on this socket about these backends. Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(socket: &Path, backends: BTreeMap<Name, BackendBody>) -> Result<Self, ClientError> {
        Ok(Self {
            client: HostClient::new(socket)?,
            backends,
            declared: Mutex::default(),
        })
    }

    /// Reads the backend, declaring it first to a host that was not told of it yet.
    async fn reading(&self, backend: &Name) -> Result<BackendReading, CallError> {
        let path = format!("/backends/{backend}");
        let body = self.backends.get(backend);
        match self
            .client
            .get::<BackendReading>(&path, READ_DEADLINE)
            .await
        {
            Ok(found) if body.is_none() || self.is_declared(backend, &found.reading.epoch) => {
                return Ok(found);
            }
            Err(error) if body.is_none() || !error.is_unknown_thing() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.client.put(&path, &body, WRITE_DEADLINE).await?;
        let reading: BackendReading = self.client.get(&path, READ_DEADLINE).await?;
        self.note_declared(backend, &reading.reading.epoch);
        Ok(reading)
    }

    fn is_declared(&self, backend: &Name, epoch: &str) -> bool {
        let declared = self
            .declared
            .lock()
            .expect("invariant: nothing panics under this lock");
        declared.get(backend).is_some_and(|known| known == epoch)
    }

    fn note_declared(&self, backend: &Name, epoch: &str) {
        let mut declared = self
            .declared
            .lock()
            .expect("invariant: nothing panics under this lock");
        declared.insert(backend.clone(), epoch.to_owned());
    }

    async fn send(
        &self,
        backend: &Name,
        settings: &[(ServerName, ServerSetting)],
    ) -> Result<(), CallError> {
        let path = format!("/backends/{backend}/servers");
        let body: Vec<SettingBody> = settings
            .iter()
            .map(|(server, setting)| SettingBody {
                server: server.clone(),
                setting: *setting,
            })
            .collect();
        self.client.put(&path, &body, WRITE_DEADLINE).await
    }
}

/// Whether the reading shows every setting.
fn shows(reading: &BalancerReading, settings: &[(ServerName, ServerSetting)]) -> bool {
    settings.iter().all(|(server, setting)| {
        reading
            .servers
            .get(server)
            .is_some_and(|view| view.admin == setting.admin && view.weight == setting.weight)
    })
}

fn unreadable(error: CallError) -> ReadError {
    ReadError(Clean::new(&error.to_string()))
}

impl ports::Balancer for EmbeddedBalancer {
    async fn read(&self, backend: &Backend) -> Result<BalancerReading, ReadError> {
        let found = self.reading(&backend.backend).await.map_err(unreadable)?;
        Ok(found.reading)
    }

    async fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        let mut sent = self.send(&backend.backend, settings).await;
        let mut reading = self.reading(&backend.backend).await;
        if sent.as_ref().is_err_and(CallError::is_unknown_thing) && reading.is_ok() {
            // The reading declared the backend to a host that had never heard of it.
            sent = self.send(&backend.backend, settings).await;
            reading = self.reading(&backend.backend).await;
        }
        let shown = reading
            .as_ref()
            .map(|found| shows(&found.reading, settings));
        let outcome = judged(&sent, shown);
        Written {
            outcome,
            reading: reading.ok().map(|found| found.reading),
        }
    }

    async fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        let found = self.reading(&backend.backend).await.map_err(unreadable)?;
        Ok(differences(&backend.backend, &found, servers))
    }
}

/// Says where the backend that is served is not the one the rollout counts on.
fn differences(
    backend: &Name,
    found: &BackendReading,
    wanted: &[(ServerName, SocketAddr)],
) -> Vec<Clean> {
    let mut lines = Vec::new();
    for (name, address) in wanted {
        match found.servers.iter().find(|server| server.name == *name) {
            None => lines.push(Clean::new(&format!(
                "backend {backend} has no server {name}; add it to the service's servers"
            ))),
            Some(server) if server.address != *address => lines.push(Clean::new(&format!(
                "server {name} of backend {backend} is at {}, not at {address}; correct the service's servers",
                server.address
            ))),
            Some(_) => {}
        }
    }
    for server in &found.servers {
        if !wanted.iter().any(|(name, _)| *name == server.name) {
            lines.push(Clean::new(&format!(
                "backend {backend} has a server {} that the service does not name; remove it",
                server.name
            )));
        }
    }
    lines.extend(found.trouble.clone());
    lines
}
