//! Which engine steers what: a marker beside each balancer's state file or socket, and one in each
//! Docker daemon for every placement that runs there.

use super::host_socket;
use crate::cli::print;
use crate::config::{BalancerSettings, Config};
use crate::lease::{Board, DaemonLease, FileLease, Holder, Lease, NotOurs, Process};
use crate::link::own_uid;
use crate::model::{BalancerName, Clean, Effect, Placement, RuntimeName, ServiceSpec};
use crate::runtime::Runtime;
use crate::runtime::docker::{DockerRuntime, Marker};
use crate::view::snapshot::ReadOnly;
use futures::future::{BoxFuture, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What a marker's name ends with.
const SUFFIX: &str = ".wheelhouse";

/// What a lease is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Balancer(BalancerName),
    Runtime(RuntimeName),
}

impl Peer {
    fn name(&self) -> &str {
        match self {
            Self::Balancer(name) => name.as_str(),
            Self::Runtime(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balancer(name) => write!(f, "balancer {name}"),
            Self::Runtime(name) => write!(f, "runtime {name}"),
        }
    }
}

/// Where a marker is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// Two backends with a state file of their own are two targets.
    File(PathBuf),
    /// Engines that steer different services may share a daemon.
    Daemon(RuntimeName, Address, Placement),
}

/// How a daemon is reached: one at another place is another one, whatever its name.
type Address = String;

/// Every lease of an engine. Cheap to clone; the leases by files end with the last copy.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    me: Holder,
    all: BTreeMap<Target, (Peer, Lease)>,
    of: BTreeMap<Placement, BTreeSet<Target>>,
}

impl Leases {
    /// The leases that a configuration needs; those of `old` go on. Nothing is taken yet.
    pub(super) fn new(
        config: &Config,
        state_dir: &Path,
        runtimes: &BTreeMap<RuntimeName, Arc<Runtime>>,
        old: Option<&Self>,
    ) -> Self {
        let mut leases = old.cloned().unwrap_or_else(|| Self {
            me: me(),
            all: BTreeMap::new(),
            of: BTreeMap::new(),
        });
        for spec in config.specs() {
            let mut targets = leases.of_balancers(config, spec, state_dir);
            targets.extend(leases.of_daemons(spec, runtimes));
            leases.of.insert(spec.placement.clone(), targets);
        }
        leases
    }

    fn of_balancers(
        &mut self,
        config: &Config,
        spec: &ServiceSpec,
        state_dir: &Path,
    ) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for backend in &spec.balancers {
            let beside = match config.balancer(&backend.balancer) {
                None => continue,
                Some(BalancerSettings::Host { socket }) => {
                    socket.clone().unwrap_or_else(|| host_socket(state_dir))
                }
                Some(BalancerSettings::Haproxy(haproxy)) => haproxy.state_file(&backend.backend),
            };
            let marker = marker(beside);
            let target = Target::File(marker.clone());
            let fresh = || {
                let lease = FileLease::new(marker, self.me.clone());
                let peer = Peer::Balancer(backend.balancer.clone());
                (peer, Lease::File(Arc::new(lease)))
            };
            self.all.entry(target.clone()).or_insert_with(fresh);
            targets.insert(target);
        }
        targets
    }

    fn of_daemons(
        &mut self,
        spec: &ServiceSpec,
        runtimes: &BTreeMap<RuntimeName, Arc<Runtime>>,
    ) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for name in &spec.runtimes {
            let Some(Runtime::Docker(docker)) = runtimes.get(name).map(|runtime| &**runtime) else {
                continue;
            };
            let board = Volumes {
                docker: docker.clone(),
                name: name.clone(),
                placement: spec.placement.clone(),
            };
            let address = docker.address();
            let target = Target::Daemon(name.clone(), address, spec.placement.clone());
            let fresh = || {
                let lease = DaemonLease::new(board, self.me.clone());
                let peer = Peer::Runtime(name.clone());
                (peer, Lease::Daemon(Arc::new(lease)))
            };
            self.all.entry(target.clone()).or_insert_with(fresh);
            targets.insert(target);
        }
        targets
    }

    /// Whether an effect may be carried out now.
    pub(super) async fn permit(&self, effect: &Effect) -> Result<(), Clean> {
        match effect {
            Effect::SetWeights {
                placement, backend, ..
            } => {
                let it = Peer::Balancer(backend.balancer.clone());
                self.check(placement, |peer| *peer == it).await
            }
            Effect::StartInstance {
                placement, runtime, ..
            }
            | Effect::QuietInstance {
                placement, runtime, ..
            }
            | Effect::StopInstance {
                placement, runtime, ..
            } => {
                let there = Peer::Runtime(runtime.clone());
                let meant = |peer: &Peer| matches!(peer, Peer::Balancer(_)) || *peer == there;
                self.check(placement, meant).await
            }
            Effect::AskDeploy { command, .. } => match command.placement() {
                Some(placement) => self.steers(placement).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether this engine holds all that is meant of a placement.
    async fn check(
        &self,
        placement: &Placement,
        meant: impl Fn(&Peer) -> bool,
    ) -> Result<(), Clean> {
        let mine = self.of.get(placement).into_iter().flatten();
        let mine = mine.filter_map(|target| self.all.get(target));
        let looks = mine.filter(|(peer, _)| meant(peer)).map(look);
        let found = join_all(looks).await.into_iter();
        let mut not_ours = found.filter_map(|(peer, found)| Some(told(peer, &found.err()?)));
        not_ours.next().map_or(Ok(()), Err)
    }

    /// Whether this engine may move a placement's traffic.
    pub(super) async fn may_move_traffic(&self, placement: &Placement) -> Result<(), Clean> {
        let balancer = |peer: &Peer| matches!(peer, Peer::Balancer(_));
        self.check(placement, balancer).await
    }

    /// Whether this engine steers a placement: its traffic, and its instances where a daemon can
    /// be asked. One that cannot be asked refuses nothing by that: what it is needed for waits.
    pub(super) async fn steers(&self, placement: &Placement) -> Result<(), Clean> {
        self.may_move_traffic(placement).await?;
        let mine = self.of.get(placement).into_iter().flatten();
        let mine = mine.filter_map(|target| self.all.get(target));
        let looks = mine
            .filter(|(peer, _)| matches!(peer, Peer::Runtime(_)))
            .map(look);
        let found = join_all(looks).await.into_iter();
        let mut held = found.filter_map(|(peer, found)| {
            let not_ours = found.err()?;
            not_ours.holder()?;
            Some(told(peer, &not_ours))
        });
        held.next().map_or(Ok(()), Err)
    }

    /// What this engine may only look at. A daemon that cannot be asked is missing here: its
    /// readings tell that better.
    pub(super) async fn read_only(&self) -> Vec<ReadOnly> {
        let looks = join_all(self.all.values().map(look)).await;
        let mut found = BTreeMap::new();
        for (peer, looked) in looks {
            let Err(not_ours) = looked else {
                continue;
            };
            if not_ours.holder().is_some() || matches!(peer, Peer::Balancer(_)) {
                found.insert(peer.clone(), told(peer, &not_ours));
            }
        }
        let row = |(peer, why)| match peer {
            Peer::Balancer(name) => ReadOnly {
                balancer: Some(name),
                runtime: None,
                why,
            },
            Peer::Runtime(name) => ReadOnly {
                balancer: None,
                runtime: Some(name),
                why,
            },
        };
        found.into_iter().map(row).collect()
    }

    fn named(&self, name: &BalancerName) -> impl Iterator<Item = &(Peer, Lease)> {
        self.all
            .values()
            .filter(move |(peer, _)| peer.name() == name.as_str())
    }

    /// What of this name another engine holds.
    ///
    /// # Errors
    /// In words, when this engine knows nothing of that name, or holds all of it.
    pub(super) async fn held_elsewhere(&self, name: &BalancerName) -> Result<Elsewhere, Clean> {
        let looks = join_all(self.named(name).map(look)).await;
        if looks.is_empty() {
            return Err(Clean::new(&format!(
                "no service uses a balancer or Docker runtime {name}; see `wheelhouse config check`"
            )));
        }
        let mut not_ours = looks.into_iter().filter_map(|(peer, found)| {
            let not_ours = found.err()?;
            let who = not_ours.holder().map(Holder::words);
            Some((peer, who.unwrap_or_else(|| told(peer, &not_ours))))
        });
        let Some((first, from)) = not_ours.next() else {
            return Err(Clean::new(&format!("this engine holds {name} already")));
        };
        let peers = [first].into_iter().chain(not_ours.map(|(peer, _)| peer));
        let mut elsewhere = Elsewhere {
            balancer: None,
            runtime: None,
            from,
        };
        for peer in peers {
            match peer {
                Peer::Balancer(name) => elsewhere.balancer = Some(name.clone()),
                Peer::Runtime(name) => elsewhere.runtime = Some(name.clone()),
            }
        }
        Ok(elsewhere)
    }

    /// Takes everything of this name from whoever has it.
    pub(super) async fn take_over(&self, name: &BalancerName) -> io::Result<()> {
        for (_, lease) in self.named(name) {
            lease.take_over().await?;
        }
        Ok(())
    }

    /// Gives back what does not end with the process.
    pub(super) async fn release(&self) {
        join_all(self.all.values().map(|(_, lease)| lease.release())).await;
    }
}

/// What another engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) balancer: Option<BalancerName>,
    pub(super) runtime: Option<RuntimeName>,
    /// Who, for people.
    pub(super) from: Clean,
}

async fn look((peer, lease): &(Peer, Lease)) -> (&Peer, Result<(), NotOurs>) {
    (peer, lease.check().await)
}

fn told(peer: &Peer, not_ours: &NotOurs) -> Clean {
    let since = not_ours.holder().map_or_else(String::new, |holder| {
        format!(" (since {})", print::date_time(holder.since_ms))
    });
    let name = peer.name();
    Clean::new(&format!(
        "{peer} is read-only here: {not_ours}{since}; act there, or take it over with \
         `wheelhouse engine takeover {name} --reason WHY`"
    ))
}

/// Markers of one placement in one daemon.
struct Volumes {
    docker: DockerRuntime,
    name: RuntimeName,
    placement: Placement,
}

impl Board for Volumes {
    fn words(&self) -> Clean {
        Clean::new(&format!("runtime {}", self.name))
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<(u64, String)>, Clean>> {
        Box::pin(async {
            let all = self.docker.markers(&self.placement).await;
            let all = all.map_err(|why| Clean::new(&why))?.into_iter();
            Ok(all.map(|marker| (marker.number, marker.text)).collect())
        })
    }

    fn post(&self, number: u64, text: String) -> BoxFuture<'_, Result<String, Clean>> {
        Box::pin(async move {
            let marker = Marker { number, text };
            let there = self.docker.post_marker(&self.placement, marker).await;
            there
                .map(|there| there.text)
                .map_err(|why| Clean::new(&why))
        })
    }

    fn remove(&self, number: u64) -> BoxFuture<'_, Result<(), Clean>> {
        Box::pin(async move {
            let removed = self.docker.remove_marker(&self.placement, number).await;
            removed.map_err(|why| Clean::new(&why))
        })
    }
}

fn marker(beside: PathBuf) -> PathBuf {
    let mut name = OsString::from(beside);
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// This engine, as other engines read of it.
fn me() -> Holder {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let user = uzers::get_user_by_uid(own_uid()).map_or_else(
        || format!("uid {}", own_uid()),
        |user| user.name().to_string_lossy().into_owned(),
    );
    Holder {
        host: Clean::new(&rustix::system::uname().nodename().to_string_lossy()),
        boot: boot.unwrap_or_default().trim().to_owned(),
        user: Clean::new(&user),
        engine: Uuid::now_v7().simple().to_string(),
        pid: std::process::id(),
        process: Process::own().map(Box::new),
        since_ms: crate::driver::Clock::start(0).now_ms(),
    }
}
