//! Opening the history, and opening it anew after a failure.

use super::chain::{Link, Stored};
use super::error::{HistoryError, sentence, sqlite};
use super::files::{self, Home, Identity, io_error};
use super::lock::{Holder, Lock};
use super::project::Open;
use super::wal::{self, Log};
use super::{Handle, History, Live, Opened, checkpoint, head, rows, schema};
use crate::model::{Clean, Entry, Record, Seq, State};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// The whole start, in the order in which nothing is trusted before it was looked at.
pub(super) fn open(state_dir: &Path, holder: &Holder) -> Result<Opened, HistoryError> {
    let home = Home::prepare(state_dir)?;
    let lock = Lock::acquire(&home, holder)?;
    home.secure()?;
    let head = head::read(&home)?;
    let path = home.db();
    if head.is_some() && !path.exists() {
        return Err(HistoryError::Gone { path });
    }
    let torn = look_at_log(&home)?;
    files::create_private(&path)?;
    let identity = Identity::of(&path).ok_or_else(|| HistoryError::Gone { path: path.clone() })?;
    let mut connection = schema::connect_writer(&path)?;
    if schema::is_blank(&connection)? {
        if head.is_some() {
            return Err(HistoryError::Gone { path });
        }
        schema::create(&mut connection)?;
        head::write(&home, Link::ORIGIN)?;
    }
    schema::check(&connection, &path)?;
    schema::upgrade(&mut connection)?;
    let found = Found::load(&connection)?;
    if let Some(head) = head {
        check_vouched(&connection, head, found.last.seq)?;
    }
    let open = load_open(&connection)?;
    home.secure()?;
    Ok(Opened {
        checkpoint: found.state,
        newer: found.newer,
        tail: found.tail,
        skipped_checkpoints: found.skipped,
        torn,
        history: History {
            handle: Handle::Live(Box::new(Live { connection, open })),
            home,
            identity,
            last: found.last,
            checkpointed: found.checkpointed,
            _lock: lock,
        },
    })
}

/// See [`History::reopen`].
pub(super) fn reopen(history: &mut History) -> Result<Seq, HistoryError> {
    match fresh(history) {
        Ok((live, identity, last)) => {
            // Only now may the old connection go.
            history.handle = Handle::Live(Box::new(live));
            history.identity = identity;
            history.last = last;
            Ok(last.seq)
        }
        Err(error) => {
            history.die(sentence(&error));
            Err(error)
        }
    }
}

fn fresh(history: &mut History) -> Result<(Live, Identity, Link), HistoryError> {
    let path = history.home.db();
    let gone = || HistoryError::Gone { path: path.clone() };
    let identity = Identity::of(&path).ok_or_else(gone)?;
    if identity != history.identity {
        // The old connection knows another file by this name; it must not meet the new one.
        history.die(Clean::new("the file was replaced"));
        history.handle.forget();
    }
    history.home.secure()?;
    let mut connection = schema::connect_writer(&path)?;
    if schema::is_blank(&connection)? {
        return Err(gone());
    }
    schema::check(&connection, &path)?;
    schema::upgrade(&mut connection)?;
    write_anew(&connection)?;
    let last = tip(&connection)?;
    prove_last(&connection, last)?;
    check_vouched(&connection, history.last, last.seq)?;
    let open = load_open(&connection)?;
    Ok((Live { connection, open }, identity, last))
}

/// Copies the whole write-ahead log into the database file, with fsync, and empties it.
fn write_anew(connection: &Connection) -> Result<(), HistoryError> {
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
        .map_err(sqlite("write the history anew"))?;
    if busy == 0 {
        Ok(())
    } else {
        Err(HistoryError::Busy)
    }
}

/// Whether the log's last transaction was cut off.
fn look_at_log(home: &Home) -> Result<bool, HistoryError> {
    let path = home.wal();
    match wal::look(&path).map_err(|source| io_error("read", &path, source))? {
        Log::Whole => Ok(false),
        Log::Torn { .. } => Ok(true),
        Log::Damaged { offset } => Err(HistoryError::Log { path, offset }),
    }
}

/// What the file holds, as far as a start needs it.
struct Found {
    state: Option<State>,
    checkpointed: Seq,
    skipped: usize,
    tail: Vec<Record>,
    last: Link,
    newer: bool,
}

impl Found {
    fn load(connection: &Connection) -> Result<Self, HistoryError> {
        let (base, skipped) = newest_checkpoint(connection)?;
        let (from, state) = match base {
            Some((link, state)) => (link, Some(state)),
            None => (Link::ORIGIN, None),
        };
        let (tail, last) = read_tail(connection, from)?;
        if tip(connection)? != last {
            return Err(HistoryError::Broken {
                seq: last.seq + 1,
                why: "it was recorded, but is missing",
            });
        }
        let unknown = tail.iter().any(|record| record.entry == Entry::Unknown);
        let newer = unknown || state.as_ref().is_some_and(|state| state.newer);
        Ok(Self {
            state,
            checkpointed: from.seq,
            skipped,
            tail,
            last,
            newer,
        })
    }
}

/// The newest checkpoint and the records after it, for whoever only reads.
pub(super) fn newest(
    connection: &Connection,
) -> Result<(Option<State>, Vec<Record>), HistoryError> {
    Found::load(connection).map(|found| (found.state, found.tail))
}

/// The newest checkpoint that is intact and stands on a record the chain has.
fn newest_checkpoint(
    connection: &Connection,
) -> Result<(Option<(Link, State)>, usize), HistoryError> {
    let mut below = i64::MAX;
    let mut skipped = 0;
    loop {
        let found =
            checkpoint::newest_below(connection, below).map_err(sqlite("read a checkpoint"))?;
        let Some(found) = found else {
            return Ok((None, skipped));
        };
        let link = found.link();
        if let Some(state) = found.state()
            && record_at(connection, link.seq)?.is_some_and(|event| event.hash == link.hash)
        {
            return Ok((Some((link, state)), skipped));
        }
        skipped += 1;
        below = i64::try_from(link.seq).unwrap_or(i64::MAX - 1);
    }
}

fn read_tail(connection: &Connection, from: Link) -> Result<(Vec<Record>, Link), HistoryError> {
    let doing = "read the newest records";
    let mut statement = connection
        .prepare(&format!(
            "SELECT {} FROM events WHERE seq > ?1 ORDER BY seq",
            Stored::COLUMNS
        ))
        .map_err(sqlite(doing))?;
    let rows = statement
        .query_map([from.seq], Stored::from_row)
        .map_err(sqlite(doing))?;
    let mut last = from;
    let mut tail = Vec::new();
    for stored in rows {
        let stored = stored.map_err(sqlite(doing))?;
        last = stored.follows(last)?;
        tail.push(stored.record());
    }
    Ok((tail, last))
}

/// The place the newest transaction says it ended at.
pub(super) fn tip(connection: &Connection) -> Result<Link, HistoryError> {
    connection
        .query_row("SELECT seq, hash FROM tip", (), |row| {
            Ok(Link {
                seq: row.get(0)?,
                hash: row.get(1)?,
            })
        })
        .map_err(sqlite("read where the history ends"))
}

/// Proves the last record alone: it is there, intact, and nothing follows it.
fn prove_last(connection: &Connection, last: Link) -> Result<(), HistoryError> {
    let broken = |why| HistoryError::Broken { seq: last.seq, why };
    let newest: Option<Seq> = connection
        .query_row("SELECT max(seq) FROM events", (), |row| row.get(0))
        .map_err(sqlite("read the last record"))?;
    if newest.unwrap_or(0) != last.seq {
        return Err(broken("it is not where the history ends"));
    }
    let Some(stored) = record_at(connection, last.seq)? else {
        return Ok(());
    };
    let before = Link {
        seq: last.seq - 1,
        hash: stored.prev_hash,
    };
    if stored.follows(before)? == last {
        Ok(())
    } else {
        Err(broken("its hash is not the one that was recorded"))
    }
}

/// Whether the history still holds a record that was durable once.
pub(super) fn check_vouched(
    connection: &Connection,
    vouched: Link,
    last: Seq,
) -> Result<(), HistoryError> {
    if vouched.seq == 0 {
        return Ok(());
    }
    let held = record_at(connection, vouched.seq)?.is_some_and(|event| event.link() == vouched);
    if held {
        Ok(())
    } else {
        Err(HistoryError::Truncated {
            head: vouched.seq,
            last,
        })
    }
}

/// One record as stored.
pub(super) fn record_at(connection: &Connection, seq: Seq) -> Result<Option<Stored>, HistoryError> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM events WHERE seq = ?1",
            Stored::COLUMNS
        ))
        .and_then(|mut statement| statement.query_row([seq], Stored::from_row).optional())
        .map_err(sqlite("read a record"))
}

fn load_open(connection: &Connection) -> Result<Open, HistoryError> {
    rows::select(connection, "WHERE d.deployment_status = 'in_progress'", ())
        .map(Open::of)
        .map_err(sqlite("read the open deployments"))
}
