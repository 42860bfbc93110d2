//! Writing: one durable transaction per call, and no second try on a handle that failed.

use super::chain::{Link, Stored};
use super::checkpoint::Checkpoint;
use super::error::{AppendError, sentence};
use super::files::Identity;
use super::project::Open;
use super::{Handle, History, Live, head, rows, schema, start};
use crate::model::{Clean, Record, Seq, State};
use rusqlite::{Transaction, TransactionBehavior, params};
use std::mem;

impl History {
    /// Appends records in one transaction and, with `state_after`, a checkpoint of the state they
    /// lead to. They are on the disk when it returns. Returns the last durable seq.
    ///
    /// # Errors
    /// Nothing of the records is visible. After [`AppendError::Commit`] or [`AppendError::Moved`]
    /// the handle is dead until [`History::reopen`]; after [`AppendError::OutOfOrder`] and
    /// [`AppendError::Unstorable`] it lives on.
    pub fn append(
        &mut self,
        records: &[Record],
        state_after: Option<&State>,
    ) -> Result<Seq, AppendError> {
        self.handle.live()?;
        let stored = encode(self.last, records)?;
        let last = stored.last().map_or(self.last, Stored::link);
        let checkpoint = state_after
            .map(|state| encode_checkpoint(state, last))
            .transpose()?;
        if stored.is_empty() && checkpoint.is_none() {
            return Ok(last.seq);
        }
        self.write(|transaction, open| {
            append_all(transaction, &stored)?;
            for change in records.iter().flat_map(|record| open.fold(record)) {
                rows::apply(transaction, &change)?;
            }
            move_tip(transaction, last)?;
            checkpoint
                .as_ref()
                .map_or(Ok(()), |checkpoint| checkpoint.store(transaction))
        })?;
        self.last = last;
        if checkpoint.is_some() {
            self.checkpoint_stored(last.seq);
        }
        Ok(last.seq)
    }

    /// Stores a checkpoint of the state after a record that is durable already.
    ///
    /// # Errors
    /// As [`History::append`].
    pub fn checkpoint(&mut self, state: &State) -> Result<(), AppendError> {
        let link = self.durable(state.seq)?;
        let checkpoint = encode_checkpoint(state, link)?;
        self.write(|transaction, _| checkpoint.store(transaction))?;
        self.checkpoint_stored(link.seq);
        Ok(())
    }

    /// Ends the handle; the old connection stays, untouched, until a fresh one stands.
    pub(super) fn die(&mut self, why: Clean) {
        let gone = Handle::Dead {
            why: why.clone(),
            kept: None,
        };
        self.handle = match mem::replace(&mut self.handle, gone) {
            Handle::Live(live) => {
                let connection = live.connection;
                if let Err(error) = schema::keep_log_on_close(&connection) {
                    tracing::warn!(%error, "SQLite may still tidy up a history that failed");
                }
                Handle::Dead {
                    why,
                    kept: Some(connection),
                }
            }
            Handle::Dead { kept, .. } => Handle::Dead { why, kept },
        };
    }

    /// Runs one transaction; its failure ends the handle.
    fn write(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Open) -> rusqlite::Result<()>,
    ) -> Result<(), AppendError> {
        let path = self.home.db();
        let live = self.handle.live()?;
        let result = if Identity::of(&path) == Some(self.identity) {
            live.transact(work).map_err(AppendError::Commit)
        } else {
            Err(AppendError::Moved { path })
        };
        if let Err(error) = &result {
            self.die(sentence(error));
        }
        result
    }

    /// The chain's link at a record that is durable.
    fn durable(&mut self, seq: Seq) -> Result<Link, AppendError> {
        let last = self.last;
        let live = self.handle.live()?;
        if seq == last.seq && seq > 0 {
            return Ok(last);
        }
        match start::record_at(&live.connection, seq) {
            Ok(Some(event)) => Ok(event.link()),
            _ => Err(AppendError::OutOfOrder {
                expected: last.seq,
                found: seq,
            }),
        }
    }

    /// Notes a checkpoint, and outside the database how far it went. A head that cannot be
    /// written ends the handle: the records are durable, but the disk cannot be trusted with more.
    fn checkpoint_stored(&mut self, seq: Seq) {
        self.checkpointed = self.checkpointed.max(seq);
        if let Err(error) = head::write(&self.home, self.last) {
            self.die(sentence(&error));
        }
    }
}

impl Handle {
    fn live(&mut self) -> Result<&mut Live, AppendError> {
        match self {
            Self::Live(live) => Ok(live),
            Self::Dead { why, .. } => Err(AppendError::Dead { why: why.clone() }),
        }
    }

    /// Lets the connection of a dead handle go.
    pub(super) fn forget(&mut self) {
        if let Self::Dead { kept, .. } = self {
            *kept = None;
        }
    }
}

impl Live {
    fn transact(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Open) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&transaction, &mut self.open)?;
        transaction.commit()
    }
}

/// Encodes records that follow `last`, each in its place.
fn encode(last: Link, records: &[Record]) -> Result<Vec<Stored>, AppendError> {
    let mut after = last;
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        let expected = after.seq + 1;
        if record.seq != expected {
            return Err(AppendError::OutOfOrder {
                expected,
                found: record.seq,
            });
        }
        let stored = Stored::encode(record, after)?;
        after = stored.link();
        all.push(stored);
    }
    Ok(all)
}

fn encode_checkpoint(state: &State, link: Link) -> Result<Checkpoint, AppendError> {
    let refuse = |why| AppendError::Unstorable {
        seq: state.seq,
        kind: "checkpoint",
        why,
    };
    if state.seq != link.seq {
        return Err(refuse("the state is not the one after the last record"));
    }
    Checkpoint::of(state, link).map_err(|_| refuse("the state is no JSON"))
}

fn append_all(transaction: &Transaction<'_>, all: &[Stored]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(&format!(
        "INSERT INTO events ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        Stored::COLUMNS
    ))?;
    for stored in all {
        insert.execute(params![
            stored.seq,
            stored.at_ms,
            stored.actor,
            stored.kind,
            stored.body,
            stored.prev_hash,
            stored.hash,
        ])?;
    }
    Ok(())
}

fn move_tip(transaction: &Transaction<'_>, last: Link) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE tip SET seq = ?1, hash = ?2")?
        .execute(params![last.seq, last.hash])
        .map(drop)
}
