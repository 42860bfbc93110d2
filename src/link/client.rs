//! The caller's end: one connection to an engine.
//!
//! Nothing is ever sent twice. A request that was sent but not answered is [`AskError::Unknown`]:
//! only looking at the engine's state tells whether it happened.

use super::frame::{FrameError, FrameReader, encode, write};
use super::peer::{Peer, own_uid};
use super::socket::{PATH_BYTES_MAX, fits, shown};
use super::wire::{ClientFrame, PROTOCOL, Reply, Request, ServerFrame};
use crate::model::{Actor, Clean, Role};
use crate::view::Snapshot;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Requests that may wait to be written; a socket takes them at once unless the engine is stuck.
const REQUESTS_MAX: usize = 16;

/// How long connecting, hello included, may take.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(4);

/// How long a frame may take from its first to its last byte, either way.
const FRAME_DEADLINE: Duration = Duration::from_secs(5);

/// Pause before knocking again where the engine's backlog is full.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Longest text of the engine about itself that is kept.
const ABOUT_CHARS_MAX: usize = 1024;

/// The superuser may serve anybody.
const ROOT: u32 = 0;

/// So may the account a system engine runs as; only root can give a process to it.
const SYSTEM_USER: &str = "wheelhouse";

/// What a caller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// Its version.
    pub version: String,
    /// SHA-256 (hex) of the configuration it read; `None` if it read none.
    pub config_hash: Option<String>,
    /// Whether a person looks on (counts as attached).
    pub console: bool,
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloInfo {
    /// Its version.
    pub version: Clean,
    /// The configuration file it runs with.
    pub config_path: Clean,
    /// That configuration's SHA-256 (hex).
    pub config_hash: Clean,
    /// Who it takes the caller for.
    pub you: Actor,
    /// What the caller may do.
    pub role: Role,
}

impl HelloInfo {
    /// Whether the engine runs with another configuration than the one with this hash; false
    /// when the caller read none.
    pub fn differs(&self, config_hash: Option<&str>) -> bool {
        config_hash.is_some_and(|ours| ours != self.config_hash.as_str())
    }

    /// What somebody with a wheelhouse of version `ours` must know when the engine's differs in
    /// more than its last number; `None` when it does not. Whoever speaks the same protocol can
    /// look and abort; what only one of the two knows is refused by the other.
    pub fn skew(&self, ours: &str) -> Option<Clean> {
        let line = |version: &str| {
            let mut numbers = version.split('.').map(str::to_owned);
            (numbers.next(), numbers.next())
        };
        let theirs = self.version.as_str();
        (line(theirs) != line(ours)).then(|| {
            Clean::new(&format!(
                "the engine is version {theirs}, this wheelhouse {ours}: you can look, hold and \
                 abort; for all else use the same version on both sides"
            ))
        })
    }
}

impl ClientOptions {
    /// For a command of this program, which read this configuration.
    pub fn command(config_hash: Option<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash,
            console: false,
        }
    }

    /// For a console of this program: a person looks on.
    pub fn console(config_hash: Option<String>) -> Self {
        Self {
            console: true,
            ..Self::command(config_hash)
        }
    }
}

/// Why there is no connection. Nothing was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no engine answers at {path}; start one with `wheelhouse engine run`")]
    NotRunning {
        /// Where.
        path: Clean,
    },
    /// The kernel takes no longer paths.
    #[error(
        "the socket's path {path} has more than {PATH_BYTES_MAX} bytes; set a shorter state_dir"
    )]
    PathTooLong {
        /// The path.
        path: Clean,
    },
    /// Somebody else's process listens there; it was told nothing.
    #[error(
        "{path} is served by uid {uid}, neither you nor root nor the user {SYSTEM_USER}; do not \
         trust it, and see who owns its directory"
    )]
    Foreign {
        /// Where.
        path: Clean,
        /// Whose it is.
        uid: u32,
    },
    /// The engine refused.
    #[error("the engine at {path} refused: {why}")]
    Refused {
        /// Where.
        path: Clean,
        /// Its reason, with the mend.
        why: Clean,
    },
    /// It does not speak our protocol.
    #[error(
        "the engine at {path} speaks protocol {theirs}, this wheelhouse speaks {PROTOCOL}; use \
         the same version on both sides"
    )]
    Protocol {
        /// Where.
        path: Clean,
        /// What it speaks.
        theirs: u32,
    },
    /// It does not answer.
    #[error(
        "the engine at {path} did not say hello within {CONNECT_DEADLINE:?}; see whether its \
         process is stopped"
    )]
    Silent {
        /// Where.
        path: Clean,
    },
    /// It says something else than hello.
    #[error("the engine at {path} does not follow the protocol: {why}")]
    Nonsense {
        /// Where.
        path: Clean,
        /// What is wrong.
        why: Clean,
    },
    /// The connection failed.
    #[error("cannot talk to the engine at {path}; check the socket's owner and mode")]
    Io {
        /// Where.
        path: Clean,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It was not sent: certainly nothing happened.
    #[error("not sent, nothing was done: {why}")]
    NotSent {
        /// Why.
        why: Clean,
    },
    /// It was sent and not answered: it may or may not have happened.
    #[error("UNKNOWN, it may or may not have happened: {why}; look at the status first")]
    Unknown {
        /// Why.
        why: Clean,
    },
}

type Answer = oneshot::Sender<Result<Reply, AskError>>;

struct Outgoing {
    request: Request,
    answer: Answer,
}

/// A connection to an engine. Dropping it hangs up; requests that were sent are still carried
/// out.
#[derive(Debug)]
pub struct Client {
    outbox: mpsc::Sender<Outgoing>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ended: watch::Receiver<Option<Clean>>,
    _talk: AbortOnDropHandle<()>,
}

/// Snapshots as they come; one that is not taken is replaced by the next.
#[derive(Debug)]
pub struct Snapshots(watch::Receiver<Option<Arc<Snapshot>>>);

impl Snapshots {
    /// The next newer snapshot; `None` when the connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        loop {
            self.0.changed().await.ok()?;
            let newest = self.0.borrow_and_update().clone();
            if newest.is_some() {
                return newest;
            }
        }
    }

    /// The newest one so far.
    pub fn newest(&self) -> Option<Arc<Snapshot>> {
        self.0.borrow().clone()
    }
}

impl Client {
    /// Connects and says hello, within [`CONNECT_DEADLINE`]. Before anything is sent the kernel
    /// must say that the engine runs as the caller's own user, as root or as `wheelhouse`.
    ///
    /// # Errors
    /// Any [`ConnectError`]; only after [`ConnectError::NotRunning`] does it make sense to start
    /// an engine.
    pub async fn connect(
        socket: &Path,
        options: &ClientOptions,
    ) -> Result<(Self, HelloInfo), ConnectError> {
        let path = shown(socket);
        let Ok(connected) = timeout(CONNECT_DEADLINE, greet(socket, options)).await else {
            return Err(ConnectError::Silent { path });
        };
        let (hello, reader, output) = connected?;
        let (outbox, inbox) = mpsc::channel(REQUESTS_MAX);
        let (newest, snapshots) = watch::channel(None);
        let (end, ended) = watch::channel(None);
        let talk = tokio::spawn(talk(reader, output, inbox, newest, end));
        let client = Self {
            outbox,
            snapshots,
            ended,
            _talk: AbortOnDropHandle::new(talk),
        };
        Ok((client, hello))
    }

    /// Asks and waits for the reply. Several may be under way at once; none is ever repeated.
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Errors
    /// [`AskError::NotSent`] when nothing happened, [`AskError::Unknown`] when that is not known.
    pub async fn ask(&self, request: Request, deadline: Duration) -> Result<Reply, AskError> {
        let until = Instant::now() + deadline;
        let (answer, replied) = oneshot::channel();
        let outgoing = Outgoing { request, answer };
        match timeout_at(until, self.outbox.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let why = self.why_ended();
                return Err(AskError::NotSent { why });
            }
            Err(_) => {
                let why = "the engine takes no requests; see whether its process is stopped".into();
                return Err(AskError::NotSent { why });
            }
        }
        match timeout_at(until, replied).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(AskError::Unknown {
                why: self.why_ended(),
            }),
            Err(_) => Err(AskError::Unknown {
                why: Clean::new(&format!("no answer came within {deadline:?}")),
            }),
        }
    }

    /// Asks for snapshots from now on.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn watch(&self, deadline: Duration) -> Result<Snapshots, AskError> {
        let snapshots = Snapshots(self.snapshots.clone());
        match self.ask(Request::Watch, deadline).await? {
            Reply::Error { text } => Err(AskError::NotSent { why: text }),
            _ => Ok(snapshots),
        }
    }

    /// Why the connection ended, in words for people.
    pub fn why_ended(&self) -> Clean {
        let ended = self.ended.borrow().clone();
        ended.unwrap_or_else(|| "the connection to the engine ended".into())
    }
}

type Reader = FrameReader<OwnedReadHalf>;

async fn greet(
    socket: &Path,
    options: &ClientOptions,
) -> Result<(HelloInfo, Reader, OwnedWriteHalf), ConnectError> {
    let path = || shown(socket);
    let failed = |source| ConnectError::Io {
        path: path(),
        source,
    };
    let stream = knock(socket).await?;
    let uid = Peer::of(&stream).map_err(failed)?.uid;
    if !is_trusted(uid).await {
        return Err(ConnectError::Foreign { path: path(), uid });
    }
    let (input, mut output) = stream.into_split();
    let mut reader = FrameReader::new(input, FRAME_DEADLINE);
    let hello = ClientFrame::Hello {
        protocol: PROTOCOL,
        version: options.version.clone(),
        config_hash: options.config_hash.clone(),
        console: options.console,
    };
    let hello = encode(&hello).map_err(|error| nonsense(path(), error))?;
    // An engine that refuses may have closed already; its reason is still there to be read.
    let _ = write(&mut output, &hello, FRAME_DEADLINE).await;
    match reader.next().await {
        Ok(Some(frame)) => Ok((understand(path(), frame)?, reader, output)),
        Ok(None) => Err(ConnectError::Refused {
            path: path(),
            why: "it hung up without a word; see its log".into(),
        }),
        Err(FrameError::Io(source)) => Err(failed(source)),
        Err(error) => Err(nonsense(path(), error)),
    }
}

/// Whether a server of this uid may be told anything.
async fn is_trusted(uid: u32) -> bool {
    if uid == own_uid() || uid == ROOT {
        return true;
    }
    let system = tokio::task::spawn_blocking(|| uzers::get_user_by_name(SYSTEM_USER)).await;
    matches!(system, Ok(Some(user)) if user.uid() == uid)
}

/// Connects; waits where the backlog is full. The caller sets the deadline.
async fn knock(socket: &Path) -> Result<UnixStream, ConnectError> {
    let path = shown(socket);
    if !fits(socket) {
        return Err(ConnectError::PathTooLong { path });
    }
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => sleep(BUSY_PAUSE).await,
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    return Err(ConnectError::NotRunning { path });
                }
                _ => {
                    let source = error;
                    return Err(ConnectError::Io { path, source });
                }
            },
        }
    }
}

fn understand(path: Clean, frame: ServerFrame) -> Result<HelloInfo, ConnectError> {
    match frame {
        ServerFrame::Hello { protocol, .. } if protocol != PROTOCOL => {
            let theirs = protocol;
            Err(ConnectError::Protocol { path, theirs })
        }
        ServerFrame::Hello {
            version,
            config_path,
            config_hash,
            you,
            role,
            ..
        } => Ok(HelloInfo {
            version: Clean::line(&version, ABOUT_CHARS_MAX),
            config_path: Clean::line(&config_path, ABOUT_CHARS_MAX),
            config_hash: Clean::line(&config_hash, ABOUT_CHARS_MAX),
            you,
            role,
        }),
        ServerFrame::Bye { why } => Err(ConnectError::Refused { path, why }),
        ServerFrame::Reply { .. } | ServerFrame::Snapshot { .. } => Err(ConnectError::Nonsense {
            path,
            why: "its first frame is no hello".into(),
        }),
    }
}

fn nonsense(path: Clean, error: FrameError) -> ConnectError {
    let why = Clean::new(&error.to_string());
    ConnectError::Nonsense { path, why }
}

/// Requests that were sent and not answered.
#[derive(Default)]
struct Pending(Mutex<HashMap<u64, Answer>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request about to be sent, and forgets those nobody waits for any more.
    fn insert(&self, id: u64, answer: Answer) {
        let mut pending = self.lock();
        pending.retain(|_, answer| !answer.is_closed());
        pending.insert(id, answer);
    }

    fn answer(&self, id: u64, reply: Reply) {
        if let Some(answer) = self.lock().remove(&id) {
            // Whoever asked may have given up.
            let _ = answer.send(Ok(reply));
        }
    }
}

/// Carries a connection to its end, then settles every request that is still open.
async fn talk(
    reader: Reader,
    output: OwnedWriteHalf,
    mut inbox: mpsc::Receiver<Outgoing>,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    end: watch::Sender<Option<Clean>>,
) {
    let pending = Pending::default();
    let why = tokio::select! {
        // What arrived counts, even if writing fails at the same time: it may say why.
        biased;
        why = hear(reader, &pending, &newest) => why,
        () = say(output, &pending, &mut inbox) => "the engine closed the connection".into(),
    };
    end.send_replace(Some(why.clone()));
    inbox.close();
    while let Ok(outgoing) = inbox.try_recv() {
        let why = why.clone();
        let _ = outgoing.answer.send(Err(AskError::NotSent { why }));
    }
    for (_, answer) in pending.lock().drain() {
        let why = why.clone();
        let _ = answer.send(Err(AskError::Unknown { why }));
    }
}

/// Takes frames until the connection ends; says why it did.
async fn hear(
    mut reader: Reader,
    pending: &Pending,
    newest: &watch::Sender<Option<Arc<Snapshot>>>,
) -> Clean {
    loop {
        match reader.next().await {
            Ok(Some(ServerFrame::Reply { id, reply })) => pending.answer(id, reply),
            Ok(Some(ServerFrame::Snapshot { snapshot })) => {
                newest.send_replace(Some(snapshot));
            }
            Ok(Some(ServerFrame::Bye { why })) => return why,
            Ok(Some(ServerFrame::Hello { .. })) => return "the engine said hello twice".into(),
            Ok(None) => return "the engine closed the connection".into(),
            Err(error) => return Clean::new(&error.to_string()),
        }
    }
}

/// Sends requests until the connection fails. Those given up while they waited are not sent.
async fn say(mut output: OwnedWriteHalf, pending: &Pending, inbox: &mut mpsc::Receiver<Outgoing>) {
    let mut id = 0;
    while let Some(Outgoing { request, answer }) = inbox.recv().await {
        if answer.is_closed() {
            continue;
        }
        id += 1;
        match encode(&ClientFrame::Request { id, request }) {
            Err(error) => {
                let why = Clean::new(&error.to_string());
                let _ = answer.send(Err(AskError::NotSent { why }));
            }
            Ok(frame) => {
                pending.insert(id, answer);
                if write(&mut output, &frame, FRAME_DEADLINE).await.is_err() {
                    return;
                }
            }
        }
    }
}
