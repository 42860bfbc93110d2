//! Hears from GitHub and GitLab that a branch or a tag moved, and asks for the pipelines that are
//! meant. That is all it can ask for: [`TriggerAsked`] has no other verb.
//!
//! A request is verified on its bytes as they came, before anything of it is read; whoever is not
//! known learns nothing. It listens without TLS, on loopback unless somebody wants otherwise: what
//! faces the world belongs in front of it. Must not know what a pipeline does.

mod github;
mod gitlab;
mod rate;
#[cfg(test)]
mod tests;
mod verify;

use crate::model::pipeline::{Provider, Trigger};
use crate::model::{Clean, EnvName, PipelineName, RequestId, RunNumber};
use crate::secret::Secret;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rate::Rates;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Headers of one request at most, and bytes of them.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Longest text taken over from a payload, in characters.
const TEXT_MAX: usize = 120;
/// Before accepting anew where the system refused.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// For those under way, once it must end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What may start which pipelines, and how much of it is heard.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Several may fit one request; each asks for its pipeline.
    pub rules: Vec<WebhookRule>,
    /// What is heard at most.
    pub limits: WebhookLimits,
}

/// What may start one pipeline.
#[derive(Debug, Clone)]
pub struct WebhookRule {
    /// Who sends.
    pub provider: Provider,
    /// The repository as its provider calls it: `owner/name`, `group/project`.
    pub repository: String,
    /// What the provider signs with, or sends along; each of them is good, so that one can be
    /// replaced by the next.
    pub secrets: Vec<Secret>,
    /// What it starts.
    pub pipeline: PipelineName,
    /// How far it goes; `None`: all the way.
    pub environment: Option<EnvName>,
    /// What is listened to.
    pub events: BTreeSet<WebhookEvent>,
    /// Branches, for pushes and merges; `*` stands for any characters. None: no branch.
    pub branches: Vec<String>,
    /// Tags; `*` stands for any characters. None: no tag.
    pub tags: Vec<String>,
}

/// What happened to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WebhookEvent {
    /// A branch moved. Providers send this for a merge too.
    Push,
    /// A tag was made.
    Tag,
    /// A pull or merge request was merged.
    Merge,
}

/// What is heard at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookLimits {
    /// Of one body.
    pub body_bytes_max: usize,
    /// For one request, from its first byte to its last.
    pub request_ms: u64,
    /// For the engine to answer.
    pub start_ms: u64,
    /// Connections at once; more are turned away.
    pub connections_max: usize,
    /// Requests per minute from one address, as many at once.
    pub per_sender: u32,
    /// Requests per minute from all, as many at once.
    pub in_all: u32,
}

impl WebhookLimits {
    /// Limits that no ordinary repository reaches.
    pub fn usual() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            request_ms: 10_000,
            start_ms: 8_000,
            connections_max: 16,
            per_sender: 60,
            in_all: 240,
        }
    }
}

/// A pipeline that somebody asks to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerAsked {
    /// Who sent it.
    pub provider: Provider,
    /// What the sender calls this delivery, for people: it is not signed.
    pub delivery: Clean,
    /// What must not start a second run. For GitHub it is made of what is signed, so that a replay
    /// under another delivery's name has the same. GitLab signs nothing, and may send the same body
    /// twice with a meaning: there the delivery's name is part of it.
    pub request_id: RequestId,
    /// What is asked for.
    pub pipeline: PipelineName,
    /// How far it goes; `None`: all the way.
    pub environment: Option<EnvName>,
    /// The repository's full name.
    pub repository: Clean,
    /// What happened.
    pub event: WebhookEvent,
    /// The branch or the tag, without `refs/…/`.
    pub branch: Clean,
    /// The commit, full.
    pub commit: Clean,
    /// Who did it, as the provider calls them.
    pub who: Clean,
    /// What it is about, in a line; may be empty.
    pub subject: Clean,
}

impl TriggerAsked {
    /// What begins a run.
    pub fn trigger(&self) -> Trigger {
        let reason = match self.subject.is_empty() {
            true => self.who.to_string(),
            false => format!("{}: {}", self.who, self.subject),
        };
        Trigger {
            revision: self.commit.clone(),
            branch: self.branch.clone(),
            environment: self.environment.clone(),
            reason: Some(Clean::new(&reason)),
            request_id: Some(self.request_id.clone()),
            provider: Some(self.provider),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A run began.
    Begun(RunNumber),
    /// The same request began this run before.
    Already(RunNumber),
    /// It must not begin now.
    Refused(Clean),
    /// Nobody can say; the sender may try again.
    Unavailable(Clean),
}

/// What a verified payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Moved(Moved),
    /// Well known, and nothing follows from it.
    Nothing(&'static str),
}

/// A branch or a tag that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moved {
    event: WebhookEvent,
    repository: String,
    branch: String,
    commit: String,
    who: String,
    subject: String,
}

/// Listens until `shutdown`, then lets those under way end within 2 s.
pub async fn serve<S, F>(
    listener: TcpListener,
    settings: WebhookSettings,
    start: S,
    shutdown: impl Future<Output = ()>,
) where
    S: Fn(TriggerAsked) -> F + Send + Sync + 'static,
    F: Future<Output = Started> + Send + 'static,
{
    let door = Arc::new(Door {
        rates: Mutex::new(Rates::new(
            settings.limits.per_sender,
            settings.limits.in_all,
        )),
        places: Arc::new(Semaphore::new(settings.limits.connections_max)),
        settings,
        start,
        began: Instant::now(),
    });
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let door = Arc::clone(&door);
                    connections.spawn(async move { door.connection(stream, address.ip()).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a webhook's connection was not accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "answering a webhook failed");
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Those that are not done by then are cut off with the set.
    let _ = timeout(LAST_ANSWERS, all).await;
}

struct Door<S> {
    settings: WebhookSettings,
    start: S,
    rates: Mutex<Rates>,
    places: Arc<Semaphore>,
    began: Instant,
}

/// An answer: its status, a word for the sender, and when to come again.
struct Answer {
    status: StatusCode,
    text: String,
    again_s: Option<u64>,
}

impl Answer {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            again_s: None,
        }
    }

    /// Whoever is not known learns nothing more.
    fn unknown() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not verified")
    }

    fn response(self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({ "answer": self.text }).to_string();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.again_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl<S, F> Door<S>
where
    S: Fn(TriggerAsked) -> F + Send + Sync + 'static,
    F: Future<Output = Started> + Send + 'static,
{
    async fn connection(&self, stream: TcpStream, address: IpAddr) {
        let limits = &self.settings.limits;
        let Ok(_place) = self.places.try_acquire() else {
            return turn_away(stream).await;
        };
        let service = service_fn(|request| async move {
            Ok::<_, Infallible>(self.answer(request, address).await.response())
        });
        let request = Duration::from_millis(limits.request_ms);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(request)
            .keep_alive(false)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        // Its head, its body and its answer, each in their own time.
        let whole = request * 2 + Duration::from_millis(limits.start_ms) + LAST_ANSWERS;
        match timeout(whole, serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%address, %error, "a webhook's connection broke"),
            Err(_) => tracing::debug!(%address, "a webhook's connection was too slow"),
        }
    }

    async fn answer(&self, request: Request<Incoming>, address: IpAddr) -> Answer {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let admitted = {
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.admit(address, now_ms)
        };
        if let Err(again_s) = admitted {
            let mut answer = Answer::new(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            answer.again_s = Some(again_s);
            return answer;
        }
        let provider = match request.uri().path() {
            "/webhook/github" => Provider::Github,
            "/webhook/gitlab" => Provider::Gitlab,
            _ => return Answer::new(StatusCode::NOT_FOUND, "nothing is here"),
        };
        if request.method() != Method::POST {
            return Answer::new(StatusCode::METHOD_NOT_ALLOWED, "POST it");
        }
        let (parts, body) = request.into_parts();
        let bytes = match self.read(body).await {
            Ok(bytes) => bytes,
            Err(answer) => return answer,
        };
        let good = self.verified(provider, &parts.headers, &bytes);
        if good.is_empty() {
            tracing::warn!(%address, ?provider, "a webhook that is not verified was turned away");
            return Answer::unknown();
        }
        self.hear(provider, &parts.headers, &bytes, &good).await
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Answer> {
        let max = self.settings.limits.body_bytes_max;
        let too_large = || Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        if body.size_hint().lower() > max as u64 {
            return Err(too_large());
        }
        let within = Duration::from_millis(self.settings.limits.request_ms);
        match timeout(within, Limited::new(body, max).collect()).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Answer::new(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => Err(Answer::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body is too slow",
            )),
        }
    }

    /// The rules whose secret the sender knows. Every one is tried, whatever came of the one before.
    fn verified(&self, provider: Provider, headers: &HeaderMap, body: &[u8]) -> Vec<&WebhookRule> {
        let rules = self.settings.rules.iter();
        let of_it = rules.filter(|rule| rule.provider == provider);
        of_it
            .filter(|rule| {
                let tried = rule.secrets.iter().map(|secret| match provider {
                    Provider::Github => verify::github(headers, body, secret),
                    Provider::Gitlab => verify::gitlab(headers, secret),
                });
                tried.fold(false, |any, good| any | good)
            })
            .collect()
    }

    async fn hear(
        &self,
        provider: Provider,
        headers: &HeaderMap,
        body: &[u8],
        good: &[&WebhookRule],
    ) -> Answer {
        let heard = match provider {
            Provider::Github => github::read(headers, body),
            Provider::Gitlab => gitlab::read(headers, body),
        };
        let moved = match heard {
            Ok(Heard::Moved(moved)) => moved,
            Ok(Heard::Nothing(why)) => return Answer::new(StatusCode::OK, why),
            Err(why) => return Answer::new(StatusCode::BAD_REQUEST, why),
        };
        let fitting: Vec<_> = good.iter().filter(|rule| rule.fits(&moved)).collect();
        if fitting.is_empty() {
            return Answer::new(StatusCode::OK, "ignored: no rule fits");
        }
        let mut answers = Vec::new();
        for rule in fitting {
            match asked(provider, headers, body, rule, &moved) {
                Ok(asked) => answers.push(self.start(asked).await),
                Err(why) => return Answer::new(StatusCode::BAD_REQUEST, why),
            }
        }
        together(&answers)
    }

    async fn start(&self, asked: TriggerAsked) -> Started {
        let within = Duration::from_millis(self.settings.limits.start_ms);
        let started = timeout(within, (self.start)(asked)).await;
        started.unwrap_or_else(|_| Started::Unavailable(Clean::new("the engine does not answer")))
    }
}

/// Says that there is no place, as far as that goes quickly.
async fn turn_away(mut stream: TcpStream) {
    let text = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    // Whoever does not take it has still been turned away.
    let _ = timeout(LAST_ANSWERS, stream.write_all(text)).await;
}

impl WebhookRule {
    fn fits(&self, moved: &Moved) -> bool {
        let patterns = match moved.event {
            WebhookEvent::Tag => &self.tags,
            WebhookEvent::Push | WebhookEvent::Merge => &self.branches,
        };
        self.repository.eq_ignore_ascii_case(&moved.repository)
            && self.events.contains(&moved.event)
            && patterns
                .iter()
                .any(|pattern| is_like(pattern, &moved.branch))
    }
}

/// Whether a text is as a pattern says, in which `*` stands for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(begin) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

fn asked(
    provider: Provider,
    headers: &HeaderMap,
    body: &[u8],
    rule: &WebhookRule,
    moved: &Moved,
) -> Result<TriggerAsked, &'static str> {
    let (word, delivery) = match provider {
        Provider::Github => ("github", one(headers, "x-github-delivery")?),
        Provider::Gitlab => {
            let key = one(headers, "idempotency-key")?;
            ("gitlab", key.or(one(headers, "x-gitlab-event-uuid")?))
        }
    };
    let mut digest = Sha256::new_with_prefix(body);
    if let (Provider::Gitlab, Some(key)) = (provider, delivery) {
        digest.update(key);
    }
    let digest = digest.finalize();
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let id = format!("{word}:{hex}:{}", rule.pipeline);
    let line = |text: &str| Clean::line(text, TEXT_MAX);
    Ok(TriggerAsked {
        provider,
        delivery: line(delivery.unwrap_or("unnamed")),
        request_id: id
            .parse()
            .expect("invariant: a word, hex digits and a name"),
        pipeline: rule.pipeline.clone(),
        environment: rule.environment.clone(),
        repository: line(&moved.repository),
        event: moved.event,
        branch: Clean::new(&moved.branch),
        commit: Clean::new(&moved.commit),
        who: line(&moved.who),
        subject: line(&moved.subject),
    })
}

/// The only value of a header; `None` where there is none.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::to_str);
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err("a header is there twice, or is no text"),
    }
}

/// One answer for all the pipelines that were asked for: the worst of them.
fn together(answers: &[Started]) -> Answer {
    let words = answers.iter().map(|answer| match answer {
        Started::Begun(run) => format!("began {run}"),
        Started::Already(run) => format!("already began {run}"),
        Started::Refused(why) => format!("refused: {why}"),
        Started::Unavailable(why) => format!("unavailable: {why}"),
    });
    let text = words.collect::<Vec<_>>().join("; ");
    let is = |wanted: fn(&Started) -> bool| answers.iter().any(wanted);
    if is(|answer| matches!(answer, Started::Unavailable(_))) {
        let mut answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, text);
        answer.again_s = Some(10);
        return answer;
    }
    if is(|answer| matches!(answer, Started::Refused(_))) {
        return Answer::new(StatusCode::CONFLICT, text);
    }
    Answer::new(StatusCode::OK, text)
}

/// A branch or a tag by its full reference.
fn reference(full: &str) -> Option<(WebhookEvent, &str)> {
    let branch = full.strip_prefix("refs/heads/");
    let tag = full.strip_prefix("refs/tags/");
    let named = branch.map(|name| (WebhookEvent::Push, name));
    named.or(tag.map(|name| (WebhookEvent::Tag, name)))
}

/// Whether a commit is one: its full name, and not the zeros that stand for none.
fn is_commit(text: &str) -> bool {
    super::git::is_full(text) && text.bytes().any(|byte| byte != b'0')
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
