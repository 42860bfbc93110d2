//! One request on its way: to a server, to another where that is safe, and the answer back.
//!
//! Safe means that no server can have begun with it: nobody was connected, it was never written,
//! or it was written to a kept connection that closed without an answer and doing it twice does
//! no more than doing it once.

use super::backend::Backend;
use super::body::{RequestBody, ResponseBody, ServerBody};
use super::headers;
use super::pool::{Connection, IDLE_MAX, IDLE_MAX_ONCE};
use super::server::{Server, Session};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Servers that are tried for one request.
const ATTEMPTS_MAX: usize = 4;
/// For one connection to a server; they are near.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// From the request sent to the head of the answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A request without its body, as it is sent again.
type Again = Option<Parts>;

/// Why a server did not answer.
enum Failure {
    /// It never got the request.
    Unsent(Request<RequestBody>),
    /// It may have got it on a kept connection that then closed; here it is again, if it may be.
    Closed(Again),
    /// It got it, and its answer is broken or none.
    Broken,
    /// It got it, and did not answer in time.
    Late,
    /// The client's own body broke off.
    Client,
}

/// Answers a client's request with a server's answer, or says why not.
pub(super) async fn forward(
    backend: Arc<Backend>,
    client: IpAddr,
    abandon: CancellationToken,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let received = Instant::now();
    if request.method() == Method::CONNECT {
        return say(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here");
    }
    let upgrade = headers::is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, client);
    let mut request = request.map(RequestBody::Client);
    let mut tried: Vec<Arc<Server>> = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        // The only server there is may have closed a kept connection; it is asked on a fresh one.
        let Some(session) = backend.pick(&tried).or_else(|| backend.pick(&[])) else {
            break;
        };
        let is_first = tried.is_empty();
        let server = Arc::clone(&session.server);
        let exchange = exchange(&backend, session, request, is_first, received);
        match exchange.await {
            Ok(answered) => return answer(&backend, answered, upgrade, abandon),
            Err(Failure::Unsent(unsent)) => request = unsent,
            Err(Failure::Closed(Some(again))) => {
                request = Request::from_parts(again, RequestBody::Empty);
            }
            Err(Failure::Closed(None) | Failure::Broken) => {
                return say(StatusCode::BAD_GATEWAY, "the server broke off its answer");
            }
            Err(Failure::Late) => {
                return say(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the server did not answer in time",
                );
            }
            Err(Failure::Client) => {
                return say(StatusCode::BAD_REQUEST, "the request broke off");
            }
        }
        tried.push(server);
    }
    let text = format!("no server of {} can answer now", backend.name);
    say(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// Makes a client's request the one the server gets.
fn prepare(request: &mut Request<Incoming>, client: IpAddr) {
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

/// A server's answer with what holds it.
struct Answered {
    response: Response<Incoming>,
    connection: Connection,
    session: Session,
}

/// Counts a request its client gave up before an answer came, which shows only as a drop.
struct Waiting<'a> {
    server: &'a Server,
    received: Instant,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.server.given_up(self.received.elapsed());
        }
    }
}

/// Sends a request to one server and counts what becomes of it.
async fn exchange(
    backend: &Backend,
    session: Session,
    request: Request<RequestBody>,
    may_reuse: bool,
    received: Instant,
) -> Result<Answered, Failure> {
    let server = Arc::clone(&session.server);
    let mut waiting = Waiting {
        server: &server,
        received,
        is_over: false,
    };
    let sent = send(backend, &server, request, may_reuse).await;
    waiting.is_over = true;
    match &sent {
        Ok((response, _)) => server.answered(received.elapsed(), response.status()),
        Err(Failure::Late) => server.timed_out(received.elapsed()),
        Err(Failure::Client) => server.given_up(received.elapsed()),
        Err(Failure::Unsent(_) | Failure::Closed(_) | Failure::Broken) => server.failed(),
    }
    sent.map(|(response, connection)| Answered {
        response,
        connection,
        session,
    })
}

/// Sends a request on a kept connection, or on a fresh one where none is fit.
async fn send(
    backend: &Backend,
    server: &Server,
    mut request: Request<RequestBody>,
    may_reuse: bool,
) -> Result<(Response<Incoming>, Connection), Failure> {
    let may_repeat = request.body().is_end_stream() && request.method().is_idempotent();
    let age_max = if may_repeat { IDLE_MAX } else { IDLE_MAX_ONCE };
    if may_reuse && let Some(kept) = server.pool.take(age_max) {
        let again = may_repeat.then(|| head_of(&request));
        match on_connection(kept, request).await {
            // A kept connection that was closed before anything was written is nobody's fault.
            Err(Failure::Unsent(unsent)) => request = unsent,
            Err(Failure::Broken) => return Err(Failure::Closed(again)),
            done => return done,
        }
    }
    match connect(backend, server).await {
        Ok(fresh) => on_connection(fresh, request).await,
        Err(error) => {
            tracing::debug!(server = %server.name, %error, "no connection");
            Err(Failure::Unsent(request))
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

async fn on_connection(
    mut connection: Connection,
    request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Connection), Failure> {
    match timeout(ANSWER_DEADLINE, connection.try_send_request(request)).await {
        Ok(Ok(response)) => Ok((response, connection)),
        Ok(Err(mut failed)) => Err(match failed.take_message() {
            Some(unsent) => Failure::Unsent(unsent),
            None if failed.error().is_user() => Failure::Client,
            None => Failure::Broken,
        }),
        Err(_) => Err(Failure::Late),
    }
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
    backend: &Backend,
    answered: Answered,
    upgrade: Option<OnUpgrade>,
    abandon: CancellationToken,
) -> Response<ResponseBody> {
    let Answered {
        mut response,
        connection,
        session,
    } = answered;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            session.server.broke_off();
            return say(
                StatusCode::BAD_GATEWAY,
                "the server changed the protocol unasked",
            );
        };
        let server = hyper::upgrade::on(&mut response);
        backend
            .tasks
            .spawn(pass_through(client, server, session, abandon));
        headers::to_client(response.headers_mut());
        return response.map(|_| ResponseBody::Text(Full::default()));
    }
    headers::to_client(response.headers_mut());
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
