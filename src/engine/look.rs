//! What State and World together say about one placement: facts, no decisions.

use super::sources;
use crate::analysis::{Evidence, RECENT_MS};
use crate::model::comparison::Compared;
use crate::model::service::Backend;
use crate::model::state::{Instance, InstanceStatus, WeightIntent};
use crate::model::verdict::Counters;
use crate::model::world::{
    Admin, BalancerReading, BalancerView, InstanceView, PlacementWorld, RuntimeView, Sample,
};
use crate::model::{
    BalancerName, Clean, EffectId, Placement, PlacementState, ReleaseId, ServerName, State, World,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// One placement, seen whole.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Which placement.
    pub placement: &'a Placement,
    /// What is recorded.
    pub place: &'a PlacementState,
    /// What is seen; nothing yet after a start.
    pub seen: Option<&'a PlacementWorld>,
    /// The engine's time.
    pub now_ms: u64,
    /// When this engine began to look.
    pub since_ms: u64,
    /// The record that began this engine.
    pub engine_seq: EffectId,
    /// What is recorded and seen of every placement.
    all: (&'a State, &'a World),
}

/// A peer as it was last seen.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// `balancer` or `runtime`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// When it was last read with success.
    pub read_ms: Option<u64>,
    /// Why it could not be read since.
    pub trouble: Option<&'a Clean>,
}

/// How an instance is, as far as anyone knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Our newest probe passed, lately.
    Good,
    /// Nobody knows.
    Unknown,
    /// It is down.
    Bad(Clean),
}

impl<'a> Look<'a> {
    /// Looks at one placement.
    pub fn at(state: &'a State, world: &'a World, placement: &Placement) -> Option<Self> {
        let (placement, place) = state.placements.get_key_value(placement)?;
        Some(Self {
            placement,
            place,
            seen: world.placements.get(placement),
            now_ms: world.now_ms,
            since_ms: world.since_ms,
            engine_seq: state.engine_seq,
            all: (state, world),
        })
    }

    /// Another placement, at the same moment.
    pub fn beside(&self, placement: &Placement) -> Option<Self> {
        let (state, world) = self.all;
        Self::at(state, world, placement)
    }

    /// A balancer's view, if it was ever tried.
    pub fn balancer(&self, name: &BalancerName) -> Option<&'a BalancerView> {
        self.seen?.balancers.get(name)
    }

    /// A balancer's newest reading, if the last try succeeded.
    pub fn reading(&self, name: &BalancerName) -> Option<&'a BalancerReading> {
        let view = self.balancer(name)?;
        (view.read_ms.is_some() && view.trouble.is_none()).then_some(&view.reading)
    }

    /// The newest readings of all balancers; `None` unless every one could be read.
    pub fn readings(&self) -> Option<Vec<(&'a BalancerName, &'a BalancerReading)>> {
        self.place
            .spec
            .balancers
            .iter()
            .map(|backend| Some((&backend.balancer, self.reading(&backend.balancer)?)))
            .collect()
    }

    /// Whether every balancer was read within the last interval; true where there is none.
    pub fn is_fresh_everywhere(&self) -> bool {
        let within_ms = self.place.spec.analysis.interval_ms;
        let fresh = |read_ms: u64| read_ms + within_ms >= self.now_ms;
        !self.place.spec.has_traffic() || self.newest_common_reading_ms().is_some_and(fresh)
    }

    /// Whether a balancer was read within the last interval, and nothing made that doubtful since.
    pub fn is_fresh(&self, name: &BalancerName) -> bool {
        let within_ms = self.place.spec.analysis.interval_ms;
        self.balancer(name).is_some_and(|view| {
            let read_ms = view
                .read_ms
                .filter(|_| view.trouble.is_none() && view.tried_ms > 0);
            read_ms.is_some_and(|read_ms| read_ms + within_ms >= self.now_ms)
        })
    }

    /// When the balancer that was not read for longest was read.
    pub fn newest_common_reading_ms(&self) -> Option<u64> {
        let read = |backend: &Backend| {
            self.balancer(&backend.balancer)
                .and_then(|view| view.read_ms)
        };
        self.place.spec.balancers.iter().map(read).min().flatten()
    }

    /// The balancers' processes, as last read.
    pub fn epochs(&self) -> BTreeMap<BalancerName, String> {
        let epoch = |backend: &Backend| {
            let view = self.balancer(&backend.balancer)?;
            view.read_ms?;
            Some((backend.balancer.clone(), view.reading.epoch.clone()))
        };
        self.place.spec.balancers.iter().filter_map(epoch).collect()
    }

    /// The runtime of a server's instance, if it was ever tried.
    pub fn runtime(&self, server: &ServerName) -> Option<&'a RuntimeView> {
        let runtime = self.place.spec.runtime_of(server)?;
        self.seen?.runtimes.get(runtime)
    }

    /// What its runtime says of an instance: `None` when nobody could be asked, or something made
    /// the newest answer doubtful; `Some(None)` when it is not there.
    pub fn instance(&self, server: &ServerName) -> Option<Option<&'a InstanceView>> {
        let view = self.runtime(server)?;
        view.read_ms.filter(|_| view.tried_ms > 0)?;
        Some(view.reading.instances.get(server))
    }

    /// The same by a reading that was begun at a time or later: one that was under way then may be
    /// older than what it is asked about.
    pub fn instance_since(
        &self,
        server: &ServerName,
        since_ms: u64,
    ) -> Option<Option<&'a InstanceView>> {
        let began_ms = self.runtime(server)?.began_ms?;
        self.instance(server).filter(|_| began_ms >= since_ms)
    }

    /// Whether the host of an instance is lost rather than the instance: its runtime cannot be
    /// read, and nothing verified is seen healthy there.
    pub fn host_is_lost(&self, server: &ServerName) -> bool {
        let dark = self
            .runtime(server)
            .is_some_and(|view| view.trouble.is_some());
        let runtime = self.place.spec.runtime_of(server);
        let beside = |(other, instance): (&ServerName, &Instance)| {
            self.place.spec.runtime_of(other) == runtime
                && self.place.verified.contains(&instance.release)
                && self.health(other) == Health::Good
        };
        dark && !self.place.instances.iter().any(beside)
    }

    /// What a forward move depends on, as it was last seen: balancers, then runtimes.
    pub fn sights(&self) -> impl Iterator<Item = Sight<'a>> {
        let (spec, seen) = (&self.place.spec, self.seen);
        let balancers = spec.balancers.iter().map(move |backend| {
            let view = seen.and_then(|seen| seen.balancers.get(&backend.balancer));
            Sight {
                kind: "balancer",
                name: backend.balancer.as_str(),
                read_ms: view.and_then(|view| view.read_ms),
                trouble: view.and_then(|view| view.trouble.as_ref()),
            }
        });
        let runtimes = spec.runtimes.iter().map(move |runtime| {
            let view = seen.and_then(|seen| seen.runtimes.get(runtime));
            Sight {
                kind: "runtime",
                name: runtime.as_str(),
                read_ms: view.and_then(|view| view.read_ms),
                trouble: view.and_then(|view| view.trouble.as_ref()),
            }
        });
        balancers.chain(runtimes)
    }

    /// What could not be read within the last interval, of all that a forward move depends on:
    /// its name and why. `None` when everything is in sight.
    pub fn out_of_sight(&self) -> Option<Clean> {
        let interval_ms = self.place.spec.analysis.interval_ms;
        let since_ms = self.now_ms.saturating_sub(interval_ms);
        let blind = self.sights().find(|sight| sight.read_ms < Some(since_ms))?;
        let why = blind
            .trouble
            .map_or("not read within the last interval", Clean::as_str);
        Some(Clean::new(&format!("{} {}: {why}", blind.kind, blind.name)))
    }

    /// When everything that a forward move depends on was last in sight.
    pub fn last_in_sight_ms(&self) -> Option<u64> {
        self.sights().map(|sight| sight.read_ms).min().flatten()
    }

    /// How an instance is.
    pub fn health(&self, server: &ServerName) -> Health {
        let Some(instance) = self.place.instances.get(server) else {
            return Health::Unknown;
        };
        if let InstanceStatus::Failed { why } = &instance.status {
            return Health::Bad(why.clone());
        }
        if let Some(why) = self.not_running(server, instance.release) {
            return Health::Bad(why);
        }
        let probes = self.seen.and_then(|seen| seen.probes.get(server));
        let Some(log) = probes.filter(|log| log.release == Some(instance.release)) else {
            return Health::Unknown;
        };
        let check = self.place.health_of(instance.release);
        if log.failed_in_a_row() >= check.failures {
            return Health::Bad(log.trouble.clone().unwrap_or_default());
        }
        let recent = log.last_ms + 3 * check.interval_ms + check.timeout_ms >= self.now_ms;
        match log.passed_in_a_row() > 0 && recent {
            true => Health::Good,
            false => Health::Unknown,
        }
    }

    /// How long our own newest probe of an instance took.
    pub fn probe_ms(&self, server: &ServerName, release: ReleaseId) -> Option<u64> {
        let log = self.seen?.probes.get(server)?;
        log.took_ms.filter(|_| log.release == Some(release))
    }

    /// Whether the runtime shows another release in a server's place.
    pub fn runs_another(&self, server: &ServerName, release: ReleaseId) -> bool {
        matches!(self.instance(server), Some(Some(view)) if view.release != release)
    }

    /// Why an instance that was up is not running, by what the runtime says.
    fn not_running(&self, server: &ServerName, release: ReleaseId) -> Option<Clean> {
        let up = self.place.instances.get(server)?.status == InstanceStatus::Up;
        match self.instance(server)? {
            Some(view) if view.release == release => view.exited.clone(),
            Some(_) => Some("another release runs in its place".into()),
            None => up.then(|| "it is not running".into()),
        }
    }

    /// Whether some instance of a release is recorded up and not known to be down.
    pub fn can_serve(&self, release: ReleaseId) -> bool {
        self.place.servers_of(release).any(|(server, instance)| {
            instance.status == InstanceStatus::Up
                && !matches!(self.health(server), Health::Bad(_))
                && !self.down_at_balancers(server)
        })
    }

    /// Whether every balancer that may use a server holds it for down.
    fn down_at_balancers(&self, server: &ServerName) -> bool {
        let backends = self.place.spec.balancers.iter();
        let mut views = backends
            .filter_map(|backend| self.reading(&backend.balancer)?.servers.get(server))
            .filter(|view| view.admin == Admin::Ready)
            .peekable();
        views.peek().is_some() && views.all(|view| !view.up)
    }

    /// Whether one balancer may use a server but holds it for down.
    pub fn down_at(&self, balancer: &BalancerName, server: &ServerName) -> bool {
        let view = self.reading(balancer).and_then(|r| r.servers.get(server));
        view.is_some_and(|view| view.admin == Admin::Ready && !view.up)
    }

    /// A release's share by one reading's effective weights, in percent; 0 where nobody serves.
    pub fn applied_percent(&self, reading: &BalancerReading, release: ReleaseId) -> f64 {
        let weight = |server: &ServerName| {
            let view = reading.servers.get(server);
            view.map_or(0, crate::model::world::ServerView::effective_weight)
        };
        let all: u64 = reading.servers.keys().map(weight).sum();
        let mine: u64 = self
            .place
            .servers_of(release)
            .map(|(server, _)| weight(server))
            .sum();
        match all {
            0 => 0.0,
            all => mine as f64 * 100.0 / all as f64,
        }
    }

    /// The highest share of a release over all balancers that could be read.
    pub fn highest_applied_percent(&self, release: ReleaseId) -> Option<f64> {
        let backends = self.place.spec.balancers.iter();
        backends
            .filter_map(|backend| self.reading(&backend.balancer))
            .map(|reading| self.applied_percent(reading, release))
            .reduce(f64::max)
    }

    /// The lowest share of a release over all balancers that could be read.
    pub fn lowest_applied_percent(&self, release: ReleaseId) -> Option<f64> {
        let backends = self.place.spec.balancers.iter();
        backends
            .filter_map(|backend| self.reading(&backend.balancer))
            .map(|reading| self.applied_percent(reading, release))
            .reduce(f64::min)
    }

    /// Whether every balancer shows now that a server gets no new requests. What was read before a
    /// pause proves nothing, nor does silence.
    pub fn is_out_of_traffic(&self, server: &ServerName) -> bool {
        let backends = &self.place.spec.balancers;
        backends.iter().all(|backend| {
            let view = self.reading(&backend.balancer);
            let view = view.map(|reading| reading.servers.get(server));
            self.is_fresh(&backend.balancer)
                && view.is_some_and(|view| view.is_none_or(|view| view.effective_weight() == 0))
        })
    }

    /// Whether every balancer shows that a server may get new requests, and holds it for up; true
    /// where there is none.
    pub fn gets_traffic(&self, server: &ServerName) -> bool {
        let shows = |backend: &Backend| {
            let view = self.reading(&backend.balancer)?.servers.get(server)?;
            Some(view.effective_weight() > 0)
        };
        let mut backends = self.place.spec.balancers.iter();
        backends.all(|backend| shows(backend).unwrap_or(false))
    }

    /// Whether a server is meant to have traffic, and some balancer was not told so yet: that may be
    /// on its way.
    pub fn is_about_to_serve(&self, server: &ServerName) -> bool {
        let there = self.place.instances.get(server);
        let share = there.map_or(0, |there| self.place.share(there.release));
        let told = |backend: &Backend| {
            let view = self.reading(&backend.balancer)?.servers.get(server)?;
            Some(view.admin == Admin::Ready)
        };
        let mut backends = self.place.spec.balancers.iter();
        share > 0
            && !self.place.out.contains(server)
            && !backends.all(|backend| told(backend).unwrap_or(false))
    }

    /// Whether an instance is known to answer requests: up, healthy, in traffic, not drained.
    pub fn serves(&self, server: &ServerName) -> bool {
        self.is_well(server) && !self.place.out.contains(server) && self.gets_traffic(server)
    }

    /// Whether an instance is recorded up and our newest probe passed.
    pub fn is_well(&self, server: &ServerName) -> bool {
        let there = self.place.instances.get(server);
        there.is_some_and(|there| there.status == InstanceStatus::Up)
            && self.health(server) == Health::Good
    }

    /// Whether an intent is a raise that an earlier engine left unsettled.
    pub fn is_stale_raise(&self, intent: &WeightIntent) -> bool {
        let Some(canary) = self.place.canary() else {
            return false;
        };
        let share =
            |shares: &crate::model::entry::Shares| shares.get(&canary).copied().unwrap_or(0);
        intent.settled.is_none()
            && intent.id < self.engine_seq
            && share(&intent.shares) > share(&intent.before)
    }

    /// What a release's servers answered in the samples that lie between two times.
    pub fn counted(&self, release: ReleaseId, from_ms: u64, until_ms: u64) -> Counters {
        let mut sum = Counters::default();
        for (server, instance) in self.place.servers_of(release) {
            let window = from_ms.max(instance.since_ms)..=until_ms;
            sum.add(&self.counted_on(server, window));
        }
        sum
    }

    /// What one server answered in the samples that lie within a window.
    pub fn counted_on(&self, server: &ServerName, window: RangeInclusive<u64>) -> Counters {
        let mut sum = Counters::default();
        let samples = self.samples_since(server, *window.start());
        for sample in samples.filter(|sample| sample.to_ms <= *window.end()) {
            sum.add(&sample.counters);
        }
        sum
    }

    /// What a server answered in the samples that began at a time or later, balancer by balancer,
    /// newest first.
    pub fn samples_since(
        &self,
        server: &ServerName,
        from_ms: u64,
    ) -> impl Iterator<Item = &'a Sample> {
        let views = self
            .seen
            .into_iter()
            .flat_map(|seen| seen.balancers.values());
        let samples = views.filter_map(move |view| view.samples.get(server));
        samples.flat_map(move |samples| {
            let newest_first = samples.iter().rev();
            newest_first.take_while(move |sample| sample.from_ms >= from_ms)
        })
    }

    /// What the judge may look at, or could have at an earlier time, for a window that began at
    /// `from_ms`.
    pub fn evidence_until(
        &self,
        canary: ReleaseId,
        stable: Option<ReleaseId>,
        from_ms: u64,
        until_ms: u64,
    ) -> Evidence {
        let recent_ms = from_ms.max(until_ms.saturating_sub(RECENT_MS));
        let (probes_passed, probes_made) = self.probes(canary, until_ms);
        Evidence {
            canary: self.counted(canary, from_ms, until_ms),
            stable: stable.map(|stable| self.counted(stable, from_ms, until_ms)),
            recent_canary: self.counted(canary, recent_ms, until_ms),
            recent_stable: stable.map(|stable| self.counted(stable, recent_ms, until_ms)),
            probes_passed,
            probes_made,
            fresh: self.is_fresh_everywhere(),
            usage: sources::usage(self, canary, until_ms),
            sources: sources::evidence(self, canary, from_ms, until_ms),
            compared: self.compared(until_ms).cloned(),
        }
    }

    /// What the open rollout's comparison says; nobody knows what it said at an earlier time.
    fn compared(&self, until_ms: u64) -> Option<&'a Compared> {
        let (of, compared) = self.seen?.compared.as_ref()?;
        let open = self.place.rollout.as_ref()?;
        (open.id == *of && until_ms >= self.now_ms).then_some(compared)
    }

    /// Probes passed and made. Those that failed while an instance was still starting, or on a host
    /// that is lost, say nothing about the release.
    fn probes(&self, release: ReleaseId, until_ms: u64) -> (u64, u64) {
        let recent_ms = until_ms.saturating_sub(RECENT_MS);
        let (mut passed, mut made) = (0, 0);
        for (server, instance) in self.place.servers_of(release) {
            let up = instance.status == InstanceStatus::Up;
            let log = self
                .seen
                .and_then(|seen| seen.probes.get(server))
                .filter(|_| up && !self.host_is_lost(server));
            let results = log.into_iter().flat_map(|log| &log.results);
            let window = recent_ms.max(instance.since_ms)..=until_ms;
            for (_, ok) in results.filter(|(at_ms, _)| window.contains(at_ms)) {
                made += 1;
                passed += u64::from(*ok);
            }
        }
        (passed, made)
    }
}
