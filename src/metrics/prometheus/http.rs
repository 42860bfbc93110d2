//! One request to Prometheus: its deadline, its credentials, and a body that is read up to a limit.

use super::{Login, PrometheusOptions};
use crate::model::Clean;
use crate::ports::ReadError;
use crate::secret::{self, Secret};
use reqwest::header::{CONTENT_ENCODING, LOCATION};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, redirect};
use std::error::Error;
use std::time::Duration;

/// Largest answer read, in bytes. One question's is a few hundred.
pub(super) const BODY_MAX: usize = 8 * 1024 * 1024;

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(2);
/// For one answer whole.
const ANSWER: Duration = Duration::from_secs(9);
/// Connections are for one reading: one kept for the next may have died with its server.
const IDLE: Duration = Duration::from_millis(400);
/// Connections kept between two questions of a reading.
const IDLE_MAX: usize = 4;
/// Longest part of an answer that is quoted, in characters.
const QUOTE_MAX: usize = 160;

/// How one Prometheus is reached.
#[derive(Debug, Clone)]
pub(super) struct Http {
    name: String,
    url: String,
    login: Option<Login>,
    client: Client,
}

impl Http {
    pub(super) fn new(options: &PrometheusOptions) -> Result<Self, ReadError> {
        let name = options.name.to_string();
        let failed = |what: String| {
            let text = format!("metrics {name}: {what}");
            ReadError(Clean::new(&text))
        };
        let mut builder = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE)
            .redirect(redirect::Policy::none());
        if let Some(ca) = &options.ca {
            let shown = ca.display();
            let pem = std::fs::read(ca).map_err(|error| failed(format!("ca {shown}: {error}")))?;
            let certificates = Certificate::from_pem_bundle(&pem).ok();
            let certificates = certificates.filter(|all| !all.is_empty());
            let none = || failed(format!("ca {shown} holds no certificate (PEM)"));
            builder = builder.tls_certs_merge(certificates.ok_or_else(none)?);
        } else if options.url.starts_with("http://") {
            // Nothing to verify, so the system's certificates need not be there.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let why = deepest(&error);
            failed(format!(
                "{why}; install the system's certificates or set ca"
            ))
        })?;
        Ok(Self {
            url: options.url.clone(),
            login: options.login.clone(),
            client,
            name: name.clone(),
        })
    }

    /// Fetches what permission needs, once for all questions of a reading.
    pub(super) async fn session(&self) -> Result<Session<'_>, ReadError> {
        let failed = |why: secret::SecretError| {
            ReadError(Clean::new(&format!("metrics {}: {why}", self.name)))
        };
        let fetched = match &self.login {
            None => None,
            Some(Login::Bearer(token)) => {
                Some(Fetched::Bearer(secret::fetch(token).await.map_err(failed)?))
            }
            Some(Login::Basic { user, password }) => Some(Fetched::Basic(
                secret::fetch(user).await.map_err(failed)?,
                secret::fetch(password).await.map_err(failed)?,
            )),
        };
        Ok(Session {
            http: self,
            fetched,
        })
    }
}

enum Fetched {
    Bearer(Secret),
    Basic(Secret, Secret),
}

/// Questions with the same credentials.
pub(super) struct Session<'a> {
    http: &'a Http,
    fetched: Option<Fetched>,
}

impl Session<'_> {
    /// Asks a question in PromQL, now by Prometheus' own clock.
    pub(super) async fn query(&self, query: &str) -> Result<Vec<u8>, ReadError> {
        self.get("/api/v1/query", &[("query", query), ("timeout", "9s")])
            .await
    }

    /// Asks a question in PromQL over a range: from, until and step in s, by Prometheus' clock.
    pub(super) async fn range(
        &self,
        query: &str,
        [from_s, until_s, step_s]: [f64; 3],
    ) -> Result<Vec<u8>, ReadError> {
        let [start, end, step] = [from_s, until_s, step_s].map(|s| format!("{s:.3}"));
        let parameters = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", &step),
            ("timeout", "5s"),
        ];
        self.get("/api/v1/query_range", &parameters).await
    }

    /// Asks the API. A refusal that Prometheus explains is an answer too: its parser says why.
    pub(super) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<u8>, ReadError> {
        let url = format!("{}{path}", self.http.url);
        let request = self.http.client.get(url).query(parameters);
        let answer = self.signed(request).send().await;
        let answer = answer.map_err(|error| self.failed(&cause(&error)))?;
        if answer.headers().contains_key(CONTENT_ENCODING) {
            return Err(self.failed("it answers compressed although not asked to"));
        }
        let status = answer.status();
        let location = answer.headers().get(LOCATION).cloned();
        let body = self.body(answer).await?;
        let explained = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::SERVICE_UNAVAILABLE
        ) && body.starts_with(b"{");
        if status.is_success() || explained {
            return Ok(body);
        }
        Err(self.failed(&refusal(status, location.as_ref(), &body)))
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.fetched {
            None => request,
            Some(Fetched::Bearer(token)) => request.bearer_auth(token.expose()),
            Some(Fetched::Basic(user, password)) => {
                request.basic_auth(user.expose(), Some(password.expose()))
            }
        }
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > BODY_MAX => {
                    return Err(self.failed("the answer is larger than 8 MB; narrow the query"));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.failed(&cause(&error))),
            }
        }
    }

    fn failed(&self, what: &str) -> ReadError {
        let Http { name, url, .. } = self.http;
        ReadError(Clean::new(&format!("metrics {name} at {url}: {what}")))
    }
}

fn refusal(
    status: StatusCode,
    location: Option<&reqwest::header::HeaderValue>,
    body: &[u8],
) -> String {
    let excerpt = Clean::line(&String::from_utf8_lossy(body), QUOTE_MAX);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("it answers {status}; see token, or user and password")
        }
        status if status.is_redirection() => {
            let to = location
                .and_then(|to| to.to_str().ok())
                .unwrap_or("nowhere");
            let to = Clean::line(to, QUOTE_MAX);
            format!("it redirects to {to}, which is not followed; set url to what answers itself")
        }
        status => format!("it answers {status}: {excerpt}"),
    }
}

/// What went wrong, in words that name no more than needed.
fn cause(error: &reqwest::Error) -> String {
    let what = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection within 2 s",
        (true, false) => "no whole answer within 9 s",
        (false, true) => "it cannot be reached",
        (false, false) => "the answer broke off",
    };
    format!("{what} ({})", deepest(error))
}

fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
