//! The HAProxies in front: for whoever steers its weights, what `haproxy snippet` prints; for those
//! who do not, one that finds instances by its own health checks.

use crate::HEALTH_MS;
use crate::daemon::PORT;
use crate::haproxy::{Haproxy, server};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use wheelhouse::balancer::haproxy::{Shares, Snippet, snippet};
use wheelhouse::model::service::{Backend, HttpCheck, Server};

/// Twice the instances.
const SERVERS: u16 = 6;
/// The addresses that a bridge of sixteen gives to containers.
const ON_THE_BRIDGE: std::ops::RangeInclusive<u8> = 2..=14;

fn backend() -> Backend {
    Backend {
        balancer: "lb".parse().expect("a name"),
        backend: "web".parse().expect("a name"),
    }
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Servers s1, s2, … at the ports after the one it listens on, all out of traffic.
pub async fn begin(first_port: u16) -> Haproxy {
    let directory = tempfile::tempdir().expect("a directory");
    let servers: Vec<_> = (1..=SERVERS)
        .map(|number| Server {
            name: server(&format!("s{number}")),
            address: loopback(first_port + number),
            runtime: None,
        })
        .collect();
    let text = snippet(&Snippet {
        socket: &directory.path().join("admin.sock"),
        state_file: &directory.path().join("web.state"),
        backend: &backend().backend,
        listen: loopback(first_port),
        health: Some(&HttpCheck::get("/readyz")),
        servers: &servers,
        shares: Shares::Exact,
        log: None,
    });
    let servers = servers.into_iter().map(|one| (one.name, one.address));
    let servers = servers.collect();
    let listen = loopback(first_port);
    Haproxy::start_configured(directory, backend(), servers, listen, &text).await
}

/// Every address a container may have, in traffic while it passes the health check. An error to
/// connect counts as one, and is tried again elsewhere.
pub async fn begin_finding(listen: SocketAddr) -> Haproxy {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let mut text = format!(
        "global\n  stats socket {socket} mode 660 level admin\n\
         frontend web-in\n  mode http\n  bind {listen}\n  timeout client 30s\n  \
         default_backend web\n\
         backend web\n  mode http\n  balance roundrobin\n  timeout connect 1s\n  \
         timeout server 30s\n  timeout queue 5s\n  retries 3\n  option redispatch 1\n  \
         retry-on conn-failure\n  option httpchk GET /readyz\n  \
         default-server inter {HEALTH_MS}ms fall 2 rise 1 observe layer4 error-limit 1 \
         on-error mark-down\n",
        socket = socket.display(),
    );
    for last in ON_THE_BRIDGE {
        let address = SocketAddr::from((Ipv4Addr::new(172, 29, 77, last), PORT));
        let _ = writeln!(text, "  server c{last} {address} check");
    }
    Haproxy::start_configured(directory, backend(), Vec::new(), listen, &text).await
}
