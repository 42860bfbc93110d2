//! Questions to a provider's programming interface: deadlines, a body up to a limit, its pages, and
//! what its refusals mean.

use super::now_s;
use crate::secret::Secret;
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::time::Duration;

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(5);
/// For one answer whole.
const ANSWER: Duration = Duration::from_secs(20);
/// Largest answer read, in bytes: a page of 100.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// Waited where a provider limits us and does not say for how long: what GitHub asks for.
const LIMITED: Duration = Duration::from_secs(60);
/// Entries of one page.
pub(super) const PAGE: usize = 100;
/// Pages read at most.
pub(super) const PAGES_MAX: usize = 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Asking again will not help.
    Final(String),
    /// Asking again may help.
    Passing(String),
    /// It was asked too often.
    Limited { wait: Duration },
}

/// A provider.
pub(super) struct Http {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

/// One page.
pub(super) struct Page<T> {
    pub(super) body: T,
    pub(super) headers: HeaderMap,
}

impl Http {
    pub(super) fn new(base: &str, token: Option<Secret>) -> Result<Self, String> {
        let wrong = || format!("{base} is no address; write https://HOST/PATH");
        let base_url = Url::parse(base).map_err(|_| wrong())?;
        let host = base_url.host_str().ok_or_else(wrong)?;
        let is_here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        if base_url.scheme() != "https" && !(is_here && base_url.scheme() == "http") {
            return Err(format!("{base}: a token goes over https:// only"));
        }
        let mut builder = Client::builder()
            .user_agent(concat!("wheelhouse/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(redirect::Policy::limited(3));
        if is_here {
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| deepest(&error))?;
        Ok(Self {
            client,
            base: base_url,
            token,
        })
    }

    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Reads one page. `path` is below the base, its parts with nothing left to escape.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        accept: &str,
    ) -> Result<Page<T>, Trouble> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.client.get(url).header(ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let failed = |error: reqwest::Error| {
            Trouble::Passing(format!("{}: {}", self.host(), deepest(&error)))
        };
        let answer = request.send().await.map_err(failed)?;
        if let Some(trouble) = self.trouble(&answer) {
            return Err(trouble);
        }
        let headers = answer.headers().clone();
        let bytes = self.body(answer).await?;
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            Trouble::Passing(format!(
                "{}: its answer is not understood: {error}",
                self.host()
            ))
        })?;
        Ok(Page { body, headers })
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        loop {
            let chunk = answer.chunk().await.map_err(|error| {
                Trouble::Passing(format!("{}: {}", self.host(), deepest(&error)))
            })?;
            let Some(chunk) = chunk else {
                return Ok(bytes);
            };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > BODY_MAX {
                let why = format!(
                    "{}: its answer is larger than {BODY_MAX} bytes",
                    self.host()
                );
                return Err(Trouble::Final(why));
            }
        }
    }

    fn trouble(&self, answer: &Response) -> Option<Trouble> {
        let status = answer.status();
        if status.is_success() {
            return None;
        }
        if let Some(wait) = limited(status, answer.headers(), now_s()) {
            return Some(Trouble::Limited { wait });
        }
        let host = self.host();
        Some(match status {
            StatusCode::UNAUTHORIZED => Trouble::Final(format!(
                "{host} does not accept the token; set token to one that may read the project"
            )),
            StatusCode::FORBIDDEN => Trouble::Final(format!(
                "{host} refuses: the token may not read commit statuses of the project"
            )),
            // The commit may not have arrived there yet.
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Trouble::Passing(format!(
                "{host} does not know the project or the commit ({status}); \
                 it must be pushed, and the token must be able to read it"
            )),
            _ => Trouble::Passing(format!("{host} answered {status}")),
        })
    }
}

/// How long to wait before asking again, where an answer means that we ask too often.
fn limited(status: StatusCode, headers: &HeaderMap, now_s: u64) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let is_too_many = status == StatusCode::TOO_MANY_REQUESTS;
    if !is_too_many && status != StatusCode::FORBIDDEN {
        return None;
    }
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    // GitHub's names, then GitLab's.
    for (left, reset) in [
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("ratelimit-remaining", "ratelimit-reset"),
    ] {
        if number(left) == Some(0) {
            let reset = number(reset).map(|at| at.saturating_sub(now_s));
            return Some(reset.map_or(LIMITED, Duration::from_secs));
        }
    }
    is_too_many.then_some(LIMITED)
}

/// The innermost cause, which says most.
fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_how_long_and_other_refusals_are_none() {
        let of = |status, pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                let name = name.parse().expect("a name");
                (name, reqwest::header::HeaderValue::from_static(value))
            });
            limited(status, &headers.collect(), 1_000).map(|wait| wait.as_secs())
        };
        let (many, forbidden) = (StatusCode::TOO_MANY_REQUESTS, StatusCode::FORBIDDEN);
        assert_eq!(of(many, &[("retry-after", "7")]), Some(7));
        assert_eq!(of(many, &[]), Some(60));
        let gone = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1030"),
        ];
        assert_eq!(of(forbidden, &gone), Some(30));
        let gitlab = [("ratelimit-remaining", "0"), ("ratelimit-reset", "900")];
        assert_eq!(of(many, &gitlab), Some(0));
        assert_eq!(of(forbidden, &[("x-ratelimit-remaining", "42")]), None);
        assert_eq!(of(StatusCode::NOT_FOUND, &[("retry-after", "7")]), None);
    }

    #[test]
    fn a_token_goes_over_tls_except_on_this_machine() {
        for good in ["https://api.github.com", "http://127.0.0.1:9/api/v4"] {
            assert!(Http::new(good, None).is_ok(), "{good}");
        }
        for bad in [
            "http://gitlab.example/api/v4",
            "gitlab.example",
            "file:///x",
        ] {
            assert!(Http::new(bad, None).is_err(), "{bad}");
        }
    }
}
