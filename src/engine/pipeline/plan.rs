//! What is outstanding for pipelines.

use super::{Fill, Sight, request_id, sights};
use crate::engine::plan::{Agenda, Direction};
use crate::model::command::Command;
use crate::model::pipeline::{
    Run, RunResult, StageCall, StageResult, StageRun, StageSpec, StageStatus, StageWork,
};
use crate::model::{Clean, Effect, State, World};

/// Between two tries to begin a rollout that cannot begin yet, or to end a stage that goes on.
const AGAIN_MS: u64 = 2_000;

pub(in crate::engine) fn plan(state: &State, world: &World, agenda: &mut Agenda) {
    for sight in sights(state, world) {
        for (spec, stage) in sight.stages() {
            match &stage.status {
                StageStatus::Running => under_way(&sight, spec, stage, agenda),
                StageStatus::Resting { until_ms, .. } => agenda.wake(*until_ms),
                _ => {}
            }
        }
    }
}

fn under_way(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun, agenda: &mut Agenda) {
    if let StageWork::Deploy(_) = &spec.work {
        return ask(sight, spec, stage, agenda);
    }
    // What an earlier engine began is not heard of any more, and recorded so.
    if sight.is_left_over(stage) {
        return;
    }
    match (sight.begun(stage), &sight.run.canceled) {
        (None, None) => start(sight, spec, stage, agenda),
        (Some(view), Some(_)) if view.result.is_none() => {
            let due_ms = view.told_to_end_ms.map_or(0, |at_ms| at_ms + AGAIN_MS);
            agenda.due(due_ms, || Effect::CancelStage {
                id: stage.intent,
                run: sight.number,
                run_id: sight.run.id,
                stage: spec.name.clone(),
            });
        }
        _ => {}
    }
}

/// Begins an attempt. What cannot be filled in is never begun: it is recorded as failed.
fn start(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun, agenda: &mut Agenda) {
    if let Ok(work) = Fill::of(sight.run).work(&spec.work) {
        let call = Box::new(call(sight, spec, stage, work));
        let id = stage.intent;
        agenda.now(Direction::Forward, Effect::RunStage { id, call });
    }
}

fn call(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun, work: StageWork) -> StageCall {
    let fill = Fill::of(sight.run);
    StageCall {
        run: sight.run.id,
        number: sight.number,
        stage: spec.name.clone(),
        attempt: stage.attempts,
        repository: sight.run.spec.repository.clone(),
        revision: fill.commit().unwrap_or(&sight.run.trigger.revision).clone(),
        deployed: deployed(sight),
        work,
        env: fill.env(),
        timeout_ms: spec.timeout_ms,
    }
}

/// The commit of the newest run of this pipeline that went all the way.
fn deployed(sight: &Sight<'_>) -> Option<Clean> {
    let passed = |run: &&Run| {
        run.spec.name == sight.run.spec.name
            && run
                .ended
                .as_ref()
                .is_some_and(|it| it.result == RunResult::Passed)
    };
    let mut newest_first = sight.state.pipelines.runs.values().rev();
    let run = newest_first.find(passed)?;
    Fill::of(run).commit().cloned()
}

fn ask(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun, agenda: &mut Agenda) {
    let Some(id) = request_id(sight.run.id, spec, stage) else {
        return;
    };
    if sight.state.requested(&id).is_some() || sight.run.canceled.is_some() {
        return;
    }
    let Ok((service, version)) = Fill::of(sight.run).deploy(spec) else {
        return;
    };
    let view = sight.world.stages.get(&stage.intent);
    let refused = view.and_then(|view| view.refused.as_ref());
    let due_ms = refused.map_or(0, |(at_ms, _)| at_ms + AGAIN_MS);
    let reason = format!("pipeline {} {}", sight.run.spec.name, sight.number);
    agenda.forward(due_ms, || Effect::AskDeploy {
        id: stage.intent,
        run: sight.number,
        stage: spec.name.clone(),
        by: sight.run.by.clone(),
        command: Box::new(Command::Deploy {
            spec: Box::new(service),
            version,
            reason: Some(Clean::new(&reason)),
            request_id: Some(id),
        }),
    });
    agenda.wake(stage.since_ms + spec.timeout_ms);
}

/// What a stage came to that could not even be filled in.
pub(super) fn unfilled(sight: &Sight<'_>, spec: &StageSpec) -> Option<StageResult> {
    let why = Fill::of(sight.run).work(&spec.work).err()?;
    Some(StageResult::Failed { why })
}
