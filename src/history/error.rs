//! What can go wrong with the history, in words for people: what, where, mend.

use crate::model::{Clean, Seq};
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the history cannot be opened, read or verified.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another engine owns it. The caller ends with exit code 73.
    #[error(
        "{} is in use by another engine: pid {pid}, user {user}, since {}; \
         stop that one first, or use another state directory",
        path.display(), since_text(*since_ms)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The other engine's process; 0 when it has not said.
        pid: u32,
        /// Who runs it.
        user: Clean,
        /// Since when, Unix ms; 0 when it has not said.
        since_ms: u64,
    },
    /// A file or the directory could be changed by somebody else.
    #[error("{} cannot be trusted: {why}", path.display())]
    Unsafe {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and the mend.
        why: &'static str,
    },
    /// Nothing was ever recorded here.
    #[error("there is no history at {}; an engine makes one when it starts", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Only the head is left of it.
    #[error(
        "{} is gone or empty, though history.head says that it was there; \
         restore it from a backup, or remove history.head to begin anew",
        path.display()
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// The file was laid out by a newer Wheelhouse.
    #[error(
        "{} has layout {found}, this version reads layout {known}; use the newer version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// A table, index or trigger is not what this layout has.
    #[error(
        "{object} in {} is not as Wheelhouse made it; \
         find out who changed it with `history verify`, then restore a backup",
        path.display()
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// Which object.
        object: String,
    },
    /// The chain of hashes does not hold.
    #[error("the history is broken at record {seq}: {why}; restore it from a backup")]
    Broken {
        /// The first bad record.
        seq: Seq,
        /// What does not fit.
        why: &'static str,
    },
    /// Records that were there are missing.
    #[error(
        "the history ends at record {last} and does not hold record {head}, which history.head \
         vouches for; restore it from a backup, or remove history.head to accept the loss"
    )]
    Truncated {
        /// The record that was known to be durable.
        head: Seq,
        /// The last one there is.
        last: Seq,
    },
    /// The head cannot be read.
    #[error(
        "{} is damaged; run `history verify`, and if the rest is whole, remove this file",
        path.display()
    )]
    Head {
        /// The head file.
        path: PathBuf,
    },
    /// The write-ahead log lost transactions that were acknowledged.
    #[error(
        "{} is damaged at byte {offset}, with durable records behind it; restore a backup, \
         or move this file away to go on without them",
        path.display()
    )]
    Log {
        /// The write-ahead log.
        path: PathBuf,
        /// The first bad byte.
        offset: u64,
    },
    /// A reader keeps the file from being made durable anew.
    #[error("somebody is reading the history; it cannot be reopened until they are done")]
    Busy,
    /// The operating system refused.
    #[error("cannot {doing} {}; check the disk and the permissions", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {doing}; check the disk, then run `history verify`")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        source: rusqlite::Error,
    },
}

/// Why records could not be appended. Nothing of them is visible in the history.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// An earlier failure ended this handle; nothing was touched. Reopen it.
    #[error("the history is closed since an earlier failure ({why}); it must be reopened")]
    Dead {
        /// That failure.
        why: Clean,
    },
    /// The records do not continue the history; nothing was touched. An error of the caller.
    #[error("record {found} cannot follow: the next one is {expected}; restart the engine")]
    OutOfOrder {
        /// The next free place.
        expected: Seq,
        /// The place that was asked for.
        found: Seq,
    },
    /// A record would not read back as it is; nothing was touched. An error of the caller.
    #[error("record {seq} ({kind}) cannot be stored: {why}; report this as a bug")]
    Unstorable {
        /// Which one.
        seq: Seq,
        /// Its kind.
        kind: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The file was deleted or replaced under us. The handle is dead.
    #[error(
        "{} was deleted or replaced while in use; put it back, or restart the engine",
        path.display()
    )]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// The transaction failed. The handle is dead: an error of fsync is reported only once, so a
    /// second try on the same handle would prove nothing.
    #[error("the history cannot be written; check the disk's space and health")]
    Commit(#[source] rusqlite::Error),
}

/// An error with all its causes in one line, fit for any screen.
pub fn sentence(error: &dyn Error) -> Clean {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    Clean::new(&text)
}

/// Names what SQLite was doing when it failed.
pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> HistoryError {
    move |source| HistoryError::Sqlite { doing, source }
}

fn since_text(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .filter(|ms| *ms > 0)
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "unknown".to_owned(), |at| at.to_string())
}
