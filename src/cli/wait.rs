//! `wait`: until a rollout ends, needs a person, or the patience does.

use super::context::{ASK, Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::link::wire::{Reply, Request};
use crate::model::RolloutNumber;
use crate::view::Snapshot;
use crate::view::snapshot::{ClosedView, RolloutView};
use clap::Args;
use std::time::Duration;

#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// `#N`, `N` or UUID
    id: String,
    /// Give up after this long, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub(super) async fn run(context: &Context, args: WaitArgs) -> Ended {
    let waits = follow(context, &args.id);
    match args.timeout {
        None => waits.await,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), waits).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new(
                Exit::Held,
                format!("{} did not end within {seconds} s; it goes on", args.id),
            )),
        },
    }
}

async fn follow(context: &Context, id: &str) -> Ended {
    let loaded = context.load()?;
    let client = context.connect(&loaded).await?;
    let Reply::Show { row, .. } = ask(&client, Request::Show { id: id.to_owned() }).await? else {
        return Err(unexpected());
    };
    let watched = client.watch(ASK).await;
    let mut snapshots = watched.map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    while let Some(snapshot) = snapshots.next().await {
        match find(&snapshot, row.number) {
            Found::Open(rollout) if needs_person(rollout) => {
                let why = rollout.hold.as_ref().map_or("", |hold| hold.text.as_str());
                return Err(Failure::new(
                    Exit::Held,
                    format!("{} is held: {why}", row.number),
                ));
            }
            Found::Open(_) => {}
            Found::Closed(closed) => return Ok(ended(context, closed)),
            Found::Gone => return Ok(by_history(context, &client, id).await?),
        }
    }
    Err(Failure::new(Exit::Unreachable, client.why_ended().as_str()))
}

enum Found<'a> {
    Open(&'a RolloutView),
    Closed(&'a ClosedView),
    Gone,
}

fn find(snapshot: &Snapshot, number: RolloutNumber) -> Found<'_> {
    let views = &snapshot.placements;
    let open = views.iter().filter_map(|view| view.rollout.as_ref());
    let closed = views.iter().filter_map(|view| view.last.as_ref());
    let open = open
        .into_iter()
        .find(|rollout| rollout.number == number)
        .map(Found::Open);
    let closed = closed
        .into_iter()
        .find(|last| last.number == number)
        .map(Found::Closed);
    open.or(closed).unwrap_or(Found::Gone)
}

/// A hold for want of data ends by itself; any other waits for a person.
fn needs_person(rollout: &RolloutView) -> bool {
    let waits_for_data = rollout.verdict == crate::model::VerdictClass::NoData;
    rollout
        .hold
        .as_ref()
        .is_some_and(|hold| hold.by_person || !waits_for_data)
}

fn ended(context: &Context, closed: &ClosedView) -> Exit {
    match context.json {
        true => print::json(closed),
        false => print::line(&format!(
            "{} {} {}: {}",
            closed.number,
            closed.release.version,
            closed.status.word(),
            closed.because
        )),
    }
    Exit::of(closed.status)
}

/// An older rollout: only the history knows how it ended.
async fn by_history(context: &Context, client: &crate::link::Client, id: &str) -> Ended {
    let Reply::Show { row, .. } = ask(client, Request::Show { id: id.to_owned() }).await? else {
        return Err(unexpected());
    };
    match context.json {
        true => print::json(&row),
        false => print::line(&super::history::line(&row)),
    }
    Ok(Exit::of(row.status))
}
