//! Keeps what an attempt of a stage writes: its first lines and its newest ones, in files of bounded
//! size, and reads them again.
//!
//! While it runs, the beginning is in `STAGE.ATTEMPT.log` and the rest in pieces whose name ends with
//! the number of their first line; of those the oldest are dropped. At its end all of it becomes
//! `STAGE.ATTEMPT.log.gz`. A position counts lines from the attempt's first, also those that were
//! dropped. Must not know what a stage is for. Blocks on the file system.

mod read;
#[cfg(test)]
mod tests;

pub(super) use read::page;

use super::failing::Failing;
use super::lines::{self, Cutter, Masks};
use crate::model::Clean;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of the beginning that are always kept.
pub(super) const HEAD_BYTES: u64 = 256 * 1024;
/// Bytes of one piece of the rest.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Whole pieces kept beside the one that is written: the newest 4 MiB at least.
const PIECES_KEPT: usize = 4;
/// Begins the line that stands for those that were dropped; others begin with the time.
const DROPPED: char = '-';

/// A piece of the output on disk.
#[derive(Debug, Clone)]
struct Piece {
    /// The number of its first line.
    first: u64,
    path: PathBuf,
}

/// The output of one attempt while it is written.
pub(super) struct Output {
    base: PathBuf,
    masks: Masks,
    cutter: Cutter,
    failing: Failing,
    newest: Newest,
    kept: Kept,
}

/// The newest line that is not empty, for whoever looks while it is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Newest(Arc<Mutex<Option<Clean>>>);

impl Newest {
    /// The line.
    pub(super) fn get(&self) -> Option<Clean> {
        self.lock().clone()
    }

    fn set(&self, line: &Clean) {
        *self.lock() = Some(line.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Clean>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files.
struct Kept {
    base: PathBuf,
    /// Lines taken so far, also those that were dropped since.
    lines: u64,
    pieces: VecDeque<Piece>,
    open: Option<(BufWriter<File>, u64)>,
    /// Whether people were told that the disk takes nothing.
    is_told: bool,
}

impl Output {
    /// Begins an attempt's output, empty: what an earlier one of this name left is removed.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn begin(base: PathBuf, newest: Newest) -> io::Result<Self> {
        for path in files_of(&base)? {
            fs::remove_file(path)?;
        }
        let file = private(&base)?;
        Ok(Self {
            masks: Masks::default(),
            cutter: Cutter::default(),
            failing: Failing::new(),
            newest,
            kept: Kept {
                base: base.clone(),
                lines: 0,
                pieces: VecDeque::new(),
                open: Some((BufWriter::new(file), 0)),
                is_told: false,
            },
            base,
        })
    }

    /// Has a secret hidden from here on.
    pub(super) fn hide(&mut self, name: &str, secret: &str) {
        self.masks.add(name, secret);
    }

    /// What is hidden.
    pub(super) fn masks(&self) -> &Masks {
        &self.masks
    }

    /// What the lines so far say.
    pub(super) fn failing(&self) -> &Failing {
        &self.failing
    }

    /// Takes bytes of a program.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Self {
            cutter,
            masks,
            failing,
            kept,
            ..
        } = self;
        cutter.feed(bytes, |line, cut| {
            let line = lines::clean(line, cut, masks);
            failing.take(&line);
            kept.write(&line);
        });
        kept.flush();
        self.show_newest();
    }

    /// Adds a line of our own, marked as such. It is no reason for a failure.
    pub(super) fn say(&mut self, text: &str) {
        let text = self.masks.hide(text);
        let line = Clean::new(&format!("[wheelhouse] {text}"));
        self.newest.set(&line);
        self.kept.write(&line);
        self.kept.flush();
    }

    /// Takes the last line where it was not ended.
    pub(super) fn end_line(&mut self) {
        let Self {
            cutter,
            masks,
            failing,
            kept,
            ..
        } = self;
        cutter.end(|line, cut| {
            let line = lines::clean(line, cut, masks);
            failing.take(&line);
            kept.write(&line);
        });
        kept.flush();
        self.show_newest();
    }

    fn show_newest(&self) {
        if let Some(line) = self.failing.newest() {
            self.newest.set(line);
        }
    }

    /// Ends it: from here on it is one compressed file.
    pub(super) fn end(mut self) {
        self.end_line();
        self.kept.close();
        if let Err(error) = compress(&self.base) {
            let path = self.base.display();
            tracing::warn!(%path, %error, "a stage's output stays uncompressed");
        }
    }
}

impl Kept {
    fn write(&mut self, line: &Clean) {
        let number = self.lines;
        self.lines += 1;
        if let Err(error) = self.try_write(number, line) {
            // What was half written is dropped with what follows, until there is room again.
            self.open = None;
            if !self.is_told {
                let path = self.base.display();
                tracing::warn!(%path, %error, "a stage's output cannot be kept");
            }
            self.is_told = true;
        }
    }

    fn try_write(&mut self, number: u64, line: &Clean) -> io::Result<()> {
        let text = format!("{} {}\n", now_ms(), line.as_str());
        let bytes = text.len() as u64;
        let is_head = self.pieces.is_empty();
        let limit = if is_head { HEAD_BYTES } else { PIECE_BYTES };
        let fits = |open: &(BufWriter<File>, u64)| open.1 + bytes <= limit;
        if !self.open.as_ref().is_some_and(fits) {
            self.next_piece(number)?;
        }
        if let Some((file, written)) = &mut self.open {
            file.write_all(text.as_bytes())?;
            *written += bytes;
        }
        Ok(())
    }

    fn next_piece(&mut self, first: u64) -> io::Result<()> {
        self.close();
        let path = piece_path(&self.base, first);
        self.open = Some((BufWriter::new(private(&path)?), 0));
        self.pieces.push_back(Piece { first, path });
        if self.pieces.len() > PIECES_KEPT + 1
            && let Some(oldest) = self.pieces.pop_front()
        {
            fs::remove_file(oldest.path)?;
        }
        Ok(())
    }

    fn flush(&mut self) {
        let flushed = self.open.as_mut().map(|(file, _)| file.flush());
        if let Some(Err(error)) = flushed {
            tracing::debug!(%error, "a stage's output cannot be flushed");
            self.open = None;
        }
    }

    fn close(&mut self) {
        self.flush();
        self.open = None;
    }
}

fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}

/// A new file that only its owner reads.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

fn piece_path(base: &Path, first: u64) -> PathBuf {
    with_end(base, &format!(".{first}"))
}

fn packed_path(base: &Path) -> PathBuf {
    with_end(base, ".gz")
}

fn with_end(base: &Path, end: &str) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

/// The pieces on disk, the beginning first.
fn pieces_of(base: &Path) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for path in files_of(base)? {
        let name = path.as_os_str().to_string_lossy();
        let end = name.strip_prefix(&*base.as_os_str().to_string_lossy());
        let first = match end {
            Some("") => Some(0),
            Some(end) => end.strip_prefix('.').and_then(|number| number.parse().ok()),
            None => None,
        };
        if let Some(first) = first {
            pieces.push(Piece { first, path });
        }
    }
    pieces.sort_by_key(|piece| (piece.first, piece.path.clone()));
    Ok(pieces)
}

/// Every file of an attempt.
fn files_of(base: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (base.parent(), base.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let name = name.to_string_lossy().into_owned();
    let is_ours = |end: &str| {
        let number = end.strip_prefix('.').unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        end.is_empty() || is_number || end == ".gz" || end == ".gz.new"
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        if found.strip_prefix(&name).is_some_and(is_ours) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Makes one compressed file of an attempt's pieces. Does nothing where that was done.
///
/// # Errors
/// When the disk does not take it; the pieces stay then.
pub(super) fn compress(base: &Path) -> io::Result<()> {
    let pieces = pieces_of(base)?;
    if pieces.is_empty() {
        return Ok(());
    }
    let fresh = with_end(base, ".gz.new");
    let mut packed = GzEncoder::new(private(&fresh)?, Compression::default());
    let mut next = 0;
    for piece in &pieces {
        if piece.first > next {
            let lost = piece.first - next;
            writeln!(packed, "{DROPPED}{lost} lines were not kept")?;
            next = piece.first;
        }
        let mut file = BufReader::new(File::open(&piece.path)?);
        next += read::copy_whole_lines(&mut file, &mut packed)?;
    }
    packed.finish()?.sync_data()?;
    fs::rename(&fresh, packed_path(base))?;
    for piece in &pieces {
        fs::remove_file(&piece.path)?;
    }
    Ok(())
}
