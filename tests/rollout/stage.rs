//! A stage for one scenario: a directory, a host, an engine, and what stands in front.

use crate::haproxy::{Haproxy, installed, until};
use crate::load::Load;
use crate::process::{PROGRAM, Process};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use wheelhouse::balancer::Balancer;
use wheelhouse::balancer::embedded::EmbeddedBalancer;
use wheelhouse::link::{Client, ClientOptions, socket_path};
use wheelhouse::model::command::Answer;
use wheelhouse::model::service::Backend;
use wheelhouse::model::world::BalancerReading;
use wheelhouse::model::{Placement, RolloutNumber, Status};
use wheelhouse::ports::Balancer as _;
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::{PhaseView, PlacementView};

pub const SERVICE: &str = "shop";
pub const ENVIRONMENT: &str = "production";
/// One answer in twenty of this version is an error.
pub const BAD: &str = "v3";
/// This version takes its time.
pub const SLOW: &str = "v4";

/// How long a scenario may wait for one thing to happen.
const PATIENCE: Duration = Duration::from_secs(40);
/// Servers of a stage: twice its instances.
const SERVERS: u16 = 6;
/// Stages at a time: each is six instances, a host, an engine and a load.
pub static STAGES: Semaphore = Semaphore::const_new(2);

/// What stands in front of the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    Embedded,
    Haproxy,
}

/// How a scenario's rollouts go.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub steps: &'static str,
    pub soak: &'static str,
    pub min_requests: u32,
    pub slow_start_ms: u32,
    /// The limit on the mean response; a HAProxy then logs to the engine.
    pub mean_ms: &'static str,
}

/// Quick steps.
pub const QUICK: Pace = Pace {
    steps: "[10, 50, 100]",
    soak: "1s",
    min_requests: 20,
    slow_start_ms: 0,
    mean_ms: "false",
};

/// A first step that waits for what the scenario does to it.
pub const WAITING: Pace = Pace {
    steps: "[{ weight = 25, pause = true }, 100]",
    soak: "1s",
    min_requests: 20,
    slow_start_ms: 0,
    mean_ms: "false",
};

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub struct Stage {
    pub dir: TempDir,
    pub config: PathBuf,
    pub listen: SocketAddr,
    pub haproxy: Option<Haproxy>,
    pub engine: Process,
    pub host: Process,
    addresses: BTreeMap<String, SocketAddr>,
    _place: SemaphorePermit<'static>,
}

impl Stage {
    /// Sets the stage with `v1` serving; `None` where the front is not installed.
    pub async fn set(front: Front, pace: Pace) -> Option<Self> {
        Self::set_with(front, pace, "").await
    }

    /// The same, with more tables in its configuration.
    pub async fn set_with(front: Front, pace: Pace, tables: &str) -> Option<Self> {
        Self::set_by("canary", front, pace, tables).await
    }

    /// The same, for a service that is deployed by this strategy.
    pub async fn set_by(strategy: &str, front: Front, pace: Pace, tables: &str) -> Option<Self> {
        Self::set_as(strategy, front, pace, |text, _| text + tables).await
    }

    /// The same, with an edit of its configuration, which lies in the directory that it is given.
    pub async fn set_as(
        strategy: &str,
        front: Front,
        pace: Pace,
        edit: impl FnOnce(String, &Path) -> String,
    ) -> Option<Self> {
        if front == Front::Haproxy && !installed() {
            return None;
        }
        let place = STAGES.acquire().await.expect("never closed");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lb = tempfile::tempdir().expect("a temporary directory");
        let ports = free_ports();
        let listen = loopback(ports);
        let addresses: BTreeMap<_, _> = (1..=SERVERS)
            .map(|n| (format!("s{n}"), loopback(ports + n)))
            .collect();
        let config = dir.path().join("wheelhouse.toml");
        let text = configuration(front, pace, dir.path(), lb.path(), listen, &addresses);
        let text = text.replace(
            "instances = 3\n",
            &format!("instances = 3\nstrategy = \"{strategy}\"\n"),
        );
        let text = edit(text, dir.path());
        std::fs::write(&config, text).expect("a configuration");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let haproxy = match front {
            Front::Embedded => None,
            Front::Haproxy => Some(start_haproxy(&config, lb, listen, &addresses).await),
        };
        let host = Process::start(&config, dir.path().join("host.log"), &["host"]);
        let engine = Process::start(&config, dir.path().join("engine.log"), &["engine", "run"]);
        let stage = Self {
            dir,
            config,
            listen,
            haproxy,
            engine,
            host,
            addresses,
            _place: place,
        };
        stage.host_answers().await;
        match strategy {
            "rolling" => {
                let number = stage.deploy("v1").await;
                stage.ends(number, Status::Succeeded).await;
            }
            _ => stage.first("v1").await,
        }
        Some(stage)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn load(&self) -> Load {
        Load::start(self.listen)
    }

    /// Runs a command of the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        run(&self.config, arguments).await
    }

    /// Runs one on the stage's service that must be accepted.
    pub async fn does(&self, arguments: &[&str]) -> Said {
        let mut all = arguments.to_vec();
        all.extend(["-e", ENVIRONMENT, "--confirm", ENVIRONMENT]);
        let said = self.run(&all).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    /// Deploys a version; gives the rollout's number.
    pub async fn deploy(&self, version: &str) -> RolloutNumber {
        self.begins(&["deploy", SERVICE, version]).await
    }

    /// Deploys a version under load, at the pace [`WAITING`], and waits for its first soak.
    pub async fn waits_at_a_quarter(&self, version: &str) -> (Load, RolloutNumber) {
        let load = self.load();
        let number = self.deploy(version).await;
        self.soaks_at(25.0).await;
        (load, number)
    }

    /// Runs a command that begins a rollout; gives its number.
    pub async fn begins(&self, arguments: &[&str]) -> RolloutNumber {
        let said = self.does(&[arguments, &["--json"]].concat()).await;
        match serde_json::from_str(&said.out) {
            Ok(Answer::Accepted { number, .. }) => number,
            other => panic!("{arguments:?}: {other:?}, {said:?}"),
        }
    }

    /// Promotes; again where the rollout moved on meanwhile, as a person would.
    pub async fn promote(&self, how: &[&str]) {
        let mut all = vec![
            "promote",
            SERVICE,
            "-e",
            ENVIRONMENT,
            "--confirm",
            ENVIRONMENT,
        ];
        all.extend(how);
        until("a promote that is accepted", async || {
            self.run(&all).await.code == 0
        })
        .await;
    }

    async fn first(&self, version: &str) {
        let number = self.deploy(version).await;
        self.until("the first deploy to serve", |view| {
            view.rollout
                .as_ref()
                .is_some_and(|open| open.phase == PhaseView::Soaking)
        })
        .await;
        self.promote(&["--full"]).await;
        self.ends(number, Status::Succeeded).await;
    }

    /// Waits for a rollout's end, which must be this one; says why it ended.
    pub async fn ends(&self, number: RolloutNumber, status: Status) -> String {
        let view = self
            .until(&format!("the end of {number}"), |view| {
                view.last.as_ref().is_some_and(|last| last.number == number)
            })
            .await;
        let last = view.last.expect("just seen");
        assert_eq!(last.status, status, "{}", last.because);
        last.because.to_string()
    }

    /// Waits until the new version soaks with this share, by the balancer's weights.
    pub async fn soaks_at(&self, percent: f64) -> PlacementView {
        self.until(&format!("a soak at {percent} %"), |view| {
            let soaks = view
                .rollout
                .as_ref()
                .is_some_and(|open| open.phase == PhaseView::Soaking);
            soaks && view.traffic.applied_percent == Some(percent)
        })
        .await
    }

    /// Waits until what the engine shows of the service is as wanted. Engines may come and go.
    pub async fn until(
        &self,
        what: &str,
        mut wanted: impl FnMut(&PlacementView) -> bool,
    ) -> PlacementView {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Ok(Some(view)) = timeout(left, self.follow(&mut wanted, &mut last)).await else {
                // Between two engines there is nobody to wait for.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            return view;
        }
        panic!("waited {PATIENCE:?} in vain for {what}; the last view was {last:#?}");
    }

    /// Follows one engine; `None` when it goes away.
    async fn follow(
        &self,
        wanted: &mut impl FnMut(&PlacementView) -> bool,
        last: &mut Option<PlacementView>,
    ) -> Option<PlacementView> {
        let options = ClientOptions {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: None,
            console: false,
        };
        let socket = socket_path(&self.state_dir());
        let (client, _) = Client::connect(&socket, &options).await.ok()?;
        let mut snapshots = client.watch(Duration::from_secs(5)).await.ok()?;
        while let Some(snapshot) = snapshots.next().await {
            let view = snapshot.placement(&placement())?;
            *last = Some(view.clone());
            if wanted(view) {
                return Some(view.clone());
            }
        }
        None
    }

    /// What `status --json` says.
    pub async fn status(&self) -> Snapshot {
        let said = self.run(&["status", "--json"]).await;
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// A reading of what stands in front, by a connection of our own.
    pub async fn balancer_reading(&self) -> BalancerReading {
        let reading = self.balancer().read(&self.backend()).await;
        reading.expect("the balancer answers")
    }

    pub fn balancer(&self) -> Balancer {
        match &self.haproxy {
            Some(haproxy) => Balancer::Haproxy(haproxy.balancer()),
            None => {
                let socket = self.state_dir().join("host.sock");
                let embedded = EmbeddedBalancer::new(&socket, BTreeMap::new());
                Balancer::Embedded(embedded.expect("a client"))
            }
        }
    }

    pub fn backend(&self) -> Backend {
        let (balancer, backend) = match self.haproxy {
            Some(_) => ("lb", "be_shop"),
            None => ("host", "shop.production"),
        };
        Backend {
            balancer: balancer.parse().expect("a name"),
            backend: backend.parse().expect("a name"),
        }
    }

    pub fn address(&self, server: &str) -> SocketAddr {
        self.addresses[server]
    }

    /// Runs one that may be refused.
    pub async fn does_or_not(&self, arguments: &[&str]) -> Said {
        let mut all = arguments.to_vec();
        all.extend(["-e", ENVIRONMENT, "--confirm", ENVIRONMENT]);
        let said = self.run(&all).await;
        assert!(matches!(said.code, 0 | 3), "{arguments:?}: {said:?}");
        said
    }

    /// Begins the engine's successor on the same history.
    pub fn begin_engine(&mut self) {
        let log = self.dir.path().join("engine.log");
        self.engine = Process::start(&self.config, log, &["engine", "run"]);
    }

    /// Begins the engine's successor and waits until it answers.
    pub async fn start_engine(&mut self) {
        self.begin_engine();
        self.until("an engine", |_| true).await;
    }

    /// Kills the host as a crash would.
    pub fn kill_host(&mut self) {
        self.host.kill();
    }

    pub async fn start_host(&mut self) {
        self.host = Process::start(&self.config, self.dir.path().join("host.log"), &["host"]);
        self.host_answers().await;
    }

    async fn host_answers(&self) {
        let socket = self.state_dir().join("host.sock");
        until("the host", async || {
            tokio::net::UnixStream::connect(&socket).await.is_ok()
        })
        .await;
        until("the engine", async || {
            self.run(&["engine", "status"]).await.code == 0
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, process) in [("engine", &self.engine), ("host", &self.host)] {
                eprintln!("---- {name}'s log ----\n{}", process.log());
            }
        }
        // Only a host ends the instances that a killed one left.
        if !self.host.runs() {
            let log = self.dir.path().join("host.log");
            self.host = Process::start(&self.config, log, &["host"]);
            let socket = self.state_dir().join("host.sock");
            let began = std::time::Instant::now();
            while std::os::unix::net::UnixStream::connect(&socket).is_err()
                && began.elapsed() < PATIENCE
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.engine.end();
        self.host.end();
    }
}

pub fn placement() -> Placement {
    let name = format!("{SERVICE}@{ENVIRONMENT}");
    name.parse().expect("a placement")
}

/// Runs a command of the program to its end.
pub async fn run(config: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(config).args(arguments);
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let ended = ended.expect("no panic").expect("the program starts");
    Said {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// HAProxy with what `haproxy snippet` prints, and nothing else.
async fn start_haproxy(
    config: &Path,
    lb: TempDir,
    listen: SocketAddr,
    addresses: &BTreeMap<String, SocketAddr>,
) -> Haproxy {
    let listen_word = listen.to_string();
    let said = run(
        config,
        &["haproxy", "snippet", SERVICE, "--listen", &listen_word],
    )
    .await;
    assert_eq!(said.code, 0, "{said:?}");
    let servers = addresses.iter().map(|(name, address)| {
        let name = name.parse().expect("a server name");
        (name, *address)
    });
    let backend = Backend {
        balancer: "lb".parse().expect("a name"),
        backend: "be_shop".parse().expect("a name"),
    };
    Haproxy::start_configured(lb, backend, servers.collect(), listen, &said.out).await
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The first of enough free ports in a row, below those that outgoing connections use.
pub fn free_ports() -> u16 {
    const FIRST: u16 = 10_000;
    const BLOCKS: u16 = 2_500;
    const BLOCK: u16 = SERVERS + 2;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let offset = (std::process::id() % u32::from(BLOCKS)) as u16;
    (0..BLOCKS)
        .map(|_| {
            let block = (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
            FIRST + block * BLOCK
        })
        .find(|first| (0..=SERVERS).all(|n| free(first + n)))
        .expect("free ports in a row")
}

fn configuration(
    front: Front,
    pace: Pace,
    dir: &Path,
    lb: &Path,
    listen: SocketAddr,
    addresses: &BTreeMap<String, SocketAddr>,
) -> String {
    let Pace {
        steps,
        soak,
        min_requests,
        slow_start_ms,
        mean_ms,
    } = pace;
    let log = match mean_ms {
        "false" => String::new(),
        _ => format!("log = \"{}/http.log\"\n", lb.display()),
    };
    let (state, lb) = (dir.join("state"), lb.display());
    let state = state.display();
    let (environment, listens, balancer) = match front {
        Front::Embedded => ("", format!("listen = \"{listen}\""), String::new()),
        Front::Haproxy => (
            "balancers = \"lb\"",
            String::new(),
            format!(
                "[balancer.lb]\nkind = \"haproxy\"\nsocket = \"{lb}/admin.sock\"\n\
                 state_file = \"{lb}/{{backend}}.state\"\n{log}"
            ),
        ),
    };
    let mut text = format!(
        r#"state_dir = "{state}"

[env.{ENVIRONMENT}]
protected = true
{environment}

{balancer}
[service.{SERVICE}]
{listens}
instances = 3
command = [
    "{PROGRAM}", "demo-service", "--address", "{{address}}", "--version", "{{version}}",
    "--latency-ms", "8", "--fault", "{BAD}=0.05", "--slow", "{SLOW}=120",
    "--slow-start-ms", "{slow_start_ms}",
]
stop_grace = "5s"

[service.{SERVICE}.health]
path = "/readyz"
interval = "1s"
timeout = "900ms"

[service.{SERVICE}.env.{ENVIRONMENT}]

[canary]
steps = {steps}
soak = "{soak}"
min_requests = {min_requests}

[analysis]
interval = "500ms"
error_ratio = 0.02
latency_p99_ms = false
mean_ms = {mean_ms}
latency_p99_vs_stable = false
mean_vs_stable = false

[service.{SERVICE}.servers]
"#
    );
    for (server, address) in addresses {
        let _ = writeln!(text, "{server} = \"{address}\"");
    }
    text
}
