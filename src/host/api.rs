//! The host's socket: requests in, [`super::wire`] types out. One function per request.
//!
//! Must not decide anything: it finds whom a request is for and says what they said.

use super::Host;
use super::proxy::BackendError;
use super::store::with_causes;
use super::supervisor::{Key, SetError};
use super::wire::{
    BODY_MAX_BYTES, BackendBody, Problem, QuietBody, SettingBody, StartBody, VERSION,
};
use crate::model::Clean;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; engines and doctors, one each per call.
const CALLERS_MAX: usize = 128;
/// For a request's head, and again for its body.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer waits for the record on disk. What was asked is in effect already, and a
/// balancer's whole second must not be lost to a slow disk.
const RECORD_DEADLINE: Duration = Duration::from_millis(200);
/// Longest grace a stop may ask for.
const GRACE_MAX_MS: u64 = 3_600_000;
/// Pause after a failed accept; see the proxy's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An answer, or the problem that is answered instead.
type Answer = Result<Response<Full<Bytes>>, Trouble>;

/// Why a request is not carried out.
struct Trouble {
    status: StatusCode,
    why: Clean,
}

impl Trouble {
    fn new(status: StatusCode, why: impl Display) -> Self {
        Self {
            status,
            why: Clean::new(&why.to_string()),
        }
    }
}

impl From<BackendError> for Trouble {
    fn from(error: BackendError) -> Self {
        let status = match error {
            BackendError::Unknown { .. } => StatusCode::NOT_FOUND,
            BackendError::Listen { .. } | BackendError::InUse { .. } => StatusCode::CONFLICT,
            BackendError::UnknownServer { .. }
            | BackendError::Weight { .. }
            | BackendError::Declaration { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, with_causes(&error))
    }
}

impl From<SetError> for Trouble {
    fn from(error: SetError) -> Self {
        let status = match error {
            SetError::Taken { .. } | SetError::Full => StatusCode::CONFLICT,
            SetError::Nobody { .. } => StatusCode::NOT_FOUND,
            SetError::NoCommand { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            SetError::Store(_) | SetError::Slow { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, with_causes(&error))
    }
}

/// Answers on the socket until told to stop, then lets requests under way end.
pub(super) async fn serve(listener: UnixListener, host: Arc<Host>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CALLERS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let caller = caller(stream, Arc::clone(&host), stop.clone());
                tasks.spawn(async move {
                    caller.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a caller could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    let _ = timeout(REQUEST_DEADLINE, tasks.wait()).await;
}

async fn caller(stream: UnixStream, host: Arc<Host>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let host = Arc::clone(&host);
        async move { Ok::<_, Infallible>(respond(&host, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // How a caller's connection ended is its own affair.
    let _ = connection.await;
}

async fn respond(host: &Arc<Host>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    route(host, request).await.unwrap_or_else(|trouble| {
        let problem = Problem { error: trouble.why };
        let mut response = json(&problem).unwrap_or_default();
        *response.status_mut() = trouble.status;
        response
    })
}

async fn route(host: &Arc<Host>, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let Some((&VERSION, segments)) = segments.split_first() else {
        let why = format!("this host speaks /{VERSION} only; use the same version on both sides");
        return Err(Trouble::new(StatusCode::NOT_FOUND, why));
    };
    match (&method, segments) {
        (&Method::GET, ["status"]) => json(&host.status()),
        (&Method::GET, ["instances", placement]) => {
            json(&host.supervisor.reading(&parse(placement)?))
        }
        (&Method::PUT, ["instances", placement, server]) => {
            let body: StartBody = read(request).await?;
            let start = body.at(parse(placement)?, parse(server)?);
            host.supervisor.start(start).await?;
            done()
        }
        (&Method::DELETE, ["instances", placement, server]) => {
            let grace = Duration::from_millis(number(&query, "grace_ms")?.min(GRACE_MAX_MS));
            host.supervisor
                .stop(&key(placement, server)?, grace)
                .await?;
            done()
        }
        (&Method::PUT, ["instances", placement, server, "quiet"]) => {
            let body: QuietBody = read(request).await?;
            host.supervisor
                .quiet(&key(placement, server)?, body.signal)?;
            done()
        }
        (&Method::GET, ["instances", placement, server, "logs"]) => {
            let key = key(placement, server)?;
            let page = host.supervisor.logs(&key, number(&query, "from")?);
            let why = "nothing was started behind this server since the host began";
            json(&page.ok_or_else(|| Trouble::new(StatusCode::NOT_FOUND, why))?)
        }
        (&Method::GET, ["backends", name]) => json(&host.proxy.reading(&parse(name)?)?),
        (&Method::PUT, ["backends", name]) => {
            let body: BackendBody = read(request).await?;
            let change = host.proxy.declare(&parse(name)?, &body)?;
            recorded(host, change).await
        }
        (&Method::PUT, ["backends", name, "servers"]) => {
            let settings: Vec<SettingBody> = read(request).await?;
            let change = host.proxy.set(&parse(name)?, &settings)?;
            recorded(host, change).await
        }
        _ => {
            let why = format!("there is no {method} {path}; use the same version on both sides");
            Err(Trouble::new(StatusCode::NOT_FOUND, why))
        }
    }
}

/// Answers once a change is on disk, or is known not to be. Either way it is in effect, and the
/// readings say when the record is behind.
async fn recorded(host: &Host, change: u64) -> Answer {
    match timeout(RECORD_DEADLINE, host.store.is_saved(change)).await {
        Ok(_) => {}
        Err(_) => tracing::warn!("the disk is slow to take the record of the set"),
    }
    done()
}

fn key(placement: &str, server: &str) -> Result<Key, Trouble> {
    Ok(Key {
        placement: parse(placement)?,
        server: parse(server)?,
    })
}

fn parse<T: FromStr<Err = impl Display>>(text: &str) -> Result<T, Trouble> {
    text.parse()
        .map_err(|error| Trouble::new(StatusCode::BAD_REQUEST, error))
}

/// A number in the query; 0 when it is not given.
fn number(query: &str, name: &str) -> Result<u64, Trouble> {
    let given = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name);
    match given {
        Some((_, value)) => value.parse().map_err(|_| {
            let why = format!("{name} is a whole number from 0");
            Trouble::new(StatusCode::BAD_REQUEST, why)
        }),
        None => Ok(0),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Trouble> {
    let body = Limited::new(request.into_body(), BODY_MAX_BYTES).collect();
    let body = timeout(REQUEST_DEADLINE, body)
        .await
        .map_err(|_| Trouble::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive"))?
        .map_err(|error| Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, error))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| Trouble::new(StatusCode::BAD_REQUEST, error))
}

fn json(body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body)
        .map_err(|error| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn done() -> Answer {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
