//! Cuts a stream of bytes into clean lines of bounded length. Pure.

use super::LINE_MAX_BYTES;
use crate::model::Clean;

/// The line under way.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    /// Bytes of this line that were not kept.
    cut: usize,
}

impl Lines {
    /// Takes bytes; returns the lines they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Clean> {
        let mut complete = Vec::new();
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece);
            if pieces.peek().is_some() {
                complete.push(self.take());
            }
        }
        complete
    }

    /// The last line, if it was not ended.
    pub fn end(&mut self) -> Option<Clean> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = LINE_MAX_BYTES - self.line.len();
        let kept = piece.len().min(room);
        self.line.extend_from_slice(&piece[..kept]);
        self.cut += piece.len() - kept;
    }

    fn take(&mut self) -> Clean {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let clean = match self.cut {
            0 => Clean::bytes(line),
            cut => Clean::new(&format!("{}…(+{cut})", String::from_utf8_lossy(line))),
        };
        self.line.clear();
        self.cut = 0;
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_bytes_arrive() {
        let mut lines = Lines::default();
        assert!(lines.feed(b"on").is_empty());
        let complete = lines.feed(b"e\r\n\ntwo \xff\x1b[31m\nthr");
        let texts: Vec<&str> = complete.iter().map(Clean::as_str).collect();
        assert_eq!(texts, ["one", "", "two \u{fffd}␛[31m"]);
        assert_eq!(lines.end().expect("unended").as_str(), "thr");
        assert_eq!(lines.end(), None);
    }

    #[test]
    fn a_line_without_end_is_cut_and_says_how_much_is_missing() {
        let mut lines = Lines::default();
        for _ in 0..1_000 {
            assert!(lines.feed(&[b'x'; 1_000]).is_empty());
        }
        assert!(lines.line.capacity() <= 2 * LINE_MAX_BYTES);
        let complete = lines.feed(b"\n");
        let missing = 1_000_000 - LINE_MAX_BYTES;
        assert!(
            complete[0].as_str().ends_with(&format!("x…(+{missing})")),
            "the end of the line says what is missing"
        );
    }
}
