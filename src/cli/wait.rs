//! `wait`: until a rollout ends, needs a person, or the patience does. A connection that is lost
//! ends no wait, nor does a restart of the engine.

use super::context::{ASK, Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::config::{Loaded, durations};
use crate::link::Client;
use crate::link::wire::{Reply, Request};
use crate::model::{Clean, RolloutNumber, Status};
use crate::view::Snapshot;
use crate::view::snapshot::{ClosedView, PhaseView, RolloutView};
use clap::Args;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a lost engine is looked for while somebody waits: a restart and an upgrade take less.
pub(super) const REATTACH: Duration = Duration::from_secs(120);
/// Between two attempts to reach it.
pub(super) const RETRY: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// `#N`, `N` or UUID
    id: String,
    /// Give up after so long: 30m, 1h30m, or seconds; the rollout goes on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

/// A duration as in the configuration, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => durations::parse_ms(text)
            .map(Duration::from_millis)
            .map_err(|error| format!("{error}; write it as 30m, 1h30m or 90s")),
    }
}

pub(super) async fn run(context: &Context, args: WaitArgs) -> Ended {
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    patiently(context, &args.id, until, Engine::Unseen).await
}

/// Waits for a rollout whose engine answered before: it is looked for again where it does not.
pub(super) async fn reattach(context: &Context, id: &str, until: Option<Instant>) -> Ended {
    patiently(context, id, until, Engine::Seen).await
}

/// Whether the engine answered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Unseen,
    Seen,
}

async fn patiently(context: &Context, id: &str, until: Option<Instant>, engine: Engine) -> Ended {
    let waits = follow(context, id, engine);
    let Some(until) = until else {
        return waits.await;
    };
    match tokio::time::timeout_at(until, waits).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            Exit::Held,
            format!("{id} did not end in time; it goes on"),
        )),
    }
}

/// Follows a rollout over restarts of the engine and lost connections.
async fn follow(context: &Context, id: &str, mut engine: Engine) -> Ended {
    // Once: whoever edits the configuration meanwhile ends no wait.
    let loaded = context.load()?;
    let mut lost: Option<Instant> = None;
    loop {
        let failure = match attend(context, &loaded, id, &mut engine, &mut lost).await {
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            ended => return ended,
        };
        if engine == Engine::Unseen {
            return Err(failure);
        }
        let since = *lost.get_or_insert_with(|| {
            let why = &failure.text;
            print::error(&format!(
                "{why}; looking for the engine, {id} stays as it is"
            ));
            Instant::now()
        });
        if since.elapsed() >= REATTACH {
            return Err(failure);
        }
        sleep(RETRY).await;
    }
}

/// Follows it on one connection, to its end or the connection's.
async fn attend(
    context: &Context,
    loaded: &Loaded,
    id: &str,
    engine: &mut Engine,
    lost: &mut Option<Instant>,
) -> Ended {
    let client = context.connect(loaded).await?;
    let Reply::Show { row, records } = ask(&client, Request::Show { id: id.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    *engine = Engine::Seen;
    let known = records.last().map_or(0, |record| record.seq);
    let watched = client.watch(ASK).await;
    let mut snapshots = watched.map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    while let Some(snapshot) = snapshots.next().await {
        *lost = None;
        if snapshot.engine.seq < known {
            // It was built before the command that somebody now waits for.
            continue;
        }
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
            Found::Gone => {
                if let Some(exit) = by_history(context, &client, id).await? {
                    return Ok(exit);
                }
            }
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

/// A hold for want of data ends by itself, and on the way back no hold counts; any other waits for
/// a person.
fn needs_person(rollout: &RolloutView) -> bool {
    if rollout.phase == PhaseView::Reverting {
        return false;
    }
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
    Exit::of(closed.status, closed.because.as_str())
}

/// How a rollout ended that no snapshot shows; `None` while it is open.
async fn by_history(context: &Context, client: &Client, id: &str) -> Result<Option<Exit>, Failure> {
    let Reply::Show { row, .. } = ask(client, Request::Show { id: id.to_owned() }).await? else {
        return Err(unexpected());
    };
    if matches!(row.status, Status::Pending | Status::InProgress) {
        return Ok(None);
    }
    match context.json {
        true => print::json(&row),
        false => print::line(&super::history::line(&row)),
    }
    let because = row.because.as_ref().map_or("", Clean::as_str);
    Ok(Some(Exit::of(row.status, because)))
}
