//! A pair of everything: two hosts behind two HAProxys, and what one dead of each changes.

use crate::haproxy::{Haproxy, installed, until};
use crate::judge::nothing_was_lost;
use crate::load::Load;
use crate::process::{PROGRAM, Process};
use crate::stage::{ENVIRONMENT, SERVICE, STAGES, Said, free_ports, loopback, placement, run};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;
use wheelhouse::model::service::Backend;
use wheelhouse::model::{RolloutNumber, Status};
use wheelhouse::ports::Balancer as _;
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::{PhaseView, PlacementView};

/// Server, port after the first, host.
const SERVERS: [(&str, u16, &str); 4] = [
    ("s1", 1, "app1"),
    ("s2", 2, "app1"),
    ("s3", 3, "app2"),
    ("s4", 4, "app2"),
];

struct Pair {
    dir: TempDir,
    config: PathBuf,
    engine: Process,
    hosts: Vec<Process>,
    balancers: Vec<Haproxy>,
    listens: [SocketAddr; 2],
    _place: SemaphorePermit<'static>,
}

impl Pair {
    /// Both hosts, both balancers and an engine, with `v1` serving; `None` without HAProxy.
    async fn set(steps: &str) -> Option<Self> {
        if !installed() {
            return None;
        }
        let place = STAGES.acquire().await.expect("never closed");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lbs = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
        let ports = free_ports();
        let listens = [loopback(ports), loopback(ports + 5)];
        let config = dir.path().join("wheelhouse.toml");
        let text = configuration(steps, dir.path(), [lbs[0].path(), lbs[1].path()], ports);
        std::fs::write(&config, text).expect("a configuration");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let mut balancers = Vec::new();
        for (lb, (name, listen)) in lbs.into_iter().zip(["lb1", "lb2"].into_iter().zip(listens)) {
            balancers.push(haproxy(&config, lb, name, listen, ports).await);
        }
        let hosts = ["app1", "app2"].map(|name| host(&config, dir.path(), name));
        let log = dir.path().join("engine.log");
        let engine = Process::start(&config, log, &["engine", "run"]);
        let mut pair = Self {
            dir,
            config,
            engine,
            hosts: hosts.into(),
            balancers,
            listens,
            _place: place,
        };
        pair.begin().await;
        Some(pair)
    }

    async fn begin(&mut self) {
        until("the engine", async || {
            self.run(&["engine", "status"]).await.code == 0
        })
        .await;
        until("a first deploy that is accepted", async || {
            self.act(&["deploy", SERVICE, "v1"]).await.code == 0
        })
        .await;
        self.until("v1 to soak", |view| phase(view) == Some(PhaseView::Soaking))
            .await;
        until("a promotion that is accepted", async || {
            self.act(&["promote", SERVICE, "--full"]).await.code == 0
        })
        .await;
        self.until("v1 to be stable", |view| view.rollout.is_none())
            .await;
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        run(&self.config, arguments).await
    }

    async fn act(&self, arguments: &[&str]) -> Said {
        let mut all = arguments.to_vec();
        all.extend(["-e", ENVIRONMENT, "--confirm", ENVIRONMENT]);
        self.run(&all).await
    }

    async fn does(&self, arguments: &[&str]) {
        let said = self.act(arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    }

    async fn view(&self) -> Option<PlacementView> {
        let said = self.run(&["status", "--json"]).await;
        let snapshot: Snapshot = serde_json::from_str(&said.out).ok()?;
        snapshot.placement(&placement()).cloned()
    }

    async fn until(&self, what: &str, mut wanted: impl FnMut(&PlacementView) -> bool) {
        let mut last = None;
        until(what, async || {
            last = self.view().await;
            last.as_ref().is_some_and(&mut wanted)
        })
        .await;
    }

    /// The new version's share on one balancer by its weights, in percent.
    async fn share(&self, balancer: usize, version: &str) -> Option<f64> {
        let there = &self.balancers[balancer];
        let backend = backend(["lb1", "lb2"][balancer]);
        let reading = there.balancer().read(&backend).await.ok()?;
        let view = self.view().await?;
        let mine = |server: &str| {
            let mut rows = view.instances.iter();
            rows.any(|row| row.server.as_str() == server && row.version.as_str() == version)
        };
        let weights = reading.servers.iter();
        let weights =
            weights.map(|(server, seen)| (mine(server.as_str()), seen.effective_weight()));
        let (sum, all) = weights.fold((0, 0), |(sum, all), (mine, weight)| {
            (sum + if mine { weight } else { 0 }, all + weight)
        });
        (all > 0).then(|| sum as f64 * 100.0 / all as f64)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- engine's log ----\n{}", self.engine.log());
        }
        self.engine.end();
        let names = ["app1", "app2"];
        for (process, name) in self.hosts.iter_mut().zip(names) {
            if !process.runs() {
                // Only a host ends the instances that a killed one left.
                *process = host(&self.config, self.dir.path(), name);
                let socket = self.dir.path().join(name).join("host.sock");
                let began = std::time::Instant::now();
                while std::os::unix::net::UnixStream::connect(&socket).is_err()
                    && began.elapsed().as_secs() < 10
                {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
            process.end();
        }
    }
}

fn phase(view: &PlacementView) -> Option<PhaseView> {
    view.rollout.as_ref().map(|open| open.phase)
}

fn soaks(view: &PlacementView) -> bool {
    phase(view) == Some(PhaseView::Soaking)
}

fn ended(view: &PlacementView, number: u64, status: Status) -> bool {
    let last = view.last.as_ref();
    view.rollout.is_none()
        && last.is_some_and(|last| last.number == RolloutNumber(number) && last.status == status)
}

fn backend(balancer: &str) -> Backend {
    Backend {
        balancer: balancer.parse().expect("a name"),
        backend: "be_shop".parse().expect("a name"),
    }
}

fn host(config: &Path, dir: &Path, name: &str) -> Process {
    let state = dir.join(name);
    std::fs::create_dir_all(&state).expect("a directory");
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&state, private).expect("its mode");
    let state = state.to_string_lossy().into_owned();
    let log = dir.join(format!("{name}.log"));
    Process::start(config, log, &["host", "--state-dir", &state])
}

async fn haproxy(
    config: &Path,
    lb: TempDir,
    name: &str,
    listen: SocketAddr,
    ports: u16,
) -> Haproxy {
    let word = listen.to_string();
    let asked = [
        "haproxy",
        "snippet",
        SERVICE,
        "--listen",
        &word,
        "--balancer",
        name,
    ];
    let said = run(config, &asked).await;
    assert_eq!(said.code, 0, "{said:?}");
    let servers = SERVERS.map(|(server, after, _)| {
        let server = server.parse().expect("a server name");
        (server, loopback(ports + after))
    });
    Haproxy::start_configured(lb, backend(name), servers.into(), listen, &said.out).await
}

fn configuration(steps: &str, dir: &Path, lbs: [&Path; 2], ports: u16) -> String {
    let dir = dir.display();
    let [lb1, lb2] = lbs.map(Path::display);
    let mut text = format!(
        r#"state_dir = "{dir}/state"

[env.{ENVIRONMENT}]
protected = true
runtime = ["app1", "app2"]
balancers = ["lb1", "lb2"]

[runtime.app1]
kind = "host"
socket = "{dir}/app1/host.sock"
[runtime.app2]
kind = "host"
socket = "{dir}/app2/host.sock"

[balancer.lb1]
kind = "haproxy"
socket = "{lb1}/admin.sock"
state_file = "{lb1}/{{backend}}.state"
[balancer.lb2]
kind = "haproxy"
socket = "{lb2}/admin.sock"
state_file = "{lb2}/{{backend}}.state"

[service.{SERVICE}]
instances = 2
command = ["{PROGRAM}", "demo-service", "--address", "{{address}}", "--version", "{{version}}"]
stop_grace = "5s"

[service.{SERVICE}.health]
path = "/readyz"
interval = "1s"
timeout = "900ms"

[service.{SERVICE}.env.{ENVIRONMENT}]

[canary]
steps = {steps}
soak = "1s"
min_requests = 20

[analysis]
interval = "500ms"
error_ratio = 0.02

[service.{SERVICE}.servers]
"#
    );
    for (server, after, runtime) in SERVERS {
        let address = loopback(ports + after);
        text.push_str(&format!(
            "{server} = {{ address = \"{address}\", runtime = \"{runtime}\" }}\n"
        ));
    }
    text
}

const WAITING: &str = "[{ weight = 25, pause = true }, 100]";

async fn nothing_lost(load: Load) {
    nothing_was_lost(&load.stop().await, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_goes_out_over_two_hosts_behind_two_balancers() {
    let Some(pair) = Pair::set("[10, 50, 100]").await else {
        return;
    };
    let loads = pair.listens.map(Load::start);
    pair.does(&["deploy", SERVICE, "v2"]).await;
    pair.until("v2 everywhere", |view| ended(view, 2, Status::Succeeded))
        .await;
    for balancer in 0..2 {
        assert_eq!(pair.share(balancer, "v2").await, Some(100.0));
    }
    let view = pair.view().await.expect("the service");
    let mut servers: Vec<_> = view
        .instances
        .iter()
        .filter(|row| row.version.as_str() == "v2")
        .map(|row| row.server.as_str().to_owned())
        .collect();
    servers.sort();
    let on = |names: [&str; 2]| {
        servers
            .iter()
            .filter(|s| names.contains(&s.as_str()))
            .count()
    };
    assert_eq!((on(["s1", "s2"]), on(["s3", "s4"])), (1, 1), "{servers:?}");
    for load in loads {
        nothing_lost(load).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_balancer_delays_no_abort_and_is_corrected_when_it_returns() {
    let Some(mut pair) = Pair::set(WAITING).await else {
        return;
    };
    let load = Load::start(pair.listens[0]);
    pair.does(&["deploy", SERVICE, "v2"]).await;
    pair.until("a soak", soaks).await;
    assert_eq!(pair.share(1, "v2").await, Some(25.0));
    pair.balancers[1].crash().await;
    pair.does(&["abort", SERVICE]).await;
    until("0 % on the one that lives", async || {
        pair.share(0, "v2").await == Some(0.0)
    })
    .await;
    let view = pair.view().await.expect("the service");
    assert!(view.rollout.is_some(), "the other is not proven at 0 %");
    let trouble = |name: &str| {
        let mut peers = view.peers.iter();
        peers.any(|peer| peer.name.as_str() == name && peer.trouble.is_some())
    };
    assert!(
        trouble("balancer lb2") && !trouble("balancer lb1"),
        "{:?}",
        view.peers
    );
    pair.balancers[1].start_again().await;
    until("0 % on the one that returned", async || {
        pair.share(1, "v2").await == Some(0.0)
    })
    .await;
    pair.until("the end", |view| ended(view, 2, Status::RolledBack))
        .await;
    nothing_lost(load).await;
    let said = pair.run(&["history", "verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_holds_the_rollout_and_no_abort() {
    let Some(mut pair) = Pair::set("[{ weight = 25, soak = \"20s\" }, 100]").await else {
        return;
    };
    let load = Load::start(pair.listens[0]);
    pair.does(&["deploy", SERVICE, "v2"]).await;
    pair.until("a soak", soaks).await;
    pair.hosts[1].kill();
    pair.until("a hold that names the host", |view| {
        let hold = view.rollout.as_ref().and_then(|open| open.hold.as_ref());
        hold.is_some_and(|hold| hold.text.as_str().contains("runtime app2"))
    })
    .await;
    let said = pair.act(&["promote", SERVICE, "--full"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    pair.does(&["abort", SERVICE]).await;
    pair.until("the end", |view| ended(view, 2, Status::RolledBack))
        .await;
    for balancer in 0..2 {
        assert_eq!(pair.share(balancer, "v2").await, Some(0.0));
    }
    load.answers(50).await;
    pair.hosts[1] = host(&pair.config, pair.dir.path(), "app2");
    pair.until("both hosts to be seen again", |view| {
        view.peers.iter().all(|peer| peer.trouble.is_none())
    })
    .await;
}
