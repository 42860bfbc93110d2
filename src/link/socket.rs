//! The socket as a file: where it is, who may reach it, and what is done about an old one.
//!
//! Must not know what is said over it.

use super::peer::own_uid;
use crate::model::Clean;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "engine.sock";

/// Bytes a socket's path may have: the kernel's field without the closing zero.
pub const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Connections that may wait to be accepted; a flood beyond it waits in `connect`.
const BACKLOG: u32 = 1024;

/// How long an old socket has to show that an engine lives behind it.
const ALIVE_DEADLINE: Duration = Duration::from_secs(1);

/// Who may open a socket at all; what they may ask is for the engine to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenTo {
    /// Its owner: mode 0600.
    Owner,
    /// A group, by id: mode 0660.
    Group(u32),
}

impl OpenTo {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group(_) => 0o660,
        }
    }
}

/// Write permission for group or others.
const FOREIGN_WRITE: u32 = 0o022;

/// Why the socket could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel takes no longer paths.
    #[error(
        "the socket's path {path} has more than {PATH_BYTES_MAX} bytes; set a shorter state_dir"
    )]
    PathTooLong {
        /// The path.
        path: Clean,
    },
    /// The directory is not safe.
    #[error("{dir} {trouble}; make it a directory of your own with mode 0700")]
    UnsafeDir {
        /// The directory.
        dir: Clean,
        /// What is wrong with it.
        trouble: DirTrouble,
    },
    /// Something else has the socket's name.
    #[error("{path} is there and is no socket; move it away")]
    NoSocket {
        /// The path.
        path: Clean,
    },
    /// An engine answers there.
    #[error("an engine already listens on {path}; end it with `wheelhouse engine stop`")]
    InUse {
        /// The path.
        path: Clean,
    },
    /// The file system or the kernel refused.
    #[error("cannot {action} {path}; check its permissions and the file system")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: Clean,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

/// What makes a directory unfit to hold the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirTrouble {
    /// It is a symbolic link or a file.
    #[error("is a symbolic link or no directory")]
    NoDirectory,
    /// Somebody else owns it.
    #[error("belongs to uid {uid}")]
    ForeignOwner {
        /// Who.
        uid: u32,
    },
    /// Somebody else may put files into it.
    #[error("can be written by others (mode {mode:04o})")]
    ForeignWrite {
        /// Its permissions.
        mode: u32,
    },
}

/// A listening socket whose file is removed when it is dropped, unless another engine has put
/// its own in the place.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundSocket {
    /// The listening socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let still_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if still_ours {
            // A socket left behind is stale, and the next engine replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the engine of a state directory listens.
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join(SOCKET_NAME)
}

/// Listens on `dir/engine.sock`, mode 0600 whatever the umask: [`bind_for`] for its owner.
///
/// # Errors
/// As [`bind_for`].
pub async fn bind(dir: &Path) -> Result<BoundSocket, BindError> {
    bind_for(dir, OpenTo::Owner).await
}

/// Listens on `dir/engine.sock`, with the mode of `open_to` whatever the umask. The socket of a dead engine is
/// replaced. The caller holds the state directory's lock: two engines that bind at the same
/// moment could otherwise take each other's socket for a stale one.
///
/// # Errors
/// Any [`BindError`]; nothing was changed then, but a stale socket may be gone.
pub async fn bind_for(dir: &Path, open_to: OpenTo) -> Result<BoundSocket, BindError> {
    let path = socket_path(dir);
    if !fits(&path) {
        return Err(BindError::PathTooLong { path: shown(&path) });
    }
    check_dir(dir)?;
    remove_stale(&path).await?;
    listen(path, open_to)
}

/// Whether the kernel takes a path of this length.
pub(super) fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX
}

/// A path as it can be shown.
pub(super) fn shown(path: &Path) -> Clean {
    Clean::bytes(path.as_os_str().as_bytes())
}

fn check_dir(dir: &Path) -> Result<(), BindError> {
    let found = fs::symlink_metadata(dir).map_err(failed("look at", dir))?;
    match dir_trouble(&found, own_uid()) {
        None => Ok(()),
        Some(trouble) => Err(BindError::UnsafeDir {
            dir: shown(dir),
            trouble,
        }),
    }
}

fn dir_trouble(found: &Metadata, own: u32) -> Option<DirTrouble> {
    let mode = found.mode() & 0o7777;
    if !found.is_dir() {
        Some(DirTrouble::NoDirectory)
    } else if found.uid() != own {
        Some(DirTrouble::ForeignOwner { uid: found.uid() })
    } else if mode & FOREIGN_WRITE != 0 {
        Some(DirTrouble::ForeignWrite { mode })
    } else {
        None
    }
}

/// Removes the socket of an engine that is gone: only one where a connection is refused.
async fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NoSocket { path: shown(path) });
        }
        Ok(_) => {}
    }
    match timeout(ALIVE_DEADLINE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket", path))
        }
        // A full backlog shows as "would block": an engine lives there, a busy one.
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(failed("connect to the socket", path)(error))
        }
        _ => Err(BindError::InUse { path: shown(path) }),
    }
}

/// Group and mode are set between `bind` and `listen`: until then every connection is refused, so
/// no umask leaves the socket open for a moment.
fn listen(path: PathBuf, open_to: OpenTo) -> Result<BoundSocket, BindError> {
    let bound = failed("bind the socket", &path);
    let socket = UnixSocket::new_stream().map_err(&bound)?;
    socket.bind(&path).map_err(&bound)?;
    if let OpenTo::Group(gid) = open_to {
        std::os::unix::fs::chown(&path, None, Some(gid))
            .map_err(failed("give to its group (is the engine a member?)", &path))?;
    }
    fs::set_permissions(&path, Permissions::from_mode(open_to.mode()))
        .map_err(failed("set the mode of", &path))?;
    let found = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen on", &path))?;
    Ok(BoundSocket {
        listener,
        identity: identity(&found),
        path,
    })
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> BindError + use<> {
    let path = shown(path);
    move |source| BindError::Io {
        action,
        path: path.clone(),
        source,
    }
}
