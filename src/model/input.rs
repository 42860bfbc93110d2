//! Everything that can happen to the engine, in one closed list and one order.

use super::command::{Answer, Command, Refusal};
use super::container::Container;
use super::effect::EffectKey;
use super::metrics::MetricsReading;
use super::pipeline::StageResult;
use super::world::{BalancerReading, Evidence, RuntimeReading, SmokeReport};
use super::{
    Actor, BalancerName, Clean, EffectId, Entry, MetricsName, Placement, ReleaseId, RolloutId,
    RuntimeName, Seq, ServerName, Stock,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that happened, at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The engine's time; never runs backwards.
    pub now_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[expect(
    clippy::large_enum_variant,
    reason = "the commonest is the largest: a box would cost an allocation per answer"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// This engine process began.
    Started(EngineInfo),
    /// A person asked for something.
    Command(Asked),
    /// A person asked for what they may not.
    Denied(Denied),
    /// Something happened to the engine itself that belongs into the history.
    Fact(Fact),
    /// An effect ended, or was given up.
    Settled(Settled),
    /// A timer rang.
    Wake,
    /// A balancer was looked over, as before every deploy.
    Inspected(Inspection),
    /// A runtime was looked over, as before every deploy.
    RuntimeInspected(Box<RuntimeInspection>),
    /// A runtime said that something happened among its instances, or that it cannot be known
    /// whether something did: it is read soon. A hint only: nothing depends on one.
    RuntimeHinted {
        /// Which runtime.
        runtime: RuntimeName,
        /// Whose instances; `None` for anybody's.
        placement: Option<Placement>,
    },
    /// Records up to this one are durable.
    Appended {
        /// The last durable seq.
        last: Seq,
    },
    /// The append under way failed; nothing of it is durable.
    AppendFailed {
        /// Why.
        why: Clean,
    },
    /// The history was opened anew and its last record re-read.
    HistoryReopened {
        /// The last durable seq.
        last: Seq,
    },
}

/// A command with everything that may not be invented inside a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Ties the answer to the asker.
    pub request: u64,
    /// Who asked, as the kernel says.
    pub by: Actor,
    /// What for.
    pub command: Command,
    /// An unused id, should a rollout begin.
    pub rollout: RolloutId,
    /// An unused id, should a release be made.
    pub release: ReleaseId,
}

/// A command whose caller may not give it. It was not looked at, only refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// Ties the answer to the asker.
    pub request: u64,
    /// Who asked, as the kernel says.
    pub by: Actor,
    /// Where.
    pub placement: Placement,
    /// Which verb.
    pub verb: &'static str,
    /// Why not.
    pub refusal: Refusal,
}

/// What happened to the engine itself, to be recorded before it is acted on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Ties the answer to the asker.
    pub request: u64,
    /// Who caused it.
    pub by: Actor,
    /// What it is.
    pub entry: Box<Entry>,
}

/// Who this engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The machine's name.
    pub host: Clean,
    /// SHA-256 (hex) of the configuration it runs with.
    pub config_hash: String,
}

/// How a write ended. There is no fourth way, and "unknown" is not "failed".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The read-back shows it.
    Applied,
    /// Certainly nothing changed.
    Rejected {
        /// Why.
        why: Clean,
    },
    /// It may or may not have happened: read before anything else.
    Unknown {
        /// Why.
        why: Clean,
    },
}

/// An effect's end, with what was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The ticket it was started with.
    pub ticket: u64,
    /// What it acted on.
    pub key: EffectKey,
    /// The intent behind it, for writes.
    pub id: Option<EffectId>,
    /// How it ended. Reads and probes that gave an answer are `Applied`.
    pub outcome: Outcome,
    /// What was seen while doing it.
    pub seen: Option<Observation>,
}

/// Whether a balancer's backend is fit to carry a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Whose.
    pub placement: Placement,
    /// Which balancer.
    pub balancer: BalancerName,
    /// What makes it unfit, each line with the mend; an unread balancer is unfit too.
    pub unfit: Vec<Clean>,
    /// What people should expect of it.
    pub notes: Vec<Clean>,
}

/// Whether a runtime is fit to run a release.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeInspection {
    /// Whose.
    pub placement: Placement,
    /// Which runtime.
    pub runtime: RuntimeName,
    /// What makes it unfit, each line with the mend; an unread runtime is unfit too.
    pub unfit: Vec<Clean>,
    /// What people should expect of it.
    pub notes: Vec<Clean>,
    /// What the release's image is now; `None` where there is none, or it was not found out.
    pub pinned: Option<Container>,
}

/// Something seen of the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A balancer's backend.
    Balancer {
        /// Whose.
        placement: Placement,
        /// Which balancer.
        balancer: BalancerName,
        /// What it said, or why it did not.
        reading: Result<BalancerReading, Clean>,
    },
    /// A runtime's instances.
    Runtime {
        /// Whose.
        placement: Placement,
        /// Which runtime.
        runtime: RuntimeName,
        /// What it said, or why it did not.
        reading: Result<RuntimeReading, Clean>,
    },
    /// A source of metrics.
    Metrics {
        /// Whose.
        placement: Placement,
        /// Which source.
        source: MetricsName,
        /// What it said, or why it did not.
        reading: Result<MetricsReading, Clean>,
    },
    /// One probe.
    Probe {
        /// Whose.
        placement: Placement,
        /// Which instance.
        server: ServerName,
        /// The release it is meant to be.
        release: ReleaseId,
        /// How long it took; `None` when it was given up from outside.
        took_ms: Option<u64>,
        /// Whether it is healthy, else why not.
        result: Result<(), Clean>,
    },
    /// A smoke run.
    Smoke {
        /// Whose.
        placement: Placement,
        /// What it found.
        report: SmokeReport,
    },
    /// What a failed instance left.
    Evidence {
        /// Whose.
        placement: Placement,
        /// The server it stood behind.
        server: ServerName,
        /// The release it was of.
        release: ReleaseId,
        /// What it left, `None` when there is nothing of it; or why that could not be read.
        reading: Result<Option<Evidence>, Clean>,
    },
    /// What a runtime has of releases that may be gone back to.
    Stock {
        /// Whose.
        placement: Placement,
        /// Which runtime.
        runtime: RuntimeName,
        /// What was found out, by release.
        found: BTreeMap<ReleaseId, Stock>,
    },
    /// What an attempt of a pipeline's stage came to.
    Stage {
        /// The intent behind it.
        id: EffectId,
        /// What it came to.
        result: StageResult,
    },
    /// What became of a stage's deploy.
    Deploy {
        /// The intent behind it.
        id: EffectId,
        /// The answer to it.
        answer: Box<Answer>,
    },
}
