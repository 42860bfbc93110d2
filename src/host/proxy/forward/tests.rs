//! How long a request is waited for. Time stands still here and moves only where a test says so,
//! so that a minute costs nothing and no machine is too slow.

use super::*;
use crate::host::proxy::listen::{Ends, serve};
use crate::host::wire::SettingBody;
use crate::model::effect::ServerSetting;
use crate::model::service;
use crate::model::verdict::Counters;
use std::net::SocketAddr;
use std::sync::mpsc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::advance;
use tokio_util::task::TaskTracker;

/// Longest real time for a test; then time runs, and whatever waits gets its deadline.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is left of a deadline when a test goes on.
const SHORT_OF: Duration = Duration::from_secs(1);

/// A proxy in front of one server that the test plays itself, as it plays the client.
struct Between {
    backend: Arc<Backend>,
    client: TcpStream,
    server: TcpListener,
    ends: Ends,
    /// The runtime leaves time alone while this is open.
    _still: mpsc::Sender<()>,
}

impl Between {
    async fn new() -> Self {
        let (still, moves) = mpsc::channel();
        // Paused time would otherwise jump whenever all tasks wait for a socket.
        tokio::task::spawn_blocking(move || {
            let _: Result<(), _> = moves.recv_timeout(PATIENCE);
        });
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listen = listener.local_addr().expect("bound");
        let tasks = TaskTracker::new();
        let backend = backend(server.local_addr().expect("bound"), &tasks);
        let ends = Ends {
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            tasks: tasks.clone(),
        };
        tasks.spawn(serve(listener, Arc::clone(&backend), ends.clone()));
        Self {
            backend,
            client: TcpStream::connect(listen).await.expect("connected"),
            server,
            ends,
            _still: still,
        }
    }

    /// The client sends this, and the server gets its connection and reads up to its end.
    async fn begin(&mut self, request: &str) -> TcpStream {
        self.client
            .write_all(request.as_bytes())
            .await
            .expect("sent");
        let (mut server, _) = self.server.accept().await.expect("connected");
        let end = request.rsplit("\r\n").next().expect("an end");
        let end = if end.is_empty() { "\r\n\r\n" } else { end };
        read_to(&mut server, end).await;
        server
    }

    fn counters(&self) -> Counters {
        let views = self.backend.views();
        views.into_values().next().expect("one server").counters
    }

    /// The head of the answer that the client gets.
    async fn answer(&mut self) -> String {
        read_to(&mut self.client, "\r\n\r\n").await
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.ends.stop.cancel();
        self.ends.abandon.cancel();
    }
}

fn backend(address: SocketAddr, tasks: &TaskTracker) -> Arc<Backend> {
    let backend = Backend::new("shop".parse().expect("valid"), tasks.clone());
    let name: crate::model::ServerName = "web1".parse().expect("valid");
    backend.change(&[service::Server {
        name: name.clone(),
        address,
        runtime: None,
    }]);
    let setting = SettingBody {
        server: name,
        setting: ServerSetting::ready(1),
    };
    backend.set(&[setting]).expect("it is there");
    Arc::new(backend)
}

async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.expect("more"));
    }
    String::from_utf8(read).expect("UTF-8")
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_goes_on_may_last_longer_than_an_answer() {
    let mut between = Between::new().await;
    let mut server = between
        .begin("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 6\r\n\r\na")
        .await;
    for piece in ["b", "c", "d", "e", "f"] {
        advance(ANSWER_DEADLINE - SHORT_OF).await;
        between
            .client
            .write_all(piece.as_bytes())
            .await
            .expect("sent");
        read_to(&mut server, piece).await;
    }
    advance(ANSWER_DEADLINE - SHORT_OF).await;
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    server.write_all(text.as_bytes()).await.expect("sent");
    let answer = between.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(between.counters().errors, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_it_all_and_does_not_answer_is_late() {
    for request in [
        "GET / HTTP/1.1\r\nhost: shop\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1\r\n\r\na",
    ] {
        let mut between = Between::new().await;
        let _server = between.begin(request).await;
        advance(ANSWER_DEADLINE + SHORT_OF).await;
        let answer = between.answer().await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert_eq!(between.counters().errors, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_ends_and_is_no_error_of_the_server() {
    let mut between = Between::new().await;
    let _server = between
        .begin("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 6\r\n\r\na")
        .await;
    advance(ANSWER_DEADLINE + SHORT_OF).await;
    let answer = between.answer().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let counters = between.counters();
    assert_eq!((counters.requests, counters.errors), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_between_requests_is_hung_up_on() {
    let mut between = Between::new().await;
    let mut server = between.begin("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    advance(ANSWER_DEADLINE - SHORT_OF).await;
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    server.write_all(text.as_bytes()).await.expect("sent");
    between.answer().await;
    between.client.write_all(b"GET /").await.expect("sent");
    // The head's deadline began with the wait for it, not with the request before.
    advance(ANSWER_DEADLINE + SHORT_OF).await;
    let mut rest = Vec::new();
    between.client.read_to_end(&mut rest).await.expect("closed");
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.contains(" 408 "), "{rest}");
}
