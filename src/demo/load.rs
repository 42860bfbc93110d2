//! A steady load of requests with unique ids, counted by the version that answered.
//!
//! A request is *lost* when no HTTP answer came, or one that the proxy or balancer made itself
//! (502, 503, 504 without an instance's version). An instance's own 5xx is an error, not a loss.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For one request; a proxy that holds one longer has lost it.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Requests under way at a time; at 300/s and 10 ms each a handful is usual.
const UNDER_WAY_MAX: usize = 512;
/// Texts about lost requests that are kept.
const COMPLAINTS_MAX: usize = 20;

/// What became of the requests of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// Answers, whatever their status.
    pub answers: u64,
    /// Of those, with a status of 500 or more.
    pub errors: u64,
    /// When the last one came, in ms since the load began.
    pub last_ms: u64,
}

/// What became of all requests so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// By the version that answered.
    pub versions: BTreeMap<String, Answered>,
    /// Requests without an answer of an instance.
    pub lost: u64,
    /// What the first of those ended with.
    pub complaints: Vec<String>,
}

impl Tally {
    /// Answers of one version.
    pub fn of(&self, version: &str) -> Answered {
        self.versions.get(version).copied().unwrap_or_default()
    }
}

/// A running load. Dropping it does not stop it; [`Load::stop`] does, and waits for the last
/// answers.
#[derive(Debug)]
pub struct Load {
    began: Instant,
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Load {
    /// Sends `per_s` requests a second to an address until it is stopped.
    pub fn start(target: SocketAddr, per_s: u32) -> Self {
        let load = Self {
            began: Instant::now(),
            tally: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let sender = Sender {
            client: client(),
            target,
            tally: Arc::clone(&load.tally),
            began: load.began,
            places: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        };
        let (stop, tasks) = (load.stop.clone(), load.tasks.clone());
        load.tasks.spawn(send_all(sender, per_s, stop, tasks));
        load
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// How long it has run, by the clock of its tally.
    pub fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Stops sending, waits for the last answers and says what became of all requests.
    pub async fn stop(&self) -> Tally {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tally()
    }
}

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(REQUEST_DEADLINE));
    Client::builder(TokioExecutor::new()).build(connector)
}

#[derive(Clone)]
struct Sender {
    client: HttpClient,
    target: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
    places: Arc<Semaphore>,
}

async fn send_all(sender: Sender, per_s: u32, stop: CancellationToken, tasks: TaskTracker) {
    let mut ticks = interval(Duration::from_secs(1) / per_s.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut id = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Ok(place) = Arc::clone(&sender.places).acquire_owned().await else {
            return;
        };
        id += 1;
        let sender = sender.clone();
        tasks.spawn(async move {
            sender.send(id).await;
            drop(place);
        });
    }
}

impl Sender {
    async fn send(&self, id: u64) {
        lock(&self.tally).sent += 1;
        let ended = timeout(REQUEST_DEADLINE, self.exchange(id)).await;
        let ended = ended.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let at_ms = self.began.elapsed().as_millis() as u64;
        let mut tally = lock(&self.tally);
        match ended {
            Ok((Some(version), status)) => {
                let answered = tally.versions.entry(version).or_default();
                answered.answers += 1;
                answered.errors += u64::from(status.is_server_error());
                answered.last_ms = at_ms;
            }
            Ok((None, status)) => complain(&mut tally, at_ms, id, &format!("answered {status}")),
            Err(why) => complain(&mut tally, at_ms, id, &why),
        }
    }

    async fn exchange(&self, id: u64) -> Result<(Option<String>, StatusCode), String> {
        let uri: Uri = format!("http://{}/", self.target).parse().map_err(text)?;
        let request = Request::get(uri)
            .header("x-request-id", id.to_string())
            .body(Empty::new())
            .map_err(text)?;
        let response = self.client.request(request).await.map_err(with_cause)?;
        let status = response.status();
        let version = response.headers().get("x-version");
        let version = version
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        response.into_body().collect().await.map_err(with_cause)?;
        Ok((version, status))
    }
}

fn complain(tally: &mut Tally, at_ms: u64, id: u64, why: &str) {
    tally.lost += 1;
    if tally.complaints.len() < COMPLAINTS_MAX {
        tally
            .complaints
            .push(format!("request {id} at {at_ms} ms: {why}"));
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn with_cause(error: impl std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A panic while counting leaves the counts as they are.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
