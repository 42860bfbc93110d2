//! `host`: the embedded default, in the foreground.

use super::assemble;
use super::context::Context;
use super::engine::told_to_end;
use super::exit::{Ended, Exit, Failure};
use super::log;
use crate::host::{self, ClaimError, HostError, HostOptions};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
pub(super) struct HostArgs {
    /// Where the set of instances and their logs are kept; by the configuration when absent
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Start the same instances again after an orderly stop (after a crash that is so anyway)
    #[arg(long)]
    keep_set: bool,
}

pub(super) async fn run(context: &Context, args: HostArgs) -> Ended {
    log::to_stderr();
    let state_dir = match args.state_dir {
        Some(dir) => dir,
        None => context.state_dir(&context.load()?)?,
    };
    let options = HostOptions {
        socket: assemble::host_socket(&state_dir),
        state_dir: state_dir.join("host"),
        keep_set_on_shutdown: args.keep_set,
        shutdown: async {
            let told = told_to_end().await;
            tracing::info!("the host ends, told by {told}");
        },
    };
    match host::run(options).await {
        Ok(()) => Ok(Exit::Done),
        Err(error @ HostError::Claim(ClaimError::Taken { .. })) => {
            Err(Failure::because(Exit::Locked, &error))
        }
        Err(error) => Err(Failure::because(Exit::Unreachable, &error)),
    }
}
