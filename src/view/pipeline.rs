//! Runs of pipelines, as screens and `--json` show them.

use crate::engine::pipeline::{Fill, placement, waits_for_person};
use crate::model::pipeline::{
    Pipelines, Run, RunResult, StageResult, StageRun, StageSpec, StageStatus, StageWork, Usual,
};
use crate::model::{
    Clean, Entry, PipelineName, Placement, RolloutNumber, RunId, RunNumber, StageName, State, World,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ended runs in a snapshot, which goes to every screen; `pipeline list` shows as many.
const ENDED_MAX: usize = 20;

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number for people.
    pub number: RunNumber,
    /// Its identity.
    pub id: RunId,
    /// Of which pipeline.
    pub pipeline: PipelineName,
    /// The branch or tag.
    pub branch: Clean,
    /// The full commit; `None` until the checkout has found it.
    pub commit: Option<Clean>,
    /// The commit's first line.
    pub subject: Option<Clean>,
    /// What is new in it: commits, files and lines, in words.
    pub changed: Option<Clean>,
    /// Who began it.
    pub by: Clean,
    /// Why.
    pub reason: Option<Clean>,
    /// When it began.
    pub began_ms: u64,
    /// How it ended; `None` while it is open.
    pub result: Option<RunResult>,
    /// When.
    pub ended_ms: Option<u64>,
    /// Who canceled it, if anybody did.
    pub canceled: Option<Clean>,
    /// What it waits for, if it does, with the mend.
    pub waits: Option<Clean>,
    /// How much longer it will take by what its stages usually take; `None` where the past does not
    /// say.
    pub left_ms: Option<u64>,
    /// Its stages, in the order in which they are declared.
    pub stages: Vec<StageView>,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub name: StageName,
    /// What it does, in a word.
    pub work: String,
    /// Stages that must be over before it.
    pub needs: Vec<StageName>,
    /// How far it is, in a word.
    pub status: String,
    /// Why it failed, rests, is unknown or was skipped: the failing line, where there is one.
    pub why: Option<Clean>,
    /// Since when it has its status.
    pub since_ms: u64,
    /// How long it took, once it ended.
    pub took_ms: Option<u64>,
    /// The median of the last 30 days.
    pub usual_ms: Option<u64>,
    /// Attempts begun.
    pub attempts: u32,
    /// Where it deploys to.
    pub placement: Option<Placement>,
    /// The rollout it is.
    pub rollout: Option<RolloutNumber>,
    /// Whether it waits until a person lets it begin.
    pub waits_for_person: bool,
    /// The newest line of its output, while it runs.
    pub last_line: Option<Clean>,
    /// What it handed on.
    pub values: BTreeMap<String, Clean>,
}

impl RunView {
    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.result.is_none()
    }

    /// The stage that a person looks for first: the failed one, else what waits for them, else what
    /// is under way.
    pub fn foremost(&self) -> Option<&StageView> {
        let first = |status: &str| self.stages.iter().find(|stage| stage.status == status);
        let waits = || self.stages.iter().find(|stage| stage.waits_for_person);
        first("failed")
            .or_else(waits)
            .or_else(|| first("running"))
            .or_else(|| first("resting"))
    }
}

/// Open runs and the newest ended ones, the newest first.
pub fn runs(state: &State, world: &World) -> Vec<RunView> {
    let mut ended = 0;
    let newest_first = state.pipelines.runs.iter().rev();
    newest_first
        .filter(|(_, run)| {
            ended += usize::from(run.ended.is_some());
            run.ended.is_none() || ended <= ENDED_MAX
        })
        .map(|(number, run)| view(state, world, *number, run))
        .collect()
}

fn view(state: &State, world: &World, number: RunNumber, run: &Run) -> RunView {
    let usual = state.pipelines.usual.get(&run.spec.name);
    let stages: Vec<_> = run
        .spec
        .stages
        .iter()
        .filter_map(|spec| {
            let usual = usual.and_then(|usual| usual.get(&spec.name));
            Some(stage(
                state,
                world,
                run,
                spec,
                run.stages.get(&spec.name)?,
                usual,
            ))
        })
        .collect();
    let checkout = run.spec.stages.first().map(|spec| &spec.name);
    let value = |name| checkout.and_then(|stage| run.value(stage, name)).cloned();
    RunView {
        number,
        id: run.id,
        pipeline: run.spec.name.clone(),
        branch: run.trigger.branch.clone(),
        commit: Fill::of(run).commit().cloned(),
        subject: value("subject"),
        changed: changed(&value),
        by: match run.trigger.provider {
            Some(provider) => provider.word().into(),
            None => Clean::new(&run.by.to_string()),
        },
        reason: run.trigger.reason.clone(),
        began_ms: run.began_ms,
        result: run.ended.as_ref().map(|ended| ended.result),
        ended_ms: run.ended.as_ref().map(|ended| ended.at_ms),
        canceled: run.canceled.clone(),
        waits: waits(&state.pipelines, world, number, run),
        left_ms: run
            .ended
            .is_none()
            .then(|| left_ms(&stages, world.now_ms))
            .flatten(),
        stages,
    }
}

fn stage(
    state: &State,
    world: &World,
    run: &Run,
    spec: &StageSpec,
    stage: &StageRun,
    usual: Option<&Usual>,
) -> StageView {
    let why = match &stage.status {
        StageStatus::Failed { why }
        | StageStatus::Resting { why, .. }
        | StageStatus::Unknown { why }
        | StageStatus::Skipped { why } => Some(why.clone()),
        _ => None,
    };
    StageView {
        name: spec.name.clone(),
        work: spec.work.word().to_owned(),
        needs: spec.needs.clone(),
        status: stage.status.word().to_owned(),
        why,
        since_ms: stage.since_ms,
        took_ms: stage.took_ms,
        // What passed is held against those before it.
        usual_ms: usual.and_then(|usual| {
            let over = stage.status.is_over();
            usual.median_ms(if over { stage.since_ms } else { world.now_ms })
        }),
        attempts: stage.attempts,
        placement: placement(spec).cloned(),
        rollout: crate::engine::pipeline::rollout(state, run.id, spec, stage),
        waits_for_person: run.ended.is_none()
            && is_next(run, spec)
            && waits_for_person(spec, stage),
        last_line: None,
        values: stage.values.clone(),
    }
}

fn is_next(run: &Run, spec: &StageSpec) -> bool {
    let over = |name| {
        run.stages
            .get(name)
            .is_some_and(|stage| stage.status.lets_on())
    };
    run.canceled.is_none() && spec.needs.iter().all(over)
}

fn changed(value: &impl Fn(&'static str) -> Option<Clean>) -> Option<Clean> {
    let lines = format!("+{} -{}", value("insertions")?, value("deletions")?);
    let counted = |count: &Clean, of: &str| {
        let s = if count.as_str() == "1" { "" } else { "s" };
        format!("{count} {of}{s}")
    };
    let files = format!("{}, {lines}", counted(&value("files")?, "file"));
    let text = match value("commits") {
        Some(commits) => format!("{} since the last, {files}", counted(&commits, "commit")),
        None => files,
    };
    Some(Clean::new(&text))
}

/// What a run as a whole waits for.
fn waits(pipelines: &Pipelines, world: &World, number: RunNumber, run: &Run) -> Option<Clean> {
    if run.ended.is_some() {
        return None;
    }
    let stages = run.spec.stages.iter();
    let mut stages = stages.filter_map(|spec| Some((spec, run.stages.get(&spec.name)?)));
    let person = stages
        .clone()
        .find(|(spec, stage)| is_next(run, spec) && waits_for_person(spec, stage));
    if let Some((spec, stage)) = person {
        let why = match &stage.status {
            StageStatus::Unknown { .. } => "nobody knows how far it got",
            _ => "a person lets it begin",
        };
        let environment = placement(spec).filter(|_| is_protected(spec));
        let confirm =
            environment.map_or_else(String::new, |at| format!(" --confirm {}", at.environment));
        let mend = format!(
            "wheelhouse pipeline confirm {number} {}{confirm}",
            spec.name
        );
        return Some(Clean::new(&format!("{}: {why}: {mend}", spec.name)));
    }
    let refused = stages.find_map(|(spec, stage)| {
        let view = world.stages.get(&stage.intent)?;
        let refusal = view.refused.as_ref().map(|(_, refusal)| refusal)?;
        let runs = stage.status == StageStatus::Running;
        runs.then(|| (spec, refusal.to_string()))
    });
    if let Some((spec, refusal)) = refused {
        return Some(Clean::new(&format!("{}: {refusal}", spec.name)));
    }
    let before = pipelines
        .open()
        .filter(|(other, older)| **other < number && older.spec.name == run.spec.name);
    let before: Vec<_> = before.map(|(other, _)| other.to_string()).collect();
    let waits = before.len() >= run.spec.at_once.max(1) as usize;
    waits.then(|| Clean::new(&format!("{} goes first", before.join(", "))))
}

fn is_protected(spec: &StageSpec) -> bool {
    matches!(&spec.work, StageWork::Deploy(work) if work.spec.protected)
}

/// The longest way through what is left, by what each stage usually takes.
fn left_ms(stages: &[StageView], now_ms: u64) -> Option<u64> {
    let mut ends: BTreeMap<&StageName, u64> = BTreeMap::new();
    for stage in stages {
        let before = stage
            .needs
            .iter()
            .filter_map(|name| ends.get(name).copied());
        let before = before.max().unwrap_or(0);
        let own = match stage.status.as_str() {
            "waiting" => stage.usual_ms?,
            "running" => stage
                .usual_ms?
                .saturating_sub(now_ms.saturating_sub(stage.since_ms)),
            "resting" | "unknown" => return None,
            _ => 0,
        };
        ends.insert(&stage.name, before + own);
    }
    ends.into_values().max()
}

/// A record of a pipeline as a line.
pub(super) fn line(state: &State, entry: &Entry) -> Option<String> {
    let run = entry.run()?;
    let known = state.pipelines.runs.get(&run);
    let name = known.map_or_else(String::new, |run| format!(" {}", run.spec.name));
    Some(match entry {
        Entry::PipelineStarted { trigger, .. } => {
            let why = trigger.reason.as_ref();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!("{run}{name} began for {}{why}", trigger.branch)
        }
        Entry::StageIntended { stage, attempt, .. } => match attempt {
            1 => format!("{run} {stage} began"),
            _ => format!("{run} {stage} began, attempt {attempt}"),
        },
        Entry::StageConfirmed { stage, .. } => format!("{run} {stage} may begin"),
        Entry::StageEnded { stage, result, .. } => format!("{run} {stage} {}", ended(result)),
        Entry::PipelineCanceled { reason, newer, .. } => match (newer, reason) {
            (Some(newer), _) => format!("{run} canceled: {newer} is newer"),
            (None, Some(reason)) => format!("{run} canceled: {reason}"),
            (None, None) => format!("{run} canceled"),
        },
        Entry::PipelineEnded { result, .. } => format!("{run}{name} {}", result.word()),
        _ => return None,
    })
}

fn ended(result: &StageResult) -> String {
    match result {
        StageResult::Passed { .. } => "passed".to_owned(),
        StageResult::Failed { why } => format!("failed: {why}"),
        StageResult::Unknown { why } => format!("unknown: {why}"),
        StageResult::Skipped { why } => format!("skipped: {why}"),
        StageResult::Canceled => "canceled".to_owned(),
    }
}
