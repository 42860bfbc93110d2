//! Wheelhouse: the program's own engine, asked over its socket, with the same daemon, HAProxy and
//! interval of probes as the floor has.

use crate::daemon::{Daemon, Manner, PORT};
use crate::haproxy::Haproxy;
use crate::load::Load;
use crate::{HEALTH_MS, HEALTH_TIMEOUT_MS, INSTANCES, front};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wheelhouse::history::HistoryReader;
use wheelhouse::link::wire::{CommandRequest, Reply, Request};
use wheelhouse::link::{Client, ClientOptions, Snapshots, socket_path};
use wheelhouse::model::command::{Answer, PromoteTo};
use wheelhouse::model::{Entry, Placement, Record, RolloutNumber, Status};
use wheelhouse::view::snapshot::{PhaseView, PlacementView};

const PLACEMENT: &str = "shop@test";
const PATIENCE: Duration = Duration::from_secs(90);
const ASK: Duration = Duration::from_secs(10);

/// How the service is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// So many at once.
    Rolling(usize),
    /// All beside the old, and one switch.
    BlueGreen,
}

impl Strategy {
    fn tables(self) -> String {
        match self {
            Self::Rolling(batch) => format!(
                "[rolling]\nbatch = {batch}\nsurge = {batch}\nmax_unavailable = 0\n\
                 min_healthy = \"0s\"\n"
            ),
            Self::BlueGreen => "[service.shop.slots]\nblue = [\"s1\", \"s2\", \"s3\"]\n\
                 green = [\"s4\", \"s5\", \"s6\"]\n\
                 [blue_green]\nswitch = [100]\nsoak = \"2s\"\nconfirm = true\n"
                .to_owned(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Rolling(_) => "rolling",
            Self::BlueGreen => "blue-green",
        }
    }
}

/// An engine with the first version serving.
pub struct Ours {
    haproxy: Haproxy,
    client: Client,
    snapshots: Snapshots,
    engine: Child,
    dir: TempDir,
}

impl Ours {
    pub async fn begin(
        daemon: &Daemon,
        manner: Manner,
        strategy: Strategy,
        first_port: u16,
    ) -> Self {
        let haproxy = front::begin(first_port).await;
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("wheelhouse.toml");
        let text = configuration(dir.path(), daemon, manner, strategy, &haproxy);
        std::fs::write(&config, text).expect("a configuration");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let engine = begin_engine(&config, &dir.path().join("engine.log"));
        let client = connect(dir.path()).await;
        let snapshots = client.watch(ASK).await.expect("snapshots");
        let mut ours = Self {
            haproxy,
            client,
            snapshots,
            engine,
            dir,
        };
        let load = Load::start(ours.listen());
        let number = ours.deploy("v1").await;
        ours.ends(number, "v1").await;
        load.stop().await;
        ours
    }

    pub fn listen(&self) -> SocketAddr {
        self.haproxy.listen
    }

    /// Replaces every instance; gives when the rollout was done and the last old one had ended, by
    /// the engine's own records.
    pub async fn replace(&mut self, version: &str) -> Instant {
        let number = self.deploy(version).await;
        self.ends(number, version).await;
        let newest = self.records(number).last().map(|record| record.at_ms);
        let ago_ms = now_ms().saturating_sub(newest.expect("records"));
        Instant::now() - Duration::from_millis(ago_ms)
    }

    /// The records since a rollout began, when its instances had ended as well.
    pub fn records(&self, number: RolloutNumber) -> Vec<Record> {
        let reader = HistoryReader::open(&self.dir.path().join("state")).expect("a history");
        let all = reader.records(0, u32::MAX).expect("records");
        let begins = |record: &Record| matches!(&record.entry, Entry::RolloutStarted { number: begun, .. } if *begun == number);
        let since = all.iter().position(begins).expect("it is recorded");
        let meant = |record: &Record| {
            ["rollout_finished", "instance_stopped"].contains(&record.entry.kind())
        };
        let last = all.iter().rposition(meant).expect("it is over");
        all[since..=last].to_vec()
    }

    /// What happened when, from a rollout's beginning on, in ms: where the time goes.
    pub fn timeline(&self, number: RolloutNumber) -> String {
        let records = self.records(number);
        let began_ms = records[0].at_ms;
        let said = records.iter().map(|record| {
            let (at_ms, kind) = (record.at_ms.saturating_sub(began_ms), record.entry.kind());
            format!("{at_ms} {kind}")
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// The number of the newest rollout that is over.
    pub fn newest(&self) -> RolloutNumber {
        let view = self.view().expect("a view");
        view.last.expect("a rollout is over").number
    }

    pub async fn deploy(&self, version: &str) -> RolloutNumber {
        let command = CommandRequest::Deploy {
            placement: placement(),
            version: version.parse().expect("a version"),
            reason: None,
            request_id: None,
        };
        match self.command(command).await {
            Answer::Accepted { number, .. } => number,
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    /// Waits until the idle slot is verified.
    pub async fn is_ready(&mut self) -> PlacementView {
        let ready = |view: &PlacementView| {
            let open = view.rollout.as_ref();
            open.is_some_and(|open| open.phase == PhaseView::Ready)
        };
        self.until("a verified idle slot", ready).await
    }

    /// Switches to it; again where the rollout moved on meanwhile.
    pub async fn promote(&mut self) {
        let began = Instant::now();
        loop {
            let view = self.is_ready().await;
            let command = CommandRequest::Promote {
                placement: placement(),
                to: PromoteTo::Next,
                revision: view.rollout.expect("just seen").revision,
            };
            match self.command(command).await {
                Answer::Accepted { .. } => return,
                other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    async fn command(&self, command: CommandRequest) -> Answer {
        let reply = self.client.ask(Request::Command { command }, ASK).await;
        match reply.expect("the engine answers") {
            Reply::Answer { answer } => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a rollout is over and only this version's instances stand.
    pub async fn ends(&mut self, number: RolloutNumber, version: &str) {
        let view = self
            .until("the end", |view| {
                let over = view.last.as_ref().is_some_and(|last| last.number == number);
                let mut rows = view.instances.iter();
                let alone = rows.all(|row| row.version.as_str() == version);
                over && alone && view.instances.len() == INSTANCES
            })
            .await;
        let last = view.last.expect("just seen");
        assert_eq!(last.status, Status::Succeeded, "{}", last.because);
    }

    fn view(&self) -> Option<PlacementView> {
        let newest = self.snapshots.newest()?;
        newest.placement(&placement()).cloned()
    }

    async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&PlacementView) -> bool,
    ) -> PlacementView {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(view) = self.view().filter(|view| wanted(view)) {
                return view;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let next = tokio::time::timeout(left, self.snapshots.next()).await;
            assert!(
                matches!(next, Ok(Some(_))),
                "waited for {what}: {:#?}\n{}",
                self.view(),
                self.log()
            );
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("engine.log")).unwrap_or_default()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.engine.kill());
        drop(self.engine.wait());
    }
}

/// Removes the containers of an engine that is gone.
pub fn sweep(daemon: &Daemon) {
    let left = daemon.docker(&["ps", "-aq", "--filter", "label=wheelhouse.service=shop"]);
    left.lines().for_each(|id| daemon.remove(id));
}

fn placement() -> Placement {
    PLACEMENT.parse().expect("a placement")
}

fn now_ms() -> u64 {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    wall.expect("a clock after 1970").as_millis() as u64
}

fn begin_engine(config: &Path, log: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wheelhouse"))
        .arg("--config")
        .arg(config)
        .args(["engine", "run"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).expect("a log"))
        .spawn()
        .expect("the program starts")
}

async fn connect(dir: &Path) -> Client {
    let (socket, options) = (
        socket_path(&dir.join("state")),
        ClientOptions::command(None),
    );
    let began = Instant::now();
    loop {
        if let Ok((client, _)) = Client::connect(&socket, &options).await {
            return client;
        }
        let log = std::fs::read_to_string(dir.join("engine.log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "no engine answers:\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn configuration(
    dir: &Path,
    daemon: &Daemon,
    manner: Manner,
    strategy: Strategy,
    haproxy: &Haproxy,
) -> String {
    let servers: BTreeMap<_, _> = haproxy.servers.iter().cloned().collect();
    let mut text = format!(
        r#"state_dir = "{state}/state"

[env.test]
runtime = "docker"
balancers = "lb"

[runtime.docker]
kind = "docker"
host = "{host}"

[balancer.lb]
kind = "haproxy"
socket = "{lb}/admin.sock"
state_file = "{lb}/{{backend}}.state"

[service.shop]
image = "{repository}:{{version}}"
port = {PORT}
instances = {INSTANCES}
strategy = "{strategy}"
stop_grace = "5s"

[service.shop.env.test]
backend = "web"

[service.shop.health]
path = "/readyz"
interval = "{HEALTH_MS}ms"
timeout = "{HEALTH_TIMEOUT_MS}ms"
successes = 1
start_timeout = "60s"

[canary]
keep_warm = "0s"
min_requests = 20

[analysis]
interval = "500ms"
latency_p99_ms = false
mean_ms = false
latency_p99_vs_stable = false
mean_vs_stable = false

{tables}
[service.shop.servers]
"#,
        state = dir.display(),
        host = daemon.host(),
        lb = haproxy.directory.path().display(),
        repository = manner.repository(),
        strategy = strategy.word(),
        tables = strategy.tables(),
    );
    for (server, address) in servers {
        let _ = writeln!(text, "{server} = \"{address}\"");
    }
    text
}
