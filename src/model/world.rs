//! The latest observations, with their times. Never recorded; empty after every start.

use super::command::Refusal;
use super::comparison::Compared;
use super::container::Container;
use super::effect::ServerSetting;
use super::metrics::MetricsReading;
use super::pipeline::StageResult;
use super::recorded::{is_one, is_yes, is_zero, one, yes};
use super::service::SmokeTest;
use super::verdict::Counters;
use super::{
    BalancerName, Clean, EffectId, MetricsName, Placement, ReleaseId, RolloutId, RunNumber,
    RuntimeName, ServerName, StageName, Stock,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What was seen of the world, by placement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct World {
    /// Time of the newest input.
    pub now_ms: u64,
    /// When this engine began to look; nothing was seen before.
    pub since_ms: u64,
    /// Views by placement.
    pub placements: BTreeMap<Placement, PlacementWorld>,
    /// Attempts of stages that this engine began, by their intent; the newest only.
    pub stages: BTreeMap<EffectId, StageView>,
}

/// What was seen of one placement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlacementWorld {
    /// Its balancers.
    pub balancers: BTreeMap<BalancerName, BalancerView>,
    /// Its runtimes.
    pub runtimes: BTreeMap<RuntimeName, RuntimeView>,
    /// Its sources of metrics.
    pub metrics: BTreeMap<MetricsName, MetricsView>,
    /// Our own probes, by server.
    pub probes: BTreeMap<ServerName, ProbeLog>,
    /// What each instance used, by server, oldest first.
    pub usage: BTreeMap<ServerName, VecDeque<UsageSample>>,
    /// The newest smoke run.
    pub smoke: Option<SmokeReport>,
    /// What failed instances left, by server.
    pub evidence: BTreeMap<ServerName, EvidenceView>,
    /// When a start or stop was last tried, by server.
    pub attempts: BTreeMap<ServerName, u64>,
    /// What its runtimes have of releases that may be gone back to.
    pub stock: BTreeMap<RuntimeName, StockView>,
    /// What the comparison of a rollout's counts with stable's says so far.
    pub compared: Option<(RolloutId, Compared)>,
}

/// An attempt of a stage, as far as this engine saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageView {
    /// Of which run.
    pub run: RunNumber,
    /// Which stage.
    pub stage: StageName,
    /// Whether it is under way, or was; otherwise it is still to begin.
    pub begun: bool,
    /// When it was last told to end.
    pub told_to_end_ms: Option<u64>,
    /// What it came to.
    pub result: Option<StageResult>,
    /// Why its deploy was refused, and when.
    pub refused: Option<(u64, Refusal)>,
}

/// What one runtime has of releases that may be gone back to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StockView {
    /// When it was last asked.
    pub tried_ms: u64,
    /// What was found out then, by release.
    pub found: BTreeMap<ReleaseId, Stock>,
}

/// A balancer as last read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BalancerView {
    /// When it was last read with success.
    pub read_ms: Option<u64>,
    /// When reading it was last tried.
    pub tried_ms: u64,
    /// What that reading said.
    pub reading: BalancerReading,
    /// Why it could not be read since.
    pub trouble: Option<Clean>,
    /// What made it unfit for a rollout when it was last looked over.
    pub unfit: Vec<Clean>,
    /// What people should expect of it, by the same look.
    pub notes: Vec<Clean>,
    /// What this engine last set and saw applied, in the balancer's present process.
    pub asserted: Option<BTreeMap<ServerName, ServerSetting>>,
    /// Servers that a process which is gone may still be serving, and since when: what is left of
    /// a reload is seen by nobody.
    pub lingering: BTreeMap<ServerName, u64>,
    /// When this engine last set it. No sample reaches over it: a step begins there, and is judged by
    /// samples that lie within it.
    pub set_ms: Option<u64>,
    /// What each server answered through it, in intervals of about a second, oldest first.
    pub samples: BTreeMap<ServerName, VecDeque<Sample>>,
    /// What each server answered through it that was not compared with anything yet.
    pub unjudged: BTreeMap<ServerName, Unjudged>,
}

/// What one server answered since a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unjudged {
    /// Since when.
    pub from_ms: u64,
    /// What was counted.
    pub counters: Counters,
}

/// One whole reading of a balancer's backend.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BalancerReading {
    /// Identity of the balancer's process (pid and start); counters and sessions belong to it.
    pub epoch: String,
    /// What it says it is, with its version: "HAProxy 2.6.12".
    #[serde(default)]
    pub software: Clean,
    /// Its servers.
    pub servers: BTreeMap<ServerName, ServerView>,
}

impl BalancerReading {
    /// How each server is set, whatever else is seen of it.
    pub fn settings(&self) -> BTreeMap<ServerName, ServerSetting> {
        let setting = |view: &ServerView| ServerSetting {
            admin: view.admin,
            weight: view.weight,
        };
        self.servers
            .iter()
            .map(|(server, view)| (server.clone(), setting(view)))
            .collect()
    }
}

/// Whether a server may get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// By its weight.
    Ready,
    /// Only those that stick to it.
    Drain,
    /// None.
    Maintenance,
}

/// One server as a balancer sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Whether it may get requests.
    pub admin: Admin,
    /// Its effective weight, 0–256.
    pub weight: u16,
    /// Whether the balancer holds it for usable.
    pub up: bool,
    /// Requests and upgraded connections it is serving.
    pub sessions: u64,
    /// Counted since the balancer's process began.
    pub counters: Counters,
}

impl ServerView {
    /// The weight it really gets requests by: 0 unless ready and up.
    pub fn effective_weight(&self) -> u64 {
        match (self.admin, self.up) {
            (Admin::Ready, true) => u64::from(self.weight),
            _ => 0,
        }
    }
}

/// What one server answered in one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Beginning of the interval.
    pub from_ms: u64,
    /// End of the interval.
    pub to_ms: u64,
    /// What was counted in it.
    pub counters: Counters,
}

/// What one instance used at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageSample {
    /// When.
    pub at_ms: u64,
    /// Of which release.
    pub release: ReleaseId,
    /// CPU used ÷ what it may use, 0–1.
    pub cpu: Option<f64>,
    /// Memory used ÷ what it may use, 0–1.
    pub memory: Option<f64>,
}

/// A runtime as last read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeView {
    /// When it was last read with success.
    pub read_ms: Option<u64>,
    /// When that reading was begun: what happened before it shows in it, what came after may not.
    pub began_ms: Option<u64>,
    /// When reading it was last tried.
    pub tried_ms: u64,
    /// When it first said that something happened there, of which no reading was begun since.
    pub hinted_ms: Option<u64>,
    /// What that reading said.
    pub reading: RuntimeReading,
    /// Why it could not be read since.
    pub trouble: Option<Clean>,
    /// What made it unfit for a rollout when it was last looked over.
    pub unfit: Vec<Clean>,
    /// What people should expect of it, by the same look.
    pub notes: Vec<Clean>,
    /// What the image asked about was at that look, with the shape taken from elsewhere filled in.
    pub pinned: Option<Container>,
}

/// A source of metrics as last asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsView {
    /// When it last answered.
    pub read_ms: Option<u64>,
    /// When asking it was last tried.
    pub tried_ms: u64,
    /// Its newest answers with their times, oldest first.
    pub readings: VecDeque<(u64, MetricsReading)>,
    /// Why it has not answered since.
    pub trouble: Option<Clean>,
}

/// One whole reading of a runtime's instances of a placement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuntimeReading {
    /// Identity of the runtime's process.
    pub epoch: String,
    /// What it says it is, with its version.
    #[serde(default)]
    pub software: Clean,
    /// Its instances, by the server they stand behind.
    pub instances: BTreeMap<ServerName, InstanceView>,
}

/// One instance as a runtime sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// The release it was started for.
    pub release: ReleaseId,
    /// Process id, 0 when not running.
    pub pid: u32,
    /// When the running process was started.
    pub started_ms: u64,
    /// How often the runtime started it again.
    pub restarts: u32,
    /// Whether the runtime starts it again when it exits.
    pub keep_running: bool,
    /// Why it is not running; `None` while it runs or is about to begin.
    pub exited: Option<Clean>,
    /// What it waits for before it can begin, e.g. its image.
    #[serde(default)]
    pub waiting: Option<Clean>,
    /// What the runtime knows it by, e.g. a container's id.
    #[serde(default)]
    pub identity: Option<Clean>,
    /// Whether it was told to take no new work, as far as the runtime knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// Processor time used since the reading before, in percent of what it may use: of its limit,
    /// else of all processors of its machine.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
    /// Memory in use, without what the kernel would give back.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Memory it may use.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
}

impl InstanceView {
    /// An instance of a release of which nothing else is known: not running, never restarted.
    pub fn of(release: ReleaseId) -> Self {
        Self {
            release,
            pid: 0,
            started_ms: 0,
            restarts: 0,
            keep_running: false,
            exited: None,
            waiting: None,
            identity: None,
            quiet: false,
            cpu_percent: None,
            memory_bytes: None,
            memory_limit_bytes: None,
        }
    }
}

/// Newest lines of output that are kept of a failed instance.
pub const EVIDENCE_LINES_MAX: usize = 1_000;
/// Bytes of those lines together.
pub const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// What a failed instance left, as its runtime tells it. Holds no value of its environment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// What the runtime knows it by, e.g. a container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Clean>,
    /// Why it does not run; `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Clean>,
    /// With which code it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    #[serde(default)]
    pub out_of_memory: bool,
    /// What the runtime says went wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Clean>,
    /// The image it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Clean>,
    /// Program and arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Clean>,
    /// When it began, in Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended, in Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
    /// How often the runtime started it again.
    #[serde(default)]
    pub restarts: u32,
    /// Its newest output, oldest line first.
    #[serde(default)]
    pub log: VecDeque<Clean>,
    /// Lines before those that were read and are not kept; more may be lost.
    #[serde(default)]
    pub log_dropped: u64,
    /// Why its output could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_trouble: Option<Clean>,
}

impl Evidence {
    /// Keeps the newest of these lines, oldest first: at most [`EVIDENCE_LINES_MAX`], and
    /// [`EVIDENCE_BYTES_MAX`] together.
    pub fn keep_log(&mut self, lines: impl IntoIterator<Item = Clean>) {
        for line in lines {
            self.log.push_back(line);
            if self.log.len() > EVIDENCE_LINES_MAX {
                self.log.pop_front();
                self.log_dropped += 1;
            }
        }
        self.trim_log(EVIDENCE_BYTES_MAX);
    }

    /// Drops the oldest lines until the rest has at most so many bytes.
    pub fn trim_log(&mut self, bytes_max: usize) {
        let mut bytes: usize = self.log.iter().map(|line| line.as_str().len()).sum();
        while bytes > bytes_max {
            bytes -= self
                .log
                .pop_front()
                .map_or(bytes, |line| line.as_str().len());
            self.log_dropped += 1;
        }
    }
}

/// What was found out about the evidence of one failed instance.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceView {
    /// The release that failed; another one begins anew.
    pub release: ReleaseId,
    /// When it was last asked for.
    pub tried_ms: u64,
    /// How often it was asked for in vain.
    pub tries: u32,
    /// What it left, once that was read; the inner `None` says that there is nothing.
    pub found: Option<Option<Evidence>>,
}

/// Our own probes of one instance, newest last.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProbeLog {
    /// The release that was probed; another release begins a new log.
    pub release: Option<ReleaseId>,
    /// Time and result of the newest probes.
    pub results: VecDeque<(u64, bool)>,
    /// When a probe last ended.
    pub last_ms: u64,
    /// How long the newest probe took; `None` before the first.
    pub took_ms: Option<u64>,
    /// Why the newest failure failed.
    pub trouble: Option<Clean>,
}

impl ProbeLog {
    /// Probes passed without a failure since, up to now.
    pub fn passed_in_a_row(&self) -> u32 {
        self.results.iter().rev().take_while(|(_, ok)| *ok).count() as u32
    }

    /// The same, of those that ended after a time.
    pub fn passed_in_a_row_since(&self, since_ms: u64) -> u32 {
        let newest = self.results.iter().rev();
        let passed = newest.take_while(|(at_ms, ok)| *ok && *at_ms > since_ms);
        passed.count() as u32
    }

    /// Probes failed without a pass since, up to now.
    pub fn failed_in_a_row(&self) -> u32 {
        self.results.iter().rev().take_while(|(_, ok)| !*ok).count() as u32
    }
}

/// What a smoke run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeReport {
    /// The rollout it was made for.
    pub rollout: RolloutId,
    /// One result per test and instance.
    pub results: Vec<SmokeResult>,
    /// How long all of it took.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub took_ms: u64,
}

impl SmokeReport {
    /// The failures that end the rollout.
    pub fn failures(&self) -> impl Iterator<Item = &SmokeResult> {
        let failed = |result: &&SmokeResult| result.trouble.is_some() && result.critical;
        self.results.iter().filter(failed)
    }

    /// The failures that only warn.
    pub fn warnings(&self) -> impl Iterator<Item = &SmokeResult> {
        let warns = |result: &&SmokeResult| result.trouble.is_some() && !result.critical;
        self.results.iter().filter(warns)
    }
}

/// One smoke test's result on one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeResult {
    /// The test's name.
    pub test: String,
    /// The instance asked.
    pub server: ServerName,
    /// HTTP status of the last answer; `None` where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the last attempt took.
    pub took_ms: u64,
    /// Attempts made; 0 where the time for all tests was over before the first.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempts: u32,
    /// Whether its failure ends the rollout; else it is a warning.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub critical: bool,
    /// What was wrong; `None` when it passed.
    pub trouble: Option<Clean>,
}

impl SmokeResult {
    /// A test that passed at the first attempt.
    pub fn passed(test: &SmokeTest, server: &ServerName, took_ms: u64) -> Self {
        Self {
            test: test.name.to_string(),
            server: server.clone(),
            status: None,
            took_ms,
            attempts: 1,
            critical: test.critical,
            trouble: None,
        }
    }
}
