//! One engine per state directory. The lock is the kernel's (`flock`), so it ends with the
//! process that holds it; the file only says who that is.

use super::error::HistoryError;
use super::files::{self, Home};
use crate::model::Clean;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Who holds the history, for whoever is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// User name.
    pub user: Clean,
    /// Since when, Unix ms.
    pub since_ms: u64,
}

/// A look at the lock takes it for an instant, so one refusal proves nothing yet.
const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// A lock file says three short things; more is not ours.
const HOLDER_MAX_BYTES: u64 = 4 * 1024;

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn acquire(home: &Home, holder: &Holder) -> Result<Self, HistoryError> {
        let path = home.lock();
        files::create_private(&path)?;
        let file = files::open_private(&path)?;
        for attempt in 1..=ATTEMPTS {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Self::sign(file, &path, holder),
                Err(Errno::WOULDBLOCK) if attempt < ATTEMPTS => thread::sleep(BETWEEN_ATTEMPTS),
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(files::io_error("lock", &path, error.into())),
            }
        }
        let other = read_holder(&path);
        Err(HistoryError::Locked {
            path,
            pid: other.pid,
            user: other.user,
            since_ms: other.since_ms,
        })
    }

    fn sign(mut file: File, path: &Path, holder: &Holder) -> Result<Self, HistoryError> {
        let text = serde_json::to_string(holder).expect("invariant: a holder is plain data");
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|source| files::io_error("write", path, source))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Clears the name; the kernel frees the lock when the file closes.
    fn drop(&mut self) {
        if let Err(error) = self.0.set_len(0) {
            tracing::debug!(%error, "the lock file keeps a stale name");
        }
    }
}

/// Whether an engine holds the lock now. Takes nothing for longer than the look.
pub(super) fn is_held(home: &Home) -> bool {
    File::open(home.lock()).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    })
}

fn read_holder(path: &Path) -> Holder {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(HOLDER_MAX_BYTES).read_to_string(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| Holder {
            pid: 0,
            user: Clean::new("unknown"),
            since_ms: 0,
        })
}
