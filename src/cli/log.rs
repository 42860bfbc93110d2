//! The program's own log: to standard error for engine and host, to the screen for the console.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Never logged in more detail: it would write every request to Docker, and with them the values
/// of variables that are secrets.
const WITH_SECRETS: &str = "bollard=info";

/// Logs to standard error, at `info` unless `WHEELHOUSE_LOG` says otherwise.
pub(super) fn to_stderr() {
    let filter = EnvFilter::try_from_env("WHEELHOUSE_LOG");
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let quiet = WITH_SECRETS.parse();
    let filter = filter.add_directive(quiet.expect("invariant: the directive is well formed"));
    let started = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    if started.is_err() {
        tracing::debug!("the log was set up before");
    }
}
