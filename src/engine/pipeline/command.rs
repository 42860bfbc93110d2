//! What people ask of pipelines → entries, or a refusal.

use super::{request_id, waits_for_person};
use crate::engine::command::{Decision, impossible, not_now};
use crate::model::command::PipelineCommand;
use crate::model::input::Asked;
use crate::model::pipeline::{PipelineSpec, Run, StageStatus, StageWork, Trigger, WhenBusy};
use crate::model::{
    Clean, Entry, PipelineName, Refusal, RequestId, RunId, RunNumber, StageName, State,
};

/// Runs of one pipeline that may be open at once, those that wait among them.
const OPEN_MAX: usize = 20;

/// Decides a command about pipelines.
///
/// # Errors
/// [`Refusal`], with the text for the person who asked.
pub(in crate::engine) fn decide(
    state: &State,
    asked: &Asked,
    command: &PipelineCommand,
) -> Decision {
    match command {
        PipelineCommand::Run { spec, trigger } => run(state, asked, spec, trigger),
        PipelineCommand::Cancel { run, reason } => cancel(state, *run, reason.as_ref()),
        PipelineCommand::Confirm { run, stage } => confirm(state, *run, stage),
    }
}

fn run(state: &State, asked: &Asked, spec: &PipelineSpec, trigger: &Trigger) -> Decision {
    if begun(state, &spec.name, trigger).is_some() {
        return Ok(Vec::new());
    }
    let same = |run: &Run| run.spec.name == spec.name;
    if state.pipelines.open().filter(|(_, run)| same(run)).count() >= OPEN_MAX {
        return Err(not_now(format!(
            "{OPEN_MAX} runs of {} are open already; cancel one, or wait",
            spec.name
        )));
    }
    let number = RunNumber(state.pipelines.begun + 1);
    let started = Entry::PipelineStarted {
        id: RunId(asked.rollout.0),
        run: number,
        spec: Box::new(spec.clone()),
        trigger: Box::new(trigger.clone()),
    };
    Ok(outdated(state, spec, trigger)
        .map(|older| Entry::PipelineCanceled {
            run: older,
            reason: None,
            newer: Some(number),
        })
        .chain([started])
        .collect())
}

/// The run that a request began, if it did. A webhook tells of one commit more than once: as a push
/// and as a merge, under names of their own.
pub fn begun(state: &State, name: &PipelineName, trigger: &Trigger) -> Option<RunNumber> {
    let requests = state.pipelines.requests.iter().rev();
    let mut same = requests.filter(|request| Some(&request.id) == trigger.request_id.as_ref());
    let told = |run: &Run| {
        run.spec.name == *name
            && trigger.provider.is_some()
            && run.trigger.provider == trigger.provider
            && (&run.trigger.branch, &run.trigger.revision) == (&trigger.branch, &trigger.revision)
    };
    let runs = state.pipelines.runs.iter().rev();
    let mut told = runs.filter(|(_, run)| told(run)).map(|(number, _)| *number);
    same.next()
        .map(|request| request.number)
        .or_else(|| told.next())
}

/// Refuses a stage's deploy that was on its way while its run was canceled.
///
/// # Errors
/// [`Refusal::NotNow`]; deploys that no stage asked for are none of this one's business.
pub(in crate::engine) fn refuse_late(state: &State, id: Option<&RequestId>) -> Result<(), Refusal> {
    let Some(id) = id else {
        return Ok(());
    };
    let asks = |run: &Run| {
        let stages = run.spec.stages.iter();
        let mut stages = stages.filter_map(|spec| Some((spec, run.stages.get(&spec.name)?)));
        stages
            .find(|(spec, stage)| request_id(run.id, spec, stage).as_ref() == Some(id))
            .map(|(_, stage)| run.canceled.is_none() && stage.status == StageStatus::Running)
    };
    match state.pipelines.runs.values().find_map(asks) {
        Some(false) => Err(not_now("the run that asked for this was canceled")),
        _ => Ok(()),
    }
}

/// Runs that a newer one of the same branch makes superfluous: none whose deploy has begun.
fn outdated<'a>(
    state: &'a State,
    spec: &'a PipelineSpec,
    trigger: &'a Trigger,
) -> impl Iterator<Item = RunNumber> + 'a {
    let newest = spec.when_busy == WhenBusy::Newest;
    let open = state.pipelines.open();
    open.filter(move |(_, run)| {
        newest
            && run.spec.name == spec.name
            && run.trigger.branch == trigger.branch
            && run.canceled.is_none()
            && !deploys(run)
    })
    .map(|(number, _)| *number)
}

fn deploys(run: &Run) -> bool {
    let deploy = run.spec.stages.iter();
    let mut deploy = deploy.filter(|spec| matches!(spec.work, StageWork::Deploy(_)));
    deploy.any(|spec| {
        let stage = run.stages.get(&spec.name);
        stage.is_some_and(|stage| {
            !matches!(
                stage.status,
                StageStatus::Waiting | StageStatus::Skipped { .. }
            )
        })
    })
}

fn open(state: &State, number: RunNumber) -> Result<&Run, Refusal> {
    let Some(run) = state.pipelines.runs.get(&number) else {
        return Err(impossible(format!(
            "there is no run {number}; `wheelhouse pipeline list` shows those there are"
        )));
    };
    match &run.ended {
        None => Ok(run),
        Some(_) => Err(not_now(format!("run {number} is over"))),
    }
}

fn cancel(state: &State, number: RunNumber, reason: Option<&Clean>) -> Decision {
    if open(state, number)?.canceled.is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![Entry::PipelineCanceled {
        run: number,
        reason: reason.cloned(),
        newer: None,
    }])
}

fn confirm(state: &State, number: RunNumber, name: &StageName) -> Decision {
    let run = open(state, number)?;
    let (spec, stage) = run
        .spec
        .stage(name)
        .zip(run.stages.get(name))
        .ok_or_else(|| impossible(format!("run {number} has no stage {name}")))?;
    if stage.confirmed {
        return Ok(Vec::new());
    }
    if !waits_for_person(spec, stage) {
        return Err(not_now(format!(
            "{name} of run {number} does not wait for a person: it is {}",
            stage.status.word()
        )));
    }
    Ok(vec![Entry::StageConfirmed {
        run: number,
        stage: name.clone(),
    }])
}
