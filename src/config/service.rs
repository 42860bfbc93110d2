//! Reads `[service.NAME]`, whole or as it is in one environment: each key for itself. What keys
//! mean to each other is judged in `resolve`.

use super::accepted::{Accepted, SERVER};
use super::container;
use super::defaults;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader, integer, parsed, text};
use super::request;
use super::slots;
use super::strategy::{self, AnalysisText, CanaryText};
use super::takeover::{self, TakeoverText};
use super::tree::{Node, Place, Value};
use crate::model::container::Container;
use crate::model::service::{HealthCheck, QuietSignal, Server, SmokeTest, Workload};
use crate::model::{Name, RuntimeName, ServerName, ServiceName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MINUTE: u64 = 60_000;

/// A service as read.
pub(super) struct ServiceText {
    pub(super) place: Place,
    /// The service it is deployed with.
    pub(super) part_of: Option<Located<ServiceName>>,
    /// Whether requests reach it through a balancer; a worker has none.
    pub(super) has_traffic: Located<bool>,
    pub(super) listen: Option<Located<SocketAddr>>,
    /// Whether `listen` is there, right or wrong.
    pub(super) listen_is_written: bool,
    /// Whether `command` is there, right or wrong.
    pub(super) command_is_written: bool,
    pub(super) instances: Option<Located<u32>>,
    pub(super) command: Option<Located<Vec<String>>>,
    pub(super) container: Option<Located<Container>>,
    /// Whether `image` is there, right or wrong.
    pub(super) image_is_written: bool,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) directory: Option<String>,
    pub(super) stop_grace_ms: u64,
    /// What tells a worker to take no new work.
    pub(super) quiet: Option<Located<QuietSignal>>,
    pub(super) servers: Option<ServersText>,
    pub(super) backend: Option<Located<Name>>,
    pub(super) health: Located<HealthCheck>,
    pub(super) smoke: Vec<SmokeTest>,
    pub(super) takeover: TakeoverText,
    pub(super) smoke_timeout_ms: u64,
    pub(super) canary: CanaryText,
    pub(super) analysis: AnalysisText,
}

/// What an environment's runtimes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instances {
    /// Programs, from `command`.
    Processes,
    /// Containers, from `image`.
    Containers,
}

/// A service's servers as read.
pub(super) struct ServersText {
    pub(super) list: Vec<Located<Server>>,
    /// How many were written, right or wrong.
    pub(super) written: usize,
    pub(super) place: Place,
}

impl ServiceText {
    /// How an instance is started, once there is a command or, for containers, an image.
    pub(super) fn workload(&self, kind: Instances) -> Workload {
        let (command, container) = match kind {
            Instances::Processes => (self.command.as_ref(), None),
            Instances::Containers => (None, self.container.as_ref()),
        };
        Workload {
            command: command.map(|it| it.value.clone()).unwrap_or_default(),
            env: self.variables.clone(),
            directory: match kind {
                Instances::Processes => self.directory.clone(),
                Instances::Containers => None,
            },
            stop_grace_ms: self.stop_grace_ms,
            quiet: self.quiet.as_ref().map(|signal| signal.value),
            container: container.map(|container| Box::new(container.value.clone())),
        }
    }
}

/// Reads a service.
pub(super) fn read(node: &Node, accepted: &Accepted, problems: &Problems<'_>) -> ServiceText {
    let reader = Reader::new(node, accepted, problems);
    let part = |key| {
        let absent = || Node::empty(reader.place().of_key(key));
        reader.node(key).cloned().unwrap_or_else(absent)
    };
    let smoke_timeout_ms = request::smoke_timeout_ms(&reader);
    ServiceText {
        place: reader.place().clone(),
        part_of: reader.parsed("part_of", "name the service that it is deployed with"),
        has_traffic: has_traffic(&reader),
        listen_is_written: reader.mentions("listen", accepted),
        command_is_written: reader.mentions("command", accepted),
        listen: reader
            .node("listen")
            .and_then(|node| listen(node, problems)),
        instances: reader.integer("instances", 1..=100),
        command: command(&reader, problems),
        container: container::read(&reader, &part("container"), problems),
        image_is_written: reader.mentions("image", accepted),
        variables: variables(&reader, problems),
        directory: reader
            .text("directory")
            .map(|text| problems.absolute(&text.place, text.value))
            .map(|path| path.to_string_lossy().into_owned()),
        stop_grace_ms: reader.duration_ms("stop_grace", 0..=10 * MINUTE, defaults::STOP_GRACE_MS),
        quiet: reader.word("quiet", &QuietSignal::WORDS),
        servers: reader.node("servers").map(|node| servers(node, problems)),
        backend: reader.parsed("backend", "use the name it has in haproxy.cfg"),
        health: request::health(&part("health"), problems),
        takeover: TakeoverText {
            kind: takeover::kind(&reader),
            blue_green: takeover::blue_green(&part("blue_green"), problems),
            rolling: takeover::rolling(&part("rolling"), problems),
            recreate: takeover::recreate(&part("recreate"), problems),
            slots: reader.node("slots").map(|node| slots::read(node, problems)),
        },
        smoke: request::smoke(&reader, smoke_timeout_ms, problems),
        smoke_timeout_ms,
        canary: strategy::canary(&part("canary"), problems),
        analysis: strategy::analysis(&part("analysis"), problems),
    }
}

/// Whether requests come through a balancer.
fn has_traffic(reader: &Reader<'_>) -> Located<bool> {
    let words = [("balancer", true), ("none", false)];
    reader.word("traffic", &words).unwrap_or(Located {
        value: true,
        place: reader.place().of_key("traffic"),
    })
}

/// Where something listens: a port on this machine only, or a full address.
pub(super) fn listen(node: &Node, problems: &Problems<'_>) -> Option<Located<SocketAddr>> {
    if matches!(node.value, Value::Integer(_)) {
        let port: Located<u16> = integer(node, 1..=65_535, problems)?;
        return Some(Located {
            value: SocketAddr::from((Ipv4Addr::LOCALHOST, port.value)),
            place: port.place,
        });
    }
    let Value::Text(written) = &node.value else {
        let what = format!("is {}, but must be a port or an address", node.kind());
        problems.error(&node.place, what, ADDRESS_MEND);
        return None;
    };
    address(written, &node.place, ADDRESS_MEND, problems)
}

const ADDRESS_MEND: &str =
    "write a port such as 8080 (this machine only) or an address such as \"0.0.0.0:8080\"";

const SERVER_MEND: &str = "write IP:PORT, e.g. \"127.0.0.1:18001\" or \"[::1]:18001\"; \
                           names are not looked up";

fn address(
    written: &str,
    place: &Place,
    mend: &str,
    problems: &Problems<'_>,
) -> Option<Located<SocketAddr>> {
    let parsed: Result<SocketAddr, _> = written.parse();
    match parsed {
        Ok(value) if value.port() > 0 => Some(Located {
            value,
            place: place.clone(),
        }),
        Ok(_) => {
            let what = format!("{} has port 0", quoted(written));
            problems.error(place, what, "name a port from 1 to 65535");
            None
        }
        Err(_) => {
            let what = format!("{} is no address", quoted(written));
            problems.error(place, what, mend);
            None
        }
    }
}

/// A program with its arguments.
pub(super) fn command(
    reader: &Reader<'_>,
    problems: &Problems<'_>,
) -> Option<Located<Vec<String>>> {
    const MEND: &str = "write program and arguments one by one, \
                        e.g. [\"./app\", \"--port\", \"{port}\"]; no shell is involved";
    let list = reader.list("command", MEND)?;
    let words: Vec<String> = list
        .value
        .iter()
        .filter_map(|node| text(node, problems).map(|text| text.value.to_owned()))
        .collect();
    if words.first().is_none_or(String::is_empty) && words.len() == list.value.len() {
        problems.error(&list.place, "names no program", MEND);
    }
    Some(Located {
        value: words,
        place: list.place,
    })
}

fn variables(reader: &Reader<'_>, problems: &Problems<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let Some(node) = reader.node("variables") else {
        return variables;
    };
    for (key, place, value) in Reader::open(node, problems).entries() {
        if key.is_empty() || key.contains(['=', '\0']) {
            let mend = "use a name without = and NUL";
            problems.error(place, "is no name of an environment variable", mend);
        }
        if let Some(value) = text(value, problems) {
            variables.insert(key.to_owned(), value.value.to_owned());
        }
    }
    variables
}

fn servers(node: &Node, problems: &Problems<'_>) -> ServersText {
    let mut list = Vec::new();
    let mut written = 0;
    for (key, place, value) in Reader::open(node, problems).entries() {
        written += 1;
        let name = Located {
            value: key,
            place: place.clone(),
        };
        let name: Option<Located<ServerName>> =
            parsed(&name, "use the name it has in haproxy.cfg", problems);
        if let (Some(name), Some((address, runtime))) = (name, home(value, problems)) {
            list.push(Located {
                value: Server {
                    name: name.value,
                    address: address.value,
                    runtime,
                },
                place: address.place,
            });
        }
    }
    ServersText {
        list,
        written,
        place: node.place.clone(),
    }
}

/// Where a server's instance listens, and the runtime it is on where one is named.
fn home(
    node: &Node,
    problems: &Problems<'_>,
) -> Option<(Located<SocketAddr>, Option<RuntimeName>)> {
    if node.table().is_none() {
        let text = text(node, problems)?;
        let address = address(text.value, &text.place, SERVER_MEND, problems)?;
        return Some((address, None));
    }
    let reader = Reader::new(node, &SERVER, problems);
    if reader.node("address").is_none() {
        reader.missing("address", SERVER_MEND);
    }
    let text = reader.text("address")?;
    let address = address(text.value, &text.place, SERVER_MEND, problems)?;
    let runtime: Option<Located<RuntimeName>> = match reader.text("runtime") {
        Some(name) => Some(parsed(&name, "name one of the environment's", problems)?),
        None => None,
    };
    Some((address, runtime.map(|runtime| runtime.value)))
}

/// Where instances listen when a server's address is derived from the proxy's: never "any".
pub(super) fn instance_ip(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}
