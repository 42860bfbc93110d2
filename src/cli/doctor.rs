//! `doctor`: is everything there, reachable and fit to carry a rollout?

use super::assemble::World;
use super::context::Context;
use super::exit::{Ended, Exit};
use super::print;
use crate::balancer::haproxy::NOTE;
use crate::config::Loaded;
use crate::driver::Peers;
use crate::link::Client;
use crate::model::service::ServiceSpec;
use crate::model::{Clean, ServerName};
use crate::ports::{Balancer, Runtime};
use serde::Serialize;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// For one peer to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    what: Clean,
    state: State,
    /// What was found, and the mend where one is needed.
    text: Clean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Note,
    Bad,
}

fn finding(what: &str, state: State, text: &str) -> Finding {
    Finding {
        what: what.into(),
        state,
        text: text.into(),
    }
}

pub(super) async fn run(context: &Context) -> Ended {
    let loaded = context.load()?;
    let state_dir = context.state_dir(&loaded)?;
    let mut all = vec![
        finding("version", State::Ok, env!("CARGO_PKG_VERSION")),
        directory(&state_dir),
        engine(context, &loaded).await,
    ];
    all.extend(
        loaded
            .warnings
            .iter()
            .map(|warning| finding("configuration", State::Note, &warning.to_string())),
    );
    let world = World::new(&loaded.config, &state_dir)?;
    for spec in loaded.config.specs() {
        all.extend(runtimes(&world, spec).await);
        all.extend(balancers(&world, spec).await);
    }
    report(context, &all);
    let bad = all.iter().any(|finding| finding.state == State::Bad);
    Ok(if bad { Exit::RolledBack } else { Exit::Done })
}

fn report(context: &Context, all: &[Finding]) {
    if context.json {
        print::json(&all);
        return;
    }
    for finding in all {
        let mark = match finding.state {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Bad => "BAD ",
        };
        print::line(&format!("[{mark}] {}: {}", finding.what, finding.text));
    }
}

fn directory(dir: &Path) -> Finding {
    let name = "state directory";
    let Ok(meta) = std::fs::symlink_metadata(dir) else {
        let text = format!("{} will be made at the first start", dir.display());
        return finding(name, State::Ok, &text);
    };
    let mode = meta.permissions().mode() & 0o777;
    let mine = meta.uid() == rustix::process::getuid().as_raw();
    let text = format!("{} mode {mode:o}", dir.display());
    match (mine, mode & 0o077) {
        (true, 0) => finding(name, State::Ok, &text),
        (true, _) => finding(name, State::Bad, &format!("{text}; chmod 700 it")),
        (false, _) => finding(
            name,
            State::Bad,
            &format!("{text} is not yours; set state_dir"),
        ),
    }
}

async fn engine(context: &Context, loaded: &Loaded) -> Finding {
    let Ok(socket) = context.socket(loaded) else {
        return finding("engine", State::Bad, "its socket is unknown; set state_dir");
    };
    match Client::connect(&socket, &context.client_options(loaded, false)).await {
        Ok((_, hello)) if hello.differs(Some(&loaded.hash)) => {
            let text = format!("{} runs another configuration; restart it", hello.version);
            finding("engine", State::Bad, &text)
        }
        Ok((_, hello)) => finding("engine", State::Ok, &format!("{} answers", hello.version)),
        Err(error) => {
            let text = format!("{error}; start one with `wheelhouse engine run`");
            finding("engine", State::Note, &text)
        }
    }
}

async fn runtimes(world: &World, spec: &ServiceSpec) -> Vec<Finding> {
    let mut all = Vec::new();
    for name in &spec.runtimes {
        let what = format!("{} runtime {name}", spec.placement);
        let Some(runtime) = world.runtime(name) else {
            continue;
        };
        let found = match timeout(PATIENCE, runtime.read(&spec.placement)).await {
            Ok(Ok(reading)) => {
                let text = format!("answers, {} instances", reading.instances.len());
                finding(&what, State::Ok, &text)
            }
            Ok(Err(error)) => {
                let text = format!("{error}; is `wheelhouse host` running?");
                finding(&what, State::Bad, &text)
            }
            Err(_) => finding(&what, State::Bad, "no answer within 3 s; see its process"),
        };
        all.push(found);
    }
    all
}

async fn balancers(world: &World, spec: &ServiceSpec) -> Vec<Finding> {
    let servers: Vec<(ServerName, SocketAddr)> = spec
        .servers
        .iter()
        .map(|server| (server.name.clone(), server.address))
        .collect();
    let mut all = Vec::new();
    for backend in &spec.balancers {
        let what = format!("{} balancer {}", spec.placement, backend.balancer);
        let Some(balancer) = world.balancer(&spec.placement, &backend.balancer) else {
            continue;
        };
        match timeout(PATIENCE, balancer.inspect(backend, &servers)).await {
            Ok(Ok(lines)) if lines.is_empty() => {
                all.push(finding(&what, State::Ok, "fit to carry a rollout"));
            }
            Ok(Ok(lines)) => all.extend(lines.iter().map(|line| {
                let noted = line.as_str().starts_with(NOTE);
                let state = if noted { State::Note } else { State::Bad };
                finding(&what, state, line.as_str())
            })),
            Ok(Err(error)) => all.push(finding(&what, State::Bad, &error.to_string())),
            Err(_) => all.push(finding(
                &what,
                State::Bad,
                "no answer within 3 s; see its process",
            )),
        }
    }
    all
}
