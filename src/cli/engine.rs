//! `engine run|status|stop`.

use super::assemble::{self, Assembled};
use super::context::{Context, ask};
use super::exit::{Ended, Exit, Failure};
use super::{log, look, print};
use crate::link::wire::Request;
use crate::link::{self, BindError};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum EngineCommand {
    /// Run the engine until it is stopped
    Run {
        /// Leave the terminal behind (what the console uses to start one)
        #[arg(long)]
        background: bool,
    },
    /// Say which engine runs
    Status,
    /// Stop it; rollouts stay as they are until it is started again
    Stop,
}

pub(super) async fn run(context: &Context, command: EngineCommand) -> Ended {
    match command {
        EngineCommand::Run { background } => drive(context, background).await,
        EngineCommand::Status => status(context).await,
        EngineCommand::Stop => stop(context).await,
    }
}

async fn drive(context: &Context, background: bool) -> Ended {
    if background {
        link::detach().map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    }
    log::to_stderr();
    let loaded = context.load()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let state_dir = context.state_dir(&loaded)?;
    let Assembled {
        shell,
        side,
        server,
    } = assemble::assemble(&loaded, &state_dir).await?;
    let socket = link::bind(&state_dir)
        .await
        .map_err(|error| bind_failed(&error))?;
    tracing::info!(socket = %socket.path().display(), "engine listens");
    let shutdown = CancellationToken::new();
    let doors = tokio::spawn(link::serve(socket, server, side.clone(), shutdown.clone()));
    let driver = tokio::spawn(shell.run(shutdown.clone()));
    let told = tokio::select! {
        told = told_to_end() => told,
        () = side.stop.cancelled() => "a stop request",
        _ = shutdown.cancelled() => "itself",
    };
    tracing::info!("the engine ends, told by {told}; rollouts stay as they are");
    shutdown.cancel();
    let (doors, driver) = tokio::join!(doors, driver);
    match (doors, driver) {
        (Ok(()), Ok(())) => Ok(Exit::Done),
        _ => Err(Failure::new(
            Exit::Unreachable,
            "the engine ended by a fault; see its log",
        )),
    }
}

/// Waits for SIGTERM, SIGINT or SIGQUIT; a hang-up of a terminal ends no engine.
pub(super) async fn told_to_end() -> &'static str {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => "SIGTERM",
        () = wait(SignalKind::interrupt()) => "SIGINT",
        () = wait(SignalKind::quit()) => "SIGQUIT",
        () = async { loop { wait(SignalKind::hangup()).await } } => "SIGHUP",
    }
}

fn bind_failed(error: &BindError) -> Failure {
    Failure::because(Exit::Unreachable, error)
}

async fn status(context: &Context) -> Ended {
    let loaded = context.load()?;
    let client = context.connect(&loaded).await?;
    let snapshot = look::snapshot(&client).await?;
    let engine = &snapshot.engine;
    if context.json {
        print::json(engine);
        return Ok(Exit::Done);
    }
    print::line(&format!(
        "engine {} pid {} on {} since {}, {} records, {} consoles",
        engine.info.version,
        engine.info.pid,
        engine.info.host,
        print::date_time(engine.started_ms),
        engine.seq,
        engine.consoles.len()
    ));
    Ok(Exit::Done)
}

async fn stop(context: &Context) -> Ended {
    let loaded = context.load()?;
    let client = context.connect(&loaded).await?;
    let open: Vec<_> = look::snapshot(&client)
        .await?
        .placements
        .iter()
        .filter_map(|view| {
            Some(format!(
                "{} of {}",
                view.rollout.as_ref()?.number,
                view.placement
            ))
        })
        .collect();
    ask(&client, Request::Stop).await?;
    if !open.is_empty() && !context.json {
        print::line(&format!("left as they are: {}", open.join(", ")));
    }
    Ok(Exit::Done)
}
