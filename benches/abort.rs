//! Goal 1 of the performance goals: an abort, from the command's arrival to HAProxy read back at
//! 0, against its floor — one durable commit, one line to HAProxy, one reading.
//!
//! Both go through the same HAProxy and the same disk, by turns, so that whatever else the machine
//! does falls on both. The span ends where the adapter has read back; that HAProxy's state file is
//! kept, and that the record says so, comes after it and is told apart. The engine is the real one
//! around a real history and a real HAProxy; instances and probes are made up, for they have no
//! part in it.
//!
//! `cargo bench --bench abort` prints figures; it holds nothing against a limit.

#[path = "support/engine.rs"]
mod engine;
#[path = "../tests/support/haproxy.rs"]
mod haproxy;
#[path = "../tests/support/needs.rs"]
mod needs;
#[path = "../tests/history/support.rs"]
mod story;

use engine::{Engine, Floor, soaks, spread};
use haproxy::{Behaviour, Haproxy, Instance};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wheelhouse::balancer::haproxy::HaproxyBalancer;
use wheelhouse::model::command::{Answer, Command};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::Backend;
use wheelhouse::model::world::BalancerReading;
use wheelhouse::model::{Clean, Outcome, ServerName};
use wheelhouse::ports::{Balancer, ReadError, Written};

/// Aborts and floors, by turns.
const ROUNDS: usize = 30;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("worker threads");
    // Not `installed()`: a measurement that cannot be made is no failed test.
    if std::process::Command::new("haproxy")
        .arg("-v")
        .output()
        .is_err()
    {
        println!("SKIPPED: haproxy is not installed; nothing was measured");
        return;
    }
    engine::listen_for_read_backs();
    runtime.block_on(measure());
}

async fn measure() {
    let instances = [
        Instance::start("a", Behaviour::Works).await,
        Instance::start("b", Behaviour::Works).await,
        Instance::start("c", Behaviour::Works).await,
        Instance::start("d", Behaviour::Works).await,
    ];
    let addresses = instances.each_ref().map(|instance| instance.address);
    let haproxy = Haproxy::start(&addresses).await;
    let mut bench = Bench::start(&haproxy).await;
    let mut floor = Floor::new(&haproxy);
    let (mut products, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        bench.reach_the_first_step(round).await;
        let (product, whole) = bench.abort(&haproxy).await;
        let (least, parts) = floor.take();
        products.push(product);
        kept.push(whole);
        ratios.push(product.as_secs_f64() / least.as_secs_f64());
        floors.push((least, parts));
    }
    bench.engine.stop.cancel();
    let mut least: Vec<_> = floors.iter().map(|(all, _)| *all).collect();
    let mut commits: Vec<_> = floors.iter().map(|(_, parts)| parts[0]).collect();
    println!(
        "abort, command to read-back at 0:  {}",
        spread(&mut products)
    );
    println!("  and kept in the state file:      {}", spread(&mut kept));
    println!("floor, commit + write + read:      {}", spread(&mut least));
    println!(
        "  of that the commit:              {}",
        spread(&mut commits)
    );
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part) as usize];
    let medians = products[ROUNDS / 2].as_secs_f64() / least[ROUNDS / 2].as_secs_f64();
    println!("ratio of the medians:              {medians:.2}   (goal: 1.50 or less)");
    println!(
        "ratio round by round:              p50 {:.2}, p10 {:.2}, p90 {:.2}",
        at(0.5),
        at(0.1),
        at(0.9)
    );
}

/// The engine under measurement.
struct Bench {
    engine: Engine,
    written: mpsc::UnboundedReceiver<Instant>,
}

impl Bench {
    async fn start(haproxy: &Haproxy) -> Self {
        let (tell, written) = mpsc::unbounded_channel();
        let balancer = Timed {
            haproxy: haproxy.balancer(),
            tell,
        };
        let engine = Engine::start(engine::spec(haproxy, 25), balancer).await;
        Self { engine, written }
    }

    async fn reach_the_first_step(&mut self, round: usize) {
        self.engine.deploy(&format!("v{}", round + 2)).await;
        self.engine.until(soaks).await;
        while self.written.try_recv().is_ok() {}
    }

    /// From the command's arrival until the write that it causes was read back, and until it was
    /// kept in HAProxy's state file as well.
    async fn abort(&mut self, haproxy: &Haproxy) -> (Duration, Duration) {
        let command = Command::Abort {
            placement: self.engine.spec.placement.clone(),
            reason: None,
        };
        let began = Instant::now();
        let answer = self.engine.command(command).await;
        let kept = self.written.recv().await.expect("a write");
        let read_back = engine::last_read_back();
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        let reading = haproxy
            .balancer()
            .read(&haproxy.backend)
            .await
            .expect("read");
        let serving = reading
            .servers
            .values()
            .filter(|view| view.effective_weight() > 0);
        assert_eq!(serving.count(), 2, "only stable serves: {reading:?}");
        self.engine.until(|view| view.rollout.is_none()).await;
        (read_back - began, kept - began)
    }
}

/// The real adapter; says when a write was read back.
struct Timed {
    haproxy: HaproxyBalancer,
    tell: mpsc::UnboundedSender<Instant>,
}

impl Balancer for Timed {
    async fn read(&self, backend: &Backend) -> Result<BalancerReading, ReadError> {
        self.haproxy.read(backend).await
    }

    async fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        let written = self.haproxy.write(backend, settings).await;
        let at = Instant::now();
        assert_eq!(written.outcome, Outcome::Applied);
        self.tell.send(at).expect("somebody measures");
        written
    }

    async fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        self.haproxy.inspect(backend, servers).await
    }
}
