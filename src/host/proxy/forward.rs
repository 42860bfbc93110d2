//! One request on its way: to a server, to another where that is safe, and the answer back.
//!
//! Safe means that no server can have begun with it: nobody was connected, or it was never
//! written. Where doing it twice does no more than doing it once, it is also repeated after a
//! connection closed without an answer, which is how a server that is killed looks; but only one
//! time, so that a request that kills its server does not kill them all.

use super::alarm::Alarm;
use super::backend::Backend;
use super::body::{RequestBody, ResponseBody, ServerBody, Side, Upload};
use super::headers;
use super::pool::{Connection, IDLE_MAX, IDLE_MAX_ONCE};
use super::server::{Server, Session};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Servers that are tried for one request.
const ATTEMPTS_MAX: usize = 4;
/// For one connection to a server; they are near.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// From the request sent to the head of the answer; where it has a body, from the last piece of
/// it that went on.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A client's connection, for each request on it.
#[derive(Debug)]
pub(super) struct Client {
    backend: Arc<Backend>,
    /// Its address, as a header has it.
    address: HeaderValue,
    alarm: Alarm,
    /// Ends its upgraded connection.
    abandon: CancellationToken,
}

impl Client {
    /// A client at this address, served by `backend`; `alarm` belongs to its connection's task.
    pub(super) fn new(
        backend: Arc<Backend>,
        address: IpAddr,
        alarm: Alarm,
        abandon: CancellationToken,
    ) -> Self {
        let address = HeaderValue::try_from(address.to_string());
        Self {
            backend,
            address: address.expect("digits, dots, colons and letters fit in a header"),
            alarm,
            abandon,
        }
    }
}

/// Why a server did not answer.
enum Failure {
    /// It never got the request.
    Unsent(Request<RequestBody>),
    /// It may have got it, and its answer is broken or none; here it is again without its body,
    /// if it may be.
    Broken(Option<Parts>),
    /// It got it, and did not answer in time.
    Late,
    /// The client's own body broke off.
    Client,
    /// The client's own body did not go on in time.
    Stalled,
}

/// Answers a client's request with a server's answer, or says why not.
pub(super) fn forward(
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Response<ResponseBody>> {
    let received = Instant::now();
    let upgrade = headers::is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, &client.address);
    let mut request = request.map(RequestBody::new);
    // A block and not the function is async, so that the request is held only once.
    async move {
        if request.method() == Method::CONNECT {
            return say(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here");
        }
        let backend = &client.backend;
        let mut tried: Vec<Arc<Server>> = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            // The only server there is may have closed a kept connection; it is asked on a
            // fresh one.
            let Some(session) = backend.pick(&tried).or_else(|| backend.pick(&[])) else {
                break;
            };
            let attempt = if tried.is_empty() {
                Attempt::First
            } else {
                Attempt::Again
            };
            let waiting = Waiting::begin(&session.server, received);
            let sent = send(&client, &session.server, request, attempt, received).await;
            waiting.end(&sent);
            match sent {
                Ok(answered) => return answer(&client, answered, session, upgrade),
                Err(Failure::Unsent(unsent)) => request = unsent,
                Err(Failure::Broken(Some(again))) => {
                    request = Request::from_parts(again, RequestBody::Empty);
                }
                Err(failure) => return say_why(&failure),
            }
            tried.push(Arc::clone(&session.server));
        }
        let text = format!("no server of {} can answer now", backend.name);
        say(StatusCode::SERVICE_UNAVAILABLE, &text)
    }
}

fn say_why(failure: &Failure) -> Response<ResponseBody> {
    let (status, text) = match failure {
        Failure::Unsent(_) | Failure::Broken(_) => {
            (StatusCode::BAD_GATEWAY, "the server broke off its answer")
        }
        Failure::Late => (
            StatusCode::GATEWAY_TIMEOUT,
            "the server did not answer in time",
        ),
        Failure::Client => (StatusCode::BAD_REQUEST, "the request broke off"),
        Failure::Stalled => (
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not go on in time",
        ),
    };
    say(status, text)
}

/// Which time a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// On a kept connection where there is one.
    First,
    /// On a fresh one, and not once more.
    Again,
}

/// Makes a client's request the one the server gets.
fn prepare(request: &mut Request<Incoming>, client: &HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority() {
        // A request to a proxy names the whole address; a server gets the path and the host.
        let host = HeaderValue::from_str(authority.as_str()).ok();
        let path = request
            .uri()
            .path_and_query()
            .map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
        *request.uri_mut() = path;
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
    }
    headers::to_server(request.headers_mut(), client);
}

/// A server's answer and the connection it comes on.
type Answered = (Response<Incoming>, Connection);

/// Counts what becomes of a request; that its client gave it up shows only as a drop.
struct Waiting<'a> {
    server: &'a Server,
    received: Instant,
    is_over: bool,
}

impl<'a> Waiting<'a> {
    fn begin(server: &'a Server, received: Instant) -> Self {
        Self {
            server,
            received,
            is_over: false,
        }
    }

    fn end(mut self, sent: &Result<Answered, Failure>) {
        self.is_over = true;
        let (server, took) = (self.server, self.received.elapsed());
        match sent {
            Ok((response, _)) => server.answered(took, response.status()),
            Err(Failure::Late) => server.timed_out(took),
            Err(Failure::Client | Failure::Stalled) => server.given_up(took),
            Err(Failure::Unsent(_) | Failure::Broken(_)) => server.failed(),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.server.given_up(self.received.elapsed());
        }
    }
}

/// Sends a request on a kept connection, or on a fresh one where none is fit. The first time only
/// it comes back to be repeated.
fn send<'a>(
    client: &'a Client,
    server: &'a Server,
    mut request: Request<RequestBody>,
    attempt: Attempt,
    received: Instant,
) -> impl Future<Output = Result<Answered, Failure>> + use<'a> {
    let may_repeat = request.body().is_end_stream() && request.method().is_idempotent();
    let age_max = if may_repeat { IDLE_MAX } else { IDLE_MAX_ONCE };
    let again = (attempt == Attempt::First && may_repeat).then(|| head_of(&request));
    let mut kept = match attempt {
        Attempt::First => server.pool.take(age_max, received),
        Attempt::Again => None,
    };
    // A block and not the function is async, so that the request is held only once.
    async move {
        loop {
            let is_kept = kept.is_some();
            let (mut connection, began) = match kept.take() {
                Some(connection) => (connection, received),
                // Boxed because it is rare and large: each request would have to make room for it.
                None => match Box::pin(connect(&client.backend, server)).await {
                    Ok(fresh) => (fresh, Instant::now()),
                    Err(error) => {
                        tracing::debug!(server = %server.name, %error, "no connection");
                        return Err(Failure::Unsent(request));
                    }
                },
            };
            let upload = request.body().upload();
            let sending = std::pin::pin!(connection.try_send_request(request));
            match in_time(sending, &client.alarm, began, upload.as_deref()).await {
                Ok(response) => return Ok((response, connection)),
                // A kept connection that was closed before anything was written is nobody's fault.
                Err(Failure::Unsent(unsent)) if is_kept => request = unsent,
                Err(Failure::Broken(_)) => return Err(Failure::Broken(again)),
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn head_of(request: &Request<RequestBody>) -> Parts {
    let mut again = Request::new(());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again.into_parts().0
}

/// The answer to a request that is being sent; its deadline counts from `began`.
async fn in_time<S>(
    mut sending: Pin<&mut S>,
    alarm: &Alarm,
    began: Instant,
    upload: Option<&Upload>,
) -> Result<Response<Incoming>, Failure>
where
    S: Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>,
{
    let sent = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(sent) => Poll::Ready(Ok(sent)),
        Poll::Pending => poll_patience(alarm, began, upload, cx).map(Err),
    });
    sent.await?
        .map_err(|mut failed| match failed.take_message() {
            Some(unsent) => Failure::Unsent(unsent),
            None if failed.error().is_user() => Failure::Client,
            None => Failure::Broken(None),
        })
}

/// Ready when an answer has been waited for too long: since the request was sent, or since its
/// body last moved. Who kept it from moving is who failed.
fn poll_patience(
    alarm: &Alarm,
    began: Instant,
    upload: Option<&Upload>,
    cx: &mut Context<'_>,
) -> Poll<Failure> {
    let progress = upload.map(Upload::progress);
    let since = progress.map_or(began, |progress| progress.since.max(began));
    ready!(alarm.poll(since + ANSWER_DEADLINE, cx));
    Poll::Ready(match progress.map(|progress| progress.waits_for) {
        Some(Side::Client) => Failure::Stalled,
        Some(Side::Server) | None => Failure::Late,
    })
}

async fn connect(backend: &Backend, server: &Server) -> io::Result<Connection> {
    let stream = match timeout(CONNECT_DEADLINE, TcpStream::connect(server.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            server.set_up(false);
            return Err(error);
        }
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    stream.set_nodelay(true)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    backend.tasks.spawn(async move {
        // Whoever uses the connection learns how it ended.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// Makes a server's answer the client's.
fn answer(
    client: &Client,
    (mut response, connection): Answered,
    session: Session,
    upgrade: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    headers::to_client(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(upgraded) = upgrade else {
            session.server.broke_off();
            return say(
                StatusCode::BAD_GATEWAY,
                "the server changed the protocol unasked",
            );
        };
        let server = hyper::upgrade::on(&mut response);
        let abandon = client.abandon.clone();
        let passing = pass_through(upgraded, server, session, abandon);
        client.backend.tasks.spawn(passing);
        return response.map(|_| ResponseBody::Text(Full::default()));
    }
    *response.version_mut() = Version::HTTP_11;
    let is_error = response.status().is_server_error();
    response.map(|incoming| {
        ResponseBody::Server(ServerBody::new(incoming, connection, session, is_error))
    })
}

/// Carries bytes both ways until either side ends, as one session.
async fn pass_through(
    client: OnUpgrade,
    server: OnUpgrade,
    session: Session,
    abandon: CancellationToken,
) {
    let carried = async {
        let (client, server) = tokio::try_join!(client, server).map_err(io::Error::other)?;
        let mut client = TokioIo::new(client);
        let mut server = TokioIo::new(server);
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        ended = carried => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        }
        () = abandon.cancelled() => {}
    }
    drop(session);
}

/// The proxy's own words.
fn say(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let text = Bytes::from(format!("{text}\n"));
    let mut response = Response::new(ResponseBody::Text(Full::new(text)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests;
