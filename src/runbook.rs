//! The way back to stable without Wheelhouse: the very commands, from what is recorded.
//!
//! Pure: state and access in, a page per service out. The text is a shell script as it stands:
//! everything is a comment but the commands that bring traffic back, so that it can be read,
//! pasted line by line, or run whole. Each kind of balancer and runtime has its own file, and
//! says what it can.
//!
//! Must not know whether an engine runs; it works from the records alone. Prints no variables of
//! a workload: they may be secret.

mod docker;
mod embedded;
mod haproxy;
mod host;
mod shell;

use crate::model::effect::ServerSetting;
use crate::model::service::Backend;
use crate::model::state::{Instance, InstanceStatus};
use crate::model::{
    BalancerName, Clean, EnvName, Placement, PlacementState, ReleaseId, RuntimeName, ServerName,
    ServiceName, State,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// How a balancer is reached by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerAccess {
    /// HAProxy's stats socket, and the state file of the backend.
    Haproxy {
        /// With `level admin`.
        socket: PathBuf,
        /// What its next start loads.
        state_file: PathBuf,
    },
    /// The embedded host's socket.
    Embedded {
        /// The host's.
        socket: PathBuf,
    },
}

/// How a runtime is reached by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeAccess {
    /// The embedded host's socket.
    Host {
        /// The host's.
        socket: PathBuf,
    },
    /// The `docker` command.
    Docker {
        /// Its words, with what leads to the daemon.
        command: Vec<String>,
    },
}

/// How everything is reached by hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Each balancer as it stands before each service.
    pub balancers: BTreeMap<(Placement, BalancerName), BalancerAccess>,
    /// Each runtime.
    pub runtimes: BTreeMap<RuntimeName, RuntimeAccess>,
}

/// One thing to do by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What for, and what to look for in the answer.
    pub what: Clean,
    /// The command, for a POSIX shell; one line.
    pub command: String,
    /// Whether it brings traffic back; the others are there to be used with thought.
    pub needed: bool,
}

/// The way back of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Which one.
    pub placement: Placement,
    /// How it stands, and what to know first.
    pub stands: Vec<Clean>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// The way back of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runbook {
    /// Which environment.
    pub environment: EnvName,
    /// The last record it knows.
    pub seq: u64,
    /// When that was made, Unix ms.
    pub at_ms: u64,
    /// Service by service.
    pub pages: Vec<Page>,
}

/// What has to be said for one placement, whoever says it.
struct Target<'a> {
    placement: &'a Placement,
    place: &'a PlacementState,
    /// Every server of the service, in the order in which they are to be changed.
    settings: Vec<(ServerName, ServerSetting)>,
    stable: ReleaseId,
}

/// What one kind of peer can say.
trait Way {
    /// The steps, those that bring traffic back first.
    fn steps(&self, target: &Target<'_>) -> Vec<Step>;
}

impl Runbook {
    /// Writes the way back from what is recorded, for one service or all of an environment.
    pub fn of(
        state: &State,
        access: &Access,
        environment: &EnvName,
        service: Option<&ServiceName>,
    ) -> Self {
        let wanted = |placement: &&Placement| {
            placement.environment == *environment
                && service.is_none_or(|service| placement.service == *service)
        };
        let pages = state.placements.keys().filter(wanted);
        Self {
            environment: environment.clone(),
            seq: state.seq,
            at_ms: state.at_ms,
            pages: pages
                .map(|placement| page(placement, &state.placements[placement], access))
                .collect(),
        }
    }

    /// The script.
    pub fn text(&self) -> String {
        let mut out = format!(
            "#!/bin/sh\n# The way back to stable in {} without Wheelhouse.\n\
             # From record {} of {}. Lines that begin with # change nothing.\n\
             # First: `wheelhouse abort SERVICE -e {}` does all of this while an engine answers.\n",
            self.environment,
            self.seq,
            when(self.at_ms),
            self.environment
        );
        if self.pages.is_empty() {
            out.push_str("#\n# Nothing was ever deployed here.\n");
        }
        for page in &self.pages {
            page.write(&mut out);
        }
        out
    }
}

impl Page {
    fn write(&self, out: &mut String) {
        let mut line = |text: &str| {
            let _infallible = writeln!(out, "{text}");
        };
        line(&format!("\n# ---- {} ----", self.placement));
        for fact in &self.stands {
            line(&format!("# {fact}"));
        }
        for step in &self.steps {
            line(&format!("\n# {}", step.what));
            match step.needed {
                true => line(&step.command),
                false => line(&format!("#   {}", step.command)),
            }
        }
    }
}

fn when(at_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(at_ms.cast_signed()).map_or_else(
        |_| at_ms.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn page(placement: &Placement, place: &PlacementState, access: &Access) -> Page {
    let mut page = Page {
        placement: placement.clone(),
        stands: vec![stands(place)],
        steps: Vec::new(),
    };
    let Some(stable) = place.stable() else {
        let why = "No version was ever verified here: there is nothing to go back to. To serve \
                   nothing at all, put every server into maintenance.";
        page.stands.push(why.into());
        return page;
    };
    page.stands.extend(sick(place, stable));
    let target = Target {
        placement,
        place,
        settings: settings(place, stable),
        stable,
    };
    for way in ways(place, placement, access, &mut page.stands) {
        page.steps.extend(way.steps(&target));
    }
    if place.rollout.is_some() {
        let told = format!(
            "When an engine answers again it holds the rollout until somebody says: \
             wheelhouse abort {} -e {}",
            placement.service, placement.environment
        );
        page.stands.push(Clean::new(&told));
    }
    page
}

/// Everything that has to be spoken to, traffic first.
fn ways<'a>(
    place: &'a PlacementState,
    placement: &Placement,
    access: &'a Access,
    stands: &mut Vec<Clean>,
) -> Vec<Box<dyn Way + 'a>> {
    let mut ways: Vec<Box<dyn Way>> = Vec::new();
    for backend in &place.spec.balancers {
        let key = (placement.clone(), backend.balancer.clone());
        match access.balancers.get(&key) {
            Some(access) => ways.push(balancer_way(access, backend)),
            None => stands.push(unknown("balancer", backend.balancer.as_str())),
        }
    }
    for name in &place.spec.runtimes {
        match access.runtimes.get(name) {
            Some(RuntimeAccess::Host { socket }) => ways.push(Box::new(host::Host {
                socket,
                runtime: name,
            })),
            Some(RuntimeAccess::Docker { command }) => ways.push(Box::new(docker::Docker {
                command,
                runtime: name,
            })),
            None => stands.push(Clean::new(&format!(
                "For the runtime {name} no commands are known here: its instances stay as they are."
            ))),
        }
    }
    ways
}

fn balancer_way<'a>(access: &'a BalancerAccess, backend: &'a Backend) -> Box<dyn Way + 'a> {
    let backend = &backend.backend;
    match access {
        BalancerAccess::Haproxy { socket, state_file } => Box::new(haproxy::Haproxy {
            socket,
            state_file,
            backend,
        }),
        BalancerAccess::Embedded { socket } => Box::new(embedded::Embedded { socket, backend }),
    }
}

fn unknown(kind: &str, name: &str) -> Clean {
    Clean::new(&format!(
        "The {kind} {name} is no longer in the configuration: restore it to see its commands."
    ))
}

fn version(place: &PlacementState, release: ReleaseId) -> String {
    let found = place.releases.get(&release);
    found.map_or_else(|| "?".to_owned(), |release| release.version.to_string())
}

fn stands(place: &PlacementState) -> Clean {
    let stable = place.stable().map(|stable| version(place, stable));
    let text = match (&place.rollout, stable) {
        (Some(rollout), Some(stable)) => format!(
            "{} brings {}, meant to have {} % of the traffic; stable is {stable}.",
            rollout.number,
            version(place, rollout.release),
            place.share(rollout.release)
        ),
        (Some(rollout), None) => {
            let new = version(place, rollout.release);
            format!("{} brings {new}, the first version here.", rollout.number)
        }
        (None, Some(stable)) => {
            format!("Nothing is under way; {stable} is stable. This asserts it again.")
        }
        (None, None) => "Nothing is under way.".to_owned(),
    };
    Clean::new(&text)
}

/// Instances of stable that are not recorded up.
fn sick(place: &PlacementState, stable: ReleaseId) -> Vec<Clean> {
    let word = |(server, instance): (&ServerName, &Instance)| {
        let why = match &instance.status {
            InstanceStatus::Up => return None,
            InstanceStatus::Starting => "is being started".to_owned(),
            InstanceStatus::Failed { why } => format!("failed: {why}"),
            InstanceStatus::Draining { .. } => "is being drained".to_owned(),
            InstanceStatus::Stopping => "is being stopped".to_owned(),
        };
        Some(Clean::new(&format!("Stable's {server} {why}.")))
    };
    let mut all: Vec<_> = place.servers_of(stable).filter_map(word).collect();
    if place.servers_of(stable).next().is_none() {
        all.push("Stable has no instance: start one before traffic is moved.".into());
    }
    all
}

/// Stable's servers in, all others out. Where stable has no traffic it comes in first, so that
/// somebody serves at every moment; else what leaves traffic goes first.
fn settings(place: &PlacementState, stable: ReleaseId) -> Vec<(ServerName, ServerSetting)> {
    let up = |instance: &Instance| instance.status == InstanceStatus::Up;
    let any_up = place.servers_of(stable).any(|(_, instance)| up(instance));
    let serves = |server: &ServerName| {
        let there = place.instances.get(server);
        there.is_some_and(|instance| instance.release == stable && (up(instance) || !any_up))
    };
    let servers = place.spec.servers.iter().map(|server| &server.name);
    let (mine, others): (Vec<_>, Vec<_>) = servers.partition(|server| serves(server));
    let ready = mine
        .into_iter()
        .map(|s| (s.clone(), ServerSetting::ready(100)));
    let out = others.into_iter().map(|s| (s.clone(), ServerSetting::OUT));
    match place.share(stable) {
        0 => ready.chain(out).collect(),
        _ => out.chain(ready).collect(),
    }
}

#[cfg(test)]
mod tests;
