//! Reads configuration files from disk, once, with the checks a file that decides what runs
//! deserves: its size, its encoding, and who else could have written it.
//!
//! Must not know what is in them.

use super::errors::{ConfigError, Position};
use rustix::fs::{FileType, Mode, OFlags};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest configuration file read, in bytes. A service takes about 1 kB.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// All files of one configuration, in the order given.
#[derive(Debug, Default)]
pub(super) struct Files {
    list: Vec<File>,
}

/// One file as read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// What is wrong with who may write it; an error where an environment is protected.
    pub(super) exposure: Vec<Exposure>,
    /// Its directory, absolute.
    directory: PathBuf,
    line_starts: Vec<usize>,
}

/// A way in which somebody else may decide what a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exposure {
    pub(super) what: String,
    pub(super) mend: String,
}

impl Files {
    /// Reads every file; the faults of all of them, if there are any.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Vec<ConfigError>> {
        let mut files = Self::default();
        let mut errors = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            if paths[..i].contains(path) {
                errors.push(ConfigError::of_file(
                    path,
                    "this file is given twice",
                    "name it once",
                ));
                continue;
            }
            match read(path) {
                Ok(file) => files.list.push(file),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(files)
        } else {
            Err(errors)
        }
    }

    /// Texts that are in no file, for tests and built-in examples.
    pub(super) fn from_texts(texts: &[(&Path, &str)]) -> Self {
        let list = texts
            .iter()
            .map(|(path, text)| File::new(path, (*text).to_owned(), Vec::new()))
            .collect();
        Self { list }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.list.iter()
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.list.iter().map(|file| file.path.clone()).collect()
    }

    /// A path written in a file: relative ones begin at the file's own directory.
    pub(super) fn absolute(&self, file: usize, written: &str) -> PathBuf {
        match self.list.get(file) {
            Some(file) => file.directory.join(written),
            None => PathBuf::from(written),
        }
    }

    /// Where a byte of a file is for people.
    pub(super) fn position(&self, file: usize, offset: usize) -> Position {
        self.list.get(file).map_or_else(
            || Position {
                file: PathBuf::from("(no file)"),
                line: 1,
                column: 1,
            },
            |file| file.position(offset),
        )
    }

    /// SHA-256 (hex) over all bytes, in order: what `cat FILES | sha256sum` prints.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.list {
            hash.update(file.text.as_bytes());
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl File {
    fn new(path: &Path, text: String, exposure: Vec<Exposure>) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            directory: absolute.parent().unwrap_or(Path::new("/")).to_owned(),
            path: path.to_owned(),
            text,
            exposure,
            line_starts,
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        Position {
            file: self.path.clone(),
            line,
            column: before.chars().count() + 1,
        }
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let cannot = |error: &dyn std::fmt::Display| {
        ConfigError::of_file(
            path,
            format!("cannot be read: {error}"),
            "check the path and its permissions, or name another file with --config",
        )
    };
    let mut exposure = Vec::new();
    // Without NONBLOCK, opening a named pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => {
            exposure.push(Exposure {
                what: "is a symbolic link".to_owned(),
                mend: "name the file it points to with --config".to_owned(),
            });
            rustix::fs::open(path, flags, Mode::empty())
        }
        other => other,
    }
    .map_err(|e| cannot(&e))?;
    let stat = rustix::fs::fstat(&opened).map_err(|e| cannot(&e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigError::of_file(
            path,
            "is not a regular file",
            "write the configuration to a file and name that with --config",
        ));
    }
    exposure.extend(exposure_of(stat.st_mode, stat.st_uid));
    let mut bytes = Vec::new();
    std::fs::File::from(opened)
        .take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| cannot(&e))?;
    let text = text_of(path, bytes)?;
    Ok(File::new(path, text, exposure))
}

/// Who else may write a file of this mode and owner.
fn exposure_of(mode: u32, owner: u32) -> Vec<Exposure> {
    let mut found = Vec::new();
    let writable = Mode::from_raw_mode(mode) & (Mode::WGRP | Mode::WOTH);
    if !writable.is_empty() {
        let who = match (writable.contains(Mode::WGRP), writable.contains(Mode::WOTH)) {
            (true, true) => "its group and all others",
            (true, false) => "its group",
            _ => "all others",
        };
        found.push(Exposure {
            what: format!("can be written by {who}"),
            mend: "take the permission away: chmod go-w FILE".to_owned(),
        });
    }
    let own = rustix::process::geteuid().as_raw();
    if owner != own && owner != 0 {
        found.push(Exposure {
            what: format!("belongs to user {owner}, not to you (user {own}) or root"),
            mend: "make it your own with chown, or use a copy of it".to_owned(),
        });
    }
    found
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(ConfigError::of_file(
            path,
            format!("is larger than {} kB", FILE_MAX_BYTES / 1024),
            "split it into several files, each named with --config",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let file = File::new(path, before, Vec::new());
        ConfigError {
            position: file.position(valid),
            ..ConfigError::of_file(path, "is not UTF-8 from here on", "save it as UTF-8")
        }
    })
}
