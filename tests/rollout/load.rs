//! A steady load of requests with unique ids, each on a connection of its own, each remembered.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests per second.
const PER_S: u32 = 250;
/// For one request; a balancer that holds one longer has lost it.
const DEADLINE: Duration = Duration::from_secs(20);

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub id: u64,
    /// Unix ms, as all times here.
    pub sent_ms: u64,
    pub ended_ms: u64,
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone)]
pub enum End {
    /// An instance of this version answered.
    Answered { version: String },
    /// No answer, or one that no instance made.
    Lost { why: String },
}

impl Exchange {
    pub fn is_of(&self, version: &str) -> bool {
        matches!(&self.end, End::Answered { version: by } if by == version)
    }
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
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for id in 1.. {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let exchanges = Arc::clone(&exchanges);
                tasks.spawn(async move {
                    let ended = exchange(target, id).await;
                    exchanges.lock().expect("nothing panics here").push(ended);
                });
            }
        });
        load
    }

    /// Requests that an instance answered so far.
    pub fn answered(&self) -> usize {
        let exchanges = self.exchanges.lock().expect("nothing panics here");
        let answered = |exchange: &&Exchange| matches!(exchange.end, End::Answered { .. });
        exchanges.iter().filter(answered).count()
    }

    /// Waits until instances answered so many more requests.
    pub async fn answers(&self, more: usize) {
        let wanted = self.answered() + more;
        crate::haproxy::until("answers under load", async || self.answered() >= wanted).await;
    }

    pub async fn stop(self) -> Vec<Exchange> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        std::mem::take(&mut *self.exchanges.lock().expect("nothing panics here"))
    }
}

pub fn now_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    wall.expect("a clock after 1970").as_millis() as u64
}

async fn exchange(target: SocketAddr, id: u64) -> Exchange {
    let (sent_ms, began) = (now_ms(), Instant::now());
    let asked = timeout(DEADLINE, ask(target, id)).await;
    let end = match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(version) => End::Answered { version },
        Err(why) => End::Lost { why },
    };
    Exchange {
        id,
        sent_ms,
        ended_ms: sent_ms + began.elapsed().as_millis() as u64,
        end,
    }
}

/// One request on a connection of its own: the version that answered, or why none did.
async fn ask(target: SocketAddr, id: u64) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(target).await;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text(&error))?;
    let request = Request::get("/")
        .header("host", target.to_string())
        .header("connection", "close")
        .header("x-request-id", id.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| text(&error))?;
    let answer = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| text(&error))?.into_parts();
        body.collect().await.map_err(|error| text(&error))?;
        let version = head.headers.get("x-version");
        let version = version.and_then(|version| version.to_str().ok());
        version
            .map(str::to_owned)
            .ok_or_else(|| format!("{} by no instance", head.status))
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
