//! What the records say. Folded from the history alone, so every engine that reads the same
//! history holds the same state.

use super::command::{Refusal, Urgency};
use super::entry::{Actor, Shares, WeightReason};
use super::pipeline::Pipelines;
use super::service::{Release, ServiceSpec, Step};
use super::strategy::Strategy;
use super::verdict::{Verdict, VerdictClass};
use super::world::SmokeReport;
use super::{
    BalancerName, Clean, EffectId, Placement, ReleaseId, RequestId, RolloutId, RolloutNumber, Seq,
    ServerName, Version,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Everything that is recorded, folded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// The last record folded.
    pub seq: Seq,
    /// When it was made.
    pub at_ms: u64,
    /// Rollouts begun so far.
    pub rollouts: u64,
    /// The record that began the running engine.
    pub engine_seq: Seq,
    /// Whether a newer Wheelhouse wrote something this one cannot read: look, do not drive.
    pub newer: bool,
    /// By placement.
    pub placements: BTreeMap<Placement, PlacementState>,
    /// The newest deploys that carried a request id, oldest first; the history knows all.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub requests: VecDeque<Requested>,
    /// Pipelines and their runs.
    #[serde(default, skip_serializing_if = "Pipelines::is_empty")]
    pub pipelines: Pipelines,
}

impl State {
    /// The deploy that a request began, if it is among the newest.
    pub fn requested(&self, id: &RequestId) -> Option<&Requested> {
        self.requests.iter().rev().find(|request| request.id == *id)
    }
}

/// A deploy that carried a request id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// What the asker called it.
    pub id: RequestId,
    /// The rollout it began.
    pub number: RolloutNumber,
    /// Where.
    pub placement: Placement,
    /// Of which version.
    pub version: Version,
}

impl Requested {
    /// The rollout it began, for whoever asks for the same deploy again.
    ///
    /// # Errors
    /// [`Refusal::Impossible`] for any other deploy: an id names one request for ever.
    pub fn check(
        &self,
        placement: &Placement,
        version: &Version,
    ) -> Result<RolloutNumber, Refusal> {
        if self.placement == *placement && self.version == *version {
            return Ok(self.number);
        }
        Err(Refusal::Impossible {
            why: Clean::new(&format!(
                "request {} began {}, the deploy of {} {}; give another deploy another id",
                self.id, self.number, self.placement, self.version
            )),
        })
    }
}

/// What is recorded of one service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementState {
    /// The settings of its newest rollout.
    pub spec: ServiceSpec,
    /// Releases that still matter: verified ones, warm ones, the rollout's.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// Releases that passed everything, oldest first; the last is stable.
    pub verified: Vec<ReleaseId>,
    /// Verified releases that were rolled back from: no rollback goes there unasked.
    pub withdrawn: BTreeSet<ReleaseId>,
    /// What stands behind which server.
    pub instances: BTreeMap<ServerName, Instance>,
    /// How traffic is to be shared, since the newest intent.
    pub weight: Option<WeightIntent>,
    /// The open rollout.
    pub rollout: Option<Rollout>,
    /// The newest closed rollout.
    pub last: Option<Closed>,
    /// Releases out of traffic, and when each may go.
    pub warm: BTreeMap<ReleaseId, u64>,
    /// The newest drift record, so that one drift is told once.
    pub drift: Option<DriftTold>,
    /// The newest refusal, so that a storm of them leaves one record.
    pub refused: Option<RefusalTold>,
    /// Servers that a person took out of traffic; what stands behind them stays.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out: BTreeSet<ServerName>,
}

impl PlacementState {
    /// The last verified release: where traffic returns to.
    pub fn stable(&self) -> Option<ReleaseId> {
        self.verified.last().copied()
    }

    /// The release that is not stable and may have traffic: the open rollout's.
    pub fn canary(&self) -> Option<ReleaseId> {
        let release = self.rollout.as_ref()?.release;
        (self.stable() != Some(release)).then_some(release)
    }

    /// Servers standing for a release, whatever their status.
    pub fn servers_of(&self, release: ReleaseId) -> impl Iterator<Item = (&ServerName, &Instance)> {
        self.instances
            .iter()
            .filter(move |(_, instance)| instance.release == release)
    }

    /// Where a rollback goes unasked: the newest verified release before stable that was not
    /// itself rolled back from.
    pub fn previous(&self) -> Option<ReleaseId> {
        let before = self.verified.len().checked_sub(1)?;
        self.verified[..before]
            .iter()
            .rev()
            .find(|id| !self.withdrawn.contains(id))
            .copied()
    }

    /// Servers nothing stands behind.
    pub fn free_servers(&self) -> impl Iterator<Item = &ServerName> {
        self.spec
            .servers
            .iter()
            .map(|server| &server.name)
            .filter(|name| !self.instances.contains_key(name))
    }

    /// The intended share of a release in percent.
    pub fn share(&self, release: ReleaseId) -> u8 {
        self.weight
            .as_ref()
            .and_then(|intent| intent.shares.get(&release).copied())
            .unwrap_or(0)
    }
}

/// What stands behind a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The release it is of.
    pub release: ReleaseId,
    /// The intent that began or ends it.
    pub intent: EffectId,
    /// The rollout that was open when it was begun.
    #[serde(default)]
    pub rollout: Option<RolloutNumber>,
    /// Since when it has its status.
    pub since_ms: u64,
    /// How far it is.
    pub status: InstanceStatus,
    /// What becomes of what it leaves.
    #[serde(default, skip_serializing_if = "EvidenceStatus::is_none")]
    pub evidence: EvidenceStatus,
}

/// What becomes of what an instance leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceStatus {
    /// It did not fail.
    #[default]
    None,
    /// It failed; what it left is to be read.
    Wanted,
    /// It is recorded.
    Kept,
}

impl EvidenceStatus {
    /// Whether the instance did not fail.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Instance {
    /// Whether it is up or on its way to it.
    pub fn is_standing(&self) -> bool {
        matches!(self.status, InstanceStatus::Starting | InstanceStatus::Up)
    }

    /// Whether it is out of traffic for good, or being stopped.
    pub fn is_leaving(&self) -> bool {
        matches!(
            self.status,
            InstanceStatus::Draining { .. } | InstanceStatus::Stopping
        )
    }
}

/// How far an instance is, by the records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum InstanceStatus {
    /// Being started, not yet seen healthy.
    Starting,
    /// Seen healthy.
    Up,
    /// Failed.
    Failed {
        /// Why.
        why: Clean,
    },
    /// Out of traffic for good, waiting to be idle.
    Draining {
        /// The balancers' processes when that began.
        epochs: BTreeMap<BalancerName, String>,
        /// When it was told to take no new work; absent: it was not, or need not be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quiet_ms: Option<u64>,
    },
    /// Being stopped.
    Stopping,
}

/// How traffic is to be shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightIntent {
    /// Its record.
    pub id: EffectId,
    /// When it was intended.
    pub at_ms: u64,
    /// The shares.
    pub shares: Shares,
    /// The shares before it.
    pub before: Shares,
    /// Why.
    pub reason: WeightReason,
    /// Once every balancer confirmed it: their processes then.
    pub settled: Option<BTreeMap<BalancerName, String>>,
}

/// What kind of rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutKind {
    /// A new release, step by step.
    Deploy,
    /// A verified release, in one move.
    Rollback,
    /// The stable release's instances, each begun anew.
    Restart,
    /// The stable release once more, to the first step and back: an exercise.
    Drill,
}

impl RolloutKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deploy, Self::Rollback, Self::Restart, Self::Drill];

    /// Its name, as stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
            Self::Drill => "drill",
        }
    }

    /// What comes before a version in a sentence.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Deploy => "deploy of",
            Self::Rollback => "rollback to",
            Self::Restart => "restart of",
            Self::Drill => "drill with",
        }
    }

    /// Whether it brings a release that is not verified yet, and is judged.
    pub fn is_judged(self) -> bool {
        matches!(self, Self::Deploy | Self::Drill)
    }
}

/// Why a drill that went as rehearsed returned its traffic.
pub const DRILL_OVER: &str = "the drill is over";

/// An open rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its identity.
    pub id: RolloutId,
    /// Its number for people.
    pub number: RolloutNumber,
    /// Deploy or rollback.
    pub kind: RolloutKind,
    /// The release it brings.
    pub release: ReleaseId,
    /// The release that had the traffic; `None` on a first deploy.
    pub from: Option<ReleaseId>,
    /// Who began it.
    pub by: Actor,
    /// When.
    pub started_ms: u64,
    /// Rises when what a command would do changes.
    pub revision: u64,
    /// How far it is.
    pub phase: Phase,
    /// Steps entered so far; 0 before the first.
    pub step: usize,
    /// Steps passed, with when.
    pub passed: Vec<(usize, u64)>,
    /// Whether automatic progress is stopped, and why.
    pub hold: Option<Hold>,
    /// The newest recorded verdict.
    pub verdict: Option<Verdict>,
    /// What the smoke tests found.
    pub smoke: Option<SmokeReport>,
    /// Whether the new release ever had traffic.
    pub had_traffic: bool,
    /// How much is checked before traffic moves.
    #[serde(default, skip_serializing_if = "Urgency::is_ordinary")]
    pub urgency: Urgency,
    /// The time without service that it caused, where its strategy has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// The rollout this one moves with, where it is of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_by: Option<RolloutId>,
}

/// Time in which nothing served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// When the old instances were taken out of traffic.
    pub since_ms: u64,
    /// When the balancers showed the traffic on the new ones, or an old one was up again.
    pub until_ms: Option<u64>,
}

impl Rollout {
    /// The steps it takes: the strategy's; only the first for a drill; one move to 100 % for a
    /// rollback beside the old set, and where nothing stable exists to take over from.
    pub fn steps(&self, spec: &ServiceSpec) -> Vec<Step> {
        let mut all = spec.steps();
        let at_once = self.kind == RolloutKind::Rollback && !self.is_by_batches(spec);
        match (self.kind, at_once || self.from.is_none()) {
            (_, true) => all.split_off(all.len().saturating_sub(1)),
            (RolloutKind::Drill, _) => {
                all.truncate(1);
                all
            }
            _ => all,
        }
    }

    /// New instances that stand before the first of them gets traffic.
    pub fn first_instances(&self, spec: &ServiceSpec) -> u32 {
        match &spec.strategy {
            Strategy::Rolling(settings) if self.is_by_batches(spec) => {
                settings.replaced(1, spec.instances)
            }
            _ if self.kind == RolloutKind::Rollback => spec.instances,
            _ => spec.canary_instances(),
        }
    }

    /// Whether it replaces instances a batch at a time. A rollback does so only where the servers
    /// do not suffice for both sets.
    pub fn is_by_batches(&self, spec: &ServiceSpec) -> bool {
        let rolling = matches!(spec.strategy, Strategy::Rolling(_)) && self.from.is_some();
        let both_fit = spec.servers.len() >= 2 * spec.instances as usize;
        rolling && !(self.kind == RolloutKind::Rollback && both_fit)
    }

    /// The class of the newest recorded verdict.
    pub fn verdict_class(&self) -> VerdictClass {
        self.verdict
            .as_ref()
            .map_or(VerdictClass::Inconclusive, |verdict| verdict.class)
    }

    /// Whether traffic is on its way back.
    pub fn is_reverting(&self) -> bool {
        matches!(self.phase, Phase::Reverting { .. })
    }
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Instances are being started and probed, then put to the smoke tests.
    Starting {
        /// Since when.
        since_ms: u64,
    },
    /// The balancers are being set.
    Shifting {
        /// Since when.
        since_ms: u64,
    },
    /// The new release is watched at a share.
    Soaking {
        /// Since when.
        since_ms: u64,
    },
    /// Traffic is on its way back.
    Reverting {
        /// Since when.
        since_ms: u64,
        /// Why, in one sentence.
        cause: Clean,
    },
}

impl Phase {
    /// When it began.
    pub fn since_ms(&self) -> u64 {
        match self {
            Self::Starting { since_ms }
            | Self::Shifting { since_ms }
            | Self::Soaking { since_ms }
            | Self::Reverting { since_ms, .. } => *since_ms,
        }
    }
}

/// Automatic progress is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since_ms: u64,
    /// Why.
    pub why: HoldReason,
}

/// Why automatic progress is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum HoldReason {
    /// A person wanted it.
    Person {
        /// Who.
        by: Actor,
        /// Why.
        reason: Option<Clean>,
    },
    /// The new release has less traffic than intended, and nothing explains it.
    Drift {
        /// What was seen.
        text: Clean,
    },
    /// The judge had no data for too long.
    NoData,
    /// Too few requests came, even in the longest soak.
    TooFewRequests,
    /// The soak ended without a verdict that lets it go on.
    Inconclusive,
    /// The next step would put too much on the new instances that are up.
    Capacity {
        /// How much, and what would do.
        text: Clean,
    },
    /// The step asks for a person.
    PauseStep,
    /// The idle slot is verified, and a person begins the switch.
    Switch,
    /// Something a forward move depends on cannot be seen: a host, or a balancer.
    OutOfSight {
        /// Which, and why.
        text: Clean,
    },
    /// The balancer does not take the weight.
    Shift {
        /// What it says.
        text: Clean,
    },
}

/// How a rollout stands. The words of the history's `deployment_status` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded, not begun.
    Pending,
    /// Open, held ones too.
    InProgress,
    /// The new release has all traffic and is verified.
    Succeeded,
    /// Ended before the new release had traffic.
    Failed,
    /// The new release had traffic and lost it.
    RolledBack,
}

impl Status {
    /// The word, as stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// The newest closed rollout, for screens and `wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Its identity.
    pub id: RolloutId,
    /// Its number for people.
    pub number: RolloutNumber,
    /// Deploy or rollback.
    pub kind: RolloutKind,
    /// The release it brought.
    pub release: ReleaseId,
    /// The release that had the traffic before.
    pub from: Option<ReleaseId>,
    /// How it ended.
    pub status: Status,
    /// When.
    pub at_ms: u64,
    /// In one sentence.
    pub because: Clean,
    /// The verdict it ended with.
    pub verdict: Option<Verdict>,
    /// The rollout it moved with, where it was of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_by: Option<RolloutId>,
}

/// A drift that was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftTold {
    /// The weight intent it was found against.
    pub intent: EffectId,
    /// When.
    pub at_ms: u64,
}

/// A refusal that was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefusalTold {
    /// When.
    pub at_ms: u64,
}
