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
        "analysis",
        "console",
        "keys",
    ],
};

/// A service.
pub const SERVICE: Accepted = Accepted {
    table: "service.*",
    keys: &[
        "command",
        "listen",
        "instances",
        "directory",
        "stop_grace",
        "variables",
        "servers",
        "backend",
        "health",
        "smoke",
        "canary",
        "analysis",
        "env",
    ],
};

/// What a service overrides in one environment: all its keys but `env`.
pub const SERVICE_ENV: Accepted = Accepted {
    table: "service.*.env.*",
    keys: SERVICE.keys.split_at(SERVICE.keys.len() - 1).0,
};

/// When an instance counts as healthy.
pub const HEALTH: Accepted = Accepted {
    table: "service.*.health",
    keys: &[
        "path",
        "status",
        "json",
        "interval",
        "timeout",
        "successes",
        "failures",
        "start_timeout",
    ],
};

/// One smoke request.
pub const SMOKE: Accepted = Accepted {
    table: "service.*.smoke",
    keys: &[
        "name", "method", "path", "headers", "body", "status", "contains", "json", "timeout",
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
    ],
};

/// An environment.
pub const ENV: Accepted = Accepted {
    table: "env.*",
    keys: &["protected", "runtime", "balancers", "accent"],
};

/// A runtime of kind `host`.
pub const RUNTIME: Accepted = Accepted {
    table: "runtime.*",
    keys: &["kind", "socket"],
};

/// A balancer of kind `host`.
pub const BALANCER_HOST: Accepted = Accepted {
    table: "balancer.*",
    keys: &["kind", "socket"],
};

/// A balancer of kind `haproxy`.
pub const BALANCER_HAPROXY: Accepted = Accepted {
    table: "balancer.*",
    keys: &["kind", "socket", "state_file", "backend", "shares"],
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
pub const TABLES: [&Accepted; 13] = [
    &ROOT,
    &SERVICE,
    &SERVICE_ENV,
    &HEALTH,
    &SMOKE,
    &CANARY,
    &STEP,
    &ANALYSIS,
    &ENV,
    &RUNTIME,
    &BALANCER_HOST,
    &BALANCER_HAPROXY,
    &CONSOLE,
];
