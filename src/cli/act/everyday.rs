//! `restart`, `scale`, `drain`, `undrain`, `drill`: what is done to a release that serves.

use super::{Patience, Target, Why, answer, carry_out, confirm, dry_run, preview, reach};
use crate::cli::context::Context;
use crate::cli::exit::Ended;
use crate::link::wire::{CommandRequest, Request};
use crate::model::{Placement, ServerName};
use clap::Args;

/// What begins something with an end.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BeginArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ScaleArgs {
    #[command(flatten)]
    target: Target,
    /// Instances from now on, until the next deploy
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    instances: u32,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DrainArgs {
    #[command(flatten)]
    target: Target,
    /// The instance, by its server's name
    #[arg(value_name = "INSTANCE")]
    server: ServerName,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct UndrainArgs {
    #[command(flatten)]
    target: Target,
    /// The instance, by its server's name
    #[arg(value_name = "INSTANCE")]
    server: ServerName,
}

pub(in crate::cli) async fn restart(context: &Context, args: BeginArgs) -> Ended {
    let reason = args.why.reason();
    begin(context, args, |placement| CommandRequest::Restart {
        placement,
        reason,
    })
    .await
}

pub(in crate::cli) async fn drill(context: &Context, args: BeginArgs) -> Ended {
    let reason = args.why.reason();
    begin(context, args, |placement| CommandRequest::Drill {
        placement,
        reason,
    })
    .await
}

pub(in crate::cli) async fn scale(context: &Context, args: ScaleArgs) -> Ended {
    let (instances, reason) = (args.instances, args.why.reason());
    carry_out(context, args.target, None, |placement, _| {
        CommandRequest::Scale {
            placement,
            instances,
            reason: reason.clone(),
        }
    })
    .await
}

pub(in crate::cli) async fn drain(context: &Context, args: DrainArgs) -> Ended {
    let (server, reason) = (args.server, args.why.reason());
    carry_out(context, args.target, None, |placement, _| {
        CommandRequest::Drain {
            placement,
            server: server.clone(),
            reason: reason.clone(),
        }
    })
    .await
}

pub(in crate::cli) async fn undrain(context: &Context, args: UndrainArgs) -> Ended {
    let server = args.server;
    carry_out(context, args.target, None, |placement, _| {
        CommandRequest::Undrain {
            placement,
            server: server.clone(),
        }
    })
    .await
}

/// Confirms it by the rules, begins it, and waits for its end where that is wanted.
async fn begin(
    context: &Context,
    args: BeginArgs,
    make: impl FnOnce(Placement) -> CommandRequest,
) -> Ended {
    let until = args.patience.until();
    let place = &args.target.place;
    let (placement, client) = reach(context, &args.target.service, &place.environment).await?;
    let command = make(placement);
    if place.dry_run {
        return dry_run(context, &client, command).await;
    }
    let asked = Request::Preview {
        command: command.clone(),
    };
    let preview = preview(&client, asked).await?;
    confirm(place, preview.verb.as_str(), preview.tier)?;
    let answer = answer(&client, command).await?;
    args.patience.attend(context, &answer, until).await
}
