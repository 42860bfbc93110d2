//! The haproxy.cfg text that a service needs, as people paste it.
//!
//! Each line is there for a reason that was tried on HAProxy 2.6.12:
//!
//! * `disabled weight 1` on every server: a start without state file gives no server any request
//!   until the engine says so. `weight 0` would not do: HAProxy then also drains the server.
//! * `option redispatch 1`: a refused connection goes to another server at once. Without it, the
//!   request waits and knocks at the same server; and a server in maintenance keeps what was
//!   retried to it.
//! * `retry-on conn-failure` (HAProxy's own default, written out): only what certainly never
//!   reached an instance is sent again. More would repeat requests that had an effect, and HAProxy
//!   would count each such retry twice.
//! * No `on-marked-down shutdown-sessions`: it cuts the requests of a server that is put into
//!   maintenance, and an abort does exactly that.
//! * `format rfc5424`: its header names the process, so that an old worker's lines are not taken for
//!   the new one's after a reload. HAProxy writes nothing of a request before its end.
//! * `expose-fd listeners`: a reload hands the listening sockets over, so none is refused.

use super::Shares;
use crate::model::service::{HttpCheck, Server};
use crate::model::{Clean, LogAddress, Name};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What the text is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snippet<'a> {
    /// The stats socket the engine will use.
    pub socket: &'a Path,
    /// The backend's state file, its name filled in.
    pub state_file: &'a Path,
    /// The backend.
    pub backend: &'a Name,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The health check's request; without one the balancer only connects.
    pub health: Option<&'a HttpCheck>,
    /// The servers, at least twice as many as instances.
    pub servers: &'a [Server],
    /// Chooses the algorithm.
    pub shares: Shares,
    /// Where the engine receives log lines, if it does.
    pub log: Option<&'a LogAddress>,
}

/// Writes the haproxy.cfg text: `global` to be merged into an existing one, a frontend and the
/// backend. `haproxy -c` accepts it as a file of its own.
pub fn snippet(wanted: &Snippet<'_>) -> String {
    let backend = wanted.backend;
    let balance = match wanted.shares {
        Shares::Exact => "roundrobin",
        Shares::Approximate => "leastconn",
    };
    let socket = word(&wanted.socket.display().to_string());
    let state_file = word(&wanted.state_file.display().to_string());
    let check = wanted.health.map(check_lines).unwrap_or_default();
    let (log, httplog) = match wanted.log {
        None => (String::new(), ""),
        Some(at) => (log_lines(at), "  log global\n  option httplog\n"),
    };
    let listen = wanted.listen;
    let mut text = format!(
        "\
global
  # Weights and states are set and read here: let the engine's user open it.
  stats socket {socket} mode 660 level admin expose-fd listeners
{log}
frontend {backend}-in
  mode http
  bind {listen}
  timeout client 30s
{httplog}  default_backend {backend}

backend {backend}
  mode http
  balance {balance}
  timeout connect 1s
  timeout server 30s
  timeout queue 5s
  # A file of this backend alone (`local`), written by the engine before a change counts:
  # without it a reload or restart forgets every weight and state.
  load-server-state-from-file local
  server-state-file-name {state_file}
  retries 3
  option redispatch 1
  retry-on conn-failure
{check}  default-server inter 1s fall 2 rise 1
"
    );
    for server in wanted.servers {
        let (name, address) = (&server.name, server.address);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  server {name} {address} disabled weight 1 check");
    }
    text
}

/// The lines that make the balancer ask what our own probe asks.
fn check_lines(check: &HttpCheck) -> String {
    let (method, path, status) = (word(&check.method), word(&check.path), check.status);
    format!(
        "  option httpchk\n  http-check send meth {method} uri {path}\n  http-check expect status {status}\n"
    )
}

/// The lines under `global` that send log lines to the engine.
fn log_lines(at: &LogAddress) -> String {
    let to = word(&at.to_string());
    let note = match at {
        LogAddress::Path(_) => {
            "  # HAProxy's user must be in the socket's group; with `chroot`, write the path as seen there.\n"
        }
        LogAddress::Udp(_) => "",
    };
    format!(
        "  # Each request's line goes to the engine, which counts latencies from it.\n{note}  log {to} \
         len 2048 format rfc5424 local0 info\n"
    )
}

/// Quotes a word so that HAProxy takes it as it is: strong quotes, nothing expands in them.
fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:[]".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", Clean::new(text).as_str().replace('\'', "'\\''"))
}
