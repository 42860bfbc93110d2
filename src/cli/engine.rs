//! `engine run|status|stop|reload|takeover|unit`.

mod notify;
mod unit;

use super::assemble::reload::Reload;
use super::assemble::{self, Assembled, Side};
use super::context::{Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::{log, look, print};
use crate::config::{Home, Loaded, Ownership};
use crate::link::wire::{Reply, Request};
use crate::link::{self, BindError, BoundSocket, EngineSide, OpenTo};
use crate::model::{Actor, BalancerName, Clean};
use clap::Subcommand;
use notify::Manager;
use serde_json::json;
use std::os::unix::fs::DirBuilderExt;
use std::task::Poll;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum EngineCommand {
    /// Run the engine until it is stopped
    Run {
        /// Leave the terminal behind (what the console uses to start one)
        #[arg(long)]
        background: bool,
        /// Be this machine's engine, by /etc/wheelhouse/config.toml (which says so by itself)
        #[arg(long, conflicts_with = "background")]
        system: bool,
    },
    /// Say which engine runs
    Status,
    /// Stop it; rollouts stay as they are until it is started again
    Stop,
    /// Read the configuration anew; open rollouts keep the one they began with
    Reload {
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Steer a balancer or Docker daemon that another engine holds; that one only looks from then on
    Takeover {
        /// The balancer or runtime
        balancer: BalancerName,
        /// Why, for the history
        #[arg(long)]
        reason: String,
    },
    /// Print a systemd unit for this machine's engine
    Unit,
}

pub(super) async fn run(context: &Context, command: EngineCommand) -> Ended {
    match command {
        EngineCommand::Run { background, system } => {
            if background {
                link::detach().map_err(|error| Failure::because(Exit::Unreachable, &error))?;
            }
            match system {
                true => drive(&context.of_system()?).await,
                false => drive(context).await,
            }
        }
        EngineCommand::Status => status(context).await,
        EngineCommand::Stop => stop(context).await,
        EngineCommand::Reload { dry_run } => reload(context, dry_run).await,
        EngineCommand::Takeover { balancer, reason } => {
            take_over(context, balancer, Clean::new(&reason)).await
        }
        EngineCommand::Unit => unit::print(),
    }
}

async fn drive(context: &Context) -> Ended {
    log::to_stderr();
    let manager = Manager::from_env();
    let loaded = context.load()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let home = context.home(&loaded)?;
    let Assembled {
        shell,
        keeper,
        side,
        server,
    } = assemble::assemble(&loaded, &home).await?;
    let socket = listen(&loaded, &home).await?;
    tracing::info!(socket = %socket.path().display(), "engine listens");
    let shutdown = CancellationToken::new();
    let doors = tokio::spawn(link::serve(socket, server, side.clone(), shutdown.clone()));
    let runbooks = tokio::spawn(keeper.run(shutdown.clone()));
    let mut driver = tokio::spawn(shell.run(shutdown.clone()));
    let found =
        super::metrics::publish_targets(loaded.config.clone(), side.snapshot(), shutdown.clone());
    let found = tokio::spawn(found);
    let cleared = tokio::spawn(side.clone().clear_up(shutdown.clone()));
    let heard = tokio::spawn(side.clone().hear_webhooks(shutdown.clone()));
    // Whoever is told that it is ready may end it at once, in good order.
    let mut ends = std::pin::pin!(told_to_end());
    if let Poll::Ready(told) = futures::poll!(&mut ends) {
        tracing::info!("told by {told} before it was ready");
        side.stop.cancel();
    }
    manager.ready();
    let mut driven = None;
    let told = tokio::select! {
        told = &mut ends, if !side.stop.is_cancelled() => told,
        () = side.stop.cancelled() => "a stop request",
        // An engine whose driver is gone must not go on looking alive.
        ended = &mut driver => {
            driven = Some(ended);
            "its own driver"
        }
        () = manager.keep_awake(|| side.beat()) => "nobody",
        () = manager.tell_status(side.snapshot()) => "nobody",
        () = side.keep_leases() => "nobody",
        () = reload_on_hangup(&side, home.ownership) => "nobody",
    };
    tracing::info!("the engine ends, told by {told}; rollouts stay as they are");
    manager.stopping();
    shutdown.cancel();
    let is_own_end = driven.is_some();
    let driven = match driven {
        Some(ended) => ended,
        None => driver.await,
    };
    side.release_leases().await;
    let beside = runbooks.await.and(found.await);
    let beside = beside.and(cleared.await).and(heard.await);
    match (doors.await, beside, driven) {
        (Ok(()), Ok(()), Ok(())) if !is_own_end => Ok(Exit::Done),
        _ => Err(Failure::new(
            Exit::Unreachable,
            "the engine ended by a fault; see its log",
        )),
    }
}

/// Reads the configuration anew at each SIGHUP, for ever. To a personal engine a hang-up is only a
/// terminal that closed, perhaps over a half-written file.
async fn reload_on_hangup(side: &Side, ownership: Ownership) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return std::future::pending().await;
    };
    while hangups.recv().await.is_some() {
        if ownership == Ownership::Personal {
            continue;
        }
        match side.reload(Actor::Engine, Reload::Apply).await {
            Ok(Reply::Reloaded { hash, changes, .. }) => {
                tracing::info!(hash, changes = changes.len(), "configuration reloaded");
            }
            Ok(Reply::BadConfig { faults }) => {
                tracing::error!("the configuration is not valid; the old one stays in force");
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
            }
            Ok(_) => {}
            Err(why) => tracing::error!("the configuration was not reloaded: {why}"),
        }
    }
}

/// Binds the socket where the engine's callers look for it. systemd makes a system engine's
/// directory; without systemd it is made here.
async fn listen(loaded: &Loaded, home: &Home) -> Result<BoundSocket, Failure> {
    let open_to = match home.ownership {
        Ownership::Personal => OpenTo::Owner,
        Ownership::System => {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&home.socket_dir);
            made.map_err(|error| {
                let dir = home.socket_dir.display();
                Failure::new(Exit::Unreachable, format!("cannot make {dir}: {error}"))
            })?;
            OpenTo::Group(socket_group(loaded)?)
        }
    };
    let bound = link::bind_for(&home.socket_dir, open_to).await;
    bound.map_err(|error| bind_failed(&error))
}

/// The id of the group that may open a system engine's socket.
fn socket_group(loaded: &Loaded) -> Result<u32, Failure> {
    let Some(name) = &loaded.config.access().socket_group else {
        return Ok(rustix::process::getegid().as_raw());
    };
    let unknown = || {
        let text = format!("roles.socket_group: there is no group {name}; make it with groupadd");
        Failure::new(Exit::Config, text)
    };
    uzers::get_group_by_name(name)
        .map(|group| group.gid())
        .ok_or_else(unknown)
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
    let exit = match error {
        BindError::InUse { .. } => Exit::Locked,
        _ => Exit::Unreachable,
    };
    Failure::because(exit, error)
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

async fn reload(context: &Context, dry_run: bool) -> Ended {
    // The engine reads the files; a faulty one must still find it.
    let client = context.connect_to_stop().await?;
    match ask(&client, Request::Reload { dry_run }).await? {
        Reply::BadConfig { faults } if context.json => {
            let what = "the configuration is not valid; the old one stays in force";
            let exit = Exit::Config.code();
            print::json(&json!({ "error": what, "exit": exit, "faults": faults }));
            Err(Failure::told(Exit::Config))
        }
        Reply::BadConfig { faults } => {
            faults.iter().for_each(|fault| print::error(fault.as_str()));
            let what = "the configuration is not valid; the old one stays in force";
            Err(Failure::new(Exit::Config, what))
        }
        reply @ Reply::Reloaded { .. } if context.json => {
            print::json(&reply);
            Ok(Exit::Done)
        }
        Reply::Reloaded {
            applied,
            changes,
            more,
            ..
        } => {
            changes.iter().for_each(|line| print::line(line.as_str()));
            if more > 0 {
                print::line(&format!("and {more} more"));
            }
            print::line(match (applied, changes.is_empty()) {
                (true, _) => "reloaded; open rollouts keep the configuration they began with",
                (false, true) => "nothing changed",
                (false, false) => "not reloaded: this was a dry run",
            });
            Ok(Exit::Done)
        }
        _ => Err(unexpected()),
    }
}

async fn take_over(context: &Context, balancer: BalancerName, reason: Clean) -> Ended {
    let loaded = context.load()?;
    let client = context.connect(&loaded).await?;
    let told = format!("{balancer} taken over from");
    match ask(&client, Request::TakeOver { balancer, reason }).await? {
        reply @ Reply::TakenOver { .. } if context.json => print::json(&reply),
        Reply::TakenOver { from } => print::line(&format!("{told} {from}")),
        _ => return Err(unexpected()),
    }
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
