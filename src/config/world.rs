//! Reads `[env.*]`, `[runtime.*]`, `[balancer.*]` and `[metrics.*]`: where services run and what
//! stands in front of them. Must not know services.

use super::accepted::{BALANCER_HAPROXY, BALANCER_HOST, ENV, RUNTIME};
use super::balancer_log;
use super::defaults;
use super::docker::{self, DockerSettings};
use super::errors::{Problems, quoted};
use super::metrics::{PrometheusSettings, prometheus};
use super::reader::{Located, Reader, parsed, text};
use super::suggest;
use super::tree::{Node, Place};
use crate::model::{BalancerName, EnvName, LogAddress, MetricsName, Name, RuntimeName};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path of a Unix socket the kernel takes, in bytes.
pub(super) const SOCKET_PATH_MAX: usize = 107;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvSettings {
    /// Whether forward moves ask for its name.
    pub protected: bool,
    /// Runtimes its instances run on.
    pub runtimes: Vec<RuntimeName>,
    /// Balancers in front of them.
    pub balancers: Vec<BalancerName>,
    /// Sources of metrics that confirm what the balancers count.
    pub metrics: Vec<MetricsName>,
    /// The colour of its name on the screen; the theme judges whether it is one.
    pub accent: Option<String>,
}

/// A runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeSettings {
    /// The embedded host.
    Host {
        /// Its socket; the one in the state directory when absent.
        socket: Option<PathBuf>,
    },
    /// A Docker daemon.
    Docker(DockerSettings),
}

/// A balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerSettings {
    /// The embedded host's proxy.
    Host {
        /// The host's socket; the one in the state directory when absent.
        socket: Option<PathBuf>,
    },
    /// HAProxy.
    Haproxy(HaproxySettings),
}

impl RuntimeSettings {
    /// Whether it says how much CPU and memory instances use.
    pub fn has_gauges(&self) -> bool {
        match self {
            Self::Host { .. } => false,
            Self::Docker(_) => true,
        }
    }
}

impl BalancerSettings {
    /// Whether it counts latencies.
    pub fn has_latencies(&self) -> bool {
        match self {
            Self::Host { .. } => true,
            Self::Haproxy(haproxy) => haproxy.log.is_some(),
        }
    }
}

/// How HAProxy is reached and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxySettings {
    /// Its stats socket, with `level admin`.
    pub socket: PathBuf,
    /// Where its server state is kept for its next start. May hold `{backend}`: see
    /// [`HaproxySettings::state_file`].
    pub state_file: PathBuf,
    /// Where it sends its httplog lines; without, it has no latencies.
    pub log: Option<LogAddress>,
    /// How exactly it must keep the shares.
    pub shares: Shares,
    /// Name pattern of a service's backend, with `{service}` and `{env}`.
    pub backend: String,
}

impl HaproxySettings {
    /// The state file of one backend: `{backend}` in the path is filled in.
    pub fn state_file(&self, backend: &Name) -> PathBuf {
        let pattern = self.state_file.to_string_lossy();
        PathBuf::from(pattern.replace("{backend}", backend.as_str()))
    }
}

/// How exactly a balancer keeps the shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// By count: `roundrobin`.
    Exact,
    /// By load: `leastconn` is accepted too.
    Approximate,
}

/// Where everything runs.
pub(super) struct WorldText {
    pub(super) environments: BTreeMap<EnvName, EnvSettings>,
    pub(super) runtimes: BTreeMap<RuntimeName, RuntimeSettings>,
    pub(super) balancers: BTreeMap<BalancerName, BalancerSettings>,
    pub(super) metrics: BTreeMap<MetricsName, PrometheusSettings>,
    /// Environments that are written but faulty: naming them elsewhere is no fault of its own.
    pub(super) faulty_environments: Vec<String>,
}

/// Reads all of them from the top level.
pub(super) fn read(root: &Node, problems: &Problems<'_>) -> WorldText {
    let (mut runtimes, faulty_runtimes) = named(root, "runtime", problems, runtime);
    let (mut balancers, faulty_balancers) = named(root, "balancer", problems, balancer);
    balancer_log::shared(root, &balancers, problems);
    let (metrics, faulty_metrics) = named(
        root,
        "metrics",
        problems,
        |node, _: &MetricsName, problems| {
            kind(node, &METRICS_KINDS, problems)?;
            prometheus(node, problems)
        },
    );
    let builtin_runtime = name_of(defaults::HOST);
    let builtin_balancer = name_of(defaults::HOST);
    let runtime_default = only(&runtimes, faulty_runtimes.is_empty(), &builtin_runtime);
    let balancer_default = only(&balancers, faulty_balancers.is_empty(), &builtin_balancer);
    runtimes
        .entry(builtin_runtime)
        .or_insert(RuntimeSettings::Host { socket: None });
    balancers
        .entry(builtin_balancer)
        .or_insert(BalancerSettings::Host { socket: None });
    let choice = Choice {
        runtimes: Known {
            key: "runtime",
            names: runtimes.keys().collect(),
            default: runtime_default,
            faulty: &faulty_runtimes,
        },
        balancers: Known {
            key: "balancers",
            names: balancers.keys().collect(),
            default: balancer_default,
            faulty: &faulty_balancers,
        },
        embedded: balancers
            .iter()
            .filter(|(_, settings)| matches!(settings, BalancerSettings::Host { .. }))
            .map(|(name, _)| name)
            .collect(),
        metrics: metrics.keys().collect(),
        faulty_metrics: &faulty_metrics,
    };
    let (mut environments, faulty_environments) =
        named(root, "env", problems, |node, _, problems| {
            environment(node, &choice, problems)
        });
    if root.get("env").is_none() {
        let node = Node::empty(Place::file(0).of_key("env").of_key(defaults::ENV));
        if let Some(settings) = environment(&node, &choice, problems) {
            environments.insert(name_of(defaults::ENV), settings);
        }
    }
    WorldText {
        environments,
        runtimes,
        balancers,
        metrics,
        faulty_environments,
    }
}

fn name_of<N>(builtin: &str) -> N
where
    N: FromStr,
    N::Err: std::fmt::Debug,
{
    builtin
        .parse()
        .expect("invariant: built-in names are valid")
}

/// Reads every `[kind.NAME]`; also the names of those that are faulty.
fn named<N, T>(
    root: &Node,
    kind: &str,
    problems: &Problems<'_>,
    read: impl Fn(&Node, &N, &Problems<'_>) -> Option<T>,
) -> (BTreeMap<N, T>, Vec<String>)
where
    N: FromStr + Ord,
    N::Err: Display,
{
    let mut found = BTreeMap::new();
    let mut faulty = Vec::new();
    let Some(node) = root.get(kind) else {
        return (found, faulty);
    };
    for (key, place, value) in Reader::open(node, problems).entries() {
        let name = Located {
            value: key,
            place: place.clone(),
        };
        let name: Option<Located<N>> = parsed(&name, "choose another name", problems);
        let settings = name.and_then(|name| Some((read(value, &name.value, problems)?, name)));
        match settings {
            Some((settings, name)) => {
                found.insert(name.value, settings);
            }
            None => faulty.push(key.to_owned()),
        }
    }
    (found, faulty)
}

/// What holds where nothing is named: the built-in one, or the only one configured.
fn only<N: Clone, T>(configured: &BTreeMap<N, T>, all_known: bool, builtin: &N) -> Option<N> {
    let mut names = configured.keys();
    match (names.next(), names.next()) {
        (None, None) if all_known => Some(builtin.clone()),
        (Some(one), None) if all_known => Some(one.clone()),
        _ => None,
    }
}

/// What an environment may name.
struct Choice<'a> {
    runtimes: Known<'a, RuntimeName>,
    balancers: Known<'a, BalancerName>,
    /// Balancers that are the embedded proxy.
    embedded: Vec<&'a BalancerName>,
    metrics: Vec<&'a MetricsName>,
    faulty_metrics: &'a [String],
}

impl Choice<'_> {
    /// The sources an environment names, else all there are; strangers are reported.
    fn metrics(&self, reader: &Reader<'_>, problems: &Problems<'_>) -> Vec<MetricsName> {
        if reader.node("metrics").is_none() {
            return self.metrics.iter().map(|name| (*name).clone()).collect();
        }
        let mut chosen: Vec<MetricsName> = Vec::new();
        for node in reader.one_or_more("metrics") {
            let Some(written) = text(node, problems) else {
                continue;
            };
            let found = self
                .metrics
                .iter()
                .find(|name| name.as_str() == written.value);
            match found {
                Some(name) if chosen.contains(*name) => {
                    problems.error(&written.place, "is named twice", "name it once");
                }
                Some(name) => chosen.push((*name).clone()),
                None if self.faulty_metrics.iter().any(|name| name == written.value) => {}
                None => {
                    let what = format!("{} is not configured", quoted(written.value));
                    let known = self.metrics.iter().map(|name| name.as_str());
                    problems.error(&written.place, what, suggest::mend(written.value, known));
                }
            }
        }
        chosen
    }
}

/// The names one key of an environment may hold.
struct Known<'a, N> {
    key: &'static str,
    names: Vec<&'a N>,
    /// What holds where nothing is written; `None` when that would be a guess.
    default: Option<N>,
    /// Written but faulty; naming them is no fault of its own.
    faulty: &'a [String],
}

impl<N: Clone + Display> Known<'_, N> {
    /// The names an environment chose, or the default; `None` after a fault.
    fn chosen(&self, reader: &Reader<'_>, problems: &Problems<'_>) -> Option<Vec<N>> {
        let written = reader.one_or_more(self.key);
        let words: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        if written.is_empty() {
            if reader.node(self.key).is_some() {
                let mend = format!("name one of: {}", words.join(", "));
                problems.error(&reader.place().of_key(self.key), "is an empty list", mend);
            } else if self.default.is_none() && self.faulty.is_empty() {
                let mend = format!("several are configured; name one of: {}", words.join(", "));
                reader.missing(self.key, &mend);
            }
            return self.default.clone().map(|name| vec![name]);
        }
        let mut chosen: Vec<N> = Vec::new();
        for node in &written {
            let Some(name) = self.known(node, &words, problems) else {
                continue;
            };
            if chosen
                .iter()
                .any(|other| other.to_string() == name.to_string())
            {
                let what = format!("names {name} a second time");
                problems.error(&node.place, what, "name each once");
            } else {
                chosen.push(name);
            }
        }
        (!chosen.is_empty()).then_some(chosen)
    }

    /// One written name; one that is not configured is reported.
    fn known(&self, node: &Node, words: &[String], problems: &Problems<'_>) -> Option<N> {
        let text = text(node, problems)?;
        let mut pairs = self.names.iter().zip(words);
        let found = pairs.find(|(_, word)| *word == text.value);
        let faulty = self.faulty.iter().any(|name| name == text.value);
        if found.is_none() && !faulty {
            let what = format!("{} is not configured", quoted(text.value));
            let mend = suggest::mend(text.value, words.iter().map(String::as_str));
            problems.error(&text.place, what, mend);
        }
        found.map(|(name, _)| (*name).clone())
    }
}

fn environment(node: &Node, choice: &Choice<'_>, problems: &Problems<'_>) -> Option<EnvSettings> {
    let reader = Reader::new(node, &ENV, problems);
    let runtimes = choice.runtimes.chosen(&reader, problems);
    let balancers = choice.balancers.chosen(&reader, problems);
    stands_alone(&reader, choice, balancers.as_deref(), problems);
    Some(EnvSettings {
        protected: reader.flag("protected", false),
        metrics: choice.metrics(&reader, problems),
        accent: reader.text("accent").map(|text| text.value.to_owned()),
        runtimes: runtimes?,
        balancers: balancers?,
    })
}

/// The embedded proxy takes requests itself: no other balancer can stand beside it.
fn stands_alone(
    reader: &Reader<'_>,
    choice: &Choice<'_>,
    chosen: Option<&[BalancerName]>,
    problems: &Problems<'_>,
) {
    let chosen = chosen.unwrap_or_default();
    let embedded = chosen.iter().find(|name| choice.embedded.contains(name));
    if let Some(embedded) = embedded.filter(|_| chosen.len() > 1) {
        let what = format!("names {embedded}, the embedded proxy, beside another balancer");
        let mend = "name HAProxys only, or the embedded proxy alone";
        problems.error(&reader.place().of_key("balancers"), what, mend);
    }
}

/// Kinds of runtimes.
#[derive(Clone, Copy)]
enum RuntimeKind {
    Host,
    Docker,
}

const RUNTIME_KINDS: [(&str, RuntimeKind); 2] =
    [("host", RuntimeKind::Host), ("docker", RuntimeKind::Docker)];

/// Kinds of sources of metrics.
const METRICS_KINDS: [(&str, ()); 1] = [("prometheus", ())];

/// Kinds of balancers.
#[derive(Clone, Copy)]
enum BalancerKind {
    Host,
    Haproxy,
}

const BALANCER_KINDS: [(&str, BalancerKind); 2] = [
    ("host", BalancerKind::Host),
    ("haproxy", BalancerKind::Haproxy),
];

fn kind<T: Copy>(node: &Node, kinds: &[(&str, T)], problems: &Problems<'_>) -> Option<T> {
    let reader = Reader::open(node, problems);
    if node.table().is_some() && reader.node("kind").is_none() {
        let words: Vec<String> = kinds.iter().map(|(word, _)| quoted(word)).collect();
        reader.missing("kind", &format!("add kind = {}", words.join(" or ")));
    }
    reader.word("kind", kinds).map(|found| found.value)
}

fn runtime(node: &Node, name: &RuntimeName, problems: &Problems<'_>) -> Option<RuntimeSettings> {
    match kind(node, &RUNTIME_KINDS, problems)? {
        RuntimeKind::Host => {
            let reader = Reader::new(node, &RUNTIME, problems);
            Some(RuntimeSettings::Host {
                socket: socket(&reader, problems),
            })
        }
        RuntimeKind::Docker if name.as_str() == defaults::HOST => {
            let what = "the name host belongs to the built-in runtime";
            problems.error(&node.place, what, "choose another name for this one");
            None
        }
        RuntimeKind::Docker => docker::read(node, problems).map(RuntimeSettings::Docker),
    }
}

fn balancer(node: &Node, name: &BalancerName, problems: &Problems<'_>) -> Option<BalancerSettings> {
    match kind(node, &BALANCER_KINDS, problems)? {
        BalancerKind::Host => {
            let reader = Reader::new(node, &BALANCER_HOST, problems);
            Some(BalancerSettings::Host {
                socket: socket(&reader, problems),
            })
        }
        BalancerKind::Haproxy if name.as_str() == defaults::HOST => {
            let what = "the name host belongs to the built-in balancer";
            problems.error(&node.place, what, "choose another name for this one");
            None
        }
        BalancerKind::Haproxy => haproxy(node, problems).map(BalancerSettings::Haproxy),
    }
}

fn haproxy(node: &Node, problems: &Problems<'_>) -> Option<HaproxySettings> {
    let reader = Reader::new(node, &BALANCER_HAPROXY, problems);
    if reader.node("socket").is_none() {
        let mend = "add the path of its stats socket (level admin), as haproxy.cfg names it";
        reader.missing("socket", mend);
    }
    if reader.node("state_file").is_none() {
        let mend = "add the path that haproxy.cfg names with server-state-file: \
                    without it a reload would forget the weights";
        reader.missing("state_file", mend);
    }
    let words = [
        ("exact", Shares::Exact),
        ("approximate", Shares::Approximate),
    ];
    let shares = reader.word("shares", &words);
    let backend = backend_pattern(&reader, problems);
    let state_file = reader
        .text("state_file")
        .map(|text| problems.absolute(&text.place, text.value));
    let log = balancer_log::address(&reader, problems);
    Some(HaproxySettings {
        log,
        socket: socket(&reader, problems)?,
        state_file: state_file?,
        shares: shares.map_or(Shares::Exact, |found| found.value),
        backend,
    })
}

fn backend_pattern(reader: &Reader<'_>, problems: &Problems<'_>) -> String {
    let Some(pattern) = reader.text("backend") else {
        return defaults::HAPROXY_BACKEND.to_owned();
    };
    if !pattern.value.contains("{service}") {
        let what = format!("{} is the same for every service", quoted(pattern.value));
        problems.error(
            &pattern.place,
            what,
            "put {service} into it, e.g. \"be_{service}\"; a single service can name its own backend",
        );
    }
    pattern.value.to_owned()
}

/// A socket's path, made absolute.
fn socket(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<PathBuf> {
    let text = reader.text("socket")?;
    let path = problems.absolute(&text.place, text.value);
    if text.value.is_empty() || path.as_os_str().len() > SOCKET_PATH_MAX {
        let what = format!("{} is no path a socket can have", quoted(text.value));
        let mend = format!("use a path of 1 to {SOCKET_PATH_MAX} bytes");
        problems.error(&text.place, what, mend);
    }
    Some(path)
}
