//! The hash chain, over the bytes as they are stored. Nothing is serialised a second time to be
//! checked, so a change of code can never break an old history.
//!
//! A record's hash is the SHA-256 of: the previous hash (32 bytes; zeros for the first), seq and
//! at_ms (8 bytes big-endian each), then actor, kind and body, each as its length (8 bytes
//! big-endian) and its bytes.

use super::error::{AppendError, HistoryError};
use crate::model::{Actor, Clean, Entry, Record, Seq};
use rusqlite::Row;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The record; 0 before the first.
    pub(super) seq: Seq,
    /// Its hash.
    pub(super) hash: Hash,
}

impl Link {
    /// Before the first record.
    pub(super) const ORIGIN: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

/// Longest body of a record; a smoke report of hundreds of failures stays below it.
const BODY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seq: Seq,
    pub(super) at_ms: u64,
    pub(super) actor: String,
    pub(super) kind: String,
    pub(super) body: String,
    pub(super) prev_hash: Hash,
    pub(super) hash: Hash,
}

impl Stored {
    /// The columns [`Stored::from_row`] reads, in its order.
    pub(super) const COLUMNS: &'static str = "seq, at_ms, actor, kind, body, prev_hash, hash";

    /// Encodes a record that follows `after`, and proves that it reads back as it is.
    pub(super) fn encode(record: &Record, after: Link) -> Result<Self, AppendError> {
        let kind = record.entry.kind();
        let refuse = |why| AppendError::Unstorable {
            seq: record.seq,
            kind,
            why,
        };
        if record.entry == Entry::Unknown {
            return Err(refuse("an unknown entry has lost its content"));
        }
        if i64::try_from(record.at_ms).is_err() {
            return Err(refuse("its time is beyond what the file can hold"));
        }
        let json = |result: serde_json::Result<String>| result.map_err(|_| refuse("it is no JSON"));
        let mut stored = Self {
            seq: record.seq,
            at_ms: record.at_ms,
            actor: json(serde_json::to_string(&record.actor))?,
            kind: kind.to_owned(),
            body: json(serde_json::to_string(&record.entry))?,
            prev_hash: after.hash,
            hash: [0; 32],
        };
        if stored.body.len() > BODY_MAX_BYTES {
            return Err(refuse("it is longer than 4 MiB"));
        }
        stored.hash = stored.compute();
        if stored.tag().as_deref() != Some(kind) || stored.record() != *record {
            return Err(refuse("it would not read back as it is"));
        }
        Ok(stored)
    }

    /// Reads a row of `events`; a value of another type than was written is an error.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            at_ms: row.get(1)?,
            actor: row.get(2)?,
            kind: row.get(3)?,
            body: row.get(4)?,
            prev_hash: row.get(5)?,
            hash: row.get(6)?,
        })
    }

    /// Its place in the chain.
    pub(super) fn link(&self) -> Link {
        Link {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// Whether it may stand right after `after`.
    pub(super) fn follows(&self, after: Link) -> Result<Link, HistoryError> {
        let expected = after.seq + 1;
        let broken = |why| Err(HistoryError::Broken { seq: expected, why });
        if self.seq != expected {
            return broken("it is missing, or not in its place");
        }
        if self.prev_hash != after.hash {
            return broken("it does not follow the record before it");
        }
        if self.hash != self.compute() {
            return broken("its content is not what was recorded");
        }
        if self.tag().as_deref() != Some(self.kind.as_str()) {
            return broken("its kind is not its body's");
        }
        Ok(self.link())
    }

    /// The record. What this version cannot read becomes [`Entry::Unknown`]: look, do not drive.
    pub(super) fn record(&self) -> Record {
        let actor = serde_json::from_str(&self.actor);
        let entry = match &actor {
            Ok(_) => serde_json::from_str(&self.body).unwrap_or(Entry::Unknown),
            Err(_) => Entry::Unknown,
        };
        Record {
            seq: self.seq,
            at_ms: self.at_ms,
            actor: actor.unwrap_or_else(|_| Actor::Person {
                uid: u32::MAX,
                user: Clean::line(&self.actor, ACTOR_MAX_CHARS),
            }),
            entry,
        }
    }

    /// The kind its body names.
    fn tag(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Tag {
            kind: String,
        }
        serde_json::from_str::<Tag>(&self.body)
            .ok()
            .map(|tag| tag.kind)
    }

    fn compute(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.prev_hash);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at_ms.to_be_bytes());
        for part in [&self.actor, &self.kind, &self.body] {
            add_sized(&mut hasher, part.as_bytes());
        }
        hasher.finalize().into()
    }
}

/// An actor this version cannot read is shown as written, up to here.
const ACTOR_MAX_CHARS: usize = 128;

/// Adds bytes with their length, so that no two sequences of parts hash alike.
pub(super) fn add_sized(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// A hash as lower-case hexadecimal.
pub(super) fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash from hexadecimal.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_exactly_these_bytes() {
        let record = Record {
            seq: 3,
            at_ms: 1_700_000_000_000,
            actor: Actor::Engine,
            entry: Entry::HistoryGap {
                since_ms: 7,
                why: Clean::new("no space left"),
            },
        };
        let before = Link {
            seq: 2,
            hash: [0xab; 32],
        };
        let stored = Stored::encode(&record, before).expect("storable");
        let body = br#"{"kind":"history_gap","since_ms":7,"why":"no space left"}"#;
        let mut bytes = vec![0xab; 32];
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 8]);
        bytes.extend(br#""engine""#);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 11]);
        bytes.extend(b"history_gap");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 57]);
        bytes.extend(body);
        assert_eq!(body.len(), 57);
        assert_eq!(stored.hash, Hash::from(Sha256::digest(&bytes)));
        assert_eq!(stored.follows(before).expect("it fits").seq, 3);
        assert_eq!(from_hex(&to_hex(&stored.hash)), Some(stored.hash));
    }

    #[test]
    fn a_record_this_version_cannot_read_is_unknown_but_in_the_chain() {
        for (actor, body, kind) in [
            (r#""engine""#, r#"{"kind":"approved","of":3}"#, "approved"),
            (r#"{"robot":9}"#, r#"{"kind":"history_gap"}"#, "history_gap"),
            (r#""engine""#, r#"{"kind":"held","why":"moon"}"#, "held"),
        ] {
            let mut stored = Stored {
                seq: 1,
                at_ms: 5,
                actor: actor.to_owned(),
                kind: kind.to_owned(),
                body: body.to_owned(),
                prev_hash: [0; 32],
                hash: [0; 32],
            };
            stored.hash = stored.compute();
            stored.follows(Link::ORIGIN).expect("the chain holds");
            assert_eq!(stored.record().entry, Entry::Unknown, "{body}");
            stored.kind = "refused".to_owned();
            stored.hash = stored.compute();
            stored
                .follows(Link::ORIGIN)
                .expect_err("another kind than its body's");
        }
    }
}
