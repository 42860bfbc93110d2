//! The history: every fact the engine records, in one local SQLite file.
//!
//! `events` is append-only and hash-chained; the deployment tables are projections of it, written
//! in the same transaction. One engine writes ([`History`], usually behind a [`HistoryWriter`]);
//! anybody of the same user reads meanwhile ([`HistoryReader`], [`verify()`]).
//!
//! Must not know how records are decided, folded into a state or acted upon, and has no clock: what
//! it stores carries its time. The chain does not stop root, who may write all of it anew; it shows
//! damage, deleted records, and a file put back from an earlier time.

mod append;
mod backup;
mod chain;
mod checkpoint;
mod error;
mod export;
mod files;
mod head;
mod lock;
mod memory;
mod project;
mod read;
mod rows;
mod schema;
mod start;
mod thread;
mod verify;
mod wal;

pub use backup::{BackupError, Existing, backup};
pub use error::{AppendError, HistoryError, sentence};
pub use export::ExportError;
pub use lock::Holder;
pub use memory::MemoryHistory;
pub use read::{HistoryReader, RolloutRef, RolloutRefError};
pub use thread::{Appended, HistoryWriter, SendError};
pub use verify::{Integrity, Report, verify};

use crate::model::{Clean, Record, Seq, State};
use chain::Link;
use files::{Home, Identity};
use lock::Lock;
use project::Open;
use rusqlite::Connection;
use std::path::Path;

/// A checkpoint of the state is due after this many records, and at each rollout's end.
pub const CHECKPOINT_EVERY: u64 = 1_000;

/// The history, open for writing. Dropping it frees the lock.
#[derive(Debug)]
pub struct History {
    // Declared before the lock: the file is closed before another engine may open it.
    handle: Handle,
    home: Home,
    /// The file that was opened, however its name fares since.
    identity: Identity,
    last: Link,
    checkpointed: Seq,
    _lock: Lock,
}

/// What a start finds.
#[derive(Debug)]
pub struct Opened {
    /// The history, ready to append.
    pub history: History,
    /// The newest checkpoint that is intact, if any.
    pub checkpoint: Option<State>,
    /// The records after it; all of them without one. Their chain holds.
    pub tail: Vec<Record>,
    /// Whether a newer Wheelhouse wrote something this one cannot read: look, do not drive.
    pub newer: bool,
    /// Checkpoints passed over because they were damaged or of another shape.
    pub skipped_checkpoints: usize,
    /// Whether a transaction was cut off when the last engine ended; it was dropped.
    pub torn: bool,
}

/// The connection, until its first failure.
#[derive(Debug)]
enum Handle {
    Live(Box<Live>),
    Dead {
        why: Clean,
        /// Kept open, untouched: while it is, no other connection takes the frames of the failed
        /// commit for durable ones.
        kept: Option<Connection>,
    },
}

#[derive(Debug)]
struct Live {
    connection: Connection,
    open: Open,
}

impl History {
    /// Opens the history in `state_dir`, making what is missing, with modes 0700 and 0600 whatever
    /// the umask. Reads the newest intact checkpoint and the records after it, and proves their
    /// chain; the cost does not depend on the length of the history.
    ///
    /// # Errors
    /// [`HistoryError::Locked`] when another engine has it; any other when it cannot be trusted or
    /// read. Nothing was written then.
    pub fn open(state_dir: &Path, holder: &Holder) -> Result<Opened, HistoryError> {
        start::open(state_dir, holder)
    }

    /// The last durable record; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.last.seq
    }

    /// The record of the newest checkpoint; 0 without one.
    pub fn checkpointed(&self) -> Seq {
        self.checkpointed
    }

    /// Makes a fresh handle, live or dead as the old one may be: reads the last record again,
    /// proves its hash, and has everything written to the disk anew, as an fsync that failed once
    /// says nothing about what it was to write. Returns the last durable seq.
    ///
    /// # Errors
    /// As [`History::open`]; also when records that were acknowledged are missing. The handle is
    /// dead then.
    pub fn reopen(&mut self) -> Result<Seq, HistoryError> {
        start::reopen(self)
    }
}
