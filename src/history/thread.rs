//! The history's own thread: a commit waits for the disk, and the driver must not.
//!
//! One request is one commit, in the order of asking. Answers come through callbacks, which run
//! on this thread and must not block.

use super::error::{AppendError, HistoryError};
use super::{CHECKPOINT_EVERY, History};
use crate::model::{Entry, Record, Seq, State};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The driver has one append under way at a time; a checkpoint and a reopen may wait with it.
const REQUESTS_MAX: usize = 8;

/// How an append ended.
#[derive(Debug)]
pub struct Appended {
    /// The last durable seq, or why nothing was appended.
    pub result: Result<Seq, AppendError>,
    /// How long the transaction took, in microseconds.
    pub commit_us: u64,
}

/// Why a request was not taken. It was dropped, and its callback never runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many requests wait for the disk.
    #[error("the history is too slow: {REQUESTS_MAX} writes are waiting; check the disk")]
    Full,
    /// The thread has ended.
    #[error("the history's thread has ended; restart the engine")]
    Gone,
}

type Answer<T> = Box<dyn FnOnce(T) + Send>;

enum Request {
    Append {
        records: Vec<Record>,
        state_after: Option<Box<State>>,
        done: Answer<Appended>,
    },
    Checkpoint {
        state: Box<State>,
        done: Answer<Result<(), AppendError>>,
    },
    Reopen {
        done: Answer<Result<Seq, HistoryError>>,
    },
}

/// The writer's handle. Dropping it lets the requests that wait be carried out, then closes the
/// history.
#[derive(Debug)]
pub struct HistoryWriter {
    requests: Option<SyncSender<Request>>,
    checkpointed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl HistoryWriter {
    /// Gives the history to a thread of its own.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn spawn(history: History) -> io::Result<Self> {
        let (requests, waiting) = sync_channel(REQUESTS_MAX);
        let checkpointed = Arc::new(AtomicU64::new(history.checkpointed()));
        let thread = thread::Builder::new().name("history".to_owned()).spawn({
            let checkpointed = Arc::clone(&checkpointed);
            move || serve(history, &waiting, &checkpointed)
        })?;
        Ok(Self {
            requests: Some(requests),
            checkpointed,
            thread: Some(thread),
        })
    }

    /// Whether a checkpoint should go with these records.
    pub fn checkpoint_due(&self, records: &[Record]) -> bool {
        let since = self.checkpointed.load(Ordering::Relaxed);
        records.iter().any(|record| {
            matches!(record.entry, Entry::RolloutFinished { .. })
                || record.seq >= since + CHECKPOINT_EVERY
        })
    }

    /// Asks for an append, see [`History::append`]; never waits.
    ///
    /// # Errors
    /// When the request was not taken.
    pub fn append(
        &self,
        records: Vec<Record>,
        state_after: Option<Box<State>>,
        done: impl FnOnce(Appended) + Send + 'static,
    ) -> Result<(), SendError> {
        self.send(Request::Append {
            records,
            state_after,
            done: Box::new(done),
        })
    }

    /// Asks for a checkpoint, see [`History::checkpoint`]; never waits.
    ///
    /// # Errors
    /// When the request was not taken.
    pub fn checkpoint(
        &self,
        state: Box<State>,
        done: impl FnOnce(Result<(), AppendError>) + Send + 'static,
    ) -> Result<(), SendError> {
        self.send(Request::Checkpoint {
            state,
            done: Box::new(done),
        })
    }

    /// Asks for a fresh handle, see [`History::reopen`]; never waits.
    ///
    /// # Errors
    /// When the request was not taken.
    pub fn reopen(
        &self,
        done: impl FnOnce(Result<Seq, HistoryError>) + Send + 'static,
    ) -> Result<(), SendError> {
        self.send(Request::Reopen {
            done: Box::new(done),
        })
    }

    fn send(&self, request: Request) -> Result<(), SendError> {
        let Some(requests) = &self.requests else {
            return Err(SendError::Gone);
        };
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full,
            TrySendError::Disconnected(_) => SendError::Gone,
        })
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the history's thread panicked");
        }
    }
}

fn serve(mut history: History, waiting: &Receiver<Request>, checkpointed: &AtomicU64) {
    while let Ok(request) = waiting.recv() {
        match request {
            Request::Append {
                records,
                state_after,
                done,
            } => {
                let began = Instant::now();
                let result = history.append(&records, state_after.as_deref());
                let commit_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                checkpointed.store(history.checkpointed(), Ordering::Relaxed);
                done(Appended { result, commit_us });
            }
            Request::Checkpoint { state, done } => {
                let result = history.checkpoint(&state);
                checkpointed.store(history.checkpointed(), Ordering::Relaxed);
                done(result);
            }
            Request::Reopen { done } => done(history.reopen()),
        }
    }
}
