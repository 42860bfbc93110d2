//! What pane 8 shows: the console's own log, and the engine's log file where it is known.

use crate::console::pane::engine_log::engine_line;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much of the engine's earlier log is shown.
const EARLIER_BYTES: u64 = 16 * 1024;

/// Read at most at a time.
const CHUNK_BYTES: u64 = 256 * 1024;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Sends this process's log to the pane instead of the terminal, at `info` unless
/// `WHEELHOUSE_LOG` says otherwise. Where a log is set up already, that one stays.
pub(super) fn log_to_pane() {
    tui_logger::set_default_level(tui_logger::LevelFilter::Debug);
    let filter = EnvFilter::try_from_env("WHEELHOUSE_LOG");
    let set_up = tracing_subscriber::registry()
        .with(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with(tui_logger::TuiTracingSubscriberLayer)
        .try_init();
    if set_up.is_err() {
        tracing::debug!("the log was set up before");
    }
}

/// Passes new lines of a file on, for ever.
pub(super) async fn tail(path: PathBuf, logged: Arc<Notify>) {
    let mut at = None;
    let mut rest = Vec::new();
    loop {
        let (file, from) = (path.clone(), at);
        let read = tokio::task::spawn_blocking(move || more(&file, from)).await;
        if let Ok(Ok((bytes, next))) = read {
            at = Some(next);
            if !bytes.is_empty() {
                rest.extend(bytes);
                pass_on(&mut rest);
                logged.notify_one();
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The bytes from a position on, and the position after them; near the end at first.
fn more(path: &Path, from: Option<u64>) -> io::Result<(Vec<u8>, u64)> {
    let mut file = std::fs::File::open(path)?;
    let end = file.metadata()?.len();
    // A file that became shorter is another one.
    let from = from.filter(|from| *from <= end);
    let from = from.unwrap_or_else(|| end.saturating_sub(EARLIER_BYTES));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    let read = file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
    Ok((bytes, from + read as u64))
}

/// Passes whole lines on and keeps the one that has not ended.
fn pass_on(rest: &mut Vec<u8>) {
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return;
    };
    let lines: Vec<u8> = rest.drain(..=end).collect();
    for line in String::from_utf8_lossy(&lines).lines() {
        engine_line(line);
    }
}
