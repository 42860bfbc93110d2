//! Bodies on their way through: streamed frame by frame, never gathered.

use super::pool::Connection;
use super::server::Session;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// What a client sent; a request that is sent a second time has none.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// The client's body, and how far it is.
    Client(Incoming, Arc<Upload>),
    /// Nothing.
    Empty,
}

impl RequestBody {
    /// A client's body.
    pub(super) fn new(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            Self::Empty
        } else {
            Self::Client(incoming, Arc::default())
        }
    }

    /// How far it is; `None` where there is nothing to send.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Client(_, upload) => Some(Arc::clone(upload)),
            Self::Empty => None,
        }
    }
}

/// How far a body is, shared between it and who waits for the answer to it.
#[derive(Debug)]
pub(super) struct Upload(Mutex<Progress>);

/// Since when a body has not moved, and because of whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) since: Instant,
    pub(super) waits_for: Side,
}

/// Who has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Default for Upload {
    fn default() -> Self {
        Self(Mutex::new(Progress {
            since: Instant::now(),
            waits_for: Side::Server,
        }))
    }
}

impl Upload {
    pub(super) fn progress(&self) -> Progress {
        *self.lock()
    }

    fn moved(&self) {
        *self.lock() = Progress {
            since: Instant::now(),
            waits_for: Side::Server,
        };
    }

    fn waits_for_client(&self) {
        self.lock().waits_for = Side::Client;
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0
            .lock()
            .expect("invariant: nothing panics under an upload's lock")
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Client(incoming, upload) = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        match polled {
            Poll::Ready(_) => upload.moved(),
            Poll::Pending => upload.waits_for_client(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(incoming, _) => incoming.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(incoming, _) => incoming.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// What a client gets.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// A server's answer.
    Server(ServerBody),
    /// The proxy's own words.
    Text(Full<Bytes>),
}

/// A server's answer. Until it has ended or is dropped it counts as a session; read to its end,
/// the connection it came on is kept for the next request.
#[derive(Debug)]
pub(super) struct ServerBody {
    incoming: Incoming,
    connection: Option<Connection>,
    session: Session,
    has_ended: bool,
    counts_as_error: bool,
}

impl ServerBody {
    /// An answer's body; `counts_as_error` when its head was counted as one already.
    pub(super) fn new(
        incoming: Incoming,
        connection: Connection,
        session: Session,
        counts_as_error: bool,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            session,
            has_ended: false,
            counts_as_error,
        }
    }

    fn broke_off(&mut self) {
        if !self.counts_as_error {
            self.counts_as_error = true;
            self.session.server.broke_off();
        }
    }
}

impl Drop for ServerBody {
    fn drop(&mut self) {
        if (self.has_ended || self.incoming.is_end_stream())
            && let Some(connection) = self.connection.take()
        {
            self.session.server.pool.put(connection);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = match self.get_mut() {
            Self::Server(body) => body,
            Self::Text(text) => {
                return Pin::new(text)
                    .poll_frame(cx)
                    .map_err(|never| match never {});
            }
        };
        let polled = Pin::new(&mut body.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => body.has_ended = true,
            Poll::Ready(Some(Err(_))) => body.broke_off(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Server(body) => body.incoming.is_end_stream(),
            Self::Text(text) => text.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Server(body) => body.incoming.size_hint(),
            Self::Text(text) => text.size_hint(),
        }
    }
}
