//! `config check`.

use super::assemble::World;
use super::context::Context;
use super::exit::{Ended, Exit};
use super::metrics::{self, Inspected};
use super::print;
use crate::config::Loaded;
use crate::ports::NOTE;
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and say everything that is wrong with it
    Check {
        /// Also ask the sources of metrics whether they take every question
        #[arg(long)]
        online: bool,
    },
}

pub(super) async fn run(context: &Context, command: &ConfigCommand) -> Ended {
    let ConfigCommand::Check { online } = command;
    let loaded = context.load()?;
    let placements: Vec<_> = loaded
        .config
        .placements()
        .map(ToString::to_string)
        .collect();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let asked = match online {
        true => ask(context, &loaded).await?,
        false => Online::default(),
    };
    if context.json {
        print::json(&json!({
            "ok": asked.faults.is_empty(),
            "files": loaded.paths,
            "hash": loaded.hash,
            "placements": placements,
            "warnings": warnings,
            "online": { "asked": asked.sources, "faults": asked.faults, "notes": asked.notes },
        }));
        return Ok(asked.exit());
    }
    for warning in &warnings {
        print::error(&format!("warning: {warning}"));
    }
    for note in &asked.notes {
        print::error(&format!("note: {note}"));
    }
    for fault in &asked.faults {
        print::error(fault);
    }
    if asked.faults.is_empty() {
        let files: Vec<_> = loaded
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        print::line(&format!(
            "{} ok: {}",
            files.join(", "),
            placements.join(", ")
        ));
    }
    Ok(asked.exit())
}

/// What sources of metrics said.
#[derive(Default)]
struct Online {
    sources: usize,
    faults: Vec<String>,
    notes: Vec<String>,
}

impl Online {
    fn exit(&self) -> Exit {
        match self.faults.is_empty() {
            true => Exit::Done,
            false => Exit::Config,
        }
    }
}

async fn ask(context: &Context, loaded: &Loaded) -> Result<Online, super::exit::Failure> {
    let world = World::new(&loaded.config, &context.state_dir(loaded)?)?;
    let mut online = Online::default();
    for Inspected { spec, name, lines } in metrics::inspect(&world, loaded).await {
        online.sources += 1;
        let about = format!("{} metrics {name}", spec.placement);
        for line in lines.unwrap_or_else(|error| vec![error.0]) {
            match line.as_str().strip_prefix(NOTE) {
                Some(note) => online.notes.push(format!("{about}: {note}")),
                None => online.faults.push(format!("{about}: {line}")),
            }
        }
    }
    Ok(online)
}
