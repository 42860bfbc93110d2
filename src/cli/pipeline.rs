//! `pipeline`: begin runs, look at them, let their stages begin, end them.

mod logs;
mod show;

use super::context::{ASK, Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::{act, print, wait};
use crate::link::Client;
use crate::link::wire::{Reply, Request};
use crate::model::command::Answer;
use crate::model::pipeline::RunResult;
use crate::model::{Clean, EnvName, PipelineName, RequestId, RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};
use clap::{Args, Subcommand};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Runs that `list` shows unless it is told otherwise.
const LISTED: u32 = 20;

#[derive(Debug, Subcommand)]
pub(super) enum PipelineCommand {
    /// Begin a run
    Run(RunArgs),
    /// Say how a run stands: the newest one unless told
    Status(StatusArgs),
    /// Wait until a run ends or needs a person
    Wait(WaitArgs),
    /// Let a stage begin that waits for a person
    Confirm(ConfirmArgs),
    /// End a run with everything it began; a rollout goes on
    Cancel(CancelArgs),
    /// Print a stage's output
    Logs(logs::LogsArgs),
    /// Open runs and the newest ended ones
    List(ListArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// Which pipeline; the only one there is when absent
    pipeline: Option<PipelineName>,
    /// Branch or tag; the pipeline's own when absent
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// A commit of it; its newest when absent
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// As far as this environment; all the way when absent
    #[arg(short, long, value_name = "ENV")]
    environment: Option<EnvName>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// The same id never begins two runs
    #[arg(long, value_name = "ID")]
    request_id: Option<RequestId>,
    /// Wait until it ends or needs a person
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so long: 30m, 1h30m, or seconds; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = wait::duration, requires = "wait")]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    /// `p12` or `12`
    run: Option<RunNumber>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// `p12` or `12`
    run: RunNumber,
    /// Give up after so long: 30m, 1h30m, or seconds; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = wait::duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ConfirmArgs {
    /// `p12` or `12`
    run: RunNumber,
    /// Which stage
    stage: StageName,
    /// The environment's name, where the stage deploys to a protected one
    #[arg(long, value_name = "ENV")]
    confirm: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CancelArgs {
    /// `p12` or `12`
    run: RunNumber,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ListArgs {
    /// How many, at most 50
    #[arg(long, default_value_t = LISTED, value_parser = clap::value_parser!(u32).range(1..=50))]
    limit: u32,
}

pub(super) async fn run(context: &Context, command: PipelineCommand) -> Ended {
    match command {
        PipelineCommand::Run(args) => begin(context, args).await,
        PipelineCommand::Status(args) => status(context, &args).await,
        PipelineCommand::Wait(args) => attend(context, args.run, args.timeout).await,
        PipelineCommand::Confirm(args) => confirm(context, args).await,
        PipelineCommand::Cancel(args) => cancel(context, args).await,
        PipelineCommand::Logs(args) => logs::run(context, args).await,
        PipelineCommand::List(args) => list(context, &args).await,
    }
}

async fn connect(context: &Context) -> Result<Client, Failure> {
    let loaded = context.load()?;
    context.connect(&loaded).await
}

async fn answer(client: &Client, request: Request) -> Result<Answer, Failure> {
    match ask(client, request).await? {
        Reply::Answer { answer } => Ok(answer),
        _ => Err(unexpected()),
    }
}

async fn begin(context: &Context, args: RunArgs) -> Ended {
    let clean = |text: Option<String>| text.map(|text| Clean::new(&text));
    let request = Request::TriggerPipeline {
        pipeline: args.pipeline,
        branch: clean(args.branch),
        commit: clean(args.commit),
        environment: args.environment,
        reason: clean(args.reason),
        request_id: args.request_id,
    };
    let answer = answer(&connect(context).await?, request).await?;
    let exit = act::answered(context, &answer)?;
    match answer {
        Answer::Run { run, .. } | Answer::RunBegun { run } if args.wait => {
            attend(context, run, args.timeout).await
        }
        _ => Ok(exit),
    }
}

async fn cancel(context: &Context, args: CancelArgs) -> Ended {
    let request = Request::CancelPipeline {
        id: args.run,
        reason: args.reason.map(|text| Clean::new(&text)),
    };
    let answer = answer(&connect(context).await?, request).await?;
    act::answered(context, &answer)
}

async fn confirm(context: &Context, args: ConfirmArgs) -> Ended {
    let client = connect(context).await?;
    let run = one(&client, args.run).await?;
    let stage = run.stages.iter().find(|stage| stage.name == args.stage);
    if let Some(stage) = stage {
        check_confirmed(&client, stage, args.confirm.as_deref()).await?;
    }
    let request = Request::ConfirmStage {
        id: args.run,
        stage: args.stage,
    };
    act::answered(context, &answer(&client, request).await?)
}

/// A deploy to a protected environment asks for its name, as `deploy` does.
async fn check_confirmed(
    client: &Client,
    stage: &StageView,
    given: Option<&str>,
) -> Result<(), Failure> {
    let Some(at) = &stage.placement else {
        return Ok(());
    };
    let snapshot = super::look::snapshot(client).await?;
    let protected = snapshot.placement(at).is_none_or(|view| view.protected);
    let name = at.environment.as_str();
    if !protected || given == Some(name) {
        return Ok(());
    }
    let text = format!(
        "{} deploys to {name}: it asks for --confirm {name}",
        stage.name
    );
    Err(Failure::new(Exit::Refused, text))
}

async fn one(client: &Client, id: RunNumber) -> Result<RunView, Failure> {
    match ask(client, Request::GetPipelineStatus { id }).await? {
        Reply::Pipeline { run } => Ok(*run),
        _ => Err(unexpected()),
    }
}

async fn all(client: &Client, limit: u32) -> Result<Vec<RunView>, Failure> {
    match ask(client, Request::Pipelines { limit }).await? {
        Reply::Pipelines { runs } => Ok(runs),
        _ => Err(unexpected()),
    }
}

async fn status(context: &Context, args: &StatusArgs) -> Ended {
    let client = connect(context).await?;
    let run = match args.run {
        Some(id) => one(&client, id).await?,
        None => {
            let newest = all(&client, 1).await?.into_iter().next();
            newest.ok_or_else(none_yet)?
        }
    };
    let snapshot = super::look::snapshot(&client).await?;
    told(context, &run, snapshot.engine.now_ms);
    Ok(exit(&run))
}

fn none_yet() -> Failure {
    let text = "no pipeline ran yet; begin one with `wheelhouse pipeline run`";
    Failure::new(Exit::Usage, text)
}

fn told(context: &Context, run: &RunView, now_ms: u64) {
    match context.json {
        true => print::json(run),
        false => show::whole(run, now_ms)
            .iter()
            .for_each(|line| print::line(line)),
    }
}

async fn list(context: &Context, args: &ListArgs) -> Ended {
    let client = connect(context).await?;
    let runs = all(&client, args.limit).await?;
    if context.json {
        print::json(&runs);
        return Ok(Exit::Done);
    }
    let now_ms = super::look::snapshot(&client).await?.engine.now_ms;
    if runs.is_empty() {
        print::line("no pipeline ran yet; begin one with `wheelhouse pipeline run`");
    }
    for run in &runs {
        print::line(&show::headline(run, now_ms));
    }
    Ok(Exit::Done)
}

/// 0 passed or on its way, 1 failed or canceled, 2 where a person is asked.
fn exit(run: &RunView) -> Exit {
    match run.result {
        Some(RunResult::Passed) => Exit::Done,
        Some(RunResult::Failed | RunResult::Canceled) => Exit::RolledBack,
        None if needs_person(run) => Exit::Held,
        None => Exit::Done,
    }
}

fn needs_person(run: &RunView) -> bool {
    run.stages.iter().any(|stage| stage.waits_for_person)
}

async fn attend(context: &Context, run: RunNumber, timeout: Option<Duration>) -> Ended {
    let waits = follow(context, run);
    let Some(timeout) = timeout else {
        return waits.await;
    };
    match tokio::time::timeout(timeout, waits).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            Exit::Held,
            format!("{run} did not end in time; it goes on"),
        )),
    }
}

/// Follows a run over restarts of the engine and lost connections.
async fn follow(context: &Context, run: RunNumber) -> Ended {
    let mut lost: Option<Instant> = None;
    loop {
        let failure = match watch(context, run, &mut lost).await {
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            ended => return ended,
        };
        let since = *lost.get_or_insert_with(Instant::now);
        if since.elapsed() >= wait::REATTACH {
            return Err(failure);
        }
        sleep(wait::RETRY).await;
    }
}

async fn watch(context: &Context, number: RunNumber, lost: &mut Option<Instant>) -> Ended {
    let client = connect(context).await?;
    one(&client, number).await?;
    let watched = client.watch(ASK).await;
    let mut snapshots = watched.map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    while let Some(snapshot) = snapshots.next().await {
        *lost = None;
        let run = snapshot.runs.iter().find(|run| run.number == number);
        let Some(run) = run.filter(|run| !run.is_open() || needs_person(run)) else {
            continue;
        };
        told(context, run, snapshot.engine.now_ms);
        return Ok(exit(run));
    }
    Err(Failure::new(Exit::Unreachable, client.why_ended().as_str()))
}
