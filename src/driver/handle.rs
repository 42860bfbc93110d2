//! How everybody else asks the engine.

use crate::model::command::{Answer, Command, Refusal};
use crate::model::{Actor, Entry, Placement, ServiceSpec, State, Version};
use crate::view::snapshot::{Attached, ReadOnly};
use crate::view::{Preview, Snapshot};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The engine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine has ended")]
pub struct Closed;

/// What the shell is asked.
#[derive(Debug)]
pub(super) enum Message {
    Command {
        by: Actor,
        command: Command,
        answer: oneshot::Sender<Answer>,
    },
    Preview {
        placement: Placement,
        by: Actor,
        command: Command,
        to_the_end: bool,
        answer: oneshot::Sender<Preview>,
    },
    Denied {
        by: Actor,
        placement: Placement,
        verb: &'static str,
        refusal: Refusal,
        answer: oneshot::Sender<Answer>,
    },
    Fact {
        by: Actor,
        entry: Entry,
        answer: oneshot::Sender<Answer>,
    },
    Beat(oneshot::Sender<()>),
    Attached(Vec<Attached>),
    ReadOnly(Vec<ReadOnly>),
}

impl Message {
    /// What would be deployed, if this asks for or about a deploy.
    pub(super) fn deploys(&self) -> Option<(&ServiceSpec, &Version)> {
        match self {
            Self::Command {
                command: Command::Deploy { spec, version, .. },
                ..
            }
            | Self::Preview {
                command: Command::Deploy { spec, version, .. },
                ..
            } => Some((spec, version)),
            _ => None,
        }
    }
}

/// A handle to a running engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) aborts: mpsc::Sender<Message>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) states: watch::Receiver<Arc<State>>,
}

impl EngineHandle {
    /// Asks for something and waits for the answer, which comes once it is durable. An abort has
    /// a lane of its own and is taken first.
    ///
    /// # Errors
    /// [`Closed`] when the engine ended; what became of the command is then unknown.
    pub async fn command(&self, by: Actor, command: Command) -> Result<Answer, Closed> {
        let (answer, answered) = oneshot::channel();
        let urgent = matches!(command, Command::Abort { .. });
        let message = Message::Command {
            by,
            command,
            answer,
        };
        if urgent {
            self.aborts.send(message).await.map_err(|_| Closed)?;
        } else if let Err(error) = self.messages.try_send(message) {
            return match error {
                mpsc::error::TrySendError::Full(_) => Ok(busy()),
                mpsc::error::TrySendError::Closed(_) => Err(Closed),
            };
        }
        answered.await.map_err(|_| Closed)
    }

    /// Asks what a command would do.
    ///
    /// # Errors
    /// [`Closed`] when the engine ended.
    pub async fn preview(
        &self,
        placement: Placement,
        by: Actor,
        command: Command,
        to_the_end: bool,
    ) -> Result<Preview, Closed> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Preview {
            placement,
            by,
            command,
            to_the_end,
            answer,
        };
        self.messages.send(message).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }

    /// Refuses a command that its caller may not give, leaving a record now and then.
    ///
    /// # Errors
    /// [`Closed`] when the engine ended.
    pub async fn deny(
        &self,
        by: Actor,
        placement: Placement,
        verb: &'static str,
        refusal: Refusal,
    ) -> Result<Answer, Closed> {
        let (answer, answered) = oneshot::channel();
        let told = Message::Denied {
            by,
            placement,
            verb,
            refusal: refusal.clone(),
            answer,
        };
        match self.messages.try_send(told) {
            Ok(()) => answered.await.map_err(|_| Closed),
            // The record is worth less than the answer.
            Err(mpsc::error::TrySendError::Full(_)) => Ok(Answer::Refused(refusal)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Records something that happened to the engine itself; the answer comes once it is durable.
    ///
    /// # Errors
    /// [`Closed`] when the engine ended; whether it was recorded is then unknown.
    pub async fn record(&self, by: Actor, entry: Entry) -> Result<Answer, Closed> {
        let (answer, answered) = oneshot::channel();
        let told = Message::Fact { by, entry, answer };
        match self.messages.try_send(told) {
            Ok(()) => answered.await.map_err(|_| Closed),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(busy()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Waits until the engine's loop has come round: what a watchdog wants to know. For ever, if
    /// it never does.
    ///
    /// # Errors
    /// [`Closed`] when the engine ended.
    pub async fn beat(&self) -> Result<(), Closed> {
        let (answer, answered) = oneshot::channel();
        let sent = self.messages.send(Message::Beat(answer)).await;
        sent.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }

    /// Tells who is attached with a console. Never waits; a lost update is followed by the next.
    pub fn attached(&self, consoles: Vec<Attached>) {
        if self.messages.try_send(Message::Attached(consoles)).is_err() {
            tracing::debug!("the list of consoles was not taken: the engine is busy or gone");
        }
    }

    /// The recorded state as of the newest start, end, weight or instance.
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Tells what other engines hold. Never waits; a lost update is followed by the next change.
    pub fn read_only(&self, rows: Vec<ReadOnly>) {
        if self.messages.try_send(Message::ReadOnly(rows)).is_err() {
            tracing::debug!("the list of leases was not taken: the engine is busy or gone");
        }
    }

    /// Snapshots, the newest always there.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }
}

fn busy() -> Answer {
    let why = "the engine is busy; try again in a moment".into();
    Answer::Refused(Refusal::NotNow { why })
}
