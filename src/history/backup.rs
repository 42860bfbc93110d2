//! A copy of the whole history while an engine writes it, proved before it gets its name.
//!
//! One read transaction, so the copy is of one moment and holds up no writer. It is made in a
//! private directory beside its target and moved there only once its chain, its tables and its
//! structure hold; until then the target is not there, or is what it was.

use super::error::{HistoryError, sqlite};
use super::files::{self, Home};
use super::read::HistoryReader;
use super::verify::{Integrity, Report, verify};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What becomes of a file that bears the target's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and there is no backup.
    Keep,
    /// The backup takes its place, in one step.
    Replace,
}

/// Why there is no backup. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of that name is there already.
    #[error("{} is there already; name another file, or say --force", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target is the history itself, or one of its files.
    #[error("{} belongs to the history that is to be backed up; name another file", path.display())]
    Itself {
        /// The target.
        path: PathBuf,
    },
    /// The target names no file.
    #[error("{} names no file; give the backup a file's name", path.display())]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The copy was made, and something is wrong with it: most likely with the history too.
    #[error("the copy is not whole; run `history verify` to see what is wrong with the history")]
    NotWhole {
        /// What was found.
        report: Box<Report>,
    },
    /// The history cannot be read, or the copy cannot be written by SQLite.
    #[error(transparent)]
    History(#[from] HistoryError),
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
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |source| BackupError::Io {
        doing,
        path,
        source,
    }
}

/// Writes a copy of the history in `state_dir` to `target`, mode 0600, and proves it. Takes time
/// in proportion to its length.
///
/// # Errors
/// [`BackupError`]; the target is as it was then.
pub fn backup(state_dir: &Path, target: &Path, existing: Existing) -> Result<Report, BackupError> {
    let place = Place::beside(target)?;
    if place.dir == Home::at(state_dir).dir() && place.is_a_history_file() {
        let path = target.to_path_buf();
        return Err(BackupError::Itself { path });
    }
    if existing == Existing::Keep && fs::symlink_metadata(target).is_ok() {
        let path = target.to_path_buf();
        return Err(BackupError::Exists { path });
    }
    let reader = HistoryReader::open(state_dir)?;
    let work = Workshop::open(&place)?;
    let copy = Home::at(&work.0).db();
    files::create_private(&copy)?;
    let name = copy.to_string_lossy();
    reader
        .connection()
        .execute("VACUUM INTO ?1", [&*name])
        .map_err(sqlite("copy the history"))?;
    let report = verify(&work.0)?;
    if report.integrity != Integrity::Whole {
        let report = Box::new(report);
        return Err(BackupError::NotWhole { report });
    }
    let synced = File::open(&copy).and_then(|file| file.sync_all());
    synced.map_err(io_error("write", &copy))?;
    put(&copy, target, existing)?;
    let named = File::open(&place.dir).and_then(|dir| dir.sync_all());
    named.map_err(io_error("name the backup in", &place.dir))?;
    Ok(report)
}

/// Gives the copy its name in one step.
fn put(copy: &Path, target: &Path, existing: Existing) -> Result<(), BackupError> {
    match existing {
        Existing::Replace => fs::rename(copy, target).map_err(io_error("replace", target)),
        // A link is refused where a file came to be meanwhile; a rename would replace it.
        Existing::Keep => match fs::hard_link(copy, target) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(BackupError::Exists {
                path: target.to_path_buf(),
            }),
            ended => ended.map_err(io_error("create", target)),
        },
    }
}

/// Where the target is to be.
struct Place {
    dir: PathBuf,
    name: String,
}

impl Place {
    fn beside(target: &Path) -> Result<Self, BackupError> {
        let no_name = || BackupError::NoName {
            path: target.to_path_buf(),
        };
        let name = target.file_name().ok_or_else(no_name)?;
        let parent = target.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let dir = parent.canonicalize().map_err(io_error("find", parent))?;
        Ok(Self {
            dir,
            name: name.to_string_lossy().into_owned(),
        })
    }

    fn is_a_history_file(&self) -> bool {
        ["history.db", "history.head", "history.lock"]
            .iter()
            .any(|own| self.name.starts_with(own))
    }
}

/// A private directory that is gone in the end, whatever happened in it.
struct Workshop(PathBuf);

impl Workshop {
    fn open(place: &Place) -> Result<Self, BackupError> {
        let name = format!(".{}.{}.partial", place.name, std::process::id());
        let path = place.dir.join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(io_error("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} was left behind: {error}", self.0.display());
        }
    }
}
