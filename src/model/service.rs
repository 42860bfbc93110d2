//! A service in an environment, as the configuration resolved it. A rollout keeps the copy it
//! started with, so that a later edit of the file changes nothing under way.

use super::checks::Checks;
use super::container::Container;
use super::metrics::MetricsSource;
use super::recorded::{is_one, is_yes, is_zero, one, yes};
use super::strategy::Strategy;
use super::{
    BalancerName, Name, Placement, ReleaseId, RuntimeName, ServerName, ServiceName, Version,
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Everything the engine needs to know of one service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Which service, where.
    pub placement: Placement,
    /// Whether forward moves ask for the environment's name.
    pub protected: bool,
    /// Runtimes the instances run on, at least one.
    pub runtimes: Vec<RuntimeName>,
    /// Balancers in front of them, each with its backend; at least one. A share counts once every
    /// one shows it.
    pub balancers: Vec<Backend>,
    /// The balancer's fixed servers, at least twice `instances`.
    pub servers: Vec<Server>,
    /// Instances of one release.
    pub instances: u32,
    /// How an instance is started.
    pub workload: Workload,
    /// When an instance counts as healthy.
    pub health: HealthCheck,
    /// Tests a new release must pass before it gets traffic.
    pub smoke: Vec<SmokeTest>,
    /// For all of them together, with their attempts.
    #[serde(
        default = "smoke_timeout_ms",
        skip_serializing_if = "is_smoke_timeout_ms"
    )]
    pub smoke_timeout_ms: u64,
    /// How a new release takes over from the old one.
    #[serde(default, skip_serializing_if = "Strategy::is_canary")]
    pub strategy: Strategy,
    /// How traffic moves.
    pub canary: CanarySettings,
    /// What the judge holds against the new release.
    pub analysis: AnalysisSettings,
    /// Sources of metrics that confirm what the balancers count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricsSource>,
    /// Services that every deploy and rollback of this one moves with it, such as its workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ServiceSpec>,
    /// The service this one is a part of: it is deployed and rolled back with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<ServiceName>,
    /// SHA-256 (hex) of the configuration this came from.
    pub config_hash: String,
}

/// For a smoke run where nothing else is written.
pub const SMOKE_TIMEOUT_MS: u64 = 5 * 60_000;

fn smoke_timeout_ms() -> u64 {
    SMOKE_TIMEOUT_MS
}

fn is_smoke_timeout_ms(ms: &u64) -> bool {
    *ms == SMOKE_TIMEOUT_MS
}

impl ServiceSpec {
    /// Instances of a new release that run before it gets all traffic: a canary's own count, else
    /// the service's.
    pub fn canary_instances(&self) -> u32 {
        match self.strategy {
            Strategy::Canary => self.canary.instances.unwrap_or(self.instances),
            _ => self.instances,
        }
    }

    /// The steps in which a new release takes over: rising shares, the last is 100 %.
    pub fn steps(&self) -> Vec<Step> {
        match &self.strategy {
            Strategy::Canary => self.canary.steps.clone(),
            Strategy::BlueGreen(settings) => settings.switch.clone(),
            Strategy::Rolling(settings) => settings.steps(self.instances),
            Strategy::Recreate(settings) => vec![Step {
                weight_percent: 100,
                soak_ms: settings.watch_ms,
                pause: false,
            }],
        }
    }

    /// Where the service stands that this one is a part of.
    pub fn lead(&self) -> Option<Placement> {
        Some(Placement {
            service: self.part_of.clone()?,
            environment: self.placement.environment.clone(),
        })
    }

    /// Whether requests reach it through a balancer; a worker has none.
    pub fn has_traffic(&self) -> bool {
        !self.balancers.is_empty()
    }

    /// The runtime that runs the instance behind a server.
    pub fn runtime_of(&self, server: &ServerName) -> Option<&RuntimeName> {
        let named = self.servers.iter().find(|s| s.name == *server);
        named
            .and_then(|server| server.runtime.as_ref())
            .or(self.runtimes.first())
    }

    /// The address of a server, if the configuration knows it.
    pub fn address(&self, server: &ServerName) -> Option<SocketAddr> {
        self.servers
            .iter()
            .find(|s| s.name == *server)
            .map(|s| s.address)
    }
}

/// A balancer's backend that carries the service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    /// The balancer.
    pub balancer: BalancerName,
    /// Its backend's name.
    pub backend: Name,
}

/// One fixed server of the balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in the balancer's configuration.
    pub name: ServerName,
    /// Where the instance behind it listens.
    pub address: SocketAddr,
    /// The runtime its instance runs on; the service's first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
}

/// How an instance is started. `{version}`, `{port}`, `{address}` and `{server}` in arguments
/// and values are filled in per instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Added environment variables.
    pub env: BTreeMap<String, String>,
    /// Working directory; the host's own when absent.
    pub directory: Option<String>,
    /// Between the polite and the final stop signal.
    pub stop_grace_ms: u64,
    /// What tells a worker to take no new work when its drain begins; absent: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietSignal>,
    /// How it is made as a container, where a runtime of containers runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<Container>>,
}

/// A signal with which a worker is told to take no new work and to finish what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuietSignal {
    /// `SIGHUP`.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// `SIGINT`.
    #[serde(rename = "SIGINT")]
    Int,
    /// `SIGQUIT`.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// `SIGUSR1`.
    #[serde(rename = "SIGUSR1")]
    Usr1,
    /// `SIGUSR2`.
    #[serde(rename = "SIGUSR2")]
    Usr2,
    /// `SIGTERM`.
    #[serde(rename = "SIGTERM")]
    Term,
    /// `SIGTSTP`.
    #[serde(rename = "SIGTSTP")]
    Tstp,
    /// `SIGTTIN`.
    #[serde(rename = "SIGTTIN")]
    Ttin,
    /// `SIGTTOU`.
    #[serde(rename = "SIGTTOU")]
    Ttou,
    /// `SIGWINCH`.
    #[serde(rename = "SIGWINCH")]
    Winch,
}

impl QuietSignal {
    /// Every one, by the word that configurations and records use.
    pub const WORDS: [(&str, Self); 10] = [
        ("SIGHUP", Self::Hup),
        ("SIGINT", Self::Int),
        ("SIGQUIT", Self::Quit),
        ("SIGUSR1", Self::Usr1),
        ("SIGUSR2", Self::Usr2),
        ("SIGTERM", Self::Term),
        ("SIGTSTP", Self::Tstp),
        ("SIGTTIN", Self::Ttin),
        ("SIGTTOU", Self::Ttou),
        ("SIGWINCH", Self::Winch),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        let row = Self::WORDS.iter().find(|(_, signal)| *signal == self);
        row.map_or("", |(word, _)| word)
    }
}

impl Workload {
    /// The workload of one release: the version filled in.
    pub fn of_version(&self, version: &Version) -> Self {
        let fill = |text: &String| text.replace("{version}", version.as_str());
        let variable = |(name, value): (&String, &String)| (name.clone(), fill(value));
        Self {
            command: self.command.iter().map(fill).collect(),
            env: self.env.iter().map(variable).collect(),
            container: self
                .container
                .as_ref()
                .map(|it| Box::new(it.of_version(version))),
            ..self.clone()
        }
    }

    /// The workload of one instance: what differs between instances filled in. The version was
    /// filled in when the release was made; other braces stay.
    pub fn of_instance(&self, server: &ServerName, address: SocketAddr) -> Self {
        let container = self.container.as_ref();
        let at = container.map_or(address, |container| container.listens(address));
        let fill = |text: &String| fill_in(text, server, at);
        let variable = |(name, value): (&String, &String)| (name.clone(), fill(value));
        Self {
            command: self.command.iter().map(fill).collect(),
            env: self.env.iter().map(variable).collect(),
            container: container.map(|it| Box::new(it.of_instance(server, address))),
            ..self.clone()
        }
    }
}

/// What one deploy made: it never changes and is never reused by another deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its identity, carried by its instances.
    pub id: ReleaseId,
    /// The version people know it by.
    pub version: Version,
    /// How its instances are started, with the version filled in.
    pub workload: Workload,
    /// The configuration it was made from.
    pub config_hash: String,
    /// How its instances are known to be healthy; older records know no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Box<Checks>>,
    /// When it was made.
    pub created_ms: u64,
    /// For a part's release: the release of the service it is part of, made by the same deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<ReleaseId>,
}

/// When an instance is healthy, and how often it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked of it.
    #[serde(flatten, serialize_with = "recorded_health")]
    pub kind: CheckKind,
    /// Between two probes of one instance while a rollout is open.
    pub interval_ms: u64,
    /// For one probe.
    pub timeout_ms: u64,
    /// Consecutive passes until a starting instance counts as up.
    pub successes: u32,
    /// Consecutive failures until an instance counts as down.
    pub failures: u32,
    /// From start to up, at most.
    pub start_timeout_ms: u64,
}

/// Writes what a health check asks as it was recorded when a path, a status and JSON were all it
/// had: what came later stands there only where it is set.
fn recorded_health<S: Serializer>(kind: &CheckKind, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Recorded<'a> {
        path: &'a str,
        status: u16,
        json: &'a BTreeMap<String, serde_json::Value>,
        #[serde(skip_serializing_if = "is_get")]
        method: &'a str,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        headers: &'a BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        contains: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        matches: &'a Option<String>,
    }
    match kind {
        CheckKind::Http(check) => Recorded {
            path: &check.path,
            status: check.status,
            json: &check.json,
            method: &check.method,
            headers: &check.headers,
            body: &check.body,
            contains: &check.contains,
            matches: &check.matches,
        }
        .serialize(serializer),
        other => other.serialize(serializer),
    }
}

/// One test that every instance of a new release is put to before it gets traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeTest {
    /// What people call it.
    pub name: Name,
    /// Whether its failure ends the rollout; else it is recorded and shown as a warning.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub critical: bool,
    /// What is asked of each instance.
    #[serde(flatten)]
    pub kind: CheckKind,
    /// For one attempt.
    pub timeout_ms: u64,
    /// How often it is tried until it passes, 1–10.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempts: u32,
    /// Between a failed attempt and the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_interval_ms: u64,
}

/// What is asked of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CheckKind {
    /// That it takes a TCP connection.
    Tcp,
    /// That a program, run by the engine, ends with exit code 0.
    Command {
        /// Program and arguments, no shell; `{address}`, `{port}` and `{server}` are filled in per
        /// instance.
        command: Vec<String>,
    },
    /// An answer to an HTTP request. It is written without a kind, as it was before there were
    /// others.
    #[serde(untagged)]
    Http(HttpCheck),
}

impl CheckKind {
    /// The request, where it is one over HTTP.
    pub fn http(&self) -> Option<&HttpCheck> {
        match self {
            Self::Http(check) => Some(check),
            Self::Tcp | Self::Command { .. } => None,
        }
    }

    /// What is done to an instance at an address, in words: `GET http://127.0.0.1:18001/healthz`.
    pub fn words(&self, address: SocketAddr) -> String {
        match self {
            Self::Tcp => format!("connect to {address}"),
            Self::Command { command } => {
                let program = command.first().map_or("", String::as_str);
                format!("run {program} for {address}")
            }
            Self::Http(check) => format!("{} http://{address}{}", check.method, check.path),
        }
    }
}

/// An HTTP request, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// HTTP method.
    #[serde(default = "get")]
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Request body.
    #[serde(default)]
    pub body: Option<String>,
    /// Expected status.
    pub status: u16,
    /// Text the body must contain.
    #[serde(default)]
    pub contains: Option<String>,
    /// Regular expression that must match somewhere in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// JSON pointer → expected value, e.g. `/checks/database` → `"ok"`.
    pub json: BTreeMap<String, serde_json::Value>,
}

impl HttpCheck {
    /// GET on a path; any answer with status 200 passes.
    pub fn get(path: &str) -> Self {
        Self {
            method: get(),
            path: path.to_owned(),
            headers: BTreeMap::new(),
            body: None,
            status: 200,
            contains: None,
            matches: None,
            json: BTreeMap::new(),
        }
    }

    /// Whether anything is expected of the body.
    pub fn reads_body(&self) -> bool {
        self.contains.is_some() || self.matches.is_some() || !self.json.is_empty()
    }
}

/// What differs between instances, filled in: `{address}`, `{port}` and `{server}`. Other braces
/// stay.
pub fn fill_in(text: &str, server: &ServerName, address: SocketAddr) -> String {
    text.replace("{port}", &address.port().to_string())
        .replace("{address}", &address.to_string())
        .replace("{server}", server.as_str())
}

fn get() -> String {
    "GET".to_owned()
}

fn is_get(method: &str) -> bool {
    method == "GET"
}

/// One canary step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The new release's share of requests, 1–100.
    pub weight_percent: u8,
    /// How long it is watched there.
    pub soak_ms: u64,
    /// Whether a person must promote after the soak.
    pub pause: bool,
}

/// How traffic moves to a new release, and what happens to the old one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanarySettings {
    /// Steps in rising order; the last is 100 %.
    pub steps: Vec<Step>,
    /// Requests the new release must have answered before a step can pass.
    pub min_requests: u64,
    /// A soak short of requests goes on to this multiple of itself, then holds.
    pub max_soak_factor: u32,
    /// Instances of the canary; the service's own count when absent.
    pub instances: Option<u32>,
    /// A new instance may get at most so many times the load of an old one; absent: not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_load_factor: Option<f64>,
    /// The old release stays warm this long after the last step.
    pub keep_warm_ms: u64,
    /// An instance that does not fall idle is stopped after this long.
    pub drain_timeout_ms: u64,
    /// A weight change that the balancer does not take is given up after this long.
    pub shift_timeout_ms: u64,
}

/// What the judge holds against a new release. A limit that is absent is not judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisSettings {
    /// Between two judgements; also the longest an observation counts as fresh.
    pub interval_ms: u64,
    /// Consecutive failing judgements until the engine takes the release back.
    pub failures: u32,
    /// Judgements without data until the rollout is held.
    pub no_data_intervals: u32,
    /// Without data at weight > 0 until the rollout is aborted.
    pub no_data_abort_ms: u64,
    /// Error ratio, 0–1, above which the release fails.
    pub error_ratio: Option<f64>,
    /// p99 in ms: fails when more than 1 % of requests took longer. A histogram edge.
    pub latency_p99_ms: Option<u32>,
    /// Mean response in ms above which the release fails.
    pub mean_ms: Option<f64>,
    /// Fails when its error ratio exceeds this multiple of stable's.
    pub error_ratio_vs_stable: Option<f64>,
    /// Fails when its p99 exceeds this multiple of stable's.
    pub latency_p99_vs_stable: Option<f64>,
    /// Fails when its mean response exceeds this multiple of stable's.
    pub mean_vs_stable: Option<f64>,
    /// Own probes passed ÷ made over the last 60 s below which the release fails, 0–1.
    pub infrastructure_health: Option<f64>,
    /// CPU used ÷ what may be used, 0–1, above which the release fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Memory used ÷ what may be used, 0–1, above which the release fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Disk used ÷ its size, 0–1, above which the release fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<f64>,
    /// Scrapes answered ÷ made, 0–1, below which the release fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    /// How counts are compared with stable's while the rollout lasts. Absent: they are not, as in
    /// records from before there was a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonSettings>,
}

/// The sequential comparison of the new release's counts with stable's at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ComparisonSettings {
    /// Probability that it calls a release worse that is as good as stable, over the whole rollout
    /// and however often it looks; above 0, below 1.
    pub false_alarm_per_rollout: f64,
    /// Up to so many times stable's errors do not matter; at least 1.
    pub tolerated_ratio: f64,
    /// The ratio that detection is tuned to, and that "no regression" rules out; greater than the
    /// tolerated one.
    pub smallest_regression: f64,
    /// Whether requests slower than stable's usual ones are compared as errors are.
    #[serde(default)]
    pub latencies: bool,
    /// Whether a step may end before its soak does, once a regression is ruled out.
    #[serde(default)]
    pub early_safety: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_instances_is_filled_in_and_other_braces_stay() {
        let workload = Workload {
            command: vec!["--at {address} -p {port} {server} {\"json\":1}".into()],
            env: BTreeMap::from([("ME".into(), "{server}".into())]),
            directory: None,
            stop_grace_ms: 0,
            quiet: None,
            container: None,
        };
        let server = "web1".parse().expect("a name");
        let address = "127.0.0.1:18001".parse().expect("an address");
        let filled = workload.of_instance(&server, address);
        assert_eq!(
            filled.command,
            ["--at 127.0.0.1:18001 -p 18001 web1 {\"json\":1}"]
        );
        assert_eq!(filled.env["ME"], "web1");
    }

    /// As they were recorded before there were kinds.
    const OLD_HEALTH: &str = r#"{"path":"/healthz","status":200,"json":{"/checks/database":"ok"},
        "interval_ms":2000,"timeout_ms":1000,"successes":2,"failures":3,"start_timeout_ms":60000}"#;
    const OLD_SMOKE: &str = r#"{"name":"home","method":"POST","path":"/","headers":{"a":"b"},
        "body":"{}","status":201,"contains":"ok","json":{"/n":1},"timeout_ms":1000}"#;

    #[test]
    fn checks_recorded_before_there_were_kinds_are_http() {
        let health: HealthCheck = serde_json::from_str(OLD_HEALTH).expect("a check");
        let http = health.kind.http().expect("HTTP");
        assert_eq!((http.method.as_str(), http.status), ("GET", 200));
        assert_eq!(http.json["/checks/database"], "ok");
        assert_eq!(health.start_timeout_ms, 60_000);
        let old = OLD_HEALTH.replace(['\n', ' '], "");
        let written = serde_json::to_string(&health).expect("JSON");
        assert_eq!(written, old, "an old shape is written as it was");
        let smoke: SmokeTest = serde_json::from_str(OLD_SMOKE).expect("a test");
        let http = smoke.kind.http().expect("HTTP");
        assert_eq!((http.method.as_str(), http.status), ("POST", 201));
        assert!(smoke.critical);
        assert_eq!((smoke.attempts, smoke.retry_interval_ms), (1, 0));
        let old = OLD_SMOKE.replace(['\n', ' '], "");
        let written = serde_json::to_string(&smoke).expect("JSON");
        assert_eq!(written, old, "an old shape is written as it was");
    }

    #[test]
    fn every_kind_of_check_is_read_as_it_is_written() {
        let command = vec!["./check".to_owned(), "{port}".to_owned()];
        for kind in [
            CheckKind::Tcp,
            CheckKind::Command { command },
            CheckKind::Http(HttpCheck::get("/")),
            CheckKind::Http(HttpCheck {
                method: "HEAD".to_owned(),
                headers: BTreeMap::from([("host".to_owned(), "web".to_owned())]),
                matches: Some("^ok".to_owned()),
                ..HttpCheck::get("/")
            }),
        ] {
            let test = SmokeTest {
                name: "one".parse().expect("a name"),
                critical: false,
                kind,
                timeout_ms: 100,
                attempts: 3,
                retry_interval_ms: 50,
            };
            let text = serde_json::to_string(&test).expect("JSON");
            let read: SmokeTest = serde_json::from_str(&text).expect(&text);
            assert_eq!(read, test);
            let check = HealthCheck {
                kind: test.kind,
                interval_ms: 1,
                timeout_ms: 1,
                successes: 1,
                failures: 1,
                start_timeout_ms: 1,
            };
            let text = serde_json::to_string(&check).expect("JSON");
            let read: HealthCheck = serde_json::from_str(&text).expect(&text);
            assert_eq!(read, check);
        }
        let future = r#"{"kind":"grpc","name":"one","timeout_ms":1}"#;
        serde_json::from_str::<SmokeTest>(future).expect_err("an unknown kind is not guessed");
    }
}
