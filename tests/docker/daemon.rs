//! Daemons and proxies of a test's own.

use crate::inside::CONTROL_GROUP;
use crate::support::{directory, docker, docker_says};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a daemon may take to begin or end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A dockerd without bridge and firewall, in a network that is not the machine's: there, a daemon
/// told to have no bridge would remove docker0.
pub struct PrivateDaemon {
    _directory: TempDir,
    root: PathBuf,
    child: Option<Child>,
    network: Network,
    /// Further arguments.
    more: Vec<String>,
}

/// Where a private daemon and its containers listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// In a network of its own, where no test can reach them.
    Own,
    /// In the network of the test, which must be in [`crate::inside`]. Its containers go on running
    /// while it does not.
    OfTheTest,
}

impl PrivateDaemon {
    pub fn begin() -> Self {
        Self::begin_in(Network::Own)
    }

    pub fn begin_in(network: Network) -> Self {
        Self::begin_with(network, Vec::new())
    }

    /// With further arguments.
    pub fn begin_with(network: Network, more: Vec<String>) -> Self {
        assert!(network == Network::Own || crate::inside::is_inside());
        let (kept, root) = directory();
        let mut daemon = Self {
            _directory: kept,
            root,
            child: None,
            network,
            more,
        };
        daemon.start();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("docker.sock")
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn start(&mut self) {
        let below = |name: &str| self.root.join(name).display().to_string();
        let log = std::fs::File::create(self.root.join("log")).expect("created");
        // Its own file, lest the machine's contradict; the driver is one that works here.
        let driver = docker(&["info", "-f", "{{.Driver}}"]);
        let live = self.network == Network::OfTheTest;
        let config = format!("{{\"storage-driver\":\"{driver}\",\"live-restore\":{live}}}");
        std::fs::write(below("daemon.json"), config).expect("written");
        let mut command = match self.network {
            Network::Own => Command::new("unshare"),
            Network::OfTheTest => Command::new("dockerd"),
        };
        if self.network == Network::Own {
            command.args(["--net", "dockerd"]);
        }
        let child = command
            .args(&self.more)
            .args(["--data-root", &below("data"), "--exec-root", &below("exec")])
            .args(["--config-file", &below("daemon.json")])
            .args(["--cgroup-parent", &format!("/{CONTROL_GROUP}")])
            .args(["--pidfile", &below("pid"), "-H", &self.host()])
            .args([
                "--iptables=false",
                "--bridge=none",
                "--shutdown-timeout",
                "5",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd");
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while !docker_says(&["-H", &self.host(), "version"])
            .status
            .success()
        {
            let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "dockerd did not begin:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().try_into().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    /// Kills it as a crash would, and containerd with it.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        // It would refuse to begin beside the pid it left, should another process have that now.
        drop(std::fs::remove_file(self.root.join("pid")));
    }

    /// Ends it as its service would, with its containers.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("it runs");
        let until = Instant::now() + PATIENCE;
        while child.try_wait().expect("waited").is_none() {
            assert!(Instant::now() < until, "dockerd did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            for signal in [Signal::CONT, Signal::TERM] {
                let _ = pid.map(|pid| kill_process(pid, signal));
            }
            let until = Instant::now() + PATIENCE;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(child.kill());
        }
        // What the daemon mounted must be gone before the directory can be.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let root = self.root.display().to_string();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for path in below.filter(|path| path.starts_with(&root)) {
            drop(Command::new("umount").args(["-l", path]).output());
        }
    }
}

/// Stands before a daemon's socket and, once, passes a request on but not its answer.
pub struct DroppingProxy {
    _directory: TempDir,
    socket: PathBuf,
    dropped: Arc<AtomicU32>,
}

impl DroppingProxy {
    /// Drops the first answer to a request with this method and this in its path.
    pub fn before(daemon: &Path, method: &'static str, part: &'static str) -> Self {
        let (kept, root) = directory();
        let socket = root.join("proxy.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let dropped = Arc::new(AtomicU32::new(0));
        let (count, daemon) = (Arc::clone(&dropped), daemon.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (count, daemon) = (Arc::clone(&count), daemon.clone());
                std::thread::spawn(move || drop(pass(client, &daemon, method, part, &count)));
            }
        });
        Self {
            _directory: kept,
            socket,
            dropped,
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// One connection, which carries one request.
fn pass(
    mut client: UnixStream,
    daemon: &Path,
    method: &str,
    part: &str,
    dropped: &AtomicU32,
) -> std::io::Result<()> {
    let mut upstream = UnixStream::connect(daemon)?;
    let mut first = vec![0; 64 * 1024];
    let read = client.read(&mut first)?;
    upstream.write_all(&first[..read])?;
    let line = String::from_utf8_lossy(&first[..read]).into_owned();
    let line = line.lines().next().unwrap_or_default().to_owned();
    let (mut client_in, mut upstream_out) = (client.try_clone()?, upstream.try_clone()?);
    let meant = line.starts_with(method) && line.contains(part);
    if meant && dropped.fetch_add(1, Ordering::SeqCst) == 0 {
        // The rest of the request goes on; the answer is taken and thrown away.
        client_in.set_read_timeout(Some(Duration::from_millis(100)))?;
        drop(std::io::copy(&mut client_in, &mut upstream_out));
        let mut answer = vec![0; 64 * 1024];
        let _ = upstream.read(&mut answer)?;
        return client.shutdown(std::net::Shutdown::Both);
    }
    std::thread::spawn(move || drop(std::io::copy(&mut client_in, &mut upstream_out)));
    std::io::copy(&mut upstream, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}
