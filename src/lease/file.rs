//! A marker in a directory: a locked file that says who locked it.

use super::{Holder, NotOurs};
use crate::model::Clean;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A marker says six short things; more is not ours.
const MARKER_BYTES_MAX: u64 = 4 * 1024;

/// A marker that is replaced while it is being opened is opened anew, at most so often.
const ATTEMPTS: u32 = 4;

/// A lease by a file. Blocks on the file system.
#[derive(Debug)]
pub struct FileLease {
    path: PathBuf,
    me: Holder,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
enum Standing {
    /// Not held yet, or held by another.
    Waiting,
    /// Held: this file is locked, and it is the one at the path.
    Held(File),
    /// Taken over by another engine: it stays so until a person takes it back.
    Lost(Holder),
}

impl FileLease {
    /// A lease on what this marker stands beside. Nothing is touched yet.
    pub fn new(path: PathBuf, me: Holder) -> Self {
        Self {
            path,
            me,
            standing: Mutex::new(Standing::Waiting),
        }
    }

    /// The marker.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was held when last looked at.
    pub(super) fn is_held(&self) -> bool {
        // Somebody who is looking at it right now has it, or will say so.
        self.standing
            .try_lock()
            .map_or(true, |standing| matches!(*standing, Standing::Held(_)))
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`super::Lease::check`].
    pub(super) fn check(&self) -> Result<(), NotOurs> {
        let mut standing = self.lock();
        match &*standing {
            Standing::Lost(holder) => return Err(NotOurs::Lost(holder.clone())),
            Standing::Held(file) => match fs::symlink_metadata(&self.path) {
                Ok(found) if is_same(&found, file) => return Ok(()),
                Ok(_) => {
                    let holder = read_holder(&self.path);
                    *standing = Standing::Lost(holder.clone());
                    return Err(NotOurs::Lost(holder));
                }
                // Somebody tidied up: the marker is made anew, unless another was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Nothing shows that it is another's.
                Err(_) => return Ok(()),
            },
            Standing::Waiting => {}
        }
        let was_held = matches!(*standing, Standing::Held(_));
        match self.claim() {
            Ok(file) => {
                *standing = Standing::Held(file);
                Ok(())
            }
            Err(NotOurs::Held(holder)) if was_held => {
                *standing = Standing::Lost(holder.clone());
                Err(NotOurs::Lost(holder))
            }
            Err(NotOurs::Unknown(_)) if was_held => Ok(()),
            Err(not_ours) => Err(not_ours),
        }
    }

    /// Locks and signs the marker, if it is free.
    fn claim(&self) -> Result<File, NotOurs> {
        for _ in 0..ATTEMPTS {
            let mut file = match open(&self.path) {
                Ok(file) => file,
                // Another user's marker: its owner and age say who.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(match fs::symlink_metadata(&self.path) {
                        Ok(_) => NotOurs::Held(read_holder(&self.path)),
                        Err(_) => self.unknown(&error),
                    });
                }
                Err(error) => return Err(self.unknown(&error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(NotOurs::Held(read_holder(&self.path))),
                Err(error) => return Err(self.unknown(&error)),
            }
            let is_there = fs::symlink_metadata(&self.path).is_ok_and(|at| is_same(&at, &file));
            if !is_there {
                continue;
            }
            if let Some(holder) = parse(&mut file)
                && self.is_elsewhere(&holder)
            {
                return Err(NotOurs::Held(holder));
            }
            return match self.sign(&mut file) {
                Ok(()) => Ok(file),
                Err(error) => Err(self.unknown(&error)),
            };
        }
        Err(NotOurs::Unknown(
            "its marker is being replaced; look again".into(),
        ))
    }

    /// Whether a marker was written where this machine's locks do not show: on another machine
    /// that may still run. The same boot shares our locks, the same machine in another boot is
    /// gone.
    fn is_elsewhere(&self, holder: &Holder) -> bool {
        holder.boot != self.me.boot && holder.host != self.me.host
    }

    fn sign(&self, file: &mut File) -> io::Result<()> {
        let text = serde_json::to_vec(&self.me)?;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&text)?;
        file.sync_all()
    }

    fn unknown(&self, error: &dyn std::fmt::Display) -> NotOurs {
        NotOurs::Unknown(Clean::new(&format!(
            "its marker {} cannot be had ({error}); let this engine's user write into that \
             directory",
            self.path.display()
        )))
    }

    /// As [`super::Lease::take_over`].
    pub(super) fn take_over(&self) -> io::Result<Option<Holder>> {
        let mut standing = self.lock();
        let from = match fs::symlink_metadata(&self.path) {
            Ok(_) => Some(read_holder(&self.path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", self.me.engine));
        let fresh = PathBuf::from(name);
        let mut file = open(&fresh)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.sign(&mut file)?;
        fs::rename(&fresh, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        *standing = Standing::Held(file);
        Ok(from.filter(|holder| holder.engine != self.me.engine))
    }
}

impl Drop for FileLease {
    /// Gives the target back: a marker that stays would only puzzle people.
    fn drop(&mut self) {
        if let Standing::Held(file) = &*self.lock()
            && fs::symlink_metadata(&self.path).is_ok_and(|found| is_same(&found, file))
        {
            // The lock ends with the process all the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
}

fn is_same(found: &Metadata, file: &File) -> bool {
    let ours = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    ours.is_ok_and(|ours| ours == (found.dev(), found.ino()))
}

fn parse(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(MARKER_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Who holds a marker: as it says, else as far as its owner and age do.
fn read_holder(path: &Path) -> Holder {
    let written = File::open(path).ok().and_then(|mut file| parse(&mut file));
    written.unwrap_or_else(|| {
        let found = fs::symlink_metadata(path).ok();
        let uid = found.as_ref().map_or(0, MetadataExt::uid);
        let since_s = found.map_or(0, |found| found.mtime());
        Holder {
            host: "this machine or another".into(),
            boot: String::new(),
            user: Clean::new(&format!("uid {uid}")),
            engine: String::new(),
            pid: 0,
            process: None,
            since_ms: u64::try_from(since_s).unwrap_or(0) * 1_000,
        }
    })
}

#[cfg(test)]
mod tests;
