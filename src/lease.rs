//! Who steers a target: one engine at a time, wherever engines run.
//!
//! Beside each target stands a marker: for a balancer a file next to its state file or socket. The
//! engine that steers holds the kernel's lock on it (`flock`), which ends with its process, so
//! nothing has to be renewed and nothing goes stale on one machine. A marker written on another
//! machine (a shared file system) is believed whatever its age: an engine that was silent for an
//! hour may act again in the next second, so only a person may pass it over.
//!
//! A takeover puts a new marker in the place of the old one. The engine that held the old one
//! finds that out before its next write, since every write asks first; nothing is sent to it.
//!
//! Other kinds of targets (a runtime whose engine is far away) become further variants of
//! [`Lease`]. Must not know what is steered.

mod file;

pub use file::FileLease;

use crate::model::Clean;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a look at a marker may take: it comes before every write, an abort's too.
const LOOK: Duration = Duration::from_millis(500);

/// Who holds a target, as its marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine's name.
    pub host: Clean,
    /// That machine's boot, by the kernel's random id: tells a reboot from a running engine.
    pub boot: String,
    /// Which user the engine runs as.
    pub user: Clean,
    /// The engine's process, unique over all machines.
    pub engine: String,
    /// Its process id there.
    pub pid: u32,
    /// Since when, Unix ms.
    pub since_ms: u64,
}

impl Holder {
    /// For people: who and where; the caller adds since when.
    pub fn words(&self) -> Clean {
        Clean::new(&format!(
            "the engine of {} on {} (pid {})",
            self.user, self.host, self.pid
        ))
    }
}

/// Why an engine may not write to a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Another engine holds it.
    #[error("{} holds it", .0.words())]
    Held(Holder),
    /// Another engine took it over.
    #[error("{} took it over", .0.words())]
    Lost(Holder),
    /// Its marker cannot be read or written, and this engine never held it.
    #[error("{0}")]
    Unknown(Clean),
}

impl NotOurs {
    /// Who has it, where that is known.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Held(holder) | Self::Lost(holder) => Some(holder),
            Self::Unknown(_) => None,
        }
    }
}

/// The right to write to one target. Given back when dropped.
#[derive(Debug, Clone)]
pub enum Lease {
    /// By a file beside it.
    File(Arc<FileLease>),
}

impl Lease {
    /// Whether this engine may write now. Takes a free target; verifies a held one. A target that
    /// is held stays so while its marker merely cannot be looked at: an abort must not hang on a
    /// file system.
    ///
    /// # Errors
    /// [`NotOurs`], with who has it.
    pub async fn check(&self) -> Result<(), NotOurs> {
        let Self::File(lease) = self;
        let (looks, had) = (Arc::clone(lease), lease.is_held());
        let look = tokio::task::spawn_blocking(move || looks.check());
        match timeout(LOOK, look).await {
            Ok(Ok(found)) => found,
            _ if had => Ok(()),
            _ => Err(NotOurs::Unknown(Clean::new(&format!(
                "its marker {} could not be looked at within {LOOK:?}; see the file system",
                lease.path().display()
            )))),
        }
    }

    /// Takes the target from whoever has it, and says who that was. Lasts until somebody else does
    /// the same.
    ///
    /// # Errors
    /// When the marker cannot be replaced; whoever had the target still has it then.
    pub async fn take_over(&self) -> io::Result<Option<Holder>> {
        let Self::File(lease) = self;
        let lease = Arc::clone(lease);
        let taken = tokio::task::spawn_blocking(move || lease.take_over()).await;
        taken.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
