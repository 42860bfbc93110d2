//! A caller with a place: requests in, replies and snapshots out, both at their own pace.
//!
//! Requests are answered concurrently, each in a task of its own, so that none waits for
//! another; a request that has arrived is carried out even if its caller hangs up. Snapshots are
//! never queued: a slow reader gets the newest when it is ready for one.

use super::connection::{Caller, End, Reader};
use super::{EngineSide, Shared, error, hello, is_urgent};
use crate::link::access::{Denial, Urgency};
use crate::link::frame::{FrameError, encode, write};
use crate::link::wire::{ClientFrame, Reply, Request, ServerFrame};
use crate::model::Clean;
use crate::view::Snapshot;
use bytes::Bytes;
use std::future::pending;
use std::sync::Arc;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

/// Replies that may wait for a slow reader. At most 16 MB, and beyond it the session takes no
/// further requests.
const REPLIES_MAX: usize = 16;

/// What waits to be written.
enum Outgoing {
    /// This.
    Frame(Box<ServerFrame>),
    /// From now on, snapshots.
    Snapshots,
}

/// The listening half of a session.
struct Listener<'a, E> {
    shared: &'a Arc<Shared<E>>,
    caller: &'a Caller,
    ordinary: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    outbox: mpsc::Sender<Outgoing>,
    running: &'a mut JoinSet<(u64, Reply)>,
}

/// Serves a caller until it leaves, misbehaves, or the engine ends; then sees its requests
/// through to their answers.
pub(super) async fn run<E: EngineSide>(
    shared: &Arc<Shared<E>>,
    caller: &Caller,
    reader: Reader,
    output: OwnedWriteHalf,
) -> End {
    let (outbox, queue) = mpsc::channel(REPLIES_MAX);
    let mut running = JoinSet::new();
    let end = {
        let listener = Listener {
            shared,
            caller,
            ordinary: Arc::new(Semaphore::new(shared.limits().asks)),
            urgent: Arc::new(Semaphore::new(shared.limits().urgent)),
            outbox,
            running: &mut running,
        };
        let mut listening = std::pin::pin!(listener.run(reader));
        let mut speaking = std::pin::pin!(speak(shared, output, queue));
        tokio::select! {
            end = &mut listening => {
                // What is left to say, each frame with its deadline.
                match speaking.await {
                    Ok(()) => end,
                    Err(error) => End::of(&error),
                }
            }
            spoken = &mut speaking => match spoken {
                Ok(()) => End::Left,
                Err(error) => End::of(&error),
            },
        }
    };
    while running.join_next().await.is_some() {}
    end
}

impl<E: EngineSide> Listener<'_, E> {
    async fn run(mut self, reader: Reader) -> End {
        let greeting = hello(&self.shared.options, self.caller);
        self.send(greeting).await;
        let end = self.listen(reader).await;
        match end {
            End::Left => self.finish().await,
            End::Shutdown => {
                let half = self.shared.limits().farewell / 2;
                // The other half is for the goodbye; later answers have no reader.
                let _ = timeout(half, self.finish()).await;
            }
            End::Dismissed(_) | End::Fault(_) => {}
        }
        if let Some(bye) = end.bye() {
            self.send(bye).await;
        }
        end
    }

    async fn listen(&mut self, mut reader: Reader) -> End {
        let mut expelled = std::pin::pin!(expelled(self.shared, self.caller));
        loop {
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => return End::Shutdown,
                Some(done) = self.running.join_next() => self.answer(done).await,
                why = &mut expelled => return End::Dismissed(why),
                frame = reader.next() => match frame {
                    Ok(Some(ClientFrame::Request { id, request })) => self.take(id, request).await,
                    Ok(Some(ClientFrame::Hello { .. })) => {
                        return End::Fault("a second hello came; connect anew instead".into());
                    }
                    Ok(None) => return End::Left,
                    Err(error) => return End::of(&error),
                },
            }
        }
    }

    /// Begins a request. Never waits for the engine.
    async fn take(&mut self, id: u64, request: Request) {
        match request {
            Request::Snapshot => self.reply(id, self.shared.snapshot()).await,
            Request::Watch => {
                self.reply(id, Reply::Done).await;
                self.push(Outgoing::Snapshots).await;
            }
            Request::Unknown => {
                let version = self.shared.options.hello.borrow().version.clone();
                let text = format!(
                    "this engine ({version}) does not know that request: use its version, or \
                     restart it with yours"
                );
                self.reply(id, error(&text)).await;
            }
            request => self.begin(id, request).await,
        }
    }

    async fn begin(&mut self, id: u64, request: Request) {
        let permits = if is_urgent(&request) {
            &self.urgent
        } else {
            &self.ordinary
        };
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            let busy = "too many requests of this connection are under way; wait for an answer";
            return self.reply(id, error(busy)).await;
        };
        let shared = Arc::clone(self.shared);
        let caller = self.caller.clone();
        self.running.spawn(async move {
            let reply = shared.ask(&caller, request).await;
            drop(permit);
            (id, reply)
        });
    }

    async fn answer(&mut self, done: Result<(u64, Reply), JoinError>) {
        // A failed task is the engine's panic: it ends the process, and nobody knows the outcome.
        if let Ok((id, reply)) = done {
            self.reply(id, reply).await;
        }
    }

    async fn finish(&mut self) {
        while let Some(done) = self.running.join_next().await {
            self.answer(done).await;
        }
    }

    async fn reply(&self, id: u64, reply: Reply) {
        self.send(ServerFrame::Reply { id, reply }).await;
    }

    async fn send(&self, frame: ServerFrame) {
        self.push(Outgoing::Frame(Box::new(frame))).await;
    }

    async fn push(&self, outgoing: Outgoing) {
        // It fails only when the speaker has ended, and with it the session.
        let _ = self.outbox.send(outgoing).await;
    }
}

/// Waits until the caller may not even look any more; says so. While the account books do not
/// answer, nobody is sent away.
async fn expelled<E: EngineSide>(shared: &Shared<E>, caller: &Caller) -> Clean {
    loop {
        sleep(shared.limits().recheck).await;
        let role = shared
            .options
            .access
            .role(caller.peer, Urgency::Ordinary)
            .await;
        if role == Err(Denial::Stranger) {
            return "you may not use this engine any more: its [roles] do not name you".into();
        }
    }
}

/// Writes replies first, then the newest snapshot; ends when the listener has and all is said.
async fn speak<E: EngineSide>(
    shared: &Shared<E>,
    mut output: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(), FrameError> {
    let mut snapshots = None;
    loop {
        let bytes = tokio::select! {
            biased;
            outgoing = queue.recv() => match outgoing {
                None => return Ok(()),
                Some(Outgoing::Frame(frame)) => encode_or_say_why(*frame)?,
                Some(Outgoing::Snapshots) => {
                    let mut newest = shared.engine.snapshot();
                    newest.mark_changed();
                    snapshots = Some(newest);
                    continue;
                }
            },
            snapshot = next(&mut snapshots) => shared.shelf.frame(snapshot)?,
        };
        write(&mut output, &bytes, shared.limits().write).await?;
    }
}

/// The next newer snapshot; waits for ever where there will be none. Cancel-safe.
async fn next(snapshots: &mut Option<watch::Receiver<Arc<Snapshot>>>) -> Arc<Snapshot> {
    if let Some(newest) = snapshots
        && newest.changed().await.is_ok()
    {
        return Arc::clone(&newest.borrow_and_update());
    }
    pending().await
}

/// A reply that fits no frame becomes an error that says so.
fn encode_or_say_why(frame: ServerFrame) -> Result<Bytes, FrameError> {
    match (encode(&frame), frame) {
        (Err(why), ServerFrame::Reply { id, .. }) => encode(&ServerFrame::Reply {
            id,
            reply: Reply::Error {
                text: Clean::new(&format!("the answer cannot be sent: {why}")),
            },
        }),
        (encoded, _) => encoded,
    }
}
