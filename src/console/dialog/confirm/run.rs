//! What is asked of a run of a pipeline. The engine foretells nothing of it: the text is made from
//! the run as it was when the dialog opened, and made anew when the run has moved on.

mod text;

use super::{Said, Seen};
use crate::link::wire::Request;
use crate::model::pipeline::RunResult;
use crate::model::{Clean, PipelineName, RunId, RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};
use crate::view::{Snapshot, Tier};
use text::{Text, text};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAct {
    /// A new run.
    Begin {
        /// Of which pipeline; the only one there is when absent.
        pipeline: Option<PipelineName>,
        /// Of which branch; the pipeline's own when absent.
        branch: Option<Clean>,
    },
    /// The end of a run.
    Cancel {
        /// Which.
        run: RunNumber,
        /// The same one, by its identity.
        id: RunId,
    },
    /// That a stage begins which waits for a person.
    Confirm {
        /// Of which run.
        run: RunNumber,
        /// The same one, by its identity.
        id: RunId,
        /// Which stage.
        stage: StageName,
    },
}

impl RunAct {
    /// The verb as people type it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "run",
            Self::Cancel { .. } => "cancel",
            Self::Confirm { .. } => "confirm",
        }
    }

    pub(super) fn subject(&self) -> String {
        match self {
            Self::Begin { pipeline, .. } => name(pipeline.as_ref()),
            Self::Cancel { run, .. } => run.to_string(),
            Self::Confirm { run, stage, .. } => format!("{run} {stage}"),
        }
    }

    pub(super) fn request(&self) -> Request {
        match self.clone() {
            Self::Begin { pipeline, branch } => Request::TriggerPipeline {
                pipeline,
                branch,
                commit: None,
                environment: None,
                reason: None,
                request_id: None,
            },
            Self::Cancel { run, .. } => Request::CancelPipeline {
                id: run,
                reason: None,
            },
            Self::Confirm { run, stage, .. } => Request::ConfirmStage { id: run, stage },
        }
    }

    fn run<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a RunView> {
        let (Self::Cancel { run, id } | Self::Confirm { run, id, .. }) = self else {
            return None;
        };
        let same = |it: &&RunView| it.number == *run && it.id == *id;
        snapshot.runs.iter().find(same)
    }
}

fn name(pipeline: Option<&PipelineName>) -> String {
    pipeline.map_or_else(|| "the only pipeline".to_owned(), PipelineName::to_string)
}

/// What makes a text that was read wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Binds {
    result: Option<RunResult>,
    canceled: bool,
    /// Stages by name, status and attempts.
    stages: Vec<(StageName, String, u32)>,
}

impl Binds {
    fn of(act: &RunAct, run: Option<&RunView>) -> Self {
        let Some(run) = run else {
            return Self::default();
        };
        let bound = |stage: &&StageView| match act {
            RunAct::Begin { .. } => false,
            // A stage more or less that is ended is only another text; a rollout is not ended.
            RunAct::Cancel { .. } => stage.placement.is_some(),
            RunAct::Confirm { stage: name, .. } => stage.name == *name,
        };
        let stages = run.stages.iter().filter(bound);
        Self {
            result: run.result,
            canceled: run.canceled.is_some(),
            stages: stages
                .map(|stage| (stage.name.clone(), stage.status.clone(), stage.attempts))
                .collect(),
        }
    }
}

/// What is asked of a run, and what it would do.
#[derive(Debug, Clone, PartialEq)]
pub struct RunAsk {
    /// What is asked for.
    pub act: RunAct,
    text: Text,
    binds: Binds,
}

impl RunAsk {
    /// For what the snapshot shows now.
    pub fn new(act: RunAct, snapshot: &Snapshot) -> Self {
        Self {
            text: text(&act, snapshot),
            binds: Binds::of(&act, act.run(snapshot)),
            act,
        }
    }

    /// The word that confirms it, where it takes one: an environment's name.
    pub fn environment(&self, snapshot: &Snapshot) -> String {
        let stage = self.stage(snapshot);
        let placement = stage.and_then(|stage| stage.placement.as_ref());
        placement.map_or_else(String::new, |placement| placement.environment.to_string())
    }

    fn stage<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a StageView> {
        let RunAct::Confirm { stage: name, .. } = &self.act else {
            return None;
        };
        let stages = &self.act.run(snapshot)?.stages;
        stages.iter().find(|stage| stage.name == *name)
    }

    pub(super) fn title(&self) -> String {
        self.text.title.clone()
    }

    pub(super) fn button(&self) -> String {
        self.text.button.clone()
    }

    pub(super) fn said(&self) -> Said<'_> {
        Said {
            lines: &self.text.lines,
            warnings: &self.text.warnings,
            refused: self.text.refused.clone(),
        }
    }

    pub(super) fn tier(&self) -> Option<Tier> {
        self.text.refused.is_none().then_some(self.text.tier)
    }

    pub(super) fn observe(&mut self, snapshot: &Snapshot) -> Seen {
        let run = self.act.run(snapshot);
        let binds = Binds::of(&self.act, run);
        let text = text(&self.act, snapshot);
        let same = text == self.text;
        let held = binds == self.binds && text.tier == self.text.tier;
        let held = held && text.refused == self.text.refused;
        (self.text, self.binds) = (text, binds);
        match (held, same) {
            (true, true) => Seen::Same,
            (true, false) => Seen::Text,
            (false, _) => Seen::Moved(moved(&self.act, run)),
        }
    }
}

fn moved(act: &RunAct, run: Option<&RunView>) -> String {
    let Some(run) = run else {
        return format!("{} is not there any more", act.subject());
    };
    let stage = match act {
        RunAct::Confirm { stage, .. } => run.stages.iter().find(|it| it.name == *stage),
        _ => run.foremost(),
    };
    match (run.result, stage) {
        (Some(result), _) => format!("{} {}", run.number, result.word()),
        (None, Some(stage)) => format!("{} {} is {} now", run.number, stage.name, stage.status),
        (None, None) => format!("{} has moved on", run.number),
    }
}
