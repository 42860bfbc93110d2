//! What people ask of the engine, and how it answers.

use super::pipeline::{PipelineSpec, Trigger};
use super::{
    Clean, Placement, RequestId, RolloutNumber, RunNumber, Seq, ServerName, ServiceSpec, StageName,
    Version,
};
use serde::{Deserialize, Serialize};

/// How far a promotion goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromoteTo {
    /// The next step.
    Next,
    /// This share, in percent; the steps above it follow.
    Percent(u8),
    /// 100 % at once.
    Full,
}

/// How much a way back checks before traffic moves. It is recorded and read back either way, its
/// target is verified up, and nothing is stopped that is not proven idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Each instance passes as many probes in a row as its health check asks for. No rollback makes
    /// smoke tests, soaks, or waits for the judge or a minimum healthy time.
    #[default]
    Ordinary,
    /// One passed probe of an instance is enough.
    Emergency,
}

impl Urgency {
    /// Whether it is the usual one, which is not written.
    pub fn is_ordinary(&self) -> bool {
        *self == Self::Ordinary
    }
}

/// What people ask of pipelines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pipeline", rename_all = "snake_case")]
pub enum PipelineCommand {
    /// Begin a run.
    Run {
        /// The pipeline as the configuration resolves it now.
        spec: Box<PipelineSpec>,
        /// Of what, and why.
        trigger: Box<Trigger>,
    },
    /// End a run, with everything it began but a rollout.
    Cancel {
        /// Which.
        run: RunNumber,
        /// Why.
        reason: Option<Clean>,
    },
    /// Let a stage begin that waits for a person.
    Confirm {
        /// Of which run.
        run: RunNumber,
        /// Which stage.
        stage: StageName,
    },
}

impl PipelineCommand {
    /// The verb, as people type it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Run { .. } => "pipeline run",
            Self::Cancel { .. } => "pipeline cancel",
            Self::Confirm { .. } => "pipeline confirm",
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Roll out a version.
    Deploy {
        /// The service as the configuration resolves it now.
        spec: Box<ServiceSpec>,
        /// Which version.
        version: Version,
        /// Why.
        reason: Option<Clean>,
        /// The same one never begins two rollouts.
        #[serde(default)]
        request_id: Option<RequestId>,
    },
    /// Go forward now.
    Promote {
        /// Where.
        placement: Placement,
        /// How far.
        to: PromoteTo,
        /// The revision the person saw.
        revision: u64,
    },
    /// Stop automatic progress.
    Hold {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// Continue automatic progress.
    Resume {
        /// Where.
        placement: Placement,
        /// The revision the person saw.
        revision: u64,
    },
    /// End the rollout; traffic returns to stable.
    Abort {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// Go to an earlier version on the fast path.
    Rollback {
        /// The service as the configuration resolves it now.
        spec: Box<ServiceSpec>,
        /// Which version; the previous verified one when absent.
        to: Option<Version>,
        /// Why; an emergency needs one.
        reason: Option<Clean>,
        /// How much is checked before traffic moves.
        #[serde(default, skip_serializing_if = "Urgency::is_ordinary")]
        urgency: Urgency,
    },
    /// Begin every instance of the stable release anew, a batch at a time.
    Restart {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// Have so many instances.
    Scale {
        /// Where.
        placement: Placement,
        /// How many, at least 1.
        instances: u32,
        /// Why.
        reason: Option<Clean>,
    },
    /// Take one server out of traffic; what stands behind it stays.
    Drain {
        /// Where.
        placement: Placement,
        /// Which.
        server: ServerName,
        /// Why.
        reason: Option<Clean>,
    },
    /// Give a drained server its traffic back.
    Undrain {
        /// Where.
        placement: Placement,
        /// Which.
        server: ServerName,
    },
    /// An exercise: the stable version once more, to the first step, then back.
    Drill {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// What people ask of pipelines.
    Pipeline(PipelineCommand),
    /// Write a line into the timeline; nothing else changes.
    Note {
        /// Where.
        placement: Placement,
        /// The line.
        text: Clean,
    },
}

impl Command {
    /// The verb, as people type it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Promote { .. } => "promote",
            Self::Hold { .. } => "hold",
            Self::Resume { .. } => "resume",
            Self::Abort { .. } => "abort",
            Self::Rollback { .. } => "rollback",
            Self::Restart { .. } => "restart",
            Self::Scale { .. } => "scale",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Drill { .. } => "drill",
            Self::Note { .. } => "note",
            Self::Pipeline(command) => command.verb(),
        }
    }

    /// Where it acts; `None` for what is asked of pipelines.
    pub fn placement(&self) -> Option<&Placement> {
        Some(match self {
            Self::Deploy { spec, .. } | Self::Rollback { spec, .. } => &spec.placement,
            Self::Promote { placement, .. }
            | Self::Hold { placement, .. }
            | Self::Resume { placement, .. }
            | Self::Abort { placement, .. }
            | Self::Restart { placement, .. }
            | Self::Scale { placement, .. }
            | Self::Drain { placement, .. }
            | Self::Undrain { placement, .. }
            | Self::Drill { placement, .. }
            | Self::Note { placement, .. } => placement,
            Self::Pipeline(_) => return None,
        })
    }
}

/// Why a command was not carried out. Not an error: an answer, with the text for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// No rollout is open here.
    #[error("{placement} has no open rollout; nothing was changed")]
    NoRollout {
        /// Where.
        placement: Placement,
    },
    /// One is open already.
    #[error("rollout {number} of {placement} is still open; finish it with promote, or abort it")]
    RolloutOpen {
        /// Where.
        placement: Placement,
        /// Which one.
        number: RolloutNumber,
    },
    /// The rollout moved on since the person looked.
    #[error("the rollout moved on: you saw revision {seen}, it is at {now}; look again")]
    Stale {
        /// What the command carried.
        seen: u64,
        /// What holds now.
        now: u64,
    },
    /// It cannot be done now.
    #[error("{why}")]
    NotNow {
        /// What stands in the way, and the mend.
        why: Clean,
    },
    /// Whoever asked may not.
    #[error("{why}")]
    Forbidden {
        /// Who may, for whoever looks for somebody to ask.
        why: Clean,
    },
    /// It can never be done as asked.
    #[error("{why}")]
    Impossible {
        /// What is wrong, and the mend.
        why: Clean,
    },
    /// The history cannot be written, so nothing may go forward.
    #[error("the history cannot be written ({why}); only abort and hold are possible until it can")]
    HistoryBroken {
        /// What went wrong.
        why: Clean,
    },
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Durable, as this record.
    Accepted {
        /// Its newest record.
        seq: Seq,
        /// The rollout it concerns.
        number: RolloutNumber,
        /// That rollout's revision now.
        revision: u64,
    },
    /// The same request began this rollout already; nothing was recorded.
    Begun {
        /// The rollout.
        number: RolloutNumber,
    },
    /// A run of a pipeline, durable as this record.
    Run {
        /// Its newest record.
        seq: Seq,
        /// Which run.
        run: RunNumber,
    },
    /// The same request began this run already; nothing was recorded.
    RunBegun {
        /// The run.
        run: RunNumber,
    },
    /// Already so; nothing was recorded.
    Already {
        /// What is so.
        what: Clean,
    },
    /// Being carried out although the history cannot be written; it will be recorded as a gap.
    Unrecorded {
        /// What went wrong with the history.
        why: Clean,
    },
    /// Refused; nothing was changed.
    Refused(Refusal),
}
