//! Goals 4 and 5 of the performance goals: how soon three instances are replaced, how many requests
//! that costs, and what a switch between blue and green does to the slowest of them.
//!
//! Three containers stand behind a real HAProxy under 500 requests a second, each on a connection
//! of its own, and are replaced all at once and one by one, for a service that finishes its requests
//! when it is told to end and for one that does not. By turns, each time from the beginning:
//! - *floor*: a plain driver, which asks Docker's API for new ones, asks each until it is ready,
//!   says one line to HAProxy, waits until the old ones have no session, and stops them. It records
//!   and decides nothing, and asks again every 5 ms;
//! - *wheelhouse*: its engine, asked over its socket, with nothing to wait for between batches;
//! - *swarm*: Docker Swarm, start-first, on the same daemon and bridge with the same interval of
//!   health checks and without its own watch of 5 s after each task. It steers no balancer: its
//!   HAProxy finds instances by its own checks. (Swarm's ingress network needs IPVS of the kernel.)
//!
//! *Old gone*: from the command until the last answer of the old version. *Done*: until the command
//! had done its work and the last old container had ended.
//!
//! The daemon is one of the measurement's own, in a network, process and mount namespace of its own:
//! the machine's is only asked which storage works here.
//!
//! `cargo bench --bench replace` prints figures; it holds nothing against a limit. Another number
//! of rounds than five is told by `WHEELHOUSE_BENCH_ROUNDS`.

#[path = "replace/daemon.rs"]
mod daemon;
#[path = "replace/floor.rs"]
mod floor;
#[path = "replace/front.rs"]
mod front;
#[path = "../tests/support/haproxy.rs"]
mod haproxy;
#[allow(dead_code, reason = "its other part is for tests")]
#[path = "../tests/docker/inside.rs"]
mod inside;
#[path = "replace/load.rs"]
mod load;
#[path = "../tests/support/needs.rs"]
mod needs;
#[path = "replace/ours.rs"]
mod ours;
#[path = "replace/swarm.rs"]
mod swarm;
#[path = "replace/table.rs"]
mod table;

use daemon::{Daemon, Manner};
use floor::Floor;
use load::{Exchange, Load};
use ours::{Ours, Strategy};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use swarm::Swarm;
use table::{Replaced, Switched};

/// Instances of the service.
const INSTANCES: usize = 3;
/// Between two probes of an instance, by whoever probes (the floor asks without pause), and the
/// longest that one of the engine's may take.
const HEALTH_MS: u64 = 500;
const HEALTH_TIMEOUT_MS: u64 = 400;
/// Replacements by each, by turns.
const ROUNDS: usize = 5;
/// Answers before a command, and after it.
const ANSWERS: usize = load::PER_S as usize / 2;
/// Before a switch, and from its command on.
const WINDOW: Duration = Duration::from_secs(2);
/// Ports on which the three HAProxies listen; their servers follow.
const FLOOR_PORT: u16 = 11_000;
const OUR_PORT: u16 = 12_000;
const SWARM_PORT: u16 = 13_000;

fn main() {
    let runs = |program: &str, argument: &str| {
        let asked = std::process::Command::new(program).arg(argument).output();
        asked.is_ok_and(|output| output.status.success())
    };
    // Not a failure: a measurement that cannot be made is no failed test.
    if !runs("haproxy", "-v") || !runs("dockerd", "--version") || !runs("docker", "info") {
        println!("SKIPPED: haproxy or docker is missing; nothing was measured");
        return;
    }
    if !inside::is_inside() {
        return inside_again();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("worker threads");
    runtime.block_on(measure());
}

/// Runs this program in namespaces of its own.
fn inside_again() {
    if !inside::available() {
        println!("SKIPPED: no namespaces of our own without root; nothing was measured");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let directory = tempfile::tempdir().expect("a directory");
    let ended = inside::again(&[&program.to_string_lossy()], directory.path()).status();
    inside::remove_control_groups();
    let ended = ended.expect("unshare");
    assert!(ended.success(), "{ended}");
}

async fn measure() {
    let root = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::begin(root.path().to_owned());
    daemon.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
    let rounds = std::env::var("WHEELHOUSE_BENCH_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    println!(
        "{INSTANCES} instances, {} requests/s, {rounds} rounds by turns; p50 (least-most)",
        load::PER_S
    );
    // What others do here at the same time is in every figure, most of all in those of containers.
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average before the first: {}", busy.trim());
    // Whoever is first would pay for what is read from the disk once.
    drop(by_floor(&daemon, Manner::Drains, INSTANCES).await);
    for manner in [Manner::Drains, Manner::EndsAtOnce] {
        for batch in [INSTANCES, 1] {
            let mut all = Replaced::new(manner, batch);
            for _ in 0..rounds {
                let (floor, by_floor) = by_floor(&daemon, manner, batch).await;
                let (ours, by_us) = by_us(&daemon, manner, batch).await;
                all.floor.push(floor);
                all.ours.push(ours);
                all.timelines = [by_floor, by_us];
                all.swarm.push(by_swarm(&daemon, manner, batch).await);
            }
            println!("{all}");
        }
    }
    println!("{}", switched(&daemon, rounds).await);
}

/// One replacement.
#[derive(Debug)]
struct Run {
    old_gone: Duration,
    done: Duration,
    exchanges: Vec<Exchange>,
}

/// Replaces the first version under load; what replaces gives when it was done.
async fn under_load(target: SocketAddr, replace: impl AsyncFnOnce() -> Instant) -> Run {
    let load = Load::start(target);
    load.answers(ANSWERS).await;
    let began = Instant::now();
    let ended = replace().await;
    load.answers(ANSWERS).await;
    let exchanges = load.stop().await;
    let old = exchanges
        .iter()
        .filter(|it| it.end.as_deref() == Ok(daemon::VERSIONS[0]));
    let last = old.map(|it| it.ended).max().expect("it answered");
    Run {
        old_gone: last.saturating_duration_since(began),
        done: ended.saturating_duration_since(began),
        exchanges,
    }
}

/// And what happened when.
async fn by_floor(daemon: &Daemon, manner: Manner, batch: usize) -> (Run, String) {
    let mut floor = Floor::begin(daemon, manner, FLOOR_PORT).await;
    let run = under_load(floor.listen(), async || {
        tokio::task::block_in_place(|| floor.replace(daemon::VERSIONS[1], batch))
    })
    .await;
    (run, floor.timeline())
}

/// And what happened when.
async fn by_us(daemon: &Daemon, manner: Manner, batch: usize) -> (Run, String) {
    let mut ours = Ours::begin(daemon, manner, Strategy::Rolling(batch), OUR_PORT).await;
    let run = under_load(ours.listen(), async || {
        ours.replace(daemon::VERSIONS[1]).await
    })
    .await;
    let timeline = ours.timeline(ours.newest());
    drop(ours);
    ours::sweep(daemon);
    (run, timeline)
}

async fn by_swarm(daemon: &Daemon, manner: Manner, batch: usize) -> Run {
    let swarm = Swarm::begin(daemon, manner, batch, SWARM_PORT).await;
    swarm.settles().await;
    under_load(swarm.listen(), async || {
        tokio::task::block_in_place(|| swarm.replace())
    })
    .await
}

/// Switches between blue and green under load.
async fn switched(daemon: &Daemon, rounds: usize) -> Switched {
    let mut ours = Ours::begin(daemon, Manner::Drains, Strategy::BlueGreen, OUR_PORT).await;
    let mut all = Switched::default();
    for round in 0..rounds {
        let version = daemon::VERSIONS[(round + 1) % 2];
        let number = ours.deploy(version).await;
        ours.is_ready().await;
        let load = Load::start(ours.listen());
        load.answers(ANSWERS).await;
        tokio::time::sleep(WINDOW).await;
        let began = Instant::now();
        ours.promote().await;
        tokio::time::sleep_until((began + WINDOW).into()).await;
        ours.ends(number, version).await;
        all.push(began, WINDOW, load.stop().await);
    }
    drop(ours);
    ours::sweep(daemon);
    all
}
