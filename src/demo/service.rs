//! The demo service: a small web service whose version, speed and errors are chosen, so that a
//! rollout has something to find.
//!
//! Its errors are spread evenly and its delays repeat, so that a story told with it comes out the
//! same each time. Must not know Wheelhouse; it is deployed like any other program.

mod metrics;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Metrics;
use serde_json::json;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// For requests under way when the service is stopped.
const DRAIN: Duration = Duration::from_secs(30);
/// A client may be silent this long between requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// Pause after a failed accept; see the proxy's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The environment variable that names the server this instance stands behind.
const SERVER_VARIABLE: &str = "WHEELHOUSE_SERVER";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_VERSION: HeaderName = HeaderName::from_static("x-version");

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct DemoServiceOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// The version it says it is.
    pub version: String,
    /// Median time to answer `/`; 2 % of the requests take four times as long.
    pub latency_ms: u64,
    /// Share of requests to `/` answered with 500, 0–1; exact in the long run.
    pub error_ratio: f64,
    /// How long it is not ready after its start.
    pub slow_start_ms: u64,
    /// When it ends by itself, as if it crashed.
    pub crash_after_ms: Option<u64>,
    /// Whether requests under way end before it stops.
    pub drain: bool,
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoEnd {
    /// It was stopped.
    Stopped,
    /// It crashed, as it was told to.
    Crashed,
}

/// The service cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the demo service cannot listen on {address}; choose a free port")]
pub struct DemoServiceError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The running service.
#[derive(Debug)]
struct Service {
    options: DemoServiceOptions,
    server: String,
    began: Instant,
    /// Requests to `/` so far; chooses each one's delay and error.
    asked: AtomicU64,
    served: AtomicU64,
    metrics: Metrics,
}

/// Runs the service until `shutdown` resolves or it crashes.
///
/// # Errors
/// When it cannot listen.
pub async fn run(
    options: DemoServiceOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<DemoEnd, DemoServiceError> {
    let address = options.address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| DemoServiceError { address, source })?;
    log(&format!("version {} listens on {address}", options.version));
    let crash_after_ms = options.crash_after_ms;
    let drain = options.drain;
    let service = Arc::new(Service {
        options,
        server: std::env::var(SERVER_VARIABLE).unwrap_or_default(),
        began: Instant::now(),
        asked: AtomicU64::new(0),
        served: AtomicU64::new(0),
        metrics: Metrics::default(),
    });
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    let end = tokio::select! {
        () = accept_all(listener, &service, &stop, &mut clients) => DemoEnd::Stopped,
        () = crash(crash_after_ms) => DemoEnd::Crashed,
        () = shutdown => DemoEnd::Stopped,
    };
    match end {
        DemoEnd::Crashed => log("fatal: the demo was told to crash now"),
        DemoEnd::Stopped if drain => {
            log("stopping: finishing requests under way");
            stop.cancel();
            let drained = async { while clients.join_next().await.is_some() {} };
            let _ = timeout(DRAIN, drained).await;
        }
        DemoEnd::Stopped => log("stopping at once"),
    }
    Ok(end)
}

async fn crash(after_ms: Option<u64>) {
    match after_ms {
        Some(ms) => sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

async fn accept_all(
    listener: TcpListener,
    service: &Arc<Service>,
    stop: &CancellationToken,
    clients: &mut JoinSet<()>,
) {
    loop {
        while clients.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        clients.spawn(client(stream, Arc::clone(service), stop.clone()));
    }
}

async fn client(stream: TcpStream, service: Arc<Service>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(Arc::clone(&service), request)),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // How a client's connection ended is its own affair.
    let _ = connection.await;
}

async fn answer(
    service: Arc<Service>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    let mut response = match request.uri().path() {
        "/" => service.page().await,
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => service.readiness(),
        "/metrics" => plain(
            StatusCode::OK,
            &service.metrics.text(&service.options.version),
        ),
        "/served" => service.count(),
        "/upgrade" => echo(&mut request),
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    };
    let took = began.elapsed();
    service.metrics.count(response.status(), took);
    let id = request.headers().get(X_REQUEST_ID);
    service.access_line(&request, response.status(), took, id);
    if let Some(id) = id {
        response.headers_mut().insert(X_REQUEST_ID, id.clone());
    }
    if let Ok(version) = HeaderValue::from_str(&service.options.version) {
        response.headers_mut().insert(X_VERSION, version);
    }
    Ok(response)
}

impl Service {
    async fn page(&self) -> Response<Full<Bytes>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let delay = delay_us(self.options.latency_ms, number);
        if delay > 0 {
            sleep(Duration::from_micros(delay)).await;
        }
        if is_error(self.options.error_ratio, number) {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
        }
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        json_body(StatusCode::OK, &self.identity(served))
    }

    fn count(&self) -> Response<Full<Bytes>> {
        json_body(
            StatusCode::OK,
            &self.identity(self.served.load(Ordering::Relaxed)),
        )
    }

    fn identity(&self, served: u64) -> serde_json::Value {
        json!({ "version": self.options.version, "server": self.server, "served": served })
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let is_ready = self.began.elapsed() >= Duration::from_millis(self.options.slow_start_ms);
        let (status, word, database) = if is_ready {
            (StatusCode::OK, "ok", "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting", "connecting")
        };
        let body = json!({ "status": word, "checks": { "database": database, "cache": "ok" } });
        json_body(status, &body)
    }

    fn access_line(
        &self,
        request: &Request<Incoming>,
        status: StatusCode,
        took: Duration,
        id: Option<&HeaderValue>,
    ) {
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or("-");
        log(&format!(
            "{} {} {} {:.1}ms version={} id={id}",
            request.method(),
            request.uri().path(),
            status.as_u16(),
            took.as_secs_f64() * 1_000.0,
            self.options.version,
        ));
    }
}

/// Accepts an upgrade and sends every byte back.
fn echo(request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return plain(StatusCode::UPGRADE_REQUIRED, "send an Upgrade header\n");
    };
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "upgrade with GET\n");
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, protocol);
    let upgrade = HeaderValue::from_static("upgrade");
    response.headers_mut().insert(CONNECTION, upgrade);
    response
}

/// Whether the request of this number fails. What is owed in errors is carried over, so that
/// after any number of requests the count is within one of the ratio.
fn is_error(error_ratio: f64, number: u64) -> bool {
    let due = |count: u64| (count as f64 * error_ratio.clamp(0.0, 1.0)).floor();
    due(number + 1) > due(number)
}

/// The delay of the request of this number: around the median, and four times that for 2 %.
fn delay_us(median_ms: u64, number: u64) -> u64 {
    const TAIL_EVERY: u64 = 50;
    let median_us = median_ms.saturating_mul(1_000);
    if number % TAIL_EVERY == TAIL_EVERY - 1 {
        return median_us.saturating_mul(4);
    }
    // A step that shares no factor with 601 visits each part of 70–130 % equally often.
    let part = 700 + number.wrapping_mul(233) % 601;
    median_us.saturating_mul(part) / 1_000
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text.to_owned())
}

fn json_body(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    body(status, "application/json", format!("{value}\n"))
}

fn body(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// One line of output; the service goes on when nobody reads it.
fn log(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_exact_in_the_long_run_and_spread_evenly() {
        for (ratio, expected) in [(0.0, 0), (0.02, 200), (0.041, 410), (1.0, 10_000)] {
            let errors = (0..10_000).filter(|n| is_error(ratio, *n)).count();
            assert_eq!(errors, expected, "ratio {ratio}");
        }
        let early = (0..100).filter(|n| is_error(0.1, *n)).count();
        assert_eq!(early, 10);
    }

    #[test]
    fn the_median_delay_is_the_one_asked_for_with_a_small_tail() {
        let mut delays: Vec<u64> = (0..10_000).map(|n| delay_us(40, n)).collect();
        delays.sort_unstable();
        let median_ms = delays[5_000] as f64 / 1_000.0;
        assert!((39.0..=41.0).contains(&median_ms), "{median_ms}");
        assert_eq!(delays[9_900], 160_000);
        assert_eq!(delays.iter().filter(|us| **us == 160_000).count(), 200);
    }
}
