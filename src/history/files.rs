//! The directory and the files in it: where they are, whose they are, who may read them.
//!
//! Modes are set explicitly, so the umask decides nothing. The database file is only ever looked
//! at by its path: closing a descriptor of our own would drop the locks SQLite holds on it.

use super::error::HistoryError;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The state directory, resolved, with the names of what is in it.
#[derive(Debug, Clone)]
pub(super) struct Home(PathBuf);

impl Home {
    /// A directory that is only read from.
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf()))
    }

    /// Makes the directory where it is missing, and private; refuses one that others may change.
    pub(super) fn prepare(dir: &Path) -> Result<Self, HistoryError> {
        make_private_dir(dir)?;
        let metadata = look(dir)?;
        if metadata.is_symlink() || !metadata.is_dir() {
            return Err(distrust(
                dir,
                "it must be a directory, not a link; name its target",
            ));
        }
        check_owner(dir, &metadata)?;
        if metadata.mode() & 0o022 != 0 {
            return Err(distrust(
                dir,
                "group or others may write to it; look what is in it, then `chmod 0700` it",
            ));
        }
        set_mode(dir, DIR_MODE)?;
        let resolved = dir
            .canonicalize()
            .map_err(|source| io_error("resolve", dir, source))?;
        Ok(Self(resolved))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    pub(super) fn db(&self) -> PathBuf {
        self.0.join("history.db")
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.0.join("history.db-wal")
    }

    pub(super) fn head(&self) -> PathBuf {
        self.0.join("history.head")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("history.lock")
    }

    /// Makes every file that exists private, and refuses those that are not ours.
    pub(super) fn secure(&self) -> Result<(), HistoryError> {
        let shm = self.0.join("history.db-shm");
        for path in [self.db(), self.wal(), shm, self.head(), self.lock()] {
            secure_file(&path)?;
        }
        Ok(())
    }
}

/// Which file a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The file at `path`; `None` when there is none, or it has another name besides.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        (metadata.is_file() && metadata.nlink() == 1).then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Makes an empty private file unless one is there.
pub(super) fn create_private(path: &Path) -> Result<(), HistoryError> {
    match private_options().create_new(true).open(path) {
        Ok(file) => make_private(&file, path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => secure_file(path),
        Err(source) => Err(io_error("create", path, source)),
    }
}

/// Opens a file for reading and writing, never through a link.
pub(super) fn open_private(path: &Path) -> Result<File, HistoryError> {
    private_options()
        .open(path)
        .map_err(|source| io_error("open", path, source))
}

/// Makes a file that was opened private, whatever the umask.
pub(super) fn make_private(file: &File, path: &Path) -> Result<(), HistoryError> {
    file.set_permissions(Permissions::from_mode(FILE_MODE))
        .map_err(|source| io_error("protect", path, source))
}

/// Options that neither follow a link nor let the umask decide.
pub(super) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(FILE_MODE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

/// Names what was tried on which file.
pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> HistoryError {
    HistoryError::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// Makes the missing part of a path, each directory private.
fn make_private_dir(dir: &Path) -> Result<(), HistoryError> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|part| !part.as_os_str().is_empty() && fs::symlink_metadata(part).is_err())
        .collect();
    for part in missing.into_iter().rev() {
        match DirBuilder::new().mode(DIR_MODE).create(part) {
            Ok(()) => set_mode(part, DIR_MODE)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(io_error("create", part, source)),
        }
    }
    Ok(())
}

fn secure_file(path: &Path) -> Result<(), HistoryError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("look at", path, source)),
    };
    if !metadata.is_file() {
        return Err(distrust(path, "it must be a plain file, not a link"));
    }
    if metadata.nlink() != 1 {
        return Err(distrust(
            path,
            "it has a second name (a hard link); remove that one",
        ));
    }
    check_owner(path, &metadata)?;
    if metadata.mode() & 0o7777 != FILE_MODE {
        set_mode(path, FILE_MODE)?;
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), HistoryError> {
    if metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(distrust(
        path,
        "it belongs to another user; use a directory of your own",
    ))
}

fn look(path: &Path) -> Result<Metadata, HistoryError> {
    fs::symlink_metadata(path).map_err(|source| io_error("look at", path, source))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), HistoryError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|source| io_error("protect", path, source))
}

fn distrust(path: &Path, why: &'static str) -> HistoryError {
    HistoryError::Unsafe {
        path: path.to_path_buf(),
        why,
    }
}
