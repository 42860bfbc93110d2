//! The fake disk under the history: the real encoding and chain, and all that can go wrong.

use crate::history::MemoryHistory;
use crate::model::{Record, Seq, State};

/// How one append ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Durable,
    /// Nothing of it is durable.
    Lost,
    /// It is durable, although an error is reported.
    ArrivedWithError,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) log: MemoryHistory,
    checkpoint: Option<(Seq, String)>,
    pub(super) fails_until_ms: u64,
    pub(super) arrives: bool,
    pub(super) slow_until_ms: u64,
    pub(super) slow_ms: u64,
    /// After a failure only a fresh handle may write.
    pub(super) dead: bool,
}

impl Disk {
    pub(super) fn fate(&mut self, now_ms: u64) -> Fate {
        if self.dead {
            return Fate::Lost;
        }
        if now_ms >= self.fails_until_ms {
            return Fate::Durable;
        }
        self.dead = true;
        match std::mem::take(&mut self.arrives) {
            true => Fate::ArrivedWithError,
            false => Fate::Lost,
        }
    }

    pub(super) fn append(&mut self, records: &[Record]) -> Result<Seq, String> {
        self.log
            .append(records)
            .map_err(|error| format!("the history refuses: {error}"))
    }

    pub(super) fn take_checkpoint(&mut self, state: &State) -> Result<(), String> {
        let text = serde_json::to_string(state).map_err(|e| format!("no checkpoint: {e}"))?;
        self.checkpoint = Some((state.seq, text));
        Ok(())
    }

    /// What a start finds: the newest checkpoint and the records after it.
    pub(super) fn open(&mut self) -> Result<(State, Vec<Record>), String> {
        self.dead = false;
        let state = match &self.checkpoint {
            None => State::default(),
            Some((_, text)) => {
                serde_json::from_str(text).map_err(|e| format!("unreadable checkpoint: {e}"))?
            }
        };
        let tail = self
            .log
            .read_after(state.seq)
            .map_err(|error| error.to_string())?;
        Ok((state, tail))
    }
}
