//! The console's connection: it comes back by itself, and says so each time it is lost.
//!
//! Nothing is kept for later: a request made while there is no connection is answered at once
//! with "nothing was sent", never sent when the engine is back.

use super::client::{AskError, Client, ClientOptions, HelloInfo, Snapshots};
use super::wire::{Reply, Request};
use crate::model::Clean;
use crate::view::Snapshot;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Requests under way at a time; above what the engine takes of one console.
const ASKS_MAX: usize = 64;

/// How long a reply is waited for; longer than the engine gives itself.
const ASK_DEADLINE: Duration = Duration::from_secs(40);

/// How long the engine has to begin sending snapshots.
const WATCH_DEADLINE: Duration = Duration::from_secs(5);

/// What happens on a console's connection.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkEvent {
    /// An engine answers.
    Connected(HelloInfo),
    /// None does. Comes again only with another reason. Requests that were under way get no
    /// reply: whether they happened is unknown.
    Disconnected {
        /// Why, and the mend.
        why: Clean,
    },
    /// A newer snapshot; older ones may have been left out.
    Snapshot(Arc<Snapshot>),
    /// The reply to a request.
    Reply {
        /// The id it was made with.
        id: u64,
        /// The reply; [`Reply::Error`] when it was certainly not sent.
        reply: Reply,
    },
}

/// How long to wait before the next attempt: doubling from first to longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    fn after(&self, pause: Duration) -> Duration {
        (pause * 2).min(self.longest)
    }
}

/// The console side of [`follow`]: requests in, events out.
struct Console {
    requests: mpsc::Receiver<(u64, Request)>,
    events: mpsc::Sender<LinkEvent>,
}

/// The console is gone.
struct Gone;

/// Keeps a console connected until it drops its end of either channel. A console that does not
/// take its events gets the newest snapshot when it does, and holds up nobody else.
pub async fn follow(
    socket: &Path,
    options: &ClientOptions,
    backoff: Backoff,
    requests: mpsc::Receiver<(u64, Request)>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut console = Console { requests, events };
    // It ends only when nobody is left to tell.
    let Err(Gone) = reconnect(socket, options, backoff, &mut console).await;
}

async fn reconnect(
    socket: &Path,
    options: &ClientOptions,
    backoff: Backoff,
    console: &mut Console,
) -> Result<std::convert::Infallible, Gone> {
    let mut told = None;
    let mut pause = backoff.first;
    loop {
        let why = match console.meanwhile(Client::connect(socket, options)).await? {
            Err(error) => Clean::new(&with_cause(&error)),
            Ok((client, hello)) => {
                told = None;
                console.tell(LinkEvent::Connected(hello)).await?;
                let Attended { why, lasted } = console.attend(&client).await?;
                if lasted {
                    pause = backoff.first;
                }
                why
            }
        };
        if told.as_ref() != Some(&why) {
            told = Some(why.clone());
            console.tell(LinkEvent::Disconnected { why }).await?;
        }
        console.meanwhile(sleep(pause)).await?;
        pause = backoff.after(pause);
    }
}

/// How a connection was.
struct Attended {
    why: Clean,
    /// Whether a snapshot came; a connection without one does not count as a success.
    lasted: bool,
}

impl Console {
    async fn tell(&self, event: LinkEvent) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }

    /// Does something without a connection; requests made in the meantime are answered at once.
    async fn meanwhile<F: Future>(&mut self, work: F) -> Result<F::Output, Gone> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return Ok(output),
                request = self.requests.recv() => {
                    let (id, _) = request.ok_or(Gone)?;
                    let why = "there is no connection to the engine; ask again when there is";
                    self.tell(not_sent(id, &why.into())).await?;
                }
                () = self.events.closed() => return Err(Gone),
            }
        }
    }

    /// Passes requests, replies and snapshots on until the connection ends.
    async fn attend(&mut self, client: &Client) -> Result<Attended, Gone> {
        let mut lasted = false;
        let mut snapshots = match client.watch(WATCH_DEADLINE).await {
            Ok(snapshots) => snapshots,
            Err(AskError::NotSent { why } | AskError::Unknown { why }) => {
                return Ok(Attended { why, lasted });
            }
        };
        let mut asks = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                request = self.requests.recv() => match request.ok_or(Gone)? {
                    (id, _) if asks.len() >= ASKS_MAX => {
                        let why = "too many requests are under way; wait for an answer";
                        self.tell(not_sent(id, &why.into())).await?;
                    }
                    (id, request) => asks.push(async move {
                        (id, client.ask(request, ASK_DEADLINE).await)
                    }),
                },
                Some((id, outcome)) = asks.next() => self.settle(id, outcome).await?,
                more = pass_on(&mut snapshots, &self.events) => match more? {
                    true => lasted = true,
                    false => break,
                },
            }
        }
        // The connection has settled them all.
        while let Some((id, outcome)) = asks.next().await {
            self.settle(id, outcome).await?;
        }
        let why = client.why_ended();
        Ok(Attended { why, lasted })
    }
}

impl Console {
    async fn settle(&self, id: u64, outcome: Result<Reply, AskError>) -> Result<(), Gone> {
        match outcome {
            Ok(reply) => self.tell(LinkEvent::Reply { id, reply }).await,
            Err(AskError::NotSent { why }) => self.tell(not_sent(id, &why)).await,
            // No reply says just that: nobody knows.
            Err(AskError::Unknown { .. }) => Ok(()),
        }
    }
}

/// Passes the newest snapshot on, once the console has room for it; false when the connection
/// has ended. Cancel-safe: room is found before a snapshot is taken.
async fn pass_on(
    snapshots: &mut Snapshots,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<bool, Gone> {
    let room = events.reserve().await.map_err(|_| Gone)?;
    let Some(snapshot) = snapshots.next().await else {
        return Ok(false);
    };
    room.send(LinkEvent::Snapshot(snapshot));
    Ok(true)
}

fn not_sent(id: u64, why: &Clean) -> LinkEvent {
    let text = Clean::new(&format!("nothing was sent: {why}"));
    let reply = Reply::Error { text };
    LinkEvent::Reply { id, reply }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}
