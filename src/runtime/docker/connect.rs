//! Reaches a Docker daemon: dials its socket, TCP with or without TLS, or `ssh`; one connection
//! per request, each with the API version in its path.
//!
//! bollard 0.21 negotiates a version but sends paths without it; a daemon then answers in its own
//! newest one. The transport here adds the prefix, and a test holds it to that.

use super::endpoint::{Endpoint, Tls};
use super::tls;
use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use hyper::body::Incoming;
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Oldest API spoken: that of Docker 20.10, which Debian 12 carries.
pub const API_MIN: (usize, usize) = (1, 41);
/// Newest API spoken.
pub const API_MAX: (usize, usize) = (1, 47);
/// For a connection, TLS included.
const DIAL: Duration = Duration::from_secs(5);
/// For what a daemon is, in two answers.
const SETTLE: Duration = Duration::from_secs(10);
/// For a program in between to say why it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes kept of that.
const LAST_WORDS_MAX: u64 = 4 * 1024;
/// For the head of an answer, where nothing shorter is asked for.
const ANSWER_S: u64 = 120;

/// Why a call did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("{0}")]
    Unreached(String),
    /// The daemon refused it.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// It was sent, and nobody knows what became of it.
    #[error("{0}")]
    Lost(String),
}

impl CallError {
    /// Whether the daemon says that there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => Self::Refused {
                status: status_code,
                message,
            },
            Error::DockerStreamError { error } => Self::Refused {
                status: 500,
                message: error,
            },
            Error::IOError { err } if err.kind() == io::ErrorKind::NotConnected => {
                Self::Unreached(err.to_string())
            }
            Error::IOError { err } => Self::Lost(err.to_string()),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// What a daemon said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its version, e.g. `20.10.24`.
    pub version: String,
    /// The API version that is sent.
    pub api: (usize, usize),
    /// Its own id and process, to notice when another one answers.
    pub epoch: String,
}

/// What was settled with a daemon, and the API in those terms.
type Known = (Arc<Daemon>, Docker);

/// A question under way that several callers may wait for.
type Settling = Shared<BoxFuture<'static, Result<Known, CallError>>>;

/// A daemon, dialled anew for every request.
#[derive(Debug, Clone)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
    known: Arc<Mutex<Option<Known>>>,
    settling: Arc<Mutex<Option<Settling>>>,
}

impl Connection {
    /// Connects to nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            known: Arc::default(),
            settling: Arc::default(),
        }
    }

    /// Where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The API with its version settled. The daemon is asked once, and again after
    /// [`Connection::forget`]. A caller may give up waiting: the question goes on, because over `ssh`
    /// it takes longer than one reading may.
    ///
    /// # Errors
    /// When it cannot be reached, or speaks no version that we do.
    pub async fn api(&self) -> Result<(Arc<Daemon>, Docker), CallError> {
        match self.settled() {
            Some(known) => Ok(known),
            None => self.settling().await,
        }
    }

    /// The question under way, else a new one.
    fn settling(&self) -> Settling {
        let ask = || {
            let connection = self.clone();
            let asked = async move { timeout(SETTLE, connection.settle()).await };
            let answered = tokio::spawn(asked).map(|ended| match ended {
                Ok(Ok(settled)) => settled,
                Ok(Err(_)) => Err(CallError::Lost("no answer in 10 s".to_owned())),
                Err(error) => Err(CallError::Lost(error.to_string())),
            });
            answered.boxed().shared()
        };
        let Ok(mut under_way) = self.settling.lock() else {
            return ask();
        };
        match under_way.as_ref().filter(|asked| asked.peek().is_none()) {
            Some(asked) => asked.clone(),
            None => under_way.insert(ask()).clone(),
        }
    }

    async fn settle(&self) -> Result<Known, CallError> {
        let plain = docker(&self.endpoint, None)?;
        let version = plain.version().await.map_err(CallError::from)?;
        let api = settled(
            version.api_version.as_deref().unwrap_or_default(),
            version.min_api_version.as_deref().unwrap_or_default(),
        )?;
        let docker = docker(&self.endpoint, Some(api))?;
        let info = docker.info().await.map_err(CallError::from)?;
        let process = self.process().await.unwrap_or_default();
        let daemon = Arc::new(Daemon {
            version: version.version.unwrap_or_default(),
            api,
            epoch: format!("{}{process}", info.id.unwrap_or_default()),
        });
        let found = (daemon, docker);
        if let Ok(mut known) = self.known.lock() {
            *known = Some(found.clone());
        }
        Ok(found)
    }

    fn settled(&self) -> Option<Known> {
        self.known.lock().ok()?.clone()
    }

    /// Asks the daemon anew what it is at the next call.
    pub fn forget(&self) {
        if let Ok(mut known) = self.known.lock() {
            *known = None;
        }
    }

    /// The process behind a local socket, with its start; elsewhere it cannot be seen.
    async fn process(&self) -> Option<String> {
        let Endpoint::Unix(path) = &*self.endpoint else {
            return None;
        };
        let stream = UnixStream::connect(path).await.ok()?;
        let pid = stream.peer_cred().ok()?.pid()?;
        let stat = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await;
        let stat = stat.ok()?;
        // The name may hold anything; fields are counted after its last bracket.
        let start = stat.rsplit(')').next()?.split_whitespace().nth(19)?;
        Some(format!("-{pid}-{start}"))
    }

    /// One `GET` whose answer is read as bytes, for streams that must not be decoded whole.
    ///
    /// # Errors
    /// As every call.
    pub async fn stream(&self, path: &str) -> Result<Incoming, CallError> {
        let (daemon, _) = self.api().await?;
        let (major, minor) = daemon.api;
        let uri = format!("/v{major}.{minor}{path}");
        let lost = |error: &dyn std::fmt::Display| CallError::Lost(error.to_string());
        let request = hyper::Request::get(uri)
            .header(hyper::header::HOST, "docker")
            .body(String::new())
            .map_err(|error| lost(&error))?;
        let answer = exchange(&self.endpoint, request);
        let answer = answer.await.map_err(CallError::from)?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(CallError::Refused {
                status: status.as_u16(),
                message: format!("{path} answers {status}"),
            }),
        }
    }
}

/// The newest version both sides speak.
fn settled(theirs: &str, least: &str) -> Result<(usize, usize), CallError> {
    let parse = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let unfit = |what: String| {
        Err(CallError::Refused {
            status: 400,
            message: what,
        })
    };
    let Some(newest) = parse(theirs) else {
        return unfit("what answers is no Docker daemon".to_owned());
    };
    let least = parse(least).unwrap_or((1, 12));
    let show = |(major, minor): (usize, usize)| format!("{major}.{minor}");
    if newest < API_MIN {
        return unfit(format!(
            "the daemon speaks API {theirs}, but {} is needed at least; install Docker 20.10 or newer",
            show(API_MIN)
        ));
    }
    if least > API_MAX {
        return unfit(format!(
            "the daemon asks for API {} at least, but this program speaks {} at most; update it",
            show(least),
            show(API_MAX)
        ));
    }
    Ok(newest.min(API_MAX))
}

/// A client that sends this version in every path; none for the first question.
fn docker(endpoint: &Arc<Endpoint>, api: Option<(usize, usize)>) -> Result<Docker, CallError> {
    let endpoint = Arc::clone(endpoint);
    let transport = move |mut request: BollardRequest| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            *request.uri_mut() = versioned(request.uri(), api)?;
            let host = hyper::header::HeaderValue::from_static("docker");
            request.headers_mut().insert(hyper::header::HOST, host);
            exchange(&endpoint, request).await
        }
    };
    let (major_version, minor_version) = api.unwrap_or(API_MIN);
    let version = ClientVersion {
        major_version,
        minor_version,
    };
    let docker =
        Docker::connect_with_custom_transport(transport, Some("http://docker"), ANSWER_S, &version);
    docker.map_err(CallError::from)
}

/// The path as the daemon is to see it: with the version, without a host.
fn versioned(uri: &Uri, api: Option<(usize, usize)>) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let text = match api {
        Some((major, minor)) => format!("/v{major}.{minor}{path}"),
        None => path.to_owned(),
    };
    text.parse().map_err(|err| Error::InvalidURIError { err })
}

/// One request over a connection of its own.
async fn exchange<B>(
    endpoint: &Endpoint,
    request: hyper::Request<B>,
) -> Result<Response<Incoming>, Error>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let unreached = |why: String| Error::IOError {
        err: io::Error::new(io::ErrorKind::NotConnected, why),
    };
    let dialled = timeout(DIAL, dial(endpoint)).await;
    let (stream, said) = match dialled {
        Ok(Ok(dialled)) => dialled,
        Ok(Err(error)) => {
            let of_tls = files(endpoint).and_then(|files| tls::words(&error, files));
            let why = of_tls.unwrap_or_else(|| error.to_string());
            return Err(unreached(format!("{}: {why}", words(endpoint))));
        }
        Err(_) => {
            return Err(unreached(format!(
                "{}: no connection in 5 s",
                words(endpoint)
            )));
        }
    };
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|err| Error::HyperResponseError { err })?;
    // Ends with the answer's body: nothing else holds the connection.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to Docker ended: {error}");
        }
    });
    let err = match sender.send_request(request).await {
        Ok(answer) => return Ok(answer),
        Err(err) => err,
    };
    if let Some(why) = files(endpoint).and_then(|files| tls::rejected(&err, files)) {
        return Err(unreached(format!("{}: {why}", words(endpoint))));
    }
    let Some(said) = said else {
        return Err(Error::HyperResponseError { err });
    };
    match timeout(LAST_WORDS, said).await {
        // It may have ended in the middle: nobody knows what arrived.
        Ok(Ok(Some(why))) => Err(Error::IOError {
            err: io::Error::other(format!("{}: {why}; run that line by hand", words(endpoint))),
        }),
        _ => Err(Error::HyperResponseError { err }),
    }
}

fn files(endpoint: &Endpoint) -> Option<&Tls> {
    match endpoint {
        Endpoint::Tcp(_, files) => files.as_ref(),
        _ => None,
    }
}

/// What people call the place, with the mend.
pub fn words(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Unix(path) => format!("Docker's socket {}", path.display()),
        Endpoint::Tcp(address, _) => format!("Docker at {address}"),
        Endpoint::Ssh(arguments) => format!("Docker by `ssh {}`", arguments.join(" ")),
    }
}

/// A connection to a daemon.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The last words of a program in between, once it ended without an answer.
type Said = JoinHandle<Option<String>>;

async fn dial(endpoint: &Endpoint) -> io::Result<(Box<dyn Stream>, Option<Said>)> {
    let stream: Box<dyn Stream> = match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Endpoint::Tcp(address, None) => Box::new(TcpStream::connect(address).await?),
        Endpoint::Tcp(address, Some(files)) => {
            let connector = TlsConnector::from(Arc::new(tls::client(files)?));
            let host = address
                .rsplit_once(':')
                .map_or(&**address, |(host, _)| host);
            let host = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let stream = TcpStream::connect(address).await?;
            Box::new(connector.connect(name, stream).await?)
        }
        Endpoint::Ssh(arguments) => {
            let (piped, said) = Piped::spawn(arguments)?;
            return Ok((Box::new(piped), Some(said)));
        }
    };
    Ok((stream, None))
}

/// A child's standard input and output as one stream. The child ends with it.
struct Piped {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Piped {
    fn spawn(arguments: &[String]) -> io::Result<(Self, Said)> {
        let mut child = Command::new("ssh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("ssh has no pipes");
        let errors = child.stderr.take().ok_or_else(gone)?;
        let piped = Self {
            input: child.stdin.take().ok_or_else(gone)?,
            output: child.stdout.take().ok_or_else(gone)?,
            _child: child,
        };
        // Ends with the child.
        let said = tokio::spawn(last_line(errors));
        Ok((piped, said))
    }
}

/// The last line a program wrote, of what it wrote first; the rest is thrown away.
async fn last_line(mut errors: ChildStderr) -> Option<String> {
    let mut bytes = Vec::new();
    let mut first = (&mut errors).take(LAST_WORDS_MAX);
    first.read_to_end(&mut bytes).await.ok()?;
    tokio::io::copy(&mut errors, &mut tokio::io::sink())
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim().trim_end_matches('.').to_owned())
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;

    /// Answers the first questions of a client and gives back every request line.
    async fn lines_sent(api_version: &'static str, min: &'static str) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let (told, mut heard) = tokio::sync::mpsc::channel(16);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 4_096];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                let body = format!(
                    r#"{{"ApiVersion":"{api_version}","MinAPIVersion":"{min}","Version":"20.10.24","ID":"A"}}"#
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                if told.send(line).await.is_err() {
                    break;
                }
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        let connection = Connection::new(Endpoint::Unix(path));
        let asked = connection.api().await;
        server.abort();
        let mut lines = Vec::new();
        while let Some(line) = heard.recv().await {
            lines.extend((!line.is_empty()).then_some(line));
        }
        lines.extend(asked.err().map(|error| error.to_string()));
        lines
    }

    #[tokio::test]
    async fn fault_67_the_version_is_really_sent_in_the_path() {
        let lines = lines_sent("1.41", "1.12").await;
        assert_eq!(lines[0], "GET /version HTTP/1.1");
        assert_eq!(lines[1], "GET /v1.41/info HTTP/1.1");
        let lines = lines_sent("1.99", "1.44").await;
        assert_eq!(
            lines[1], "GET /v1.47/info HTTP/1.1",
            "never newer than known"
        );
    }

    #[tokio::test]
    async fn fault_67_versions_too_old_or_too_new_are_said_with_both_numbers() {
        let lines = lines_sent("1.39", "1.12").await;
        assert!(
            lines[1].contains("1.39") && lines[1].contains("1.41"),
            "{lines:?}"
        );
        let lines = lines_sent("1.99", "1.90").await;
        assert!(
            lines[1].contains("1.90") && lines[1].contains("1.47"),
            "{lines:?}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_dialled_was_not_sent() {
        let connection = Connection::new(Endpoint::Unix("/nonexistent/docker.sock".into()));
        let error = connection.api().await.expect_err("nobody is there");
        assert!(matches!(error, CallError::Unreached(_)), "{error:?}");
        assert!(error.to_string().contains("/nonexistent/docker.sock"));
    }
}
