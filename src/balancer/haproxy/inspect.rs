//! What would make a backend unfit to carry a rollout, in lines with the mend.
//!
//! Lines that begin with `note:` make nothing unsafe; they say what people should expect. The
//! judging is pure ([`lines`]); only [`HaproxyBalancer::look_over`] asks the world.

mod logging;

use super::configuration::{BackendFacts, backend_facts, of_process};
use super::parse::{Dump, ServerState};
use super::socket::ask;
use super::table::Fault;
use super::{DEADLINE, HaproxyBalancer, Shares, Unread};
use crate::model::service::Backend;
use crate::model::{Clean, LogAddress, Name, ServerName};
use crate::ports::{NOTE, ReadError};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::time::{Instant, timeout};

/// Everything the lines are judged from.
struct Seen<'a> {
    backend: &'a Name,
    servers: &'a [(ServerName, SocketAddr)],
    shares: Shares,
    state_file: PathBuf,
    dump: Dump,
    level: String,
    configuration: Result<BackendFacts, String>,
    kept: Result<(), String>,
    log: Option<LogAddress>,
    log_trouble: Option<Clean>,
}

/// Why a backend could not be looked over.
enum Blind {
    /// HAProxy answered that it will not, or has none.
    Answered(Clean),
    /// It did not answer.
    Silent(ReadError),
}

impl HaproxyBalancer {
    /// See [`crate::ports::Balancer::inspect`].
    pub(super) async fn look_over(
        &self,
        backend: &Name,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<Clean>, ReadError> {
        match self.see(backend, servers).await {
            Ok(seen) => Ok(lines(&seen).iter().map(|line| Clean::new(line)).collect()),
            // The peer answered: that something is missing is a finding, not a failed look.
            Err(Blind::Answered(line)) => Ok(vec![line]),
            Err(Blind::Silent(error)) => Err(error),
        }
    }

    /// What is as it should be, each with a short stable key: the other half of
    /// [`crate::ports::Balancer::inspect`].
    ///
    /// # Errors
    /// When the balancer cannot be asked.
    pub async fn facts(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<Vec<(&'static str, Clean)>, ReadError> {
        match self.see(&backend.backend, servers).await {
            Ok(seen) => Ok(facts(&seen)),
            Err(Blind::Answered(_)) => Ok(Vec::new()),
            Err(Blind::Silent(error)) => Err(error),
        }
    }

    async fn see<'a>(
        &self,
        backend: &'a Name,
        servers: &'a [(ServerName, SocketAddr)],
    ) -> Result<Seen<'a>, Blind> {
        let deadline = Instant::now() + DEADLINE;
        let (dump, ticket) = match self.dump(backend, deadline).await {
            Ok(read) => read,
            Err(unread @ Unread::Answer(Fault::NoBackend | Fault::Denied)) => {
                return Err(Blind::Answered(self.says(backend, unread)));
            }
            Err(unread) => return Err(Blind::Silent(ReadError(self.says(backend, unread)))),
        };
        let level = ask(&self.options, "show cli level", deadline).await;
        let level = level.map_err(|error| Blind::Silent(ReadError(error.into_why())))?;
        let kept = self.files.keep(backend, &dump.table, ticket).await;
        Ok(Seen {
            backend,
            servers,
            shares: self.options.shares,
            state_file: self.state_file(backend),
            level: level.trim().to_owned(),
            configuration: configured(dump.pid, backend).await,
            kept: kept.map_err(|error| error.to_string()),
            log: self.options.log.clone(),
            log_trouble: self.log.as_ref().and_then(|log| log.trouble()),
            dump,
        })
    }
}

async fn configured(pid: u32, backend: &Name) -> Result<BackendFacts, String> {
    let name = backend.clone();
    let work = tokio::task::spawn_blocking(move || {
        let (text, directory) = of_process(pid)?;
        backend_facts(&text, name.as_str(), &directory)
            .ok_or_else(|| "the file does not show this backend".to_owned())
    });
    match timeout(DEADLINE, work).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(_)) | Err(_) => Err("it could not be read within 1 s".to_owned()),
    }
}

fn lines(seen: &Seen<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if seen.level != "admin" {
        let level = &seen.level;
        lines.push(format!(
            "the stats socket is `level {level}`, which may not set weights; make it `level admin`"
        ));
    }
    lines.extend(algorithm(seen));
    for (name, address) in seen.servers {
        match seen.dump.table.servers.get(name) {
            None => lines.push(format!(
                "backend {} has no server {name}; add `server {name} {address} disabled weight 1 \
                 check`",
                seen.backend
            )),
            Some(state) => lines.extend(server(name, *address, state)),
        }
    }
    lines.extend(state_loading(seen));
    if let Err(trouble) = &seen.kept {
        lines.push(trouble.clone());
    }
    lines.extend(log(seen));
    lines.extend(notes(seen));
    lines
}

/// What is as it should be.
fn facts(seen: &Seen<'_>) -> Vec<(&'static str, Clean)> {
    let mut facts = Vec::new();
    let mut fact = |key, text: String| facts.push((key, Clean::new(&text)));
    if seen.level == "admin" {
        fact("level", "its socket is `level admin`".to_owned());
    }
    if let (None, Some(name)) = (algorithm(seen), seen.dump.algorithm.as_deref()) {
        fact("algorithm", format!("`balance {name}`"));
    }
    let is_well = |(name, address): &(ServerName, SocketAddr)| {
        let state = seen.dump.table.servers.get(name);
        state.is_some_and(|state| server(name, *address, state).is_empty())
    };
    if seen.servers.iter().all(is_well) {
        let count = seen.servers.len();
        fact(
            "servers",
            format!("{count}, each disabled at weight 1 and checked"),
        );
    }
    if state_loading(seen).is_none() && seen.kept.is_ok() {
        let file = seen.state_file.display();
        fact(
            "state_file",
            format!("{file} is loaded at a start and says what is set now"),
        );
    }
    if let Ok(configured) = &seen.configuration
        && configured.sticky.is_empty()
        && seen.dump.cookie.is_none()
    {
        fact("stickiness", "no client sticks to a server".to_owned());
    }
    facts
}

fn algorithm(seen: &Seen<'_>) -> Option<String> {
    let algorithm = seen.dump.algorithm.as_deref()?;
    match (algorithm, seen.shares) {
        ("roundrobin", _) | ("leastconn", Shares::Approximate) => None,
        ("leastconn", Shares::Exact) => Some(
            "`balance leastconn` steers open connections, so shares are approximate; use `balance \
             roundrobin`, or say `shares = \"approximate\"`"
                .to_owned(),
        ),
        (other, _) => Some(format!(
            "`balance {other}` does not follow weights set at run time closely enough; use \
             `balance roundrobin`"
        )),
    }
}

fn server(name: &ServerName, address: SocketAddr, state: &ServerState) -> Vec<String> {
    let mut lines = Vec::new();
    let same_host = state
        .address
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip == address.ip());
    if !same_host || state.port != address.port() {
        let (host, port) = (&state.address, state.port);
        lines.push(format!(
            "server {name} is at {host} port {port}, the configuration says {address}; make both \
             the same"
        ));
    }
    if !state.starts_disabled() {
        lines.push(format!(
            "server {name} is not `disabled` in haproxy.cfg: a start without state file would give \
             it requests at once; add `disabled`"
        ));
    }
    if state.initial_weight != 1 {
        let weight = state.initial_weight;
        lines.push(format!(
            "server {name} has weight {weight} in haproxy.cfg; make it `weight 1`"
        ));
    }
    if !state.checked {
        lines.push(format!("server {name} has no health check; add `check`"));
    }
    lines
}

fn state_loading(seen: &Seen<'_>) -> Option<String> {
    let (backend, wanted) = (seen.backend, seen.state_file.display());
    let mend = format!(
        "give backend {backend} `load-server-state-from-file local` and `server-state-file-name \
         {wanted}`"
    );
    match &seen.configuration {
        Err(why) => Some(format!(
            "whether backend {backend} loads its state from a file cannot be seen ({why}); {mend}, \
             and let this user read haproxy.cfg"
        )),
        Ok(facts) => match facts.loads_state.as_deref() {
            Some("local") if same_file(&facts.state_file, &seen.state_file) => None,
            Some("local") => Some(format!(
                "backend {backend} loads its state from {}, but {wanted} is what is written; {mend}",
                facts.state_file.display()
            )),
            Some("global") => Some(format!(
                "backend {backend} shares its state file with other backends; {mend}"
            )),
            _ => Some(format!(
                "backend {backend} forgets weights and states at a reload; {mend}"
            )),
        },
    }
}

/// What keeps latencies from being counted, where they are to be.
fn log(seen: &Seen<'_>) -> Vec<String> {
    let Some(wanted) = &seen.log else {
        return Vec::new();
    };
    let trouble = seen.log_trouble.as_ref();
    let mut lines: Vec<_> = trouble
        .map(|why| format!("no log line can be received: {why}"))
        .into_iter()
        .collect();
    match &seen.configuration {
        Ok(facts) => lines.extend(logging::lines(&facts.log, wanted)),
        Err(why) => lines.push(format!(
            "{NOTE}whether requests are logged to {wanted} cannot be seen ({why})"
        )),
    }
    let servers = || seen.dump.reading.servers.values();
    let missing: u64 = servers().map(|view| view.counters.unmeasured).sum();
    let requests: u64 = servers().map(|view| view.counters.requests).sum();
    if missing > 0 {
        lines.push(format!(
            "{NOTE}{missing} of {requests} requests since HAProxy began were not logged to \
             {wanted}, at least in part before this engine began"
        ));
    }
    lines
}

/// Whether two paths name one file, also by way of a linked directory.
fn same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        directory.zip(path.file_name().map(ToOwned::to_owned))
    };
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}

fn notes(seen: &Seen<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let sticky_by_cookie = seen
        .dump
        .cookie
        .as_ref()
        .map(|name| format!("cookie {name}"));
    let Ok(facts) = &seen.configuration else {
        lines.extend(sticky_by_cookie.map(|what| sticks(&what)));
        return lines;
    };
    if facts.cuts_sessions {
        lines.push(
            "`on-marked-down shutdown-sessions` cuts the requests of a server that is put into \
             maintenance; remove it"
                .to_owned(),
        );
    }
    if !facts.redispatches {
        lines.push(
            "a request whose server refuses it is not given to another; add `option redispatch 1`"
                .to_owned(),
        );
    }
    let sticky = facts.sticky.first().cloned().or(sticky_by_cookie);
    lines.extend(sticky.map(|what| sticks(&what)));
    if facts
        .retry_on
        .iter()
        .any(|word| word != "conn-failure" && word != "none")
    {
        lines.push(format!(
            "{NOTE}`retry-on {}` hides failures from clients and counts them twice as errors",
            facts.retry_on.join(" ")
        ));
    }
    if facts.slow_start {
        lines.push(format!(
            "{NOTE}`slowstart` lets a server's share lag behind its weight"
        ));
    }
    lines
}

fn sticks(what: &str) -> String {
    format!(
        "{NOTE}clients stick to their server (`{what}`): shares move slowly, and an abort cuts \
         those that stick to the new version"
    )
}
