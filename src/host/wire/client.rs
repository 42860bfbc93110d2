//! The caller's side of the host's socket: one fresh connection and one deadline per call.
//!
//! Tells apart what a caller must act on: whether the host was certainly never asked. Must not
//! know what the calls are for.

use super::{Problem, VERSION};
use crate::model::{Clean, Outcome};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest answer that is read; a page of 1,000 log lines of 8 KiB fits.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: the host does not run, or not here.
    #[error(
        "no host answers on `{socket}` ({why}); start it with `wheelhouse host`, or correct the socket's path"
    )]
    NotSent {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the connection attempt said.
        why: Clean,
    },
    /// The host answered that it will not.
    #[error("the host on `{socket}` refused ({status}): {why}")]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The host's reason.
        why: Clean,
    },
    /// It was sent, and what became of it is not known.
    #[error(
        "the host on `{socket}` gave no usable answer ({why}); it may be overloaded or stopped: see its status"
    )]
    Lost {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        why: Clean,
    },
}

impl CallError {
    /// Whether the host said that the thing asked for does not exist.
    pub fn is_unknown_thing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the call certainly changed nothing: it was never sent, or the host refused it.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::NotSent { .. } => true,
            Self::Refused { status, .. } => *status < 500,
            Self::Lost { .. } => false,
        }
    }
}

/// How a write ended: what the read-back shows decides, and only where it does not show the write
/// does the answer to the write say whether it can still have happened.
pub fn judged(sent: &Result<(), CallError>, shown: Result<bool, &CallError>) -> Outcome {
    match (sent, shown) {
        (_, Ok(true)) => Outcome::Applied,
        (Err(error), _) if error.changed_nothing() => Outcome::Rejected {
            why: Clean::new(&error.to_string()),
        },
        (Err(error), _) | (Ok(()), Err(error)) => Outcome::Unknown {
            why: Clean::new(&error.to_string()),
        },
        (Ok(()), Ok(false)) => Outcome::Unknown {
            why: "the host took it, but reading back does not show it".into(),
        },
    }
}

/// Speaks to one host.
#[derive(Debug, Clone)]
pub struct HostClient {
    http: reqwest::Client,
    socket: PathBuf,
}

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for the host's socket cannot be built")]
pub struct ClientError(#[from] reqwest::Error);

impl HostClient {
    /// A client for the host on this socket. Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .tls_certs_only([])
            // A kept connection may be one that died with the last host; a write sent on it would
            // end unknown where a fresh connection says for certain that nobody listens.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            socket: socket.to_owned(),
        })
    }

    /// Reads something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<A, CallError> {
        let bytes = self.call(Method::GET, path, None, deadline).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.lost(&error))
    }

    /// Sets something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn put<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let body = serde_json::to_vec(body).map_err(|error| self.lost(&error))?;
        self.call(Method::PUT, path, Some(body), deadline).await?;
        Ok(())
    }

    /// Removes something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete(&self, path: &str, deadline: Duration) -> Result<(), CallError> {
        self.call(Method::DELETE, path, None, deadline).await?;
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let mut request = self
            .http
            .request(method, format!("http://host/{VERSION}{path}"))
            .timeout(deadline);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        let status = answer.status();
        let bytes = self.body(answer).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(self.refused(status, &bytes))
    }

    async fn body(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, CallError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.lost(&error))? {
            if bytes.len() + chunk.len() > ANSWER_MAX_BYTES {
                return Err(self.lost(&"its answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn failed(&self, error: &reqwest::Error) -> CallError {
        if error.is_connect() {
            return CallError::NotSent {
                socket: self.socket.clone(),
                why: deepest(error),
            };
        }
        self.lost(&deepest(error))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CallError {
        let why = serde_json::from_slice::<Problem>(body)
            .map_or_else(|_| Clean::bytes(body), |problem| problem.error);
        CallError::Refused {
            socket: self.socket.clone(),
            status: status.as_u16(),
            why,
        }
    }

    fn lost(&self, why: &impl ToString) -> CallError {
        CallError::Lost {
            socket: self.socket.clone(),
            why: Clean::new(&why.to_string()),
        }
    }
}

/// The innermost cause: the outer ones only repeat the address.
fn deepest(error: &reqwest::Error) -> Clean {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    Clean::new(&inner.to_string())
}
