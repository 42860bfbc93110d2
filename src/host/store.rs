//! What the host keeps on disk so that its successor can restore the set: instances with their
//! processes, backends with their settings.
//!
//! One file, replaced whole (temporary file, fsync, rename, fsync of the directory) by one task;
//! changes made while it writes are written together. Must not know what any of it is for.

use super::wire::{BackendBody, SettingBody, StartBody};
use crate::model::{Clean, Name, Placement, ServerName};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Name of the file in the state directory.
const FILE: &str = "set.json";

/// Everything a restarted host restores.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// The instances, in no particular order.
    pub instances: Vec<RecordedInstance>,
    /// The backends, in no particular order.
    pub backends: Vec<RecordedBackend>,
}

/// One instance that is to exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedInstance {
    /// For which placement.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// How it was started.
    pub start: StartBody,
    /// Identity of the run, in its processes' environment. Recorded before the process begins.
    pub run: Uuid,
    /// Its process, while there is one.
    pub process: Option<RecordedProcess>,
    /// Why it ended, when it is not to be started again.
    pub exited: Option<Clean>,
}

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedProcess {
    /// Its id, also that of its group.
    pub pid: u32,
    /// When the kernel began it, in ticks since the machine started.
    pub start_ticks: u64,
}

/// One backend as last set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedBackend {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub body: BackendBody,
    /// How its traffic is shared.
    pub settings: Vec<SettingBody>,
}

/// The state directory or the file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something on disk failed.
    #[error("cannot {what} `{path}`; see that it exists, is yours and has room")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this version writes.
    #[error(
        "`{path}` is not a record of this version; move it away to begin with an empty set (its instances then have to be ended by hand)"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What did not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}

/// Makes a directory only its owner may enter, whatever the umask; tightens one that exists.
///
/// # Errors
/// When it cannot be made or belongs to somebody else.
pub fn private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::disk("create the directory", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(StoreError::disk("make private the directory", path))
}

/// Opens a file only its owner may read, whatever the umask.
///
/// # Errors
/// As the system says.
pub fn private_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// How far the record on disk is, and why it is no further.
#[derive(Debug, Clone, Default)]
struct Saved {
    /// The last change that is on disk.
    change: u64,
    /// Why the last attempt failed.
    trouble: Option<Clean>,
}

/// The record: changed in memory by anyone, written by [`Store::keep`].
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    recorded: Mutex<Recorded>,
    changes: watch::Sender<u64>,
    saved: watch::Sender<Saved>,
}

impl Store {
    /// Reads what the last host recorded; empty when there was none.
    ///
    /// # Errors
    /// When the directory or the file cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        private_dir(dir)?;
        let path = dir.join(FILE);
        let recorded = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| StoreError::Foreign { path, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Recorded::default(),
            Err(source) => return Err(StoreError::disk("read", &path)(source)),
        };
        Ok(Self {
            dir: dir.to_owned(),
            recorded: Mutex::new(recorded),
            changes: watch::Sender::new(0),
            saved: watch::Sender::default(),
        })
    }

    /// What is recorded now.
    pub fn recorded(&self) -> Recorded {
        self.lock().clone()
    }

    /// Changes the record; returns the change to wait for with [`Store::is_saved`].
    pub fn change(&self, change: impl FnOnce(&mut Recorded)) -> u64 {
        let mut recorded = self.lock();
        change(&mut recorded);
        let mut number = 0;
        self.changes.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        number
    }

    /// Waits until a change is on disk.
    ///
    /// # Errors
    /// Why it could not be written; it is tried again with the next change.
    pub async fn is_saved(&self, change: u64) -> Result<(), Clean> {
        let mut saved = self.saved.subscribe();
        let found = saved
            .wait_for(|saved| saved.change >= change)
            .await
            .map_err(|_| Clean::from("the host is stopping"))?;
        found.trouble.clone().map_or(Ok(()), Err)
    }

    /// Why the newest change is not on disk.
    pub fn trouble(&self) -> Option<Clean> {
        self.saved.borrow().trouble.clone()
    }

    /// Writes every change until told to stop, then once more.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.changes.subscribe();
        loop {
            let change = *changes.borrow_and_update();
            if change > self.saved.borrow().change {
                self.save(change).await;
                continue;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn save(self: &Arc<Self>, change: u64) {
        let store = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || store.write()).await;
        let trouble = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(with_causes(&error)),
            Err(error) => Some(Clean::new(&error.to_string())),
        };
        if let Some(trouble) = &trouble {
            tracing::error!(%trouble, "the set could not be recorded");
        }
        self.saved.send_replace(Saved { change, trouble });
    }

    fn write(&self) -> Result<(), StoreError> {
        let path = self.dir.join(FILE);
        let bytes =
            serde_json::to_vec_pretty(&self.recorded()).map_err(|source| StoreError::Foreign {
                path: path.clone(),
                source,
            })?;
        let new = self.dir.join(format!("{FILE}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        private_file(&new, &mut options)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .map_err(StoreError::disk("write", &new))?;
        std::fs::rename(&new, &path).map_err(StoreError::disk("replace", &path))?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::disk("make durable", &self.dir))
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded
            .lock()
            .expect("invariant: nothing panics under the record's lock")
    }
}

/// An error with everything behind it, for one line of text.
pub fn with_causes(error: &dyn std::error::Error) -> Clean {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Clean::new(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(name: &str) -> RecordedBackend {
        RecordedBackend {
            name: name.parse().expect("valid"),
            body: BackendBody {
                listen: "127.0.0.1:1".parse().expect("valid"),
                servers: Vec::new(),
            },
            settings: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_change_that_is_saved_is_there_for_the_next_host_and_only_for_its_owner() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = dir.path().join("a/b");
        let store = Arc::new(Store::open(&state).expect("opens"));
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&store).keep(stop.clone()));
        let change = store.change(|recorded| recorded.backends.push(backend("shop")));
        store.is_saved(change).await.expect("saved");
        stop.cancel();
        task.await.expect("ends");

        let next = Store::open(&state).expect("opens again");
        assert_eq!(next.recorded().backends, [backend("shop")]);
        let mode = |path: &Path| path.metadata().expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join(FILE)), 0o600);
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_written_says_why_and_is_written_when_it_can_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Store::open(dir.path()).expect("opens"));
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&store).keep(stop.clone()));
        let in_the_way = dir.path().join(format!("{FILE}.new"));
        std::fs::create_dir(&in_the_way).expect("created");
        let change = store.change(|recorded| recorded.backends.push(backend("one")));
        let why = store.is_saved(change).await.expect_err("not writable");
        assert!(why.as_str().contains("set.json.new"), "{why}");
        assert_eq!(store.trouble(), Some(why));

        std::fs::remove_dir(&in_the_way).expect("removed");
        let change = store.change(|recorded| recorded.backends.push(backend("two")));
        store.is_saved(change).await.expect("saved");
        assert_eq!(store.trouble(), None);
        stop.cancel();
        task.await.expect("ends");
    }

    #[test]
    fn a_record_of_something_else_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(FILE), "[1]").expect("written");
        let error = Store::open(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(std::fs::read(dir.path().join(FILE)).expect("there"), b"[1]");
    }
}
