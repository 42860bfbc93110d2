//! Invariants of pipelines: no stage before its needs, nothing after a failure, every stage that
//! was begun ends in exactly one result and is begun once per intent, and what production gets is
//! what was checked out.

use super::Checks;
use crate::model::pipeline::{
    PipelineSpec, Rerun, Run, StageResult, StageSpec, StageStatus, StageWork,
};
use crate::model::{
    Actor, Effect, EffectId, Entry, Record, RequestId, RolloutNumber, RunNumber, StageName, Status,
};
use crate::sim::run::Checked;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of pipelines independently of the engine.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Settings as they were recorded.
    specs: BTreeMap<RunNumber, PipelineSpec>,
    requests: BTreeSet<RequestId>,
    /// Request ids of rollouts.
    deploys: BTreeSet<RequestId>,
    /// Intents whose process was begun.
    begun: BTreeSet<EffectId>,
    /// What processes really came to.
    results: BTreeMap<EffectId, StageResult>,
    /// How rollouts ended.
    rollouts: BTreeMap<RolloutNumber, Status>,
}

fn legal(holds: bool, why: &str) -> Checked {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

impl Checks {
    /// The process of a stage really ended so.
    pub(in crate::sim) fn stage_ended(&mut self, id: EffectId, result: &StageResult) {
        self.lines.results.insert(id, result.clone());
    }

    /// The engine begins or ends something of a pipeline.
    pub(super) fn start_of_pipeline(&mut self, effect: &Effect) -> Checked {
        let (run, stage, id) = match effect {
            Effect::RunStage { id, call } => (call.number, &call.stage, *id),
            Effect::AskDeploy { id, run, stage, .. } => (*run, stage, *id),
            Effect::CancelStage { run, .. } => {
                let run = self.oracle.pipelines.runs.get(run);
                let canceled = run.is_some_and(|run| run.canceled.is_some());
                return legal(canceled, "a stage is ended of a run that nobody canceled");
            }
            _ => return Ok(()),
        };
        let run = self.oracle.pipelines.runs.get(&run);
        let run = run.ok_or("a stage of no run is begun")?;
        let there = run.stages.get(stage).ok_or("no such stage")?;
        let intended = there.status == StageStatus::Running && there.intent == id;
        legal(intended, "a stage is begun without a durable intent")?;
        legal(run.canceled.is_none(), "a stage of a canceled run is begun")?;
        let once = matches!(effect, Effect::AskDeploy { .. }) || self.lines.begun.insert(id);
        legal(once, "one attempt is begun twice")
    }

    /// A record of a pipeline is durable.
    pub(super) fn run_may_follow(&mut self, record: &Record) -> Checked {
        match &record.entry {
            Entry::PipelineStarted {
                run, spec, trigger, ..
            } => {
                let next = run.0 == self.oracle.pipelines.begun + 1;
                legal(next, "runs are counted without gaps")?;
                let id = trigger.request_id.clone();
                let new = id.is_none_or(|id| self.lines.requests.insert(id));
                self.lines.specs.insert(*run, (**spec).clone());
                legal(new, "one request began two runs")
            }
            Entry::StageIntended {
                run,
                stage,
                attempt,
            } => self.stage_may_begin(*run, stage, *attempt, record.at_ms),
            Entry::StageConfirmed { .. } => {
                let person = matches!(record.actor, Actor::Person { .. });
                legal(
                    person,
                    "the engine let a stage begin that waits for a person",
                )
            }
            Entry::StageEnded {
                run,
                stage,
                attempt,
                result,
                ..
            } => self.stage_may_end(*run, stage, *attempt, result),
            Entry::PipelineEnded { run, .. } => {
                let over = |run: &Run| run.stages.values().all(|it| it.status.is_over());
                legal(over(self.open(*run)?), "a run ended before its stages")
            }
            Entry::PipelineCanceled { run, .. } => self.open(*run).map(drop),
            _ => Ok(()),
        }
    }

    fn open(&self, number: RunNumber) -> Result<&Run, String> {
        let run = self.oracle.pipelines.runs.get(&number);
        let run = run.filter(|run| run.ended.is_none());
        run.ok_or_else(|| format!("{number} is not open"))
    }

    fn stage_spec(&self, run: RunNumber, stage: &StageName) -> Result<&StageSpec, String> {
        let spec = self.lines.specs.get(&run);
        let stage = spec.and_then(|spec| spec.stage(stage));
        stage.ok_or_else(|| "no such stage".to_owned())
    }

    fn stage_may_begin(
        &self,
        number: RunNumber,
        name: &StageName,
        attempt: u32,
        at_ms: u64,
    ) -> Checked {
        let run = self.open(number)?;
        let spec = self.stage_spec(number, name)?;
        legal(
            run.canceled.is_none(),
            "a stage of a canceled run is to begin",
        )?;
        let lets_on = |name| run.stages.get(name).is_some_and(|it| it.status.lets_on());
        legal(
            spec.needs.iter().all(lets_on),
            "a stage begins before its needs",
        )?;
        let failed = |status: &StageStatus| matches!(status, StageStatus::Failed { .. });
        let mut all = run.stages.values().map(|stage| &stage.status);
        legal(!all.any(failed), "a stage begins after a failure")?;
        let older = self.oracle.pipelines.open();
        let older = older.filter(|(other, _)| **other < number).count();
        let at_once = self.lines.specs.get(&number).map_or(1, |spec| spec.at_once);
        legal((older as u64) < u64::from(at_once), "too many runs at once")?;
        let stage = run.stages.get(name).ok_or("no such stage")?;
        legal(attempt == stage.attempts + 1, "an attempt is left out")?;
        let confirm = matches!(&spec.work, StageWork::Deploy(work) if work.confirm);
        match &stage.status {
            StageStatus::Waiting => legal(
                !confirm || stage.confirmed,
                "a deploy begins that waits for a person",
            ),
            StageStatus::Resting { until_ms, .. } => {
                legal(*until_ms <= at_ms, "an attempt comes too early")
            }
            StageStatus::Unknown { .. } => legal(
                spec.rerun == Rerun::Safe || stage.confirmed,
                "what may have happened is done again unasked",
            ),
            other => Err(format!("a stage begins that is {}", other.word())),
        }
    }

    fn stage_may_end(
        &self,
        number: RunNumber,
        name: &StageName,
        attempt: u32,
        result: &StageResult,
    ) -> Checked {
        let run = self.open(number)?;
        let stage = run.stages.get(name).ok_or("no such stage")?;
        legal(!stage.status.is_over(), "a stage ends twice")?;
        legal(attempt == stage.attempts, "another attempt ended")?;
        if stage.status != StageStatus::Running {
            let idle = matches!(result, StageResult::Skipped { .. } | StageResult::Canceled);
            return legal(idle, "a stage came to something without being begun");
        }
        let spec = self.stage_spec(number, name)?;
        match (&spec.work, result) {
            (StageWork::Deploy(_), StageResult::Passed { values }) => {
                self.deploy_passed(run, values.get("rollout").map(|it| it.as_str()))
            }
            (StageWork::Deploy(_), _) | (_, StageResult::Unknown { .. }) => Ok(()),
            (_, StageResult::Canceled) if !self.lines.begun.contains(&stage.intent) => {
                legal(run.canceled.is_some(), "a stage was canceled by nobody")
            }
            (_, result) => legal(
                self.lines.results.get(&stage.intent) == Some(result),
                "a result was recorded that no process came to",
            ),
        }
    }

    /// Its rollout succeeded, and brought what was checked out.
    fn deploy_passed(&self, run: &Run, rollout: Option<&str>) -> Checked {
        let number = rollout.and_then(|text| text.strip_prefix('#')?.parse().ok());
        let number = RolloutNumber(number.ok_or("a deploy passed without a rollout")?);
        let ended = self.lines.rollouts.get(&number);
        legal(
            ended == Some(&Status::Succeeded),
            "a deploy passed whose rollout did not succeed",
        )?;
        let requests = self.oracle.requests.iter();
        let mut requests = requests.filter(|request| request.number == number);
        let version = requests.next().map(|request| request.version.as_str());
        let Some(version) = version else {
            return Ok(());
        };
        let checkout = "checkout".parse().map_err(|_| "a bad name")?;
        let short = run.value(&checkout, "short").map(|short| short.as_str());
        legal(
            short == Some(version),
            "something else was deployed than checked out",
        )
    }

    /// Remembers rollouts: what asked for them, and how they ended.
    pub(super) fn note_rollout(&mut self, record: &Record) -> Checked {
        match &record.entry {
            Entry::RolloutStarted {
                request_id: Some(id),
                ..
            } => {
                let new = self.lines.deploys.insert(id.clone());
                legal(new, "one request began two rollouts")?;
                self.deploy_may_begin(id.as_str())
            }
            Entry::RolloutFinished { status, .. } => {
                let open = self.place().and_then(|place| place.rollout.as_ref());
                if let Some(number) = open.map(|open| open.number) {
                    self.lines.rollouts.insert(number, *status);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A stage's rollout begins only while the stage is under way in a run that nobody canceled.
    fn deploy_may_begin(&self, id: &str) -> Checked {
        let mut words = id.split('/').skip(1);
        let (Some(run), Some(stage)) = (words.next(), words.next()) else {
            return Ok(());
        };
        let runs = self.oracle.pipelines.runs.values();
        let mut runs = runs.filter(|it| it.id.to_string() == run && it.canceled.is_none());
        let running = runs.any(|run| {
            let stages = run.stages.iter();
            let mut stages = stages.filter(|(name, _)| name.as_str() == stage);
            stages.any(|(_, stage)| stage.status == StageStatus::Running)
        });
        legal(
            running,
            "a rollout begins for a stage that is not under way",
        )
    }

    /// The oldest open run's stage that waits for a person.
    pub(in crate::sim) fn waits_for_person(&self) -> Option<(RunNumber, StageName)> {
        let mut open = self.oracle.pipelines.open();
        open.find_map(|(number, run)| {
            let spec = self.lines.specs.get(number)?;
            let waits = |stage: &&StageSpec| {
                let there = run.stages.get(&stage.name);
                there.is_some_and(|there| match &there.status {
                    StageStatus::Unknown { .. } => stage.rerun == Rerun::Ask,
                    StageStatus::Waiting => {
                        matches!(&stage.work, StageWork::Deploy(work) if work.confirm)
                            && !there.confirmed
                    }
                    _ => false,
                })
            };
            let stage = spec.stages.iter().find(waits)?;
            Some((*number, stage.name.clone()))
        })
    }

    /// A run that is open, in words.
    pub(in crate::sim) fn run_unsettled(&self) -> Option<String> {
        let (number, run) = self.oracle.pipelines.open().next()?;
        let stages = run.stages.iter().filter(|(_, it)| !it.status.is_over());
        let stages: Vec<_> = stages
            .map(|(name, stage)| format!("{name} {:?}", stage.status))
            .collect();
        Some(format!("run {number} is open: {}", stages.join(", ")))
    }
}
