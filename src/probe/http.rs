//! A check over HTTP. Each opens a fresh connection, follows no redirect and uses no proxy, so that
//! only the instance itself can pass.

use crate::model::Clean;
use crate::model::service::HttpCheck;
use regex::Regex;
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;

/// Longest body that is read. Health answers are a page at most; an instance that sends more must
/// not fill the engine's memory.
pub const BODY_MAX: usize = 64 * 1024;

/// Longest value of an answer that is quoted in a reason, in characters.
const QUOTE_MAX: usize = 80;

/// Ends of JSON pointers that say how a part is, not which part it is.
const STATES: [&str; 7] = ["status", "state", "healthy", "ready", "ok", "up", "value"];

pub(super) fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .http1_only()
        // It speaks no TLS; without this the system's certificates would have to be there.
        .tls_certs_only([])
        .build()
        .expect("invariant: a client without TLS and DNS settings can always be built")
}

/// Sends the request and judges the answer; `status` is what it said, as soon as it said it.
pub(super) async fn ask(
    client: &Client,
    check: &HttpCheck,
    address: SocketAddr,
    status: &mut Option<u16>,
) -> Result<(), String> {
    let response = request(client, check, address)?.send().await;
    let response = response.map_err(|error| cause(&error))?;
    *status = Some(response.status().as_u16());
    judge(response, check).await
}

fn request(
    client: &Client,
    check: &HttpCheck,
    address: SocketAddr,
) -> Result<RequestBuilder, String> {
    let Ok(verb) = Method::from_bytes(check.method.as_bytes()) else {
        return Err("this is no HTTP method; correct it in the configuration".to_owned());
    };
    // Anything else could name another host: "http://127.0.0.1:80" + "@elsewhere/".
    if !check.path.starts_with('/') {
        return Err("the path must begin with /; correct it in the configuration".to_owned());
    }
    let url = Url::parse(&format!("http://{address}{}", check.path))
        .map_err(|error| format!("{error}; correct the path in the configuration"))?;
    let mut request = client.request(verb, url);
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    Ok(match &check.body {
        Some(body) => request.body(body.clone()),
        None => request,
    })
}

/// Judges status, then body; the body is only read where something is expected of it.
async fn judge(response: Response, check: &HttpCheck) -> Result<(), String> {
    let status = response.status().as_u16();
    if status != check.status {
        return Err(format!("status {status}, not {}", check.status));
    }
    match check.reads_body() {
        true => judge_body(&body(response).await?, check),
        false => Ok(()),
    }
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

fn judge_body(body: &[u8], check: &HttpCheck) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    if let Some(wanted) = &check.contains
        && !text.contains(wanted)
    {
        return Err(format!("the body does not contain {}", quote(wanted)));
    }
    if let Some(pattern) = &check.matches {
        let wanted = Regex::new(pattern)
            .map_err(|_| format!("{} is no regular expression", quote(pattern)))?;
        if !wanted.is_match(&text) {
            return Err(format!("the body does not match {}", quote(pattern)));
        }
    }
    match check.json.is_empty() {
        true => Ok(()),
        false => judge_json(body, &check.json),
    }
}

/// Names every part that is not as it should be.
fn judge_json(body: &[u8], wanted: &BTreeMap<String, Value>) -> Result<(), String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON ({error})"))?;
    let wrong: Vec<_> = wanted
        .iter()
        .filter_map(|(pointer, wanted)| {
            let found = answer.pointer(pointer);
            if found.is_some_and(|found| same(found, wanted)) {
                return None;
            }
            let found = found.map_or("missing".to_owned(), |value| {
                Clean::line(&value.to_string(), QUOTE_MAX).into()
            });
            Some(format!("{} is {found}, not {wanted}", part(pointer)))
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("; ")),
    }
}

/// The part of the instance that a JSON pointer is about: `/checks/database/status` → `database`.
fn part(pointer: &str) -> String {
    let is_name = |word: &&str| {
        let number = word.bytes().all(|b| b.is_ascii_digit());
        !number && !STATES.contains(word)
    };
    let mut words = pointer.rsplit('/');
    match words.find(is_name).filter(|word| !word.is_empty()) {
        Some(word) => word.replace("~1", "/").replace("~0", "~"),
        None => pointer.trim_start_matches('/').to_owned(),
    }
}

fn quote(text: &str) -> String {
    format!("{:?}", Clean::line(text, QUOTE_MAX).as_str())
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
    match deepest.downcast_ref::<io::Error>() {
        Some(error) => super::cause(error),
        None => deepest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_pointer_names_the_part_it_is_about() {
        for (pointer, named) in [
            ("/checks/database", "database"),
            ("/components/cache/status", "cache"),
            ("/status", "status"),
            ("/replicas/0", "replicas"),
            ("/a~1b", "a/b"),
            ("", ""),
        ] {
            assert_eq!(part(pointer), named, "{pointer}");
        }
    }
}
