//! Cuts what a stage writes into lines, and makes them safe at the door. Pure.
//!
//! Must not know where lines go.

use crate::model::Clean;
use std::borrow::Cow;

/// Longest line kept, in bytes as written; the rest is counted.
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024;
/// Shorter parts of a secret are not looked for in lines: they would hide ordinary words.
const MASK_BYTES_MIN: usize = 6;

/// The line under way.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    line: Vec<u8>,
    /// Bytes of this line that were not kept.
    cut: usize,
}

impl Cutter {
    /// Takes bytes; hands on each line they complete, with the bytes that it lost.
    pub(super) fn feed(&mut self, bytes: &[u8], mut complete: impl FnMut(&[u8], usize)) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let is_whole = pieces.peek().is_some();
            if is_whole && self.line.is_empty() && self.cut == 0 && piece.len() <= LINE_BYTES_MAX {
                complete(piece, 0);
                continue;
            }
            self.extend(piece);
            if is_whole {
                complete(&self.line, self.cut);
                self.line.clear();
                self.cut = 0;
            }
        }
    }

    /// The last line, if it was not ended.
    pub(super) fn end(&mut self, mut complete: impl FnMut(&[u8], usize)) {
        if !self.line.is_empty() {
            complete(&self.line, self.cut);
        }
        self.line.clear();
        self.cut = 0;
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX - self.line.len();
        let kept = piece.len().min(room);
        self.line.extend_from_slice(&piece[..kept]);
        self.cut += piece.len() - kept;
    }
}

/// What must not be seen in a stage's output: its secrets.
#[derive(Clone, Default)]
pub(super) struct Masks {
    /// What is looked for, and the secret's name; longest first.
    words: Vec<(String, String)>,
}

impl Masks {
    /// Has a secret looked for, each of its lines by itself.
    pub(super) fn add(&mut self, name: &str, secret: &str) {
        let parts = secret.lines().map(str::trim);
        let parts = parts.filter(|part| part.len() >= MASK_BYTES_MIN);
        self.words
            .extend(parts.map(|part| (part.to_owned(), name.to_owned())));
        self.words
            .sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    }

    /// The text with its secrets named instead of shown.
    pub(super) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for (word, name) in &self.words {
            if shown.contains(word.as_str()) {
                shown = Cow::Owned(shown.replace(word.as_str(), &format!("[secret {name}]")));
            }
        }
        shown
    }
}

/// A line as it is kept: one that was written over itself is what it was last, colours are left
/// out, everything else that is no text becomes visible.
pub(super) fn clean(line: &[u8], cut: usize, masks: &Masks) -> Clean {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let last = line.rsplit(|byte| *byte == b'\r').next();
    let text = String::from_utf8_lossy(last.unwrap_or(line));
    let text = masks.hide(&text);
    let text = without_colours(&text);
    match cut {
        0 => Clean::new(&text),
        cut => Clean::new(&format!("{text}…(+{cut})")),
    }
}

/// Leaves out `ESC [ … m`, which says nothing but how to draw.
fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains("\x1b[") {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        let behind = &rest[at + 2..];
        let end = behind.find(|c: char| !(c.is_ascii_digit() || c == ';'));
        match end {
            Some(end) if behind[end..].starts_with('m') => rest = &behind[end + 1..],
            _ => {
                plain.push('\x1b');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(String, usize)> {
        let mut cutter = Cutter::default();
        let mut lines = Vec::new();
        let mut take = |line: &[u8], cut| {
            lines.push((String::from_utf8_lossy(line).into_owned(), cut));
        };
        for chunk in chunks {
            cutter.feed(chunk, &mut take);
        }
        cutter.end(&mut take);
        lines
    }

    #[test]
    fn lines_come_out_whole_however_the_bytes_arrive() {
        let lines = cut(&[b"on", b"e\n\ntwo\nthr", b"ee"]);
        let texts: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(texts, ["one", "", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_counted() {
        let chunk = vec![b'x'; 1_000_000];
        let lines = cut(&[&chunk, &chunk, b"\nnext\n"]);
        assert_eq!(lines[0].0.len(), LINE_BYTES_MAX);
        assert_eq!(lines[0].1, 2_000_000 - LINE_BYTES_MAX);
        assert_eq!(lines[1], ("next".to_owned(), 0));
    }

    #[test]
    fn a_line_is_cleaned_without_colours_and_as_it_was_last_written() {
        for (line, shown) in [
            (&b"\x1b[1;31merror\x1b[0m: no"[..], "error: no"),
            (b"10 %\r50 %\r100 %\r", "100 %"),
            (b"\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
            (b"\x1b[2J\xff", "␛[2J\u{fffd}"),
            (b"cut \x1b[", "cut ␛["),
        ] {
            assert_eq!(clean(line, 0, &Masks::default()).as_str(), shown);
        }
        let long = clean(b"x", 7, &Masks::default());
        assert_eq!(long.as_str(), "x…(+7)");
    }

    #[test]
    fn secrets_are_named_instead_of_shown_and_short_ones_hide_no_ordinary_words() {
        let mut masks = Masks::default();
        masks.add("TOKEN", "hunter2-token");
        masks.add("KEY", "-----BEGIN-----\nabcdefgh\n");
        masks.add("PIN", "12");
        let hidden = masks.hide("got hunter2-token, abcdefgh and 12");
        assert_eq!(hidden, "got [secret TOKEN], [secret KEY] and 12");
    }
}
