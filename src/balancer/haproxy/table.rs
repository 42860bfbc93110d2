//! The forms HAProxy's replies come in: several answers in one reply, and tables with column
//! names.
//!
//! Must not know what any column means.

use crate::model::{Clean, ServerName};
use std::str::FromStr;

/// Longest piece of a reply that is quoted in an error, in characters.
const QUOTE_MAX: usize = 120;

/// Why a reply gives no reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// HAProxy has no such backend.
    #[error("no backend of this name; add it to haproxy.cfg or correct the configuration")]
    NoBackend,
    /// The socket may not be used for this.
    #[error("permission denied; give the `stats socket` line `level admin`")]
    Denied,
    /// The reply is not what this HAProxy command answers.
    #[error("an answer that makes no sense: {0}")]
    Nonsense(Clean),
}

pub(super) fn nonsense(text: impl AsRef<str>) -> Fault {
    Fault::Nonsense(Clean::line(text.as_ref(), 2 * QUOTE_MAX))
}

pub(super) fn quote(text: &str) -> Clean {
    Clean::line(text.trim(), QUOTE_MAX)
}

/// Splits a reply into the answers to its commands: each ends with an empty line.
pub(super) fn sections<const N: usize>(reply: &str) -> Result<[&str; N], Fault> {
    refusal(reply)?;
    let cut_off = || nonsense(format!("cut off after {} bytes", reply.len()));
    let whole = reply
        .trim_start_matches('\n')
        .strip_suffix("\n\n")
        .ok_or_else(cut_off)?;
    let found: Vec<&str> = whole
        .split("\n\n")
        .map(|part| part.trim_matches('\n'))
        .collect();
    found.try_into().map_err(|found: Vec<&str>| {
        nonsense(format!("{} answers where {N} were asked", found.len()))
    })
}

/// Recognises the texts by which HAProxy refuses to show something.
pub(super) fn refusal(text: &str) -> Result<(), Fault> {
    match text.lines().find(|line| !line.is_empty()).unwrap_or("") {
        "Can't find backend." | "No such proxy." => Err(Fault::NoBackend),
        "Permission denied" => Err(Fault::Denied),
        _ => Ok(()),
    }
}

/// Column names and where they are.
pub(super) struct Columns<'a> {
    names: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(names: Vec<&'a str>) -> Self {
        Self { names }
    }

    pub(super) fn row<'c, 'v>(&'c self, values: Vec<&'v str>) -> Result<Row<'c, 'v>, Fault>
    where
        'a: 'c,
    {
        if values.len() != self.names.len() {
            let (found, wanted) = (values.len(), self.names.len());
            return Err(nonsense(format!(
                "a row of {found} values under {wanted} columns"
            )));
        }
        Ok(Row {
            names: &self.names,
            values,
        })
    }
}

/// One row's values under their names.
pub(super) struct Row<'c, 'v> {
    names: &'c [&'c str],
    values: Vec<&'v str>,
}

impl Row<'_, '_> {
    pub(super) fn text(&self, column: &str) -> Result<&str, Fault> {
        let mut at = self
            .names
            .iter()
            .zip(&self.values)
            .filter(|(name, _)| **name == column);
        match (at.next(), at.next()) {
            (Some((_, value)), None) => Ok(value),
            (None, _) => Err(nonsense(format!("no column {column}"))),
            (Some(_), Some(_)) => Err(nonsense(format!("column {column} twice"))),
        }
    }

    pub(super) fn number<T: FromStr>(&self, column: &str) -> Result<T, Fault> {
        let text = self.text(column)?;
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| nonsense(format!("{column} is {:?}", quote(text).as_str())))
    }

    pub(super) fn count(&self, column: &str) -> Result<u64, Fault> {
        self.number(column)
    }

    pub(super) fn weight(&self, column: &str) -> Result<u16, Fault> {
        match self.number::<u16>(column)? {
            weight @ 0..=256 => Ok(weight),
            weight => Err(nonsense(format!("{column} is {weight}, above 256"))),
        }
    }

    pub(super) fn server(&self, column: &str) -> Result<ServerName, Fault> {
        self.text(column)?
            .parse()
            .map_err(|error| nonsense(format!("{error}")))
    }
}

/// Splits comma-separated text into records; a quoted value may hold commas, doubled quotes and
/// newlines.
pub(super) fn csv(text: &str) -> Result<Vec<Vec<String>>, Fault> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut value = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                value.push('"');
            }
            '"' if quoted || value.is_empty() => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut value)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut value));
                records.push(std::mem::take(&mut record));
            }
            _ => value.push(c),
        }
    }
    if quoted {
        return Err(nonsense("a quoted value that does not end"));
    }
    if !record.is_empty() || !value.is_empty() {
        record.push(value);
        records.push(record);
    }
    Ok(records)
}
