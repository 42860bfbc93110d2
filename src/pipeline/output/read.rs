//! Reads an attempt's output, a page at a time, while it is written and long after.

use super::{DROPPED, packed_path, pieces_of};
use crate::model::Clean;
use crate::ports::LogPage;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

/// Most lines of a page.
pub(in crate::pipeline) const PAGE_LINES: usize = 1_000;
/// Most bytes of a page, so that it fits a frame of the socket with room to spare.
const PAGE_BYTES: usize = 256 * 1024;
/// A page is looked for anew when its files are compressed in between, at most so often.
const ATTEMPTS: u32 = 3;

/// Reads from a position on; `None` where nothing is kept. A page ends where lines were dropped, so
/// that the next one says how many.
///
/// # Errors
/// When a file cannot be read.
pub(in crate::pipeline) fn page(base: &Path, from: u64) -> io::Result<Option<LogPage>> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match try_page(base, from) {
            Err(error) if error.kind() == ErrorKind::NotFound => last = Some(error),
            read => return read,
        }
    }
    match last {
        Some(error) if base.parent().is_some_and(Path::exists) => Err(error),
        _ => Ok(None),
    }
}

fn try_page(base: &Path, from: u64) -> io::Result<Option<LogPage>> {
    let mut reading = Reading::new(from);
    match File::open(packed_path(base)) {
        Ok(file) => {
            let mut lines = BufReader::new(GzDecoder::new(file));
            reading.all(&mut lines)?;
            return Ok(Some(reading.page()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let pieces = pieces_of(base)?;
    if pieces.is_empty() {
        return Ok(None);
    }
    for (index, piece) in pieces.iter().enumerate() {
        let is_before = pieces.get(index + 1).is_some_and(|next| next.first <= from);
        if is_before {
            reading.at = piece.first;
            continue;
        }
        if reading.goes_to(piece.first) == Goes::No {
            break;
        }
        reading.all(&mut BufReader::new(File::open(&piece.path)?))?;
    }
    Ok(Some(reading.page()))
}

/// Whether a page takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    No,
}

/// A page as it fills.
struct Reading {
    from: u64,
    /// The number of the next line.
    at: u64,
    first: Option<u64>,
    lines: Vec<Clean>,
    bytes: usize,
}

impl Reading {
    fn new(from: u64) -> Self {
        Self {
            from,
            at: 0,
            first: None,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Passes over lines that are not kept.
    fn goes_to(&mut self, at: u64) -> Goes {
        if at > self.at && !self.lines.is_empty() {
            return Goes::No;
        }
        self.at = self.at.max(at);
        Goes::On
    }

    fn all(&mut self, lines: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while self.lines.len() < PAGE_LINES && self.bytes < PAGE_BYTES {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            // One that is not whole yet is read next time.
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            if self.line(&String::from_utf8_lossy(text)) == Goes::No {
                break;
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> Goes {
        if let Some(rest) = text.strip_prefix(DROPPED) {
            let lost = rest.split(' ').next().and_then(|word| word.parse().ok());
            return self.goes_to(self.at + lost.unwrap_or(0));
        }
        let number = self.at;
        self.at += 1;
        if number < self.from {
            return Goes::On;
        }
        let (_, text) = text.split_once(' ').unwrap_or(("", text));
        self.first.get_or_insert(number);
        self.bytes += text.len();
        self.lines.push(Clean::new(text));
        Goes::On
    }

    fn page(self) -> LogPage {
        let skipped = self
            .first
            .map_or(0, |first| first.saturating_sub(self.from));
        LogPage {
            next: self.at,
            skipped,
            lines: self.lines,
        }
    }
}

/// Copies the lines that are whole; gives back how many.
pub(super) fn copy_whole_lines(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u64> {
    let (mut line, mut copied) = (Vec::new(), 0);
    loop {
        line.clear();
        from.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(copied);
        }
        to.write_all(&line)?;
        copied += 1;
    }
}
