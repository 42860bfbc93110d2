//! Proof of a whole history, read-only, while an engine runs or none does.
//!
//! Everything is read: the chain from the first record, the projections against records folded
//! anew, the checkpoints, the head, SQLite's own structure.

use super::chain::{Link, Stored};
use super::error::{HistoryError, sqlite};
use super::files::{Home, io_error};
use super::project::{Row, Rows};
use super::wal::{self, Log};
use super::{checkpoint, head, lock, rows, schema, start};
use crate::model::{Clean, Entry, RolloutId, Seq};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;

/// What was found, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrity {
    /// Everything is as it was recorded.
    Whole,
    /// The last transaction was cut off; nobody was told that it is durable, unless the file was
    /// damaged later. An engine drops it when it starts.
    TornTail {
        /// Bytes of the write-ahead log that are whole.
        offset: u64,
    },
    /// The record does not fit the chain; what stands before it does.
    Broken {
        /// The first bad record.
        seq: Seq,
        /// What does not fit.
        why: Clean,
    },
    /// Records are missing that the head vouches for: the file was cut, or put back from an
    /// earlier time.
    Truncated {
        /// The record the head vouches for.
        head: Seq,
        /// The last one there is.
        last: Seq,
    },
    /// A deployment row is not what the records say.
    ProjectionDiffers {
        /// Which row or table, and how.
        what: Clean,
    },
    /// A checkpoint is not what was stored. A start passes it over.
    CheckpointDamaged {
        /// Its record.
        seq: Seq,
    },
    /// The file's structure is damaged, though its records are whole.
    FileDamaged {
        /// What was found.
        why: Clean,
    },
}

/// What a verification looked at, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Records whose chain holds, from the first.
    pub records: Seq,
    /// The record the head vouches for; `None` without a head.
    pub head: Option<Seq>,
    /// Checkpoints looked at.
    pub checkpoints: u64,
    /// Deployments compared; `None` when records of a newer version made that impossible.
    pub deployments: Option<u64>,
    /// How it ended.
    pub integrity: Integrity,
}

/// Verifies the history in `state_dir`. Takes time in proportion to its length.
///
/// # Errors
/// When nothing can be read at all: no history, no permission, a newer layout.
pub fn verify(state_dir: &Path) -> Result<Report, HistoryError> {
    let home = Home::at(state_dir);
    let path = home.db();
    if !path.exists() {
        return Err(HistoryError::Missing { path });
    }
    let mut report = Report {
        records: 0,
        head: None,
        checkpoints: 0,
        deployments: None,
        integrity: Integrity::Whole,
    };
    report.integrity = match examine(&home, &mut report) {
        Ok(()) => Integrity::Whole,
        Err(Stop::Found(integrity)) => integrity,
        Err(Stop::Failed(HistoryError::Broken { seq, why })) => Integrity::Broken {
            seq,
            why: Clean::new(why),
        },
        Err(Stop::Failed(HistoryError::Truncated { head, last })) => {
            Integrity::Truncated { head, last }
        }
        Err(Stop::Failed(error @ (HistoryError::Newer { .. } | HistoryError::Io { .. }))) => {
            return Err(error);
        }
        Err(Stop::Failed(error)) => Integrity::FileDamaged {
            why: super::sentence(&error),
        },
    };
    Ok(report)
}

/// Why an examination ends early.
enum Stop {
    Found(Integrity),
    Failed(HistoryError),
}

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self::Failed(error)
    }
}

fn examine(home: &Home, report: &mut Report) -> Result<(), Stop> {
    // A running engine may be half-way through a commit; only a log at rest can be judged.
    let log = match lock::is_held(home) {
        true => Log::Whole,
        false => look_at_log(home)?,
    };
    // The head is read before the records: it may lag behind them, but never run ahead.
    let head = head::read(home)?;
    report.head = head.map(|link| link.seq);
    let path = home.db();
    let connection = schema::connect_reader(&path)?;
    let _moment = connection
        .unchecked_transaction()
        .map_err(sqlite("read the history"))?;
    let (last, folded) = walk(&connection, &mut report.records)?;
    if let Some(head) = head {
        start::check_vouched(&connection, head, last.seq)?;
    }
    if start::tip(&connection)? != last {
        return Err(Stop::Failed(HistoryError::Broken {
            seq: last.seq + 1,
            why: "it was recorded, but is missing",
        }));
    }
    schema::check(&connection, &path)?;
    if let Some(folded) = folded {
        report.deployments = Some(folded.len() as u64);
        compare(&connection, &folded)?;
    }
    report.checkpoints = check_checkpoints(&connection)?;
    check_structure(&connection)?;
    match log {
        Log::Whole => Ok(()),
        Log::Torn { offset } => Err(Stop::Found(Integrity::TornTail { offset })),
        Log::Damaged { offset } => Err(Stop::Failed(HistoryError::Log {
            path: home.wal(),
            offset,
        })),
    }
}

fn look_at_log(home: &Home) -> Result<Log, HistoryError> {
    let path = home.wal();
    wal::look(&path).map_err(|source| io_error("read", &path, source))
}

/// The deployments as the records say they are.
type Folded = BTreeMap<RolloutId, Row>;

/// Walks the whole chain. The rows are `None` where a newer version's records were met.
fn walk(connection: &Connection, seen: &mut Seq) -> Result<(Link, Option<Folded>), HistoryError> {
    let unreadable = |seq| HistoryError::Broken {
        seq,
        why: "it cannot be read",
    };
    let mut last = Link::ORIGIN;
    let mut rows = Some(Rows::default());
    let mut statement = connection
        .prepare(&format!(
            "SELECT {} FROM events ORDER BY seq",
            Stored::COLUMNS
        ))
        .map_err(sqlite("read the records"))?;
    let stored = statement
        .query_map((), Stored::from_row)
        .map_err(sqlite("read the records"))?;
    for stored in stored {
        let stored = stored.map_err(|_| unreadable(last.seq + 1))?;
        last = stored.follows(last)?;
        *seen = last.seq;
        let record = stored.record();
        if record.entry == Entry::Unknown {
            rows = None;
        }
        if let Some(rows) = &mut rows {
            rows.fold(&record);
        }
    }
    Ok((last, rows.map(Rows::into_map)))
}

fn compare(connection: &Connection, folded: &Folded) -> Result<(), Stop> {
    let differs = |what: String| {
        Stop::Found(Integrity::ProjectionDiffers {
            what: Clean::new(&what),
        })
    };
    for (table, rows) in rows::counts(connection).map_err(sqlite("count the deployments"))? {
        if rows != folded.len() as u64 {
            let records = folded.len();
            return Err(differs(format!(
                "{table} has {rows} rows, the records make {records}"
            )));
        }
    }
    let stored = rows::select(connection, "ORDER BY e.number", ())
        .map_err(|error| differs(format!("a deployment cannot be read: {error}")))?;
    if stored.len() != folded.len() {
        return Err(differs(
            "the tables' rows do not belong together".to_owned(),
        ));
    }
    for row in &stored {
        let (id, number) = (row.shown.id, row.shown.number);
        let Some(meant) = folded.get(&id) else {
            return Err(differs(format!("no record began deployment {id}")));
        };
        if let Some(column) = meant.difference(row) {
            return Err(differs(format!(
                "{column} of deployment {number} ({id}) is not what the records say"
            )));
        }
    }
    Ok(())
}

fn check_checkpoints(connection: &Connection) -> Result<u64, Stop> {
    let mut below = i64::MAX;
    let mut checked = 0;
    while let Some(found) =
        checkpoint::newest_below(connection, below).map_err(sqlite("read a checkpoint"))?
    {
        let link = found.link();
        let stands = start::record_at(connection, link.seq)?.map(|event| event.hash);
        if !found.is_intact() || stands != Some(link.hash) {
            return Err(Stop::Found(Integrity::CheckpointDamaged { seq: link.seq }));
        }
        checked += 1;
        below = i64::try_from(link.seq).unwrap_or(0);
    }
    Ok(checked)
}

fn check_structure(connection: &Connection) -> Result<(), Stop> {
    let damaged = |why: &str| {
        Stop::Found(Integrity::FileDamaged {
            why: Clean::new(why),
        })
    };
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))
        .map_err(sqlite("check the file"))?;
    if verdict != "ok" {
        return Err(damaged(&verdict));
    }
    let orphan = connection
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut statement| statement.exists(()))
        .map_err(sqlite("check the file"))?;
    match orphan {
        true => Err(damaged("a row refers to a deployment that is not there")),
        false => Ok(()),
    }
}
