//! Looks after a backend's servers between requests: whether each can be reached, and which idle
//! connections have become too old.

use super::backend::Backend;
use super::server::Server;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Between two checks of a server.
const EVERY: Duration = Duration::from_millis(500);
/// For one check; a server that is only slow to accept is not down.
const DEADLINE: Duration = Duration::from_millis(400);

/// Checks the servers that may get requests until told to stop.
pub(super) async fn keep_checking(backend: Arc<Backend>, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let servers = backend.servers();
        for (server, _) in &servers {
            server.pool.prune();
        }
        let checks = servers
            .iter()
            .filter(|(_, is_checked)| *is_checked)
            .map(|(server, _)| check(server));
        futures::future::join_all(checks).await;
    }
}

async fn check(server: &Server) {
    match timeout(DEADLINE, TcpStream::connect(server.address)).await {
        Ok(Ok(_)) => server.set_up(true),
        Ok(Err(_)) => server.set_up(false),
        Err(_) => {}
    }
}
