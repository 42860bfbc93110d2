//! What holds where nothing is written. `config.example.toml` documents each of these, and a test
//! holds the two equal.

use crate::model::pipeline::{Rerun, StageSpec, StageWork, When};
use crate::model::service::{
    AnalysisSettings, CanarySettings, CheckKind, ComparisonSettings, HealthCheck, HttpCheck, Step,
};
use crate::model::strategy::{Recreate, Rolling};

/// Shares of the default steps, in percent.
pub const STEPS_PERCENT: [u8; 4] = [5, 10, 25, 100];

/// Shares of the default switch between slots, in percent.
pub const SWITCH_PERCENT: [u8; 1] = [100];

/// Soak of a step that names none.
pub const SOAK_MS: u64 = 5 * 60_000;

/// Instances of a release.
pub const INSTANCES: u32 = 2;

/// Between the polite and the final stop signal.
pub const STOP_GRACE_MS: u64 = 10_000;

/// For one attempt of a smoke test.
pub const SMOKE_TIMEOUT_MS: u64 = 5_000;

/// Between a smoke test's failed attempt and the next.
pub const SMOKE_RETRY_INTERVAL_MS: u64 = 2_000;

/// Path of a health check over HTTP.
pub const HEALTH_PATH: &str = "/healthz";

/// The environment that exists where none is configured.
pub const ENV: &str = "dev";

/// The built-in runtime and balancer: the host process.
pub const HOST: &str = "host";

/// Name pattern of a service's HAProxy backend.
pub const HAPROXY_BACKEND: &str = "be_{service}";

/// Name pattern of a service's backend in the host's proxy.
pub const HOST_BACKEND: &str = "{service}.{env}";

/// Between two scrapes of a source of metrics.
pub const SCRAPE_MS: u64 = 15_000;

/// How far back a question to a source of metrics looks, unless four scrapes take longer.
pub const WINDOW_MS: u64 = 60_000;

/// Scrapes that a window and a soak must span.
pub const SCRAPES_MIN: u64 = 4;

/// The branch of a pipeline that names none.
pub const BRANCH: &str = "main";

/// For one attempt of a command, a build or a push.
pub const STAGE_TIMEOUT_MS: u64 = 30 * 60_000;

/// For what another pipeline is given to judge a commit.
pub const EXTERNAL_TIMEOUT_MS: u64 = 60 * 60_000;

/// For a stage's rollout to begin.
pub const DEPLOY_TIMEOUT_MS: u64 = 10 * 60_000;

/// Before the first further attempt of a stage.
pub const STAGE_BACKOFF_MS: u64 = 5_000;

/// Between two questions about a commit.
pub const EXTERNAL_INTERVAL_MS: u64 = 15_000;

/// What a deploy stage calls the version.
pub const STAGE_VERSION: &str = "{short}";

/// The context of a build, below the work tree.
pub const BUILD_CONTEXT: &str = ".";
/// The Dockerfile of a build, below its context.
pub const DOCKERFILE: &str = "Dockerfile";

/// The stage that every pipeline begins with. A fetch over a network fails now and then, and does
/// no harm twice.
pub fn checkout() -> StageSpec {
    StageSpec {
        name: CHECKOUT
            .parse()
            .expect("invariant: the checkout's name is one"),
        needs: Vec::new(),
        work: StageWork::Checkout,
        when: When::default(),
        timeout_ms: 10 * 60_000,
        retries: 2,
        backoff_ms: 2_000,
        rerun: Rerun::Safe,
    }
}

/// The name of the stage that every pipeline begins with.
pub const CHECKOUT: &str = "checkout";

/// How traffic moves.
pub fn canary() -> CanarySettings {
    let step = |weight_percent| Step {
        weight_percent,
        soak_ms: SOAK_MS,
        pause: false,
    };
    CanarySettings {
        steps: STEPS_PERCENT.map(step).to_vec(),
        min_requests: 300,
        max_soak_factor: 3,
        instances: None,
        max_load_factor: Some(1.2),
        keep_warm_ms: 30 * 60_000,
        drain_timeout_ms: 30_000,
        shift_timeout_ms: 30_000,
    }
}

/// How instances are replaced a batch at a time.
pub fn rolling() -> Rolling {
    Rolling {
        batch: 1,
        max_unavailable: 0,
        max_surge: 1,
        min_healthy_ms: 10_000,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: 10 * 60_000,
    }
}

/// How what may run only once is replaced.
pub fn recreate() -> Recreate {
    Recreate { watch_ms: 60_000 }
}

/// What the judge holds against a new release.
pub fn analysis() -> AnalysisSettings {
    AnalysisSettings {
        interval_ms: 10_000,
        failures: 2,
        no_data_intervals: 5,
        no_data_abort_ms: 10 * 60_000,
        error_ratio: Some(0.05),
        latency_p99_ms: Some(1_000),
        mean_ms: Some(2_000.0),
        // The comparison takes its place: on identical versions a ratio of few errors fires often.
        error_ratio_vs_stable: None,
        latency_p99_vs_stable: Some(1.3),
        mean_vs_stable: Some(2.0),
        infrastructure_health: Some(0.95),
        cpu: Some(0.80),
        memory: Some(0.85),
        disk: Some(0.90),
        uptime: Some(0.999),
        comparison: Some(comparison()),
    }
}

/// How counts are compared with stable's. One false alarm in a hundred rollouts of sound releases;
/// the other two as the judge's simulations (`cargo bench --bench judge`) use them.
pub fn comparison() -> ComparisonSettings {
    ComparisonSettings {
        false_alarm_per_rollout: 0.01,
        tolerated_ratio: 1.2,
        smallest_regression: 2.0,
        latencies: false,
        early_safety: false,
    }
}

/// Against stable where only a source of metrics counts errors, whose windows overlap: there is
/// nothing to compare interval by interval.
pub const ERROR_RATIO_VS_STABLE_OF_SOURCES: f64 = 1.5;

/// When an instance counts as healthy. It gets five minutes to start: 30 tries of 10 s is what
/// services of this kind are usually given.
pub fn health() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http(HttpCheck::get(HEALTH_PATH)),
        interval_ms: 2_000,
        timeout_ms: 1_000,
        successes: 2,
        failures: 3,
        start_timeout_ms: 5 * 60_000,
    }
}
