//! A real Prometheus beside a real HAProxy: it finds the instances by the engine's own discovery,
//! confirms each step in rows of its own, and nothing advances without it.

use crate::judge::{Expected, judge, records};
use crate::real_prometheus::{RealPrometheus, free_address, installed};
use crate::stage::{Front, Pace, SERVICE, Stage};
use wheelhouse::model::verdict::{RuleState, Verdict};
use wheelhouse::model::{Entry, Status, VerdictClass};
use wheelhouse::view::snapshot::PlacementView;

const STEPS: Pace = Pace {
    steps: "[25, 100]",
    soak: "4s",
    min_requests: 20,
    slow_start_ms: 0,
    mean_ms: "false",
};

/// A first step that no test sees the end of.
const LONG: Pace = Pace {
    soak: "10m",
    ..STEPS
};

/// A stage whose engine asks a Prometheus that finds it by `http_sd`.
async fn set(pace: Pace) -> Option<(Stage, RealPrometheus)> {
    if !installed() {
        return None;
    }
    let found_at = free_address();
    let real = RealPrometheus::start(&format!(
        "- job_name: shop\n  http_sd_configs:\n  \
         - {{url: 'http://{found_at}/targets', refresh_interval: 1s}}\n"
    ))
    .await;
    let url = real.url();
    let tables = format!(
        r#"
[metrics.prom]
kind = "prometheus"
url = "{url}"
preset = "http"
scrape_interval = "1s"
window = "4s"
http_sd = "{found_at}"

[service.{SERVICE}.analysis]
uptime = false
"#
    );
    let stage = Stage::set_with(Front::Haproxy, pace, &tables).await?;
    Some((stage, real))
}

fn confirmed(verdict: &Verdict) -> bool {
    let mine = |source: &str| source == "prom";
    let mut rows = verdict.findings.iter();
    rows.any(|row| mine(row.source.as_str()) && row.state == RuleState::Ok)
}

fn peer_in_trouble(view: &PlacementView) -> bool {
    let mut peers = view.peers.iter();
    peers.any(|peer| peer.name.as_str() == "metrics prom" && peer.trouble.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_passes_with_rows_that_confirm_it() {
    let Some((stage, _real)) = set(STEPS).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let rows = stage
        .until("a row by Prometheus with values", |view| {
            let mut rows = view.metrics.iter();
            rows.any(|row| row.name.as_str() == "error rate (prom)" && row.canary.is_some())
        })
        .await;
    assert!(!peer_in_trouble(&rows), "{:?}", rows.peers);
    stage.ends(number, Status::Succeeded).await;
    let passed = records(&stage)
        .into_iter()
        .filter_map(|record| match record.entry {
            Entry::StepPassed { verdict, .. } => Some(verdict),
            _ => None,
        });
    let passed: Vec<_> = passed.collect();
    assert!(passed.len() >= 2, "{passed:#?}");
    assert!(passed.iter().all(confirmed), "{passed:#?}");
    judge(&stage, load, &Expected::of("v2", &["v1"])).await;
}

/// FAULTS 78, and 76 the other way.
#[tokio::test(flavor = "multi_thread")]
async fn faults_76_78_without_prometheus_a_step_is_held_and_never_advanced() {
    let Some((stage, mut real)) = set(LONG).await else {
        return;
    };
    let (load, number) = stage.waits_at_a_quarter("v2").await;
    // Where the first scrape came late it was held once before: that must be over.
    stage
        .until("a confirmed soak", |view| {
            let open = view.rollout.as_ref();
            open.is_some_and(|open| open.verdict == VerdictClass::Pass && open.hold.is_none())
        })
        .await;
    real.kill();
    let held = stage
        .until("a hold for want of data", |view| {
            let open = view.rollout.as_ref();
            open.is_some_and(|open| open.verdict == VerdictClass::NoData && open.hold.is_some())
        })
        .await;
    let open = held.rollout.as_ref().expect("it is open");
    let hold = open.hold.as_ref().expect("it is held");
    assert!(hold.text.as_str().contains("no data"), "{}", hold.text);
    assert!(peer_in_trouble(&held), "{:?}", held.peers);
    assert_eq!(held.traffic.applied_percent, Some(25.0));
    stage.does(&["abort", SERVICE]).await;
    stage.ends(number, Status::RolledBack).await;
    judge(&stage, load, &Expected::of("v1", &[])).await;
}
