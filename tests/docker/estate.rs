//! Two Docker engines behind two HAProxys: a whole canary under load, then one engine dies and
//! comes back.

use crate::daemon::{Network, PrivateDaemon};
use crate::haproxy::{Haproxy, installed, until};
use crate::load::{End, Load};
use crate::process::{PROGRAM, Process};
use crate::support::{available, docker, free_address, import};
use crate::{inside, support};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use wheelhouse::model::service::Backend;
use wheelhouse::model::{Placement, RolloutNumber, Status};
use wheelhouse::ports::Balancer as _;
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::{PhaseView, PlacementView};

const SERVICE: &str = "shop";
/// Each server with the engine its instance runs on.
const SERVERS: [(&str, &str); 4] = [
    ("s1", "app1"),
    ("s2", "app1"),
    ("s3", "app2"),
    ("s4", "app2"),
];
const BALANCERS: [&str; 2] = ["lb1", "lb2"];

struct Estate {
    engine: Process,
    balancers: Vec<Haproxy>,
    listens: [SocketAddr; 2],
    daemons: [PrivateDaemon; 2],
    config: PathBuf,
    dir: TempDir,
}

impl Estate {
    /// Both engines with images, both balancers and an engine of ours, with `v1` serving.
    async fn set() -> Self {
        let daemons = [(); 2].map(|()| PrivateDaemon::begin_in(Network::OfTheTest));
        let dir = tempfile::tempdir().expect("a directory");
        images(&daemons, &dir.path().join("images.tar"));
        let lbs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let servers = SERVERS.map(|(server, runtime)| (server, runtime, free_address()));
        let listens = [free_address(), free_address()];
        let config = dir.path().join("wheelhouse.toml");
        let text = configuration(dir.path(), &daemons, &lbs, &servers);
        std::fs::write(&config, text).expect("a configuration");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let mut balancers = Vec::new();
        for (lb, (name, listen)) in lbs.into_iter().zip(BALANCERS.into_iter().zip(listens)) {
            balancers.push(haproxy(&config, lb, name, listen, &servers).await);
        }
        let engine = Process::start(&config, dir.path().join("engine.log"), &["engine", "run"]);
        let estate = Self {
            engine,
            balancers,
            listens,
            daemons,
            config,
            dir,
        };
        estate.begin().await;
        estate
    }

    async fn begin(&self) {
        until("the engine", async || {
            self.run(&["engine", "status"]).status.success()
        })
        .await;
        self.does("deploy", &["v1"]);
        self.until("v1 to soak", soaks).await;
        self.promoted_to_the_end(1).await;
    }

    async fn promoted_to_the_end(&self, number: u64) {
        until("a promotion that is accepted", async || {
            self.act("promote", &["--full"]).status.success()
        })
        .await;
        self.until("its end", |view| ended(view, number, Status::Succeeded))
            .await;
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&self.config, arguments)
    }

    fn act(&self, verb: &str, arguments: &[&str]) -> Output {
        self.run(&[&[verb, SERVICE, "-e", "test"], arguments].concat())
    }

    fn does(&self, verb: &str, arguments: &[&str]) {
        let output = self.act(verb, arguments);
        assert!(output.status.success(), "{verb} {arguments:?}: {output:?}");
    }

    fn view(&self) -> Option<PlacementView> {
        let said = self.run(&["status", "--json"]).stdout;
        let snapshot: Snapshot = serde_json::from_slice(&said).ok()?;
        let placement: Placement = format!("{SERVICE}@test").parse().expect("a placement");
        snapshot.placement(&placement).cloned()
    }

    async fn until(&self, what: &str, mut wanted: impl FnMut(&PlacementView) -> bool) {
        until(what, async || self.view().as_ref().is_some_and(&mut wanted)).await;
    }

    /// The new version's share on one balancer by its weights, in percent.
    async fn share(&self, at: usize, version: &str) -> Option<f64> {
        let reading = self.balancers[at]
            .balancer()
            .read(&backend(BALANCERS[at]))
            .await;
        let (reading, view) = (reading.ok()?, self.view()?);
        let weight = |of: &dyn Fn(&str) -> bool| -> u64 {
            let servers = reading.servers.iter();
            let meant = servers.filter(|(server, _)| of(server.as_str()));
            meant.map(|(_, seen)| seen.effective_weight()).sum()
        };
        let mine = |server: &str| {
            let mut rows = view.instances.iter();
            rows.any(|row| row.server.as_str() == server && row.version.as_str() == version)
        };
        let all = weight(&|_| true);
        (all > 0).then(|| weight(&mine) as f64 * 100.0 / all as f64)
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- engine's log ----\n{}", self.engine.log());
        }
        self.engine.end();
        for daemon in &self.daemons {
            let host = daemon.host();
            let listed = support::docker_says(&["-H", &host, "ps", "-aq"]);
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            for id in listed.lines() {
                drop(support::docker_says(&["-H", &host, "rm", "-f", "-v", id]));
            }
        }
    }
}

/// The same images on both: made on the first, and carried over.
fn images(daemons: &[PrivateDaemon; 2], file: &Path) {
    let [first, second] = [0, 1].map(|at: usize| daemons[at].host());
    import(Some(&first), support::IMAGE);
    let tags = ["v2", "v3"].map(|version| format!("wheelhouse-test:{version}"));
    for tag in &tags {
        docker(&["-H", &first, "tag", support::IMAGE, tag]);
    }
    let file = file.to_string_lossy();
    let all = [
        "-H",
        &first,
        "save",
        "-o",
        &file,
        support::IMAGE,
        &tags[0],
        &tags[1],
    ];
    docker(&all);
    docker(&["-H", &second, "load", "-i", &file]);
}

fn soaks(view: &PlacementView) -> bool {
    let open = view.rollout.as_ref();
    open.is_some_and(|open| open.phase == PhaseView::Soaking)
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

fn run(config: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM)
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output();
    output.expect("the program runs")
}

async fn haproxy(
    config: &Path,
    lb: TempDir,
    name: &str,
    listen: SocketAddr,
    servers: &[(&str, &str, SocketAddr)],
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
    let said = run(config, &asked);
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let servers = servers.iter();
    let servers = servers.map(|(server, _, at)| (server.parse().expect("a name"), *at));
    Haproxy::start_configured(lb, backend(name), servers.collect(), listen, &text).await
}

fn configuration(
    dir: &Path,
    daemons: &[PrivateDaemon; 2],
    lbs: &[TempDir; 2],
    servers: &[(&str, &str, SocketAddr)],
) -> String {
    let mut text = format!(
        r#"state_dir = "{}/state"

[env.test]
runtime = ["app1", "app2"]
balancers = ["lb1", "lb2"]

[service.{SERVICE}]
instances = 2
image = "wheelhouse-test:{{version}}"
stop_grace = "5s"

[service.{SERVICE}.container]
command = ["demo-service", "--address", "{{address}}", "--version", "{{version}}"]

[service.{SERVICE}.health]
path = "/readyz"
interval = "1s"
timeout = "900ms"
start_timeout = "60s"

[canary]
steps = [{{ weight = 25, soak = "60s" }}, 100]
soak = "1s"
min_requests = 20

[analysis]
interval = "500ms"
error_ratio = 0.02

"#,
        dir.display()
    );
    for (name, daemon) in ["app1", "app2"].iter().zip(daemons) {
        let host = daemon.host();
        writeln!(
            text,
            "[runtime.{name}]\nkind = \"docker\"\nhost = \"{host}\""
        )
        .expect("text");
    }
    for (name, lb) in BALANCERS.iter().zip(lbs) {
        let lb = lb.path().display();
        writeln!(
            text,
            "[balancer.{name}]\nkind = \"haproxy\"\nsocket = \"{lb}/admin.sock\"\n\
             state_file = \"{lb}/{{backend}}.state\""
        )
        .expect("text");
    }
    writeln!(text, "[service.{SERVICE}.servers]").expect("text");
    for (server, runtime, address) in servers {
        writeln!(
            text,
            "{server} = {{ address = \"{address}\", runtime = \"{runtime}\" }}"
        )
        .expect("text");
    }
    text
}

async fn nothing_lost(load: Load) {
    let exchanges = load.stop().await;
    let lost = exchanges
        .iter()
        .filter(|it| matches!(it.end, End::Lost { .. }));
    let lost: Vec<_> = lost.take(5).collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", exchanges.len());
    assert!(!exchanges.is_empty());
}

#[test]
fn a_canary_over_two_docker_engines_and_one_of_them_dies_and_comes_back() {
    if !available() || !installed() || !inside::available() {
        return;
    }
    if !inside::is_inside() {
        let test = "a_canary_over_two_docker_engines_and_one_of_them_dies_and_comes_back";
        return inside::run_again(&format!("estate::{test}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut estate = Estate::set().await;
        goes_out(&estate).await;
        dies_and_comes_back(&mut estate).await;
    });
}

/// The new version goes out over both, evenly, and no request is lost.
async fn goes_out(estate: &Estate) {
    let loads = estate.listens.map(Load::start);
    estate.does("deploy", &["v2"]);
    estate.until("a soak", soaks).await;
    for at in 0..2 {
        assert_eq!(estate.share(at, "v2").await, Some(25.0));
    }
    loads[0].answers(50).await;
    estate.promoted_to_the_end(2).await;
    for at in 0..2 {
        assert_eq!(estate.share(at, "v2").await, Some(100.0));
    }
    let view = estate.view().expect("the service");
    let on = |names: [&str; 2]| {
        let rows = view.instances.iter();
        rows.filter(|row| row.version.as_str() == "v2" && names.contains(&row.server.as_str()))
            .count()
    };
    assert_eq!(
        (on(["s1", "s2"]), on(["s3", "s4"])),
        (1, 1),
        "{:?}",
        view.instances
    );
    for load in loads {
        nothing_lost(load).await;
    }
}

/// While one cannot be read nothing goes forward, and everything goes back.
async fn dies_and_comes_back(estate: &mut Estate) {
    let load = Load::start(estate.listens[0]);
    estate.does("deploy", &["v3"]);
    estate.until("a soak", soaks).await;
    estate.daemons[1].kill();
    estate
        .until("a hold that names it", |view| {
            let hold = view.rollout.as_ref().and_then(|open| open.hold.as_ref());
            hold.is_some_and(|hold| hold.text.as_str().contains("runtime app2"))
        })
        .await;
    let promoted = estate.act("promote", &["--full"]);
    assert_eq!(promoted.status.code(), Some(3), "{promoted:?}");
    estate.does("abort", &[]);
    estate
        .until("the end", |view| ended(view, 3, Status::RolledBack))
        .await;
    for at in 0..2 {
        assert_eq!(estate.share(at, "v3").await, Some(0.0));
    }
    load.answers(50).await;
    estate.daemons[1].start();
    estate
        .until("it is seen again, without what was taken back", |view| {
            let mut rows = view.instances.iter();
            let seen = view.peers.iter().all(|peer| peer.trouble.is_none());
            seen && rows.all(|row| row.version.as_str() != "v3")
        })
        .await;
    load.answers(50).await;
    nothing_lost(load).await;
    let said = estate.run(&["history", "verify"]);
    assert!(
        said.status.success(),
        "{said:?} in {}",
        estate.dir.path().display()
    );
}
