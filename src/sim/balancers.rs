//! All balancers of the placement: each shares its part of the traffic and can be dark by itself.

use super::balancer::FakeBalancer;
use super::fleet::Fleet;
use crate::model::{BalancerName, ReleaseId, ServerName, ServiceSpec};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(super) struct Balancers {
    all: BTreeMap<BalancerName, FakeBalancer>,
    /// Until when nobody reaches one.
    dark_ms: BTreeMap<BalancerName, u64>,
}

impl Balancers {
    pub(super) fn new(spec: &ServiceSpec, rps: u64) -> Self {
        let servers = || spec.servers.iter().map(|server| server.name.clone());
        let names = spec.balancers.iter().map(|backend| &backend.balancer);
        let mut balancers = Self {
            all: names
                .map(|name| (name.clone(), FakeBalancer::new(servers(), rps)))
                .collect(),
            dark_ms: BTreeMap::new(),
        };
        balancers.arrive(rps);
        balancers
    }

    /// So many requests per second arrive from now on, at all of them together.
    pub(super) fn arrive(&mut self, rps: u64) {
        let each = rps / self.all.len().max(1) as u64;
        self.all.values_mut().for_each(|one| one.rps = each);
    }

    /// Lets traffic flow up to now.
    pub(super) fn advance(&mut self, fleet: &Fleet, now_ms: u64) {
        let all = self.all.values_mut();
        all.for_each(|one| one.advance(fleet, now_ms));
    }

    pub(super) fn names(&self) -> Vec<BalancerName> {
        self.all.keys().cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &FakeBalancer> {
        self.all.values()
    }

    pub(super) fn get(&self, name: &BalancerName) -> &FakeBalancer {
        self.all.get(name).expect("invariant: it is in the spec")
    }

    pub(super) fn get_mut(&mut self, name: &BalancerName) -> &mut FakeBalancer {
        let one = self.all.get_mut(name);
        one.expect("invariant: it is in the spec")
    }

    pub(super) fn darken(&mut self, name: &BalancerName, until_ms: u64) {
        self.dark_ms.insert(name.clone(), until_ms);
    }

    pub(super) fn lighten(&mut self) {
        self.dark_ms.clear();
    }

    pub(super) fn is_dark(&self, name: &BalancerName, now_ms: u64) -> bool {
        self.dark_ms
            .get(name)
            .is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// How long requests linger from now on.
    pub(super) fn set_tail(&mut self, tail_ms: u64) {
        let all = self.all.values_mut();
        all.for_each(|one| one.set_tail(tail_ms));
    }

    /// The highest weight by which a server gets requests, and how many it is serving.
    pub(super) fn load(&self, name: &ServerName, now_ms: u64) -> (u64, u64) {
        self.all().fold((0, 0), |(weight, sessions), one| {
            let (mine, serving) = one.load(name, now_ms);
            (weight.max(mine), sessions + serving)
        })
    }

    /// Requests given so far to a release's servers.
    pub(super) fn answered(&self, release: ReleaseId) -> u64 {
        self.all().map(|one| one.answered(release)).sum()
    }

    /// Whether behind every one some server that serves really gets requests.
    pub(super) fn somebody_serves(&self, fleet: &Fleet, now_ms: u64) -> bool {
        self.all().all(|one| one.somebody_serves(fleet, now_ms))
    }
}
