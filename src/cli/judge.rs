//! `judge replay`: judges recorded samples again and says when which verdict would have fallen. It
//! asks no engine and changes nothing.

mod chart;
mod csv;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::analysis::replay::{self, Judged, Samples};
use crate::config;
use crate::model::verdict::{Finding, RuleState};
use crate::model::{Clean, VerdictClass};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum JudgeCommand {
    /// Judge the samples of a CSV file as the engine would have
    #[command(
        after_help = "Columns: time_ms (the end of an interval), set (canary or stable), \
        requests and errors within the interval, any number of le_<ms> (requests not slower than \
        that), and gauges by their names. Rows of stable before the first of the canary are its \
        history. Without --config the defaults judge. \
        Exit codes: 0 pass, 1 fail, 2 inconclusive or no data, 64 bad input"
    )]
    Replay {
        /// A CSV file, or a rollout's id
        #[arg(value_name = "ID|FILE.csv")]
        what: String,
        /// Judge by this configuration too, side by side
        #[arg(long, value_name = "FILE")]
        compare: Option<PathBuf>,
    },
}

pub(super) fn run(context: &Context, command: &JudgeCommand) -> Ended {
    let JudgeCommand::Replay { what, compare } = command;
    let file = file(what)?;
    let samples = csv::read(&file).map_err(|error| Failure::because(Exit::Usage, &error))?;
    let named = match context.named() {
        [] => config::Judging::default(),
        paths => context.load_named(paths)?.config.judging().clone(),
    };
    let mut judged = vec![judge(title(context.named()), &samples, &named)?];
    if let Some(other) = compare {
        let paths = [other.clone()];
        let loaded = context.load_named(&paths)?;
        judged.push(judge(title(&paths), &samples, loaded.config.judging())?);
    }
    match context.json {
        true => print::json(&in_json(&judged)),
        false => in_words(&samples, &judged),
    }
    Ok(exit(judged[0].judged.class))
}

/// The file that is meant. Samples of rollouts are not kept, so an id leads nowhere yet.
fn file(what: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(what);
    let is_id =
        uuid::Uuid::parse_str(what).is_ok() || what.trim_start_matches('#').parse::<u64>().is_ok();
    match (path.is_file(), is_id) {
        (true, _) => Ok(path.to_owned()),
        (false, true) => Err(Failure::new(
            Exit::Refused,
            format!(
                "{what}: the samples of rollouts are not kept in the history, so none can be judged \
                 again by its id; give a CSV file of its samples (see `judge replay --help`)"
            ),
        )),
        (false, false) => Err(Failure::new(
            Exit::Usage,
            format!("{what}: there is no such file; name a CSV file of samples"),
        )),
    }
}

/// What one configuration makes of the samples.
struct Opinion {
    title: Clean,
    judged: Judged,
    /// Evidence that is enough, as a decimal logarithm; `None` where nothing is compared.
    log10_enough: Option<f64>,
    min_requests: u64,
}

fn title(paths: &[PathBuf]) -> Clean {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match paths.is_empty() {
        true => "the defaults".into(),
        false => Clean::new(&paths.join(", ")),
    }
}

fn judge(title: Clean, samples: &Samples, by: &config::Judging) -> Result<Opinion, Failure> {
    if let (Some(at), Some(limit)) = (&by.latency_p99_at, by.analysis.latency_p99_ms)
        && !samples.has_edge(limit)
    {
        let edges: Vec<_> = samples.edges_ms.iter().map(ToString::to_string).collect();
        let mend = match edges.is_empty() {
            true => format!("add a column le_{limit}, or set it to false"),
            false => format!(
                "add a column le_{limit}, or set it to one of: {}",
                edges.join(", ")
            ),
        };
        let text =
            format!("{at}: analysis.latency_p99_ms: {limit} ms is no edge of the samples; {mend}");
        return Err(Failure::new(Exit::Usage, text));
    }
    let judging = replay::Judging {
        analysis: by.analysis.clone(),
        min_requests: by.min_requests,
    };
    let judged = replay::replay(samples, &judging);
    let mut tests = judged
        .verdict
        .findings
        .iter()
        .filter_map(|row| row.compared.as_ref());
    Ok(Opinion {
        title,
        log10_enough: tests.next().map(|test| test.enough().log10()),
        judged,
        min_requests: by.min_requests,
    })
}

fn word(class: VerdictClass) -> &'static str {
    match class {
        VerdictClass::Pass => "pass",
        VerdictClass::Fail => "fail",
        VerdictClass::Inconclusive => "inconclusive",
        VerdictClass::NoData => "no_data",
    }
}

fn exit(class: VerdictClass) -> Exit {
    match class {
        VerdictClass::Pass => Exit::Done,
        VerdictClass::Fail => Exit::RolledBack,
        VerdictClass::Inconclusive | VerdictClass::NoData => Exit::Held,
    }
}

fn in_json(opinions: &[Opinion]) -> Value {
    let one = |opinion: &Opinion| {
        let judged = &opinion.judged;
        json!({
            "config": opinion.title,
            "verdict": word(judged.class),
            "decided_at_ms": judged.decided_at_ms,
            "canary_requests": judged.canary_requests,
            "because": judged.verdict.because,
            "evidence": judged.verdict.findings,
        })
    };
    let mut all = one(&opinions[0]);
    if let Some(other) = opinions.get(1) {
        all["compare"] = one(other);
    }
    all
}

fn in_words(samples: &Samples, opinions: &[Opinion]) {
    let began_ms = samples.points.iter().find(|point| point.canary.is_some());
    let began_ms = began_ms.map(|point| point.at_ms);
    for opinion in opinions {
        let judged = &opinion.judged;
        print::line(&format!("judged by {}", opinion.title));
        let after = judged.decided_at_ms.map(|at_ms| {
            let after_s = at_ms.saturating_sub(began_ms.unwrap_or(at_ms)) / 1_000;
            format!(" at {at_ms} ms, {after_s} s after the canary's first sample,")
        });
        print::line(&format!(
            "  {}{} after {} canary requests (at least {} to pass)",
            word(judged.class),
            after.unwrap_or_default(),
            judged.canary_requests,
            opinion.min_requests
        ));
        print::line(&format!("  because {}", judged.verdict.because));
        judged.verdict.findings.iter().for_each(print_finding);
        let chart = opinion
            .log10_enough
            .map(|enough| chart::lines(&judged.thoughts, enough));
        for line in chart.iter().flatten() {
            print::line(&format!("  {line}"));
        }
    }
}

fn print_finding(row: &Finding) {
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let state = match row.state {
        RuleState::Ok => "ok",
        RuleState::Wait => "wait",
        RuleState::NoData => "no data",
        RuleState::Broken => "BROKEN",
    };
    print::line(&format!(
        "    {:<22} canary {:>9}  stable {:>9}  limit {:>9}  {state}",
        row.rule,
        value(row.canary),
        value(row.stable),
        value(row.limit)
    ));
    if let Some(note) = &row.note {
        print::line(&format!("      {note}"));
    }
}
