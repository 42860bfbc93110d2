//! Servers with manners no proper service has, and a client that shows each byte.

use crate::harness::free_address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server treats requests.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Answers with the request's head as the body and keeps the connection.
    Echo,
    /// Answers the first request of a connection, and closes it on the second without a word.
    CloseOnSecond,
    /// Closes each connection once a request is there, without a word.
    Silent,
    /// Promises 100 bytes, sends 10 and closes.
    BreakOff,
    /// Reads the body whatever its size, and answers with one of the same size.
    Mirror,
}

/// A server in the test's own process.
pub struct Upstream {
    pub address: SocketAddr,
    /// Connections that brought a request.
    pub connections: Arc<AtomicUsize>,
    /// Requests that arrived.
    pub requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn with(manner: Manner) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.expect("free");
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (connections, requests) = counts.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, manner, &connections, &requests).await;
                });
            }
        });
        Self {
            address,
            connections,
            requests,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    manner: Manner,
    connections: &AtomicUsize,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut number = 0;
    while let Some(head) = read_head(&mut stream).await? {
        number += 1;
        requests.fetch_add(1, Ordering::SeqCst);
        if number == 1 {
            connections.fetch_add(1, Ordering::SeqCst);
        }
        let length = content_length(&head);
        skip(&mut stream, length).await?;
        match manner {
            Manner::CloseOnSecond if number == 2 => return Ok(()),
            Manner::Silent => return Ok(()),
            Manner::BreakOff => {
                let part = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789";
                return stream.write_all(part).await;
            }
            Manner::Mirror => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                send_zeros(&mut stream, length).await?;
            }
            Manner::Echo | Manner::CloseOnSecond => {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nkeep-alive: timeout=9\r\n\r\n{head}",
                    head.len()
                );
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// Reads up to the empty line; `None` at a clean end.
pub async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Sends a body of zeros piece by piece.
pub async fn send_zeros(stream: &mut TcpStream, mut length: usize) -> std::io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    while length > 0 {
        let part = length.min(zeros.len());
        stream.write_all(&zeros[..part]).await?;
        length -= part;
    }
    Ok(())
}

/// Reads and forgets that many bytes.
pub async fn skip(stream: &mut TcpStream, mut length: usize) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while length > 0 {
        let part = length.min(buffer.len());
        let read = stream.read(&mut buffer[..part]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        length -= read;
    }
    Ok(())
}

pub fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// One connection of a client.
pub struct Wire(pub TcpStream);

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("connected"))
    }

    /// Sends a request as it is and reads the answer's head and body.
    pub async fn ask(&mut self, request: &str) -> (String, String) {
        let exchange = async {
            self.0.write_all(request.as_bytes()).await.expect("sent");
            let head = read_head(&mut self.0)
                .await
                .expect("read")
                .expect("an answer");
            let mut body = vec![0; content_length(&head)];
            self.0.read_exact(&mut body).await.expect("read");
            (head, String::from_utf8_lossy(&body).into_owned())
        };
        timeout(PATIENCE, exchange).await.expect("in time")
    }
}
