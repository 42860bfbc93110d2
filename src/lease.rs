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
//! A daemon that may be far away (Docker's) keeps the marker itself, where no kernel's lock can
//! stand behind it: a process that is gone is found out on its own machine, and everybody
//! elsewhere is believed.
//!
//! Must not know what is steered.

mod daemon;
mod file;
mod process;

pub use daemon::{Board, DaemonLease};
pub use file::FileLease;
pub use process::Process;

use crate::model::Clean;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a look at a marker may take: it comes before every write, an abort's too.
const LOOK: Duration = Duration::from_millis(500);
/// How long a takeover may take where a daemon keeps the marker.
const TAKE: Duration = Duration::from_secs(10);

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
    /// What tells that process from a later one of the same id; older markers do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Box<Process>>,
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

    /// Whether this engine is certainly no more, as far as `me` can see: its process is gone from
    /// the machine we are on, or that machine was started anew since.
    fn is_gone(&self, me: &Self) -> bool {
        if self.boot != me.boot {
            return self.host == me.host && !self.boot.is_empty() && !me.boot.is_empty();
        }
        let process = self.process.as_ref().zip(me.process.as_ref());
        process.is_some_and(|(theirs, mine)| {
            theirs.namespace == mine.namespace && !theirs.runs(self.pid)
        })
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
    /// By a marker that a daemon keeps.
    Daemon(Arc<DaemonLease>),
}

impl Lease {
    /// Whether this engine may write now. Takes a free target; verifies a held one. A target that
    /// is held stays so while its marker merely cannot be looked at: an abort must not hang on a
    /// file system.
    ///
    /// # Errors
    /// [`NotOurs`], with who has it.
    pub async fn check(&self) -> Result<(), NotOurs> {
        match self {
            Self::File(lease) => {
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
            Self::Daemon(lease) => match timeout(LOOK, Arc::clone(lease).check()).await {
                Ok(found) => found,
                Err(_) if lease.is_held() => Ok(()),
                Err(_) => Err(NotOurs::Unknown(Clean::new(&format!(
                    "{} did not show within {LOOK:?} who holds it; see the daemon",
                    lease.words()
                )))),
            },
        }
    }

    /// Takes the target from whoever has it, and says who that was. Lasts until somebody else does
    /// the same.
    ///
    /// # Errors
    /// When the marker cannot be replaced; whoever had the target still has it then.
    pub async fn take_over(&self) -> io::Result<Option<Holder>> {
        match self {
            Self::File(lease) => {
                let lease = Arc::clone(lease);
                let taken = tokio::task::spawn_blocking(move || lease.take_over()).await;
                taken.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Self::Daemon(lease) => timeout(TAKE, lease.take_over())
                .await
                .unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {TAKE:?}")))),
        }
    }

    /// Gives the target back when its engine ends. A file's lock ends by itself.
    pub async fn release(&self) {
        if let Self::Daemon(lease) = self
            && timeout(LOOK, lease.release()).await.is_err()
        {
            tracing::warn!("{} did not take the marker back in time", lease.words());
        }
    }
}
