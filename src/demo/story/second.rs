//! The second chapter: a release is verified where nobody sees it, all traffic switches to it and
//! back, and a restart begins every instance anew. What it tells of times and counts is measured
//! at the load's end of the connections.

use super::{SILENCE_MS, WATCHED, load_until, more_requests, promote};
use crate::demo::load::Load;
use crate::demo::teller::{StoryError, Teller, turned};
use crate::link::wire::CommandRequest;
use crate::model::command::PromoteTo;
use crate::model::{Status, Urgency};
use crate::view::snapshot::{InstanceRow, PhaseView, PlacementView};
use std::collections::BTreeSet;

const OLD: &str = "v1";
const NEW: &str = "v2";

/// What the scenes found, for the promises.
pub(super) struct Outcome {
    /// Answers of the new version before the switch.
    early: u64,
    /// From the promote to the old version's last answer.
    switch_ms: u64,
    back: Back,
    restart: Restart,
}

struct Back {
    /// From the rollback to the new version's last answer.
    ms: u64,
    /// Whether the instances that stood there serve again.
    as_they_stood: bool,
}

struct Restart {
    anew: usize,
    all: usize,
    /// Instances that served, at the worst of all looks.
    least: usize,
}

pub(super) async fn scenes(
    teller: &Teller,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Outcome, StoryError> {
    let blue = teller.until("v1 to stand", |view| stand(view, OLD)).await?;
    let blue = processes(teller, &blue, OLD);
    let (early, switch_ms) = switch(teller, load, tell).await?;
    let ms = back(teller, load, tell).await?;
    let now = teller.until("v1 again", |view| stand(view, OLD)).await?;
    let as_they_stood = processes(teller, &now, OLD) == blue;
    let restart = restart(teller, blue, tell).await?;
    Ok(Outcome {
        early,
        switch_ms,
        back: Back { ms, as_they_stood },
        restart,
    })
}

/// Brings the new version into the idle slot, and switches to it. Says how often it had answered
/// before, and how long the switch took.
async fn switch(
    teller: &Teller,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(u64, u64), StoryError> {
    let number = teller.deploy(NEW).await?;
    tell(&format!(
        "{number} v2: started in green and tested there, while v1 in blue answers everything"
    ));
    let ready = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.is_some_and(|open| open.phase == PhaseView::Ready)
    };
    teller.until("v2 to be verified in green", ready).await?;
    more_requests(load, WATCHED).await?;
    let tally = load.tally();
    let early = tally.of(NEW).answers;
    tell(&format!(
        "v2 is verified and waits for a person; {early} of {} requests went there",
        tally.sent
    ));
    let asked_ms = load.elapsed_ms();
    promote(teller, PromoteTo::Next).await?;
    let switch_ms = silent(load, OLD).await?.saturating_sub(asked_ms);
    tell(&format!(
        "promoted: v1 gave its last answer {switch_ms} ms later, and v2 answers everything"
    ));
    match teller.ended(number).await? {
        (Status::Succeeded, because) => {
            tell(&format!("{number} done: {because}; v1 stays warm in blue"));
            Ok((early, switch_ms))
        }
        (status, because) => Err(turned(format!(
            "v2 should have succeeded: {status:?}, {because}"
        ))),
    }
}

/// Switches back to the slot that stayed warm; says how long that took.
async fn back(
    teller: &Teller,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<u64, StoryError> {
    let asked_ms = load.elapsed_ms();
    let placement = teller.placement().clone();
    let number = teller
        .begin(CommandRequest::Rollback {
            placement,
            to: None,
            reason: None,
            urgency: Urgency::Ordinary,
        })
        .await?;
    let (status, because) = teller.ended(number).await?;
    if status != Status::Succeeded {
        return Err(turned(format!("v1 should be back: {status:?}, {because}")));
    }
    let ms = silent(load, NEW).await?.saturating_sub(asked_ms);
    tell(&format!(
        "{number} rollback to v1: blue was warm, v2 gave its last answer {ms} ms later"
    ));
    Ok(ms)
}

/// Begins every instance anew, and watches how many serve meanwhile.
async fn restart(
    teller: &Teller,
    before: BTreeSet<u32>,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Restart, StoryError> {
    let placement = teller.placement().clone();
    let reason = Some("a leak".into());
    let number = teller
        .begin(CommandRequest::Restart { placement, reason })
        .await?;
    tell(&format!(
        "{number} restart: one instance after the other ends and begins anew"
    ));
    let all = before.len();
    let mut least = all;
    let ended = |view: &PlacementView| {
        least = least.min(view.instances.iter().filter(|row| serves(row)).count());
        view.last.as_ref().is_some_and(|last| last.number == number) && stand(view, OLD)
    };
    let snapshot = teller.until("the restart's end", ended).await?;
    let (status, because) = teller.ended(number).await?;
    if status != Status::Succeeded {
        return Err(turned(format!("the restart: {status:?}, {because}")));
    }
    let after = processes(teller, &snapshot, OLD);
    let anew = after.difference(&before).count();
    tell(&format!(
        "{number} done: {because}; at least {least} of {all} served at every look"
    ));
    Ok(Restart { anew, all, least })
}

/// Waits until a version has been silent for a while although others answer; says when it gave
/// its last answer.
pub(super) async fn silent(load: &Load, version: &str) -> Result<u64, StoryError> {
    let newest_ms = |load: &Load| {
        let tally = load.tally();
        let last = tally.versions.values().map(|answered| answered.last_ms);
        (tally.of(version).last_ms, last.max().unwrap_or(0))
    };
    let is_silent = |load: &Load| {
        let (last_ms, newest_ms) = newest_ms(load);
        last_ms + SILENCE_MS <= newest_ms
    };
    load_until(load, &format!("{version} to fall silent"), is_silent).await?;
    Ok(newest_ms(load).0)
}

fn serves(row: &InstanceRow) -> bool {
    row.weight.is_some_and(|weight| weight > 0)
}

/// Whether every instance of a version serves.
fn stand(view: &PlacementView, version: &str) -> bool {
    let mine = view.instances.iter().filter(|row| of(row, version));
    let (mut all, mut well) = (0, 0);
    for row in mine {
        all += 1;
        well += usize::from(serves(row) && row.pid.is_some());
    }
    all > 0 && all == well
}

fn of(row: &InstanceRow, version: &str) -> bool {
    row.version.as_str() == version
}

fn processes(teller: &Teller, snapshot: &crate::view::Snapshot, version: &str) -> BTreeSet<u32> {
    let view = snapshot.placement(teller.placement());
    let rows = view.into_iter().flat_map(|view| &view.instances);
    rows.filter(|row| of(row, version))
        .filter_map(|row| row.pid)
        .collect()
}

pub(super) fn judge(outcome: &Outcome) -> Vec<(bool, String)> {
    let Outcome {
        early,
        switch_ms,
        back,
        restart,
    } = outcome;
    vec![
        (
            *early == 0,
            format!("{early} requests met v2 before the switch"),
        ),
        (
            true,
            format!("the switch moved all traffic within {switch_ms} ms"),
        ),
        (
            back.as_they_stood,
            format!(
                "the rollback moved it back within {} ms, to the instances that had stayed",
                back.ms
            ),
        ),
        (
            restart.anew == restart.all && restart.least + 1 >= restart.all,
            format!(
                "the restart began {} of {} instances anew, one at a time",
                restart.anew, restart.all
            ),
        ),
    ]
}
