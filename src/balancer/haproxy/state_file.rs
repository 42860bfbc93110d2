//! The file from which HAProxy takes weights and states at its next start or reload.
//!
//! HAProxy forgets both otherwise: measured on 2.6.12, after `kill -USR2` a weight of 5 was the
//! configured one again. What it takes from the file (`server_state.c`): `ready`, `maint` and
//! `drain`, if `disabled` is in haproxy.cfg as it was; the weight, if the *initial* weight in
//! haproxy.cfg is still the one in the file; and whether the server was up, so that a file that
//! calls a live server down takes it out of traffic until its checks pass. Hence the file is
//! rewritten when any of these differ, not only weights.
//!
//! Old content or new, never half: temporary file, fsync, rename, fsync of the directory. HAProxy
//! reads it as root before it changes root or user; 0644 serves the others. Nothing here talks to
//! HAProxy.

use super::parse::{ServerState, StateTable, state_table};
use super::table::Fault;
use crate::model::{Clean, Name};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long one rewriting may take; a disk slower than this is reported, not waited for.
const DEADLINE: Duration = Duration::from_secs(1);

/// Longest existing file that is read to compare.
const FILE_MAX: u64 = super::socket::REPLY_MAX as u64;

/// Why a backend's state could not be kept. The text names the file and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state file {path}: {what}; {mend}")]
pub(super) struct KeepError {
    path: String,
    what: String,
    mend: &'static str,
}

impl KeepError {
    fn new(path: &Path, what: impl ToString, mend: &'static str) -> Self {
        Self {
            path: path.display().to_string(),
            what: what.to_string(),
            mend,
        }
    }

    fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "make its directory",
            io::ErrorKind::PermissionDenied => "let this user write into its directory",
            io::ErrorKind::StorageFull => "free space on its disk",
            _ => "see to its disk and directory (which may be no symbolic link)",
        };
        Self::new(path, error, mend)
    }
}

/// A place in the order of readings, taken before the reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The state files of one HAProxy, one per backend.
#[derive(Debug)]
pub(super) struct StateFiles {
    pattern: PathBuf,
    tickets: AtomicU64,
    /// The newest ticket kept, by backend. Locked while a file is written.
    kept: Arc<Mutex<BTreeMap<Name, Ticket>>>,
}

impl StateFiles {
    /// `pattern` is the file's path; `{backend}` in it stands for the backend's name.
    pub(super) fn new(pattern: PathBuf) -> Self {
        Self {
            pattern,
            tickets: AtomicU64::new(1),
            kept: Arc::default(),
        }
    }

    /// The file of a backend.
    pub(super) fn path(&self, backend: &Name) -> PathBuf {
        match self.pattern.to_str() {
            Some(text) => PathBuf::from(text.replace("{backend}", backend.as_str())),
            None => self.pattern.clone(),
        }
    }

    /// Takes a ticket; to be called before the reading that will be kept is begun.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the file say what `table` says, unless it already does or a reading begun later was
    /// kept: that one shows everything this one shows, and writing the older one over it would
    /// bring back old weights at the next reload.
    ///
    /// # Errors
    /// When the file cannot be written within a second. It then holds what it held before or, if
    /// only the directory's fsync failed or was late, the new content.
    pub(super) async fn keep(
        &self,
        backend: &Name,
        table: &StateTable,
        ticket: Ticket,
    ) -> Result<(), KeepError> {
        let path = self.path(backend);
        let (lock, place) = (Arc::clone(&self.kept), path.clone());
        let (backend, table) = (backend.clone(), table.clone());
        let work = async move {
            // The guard moves into the thread: while a disk hangs, nobody starts a second one.
            let mut kept = lock.lock_owned().await;
            let work = move || {
                if kept.get(&backend).is_some_and(|newest| *newest > ticket) {
                    return Ok(());
                }
                rewrite_if_other(&place, &backend, &table)?;
                kept.insert(backend, ticket);
                Ok(())
            };
            tokio::task::spawn_blocking(work).await
        };
        match timeout(DEADLINE, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(KeepError::new(
                &path,
                "its writer ended early",
                "report this",
            )),
            Err(_) => Err(KeepError::new(
                &path,
                "not written within 1 s",
                "see to its disk",
            )),
        }
    }
}

fn rewrite_if_other(path: &Path, backend: &Name, table: &StateTable) -> Result<(), KeepError> {
    let (directory, name) = open_directory(path)?;
    match existing(path, &directory, &name, backend)? {
        Some(old) if same(&old, table) => Ok(()),
        _ => replace(&directory, &name, &table.text).map_err(|error| KeepError::io(path, error)),
    }
}

/// Whether a start from either table would give the same.
fn same(old: &StateTable, new: &StateTable) -> bool {
    let essence = |state: &ServerState| {
        let place = (state.address.clone(), state.port);
        (
            place,
            state.admin(),
            state.weight,
            state.initial_weight,
            state.up(),
        )
    };
    let all = |table: &StateTable| -> Vec<_> {
        table
            .servers
            .iter()
            .map(|(name, state)| (name.clone(), essence(state)))
            .collect()
    };
    all(old) == all(new)
}

fn open_directory(path: &Path) -> Result<(OwnedFd, OsString), KeepError> {
    let name = path.file_name().map(OsStr::to_owned);
    let name = name.ok_or_else(|| KeepError::new(path, "no file name", "correct `state_file`"))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())
        .map(|directory| (directory, name))
        .map_err(|error| KeepError::io(path, error))
}

/// Reads the file that is there, if any. What is no state file of this backend is never
/// overwritten, apart from an empty or torn one.
fn existing(
    path: &Path,
    directory: &OwnedFd,
    name: &OsStr,
    backend: &Name,
) -> Result<Option<StateTable>, KeepError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => {
            return Err(KeepError::new(
                path,
                "is a symbolic link",
                "name the file itself",
            ));
        }
        Err(error) => return Err(KeepError::io(path, error)),
    };
    let foreign = |what: String| {
        KeepError::new(
            path,
            what,
            "name another file as `state_file`, or remove this one",
        )
    };
    if !file
        .metadata()
        .map_err(|error| KeepError::io(path, error))?
        .is_file()
    {
        return Err(foreign("is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_MAX).read_to_end(&mut bytes);
    read.map_err(|error| KeepError::io(path, error))?;
    let text = String::from_utf8_lossy(&bytes);
    // A line without a third word is torn, and its second may be too.
    let backends = text.lines().skip(2).filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        words.next().filter(|_| words.next().is_some())
    });
    if let Some(other) = backends
        .into_iter()
        .find(|other| *other != backend.as_str())
    {
        let other = Clean::line(other, 64);
        return Err(foreign(format!(
            "holds another backend's servers ({other})"
        )));
    }
    if !text.is_empty() && text.lines().next() != Some("1") {
        return Err(foreign("is no state file of HAProxy".to_owned()));
    }
    // A torn table is no table: it is written anew.
    Ok(state_table(&text, backend).map_err(|_: Fault| ()).ok())
}

fn replace(directory: &OwnedFd, name: &OsStr, text: &str) -> io::Result<()> {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".wheelhouse");
    match fs::unlinkat(directory, &temporary, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = Mode::from_raw_mode(0o644);
    let mut file = File::from(fs::openat(directory, &temporary, flags, readable)?);
    fs::fchmod(&file, readable)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::renameat(directory, &temporary, directory, name)?;
    fs::fsync(directory)?;
    Ok(())
}

#[cfg(test)]
mod tests;
