//! Reading while an engine writes, or while none runs: lists, one deployment, pages of records.
//!
//! Each call sees one consistent moment. Nothing here takes the lock or changes the file.

use super::chain::Stored;
use super::error::{HistoryError, sqlite};
use super::files::Home;
use super::project::Row;
use super::{rows, schema, start};
use crate::model::entry::DeploymentRow;
use crate::model::state::Requested;
use crate::model::{Clean, Entry, Record, RequestId, RolloutId, RolloutNumber, Seq, State};
use rusqlite::Connection;
use std::path::Path;
use std::str::FromStr;

/// Records of evidence read after a rollout's end: more than its instances can leave.
const LATE_EVIDENCE_MAX: u32 = 256;

/// A rollout as people name it: `#1841`, `1841` or its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutRef {
    /// By its number.
    Number(RolloutNumber),
    /// By its identity.
    Id(RolloutId),
}

/// Why a text names no rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no rollout: give its number, as #12, or its UUID")]
pub struct RolloutRefError(Clean);

impl FromStr for RolloutRef {
    type Err = RolloutRefError;

    fn from_str(text: &str) -> Result<Self, RolloutRefError> {
        if let Ok(number) = text.strip_prefix('#').unwrap_or(text).parse() {
            return Ok(Self::Number(RolloutNumber(number)));
        }
        text.parse()
            .map(|id| Self::Id(RolloutId(id)))
            .map_err(|_| RolloutRefError(Clean::line(text, 64)))
    }
}

/// A read-only view of the history.
#[derive(Debug)]
pub struct HistoryReader {
    connection: Connection,
}

impl HistoryReader {
    /// Opens the history in `state_dir` for reading.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] where nothing was recorded yet; others when it cannot be read.
    pub fn open(state_dir: &Path) -> Result<Self, HistoryError> {
        let path = Home::at(state_dir).db();
        if !path.exists() {
            return Err(HistoryError::Missing { path });
        }
        let connection = schema::connect_reader(&path)?;
        if schema::is_blank(&connection)? {
            return Err(HistoryError::Missing { path });
        }
        schema::check(&connection, &path)?;
        Ok(Self { connection })
    }

    /// The newest deployments, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, limit: u32) -> Result<Vec<DeploymentRow>, HistoryError> {
        rows::select(&self.connection, "ORDER BY e.number DESC LIMIT ?1", [limit])
            .map(|rows| rows.into_iter().map(|row| row.shown).collect())
            .map_err(sqlite("list the deployments"))
    }

    /// One deployment; `None` when there is none by that name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(&self, which: RolloutRef) -> Result<Option<DeploymentRow>, HistoryError> {
        Ok(self.row(which)?.map(|row| row.shown))
    }

    /// One deployment with every record of its placement from its first to its last, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn show(
        &self,
        which: RolloutRef,
    ) -> Result<Option<(DeploymentRow, Vec<Record>)>, HistoryError> {
        // One transaction, so that the row and its records are of the same moment.
        let _moment = self
            .connection
            .unchecked_transaction()
            .map_err(sqlite("read a deployment"))?;
        let Some(row) = self.row(which)? else {
            return Ok(None);
        };
        let to = row.finished_seq.unwrap_or(i64::MAX as u64);
        let mut records = self.stored(row.started_seq, to, u32::MAX)?;
        records.extend(self.evidence(to)?.into_iter().filter(|record| {
            let number = Some(row.shown.number);
            matches!(&record.entry, Entry::EvidenceKept { rollout, .. } if *rollout == number)
        }));
        records.retain(|record| {
            record.entry.placement().is_some_and(|placement| {
                placement.service.as_str() == row.shown.service
                    && placement.environment.as_str() == row.shown.environment
            })
        });
        Ok(Some((row.shown, records)))
    }

    /// The deploy that a request began, whenever that was. Its cost grows with the number of
    /// deployments, so the state's newest are to be asked first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn requested(&self, id: &RequestId) -> Result<Option<Requested>, HistoryError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT e.number, e.service || '@' || d.environment, d.version
                 FROM deployment_details e
                 JOIN deployments d ON d.id = e.deployment_id
                 JOIN events v ON v.seq = e.started_seq
                 WHERE json_extract(v.body, '$.request_id') = ?1 ORDER BY e.number LIMIT 1",
            )?;
            let mut rows = statement.query([id.as_str()])?;
            let Some(row) = rows.next()? else {
                return Ok(None);
            };
            Ok(Some(Requested {
                id: id.clone(),
                number: RolloutNumber(row.get(0)?),
                placement: rows::parsed(row, 1)?,
                version: rows::parsed(row, 2)?,
            }))
        };
        read().map_err(sqlite("look for a request"))
    }

    /// The records after `after`, in order, at most `limit`: pages for reports.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&self, after: Seq, limit: u32) -> Result<Vec<Record>, HistoryError> {
        self.stored(after.saturating_add(1), i64::MAX as u64, limit)
    }

    /// What the newest state is folded from, as an engine that started now would read it: the
    /// newest intact checkpoint and the records after it, their chain proved.
    ///
    /// # Errors
    /// When the file cannot be read, or cannot be trusted.
    pub fn newest(&self) -> Result<(Option<State>, Vec<Record>), HistoryError> {
        let _moment = self
            .connection
            .unchecked_transaction()
            .map_err(sqlite("read the newest state"))?;
        start::newest(&self.connection)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn row(&self, which: RolloutRef) -> Result<Option<Row>, HistoryError> {
        let found = match which {
            RolloutRef::Number(number) => {
                rows::select(&self.connection, "WHERE e.number = ?1", [number.0])
            }
            RolloutRef::Id(id) => {
                rows::select(&self.connection, "WHERE d.id = ?1", [id.to_string()])
            }
        };
        found
            .map(|rows| rows.into_iter().next())
            .map_err(sqlite("find a deployment"))
    }

    /// Evidence that was recorded after this record: a rollout that is over may still be waiting
    /// for its own.
    fn evidence(&self, after: Seq) -> Result<Vec<Record>, HistoryError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT {} FROM events WHERE seq > ?1 AND kind = 'evidence_kept' ORDER BY seq
                 LIMIT {LATE_EVIDENCE_MAX}",
                Stored::COLUMNS
            ))?;
            let rows = statement.query_map([after], Stored::from_row)?;
            rows.map(|stored| stored.map(|stored| stored.record()))
                .collect::<rusqlite::Result<Vec<Record>>>()
        };
        read().map_err(sqlite("read records"))
    }

    fn stored(&self, from: Seq, to: Seq, limit: u32) -> Result<Vec<Record>, HistoryError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT {} FROM events WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq LIMIT ?3",
                Stored::COLUMNS
            ))?;
            let rows = statement.query_map((from, to, limit), Stored::from_row)?;
            rows.map(|stored| stored.map(|stored| stored.record()))
                .collect::<rusqlite::Result<Vec<Record>>>()
        };
        read().map_err(sqlite("read records"))
    }
}
