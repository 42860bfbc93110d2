//! A directory with a configuration, the program in it, and what runs in the background.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");

/// Longest wait for another process.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there; other processes tell nobody when they are done.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its one JSON document.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it ended with this code.
    pub fn must(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// A place of its own for the program.
pub struct Place {
    pub dir: TempDir,
    background: Vec<Background>,
}

/// A process that ends with the test, in order if it can.
pub struct Background(pub Child);

impl Background {
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    pub fn ends(&mut self) -> ExitStatus {
        eventually("the process ends", || self.0.try_wait().expect("readable"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::TERM);
        for _ in 0..1_000 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// With this configuration behind its state directory's line.
    pub fn with(configuration: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(mode).tempdir();
        let dir = dir.expect("a temporary directory");
        let text = format!("state_dir = \"state\"\n{configuration}");
        std::fs::write(dir.path().join("wheelhouse.toml"), text).expect("written");
        Self {
            dir,
            background: Vec::new(),
        }
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("wheelhouse.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The program with these arguments, in an environment that is the test's own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .arg("--config")
            .arg(self.config())
            .current_dir(self.dir.path())
            .env_remove("WHEELHOUSE_CONFIG")
            .env("XDG_STATE_HOME", self.dir.path().join("xdg"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        said(&mut self.command(args))
    }

    /// Leaves it running.
    pub fn spawn(&self, args: &[&str]) -> Background {
        let name = format!("{}.log", args[0]);
        let log = std::fs::File::create(self.dir.path().join(name)).expect("created");
        let mut command = self.command(args);
        command.stdout(Stdio::null()).stderr(log);
        Background(command.spawn().expect("it starts"))
    }

    pub fn engine(&self) -> Background {
        let engine = self.spawn(&["engine", "run"]);
        self.has_engine();
        engine
    }

    /// Waits until an engine answers and its start is recorded.
    pub fn has_engine(&self) {
        eventually("the engine answers", || {
            let said = self.run(&["engine", "status", "--json"]);
            let recorded = said.code == 0 && said.json()["seq"].as_u64() > Some(0);
            recorded.then_some(())
        });
    }

    /// A host and an engine until the end of the test.
    pub fn with_everything(mut self) -> Self {
        let host = self.spawn(&["host"]);
        let engine = self.engine();
        // In the order in which they end: the engine would otherwise see its world fall.
        self.background = vec![engine, host];
        eventually("the doctor is content", || {
            (self.run(&["doctor"]).code == 0).then_some(())
        });
        self
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    let output = command.output().expect("it runs");
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The first of this many free ports in a row.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = 20_000 + (std::process::id() * 37 + step) % 12_000;
        let first = u16::try_from(first).expect("a port");
        let mut ports = first..first + count;
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

/// The shop of the rollout tests: quick steps, and a version `bad` that fails every second time.
pub fn shop(listen: u16) -> String {
    format!(
        r#"
[env.prod]
protected = true

[service.shop]
listen = {listen}
instances = 2
command = [
    "{PROGRAM}", "demo-service", "--address", "{{address}}", "--version", "{{version}}",
    "--fault", "bad=0.5",
]

[service.shop.health]
path = "/readyz"
interval = "500ms"
timeout = "490ms"

[canary]
steps = [20, 50, 100]
soak = "1s"
# As many as the error limit needs to bind, however slow the machine.
min_requests = 60
max_soak_factor = 30
keep_warm = "1s"

# A machine that is busy with other tests answers some probes late.
[analysis]
interval = "200ms"
infrastructure_health = 0.5
"#
    )
}

/// Requests to an address until the end, as fast as one client asks.
pub struct Load {
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<()>>,
}

impl Load {
    pub fn on(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let client = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                // Before the first deploy nobody listens, and errors are the service's affair.
                if ask(address).is_err() {
                    sleep(Duration::from_millis(50));
                }
                sleep(Duration::from_millis(5));
            }
        });
        Self {
            stop,
            client: Some(client),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(client) = self.client.take() {
            let _ = client.join();
        }
    }
}

/// One request on a connection of its own; its answer's status line.
pub fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Permissions of a path.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let found = path.symlink_metadata().expect("there");
    found.permissions().mode() & 0o777
}
