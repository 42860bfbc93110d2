//! The socket protocol: frames of a 4-byte big-endian length and that much JSON.

use crate::model::command::{Answer, PromoteTo};
use crate::model::entry::DeploymentRow;
use crate::model::{
    Actor, BalancerName, Clean, EnvName, PipelineName, Placement, Record, RequestId, Role,
    RunNumber, ServerName, StageName, Urgency, Version,
};
use crate::view::snapshot::{RolloutView, SlotsView};
use crate::view::{Preview, RunView, Snapshot};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest frame either side accepts. A snapshot of 200 placements stays below it.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Rises when an older peer could misunderstand a newer one.
pub const PROTOCOL: u32 = 1;

/// What a client sends. The first frame is [`ClientFrame::Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Who calls.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The client's version.
        version: String,
        /// SHA-256 (hex) of the configuration it read; `None` if it read none.
        config_hash: Option<String>,
        /// Whether a person looks on (counts as attached).
        console: bool,
    },
    /// A request; its reply carries the same id.
    Request {
        /// Chosen by the client, unique per connection.
        id: u64,
        /// What for.
        request: Request,
    },
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Do something.
    Command {
        /// What.
        command: CommandRequest,
    },
    /// Say what a command would do.
    Preview {
        /// Which command.
        command: CommandRequest,
    },
    /// As [`Request::Preview`], with every effect to the end of the rollout.
    DryRun {
        /// Which command.
        command: CommandRequest,
    },
    /// One snapshot now.
    Snapshot,
    /// Snapshots from now on, the newest whenever the client is ready for one.
    Watch,
    /// Begin a run of a pipeline.
    TriggerPipeline {
        /// Which; the only one there is when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pipeline: Option<PipelineName>,
        /// The branch or tag; the pipeline's own when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<Clean>,
        /// A commit of it; its newest when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<Clean>,
        /// How far it goes; all the way when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment: Option<EnvName>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Clean>,
        /// The same one never begins two runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
    },
    /// End a run, with everything it began but a rollout.
    CancelPipeline {
        /// `pN` or `N`.
        id: RunNumber,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Clean>,
    },
    /// Let a stage begin that waits for a person.
    ConfirmStage {
        /// Of which run.
        id: RunNumber,
        /// Which stage.
        stage: StageName,
    },
    /// One run with its stages.
    GetPipelineStatus {
        /// Which.
        id: RunNumber,
    },
    /// Open runs and the newest ended ones, the newest first.
    Pipelines {
        /// How many, at most 50.
        limit: u32,
    },
    /// A stage's output from a position on.
    StageLogs {
        /// Of which run.
        id: RunNumber,
        /// Which stage.
        stage: StageName,
        /// Which attempt; the newest when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        /// From which position; 0 for all that is kept.
        from: u64,
    },
    /// The newest deployments.
    #[serde(alias = "get_deployment_history")]
    History {
        /// How many, at most 1,000.
        limit: u32,
    },
    /// One deployment with its records.
    Show {
        /// `#N`, `N` or UUID.
        id: String,
    },
    /// An instance's output from a position on.
    Logs {
        /// Where.
        placement: Placement,
        /// Which instance.
        server: ServerName,
        /// From which position; 0 for all that is kept.
        from: u64,
    },
    /// How blue and green stand, and the rollout between them.
    MonitorBlueGreen {
        /// Where.
        placement: Placement,
        /// The rollout that brought what one slot holds: `#N`, `N` or UUID.
        blue_id: String,
        /// The rollout that brought what the other slot holds.
        green_id: String,
    },
    /// Take a balancer, or a runtime's instances, from the engine that steers it.
    TakeOver {
        /// The name of the one or the other, or of both.
        balancer: BalancerName,
        /// Why.
        reason: Clean,
    },
    /// Read the configuration anew; rollouts that are open keep the one they began with.
    Reload {
        /// Only say what would change.
        dry_run: bool,
    },
    /// End the engine; rollouts stay as they are until it is started again.
    Stop,
    /// What only a newer Wheelhouse knows to ask.
    #[serde(other)]
    Unknown,
}

/// A command as a client sends it. The engine fills in its own configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum CommandRequest {
    /// Roll out a version.
    Deploy {
        /// Where.
        placement: Placement,
        /// Which version.
        version: Version,
        /// Why.
        reason: Option<Clean>,
        /// The same one never begins two rollouts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// End the rollout.
    Abort {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// Go to an earlier version.
    Rollback {
        /// Where.
        placement: Placement,
        /// Which version; the previous verified one when absent.
        to: Option<Version>,
        /// Why; an emergency needs one.
        reason: Option<Clean>,
        /// How much is checked before traffic moves.
        #[serde(default, skip_serializing_if = "Urgency::is_ordinary")]
        urgency: Urgency,
    },
    /// Begin every instance of the stable release anew.
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
    /// Take one server out of traffic.
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
    /// Write a line into the timeline.
    Note {
        /// Where.
        placement: Placement,
        /// The line.
        text: Clean,
    },
    /// [`CommandRequest::Deploy`] of a service whose strategy is blue-green; refused for others.
    DeployGreen {
        /// Where.
        placement: Placement,
        /// Which version.
        version: Version,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Clean>,
        /// The same one never begins two rollouts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
    },
    /// Begin the switch to the slot that a rollout stands in, or take its next step:
    /// [`CommandRequest::Promote`] of that rollout; refused unless it is the open one.
    SwitchTraffic {
        /// Where.
        placement: Placement,
        /// The rollout that brought the release to be switched to: `#N`, `N` or UUID.
        green_id: String,
        /// The revision the person saw.
        revision: u64,
    },
    /// Take a rollout back: [`CommandRequest::Rollback`] to what was there before it; refused unless
    /// it is open, or what it brought has the traffic.
    RollbackDeployment {
        /// Where.
        placement: Placement,
        /// The rollout to be taken back: `#N`, `N` or UUID.
        id: String,
        /// Why.
        reason: Clean,
        /// How much is checked before traffic moves.
        #[serde(default, skip_serializing_if = "Urgency::is_ordinary")]
        urgency: Urgency,
    },
}

impl CommandRequest {
    /// Where it acts.
    pub fn placement(&self) -> &Placement {
        match self {
            Self::Deploy { placement, .. }
            | Self::Promote { placement, .. }
            | Self::Hold { placement, .. }
            | Self::Resume { placement, .. }
            | Self::Abort { placement, .. }
            | Self::Rollback { placement, .. }
            | Self::Restart { placement, .. }
            | Self::Scale { placement, .. }
            | Self::Drain { placement, .. }
            | Self::Undrain { placement, .. }
            | Self::Drill { placement, .. }
            | Self::Note { placement, .. }
            | Self::DeployGreen { placement, .. }
            | Self::SwitchTraffic { placement, .. }
            | Self::RollbackDeployment { placement, .. } => placement,
        }
    }

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
            Self::DeployGreen { .. } => "deploy",
            Self::SwitchTraffic { .. } => "promote",
            Self::RollbackDeployment { .. } => "rollback",
        }
    }
}

/// What the engine sends. The first frame is [`ServerFrame::Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ServerFrame {
    /// Who answers, and who it takes the caller for.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The engine's version.
        version: String,
        /// The configuration file it runs with.
        config_path: String,
        /// That configuration's SHA-256 (hex).
        config_hash: String,
        /// The caller, as the kernel says.
        you: Actor,
        /// What the caller may do. An engine that does not say lets in only its own user.
        #[serde(default = "operator")]
        role: Role,
    },
    /// The reply to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// What became of it.
        reply: Reply,
    },
    /// A newer snapshot, after [`Request::Watch`].
    Snapshot {
        /// It.
        snapshot: Arc<Snapshot>,
    },
    /// The engine ends this connection.
    Bye {
        /// Why, and the mend.
        why: Clean,
    },
}

fn operator() -> Role {
    Role::Operator
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To a command.
    Answer {
        /// What became of it.
        answer: Answer,
    },
    /// To a preview.
    Preview {
        /// What it would do.
        preview: Box<Preview>,
    },
    /// To a snapshot request.
    Snapshot {
        /// It.
        snapshot: Arc<Snapshot>,
    },
    /// To a history request, newest first.
    History {
        /// The rows.
        rows: Vec<DeploymentRow>,
    },
    /// To a show request.
    Show {
        /// The deployment.
        row: DeploymentRow,
        /// Its newest records, oldest first, at most 500.
        records: Vec<Record>,
    },
    /// To a request to monitor blue and green.
    BlueGreen {
        /// Both slots.
        slots: Box<SlotsView>,
        /// The open rollout; `None` where none is.
        rollout: Option<Box<RolloutView>>,
    },
    /// To a request for one run.
    Pipeline {
        /// It.
        run: Box<RunView>,
    },
    /// To a request for runs, the newest first.
    Pipelines {
        /// They.
        runs: Vec<RunView>,
    },
    /// To a request for an instance's or stage's output.
    Logs {
        /// Where to read on.
        next: u64,
        /// Lines lost before the first one here.
        skipped: u64,
        /// The lines.
        lines: Vec<Clean>,
    },
    /// To a takeover.
    TakenOver {
        /// Who steered it until now.
        from: Clean,
    },
    /// To a reload.
    Reloaded {
        /// Whether it holds from now on.
        applied: bool,
        /// SHA-256 (hex) of what was read.
        hash: String,
        /// What changed, key by key, secrets left out.
        changes: Vec<Clean>,
        /// Changes beyond those.
        more: u32,
    },
    /// To a reload of files that are not valid: what holds stays.
    BadConfig {
        /// Every fault, with file, line, key and mend.
        faults: Vec<Clean>,
    },
    /// Accepted, nothing to say.
    Done,
    /// Not possible.
    Error {
        /// What, where and the mend.
        text: Clean,
    },
}
