//! How everybody else asks the engine.

use crate::model::Actor;
use crate::model::command::{Answer, Command, Refusal};
use crate::view::snapshot::Attached;
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
        by: Actor,
        command: Command,
        to_the_end: bool,
        answer: oneshot::Sender<Preview>,
    },
    Attached(Vec<Attached>),
}

/// A handle to a running engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) aborts: mpsc::Sender<Message>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
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
        by: Actor,
        command: Command,
        to_the_end: bool,
    ) -> Result<Preview, Closed> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Preview {
            by,
            command,
            to_the_end,
            answer,
        };
        self.messages.send(message).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }

    /// Tells who is attached with a console. Never waits; a lost update is followed by the next.
    pub fn attached(&self, consoles: Vec<Attached>) {
        if self.messages.try_send(Message::Attached(consoles)).is_err() {
            tracing::debug!("the list of consoles was not taken: the engine is busy or gone");
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
