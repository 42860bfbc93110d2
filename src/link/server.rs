//! The engine's end: lets callers in, within limits, and passes their requests on.
//!
//! A caller begins in the lobby (`lobby`), where the oldest silent one makes room for the
//! newest; having said hello it gets a place (`roster`) and a session (`session`), or, when
//! all places are taken, one urgent request. So an abort gets through a flood.
//!
//! Must not know what a request does. Nothing here waits for a caller without a deadline, and
//! nothing the engine does waits for anything here.

mod connection;
mod lobby;
mod roster;
mod session;
mod shelf;

use super::access::{Access, Denial, Urgency};
use super::peer::Peer;
use super::socket::BoundSocket;
use super::wire::{CommandRequest, Reply, Request, ServerFrame};
use super::{frame, wire};
use crate::model::command::{Answer, Refusal};
use crate::model::{Actor, Clean, Role};
use crate::view::Snapshot;
use crate::view::snapshot::Attached;
use connection::Caller;
use lobby::Lobby;
use roster::Roster;
use shelf::Shelf;
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept: the usual cause, too many open files, does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the engine supplies to this room.
pub trait EngineSide: Send + Sync + 'static {
    /// Snapshots, the newest always there.
    fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// Answers a request; never called with [`Request::Snapshot`] or [`Request::Watch`]. Called
    /// concurrently; an abort is passed on at once, whatever else is being answered. Runs to its
    /// end (or [`Limits::ask`]) even if the caller hangs up.
    fn ask(&self, by: Actor, request: Request) -> impl Future<Output = Reply> + Send;

    /// Hears of a command that its caller may not give, and answers it. Whoever keeps a record of
    /// refusals keeps one of this.
    fn denied(
        &self,
        by: Actor,
        command: CommandRequest,
        why: Clean,
    ) -> impl Future<Output = Reply> + Send {
        let _ = (by, command);
        async move {
            let answer = Answer::Refused(Refusal::Forbidden { why });
            Reply::Answer { answer }
        }
    }

    /// Learns who is attached with a console, in the order of the changes. Must not block.
    fn attached(&self, consoles: Vec<Attached>);

    /// Learns what went wrong at the door. Must not block; comes as often as somebody knocks, so
    /// the engine limits what it records.
    fn trouble(&self, trouble: Trouble);

    /// The engine's time now (Unix ms).
    fn now_ms(&self) -> u64;
}

/// What goes wrong at the door, for the engine's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Somebody who may not.
    #[error("uid {uid} (process {pid:?}) was refused: it may not use this engine")]
    Stranger {
        /// Who, as the kernel says.
        uid: u32,
        /// Their process.
        pid: Option<i32>,
    },
    /// Somebody who may look asked for more than that.
    #[error("{user} was refused to {verb}: {why}")]
    Forbidden {
        /// Who.
        user: Clean,
        /// What they asked for.
        verb: &'static str,
        /// Why they may not.
        why: Clean,
    },
    /// More callers than places; the oldest silent one was sent away.
    #[error("too many connections: the oldest one that had said nothing was closed")]
    Crowded,
    /// A caller lost its connection by its own fault.
    #[error("the connection of {user} was closed: {why}")]
    CutOff {
        /// Who.
        user: Clean,
        /// Why.
        why: Clean,
    },
    /// Nobody can be let in.
    #[error("no connection can be accepted: {why}")]
    Accept {
        /// What the kernel says.
        why: Clean,
    },
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// Its version.
    pub version: String,
    /// The configuration file it runs with.
    pub config_path: String,
    /// That configuration's SHA-256 (hex).
    pub config_hash: String,
}

/// Who is let in, and how many.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What callers are told; the newest holds.
    pub hello: watch::Receiver<ServerHello>,
    /// Who may do what; strangers are refused before a byte is read.
    pub access: Access,
    /// How much a caller may ask for.
    pub limits: Limits,
}

impl ServerOptions {
    /// Those of a personal engine: its own user and nobody else.
    pub fn personal(hello: ServerHello) -> Self {
        Self {
            hello: watch::channel(hello).1,
            access: Access::personal(),
            limits: Limits::default(),
        }
    }
}

/// Limits and deadlines. The defaults suit an engine; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time. More consoles than a team has people are a fault.
    pub sessions: usize,
    /// Sessions of one uid at a time.
    pub sessions_per_uid: usize,
    /// Callers that have not yet said hello, or have no place and not yet asked.
    pub lobby: usize,
    /// Aborts and holds under way from callers without a place.
    pub reserved: usize,
    /// Requests of one session under way; the next is answered "busy".
    pub asks: usize,
    /// Aborts and holds of one session under way, besides the other requests.
    pub urgent: usize,
    /// How long a caller has to say hello, and without a place to ask.
    pub hello: Duration,
    /// How long a begun frame may take to arrive.
    pub read: Duration,
    /// How long a frame may lie unread before its reader is cut off.
    pub write: Duration,
    /// How long the engine has for an answer.
    pub ask: Duration,
    /// How often a session's right to be there is looked up again.
    pub recheck: Duration,
    /// How long sessions have to end when the engine does.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 64,
            sessions_per_uid: 64,
            lobby: 64,
            reserved: 32,
            asks: 8,
            urgent: 32,
            hello: Duration::from_secs(2),
            read: Duration::from_secs(5),
            write: Duration::from_secs(5),
            ask: Duration::from_secs(30),
            recheck: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
        }
    }
}

/// What all connections share.
struct Shared<E> {
    engine: Arc<E>,
    options: ServerOptions,
    lobby: Arc<Lobby>,
    roster: Arc<Roster>,
    shelf: Shelf,
    reserved: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl<E: EngineSide> Shared<E> {
    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Passes a request on if its caller may make it now, and words the answer when none comes.
    async fn ask(&self, caller: &Caller, request: Request) -> Reply {
        let deadline = self.limits().ask;
        let passed_on = async {
            match self.refusal(caller, &request).await {
                None => self.engine.ask(caller.actor.clone(), request).await,
                Some(why) => self.refuse(caller, request, why).await,
            }
        };
        match timeout(deadline, passed_on).await {
            Ok(reply) => reply,
            Err(_) => error(&format!(
                "the engine did not answer within {deadline:?}: the request may or may not take \
                 effect; look at the status before asking again"
            )),
        }
    }

    /// Why a caller may not make a request, by what the account books say at this moment.
    async fn refusal(&self, caller: &Caller, request: &Request) -> Option<Clean> {
        let access = &self.options.access;
        match access.role(caller.peer, urgency(request)).await {
            Err(Denial::Unknown { why }) => Some(why),
            Err(Denial::Stranger) => Some(Clean::new(NO_STRANGERS)),
            Ok(role) if role >= needed(request) => None,
            Ok(_) => Some(access.who_may(verb(request))),
        }
    }

    async fn refuse(&self, caller: &Caller, request: Request, why: Clean) -> Reply {
        let user = caller.user();
        self.engine.trouble(Trouble::Forbidden {
            user,
            verb: verb(&request),
            why: why.clone(),
        });
        match request {
            Request::Command { command } => {
                self.engine.denied(caller.actor.clone(), command, why).await
            }
            _ => Reply::Error { text: why },
        }
    }

    fn snapshot(&self) -> Reply {
        let snapshot = Arc::clone(&self.engine.snapshot().borrow());
        Reply::Snapshot { snapshot }
    }
}

/// Serves callers until `shutdown`, then says goodbye to them, gives answers under way
/// [`Limits::farewell`], and removes the socket. Cancelling the future drops all connections.
pub async fn serve<E: EngineSide>(
    socket: BoundSocket,
    options: ServerOptions,
    engine: Arc<E>,
    shutdown: CancellationToken,
) {
    let limits = options.limits;
    let shared = Arc::new(Shared {
        engine,
        lobby: Lobby::new(limits.lobby),
        roster: Roster::new(limits.sessions, limits.sessions_per_uid),
        shelf: Shelf::default(),
        reserved: Arc::new(Semaphore::new(limits.reserved)),
        shutdown: shutdown.clone(),
        options,
    });
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = callers.join_next(), if !callers.is_empty() => {}
            accepted = socket.listener().accept() => match accepted {
                Ok((stream, _)) => admit(&shared, stream, &mut callers),
                Err(error) => pause(&shared, &error).await,
            },
        }
    }
    drop(socket);
    // Those that do not end in time are dropped with the set.
    let _ = timeout(limits.farewell, async {
        while callers.join_next().await.is_some() {}
    })
    .await;
}

async fn pause<E: EngineSide>(shared: &Shared<E>, error: &io::Error) {
    let why = Clean::new(&error.to_string());
    shared.engine.trouble(Trouble::Accept { why });
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        () = sleep(ACCEPT_PAUSE) => {}
    }
}

/// Lets a caller into the lobby if the kernel says who it is.
fn admit<E: EngineSide>(shared: &Arc<Shared<E>>, stream: UnixStream, callers: &mut JoinSet<()>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            let why = Clean::new(&error.to_string());
            shared.engine.trouble(Trouble::Accept { why });
            return turn_away(stream, "the kernel does not say who you are; try again");
        }
    };
    let (seat, crowded) = Lobby::enter(&shared.lobby);
    if crowded {
        shared.engine.trouble(Trouble::Crowded);
    }
    callers.spawn(connection::run(Arc::clone(shared), stream, peer, seat));
}

/// What a stranger is told: nothing about the engine, only whom to ask.
const NO_STRANGERS: &str = "this engine is not for you: a personal one belongs to its user, a \
    system one to those its [roles] name; ask its administrator, or start one of your own";

/// Says why and closes, without waiting: a few bytes fit into any fresh socket's buffer, and
/// where they do not, nothing is owed to a stranger.
fn turn_away(stream: UnixStream, why: &str) {
    if let (Ok(bye), Ok(mut stream)) = (frame::encode(&bye(why)), stream.into_std()) {
        let _ = stream.write(&bye);
    }
}

fn bye(why: &str) -> ServerFrame {
    ServerFrame::Bye {
        why: Clean::new(why),
    }
}

fn error(text: &str) -> Reply {
    Reply::Error {
        text: Clean::new(text),
    }
}

/// Whether a request only makes the world safer, so that no limit on others may delay it.
fn is_urgent(request: &Request) -> bool {
    urgency(request) == Urgency::Urgent
}

fn urgency(request: &Request) -> Urgency {
    match request {
        Request::Command {
            command: CommandRequest::Abort { .. } | CommandRequest::Hold { .. },
        } => Urgency::Urgent,
        _ => Urgency::Ordinary,
    }
}

/// What one must be to make a request.
fn needed(request: &Request) -> Role {
    match request {
        Request::Command { .. }
        | Request::TriggerPipeline { .. }
        | Request::CancelPipeline { .. }
        | Request::ConfirmStage { .. }
        | Request::Stop
        | Request::TakeOver { .. }
        | Request::Reload { dry_run: false } => Role::Operator,
        Request::Preview { .. }
        | Request::DryRun { .. }
        | Request::Snapshot
        | Request::Watch
        | Request::History { .. }
        | Request::Show { .. }
        | Request::Logs { .. }
        | Request::MonitorBlueGreen { .. }
        | Request::GetPipelineStatus { .. }
        | Request::Pipelines { .. }
        | Request::StageLogs { .. }
        | Request::Unknown
        | Request::Reload { dry_run: true } => Role::Viewer,
    }
}

/// What a request is called where it is refused.
fn verb(request: &Request) -> &'static str {
    match request {
        Request::Command { command } => command.verb(),
        Request::Stop => "stop the engine",
        Request::TriggerPipeline { .. } => "run a pipeline",
        Request::CancelPipeline { .. } => "cancel a pipeline's run",
        Request::ConfirmStage { .. } => "let a stage begin",
        Request::TakeOver { .. } => "take a balancer over",
        Request::Reload { .. } => "reload the configuration",
        _ => "look",
    }
}

/// The first frame of an engine.
fn hello(options: &ServerOptions, caller: &Caller) -> ServerFrame {
    let ours = options.hello.borrow().clone();
    ServerFrame::Hello {
        protocol: wire::PROTOCOL,
        version: ours.version,
        config_path: ours.config_path,
        config_hash: ours.config_hash,
        you: caller.actor.clone(),
        role: caller.role,
    }
}
