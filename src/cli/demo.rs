//! `demo` and the service it steers.

use super::engine::told_to_end;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::demo::service::{self, DemoEnd, DemoServiceOptions};
use crate::demo::story;
use clap::Args;
use std::net::SocketAddr;
use std::time::Instant;

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
    /// Share of requests answered with an error by one version: `v3=0.05`
    #[arg(long, value_name = "VERSION=RATIO", value_parser = fault)]
    fault: Vec<(String, f64)>,
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

fn fault(text: &str) -> Result<(String, f64), String> {
    let (version, ratio) = text.split_once('=').ok_or("expected VERSION=RATIO")?;
    let ratio: f64 = ratio.parse().map_err(|_| format!("{ratio} is no number"))?;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok((version.to_owned(), ratio)),
        false => Err(format!("{ratio} is not between 0 and 1")),
    }
}

pub(super) async fn run(args: DemoArgs) -> Ended {
    match args.unattended {
        true => unattended().await,
        false => Ok(Exit::Usage),
    }
}

async fn unattended() -> Ended {
    let began = Instant::now();
    let tell = |text: &str| {
        let s = began.elapsed().as_secs();
        print::line(&format!("{:02}:{:02}  {text}", s / 60, s % 60));
    };
    let interrupted = async {
        told_to_end().await;
    };
    let told = story::unattended(&tell, interrupted).await;
    let told = told.map_err(|error| Failure::because(Exit::RolledBack, &error))?;
    let Some(promises) = told else {
        return Err(Failure::new(
            Exit::Held,
            "the demo was interrupted; everything was ended",
        ));
    };
    for (held, text) in &promises.kept {
        tell(&format!("{} {text}", if *held { "[ok]" } else { "[!!]" }));
    }
    Ok(if promises.held() {
        Exit::Done
    } else {
        Exit::RolledBack
    })
}

pub(super) async fn serve(args: ServiceArgs) -> Ended {
    let faulty = args
        .fault
        .iter()
        .find(|(version, _)| *version == args.version);
    let options = DemoServiceOptions {
        address: args.address,
        version: args.version,
        latency_ms: args.latency_ms,
        error_ratio: faulty.map_or(args.error_ratio, |(_, ratio)| *ratio),
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
