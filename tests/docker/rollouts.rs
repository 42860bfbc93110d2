//! Whole rollouts of containers: a real engine, the embedded proxy in front, requests all the
//! while, and none of them lost.

use crate::contract::eventually;
use crate::support::{IMAGE, PORT, PROGRAM, Shop, available, docker, docker_says, free_address};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Host and engine around one service of two instances in containers.
pub struct World {
    pub shop: Shop,
    directory: TempDir,
    config: PathBuf,
    pub listen: SocketAddr,
    processes: Vec<Child>,
    tags: Vec<String>,
}

impl World {
    fn open() -> Self {
        Self::through(Path::new(crate::support::SOCKET))
    }

    /// The engine reaches the daemon by this socket.
    pub fn through(socket: &Path) -> Self {
        let shop = Shop::open();
        let service = shop.placement.service.to_string();
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("wheelhouse.toml");
        let listen = free_address();
        let state = directory.path().join("state");
        let mut text = format!(
            "state_dir = \"{}\"\n[runtime.docker]\nkind = \"docker\"\nhost = \"unix://{}\"\n\
             [env.test]\nruntime = \"docker\"\nbalancers = \"host\"\n\
             [service.{service}]\nimage = \"wheelhouse-test-{service}:{{version}}\"\nport = {PORT}\n\
             listen = \"{listen}\"\ninstances = 2\nstop_grace = \"2s\"\n\
             [service.{service}.container]\nmemory = \"64m\"\n\
             command = [\"demo-service\", \"--address\", \"{{address}}\", \"--version\", \
             \"{{version}}\", \"--fault\", \"v3=0.5\"]\n\
             [service.{service}.health]\npath = \"/healthz\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
             start_timeout = \"30s\"\n[canary]\nsteps = [50, 100]\nsoak = \"2s\"\nmin_requests = 20\n\
             max_load_factor = 100\n[analysis]\ninterval = \"500ms\"\n\
             [service.{service}.servers]\n",
            state.display(),
            socket.display(),
        );
        for number in 1..=4 {
            let line = format!("s{number} = \"{}\"\n", free_address());
            text.write_str(&line).expect("a text");
        }
        std::fs::write(&config, text).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&config, private).expect("its mode");
        let mut world = Self {
            shop,
            directory,
            config,
            listen,
            processes: Vec::new(),
            tags: Vec::new(),
        };
        for arguments in [&["host"][..], &["engine", "run"]] {
            world.begin(arguments);
        }
        world
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The engine's process.
    pub fn engine(&self) -> u32 {
        self.processes.last().expect("it runs").id()
    }

    pub fn kill_engine(&mut self) {
        let engine = self.processes.last_mut().expect("it runs");
        engine.kill().expect("our own child");
        engine.wait().expect("our own child");
    }

    fn begin(&mut self, arguments: &[&str]) {
        let log = self.directory.path().join(format!("{}.log", arguments[0]));
        let log = std::fs::File::create(log).expect("a log");
        let child = Command::new(PROGRAM)
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env("WHEELHOUSE_LOG", "info,wheelhouse::runtime=debug")
            .spawn();
        self.processes.push(child.expect("the program starts"));
    }

    /// Makes a version there is an image of.
    pub fn version(&mut self, version: &str) {
        let tag = format!("wheelhouse-test-{}:{version}", self.shop.placement.service);
        docker(&["tag", IMAGE, &tag]);
        self.tags.push(tag);
    }

    pub fn says(&self, arguments: &[&str]) -> Output {
        let output = Command::new(PROGRAM)
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .output();
        output.expect("the program runs")
    }

    pub fn deploy(&self, version: &str, more: &[&str]) -> (i32, String) {
        let service = self.shop.placement.service.as_str();
        let all = [&["deploy", service, version, "-e", "test"], more].concat();
        let output = self.says(&all);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    pub fn log(&self) -> String {
        let log = self.directory.path().join("engine.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.processes {
            drop(child.kill());
            drop(child.wait());
        }
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).collect();
        drop(docker_says(&[&["rmi"][..], &tags].concat()));
    }
}

/// Requests on fresh connections until it ends; the proxy's own refusals count as lost.
pub struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn on(address: SocketAddr) -> Self {
        let (stop, asked, lost) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self {
            stop: Arc::clone(&stop),
            asked: Arc::clone(&asked),
            lost: Arc::clone(&lost),
            thread: None,
        };
        load.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let status = ask(address).map(|text| text.get(9..12).map(str::to_owned));
                let answered = matches!(&status, Ok(Some(code)) if !["502", "503", "504"].contains(&code.as_str()));
                lost.fetch_add(u64::from(!answered), Ordering::SeqCst);
                asked.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        }));
        load
    }

    pub fn end(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (read(&self.asked), read(&self.lost))
    }
}

pub fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_of_containers_goes_forward_a_bad_one_back_and_no_request_is_lost() {
    if !available() {
        return;
    }
    let mut world = World::open();
    eventually("the engine answers", || async {
        world
            .says(&["engine", "status"])
            .status
            .success()
            .then_some(())
    })
    .await;
    for version in ["v1", "v2", "v3"] {
        world.version(version);
    }
    let wait = ["--wait", "--timeout", "90s"];
    // The first one needs requests too, and until it is up nobody can answer them.
    let first = Load::on(world.listen);
    let (code, text) = world.deploy("v1", &wait);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    first.end();
    let load = Load::on(world.listen);
    let (code, text) = world.deploy("v2", &wait);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    // Without an image there is nothing to roll out, and it is said before anything is done.
    let (code, text) = world.deploy("v9", &wait);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("v9"), "{text}");
    // Half of its answers are errors.
    let (code, text) = world.deploy("v3", &wait);
    assert_eq!(code, 1, "{text}\n{}", world.log());
    let (asked, lost) = load.end();
    assert_eq!(lost, 0, "of {asked}");
    assert!(asked > 200, "{asked} requests were made");
    // Whoever looks at the daemon sees which rollout began what runs.
    let began = |number: &str| {
        let rollout = format!("label=wheelhouse.rollout={number}");
        let service = format!("label=wheelhouse.service={}", world.shop.placement.service);
        let all = docker(&["ps", "-q", "--filter", &rollout, "--filter", &service]);
        all.lines().count()
    };
    assert_eq!(began("2"), 2, "stable is of the second");
    let answer = ask(world.listen).expect("answered").to_lowercase();
    assert!(answer.contains("x-version: v2"), "{answer}");
    // The dialog tells what changes, field by field.
    let (code, text) = world.deploy("v3", &["--dry-run"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("changes image:"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_canary_left_is_read_in_the_history_once() {
    if !available() {
        return;
    }
    let mut world = World::open();
    eventually("the engine answers", || async {
        let said = world.says(&["engine", "status"]);
        said.status.success().then_some(())
    })
    .await;
    world.version("v1");
    world.version("v2");
    let first = Load::on(world.listen);
    let (code, text) = world.deploy("v1", &["--wait", "--timeout", "90s"]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    first.end();
    let before = world.shop.containers();
    let (code, text) = world.deploy("v2", &[]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    let new = eventually("a canary that said something", || async {
        let all = world.shop.containers().into_iter();
        let mut new = all.filter(|id| !before.contains(id));
        let said = |id: &String| {
            let said = docker_says(&["logs", id]);
            let text = [said.stdout, said.stderr].concat();
            String::from_utf8_lossy(&text).contains("listens on")
        };
        new.find(said)
    })
    .await;
    docker(&["kill", &new]);
    let shown = eventually("what it left is in the history", || async {
        let said = world.says(&["history", "show", "2"]);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        text.contains(" left: ").then_some(text)
    })
    .await;
    let (head, log) = shown.split_once(" left: ").expect("just seen");
    assert!(head.contains(" failed: "), "{shown}");
    for part in [
        "killed",
        "exit code     137",
        "demo-service --address",
        "| ",
    ] {
        assert!(log.contains(part), "{part} in {shown}");
    }
    assert!(log.contains("listens on"), "{shown}");
    let number = ["wait", "2", "--timeout", "90s"];
    assert_eq!(
        world.says(&number).status.code(),
        Some(1),
        "{}",
        world.log()
    );
    let whole = world.says(&["history", "show", "2", "--json"]).stdout;
    let whole = String::from_utf8_lossy(&whole).into_owned();
    assert!(!whole.contains("MADE_BY"), "nothing of its environment");
    let said = world.says(&["history", "verify"]);
    assert!(said.status.success(), "{said:?}");
}
