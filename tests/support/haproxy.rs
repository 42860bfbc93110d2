//! A real HAProxy for tests: started on loopback in a temporary directory, reloaded, stopped and
//! killed, with small instances behind it.
#![allow(dead_code, reason = "each test binary uses its part")]

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener as Reserved};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wheelhouse::balancer::haproxy::{HaproxyBalancer, HaproxyOptions, Shares, Snippet, snippet};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::{Backend, HttpCheck, Server};
use wheelhouse::model::{Outcome, ServerName};
use wheelhouse::ports::Balancer;

/// How long a foreign process may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whether HAProxy is here. Where `CI` or `WHEELHOUSE_TESTS_STRICT` is 1 it must be.
pub fn installed() -> bool {
    crate::needs::has("haproxy", "-v")
}

/// Polls until a foreign process did what is waited for.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An address nobody listens on at the moment.
pub fn free_address() -> SocketAddr {
    let reserved = Reserved::bind("127.0.0.1:0").expect("a loopback port");
    reserved.local_addr().expect("its address")
}

pub fn server(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

/// What an instance does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behaviour {
    /// Answers 200 with its name.
    Works,
    /// Answers 500, but 200 on /readyz.
    Fails,
    /// Reads and closes without a word.
    Closes,
}

/// A small HTTP server that counts what it answered.
pub struct Instance {
    pub address: SocketAddr,
    pub answered: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Instance {
    pub async fn start(name: &'static str, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                if behaviour == Behaviour::Closes {
                    tokio::spawn(read_and_close(stream));
                    continue;
                }
                let count = Arc::clone(&count);
                let service = service_fn(move |request: Request<Incoming>| {
                    let ready = request.uri().path() == "/readyz";
                    if !ready {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    let status = if ready || behaviour == Behaviour::Works {
                        200
                    } else {
                        500
                    };
                    let answer = Response::builder()
                        .status(status)
                        .body(Full::new(Bytes::from_static(name.as_bytes())))
                        .expect("an answer");
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            answered,
            task,
        }
    }

    pub fn count(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the request before it closes: what is closed with bytes unread is reset instead.
async fn read_and_close(stream: TcpStream) {
    let _ = stream.readable().await;
    let _ = stream.try_read(&mut [0; 4096]);
}

/// A running HAProxy in master-worker mode with one backend `web`.
pub struct Haproxy {
    pub directory: TempDir,
    pub backend: Backend,
    pub servers: Vec<(ServerName, SocketAddr)>,
    pub listen: SocketAddr,
    master: Child,
}

impl Haproxy {
    /// Starts it from our own snippet.
    pub async fn start(addresses: &[SocketAddr]) -> Self {
        Self::start_edited(addresses, |text| text).await
    }

    /// Starts it from our own snippet after an edit.
    pub async fn start_edited(
        addresses: &[SocketAddr],
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let backend = Backend {
            balancer: "lb".parse().expect("a name"),
            backend: "web".parse().expect("a name"),
        };
        let named =
            |(i, address): (usize, &SocketAddr)| (server(&format!("web{}", i + 1)), *address);
        let servers: Vec<_> = addresses.iter().enumerate().map(named).collect();
        let listen = free_address();
        let text = edit(text(directory.path(), &backend, listen, &servers));
        Self::start_configured(directory, backend, servers, listen, &text).await
    }

    /// Starts it from a haproxy.cfg whose stats socket is `admin.sock` in this directory.
    pub async fn start_configured(
        directory: TempDir,
        backend: Backend,
        servers: Vec<(ServerName, SocketAddr)>,
        listen: SocketAddr,
        text: &str,
    ) -> Self {
        fs::write(directory.path().join("haproxy.cfg"), text).expect("haproxy.cfg");
        let master = spawn(directory.path());
        let started = Self {
            directory,
            backend,
            servers,
            listen,
            master,
        };
        started.wait_answering().await;
        started
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn options(&self) -> HaproxyOptions {
        HaproxyOptions {
            name: "lb".parse().expect("a name"),
            socket: self.path("admin.sock"),
            state_file: self.path("{backend}.state"),
            shares: Shares::Exact,
            log: None,
        }
    }

    pub fn balancer(&self) -> HaproxyBalancer {
        HaproxyBalancer::new(self.options())
    }

    pub fn configuration(&self) -> String {
        fs::read_to_string(self.path("haproxy.cfg")).expect("haproxy.cfg")
    }

    /// Changes haproxy.cfg; takes effect at the next reload or start.
    pub fn edit(&self, edit: impl FnOnce(String) -> String) {
        fs::write(self.path("haproxy.cfg"), edit(self.configuration())).expect("haproxy.cfg");
    }

    /// Sets servers by position and expects it to be applied.
    pub async fn set(&self, settings: &[(usize, ServerSetting)]) {
        let settings: Vec<_> = settings
            .iter()
            .map(|(at, setting)| (self.servers[*at].0.clone(), *setting))
            .collect();
        let written = self.balancer().write(&self.backend, &settings).await;
        assert_eq!(written.outcome, Outcome::Applied);
    }

    /// The worker's pid.
    pub async fn worker(&self) -> Pid {
        let reading = self
            .balancer()
            .read(&self.backend)
            .await
            .expect("a reading");
        let pid = reading
            .epoch
            .split('@')
            .next()
            .and_then(|pid| pid.parse().ok());
        Pid::from_raw(pid.expect("a pid in the epoch")).expect("a pid")
    }

    /// Reloads and waits until the new worker answers. A signal that meets the master while it
    /// still settles after the last reload is lost (measured), so it is sent again.
    pub async fn reload(&self) {
        const LOST: Duration = Duration::from_secs(2);
        let old = format!("{}@", self.worker().await.as_raw_nonzero());
        let mut sent: Option<Instant> = None;
        until("the new worker", async || {
            if sent.is_none_or(|sent| sent.elapsed() > LOST) {
                kill_process(Pid::from_child(&self.master), Signal::USR2).expect("a signal");
                sent = Some(Instant::now());
            }
            let read = self.balancer().read(&self.backend).await;
            read.is_ok_and(|now| !now.epoch.starts_with(&old))
        })
        .await;
    }

    /// Kills everything of it at once, as a power cut would, and waits until it is gone.
    pub async fn crash(&mut self) {
        self.kill();
        until("the end of HAProxy", async || !self.answers().await).await;
    }

    fn kill(&mut self) {
        for worker in self.workers() {
            let _ = kill_process(worker, Signal::KILL);
        }
        let _ = self.master.kill();
        let _ = self.master.wait();
    }

    /// Starts it again from the same directory.
    pub async fn start_again(&mut self) {
        self.master = spawn(self.directory.path());
        self.wait_answering().await;
    }

    fn workers(&self) -> Vec<Pid> {
        let master = self.master.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }

    async fn wait_answering(&self) {
        until("HAProxy's first answer", async || self.answers().await).await;
    }

    /// Whether somebody listens; a socket left by a killed one refuses.
    async fn answers(&self) -> bool {
        tokio::net::UnixStream::connect(self.path("admin.sock"))
            .await
            .is_ok()
    }

    /// One GET on a fresh connection: the status and the body, or why there was none.
    pub async fn get(&self) -> Result<(u16, String), String> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build();
        let url = format!("http://{}/", self.listen);
        let answer = client.expect("a client").get(url).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        Ok((
            status,
            answer.text().await.map_err(|error| format!("{error:?}"))?,
        ))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text(
    directory: &Path,
    backend: &Backend,
    listen: SocketAddr,
    servers: &[(ServerName, SocketAddr)],
) -> String {
    let servers: Vec<Server> = servers
        .iter()
        .map(|(name, address)| Server {
            name: name.clone(),
            address: *address,
            runtime: None,
        })
        .collect();
    snippet(&Snippet {
        socket: &directory.join("admin.sock"),
        state_file: &directory.join(format!("{}.state", backend.backend)),
        backend: &backend.backend,
        listen,
        health: Some(&HttpCheck::get("/readyz")),
        servers: &servers,
        shares: Shares::Exact,
        log: None,
    })
}

fn spawn(directory: &Path) -> Child {
    let log = fs::File::create(directory.join("haproxy.log")).expect("a log");
    Command::new("haproxy")
        .args(["-W", "-f"])
        .arg(directory.join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("haproxy")
}
