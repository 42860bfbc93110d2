//! What the engine wants done, as data. The driver does it and reports an [`super::Input`].

use super::command::{Answer, Command};
use super::metrics::MetricsQuestion;
use super::pipeline::StageCall;
use super::service::{Backend, HealthCheck, QuietSignal, SmokeTest, Workload};
use super::world::Admin;
use super::{
    Actor, BalancerName, Clean, EffectId, MetricsName, Placement, Record, ReleaseId, RolloutId,
    RolloutNumber, RunId, RunNumber, RuntimeName, ServerName, StageName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a server is to be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSetting {
    /// Whether it may get requests.
    pub admin: Admin,
    /// Its weight, 0–256.
    pub weight: u16,
}

impl ServerSetting {
    /// Out of traffic.
    pub const OUT: Self = Self {
        admin: Admin::Maintenance,
        weight: 0,
    };

    /// In traffic by a weight.
    pub fn ready(weight: u16) -> Self {
        Self {
            admin: Admin::Ready,
            weight,
        }
    }
}

/// Something to be done in the world. Absolute and idempotent; done twice it does no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Read one backend of a balancer.
    ReadBalancer {
        /// For which placement.
        placement: Placement,
        /// Which backend.
        backend: Backend,
    },
    /// Read the placement's instances from a runtime.
    ReadRuntime {
        /// For which placement.
        placement: Placement,
        /// Which runtime.
        runtime: RuntimeName,
    },
    /// Ask a source of metrics for what it supplies.
    ReadMetrics {
        /// For which placement.
        placement: Placement,
        /// Which source.
        source: MetricsName,
        /// About which releases.
        question: Box<MetricsQuestion>,
    },
    /// Ask one instance whether it is healthy.
    Probe {
        /// For which placement.
        placement: Placement,
        /// The server it stands behind.
        server: ServerName,
        /// Where it listens.
        address: SocketAddr,
        /// The release it is meant to be.
        release: ReleaseId,
        /// What to ask.
        check: Box<HealthCheck>,
    },
    /// Put each instance to the smoke tests.
    Smoke {
        /// For which placement.
        placement: Placement,
        /// For which rollout.
        rollout: RolloutId,
        /// What to ask.
        tests: Vec<SmokeTest>,
        /// For all of them together; what is not over then has failed.
        limit_ms: u64,
        /// To whom.
        instances: BTreeMap<ServerName, SocketAddr>,
    },
    /// Set servers of one backend, then read it back.
    SetWeights {
        /// The intent behind it.
        id: EffectId,
        /// For which placement.
        placement: Placement,
        /// Which backend.
        backend: Backend,
        /// What each server is to be, in the order in which they are to be changed.
        settings: Vec<(ServerName, ServerSetting)>,
    },
    /// Start an instance behind a server (or let a running one of the same release be), then read
    /// it back.
    StartInstance {
        /// The intent behind it.
        id: EffectId,
        /// For which placement.
        placement: Placement,
        /// Where.
        runtime: RuntimeName,
        /// The server it will stand behind.
        server: ServerName,
        /// Where it must listen.
        address: SocketAddr,
        /// The release it is.
        release: ReleaseId,
        /// How it is started.
        workload: Workload,
        /// Whether the runtime starts it again when it exits.
        keep_running: bool,
        /// The rollout that was open when it was intended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout: Option<RolloutNumber>,
    },
    /// Stop an instance and forget it, then read back.
    StopInstance {
        /// The intent behind it.
        id: EffectId,
        /// For which placement.
        placement: Placement,
        /// Where.
        runtime: RuntimeName,
        /// The server it stands behind.
        server: ServerName,
        /// Between the polite and the final signal.
        grace_ms: u64,
        /// Whether it failed: what it leaves is kept for a while where the runtime can.
        #[serde(default)]
        failed: bool,
    },
    /// Tell a worker to take no new work, and let it end for good when it is done, then read back.
    /// Where nobody knows whether it was told it is told again.
    QuietInstance {
        /// The intent behind it.
        id: EffectId,
        /// For which placement.
        placement: Placement,
        /// Where.
        runtime: RuntimeName,
        /// The server it stands behind.
        server: ServerName,
        /// What tells it.
        signal: QuietSignal,
    },
    /// Read what a failed instance left.
    ReadEvidence {
        /// For which placement.
        placement: Placement,
        /// Where it ran.
        runtime: RuntimeName,
        /// The server it stood behind.
        server: ServerName,
        /// The release it was of.
        release: ReleaseId,
    },
    /// Ask a runtime what is still to be had of releases that may be gone back to.
    ReadStock {
        /// For which placement.
        placement: Placement,
        /// Which runtime.
        runtime: RuntimeName,
        /// Which releases, and how they would be begun.
        releases: Vec<(ReleaseId, Workload)>,
    },
    /// Do an attempt of a pipeline's stage.
    RunStage {
        /// The intent behind it.
        id: EffectId,
        /// The attempt.
        call: Box<StageCall>,
    },
    /// End a stage that is under way, with everything it began.
    CancelStage {
        /// The intent behind it.
        id: EffectId,
        /// The run.
        run: RunNumber,
        /// Its identity.
        run_id: RunId,
        /// The stage.
        stage: StageName,
    },
    /// Ask for the rollout that a stage is, as if a person did; asked twice it begins once.
    AskDeploy {
        /// The intent behind it.
        id: EffectId,
        /// The run.
        run: RunNumber,
        /// The stage.
        stage: StageName,
        /// On whose behalf.
        by: Actor,
        /// A deploy with the stage's own request id.
        command: Box<Command>,
    },
    /// Wake the engine at this time.
    WakeAt {
        /// When.
        at_ms: u64,
    },
}

/// What an effect acts on. Only one is under way per key, so a late write meets no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKey {
    /// A placement's backend on a balancer: reads and writes.
    Balancer(Placement, BalancerName),
    /// A placement's instances on a runtime: reads.
    Runtime(Placement, RuntimeName),
    /// A placement's questions to a source of metrics.
    Metrics(Placement, MetricsName),
    /// One instance: start, quiet and stop.
    Instance(Placement, ServerName),
    /// One instance's probe.
    Probe(Placement, ServerName),
    /// A placement's smoke run.
    Smoke(Placement),
    /// What one failed instance left.
    Evidence(Placement, ServerName),
    /// What a runtime has of releases that may be gone back to.
    Stock(Placement, RuntimeName),
    /// One stage of a pipeline's run: an attempt, or its deploy.
    Stage(RunNumber, StageName),
    /// The end of a stage that is under way.
    StageCancel(RunNumber, StageName),
}

impl EffectKey {
    /// Where it is; `None` for what pipelines do.
    pub fn placement(&self) -> Option<&Placement> {
        Some(match self {
            Self::Balancer(placement, _)
            | Self::Runtime(placement, _)
            | Self::Metrics(placement, _)
            | Self::Instance(placement, _)
            | Self::Probe(placement, _)
            | Self::Smoke(placement)
            | Self::Stock(placement, _)
            | Self::Evidence(placement, _) => placement,
            Self::Stage(..) | Self::StageCancel(..) => return None,
        })
    }
}

impl Effect {
    /// What it acts on; `None` for a timer.
    pub fn key(&self) -> Option<EffectKey> {
        Some(match self {
            Self::ReadBalancer { placement, backend }
            | Self::SetWeights {
                placement, backend, ..
            } => EffectKey::Balancer(placement.clone(), backend.balancer.clone()),
            Self::ReadRuntime { placement, runtime } => {
                EffectKey::Runtime(placement.clone(), runtime.clone())
            }
            Self::ReadMetrics {
                placement, source, ..
            } => EffectKey::Metrics(placement.clone(), source.clone()),
            Self::StartInstance {
                placement, server, ..
            }
            | Self::QuietInstance {
                placement, server, ..
            }
            | Self::StopInstance {
                placement, server, ..
            } => EffectKey::Instance(placement.clone(), server.clone()),
            Self::Probe {
                placement, server, ..
            } => EffectKey::Probe(placement.clone(), server.clone()),
            Self::Smoke { placement, .. } => EffectKey::Smoke(placement.clone()),
            Self::ReadEvidence {
                placement, server, ..
            } => EffectKey::Evidence(placement.clone(), server.clone()),
            Self::ReadStock {
                placement, runtime, ..
            } => EffectKey::Stock(placement.clone(), runtime.clone()),
            Self::RunStage { call, .. } => EffectKey::Stage(call.number, call.stage.clone()),
            Self::AskDeploy { run, stage, .. } => EffectKey::Stage(*run, stage.clone()),
            Self::CancelStage { run, stage, .. } => EffectKey::StageCancel(*run, stage.clone()),
            Self::WakeAt { .. } => return None,
        })
    }

    /// The intent behind it; `None` for reads, probes and timers, which change nothing.
    pub fn id(&self) -> Option<EffectId> {
        match self {
            Self::SetWeights { id, .. }
            | Self::StartInstance { id, .. }
            | Self::QuietInstance { id, .. }
            | Self::StopInstance { id, .. }
            | Self::RunStage { id, .. }
            | Self::CancelStage { id, .. }
            | Self::AskDeploy { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Whether it changes the world.
    pub fn is_write(&self) -> bool {
        self.id().is_some()
    }

    /// How long it may take until its outcome is unknown.
    pub fn deadline_ms(&self) -> u64 {
        match self {
            Self::ReadBalancer { .. } | Self::SetWeights { .. } => BALANCER_DEADLINE_MS,
            Self::ReadRuntime { .. } => 2_000,
            Self::ReadMetrics { .. } => METRICS_DEADLINE_MS,
            Self::StartInstance { .. } => 10_000,
            Self::QuietInstance { .. } => 5_000,
            Self::StopInstance { grace_ms, .. } => grace_ms + 5_000,
            Self::Probe { check, .. } => check.timeout_ms,
            Self::Smoke { limit_ms, .. } => limit_ms + SMOKE_MARGIN_MS,
            Self::ReadEvidence { .. } => EVIDENCE_DEADLINE_MS,
            Self::ReadStock { .. } => STOCK_DEADLINE_MS,
            Self::RunStage { call, .. } => call.timeout_ms + STAGE_MARGIN_MS,
            Self::CancelStage { .. } => 1_000,
            Self::AskDeploy { .. } => ASK_DEPLOY_MS,
            Self::WakeAt { .. } => 0,
        }
    }
}

/// For one write to a balancer with its read-back.
pub const BALANCER_DEADLINE_MS: u64 = 1_000;

/// For a smoke run to report what its limit left undone.
const SMOKE_MARGIN_MS: u64 = 1_000;

/// For what a failed instance left, its output among it.
pub const EVIDENCE_DEADLINE_MS: u64 = 5_000;

/// For what a host and the registries say of the releases that may be gone back to.
pub const STOCK_DEADLINE_MS: u64 = 30_000;

/// For a stage whose time is up to end everything it began, and to say so.
const STAGE_MARGIN_MS: u64 = 20_000;

/// For the look at its peers that goes before a deploy, and for its record.
pub const ASK_DEPLOY_MS: u64 = 30_000;

/// For everything one judgement asks of a source of metrics.
pub const METRICS_DEADLINE_MS: u64 = 10_000;

/// What a turn asks of the shell around it.
#[expect(
    clippy::large_enum_variant,
    reason = "the commonest is the largest: a box would cost an allocation per effect"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make these records durable, in one transaction, then report it.
    Append(Vec<Record>),
    /// Do this and report it as settled within `deadline_ms` (absolute).
    Start {
        /// Echoed by the outcome; an outcome with an old ticket is late.
        ticket: u64,
        /// What to do.
        effect: Effect,
        /// When its outcome counts as unknown, in the engine's time.
        deadline_ms: u64,
    },
    /// Wake the engine at this time; a new one replaces the old.
    WakeAt(u64),
    /// Answer a command.
    Answer {
        /// The request that asked.
        request: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Open the history anew and report what its last record is.
    ReopenHistory,
    /// Something people should know that no record says.
    Say(Clean),
}
