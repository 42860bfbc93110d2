//! What instances say: the newest lines in memory for readers, and a file of bounded size.
//!
//! A reader's position counts lines from the host's start and goes on over restarts of an
//! instance, so that following a server's log shows the next release too. Must not know who
//! reads, and never holds up the instance: what cannot be kept is dropped, oldest first.

mod file;
mod lines;

pub use file::{LogFile, LogFiles};
pub use lines::Lines;

use super::wire::{LOG_PAGE_LINES, LogBody};
use crate::model::Clean;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most lines kept in memory per server: some minutes of a busy instance.
pub const RING_LINES: usize = 10_000;
/// Most bytes kept in memory per server; with 256 servers at most 256 MiB.
pub const RING_BYTES: usize = 1024 * 1024;
/// Longest line kept; the rest is counted.
pub const LINE_MAX_BYTES: usize = 8 * 1024;
/// Read from an instance's pipe at once.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Clean>,
    bytes: usize,
    /// Position of the first line here.
    first: u64,
}

impl Ring {
    fn push(&mut self, line: Clean) {
        self.bytes += line.as_str().len();
        self.lines.push_back(line);
        while self.lines.len() > RING_LINES || self.bytes > RING_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.as_str().len();
            self.first += 1;
        }
    }
}

/// One server's log.
#[derive(Debug)]
pub struct Log {
    ring: Mutex<Ring>,
    file: LogFile,
}

impl Log {
    /// An empty log that also goes to a file.
    pub fn new(file: LogFile) -> Self {
        Self {
            ring: Mutex::default(),
            file,
        }
    }

    /// Adds a line of the host's own, marked as such.
    pub fn say(&self, text: &str) {
        self.push(vec![Clean::new(&format!("[wheelhouse] {text}"))]);
    }

    /// Reads an instance's output until its end. Ends early only when the pipe breaks.
    pub async fn follow(&self, mut output: impl AsyncRead + Unpin) {
        let mut lines = Lines::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match output.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => self.push(lines.feed(&buffer[..read])),
            }
        }
        self.push(lines.end().into_iter().collect());
    }

    /// The lines from a position on, at most a page. A position from an earlier host, past the
    /// end, begins at the oldest line.
    pub fn page(&self, from: u64) -> LogBody {
        let ring = self.lock();
        let end = ring.first + ring.lines.len() as u64;
        let begin = if from > end {
            ring.first
        } else {
            from.max(ring.first)
        };
        let offset = usize::try_from(begin - ring.first).unwrap_or(usize::MAX);
        let lines: Vec<Clean> = ring
            .lines
            .iter()
            .skip(offset)
            .take(LOG_PAGE_LINES)
            .cloned()
            .collect();
        LogBody {
            next: begin + lines.len() as u64,
            skipped: begin.saturating_sub(from),
            lines,
        }
    }

    fn push(&self, lines: Vec<Clean>) {
        if lines.is_empty() {
            return;
        }
        self.file.write(&lines);
        let mut ring = self.lock();
        for line in lines {
            ring.push(line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring
            .lock()
            .expect("invariant: nothing panics under a log's lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let files = LogFiles::start().expect("a thread");
        Log::new(files.file(std::path::PathBuf::from("/dev/null")))
    }

    #[tokio::test]
    async fn a_flood_keeps_the_newest_lines_within_both_limits_and_counts_the_lost() {
        let log = log();
        let flood: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        log.follow(flood.as_bytes()).await;
        {
            let ring = log.lock();
            assert!(ring.lines.len() <= RING_LINES && ring.bytes <= RING_BYTES);
        }
        let page = log.page(0);
        assert_eq!(page.skipped, 40_000);
        assert_eq!(page.lines[0].as_str(), "line 40000");
        assert_eq!(page.lines.len(), LOG_PAGE_LINES);
        assert_eq!(log.page(49_999).lines[0].as_str(), "line 49999");

        log.follow("x".repeat(LINE_MAX_BYTES - 1).repeat(400).as_bytes())
            .await;
        let wide = format!("{}\n", "y".repeat(LINE_MAX_BYTES - 1)).repeat(400);
        log.follow(wide.as_bytes()).await;
        assert!(log.lock().bytes <= RING_BYTES);
    }

    #[test]
    fn a_reader_at_the_end_gets_nothing_and_one_from_an_earlier_host_begins_anew() {
        let log = log();
        log.say("started");
        assert_eq!(log.page(1).lines.len(), 0);
        assert_eq!(log.page(1).next, 1);
        let anew = log.page(7_000);
        assert_eq!(anew.lines[0].as_str(), "[wheelhouse] started");
        assert_eq!((anew.next, anew.skipped), (1, 0));
    }
}
