//! What an engine under measurement stands between: a real history, a real HAProxy, and instances
//! and probes that are made up, for they have no part in what is measured. And the floor: the least
//! that must happen, done by a plain program with nothing to decide.
//!
//! Must not know what is measured.
#![allow(dead_code, reason = "each bench uses its part")]

use crate::haproxy::Haproxy;
use crate::story;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use wheelhouse::balancer::haproxy::READ_BACK;
use wheelhouse::driver::{EngineHandle, Peers, Shell, ShellOptions};
use wheelhouse::history::{History, HistoryWriter};
use wheelhouse::metrics::prometheus::Prometheus;
use wheelhouse::model::command::{Answer, Command, PromoteTo};
use wheelhouse::model::entry::{Actor, Shares, WeightReason};
use wheelhouse::model::input::EngineInfo;
use wheelhouse::model::service::{HealthCheck, Server, ServiceSpec, SmokeTest, Step, Workload};
use wheelhouse::model::world::{Evidence, InstanceView, RuntimeReading, SmokeResult};
use wheelhouse::model::{
    BalancerName, Clean, Entry, MetricsName, Outcome, Placement, ReleaseId, RuntimeName,
    ServerName, State,
};
use wheelhouse::ports::{
    Balancer, LogPage, Probe, Quiet, ReadError, Runtime, RuntimeLook, Start, Stop, Written,
};
use wheelhouse::view::snapshot::{PhaseView, PlacementView};

/// For anything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// When the adapter last said that it read a change back.
static READ_BACK_AT: LazyLock<Arc<Mutex<Option<Instant>>>> = LazyLock::new(Arc::default);

struct ReadBacks(Arc<Mutex<Option<Instant>>>);

impl<S: Subscriber> Layer<S> for ReadBacks {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let at = Instant::now();
        let mut is_read_back = false;
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            is_read_back |= field.name() == "message" && format!("{value:?}") == READ_BACK;
        });
        if is_read_back {
            *self.0.lock().expect("nothing panics here") = Some(at);
        }
    }
}

/// Begins to note when the adapter reads back.
pub fn listen_for_read_backs() {
    tracing_subscriber::registry()
        .with(ReadBacks(Arc::clone(&READ_BACK_AT)))
        .init();
}

/// When a change was last read back; forgets it.
pub fn last_read_back() -> Instant {
    let taken = READ_BACK_AT.lock().expect("nothing panics here").take();
    taken.expect("a write is read back")
}

/// Sorts, and says the median with its spread.
pub fn spread(all: &mut [Duration]) -> String {
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    format!(
        "p50 {:.2?}, p10 {:.2?}, p90 {:.2?}",
        at(0.5),
        at(0.1),
        at(0.9)
    )
}

/// The least that must happen: a plain program with nothing to decide.
pub struct Floor {
    history: History,
    records: story::Story,
    socket: PathBuf,
    change: String,
    _dir: tempfile::TempDir,
}

impl Floor {
    pub fn new(haproxy: &Haproxy) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = |(name, _): &(ServerName, SocketAddr)| {
            format!("set server web/{name} state maint; set weight web/{name} 0")
        };
        let ready = |(name, _): &(ServerName, SocketAddr)| {
            format!("set weight web/{name} 100; set server web/{name} state ready")
        };
        // As an abort's: the canary's servers out, then the stable ones as they are.
        let (stable, canary) = haproxy.servers.split_at(2);
        let change = canary.iter().map(out).chain(stable.iter().map(ready));
        Self {
            history: story::open(dir.path()).history,
            records: story::Story::default(),
            socket: haproxy.path("admin.sock"),
            change: change.collect::<Vec<_>>().join("; "),
            _dir: dir,
        }
    }

    /// One reading of the servers' counters.
    pub fn query(&self) -> Duration {
        let began = Instant::now();
        let counters = say(&self.socket, "show stat web 4 -1");
        let took = began.elapsed();
        assert!(counters.contains("web1"), "{counters}");
        took
    }

    /// One commit of an abort's two records, one line to HAProxy, one reading.
    pub fn take(&mut self) -> (Duration, [Duration; 3]) {
        let records = self.records.tell(abort_entries());
        let began = Instant::now();
        self.history.append(&records, None).expect("appended");
        let committed = began.elapsed();
        say(&self.socket, &self.change);
        let written = began.elapsed();
        let table = say(&self.socket, "show servers state web");
        let read = began.elapsed();
        assert!(table.contains("web1"), "{table}");
        (read, [committed, written - committed, read - written])
    }
}

fn abort_entries() -> [Entry; 2] {
    let placement = story::placement();
    let lowered = Entry::WeightIntended {
        placement: placement.clone(),
        shares: Shares::from([(story::release_id(1), 100)]),
        reason: WeightReason::Revert,
    };
    let reason = None;
    [Entry::AbortRequested { placement, reason }, lowered]
}

fn say(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("HAProxy listens");
    stream
        .write_all(format!("{line}\n").as_bytes())
        .expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("an answer");
    reply
}

/// An engine of its own, with its history in a temporary directory.
pub struct Engine {
    pub handle: EngineHandle,
    pub spec: ServiceSpec,
    pub stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Engine {
    /// Starts it, with the first version at 100 %.
    pub async fn start<B: Balancer + 'static>(spec: ServiceSpec, balancer: B) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peers = World {
            balancer,
            runtime: MadeUp::default(),
        };
        let options = ShellOptions {
            state: State::default(),
            recent: Vec::new(),
            info: EngineInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                host: "bench".into(),
                config_hash: String::new(),
            },
            configured: Vec::new(),
            history: HistoryWriter::spawn(story::open(dir.path()).history).expect("a thread"),
        };
        let (shell, handle) = Shell::new(options, peers);
        let stop = CancellationToken::new();
        tokio::spawn(shell.run(stop.clone()));
        let engine = Self {
            handle,
            spec,
            stop,
            _dir: dir,
        };
        engine.deploy("v1").await;
        engine.until(soaks).await;
        engine.promote().await;
        engine.until(|view| view.rollout.is_none()).await;
        engine
    }

    pub async fn command(&self, command: Command) -> Answer {
        let by = Actor::Person {
            uid: 0,
            user: "bench".into(),
        };
        let answer = self.handle.command(by, command).await;
        answer.expect("the engine runs")
    }

    pub async fn deploy(&self, version: &str) {
        let command = Command::Deploy {
            spec: Box::new(self.spec.clone()),
            version: version.parse().expect("a version"),
            reason: None,
            request_id: None,
        };
        let answer = self.command(command).await;
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }

    pub async fn promote(&self) {
        let began = Instant::now();
        loop {
            let view = self.until(|_| true).await;
            let Some(open) = view.rollout else { return };
            let command = Command::Promote {
                placement: self.spec.placement.clone(),
                to: PromoteTo::Full,
                revision: open.revision,
            };
            if matches!(self.command(command).await, Answer::Accepted { .. }) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "no promotion is accepted");
        }
    }

    pub async fn until(&self, mut wanted: impl FnMut(&PlacementView) -> bool) -> PlacementView {
        let mut snapshots = self.handle.snapshots();
        let waits = async {
            loop {
                let snapshot = snapshots.borrow_and_update().clone();
                let view = snapshot.placement(&self.spec.placement);
                if let Some(view) = view.filter(|view| wanted(view)) {
                    return view.clone();
                }
                snapshots.changed().await.expect("the engine runs");
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waits).await;
        waited.expect("the engine gets there")
    }
}

/// Whether the new release is being watched.
pub fn soaks(view: &PlacementView) -> bool {
    let phase = view.rollout.as_ref().map(|open| open.phase);
    phase == Some(PhaseView::Soaking)
}

/// The service, with two instances of each release and one long step before the last.
pub fn spec(haproxy: &Haproxy, first_percent: u8) -> ServiceSpec {
    let servers = haproxy.servers.iter().map(|(name, address)| Server {
        name: name.clone(),
        address: *address,
        runtime: None,
    });
    let step = |weight_percent| Step {
        weight_percent,
        soak_ms: 600_000,
        pause: false,
    };
    let mut spec = story::spec();
    spec.servers = servers.collect();
    spec.balancers = vec![haproxy.backend.clone()];
    spec.smoke = Vec::new();
    spec.canary.steps = vec![step(first_percent), step(100)];
    spec.canary.keep_warm_ms = 0;
    spec.health.successes = 1;
    spec
}

struct World<B> {
    balancer: B,
    runtime: MadeUp,
}

impl<B: Balancer + 'static> Peers for World<B> {
    type Balancer = B;
    type Runtime = MadeUp;
    type Metrics = Prometheus;
    type Stages = wheelhouse::ports::NoStages;
    type Probe = AlwaysWell;

    fn balancer(&self, _: &Placement, _: &BalancerName) -> Option<&B> {
        Some(&self.balancer)
    }

    fn runtime(&self, _: &RuntimeName) -> Option<&MadeUp> {
        Some(&self.runtime)
    }

    fn metrics(&self, _: &MetricsName) -> Option<&Prometheus> {
        None
    }

    fn stages(&self) -> &wheelhouse::ports::NoStages {
        &wheelhouse::ports::NoStages
    }

    fn probe(&self) -> &AlwaysWell {
        &AlwaysWell
    }
}

/// Instances that are there as soon as they are asked for.
#[derive(Default)]
struct MadeUp(Arc<Mutex<BTreeMap<ServerName, InstanceView>>>);

impl MadeUp {
    fn reading(&self) -> RuntimeReading {
        RuntimeReading {
            software: Clean::default(),
            epoch: "1".to_owned(),
            instances: self.0.lock().expect("nothing panics here").clone(),
        }
    }
}

impl Runtime for MadeUp {
    async fn read(&self, _: &Placement) -> Result<RuntimeReading, ReadError> {
        Ok(self.reading())
    }

    async fn start(&self, start: Start) -> Written<RuntimeReading> {
        let view = InstanceView {
            pid: 1,
            started_ms: 1,
            keep_running: start.keep_running,
            ..InstanceView::of(start.release)
        };
        self.0
            .lock()
            .expect("nothing panics here")
            .insert(start.server, view);
        Written {
            outcome: Outcome::Applied,
            reading: Some(self.reading()),
        }
    }

    async fn quiet(&self, _: Quiet) -> Written<RuntimeReading> {
        Written {
            outcome: Outcome::Applied,
            reading: Some(self.reading()),
        }
    }

    async fn stop(&self, stop: Stop) -> Written<RuntimeReading> {
        let mut all = self.0.lock().expect("nothing panics here");
        all.remove(&stop.server);
        drop(all);
        Written {
            outcome: Outcome::Applied,
            reading: Some(self.reading()),
        }
    }

    async fn evidence(
        &self,
        _: &Placement,
        _: &ServerName,
        _: ReleaseId,
    ) -> Result<Option<Evidence>, ReadError> {
        Ok(None)
    }

    async fn inspect(
        &self,
        _: &Placement,
        _: &Workload,
        _: &[(ServerName, SocketAddr)],
    ) -> Result<RuntimeLook, ReadError> {
        Ok(RuntimeLook::default())
    }

    async fn stock(&self, _: &Workload) -> wheelhouse::model::Stock {
        wheelhouse::model::Stock::Here
    }

    async fn logs(&self, _: &Placement, _: &ServerName, _: u64) -> Result<LogPage, ReadError> {
        Ok(LogPage::default())
    }
}

struct AlwaysWell;

impl Probe for AlwaysWell {
    async fn probe(&self, _: &ServerName, _: SocketAddr, _: &HealthCheck) -> Result<(), Clean> {
        Ok(())
    }

    async fn smoke(&self, server: &ServerName, _: SocketAddr, test: &SmokeTest) -> SmokeResult {
        SmokeResult::passed(test, server, 0)
    }
}
