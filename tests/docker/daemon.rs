//! Daemons and proxies of a test's own.

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

/// A dockerd in a network of its own, without bridge and firewall. Its containers listen there,
/// where no test can reach them.
pub struct PrivateDaemon {
    _directory: TempDir,
    root: PathBuf,
    child: Option<Child>,
}

impl PrivateDaemon {
    pub fn begin() -> Self {
        let (kept, root) = directory();
        let mut daemon = Self {
            _directory: kept,
            root,
            child: None,
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
        let config = format!("{{\"storage-driver\":\"{driver}\"}}");
        std::fs::write(below("daemon.json"), config).expect("written");
        // In a network of its own: a daemon told to have no bridge removes the machine's docker0.
        let child = Command::new("unshare")
            .args(["--net", "dockerd"])
            .args(["--data-root", &below("data"), "--exec-root", &below("exec")])
            .args(["--config-file", &below("daemon.json")])
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
