//! Which engine steers which balancer: a marker beside each one's state file or socket.

use super::host_socket;
use crate::cli::print;
use crate::config::{BalancerSettings, Config};
use crate::lease::{FileLease, Holder, Lease, NotOurs};
use crate::link::own_uid;
use crate::model::{BalancerName, Clean, Effect, Placement};
use crate::view::snapshot::ReadOnly;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What a marker's name ends with.
const SUFFIX: &str = ".wheelhouse";

/// Every lease of an engine. Cheap to clone; the leases end with the last copy.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    me: Holder,
    /// By marker. Two backends with a state file of their own are two targets.
    all: BTreeMap<PathBuf, (BalancerName, Lease)>,
    of: BTreeMap<Placement, BTreeSet<PathBuf>>,
}

impl Leases {
    /// The leases that a configuration needs; those of `old` go on. Nothing is taken yet.
    pub(super) fn new(config: &Config, state_dir: &Path, old: Option<&Self>) -> Self {
        let mut leases = old.cloned().unwrap_or_else(|| Self {
            me: me(),
            all: BTreeMap::new(),
            of: BTreeMap::new(),
        });
        for spec in config.specs() {
            let mut markers = BTreeSet::new();
            for backend in &spec.balancers {
                let beside = match config.balancer(&backend.balancer) {
                    None => continue,
                    Some(BalancerSettings::Host { socket }) => {
                        socket.clone().unwrap_or_else(|| host_socket(state_dir))
                    }
                    Some(BalancerSettings::Haproxy(haproxy)) => {
                        haproxy.state_file(&backend.backend)
                    }
                };
                let marker = marker(beside);
                let fresh = || {
                    let lease = FileLease::new(marker.clone(), leases.me.clone());
                    (backend.balancer.clone(), Lease::File(Arc::new(lease)))
                };
                leases.all.entry(marker.clone()).or_insert_with(fresh);
                markers.insert(marker);
            }
            leases.of.insert(spec.placement.clone(), markers);
        }
        leases
    }

    /// Whether an effect may be carried out now.
    pub(super) async fn permit(&self, effect: &Effect) -> Result<(), Clean> {
        match effect {
            Effect::SetWeights {
                placement, backend, ..
            } => self.check(placement, Some(&backend.balancer)).await,
            Effect::StartInstance { placement, .. }
            | Effect::QuietInstance { placement, .. }
            | Effect::StopInstance { placement, .. } => self.check(placement, None).await,
            _ => Ok(()),
        }
    }

    /// Whether this engine steers a placement: one of its balancers, or all of them.
    pub(super) async fn check(
        &self,
        placement: &Placement,
        only: Option<&BalancerName>,
    ) -> Result<(), Clean> {
        for marker in self.of.get(placement).into_iter().flatten() {
            let Some((balancer, lease)) = self.all.get(marker) else {
                continue;
            };
            if only.is_none_or(|only| only == balancer) {
                let checked = lease.check().await;
                checked.map_err(|not_ours| told(balancer, &not_ours))?;
            }
        }
        Ok(())
    }

    /// What this engine may only look at.
    pub(super) async fn read_only(&self) -> Vec<ReadOnly> {
        let mut found = BTreeMap::new();
        for (balancer, lease) in self.all.values() {
            if let Err(not_ours) = lease.check().await {
                found.insert(balancer.clone(), told(balancer, &not_ours));
            }
        }
        let rows = found.into_iter();
        rows.map(|(balancer, why)| ReadOnly { balancer, why })
            .collect()
    }

    /// Who holds a balancer that this engine does not: `None` if it holds all of it, an error if
    /// there is no such balancer.
    pub(super) async fn holder(&self, name: &BalancerName) -> Result<Option<Clean>, Clean> {
        let mut known = false;
        for (balancer, lease) in self.all.values().filter(|(balancer, _)| balancer == name) {
            known = true;
            if let Err(not_ours) = lease.check().await {
                let who = not_ours.holder().map(Holder::words);
                return Ok(Some(who.unwrap_or_else(|| told(balancer, &not_ours))));
            }
        }
        match known {
            true => Ok(None),
            false => Err(Clean::new(&format!(
                "no service stands behind a balancer {name}; see `wheelhouse config check`"
            ))),
        }
    }

    /// Takes a balancer from whoever has it.
    pub(super) async fn take_over(&self, name: &BalancerName) -> io::Result<()> {
        for (_, lease) in self.all.values().filter(|(balancer, _)| balancer == name) {
            lease.take_over().await?;
        }
        Ok(())
    }
}

fn told(balancer: &BalancerName, not_ours: &NotOurs) -> Clean {
    let since = not_ours.holder().map_or_else(String::new, |holder| {
        format!(" (since {})", print::date_time(holder.since_ms))
    });
    Clean::new(&format!(
        "balancer {balancer} is read-only here: {not_ours}{since}; act there, or take it over with \
         `wheelhouse engine takeover {balancer} --reason WHY`"
    ))
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
        since_ms: crate::driver::Clock::start(0).now_ms(),
    }
}
