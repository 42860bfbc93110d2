//! What people ask for → entries, or a refusal.

use super::look::{Health, Look};
use super::{begin, blue_green, everyday, evolve, parts, pipeline, revert, rolling, shares, steps};
use crate::model::command::{Command, PromoteTo, Refusal};
use crate::model::entry::{Shares, WeightReason};
use crate::model::input::Asked;
use crate::model::state::HoldReason;
use crate::model::verdict::VerdictClass;
use crate::model::{Clean, Entry, Phase, Placement, Rollout, State, Status, World};

pub(super) type Decision = Result<Vec<Entry>, Refusal>;

pub(super) fn decide(state: &State, world: &World, asked: &Asked) -> Decision {
    match &asked.command {
        Command::Deploy {
            spec,
            version,
            reason,
            request_id,
        } => {
            let wanted = begin::Wanted {
                spec,
                version,
                reason: reason.clone(),
                request_id: request_id.as_ref(),
            };
            begin::deploy(state, world, asked, wanted)
        }
        Command::Rollback {
            spec,
            to,
            reason,
            urgency,
        } => {
            let wanted = begin::WayBack {
                spec,
                to: to.as_ref(),
                reason: reason.clone(),
                urgency: *urgency,
            };
            begin::go_back(state, world, asked, &wanted)
        }
        Command::Promote {
            placement,
            to,
            revision,
        } => {
            let (look, rollout) = open(state, world, placement)?;
            promote(&look, rollout, *to, *revision)
        }
        Command::Hold { placement, reason } => {
            let (look, rollout) = open(state, world, placement)?;
            hold(&look, rollout, asked, reason.clone())
        }
        Command::Resume {
            placement,
            revision,
        } => {
            let (look, rollout) = open(state, world, placement)?;
            resume(&look, rollout, *revision)
        }
        Command::Abort { placement, reason } => {
            let (look, rollout) = open(state, world, placement)?;
            Ok(abort(&look, rollout, reason.clone()))
        }
        Command::Restart { placement, reason } => {
            everyday::restart(state, world, asked, placement, reason.clone())
        }
        Command::Drill { placement, reason } => {
            everyday::drill(state, world, asked, placement, reason.clone())
        }
        Command::Scale {
            placement,
            instances,
            reason,
        } => everyday::scale(state, world, placement, *instances, reason.clone()),
        Command::Drain {
            placement,
            server,
            reason,
        } => everyday::drain(state, world, placement, server, reason.clone()),
        Command::Undrain { placement, server } => {
            everyday::undrain(state, world, placement, server)
        }
        Command::Pipeline(command) => pipeline::decide(state, asked, command),
        Command::Note { placement, text } => Ok(vec![Entry::Noted {
            placement: placement.clone(),
            text: text.clone(),
        }]),
    }
}

pub(super) fn open<'a>(
    state: &'a State,
    world: &'a World,
    placement: &Placement,
) -> Result<(Look<'a>, &'a Rollout), Refusal> {
    let look = Look::at(state, world, placement);
    look.and_then(|look| Some((look, look.place.rollout.as_ref()?)))
        .ok_or_else(|| Refusal::NoRollout {
            placement: placement.clone(),
        })
}

pub(super) fn not_now(why: impl AsRef<str>) -> Refusal {
    Refusal::NotNow {
        why: Clean::new(why.as_ref()),
    }
}

pub(super) fn impossible(why: impl AsRef<str>) -> Refusal {
    Refusal::Impossible {
        why: Clean::new(why.as_ref()),
    }
}

fn compare(rollout: &Rollout, seen: u64) -> Result<(), Refusal> {
    match seen == rollout.revision {
        true => Ok(()),
        false => Err(Refusal::Stale {
            seen,
            now: rollout.revision,
        }),
    }
}

fn promote(look: &Look<'_>, rollout: &Rollout, to: PromoteTo, revision: u64) -> Decision {
    compare(rollout, revision)?;
    parts::refuse_alone(look, rollout, "promote")?;
    let since_ms = match rollout.phase {
        Phase::Soaking { since_ms } => since_ms,
        Phase::Starting { .. } if blue_green::is_ready(rollout) => {
            return switch(look, rollout, to);
        }
        Phase::Starting { .. } => {
            return Err(not_now(
                "the new instances are still being started and verified",
            ));
        }
        Phase::Shifting { .. } => return Err(not_now("the balancer is still being set")),
        Phase::Reverting { .. } => return Err(not_now("traffic is on its way back to stable")),
    };
    check_forward(look, rollout)?;
    let verdict = steps::verdict(look, rollout);
    match verdict.class {
        VerdictClass::Fail => {
            return Err(not_now(format!("the verdict is fail: {}", verdict.because)));
        }
        VerdictClass::NoData if look.place.spec.has_traffic() => {
            return Err(not_now(format!("there is no data: {}", verdict.because)));
        }
        VerdictClass::Pass | VerdictClass::Inconclusive | VerdictClass::NoData => {}
    }
    let soak_ms = steps::current_step(look, rollout).map_or(0, |step| step.soak_ms);
    let soak_left_ms = (since_ms + soak_ms).saturating_sub(look.now_ms);
    let placement = look.placement.clone();
    let promoted = Entry::Promoted {
        placement,
        to,
        verdict: verdict.clone(),
        soak_left_ms,
    };
    let mut entries = vec![promoted];
    entries.extend(match rollout.is_by_batches(&look.place.spec) {
        true => rolling::promote(look, rollout, to)?,
        false => go_forward(look, rollout, to)?,
    });
    Ok(entries)
}

/// Begins the switch to a slot that was verified.
fn switch(look: &Look<'_>, rollout: &Rollout, to: PromoteTo) -> Decision {
    check_forward(look, rollout)?;
    if !all_well(look, rollout, look.place.spec.instances as usize) {
        return Err(not_now("not every instance of the idle slot is healthy"));
    }
    let promoted = Entry::Promoted {
        placement: look.placement.clone(),
        to,
        verdict: steps::verdict(look, rollout),
        soak_left_ms: 0,
    };
    Ok([vec![promoted], go_forward(look, rollout, to)?].concat())
}

/// Away from the last verified release only on fresh readings and with healthy instances.
fn check_forward(look: &Look<'_>, rollout: &Rollout) -> Result<(), Refusal> {
    if let Some(what) = look.out_of_sight() {
        return Err(not_now(format!("{what}; going forward waits for it")));
    }
    let mut canary = look.place.servers_of(rollout.release);
    let sick = canary.find_map(|(server, _)| match look.health(server) {
        Health::Bad(why) => Some(format!("instance {server} is not healthy: {why}")),
        Health::Good | Health::Unknown => None,
    });
    sick.map_or(Ok(()), |why| Err(not_now(why)))
}

fn go_forward(look: &Look<'_>, rollout: &Rollout, to: PromoteTo) -> Decision {
    let share = look.place.share(rollout.release);
    let steps = rollout.steps(&look.place.spec);
    let percent = match to {
        PromoteTo::Full => 100,
        PromoteTo::Percent(percent) => percent,
        PromoteTo::Next => steps
            .iter()
            .map(|step| step.weight_percent)
            .find(|percent| *percent > share)
            .unwrap_or(100),
    };
    let shown = look.lowest_applied_percent(rollout.release);
    let shown = shown.is_some_and(|shown| shown + shares::TOLERANCE >= f64::from(share));
    if share == 100 && shown {
        return match parts::awaited(look, rollout) {
            None => Ok(steps::finished(look, rollout)),
            Some(part) => Err(parts::not_together(&part)),
        };
    }
    // What somebody lowered by hand is asserted anew.
    let anew = share == 100 && percent == 100;
    if (percent <= share && !anew) || percent > 100 {
        return Err(impossible(format!(
            "{percent} % is not above the present {share} %"
        )));
    }
    check_percent(look, rollout, percent)?;
    let step = steps
        .iter()
        .filter(|step| step.weight_percent <= percent)
        .count();
    Ok(vec![steps::weight(
        look,
        rollout,
        percent,
        WeightReason::Promotion { step },
    )])
}

fn check_percent(look: &Look<'_>, rollout: &Rollout, percent: u8) -> Result<(), Refusal> {
    let stable = rollout
        .from
        .map_or(0, |from| look.place.servers_of(from).count());
    let canary = look.place.servers_of(rollout.release).count();
    if stable == 0 || shares::solve(percent, canary, stable).is_some() {
        return Ok(());
    }
    let near = shares::nearest(percent, canary, stable).unwrap_or(100);
    Err(impossible(format!(
        "{percent} % cannot be met; the nearest that can is {near} %"
    )))
}

fn hold(look: &Look<'_>, rollout: &Rollout, asked: &Asked, reason: Option<Clean>) -> Decision {
    if rollout.is_reverting() {
        return Err(not_now(
            "traffic is on its way back to stable; that is never held",
        ));
    }
    let held = rollout
        .hold
        .as_ref()
        .and_then(|hold| evolve::held_by(&hold.why));
    if held.is_some() {
        return Ok(Vec::new());
    }
    let why = HoldReason::Person {
        by: asked.by.clone(),
        reason,
    };
    Ok(vec![Entry::Held {
        placement: look.placement.clone(),
        why,
    }])
}

fn resume(look: &Look<'_>, rollout: &Rollout, revision: u64) -> Decision {
    let Some(hold) = &rollout.hold else {
        return Ok(Vec::new());
    };
    // A gap can tell late of a hold that was decided just before the way back.
    if rollout.is_reverting() {
        return Err(not_now("traffic is on its way back to stable"));
    }
    compare(rollout, revision)?;
    if blue_green::is_ready(rollout) {
        return Err(not_now("the idle slot is verified; promote switches to it"));
    }
    let mut entries = vec![Entry::Resumed {
        placement: look.placement.clone(),
    }];
    if let HoldReason::Drift { .. } = hold.why {
        check_forward(look, rollout)?;
        let share = look.place.share(rollout.release);
        let reason = WeightReason::Promotion { step: rollout.step };
        entries.push(steps::weight(look, rollout, share, reason));
    }
    Ok(entries)
}

/// Only ever lowers; beats everything; is never stale. Asked again it changes nothing.
pub(super) fn abort(look: &Look<'_>, rollout: &Rollout, reason: Option<Clean>) -> Vec<Entry> {
    if rollout.is_reverting() {
        return Vec::new();
    }
    let placement = look.placement.clone();
    let mut entries = vec![Entry::AbortRequested { placement, reason }];
    entries.extend(revert::lower(look, rollout, look.now_ms));
    entries
}

/// The shares that give a release `percent` and what had the traffic before the rest.
pub(super) fn split(rollout: &Rollout, percent: u8) -> Shares {
    let mut shares = Shares::new();
    shares.insert(rollout.release, percent);
    if let Some(from) = rollout.from.filter(|from| *from != rollout.release) {
        shares.insert(from, 100 - percent);
    }
    shares
}

/// How a rollout that is taken back ends.
pub(super) fn lost(rollout: &Rollout) -> Status {
    match rollout.had_traffic {
        true => Status::RolledBack,
        false => Status::Failed,
    }
}

/// Whether every instance a rollout needs is recorded up and our newest probe passed.
pub(super) fn all_well(look: &Look<'_>, rollout: &Rollout, need: usize) -> bool {
    let servers = look.place.servers_of(rollout.release);
    servers.filter(|(server, _)| look.is_well(server)).count() >= need
}
