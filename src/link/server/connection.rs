//! One connection, from the lobby to its session or its one urgent request.

use super::roster::{Guest, Place, Roster, attached};
use super::session;
use super::{EngineSide, NO_STRANGERS, Shared, Trouble, bye, hello, is_urgent};
use crate::link::access::{Denial, Urgency};
use crate::link::frame::{FrameError, FrameReader, encode, write};
use crate::link::peer::Peer;
use crate::link::server::lobby::Seat;
use crate::link::wire::{ClientFrame, PROTOCOL, Reply, Request, ServerFrame};
use crate::model::{Actor, Clean, Role};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Reads one caller's frames.
pub(super) type Reader = FrameReader<OwnedReadHalf>;

/// How a conversation ends.
#[derive(Debug)]
pub(super) enum End {
    /// The caller hung up.
    Left,
    /// The engine ends; answers under way are waited for.
    Shutdown,
    /// The caller must go, for this reason, which is no fault of its own.
    Dismissed(Clean),
    /// The caller must go by its own fault.
    Fault(Clean),
}

impl End {
    /// For a frame that could not be read.
    pub(super) fn of(error: &FrameError) -> Self {
        match error {
            FrameError::Io(_) => Self::Left,
            fault => Self::Fault(Clean::new(&fault.to_string())),
        }
    }

    /// What the caller is told; `None` when it is gone.
    pub(super) fn bye(&self) -> Option<ServerFrame> {
        match self {
            Self::Left => None,
            Self::Shutdown => Some(bye(
                "the engine ends; rollouts stay as they are until it is started again",
            )),
            Self::Dismissed(why) | Self::Fault(why) => {
                let why = why.clone();
                Some(ServerFrame::Bye { why })
            }
        }
    }
}

/// A caller that has said hello.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The person, as the kernel says.
    pub(super) actor: Actor,
    /// Its process, as the kernel says.
    pub(super) peer: Peer,
    /// What it may do, as looked up when it came; looked up again for every request.
    pub(super) role: Role,
    console: bool,
}

impl Caller {
    /// How it shows in the log.
    pub(super) fn user(&self) -> Clean {
        Clean::new(&self.actor.to_string())
    }
}

/// Serves one connection to its end.
pub(super) async fn run<E: EngineSide>(
    shared: Arc<Shared<E>>,
    stream: UnixStream,
    peer: Peer,
    seat: Seat,
) {
    let (input, mut output) = stream.into_split();
    let mut reader = FrameReader::new(input, shared.limits().read);
    let greeted = tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => Err(End::Shutdown),
        () = seat.evicted() => Err(crowded()),
        greeted = async {
            // Nothing is read of a stranger, and nothing told to it.
            let role = admitted(&shared, peer).await?;
            greet(&shared, &mut reader, peer, role).await
        } => greeted,
    };
    let caller = match greeted {
        Ok(caller) => caller,
        Err(end) => {
            report(&shared, Clean::new(&format!("uid {}", peer.uid)), &end);
            return dismiss(&shared, &mut output, &end).await;
        }
    };
    match take_place(&shared, &caller) {
        Some(place) => {
            drop(seat);
            let end = session::run(&shared, &caller, reader, output).await;
            report(&shared, caller.user(), &end);
            drop(place);
            tell_attached(&shared);
        }
        None => serve_one(&shared, caller, reader, output, seat).await,
    }
}

/// What a caller may do, by the account books; a stranger is reported and must go.
async fn admitted<E: EngineSide>(shared: &Shared<E>, peer: Peer) -> Result<Role, End> {
    let Peer { uid, pid } = peer;
    // An abort that is to come must not be stopped here by account books that do not answer.
    let role = shared.options.access.role(peer, Urgency::Urgent).await;
    role.map_err(|denial| {
        shared.engine.trouble(Trouble::Stranger { uid, pid });
        End::Dismissed(match denial {
            Denial::Stranger => NO_STRANGERS.into(),
            Denial::Unknown { why } => why,
        })
    })
}

/// Waits for the caller's hello and learns who it is.
async fn greet<E: EngineSide>(
    shared: &Shared<E>,
    reader: &mut Reader,
    peer: Peer,
    role: Role,
) -> Result<Caller, End> {
    let deadline = shared.limits().hello;
    let first = timeout(deadline, reader.next())
        .await
        .map_err(|_| End::Dismissed(Clean::new(&format!("no hello came within {deadline:?}"))))?
        .map_err(|error| End::of(&error))?;
    match first {
        None => Err(End::Left),
        Some(ClientFrame::Request { .. }) => Err(End::Fault(
            "the first frame must be a hello; use the same version on both sides".into(),
        )),
        Some(ClientFrame::Hello {
            protocol, version, ..
        }) if protocol != PROTOCOL => Err(End::Dismissed(Clean::new(&format!(
            "this engine (version {}) speaks protocol {PROTOCOL}, your wheelhouse ({}) speaks \
             {protocol}: restart the engine with your version, or use its version",
            shared.options.hello.borrow().version,
            Clean::line(&version, 64),
        )))),
        Some(ClientFrame::Hello { console, .. }) => Ok(Caller {
            actor: shared.options.access.person(peer).await,
            peer,
            role,
            console,
        }),
    }
}

fn take_place<E: EngineSide>(shared: &Shared<E>, caller: &Caller) -> Option<Place> {
    let since_ms = shared.engine.now_ms();
    let guest = Guest {
        uid: caller.peer.uid,
        console: caller.console.then(|| attached(caller.user(), since_ms)),
    };
    let place = Roster::enter(&shared.roster, guest)?;
    tell_attached(shared);
    Some(place)
}

fn tell_attached<E: EngineSide>(shared: &Shared<E>) {
    shared
        .roster
        .tell(|consoles| shared.engine.attached(consoles));
}

/// Serves a caller without a place: one abort, hold or snapshot, then goodbye.
async fn serve_one<E: EngineSide>(
    shared: &Shared<E>,
    caller: Caller,
    mut reader: Reader,
    mut output: OwnedWriteHalf,
    seat: Seat,
) {
    let greeting = hello(&shared.options, &caller);
    if send(shared, &mut output, &greeting).await.is_err() {
        return;
    }
    let asked = tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => Err(End::Shutdown),
        () = seat.evicted() => Err(crowded()),
        asked = timeout(shared.limits().hello, reader.next()) => match asked {
            Ok(Ok(Some(ClientFrame::Request { id, request }))) => Ok((id, request)),
            Ok(Ok(None)) => Err(End::Left),
            Ok(Err(error)) => Err(End::of(&error)),
            Ok(Ok(Some(ClientFrame::Hello { .. }))) | Err(_) => Err(full(shared)),
        },
    };
    let end = match asked {
        Err(end) => end,
        Ok((id, request)) => match reserved(shared, &caller, request, seat).await {
            None => full(shared),
            Some(reply) => match send(shared, &mut output, &ServerFrame::Reply { id, reply }).await
            {
                Ok(()) => full(shared),
                Err(error) => End::of(&error),
            },
        },
    };
    dismiss(shared, &mut output, &end).await;
}

/// Answers the requests a caller without a place may make; `None` for all others.
async fn reserved<E: EngineSide>(
    shared: &Shared<E>,
    caller: &Caller,
    request: Request,
    seat: Seat,
) -> Option<Reply> {
    if request == Request::Snapshot {
        return Some(shared.snapshot());
    }
    if !is_urgent(&request) {
        return None;
    }
    // Out of the lobby: what is being carried out is not sent away for a newcomer.
    let _permit = shared.reserved.try_acquire().ok()?;
    drop(seat);
    Some(shared.ask(caller, request).await)
}

fn crowded() -> End {
    End::Dismissed("too many connections at once; try again".into())
}

fn full<E: EngineSide>(shared: &Shared<E>) -> End {
    End::Dismissed(Clean::new(&format!(
        "too many consoles: {} are connected; close one (abort, hold and status still work)",
        shared.limits().sessions
    )))
}

fn report<E: EngineSide>(shared: &Shared<E>, user: Clean, end: &End) {
    if let End::Fault(why) = end {
        let why = why.clone();
        shared.engine.trouble(Trouble::CutOff { user, why });
    }
}

async fn dismiss<E: EngineSide>(shared: &Shared<E>, output: &mut OwnedWriteHalf, end: &End) {
    if let Some(bye) = end.bye() {
        // The connection ends here, whether the caller takes note or not.
        let _ = send(shared, output, &bye).await;
    }
}

async fn send<E: EngineSide>(
    shared: &Shared<E>,
    output: &mut OwnedWriteHalf,
    frame: &ServerFrame,
) -> Result<(), FrameError> {
    write(output, &encode(frame)?, shared.limits().write).await
}
