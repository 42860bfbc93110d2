//! Our own HTTP requests to instances: health probes and smoke requests.
//!
//! They go straight to the instance, past every balancer, and prove what a balancer's check does
//! not: that the answer is the expected one. Each opens a fresh connection, follows no redirect
//! and uses no proxy, so that only the instance itself can pass. Must not know what follows from
//! a failure.

use crate::model::service::{HealthCheck, SmokeTest};
use crate::model::world::SmokeResult;
use crate::model::{Clean, ServerName};
use crate::ports::Probe;
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest body that is read. Health answers are a page at most; an instance that sends more must
/// not fill the engine's memory.
pub const BODY_MAX: usize = 64 * 1024;

/// Longest value of an answer that is quoted in a reason, in characters.
const QUOTE_MAX: usize = 80;

/// Longest reason, in characters.
const REASON_MAX: usize = 400;

/// Probes over plain HTTP/1.1. Cheap to clone; holds no connections.
#[derive(Debug, Clone)]
pub struct HttpProbe {
    client: Client,
}

/// What an answer must be.
struct Expected<'a> {
    status: u16,
    contains: Option<&'a str>,
    json: &'a BTreeMap<String, Value>,
}

impl HttpProbe {
    /// Makes a probe; connects to nothing yet.
    pub fn new() -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .http1_only()
            // It speaks no TLS; without this the system's certificates would have to be there.
            .tls_certs_only([])
            .build()
            .expect("invariant: a client without TLS and DNS settings can always be built");
        Self { client }
    }

    /// Builds a request to one instance.
    fn request(&self, method: &str, address: SocketAddr, path: &str) -> Result<Asked, Clean> {
        let shown = format!("{method} http://{address}{path}");
        let wrong = |what: &str| Err(reason(&shown, what));
        let Ok(verb) = Method::from_bytes(method.as_bytes()) else {
            return wrong("this is no HTTP method; correct it in the configuration");
        };
        // Anything else could name another host: "http://127.0.0.1:80" + "@elsewhere/".
        if !path.starts_with('/') {
            return wrong("the path must begin with /; correct it in the configuration");
        }
        match Url::parse(&format!("http://{address}{path}")) {
            Ok(url) => Ok(Asked {
                shown,
                request: self.client.request(verb, url),
            }),
            Err(error) => wrong(&format!("{error}; correct the path in the configuration")),
        }
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for HttpProbe {
    async fn probe(&self, address: SocketAddr, check: &HealthCheck) -> Result<(), Clean> {
        let expected = Expected {
            status: check.status,
            contains: None,
            json: &check.json,
        };
        let asked = self.request("GET", address, &check.path)?;
        asked.expect(&expected, check.timeout_ms).await
    }

    async fn smoke(
        &self,
        server: &ServerName,
        address: SocketAddr,
        test: &SmokeTest,
    ) -> SmokeResult {
        let begun = Instant::now();
        let expected = Expected {
            status: test.status,
            contains: test.contains.as_deref(),
            json: &test.json,
        };
        let result = match self.request(&test.method, address, &test.path) {
            Ok(asked) => {
                let asked = asked.with(&test.headers, test.body.as_ref());
                asked.expect(&expected, test.timeout_ms).await
            }
            Err(trouble) => Err(trouble),
        };
        SmokeResult {
            test: test.name.to_string(),
            server: server.clone(),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            trouble: result.err(),
        }
    }
}

/// A request and the words that name it in reasons.
struct Asked {
    shown: String,
    request: RequestBuilder,
}

impl Asked {
    fn with(mut self, headers: &BTreeMap<String, String>, body: Option<&String>) -> Self {
        for (name, value) in headers {
            self.request = self.request.header(name, value);
        }
        if let Some(body) = body {
            self.request = self.request.body(body.clone());
        }
        self
    }

    /// Sends the request and judges the answer, all within the time given.
    async fn expect(self, expected: &Expected<'_>, timeout_ms: u64) -> Result<(), Clean> {
        let Self { shown, request } = self;
        let exchange = async {
            let response = request.send().await.map_err(|error| cause(&error))?;
            judge(response, expected).await
        };
        match timeout(Duration::from_millis(timeout_ms), exchange).await {
            Ok(result) => result.map_err(|what| reason(&shown, &what)),
            Err(_) => Err(reason(
                &shown,
                &format!("no whole answer within {timeout_ms} ms"),
            )),
        }
    }
}

fn reason(shown: &str, what: &str) -> Clean {
    Clean::line(&format!("{shown}: {what}"), REASON_MAX)
}

/// Judges status, then body; the body is only read where something is expected of it.
async fn judge(response: Response, expected: &Expected<'_>) -> Result<(), String> {
    let status = response.status().as_u16();
    if status != expected.status {
        return Err(format!("status {status}, expected {}", expected.status));
    }
    if expected.contains.is_none() && expected.json.is_empty() {
        return Ok(());
    }
    let body = body(response).await?;
    judge_body(&body, expected)
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(format!("the body is longer than {BODY_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn judge_body(body: &[u8], expected: &Expected<'_>) -> Result<(), String> {
    if let Some(text) = expected.contains
        && !String::from_utf8_lossy(body).contains(text)
    {
        return Err(format!(
            "the body does not contain {:?}",
            quote(text).as_str()
        ));
    }
    if expected.json.is_empty() {
        return Ok(());
    }
    let answer: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON ({error})"))?;
    for (pointer, wanted) in expected.json {
        let found = answer.pointer(pointer);
        if found.is_some_and(|found| same(found, wanted)) {
            continue;
        }
        let found = found.map_or("missing".to_owned(), |value| {
            quote(&value.to_string()).into()
        });
        return Err(format!("{pointer} is {found}, expected {wanted}"));
    }
    Ok(())
}

fn quote(text: &str) -> Clean {
    Clean::line(text, QUOTE_MAX)
}

/// Whether two values are equal, numbers by their value: 1 is 1.0.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => found == wanted,
    }
}

/// The cause at the bottom of an error, without the layers that only repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            "the connection was reset".to_owned()
        }
        _ => deepest.to_string(),
    }
}

#[cfg(test)]
mod tests;
