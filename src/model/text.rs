//! Untrusted text, made safe once, at the door.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text [`Clean::new`] keeps, in characters.
pub const TEXT_MAX: usize = 16 * 1024;

/// Longest word on what is missing: `…(+` a count `)`.
const SUFFIX_MAX: usize = 24;

/// Text that can be shown anywhere: no control characters, no escape sequences, no marks that
/// reorder or hide text. What was there instead stays visible (`␛[31m`, `<U+202E>`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Clean(String);

impl Clean {
    /// Cleans a text of any origin; newlines become visible too.
    pub fn new(untrusted: &str) -> Self {
        Self::cut(untrusted, TEXT_MAX, SUFFIX_MAX)
    }

    /// As [`Clean::new`], cut to `max` characters with a word on how much is missing.
    pub fn line(untrusted: &str, max: usize) -> Self {
        Self::cut(untrusted, max, 0)
    }

    /// Cuts what is longer than `max + slack` characters to `max` and a word on the rest. With
    /// room for that word in the slack, a text that was cut once is not cut again.
    fn cut(untrusted: &str, max: usize, slack: usize) -> Self {
        let mut out = String::with_capacity(untrusted.len().min(max));
        let (mut marks, mut written) = (0, 0);
        let (mut kept_bytes, mut kept_chars) = (0, 0);
        for (i, c) in untrusted.chars().enumerate() {
            marks = if is_combining(c) { marks + 1 } else { 0 };
            if marks > MARKS_MAX {
                continue;
            }
            let before = out.len();
            push_visible(&mut out, c);
            written += out[before..].chars().count();
            if written <= max {
                (kept_bytes, kept_chars) = (out.len(), i + 1);
            } else if written > max + slack {
                let missing = untrusted.chars().count() - kept_chars;
                out.truncate(kept_bytes);
                out.push_str(&format!("…(+{missing})"));
                break;
            }
        }
        Self(out)
    }

    /// Cleans bytes that may not be UTF-8.
    pub fn bytes(untrusted: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(untrusted))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Combining marks kept on one character; more would draw over neighbouring rows.
const MARKS_MAX: usize = 2;

fn push_visible(out: &mut String, c: char) {
    match c {
        '\t' => out.push(' '),
        '\u{0}'..='\u{1f}' => out.push(control_picture(c)),
        '\u{7f}' => out.push('␡'),
        '\u{80}'..='\u{9f}' => out.push_str(&format!("<U+{:04X}>", c as u32)),
        _ if is_hiding(c) => out.push_str(&format!("<U+{:04X}>", c as u32)),
        _ => out.push(c),
    }
}

fn control_picture(c: char) -> char {
    char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')
}

/// Marks that reorder, join or hide the text around them.
fn is_hiding(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_combining(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}'
        | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}')
}

impl From<String> for Clean {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Clean {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<Clean> for String {
    fn from(text: Clean) -> String {
        text.0
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_bidi_marks_become_visible() {
        assert_eq!(Clean::new("\x1b[31mred\x07").as_str(), "␛[31mred␇");
        assert_eq!(
            Clean::new("a\u{202e}b\u{9b}c").as_str(),
            "a<U+202E>b<U+009B>c"
        );
        assert_eq!(Clean::new("one\r\ntwo\tthree").as_str(), "one␍␊two three");
        assert_eq!(Clean::new("\u{e0041}").as_str(), "<U+E0041>");
    }

    #[test]
    fn piled_up_marks_are_cut_and_long_text_says_what_is_missing() {
        let zalgo = format!("a{}", "\u{301}".repeat(10_000));
        assert_eq!(Clean::new(&zalgo).as_str().chars().count(), 3);
        assert_eq!(Clean::line("abcdef", 4).as_str(), "abcd…(+2)");
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        let hostile = "\u{2066}".repeat(TEXT_MAX - 1);
        let long = "a".repeat(TEXT_MAX + 25);
        for text in ["\x1b]52;c;aGk=\x07 \u{2066}x", &hostile, &long] {
            let once = Clean::new(text);
            assert_eq!(Clean::new(once.as_str()), once);
        }
    }
}
