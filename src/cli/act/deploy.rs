//! `deploy`: begins a rollout, once per request id, and waits for its end if it is asked to.

use super::{Patience, Place, Why, answer, confirm, dry_run, preview, reach};
use crate::cli::context::Context;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::{print, wait};
use crate::link::Client;
use crate::link::wire::{CommandRequest, Request};
use crate::model::command::Answer;
use crate::model::{NameError, RequestId, ServiceName, Version};
use clap::Args;
use std::str::FromStr;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DeployArgs {
    /// The service and the version; the version may also stand by itself
    #[arg(value_name = "SERVICE[@VERSION]")]
    what: What,
    /// The version, where it does not follow the service's @
    version: Option<Version>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    patience: Patience,
    /// Begins at most one rollout, however often it is asked for: a pipeline's run, a commit
    #[arg(long, value_name = "ID")]
    request_id: Option<RequestId>,
}

/// A service, with the version people put behind it.
#[derive(Debug, Clone)]
struct What {
    service: ServiceName,
    version: Option<Version>,
}

impl FromStr for What {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, version) = match text.split_once('@') {
            Some((service, version)) => (service, Some(version.parse()?)),
            None => (text, None),
        };
        let service = service.parse()?;
        Ok(Self { service, version })
    }
}

impl DeployArgs {
    fn version(&self) -> Result<Version, Failure> {
        let usage = |text| Err(Failure::new(Exit::Usage, text));
        match (&self.what.version, &self.version) {
            (Some(version), None) | (None, Some(version)) => Ok(version.clone()),
            (None, None) => usage("which version? wheelhouse deploy SERVICE@VERSION -e ENV"),
            (Some(_), Some(_)) => usage("two versions are named; leave one out"),
        }
    }
}

pub(in crate::cli) async fn run(context: &Context, args: DeployArgs) -> Ended {
    let until = args.patience.until();
    let version = args.version()?;
    let (placement, client) = reach(context, &args.what.service, &args.place.environment).await?;
    let command = CommandRequest::Deploy {
        placement,
        version,
        reason: args.why.reason(),
        request_id: args.request_id.clone(),
    };
    if args.place.dry_run {
        return dry_run(context, &client, command).await;
    }
    let asked = Request::Preview {
        command: command.clone(),
    };
    let preview = preview(&client, asked).await?;
    confirm(&args.place, preview.verb.as_str(), preview.tier)?;
    let answer = match args.request_id {
        None => answer(&client, command).await?,
        Some(_) => insist(context, client, command, until).await?,
    };
    args.patience.attend(context, &answer, until).await
}

/// Asks again where the answer was lost: its id makes the same request harmless.
async fn insist(
    context: &Context,
    mut client: Client,
    command: CommandRequest,
    until: Option<Instant>,
) -> Result<Answer, Failure> {
    let loaded = context.load()?;
    let patience = Instant::now() + wait::REATTACH;
    let patience = until.map_or(patience, |until| until.min(patience));
    loop {
        let lost = match answer(&client, command.clone()).await {
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            ended => return ended,
        };
        print::error(&format!("{}; asking again by its id", lost.text));
        client = loop {
            if Instant::now() >= patience {
                return Err(lost);
            }
            sleep(wait::RETRY).await;
            if let Ok(client) = context.connect(&loaded).await {
                break client;
            }
        };
    }
}
