//! The load: requests at a steady pace, each on a connection of its own, each remembered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests per second.
pub const PER_S: u32 = 500;
/// For one request; who holds it longer has lost it.
const DEADLINE: Duration = Duration::from_secs(20);

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub sent: Instant,
    pub ended: Instant,
    /// The version that answered, or why no instance did.
    pub end: Result<String, String>,
}

/// A running load. [`Load::stop`] ends it and waits for the last answers.
pub struct Load {
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Load {
    pub fn start(target: SocketAddr) -> Self {
        let load = Self {
            exchanges: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (stop, tasks) = (load.stop.clone(), load.tasks.clone());
        let exchanges = Arc::clone(&load.exchanges);
        load.tasks.spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / PER_S);
            // What a busy machine held up is sent late, but sent.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let exchanges = Arc::clone(&exchanges);
                tasks.spawn(async move {
                    let ended = exchange(target).await;
                    exchanges.lock().expect("nothing panics here").push(ended);
                });
            }
        });
        load
    }

    /// Waits until instances answered so many more requests.
    pub async fn answers(&self, more: usize) {
        let answered = || {
            let exchanges = self.exchanges.lock().expect("nothing panics here");
            exchanges.iter().filter(|it| it.end.is_ok()).count()
        };
        let wanted = answered() + more;
        crate::haproxy::until("answers under load", async || answered() >= wanted).await;
    }

    pub async fn stop(self) -> Vec<Exchange> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        std::mem::take(&mut *self.exchanges.lock().expect("nothing panics here"))
    }
}

async fn exchange(target: SocketAddr) -> Exchange {
    let sent = Instant::now();
    let asked = timeout(DEADLINE, ask(target)).await;
    let end = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    Exchange {
        sent,
        ended: Instant::now(),
        end,
    }
}

/// The version that answered, or why none did.
async fn ask(target: SocketAddr) -> Result<String, String> {
    let text = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let stream = TcpStream::connect(target).await;
    let mut stream = stream.map_err(|error| text("connect", error))?;
    let request = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    let sent = stream.write_all(request).await;
    sent.map_err(|error| text("send", error))?;
    let mut answer = Vec::with_capacity(512);
    let read = stream.read_to_end(&mut answer).await;
    read.map_err(|error| text("read", error))?;
    version(&String::from_utf8_lossy(&answer))
}

/// The version in an instance's answer; one without is the balancer's own.
fn version(answer: &str) -> Result<String, String> {
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or("nothing").to_owned();
    let versions = lines.filter_map(|line| line.split_once(": "));
    let mut versions = versions.filter(|(name, _)| name.eq_ignore_ascii_case("x-version"));
    versions
        .next()
        .map(|(_, version)| version.to_owned())
        .ok_or_else(|| format!("{status} by no instance"))
}
