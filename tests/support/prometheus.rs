//! A real Prometheus for tests: started on loopback in a temporary directory, frozen, killed; and
//! something for it to scrape.
#![allow(dead_code, reason = "each test binary uses its part")]

use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpListener as Reserved};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long a foreign process may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether Prometheus is here. Where `CI` or `WHEELHOUSE_TESTS_STRICT` is 1 it must be.
pub fn installed() -> bool {
    crate::needs::has("prometheus", "--version")
}

/// Polls until a foreign process did what is waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An address nobody listens on at the moment.
pub fn free_address() -> SocketAddr {
    let reserved = Reserved::bind("127.0.0.1:0").expect("a loopback port");
    reserved.local_addr().expect("its address")
}

/// A running Prometheus that scrapes every second.
pub struct RealPrometheus {
    pub directory: TempDir,
    pub address: SocketAddr,
    child: Child,
}

impl RealPrometheus {
    /// Starts it with these entries of `scrape_configs` (YAML, each beginning with `- `).
    pub async fn start(scrape_configs: &str) -> Self {
        Self::start_with(scrape_configs, &[]).await
    }

    /// Starts it with more arguments; relative paths begin at its directory.
    pub async fn start_with(scrape_configs: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_in(directory, scrape_configs, arguments).await
    }

    /// Starts it in a directory that holds what its configuration names.
    pub async fn start_in(directory: TempDir, scrape_configs: &str, arguments: &[&str]) -> Self {
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n{scrape_configs}\n"
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("its configuration");
        let address = free_address();
        let child = spawn(directory.path(), address, arguments);
        let started = Self {
            directory,
            address,
            child,
        };
        eventually("Prometheus to listen", async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        started
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to our own child");
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

fn spawn(directory: &Path, address: SocketAddr, arguments: &[&str]) -> Child {
    Command::new("prometheus")
        .current_dir(directory)
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=error")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("prometheus starts")
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        // Kills a frozen one, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something to scrape: whatever text a test sets.
pub struct Exporter {
    pub address: SocketAddr,
    text: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Exporter {
    pub async fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let text = Arc::new(Mutex::new(text.to_owned()));
        let shown = Arc::clone(&text);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = shown.lock().expect("no panic").clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 8192]).await;
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                                Connection: close\r\n";
                    let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self {
            address,
            text,
            task,
        }
    }

    pub fn set(&self, text: &str) {
        *self.text.lock().expect("no panic") = text.to_owned();
    }

    /// Sets the text from a task of its own.
    pub fn teller(&self) -> impl Fn(&str) + Send + 'static {
        let text = Arc::clone(&self.text);
        move |new| new.clone_into(&mut text.lock().expect("no panic"))
    }

    /// As a process that is killed.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}
