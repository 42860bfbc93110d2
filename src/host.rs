//! The embedded default: one process that is parent of the instances, keeper of their logs, and
//! the proxy in front of them. Engines talk to it over its socket and may come and go.
//!
//! Must not know rollouts, the history or the configuration. It keeps what it was last told, also
//! over its own death: a restarted host ends what the last one left, starts the recorded set and
//! shares traffic by the recorded settings.

mod api;
mod logs;
mod process;
mod proxy;
mod socket;
mod store;
mod supervisor;
pub mod wire;

pub use socket::ClaimError;
pub use store::StoreError;

use logs::LogFiles;
use proxy::Proxy;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use supervisor::Supervisor;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For requests under way when the host is stopped.
const DRAIN: Duration = Duration::from_secs(5);
/// For the last record when the host is stopped.
const LAST_RECORD_DEADLINE: Duration = Duration::from_secs(2);

/// How a host runs.
pub struct HostOptions<S> {
    /// Where it keeps the recorded set and the logs; made private if it exists.
    pub state_dir: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// Whether the instances are recorded beyond an orderly stop, so that the next host starts
    /// them again. After a crash it does so in any case.
    pub keep_set_on_shutdown: bool,
    /// Ends the host.
    pub shutdown: S,
}

/// Why a host cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its place is taken or cannot be used.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Its state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no thread.
    #[error("cannot start the thread that writes log files; see the limit of threads")]
    Thread(#[source] io::Error),
}

/// The parts of a running host.
struct Host {
    started_ms: u64,
    epoch: String,
    store: Arc<Store>,
    supervisor: Arc<Supervisor>,
    proxy: Proxy,
}

impl Host {
    fn status(&self) -> wire::Status {
        let (placements, instances) = self.supervisor.summary();
        wire::Status {
            pid: std::process::id(),
            started_ms: self.started_ms,
            epoch: self.epoch.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            placements,
            instances,
            backends: self.proxy.names(),
            trouble: self.store.trouble(),
        }
    }
}

/// Runs a host until `shutdown` resolves: then no request is accepted any more, those under way
/// have 5 s to end, the instances are stopped with their own graces and the socket is removed.
/// The socket answers only after the recorded set was restored.
///
/// # Errors
/// When the host cannot begin; once it runs it does not fail.
pub async fn run<S: Future<Output = ()> + Send>(options: HostOptions<S>) -> Result<(), HostError> {
    let _claim = socket::claim(&options.state_dir)?;
    let listener = socket::listen(&options.socket, &options.state_dir).await?;
    let store = Arc::new(Store::open(&options.state_dir)?);
    let host = Arc::new(assemble(&options.state_dir, &store)?);
    allow_many_files();

    let keep = CancellationToken::new();
    let keeper = tokio::spawn(Arc::clone(&store).keep(keep.clone()));
    host.proxy.restore();
    host.supervisor.restore().await;

    let stop = CancellationToken::new();
    let api = tokio::spawn(api::serve(listener, Arc::clone(&host), stop.clone()));
    tracing::info!(pid = std::process::id(), socket = %options.socket.display(), "host runs");
    options.shutdown.await;

    stop.cancel();
    host.proxy.shut_down(DRAIN).await;
    host.supervisor
        .shut_down(options.keep_set_on_shutdown)
        .await;
    let last = store.change(|_| {});
    if timeout(LAST_RECORD_DEADLINE, store.is_saved(last))
        .await
        .is_err()
    {
        tracing::error!("the last state of the set is not on disk");
    }
    keep.cancel();
    for (what, task) in [("record", keeper), ("socket", api)] {
        if let Err(error) = task.await {
            tracing::error!(what, %error, "a task of the host broke");
        }
    }
    if let Err(error) = std::fs::remove_file(&options.socket) {
        tracing::warn!(%error, "the socket is left behind");
    }
    Ok(())
}

fn assemble(state_dir: &std::path::Path, store: &Arc<Store>) -> Result<Host, HostError> {
    let log_dir = state_dir.join("logs");
    store::private_dir(&log_dir)?;
    let files = LogFiles::start().map_err(HostError::Thread)?;
    let started_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    let epoch = format!("{}-{started_ms}", std::process::id());
    Ok(Host {
        started_ms,
        supervisor: Supervisor::new(epoch.clone(), log_dir, files, Arc::clone(store)),
        proxy: Proxy::new(epoch.clone(), Arc::clone(store)),
        epoch,
        store: Arc::clone(store),
    })
}

/// Raises the soft limit of open files to the hard one: a proxied request takes two, and the
/// usual soft limit of 1,024 is for programs that still use `select`.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What this host says it is.
fn software() -> crate::model::Clean {
    concat!("wheelhouse host ", env!("CARGO_PKG_VERSION")).into()
}
