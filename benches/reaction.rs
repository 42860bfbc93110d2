//! Goals 2 and 3 of the performance goals: how soon a release that begins to fail gets no more
//! requests.
//!
//! *At the source* a real engine reads HAProxy's counters. *By Prometheus* a plain program asks a
//! real Prometheus, which scrapes the exporter of a second HAProxy every second, a hundred
//! times a second; it judges by the same limits on raw counters, needs one sample only and then does no more
//! than the floor does: one commit, one line, one reading. That is the best Prometheus can do. Both
//! HAProxys have the same load, instances and share, and fail by turns.
//!
//! Spans of the engine: from the first bad answer; and from the beginning of the reading that it
//! was judged by ("bad sample visible"), which has a floor of its own: that reading, one commit, one
//! line, one reading.
//!
//! `cargo bench --bench reaction` prints figures; it holds nothing against a limit.

#[path = "support/engine.rs"]
mod engine;
#[path = "../tests/support/haproxy.rs"]
mod haproxy;
#[path = "../tests/support/needs.rs"]
mod needs;
#[path = "../tests/support/prometheus.rs"]
mod prometheus;
#[path = "../tests/history/support.rs"]
mod story;

use engine::{Engine, Floor, soaks, spread};
use haproxy::{Haproxy, until};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prometheus::RealPrometheus;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wheelhouse::balancer::haproxy::HaproxyBalancer;
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::{Backend, ServiceSpec};
use wheelhouse::model::world::BalancerReading;
use wheelhouse::model::{Clean, Outcome, ServerName};
use wheelhouse::ports::{Balancer, ReadError, Written};

/// Failures on each side, by turns.
const ROUNDS: usize = 12;
/// Clients of each HAProxy, one request at a time each.
const CLIENTS: usize = 8;
/// Between two requests of a client, at least: up to 800 requests a second in all.
const PACE: Duration = Duration::from_millis(10);
/// Between two questions to Prometheus.
const ASKED_EVERY: Duration = Duration::from_millis(10);
/// Between two scrapes, and so the span over which the rounds' failures are spread: rounds of
/// equal length would else always begin just after a scrape.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);
/// Good answers of the new release before it begins to fail.
const GOOD_FIRST: u64 = 100;
/// Share of errors above which a release is bad, on both sides.
const ERROR_RATIO: f64 = 0.05;
/// Fewest requests and errors that Prometheus' side judges by: the engine's own.
const REQUESTS_MIN: f64 = 50.0;
const ERRORS_MIN: f64 = 5.0;

fn main() {
    let installed = |program: &str, version: &str| {
        let asked = std::process::Command::new(program).arg(version).output();
        asked.is_ok()
    };
    // Not a failure: a measurement that cannot be made is no failed test.
    if !installed("haproxy", "-v") || !installed("prometheus", "--version") {
        println!("SKIPPED: haproxy or prometheus is not installed; nothing was measured");
        return;
    }
    engine::listen_for_read_backs();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("worker threads");
    runtime.block_on(measure());
}

async fn measure() {
    let mut source = Source::start().await;
    let mut scraped = Scraped::start().await;
    let mut floor = Floor::new(&source.front.haproxy);
    let mut sources = Vec::new();
    let (mut by_prometheus, mut scrapes) = (Vec::new(), Vec::new());
    let (mut floors, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let reaction = source.reaction(round).await;
        let least = floor.query() + floor.take().0;
        ratios.push(reaction.since_reading.as_secs_f64() / least.as_secs_f64());
        floors.push(least);
        sources.push(reaction);
        let (visible, all) = scraped.reaction(round, &mut floor).await;
        scrapes.push(visible);
        by_prometheus.push(all);
    }
    source.engine.stop.cancel();
    let of = |span: fn(&Reaction) -> Duration| sources.iter().map(span).collect::<Vec<_>>();
    let mut all = of(|reaction| reaction.since_bad);
    let mut judged = of(|reaction| reaction.since_reading);
    println!("bad answer -> 0 %, at the source:    {}", spread(&mut all));
    println!(
        "bad answer -> 0 %, by Prometheus:    {}",
        spread(&mut by_prometheus)
    );
    println!(
        "  of that until it was visible:      {}",
        spread(&mut scrapes)
    );
    println!(
        "reading judged by -> 0 %:            {}",
        spread(&mut judged)
    );
    println!(
        "floor, query + commit + write + read: {}",
        spread(&mut floors)
    );
    let middle = |all: &[Duration]| all[(all.len() - 1) / 2].as_secs_f64();
    ratios.sort_by(f64::total_cmp);
    println!(
        "goal 2, reading to floor:            {:.2}   (goal: 1.50 or less; round by round p50 {:.2})",
        middle(&judged) / middle(&floors),
        ratios[ratios.len() / 2]
    );
    println!(
        "goal 3, Prometheus to source:        {:.2}   (goal: 2.00 or more)",
        middle(&by_prometheus) / middle(&all)
    );
}

/// One reaction of the engine.
struct Reaction {
    /// From the first bad answer until HAProxy was read back at 0.
    since_bad: Duration,
    /// From the beginning of the reading it was judged by.
    since_reading: Duration,
}

/// A release that fails when it is told to, on two instances.
#[derive(Clone, Default)]
struct Release {
    bad: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    first_bad: Arc<Mutex<Option<Instant>>>,
}

impl Release {
    async fn instance(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let release = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let release = release.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let status = release.status(request.uri().path());
                    let answer = Response::builder()
                        .status(status)
                        .body(Full::new(Bytes::from_static(b"ok")))
                        .expect("an answer");
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    fn status(&self, path: &str) -> u16 {
        if path == "/readyz" {
            return 200;
        }
        if !self.bad.load(Ordering::Relaxed) {
            self.good.fetch_add(1, Ordering::Relaxed);
            return 200;
        }
        let mut first = self.first_bad.lock().expect("nothing panics here");
        first.get_or_insert_with(Instant::now);
        500
    }

    /// Answers well from now on, and waits until it has had enough requests, and for its phase.
    async fn works(&self, round: usize) {
        self.bad.store(false, Ordering::Relaxed);
        self.first_bad.lock().expect("nothing panics here").take();
        self.good.store(0, Ordering::Relaxed);
        until("good answers", async || {
            self.good.load(Ordering::Relaxed) >= GOOD_FIRST
        })
        .await;
        // Another phase of the scrape, and of the engine's watch, each round.
        tokio::time::sleep(SCRAPED_EVERY * (round as u32 * 5 % ROUNDS as u32) / ROUNDS as u32)
            .await;
    }

    fn fails(&self) {
        self.bad.store(true, Ordering::Relaxed);
    }

    fn first_bad(&self) -> Instant {
        let first = self.first_bad.lock().expect("nothing panics here");
        first.expect("it failed")
    }
}

/// A HAProxy with an old and a new release behind it, and load on it.
struct Front {
    haproxy: Haproxy,
    canary: Release,
    _load: JoinSet<()>,
}

impl Front {
    async fn start(exporter: Option<SocketAddr>) -> Self {
        let (stable, canary) = (Release::default(), Release::default());
        let addresses = [
            stable.instance().await,
            stable.instance().await,
            canary.instance().await,
            canary.instance().await,
        ];
        let with_exporter = |text: String| match exporter {
            None => text,
            Some(address) => format!(
                "{text}\nfrontend exporter\n  mode http\n  bind {address}\n  timeout client 5s\n  \
                 http-request use-service prometheus-exporter\n"
            ),
        };
        let haproxy = Haproxy::start_edited(&addresses, with_exporter).await;
        let mut load = JoinSet::new();
        for _ in 0..CLIENTS {
            load.spawn(ask_for_ever(haproxy.listen));
        }
        Self {
            haproxy,
            canary,
            _load: load,
        }
    }
}

/// One client: a request, its answer, and a pause, on one connection for as long as it lasts.
async fn ask_for_ever(address: SocketAddr) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        while ask(&mut stream).await.is_some() {
            pace.tick().await;
        }
    }
}

/// Whether a whole answer came, of an instance or of HAProxy itself.
async fn ask(stream: &mut TcpStream) -> Option<()> {
    let request = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::with_capacity(512);
    while !is_whole(&answer) {
        let read = stream.read_buf(&mut answer).await.ok()?;
        (read > 0).then_some(())?;
    }
    Some(())
}

/// Whether all of an answer is there, by its `content-length`.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0_usize)
}

/// The engine's side.
struct Source {
    engine: Engine,
    front: Front,
    taken_back: mpsc::UnboundedReceiver<Instant>,
}

impl Source {
    async fn start() -> Self {
        let front = Front::start(None).await;
        let (tell, taken_back) = mpsc::unbounded_channel();
        let balancer = Watched {
            haproxy: front.haproxy.balancer(),
            read_from: Mutex::default(),
            tell,
        };
        let engine = Engine::start(spec(&front.haproxy), balancer).await;
        Self {
            engine,
            front,
            taken_back,
        }
    }

    async fn reaction(&mut self, round: usize) -> Reaction {
        self.front.canary.bad.store(false, Ordering::Relaxed);
        self.engine.deploy(&format!("v{}", round + 2)).await;
        self.engine.until(soaks).await;
        self.front.canary.works(round).await;
        while self.taken_back.try_recv().is_ok() {}
        self.front.canary.fails();
        let reading = self.taken_back.recv().await.expect("a write");
        let read_back = engine::last_read_back();
        self.engine.until(|view| view.rollout.is_none()).await;
        Reaction {
            since_bad: read_back - self.front.canary.first_bad(),
            since_reading: read_back - reading,
        }
    }
}

/// As in the abort's measurement, with half of the requests for the new release and only the
/// error limit.
fn spec(haproxy: &Haproxy) -> ServiceSpec {
    let mut spec = engine::spec(haproxy, 50);
    let analysis = &mut spec.analysis;
    (analysis.interval_ms, analysis.failures) = (10_000, 2);
    analysis.error_ratio = Some(ERROR_RATIO);
    analysis.error_ratio_vs_stable = None;
    (analysis.latency_p99_ms, analysis.latency_p99_vs_stable) = (None, None);
    spec.canary.drain_timeout_ms = 5_000;
    spec
}

/// The real adapter; says by which reading a write was decided.
struct Watched {
    haproxy: HaproxyBalancer,
    /// When the last whole reading began.
    read_from: Mutex<Option<Instant>>,
    tell: mpsc::UnboundedSender<Instant>,
}

impl Balancer for Watched {
    async fn read(&self, backend: &Backend) -> Result<BalancerReading, ReadError> {
        let began = Instant::now();
        let reading = self.haproxy.read(backend).await;
        *self.read_from.lock().expect("nothing panics here") = Some(began);
        reading
    }

    async fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> Written<BalancerReading> {
        let read_from = *self.read_from.lock().expect("nothing panics here");
        let written = self.haproxy.write(backend, settings).await;
        assert_eq!(written.outcome, Outcome::Applied);
        let read_from = read_from.expect("nothing is decided unread");
        self.tell.send(read_from).expect("somebody measures");
        written
    }

    async fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        self.haproxy.inspect(backend, servers).await
    }
}

/// Prometheus' side.
struct Scraped {
    front: Front,
    prometheus: RealPrometheus,
    client: reqwest::Client,
}

impl Scraped {
    async fn start() -> Self {
        let exporter = haproxy::free_address();
        let front = Front::start(Some(exporter)).await;
        let scrape = format!("- job_name: lb\n  static_configs: [{{targets: ['{exporter}']}}]\n");
        Self {
            front,
            prometheus: RealPrometheus::start(&scrape).await,
            client: reqwest::Client::new(),
        }
    }

    /// From the first bad answer until it was visible, and until HAProxy was read back at 0.
    async fn reaction(&mut self, round: usize, floor: &mut Floor) -> (Duration, Duration) {
        let ready = ServerSetting::ready(100);
        let all = [(0, ready), (1, ready), (2, ready), (3, ready)];
        self.front.canary.bad.store(false, Ordering::Relaxed);
        self.front.haproxy.set(&all).await;
        self.front.canary.works(round).await;
        // Read at the source, where it is exact: what was before must not dilute what is to come.
        let before = self.counted_now().await;
        self.front.canary.fails();
        let asked = Instant::now();
        let visible = loop {
            let (requests, errors) = self.counted().await;
            let (requests, errors) = (requests - before.0, errors - before.1);
            let is_bad = errors > requests * ERROR_RATIO;
            if is_bad && requests >= REQUESTS_MIN && errors >= ERRORS_MIN {
                break Instant::now();
            }
            assert!(
                asked.elapsed() < engine::PATIENCE,
                "Prometheus never shows it"
            );
            tokio::time::sleep(ASKED_EVERY).await;
        };
        floor.take();
        let out = ServerSetting::OUT;
        // The floor's own HAProxy was set and read; this one is set outside the span.
        let read_back = Instant::now();
        self.front.haproxy.set(&[(2, out), (3, out)]).await;
        let first_bad = self.front.canary.first_bad();
        (visible - first_bad, read_back - first_bad)
    }

    /// Requests and errors of the new release, as Prometheus last scraped them.
    async fn counted(&self) -> (f64, f64) {
        let all = r#"sum(haproxy_server_http_responses_total{proxy="web",server=~"web[34]"})"#;
        let bad =
            r#"sum(haproxy_server_http_responses_total{proxy="web",server=~"web[34]",code="5xx"})"#;
        (self.query(all).await, self.query(bad).await)
    }

    async fn query(&self, expression: &str) -> f64 {
        let url = format!("{}/api/v1/query", self.prometheus.url());
        let asked = self.client.get(url).query(&[("query", expression)]);
        let answer = asked.send().await.expect("Prometheus answers");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        let value = answer.pointer("/data/result/0/value/1");
        let value = value.and_then(serde_json::Value::as_str);
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The same from HAProxy itself.
    async fn counted_now(&self) -> (f64, f64) {
        let haproxy = &self.front.haproxy;
        let reading = haproxy.balancer().read(&haproxy.backend).await;
        let reading = reading.expect("a reading");
        let canary = ["web3", "web4"].map(|name| &reading.servers[&haproxy::server(name)]);
        let sum = |count: fn(&wheelhouse::model::verdict::Counters) -> u64| {
            canary.iter().map(|view| count(&view.counters)).sum::<u64>() as f64
        };
        (
            sum(|counted| counted.requests),
            sum(|counted| counted.errors),
        )
    }
}
