//! Bodies on their way through: streamed frame by frame, never gathered.

use super::pool::Connection;
use super::server::Session;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a client sent; a request that is sent a second time has none.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// The client's body.
    Client(Incoming),
    /// Nothing.
    Empty,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Client(incoming) => Pin::new(incoming).poll_frame(cx),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(incoming) => incoming.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(incoming) => incoming.size_hint(),
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
