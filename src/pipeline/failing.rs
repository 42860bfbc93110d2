//! Which line of a stage's output most likely says why it failed, and how its program ended, in
//! words. Pure.

use crate::model::Clean;
use regex::Regex;

/// Longest reason, in characters.
pub(super) const WHY_CHARS_MAX: usize = 300;

/// Words of lines that say why.
const WORDS: &str = r"(?i)error|failed|panicked|fatal";
/// Lines that have such a word and say the contrary: the summary of a linter.
const NOT: &str = r"(?i)\b(?:0|no) (?:errors?|failed|failures?)\b";

/// Looks at lines as they come.
#[derive(Debug)]
pub(super) struct Failing {
    words: Regex,
    not: Regex,
    said: Option<Clean>,
    newest: Option<Clean>,
}

impl Failing {
    /// Nothing was written yet.
    pub(super) fn new() -> Self {
        let of = |text| Regex::new(text).expect("invariant: a constant pattern");
        Self {
            words: of(WORDS),
            not: of(NOT),
            said: None,
            newest: None,
        }
    }

    /// Takes a line.
    pub(super) fn take(&mut self, line: &Clean) {
        let text = line.as_str();
        if text.trim().is_empty() {
            return;
        }
        if self.words.is_match(text) && !self.not.is_match(text) {
            self.said = Some(line.clone());
        }
        self.newest = Some(line.clone());
    }

    /// The line that most likely says why: the last one that speaks of an error, else the last.
    pub(super) fn line(&self) -> Option<&Clean> {
        self.said.as_ref().or(self.newest.as_ref())
    }

    /// The newest line that is not empty.
    pub(super) fn newest(&self) -> Option<&Clean> {
        self.newest.as_ref()
    }

    /// A reason: how it ended, and the line that says why.
    pub(super) fn why(&self, ended: &str) -> Clean {
        match self.line() {
            None => Clean::line(ended, WHY_CHARS_MAX),
            Some(line) => {
                let text = format!("{ended}: {}", line.as_str().trim());
                Clean::line(&text, WHY_CHARS_MAX)
            }
        }
    }
}

/// A program's exit code in words. Containers and shells report a signal as 128 and its number.
pub(super) fn exit_words(code: i32) -> String {
    match code - 128 {
        signal @ (6 | 9 | 11) => format!("exit code {code} ({})", signal_words(signal)),
        _ => format!("exit code {code}"),
    }
}

/// A program's end by a signal in words.
pub(super) fn signal_words(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => return "killed by SIGKILL (out of memory?)".to_owned(),
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("killed by signal {other}"),
    };
    format!("killed by {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(lines: &[&str]) -> String {
        let mut failing = Failing::new();
        for line in lines {
            failing.take(&Clean::new(line));
        }
        failing.why("exit code 1").into_string()
    }

    #[test]
    fn the_failing_line_is_the_last_that_speaks_of_an_error_else_the_last() {
        for (lines, said) in [
            (&["one", "two", "", "  "][..], "exit code 1: two"),
            (
                &["error[E0308]: mismatched types", "  --> src/a.rs", "bye"],
                "exit code 1: error[E0308]: mismatched types",
            ),
            (
                &["thread 'a' panicked at b", "test result: FAILED. 1 passed"],
                "exit code 1: test result: FAILED. 1 passed",
            ),
            (
                &["FATAL: no database", "0 errors, 3 warnings", "no failures"],
                "exit code 1: FATAL: no database",
            ),
            (&[], "exit code 1"),
        ] {
            assert_eq!(why(lines), said);
        }
        let long = why(&[&"x".repeat(5_000)]);
        assert!(long.chars().count() < WHY_CHARS_MAX + 20, "{long}");
    }

    #[test]
    fn ends_have_words() {
        assert_eq!(exit_words(3), "exit code 3");
        let killed = exit_words(137);
        assert!(killed.contains("out of memory"), "{killed}");
        assert_eq!(signal_words(11), "killed by SIGSEGV");
        assert_eq!(signal_words(64), "killed by signal 64");
    }
}
