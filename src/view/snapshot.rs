//! What a screen can show, as plain data.

use crate::model::input::EngineInfo;
use crate::model::verdict::{RuleState, VerdictClass};
use crate::model::world::SmokeResult;
use crate::model::{
    BalancerName, Clean, Placement, ReleaseId, RolloutId, RolloutKind, RolloutNumber, Seq,
    ServerName, Status, Version,
};
use serde::{Deserialize, Serialize};

/// The engine and everything it steers, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The engine itself.
    pub engine: EngineView,
    /// Every configured or recorded placement, by name.
    pub placements: Vec<PlacementView>,
}

impl Snapshot {
    /// One placement's view.
    pub fn placement(&self, placement: &Placement) -> Option<&PlacementView> {
        self.placements
            .iter()
            .find(|view| view.placement == *placement)
    }
}

/// The engine itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineView {
    /// Who it is.
    pub info: EngineInfo,
    /// Its time now.
    pub now_ms: u64,
    /// When it started.
    pub started_ms: u64,
    /// The last durable record.
    pub seq: Seq,
    /// Why the history cannot be written; `None` while it can.
    pub history_trouble: Option<Clean>,
    /// A newer Wheelhouse wrote this history: this engine only looks.
    pub newer: bool,
    /// Who is attached with a console.
    pub consoles: Vec<Attached>,
    /// Balancers that another engine steers.
    #[serde(default)]
    pub read_only: Vec<ReadOnly>,
    /// The newest records for people, oldest first: who did what, and what the engine did.
    pub timeline: Vec<TimelineRow>,
}

/// A console that is attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// The person, as the kernel says.
    pub user: Clean,
    /// Since when.
    pub since_ms: u64,
}

/// A balancer that another engine steers: this one only looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadOnly {
    /// Which one.
    pub balancer: BalancerName,
    /// Who steers it, since when, and what to do about it.
    pub why: Clean,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineRow {
    /// The record.
    pub seq: Seq,
    /// When.
    pub at_ms: u64,
    /// Who.
    pub actor: Clean,
    /// Where; `None` for the engine itself.
    pub placement: Option<Placement>,
    /// What, in one line.
    pub text: Clean,
}

/// One service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    /// Which one.
    pub placement: Placement,
    /// Whether forward moves ask for the environment's name.
    pub protected: bool,
    /// The release that traffic returns to; `None` before the first deploy succeeded.
    pub stable: Option<ReleaseView>,
    /// The open rollout.
    pub rollout: Option<RolloutView>,
    /// The newest closed rollout.
    pub last: Option<ClosedView>,
    /// Traffic of the new release: wanted, applied, observed.
    pub traffic: TrafficView,
    /// What stands behind each server in use.
    pub instances: Vec<InstanceRow>,
    /// Canary against stable, with limits.
    pub metrics: Vec<MetricRow>,
    /// How the key metrics moved.
    pub trends: Vec<Trend>,
    /// The rollback tree with its live values.
    pub tree: Vec<TreeRow>,
    /// Where `rollback` would go, and how ready that is.
    pub rollback: Option<RollbackView>,
    /// The peers, one word each ("haproxy ok 3 ms", "host not answering since 12:03:40").
    pub peers: Vec<PeerView>,
}

/// A release, as people know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Its identity.
    pub id: ReleaseId,
    /// Its version.
    pub version: Version,
}

/// An open rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its identity.
    pub id: RolloutId,
    /// Its number for people.
    pub number: RolloutNumber,
    /// Deploy or rollback.
    pub kind: RolloutKind,
    /// What it brings.
    pub release: ReleaseView,
    /// What had the traffic before; `None` on a first deploy.
    pub from: Option<ReleaseView>,
    /// Who began it.
    pub by: Clean,
    /// When.
    pub started_ms: u64,
    /// What promote and resume must carry.
    pub revision: u64,
    /// How far it is.
    pub phase: PhaseView,
    /// The stages in order: start, smoke, each step, done.
    pub stages: Vec<StageView>,
    /// What the smoke tests found; `None` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<SmokeView>,
    /// Why automatic progress is stopped; `None` while it goes on.
    pub hold: Option<HoldView>,
    /// The judge's word.
    pub verdict: VerdictClass,
    /// The judge's reason, in one sentence.
    pub because: Clean,
    /// What the engine will do next by itself, and what it waits for ("step 25 % in 01:48").
    pub next: Clean,
    /// When that is at the earliest; `None` when nobody knows.
    pub next_ms: Option<u64>,
}

/// The phase, as a word screens show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseView {
    /// Instances are being started.
    Starting,
    /// Smoke requests are being answered.
    Smoking,
    /// The balancers are being set.
    Shifting,
    /// The new release is watched.
    Soaking,
    /// Traffic is on its way back.
    Reverting,
}

/// One stage of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// "Start", "Smoke", "5%", … "Done".
    pub name: Clean,
    /// How it stands.
    pub state: StageState,
    /// What it found or waits for.
    pub detail: Clean,
    /// When it began; `None` before.
    pub began_ms: Option<u64>,
    /// How long it takes at least (a step's soak); `None` where nobody knows.
    pub length_ms: Option<u64>,
    /// Whether it went on although something was wrong; the detail says what.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warns: bool,
}

/// What the smoke tests found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeView {
    /// How long all of them took; 0 where it was not measured.
    pub took_ms: u64,
    /// How many passed, counted per test and instance.
    pub passed: usize,
    /// How many failed without ending the rollout.
    pub warned: usize,
    /// How many failed and ended it.
    pub failed: usize,
    /// The first 50 results, failures first.
    pub results: Vec<SmokeResult>,
}

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Not begun.
    Todo,
    /// Under way.
    Running,
    /// Stopped until a person or data comes.
    Held,
    /// Done.
    Passed,
    /// Went wrong.
    Failed,
    /// Left out.
    Skipped,
}

/// Why automatic progress is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Since when.
    pub since_ms: u64,
    /// Whether a person wanted it (else the engine did).
    pub by_person: bool,
    /// In one sentence, with what would release it.
    pub text: Clean,
}

/// A closed rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedView {
    /// Its identity.
    pub id: RolloutId,
    /// Its number for people.
    pub number: RolloutNumber,
    /// Deploy or rollback.
    pub kind: RolloutKind,
    /// What it brought.
    pub release: ReleaseView,
    /// How it ended.
    pub status: Status,
    /// When.
    pub at_ms: u64,
    /// In one sentence.
    pub because: Clean,
}

/// The new release's share of traffic in percent, three ways. All `None` without open rollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrafficView {
    /// As the history intends.
    pub wanted_percent: Option<f64>,
    /// As the balancers' effective weights say.
    pub applied_percent: Option<f64>,
    /// As counted requests of the last seconds say.
    pub observed_percent: Option<f64>,
    /// Requests per second over all servers; `None` before two readings.
    pub requests_per_s: Option<f64>,
    /// When the balancers were last read; `None` before.
    pub read_ms: Option<u64>,
}

/// The role a release plays now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Traffic returns to it.
    Stable,
    /// The open rollout brings it.
    Canary,
    /// It had traffic and is kept for a while.
    Warm,
}

/// What stands behind one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// The server.
    pub server: ServerName,
    /// Where it listens.
    pub address: String,
    /// Its release's role.
    pub role: Role,
    /// Its release's version.
    pub version: Version,
    /// Its release.
    pub release: ReleaseId,
    /// The rollout that began it, where that is known.
    #[serde(default)]
    pub rollout: Option<RolloutNumber>,
    /// By the records: starting, up, failed, draining, stopping.
    pub status: Clean,
    /// Whether our own probe passes; `None` before the first.
    pub healthy: Option<bool>,
    /// At the balancer: "ready", "drain", "maint", "down"; empty before a reading.
    pub balancer: Clean,
    /// Its effective weight at the balancer.
    pub weight: Option<u16>,
    /// Requests in flight.
    pub sessions: Option<u64>,
    /// Requests counted since it stands there.
    pub requests: u64,
    /// Errors counted since it stands there.
    pub errors: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Its process id.
    pub pid: Option<u32>,
    /// When its process began.
    pub started_ms: Option<u64>,
    /// How long our own newest probe of it took; `None` before the first.
    #[serde(default)]
    pub probe_ms: Option<u64>,
    /// Why it is not running or not healthy.
    pub trouble: Option<Clean>,
}

/// One metric, canary against stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Its name for people: "error rate", "p99", "mean", "requests".
    pub name: Clean,
    /// Its unit: "%", "ms", "/s".
    pub unit: Clean,
    /// Stable's value.
    pub stable: Option<f64>,
    /// The canary's value.
    pub canary: Option<f64>,
    /// The limit in force, in the same unit.
    pub limit: Option<f64>,
    /// How it stands against the limit; `None` for figures nobody judges.
    pub state: Option<RuleState>,
    /// Requests looked at.
    pub samples: u64,
    /// Requests needed before it can judge.
    pub needs: u64,
    /// Where it comes from; empty for the balancers' counts and our own probes.
    #[serde(default)]
    pub source: Clean,
    /// Why there is no value to judge, where there is none.
    #[serde(default)]
    pub note: Option<Clean>,
}

/// How one metric moved: one value per bucket, oldest first; a gap is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// As in [`MetricRow::name`].
    pub name: Clean,
    /// As in [`MetricRow::unit`].
    pub unit: Clean,
    /// Length of a bucket.
    pub bucket_ms: u64,
    /// End of the newest bucket.
    pub until_ms: u64,
    /// The canary's values.
    pub canary: Vec<Option<f64>>,
    /// Stable's values.
    pub stable: Vec<Option<f64>>,
    /// The limit.
    pub limit: Option<f64>,
}

/// One question of the rollback tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeRow {
    /// "error rate > 5.00 %?"
    pub question: Clean,
    /// `Ok` is "no", `Broken` is "yes: roll back".
    pub state: RuleState,
    /// The live value, with unit.
    pub value: Clean,
}

/// Where `rollback` would go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollbackView {
    /// To which version.
    pub version: Version,
    /// How ready it is: "warm until 12:40", "starts anew".
    pub readiness: Clean,
    /// Until when it is warm; `None` when it must be started.
    pub warm_until_ms: Option<u64>,
}

/// A peer the engine depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name and kind.
    pub name: Clean,
    /// Why it does not answer; `None` while it does.
    pub trouble: Option<Clean>,
    /// When it last answered.
    pub read_ms: Option<u64>,
    /// Of a balancer: the open rollout's share by its effective weights, in percent.
    #[serde(default)]
    pub applied_percent: Option<f64>,
}
