//! Export: one record per line, with its hashes, for other tools and for ever.

use super::chain::{self, Link, Stored};
use super::error::{HistoryError, sqlite};
use super::read::HistoryReader;
use crate::model::Seq;
use serde::de::IgnoredAny;
use std::io::{self, Write};

/// Why an export stopped. What was written before is whole lines of intact records.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The history cannot be read, or its chain does not hold.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The reader of the export went away, or its disk is full.
    #[error("cannot write the export; check the pipe or the disk")]
    Write(#[from] io::Error),
}

impl HistoryReader {
    /// Writes every record as one line of JSON: `seq`, `at_ms`, `actor`, `kind`, `entry`,
    /// `prev_hash`, `hash`; actor and entry are the stored bytes. The chain is proved on the way.
    /// Returns how many were written.
    ///
    /// # Errors
    /// At the first record that does not fit the chain, and when `out` cannot be written.
    pub fn export_jsonl(&self, out: &mut dyn Write) -> Result<u64, ExportError> {
        let doing = "read the records";
        let mut statement = self
            .connection()
            .prepare(&format!(
                "SELECT {} FROM events ORDER BY seq",
                Stored::COLUMNS
            ))
            .map_err(sqlite(doing))?;
        let rows = statement
            .query_map((), Stored::from_row)
            .map_err(sqlite(doing))?;
        let mut last = Link::ORIGIN;
        for stored in rows {
            let stored = stored.map_err(sqlite(doing))?;
            last = stored.follows(last)?;
            write_line(out, &stored)?;
        }
        out.flush()?;
        Ok(last.seq)
    }
}

fn write_line(out: &mut dyn Write, stored: &Stored) -> Result<(), ExportError> {
    let actor = one_json_value(&stored.actor, stored.seq)?;
    let entry = one_json_value(&stored.body, stored.seq)?;
    // A kind that matches its body's may still hold anything: it is quoted.
    let kind = serde_json::to_string(&stored.kind).map_err(io::Error::other)?;
    writeln!(
        out,
        r#"{{"seq":{},"at_ms":{},"actor":{actor},"kind":{kind},"entry":{entry},"prev_hash":"{}","hash":"{}"}}"#,
        stored.seq,
        stored.at_ms,
        chain::to_hex(&stored.prev_hash),
        chain::to_hex(&stored.hash),
    )?;
    Ok(())
}

/// Whoever forges a chain anew shall not forge lines with it: stored texts go out only as one
/// JSON value on one line.
fn one_json_value(text: &str, seq: Seq) -> Result<&str, HistoryError> {
    let whole = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if whole && !text.contains(['\n', '\r']) {
        return Ok(text);
    }
    Err(HistoryError::Broken {
        seq,
        why: "it is not one line of JSON",
    })
}
