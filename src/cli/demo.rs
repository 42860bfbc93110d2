//! `demo` and the service it steers.

use super::engine::told_to_end;
use super::exit::{Ended, Exit, Failure};
use crate::demo::service::{self, DemoEnd, DemoServiceOptions};
use clap::Args;
use std::net::SocketAddr;

#[derive(Debug, Clone, Args)]
pub(super) struct DemoArgs {
    /// Play the whole story without a terminal, as plain lines, in at most two minutes
    #[arg(long)]
    unattended: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ServiceArgs {
    /// Where to listen
    #[arg(long)]
    address: SocketAddr,
    /// The version to answer with
    #[arg(long)]
    version: String,
    /// Median time to answer
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Share of requests answered with an error, 0-1
    #[arg(long, default_value_t = 0.0)]
    error_ratio: f64,
    /// Not ready for this long
    #[arg(long, default_value_t = 0)]
    slow_start_ms: u64,
    /// Crash after this long
    #[arg(long)]
    crash_after_ms: Option<u64>,
    /// Stop without finishing requests under way
    #[arg(long)]
    no_drain: bool,
}

pub(super) async fn run(args: DemoArgs) -> Ended {
    let _ = args;
    Ok(Exit::Usage)
}

pub(super) async fn serve(args: ServiceArgs) -> Ended {
    let options = DemoServiceOptions {
        address: args.address,
        version: args.version,
        latency_ms: args.latency_ms,
        error_ratio: args.error_ratio,
        slow_start_ms: args.slow_start_ms,
        crash_after_ms: args.crash_after_ms,
        drain: !args.no_drain,
    };
    let told = async {
        told_to_end().await;
    };
    match service::run(options, told).await {
        Ok(DemoEnd::Stopped) => Ok(Exit::Done),
        Ok(DemoEnd::Crashed) => Ok(Exit::RolledBack),
        Err(error) => Err(Failure::because(Exit::Unreachable, &error)),
    }
}
