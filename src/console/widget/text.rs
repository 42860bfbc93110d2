//! Text to measure: cutting, padding, wrapping by cells, and times of day.

use crate::console::theme::Symbols;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cells a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to `max` cells, with a mark where something is missing.
pub fn fit(text: &str, max: usize, symbols: &Symbols) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(symbols.cut.width());
    let mut out = take(text, room).to_owned();
    if max > 0 {
        out.push_str(symbols.cut);
    }
    out
}

/// As [`fit`], filled up with blanks on the right.
pub fn left(text: &str, cells: usize, symbols: &Symbols) -> String {
    let text = fit(text, cells, symbols);
    let blanks = cells.saturating_sub(text.width());
    text + &" ".repeat(blanks)
}

/// As [`fit`], filled up with blanks on the left.
pub fn right(text: &str, cells: usize, symbols: &Symbols) -> String {
    let text = fit(text, cells, symbols);
    " ".repeat(cells.saturating_sub(text.width())) + &text
}

/// The longest beginning that takes at most `max` cells.
pub fn take(text: &str, max: usize) -> &str {
    let mut cells = 0;
    for (at, c) in text.char_indices() {
        cells += c.width().unwrap_or(0);
        if cells > max {
            return &text[..at];
        }
    }
    text
}

/// What is left after the first `cells` cells.
pub fn skip(text: &str, cells: usize) -> &str {
    &text[take(text, cells).len()..]
}

/// The text in lines of at most `max` cells, broken between words where there are any.
pub fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        let line = lines.last().map_or(0, |line| line.width());
        let blank = usize::from(line > 0);
        if line + blank + word.width() <= max {
            if let Some(line) = lines.last_mut() {
                line.push_str(&" ".repeat(blank));
                line.push_str(word);
            }
            continue;
        }
        if line > 0 {
            lines.push(String::new());
        }
        while word.width() > max {
            // A character wider than the line still has to go somewhere.
            let piece = match take(word, max) {
                "" => word.chars().next().map_or(word.len(), char::len_utf8),
                piece => piece.len(),
            };
            if let Some(line) = lines.last_mut() {
                line.push_str(&word[..piece]);
            }
            word = &word[piece..];
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    lines
}

/// A time of day in UTC: `12:03:42`.
pub fn time_of_day(at_ms: u64) -> String {
    let s = at_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// A day and time in UTC: `11-20 12:03`.
pub fn day_and_time(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| time.strftime("%m-%d %H:%M").to_string())
        .unwrap_or_default()
}

/// A figure with its unit: `0.34 %`, `448 ms`, `82.5 /s`.
pub fn figure(value: f64, unit: &str) -> String {
    match unit {
        "%" => format!("{value:.2} %"),
        "ms" if value > 0.0 && value < 10.0 => format!("{value:.1} ms"),
        "/s" if value < 100.0 => format!("{value:.1} /s"),
        unit => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_cells_not_bytes() {
        assert_eq!(fit("abcdef", 4, &Symbols::UTF8), "abc…");
        assert_eq!(fit("日本語", 4, &Symbols::UTF8), "日…");
        assert_eq!(fit("abc", 0, &Symbols::UTF8), "");
        assert_eq!(left("é", 3, &Symbols::ASCII), "é  ");
        assert_eq!(skip("日本語", 2), "本語");
    }

    #[test]
    fn wrapping_breaks_between_words_and_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本", 1).concat(), "日本");
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn times_and_figures_read_well() {
        assert_eq!(time_of_day(1_700_000_000_000), "22:13:20");
        assert_eq!(day_and_time(1_700_000_000_000), "11-14 22:13");
        assert_eq!(figure(0.337, "%"), "0.34 %");
        assert_eq!(figure(448.2, "ms"), "448 ms");
        assert_eq!(figure(82.46, "/s"), "82.5 /s");
    }
}
