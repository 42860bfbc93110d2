//! An open rollout: its stages, and what it will do next.

use super::build;
use super::snapshot::{HoldView, PhaseView, RolloutView, StageState, StageView};
use super::{traffic, words};
use crate::engine::steps::current_step;
use crate::engine::{Look, capacity};
use crate::model::state::{Hold, HoldReason, InstanceStatus};
use crate::model::verdict::{Verdict, VerdictClass};
use crate::model::{Clean, Phase, Rollout, RolloutKind, Step};

pub(super) fn view(look: &Look<'_>, rollout: &Rollout, verdict: &Verdict) -> Option<RolloutView> {
    let (next, next_ms) = next(look, rollout, verdict);
    let phase = phase(look, rollout);
    let because = match phase {
        PhaseView::Starting | PhaseView::Smoking => "nothing to judge yet".into(),
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
        stages: stages(look, rollout),
        hold: rollout.hold.as_ref().map(hold),
        verdict: verdict.class,
        because,
        next,
        next_ms,
    })
}

fn phase(look: &Look<'_>, rollout: &Rollout) -> PhaseView {
    match rollout.phase {
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
        && !look.place.spec.smoke.is_empty()
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

fn hold(hold: &Hold) -> HoldView {
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
            "verified in the idle slot; promote switches to it".to_owned(),
        ),
        HoldReason::Shift { text } => (false, format!("the balancer does not follow: {text}")),
    };
    HoldView {
        since_ms: hold.since_ms,
        by_person,
        text: Clean::new(&text),
    }
}

fn stages(look: &Look<'_>, rollout: &Rollout) -> Vec<StageView> {
    let mut stages = vec![start_stage(look, rollout)];
    if rollout.kind.is_judged() && !look.place.spec.smoke.is_empty() {
        stages.push(smoke_stage(look, rollout));
    }
    let steps = rollout.steps(&look.place.spec);
    stages.extend((1..=steps.len()).map(|number| step_stage(look, rollout, number)));
    stages
}

/// How a stage that is under way stands, given what else is going on.
fn running(rollout: &Rollout) -> StageState {
    match (rollout.is_reverting(), &rollout.hold) {
        (true, _) => StageState::Failed,
        (false, Some(_)) => StageState::Held,
        (false, None) => StageState::Running,
    }
}

fn started(rollout: &Rollout) -> bool {
    rollout.step > 0 || rollout.smoke.is_some()
}

fn start_stage(look: &Look<'_>, rollout: &Rollout) -> StageView {
    let (up, all) = up_of(look, rollout);
    let failed = look
        .place
        .servers_of(rollout.release)
        .find_map(|(server, instance)| match &instance.status {
            InstanceStatus::Failed { why } => Some(format!("{server}: {why}")),
            _ => None,
        });
    let detail = failed.unwrap_or_else(|| format!("{up}/{all} up"));
    let done = up == all || started(rollout);
    StageView {
        name: "Start".into(),
        state: if done {
            StageState::Passed
        } else {
            running(rollout)
        },
        detail: Clean::new(&detail),
        began_ms: Some(rollout.started_ms),
        length_ms: None,
    }
}

fn smoke_stage(look: &Look<'_>, rollout: &Rollout) -> StageView {
    let tests = look.place.spec.smoke.len() * needed(look, rollout);
    let (state, detail) = match &rollout.smoke {
        None if smokes(look, rollout) => (running(rollout), format!("{tests} requests")),
        None => (StageState::Todo, format!("{tests} requests")),
        Some(report) => {
            let bad = report
                .results
                .iter()
                .filter(|result| result.trouble.is_some())
                .count();
            let good = report.results.len() - bad;
            let state = if bad == 0 {
                StageState::Passed
            } else {
                StageState::Failed
            };
            (state, format!("{good}/{} ok", report.results.len()))
        }
    };
    StageView {
        name: "Smoke".into(),
        state,
        detail: Clean::new(&detail),
        began_ms: None,
        length_ms: None,
    }
}

fn step_stage(look: &Look<'_>, rollout: &Rollout, number: usize) -> StageView {
    let step = rollout.steps(&look.place.spec)[number - 1];
    let current = rollout.step == number;
    let passed = rollout.passed.iter().any(|(passed, _)| *passed == number);
    let state = match (current, rollout.step > number) {
        (true, _) => running(rollout),
        (false, true) if passed => StageState::Passed,
        (false, true) => StageState::Skipped,
        (false, false) => StageState::Todo,
    };
    let detail = match (&rollout.phase, current) {
        (Phase::Shifting { .. }, true) => "setting weights".to_owned(),
        (Phase::Reverting { .. }, true) => "taken back".to_owned(),
        _ if step.pause => format!("soak {} + person", words::span(step.soak_ms)),
        _ if rollout.kind == RolloutKind::Rollback => "at once".to_owned(),
        _ => format!("soak {}", words::span(step.soak_ms)),
    };
    let soaks = current && matches!(rollout.phase, Phase::Soaking { .. });
    StageView {
        name: Clean::new(&format!("{}%", step.weight_percent)),
        state,
        detail: Clean::new(&detail),
        began_ms: soaks.then(|| rollout.phase.since_ms()),
        length_ms: rollout.kind.is_judged().then_some(step.soak_ms),
    }
}

/// What the engine will do next by itself, and what it waits for.
fn next(look: &Look<'_>, rollout: &Rollout, verdict: &Verdict) -> (Clean, Option<u64>) {
    let since_ms = rollout.phase.since_ms();
    let (text, at_ms) = match (&rollout.phase, &rollout.hold) {
        (Phase::Reverting { .. }, _) => ("all traffic back to stable, read back".to_owned(), None),
        (_, Some(_)) => (
            "nothing until it is resumed, promoted or aborted".to_owned(),
            None,
        ),
        (Phase::Starting { .. }, _) => {
            let deadline_ms = since_ms + look.place.spec.health.start_timeout_ms;
            (
                "first traffic once every instance is verified".to_owned(),
                Some(deadline_ms),
            )
        }
        (Phase::Shifting { .. }, _) => (
            "the soak begins once the balancer shows the weights".to_owned(),
            None,
        ),
        (Phase::Soaking { .. }, _) => after_soak(look, rollout, verdict, since_ms),
    };
    (Clean::new(&text), at_ms)
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
    let at_ms = since_ms + step.soak_ms;
    let steps = rollout.steps(&look.place.spec);
    let next = steps
        .iter()
        .find(|next| next.weight_percent > step.weight_percent);
    let goal = match next {
        _ if step.pause => "waits for a person".to_owned(),
        Some(next) => format!("{} %", next.weight_percent),
        None if rollout.from.is_none() => "done".to_owned(),
        None => "done, old release kept warm".to_owned(),
    };
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
