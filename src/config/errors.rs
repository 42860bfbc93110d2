//! What is wrong with a configuration: every fault with its file, line, key and mend.
//!
//! Faults are collected, never thrown: reading goes on after each, so that one run of
//! `config check` shows them all. Must not know which keys exist.

use super::file::Files;
use super::tree::Place;
use crate::model::Clean;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Faults kept; a file that has more is not a configuration, and the rest is only counted.
pub const ERRORS_MAX: usize = 500;

/// Longest part of a configuration quoted in a text, in characters.
const QUOTE_MAX: usize = 64;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file, as its path was given.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Clean::new(&self.file.to_string_lossy());
        write!(f, "{file}:{}:{}", self.line, self.column)
    }
}

/// One fault. Warnings have the same shape; they prevent nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub position: Position,
    /// The key's path as written, e.g. `service.web.canary.steps`; empty for a whole file.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.position)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, "\n  {}\n  mend: {}", self.what, self.mend)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A fault of a whole file.
    pub fn of_file(file: &Path, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            position: Position {
                file: file.to_owned(),
                line: 1,
                column: 1,
            },
            key: String::new(),
            what: what.into(),
            mend: mend.into(),
        }
    }

    /// The fault as JSON, with the keys `file`, `line`, `column`, `key`, `what` and `mend`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": Clean::new(&self.position.file.to_string_lossy()),
            "line": self.position.line,
            "column": self.position.column,
            "key": self.key,
            "what": self.what,
            "mend": self.mend,
        })
    }
}

/// Every fault of a configuration, by file, line and column. Shown as one block each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// The faults as a JSON array of [`ConfigError::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(ConfigError::to_json).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Text of a configuration inside quotes, made safe to show and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", Clean::line(text, QUOTE_MAX))
}

/// Collects faults and warnings while a configuration is read.
///
/// The same fault is kept once, however often its place is read: a default in `[canary]` is read
/// again for each service.
pub(super) struct Problems<'a> {
    files: &'a Files,
    errors: RefCell<Found>,
    warnings: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    kept: BTreeSet<Fault>,
    more: usize,
}

/// Ordered by where it is first, so that a set of them reads from top to bottom.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    file: usize,
    offset: usize,
    key: String,
    what: String,
    mend: String,
}

impl<'a> Problems<'a> {
    pub(super) fn new(files: &'a Files) -> Self {
        Self {
            files,
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Records a fault.
    pub(super) fn error(&self, place: &Place, what: impl Into<String>, mend: impl Into<String>) {
        Self::keep(&self.errors, place, what.into(), mend.into());
    }

    /// Records something doubtful that prevents nothing.
    pub(super) fn warning(&self, place: &Place, what: impl Into<String>, mend: impl Into<String>) {
        Self::keep(&self.warnings, place, what.into(), mend.into());
    }

    fn keep(found: &RefCell<Found>, place: &Place, what: String, mend: String) {
        let mut found = found.borrow_mut();
        if found.kept.len() >= ERRORS_MAX {
            found.more += 1;
            return;
        }
        found.kept.insert(Fault {
            file: place.file,
            offset: place.offset,
            key: place.key.to_string(),
            what,
            mend,
        });
    }

    /// A place for people, as `file:line`.
    pub(super) fn line_of(&self, place: &Place) -> String {
        let position = self.position(place);
        let file = Clean::new(&position.file.to_string_lossy());
        format!("{file}:{}", position.line)
    }

    /// A place for people.
    pub(super) fn position(&self, place: &Place) -> Position {
        self.files.position(place.file, place.offset)
    }

    /// A path written at a place, made absolute.
    pub(super) fn absolute(&self, place: &Place, written: &str) -> PathBuf {
        self.files.absolute(place.file, written)
    }

    /// All faults and all warnings, in the order of the text.
    pub(super) fn finish(self) -> (Vec<ConfigError>, Vec<ConfigError>) {
        let list = |found: Found| {
            let mut list: Vec<_> = found
                .kept
                .into_iter()
                .map(|fault| located(self.files, fault))
                .collect();
            if let (more @ 1.., Some(last)) = (found.more, list.last_mut()) {
                last.mend.push_str(&format!(" (and {more} more faults)"));
            }
            list
        };
        (
            list(self.errors.into_inner()),
            list(self.warnings.into_inner()),
        )
    }
}

fn located(files: &Files, fault: Fault) -> ConfigError {
    ConfigError {
        position: files.position(fault.file, fault.offset),
        key: fault.key,
        what: fault.what,
        mend: fault.mend,
    }
}
