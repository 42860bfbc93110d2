//! Snapshots as an engine would send them, at moments a person would want to see.

use std::sync::Arc;
use wheelhouse::model::input::EngineInfo;
use wheelhouse::model::verdict::{RuleState, VerdictClass};
use wheelhouse::model::{
    Placement, ReleaseId, RolloutId, RolloutKind, RolloutNumber, Status, Version,
};
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::*;

/// 2026-11-20 12:03:42 UTC.
pub const NOW_MS: u64 = 1_795_176_222_000;

pub fn placement() -> Placement {
    "shop@production".parse().expect("valid")
}

fn version(name: &str) -> Version {
    name.parse().expect("valid")
}

pub fn release(n: u128, name: &str) -> ReleaseView {
    ReleaseView {
        id: ReleaseId(uuid::Uuid::from_u128(n)),
        version: version(name),
    }
}

/// Nothing open; v1 was deployed a while ago.
pub fn idle() -> Snapshot {
    Snapshot {
        engine: EngineView {
            info: EngineInfo {
                version: "0.1.0".to_owned(),
                pid: 4_711,
                host: "bastion1".into(),
                config_hash: "ab".to_owned(),
            },
            now_ms: NOW_MS,
            started_ms: NOW_MS - 3_600_000,
            seq: 40,
            history_trouble: None,
            newer: false,
            consoles: Vec::new(),
            read_only: Vec::new(),
            timeline: vec![
                row(38, 90_000, "alice", "#6 deploy of v1 began"),
                row(39, 20_000, "engine", "step 4: v1 100%"),
                row(40, 9_000, "engine", "done: v1 has all traffic"),
            ],
        },
        placements: vec![PlacementView {
            placement: placement(),
            protected: true,
            strategy: None,
            slots: None,
            stable: Some(release(1, "v1")),
            rollout: None,
            last: Some(ClosedView {
                id: RolloutId(uuid::Uuid::from_u128(60)),
                number: RolloutNumber(6),
                kind: RolloutKind::Deploy,
                release: release(1, "v1"),
                status: Status::Succeeded,
                at_ms: NOW_MS - 9_000,
                because: "v1 has all traffic".into(),
            }),
            traffic: TrafficView {
                requests_per_s: Some(301.2),
                read_ms: Some(NOW_MS),
                ..TrafficView::default()
            },
            instances: (1..=3)
                .map(|n| instance(n, Role::Stable, "v1", 33))
                .collect(),
            metrics: Vec::new(),
            trends: Vec::new(),
            tree: Vec::new(),
            rollback: Some(RollbackView {
                version: version("v0"),
                readiness: "warm".into(),
                warm_until_ms: Some(NOW_MS + 1_200_000),
            }),
            ready: Vec::new(),
            peers: ["balancer host", "runtime host"].map(peer).to_vec(),
        }],
        runs: Vec::new(),
    }
}

fn peer(name: &str) -> PeerView {
    PeerView {
        name: name.into(),
        trouble: None,
        read_ms: Some(NOW_MS),
        applied_percent: None,
    }
}

fn row(seq: u64, ago_ms: u64, actor: &str, text: &str) -> TimelineRow {
    TimelineRow {
        seq,
        at_ms: NOW_MS - ago_ms,
        actor: actor.into(),
        placement: Some(placement()),
        text: text.into(),
    }
}

pub fn instance(n: u16, role: Role, name: &str, weight: u16) -> InstanceRow {
    InstanceRow {
        server: format!("s{n}").parse().expect("valid"),
        address: format!("127.0.0.1:{}", 18_000 + n),
        role,
        version: version(name),
        release: ReleaseId(uuid::Uuid::from_u128(u128::from(n))),
        rollout: None,
        status: "up".into(),
        healthy: Some(true),
        balancer: "ready".into(),
        weight: Some(weight),
        sessions: Some(2),
        requests: 12_345,
        errors: u64::from(n),
        restarts: 0,
        pid: Some(900 + u32::from(n)),
        started_ms: Some(NOW_MS - 300_000),
        probe_ms: None,
        trouble: None,
        out: false,
    }
}

pub fn stage(name: &str, state: StageState, detail: &str) -> StageView {
    StageView {
        name: name.into(),
        state,
        detail: detail.into(),
        began_ms: None,
        length_ms: None,
        warns: false,
    }
}

/// v2 at 25 %, in its soak, all well.
pub fn soaking() -> Snapshot {
    let mut snapshot = idle();
    snapshot.engine.timeline.extend([
        row(41, 8_500, "alice", "#7 deploy of v2 began"),
        row(42, 6_000, "engine", "step 1: v2 10%, v1 90%"),
        row(43, 4_000, "engine", "step 1 passed: 4 of 4 rules satisfied"),
        row(44, 3_000, "engine", "step 2: v2 25%, v1 75%"),
    ]);
    let view = &mut snapshot.placements[0];
    let running = StageView {
        began_ms: Some(NOW_MS - 192_000),
        length_ms: Some(300_000),
        ..stage("25%", StageState::Running, "soak 5 min")
    };
    view.rollout = Some(RolloutView {
        id: RolloutId(uuid::Uuid::from_u128(70)),
        number: RolloutNumber(1_841),
        kind: RolloutKind::Deploy,
        release: release(2, "v2"),
        from: Some(release(1, "v1")),
        by: "alice".into(),
        started_ms: NOW_MS - 500_000,
        revision: 12,
        phase: PhaseView::Soaking,
        stages: vec![
            stage("Start", StageState::Passed, "3/3 up"),
            stage("Smoke", StageState::Passed, "3/3 ok"),
            stage("10%", StageState::Passed, "soak 5 min"),
            running,
            stage("50%", StageState::Todo, "soak 5 min"),
            stage("100%", StageState::Todo, "soak 5 min"),
        ],
        smoke: None,
        hold: None,
        verdict: VerdictClass::Pass,
        because: "6 of 7 rules satisfied, none broken".into(),
        next: "50 %".into(),
        next_ms: Some(NOW_MS + 108_000),
        batch: None,
        outage: None,
        parts: Vec::new(),
        moves_with: None,
    });
    view.traffic = TrafficView {
        wanted_percent: Some(25.0),
        applied_percent: Some(25.0),
        observed_percent: Some(24.6),
        requests_per_s: Some(301.2),
        read_ms: Some(NOW_MS),
    };
    view.instances
        .extend((4..=6).map(|n| instance(n, Role::Canary, "v2", 8)));
    view.metrics = metrics();
    view.trends = trends();
    view.tree = view
        .metrics
        .iter()
        .filter_map(|row| {
            if row.compared.is_some() {
                return Some(TreeRow {
                    question: "more errors than stable?".into(),
                    state: row.state?,
                    value: "about 890 more requests".into(),
                });
            }
            Some(TreeRow {
                question: format!("{} > {} {}?", row.name, row.limit?, row.unit).into(),
                state: row.state?,
                value: match row.state? {
                    RuleState::Wait => format!("{} of {} requests", row.samples, row.needs).into(),
                    _ => format!("{} {}", row.canary?, row.unit).into(),
                },
            })
        })
        .collect();
    snapshot
}

fn metric(name: &str, unit: &str, values: [f64; 2], limit: f64, state: RuleState) -> MetricRow {
    MetricRow {
        name: name.into(),
        unit: unit.into(),
        stable: Some(values[0]),
        canary: Some(values[1]),
        limit: Some(limit),
        state: Some(state),
        samples: 812,
        needs: 1_000,
        source: Default::default(),
        note: None,
        compared: None,
    }
}

fn metrics() -> Vec<MetricRow> {
    vec![
        metric("error rate", "%", [0.21, 0.34], 3.0, RuleState::Ok),
        MetricRow {
            limit: None,
            samples: 812,
            needs: 1_702,
            note: Some(
                "errors 1.6 × stable's (0.7–3.1) in 812 requests: needs about 890 more requests, \
                 about 12 s at this traffic, evidence 2.1 of 100"
                    .into(),
            ),
            compared: Some(ComparedView {
                evidence: 2.1,
                enough: 100.0,
                ratio: 1.6,
                ratio_low: 0.7,
                ratio_high: Some(3.1),
                needs_requests: Some(890),
            }),
            ..metric("errors compared", "%", [0.21, 0.34], 0.0, RuleState::Wait)
        },
        metric("p99", "ms", [412.0, 448.0], 1_000.0, RuleState::Wait),
        metric("mean", "ms", [31.0, 33.5], 2_000.0, RuleState::Ok),
        MetricRow {
            limit: None,
            state: None,
            samples: 0,
            needs: 0,
            ..metric("requests", "/s", [225.9, 75.3], 0.0, RuleState::Ok)
        },
    ]
}

fn trends() -> Vec<Trend> {
    let wave = |base: f64, swing: f64| {
        (0..90u32)
            .map(|n| match n {
                0..30 | 60..64 => None,
                n => Some(base + swing * f64::from(n * 7 % 11) / 10.0),
            })
            .collect::<Vec<_>>()
    };
    let trend = |name: &str, unit: &str, base: f64, swing: f64, limit: f64| Trend {
        name: name.into(),
        unit: unit.into(),
        bucket_ms: 2_000,
        until_ms: NOW_MS,
        canary: wave(base * 1.3, swing),
        stable: wave(base, swing),
        limit: Some(limit),
    };
    vec![
        trend("error rate", "%", 0.2, 0.4, 3.0),
        trend("p99", "ms", 400.0, 100.0, 1_000.0),
    ]
}

/// The same, held by a person.
pub fn held() -> Snapshot {
    let mut snapshot = soaking();
    let open = snapshot.placements[0].rollout.as_mut().expect("open");
    open.stages[3].state = StageState::Held;
    open.hold = Some(HoldView {
        since_ms: NOW_MS - 10_000,
        by_person: true,
        text: "held by bob: let us look at the cart first".into(),
    });
    open.next = "nothing until it is resumed, promoted or aborted".into();
    open.next_ms = None;
    open.revision = 13;
    snapshot
}

/// A bad version on its way back.
pub fn failing() -> Snapshot {
    let mut snapshot = soaking();
    snapshot.engine.timeline.push(row(
        45,
        500,
        "engine",
        "taken back: error rate 5.13 % is over 3.00 %",
    ));
    let view = &mut snapshot.placements[0];
    view.traffic.wanted_percent = Some(0.0);
    view.traffic.applied_percent = Some(25.0);
    view.metrics[0].canary = Some(5.13);
    view.metrics[0].state = Some(RuleState::Broken);
    view.tree[0].state = RuleState::Broken;
    view.tree[0].value = "5.13 %".into();
    view.instances[3].healthy = Some(false);
    view.instances[3].trouble = Some("/readyz answered 503".into());
    let open = view.rollout.as_mut().expect("open");
    open.phase = PhaseView::Reverting;
    open.verdict = VerdictClass::Fail;
    open.because = "error rate 5.13 % is over 3.00 %".into();
    open.next = "all traffic back to stable, read back".into();
    open.next_ms = None;
    open.stages[3].state = StageState::Failed;
    open.stages[3].detail = "taken back".into();
    open.stages[3].began_ms = None;
    snapshot
}

/// Several placements; one has a rollout.
pub fn fleet() -> Snapshot {
    let mut snapshot = soaking();
    for name in ["billing@production", "billing@staging", "shop@staging"] {
        let mut view = idle().placements.remove(0);
        view.placement = name.parse().expect("valid");
        view.protected = name.ends_with("production");
        snapshot.placements.push(view);
    }
    snapshot.placements[3].last = None;
    snapshot.placements[3].stable = None;
    snapshot
        .placements
        .sort_by(|a, b| a.placement.cmp(&b.placement));
    snapshot
}

pub fn shared(snapshot: Snapshot) -> Arc<Snapshot> {
    Arc::new(snapshot)
}
