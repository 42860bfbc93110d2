//! The host's claim on its state directory and its socket: at most one live host on either.

use super::store::{StoreError, private_dir, private_file};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Name of the lock in the state directory; it holds the host's process id.
const LOCK: &str = "host.lock";

/// Why the host may not begin.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another host lives there.
    #[error("a host already runs on `{path}`, pid {pid}; stop that one, or choose another place")]
    Taken {
        /// What it holds.
        path: PathBuf,
        /// Its process id, as far as it can be told.
        pid: String,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket or the lock cannot be made.
    #[error(
        "cannot {what} `{path}`; choose a path in a directory of yours, a socket's at most 100 characters long"
    )]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ClaimError {
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}

/// The state directory, held until dropped. The kernel lets go of it when the process ends,
/// however that happens.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

/// Takes the state directory, making it where it does not exist.
///
/// # Errors
/// When another host holds it, or it cannot be used.
pub fn claim(state_dir: &Path) -> Result<Claim, ClaimError> {
    private_dir(state_dir)?;
    let path = state_dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock =
        private_file(&path, &mut options).map_err(ClaimError::disk("open the lock", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = (&lock).take(16).read_to_string(&mut pid);
            let pid = crate::model::Clean::new(pid.trim()).into_string();
            return Err(ClaimError::Taken {
                path: state_dir.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => return Err(ClaimError::disk("lock", &path)(error)),
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| write!(lock, "{}", std::process::id()))
        .map_err(ClaimError::disk("write the lock", &path))?;
    Ok(Claim { _lock: lock })
}

/// Listens on the socket, which nobody but its owner may use at any moment; one that a dead host
/// left is replaced. `state_dir` is private already and on the same disk.
///
/// # Errors
/// When a live process listens there, or the path cannot be used.
pub async fn listen(path: &Path, state_dir: &Path) -> Result<UnixListener, ClaimError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    if !parent.is_dir() {
        private_dir(parent)?;
    }
    if let Ok(there) = UnixStream::connect(path).await {
        let pid = there.peer_cred().ok().and_then(|peer| peer.pid());
        return Err(ClaimError::Taken {
            path: path.to_owned(),
            pid: pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()),
        });
    }
    // Made in the private directory, then moved into place: there is no moment at which somebody
    // else may connect, and a stale socket is replaced at once.
    let own = state_dir.join("new.sock");
    let _ = std::fs::remove_file(&own);
    let listener = UnixListener::bind(&own).map_err(ClaimError::disk("listen on", &own))?;
    std::fs::set_permissions(&own, Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&own, path))
        .map_err(ClaimError::disk("put in place", path))?;
    Ok(listener)
}
