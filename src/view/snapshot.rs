//! What a screen can show, as plain data.

use super::pipeline::RunView;
use crate::model::input::EngineInfo;
use crate::model::strategy::Slot;
use crate::model::verdict::{RuleState, VerdictClass};
use crate::model::world::SmokeResult;
use crate::model::{
    BalancerName, Clean, Placement, ReleaseId, RolloutId, RolloutKind, RolloutNumber, RuntimeName,
    Seq, ServerName, Status, Stock, Version,
};
use serde::{Deserialize, Serialize};

/// The engine and everything it steers, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The engine itself.
    pub engine: EngineView,
    /// Every configured or recorded placement, by name.
    pub placements: Vec<PlacementView>,
    /// Open runs of pipelines and the newest ended ones, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunView>,
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
    /// Balancers and runtimes that another engine steers.
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

/// A balancer or runtime that another engine steers: this one only looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadOnly {
    /// Which balancer, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<BalancerName>,
    /// Which runtime, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
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
    /// How a new release takes over, as the configuration writes it; `None` before the first
    /// deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Clean>,
    /// Blue and green, where the strategy has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<SlotsView>,
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
    /// Every version that `rollback --to` could go to, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<ReadyView>,
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
    /// The stages in order, as the strategy has them.
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
    /// How far it is with its batches, where it replaces instances a batch at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchView>,
    /// The time without service that it caused, where its strategy has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<OutageView>,
    /// The parts that move with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartView>,
    /// The rollout it moves with, where it is of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves_with: Option<RolloutNumber>,
}

/// A part that moves with a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartView {
    /// Which one.
    pub placement: Placement,
    /// Its own rollout.
    pub number: RolloutNumber,
    /// New instances that are up.
    pub replaced: usize,
    /// Instances of the part.
    pub instances: usize,
    /// Whether its automatic progress is stopped.
    pub held: bool,
}

/// How far a rollout is that replaces instances a batch at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchView {
    /// The batch that is being replaced or was last, from 1.
    pub number: usize,
    /// Batches until every instance is replaced.
    pub of: usize,
    /// New instances that are up.
    pub replaced: usize,
    /// Instances of the service.
    pub instances: usize,
    /// Servers whose new instances are on their way up.
    pub starting: Vec<ServerName>,
    /// Servers whose old instances are on their way out.
    pub draining: Vec<ServerName>,
}

/// Time in which nothing served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageView {
    /// When the old instances were taken out of traffic.
    pub since_ms: u64,
    /// When the balancers showed the traffic on instances again; `None` while they do not.
    pub until_ms: Option<u64>,
}

/// Blue and green.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotsView {
    /// Which one is live, by the balancers' reading.
    pub live: LiveSlot,
    /// The same in one sentence, with what is odd about it.
    pub text: Clean,
    /// Blue, then green.
    pub slots: Vec<SlotView>,
}

impl SlotsView {
    /// One slot's view.
    pub fn of(&self, slot: Slot) -> Option<&SlotView> {
        self.slots.iter().find(|view| view.slot == slot)
    }
}

/// Which slot has the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveSlot {
    /// Blue alone, on every balancer.
    Blue,
    /// Green alone, on every balancer.
    Green,
    /// Both: on their way from one to the other, or the balancers differ.
    Both,
    /// No server of either has any.
    Neither,
    /// A balancer has not been read.
    Unknown,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotView {
    /// Which one.
    pub slot: Slot,
    /// Whether it has traffic on any balancer; `None` before a reading.
    pub serves: Option<bool>,
    /// What stands in it; `None` where nothing does.
    pub release: Option<ReleaseView>,
    /// The rollout that began what stands in it, where that is known.
    pub rollout: Option<RolloutNumber>,
    /// Instances that are up by the records and whose probe does not fail.
    pub up: usize,
    /// Instances of the service.
    pub needed: usize,
    /// Its share of traffic in percent as the history intends.
    pub wanted_percent: Option<f64>,
    /// As the balancers' effective weights say.
    pub applied_percent: Option<f64>,
    /// As counted requests of the last seconds say.
    pub observed_percent: Option<f64>,
    /// Until when it is kept for an instant rollback; `None` where it is not.
    pub warm_until_ms: Option<u64>,
    /// When all traffic was given to it, where it has it and that is recorded.
    pub since_ms: Option<u64>,
    /// The record that gave it.
    pub record: Option<Seq>,
    /// Who gave it, where the timeline still says so.
    pub by: Option<Clean>,
}

/// The phase, as a word screens show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseView {
    /// Instances are being started.
    Starting,
    /// Smoke requests are being answered.
    Smoking,
    /// Verified in the idle slot; a person begins the switch.
    Ready,
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
    /// "Start", "Smoke", "5%", "switch 10%", "batch 1/3", "stop old", "watch".
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
    /// Whether a person took it out of traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out: bool,
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
    /// Why there is no value to judge, where there is none; for a comparison what it says so far.
    #[serde(default)]
    pub note: Option<Clean>,
    /// The evidence of a comparison with stable.
    #[serde(default)]
    pub compared: Option<ComparedView>,
}

/// The evidence of a comparison with stable, so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedView {
    /// How much speaks for "worse than tolerated", as a betting score: 1 is nothing.
    pub evidence: f64,
    /// The evidence at which the release is taken back.
    pub enough: f64,
    /// The canary's odds of an event ÷ stable's.
    pub ratio: f64,
    /// Lower end of its interval.
    pub ratio_low: f64,
    /// Upper end; `None` if open.
    pub ratio_high: Option<f64>,
    /// Canary requests until an answer is likely; `None` if there is one or nobody can tell.
    pub needs_requests: Option<u64>,
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

/// A verified version, and what of it is there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyView {
    /// Which version.
    pub version: Version,
    /// Its release.
    pub release: ReleaseId,
    /// What is known of it.
    pub ready: Ready,
    /// Its instances that are up.
    pub up: usize,
    /// Until when they are kept; `None` where none is or nobody said.
    pub warm_until_ms: Option<u64>,
    /// Whether it was itself rolled back from: no rollback goes there unasked.
    pub withdrawn: bool,
    /// What each host still has of it; empty until they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostStock>,
}

/// What one host still has of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStock {
    /// Its runtime's name.
    pub runtime: RuntimeName,
    /// What was found out.
    pub stock: Stock,
    /// When.
    pub asked_ms: u64,
}

/// How much of a version is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// Its instances are up and kept for a while.
    Warm,
    /// Instances of it are there.
    Here,
    /// Its image was looked up and is pinned; its instances must be started.
    Pinned,
    /// It must be started anew; nothing more is known.
    Anew,
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
