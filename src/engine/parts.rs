//! Parts: further services that one deploy moves together with the service they are part of, such
//! as the workers beside a web service. The service leads: it takes a share first, a part follows
//! up to that share, and the next step waits until every part is there. What goes wrong with one
//! takes all of them back; all of them are done at once.
//!
//! Every rule here looks at what is recorded of both, so it holds again after a crash.

use super::look::Look;
use super::{command, steps};
use crate::model::command::Refusal;
use crate::model::service::Release;
use crate::model::strategy::Strategy;
use crate::model::{
    Clean, Entry, Phase, PlacementState, ReleaseId, Rollout, RolloutKind, ServiceSpec, Status,
};

/// The rollout that leads this one, where it still is open.
pub(crate) fn lead<'a>(look: &Look<'a>, rollout: &Rollout) -> Option<(Look<'a>, &'a Rollout)> {
    let led_by = rollout.led_by?;
    let lead = look.beside(&look.place.spec.lead()?)?;
    let open = lead.place.rollout.as_ref()?;
    (open.id == led_by).then_some((lead, open))
}

/// Every part this rollout leads, with its rollout where that still is open.
pub(crate) fn led<'a>(
    look: &Look<'a>,
    rollout: &'a Rollout,
) -> impl Iterator<Item = (Look<'a>, Option<&'a Rollout>)> {
    let state = *look;
    let parts = look.place.spec.parts.iter();
    parts.filter_map(move |part| {
        let part = state.beside(&part.placement)?;
        let open = part.place.rollout.as_ref();
        let mine = open.filter(|open| open.led_by == Some(rollout.id));
        (mine.is_some() || was_led(part.place, rollout)).then_some((part, mine))
    })
}

/// Whether the newest rollout that ended there was led by this one.
fn was_led(part: &PlacementState, rollout: &Rollout) -> bool {
    let last = part.last.as_ref();
    last.is_some_and(|last| last.led_by == Some(rollout.id))
}

/// What becomes of a rollout by what became of those it moves with: one that is taken back takes
/// the others back. Only a rollback goes on where a part of it fails: its traffic comes first, and
/// the part can be rolled back by itself afterwards.
pub(super) fn follow(look: &Look<'_>, rollout: &Rollout) -> Option<Entry> {
    let cause = lead_is_lost(look, rollout).or_else(|| part_is_lost(look, rollout))?;
    Some(steps::revert(look, &cause, None))
}

fn lead_is_lost(look: &Look<'_>, rollout: &Rollout) -> Option<String> {
    let led_by = rollout.led_by?;
    let placement = look.place.spec.lead()?;
    let place = look.beside(&placement)?.place;
    let open = place.rollout.as_ref().filter(|open| open.id == led_by);
    let last = place.last.as_ref().filter(|last| last.id == led_by);
    let lost = match (open, last) {
        (Some(open), _) => open.is_reverting(),
        (None, Some(last)) => last.status != Status::Succeeded,
        (None, None) => false,
    };
    lost.then(|| format!("{} is taken back", placement.service))
}

fn part_is_lost(look: &Look<'_>, rollout: &Rollout) -> Option<String> {
    if rollout.kind != RolloutKind::Deploy {
        return None;
    }
    led(look, rollout).find_map(|(part, open)| {
        let why = match (open.map(|open| &open.phase), &part.place.last) {
            (Some(Phase::Reverting { cause, .. }), _) => cause,
            (Some(_), _) => return None,
            (None, Some(last)) if last.status != Status::Succeeded => &last.because,
            (None, _) => return None,
        };
        Some(format!("{}: {why}", part.placement.service))
    })
}

/// The share up to which this rollout may replace instances, in percent: the one its lead has
/// settled at. Whoever is led by nobody may replace all.
pub(super) fn may_replace_percent(look: &Look<'_>, rollout: &Rollout) -> u8 {
    if rollout.led_by.is_none() || rollout.kind != RolloutKind::Deploy {
        return 100;
    }
    match lead(look, rollout) {
        None => 100,
        Some((lead, open)) => match open.phase {
            Phase::Soaking { .. } if open.hold.is_none() => lead.place.share(open.release),
            _ => 0,
        },
    }
}

/// Since when its lead lets it begin; `None` where it is led by nobody.
pub(super) fn may_begin_since_ms(look: &Look<'_>, rollout: &Rollout) -> Option<u64> {
    lead(look, rollout).map(|(_, open)| open.phase.since_ms())
}

/// Whether the batch of this number, from 1, may begin.
pub(crate) fn may_begin(look: &Look<'_>, rollout: &Rollout, batch: usize) -> bool {
    batch <= batches_at(look, rollout, may_replace_percent(look, rollout))
}

/// Batches that a share asks for: at least one, so that the first step shows how the new release
/// works there too. What is replaced as a whole is replaced at the end.
fn batches_at(look: &Look<'_>, rollout: &Rollout, percent: u8) -> usize {
    let spec = &look.place.spec;
    let whole = matches!(spec.strategy, Strategy::Recreate(_)) || rollout.from.is_none();
    let steps = rollout.steps(spec);
    match percent {
        0 => 0,
        100 => steps.len(),
        _ if whole => 0,
        _ => {
            let reached = steps.iter().position(|step| step.weight_percent >= percent);
            reached.map_or(steps.len(), |at| at + 1)
        }
    }
}

/// What the next step, or the end, of this rollout still waits for: a part that is not where the
/// present share wants it. `None` where nothing does.
pub(crate) fn awaited(look: &Look<'_>, rollout: &Rollout) -> Option<Clean> {
    if rollout.kind != RolloutKind::Deploy {
        return None;
    }
    let share = look.place.share(rollout.release);
    let behind = |(part, open): (Look<'_>, Option<&Rollout>)| {
        let open = open?;
        let wanted = batches_at(&part, open, share);
        let there = wanted == 0 || open.step >= wanted && is_proven(open);
        let name = &part.placement.service;
        let what = match (there, &open.hold) {
            (true, _) => return None,
            (false, Some(_)) => format!("{name} ({}) is held", open.number),
            (false, None) => format!(
                "{name} ({}) is not there yet: batch {} of {}",
                open.number,
                open.step.clamp(1, wanted),
                wanted
            ),
        };
        Some(Clean::new(&what))
    };
    led(look, rollout).find_map(behind)
}

/// Whether the present batch was watched for as long as it must be.
pub(crate) fn is_proven(rollout: &Rollout) -> bool {
    match rollout.phase {
        Phase::Soaking { since_ms } => steps::has_passed(rollout, since_ms),
        _ => false,
    }
}

/// Whether this rollout is not done before the one that leads it is.
pub(super) fn ends_with_its_lead(look: &Look<'_>, rollout: &Rollout) -> bool {
    lead(look, rollout).is_some()
}

/// The ends of the parts that a deploy which is done leads. Those of a rollback end once they are
/// there themselves.
pub(super) fn finished(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    if rollout.kind != RolloutKind::Deploy {
        return Vec::new();
    }
    let open = led(look, rollout).filter_map(|(part, open)| Some((part, open?)));
    open.flat_map(|(part, open)| steps::finished(&part, open))
        .collect()
}

/// The refusal to end a rollout before a part is where it must be.
pub(super) fn not_together(part: &Clean) -> Refusal {
    command::not_now(format!("{part}; all are done together"))
}

/// What moves with another rollout does not move alone.
///
/// # Errors
/// Which one to move instead.
pub(super) fn refuse_alone(look: &Look<'_>, rollout: &Rollout, verb: &str) -> Result<(), Refusal> {
    match lead(look, rollout) {
        None => Ok(()),
        Some((lead, open)) => Err(command::not_now(format!(
            "{} moves with {} ({}); {verb} that one",
            look.placement, lead.placement, open.number
        ))),
    }
}

/// The release a part lacks to be in line with the service it is part of: where it was left behind
/// by a rollback. `None` where it is in line.
pub(super) fn behind(look: &Look<'_>) -> Option<ReleaseId> {
    let lead = look.beside(&look.place.spec.lead()?)?.place.stable()?;
    made_with(look.place, lead).map(|release| release.id)
}

/// A part's verified release that was made with this one of its lead, unless it is stable already.
pub(super) fn made_with(part: &PlacementState, lead: ReleaseId) -> Option<&Release> {
    let verified = part.verified.iter().rev();
    let mut verified = verified.filter_map(|id| part.releases.get(id));
    let release = verified.find(|release| release.part_of == Some(lead))?;
    (part.stable() != Some(release.id)).then_some(release)
}

/// A part is deployed and rolled back with the service it is part of.
///
/// # Errors
/// Which one to name instead.
pub(super) fn refuse_part(spec: &ServiceSpec, verb: &str) -> Result<(), Refusal> {
    match spec.lead() {
        None => Ok(()),
        Some(lead) => Err(command::impossible(format!(
            "{} is a part of {}; {verb} that one",
            spec.placement, lead.service
        ))),
    }
}
