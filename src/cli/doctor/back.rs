//! The way back: could the version before still be begun?

use super::finding::{Finding, Subject};
use crate::cli::assemble::World;
use crate::driver::Peers;
use crate::engine;
use crate::history::HistoryReader;
use crate::model::{Placement, Release, ServiceSpec, State, Stock};
use crate::ports::Runtime;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// For one host and the registry it would pull from.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was recorded; `None` where nothing was, or it cannot be read: `history` says which.
pub(super) fn recorded(state_dir: &Path) -> Option<State> {
    let reader = HistoryReader::open(state_dir).ok()?;
    let (state, tail) = reader.newest().ok()?;
    let mut state = state.unwrap_or_default();
    for record in &tail {
        engine::evolve(&mut state, record);
    }
    Some(state)
}

/// A line per host on the version that `rollback` would go to.
pub(super) async fn check(world: &World, spec: &ServiceSpec, state: &State) -> Vec<Finding> {
    let Some(release) = previous(state, &spec.placement) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for name in &spec.runtimes {
        let Some(runtime) = world.runtime(name) else {
            continue;
        };
        let what = format!(
            "{} rollback to {} on {name}",
            spec.placement, release.version
        );
        let subject = Subject::new("rollback", &what);
        let stock = timeout(PATIENCE, runtime.stock(&release.workload)).await;
        let stock = stock.unwrap_or_else(|_| Stock::unknown("no answer within 20 s"));
        all.push(said(&subject, stock));
    }
    all
}

fn previous<'a>(state: &'a State, placement: &Placement) -> Option<&'a Release> {
    let place = state.placements.get(placement)?;
    place.releases.get(&place.previous()?)
}

/// Nothing of it keeps a deploy from going out: it only says what there is to fall back on.
fn said(subject: &Subject, stock: Stock) -> Finding {
    match stock {
        Stock::Here => subject.ok("what it needs is here"),
        Stock::Pull { bytes: Some(bytes) } => subject.ok(&format!(
            "must pull {} MB first; its registry has it",
            bytes.div_ceil(1_000_000)
        )),
        Stock::Pull { bytes: None } => subject.ok("must be pulled first; its registry has it"),
        Stock::Gone { why } => subject.part("gone").note(&format!(
            "{why}; it cannot be started: put it back, or know that nothing is left to roll back to"
        )),
        Stock::Unknown { why } => subject.part("unknown").note(&format!("not known: {why}")),
    }
}
