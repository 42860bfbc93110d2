//! `status` and `watch`: what is, and what happens.

mod plain;

use super::context::{Context, ask, unexpected};
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::history::HistoryReader;
use crate::link::Client;
use crate::link::wire::{Reply, Request};
use crate::model::verdict::RuleState;
use crate::model::{Actor, EnvName, Role, Seq, ServiceName};
use crate::view::Snapshot;
use crate::view::snapshot::{InstanceRow, MetricRow, PlacementView, RolloutView};
use crate::view::words;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    /// Only this service
    service: Option<ServiceName>,
    /// Only this environment
    #[arg(short, long, value_name = "ENV")]
    environment: Option<EnvName>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct WatchArgs {
    /// Only this service
    service: Option<ServiceName>,
    /// Only this environment
    #[arg(short, long, value_name = "ENV")]
    environment: Option<EnvName>,
    /// Plain lines (they are always plain here)
    #[arg(long)]
    plain: bool,
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    you: You<'a>,
}

/// Whom the engine takes the caller for.
#[derive(Serialize)]
struct You<'a> {
    actor: &'a Actor,
    role: Role,
}

/// How everything stands; from the history file where no engine answers.
pub(super) async fn status(context: &Context, args: StatusArgs) -> Ended {
    let loaded = context.load()?;
    let (client, hello) = match context.greet(&loaded).await {
        Ok(greeted) => greeted,
        Err(failure) => {
            return Err(last_known(context, &context.state_dir(&loaded)?, failure));
        }
    };
    let mut snapshot = snapshot(&client).await?;
    let wanted = |view: &PlacementView| {
        args.service
            .as_ref()
            .is_none_or(|name| *name == view.placement.service)
            && args
                .environment
                .as_ref()
                .is_none_or(|name| *name == view.placement.environment)
    };
    Arc::make_mut(&mut snapshot).placements.retain(wanted);
    match context.json {
        true => print::json(&Status {
            snapshot: &snapshot,
            you: You {
                actor: &hello.you,
                role: hello.role,
            },
        }),
        false => {
            if hello.role == Role::Viewer {
                print::line(&format!("you are {}, a viewer: you may look", hello.you));
            }
            print_snapshot(&snapshot);
        }
    }
    let held = |view: &PlacementView| {
        view.rollout
            .as_ref()
            .is_some_and(|rollout| rollout.hold.is_some())
    };
    Ok(if snapshot.placements.iter().any(held) {
        Exit::Held
    } else {
        Exit::Done
    })
}

/// Without an engine the history still says what was deployed last.
fn last_known(context: &Context, state_dir: &std::path::Path, failure: Failure) -> Failure {
    let rows = HistoryReader::open(state_dir).and_then(|reader| reader.list(5));
    let Ok(rows) = rows else {
        return failure;
    };
    if context.json {
        let (text, exit) = (failure.text, failure.exit);
        print::json(&json!({ "error": text, "exit": exit.code(), "deployments": rows }));
        return Failure::told(exit);
    }
    print::error("no engine answers; the newest deployments by the history file:");
    for row in rows {
        print::line(&super::history::line(&row));
    }
    failure
}

pub(super) async fn snapshot(client: &Client) -> Result<Arc<Snapshot>, Failure> {
    match ask(client, Request::Snapshot).await? {
        Reply::Snapshot { snapshot } => Ok(snapshot),
        _ => Err(unexpected()),
    }
}

fn print_snapshot(snapshot: &Snapshot) {
    if let Some(why) = &snapshot.engine.history_trouble {
        print::line(&format!("!! the history cannot be written: {why}"));
    }
    for row in &snapshot.engine.read_only {
        print::line(&format!("!! {}", row.why));
    }
    if snapshot.placements.is_empty() {
        print::line("no service is configured here; see config.example.toml");
    }
    for view in &snapshot.placements {
        print_placement(snapshot, view);
    }
}

fn print_placement(snapshot: &Snapshot, view: &PlacementView) {
    let protected = if view.protected { " (protected)" } else { "" };
    let stable = view
        .stable
        .as_ref()
        .map_or("nothing deployed yet", |s| s.version.as_str());
    print::line(&format!("{}{protected}  stable {stable}", view.placement));
    for peer in view.peers.iter().filter(|peer| peer.trouble.is_some()) {
        let why = peer.trouble.as_ref().map_or("", |why| why.as_str());
        print::line(&format!("  !! {}: {why}", peer.name));
    }
    if let Some(rollout) = &view.rollout {
        print_rollout(snapshot.engine.now_ms, rollout);
        print_traffic(view);
        view.metrics.iter().for_each(print_metric);
    } else if let Some(last) = &view.last {
        print::line(&format!(
            "  last: {} {} {} at {}: {}",
            last.number,
            last.release.version,
            last.status.word(),
            print::date_time(last.at_ms),
            last.because
        ));
    }
    if let Some(slots) = &view.slots {
        plain::slots(slots)
            .iter()
            .for_each(|line| print::line(line));
    }
    view.instances.iter().for_each(print_instance);
    if let Some(back) = &view.rollback {
        print::line(&format!("  rollback: {} {}", back.version, back.readiness));
    }
    let earlier = view.ready.iter().flat_map(plain::earlier);
    earlier.for_each(|line| print::line(&line));
}

fn print_rollout(now_ms: u64, rollout: &RolloutView) {
    let from = rollout
        .from
        .as_ref()
        .map_or("nothing", |from| from.version.as_str());
    print::line(&format!(
        "  {} {} <- {from} by {}, revision {}",
        rollout.number, rollout.release.version, rollout.by, rollout.revision
    ));
    for part in &rollout.parts {
        let held = if part.held { ", HELD" } else { "" };
        print::line(&format!(
            "  part {} {}: {} of {} new{held}",
            part.placement, part.number, part.replaced, part.instances
        ));
    }
    if let Some(number) = rollout.moves_with {
        print::line(&format!("  moves with {number}"));
    }
    let stages: Vec<_> = rollout
        .stages
        .iter()
        .map(|stage| format!("{} {:?} ({})", stage.name, stage.state, stage.detail).to_lowercase())
        .collect();
    print::line(&format!("  stages: {}", stages.join(" > ")));
    if let Some(warned) = rollout.stages.iter().find(|stage| stage.warns) {
        print::line(&format!("  !! {}: {}", warned.name, warned.detail));
    }
    print::line(&format!(
        "  verdict {}: {}",
        rollout.verdict.word(),
        rollout.because
    ));
    if let Some(outage) = rollout.outage {
        print::line(&plain::outage(outage, now_ms));
    }
    if let Some(hold) = &rollout.hold {
        print::line(&format!("  HELD: {}", hold.text));
    }
    let within = rollout.next_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
    let within = within
        .map(|ms| format!(" in {}", words::clock(ms)))
        .unwrap_or_default();
    print::line(&format!("  next: {}{within}", rollout.next));
}

fn print_traffic(view: &PlacementView) {
    let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words::percent);
    let traffic = &view.traffic;
    print::line(&format!(
        "  new version's traffic: wanted {}, applied {}, observed {}",
        share(traffic.wanted_percent),
        share(traffic.applied_percent),
        share(traffic.observed_percent)
    ));
}

fn print_metric(metric: &MetricRow) {
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let state = match metric.state {
        Some(RuleState::Ok) => "ok".to_owned(),
        Some(RuleState::Wait) => format!("wait ({} of {})", metric.samples, metric.needs),
        Some(RuleState::NoData) => "no data".to_owned(),
        Some(RuleState::Broken) => "BROKEN".to_owned(),
        None => String::new(),
    };
    print::line(&format!(
        "    {:<16} canary {:>8} {:<2}  stable {:>8}  limit {:>8}  {state}",
        metric.name,
        value(metric.canary),
        metric.unit,
        value(metric.stable),
        value(metric.limit)
    ));
    if let (Some(_), Some(note)) = (&metric.compared, &metric.note) {
        print::line(&format!("      {note}"));
    }
}

fn print_instance(row: &InstanceRow) {
    let trouble = row
        .trouble
        .as_ref()
        .map(|why| format!("  {why}"))
        .unwrap_or_default();
    print::line(&format!(
        "    {:<10} {:<21} {:<10} {:<7} {:<9} {:<5} weight {:>3}  {} requests, {} errors{trouble}",
        row.server,
        row.address,
        row.version,
        format!("{:?}", row.role).to_lowercase(),
        row.status,
        row.balancer,
        row.weight
            .map_or_else(|| "-".to_owned(), |weight| weight.to_string()),
        row.requests,
        row.errors
    ));
}

/// Prints the timeline as it grows, until the engine or the reader goes away.
pub(super) async fn watch(context: &Context, args: WatchArgs) -> Ended {
    let loaded = context.load()?;
    let client = context.connect(&loaded).await?;
    let watched = client.watch(super::context::ASK).await;
    let mut snapshots = watched.map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let mut told = 0;
    while let Some(snapshot) = snapshots.next().await {
        told = tell_new(context, &args, &snapshot, told);
    }
    Err(Failure::new(Exit::Unreachable, client.why_ended().as_str()))
}

fn tell_new(context: &Context, args: &WatchArgs, snapshot: &Snapshot, told: Seq) -> Seq {
    let rows = snapshot.engine.timeline.iter().filter(|row| row.seq > told);
    for row in rows {
        let wanted = row.placement.as_ref().is_none_or(|placement| {
            args.service
                .as_ref()
                .is_none_or(|name| *name == placement.service)
                && args
                    .environment
                    .as_ref()
                    .is_none_or(|name| *name == placement.environment)
        });
        match (wanted, context.json) {
            (false, _) => {}
            (true, true) => print::json(row),
            (true, false) => {
                let place = row
                    .placement
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let (at, actor) = (print::time_of_day(row.at_ms), &row.actor);
                print::line(&format!("{at} {place:<28} {actor:<8} {}", row.text));
            }
        }
    }
    snapshot
        .engine
        .timeline
        .last()
        .map_or(told, |row| row.seq.max(told))
}
