//! The datagram socket that HAProxy writes its log lines to.
//!
//! Must not know what a datagram holds.

use crate::model::LogAddress;
use rustix::net::RecvFlags;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Receive buffer asked for, in bytes: some 20,000 lines. The kernel may grant less.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Who may write to it: its owner and its group, which HAProxy's user must be in.
const MODE: u32 = 0o660;

/// A bound socket.
#[derive(Debug)]
pub(super) enum Socket {
    Unix {
        socket: UnixDatagram,
        path: PathBuf,
        /// Device and inode of the path when it was bound.
        place: (u64, u64),
    },
    Udp(UdpSocket),
}

impl Socket {
    /// Binds it. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// In words with the mend.
    pub(super) fn bind(address: &LogAddress, patience: Duration) -> Result<Self, String> {
        let bound = match address {
            LogAddress::Path(path) => bind_path(path)?,
            LogAddress::Udp(address) => {
                let failed =
                    |error| format!("{address}: {error}; choose a free address of this machine");
                Self::Udp(UdpSocket::bind(address).map_err(failed)?)
            }
        };
        // Less than asked for still works; the loss is counted.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(bound.fd(), BUFFER_BYTES);
        let failed = |error| format!("{address}: {error}");
        match &bound {
            Self::Unix { socket, .. } => socket.set_read_timeout(Some(patience)),
            Self::Udp(socket) => socket.set_read_timeout(Some(patience)),
        }
        .map_err(failed)?;
        Ok(bound)
    }

    /// Waits for a datagram; `None` once the patience it was bound with is over.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = match self {
            Self::Unix { socket, .. } => socket.recv(buffer),
            Self::Udp(socket) => socket.recv(buffer),
        };
        nothing_yet(received)
    }

    /// Takes a datagram that is there already.
    pub(super) fn take(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = rustix::net::recv(self.fd(), buffer, RecvFlags::DONTWAIT);
        nothing_yet(received.map(|(filled, _)| filled).map_err(io::Error::from))
    }

    /// Whether its path still leads to it. HAProxy cannot reach one whose path was removed.
    pub(super) fn is_reachable(&self) -> bool {
        match self {
            Self::Unix { path, place, .. } => {
                fs::symlink_metadata(path).is_ok_and(|now| at(&now) == *place)
            }
            Self::Udp(_) => true,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix { socket, .. } => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_reachable()
            && let Self::Unix { path, .. } = self
        {
            // Left behind, it would be replaced at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

fn nothing_yet(received: io::Result<usize>) -> io::Result<Option<usize>> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match received {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn at(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Bound under another name and moved into place, so that it is never there with another mode.
fn bind_path(path: &Path) -> Result<Socket, String> {
    let shown = path.display();
    check_directory(path)?;
    check_place(path)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let failed =
        |error: io::Error| format!("{shown}: {error}; let this user write in its directory");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let socket = UnixDatagram::bind(&fresh).map_err(failed)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let place = at(&fs::symlink_metadata(&fresh).map_err(failed)?);
    fs::rename(&fresh, path).map_err(failed)?;
    Ok(Socket::Unix {
        socket,
        path: path.to_owned(),
        place,
    })
}

/// Others must not be able to put a socket of theirs in its place.
fn check_directory(path: &Path) -> Result<(), String> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let shown = directory.display();
    let failed = |error: io::Error| format!("{shown}: {error}; make this directory");
    let metadata = fs::metadata(directory).map_err(failed)?;
    let own = rustix::process::getuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        let uid = metadata.uid();
        return Err(format!(
            "{shown} belongs to uid {uid}; use a directory of root's or of this user"
        ));
    }
    const STICKY: u32 = 0o1000;
    let mode = metadata.mode();
    match mode & 0o002 != 0 && mode & STICKY == 0 {
        true => Err(format!("{shown} is writable for everybody; chmod o-w it")),
        false => Ok(()),
    }
}

/// What is there already must be a socket that nobody listens on.
fn check_place(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "{shown} is there and is no socket; choose another path"
        ));
    }
    let probe = UnixDatagram::unbound().map_err(|error| format!("{shown}: {error}"))?;
    match probe.connect(path) {
        Ok(()) => Err(format!(
            "{shown}: another process listens there; give each engine and balancer its own"
        )),
        Err(_) => Ok(()),
    }
}
