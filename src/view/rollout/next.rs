//! What an open rollout will do next by itself, and what it waits for.

use super::{is_ready, slot_word, smokes, stages};
use crate::engine::steps::current_step;
use crate::engine::{Look, capacity, parts, rolling};
use crate::model::verdict::{Verdict, VerdictClass};
use crate::model::{Clean, Phase, Rollout, RolloutKind, Step, Strategy};
use crate::view::traffic;

/// What the engine will do next by itself, and what it waits for.
pub(super) fn next(look: &Look<'_>, rollout: &Rollout, verdict: &Verdict) -> (Clean, Option<u64>) {
    let since_ms = rollout.phase.since_ms();
    let (text, at_ms) = match (&rollout.phase, &rollout.hold) {
        (Phase::Reverting { .. }, _) => ("all traffic back to stable, read back".to_owned(), None),
        (_, Some(_)) if is_ready(rollout) => {
            ("nothing until it is promoted or aborted".to_owned(), None)
        }
        (_, Some(_)) => (
            "nothing until it is resumed, promoted or aborted".to_owned(),
            None,
        ),
        (Phase::Starting { .. }, _) => starting(look, rollout, since_ms),
        (Phase::Shifting { .. }, _) => (
            "the soak begins once the balancer shows the weights".to_owned(),
            None,
        ),
        (Phase::Soaking { .. }, _) => after_soak(look, rollout, verdict, since_ms),
    };
    (Clean::new(&text), at_ms)
}

/// What comes once what is being started is there, and until when it must be.
fn starting(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> (String, Option<u64>) {
    let spec = &look.place.spec;
    let smoke_ms = match smokes(look, rollout) {
        true => look.place.smoke_timeout_ms_of(rollout.release),
        false => 0,
    };
    let start_ms = since_ms + look.place.health_of(rollout.release).start_timeout_ms + smoke_ms;
    if let Some((lead, open)) = parts::lead(look, rollout)
        && !parts::may_begin(look, rollout, rollout.step + 1)
    {
        let (name, number) = (&lead.placement.service, open.number);
        return (
            format!("its first batch once {name} ({number}) is at a share"),
            None,
        );
    }
    if let Some(batches) = rolling::batches(look, rollout) {
        let deadline_ms = since_ms + rolling::settings(look).progress_deadline_ms;
        let text = match rollout.kind {
            RolloutKind::Restart => {
                format!("the rest of batch {}, one way or back", batches.number)
            }
            _ => format!("traffic to batch {} once it is verified", batches.number),
        };
        return (text, Some(deadline_ms));
    }
    match &spec.strategy {
        Strategy::Recreate(_) if stages::stops_old(look, rollout) => (
            "new instances start once the old have ended; no service until they are up".to_owned(),
            None,
        ),
        Strategy::Recreate(_) => (
            "service again once every new instance is verified".to_owned(),
            Some(start_ms),
        ),
        Strategy::BlueGreen(settings)
            if settings.confirm && rollout.from.is_some() && rollout.kind.is_judged() =>
        {
            (
                format!(
                    "waits for a person once {} is verified",
                    slot_word(look, rollout)
                ),
                Some(start_ms),
            )
        }
        _ => (
            "first traffic once every instance is verified".to_owned(),
            Some(start_ms),
        ),
    }
}

/// What comes after the present step.
fn goal(look: &Look<'_>, rollout: &Rollout, step: Step) -> String {
    let steps = rollout.steps(&look.place.spec);
    let next = steps
        .iter()
        .find(|next| next.weight_percent > step.weight_percent);
    if let Some(batches) = rolling::batches(look, rollout)
        && batches.number < batches.of
    {
        return match step.pause {
            true => "waits for a person".to_owned(),
            false => format!("batch {}/{}", batches.number + 1, batches.of),
        };
    }
    match next {
        _ if rollout.kind == RolloutKind::Drill => "back to stable: a drill".to_owned(),
        _ if step.pause && next.is_some() => "waits for a person".to_owned(),
        Some(next) => format!("{} %", next.weight_percent),
        None if rollout.from.is_none() || !look.place.spec.strategy.stands_beside() => {
            "done".to_owned()
        }
        None => "done, old release kept warm".to_owned(),
    }
}

fn after_soak(
    look: &Look<'_>,
    rollout: &Rollout,
    verdict: &Verdict,
    since_ms: u64,
) -> (String, Option<u64>) {
    let Some(step) = current_step(look, rollout) else {
        return ("done".to_owned(), None);
    };
    let goal = goal(look, rollout, step);
    if !rollout.kind.is_judged() {
        return (goal, None);
    }
    let at_ms = since_ms + step.soak_ms;
    if let Some(text) = together(look, rollout, &goal).filter(|_| at_ms <= look.now_ms) {
        return (text, None);
    }
    // Where own probes let a watch end well, few requests do not hold it.
    if !look.place.spec.strategy.stands_beside() {
        let waits = at_ms <= look.now_ms;
        return match waits && verdict.class == VerdictClass::Fail {
            true => (format!("{goal} once the verdict is no longer fail"), None),
            false => (goal, Some(at_ms)),
        };
    }
    if let Some(awaited) = awaited(look, rollout, step, since_ms) {
        return (format!("{goal} {}", awaited.0), Some(awaited.1));
    }
    if at_ms <= look.now_ms && verdict.class != VerdictClass::Pass {
        let longest = u64::from(look.place.spec.canary.max_soak_factor) * step.soak_ms;
        return (
            format!("{goal} once the verdict is pass, else held"),
            Some(since_ms + longest),
        );
    }
    (goal, Some(at_ms))
}

/// What a service waits for of its parts, or a part of its lead.
fn together(look: &Look<'_>, rollout: &Rollout, goal: &str) -> Option<String> {
    if let Some(part) = parts::awaited(look, rollout) {
        return Some(format!("{goal} once every part is there: {part}"));
    }
    let (lead, open) = parts::lead(look, rollout)?;
    let number = open.number;
    let waits = parts::is_proven(rollout);
    waits.then(|| format!("{goal} with {} ({number})", lead.placement.service))
}

/// What a soak that will be short of requests waits for, and until when at most; `None` where
/// enough come in time, or nobody knows.
fn awaited(look: &Look<'_>, rollout: &Rollout, step: Step, since_ms: u64) -> Option<(String, u64)> {
    let canary = &look.place.spec.canary;
    let seen = look
        .counted(rollout.release, since_ms, look.now_ms)
        .requests;
    let missing = canary.min_requests.checked_sub(seen).filter(|n| *n > 0)?;
    let rate = capacity::requests_per_s(look)?;
    let longest_ms = since_ms + step.soak_ms * u64::from(canary.max_soak_factor);
    let takes_ms = traffic::wait_ms(missing, step.weight_percent, rate);
    let at_ms = takes_ms.map(|ms| look.now_ms + ms);
    if at_ms.is_some_and(|at_ms| at_ms <= since_ms + step.soak_ms) {
        return None;
    }
    let rate = traffic::rate(rate);
    let want = canary.min_requests;
    Some(
        match (takes_ms, at_ms.filter(|at_ms| *at_ms <= longest_ms)) {
            (Some(takes_ms), Some(at_ms)) => {
                let about = traffic::about(takes_ms);
                let text = format!("after {want} requests: {seen} so far, {about} more at {rate}");
                (text, at_ms)
            }
            (Some(takes_ms), None) => {
                let about = traffic::about(takes_ms);
                let text = format!(
                    "after {want} requests: {seen} so far, {about} more at {rate}, held before that"
                );
                (text, longest_ms)
            }
            (None, _) => (
                format!("after {want} requests: {seen} so far and none come; held else"),
                longest_ms,
            ),
        },
    )
}
