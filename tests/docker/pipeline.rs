//! The example repository to production on everything real: a Docker daemon, a registry, a HAProxy,
//! a Prometheus and requests all the while. What staging proved is by its digest what production
//! gets, or nothing is.

use crate::git::git;
use crate::haproxy::{Haproxy, installed, until};
use crate::load::{End, Load};
use crate::process::{PROGRAM, Process};
use crate::real_prometheus::{self, RealPrometheus};
use crate::registry::{Images, PASSWORD, Registry, USER, variant};
use crate::support::{IMAGE, PORT, SOCKET, Shop, available, docker, free_address, image};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use wheelhouse::model::command::Answer;
use wheelhouse::model::pipeline::RunResult;
use wheelhouse::model::service::Backend;
use wheelhouse::model::{Placement, RunNumber};
use wheelhouse::view::Snapshot;
use wheelhouse::view::pipeline::{RunView, StageView};

/// The example as it is kept.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/shop");
/// The backend in haproxy.cfg.
const BACKEND: &str = "be_shop";
/// How long one run may take.
const PATIENCE: &str = "300s";

/// Where everything listens.
struct Addresses {
    production: SocketAddr,
    staging: SocketAddr,
    /// What stands behind HAProxy.
    servers: [SocketAddr; 4],
    /// What stands behind the embedded proxy.
    staging_servers: [SocketAddr; 2],
    targets: SocketAddr,
}

/// Everything, with nothing deployed yet.
struct World {
    engine: Process,
    _host: Process,
    _haproxy: Haproxy,
    _prometheus: RealPrometheus,
    shop: Shop,
    images: Images,
    registry: Registry,
    addresses: Addresses,
    config: PathBuf,
    dir: TempDir,
}

impl World {
    /// `None` where something is not installed.
    async fn open() -> Option<Self> {
        if !available() || !installed() || !real_prometheus::installed() {
            return None;
        }
        let registry = Registry::begin()?;
        image();
        let shop = Shop::open();
        let dir = tempfile::tempdir().expect("a directory");
        make_repository(dir.path());
        let addresses = Addresses {
            production: free_address(),
            staging: free_address(),
            servers: [(); 4].map(|()| free_address()),
            staging_servers: [(); 2].map(|()| free_address()),
            targets: free_address(),
        };
        let prometheus = RealPrometheus::start(&format!(
            "- job_name: shop\n  http_sd_configs:\n  \
             - {{url: 'http://{}/targets', refresh_interval: 1s}}\n",
            addresses.targets
        ))
        .await;
        let lb = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("wheelhouse.toml");
        let service = shop.placement.service.to_string();
        let text = configuration(&service, dir.path(), lb.path(), &registry, &addresses);
        let text = text.replace("PROMETHEUS", &prometheus.url());
        let text = text + &pipeline(&service, dir.path(), &registry, &addresses);
        fs::write(&config, text).expect("a configuration");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&config, private).expect("its mode");
        let haproxy = haproxy(&config, lb, &service, &addresses).await;
        let log = |name: &str| dir.path().join(name);
        let host = Process::start(&config, log("host.log"), &["host"]);
        let engine = Process::start(&config, log("engine.log"), &["engine", "run"]);
        let world = Self {
            engine,
            _host: host,
            _haproxy: haproxy,
            _prometheus: prometheus,
            shop,
            images: Images(Vec::new()),
            registry,
            addresses,
            config,
            dir,
        };
        until("the engine", async || {
            world.says(&["engine", "status"]).status.success()
        })
        .await;
        Some(world)
    }

    fn says(&self, arguments: &[&str]) -> Output {
        run(&self.config, arguments)
    }

    /// Runs a command on which nothing else can be done meanwhile; it must end with this code.
    fn must(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.says(arguments);
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {text}");
        text
    }

    /// Commits a change of the settings; gives the commit's short name.
    fn commits(&self, latency_ms: u32) -> String {
        let repository = self.dir.path().join("shop");
        let text = format!("LATENCY_MS={latency_ms}\nERROR_RATIO=0\n");
        fs::write(repository.join("settings.env"), text).expect("written");
        git(&repository, &["commit", "-qam", "Change the settings"]);
        git(&repository, &["rev-parse", "--short=12", "HEAD"])
    }

    /// Begins a run and waits until production is a person's to begin.
    fn reaches_staging(&mut self) -> RunNumber {
        let said = self.says(&["pipeline", "run", "shop", "--json"]);
        let run = match serde_json::from_slice(&said.stdout) {
            Ok(Answer::Run { run, .. }) => run,
            other => panic!("{other:?}: {said:?}"),
        };
        self.waits(2, run);
        let view = self.status(run);
        assert!(stage(&view, "production").waits_for_person, "{view:#?}");
        let by_digest = format!(
            "{}/shop@{}",
            self.registry.address,
            value(&view, "push", "digest")
        );
        let by_tag = value(&view, "build", "image").to_owned();
        self.images.0.extend([by_tag, by_digest]);
        run
    }

    /// Lets production begin; the run must end with this code.
    fn reaches_production(&self, code: i32, run: RunNumber) -> RunView {
        let number = run.to_string();
        let confirm = ["--confirm", "production"];
        let words = ["pipeline", "confirm", &number, "production"];
        self.must(0, &[&words[..], &confirm].concat());
        self.waits(code, run);
        self.status(run)
    }

    fn waits(&self, code: i32, run: RunNumber) {
        let number = run.to_string();
        self.must(code, &["pipeline", "wait", &number, "--timeout", PATIENCE]);
    }

    fn status(&self, run: RunNumber) -> RunView {
        let said = self.says(&["pipeline", "status", &run.to_string(), "--json"]);
        serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// The images that the containers of an environment's last verified release run, by daemon.
    fn running(&self, environment: &str) -> Vec<String> {
        let snapshot = self.says(&["status", "--json"]).stdout;
        let snapshot: Snapshot = serde_json::from_slice(&snapshot).expect("a snapshot");
        let placement = format!("{}@{environment}", self.shop.placement.service);
        let placement: Placement = placement.parse().expect("a placement");
        let view = snapshot.placement(&placement).expect("the service");
        let stable = view.stable.as_ref().expect("a version");
        let release = format!("label=wheelhouse.release={}", stable.id);
        let ids = docker(&["ps", "-q", "--no-trunc", "--filter", &release]);
        let image = |id: &str| docker(&["inspect", "-f", "{{.Config.Image}}", id]);
        ids.lines().map(image).collect()
    }

    /// What the registry itself says a tag is.
    async fn digest(&self, short: &str) -> String {
        let url = format!("http://{}/v2/shop/manifests/{short}", self.registry.address);
        let http = reqwest::Client::builder().no_proxy().build();
        let asked = http.expect("a client").head(url).header(
            "accept",
            "application/vnd.docker.distribution.manifest.v2+json, \
             application/vnd.oci.image.manifest.v1+json",
        );
        let answer = asked.basic_auth(USER, Some(PASSWORD)).send().await;
        let answer = answer.expect("the registry answers");
        let digest = &answer.headers()["docker-content-digest"];
        digest.to_str().expect("a text").to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- engine's log ----\n{}", self.engine.log());
        }
        self.engine.end();
    }
}

fn stage<'a>(run: &'a RunView, name: &str) -> &'a StageView {
    let mut stages = run.stages.iter();
    let found = stages.find(|stage| stage.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no stage {name}: {run:#?}"))
}

fn value<'a>(run: &'a RunView, of: &str, name: &str) -> &'a str {
    let value = stage(run, of).values.get(name);
    value
        .unwrap_or_else(|| panic!("{of} handed on no {name}: {run:#?}"))
        .as_str()
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM)
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output();
    output.expect("the program runs")
}

/// A copy of the example as a git repository.
fn make_repository(dir: &Path) {
    let repository = dir.join("shop");
    let copied = Command::new("cp")
        .args(["-R", EXAMPLE])
        .arg(&repository)
        .status();
    assert!(copied.expect("cp").success());
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "-qm", "Begin"]);
}

/// HAProxy with what `haproxy snippet` prints, and nothing else.
async fn haproxy(config: &Path, lb: TempDir, service: &str, addresses: &Addresses) -> Haproxy {
    let listen = addresses.production.to_string();
    let said = run(
        config,
        &["haproxy", "snippet", service, "--listen", &listen],
    );
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let servers = (1..).zip(addresses.servers);
    let servers = servers.map(|(n, at)| (format!("s{n}").parse().expect("a name"), at));
    let backend = Backend {
        balancer: "lb".parse().expect("a name"),
        backend: BACKEND.parse().expect("a name"),
    };
    let listen = addresses.production;
    Haproxy::start_configured(lb, backend, servers.collect(), listen, &text).await
}

/// The example's pipeline with the places of this test.
fn pipeline(service: &str, dir: &Path, registry: &Registry, addresses: &Addresses) -> String {
    let text = fs::read_to_string(dir.join("shop/pipeline.docker.toml")).expect("kept");
    let repository = format!("repository = \"{}\"", dir.join("shop").display());
    text.replace("repository = \".\"", &repository)
        .replace("\"shop@", &format!("\"{service}@"))
        .replace("registry:5000", &registry.address.to_string())
        .replace("wheelhouse:latest", IMAGE)
        .replace("127.0.0.1:8091", &addresses.staging.to_string())
}

fn configuration(
    service: &str,
    dir: &Path,
    lb: &Path,
    registry: &Registry,
    addresses: &Addresses,
) -> String {
    let Addresses {
        staging,
        servers: [s1, s2, s3, s4],
        staging_servers: [a1, a2],
        targets,
        ..
    } = addresses;
    let (at, password) = (registry.address, registry.password());
    let (dir, lb, password) = (dir.display(), lb.display(), password.display());
    format!(
        r#"state_dir = "{dir}/state"

[runtime.docker]
kind = "docker"
host = "unix://{SOCKET}"
[runtime.docker.registry."{at}"]
user = "{USER}"
password = "file:{password}"

[balancer.host]
kind = "host"
[balancer.lb]
kind = "haproxy"
socket = "{lb}/admin.sock"
state_file = "{lb}/{{backend}}.state"

[metrics.prom]
kind = "prometheus"
url = "PROMETHEUS"
preset = "http"
scrape_interval = "1s"
window = "4s"
http_sd = "{targets}"

[env.staging]
runtime = "docker"
balancers = "host"
metrics = []
[env.production]
protected = true
runtime = "docker"
balancers = "lb"

[service.{service}]
image = "{at}/shop:{{version}}"
port = {PORT}
stop_grace = "5s"
[service.{service}.container]
memory = "64m"
command = ["demo-service", "--address", "{{address}}", "--version", "{{version}}"]
[service.{service}.health]
path = "/readyz"
interval = "1s"
timeout = "900ms"
start_timeout = "60s"

[service.{service}.env.staging]
listen = "{staging}"
instances = 1
strategy = "recreate"
servers = {{ a1 = "{a1}", a2 = "{a2}" }}
[service.{service}.env.staging.recreate]
watch = "1s"

[service.{service}.env.production]
instances = 2
backend = "{BACKEND}"
servers = {{ s1 = "{s1}", s2 = "{s2}", s3 = "{s3}", s4 = "{s4}" }}
[service.{service}.env.production.analysis]
uptime = false

[canary]
steps = [50, 100]
soak = "4s"
min_requests = 20
max_load_factor = 100

[analysis]
interval = "500ms"
error_ratio = 0.02

"#
    )
}

/// FAULTS 145: nothing but what was proven goes on, whatever the tag is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_145_production_runs_the_digest_that_staging_proved_or_nothing_new() {
    let Some(mut world) = World::open().await else {
        return;
    };
    // The first one needs requests too, and until it is up nobody can answer them.
    let first = Load::start(world.addresses.production);
    let run = world.reaches_staging();
    let ended = world.reaches_production(0, run);
    assert_eq!(ended.result, Some(RunResult::Passed), "{ended:#?}");
    first.stop().await;

    let load = Load::start(world.addresses.production);
    let short = world.commits(4);
    let run = world.reaches_staging();
    let ended = world.reaches_production(0, run);
    assert_eq!(ended.result, Some(RunResult::Passed), "{ended:#?}");
    let digest = world.digest(&short).await;
    for stage in ["push", "staging", "production"] {
        assert_eq!(value(&ended, stage, "digest"), digest, "{ended:#?}");
    }
    let running = (world.running("staging"), world.running("production"));
    assert_eq!((running.0.len(), running.1.len()), (1, 2));
    let all = running.0.iter().chain(&running.1);
    assert!(
        all.into_iter().all(|image| image.ends_with(&digest)),
        "{running:?}"
    );

    a_tag_that_moves_stops_the_line(&mut world).await;
    assert_eq!(world.running("production"), running.1);
    load.answers(50).await;
    nothing_lost(load, &short).await;
    world.must(0, &["history", "verify"]);
}

/// Somebody pushes another image under the tag, once staging has proved what it was.
async fn a_tag_that_moves_stops_the_line(world: &mut World) {
    let short = world.commits(6);
    let run = world.reaches_staging();
    let proven = world.digest(&short).await;
    let other = variant("moved", 16);
    world.registry.push(&other, &short);
    world.images.0.push(other);
    let moved = world.digest(&short).await;
    assert_ne!(moved, proven);
    let ended = world.reaches_production(1, run);
    assert_eq!(ended.result, Some(RunResult::Failed), "{ended:#?}");
    let production = stage(&ended, "production");
    let why = production.why.as_ref().expect("a reason").as_str();
    assert!(why.contains("not what was proven"), "{why}");
    assert!(why.contains(&proven) && why.contains(&moved), "{why}");
    assert_eq!(production.rollout, None, "nothing was begun");
}

/// Every request was answered, in the end by this version.
async fn nothing_lost(load: Load, short: &str) {
    let exchanges = load.stop().await;
    let is_lost = |end: &End| matches!(end, End::Lost { .. });
    let lost: Vec<_> = exchanges.iter().filter(|it| is_lost(&it.end)).collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", exchanges.len());
    let newest = exchanges.iter().max_by_key(|it| it.id).expect("requests");
    assert!(newest.is_of(short), "{newest:?}");
}
