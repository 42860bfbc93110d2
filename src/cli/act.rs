//! `deploy`, `promote`, `hold`, `resume`, `abort`, `rollback`: never prompt, never start an engine.

use super::context::{self, Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::link::Client;
use crate::link::wire::{CommandRequest, Reply, Request};
use crate::model::command::{Answer, PromoteTo};
use crate::model::{Clean, EnvName, Placement, ServiceName, Version};
use crate::view::{Preview, Tier};
use clap::Args;

/// Which service, where; and how it is confirmed.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The service
    service: ServiceName,
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: EnvName,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
    /// Say what would be done, to the end, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The environment's name again: forward moves in protected environments ask for it
    #[arg(long, value_name = "ENV")]
    confirm: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct DeployArgs {
    #[command(flatten)]
    target: Target,
    /// The version
    version: Version,
}

#[derive(Debug, Clone, Args)]
pub(super) struct PromoteArgs {
    #[command(flatten)]
    target: Target,
    /// To this share in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    to: Option<u8>,
    /// To 100 %
    #[arg(long, conflicts_with = "to")]
    full: bool,
    /// Refuse if the rollout moved on since this revision
    #[arg(long)]
    revision: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    target: Target,
    /// Refuse if the rollout moved on since this revision
    #[arg(long)]
    revision: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ActArgs {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    target: Target,
    /// To this version; the previous verified one when absent
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
}

pub(super) async fn deploy(context: &Context, args: DeployArgs) -> Ended {
    let version = args.version;
    carry_out(context, args.target, None, |placement, reason, _| {
        CommandRequest::Deploy {
            placement,
            version: version.clone(),
            reason,
        }
    })
    .await
}

pub(super) async fn promote(context: &Context, args: PromoteArgs) -> Ended {
    let to = match (args.full, args.to) {
        (true, _) => PromoteTo::Full,
        (false, Some(percent)) => PromoteTo::Percent(percent),
        (false, None) => PromoteTo::Next,
    };
    let make = |placement, _, revision| CommandRequest::Promote {
        placement,
        to,
        revision,
    };
    carry_out(context, args.target, args.revision, make).await
}

pub(super) async fn hold(context: &Context, args: ActArgs) -> Ended {
    let make = |placement, reason, _| CommandRequest::Hold { placement, reason };
    carry_out(context, args.target, None, make).await
}

pub(super) async fn resume(context: &Context, args: ResumeArgs) -> Ended {
    let make = |placement, _, revision| CommandRequest::Resume {
        placement,
        revision,
    };
    carry_out(context, args.target, args.revision, make).await
}

pub(super) async fn abort(context: &Context, args: ActArgs) -> Ended {
    let make = |placement, reason, _| CommandRequest::Abort { placement, reason };
    carry_out(context, args.target, None, make).await
}

pub(super) async fn rollback(context: &Context, args: RollbackArgs) -> Ended {
    let to = args.to;
    carry_out(context, args.target, None, |placement, reason, _| {
        CommandRequest::Rollback {
            placement,
            to: to.clone(),
            reason,
        }
    })
    .await
}

/// Reads what the command would do, confirms it by the rules, and does it. The revision is the
/// one given, else the one just read.
async fn carry_out(
    context: &Context,
    target: Target,
    revision: Option<u64>,
    make: impl Fn(Placement, Option<Clean>, u64) -> CommandRequest,
) -> Ended {
    let loaded = context.load()?;
    let placement = context::placement(&loaded, &target.service, &target.environment)?;
    let client = context.connect(&loaded).await?;
    let reason = target.reason.as_deref().map(Clean::new);
    let of = |revision| make(placement.clone(), reason.clone(), revision);
    if target.dry_run {
        return dry_run(context, &client, of(revision.unwrap_or(0))).await;
    }
    let preview = preview(
        &client,
        Request::Preview {
            command: of(revision.unwrap_or(0)),
        },
    )
    .await?;
    confirm(&target, &preview)?;
    let command = of(revision.unwrap_or(preview.revision));
    match ask(&client, Request::Command { command }).await? {
        Reply::Answer { answer } => answered(context, &answer),
        _ => Err(unexpected()),
    }
}

async fn preview(client: &Client, request: Request) -> Result<Preview, Failure> {
    match ask(client, request).await? {
        Reply::Preview { preview } => Ok(*preview),
        _ => Err(unexpected()),
    }
}

fn confirm(target: &Target, preview: &Preview) -> Result<(), Failure> {
    let name = target.environment.as_str();
    let given = target.confirm.as_deref();
    match (preview.tier, given) {
        (_, Some(other)) if other != name => Err(Failure::new(
            Exit::Refused,
            format!("--confirm {other} does not name the environment {name}"),
        )),
        (Tier::Two, None) => Err(Failure::new(
            Exit::Refused,
            format!("{} in {name} asks for --confirm {name}", preview.verb),
        )),
        _ => Ok(()),
    }
}

fn answered(context: &Context, answer: &Answer) -> Ended {
    if context.json {
        print::json(answer);
    }
    match answer {
        Answer::Accepted {
            number, revision, ..
        } => {
            if !context.json {
                print::line(&format!("{number} accepted, revision {revision}"));
            }
            Ok(Exit::Done)
        }
        Answer::Already { what } => {
            if !context.json {
                print::line(what.as_str());
            }
            Ok(Exit::Done)
        }
        Answer::Unrecorded { why } => {
            print::error(&format!("being done, but not recorded yet: {why}"));
            Ok(Exit::Done)
        }
        Answer::Refused(refusal) => {
            if !context.json {
                print::error(&refusal.to_string());
            }
            Ok(Exit::Refused)
        }
    }
}

async fn dry_run(context: &Context, client: &Client, command: CommandRequest) -> Ended {
    let preview = preview(client, Request::DryRun { command }).await?;
    match context.json {
        true => print::json(&preview),
        false => print_preview(&preview),
    }
    Ok(if preview.refused.is_some() {
        Exit::Refused
    } else {
        Exit::Done
    })
}

fn print_preview(preview: &Preview) {
    print::line(preview.title.as_str());
    if let Some(refusal) = &preview.refused {
        print::line(&format!("  would be refused: {refusal}"));
        return;
    }
    for line in &preview.lines {
        print::line(&format!("  {:<10} {}", line.label, line.text));
    }
    for warning in &preview.warnings {
        print::line(&format!("  WARNING    {warning}"));
    }
    print::line("  every effect, if all goes well:");
    for effect in &preview.effects {
        print::line(&format!("    {effect}"));
    }
}
