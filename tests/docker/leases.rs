//! One engine steers a placement's containers, wherever engines run: the marker is in the daemon.

use crate::contract::eventually;
use crate::daemon::PrivateDaemon;
use crate::rollouts::{Load, World};
use crate::support::{PROGRAM, SOCKET, Shop, available, free_address, runtime_at};
use futures::future::{BoxFuture, join_all};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use wheelhouse::lease::{Board, DaemonLease, Holder, Lease, NotOurs, Process};
use wheelhouse::model::{Clean, Placement};
use wheelhouse::runtime::docker::{DockerRuntime, Marker};

/// Markers of a placement in a real daemon, as the engine reaches them.
struct Volumes(DockerRuntime, Placement);

impl Board for Volumes {
    fn words(&self) -> Clean {
        "the daemon".into()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<(u64, String)>, Clean>> {
        Box::pin(async {
            let all = self.0.markers(&self.1).await;
            let all = all.map_err(|why| Clean::new(&why))?.into_iter();
            Ok(all.map(|marker| (marker.number, marker.text)).collect())
        })
    }

    fn post(&self, number: u64, text: String) -> BoxFuture<'_, Result<String, Clean>> {
        Box::pin(async move {
            let there = self.0.post_marker(&self.1, Marker { number, text }).await;
            there
                .map(|there| there.text)
                .map_err(|why| Clean::new(&why))
        })
    }

    fn remove(&self, number: u64) -> BoxFuture<'_, Result<(), Clean>> {
        Box::pin(async move {
            let removed = self.0.remove_marker(&self.1, number).await;
            removed.map_err(|why| Clean::new(&why))
        })
    }
}

fn holder(host: &str, engine: &str) -> Holder {
    Holder {
        host: host.into(),
        boot: host.to_owned(),
        user: "ada".into(),
        engine: engine.to_owned(),
        pid: std::process::id(),
        process: Process::own().map(Box::new),
        since_ms: 1_700_000_000_000,
    }
}

fn lease(socket: &Path, placement: &Placement, host: &str, engine: &str) -> Lease {
    let board = Volumes(runtime_at(socket), placement.clone());
    let lease = DaemonLease::new(board, holder(host, engine));
    Lease::Daemon(Arc::new(lease))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_engines_that_ask_at_once_one_has_the_daemon() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let engines: Vec<_> = (0..8)
        .map(|n| lease(Path::new(SOCKET), &shop.placement, "a", &format!("e{n}")))
        .collect();
    let mine = || async {
        let found = join_all(engines.iter().map(Lease::check)).await;
        let mine = |(n, found): (usize, &Result<(), NotOurs>)| found.is_ok().then_some(n);
        found
            .iter()
            .enumerate()
            .filter_map(mine)
            .collect::<Vec<_>>()
    };
    let first = mine().await;
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(mine().await, first, "and keeps it");
    let next = &engines[(first[0] + 1) % engines.len()];
    assert!(next.take_over().await.expect("taken").is_some());
    let lost = engines[first[0]].check().await;
    assert!(matches!(lost, Err(NotOurs::Lost(_))), "{lost:?}");
    next.release().await;
    assert_eq!(shop.markers(), Vec::<String>::new(), "nothing stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_keeps_a_frozen_daemon_and_nobody_else_has_it_after_a_restart() {
    if !available() {
        return;
    }
    let mut daemon = PrivateDaemon::begin();
    let placement: Placement = "shop@test".parse().expect("a placement");
    let mine = lease(&daemon.socket(), &placement, "a", "x");
    let other = lease(&daemon.socket(), &placement, "b", "y");
    assert_eq!(mine.check().await, Ok(()));
    let held = Err(NotOurs::Held(holder("a", "x")));
    assert_eq!(other.check().await, held);
    daemon.signal(Signal::STOP);
    // Frozen for as long as this test likes: what comes back came back before it thawed.
    let ask = async { (mine.check().await, other.check().await) };
    let told = tokio::time::timeout(Duration::from_secs(30), ask).await;
    daemon.signal(Signal::CONT);
    let (kept, unknown) = told.expect("neither waits for the daemon");
    assert_eq!(kept, Ok(()));
    assert!(matches!(unknown, Err(NotOurs::Unknown(_))), "{unknown:?}");
    daemon.stop();
    daemon.start();
    assert_eq!(other.check().await, held, "the marker outlives the daemon");
    assert_eq!(mine.check().await, Ok(()));
}

/// A second engine for the same placement on the same daemon, with a proxy of its own.
struct Second {
    _directory: TempDir,
    config: PathBuf,
    processes: Vec<Child>,
}

impl Second {
    fn beside(world: &World) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let text = std::fs::read_to_string(world.config()).expect("readable");
        let state = directory.path().join("state").display().to_string();
        let (first, rest) = text.split_once('\n').expect("lines");
        assert!(first.starts_with("state_dir"), "{first}");
        let listen = free_address().to_string();
        let text = format!("state_dir = \"{state}\"\n{rest}");
        let text = text.replace(&world.listen.to_string(), &listen);
        let config = directory.path().join("wheelhouse.toml");
        std::fs::write(&config, text).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let mut second = Self {
            _directory: directory,
            config,
            processes: Vec::new(),
        };
        for arguments in [&["host"][..], &["engine", "run"]] {
            let child = Command::new(PROGRAM)
                .arg("--config")
                .arg(&second.config)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            second.processes.push(child.expect("the program starts"));
        }
        second
    }

    fn says(&self, arguments: &[&str]) -> Output {
        let output = Command::new(PROGRAM)
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .output();
        output.expect("the program runs")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        for child in &mut self.processes {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Why an engine only looks at the daemon; `None` while it steers, or does not answer.
fn read_only(said: &Output) -> Option<String> {
    let status: Value = serde_json::from_slice(&said.stdout).ok()?;
    let rows = status["engine"]["read_only"].as_array()?;
    let row = rows.iter().find(|row| row["runtime"] == "docker")?;
    Some(row["why"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_only_looks_at_the_containers_until_a_person_takes_them_over() {
    if !available() {
        return;
    }
    const STATUS: [&str; 2] = ["status", "--json"];
    let mut world = World::through(Path::new(SOCKET));
    eventually("the engine answers", || async {
        let said = world.says(&["engine", "status"]);
        said.status.success().then_some(())
    })
    .await;
    world.version("v1");
    let first = Load::on(world.listen);
    let (code, said) = world.deploy("v1", &["--wait", "--timeout", "90s"]);
    assert_eq!(code, 0, "{said}\n{}", world.log());
    first.end();
    assert_eq!(world.shop.markers().len(), 1);
    let containers = world.shop.containers();

    let second = Second::beside(&world);
    let why = eventually("it sees who steers", || async {
        read_only(&second.says(&STATUS))
    })
    .await;
    let pid = format!("(pid {})", world.engine());
    for word in [
        "runtime docker",
        "the engine of",
        &pid,
        "engine takeover docker",
    ] {
        assert!(why.contains(word), "{word} in {why}");
    }
    let service = world.shop.placement.service.to_string();
    let deploy = ["deploy", &service, "v1", "-e", "test"];
    let refused = second.says(&deploy);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains(&pid), "{}", text(&refused));
    // Its traffic is its own: an abort is refused only because there is nothing to abort.
    let refused = second.says(&["abort", &service, "-e", "test"]);
    assert!(
        text(&refused).contains("no open rollout"),
        "{}",
        text(&refused)
    );
    assert_eq!(read_only(&world.says(&STATUS)), None);
    assert_eq!(world.shop.containers(), containers, "nothing was touched");

    let takes = [
        "engine",
        "takeover",
        "docker",
        "--reason",
        "that one is old",
    ];
    let taken = second.says(&takes);
    assert!(taken.status.success(), "{}", text(&taken));
    let lost = eventually("the first one finds out", || async {
        read_only(&world.says(&STATUS))
    });
    let lost = lost.await;
    assert!(lost.contains("took it over"), "{lost}");
    let (code, said) = world.deploy("v1", &[]);
    assert_eq!(code, 3, "{said}");
    let export = text(&second.says(&["history", "export"]));
    let record = export.lines().find(|line| line.contains("lease_taken"));
    let record = record.expect("recorded");
    assert!(
        record.contains("that one is old") && record.contains("\"runtime\":\"docker\""),
        "{record}"
    );
    // It ends in good order, and so gives it back; the first one waits for a person all the same.
    let stopped = second.says(&["engine", "stop"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    eventually("the marker is gone", || async {
        world.shop.markers().is_empty().then_some(())
    })
    .await;
    assert!(read_only(&world.says(&STATUS)).is_some());
    let taken = world.says(&takes);
    assert!(taken.status.success(), "{}", text(&taken));
    // Killed, it leaves its marker; on this machine it is seen that it is no more.
    world.kill_engine();
    assert_eq!(world.shop.markers().len(), 1);
    let third = Second::beside(&world);
    eventually("the next one steers", || async {
        let said = third.says(&STATUS);
        let steers = said.status.code() != Some(69) && read_only(&said).is_none();
        let number = world.shop.markers().iter().any(|name| name.ends_with(".2"));
        (steers && number).then_some(())
    })
    .await;
}
