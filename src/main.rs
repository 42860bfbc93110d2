//! Arguments in, exit code out.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use wheelhouse::demo::service::{self, DemoEnd, DemoServiceOptions};
use wheelhouse::host::{self, HostError, HostOptions};

/// Exit code of a demo service that was told to crash.
const CRASHED: u8 = 101;
/// Exit code when another process holds what is needed.
const LOCKED: u8 = 73;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run instances and the proxy in front of them.
    Host(HostArguments),
    /// Run the demo's service.
    #[command(hide = true)]
    DemoService(DemoArguments),
}

#[derive(Args)]
struct HostArguments {
    /// Where the set of instances and their logs are kept.
    #[arg(long)]
    state_dir: PathBuf,
    /// The socket; `host.sock` in the state directory when absent.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Start the same instances again after an orderly stop.
    #[arg(long)]
    keep_set: bool,
}

#[derive(Args)]
struct DemoArguments {
    /// Where to listen.
    #[arg(long)]
    address: SocketAddr,
    /// The version to answer with.
    #[arg(long)]
    version: String,
    /// Median time to answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Share of requests answered with an error, 0–1.
    #[arg(long, default_value_t = 0.0)]
    error_ratio: f64,
    /// Not ready for this long.
    #[arg(long, default_value_t = 0)]
    slow_start_ms: u64,
    /// Crash after this long.
    #[arg(long)]
    crash_after_ms: Option<u64>,
    /// Stop without finishing requests under way.
    #[arg(long)]
    no_drain: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Host(arguments) => run_host(arguments).await,
        Command::DemoService(arguments) => run_demo_service(arguments).await,
    }
}

async fn run_host(arguments: HostArguments) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let socket = arguments
        .socket
        .unwrap_or_else(|| arguments.state_dir.join("host.sock"));
    let options = HostOptions {
        state_dir: arguments.state_dir,
        socket,
        keep_set_on_shutdown: arguments.keep_set,
        shutdown: stop_signal(),
    };
    match host::run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wheelhouse host: {error}");
            match error {
                HostError::Claim(host::ClaimError::Taken { .. }) => ExitCode::from(LOCKED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run_demo_service(arguments: DemoArguments) -> ExitCode {
    let options = DemoServiceOptions {
        address: arguments.address,
        version: arguments.version,
        latency_ms: arguments.latency_ms,
        error_ratio: arguments.error_ratio,
        slow_start_ms: arguments.slow_start_ms,
        crash_after_ms: arguments.crash_after_ms,
        drain: !arguments.no_drain,
    };
    match service::run(options, stop_signal()).await {
        Ok(DemoEnd::Stopped) => ExitCode::SUCCESS,
        Ok(DemoEnd::Crashed) => ExitCode::from(CRASHED),
        Err(error) => {
            eprintln!("{error}: {}", error.source);
            ExitCode::FAILURE
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT.
async fn stop_signal() {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
