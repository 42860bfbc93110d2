//! A look at SQLite's write-ahead log before SQLite reads it.
//!
//! SQLite drops everything behind the first frame that does not fit, without a word. That is
//! right for a commit that was cut off, and wrong for damage further up: each transaction is on
//! the disk before the next one begins, so where two commits stand behind the damage, at least
//! one of them was acknowledged. Format: <https://sqlite.org/fileformat2.html#walformat>.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// How the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// Empty, absent or whole.
    Whole,
    /// Its last transaction is not whole: nobody was told that it is durable, unless it was
    /// damaged later.
    Torn {
        /// Where the last whole frame ends.
        offset: u64,
    },
    /// Acknowledged transactions are damaged.
    Damaged {
        /// The first bad frame.
        offset: u64,
    },
}

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Reads the log once. Meant for a log nobody writes to.
pub(super) fn look(path: &Path) -> io::Result<Log> {
    match fs::read(path) {
        Ok(bytes) => Ok(judge(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Log::Whole),
        Err(error) => Err(error),
    }
}

fn judge(bytes: &[u8]) -> Log {
    let Some(header) = bytes.get(..HEADER) else {
        // The header is synced before any frame is written.
        return Log::Whole;
    };
    if header.iter().all(|byte| *byte == 0) {
        return Log::Whole;
    }
    let Some(log) = Header::parse(header) else {
        return Log::Damaged { offset: 0 };
    };
    let size = FRAME_HEADER + log.page_bytes;
    let frames: Vec<&[u8]> = bytes[HEADER..].chunks(size).collect();
    let mut sum = log.sum;
    let whole = frames
        .iter()
        .take_while(|frame| log.accepts(frame, size, &mut sum))
        .count();
    let is_commit = |frame: &&[u8]| word(frame, 4) != 0;
    let committed = frames[..whole]
        .iter()
        .rposition(is_commit)
        .map_or(0, |i| i + 1);
    let offset = (HEADER + committed * size) as u64;
    let behind: Vec<&[u8]> = frames[whole..]
        .iter()
        .copied()
        .filter(|frame| log.is_ours(frame))
        .collect();
    match behind.iter().filter(|frame| is_commit(frame)).count() {
        0 if behind.is_empty() && committed == whole => Log::Whole,
        0 | 1 => Log::Torn { offset },
        _ => Log::Damaged { offset },
    }
}

/// What the frames are held against.
struct Header {
    big_endian: bool,
    page_bytes: usize,
    salts: [u32; 2],
    sum: [u32; 2],
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let magic = word(bytes, 0);
        if magic & !1 != 0x377f_0682 || word(bytes, 4) != 3_007_000 {
            return None;
        }
        let big_endian = magic & 1 == 1;
        let page_bytes = word(bytes, 8) as usize;
        let sum = checksum(big_endian, [0, 0], &bytes[..24]);
        let known = [word(bytes, 24), word(bytes, 28)];
        let sane = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        (sane && sum == known).then_some(Self {
            big_endian,
            page_bytes,
            salts: [word(bytes, 16), word(bytes, 20)],
            sum,
        })
    }

    /// Whether a frame is the next whole one; moves the running checksum on.
    fn accepts(&self, frame: &[u8], size: usize, sum: &mut [u32; 2]) -> bool {
        if frame.len() < size || [word(frame, 8), word(frame, 12)] != self.salts {
            return false;
        }
        let after_header = checksum(self.big_endian, *sum, &frame[..8]);
        *sum = checksum(self.big_endian, after_header, &frame[FRAME_HEADER..]);
        *sum == [word(frame, 16), word(frame, 20)]
    }

    /// Whether a frame was written to this generation of the log; one damaged salt does not hide
    /// it. What is left of earlier generations differs in both.
    fn is_ours(&self, frame: &[u8]) -> bool {
        frame.len() >= FRAME_HEADER
            && (word(frame, 8) == self.salts[0] || word(frame, 12) == self.salts[1])
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// SQLite's running checksum over pairs of 32-bit words.
fn checksum(big_endian: bool, start: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let [mut first, mut second] = start;
    for pair in bytes.chunks_exact(8) {
        let (mut a, mut b) = (word(pair, 0), word(pair, 4));
        if !big_endian {
            (a, b) = (a.swap_bytes(), b.swap_bytes());
        }
        first = first.wrapping_add(a).wrapping_add(second);
        second = second.wrapping_add(b).wrapping_add(first);
    }
    [first, second]
}
