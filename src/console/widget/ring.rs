//! Log lines of bounded number and size; a line keeps its number when older ones go.

use crate::model::Clean;
use crate::view::snapshot::Role;
use std::collections::VecDeque;

/// Lines kept.
pub const LINES_MAX: usize = 20_000;

/// Bytes of text kept.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whose output it is.
    pub server: String,
    /// What role its release had when the line was read.
    pub role: Option<Role>,
    /// The text.
    pub text: Clean,
}

/// The newest lines.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    lines: VecDeque<LogLine>,
    first: u64,
    bytes: usize,
}

impl Ring {
    /// Adds a line; the oldest go where there is no room.
    pub fn push(&mut self, line: LogLine) {
        self.bytes += line.text.as_str().len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(old) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= old.text.as_str().len();
            self.first += 1;
        }
    }

    /// The number of the oldest line kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number after the newest line.
    pub fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    /// A line by its number.
    pub fn get(&self, number: u64) -> Option<&LogLine> {
        let index = number.checked_sub(self.first)?;
        self.lines.get(usize::try_from(index).ok()?)
    }

    /// Forgets everything; numbers go on.
    pub fn clear(&mut self) {
        self.first = self.end();
        self.lines.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_lines_go() {
        let mut ring = Ring::default();
        for n in 0..LINES_MAX + 10 {
            ring.push(LogLine {
                server: "web1".to_owned(),
                role: None,
                text: Clean::new(&n.to_string()),
            });
        }
        assert_eq!(ring.first(), 10);
        assert_eq!(ring.get(9), None);
        let text = ring.get(10).map(|line| line.text.as_str().to_owned());
        assert_eq!(text.as_deref(), Some("10"));
        assert_eq!(ring.end(), LINES_MAX as u64 + 10);
        ring.clear();
        assert_eq!(ring.first(), LINES_MAX as u64 + 10);
    }
}
