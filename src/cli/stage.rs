//! `stage-shepherd`: the parent of one program of a stage. The engine begins it; nobody else does.

use super::Exit;
use super::exit::Failure;
use crate::pipeline::shepherd::{self, Order};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the engine asks of a shepherd.
#[derive(Debug, Args)]
pub(super) struct ShepherdArgs {
    /// Locked while the program lives
    #[arg(long, value_name = "FILE")]
    lock: PathBuf,
    /// How long whoever holds the lock is waited for
    #[arg(long, value_name = "MS")]
    lock_wait_ms: u64,
    /// Between the polite and the final signal
    #[arg(long, value_name = "MS")]
    grace_ms: u64,
    /// A word of what is run at the end
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cleanup: Vec<OsString>,
    /// The program with its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

pub(super) async fn shepherd(args: ShepherdArgs) -> Result<Exit, Failure> {
    let order = Order {
        lock: args.lock,
        lock_wait_ms: args.lock_wait_ms,
        grace_ms: args.grace_ms,
        cleanup: args.cleanup,
        program: args.program,
    };
    shepherd::run(order).await;
    Ok(Exit::Done)
}
