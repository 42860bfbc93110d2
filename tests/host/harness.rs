//! A host in a process of its own, and what the tests ask of it.

use crate::contract::eventually;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;
use wheelhouse::balancer::embedded::EmbeddedBalancer;
use wheelhouse::host::wire::client::HostClient;
use wheelhouse::host::wire::{BackendBody, Status};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::{Backend, Server, Workload};
use wheelhouse::model::world::{InstanceView, ServerView};
use wheelhouse::model::{Name, Outcome, Placement, ReleaseId, ServerName};
use wheelhouse::ports::{Balancer, Runtime, Start, Stop};
use wheelhouse::runtime::host::HostRuntime;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");

/// A host that ends with the test.
pub struct HostProcess {
    child: Child,
    dir: TempDir,
    arguments: Vec<String>,
}

impl HostProcess {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(dir.path(), &arguments);
        let host = Self {
            child,
            dir,
            arguments,
        };
        host.answers().await;
        host
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("host.sock")
    }

    /// What `--state-dir` named: the socket is in it, and the host's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where it keeps the recorded set and the logs.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn runtime(&self) -> HostRuntime {
        HostRuntime::new(&self.socket()).expect("a client")
    }

    pub async fn status(&self) -> Option<Status> {
        let client = HostClient::new(&self.socket()).expect("a client");
        client.get("/status", Duration::from_secs(1)).await.ok()
    }

    async fn answers(&self) {
        let me = self.pid();
        eventually("the host answers", || async {
            self.status().await.filter(|status| status.pid == me)
        })
        .await;
    }

    /// Kills the host as a crash would, and starts another in its place.
    pub async fn crash_and_return(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
        self.child = spawn(self.dir.path(), &self.arguments);
        self.answers().await;
    }

    /// Stops the host in order; returns once it is gone.
    pub async fn stop(&mut self) {
        signal(self.pid(), Signal::TERM);
        let child = std::sync::Mutex::new(&mut self.child);
        let status = eventually("the host ends", || async {
            child
                .lock()
                .expect("not poisoned")
                .try_wait()
                .expect("readable")
        })
        .await;
        assert!(status.success(), "{status}");
    }

    pub async fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.arguments);
        self.answers().await;
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal(self.pid(), Signal::TERM);
        for _ in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, arguments: &[String]) -> Child {
    let output = if std::env::var_os("HOST_TEST_OUTPUT").is_some() {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    Command::new(PROGRAM)
        .args(["host", "--state-dir"])
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(output)
        .spawn()
        .expect("the host starts")
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Whether a process exists and is more than a name to be reaped.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

/// An address nobody uses, below the range from which the kernel gives out client ports.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (std::process::id() * 37 + step) % 12_000;
        let address = format!("127.0.0.1:{port}").parse().expect("valid");
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub fn placement() -> Placement {
    "shop@test".parse().expect("valid")
}

/// A start of this command behind this server.
pub fn start(server: &str, address: SocketAddr, command: &[&str]) -> Start {
    static NEXT: AtomicU64 = AtomicU64::new(100);
    Start {
        id: NEXT.fetch_add(10, Ordering::Relaxed),
        placement: placement(),
        server: server.parse().expect("valid"),
        address,
        release: ReleaseId(Uuid::now_v7()),
        workload: Workload {
            command: command.iter().map(ToString::to_string).collect(),
            env: BTreeMap::new(),
            directory: None,
            stop_grace_ms: 2_000,
            quiet: None,
            container: None,
        },
        keep_running: false,
        rollout: None,
    }
}

/// A start of the demo service behind this server.
pub fn demo(server: &str, address: SocketAddr, version: &str, more: &[&str]) -> Start {
    let mut command = vec![
        PROGRAM,
        "demo-service",
        "--address",
        "{address}",
        "--version",
        version,
    ];
    command.extend(more);
    start(server, address, &command)
}

pub async fn view(runtime: &HostRuntime, server: &str) -> Option<InstanceView> {
    let server: ServerName = server.parse().expect("valid");
    crate::contract::runtime::view(runtime, &placement(), &server).await
}

pub async fn must_start(runtime: &HostRuntime, start: Start) {
    let written = runtime.start(start).await;
    assert_eq!(written.outcome, Outcome::Applied);
}

/// A backend of demo services, declared and running, every server out of traffic.
pub struct Shop {
    pub listen: SocketAddr,
    pub servers: Vec<Server>,
    pub balancer: EmbeddedBalancer,
    pub runtime: HostRuntime,
    pub backend: Backend,
}

impl Shop {
    /// Servers `web1`, `web2`… of these versions, each answering.
    pub async fn open(host: &HostProcess, versions: &[&str], more: &[&str]) -> Self {
        let shop = Self::declare(host, versions.len());
        for (server, version) in shop.servers.iter().zip(versions) {
            must_start(
                &shop.runtime,
                demo(server.name.as_str(), server.address, version, more),
            )
            .await;
        }
        for server in &shop.servers {
            answers(server.address).await;
        }
        shop
    }

    /// Servers behind which nobody was started.
    pub fn declare(host: &HostProcess, count: usize) -> Self {
        let servers = (1..=count).map(|n| Server {
            name: format!("web{n}").parse().expect("valid"),
            address: free_address(),
            runtime: None,
        });
        Self::of(host, servers.collect())
    }

    /// A backend of these servers.
    pub fn of(host: &HostProcess, servers: Vec<Server>) -> Self {
        let listen = free_address();
        let name: Name = "shop".parse().expect("valid");
        let body = BackendBody {
            listen,
            servers: servers.clone(),
        };
        let backends = BTreeMap::from([(name.clone(), body)]);
        let balancer = EmbeddedBalancer::new(&host.socket(), backends).expect("a client");
        Self {
            listen,
            servers,
            balancer,
            runtime: host.runtime(),
            backend: Backend {
                balancer: "embedded".parse().expect("valid"),
                backend: name,
            },
        }
    }

    /// Sets the servers' weights in order; `None` is out of traffic.
    pub async fn weights(&self, weights: &[Option<u16>]) {
        let settings: Vec<(ServerName, ServerSetting)> = self
            .servers
            .iter()
            .zip(weights)
            .map(|(server, weight)| {
                let setting = weight.map_or(ServerSetting::OUT, ServerSetting::ready);
                (server.name.clone(), setting)
            })
            .collect();
        let written = self.balancer.write(&self.backend, &settings).await;
        assert_eq!(written.outcome, Outcome::Applied);
    }

    pub async fn server(&self, index: usize) -> ServerView {
        let reading = self.balancer.read(&self.backend).await.expect("readable");
        reading.servers[&self.servers[index].name].clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// Waits until nothing is under way on a server.
    pub async fn drained(&self, index: usize) {
        eventually("the server is idle", || async {
            (self.server(index).await.sessions == 0).then_some(())
        })
        .await;
    }

    pub async fn stop(&self, index: usize) {
        let server = &self.servers[index].name;
        let stopped = self
            .runtime
            .stop(Stop::of(&placement(), server, 2_000))
            .await;
        assert_eq!(stopped.outcome, Outcome::Applied);
    }
}

/// Waits until somebody accepts connections there.
pub async fn answers(address: SocketAddr) {
    eventually("the service accepts connections", || async {
        tokio::net::TcpStream::connect(address).await.ok().map(drop)
    })
    .await;
}

/// A client that keeps its connections and knows no proxies.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}
