//! Reads where a balancer logs to. Must not know how lines are received.

use super::errors::{Problems, quoted};
use super::reader::Reader;
use super::tree::Node;
use super::world::{BalancerSettings, HaproxySettings, SOCKET_PATH_MAX};
use crate::model::{BalancerName, LogAddress};
use std::collections::BTreeMap;

/// Longest path: it is bound as PATH.new and then moved into its place.
const LOG_PATH_MAX: usize = SOCKET_PATH_MAX - 4;

/// Where log lines arrive: a path, made absolute, or a UDP address.
pub(super) fn address(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<LogAddress> {
    let text = reader.text("log")?;
    let mend = "write the path of a datagram socket such as \"/run/wheelhouse/lb.log\", or an \
                address of this machine such as \"127.0.0.1:5140\", and log to it in haproxy.cfg";
    let address = match text.value.parse() {
        Err(_) if text.value.contains('/') => {
            LogAddress::Path(problems.absolute(&text.place, text.value))
        }
        Err(error) => {
            let what = format!("{} {error}", quoted(text.value));
            problems.error(&text.place, what, mend);
            return None;
        }
        Ok(address) => address,
    };
    match &address {
        LogAddress::Path(path) if path.as_os_str().len() > LOG_PATH_MAX => {
            let what = format!("{} is no path a socket can have", quoted(text.value));
            let mend = format!("use a path of at most {LOG_PATH_MAX} bytes");
            problems.error(&text.place, what, mend);
        }
        LogAddress::Udp(udp) if udp.port() == 0 => {
            problems.error(&text.place, "has no port", mend);
        }
        LogAddress::Udp(udp) if !udp.ip().is_loopback() => {
            let what = "whoever reaches this port can forge latencies";
            let mend = "let only HAProxy's host reach it, or use a loopback address";
            problems.warning(&text.place, what, mend);
        }
        _ => {}
    }
    Some(address)
}

/// Reports balancers that would log to one place: their lines could not be told apart.
pub(super) fn shared(
    root: &Node,
    balancers: &BTreeMap<BalancerName, BalancerSettings>,
    problems: &Problems<'_>,
) {
    let mut seen: BTreeMap<&LogAddress, &BalancerName> = BTreeMap::new();
    for (name, settings) in balancers {
        let BalancerSettings::Haproxy(HaproxySettings { log: Some(log), .. }) = settings else {
            continue;
        };
        if let Some(first) = seen.insert(log, name) {
            let place = root
                .place
                .of_key("balancer")
                .of_key(name.as_str())
                .of_key("log");
            let node = root.get("balancer").and_then(|all| all.get(name.as_str()));
            let place = node
                .and_then(|node| node.get("log"))
                .map_or(place, |node| node.place.clone());
            let what = format!("is where balancer {first} logs to already");
            problems.error(&place, what, "give each HAProxy its own");
        }
    }
}
