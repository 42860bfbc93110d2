//! An open rollout: its stages, and what it will do next.

mod next;
mod stages;

use super::snapshot::{BatchView, HoldView, OutageView, PartView, PhaseView, RolloutView};
use super::{build, smoke};
use crate::engine::rolling::{self, Batches};
use crate::engine::{self, Look, parts};
use crate::model::state::{Hold, HoldReason, Instance, InstanceStatus};
use crate::model::verdict::Verdict;
use crate::model::{Clean, Phase, Rollout, ServerName};

pub(super) fn view(look: &Look<'_>, rollout: &Rollout, verdict: &Verdict) -> Option<RolloutView> {
    let (next, next_ms) = next::next(look, rollout, verdict);
    let phase = phase(look, rollout);
    let because = match phase {
        PhaseView::Starting | PhaseView::Smoking | PhaseView::Ready => {
            "nothing to judge yet".into()
        }
        _ => verdict.because.clone(),
    };
    Some(RolloutView {
        id: rollout.id,
        number: rollout.number,
        kind: rollout.kind,
        release: build::release(look.place, rollout.release)?,
        from: rollout
            .from
            .and_then(|from| build::release(look.place, from)),
        by: Clean::new(&rollout.by.to_string()),
        started_ms: rollout.started_ms,
        revision: rollout.revision,
        phase,
        stages: stages::of(look, rollout),
        smoke: rollout.smoke.as_ref().map(smoke::view),
        hold: rollout.hold.as_ref().map(|hold| held(look, rollout, hold)),
        verdict: verdict.class,
        because,
        next,
        next_ms,
        batch: rolling::batches(look, rollout).map(batch),
        outage: rollout.outage.map(|outage| OutageView {
            since_ms: outage.since_ms,
            until_ms: outage.until_ms,
        }),
        parts: parts::led(look, rollout).filter_map(part).collect(),
        moves_with: parts::lead(look, rollout).map(|(_, lead)| lead.number),
    })
}

fn part((look, open): (Look<'_>, Option<&Rollout>)) -> Option<PartView> {
    let open = open?;
    let up = |(_, one): &(&ServerName, &Instance)| one.status == InstanceStatus::Up;
    Some(PartView {
        placement: look.placement.clone(),
        number: open.number,
        replaced: look.place.servers_of(open.release).filter(up).count(),
        instances: look.place.spec.instances as usize,
        held: open.hold.is_some(),
    })
}

fn batch(batches: Batches) -> BatchView {
    BatchView {
        number: batches.number,
        of: batches.of,
        replaced: batches.replaced,
        instances: batches.all,
        starting: batches.starting,
        draining: batches.leaving,
    }
}

/// Whether the idle slot is verified, and a person is to begin the switch.
fn is_ready(rollout: &Rollout) -> bool {
    let hold = rollout.hold.as_ref();
    hold.is_some_and(|hold| hold.why == HoldReason::Switch)
}

/// The slot a rollout's release stands in, as a word: "green"; "the idle slot" before.
fn slot_word(look: &Look<'_>, rollout: &Rollout) -> String {
    let slots = look.place.spec.strategy.slots();
    let slot = slots.and_then(|slots| engine::slots::of(look, slots, rollout.release));
    slot.map_or_else(|| "the idle slot".to_owned(), |slot| slot.to_string())
}

fn phase(look: &Look<'_>, rollout: &Rollout) -> PhaseView {
    match rollout.phase {
        Phase::Starting { .. } if is_ready(rollout) => PhaseView::Ready,
        Phase::Starting { .. } if smokes(look, rollout) => PhaseView::Smoking,
        Phase::Starting { .. } => PhaseView::Starting,
        Phase::Shifting { .. } => PhaseView::Shifting,
        Phase::Soaking { .. } => PhaseView::Soaking,
        Phase::Reverting { .. } => PhaseView::Reverting,
    }
}

fn smokes(look: &Look<'_>, rollout: &Rollout) -> bool {
    let (up, all) = up_of(look, rollout);
    rollout.kind.is_judged()
        && !look.place.smoke_of(rollout.release).is_empty()
        && rollout.smoke.is_none()
        && up == all
}

fn needed(look: &Look<'_>, rollout: &Rollout) -> usize {
    rollout.first_instances(&look.place.spec) as usize
}

fn up_of(look: &Look<'_>, rollout: &Rollout) -> (usize, usize) {
    let up = look
        .place
        .servers_of(rollout.release)
        .filter(|(_, instance)| instance.status == InstanceStatus::Up)
        .count();
    (up, needed(look, rollout))
}

fn held(look: &Look<'_>, rollout: &Rollout, hold: &Hold) -> HoldView {
    let (by_person, text) = match &hold.why {
        HoldReason::Person {
            by,
            reason: Some(reason),
        } => (true, format!("held by {by}: {reason}")),
        HoldReason::Person { by, reason: None } => (true, format!("held by {by}")),
        HoldReason::Drift { text } => (false, format!("{text}; resume sets it again")),
        HoldReason::NoData => (
            false,
            "no data; goes on when counters and metrics can be read".to_owned(),
        ),
        HoldReason::TooFewRequests => (
            false,
            "too few requests even in the longest soak; promote or abort".to_owned(),
        ),
        HoldReason::Inconclusive => (
            false,
            "the verdict stayed open; promote or abort".to_owned(),
        ),
        HoldReason::Capacity { text } => (
            false,
            format!("{text}; goes on when more are up, or promote all the same"),
        ),
        HoldReason::OutOfSight { text } => {
            (false, format!("{text}; goes on when it can be read again"))
        }
        HoldReason::PauseStep => (
            false,
            "this step waits for a person; promote or resume".to_owned(),
        ),
        HoldReason::Switch => (
            false,
            format!(
                "verified in {}; promote switches to it",
                slot_word(look, rollout)
            ),
        ),
        HoldReason::Shift { text } => (false, format!("the balancer does not follow: {text}")),
    };
    HoldView {
        since_ms: hold.since_ms,
        by_person,
        text: Clean::new(&text),
    }
}
