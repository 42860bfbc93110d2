//! Checkpoints of the folded state, so that a start reads the tail and not the whole history.
//!
//! A checkpoint that is damaged, or whose shape this version does not know, is passed over: the
//! records behind it say the same.

use super::chain::{self, Hash, Link};
use crate::model::{Seq, State};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

/// The shape of [`State`] as checkpoints hold it. Raised whenever an old one would no longer fold
/// to the same.
const STATE_SCHEMA: u32 = 1;

/// Old checkpoints are only a second chance; more than a few help nobody.
const KEPT: i64 = 8;

/// One checkpoint as stored.
pub(super) struct Checkpoint {
    seq: Seq,
    schema: u32,
    event_hash: Hash,
    state: Vec<u8>,
    hash: Hash,
}

impl Checkpoint {
    /// Encodes the state after the record at `link`.
    pub(super) fn of(state: &State, link: Link) -> serde_json::Result<Self> {
        let mut checkpoint = Self {
            seq: link.seq,
            schema: STATE_SCHEMA,
            event_hash: link.hash,
            state: serde_json::to_vec(state)?,
            hash: [0; 32],
        };
        checkpoint.hash = checkpoint.compute();
        Ok(checkpoint)
    }

    /// Stores it and forgets the oldest.
    pub(super) fn store(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO checkpoints (seq, schema, event_hash, state, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                self.seq,
                self.schema,
                self.event_hash,
                self.state,
                self.hash
            ])?;
        transaction
            .prepare_cached(
                "DELETE FROM checkpoints WHERE seq <=
                 (SELECT seq FROM checkpoints ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([KEPT])
            .map(drop)
    }

    /// Where it stands.
    pub(super) fn link(&self) -> Link {
        Link {
            seq: self.seq,
            hash: self.event_hash,
        }
    }

    /// Whether its bytes are those that were stored.
    pub(super) fn is_intact(&self) -> bool {
        self.hash == self.compute()
    }

    /// Its state; `None` if it is damaged or of another shape.
    pub(super) fn state(&self) -> Option<State> {
        if self.schema != STATE_SCHEMA || !self.is_intact() {
            return None;
        }
        serde_json::from_slice::<State>(&self.state)
            .ok()
            .filter(|state| state.seq == self.seq)
    }

    fn compute(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.seq.to_be_bytes());
        hasher.update(u64::from(self.schema).to_be_bytes());
        hasher.update(self.event_hash);
        chain::add_sized(&mut hasher, &self.state);
        hasher.finalize().into()
    }
}

/// The newest checkpoint before `below`. In a damaged table a row may stand out of order; that is
/// an error, so that a walk downwards ends.
pub(super) fn newest_below(
    connection: &Connection,
    below: i64,
) -> rusqlite::Result<Option<Checkpoint>> {
    connection
        .prepare_cached(
            "SELECT seq, schema, event_hash, state, hash FROM checkpoints
             WHERE seq < ?1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([below], |row| {
            let seq: i64 = row.get(0)?;
            if seq >= below {
                return Err(rusqlite::Error::IntegralValueOutOfRange(0, seq));
            }
            Ok(Checkpoint {
                seq: row.get(0)?,
                schema: row.get(1)?,
                event_hash: row.get(2)?,
                state: row.get(3)?,
                hash: row.get(4)?,
            })
        })
        .optional()
}
