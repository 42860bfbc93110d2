//! An engine that shows what it is told to and remembers what it was asked to do.

use crate::console::fixture::NOW_MS;
use crate::console::scene::{abort, promote};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wheelhouse::link::wire::{CommandRequest, Reply, Request};
use wheelhouse::link::{EngineSide, ServerHello, ServerOptions, Trouble, bind, serve};
use wheelhouse::model::command::Answer;
use wheelhouse::model::{Actor, RolloutNumber};
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::Attached;

struct Script {
    snapshots: watch::Sender<Arc<Snapshot>>,
    commands: Mutex<Vec<Request>>,
}

impl EngineSide for Script {
    fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    async fn ask(&self, _: Actor, request: Request) -> Reply {
        match &request {
            Request::Preview { command } => Reply::Preview {
                preview: Box::new(match command {
                    CommandRequest::Promote { .. } => promote(),
                    _ => abort(),
                }),
            },
            Request::Command { .. } => {
                self.commands.lock().expect("no panic").push(request);
                let answer = Answer::Accepted {
                    seq: 50,
                    number: RolloutNumber(1_841),
                    revision: 14,
                };
                Reply::Answer { answer }
            }
            Request::History { .. } => Reply::History { rows: Vec::new() },
            Request::Logs { from, .. } => Reply::Logs {
                next: *from,
                skipped: 0,
                lines: Vec::new(),
            },
            _ => Reply::Done,
        }
    }

    fn attached(&self, _: Vec<Attached>) {}

    fn trouble(&self, _: Trouble) {}

    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

pub struct Engine {
    dir: tempfile::TempDir,
    config: PathBuf,
    script: Arc<Script>,
    runtime: Runtime,
    shutdown: CancellationToken,
    doors: Option<tokio::task::JoinHandle<()>>,
}

const CONFIG: &str = r#"
[env.production]
protected = true
[service.shop]
listen = "127.0.0.1:28999"
command = ["/bin/true"]
[service.shop.health]
path = "/"
[service.shop.env.production]
"#;

impl Engine {
    pub fn start(snapshot: Snapshot) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = dir.path().join("state");
        let config = dir.path().join("w.toml");
        let text = format!("state_dir = {:?}\n{CONFIG}", state.display().to_string());
        std::fs::write(&config, text).expect("writable");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let mut engine = Self {
            dir,
            config,
            script: Arc::new(Script {
                snapshots: watch::Sender::new(Arc::new(snapshot)),
                commands: Mutex::default(),
            }),
            runtime: runtime.expect("threads"),
            shutdown: CancellationToken::new(),
            doors: None,
        };
        engine.open();
        engine
    }

    fn open(&mut self) {
        use std::os::unix::fs::DirBuilderExt;
        let state = self.dir.path().join("state");
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .expect("writable");
        let socket = self
            .runtime
            .block_on(bind(&state))
            .expect("the socket is free");
        let loaded = wheelhouse::config::Config::load(std::slice::from_ref(&self.config));
        let options = ServerOptions::personal(ServerHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_path: self.config.display().to_string(),
            config_hash: loaded.expect("the configuration is valid").hash,
        });
        let (script, shutdown) = (self.script.clone(), self.shutdown.clone());
        self.doors = Some(self.runtime.spawn(serve(socket, options, script, shutdown)));
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn publish(&self, snapshot: Snapshot) {
        self.script.snapshots.send_replace(Arc::new(snapshot));
    }

    pub fn commands(&self) -> Vec<Request> {
        self.script.commands.lock().expect("no panic").clone()
    }

    /// Ends, lets something happen, and begins again.
    pub fn restart(mut self, meanwhile: impl FnOnce()) -> Self {
        self.shutdown.cancel();
        if let Some(doors) = self.doors.take() {
            self.runtime.block_on(doors).expect("no panic");
        }
        meanwhile();
        self.shutdown = CancellationToken::new();
        self.open();
        self
    }
}
