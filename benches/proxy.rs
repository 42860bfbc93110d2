//! What the embedded proxy costs: its throughput against that of the barest proxy one can write
//! with the same HTTP library, in the same run.
//!
//! `cargo bench --bench proxy` prints the ratio of requests per second and the ratio of processor
//! time per request, each the median of alternating rounds and the middle half of them; it holds
//! nothing against a limit.
//! Load and upstream share the processors with the proxies, so the first ratio flatters whoever
//! is slower; the second does not.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use wheelhouse::balancer::embedded::EmbeddedBalancer;
use wheelhouse::host::wire::BackendBody;
use wheelhouse::model::service::{Backend, Server};
use wheelhouse::model::{Name, Outcome, ServerSetting};
use wheelhouse::ports::Balancer;

/// Rounds of each proxy, one after the other in turns.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(2);
/// Before the first round.
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients, each with a connection it keeps.
const CLIENTS: usize = 32;
/// For a process to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer: a small page or a piece of JSON.
const ANSWER_BYTES: usize = 512;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    match args.get(1).map(String::as_str) {
        Some("upstream") => runtime.block_on(upstream(address(&args[2]))),
        Some("bare") => runtime.block_on(bare(address(&args[2]), address(&args[3]))),
        _ => runtime.block_on(compare()),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A process that ends with the comparison.
struct Process(Child);

impl Process {
    fn start(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }

    /// Processor time so far, in ticks.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        let stat = stat.expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>());
        let (user, system) = (fields.next(), fields.next());
        [user, system].into_iter().flatten().flatten().sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One proxy, and what it did in each round.
struct Contender {
    name: &'static str,
    process: Process,
    listen: SocketAddr,
    per_second: Vec<f64>,
    ticks_per_request: Vec<f64>,
}

impl Contender {
    async fn run(&mut self) {
        let ticks = self.process.ticks();
        let (count, took) = load(self.listen, ROUND).await;
        let used = self.process.ticks() - ticks;
        self.per_second.push(count as f64 / took.as_secs_f64());
        self.ticks_per_request.push(used as f64 / count as f64);
    }

    async fn warm_up(&self) {
        answers(self.listen).await;
        load(self.listen, WARM_UP).await;
    }
}

async fn compare() {
    let me = std::env::current_exe().expect("this program");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [origin, bare, ours] = [free(), free(), free()];
    let _origin = Process::start(&me, &["upstream", &origin.to_string()]);
    answers(origin).await;
    let bare = Contender {
        name: "bare hyper proxy",
        process: Process::start(&me, &["bare", &bare.to_string(), &origin.to_string()]),
        listen: bare,
        per_second: Vec::new(),
        ticks_per_request: Vec::new(),
    };
    let ours = Contender {
        name: "embedded proxy",
        process: host(dir.path(), ours, origin).await,
        listen: ours,
        per_second: Vec::new(),
        ticks_per_request: Vec::new(),
    };
    let mut contenders = [bare, ours];
    for contender in &contenders {
        contender.warm_up().await;
    }
    for round in 0..ROUNDS {
        // Each begins every other round, so that a machine that slows down harms both.
        for turn in 0..2 {
            contenders[(round + turn) % 2].run().await;
        }
    }
    report(&contenders);
}

fn report([bare, ours]: &[Contender; 2]) {
    for one in [bare, ours] {
        let rate = spread(one.per_second.clone()).median;
        println!("{:<18} {rate:>8.0} requests/s", one.name);
    }
    let ratios = |of: fn(&Contender) -> &Vec<f64>| -> Vec<f64> {
        let pairs = of(ours).iter().zip(of(bare));
        pairs.map(|(ours, bare)| ours / bare).collect()
    };
    let throughput = spread(ratios(|one| &one.per_second));
    let cost = ratios(|one| &one.ticks_per_request);
    let cost = spread(cost.into_iter().map(|ratio| 1.0 / ratio).collect());
    println!("throughput, embedded ÷ bare:                 {throughput} (goal: at least 0.90)");
    println!("processor time per request, bare ÷ embedded: {cost}");
}

/// What the rounds gave: the one in the middle, and those a quarter of the way from each end.
struct Spread {
    quarter: f64,
    median: f64,
    three_quarters: f64,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = (self.quarter, self.three_quarters);
        write!(to, "{:.2} [{low:.2} to {high:.2}]", self.median)
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |quarters: usize| values[(values.len() - 1) * quarters / 4];
    Spread {
        quarter: at(1),
        median: at(2),
        three_quarters: at(3),
    }
}

/// The real host, with one backend of one server.
async fn host(dir: &Path, listen: SocketAddr, origin: SocketAddr) -> Process {
    let state = dir.display().to_string();
    let program = Path::new(env!("CARGO_BIN_EXE_wheelhouse"));
    let process = Process::start(program, &["host", "--state-dir", &state]);
    let name: Name = "shop".parse().expect("valid");
    let server = Server {
        name: "s1".parse().expect("valid"),
        address: origin,
        runtime: None,
    };
    let settings = [(server.name.clone(), ServerSetting::ready(100))];
    let body = BackendBody {
        listen,
        servers: vec![server],
    };
    let backends = BTreeMap::from([(name.clone(), body)]);
    let balancer = EmbeddedBalancer::new(&dir.join("host.sock"), backends).expect("a client");
    let backend = Backend {
        balancer: "embedded".parse().expect("valid"),
        backend: name,
    };
    let deadline = Instant::now() + PATIENCE;
    while balancer.write(&backend, &settings).await.outcome != Outcome::Applied {
        assert!(Instant::now() < deadline, "the host does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process
}

fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound")
}

async fn answers(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "{address} does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks as fast as the answers come; returns how many came in which time.
async fn load(address: SocketAddr, long: Duration) -> (u64, Duration) {
    let began = Instant::now();
    let until = began + long;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address, until));
    }
    let counts = clients.join_all().await;
    (counts.into_iter().sum(), began.elapsed())
}

async fn client(address: SocketAddr, until: Instant) -> u64 {
    let mut sender: SendRequest<Empty<Bytes>> = connect(address).await;
    let mut count = 0;
    while Instant::now() < until {
        let request = Request::get("/")
            .header("host", "shop")
            .body(Empty::new())
            .expect("valid");
        sender.ready().await.expect("the connection is kept");
        let answer = sender.send_request(request).await.expect("answered");
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), ANSWER_BYTES);
        count += 1;
    }
    count
}

async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("connected");
    tokio::spawn(connection);
    sender
}

/// Answers everything with the same page.
async fn upstream(listen: SocketAddr) {
    let page = Bytes::from_static(&[b'x'; ANSWER_BYTES]);
    let listener = TcpListener::bind(listen).await.expect("free");
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("set");
        let page = page.clone();
        let answer = service_fn(move |_: Request<Incoming>| {
            let page = page.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(page))) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// The floor: every client's connection has its own to the server, and nothing is looked at.
async fn bare(listen: SocketAddr, origin: SocketAddr) {
    let listener = TcpListener::bind(listen).await.expect("free");
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("set");
        tokio::spawn(async move {
            let sender = Arc::new(Mutex::new(connect(origin).await));
            let answer = service_fn(move |request: Request<Incoming>| {
                let sender = Arc::clone(&sender);
                async move {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            let _ = serving.await;
        });
    }
}
