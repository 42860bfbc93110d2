//! A server that answers questions in PromQL as a test wants: well, wrongly, slowly, without end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with this body.
    Json(String),
    /// Exactly these bytes, then the end.
    Raw(String),
    /// Reads and says nothing.
    Silent,
    /// 200, then one byte a second.
    Trickle,
    /// 200, then this again and again without end.
    Flood(&'static str),
}

pub struct Fake {
    pub address: SocketAddr,
    /// Requests so far.
    pub asked: Arc<AtomicU64>,
    /// Bytes of floods that were taken.
    pub flooded: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Answers each question by `answer`, which gets the whole head of the request.
    pub async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (asked, flooded) = (Arc::default(), Arc::default());
        let (count, taken): (Arc<AtomicU64>, Arc<AtomicU64>) =
            (Arc::clone(&asked), Arc::clone(&flooded));
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, taken) = (Arc::clone(&answer), Arc::clone(&taken));
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { serve(stream, &*answer, &taken).await });
            }
        });
        Self {
            address,
            asked,
            flooded,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&str) -> Reply + ?Sized),
    taken: &AtomicU64,
) {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(n @ 1..) => head.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    match answer(&String::from_utf8_lossy(&head)) {
        Reply::Json(body) => {
            let whole = format!("{ok}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(whole.as_bytes()).await;
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
        Reply::Silent => std::future::pending().await,
        Reply::Trickle => {
            let _ = stream.write_all(format!("{ok}\r\n{{").as_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Reply::Flood(text) => {
            let _ = stream.write_all(format!("{ok}\r\n").as_bytes()).await;
            let block = text.repeat(64 * 1024 / text.len());
            while stream.write_all(block.as_bytes()).await.is_ok() {
                taken.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

pub fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

/// A vector with these series (JSON).
pub fn vector(result: &str) -> Reply {
    Reply::Json(format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#
    ))
}

/// One series without labels, at a time, with a value as JSON.
pub fn value_at(at_s: f64, value: &str) -> Reply {
    vector(&format!(r#"{{"metric":{{}},"value":[{at_s},{value}]}}"#))
}

pub fn value(value: &str) -> Reply {
    value_at(now_s(), value)
}

/// What a well one answers: 100 requests, no errors, young samples.
pub fn well(head: &str) -> Reply {
    if head.contains("timestamp%28") {
        return value(r#""0.5""#);
    }
    if head.contains("sum+by+%28le%29") || head.contains("sum%20by%20%28le%29") {
        let bucket = |le: &str, within: &str| {
            format!(
                r#"{{"metric":{{"le":"{le}"}},"value":[{},"{within}"]}}"#,
                now_s()
            )
        };
        return vector(&format!("{},{}", bucket("1", "100"), bucket("+Inf", "100")));
    }
    match head.contains("5..") {
        true => value(r#""0""#),
        false => value(r#""100""#),
    }
}
