//! Durations as people write them: `500ms`, `10s`, `1h30m`. Pure text, no clock.

use std::fmt::Write;

/// The units, largest first, with their length in ms.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is no duration; says how to write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// A number without a unit.
    #[error("has a number without a unit")]
    NoUnit,
    /// A unit without a number, or something that is neither.
    #[error("is no duration")]
    NoNumber,
    /// A unit that does not exist.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// The same unit twice, or a larger one after a smaller one.
    #[error("has its units out of order")]
    OutOfOrder,
    /// More than can be counted.
    #[error("is too long")]
    TooLong,
}

/// Reads a duration in ms: whole numbers with `d`, `h`, `m`, `s` or `ms`, largest unit first.
///
/// # Errors
/// When the text is anything else.
pub fn parse_ms(text: &str) -> Result<u64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let (digits, tail) = split_while(rest, |b| b.is_ascii_digit());
        let (unit, tail) = split_while(tail, |b| b.is_ascii_alphabetic());
        if digits.is_empty() {
            return Err(DurationError::NoNumber);
        }
        if unit.is_empty() && tail.is_empty() {
            return Err(DurationError::NoUnit);
        }
        let unit_ms = unit_ms(unit).ok_or(DurationError::UnknownUnit)?;
        if unit_ms >= last_unit {
            return Err(DurationError::OutOfOrder);
        }
        let number: u64 = digits.parse().map_err(|_| DurationError::TooLong)?;
        total = number
            .checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(total))
            .ok_or(DurationError::TooLong)?;
        last_unit = unit_ms;
        rest = tail;
    }
    Ok(total)
}

/// Writes a duration so that [`parse_ms`] reads the same, e.g. `1h30m`; zero is `0s`.
pub fn text(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut out = String::new();
    for (unit, unit_ms) in UNITS {
        if rest >= unit_ms {
            let _infallible = write!(out, "{}{unit}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    out
}

fn unit_ms(unit: &str) -> Option<u64> {
    UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, ms)| *ms)
}

fn split_while(text: &str, wanted: impl Fn(&u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().take_while(|b| wanted(b)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (written, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d1ms", 86_400_001),
        ] {
            assert_eq!(parse_ms(written), Ok(ms));
            assert_eq!(text(ms), written);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_reason() {
        for (written, error) in [
            ("", DurationError::Empty),
            ("10", DurationError::NoUnit),
            ("5m30", DurationError::NoUnit),
            ("s", DurationError::NoNumber),
            ("-5s", DurationError::NoNumber),
            ("1.5h", DurationError::UnknownUnit),
            ("5 m", DurationError::UnknownUnit),
            ("5min", DurationError::UnknownUnit),
            ("5m1h", DurationError::OutOfOrder),
            ("5s5s", DurationError::OutOfOrder),
            ("99999999999999999999s", DurationError::TooLong),
            ("999999999999999999d", DurationError::TooLong),
            ("é", DurationError::NoNumber),
        ] {
            assert_eq!(parse_ms(written), Err(error), "{written:?}");
        }
    }
}
