//! The facts the history keeps. Past tense, no derived values, readable for ever: a shape that
//! was once written is never changed, only joined by others.

use super::command::{PromoteTo, Urgency};
use super::input::EngineInfo;
use super::pipeline::{PipelineSpec, RunResult, StageResult, Trigger};
use super::service::ServiceSpec;
use super::state::{HoldReason, RolloutKind, Status};
use super::verdict::Verdict;
use super::world::{Evidence, SmokeReport};
use super::{
    BalancerName, Clean, EffectId, Placement, Release, ReleaseId, RequestId, RolloutId,
    RolloutNumber, RunId, RunNumber, RuntimeName, Seq, ServerName, StageName, Version,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Who caused a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The engine, by its own rules.
    Engine,
    /// A person, as the kernel names them.
    Person {
        /// Their user id.
        uid: u32,
        /// Their user name.
        user: Clean,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.pad("engine"),
            Self::Person { user, .. } => f.pad(user.as_str()),
        }
    }
}

/// One fact with its place in the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place, from 1, without gaps.
    pub seq: Seq,
    /// When, in the engine's time (Unix ms).
    pub at_ms: u64,
    /// Who caused it.
    pub actor: Actor,
    /// What happened.
    pub entry: Entry,
}

/// Each share in percent, by release; they sum to 100, or to 0 when nothing may serve.
pub type Shares = BTreeMap<ReleaseId, u8>;

/// Why a weight was intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WeightReason {
    /// A step of the rollout, counted from 1.
    Step {
        /// Which one.
        step: usize,
    },
    /// A person promoted to a share of their own; the steps up to `step` are done with.
    Promotion {
        /// The last step whose share is not above it.
        step: usize,
    },
    /// Traffic returns to stable.
    Revert,
    /// A rollback's one move.
    Rollback,
}

/// What makes it safe to stop an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleProof {
    /// Every balancer showed it out of traffic with no session left.
    Idle,
    /// The drain timeout ran out.
    Timeout,
    /// It never had traffic, or is not running any more.
    NeverServed,
    /// A worker: no balancer sends it anything.
    NoTraffic,
    /// A worker that was told to take no new work ended by itself.
    Ended,
}

/// What drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// The new release has more than intended: corrected at once.
    Above,
    /// It has less, because the balancer restarted: asserted again.
    BalancerRestarted,
    /// It has less, and nothing explains it: held.
    Below,
}

/// Changes of a configuration that one record carries at most.
pub const CHANGES_MAX: usize = 100;

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// An engine process began; soaks begin anew.
    EngineStarted {
        /// Who it is.
        engine: EngineInfo,
    },
    /// A rollout began.
    RolloutStarted {
        /// Its identity.
        id: RolloutId,
        /// Its number for people.
        number: RolloutNumber,
        /// Deploy or rollback.
        rollout: RolloutKind,
        /// The release it brings.
        release: Box<Release>,
        /// The release that had the traffic; `None` on a first deploy.
        from: Option<ReleaseId>,
        /// The settings it keeps to its end.
        spec: Box<ServiceSpec>,
        /// Why, as the person said.
        reason: Option<Clean>,
        /// What the asker called the request: the same one never begins two rollouts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        /// The rollout this one moves with, where it is of a part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        led_by: Option<RolloutId>,
        /// How much is checked before traffic moves.
        #[serde(default, skip_serializing_if = "Urgency::is_ordinary")]
        urgency: Urgency,
    },
    /// An instance is to be started behind a server.
    InstanceIntended {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
        /// Of which release.
        release: ReleaseId,
    },
    /// An instance runs where no record puts one: a start that arrived after it was given up. It
    /// is drained and stopped.
    InstanceFound {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
        /// Of which release.
        release: ReleaseId,
        /// The balancers' processes then.
        epochs: BTreeMap<BalancerName, String>,
    },
    /// An instance passed our own probe.
    InstanceUp {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
    },
    /// An instance failed.
    InstanceFailed {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
        /// Why.
        why: Clean,
    },
    /// What a failed instance left was read.
    EvidenceKept {
        /// Where.
        placement: Placement,
        /// Behind which server it stood.
        server: ServerName,
        /// Of which release.
        release: ReleaseId,
        /// The rollout it was begun for.
        rollout: Option<RolloutNumber>,
        /// What it left.
        evidence: Box<Evidence>,
    },
    /// The smoke tests were made.
    SmokeFinished {
        /// Where.
        placement: Placement,
        /// What was found.
        report: SmokeReport,
    },
    /// Traffic is to be shared so.
    WeightIntended {
        /// Where.
        placement: Placement,
        /// The shares.
        shares: Shares,
        /// Why.
        reason: WeightReason,
    },
    /// Every balancer's read-back shows the intended shares.
    WeightSettled {
        /// Where.
        placement: Placement,
        /// The intent.
        id: EffectId,
        /// The balancers' processes that confirmed it.
        epochs: BTreeMap<BalancerName, String>,
    },
    /// An engine restarted and found a raise not applied: it is given up, the observed share holds.
    WeightAbandoned {
        /// Where.
        placement: Placement,
        /// The intent.
        id: EffectId,
        /// What was observed instead.
        shares: Shares,
    },
    /// A step's soak ended well.
    StepPassed {
        /// Where.
        placement: Placement,
        /// Which step, from 1.
        step: usize,
        /// On what evidence.
        verdict: Verdict,
    },
    /// The next batch of a rolling update or restart is being replaced.
    BatchBegun {
        /// Where.
        placement: Placement,
        /// Batches replaced so far.
        step: usize,
    },
    /// The service is to have so many instances.
    Scaled {
        /// Where.
        placement: Placement,
        /// How many, at least 1.
        instances: u32,
        /// Why.
        reason: Option<Clean>,
    },
    /// A person took a server out of traffic; what stands behind it stays.
    ServerDrained {
        /// Where.
        placement: Placement,
        /// Which.
        server: ServerName,
        /// Why.
        reason: Option<Clean>,
    },
    /// A person gave a server its traffic back.
    ServerUndrained {
        /// Where.
        placement: Placement,
        /// Which.
        server: ServerName,
    },
    /// The judge's word changed.
    VerdictChanged {
        /// Where.
        placement: Placement,
        /// To this, on this evidence.
        verdict: Verdict,
    },
    /// Automatic progress stopped.
    Held {
        /// Where.
        placement: Placement,
        /// Why.
        why: HoldReason,
    },
    /// Automatic progress goes on.
    Resumed {
        /// Where.
        placement: Placement,
    },
    /// A person sent it forward.
    Promoted {
        /// Where.
        placement: Placement,
        /// How far.
        to: PromoteTo,
        /// The verdict they saw.
        verdict: Verdict,
        /// What was left of the soak.
        soak_left_ms: u64,
    },
    /// A person ended the rollout.
    AbortRequested {
        /// Where.
        placement: Placement,
        /// Why.
        reason: Option<Clean>,
    },
    /// The engine takes the release back.
    RevertDecided {
        /// Where.
        placement: Placement,
        /// Why, in one sentence.
        cause: Clean,
        /// On what evidence, where the judge caused it.
        verdict: Option<Verdict>,
    },
    /// The rollout is closed.
    RolloutFinished {
        /// Where.
        placement: Placement,
        /// How it ended.
        status: Status,
        /// In one sentence.
        because: Clean,
    },
    /// The balancer did not show what was intended.
    DriftFound {
        /// Where.
        placement: Placement,
        /// On which balancer.
        balancer: BalancerName,
        /// Which way.
        drift: Drift,
        /// The new release's intended share.
        wanted_percent: f64,
        /// Its share by the balancer's weights.
        observed_percent: f64,
    },
    /// A warm release is to go before its time.
    RetireIntended {
        /// Where.
        placement: Placement,
        /// Which release.
        release: ReleaseId,
        /// Why.
        why: Clean,
    },
    /// A server was taken out of traffic for good; it may be stopped once idle.
    DrainBegun {
        /// Where.
        placement: Placement,
        /// Which server.
        server: ServerName,
        /// The balancers' processes then.
        epochs: BTreeMap<BalancerName, String>,
    },
    /// A worker was told to take no new work.
    InstanceQuieted {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
    },
    /// An instance is to be stopped.
    StopIntended {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
        /// Why that is safe.
        proof: IdleProof,
    },
    /// An instance is gone; its server is free.
    InstanceStopped {
        /// Where.
        placement: Placement,
        /// Behind which server.
        server: ServerName,
    },
    /// A command was refused.
    Refused {
        /// Where.
        placement: Placement,
        /// Which verb.
        verb: String,
        /// Why.
        why: Clean,
    },
    /// A person's line in the timeline.
    Noted {
        /// Where.
        placement: Placement,
        /// The line.
        text: Clean,
    },
    /// The history could not be written for a while; moves towards stable may be missing from it.
    HistoryGap {
        /// From when.
        since_ms: u64,
        /// What went wrong.
        why: Clean,
    },
    /// The engine read its configuration anew; rollouts that are open keep theirs.
    ConfigReloaded {
        /// SHA-256 (hex) of what holds from now on.
        hash: String,
        /// What changed, key by key, secrets left out; at most
        /// [`CHANGES_MAX`] lines.
        changes: Vec<Clean>,
        /// Changes beyond those.
        more: u32,
    },
    /// A person gave this engine a balancer, or a runtime's instances, that another engine held.
    LeaseTaken {
        /// Which balancer, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        balancer: Option<BalancerName>,
        /// Which runtime, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runtime: Option<RuntimeName>,
        /// Who held it.
        from: Clean,
        /// Why, as the person said.
        reason: Clean,
    },
    /// A run of a pipeline began.
    PipelineStarted {
        /// Its identity.
        id: RunId,
        /// Its number for people.
        run: RunNumber,
        /// The settings it keeps to its end.
        spec: Box<PipelineSpec>,
        /// What began it.
        trigger: Box<Trigger>,
    },
    /// An attempt of a stage is to begin.
    StageIntended {
        /// Of which run.
        run: RunNumber,
        /// Which stage.
        stage: StageName,
        /// Counted from 1.
        attempt: u32,
    },
    /// A person let a stage begin, or begin again after nobody knew how far it got.
    StageConfirmed {
        /// Of which run.
        run: RunNumber,
        /// Which stage.
        stage: StageName,
    },
    /// An attempt of a stage ended, or the stage is not done at all.
    StageEnded {
        /// Of which run.
        run: RunNumber,
        /// Which stage.
        stage: StageName,
        /// Which attempt; 0 where none was begun.
        attempt: u32,
        /// What it came to.
        #[serde(flatten)]
        result: StageResult,
        /// When the next attempt begins, where the failed one was not the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_ms: Option<u64>,
    },
    /// A run was asked to end; what is under way is ended first.
    PipelineCanceled {
        /// Which.
        run: RunNumber,
        /// Why.
        reason: Option<Clean>,
        /// The newer run that takes its place, where that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newer: Option<RunNumber>,
    },
    /// A run ended.
    PipelineEnded {
        /// Which.
        run: RunNumber,
        /// How.
        result: RunResult,
    },
    /// Written by a newer Wheelhouse; this one may look but not drive.
    #[serde(other)]
    Unknown,
}

impl Entry {
    /// The machine name of its kind, as stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EngineStarted { .. } => "engine_started",
            Self::RolloutStarted { .. } => "rollout_started",
            Self::InstanceIntended { .. } => "instance_intended",
            Self::InstanceFound { .. } => "instance_found",
            Self::InstanceUp { .. } => "instance_up",
            Self::InstanceFailed { .. } => "instance_failed",
            Self::EvidenceKept { .. } => "evidence_kept",
            Self::SmokeFinished { .. } => "smoke_finished",
            Self::WeightIntended { .. } => "weight_intended",
            Self::WeightSettled { .. } => "weight_settled",
            Self::WeightAbandoned { .. } => "weight_abandoned",
            Self::StepPassed { .. } => "step_passed",
            Self::BatchBegun { .. } => "batch_begun",
            Self::Scaled { .. } => "scaled",
            Self::ServerDrained { .. } => "server_drained",
            Self::ServerUndrained { .. } => "server_undrained",
            Self::VerdictChanged { .. } => "verdict_changed",
            Self::Held { .. } => "held",
            Self::Resumed { .. } => "resumed",
            Self::Promoted { .. } => "promoted",
            Self::AbortRequested { .. } => "abort_requested",
            Self::RevertDecided { .. } => "revert_decided",
            Self::RolloutFinished { .. } => "rollout_finished",
            Self::DriftFound { .. } => "drift_found",
            Self::RetireIntended { .. } => "retire_intended",
            Self::DrainBegun { .. } => "drain_begun",
            Self::InstanceQuieted { .. } => "instance_quieted",
            Self::StopIntended { .. } => "stop_intended",
            Self::InstanceStopped { .. } => "instance_stopped",
            Self::Refused { .. } => "refused",
            Self::Noted { .. } => "noted",
            Self::HistoryGap { .. } => "history_gap",
            Self::ConfigReloaded { .. } => "config_reloaded",
            Self::LeaseTaken { .. } => "lease_taken",
            Self::PipelineStarted { .. } => "pipeline_started",
            Self::StageIntended { .. } => "stage_intended",
            Self::StageConfirmed { .. } => "stage_confirmed",
            Self::StageEnded { .. } => "stage_ended",
            Self::PipelineCanceled { .. } => "pipeline_canceled",
            Self::PipelineEnded { .. } => "pipeline_ended",
            Self::Unknown => "unknown",
        }
    }

    /// The run of a pipeline it is about.
    pub fn run(&self) -> Option<RunNumber> {
        match self {
            Self::PipelineStarted { run, .. }
            | Self::StageIntended { run, .. }
            | Self::StageConfirmed { run, .. }
            | Self::StageEnded { run, .. }
            | Self::PipelineCanceled { run, .. }
            | Self::PipelineEnded { run, .. } => Some(*run),
            _ => None,
        }
    }

    /// Where it happened; `None` for facts about the engine itself and about pipelines.
    pub fn placement(&self) -> Option<&Placement> {
        match self {
            Self::RolloutStarted { spec, .. } => Some(&spec.placement),
            Self::InstanceIntended { placement, .. }
            | Self::InstanceFound { placement, .. }
            | Self::InstanceUp { placement, .. }
            | Self::InstanceFailed { placement, .. }
            | Self::EvidenceKept { placement, .. }
            | Self::SmokeFinished { placement, .. }
            | Self::WeightIntended { placement, .. }
            | Self::WeightSettled { placement, .. }
            | Self::WeightAbandoned { placement, .. }
            | Self::StepPassed { placement, .. }
            | Self::BatchBegun { placement, .. }
            | Self::Scaled { placement, .. }
            | Self::ServerDrained { placement, .. }
            | Self::ServerUndrained { placement, .. }
            | Self::VerdictChanged { placement, .. }
            | Self::Held { placement, .. }
            | Self::Resumed { placement }
            | Self::Promoted { placement, .. }
            | Self::AbortRequested { placement, .. }
            | Self::RevertDecided { placement, .. }
            | Self::RolloutFinished { placement, .. }
            | Self::DriftFound { placement, .. }
            | Self::RetireIntended { placement, .. }
            | Self::DrainBegun { placement, .. }
            | Self::InstanceQuieted { placement, .. }
            | Self::StopIntended { placement, .. }
            | Self::InstanceStopped { placement, .. }
            | Self::Refused { placement, .. }
            | Self::Noted { placement, .. } => Some(placement),
            Self::EngineStarted { .. }
            | Self::HistoryGap { .. }
            | Self::ConfigReloaded { .. }
            | Self::LeaseTaken { .. }
            | Self::PipelineStarted { .. }
            | Self::StageIntended { .. }
            | Self::StageConfirmed { .. }
            | Self::StageEnded { .. }
            | Self::PipelineCanceled { .. }
            | Self::PipelineEnded { .. }
            | Self::Unknown => None,
        }
    }

    /// Whether it only leads traffic towards the last verified release, stops automatic progress
    /// or states what was seen: such entries may act before they are durable.
    pub fn is_safe_direction(&self) -> bool {
        match self {
            Self::AbortRequested { .. }
            | Self::RevertDecided { .. }
            | Self::Held { .. }
            | Self::VerdictChanged { .. }
            | Self::InstanceFailed { .. }
            | Self::InstanceUp { .. }
            | Self::WeightSettled { .. }
            | Self::WeightAbandoned { .. }
            | Self::DriftFound { .. } => true,
            Self::WeightIntended { reason, .. } => *reason == WeightReason::Revert,
            _ => false,
        }
    }
}

/// What one deployment row of the history shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRow {
    /// The rollout's identity.
    pub id: RolloutId,
    /// Its number.
    pub number: RolloutNumber,
    /// Service.
    pub service: String,
    /// Environment.
    pub environment: String,
    /// Version it brought.
    pub version: Version,
    /// How it stands.
    pub status: Status,
    /// Who started it.
    pub actor: String,
    /// When it started.
    pub started_at: u64,
    /// When it ended.
    pub completed_at: Option<u64>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Whether it lost its traffic again, then or later.
    pub rolled_back: bool,
    /// How it ended, in one sentence.
    pub because: Option<Clean>,
}
