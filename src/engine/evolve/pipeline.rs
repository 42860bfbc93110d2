//! Records of pipelines → their part of the state.

use crate::model::pipeline::{
    Pipelines, RUNS_KEPT, Run, RunEnded, RunRequested, StageResult, StageRun, StageStatus,
};
use crate::model::{Actor, Clean, Entry, Record, RunNumber, StageName};

/// Requests remembered by their id.
const REQUESTS_MAX: usize = 1_000;

pub(super) fn fold(pipelines: &mut Pipelines, record: &Record) {
    match &record.entry {
        Entry::PipelineStarted { run, .. } => start(pipelines, *run, record),
        Entry::StageIntended {
            run,
            stage,
            attempt,
        } => stage_run(pipelines, *run, stage, |stage| {
            stage.status = StageStatus::Running;
            stage.attempts = *attempt;
            stage.intent = record.seq;
            stage.since_ms = record.at_ms;
            stage.confirmed = false;
        }),
        Entry::StageConfirmed { run, stage } => {
            stage_run(pipelines, *run, stage, |stage| stage.confirmed = true);
        }
        Entry::StageEnded { .. } => end_stage(pipelines, record),
        Entry::PipelineCanceled {
            run, reason, newer, ..
        } => {
            if let Some(run) = pipelines.runs.get_mut(run) {
                run.canceled = Some(match (newer, reason, &record.actor) {
                    (Some(newer), _, _) => Clean::new(&format!("{newer} is newer")),
                    (None, Some(reason), actor) => Clean::new(&format!("{actor}: {reason}")),
                    (None, None, Actor::Engine) => "the engine".into(),
                    (None, None, actor) => Clean::new(&actor.to_string()),
                });
            }
        }
        Entry::PipelineEnded { run, result } => {
            if let Some(run) = pipelines.runs.get_mut(run) {
                run.ended = Some(RunEnded {
                    result: *result,
                    at_ms: record.at_ms,
                });
            }
            forget(pipelines);
        }
        _ => {}
    }
}

fn start(pipelines: &mut Pipelines, number: RunNumber, record: &Record) {
    let Entry::PipelineStarted {
        id, spec, trigger, ..
    } = &record.entry
    else {
        return;
    };
    pipelines.begun = pipelines.begun.max(number.0);
    if let Some(id) = &trigger.request_id {
        pipelines.requests.push_back(RunRequested {
            id: id.clone(),
            number,
            at_ms: record.at_ms,
        });
        let over = pipelines.requests.len().saturating_sub(REQUESTS_MAX);
        pipelines.requests.drain(..over);
    }
    let waiting = StageRun {
        status: StageStatus::Waiting,
        attempts: 0,
        intent: 0,
        since_ms: record.at_ms,
        took_ms: None,
        values: Default::default(),
        confirmed: false,
    };
    let stages = spec.stages.iter();
    let run = Run {
        id: *id,
        spec: (**spec).clone(),
        trigger: (**trigger).clone(),
        by: record.actor.clone(),
        began_ms: record.at_ms,
        stages: stages
            .map(|stage| (stage.name.clone(), waiting.clone()))
            .collect(),
        canceled: None,
        ended: None,
    };
    pipelines.runs.insert(number, run);
}

fn stage_run(
    pipelines: &mut Pipelines,
    run: RunNumber,
    stage: &StageName,
    change: impl FnOnce(&mut StageRun),
) {
    let run = pipelines.runs.get_mut(&run);
    if let Some(stage) = run.and_then(|run| run.stages.get_mut(stage)) {
        change(stage);
    }
}

fn end_stage(pipelines: &mut Pipelines, record: &Record) {
    let Entry::StageEnded {
        run,
        stage,
        attempt,
        result,
        again_ms,
    } = &record.entry
    else {
        return;
    };
    let mut took_ms = None;
    stage_run(pipelines, *run, stage, |stage| {
        took_ms = (*attempt > 0).then(|| record.at_ms.saturating_sub(stage.since_ms));
        stage.took_ms = took_ms;
        stage.since_ms = record.at_ms;
        stage.status = match (result, again_ms) {
            (StageResult::Failed { why }, Some(until_ms)) => StageStatus::Resting {
                until_ms: *until_ms,
                why: why.clone(),
            },
            (StageResult::Failed { why }, None) => StageStatus::Failed { why: why.clone() },
            (StageResult::Unknown { why }, _) => StageStatus::Unknown { why: why.clone() },
            (StageResult::Skipped { why }, _) => StageStatus::Skipped { why: why.clone() },
            (StageResult::Canceled, _) => StageStatus::Canceled,
            (StageResult::Passed { values }, _) => {
                stage.values.clone_from(values);
                StageStatus::Passed
            }
        };
    });
    let passed = matches!(result, StageResult::Passed { .. });
    let run = pipelines.runs.get(run).filter(|_| passed);
    if let Some((run, took_ms)) = run.zip(took_ms) {
        let stages = pipelines.usual.entry(run.spec.name.clone()).or_default();
        let usual = stages.entry(stage.clone()).or_default();
        usual.add(record.at_ms, took_ms);
    }
}

/// The oldest ended runs go; the history keeps them.
fn forget(pipelines: &mut Pipelines) {
    let ended = |(_, run): &(&RunNumber, &Run)| run.ended.is_some();
    let over = pipelines.runs.iter().filter(ended).count();
    let over = over.saturating_sub(RUNS_KEPT);
    let ended = pipelines.runs.iter().filter(ended).take(over);
    for number in ended.map(|(number, _)| *number).collect::<Vec<_>>() {
        pipelines.runs.remove(&number);
    }
}
