//! The fake balancer: settings, a state file, a process that restarts, and the traffic it shares.

use super::fleet::Fleet;
use crate::model::effect::ServerSetting;
use crate::model::verdict::{Counters, Histogram};
use crate::model::world::{Admin, BalancerReading, ServerView};
use crate::model::{ReleaseId, ServerName};
use std::collections::BTreeMap;

/// The balancer's own check notices a change this late.
const CHECK_MS: u64 = 400;

/// What a restarted balancer comes back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// Its configuration's initial settings: everything out.
    Forgets,
    /// What the state file holds.
    Restores,
    /// What an older state file held.
    RestoresStale,
}

#[derive(Debug, Clone)]
struct FakeServer {
    setting: ServerSetting,
    up: bool,
    /// Since when its instance is other than `up` says.
    differs_ms: Option<u64>,
    counters: Counters,
    /// Thousandths of an error not counted yet.
    failing: u64,
    served_ms: Option<u64>,
    /// How long requests go on after the last one was given to it.
    tail_ms: u64,
}

/// Initial settings: the safe ones.
const INITIAL: ServerSetting = ServerSetting {
    admin: Admin::Maintenance,
    weight: 1,
};

type Settings = BTreeMap<ServerName, ServerSetting>;

#[derive(Debug, Clone)]
pub(super) struct FakeBalancer {
    epoch: u32,
    servers: BTreeMap<ServerName, FakeServer>,
    file: Settings,
    old_file: Settings,
    advanced_ms: u64,
    /// Requests per second that arrive.
    pub(super) rps: u64,
    arrived: u64,
    /// Requests answered so far, by release; no restart forgets them.
    answered: BTreeMap<ReleaseId, u64>,
}

impl FakeBalancer {
    pub(super) fn new(servers: impl Iterator<Item = ServerName>, rps: u64) -> Self {
        let blank = FakeServer {
            setting: INITIAL,
            up: false,
            differs_ms: None,
            counters: Counters::default(),
            failing: 0,
            served_ms: None,
            tail_ms: 100,
        };
        Self {
            epoch: 0,
            servers: servers.map(|name| (name, blank.clone())).collect(),
            file: Settings::new(),
            old_file: Settings::new(),
            advanced_ms: 0,
            rps,
            arrived: 0,
            answered: BTreeMap::new(),
        }
    }

    /// Lets traffic flow up to now.
    pub(super) fn advance(&mut self, fleet: &Fleet, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.advanced_ms);
        if passed_ms == 0 {
            return;
        }
        self.advanced_ms = now_ms;
        self.arrived += self.rps * passed_ms;
        let requests = self.arrived / 1_000;
        self.arrived %= 1_000;
        self.share_out(fleet, requests, now_ms);
        for (name, server) in &mut self.servers {
            let alive = fleet.serves(name, now_ms);
            match (alive == server.up, server.differs_ms) {
                (true, _) => server.differs_ms = None,
                (false, None) => server.differs_ms = Some(now_ms),
                (false, Some(since_ms)) if since_ms + CHECK_MS <= now_ms => {
                    (server.up, server.differs_ms) = (alive, None);
                }
                (false, Some(_)) => {}
            }
        }
    }

    fn share_out(&mut self, fleet: &Fleet, requests: u64, now_ms: u64) {
        let all: u64 = self.servers.values().map(FakeServer::effective).sum();
        if all == 0 {
            return;
        }
        let (mut given, mut weight_seen) = (0, 0);
        for (name, server) in &mut self.servers {
            let weight = server.effective();
            if weight == 0 {
                continue;
            }
            weight_seen += weight;
            // Cumulative rounding: the parts always sum to the whole.
            let mine = requests * weight_seen / all - given;
            given += mine;
            server.served_ms = Some(now_ms);
            let release = fleet.instances.get(name).map(|there| there.release);
            let traits = release.map(|release| fleet.traits(release));
            if let Some(release) = release {
                *self.answered.entry(release).or_default() += mine;
            }
            let permille = match (fleet.serves(name, now_ms), traits) {
                (true, Some(traits)) => traits.errors_permille,
                _ => 1_000,
            };
            server.counters.requests += mine;
            server.failing += mine * permille;
            server.counters.errors += server.failing / 1_000;
            server.failing %= 1_000;
            let us = traits.map_or(1_000, |traits| traits.latency_us);
            let latency = server.counters.latency.get_or_insert_default();
            count(latency, us, mine);
        }
    }

    /// Applies settings in their order, only the first `count` of them.
    pub(super) fn set(&mut self, settings: &[(ServerName, ServerSetting)], count: usize) {
        for (name, setting) in settings.iter().take(count) {
            if let Some(server) = self.servers.get_mut(name) {
                server.setting = *setting;
            }
        }
    }

    /// What the adapter does after each read-back.
    pub(super) fn keep_file(&mut self) {
        let now: Settings = self.settings();
        if now != self.file {
            self.old_file = std::mem::replace(&mut self.file, now);
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let pairs = self.servers.iter();
        pairs
            .map(|(name, server)| (name.clone(), server.setting))
            .collect()
    }

    /// Somebody sets one server's weight by hand.
    pub(super) fn hand(&mut self, name: &ServerName, setting: ServerSetting) {
        if let Some(server) = self.servers.get_mut(name) {
            server.setting = setting;
        }
    }

    pub(super) fn restart(&mut self, how: Restart) {
        self.epoch += 1;
        let from = match how {
            Restart::Forgets => Settings::new(),
            Restart::Restores => self.file.clone(),
            Restart::RestoresStale => self.old_file.clone(),
        };
        for (name, server) in &mut self.servers {
            server.setting = from.get(name).copied().unwrap_or(INITIAL);
            server.counters = Counters::default();
            server.served_ms = None;
        }
    }

    /// Somebody clears the counters without a restart.
    pub(super) fn clear_counters(&mut self) {
        for server in self.servers.values_mut() {
            server.counters = Counters::default();
        }
    }

    /// How long requests linger from now on.
    pub(super) fn set_tail(&mut self, tail_ms: u64) {
        for server in self.servers.values_mut() {
            server.tail_ms = tail_ms;
        }
    }

    pub(super) fn reading(&self, now_ms: u64) -> BalancerReading {
        let view = |server: &FakeServer| ServerView {
            admin: server.setting.admin,
            weight: server.setting.weight,
            up: server.up && server.setting.admin != Admin::Maintenance,
            sessions: server.sessions(now_ms),
            counters: server.counters.clone(),
        };
        BalancerReading {
            epoch: format!("b{}", self.epoch),
            software: "a simulated balancer".into(),
            servers: self
                .servers
                .iter()
                .map(|(name, server)| (name.clone(), view(server)))
                .collect(),
        }
    }

    /// Whether a server gets requests, and how many it is serving.
    pub(super) fn load(&self, name: &ServerName, now_ms: u64) -> (u64, u64) {
        let server = self.servers.get(name);
        server.map_or((0, 0), |server| {
            (server.effective(), server.sessions(now_ms))
        })
    }

    /// The share in percent of what `mine` selects, by effective weights; `None` where nobody
    /// serves.
    pub(super) fn share(&self, mine: impl Fn(&ServerName) -> bool) -> Option<f64> {
        let (mut all, mut sum) = (0, 0);
        for (name, server) in &self.servers {
            all += server.effective();
            sum += if mine(name) { server.effective() } else { 0 };
        }
        (all > 0).then(|| sum as f64 * 100.0 / all as f64)
    }

    /// Requests given so far to a release's servers.
    pub(super) fn answered(&self, release: ReleaseId) -> u64 {
        self.answered.get(&release).copied().unwrap_or(0)
    }

    /// Whether some server that serves really gets requests.
    pub(super) fn somebody_serves(&self, fleet: &Fleet, now_ms: u64) -> bool {
        let mut pairs = self.servers.iter();
        pairs.any(|(name, server)| server.effective() > 0 && fleet.serves(name, now_ms))
    }
}

impl FakeServer {
    fn effective(&self) -> u64 {
        match (self.setting.admin, self.up) {
            (Admin::Ready, true) => u64::from(self.setting.weight),
            _ => 0,
        }
    }

    fn sessions(&self, now_ms: u64) -> u64 {
        let busy = self
            .served_ms
            .is_some_and(|at_ms| at_ms + self.tail_ms > now_ms);
        u64::from(busy)
    }
}

fn count(latency: &mut Histogram, us: u64, requests: u64) {
    let mut one = Histogram::default();
    one.record_us(us);
    for (mine, one) in latency.buckets.iter_mut().zip(one.buckets) {
        *mine += one * requests;
    }
    latency.sum_us += us * requests;
}
