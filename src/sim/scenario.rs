//! What a seed means: the service, what people ask when, and which faults strike when.

use super::balancer::Restart;
use super::fleet::Traits;
use super::rng::Rng;
use crate::model::command::PromoteTo;
use crate::model::metrics::{Figure, MetricsSource, ToldBy};
use crate::model::pipeline::{
    CommandWork, DeployWork, PipelineSpec, Rerun, StageSpec, StageWork, When, WhenBusy,
};
use crate::model::service::{
    AnalysisSettings, Backend, CanarySettings, CheckKind, ComparisonSettings, HealthCheck,
    HttpCheck, QuietSignal, Server, SmokeTest, Step, Workload,
};
use crate::model::strategy::{BlueGreen, Recreate, Rolling, Slots, Strategy};
use crate::model::{Placement, ServiceSpec, Urgency};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

/// What stands before the schedule begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Before {
    /// Nothing: a first deploy.
    Nothing,
    /// One verified release.
    One,
    /// Two; the older one is gone.
    Two,
}

/// Something a person does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ask {
    Deploy(Traits),
    Promote(PromoteTo, Seen),
    Hold,
    Resume(Seen),
    Abort,
    Rollback(Urgency),
    Restart,
    Scale(u32),
    Drain(usize),
    Undrain(usize),
    Drill,
    /// A run of the pipeline, for a branch; whoever asks may say the same request again.
    Run(&'static str, Option<u64>),
    /// End the newest run.
    CancelRun,
    /// Let the stage begin that waits for a person.
    ConfirmStage,
    /// The same asked of the first part.
    AbortPart,
    RestartPart,
    ResumePart,
}

/// Which revision a person saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Now,
    Earlier(u64),
}

/// Something the world does by itself. Durations in ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// The engine is killed and started again after so long.
    Crash {
        down_ms: u64,
    },
    /// As before, but in the middle of a thing of this kind that happens from now on: the first
    /// after so many; once more in the recovery where that is wanted.
    CrashAt {
        boundary: Boundary,
        pass: u32,
        down_ms: u64,
        again: bool,
    },
    /// The engine's process is stopped and goes on after so long.
    Pause {
        ms: u64,
    },
    BalancerRestarts(Restart),
    /// Nobody reaches the balancer.
    BalancerDark {
        ms: u64,
    },
    RuntimeDark {
        ms: u64,
    },
    /// A host falls off the network, with everything on it.
    HostLost {
        ms: u64,
    },
    ProbesFail {
        ms: u64,
    },
    /// Somebody sets a server's weight: the n-th server.
    Hands {
        server: usize,
        weight: u16,
    },
    InstanceDies {
        server: usize,
    },
    InstanceHangs {
        server: usize,
        ms: u64,
    },
    RuntimeRestarts,
    TrafficStops {
        ms: u64,
    },
    CountersCleared,
    /// Appends fail until then; whether the first one arrives all the same.
    DiskFails {
        ms: u64,
        arrives: bool,
    },
    DiskSlow {
        ms: u64,
        append_ms: u64,
    },
    /// Requests linger so long on a server that gets no new ones.
    Lingering {
        tail_ms: u64,
    },
}

/// Where a crash strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Boundary {
    /// An append was asked for; nothing is durable.
    BeforeDurable,
    /// It is durable, but the engine never hears of it.
    AfterDurable,
    /// A write was asked for and did not happen.
    BeforeEffect,
    /// A write happened, but the engine never hears of it.
    AfterEffect,
    /// Right after a start, before its first record is durable.
    InRecovery,
}

/// How often calls go wrong, of a hundred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) lost_request: u64,
    pub(super) lost_reply: u64,
    pub(super) late: u64,
    pub(super) refused: u64,
    pub(super) partial: u64,
    pub(super) silent: u64,
    pub(super) twice: u64,
    pub(super) probe_fails: u64,
    pub(super) slow_percent: u64,
}

/// One schedule.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) spec: ServiceSpec,
    pub(super) before: Before,
    pub(super) people: Vec<(u64, Ask)>,
    pub(super) faults: Vec<(u64, Fault)>,
    pub(super) rates: Rates,
    pub(super) rps: u64,
    /// When the faults end, after the beginning.
    pub(super) quiet_ms: u64,
}

/// The services schedules are made for, by number.
pub const SPECS: usize = 14;
/// These are pairs: two hosts behind two balancers.
const PAIRS: [usize; 3] = [4, 5, 11];
/// No balancer sends it anything; it is told to take no new work.
const WORKER: usize = 12;
/// This one has parts: workers that move with it, and one that may run only once.
const WHOLE: usize = 13;

/// The placement of every schedule.
pub(super) fn placement() -> Placement {
    "shop@prod".parse().expect("a valid placement")
}

pub(super) fn spec(number: usize) -> ServiceSpec {
    let spec = alone(number);
    if number != WHOLE {
        return spec;
    }
    let part = |name: &str, port: u16, strategy: Strategy, instances: u16| ServiceSpec {
        placement: format!("{name}@prod").parse().expect("a valid placement"),
        balancers: Vec::new(),
        servers: (1..=instances + u16::from(instances > 1))
            .map(|number| Server {
                name: format!("{name}{number}").parse().expect("a valid name"),
                address: ([127, 0, 0, 1], port + number).into(),
                runtime: None,
            })
            .collect(),
        instances: instances.into(),
        strategy,
        part_of: Some(spec.placement.service.clone()),
        ..spec.clone()
    };
    // Two of three servers roll; what may run only once has one.
    let parts = vec![
        part(
            "clock",
            20_000,
            Strategy::Recreate(Recreate { watch_ms: 600 }),
            1,
        ),
        part("jobs", 19_000, Strategy::Rolling(rolls(1, 0)), 2),
    ];
    ServiceSpec { parts, ..spec }
}

fn rolls(max_surge: u32, max_unavailable: u32) -> Rolling {
    Rolling {
        batch: 1,
        max_unavailable,
        max_surge,
        min_healthy_ms: 600,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: 9_000,
    }
}

fn alone(number: usize) -> ServiceSpec {
    let (instances, canary, servers) = [
        (1, None, 2),
        (2, None, 4),
        (2, Some(1), 5),
        (3, None, 6),
        (1, None, 2),
        (2, None, 5),
        (2, None, 4),
        (1, None, 4),
        (3, None, 4),
        (3, None, 3),
        (1, None, 2),
        (2, None, 3),
        (2, None, 3),
        (1, None, 2),
    ][number];
    let pair = PAIRS.contains(&number);
    let balancers: &[&str] = match number {
        WORKER => &[],
        _ if pair => &["lb1", "lb2"],
        _ => &["proxy"],
    };
    let step = |weight_percent, pause| Step {
        weight_percent,
        soak_ms: 1_200,
        pause,
    };
    let steps = match number {
        1 => vec![step(10, false), step(50, true), step(100, false)],
        2 => vec![step(20, false), step(50, false), step(100, false)],
        _ => vec![step(25, false), step(100, false)],
    };
    ServiceSpec {
        strategy: strategy(number),
        placement: placement(),
        protected: true,
        runtimes: named(if pair { &["app1", "app2"] } else { &["host"] }).collect(),
        balancers: named(balancers)
            .map(|balancer| Backend {
                balancer,
                backend: "shop".parse().expect("a valid name"),
            })
            .collect(),
        servers: (1..=servers).map(|number| server(number, pair)).collect(),
        instances,
        workload: Workload {
            command: vec!["shop".to_owned(), "{version}".to_owned()],
            env: BTreeMap::new(),
            directory: None,
            stop_grace_ms: 500,
            quiet: (number == WORKER).then_some(QuietSignal::Tstp),
            container: None,
        },
        health: HealthCheck {
            kind: CheckKind::Http(HttpCheck::get("/readyz")),
            interval_ms: 1_000,
            timeout_ms: 400,
            successes: 1,
            failures: 3,
            start_timeout_ms: 5_000,
        },
        smoke: if number == 2 {
            vec![smoke()]
        } else {
            Vec::new()
        },
        smoke_timeout_ms: 1_000,
        canary: CanarySettings {
            steps,
            min_requests: 60,
            max_soak_factor: 3,
            instances: canary,
            max_load_factor: None,
            keep_warm_ms: 3_000,
            drain_timeout_ms: 3_000,
            shift_timeout_ms: 4_000,
        },
        analysis: AnalysisSettings {
            interval_ms: 1_000,
            failures: 2,
            no_data_intervals: 3,
            no_data_abort_ms: 8_000,
            error_ratio: Some(0.05),
            latency_p99_ms: None,
            mean_ms: (number == 3).then_some(500.0),
            error_ratio_vs_stable: Some(1.5),
            latency_p99_vs_stable: None,
            mean_vs_stable: None,
            infrastructure_health: Some(0.5),
            cpu: None,
            memory: None,
            disk: None,
            uptime: None,
            comparison: (number % 4 == 3).then_some(ComparisonSettings {
                false_alarm_per_rollout: 0.01,
                tolerated_ratio: 1.2,
                smallest_regression: 2.0,
                latencies: false,
                early_safety: number == 3,
            }),
        },
        metrics: (number == 1).then(source).into_iter().collect(),
        parts: Vec::new(),
        part_of: None,
        config_hash: "c0ffee".to_owned(),
    }
}

/// The pipeline to a service: checkout → lint ∥ test → push → production.
pub(super) fn pipeline(spec: &ServiceSpec) -> PipelineSpec {
    let command = || {
        StageWork::Command(CommandWork {
            command: vec!["true".to_owned()],
            image: None,
            directory: None,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
        })
    };
    let stage = |name: &str, needs: &[&str], work, rerun| StageSpec {
        name: name.parse().expect("a valid name"),
        needs: named(needs).collect(),
        work,
        when: When::default(),
        timeout_ms: 3_000,
        retries: u32::from(rerun == Rerun::Safe),
        backoff_ms: 200,
        rerun,
    };
    let picky = spec.instances > 1;
    let deploy = StageWork::Deploy(Box::new(DeployWork {
        spec: spec.clone(),
        version: "{short}".to_owned(),
        digest: None,
        confirm: picky,
    }));
    PipelineSpec {
        name: "shop".parse().expect("a valid name"),
        repository: "shop.git".to_owned(),
        branch: "main".to_owned(),
        stages: vec![
            stage("checkout", &[], StageWork::Checkout, Rerun::Safe),
            stage("lint", &["checkout"], command(), Rerun::Ask),
            stage("test", &["checkout"], command(), Rerun::Safe),
            stage("push", &["lint", "test"], command(), Rerun::Safe),
            StageSpec {
                timeout_ms: 10_000,
                retries: 0,
                ..stage("production", &["push"], deploy, Rerun::Safe)
            },
        ],
        at_once: if spec.servers.len() > 3 { 2 } else { 1 },
        when_busy: match picky {
            true => WhenBusy::Newest,
            false => WhenBusy::Queue,
        },
    }
}

fn strategy(number: usize) -> Strategy {
    let share = |weight_percent| Step {
        weight_percent,
        soak_ms: 1_200,
        pause: false,
    };
    let name = |number: u16| server(number, false).name;
    let rolling = |max_surge, max_unavailable| Rolling {
        pause_after_first: number == 9,
        ..rolls(max_surge, max_unavailable)
    };
    match number {
        6 | 7 => Strategy::BlueGreen(BlueGreen {
            slots: Slots {
                blue: vec![name(1), name(2)],
                green: vec![name(3), name(4)],
            },
            switch: match number {
                6 => vec![share(50), share(100)],
                _ => vec![share(100)],
            },
            confirm: number == 7,
        }),
        8 | 11 | WORKER => Strategy::Rolling(rolling(1, 0)),
        9 => Strategy::Rolling(rolling(0, 1)),
        10 => Strategy::Recreate(Recreate { watch_ms: 1_200 }),
        _ => Strategy::Canary,
    }
}

fn named<N: FromStr<Err: Debug>>(names: &[&str]) -> impl Iterator<Item = N> {
    names.iter().map(|name| name.parse().expect("a valid name"))
}

fn source() -> MetricsSource {
    MetricsSource {
        name: "prom".parse().expect("a valid name"),
        scrape_ms: 300,
        window_ms: 1_200,
        told_by: ToldBy::Release,
        supplies: [Figure::Requests, Figure::Errors].into(),
    }
}

fn server(number: u16, pair: bool) -> Server {
    let host = if number % 2 == 1 { "app1" } else { "app2" };
    Server {
        name: format!("web{number}").parse().expect("a valid name"),
        address: ([127, 0, 0, 1], 18_000 + number).into(),
        runtime: named(&[host]).next().filter(|_| pair),
    }
}

fn smoke() -> SmokeTest {
    SmokeTest {
        name: "order".parse().expect("a valid name"),
        critical: true,
        kind: CheckKind::Http(HttpCheck::get("/order")),
        timeout_ms: 500,
        attempts: 1,
        retry_interval_ms: 0,
    }
}

/// What is asked while the engine is killed at one boundary after the other: each strategy's way
/// forward, its ways back, and a restart.
pub(super) const STORIES: [(Before, &[(u64, Ask)]); 8] = [
    (Before::One, &[(100, Ask::Deploy(Traits::GOOD))]),
    (
        Before::One,
        &[(100, Ask::Deploy(Traits::GOOD)), (2_500, Ask::Abort)],
    ),
    (Before::One, &[(100, Ask::Deploy(Traits::BAD))]),
    (Before::Two, &[(100, Ask::Rollback(Urgency::Ordinary))]),
    (Before::One, &[(100, Ask::Restart)]),
    (Before::Two, &[(100, Ask::Rollback(Urgency::Emergency))]),
    (Before::One, &[(100, Ask::Run("main", Some(1)))]),
    (
        Before::One,
        &[(100, Ask::Run("main", None)), (1_500, Ask::CancelRun)],
    ),
];

/// A story in which the engine is killed once, or twice.
pub(super) fn killed(number: usize, story: usize, at: (Boundary, u32), again: bool) -> Scenario {
    let (before, people) = STORIES[story];
    let (boundary, pass) = at;
    let crash = Fault::CrashAt {
        boundary,
        pass,
        down_ms: 300,
        again,
    };
    Scenario {
        spec: spec(number),
        before,
        people: people.to_vec(),
        faults: vec![(50, crash)],
        rates: Rates::default(),
        rps: 200,
        quiet_ms: 15_000,
    }
}

/// Whatever the seed says.
pub(super) fn random(rng: &mut Rng) -> (usize, Scenario) {
    // Two peers have more ways to disagree than one: pairs are played twice as often.
    let number = rng.below((SPECS + PAIRS.len()) as u64) as usize;
    let number = number.checked_sub(SPECS).map_or(number, |pair| PAIRS[pair]);
    let before = *rng.pick(&[
        Before::Nothing,
        Before::One,
        Before::One,
        Before::Two,
        Before::Two,
    ]);
    let quiet_ms = rng.between(3_000, 9_000);
    let mut people = vec![(rng.between(10, 600), Ask::Deploy(traits(rng)))];
    if before == Before::Two && rng.chance(25) {
        people[0].1 = Ask::Rollback(Urgency::Ordinary);
    }
    if rng.chance(8) {
        people[0].1 = run(rng);
    }
    for _ in 0..rng.below(5) {
        people.push((rng.between(500, quiet_ms), ask(rng)));
    }
    if rng.chance(15) {
        // Two at the very same moment.
        let at_ms = rng.between(1_000, quiet_ms);
        people.extend([(at_ms, ask(rng)), (at_ms, ask(rng))]);
    }
    let families = 1 + rng.below(3);
    let mut faults: Vec<_> = (0..rng.below(6))
        .map(|_| (rng.between(0, quiet_ms), fault(rng)))
        .collect();
    if PAIRS.contains(&number) && rng.chance(40) {
        // One of the pair is dark while somebody aborts.
        let at_ms = rng.between(1_000, quiet_ms);
        faults.push((at_ms, Fault::BalancerDark { ms: 9_000 }));
        people.push((at_ms + rng.between(0, 1_000), Ask::Abort));
    }
    let scenario = Scenario {
        spec: spec(number),
        before,
        people,
        faults,
        rates: rates(rng, families),
        rps: *rng.pick(&[60, 200, 400]),
        quiet_ms,
    };
    (number, scenario)
}

pub(super) fn traits(rng: &mut Rng) -> Traits {
    match rng.below(10) {
        0 | 1 => Traits {
            errors_permille: 300,
            ..Traits::GOOD
        },
        2 => Traits {
            latency_us: 2_000_000,
            ..Traits::GOOD
        },
        3 => Traits {
            dies_after_ms: Some(rng.between(100, 5_000)),
            ..Traits::GOOD
        },
        4 => Traits {
            ready_after_ms: rng.between(2_000, 20_000),
            ..Traits::GOOD
        },
        5 => Traits {
            smoke_fails: true,
            ..Traits::GOOD
        },
        _ => Traits::GOOD,
    }
}

fn run(rng: &mut Rng) -> Ask {
    let branch = if rng.chance(80) { "main" } else { "other" };
    let request = rng.below(4);
    Ask::Run(branch, (request < 3).then_some(request))
}

fn ask(rng: &mut Rng) -> Ask {
    let seen = if rng.chance(75) {
        Seen::Now
    } else {
        Seen::Earlier(rng.between(1, 3))
    };
    match rng.below(23) {
        19 | 20 => run(rng),
        21 => Ask::CancelRun,
        22 => Ask::ConfirmStage,
        17 => Ask::AbortPart,
        18 => Ask::RestartPart,
        12 => Ask::Restart,
        13 => Ask::Scale(rng.between(1, 3) as u32),
        14 => Ask::Drain(rng.below(6) as usize),
        15 => Ask::Undrain(rng.below(6) as usize),
        16 => Ask::Drill,
        0..=2 => Ask::Abort,
        3 => Ask::Promote(PromoteTo::Full, seen),
        4 => Ask::Promote(PromoteTo::Percent(rng.between(1, 100) as u8), seen),
        5 | 6 => Ask::Promote(PromoteTo::Next, seen),
        7 => Ask::Hold,
        8 | 9 => Ask::Resume(seen),
        10 => Ask::Rollback(match seen {
            Seen::Now => Urgency::Ordinary,
            Seen::Earlier(_) => Urgency::Emergency,
        }),
        _ => Ask::Deploy(traits(rng)),
    }
}

fn fault(rng: &mut Rng) -> Fault {
    let down_ms = rng.between(10, 2_000);
    let ms = *rng.pick(&[300, 1_500, 4_000]);
    let server = rng.below(6) as usize;
    match rng.below(21) {
        0 => Fault::Crash { down_ms },
        1..=4 => Fault::CrashAt {
            boundary: *rng.pick(&[
                Boundary::BeforeDurable,
                Boundary::AfterDurable,
                Boundary::BeforeEffect,
                Boundary::AfterEffect,
                Boundary::InRecovery,
            ]),
            pass: 0,
            down_ms,
            again: false,
        },
        5 => Fault::Pause {
            ms: rng.between(500, 12_000),
        },
        6 | 7 => Fault::BalancerRestarts(*rng.pick(&[
            Restart::Forgets,
            Restart::Restores,
            Restart::RestoresStale,
        ])),
        8 => Fault::BalancerDark {
            ms: rng.between(200, 10_000),
        },
        9 => Fault::RuntimeDark { ms },
        10 => Fault::ProbesFail { ms },
        11 | 12 => Fault::Hands {
            server,
            weight: *rng.pick(&[0, 1, 30, 100, 256]),
        },
        13 => Fault::InstanceDies { server },
        14 => Fault::InstanceHangs { server, ms },
        15 => Fault::RuntimeRestarts,
        16 => match rng.below(3) {
            0 => Fault::TrafficStops { ms },
            1 => Fault::CountersCleared,
            _ => Fault::Lingering {
                tail_ms: rng.between(0, 6_000),
            },
        },
        17 => Fault::HostLost { ms },
        18 | 19 => Fault::DiskFails {
            ms,
            arrives: rng.chance(40),
        },
        _ => Fault::DiskSlow {
            ms,
            append_ms: rng.between(100, 3_000),
        },
    }
}

fn rates(rng: &mut Rng, families: u64) -> Rates {
    let mut rates = Rates::default();
    for _ in 0..families {
        let percent = rng.between(1, 25);
        match rng.below(10) {
            0 => rates.lost_request = percent,
            1 => rates.lost_reply = percent,
            2 => rates.late = percent,
            3 => rates.refused = percent,
            4 => rates.partial = percent,
            5 => rates.silent = percent / 2,
            6 => rates.twice = percent,
            7 => rates.probe_fails = percent,
            8 => rates.slow_percent = percent,
            _ => {}
        }
    }
    rates
}
