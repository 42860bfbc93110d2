//! A backend's listener and its clients' connections.

use super::alarm::Alarm;
use super::backend::Backend;
use super::forward::{Client, forward};
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections of clients per backend; further ones wait in the kernel's backlog.
const CLIENTS_MAX: usize = 8_192;
/// A client may be silent this long between requests or within a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// Pause after a failed accept: mostly no file descriptors are left, and trying at once would
/// only burn the processor that has to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How what runs here ends.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// No new requests.
    pub(super) stop: CancellationToken,
    /// Everything at once.
    pub(super) abandon: CancellationToken,
    /// Who waits for it.
    pub(super) tasks: TaskTracker,
}

/// Accepts clients until told to stop.
pub(super) async fn serve(listener: TcpListener, backend: Arc<Backend>, ends: Ends) {
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let next = tokio::select! {
            next = accept(&listener, &room) => next,
            () = ends.stop.cancelled() => return,
        };
        let Some((stream, client, permit)) = next else {
            continue;
        };
        let connection = connection(stream, client, Arc::clone(&backend), ends.clone());
        ends.tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, client)) => Some((stream, client, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one client until it leaves or the listener stops.
async fn connection(stream: TcpStream, client: SocketAddr, backend: Arc<Backend>, ends: Ends) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays slow");
    }
    let abandon = ends.abandon.child_token();
    let alarm = Alarm::new();
    let client = Client::new(backend, client.ip(), alarm.clone(), abandon.clone());
    let client = Arc::new(client);
    let service = service_fn(move |request| {
        // Mapped, because an async block around it would hold, and move, it twice.
        forward(Arc::clone(&client), request).map(Ok::<_, Infallible>)
    });
    let connection = http1::Builder::new()
        .timer(alarm)
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // Its own token, so that polling it touches no lock shared between connections.
    let stop = ends.stop.child_token();
    tokio::select! {
        // How a client's connection ended is its own affair.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = abandon.cancelled() => {}
    }
}
