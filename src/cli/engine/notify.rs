//! What a service manager is told: that the engine is ready, that its loop turns, how it stands,
//! that it ends. The protocol is `sd_notify(3)`: datagrams of `KEY=value` lines to the socket that
//! `NOTIFY_SOCKET` names. Without that variable nothing is told.
//!
//! Must not know what an engine does.

use crate::driver::Closed;
use crate::view::Snapshot;
use std::env;
use std::ffi::OsStr;
use std::future::Future;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Longest line about how the engine stands.
const STATUS_CHARS_MAX: usize = 200;

/// Pings per period after which the manager would act: one may be lost or late.
const PINGS: u32 = 3;

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    pub(super) fn from_env() -> Self {
        let named = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = named.and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("the service manager cannot be told anything: {error}");
                None
            }
        });
        let meant =
            env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let period = env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|us| us.parse().ok());
        let watchdog = period
            .filter(|us| meant && *us > 0)
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The engine listens, and its history is folded.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The engine ends in good order.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Lost datagrams are the manager's affair: it acts when none come.
    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!("the service manager did not take {text}: {error}");
        }
    }

    /// Pings as often as the manager asks, each time only if `beat` came round in time; for ever.
    pub(super) async fn keep_awake<F>(&self, beat: impl Fn() -> F)
    where
        F: Future<Output = Result<(), Closed>>,
    {
        let Some(period) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let pause = period / PINGS;
        loop {
            match timeout(pause, beat()).await {
                Ok(Ok(())) => self.tell("WATCHDOG=1"),
                Ok(Err(Closed)) => return std::future::pending().await,
                Err(_) => tracing::error!("the engine's loop did not turn within {pause:?}"),
            }
            sleep(pause).await;
        }
    }

    /// Tells how the engine stands whenever that changes; for ever.
    pub(super) async fn tell_status(&self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut told = String::new();
        loop {
            let status = status(&snapshots.borrow_and_update());
            if status != told {
                self.tell(&format!("STATUS={status}"));
                told = status;
            }
            if snapshots.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

fn open(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the engine.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// One line: how much is steered, what is open, what is wrong.
fn status(snapshot: &Snapshot) -> String {
    if let Some(why) = &snapshot.engine.history_trouble {
        let text = format!("the history cannot be written: {why}");
        return text.chars().take(STATUS_CHARS_MAX).collect();
    }
    let open = snapshot
        .placements
        .iter()
        .filter(|view| view.rollout.is_some());
    let (all, open) = (snapshot.placements.len(), open.count());
    format!("{all} placements, {open} open rollouts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tokio::sync::Semaphore;

    fn manager(dir: &Path, period: Duration) -> (UnixDatagram, Manager) {
        let path = dir.join("notify");
        let hears = UnixDatagram::bind(&path).expect("bound");
        hears.set_nonblocking(true).expect("set");
        let manager = Manager {
            socket: Some(open(path.as_os_str()).expect("opened")),
            watchdog: Some(period),
        };
        (hears, manager)
    }

    fn pings(hears: &UnixDatagram) -> usize {
        let mut buffer = [0; 64];
        let heard =
            std::iter::from_fn(|| hears.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()));
        heard.filter(|text| text == b"WATCHDOG=1").count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_manager_hears_pings_only_while_the_loop_turns() {
        let dir = tempfile::tempdir().expect("a directory");
        let (hears, manager) = manager(dir.path(), Duration::from_secs(3));
        // Each turn of the loop takes a permit; without one it stands.
        let turns = Arc::new(Semaphore::new(2));
        let beat = || {
            let turns = Arc::clone(&turns);
            async move {
                turns.acquire().await.expect("never closed").forget();
                Ok(())
            }
        };
        let awake = manager.keep_awake(beat);
        let mut awake = std::pin::pin!(awake);
        let mut pass = async |time| timeout(time, &mut awake).await.expect_err("for ever");
        pass(Duration::from_secs(20)).await;
        assert_eq!(pings(&hears), 2, "and none once it stands");
        pass(Duration::from_secs(60)).await;
        assert_eq!(pings(&hears), 0);
        turns.add_permits(1);
        pass(Duration::from_secs(5)).await;
        assert_eq!(pings(&hears), 1, "it turned once more");
    }

    #[tokio::test]
    async fn abstract_names_are_names_too() {
        let name = format!("wheelhouse-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let hears = UnixDatagram::bind_addr(&address).expect("bound");
        let socket = open(OsStr::new(&format!("@{name}"))).expect("opened");
        let manager = Manager {
            socket: Some(socket),
            watchdog: None,
        };
        manager.ready();
        let mut buffer = [0; 64];
        let n = hears.recv(&mut buffer).expect("heard");
        assert_eq!(&buffer[..n], b"READY=1");
    }
}
