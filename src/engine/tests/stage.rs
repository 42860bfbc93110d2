//! A small world that does what the plan asks, at once and without fault, unless a test says
//! otherwise. Time passes in steps; between them decide, evolve and plan run as in life.

use super::pipeline::Works;
use crate::engine::{self, Look, decide, evolve, observe, plan};
use crate::model::command::{Command, PromoteTo, Refusal};
use crate::model::effect::{Effect, EffectKey};
use crate::model::input::{Asked, EngineInfo, Observation, Settled};
use crate::model::metrics::{
    Figure, Measured, MetricsQuestion, MetricsReading, ReleaseFigures, Subject,
};
use crate::model::service::{
    AnalysisSettings, Backend, CanarySettings, CheckKind, HealthCheck, HttpCheck, SMOKE_TIMEOUT_MS,
    Server, SmokeTest, Step, Workload,
};
use crate::model::state::{Hold, InstanceStatus};
use crate::model::verdict::Counters;
use crate::model::world::{
    Admin, BalancerReading, Evidence, InstanceView, RuntimeReading, ServerView, SmokeReport,
    SmokeResult,
};
use crate::model::{
    Actor, BalancerName, Clean, Entry, Event, Input, Outcome, Phase, Placement, PlacementState,
    Record, ReleaseId, Rollout, RolloutId, RuntimeName, ServerName, ServiceSpec, State, Status,
    Stock, Strategy, Urgency, World,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Length of one step of time.
const STEP_MS: u64 = 100;

pub(crate) struct Stage {
    pub(crate) spec: ServiceSpec,
    pub(crate) state: State,
    pub(crate) world: World,
    pub(crate) comparisons: engine::Comparisons,
    /// Everything recorded.
    pub(crate) entries: Vec<Entry>,
    /// Everything done to the world.
    pub(crate) writes: Vec<Effect>,
    pub(crate) balancer: BalancerReading,
    /// Balancers beside the first.
    pub(crate) others: BTreeMap<BalancerName, BalancerReading>,
    /// Names of balancers and runtimes that do not answer.
    pub(crate) dead: BTreeSet<String>,
    pub(crate) runtime: RuntimeReading,
    /// Nobody reaches the balancer.
    pub(crate) dark: bool,
    /// Weights are not taken.
    pub(crate) stubborn: bool,
    /// Nothing that was asked of the runtime happens.
    pub(crate) no_runtime: bool,
    /// Nobody can be told to take no new work.
    pub(crate) deaf: bool,
    /// Probes of these fail.
    pub(crate) sick: BTreeSet<ServerName>,
    /// Where a version answers its health check, by version; the others answer everywhere.
    pub(crate) paths: BTreeMap<String, String>,
    /// Smoke tests that fail, by name.
    pub(crate) failing_tests: BTreeSet<String>,
    /// No smoke run ends.
    pub(crate) smoke_hangs: bool,
    /// Of whom it was asked what they left.
    pub(crate) asked_evidence: Vec<ServerName>,
    /// That is never answered.
    pub(crate) evidence_fails: bool,
    /// How every earlier release stands on every host.
    pub(crate) stock: Stock,
    /// How often a host was asked for that.
    pub(crate) asked_stock: usize,
    /// Error ratio in percent, by version.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What a source of metrics says, where there is one.
    pub(crate) told: Told,
    /// Requests per step and server that gets any.
    pub(crate) requests: u64,
    /// What stages of pipelines come to.
    pub(crate) works: Works,
    ids: u128,
}

/// What a source of metrics says of the new release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Told {
    /// Requests and errors in the last window; stable has 500 requests while it serves.
    Counts(f64, f64),
    /// It has no series of it.
    Nothing,
    /// A value is NaN.
    NotANumber,
    /// It cannot be reached.
    Refused,
}

pub(crate) fn server(number: usize) -> ServerName {
    format!("web{number}").parse().expect("a valid name")
}

fn step(weight_percent: u8) -> Step {
    Step {
        weight_percent,
        soak_ms: 10_000,
        pause: false,
    }
}

pub(crate) fn spec() -> ServiceSpec {
    ServiceSpec {
        strategy: Strategy::Canary,
        placement: "shop@prod".parse().expect("a valid placement"),
        protected: true,
        runtimes: vec!["host".parse().expect("a valid name")],
        balancers: vec![Backend {
            balancer: "proxy".parse().expect("a valid name"),
            backend: "shop".parse().expect("a valid name"),
        }],
        servers: (1..=4)
            .map(|number| Server {
                name: server(number),
                address: ([127, 0, 0, 1], 18_000 + number as u16).into(),
                runtime: None,
            })
            .collect(),
        instances: 2,
        workload: Workload {
            command: vec!["shop".to_owned()],
            env: BTreeMap::new(),
            directory: None,
            stop_grace_ms: 1_000,
            quiet: None,
            container: None,
        },
        health: HealthCheck {
            kind: CheckKind::Http(HttpCheck::get("/readyz")),
            interval_ms: 2_000,
            timeout_ms: 1_000,
            successes: 1,
            failures: 3,
            start_timeout_ms: 30_000,
        },
        smoke: Vec::new(),
        smoke_timeout_ms: SMOKE_TIMEOUT_MS,
        canary: CanarySettings {
            steps: vec![step(5), step(25), step(100)],
            min_requests: 300,
            max_soak_factor: 3,
            instances: None,
            max_load_factor: Some(1.2),
            keep_warm_ms: 60_000,
            drain_timeout_ms: 20_000,
            shift_timeout_ms: 30_000,
        },
        analysis: AnalysisSettings {
            interval_ms: 2_000,
            failures: 2,
            no_data_intervals: 5,
            no_data_abort_ms: 600_000,
            error_ratio: Some(0.05),
            latency_p99_ms: None,
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
        },
        metrics: Vec::new(),
        parts: Vec::new(),
        part_of: None,
        config_hash: "c0ffee".to_owned(),
    }
}

/// Nothing was ever deployed.
pub(crate) fn empty() -> Stage {
    empty_with(spec())
}

pub(crate) fn empty_with(spec: ServiceSpec) -> Stage {
    let blank = ServerView {
        admin: Admin::Maintenance,
        weight: 1,
        up: true,
        sessions: 0,
        counters: Counters::default(),
    };
    let servers = spec.servers.iter();
    let balancer = BalancerReading {
        epoch: "b1".to_owned(),
        servers: servers.map(|s| (s.name.clone(), blank.clone())).collect(),
        ..BalancerReading::default()
    };
    let others = spec.balancers.iter().skip(1);
    let mut stage = Stage {
        others: others
            .map(|backend| (backend.balancer.clone(), balancer.clone()))
            .collect(),
        dead: BTreeSet::new(),
        balancer,
        spec,
        state: State::default(),
        world: World::default(),
        comparisons: engine::Comparisons::default(),
        entries: Vec::new(),
        writes: Vec::new(),
        runtime: RuntimeReading::default(),
        dark: false,
        stubborn: false,
        no_runtime: false,
        deaf: false,
        sick: BTreeSet::new(),
        paths: BTreeMap::new(),
        failing_tests: BTreeSet::new(),
        smoke_hangs: false,
        asked_evidence: Vec::new(),
        evidence_fails: false,
        stock: Stock::Here,
        asked_stock: 0,
        errors: BTreeMap::new(),
        told: Told::Counts(500.0, 0.0),
        requests: 20,
        works: Works::default(),
        ids: 0,
    };
    stage.world.now_ms = 1_000_000;
    stage.restart();
    stage
}

/// v1 is verified and has all traffic.
pub(crate) fn stable() -> Stage {
    stable_with(spec())
}

pub(crate) fn stable_with(spec: ServiceSpec) -> Stage {
    let mut stage = empty_with(spec);
    stage.deploy("v1");
    stage.until("v1 is verified", |stage| stage.place().stable().is_some());
    stage
}

/// v2 is on its way beside v1, soaking at its first step.
pub(crate) fn soaking() -> Stage {
    soaking_with(spec())
}

pub(crate) fn soaking_with(spec: ServiceSpec) -> Stage {
    let mut stage = stable_with(spec);
    stage.deploy("v2");
    stage.until("the first soak", Stage::is_soaking);
    stage
}

impl Stage {
    // What happens.

    /// A new engine process begins.
    pub(crate) fn restart(&mut self) {
        let now_ms = self.world.now_ms;
        self.world = World::default();
        self.comparisons = engine::Comparisons::default();
        let event = Event::Started(EngineInfo {
            version: "0.1.0".to_owned(),
            pid: 1,
            host: "test".into(),
            config_hash: "c0ffee".to_owned(),
        });
        let input = Input { now_ms, event };
        observe(&mut self.world, &input);
        let entries = decide(&self.state, &self.world, &input).expect("a start is not refused");
        self.fold(&Actor::Engine, entries);
    }

    /// Something is recorded, whoever decided it.
    pub(crate) fn record(&mut self, entry: Entry) {
        self.fold(&Actor::Engine, vec![entry]);
    }

    pub(crate) fn ask(&mut self, command: Command) -> Result<(), Refusal> {
        self.ids += 1;
        let asked = Asked {
            request: self.ids as u64,
            by: person(),
            command,
            rollout: RolloutId(Uuid::from_u128(self.ids << 64)),
            release: ReleaseId(Uuid::from_u128(self.ids << 8)),
        };
        let input = Input {
            now_ms: self.world.now_ms,
            event: Event::Command(asked),
        };
        let entries = decide(&self.state, &self.world, &input)?;
        self.fold(&person(), entries);
        Ok(())
    }

    #[track_caller]
    pub(crate) fn deploy(&mut self, version: &str) {
        let spec = Box::new(self.spec.clone());
        let version = version.parse().expect("a valid version");
        let reason = None;
        self.ask(Command::Deploy {
            spec,
            version,
            reason,
            request_id: None,
        })
        .expect("deploy is taken");
    }

    pub(crate) fn abort(&mut self) -> Result<(), Refusal> {
        let placement = self.spec.placement.clone();
        self.ask(Command::Abort {
            placement,
            reason: None,
        })
    }

    pub(crate) fn hold(&mut self) -> Result<(), Refusal> {
        let placement = self.spec.placement.clone();
        self.ask(Command::Hold {
            placement,
            reason: None,
        })
    }

    pub(crate) fn resume(&mut self) -> Result<(), Refusal> {
        let (placement, revision) = (self.spec.placement.clone(), self.revision());
        self.ask(Command::Resume {
            placement,
            revision,
        })
    }

    pub(crate) fn promote(&mut self, to: PromoteTo) -> Result<(), Refusal> {
        let revision = self.revision();
        self.promote_at(to, revision)
    }

    pub(crate) fn promote_at(&mut self, to: PromoteTo, revision: u64) -> Result<(), Refusal> {
        let placement = self.spec.placement.clone();
        self.ask(Command::Promote {
            placement,
            to,
            revision,
        })
    }

    pub(crate) fn rollback(&mut self, to: Option<&str>) -> Result<(), Refusal> {
        self.go_back(to, None, Urgency::Ordinary)
    }

    pub(crate) fn go_back(
        &mut self,
        to: Option<&str>,
        reason: Option<&str>,
        urgency: Urgency,
    ) -> Result<(), Refusal> {
        let spec = Box::new(self.spec.clone());
        let to = to.map(|version| version.parse().expect("a valid version"));
        self.ask(Command::Rollback {
            spec,
            to,
            reason: reason.map(Clean::new),
            urgency,
        })
    }

    /// Time passes.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end_ms = self.world.now_ms + ms;
        while self.world.now_ms < end_ms {
            self.tick();
        }
    }

    /// Time passes until something holds, five minutes at most.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..300_000 / STEP_MS {
            if holds(self) {
                return;
            }
            self.tick();
        }
        panic!(
            "{what} did not come; {:#?}",
            self.entries.iter().rev().take(5).collect::<Vec<_>>()
        );
    }

    /// The balancer's process is another one, with these weights.
    pub(crate) fn restart_balancer(&mut self, weights: &[(usize, u16)]) {
        self.balancer.epoch.push('+');
        for view in self.balancer.servers.values_mut() {
            view.admin = Admin::Maintenance;
            view.counters = Counters::default();
        }
        self.by_hand(weights);
    }

    /// Somebody sets weights; 0 takes a server out.
    pub(crate) fn by_hand(&mut self, weights: &[(usize, u16)]) {
        for (number, weight) in weights {
            let view = self
                .balancer
                .servers
                .get_mut(&server(*number))
                .expect("it is there");
            view.weight = *weight;
            view.admin = if *weight == 0 {
                Admin::Maintenance
            } else {
                Admin::Ready
            };
        }
    }

    /// An instance's process ends.
    pub(crate) fn exits(&mut self, number: usize) {
        let there = self
            .runtime
            .instances
            .get_mut(&server(number))
            .expect("it runs");
        there.exited = Some("exit status 1".into());
    }

    /// One step of time.
    pub(crate) fn tick(&mut self) {
        self.world.now_ms += STEP_MS;
        self.serve();
        engine::follow(&mut self.comparisons, &self.state, &mut self.world);
        let mut tried = BTreeSet::new();
        for _ in 0..50 {
            let event = Event::Wake;
            let now_ms = self.world.now_ms;
            let entries = decide(&self.state, &self.world, &Input { now_ms, event });
            let entries = entries.expect("time is not refused");
            let idle = entries.is_empty();
            self.fold(&Actor::Engine, entries);
            let acted = self.act(&mut tried);
            if idle && !acted {
                return;
            }
        }
        panic!(
            "it comes to no rest: {:#?}",
            self.entries.iter().rev().take(5).collect::<Vec<_>>()
        );
    }

    pub(crate) fn serve(&mut self) {
        let balancers = self.others.values_mut().chain([&mut self.balancer]);
        for (name, view) in balancers.flat_map(|balancer| &mut balancer.servers) {
            if view.effective_weight() == 0 {
                continue;
            }
            let there = self.runtime.instances.get(name);
            let release = there.and_then(|there| {
                self.state
                    .placements
                    .get(&self.spec.placement)?
                    .releases
                    .get(&there.release)
            });
            let percent = release.and_then(|release| self.errors.get(release.version.as_str()));
            view.counters.requests += self.requests;
            view.counters.errors += self.requests * percent.copied().unwrap_or(0) / 100;
        }
    }

    fn fold(&mut self, actor: &Actor, entries: Vec<Entry>) {
        for entry in entries {
            let (seq, at_ms) = (self.state.seq + 1, self.world.now_ms);
            let record = Record {
                seq,
                at_ms,
                actor: actor.clone(),
                entry,
            };
            evolve(&mut self.state, &record);
            self.entries.push(record.entry);
        }
    }

    fn act(&mut self, tried: &mut BTreeSet<EffectKey>) -> bool {
        let mut acted = false;
        for (_, effect) in plan(&self.state, &self.world) {
            let Some(key) = effect.key() else {
                continue;
            };
            if key.placement().is_none() {
                acted |= self.work(&effect, key);
                continue;
            }
            if self.smoke_hangs && matches!(effect, Effect::Smoke { .. }) {
                continue;
            }
            // One write to a target at a time; what was not taken is tried again later.
            if effect.is_write() && !tried.insert(key.clone()) {
                continue;
            }
            let (outcome, seen) = self.perform(&effect);
            let id = effect.id();
            if effect.is_write() {
                self.writes.push(effect);
            }
            let settled = Settled {
                ticket: 0,
                key,
                id,
                outcome,
                seen: Some(seen),
            };
            let now_ms = self.world.now_ms;
            engine::observe::settled(&mut self.world, &settled, now_ms, now_ms);
            acted = true;
        }
        acted
    }

    pub(crate) fn perform(&mut self, effect: &Effect) -> (Outcome, Observation) {
        let key = effect.key().expect("the stage does no timers");
        let placement = key.placement().expect("no pipeline").clone();
        let refused = || Outcome::Rejected {
            why: "connection refused".into(),
        };
        match effect {
            Effect::ReadBalancer { backend, .. } | Effect::SetWeights { backend, .. }
                if self.dark || self.dead.contains(backend.balancer.as_str()) =>
            {
                let seen = Err("connection refused".into());
                (refused(), balancer_seen(effect, seen))
            }
            Effect::ReadBalancer { backend, .. } => {
                let reading = self.balancer_called(&backend.balancer).clone();
                (Outcome::Applied, balancer_seen(effect, Ok(reading)))
            }
            Effect::SetWeights {
                settings, backend, ..
            } => {
                let stubborn = self.stubborn;
                let there = self.balancer_called(&backend.balancer);
                for (server, setting) in settings.iter().filter(|_| !stubborn) {
                    let view = there.servers.get_mut(server).expect("it is configured");
                    (view.admin, view.weight) = (setting.admin, setting.weight);
                }
                let outcome = if stubborn {
                    refused()
                } else {
                    Outcome::Applied
                };
                (outcome, balancer_seen(effect, Ok(there.clone())))
            }
            Effect::ReadRuntime { runtime, .. }
            | Effect::StartInstance { runtime, .. }
            | Effect::QuietInstance { runtime, .. }
            | Effect::StopInstance { runtime, .. }
                if self.dead.contains(runtime.as_str()) =>
            {
                (refused(), self.runtime_seen(&placement, runtime))
            }
            Effect::ReadRuntime { runtime, .. } => {
                (Outcome::Applied, self.runtime_seen(&placement, runtime))
            }
            Effect::StartInstance {
                server,
                release,
                runtime,
                ..
            } if self.stands_elsewhere(server, *release) => {
                (refused(), self.runtime_seen(&placement, runtime))
            }
            Effect::StartInstance {
                server,
                release,
                keep_running,
                runtime,
                ..
            } if !self.no_runtime => {
                let view = InstanceView {
                    pid: 1,
                    started_ms: self.world.now_ms,
                    keep_running: *keep_running,
                    ..InstanceView::of(*release)
                };
                self.runtime.instances.insert(server.clone(), view);
                (Outcome::Applied, self.runtime_seen(&placement, runtime))
            }
            Effect::StopInstance {
                server, runtime, ..
            } if !self.no_runtime => {
                self.runtime.instances.remove(server);
                (Outcome::Applied, self.runtime_seen(&placement, runtime))
            }
            Effect::QuietInstance { runtime, .. } if self.deaf => {
                (refused(), self.runtime_seen(&placement, runtime))
            }
            Effect::QuietInstance {
                server, runtime, ..
            } if !self.no_runtime => {
                if let Some(there) = self.runtime.instances.get_mut(server) {
                    there.quiet = true;
                    there.keep_running = false;
                }
                (Outcome::Applied, self.runtime_seen(&placement, runtime))
            }
            Effect::StartInstance { runtime, .. }
            | Effect::QuietInstance { runtime, .. }
            | Effect::StopInstance { runtime, .. } => {
                (Outcome::Applied, self.runtime_seen(&placement, runtime))
            }
            Effect::Probe {
                server,
                release,
                check,
                ..
            } => {
                let up = self
                    .runtime
                    .instances
                    .get(server)
                    .is_some_and(|there| there.exited.is_none());
                let ok = up && !self.sick.contains(server) && self.answers(*release, check);
                let result = if ok { Ok(()) } else { Err("no answer".into()) };
                let (server, release) = (server.clone(), *release);
                (
                    Outcome::Applied,
                    Observation::Probe {
                        placement,
                        server,
                        release,
                        took_ms: Some(1),
                        result,
                    },
                )
            }
            Effect::ReadMetrics {
                source, question, ..
            } => {
                let reading = self.told(question);
                let (placement, source) = (placement, source.clone());
                let seen = Observation::Metrics {
                    placement,
                    source,
                    reading,
                };
                (Outcome::Applied, seen)
            }
            Effect::Smoke {
                rollout,
                tests,
                instances,
                ..
            } => {
                let result = |server, test: &SmokeTest| SmokeResult {
                    trouble: self
                        .failing_tests
                        .contains(test.name.as_str())
                        .then(|| "status 500".into()),
                    ..SmokeResult::passed(test, server, 5)
                };
                let on = |server| tests.iter().map(move |test| result(server, test));
                let report = SmokeReport {
                    rollout: *rollout,
                    results: instances.keys().flat_map(on).collect(),
                    took_ms: 5,
                };
                (Outcome::Applied, Observation::Smoke { placement, report })
            }
            Effect::ReadEvidence {
                server, release, ..
            } => {
                self.asked_evidence.push(server.clone());
                let reading = match self.evidence_fails {
                    true => Err("no answer".into()),
                    false => Ok(self.left_by(server, *release)),
                };
                let (server, release) = (server.clone(), *release);
                let seen = Observation::Evidence {
                    placement,
                    server,
                    release,
                    reading,
                };
                (Outcome::Applied, seen)
            }
            Effect::ReadStock {
                runtime, releases, ..
            } => {
                self.asked_stock += 1;
                let of = |(id, _): &(ReleaseId, Workload)| (*id, self.stock.clone());
                let seen = Observation::Stock {
                    placement,
                    runtime: runtime.clone(),
                    found: releases.iter().map(of).collect(),
                };
                (Outcome::Applied, seen)
            }
            Effect::RunStage { .. }
            | Effect::CancelStage { .. }
            | Effect::AskDeploy { .. }
            | Effect::WakeAt { .. } => panic!("the stage has no {effect:?}"),
        }
    }

    /// Whether a release answers where it is asked.
    fn answers(&self, release: ReleaseId, check: &HealthCheck) -> bool {
        let version = self.place().releases.get(&release).map(|it| &it.version);
        let path = version.and_then(|version| self.paths.get(version.as_str()));
        let asked = check.kind.http().map(|http| &http.path);
        path.is_none_or(|path| asked == Some(path))
    }

    fn left_by(&self, server: &ServerName, release: ReleaseId) -> Option<Evidence> {
        let there = self.runtime.instances.get(server);
        let there = there.filter(|there| there.release == release)?;
        let mut evidence = Evidence {
            ended: there.exited.clone(),
            ..Evidence::default()
        };
        evidence.keep_log(["a last word".into()]);
        Some(evidence)
    }

    fn told(&self, question: &MetricsQuestion) -> Result<MetricsReading, crate::model::Clean> {
        let of = |subject: &Subject, told: Told| {
            let (requests, errors) = match told {
                Told::Counts(requests, errors) => (requests, Measured::Value(errors)),
                Told::Nothing => (0.0, Measured::Nothing("no such series".into())),
                _ => (1.0, Measured::Doubtful("the value is NaN".into())),
            };
            ReleaseFigures {
                release: subject.release,
                figures: BTreeMap::from([
                    (Figure::Requests, Measured::Value(requests)),
                    (Figure::Errors, errors),
                ]),
                latency: None,
                age_ms: Some(0),
                past_p99_ms: Vec::new(),
            }
        };
        if self.told == Told::Refused {
            return Err("connection refused".into());
        }
        let serves = |subject: &Subject| {
            let servers = subject.servers.iter();
            let mut views = servers.filter_map(|server| self.balancer.servers.get(server));
            views.any(|view| view.effective_weight() > 0)
        };
        let stable = match question.stable.as_ref().is_some_and(serves) {
            true => Told::Counts(500.0, 0.0),
            false => Told::Counts(0.0, 0.0),
        };
        Ok(MetricsReading {
            canary: question.canary.as_ref().map(|it| of(it, self.told)),
            stable: question.stable.as_ref().map(|it| of(it, stable)),
            skew_ms: 0,
        })
    }

    fn balancer_called(&mut self, name: &BalancerName) -> &mut BalancerReading {
        self.others.get_mut(name).unwrap_or(&mut self.balancer)
    }

    /// Whether another release runs behind a server.
    fn stands_elsewhere(&self, server: &ServerName, release: ReleaseId) -> bool {
        let there = self.runtime.instances.get(server);
        there.is_some_and(|there| there.release != release && there.exited.is_none())
    }

    fn runtime_seen(&self, placement: &Placement, runtime: &RuntimeName) -> Observation {
        let mut reading = self.runtime.clone();
        let mut all = self.spec.parts.iter().chain([&self.spec]);
        let has = |spec: &ServiceSpec, server: &ServerName| {
            spec.servers.iter().any(|it| it.name == *server)
        };
        let owner = |server: &ServerName| self.spec.parts.iter().find(|part| has(part, server));
        let owner = |server: &ServerName| {
            owner(server).map_or(&self.spec.placement, |part| &part.placement)
        };
        let spec = all.find(|spec| spec.placement == *placement);
        let spec = spec.expect("its instances are asked for");
        let on = |server: &ServerName| {
            owner(server) == placement && spec.runtime_of(server) == Some(runtime)
        };
        reading.instances.retain(|server, _| on(server));
        Observation::Runtime {
            placement: placement.clone(),
            runtime: runtime.clone(),
            reading: match self.dead.contains(runtime.as_str()) {
                true => Err("no route to host".into()),
                false => Ok(reading),
            },
        }
    }

    // What is.

    pub(crate) fn place(&self) -> &PlacementState {
        &self.state.placements[&self.spec.placement]
    }

    pub(crate) fn rollout(&self) -> &Rollout {
        self.place().rollout.as_ref().expect("a rollout is open")
    }

    pub(crate) fn is_open(&self) -> bool {
        self.place().rollout.is_some()
    }

    pub(crate) fn is_soaking(&self) -> bool {
        let rollout = self.place().rollout.as_ref();
        rollout.is_some_and(|rollout| matches!(rollout.phase, Phase::Soaking { .. }))
    }

    pub(crate) fn held(&self) -> Option<&Hold> {
        self.place().rollout.as_ref()?.hold.as_ref()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.place()
            .rollout
            .as_ref()
            .map_or(0, |rollout| rollout.revision)
    }

    pub(crate) fn ended(&self) -> Option<Status> {
        self.place()
            .last
            .as_ref()
            .filter(|_| !self.is_open())
            .map(|last| last.status)
    }

    pub(crate) fn placement(&self) -> Placement {
        self.spec.placement.clone()
    }

    /// The share of a version by the balancer's weights, in whole percent.
    pub(crate) fn share(&self, version: &str) -> u64 {
        self.share_at(&self.balancer, version)
    }

    /// The share of a version by one balancer's weights, in whole percent.
    pub(crate) fn share_at(&self, balancer: &BalancerReading, version: &str) -> u64 {
        let place = self.place();
        let of = |server: &ServerName| {
            let release = self.runtime.instances.get(server)?.release;
            place
                .releases
                .get(&release)
                .map(|release| release.version.as_str())
        };
        let weights = balancer.servers.iter();
        let weights =
            weights.map(|(server, view)| (of(server) == Some(version), view.effective_weight()));
        let (mine, all) = weights.fold((0, 0), |(mine, all), (is_mine, weight)| {
            (mine + if is_mine { weight } else { 0 }, all + weight)
        });
        if all == 0 {
            0
        } else {
            (mine * 100).div_ceil(all)
        }
    }

    /// Instances that run, of a version.
    pub(crate) fn running(&self, version: &str) -> usize {
        let place = self.place();
        let is_it = |release: &ReleaseId| {
            place
                .releases
                .get(release)
                .is_some_and(|r| r.version.as_str() == version)
        };
        self.runtime
            .instances
            .values()
            .filter(|there| is_it(&there.release) && there.exited.is_none())
            .count()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.kind() == kind)
            .count()
    }

    pub(crate) fn is_recorded(&self, is_it: impl Fn(&Entry) -> bool) -> bool {
        self.entries.iter().any(is_it)
    }

    pub(crate) fn verdict(&self) -> crate::model::VerdictClass {
        let placement = self.placement();
        let look = Look::at(&self.state, &self.world, &placement).expect("it is known");
        engine::verdict(&look, self.rollout()).class
    }

    pub(crate) fn status_of(&self, number: usize) -> Option<&InstanceStatus> {
        self.place()
            .instances
            .get(&server(number))
            .map(|there| &there.status)
    }
}

fn balancer_seen(effect: &Effect, reading: Result<BalancerReading, Clean>) -> Observation {
    let (Effect::ReadBalancer { placement, backend }
    | Effect::SetWeights {
        placement, backend, ..
    }) = effect
    else {
        panic!("no balancer's effect: {effect:?}");
    };
    Observation::Balancer {
        placement: placement.clone(),
        balancer: backend.balancer.clone(),
        reading,
    }
}

pub(crate) fn person() -> Actor {
    Actor::Person {
        uid: 1000,
        user: "ada".into(),
    }
}

/// A refusal whose text says this.
#[track_caller]
pub(crate) fn refused(result: Result<(), Refusal>, says: &str) {
    let refusal = result.expect_err("it is refused");
    assert!(refusal.to_string().contains(says), "{refusal}");
}
