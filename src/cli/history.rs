//! `history`: asks the engine, and reads the file only where none answers.

use super::context::{Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::config::Loaded;
use crate::history::{
    self, BackupError, Existing, ExportError, HistoryReader, Integrity, RolloutRef,
};
use crate::link::wire::{Reply, Request};
use crate::model::entry::DeploymentRow;
use crate::model::world::Evidence;
use crate::model::{Clean, Entry, Record, State};
use crate::view::{details, timeline_row, words};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Args)]
pub(super) struct HistoryArgs {
    #[command(subcommand)]
    command: Option<HistoryCommand>,
    /// How many, at most 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Clone, Subcommand)]
enum HistoryCommand {
    /// The newest deployments
    List {
        /// How many, at most 1000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One deployment with its records
    Show {
        /// `#N`, `N` or UUID
        id: String,
        /// All output that was kept of failed instances, not only its end
        #[arg(long)]
        output: bool,
    },
    /// Check every record, projection and checkpoint
    Verify,
    /// Copy all of it, also while an engine writes, and prove the copy
    Backup {
        /// Where the copy is to be
        file: PathBuf,
        /// Take the place of a file that is there already
        #[arg(long)]
        force: bool,
    },
    /// Every record, one per line
    Export {
        /// The format
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
}

/// Lines of a failed instance's output that are shown unasked.
const OUTPUT_LINES: usize = 20;

pub(super) async fn run(context: &Context, args: HistoryArgs) -> Ended {
    let loaded = context.load()?;
    match args.command {
        None => list(context, &loaded, args.limit).await,
        Some(HistoryCommand::List { limit }) => list(context, &loaded, limit).await,
        Some(HistoryCommand::Show { id, output }) => {
            let lines_max = if output { usize::MAX } else { OUTPUT_LINES };
            show(context, &loaded, &id, lines_max).await
        }
        Some(HistoryCommand::Verify) => verify(context, &loaded),
        Some(HistoryCommand::Backup { file, force }) => {
            let existing = match force {
                true => Existing::Replace,
                false => Existing::Keep,
            };
            backup(context, &loaded, &file, existing)
        }
        Some(HistoryCommand::Export {
            format: Format::Jsonl,
        }) => export(context, &loaded),
    }
}

fn reader(context: &Context, loaded: &Loaded) -> Result<HistoryReader, Failure> {
    let reader = HistoryReader::open(&context.state_dir(loaded)?);
    reader.map_err(|error| Failure::because(Exit::Unreachable, &error))
}

async fn list(context: &Context, loaded: &Loaded, limit: u32) -> Ended {
    let rows = match context.connect(loaded).await {
        Ok(client) => match ask(&client, Request::History { limit }).await? {
            Reply::History { rows } => rows,
            _ => return Err(unexpected()),
        },
        Err(_) => {
            let rows = reader(context, loaded)?.list(limit);
            rows.map_err(|error| Failure::because(Exit::Unreachable, &error))?
        }
    };
    if context.json {
        print::json(&rows);
    } else if rows.is_empty() {
        print::line("no deployment yet; begin with `wheelhouse deploy SERVICE VERSION -e ENV`");
    } else {
        rows.iter().for_each(|row| print::line(&line(row)));
    }
    Ok(Exit::Done)
}

/// A deployment as a line.
pub(super) fn line(row: &DeploymentRow) -> String {
    let took = row
        .duration_ms
        .map_or_else(|| "open".to_owned(), words::clock);
    let rolled_back = if row.rolled_back {
        " (rolled back)"
    } else {
        ""
    };
    let because = row
        .because
        .as_ref()
        .map(|why| format!("  {why}"))
        .unwrap_or_default();
    format!(
        "{} {:>6} {}@{} {:<12} {:<11} {:>8} {}{rolled_back}{because}",
        print::date_time(row.started_at),
        row.number.to_string(),
        row.service,
        row.environment,
        row.version.as_str(),
        row.status.word(),
        took,
        row.actor
    )
}

async fn show(context: &Context, loaded: &Loaded, id: &str, lines_max: usize) -> Ended {
    let (row, records) = match context.connect(loaded).await {
        Ok(client) => match ask(&client, Request::Show { id: id.to_owned() }).await? {
            Reply::Show { row, records } => (row, records),
            _ => return Err(unexpected()),
        },
        Err(_) => shown_by_file(context, loaded, id)?,
    };
    if context.json {
        print::json(&serde_json::json!({ "deployment": row, "records": records }));
        return Ok(Exit::Done);
    }
    print::line(&line(&row));
    let mut state = State::default();
    for record in &records {
        crate::engine::evolve(&mut state, record);
        if let Some(told) = timeline_row(&state, record) {
            let at = print::time_of_day(told.at_ms);
            print::line(&format!(
                "  {:>6} {at} {:<8} {}",
                told.seq, told.actor, told.text
            ));
            for detail in details(record) {
                print::line(&format!("{:28}{detail}", ""));
            }
        }
        if let Entry::EvidenceKept { evidence, .. } = &record.entry {
            let lines = evidence_lines(evidence, lines_max);
            lines.iter().for_each(|line| print::line(line));
        }
    }
    Ok(Exit::Done)
}

/// What a failed instance left, with the end of its output.
fn evidence_lines(evidence: &Evidence, lines_max: usize) -> Vec<String> {
    let text = |text: &Option<Clean>| text.as_ref().map(ToString::to_string);
    let words: Vec<_> = evidence.command.iter().map(Clean::as_str).collect();
    let facts = [
        ("container", text(&evidence.identity)),
        ("image", text(&evidence.image)),
        ("command", (!words.is_empty()).then(|| words.join(" "))),
        ("started", evidence.started_ms.map(print::date_time)),
        ("finished", evidence.finished_ms.map(print::date_time)),
        ("exit code", evidence.exit_code.map(|code| code.to_string())),
        (
            "out of memory",
            evidence.out_of_memory.then(|| "yes".to_owned()),
        ),
        ("error", text(&evidence.error)),
    ];
    let facts = facts.into_iter();
    let mut lines: Vec<_> = facts
        .filter_map(|(name, fact)| Some(format!("         {name:<14}{}", fact?)))
        .collect();
    let left_out = evidence.log.len().saturating_sub(lines_max);
    match (left_out, evidence.log_dropped) {
        (0, 0) => {}
        (0, lost) => lines.push(format!(
            "         | … {lost} lines before these are not here"
        )),
        (more, _) => lines.push(format!("         | … {more} lines before these: --output")),
    }
    let log = evidence.log.iter().skip(left_out);
    lines.extend(log.map(|line| format!("         | {line}")));
    lines
}

fn shown_by_file(
    context: &Context,
    loaded: &Loaded,
    id: &str,
) -> Result<(DeploymentRow, Vec<Record>), Failure> {
    let which: RolloutRef = id
        .parse()
        .map_err(|error| Failure::because(Exit::Usage, &error))?;
    let found = reader(context, loaded)?.show(which);
    found
        .map_err(|error| Failure::because(Exit::Unreachable, &error))?
        .ok_or_else(|| Failure::new(Exit::Refused, format!("the history knows no rollout {id}")))
}

/// Checks the file itself, whether an engine runs or not.
fn verify(context: &Context, loaded: &Loaded) -> Ended {
    let report = history::verify(&context.state_dir(loaded)?)
        .map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let (word, text) = verdict(&report.integrity);
    match context.json {
        true => print::json(&serde_json::json!({
            "integrity": word,
            "text": text,
            "records": report.records,
            "head": report.head,
            "checkpoints": report.checkpoints,
            "deployments": report.deployments,
        })),
        false => print::line(&format!(
            "{text}; {} records, {} checkpoints, {} deployments looked at",
            report.records,
            report.checkpoints,
            report.deployments.unwrap_or(0)
        )),
    }
    Ok(if report.integrity == Integrity::Whole {
        Exit::Done
    } else {
        Exit::RolledBack
    })
}

fn backup(context: &Context, loaded: &Loaded, file: &Path, existing: Existing) -> Ended {
    let made = history::backup(&context.state_dir(loaded)?, file, existing);
    let report = made.map_err(|error| {
        let exit = match &error {
            BackupError::Exists { .. } | BackupError::Itself { .. } => Exit::Refused,
            BackupError::NoName { .. } => Exit::Usage,
            BackupError::NotWhole { .. } => Exit::RolledBack,
            BackupError::History(_) | BackupError::Io { .. } => Exit::Unreachable,
        };
        let why = match &error {
            BackupError::NotWhole { report } => verdict(&report.integrity).1,
            _ => return Failure::because(exit, &error),
        };
        Failure::new(exit, format!("{error}: {why}"))
    })?;
    match context.json {
        true => print::json(&serde_json::json!({
            "file": file,
            "records": report.records,
            "deployments": report.deployments,
        })),
        false => print::line(&format!(
            "{} holds {} records and is whole",
            Clean::new(&file.to_string_lossy()),
            report.records
        )),
    }
    Ok(Exit::Done)
}

fn verdict(integrity: &Integrity) -> (&'static str, String) {
    match integrity {
        Integrity::Whole => ("whole", "the history is whole".to_owned()),
        Integrity::TornTail { offset } => (
            "torn_tail",
            format!(
                "the last transaction was cut off (log whole up to byte {offset}); it was never acknowledged"
            ),
        ),
        Integrity::Broken { seq, why } => (
            "broken",
            format!("record {seq} does not fit the chain: {why}"),
        ),
        Integrity::Truncated { head, last } => (
            "truncated",
            format!("records are missing: the head vouches for {head}, the last is {last}"),
        ),
        Integrity::ProjectionDiffers { what } => (
            "projection_differs",
            format!("a table differs from its records: {what}"),
        ),
        Integrity::CheckpointDamaged { seq } => (
            "checkpoint_damaged",
            format!("the checkpoint at record {seq} is damaged; a start passes it over"),
        ),
        Integrity::FileDamaged { why } => ("file_damaged", format!("the file is damaged: {why}")),
    }
}

fn export(context: &Context, loaded: &Loaded) -> Ended {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match reader(context, loaded)?.export_jsonl(&mut out) {
        Ok(_) => Ok(Exit::Done),
        // As everywhere: a reader that has enough ends the output, not the command.
        Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::because(Exit::RolledBack, &error)),
    }
}
