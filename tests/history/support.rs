//! Records and states for the tests and measurements of the history.
#![allow(dead_code, reason = "each user takes what it needs")]

use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;
use wheelhouse::history::{History, Holder, Opened};
use wheelhouse::model::command::PromoteTo;
use wheelhouse::model::entry::{Actor, Drift, IdleProof, Shares, WeightReason};
use wheelhouse::model::input::EngineInfo;
use wheelhouse::model::service::{
    AnalysisSettings, Backend, CanarySettings, CheckKind, HealthCheck, HttpCheck, SMOKE_TIMEOUT_MS,
    Server, ServiceSpec, SmokeTest, Step, Workload,
};
use wheelhouse::model::state::HoldReason;
use wheelhouse::model::verdict::{Finding, RuleState};
use wheelhouse::model::world::{SmokeReport, SmokeResult};
use wheelhouse::model::{
    Clean, Entry, Placement, Record, Release, ReleaseId, RolloutId, RolloutKind, RolloutNumber,
    State, Status, Strategy, Verdict, VerdictClass,
};

pub const START_MS: u64 = 1_700_000_000_000;

pub fn holder() -> Holder {
    Holder {
        pid: 4242,
        user: Clean::new("alice"),
        since_ms: START_MS,
    }
}

pub fn open(dir: &Path) -> Opened {
    History::open(dir, &holder()).expect("the history opens")
}

pub fn placement() -> Placement {
    "checkout-api@production".parse().expect("valid")
}

pub fn rollout_id(n: u64) -> RolloutId {
    RolloutId(Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n),
    ))
}

pub fn release_id(n: u64) -> ReleaseId {
    ReleaseId(Uuid::from_u128(
        0x0190_0000_0000_7000_9000_0000_0000_0000 + u128::from(n),
    ))
}

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a valid name")
}

fn workload() -> Workload {
    Workload {
        command: vec!["/usr/bin/checkout".to_owned(), "--port={port}".to_owned()],
        env: BTreeMap::from([("MODE".to_owned(), "live".to_owned())]),
        directory: None,
        stop_grace_ms: 10_000,
        quiet: None,
        container: None,
    }
}

pub fn release(n: u64) -> Release {
    Release {
        id: release_id(n),
        version: name(&format!("v1.{n}.0")),
        workload: workload(),
        checks: None,
        config_hash: "ab".repeat(32),
        created_ms: START_MS + n,
        part_of: None,
    }
}

fn step(weight_percent: u8) -> Step {
    Step {
        weight_percent,
        soak_ms: 60_000,
        pause: false,
    }
}

pub fn spec() -> ServiceSpec {
    ServiceSpec {
        strategy: Strategy::Canary,
        placement: placement(),
        protected: true,
        runtimes: vec![name("local")],
        metrics: Vec::new(),
        balancers: vec![Backend {
            balancer: name("edge"),
            backend: name("be_checkout"),
        }],
        servers: (1..=4)
            .map(|i| Server {
                name: name(&format!("web{i}")),
                address: format!("127.0.0.1:{}", 18_000 + i).parse().expect("valid"),
                runtime: None,
            })
            .collect(),
        instances: 2,
        workload: workload(),
        health: health(),
        smoke: vec![smoke_test()],
        smoke_timeout_ms: SMOKE_TIMEOUT_MS,
        canary: CanarySettings {
            steps: vec![step(5), step(25), step(100)],
            min_requests: 300,
            max_soak_factor: 3,
            instances: None,
            max_load_factor: Some(1.2),
            keep_warm_ms: 1_800_000,
            drain_timeout_ms: 30_000,
            shift_timeout_ms: 30_000,
        },
        analysis: analysis(),
        parts: Vec::new(),
        part_of: None,
        config_hash: "ab".repeat(32),
    }
}

fn health() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http(HttpCheck {
            json: BTreeMap::from([("/checks/database".to_owned(), serde_json::json!("ok"))]),
            ..HttpCheck::get("/health")
        }),
        interval_ms: 2_000,
        timeout_ms: 1_000,
        successes: 2,
        failures: 3,
        start_timeout_ms: 60_000,
    }
}

fn smoke_test() -> SmokeTest {
    SmokeTest {
        name: name("home"),
        critical: true,
        kind: CheckKind::Http(HttpCheck {
            contains: Some("ok".to_owned()),
            ..HttpCheck::get("/")
        }),
        timeout_ms: 1_000,
        attempts: 1,
        retry_interval_ms: 0,
    }
}

fn analysis() -> AnalysisSettings {
    AnalysisSettings {
        interval_ms: 10_000,
        failures: 3,
        no_data_intervals: 5,
        no_data_abort_ms: 600_000,
        error_ratio: Some(0.01),
        latency_p99_ms: Some(500),
        mean_ms: None,
        error_ratio_vs_stable: Some(1.5),
        latency_p99_vs_stable: None,
        mean_vs_stable: None,
        infrastructure_health: Some(0.95),
        cpu: None,
        memory: None,
        disk: None,
        uptime: None,
        comparison: None,
    }
}

pub fn verdict(class: VerdictClass, error_ratio: f64, p99_ms: f64) -> Verdict {
    let finding = |rule: &str, canary| Finding {
        rule: rule.to_owned(),
        source: Clean::default(),
        note: None,
        compared: None,
        state: RuleState::Ok,
        canary: Some(canary),
        stable: Some(0.002),
        limit: Some(0.01),
        samples: 812,
        needs: 300,
    };
    Verdict {
        class,
        failures: 0,
        findings: vec![
            finding("error_ratio", error_ratio),
            finding("latency_p99", p99_ms),
        ],
        because: Clean::new("0.37 % errors are below 1 %"),
    }
}

pub fn alice() -> Actor {
    Actor::Person {
        uid: 1000,
        user: Clean::new("alice"),
    }
}

/// Shares of a new release beside an old one.
pub fn shares(new: u64, percent: u8, old: u64) -> Shares {
    Shares::from([(release_id(new), percent), (release_id(old), 100 - percent)])
}

pub fn started(n: u64, kind: RolloutKind, brings: u64, from: Option<u64>) -> Entry {
    Entry::RolloutStarted {
        id: rollout_id(n),
        number: RolloutNumber(n),
        rollout: kind,
        release: Box::new(release(brings)),
        from: from.map(release_id),
        spec: Box::new(spec()),
        reason: Some(Clean::new("the new checkout")),
        request_id: None,
        led_by: None,
        urgency: Default::default(),
    }
}

pub fn intended(new: u64, percent: u8, old: u64) -> Entry {
    Entry::WeightIntended {
        placement: placement(),
        shares: shares(new, percent, old),
        reason: WeightReason::Step { step: 1 },
    }
}

pub fn settled(id: u64) -> Entry {
    Entry::WeightSettled {
        placement: placement(),
        id,
        epochs: BTreeMap::from([(name("edge"), "811/77".to_owned())]),
    }
}

pub fn finished(status: Status) -> Entry {
    Entry::RolloutFinished {
        placement: placement(),
        status,
        because: Clean::new("every step passed"),
    }
}

pub fn refused(n: u64) -> Entry {
    Entry::Refused {
        placement: placement(),
        verb: "promote".to_owned(),
        why: Clean::new(&format!("the rollout moved on, {n} times")),
    }
}

/// Records one after the other, with the state they fold to.
#[derive(Default)]
pub struct Story {
    pub state: State,
    rollouts: u64,
}

impl Story {
    /// Goes on after a record.
    pub fn after(seq: u64) -> Self {
        let mut story = Self::default();
        story.state.seq = seq;
        story
    }

    /// Numbers entries on from the last record.
    pub fn tell(&mut self, entries: impl IntoIterator<Item = Entry>) -> Vec<Record> {
        entries
            .into_iter()
            .map(|entry| {
                let record = Record {
                    seq: self.state.seq + 1,
                    at_ms: START_MS + (self.state.seq + 1) * 1_000,
                    actor: match entry {
                        Entry::RolloutStarted { .. } => alice(),
                        _ => Actor::Engine,
                    },
                    entry,
                };
                fold(&mut self.state, &record);
                record
            })
            .collect()
    }

    /// One rollout from start to end, in the batches an engine would append.
    pub fn rollout(&mut self, status: Status) -> Vec<Vec<Record>> {
        self.rollouts += 1;
        let n = self.rollouts;
        let old = n.saturating_sub(1);
        let from = (n > 1).then_some(old);
        let mut batches = vec![self.tell([started(n, RolloutKind::Deploy, n, from)])];
        for percent in [5, 25, 100] {
            batches.push(self.tell([intended(n, percent, old)]));
            let intent = self.state.seq;
            batches.push(self.tell([settled(intent)]));
            let class = VerdictClass::Pass;
            let ratio = 0.001 * n as f64 + f64::from(percent) / 1e5;
            let verdict = verdict(class, ratio, 180.0 + f64::from(percent));
            batches.push(self.tell([
                Entry::VerdictChanged {
                    placement: placement(),
                    verdict: verdict.clone(),
                },
                Entry::StepPassed {
                    placement: placement(),
                    step: 1,
                    verdict,
                },
            ]));
        }
        batches.push(self.tell([refused(n)]));
        batches.push(self.tell([finished(status)]));
        batches
    }
}

/// A stand-in for the engine's fold: enough for states to differ.
pub fn fold(state: &mut State, record: &Record) {
    state.seq = record.seq;
    state.at_ms = record.at_ms;
    match &record.entry {
        Entry::RolloutStarted { .. } => state.rollouts += 1,
        Entry::EngineStarted { .. } => state.engine_seq = record.seq,
        Entry::Unknown => state.newer = true,
        _ => {}
    }
}

/// Appends whole rollouts, with a checkpoint at each one's end, as an engine does.
pub fn write_rollouts(history: &mut History, story: &mut Story, rollouts: usize) -> Vec<Record> {
    let mut all = Vec::new();
    for i in 0..rollouts {
        let status = match i % 4 {
            3 => Status::RolledBack,
            _ => Status::Succeeded,
        };
        for batch in story.rollout(status) {
            history
                .append(&batch, None)
                .expect("the records are appended");
            all.extend(batch);
        }
        history
            .checkpoint(&story.state)
            .expect("the checkpoint is stored");
    }
    all
}

/// One entry of every kind, in the order of the enum.
pub fn every_entry() -> Vec<Entry> {
    let placement = placement();
    let server = || name("web3");
    let epochs = || BTreeMap::from([(name("edge"), "811/77".to_owned())]);
    let verdict = || verdict(VerdictClass::Pass, 0.003_7, 212.0);
    let report = SmokeReport {
        rollout: rollout_id(2),
        results: vec![SmokeResult {
            status: Some(500),
            attempts: 2,
            trouble: Some(Clean::new("answered 500, not 200")),
            ..SmokeResult::passed(&smoke_test(), &server(), 12)
        }],
        took_ms: 30,
    };
    vec![
        Entry::EngineStarted {
            engine: EngineInfo {
                version: "0.1.0".to_owned(),
                pid: 4242,
                host: Clean::new("bastion"),
                config_hash: "ab".repeat(32),
            },
        },
        started(2, RolloutKind::Deploy, 2, Some(1)),
        Entry::InstanceIntended {
            placement: placement.clone(),
            server: server(),
            release: release_id(2),
        },
        Entry::InstanceUp {
            placement: placement.clone(),
            server: server(),
        },
        Entry::InstanceFailed {
            placement: placement.clone(),
            server: server(),
            why: Clean::new("exited with 1 after 2 s"),
        },
        Entry::SmokeFinished {
            placement: placement.clone(),
            report,
        },
        intended(2, 5, 1),
        settled(7),
        Entry::WeightAbandoned {
            placement: placement.clone(),
            id: 7,
            shares: shares(2, 0, 1),
        },
        Entry::StepPassed {
            placement: placement.clone(),
            step: 1,
            verdict: verdict(),
        },
        Entry::VerdictChanged {
            placement: placement.clone(),
            verdict: verdict(),
        },
        Entry::Held {
            placement: placement.clone(),
            why: HoldReason::Person {
                by: alice(),
                reason: Some(Clean::new("lunch")),
            },
        },
        Entry::Resumed {
            placement: placement.clone(),
        },
        Entry::Promoted {
            placement: placement.clone(),
            to: PromoteTo::Percent(50),
            verdict: verdict(),
            soak_left_ms: 12_345,
        },
        Entry::AbortRequested {
            placement: placement.clone(),
            reason: None,
        },
        Entry::RevertDecided {
            placement: placement.clone(),
            cause: Clean::new("4.1 % errors are above 1 %"),
            verdict: Some(verdict()),
        },
        finished(Status::RolledBack),
        Entry::DriftFound {
            placement: placement.clone(),
            balancer: name("edge"),
            drift: Drift::Above,
            wanted_percent: 5.0,
            observed_percent: 7.142_857_142_857_143,
        },
        Entry::RetireIntended {
            placement: placement.clone(),
            release: release_id(1),
            why: Clean::new("its servers are needed"),
        },
        Entry::DrainBegun {
            placement: placement.clone(),
            server: server(),
            epochs: epochs(),
        },
        Entry::StopIntended {
            placement: placement.clone(),
            server: server(),
            proof: IdleProof::Timeout,
        },
        Entry::InstanceStopped {
            placement: placement.clone(),
            server: server(),
        },
        refused(2),
        Entry::HistoryGap {
            since_ms: START_MS,
            why: Clean::new("no space left on device"),
        },
    ]
}
