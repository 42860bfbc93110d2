//! The listener: what is heard at most, who is turned away, and what they are answered.

use super::rate::Rates;
use super::recent::Recent;
use super::{
    Heard, Started, TriggerAsked, WebhookRule, WebhookSettings, asked, github, gitlab, verify,
};
use crate::model::Clean;
use crate::model::pipeline::Provider;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Headers of one request at most, and bytes of them.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Before accepting anew where the system refused.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// For those under way, once it must end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

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
        recent: Mutex::default(),
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
    recent: Mutex<Recent>,
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

impl From<Started> for Answer {
    fn from(started: Started) -> Self {
        match started {
            Started::Begun(run) => Self::new(StatusCode::OK, format!("began {run}")),
            Started::Already(run) => Self::new(StatusCode::OK, format!("already began {run}")),
            Started::Refused(why) => Self::new(StatusCode::CONFLICT, format!("refused: {why}")),
            Started::Unavailable(why) => Self {
                again_s: Some(10),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("unavailable: {why}"),
                )
            },
        }
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
        let admitted = {
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.admit(address, self.now_ms())
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
        let Some(rule) = good.iter().find(|rule| rule.fits(&moved)) else {
            return Answer::new(StatusCode::OK, "ignored: no rule fits");
        };
        if self.recent().is_told_otherwise(rule, &moved, self.now_ms()) {
            return Answer::new(StatusCode::OK, "ignored: the push said so already");
        }
        let started = match asked(provider, headers, body, rule, &moved) {
            Ok(asked) => self.start(asked).await,
            Err(why) => return Answer::new(StatusCode::BAD_REQUEST, why),
        };
        if matches!(started, Started::Begun(_) | Started::Already(_)) {
            self.recent().remember(rule, &moved, self.now_ms());
        }
        started.into()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since it listens.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
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
