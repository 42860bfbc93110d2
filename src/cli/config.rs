//! `config check`.

use super::context::Context;
use super::exit::{Ended, Exit};
use super::print;
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and say everything that is wrong with it
    Check,
}

pub(super) fn run(context: &Context, command: &ConfigCommand) -> Ended {
    let ConfigCommand::Check = command;
    let loaded = context.load()?;
    let placements: Vec<_> = loaded
        .config
        .placements()
        .map(ToString::to_string)
        .collect();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    if context.json {
        print::json(&json!({
            "ok": true,
            "files": loaded.paths,
            "hash": loaded.hash,
            "placements": placements,
            "warnings": warnings,
        }));
        return Ok(Exit::Done);
    }
    for warning in &warnings {
        print::error(&format!("warning: {warning}"));
    }
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
    Ok(Exit::Done)
}
