//! An engine that answers by a script, and a caller that controls each byte.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wheelhouse::link::frame::encode;
use wheelhouse::link::wire::{ClientFrame, CommandRequest, PROTOCOL, Reply, Request, ServerFrame};
use wheelhouse::link::{
    BoundSocket, Client, ClientOptions, EngineSide, HelloInfo, Limits, ServerHello, ServerOptions,
    Trouble, bind, serve, socket_path,
};
use wheelhouse::model::command::{Answer, Refusal};
use wheelhouse::model::input::EngineInfo;
use wheelhouse::model::{Actor, Clean};
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::{Attached, EngineView, TimelineRow};

/// Longest wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Hash of the configuration the scripted engine runs with.
pub const HASH: &str = "engine-hash";

/// Waits for what must come.
pub async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Answers commands at once and [`Request::History`] only when the gate is opened.
pub struct Script {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub asked: watch::Sender<Vec<(Actor, Request)>>,
    pub attached: watch::Sender<Vec<Attached>>,
    pub troubles: watch::Sender<Vec<Trouble>>,
    pub denied: watch::Sender<Vec<(Actor, CommandRequest, Clean)>>,
    pub gate: Semaphore,
}

impl Script {
    fn new() -> Self {
        Self {
            snapshots: watch::Sender::new(Arc::new(snapshot(0, 0))),
            asked: watch::Sender::default(),
            attached: watch::Sender::default(),
            troubles: watch::Sender::default(),
            denied: watch::Sender::default(),
            gate: Semaphore::new(0),
        }
    }

    /// Waits until this many requests arrived that fit.
    pub async fn was_asked(&self, count: usize, fits: impl Fn(&Request) -> bool) {
        let enough = |asked: &Vec<(Actor, Request)>| {
            asked.iter().filter(|(_, request)| fits(request)).count() >= count
        };
        let mut asked = self.asked.subscribe();
        let waited = soon("the engine is asked", asked.wait_for(enough)).await;
        waited.expect("the script lives");
    }

    /// Waits until this many consoles are attached.
    pub async fn has_attached(&self, count: usize) {
        let mut attached = self.attached.subscribe();
        let waited = attached.wait_for(|attached| attached.len() == count);
        let waited = soon("consoles are attached", waited).await;
        waited.expect("the script lives");
    }

    /// Waits for a trouble that fits.
    pub async fn has_trouble(&self, fits: impl Fn(&Trouble) -> bool) -> Trouble {
        let mut troubles = self.troubles.subscribe();
        let waited = troubles.wait_for(|troubles| troubles.iter().any(&fits));
        let found = soon("the engine hears of the trouble", waited).await;
        let found = found.expect("the script lives");
        let one = found.iter().find(|trouble| fits(trouble));
        one.expect("it was found").clone()
    }
}

impl EngineSide for Script {
    fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    async fn ask(&self, by: Actor, request: Request) -> Reply {
        let is_slow = matches!(request, Request::History { .. });
        self.asked
            .send_modify(|asked| asked.push((by, request.clone())));
        if is_slow {
            let permit = self.gate.acquire().await.expect("never closed");
            permit.forget();
            return Reply::History { rows: Vec::new() };
        }
        match request {
            Request::Command { command } => Reply::Answer {
                answer: Answer::Already {
                    what: command.verb().into(),
                },
            },
            _ => Reply::Done,
        }
    }

    async fn denied(&self, by: Actor, command: CommandRequest, why: Clean) -> Reply {
        self.denied
            .send_modify(|denied| denied.push((by, command, why.clone())));
        let answer = Answer::Refused(Refusal::Forbidden { why });
        Reply::Answer { answer }
    }

    fn attached(&self, consoles: Vec<Attached>) {
        self.attached.send_replace(consoles);
    }

    fn trouble(&self, trouble: Trouble) {
        self.troubles
            .send_modify(|troubles| troubles.push(trouble.clone()));
    }

    fn now_ms(&self) -> u64 {
        7
    }
}

/// A snapshot known by its time, with this many bytes of timeline.
pub fn snapshot(now_ms: u64, bytes: usize) -> Snapshot {
    let text = Clean::new(&"x".repeat(1_000));
    let row = |seq| TimelineRow {
        seq,
        at_ms: 0,
        actor: "engine".into(),
        placement: None,
        text: text.clone(),
    };
    let rows = u64::try_from(bytes / 1_000).expect("small");
    Snapshot {
        engine: EngineView {
            info: EngineInfo {
                version: "1".to_owned(),
                pid: 1,
                host: "here".into(),
                config_hash: HASH.to_owned(),
            },
            now_ms,
            started_ms: 0,
            seq: 0,
            history_trouble: None,
            newer: false,
            consoles: Vec::new(),
            read_only: Vec::new(),
            timeline: (1..=rows).map(row).collect(),
        },
        placements: Vec::new(),
        runs: Vec::new(),
    }
}

/// A scripted engine behind a real socket; ends with the test.
pub struct Engine {
    pub script: Arc<Script>,
    pub socket: PathBuf,
    pub shutdown: CancellationToken,
    serving: JoinHandle<()>,
    dir: Option<TempDir>,
}

/// Those of an engine, but short enough to be waited for.
pub fn limits() -> Limits {
    Limits {
        hello: Duration::from_millis(500),
        read: Duration::from_millis(500),
        write: Duration::from_millis(500),
        ..Limits::default()
    }
}

pub fn options(limits: Limits) -> ServerOptions {
    let hello = ServerHello {
        version: "9.9".to_owned(),
        config_path: "/etc/shop.toml".to_owned(),
        config_hash: HASH.to_owned(),
    };
    ServerOptions {
        limits,
        ..ServerOptions::personal(hello)
    }
}

impl Engine {
    pub async fn start() -> Self {
        Self::with(options(limits())).await
    }

    pub async fn with(options: ServerOptions) -> Self {
        let dir = private_dir();
        let bound = bind(dir.path()).await.expect("bound");
        let mut engine = Self::on(bound, options);
        engine.dir = Some(dir);
        engine
    }

    /// An engine on a socket that is there already.
    pub fn on(bound: BoundSocket, options: ServerOptions) -> Self {
        let script = Arc::new(Script::new());
        let shutdown = CancellationToken::new();
        let socket = bound.path().to_owned();
        let serving = serve(bound, options, Arc::clone(&script), shutdown.clone());
        Self {
            script,
            socket,
            shutdown,
            serving: tokio::spawn(serving),
            dir: None,
        }
    }

    /// Ends it and waits until it has.
    pub async fn stop(self) -> Option<TempDir> {
        self.shutdown.cancel();
        let ended = soon("the engine ends", self.serving).await;
        ended.expect("no panic");
        self.dir
    }

    pub async fn client(&self) -> (Client, HelloInfo) {
        let connected = Client::connect(&self.socket, &caller(false)).await;
        connected.expect("connected")
    }

    /// Fails unless somebody new is let in and served.
    pub async fn serves_others(&self) {
        let (client, _) = self.client().await;
        let reply = client.ask(Request::Snapshot, PATIENCE).await;
        assert!(matches!(reply, Ok(Reply::Snapshot { .. })), "{reply:?}");
    }
}

pub fn caller(console: bool) -> ClientOptions {
    ClientOptions {
        version: "1".to_owned(),
        config_hash: Some(HASH.to_owned()),
        console,
    }
}

/// A directory fit for a socket.
pub fn private_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new().permissions(mode).tempdir();
    dir.expect("a temporary directory")
}

pub fn abort() -> Request {
    Request::Command {
        command: CommandRequest::Abort {
            placement: "shop@prod".parse().expect("valid"),
            reason: None,
        },
    }
}

pub fn is_abort(request: &Request) -> bool {
    *request == abort()
}

/// One connection without the client's manners.
pub struct Raw(pub UnixStream);

impl Raw {
    pub async fn to(engine: &Engine) -> Self {
        let path = socket_path(engine.socket.parent().expect("in a directory"));
        Self(UnixStream::connect(path).await.expect("connected"))
    }

    /// As above, and has said hello.
    pub async fn greeted(engine: &Engine) -> Self {
        let mut raw = Self::to(engine).await;
        raw.say(&hello(PROTOCOL)).await;
        let heard = raw.hear().await;
        assert!(
            matches!(heard, Some(ServerFrame::Hello { .. })),
            "{heard:?}"
        );
        raw
    }

    pub async fn say(&mut self, frame: &ClientFrame) {
        self.send(&encode(frame).expect("short")).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn hear(&mut self) -> Option<ServerFrame> {
        let json = self.take_frame().await?;
        Some(serde_json::from_slice(&json).expect("a frame"))
    }

    /// The next frame as it is.
    pub async fn take_frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let length = self.0.read_u32().await.ok()?;
            let mut json = vec![0; usize::try_from(length).expect("fits")];
            self.0.read_exact(&mut json).await.ok()?;
            Some(json)
        };
        soon("a frame or the end", read).await
    }

    /// Fails unless the engine says goodbye, for a reason that says this, and hangs up.
    pub async fn is_sent_away(&mut self, because: &str) {
        match self.hear().await {
            Some(ServerFrame::Bye { why }) => assert!(why.as_str().contains(because), "{why}"),
            other => panic!("no goodbye: {other:?}"),
        }
        assert_eq!(self.hear().await, None);
    }
}

pub fn hello(protocol: u32) -> ClientFrame {
    ClientFrame::Hello {
        protocol,
        version: "0.0.1".to_owned(),
        config_hash: None,
        console: false,
    }
}

pub fn request(id: u64, request: Request) -> ClientFrame {
    ClientFrame::Request { id, request }
}
