//! `pipeline logs`: what a stage wrote.

use super::{connect, one};
use crate::cli::context::{Context, ask, unexpected};
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::print;
use crate::link::Client;
use crate::link::wire::{Reply, Request};
use crate::model::{RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};
use clap::Args;
use regex::Regex;
use serde_json::json;
use std::time::Duration;

/// Between two looks at output that is still being written.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LogsArgs {
    /// `p12` or `12`
    run: RunNumber,
    /// Which stage; the failed one, else the one under way, when absent
    stage: Option<StageName>,
    /// Which attempt; the newest when absent
    #[arg(long)]
    attempt: Option<u32>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "PATTERN")]
    grep: Option<Regex>,
    /// Go on until the stage ends
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(context: &Context, args: LogsArgs) -> Ended {
    let client = connect(context).await?;
    let stage = chosen(&one(&client, args.run).await?, args.stage.as_ref())?;
    let mut from = 0;
    loop {
        // Asked first: what is written before the end is read after it.
        let ended = is_over(&one(&client, args.run).await?, &stage);
        from = page(context, &client, &args, &stage, from).await?;
        if ended || !args.follow {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

fn chosen(run: &RunView, asked: Option<&StageName>) -> Result<StageName, Failure> {
    let found = match asked {
        Some(name) => run.stages.iter().find(|stage| stage.name == *name),
        None => {
            let begun = |stage: &&StageView| stage.attempts > 0 && stage.placement.is_none();
            let last = || run.stages.iter().rev().find(begun);
            run.foremost().filter(begun).or_else(last)
        }
    };
    let text = match asked {
        Some(name) => format!("{} has no stage {name}", run.number),
        None => format!("no stage of {} has begun", run.number),
    };
    let found = found.map(|stage| stage.name.clone());
    found.ok_or_else(|| Failure::new(Exit::Usage, text))
}

fn is_over(run: &RunView, stage: &StageName) -> bool {
    let stage = run.stages.iter().find(|it| it.name == *stage);
    stage.is_none_or(|stage| stage.status != "running")
}

/// Prints what there is from a position on; returns where to read on.
async fn page(
    context: &Context,
    client: &Client,
    args: &LogsArgs,
    stage: &StageName,
    mut from: u64,
) -> Result<u64, Failure> {
    loop {
        let request = Request::StageLogs {
            id: args.run,
            stage: stage.clone(),
            attempt: args.attempt,
            from,
        };
        let Reply::Logs {
            next,
            skipped,
            lines,
        } = ask(client, request).await?
        else {
            return Err(unexpected());
        };
        if skipped > 0 {
            print::to_stderr(&format!("{skipped} lines were not kept"));
        }
        let wanted = |line: &str| args.grep.as_ref().is_none_or(|grep| grep.is_match(line));
        for line in lines.iter().filter(|line| wanted(line.as_str())) {
            match context.json {
                true => print::json(&json!({ "stage": stage, "line": line })),
                false => print::line(line.as_str()),
            }
        }
        if next == from || lines.is_empty() {
            return Ok(next);
        }
        from = next;
    }
}
