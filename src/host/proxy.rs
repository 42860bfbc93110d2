//! The proxy: backends by name, each with a listener, its servers and how traffic is shared.
//!
//! Must not know instances: a server is an address. Settings take effect before they are
//! recorded, so that a full disk never keeps traffic where it should not be.

mod alarm;
mod backend;
mod body;
mod check;
mod forward;
mod headers;
mod listen;
mod pool;
mod server;
mod shares;

use super::store::{RecordedBackend, Store};
use super::wire::{BackendBody, BackendReading, SettingBody};
use crate::model::world::{Admin, BalancerReading};
use crate::model::{Name, ServerName};
use backend::Backend;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most backends one host serves.
pub const BACKENDS_MAX: usize = 64;
/// Most servers of one backend.
pub const SERVERS_MAX: usize = 256;
/// Largest weight, as HAProxy has it.
pub const WEIGHT_MAX: u16 = 256;
/// Connections the kernel holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// Why a backend stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It was never declared.
    #[error("there is no backend {name}; declare it first")]
    Unknown {
        /// The name asked for.
        name: Name,
    },
    /// A setting names a server that is not there.
    #[error("backend {name} has no server {server}; add it to the service's servers")]
    UnknownServer {
        /// The backend.
        name: Name,
        /// The server.
        server: ServerName,
    },
    /// A weight is too large.
    #[error("weight {weight} of server {server} is above {WEIGHT_MAX}")]
    Weight {
        /// The server.
        server: ServerName,
        /// The weight.
        weight: u16,
    },
    /// The declaration makes no sense.
    #[error("backend {name} cannot be as declared: {why}")]
    Declaration {
        /// The backend.
        name: Name,
        /// What is wrong, and the mend.
        why: &'static str,
    },
    /// A server that gets requests would be removed or moved.
    #[error("server {server} of backend {name} still gets requests; set it to maintenance first")]
    InUse {
        /// The backend.
        name: Name,
        /// The server.
        server: ServerName,
    },
    /// Nobody can connect there.
    #[error("backend {name} cannot listen on {listen}; see who holds the port, or choose another")]
    Listen {
        /// The backend.
        name: Name,
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What runs for one backend.
#[derive(Debug)]
struct Served {
    listen: SocketAddr,
    backend: Arc<Backend>,
    /// Ends the listener, and each connection after the request it is at.
    stop: CancellationToken,
}

/// Shares requests between servers.
#[derive(Debug)]
pub struct Proxy {
    epoch: String,
    store: Arc<Store>,
    served: Mutex<BTreeMap<Name, Served>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends whatever is left after the drain.
    abandon: CancellationToken,
}

impl Proxy {
    /// A proxy without backends.
    pub fn new(epoch: String, store: Arc<Store>) -> Self {
        Self {
            epoch,
            store,
            served: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }
    }

    /// Serves what the last host recorded, with its last settings.
    pub fn restore(&self) {
        for one in self.store.recorded().backends {
            let restored = self
                .declare(&one.name, &one.body)
                .and_then(|_| self.set(&one.name, &one.settings));
            if let Err(error) = restored {
                tracing::error!(error = %super::store::with_causes(&error), "a backend could not be restored");
            }
        }
    }

    /// Makes a backend what the declaration says; servers that stay keep setting and counters.
    /// Idempotent. Returns the change to the record.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing has changed then.
    pub fn declare(&self, name: &Name, body: &BackendBody) -> Result<u64, BackendError> {
        check_declaration(name, body)?;
        let mut served = self.lock();
        if !served.contains_key(name) && served.len() >= BACKENDS_MAX {
            return Err(BackendError::Declaration {
                name: name.clone(),
                why: "this host has as many backends as it can serve; use a second host",
            });
        }
        let backend = match served.get(name) {
            Some(there) => {
                there
                    .backend
                    .check_change(&body.servers)
                    .map_err(|server| BackendError::InUse {
                        name: name.clone(),
                        server,
                    })?;
                Arc::clone(&there.backend)
            }
            None => Arc::new(Backend::new(name.clone(), self.tasks.clone())),
        };
        if served
            .get(name)
            .is_none_or(|there| there.listen != body.listen)
        {
            let listener = bind(name, body.listen)?;
            let stop = self.serve(listener, &backend);
            let new = Served {
                listen: body.listen,
                backend: Arc::clone(&backend),
                stop,
            };
            if let Some(old) = served.insert(name.clone(), new) {
                old.stop.cancel();
            }
        }
        backend.change(&body.servers);
        Ok(self.record(name, body.listen, &backend))
    }

    fn serve(&self, listener: TcpListener, backend: &Arc<Backend>) -> CancellationToken {
        let stop = self.stop.child_token();
        let ends = listen::Ends {
            stop: stop.clone(),
            abandon: self.abandon.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks
            .spawn(listen::serve(listener, Arc::clone(backend), ends));
        self.tasks
            .spawn(check::keep_checking(Arc::clone(backend), stop.clone()));
        stop
    }

    /// Sets servers in the order given, all or none. Idempotent. Returns the change to the record.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing has changed then.
    pub fn set(&self, name: &Name, settings: &[SettingBody]) -> Result<u64, BackendError> {
        if let Some(wrong) = settings.iter().find(|one| one.setting.weight > WEIGHT_MAX) {
            return Err(BackendError::Weight {
                server: wrong.server.clone(),
                weight: wrong.setting.weight,
            });
        }
        let served = self.lock();
        let there = served.get(name).ok_or_else(|| unknown(name))?;
        there
            .backend
            .set(settings)
            .map_err(|server| BackendError::UnknownServer {
                name: name.clone(),
                server,
            })?;
        Ok(self.record(name, there.listen, &there.backend))
    }

    fn record(&self, name: &Name, listen: SocketAddr, backend: &Backend) -> u64 {
        let (servers, settings) = backend.settings();
        let one = RecordedBackend {
            name: name.clone(),
            body: BackendBody { listen, servers },
            settings,
        };
        self.store.change(|record| {
            record.backends.retain(|other| other.name != one.name);
            record.backends.push(one);
        })
    }

    /// How a backend stands.
    ///
    /// # Errors
    /// When there is no such backend.
    pub fn reading(&self, name: &Name) -> Result<BackendReading, BackendError> {
        let served = self.lock();
        let there = served.get(name).ok_or_else(|| unknown(name))?;
        let (servers, _) = there.backend.settings();
        Ok(BackendReading {
            listen: there.listen,
            servers,
            reading: BalancerReading {
                epoch: self.epoch.clone(),
                software: super::software(),
                servers: there.backend.views(),
            },
            trouble: self.store.trouble(),
        })
    }

    /// Names of the backends.
    pub fn names(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    /// Takes no new connections, lets requests under way end for at most `drain`, then ends what
    /// is left.
    pub async fn shut_down(&self, drain: Duration) {
        self.stop.cancel();
        self.tasks.close();
        for served in self.lock().values() {
            served.backend.drop_idle();
        }
        if timeout(drain, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still under way when the host stopped");
        }
        self.abandon.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Served>> {
        self.served
            .lock()
            .expect("invariant: nothing panics under the backends' lock")
    }
}

fn unknown(name: &Name) -> BackendError {
    BackendError::Unknown { name: name.clone() }
}

fn check_declaration(name: &Name, body: &BackendBody) -> Result<(), BackendError> {
    let why = if body.listen.port() == 0 {
        "port 0 is no address to connect to; name a port"
    } else if body.servers.len() > SERVERS_MAX {
        "it has more servers than a backend can have; split the service"
    } else if has_twins(body) {
        "two servers have the same name; rename one"
    } else {
        return Ok(());
    };
    Err(BackendError::Declaration {
        name: name.clone(),
        why,
    })
}

fn has_twins(body: &BackendBody) -> bool {
    let names: std::collections::BTreeSet<&ServerName> =
        body.servers.iter().map(|server| &server.name).collect();
    names.len() != body.servers.len()
}

fn bind(name: &Name, listen: SocketAddr) -> Result<TcpListener, BackendError> {
    let bound = || {
        let socket = if listen.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| BackendError::Listen {
        name: name.clone(),
        listen,
        source,
    })
}

/// Whether a server is checked and may be down: only one that may get requests.
fn is_judged(admin: Admin) -> bool {
    admin == Admin::Ready
}
