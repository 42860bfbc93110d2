//! The history without a file: the same encoding and the same chain, in memory.
//!
//! For whoever must crash and replay many thousand times a minute. It knows nothing of disks:
//! what is lost and when is up to its owner.

use super::chain::{Link, Stored};
use super::error::{AppendError, HistoryError};
use crate::model::{Record, Seq};

/// Records as they would be stored, hash-chained.
#[derive(Debug, Clone, Default)]
pub struct MemoryHistory {
    rows: Vec<Stored>,
}

impl MemoryHistory {
    /// The last record; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.last().seq
    }

    /// Appends all or nothing. Returns the last seq.
    ///
    /// # Errors
    /// When a record does not follow the last one, or cannot be stored.
    pub fn append(&mut self, records: &[Record]) -> Result<Seq, AppendError> {
        let mut last = self.last();
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let expected = last.seq + 1;
            if record.seq != expected {
                let found = record.seq;
                return Err(AppendError::OutOfOrder { expected, found });
            }
            let row = Stored::encode(record, last)?;
            last = row.link();
            rows.push(row);
        }
        self.rows.extend(rows);
        Ok(last.seq)
    }

    /// Decodes the records after `seq`, proving their chain on the way.
    ///
    /// # Errors
    /// When the chain is broken.
    pub fn read_after(&self, seq: Seq) -> Result<Vec<Record>, HistoryError> {
        let (before, after) = self.rows.split_at((seq as usize).min(self.rows.len()));
        let mut last = before.last().map_or(Link::ORIGIN, Stored::link);
        let mut records = Vec::with_capacity(after.len());
        for row in after {
            last = row.follows(last)?;
            records.push(row.record());
        }
        Ok(records)
    }

    fn last(&self) -> Link {
        self.rows.last().map_or(Link::ORIGIN, Stored::link)
    }
}
