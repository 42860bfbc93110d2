//! What acts: rollouts here and in `deploy`, the everyday verbs in `everyday`. Nothing prompts, and
//! nothing starts an engine.

pub(super) mod deploy;
pub(super) mod everyday;

use super::context::{self, Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::{print, wait};
use crate::link::Client;
use crate::link::wire::{CommandRequest, Reply, Request};
use crate::model::command::{Answer, PromoteTo};
use crate::model::{Clean, EnvName, Placement, RolloutNumber, ServiceName, Urgency, Version};
use crate::view::{Preview, Tier};
use clap::Args;
use std::time::Duration;
use tokio::time::Instant;

/// Which service, where; and how it is confirmed.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The service
    service: ServiceName,
    #[command(flatten)]
    place: Place,
}

/// Where; and how it is confirmed.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: EnvName,
    /// Say what would be done, to the end, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The environment's name again: forward moves in protected environments ask for it
    #[arg(long, value_name = "ENV")]
    confirm: Option<String>,
}

/// What the history keeps beside a command.
#[derive(Debug, Clone, Args)]
struct Why {
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

impl Why {
    fn reason(&self) -> Option<Clean> {
        self.reason.as_deref().map(Clean::new)
    }
}

/// Whether and how long the end of what was begun is waited for.
#[derive(Debug, Clone, Args)]
struct Patience {
    /// Wait for the rollout's end and exit with its code
    #[arg(long)]
    wait: bool,
    /// Wait at most so long: 30m, 1h30m, or seconds
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = wait::duration)]
    timeout: Option<Duration>,
}

impl Patience {
    /// When it ends, counted from now.
    fn until(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Prints the answer, and waits for the end of what it began where that is wanted.
    async fn attend(&self, context: &Context, answer: &Answer, until: Option<Instant>) -> Ended {
        let exit = answered(context, answer)?;
        match begun(answer).filter(|_| self.wait) {
            Some(number) => wait::reattach(context, &number.to_string(), until).await,
            None => Ok(exit),
        }
    }
}

fn begun(answer: &Answer) -> Option<RolloutNumber> {
    match answer {
        Answer::Accepted { number, .. } | Answer::Begun { number } => Some(*number),
        Answer::Already { .. }
        | Answer::Run { .. }
        | Answer::RunBegun { .. }
        | Answer::Unrecorded { .. }
        | Answer::Refused(_) => None,
    }
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
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    target: Target,
    /// To this version; the previous verified one when absent
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// One passed probe makes an instance up, instead of health.successes in a row; needs --reason
    ///
    /// That is all it skips: no rollback makes smoke tests, soaks, waits for the judge or for a
    /// minimum healthy time. It is recorded and read back like any other, every instance is verified
    /// up before traffic moves, and nothing is stopped that is not proven idle. Where a rollout is
    /// open, it aborts that, which has nothing to skip.
    #[arg(long, requires = "reason")]
    emergency: bool,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Args)]
pub(super) struct NoteArgs {
    /// The service
    service: ServiceName,
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: EnvName,
    /// The line
    text: String,
}

pub(super) async fn promote(context: &Context, args: PromoteArgs) -> Ended {
    let to = match (args.full, args.to) {
        (true, _) => PromoteTo::Full,
        (false, Some(percent)) => PromoteTo::Percent(percent),
        (false, None) => PromoteTo::Next,
    };
    let make = |placement, revision| CommandRequest::Promote {
        placement,
        to,
        revision,
    };
    carry_out(context, args.target, args.revision, make).await
}

pub(super) async fn hold(context: &Context, args: ActArgs) -> Ended {
    let reason = args.why.reason();
    let make = |placement| CommandRequest::Hold { placement, reason };
    carry_out_at_once(context, args.target, make).await
}

pub(super) async fn resume(context: &Context, args: ResumeArgs) -> Ended {
    let make = |placement, revision| CommandRequest::Resume {
        placement,
        revision,
    };
    carry_out(context, args.target, args.revision, make).await
}

pub(super) async fn abort(context: &Context, args: ActArgs) -> Ended {
    let reason = args.why.reason();
    let make = |placement| CommandRequest::Abort { placement, reason };
    carry_out_at_once(context, args.target, make).await
}

pub(super) async fn rollback(context: &Context, args: RollbackArgs) -> Ended {
    let (to, reason) = (args.to, args.why.reason());
    let urgency = match args.emergency {
        true => Urgency::Emergency,
        false => Urgency::Ordinary,
    };
    carry_out(context, args.target, None, |placement, _| {
        CommandRequest::Rollback {
            placement,
            to: to.clone(),
            reason: reason.clone(),
            urgency,
        }
    })
    .await
}

pub(super) async fn note(context: &Context, args: NoteArgs) -> Ended {
    let (service, environment) = (&args.service, &args.environment);
    let (placement, client) = reach(context, service, environment).await?;
    let text = Clean::new(&args.text);
    let command = CommandRequest::Note { placement, text };
    send(context, &client, command).await
}

/// Abort and hold: tier 1 everywhere and without a revision, so nothing is read before, and no
/// valid configuration is needed. The engine keeps room for exactly this one request where all
/// places are taken.
async fn carry_out_at_once(
    context: &Context,
    target: Target,
    make: impl FnOnce(Placement) -> CommandRequest,
) -> Ended {
    let client = context.connect_to_stop().await?;
    let command = make(Placement {
        service: target.service.clone(),
        environment: target.place.environment.clone(),
    });
    if target.place.dry_run {
        return dry_run(context, &client, command).await;
    }
    confirm(&target.place, command.verb(), Tier::One)?;
    send(context, &client, command).await
}

/// Reads what the command would do, confirms it by the rules, and does it. The revision is the
/// one given, else the one just read.
async fn carry_out(
    context: &Context,
    target: Target,
    revision: Option<u64>,
    make: impl Fn(Placement, u64) -> CommandRequest,
) -> Ended {
    let (placement, client) = reach(context, &target.service, &target.place.environment).await?;
    let of = |revision| make(placement.clone(), revision);
    let command = of(revision.unwrap_or(0));
    if target.place.dry_run {
        return dry_run(context, &client, command).await;
    }
    let preview = preview(&client, Request::Preview { command }).await?;
    confirm(&target.place, preview.verb.as_str(), preview.tier)?;
    send(context, &client, of(revision.unwrap_or(preview.revision))).await
}

async fn reach(
    context: &Context,
    service: &ServiceName,
    environment: &EnvName,
) -> Result<(Placement, Client), Failure> {
    let loaded = context.load()?;
    let placement = context::placement(&loaded, service, environment)?;
    Ok((placement, context.connect(&loaded).await?))
}

async fn send(context: &Context, client: &Client, command: CommandRequest) -> Ended {
    answered(context, &answer(client, command).await?)
}

async fn answer(client: &Client, command: CommandRequest) -> Result<Answer, Failure> {
    match ask(client, Request::Command { command }).await? {
        Reply::Answer { answer } => Ok(answer),
        _ => Err(unexpected()),
    }
}

async fn preview(client: &Client, request: Request) -> Result<Preview, Failure> {
    match ask(client, request).await? {
        Reply::Preview { preview } => Ok(*preview),
        _ => Err(unexpected()),
    }
}

fn confirm(place: &Place, verb: &str, tier: Tier) -> Result<(), Failure> {
    let name = place.environment.as_str();
    let given = place.confirm.as_deref();
    match (tier, given) {
        (_, Some(other)) if other != name => Err(Failure::new(
            Exit::Refused,
            format!("--confirm {other} does not name the environment {name}"),
        )),
        (Tier::Two, None) => Err(Failure::new(
            Exit::Refused,
            format!("{verb} in {name} asks for --confirm {name}"),
        )),
        _ => Ok(()),
    }
}

pub(super) fn answered(context: &Context, answer: &Answer) -> Ended {
    if context.json {
        print::json(answer);
    }
    match answer {
        Answer::Accepted {
            number, revision, ..
        } => {
            // Without an open rollout there is none that it concerns.
            let text = match revision {
                0 => "accepted".to_owned(),
                _ => format!("{number} accepted, revision {revision}"),
            };
            if !context.json {
                print::line(&text);
            }
            Ok(Exit::Done)
        }
        Answer::Begun { number } => {
            if !context.json {
                print::line(&format!("{number} was begun by this request already"));
            }
            Ok(Exit::Done)
        }
        Answer::Run { run, .. } => {
            if !context.json {
                print::line(&format!("{run} accepted"));
            }
            Ok(Exit::Done)
        }
        Answer::RunBegun { run } => {
            if !context.json {
                print::line(&format!("{run} was begun by this request already"));
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
