//! The program's own log: to standard error for engine and host, to the screen for the console.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Logs to standard error, at `info` unless `WHEELHOUSE_LOG` says otherwise.
pub(super) fn to_stderr() {
    let filter = EnvFilter::try_from_env("WHEELHOUSE_LOG");
    let started = fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    if started.is_err() {
        tracing::debug!("the log was set up before");
    }
}
