//! The keys each table accepts: the one list that unknown keys are held against and that the
//! example file must document, key for key.

/// One kind of table.
#[derive(Debug)]
pub struct Accepted {
    /// Its path; `*` stands for a name of the writer's choice.
    pub table: &'static str,
    /// Its keys, in the order in which the example documents them.
    pub keys: &'static [&'static str],
}

/// The top level.
pub const ROOT: Accepted = Accepted {
    table: "",
    keys: &[
        "state_dir",
        "service",
        "env",
        "runtime",
        "balancer",
        "metrics",
        "canary",
        "blue_green",
        "rolling",
        "recreate",
        "analysis",
        "pipeline",
        "webhook",
        "roles",
        "policy",
        "console",
        "keys",
    ],
};

/// A service.
pub const SERVICE: Accepted = Accepted {
    table: "service.*",
    keys: &[
        "command",
        "image",
        "port",
        "part_of",
        "traffic",
        "listen",
        "instances",
        "strategy",
        "directory",
        "stop_grace",
        "quiet",
        "variables",
        "container",
        "servers",
        "slots",
        "backend",
        "health",
        "smoke",
        "smoke_timeout",
        "canary",
        "blue_green",
        "rolling",
        "recreate",
        "analysis",
        "env",
    ],
};

/// What a service overrides in one environment: all its keys but `env`.
pub const SERVICE_ENV: Accepted = Accepted {
    table: "service.*.env.*",
    keys: SERVICE.keys.split_at(SERVICE.keys.len() - 1).0,
};

/// How an instance is made as a container.
pub const CONTAINER: Accepted = Accepted {
    table: "service.*.container",
    keys: &[
        "clone",
        "command",
        "entrypoint",
        "directory",
        "env_file",
        "secrets",
        "labels",
        "volumes",
        "networks",
        "memory",
        "cpus",
        "user",
        "cap_add",
        "cap_drop",
        "ulimits",
        "stop_signal",
        "log_driver",
        "log_options",
        "extra_hosts",
        "read_only",
        "tmpfs",
    ],
};

/// When an instance counts as healthy.
pub const HEALTH: Accepted = Accepted {
    table: "service.*.health",
    keys: &[
        "kind",
        "method",
        "path",
        "headers",
        "status",
        "json",
        "command",
        "interval",
        "timeout",
        "successes",
        "failures",
        "start_timeout",
    ],
};

/// One smoke test.
pub const SMOKE: Accepted = Accepted {
    table: "service.*.smoke",
    keys: &[
        "name",
        "kind",
        "critical",
        "method",
        "path",
        "headers",
        "body",
        "status",
        "contains",
        "matches",
        "json",
        "command",
        "timeout",
        "attempts",
        "retry_interval",
    ],
};

/// How traffic moves.
pub const CANARY: Accepted = Accepted {
    table: "canary",
    keys: &[
        "steps",
        "soak",
        "min_requests",
        "max_soak_factor",
        "instances",
        "max_load_factor",
        "keep_warm",
        "drain_timeout",
        "shift_timeout",
    ],
};

/// One step written as a table.
pub const STEP: Accepted = Accepted {
    table: "canary.steps",
    keys: &["weight", "soak", "pause"],
};

/// The servers of each slot.
pub const SLOTS: Accepted = Accepted {
    table: "service.*.slots",
    keys: &["blue", "green"],
};

/// How traffic is switched between slots.
pub const BLUE_GREEN: Accepted = Accepted {
    table: "blue_green",
    keys: &["switch", "soak", "confirm"],
};

/// How instances are replaced a batch at a time.
pub const ROLLING: Accepted = Accepted {
    table: "rolling",
    keys: &[
        "batch",
        "max_unavailable",
        "surge",
        "min_healthy",
        "first_watch",
        "pause_after_first",
        "progress_deadline",
    ],
};

/// How what may run only once is replaced.
pub const RECREATE: Accepted = Accepted {
    table: "recreate",
    keys: &["watch"],
};

/// What the judge holds against a new release.
pub const ANALYSIS: Accepted = Accepted {
    table: "analysis",
    keys: &[
        "interval",
        "failures",
        "no_data_intervals",
        "no_data_abort",
        "error_ratio",
        "latency_p99_ms",
        "mean_ms",
        "error_ratio_vs_stable",
        "latency_p99_vs_stable",
        "mean_vs_stable",
        "infrastructure_health",
        "cpu",
        "memory",
        "disk",
        "uptime",
        "false_alarm_per_rollout",
        "tolerated_ratio",
        "smallest_regression_worth_catching",
        "compare_latencies",
        "early_safety",
    ],
};

/// An environment.
pub const ENV: Accepted = Accepted {
    table: "env.*",
    keys: &["protected", "runtime", "balancers", "metrics", "accent"],
};

/// A server written as a table.
pub const SERVER: Accepted = Accepted {
    table: "service.*.servers.*",
    keys: &["address", "runtime"],
};

/// A runtime of kind `host`.
pub const RUNTIME: Accepted = Accepted {
    table: "runtime.*",
    keys: &["kind", "socket"],
};

/// A runtime of kind `docker`.
pub const RUNTIME_DOCKER: Accepted = Accepted {
    table: "runtime.*",
    keys: &[
        "kind", "host", "context", "tls_ca", "tls_cert", "tls_key", "registry",
    ],
};

/// The login for a registry.
pub const REGISTRY: Accepted = Accepted {
    table: "runtime.*.registry.*",
    keys: &["user", "password"],
};

/// A balancer of kind `host`.
pub const BALANCER_HOST: Accepted = Accepted {
    table: "balancer.*",
    keys: &["kind", "socket"],
};

/// A balancer of kind `haproxy`.
pub const BALANCER_HAPROXY: Accepted = Accepted {
    table: "balancer.*",
    keys: &["kind", "socket", "state_file", "log", "backend", "shares"],
};

/// A source of metrics of kind `prometheus`.
pub const METRICS: Accepted = Accepted {
    table: "metrics.*",
    keys: &[
        "kind",
        "url",
        "preset",
        "selector",
        "scrape_interval",
        "window",
        "token",
        "user",
        "password",
        "ca",
        "http_sd",
        "file_sd",
        "queries",
    ],
};

/// Questions of one's own to a source of metrics.
pub const QUERIES: Accepted = Accepted {
    table: "metrics.*.queries",
    keys: &[
        "requests", "errors", "latency", "mean", "cpu", "memory", "disk", "uptime", "series",
    ],
};

/// A pipeline.
pub const PIPELINE: Accepted = Accepted {
    table: "pipeline.*",
    keys: &["repository", "branch", "at_once", "when_busy", "stage"],
};

/// A stage of a pipeline.
pub const STAGE: Accepted = Accepted {
    table: "pipeline.*.stage",
    keys: &[
        "name",
        "needs",
        "command",
        "image",
        "directory",
        "env",
        "secrets",
        "build",
        "push",
        "external",
        "deploy",
        "version",
        "digest",
        "confirm",
        "timeout",
        "retries",
        "backoff",
        "rerun",
        "when",
    ],
};

/// When a stage is done.
pub const WHEN: Accepted = Accepted {
    table: "pipeline.*.stage.when",
    keys: &["branch", "environment"],
};

/// An image that a stage builds.
pub const BUILD: Accepted = Accepted {
    table: "pipeline.*.stage.build",
    keys: &["image", "context", "dockerfile", "arguments"],
};

/// Whose word a stage waits for.
pub const EXTERNAL: Accepted = Accepted {
    table: "pipeline.*.stage.external",
    keys: &[
        "provider", "url", "project", "contexts", "token", "interval",
    ],
};

/// Where others may ask for runs.
pub const WEBHOOK: Accepted = Accepted {
    table: "webhook",
    keys: &["listen", "exposed", "source"],
};

/// One repository that may ask.
pub const SOURCE: Accepted = Accepted {
    table: "webhook.source",
    keys: &["provider", "secret", "repository", "rules"],
};

/// What is begun for what was pushed.
pub const RULE: Accepted = Accepted {
    table: "webhook.source.rules",
    keys: &["branch", "tag", "pipeline", "environment"],
};

/// Who may use a system engine.
pub const ROLES: Accepted = Accepted {
    table: "roles",
    keys: &["viewer", "operator", "socket_group"],
};

/// To whom a role is granted.
pub const GRANT: Accepted = Accepted {
    table: "roles.*",
    keys: &["users", "groups"],
};

/// What bounds all other settings.
pub const POLICY: Accepted = Accepted {
    table: "policy",
    keys: &["env"],
};

/// The bounds of one environment.
pub const POLICY_ENV: Accepted = Accepted {
    table: "policy.env.*",
    keys: &[
        "protected",
        "min_soak",
        "min_steps",
        "max_first_weight",
        "min_requests",
        "max_error_ratio",
        "max_failures",
    ],
};

/// The screen.
pub const CONSOLE: Accepted = Accepted {
    table: "console",
    keys: &[
        "theme",
        "ascii",
        "synchronized_output",
        "low_bandwidth",
        "esc_timeout_ms",
        "notify",
    ],
};

/// Every kind of table, for those who list or document them.
pub const TABLES: &[&Accepted] = &[
    &ROOT,
    &SERVICE,
    &SERVICE_ENV,
    &CONTAINER,
    &HEALTH,
    &SMOKE,
    &CANARY,
    &STEP,
    &SLOTS,
    &BLUE_GREEN,
    &ROLLING,
    &RECREATE,
    &ANALYSIS,
    &ENV,
    &RUNTIME,
    &RUNTIME_DOCKER,
    &REGISTRY,
    &SERVER,
    &BALANCER_HOST,
    &BALANCER_HAPROXY,
    &METRICS,
    &QUERIES,
    &PIPELINE,
    &STAGE,
    &WHEN,
    &BUILD,
    &EXTERNAL,
    &WEBHOOK,
    &SOURCE,
    &RULE,
    &ROLES,
    &GRANT,
    &POLICY,
    &POLICY_ENV,
    &CONSOLE,
];
