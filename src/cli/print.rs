//! The only place that writes to the terminal outside the console.

use serde::Serialize;
use std::io::{self, Write};

/// Prints a line; a reader that went away ends the output, not the command.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads the output any more");
    }
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => self::error(&format!("cannot be shown as JSON: {error}")),
    }
}

/// Prints a line for people to standard error.
pub(super) fn error(text: &str) {
    to_stderr(&format!("wheelhouse: {text}"));
}

/// Prints a text as it is to standard error; editors find `file:line` only at a line's beginning.
pub(super) fn to_stderr(text: &str) {
    let mut out = io::stderr().lock();
    if writeln!(out, "{text}").is_err() {
        tracing::debug!("nobody reads the errors any more");
    }
}

/// A time of day in UTC: `12:03:42`.
pub(super) fn time_of_day(at_ms: u64) -> String {
    stamp(at_ms, "%H:%M:%S")
}

/// A date and time in UTC: `2026-11-20 12:03:42`.
pub(super) fn date_time(at_ms: u64) -> String {
    stamp(at_ms, "%Y-%m-%d %H:%M:%S")
}

fn stamp(at_ms: u64, format: &str) -> String {
    jiff::Timestamp::from_millisecond(at_ms as i64)
        .map(|time| time.strftime(format).to_string())
        .unwrap_or_else(|_| at_ms.to_string())
}
