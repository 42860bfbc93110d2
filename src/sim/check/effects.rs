//! What may be asked of the world, and what the world may look like on the way.

use super::{Checks, GRACE_MS, POINTS, STARTS_MAX};
use crate::model::effect::ServerSetting;
use crate::model::state::InstanceStatus;
use crate::model::world::{Admin, BalancerReading};
use crate::model::{BalancerName, Effect, PlacementState, ReleaseId, Seq, ServerName};
use crate::sim::balancer::FakeBalancer;
use crate::sim::balancers::Balancers;
use crate::sim::fleet::Fleet;
use crate::sim::run::Checked;
use std::collections::BTreeMap;

/// A balancer on its way from one group of settings to the next.
#[derive(Clone, Copy)]
pub(in crate::sim) struct Change<'a> {
    pub(in crate::sim) name: &'a BalancerName,
    pub(in crate::sim) before: &'a FakeBalancer,
    pub(in crate::sim) now: &'a FakeBalancer,
}

impl Checks {
    /// The engine starts an effect.
    pub(in crate::sim) fn start(
        &mut self,
        ticket: u64,
        effect: &Effect,
        deadline_ms: u64,
        now_ms: u64,
    ) -> Checked {
        if ticket <= self.last_ticket {
            return Err("a ticket was used twice".to_owned());
        }
        self.last_ticket = ticket;
        let second = now_ms / 1_000;
        let before = if self.busy.0 == second {
            self.busy.1
        } else {
            0
        };
        self.busy = (second, before + 1);
        if self.busy.1 > STARTS_MAX {
            return Err("livelock: too many effects in one second".to_owned());
        }
        let Some(key) = effect.key() else {
            return Err("a timer was started as an effect".to_owned());
        };
        self.start_of_pipeline(effect)?;
        if let Some((_, until_ms)) = self.started.get(&key)
            && until_ms + GRACE_MS > now_ms
        {
            return Err(format!("two effects at once on {key:?}"));
        }
        self.started.insert(key, (ticket, deadline_ms));
        match effect {
            Effect::SetWeights {
                id,
                settings,
                backend,
                ..
            } => {
                let balancer = &backend.balancer;
                self.settings.insert(balancer.clone(), settings.clone());
                self.may_set(*id, balancer, settings)
            }
            Effect::StartInstance {
                id,
                server,
                release,
                placement,
                ..
            } => self.may_run(self.place_of(placement), *id, server, *release),
            _ => Ok(()),
        }
    }

    /// A raise needs a durable intent of this engine, and nothing on its way to the disk.
    fn may_set(
        &self,
        id: Seq,
        balancer: &BalancerName,
        settings: &[(ServerName, ServerSetting)],
    ) -> Checked {
        let Some(place) = self.place() else {
            return Err("weights are set for nothing".to_owned());
        };
        let Some(canary) = place.canary() else {
            return Ok(());
        };
        let is_canary = |server: &ServerName| {
            place
                .instances
                .get(server)
                .is_some_and(|i| i.release == canary)
        };
        let heard = self.heard.get(balancer).map(|(reading, _)| reading);
        let known = heard.map(|reading| share_of(reading, is_canary));
        let target = share_after(settings, heard, is_canary);
        if target <= known.unwrap_or(0.0) + POINTS {
            return Ok(());
        }
        let no = |why: &str| Err(format!("the share goes to {target:.1} % {why}"));
        if self.appending || self.disk_broken {
            return no("while the history is not written");
        }
        let Some(intent) = place.weight.as_ref().filter(|intent| intent.id == id) else {
            return no("without a durable intent");
        };
        if place
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.is_reverting())
        {
            return no("on the way back");
        }
        if target > intended(place) + POINTS {
            return no("above its intent");
        }
        if intent.settled.is_none() && id < self.engine_seq && self.is_raise(place, canary) {
            return no("by an intent an earlier engine left");
        }
        let same_process = |epochs: &BTreeMap<BalancerName, String>| {
            epochs.get(balancer) == heard.map(|reading| &reading.epoch)
        };
        let known = self.unheard.get(balancer) == Some(&0);
        // A recorded drain of all others raises it too.
        let by_drain = intended(place) > f64::from(place.share(canary));
        let known = known && !by_drain;
        if intent.settled.as_ref().is_some_and(same_process) && known {
            return no("although somebody lowered it");
        }
        Ok(())
    }

    fn is_raise(&self, place: &PlacementState, canary: ReleaseId) -> bool {
        let intent = place.weight.as_ref();
        let before = intent
            .and_then(|intent| intent.before.get(&canary))
            .copied()
            .unwrap_or(0);
        place.share(canary) > before
    }

    fn may_run(
        &self,
        place: Option<&PlacementState>,
        id: Seq,
        server: &ServerName,
        release: ReleaseId,
    ) -> Checked {
        let Some(place) = place else {
            return Err("an instance is started for nothing".to_owned());
        };
        if place.verified.contains(&release) {
            return Ok(());
        }
        let meant = place
            .instances
            .get(server)
            .filter(|there| there.intent == id && there.release == release);
        match meant {
            None => Err(format!(
                "an instance is started behind {server} without a durable intent"
            )),
            Some(_) if self.appending || self.disk_broken => {
                Err("an instance is started while the history is not written".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    /// Held against the world at the moment an effect is asked for.
    pub(in crate::sim) fn start_in_world(
        &mut self,
        effect: &Effect,
        balancer: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        if let Effect::QuietInstance {
            id,
            server,
            placement,
            ..
        } = effect
        {
            let meant = self.place_of(placement);
            let meant = meant.and_then(|place| place.instances.get(server));
            // An engine that does not know that its last record arrived may tell once more.
            let drains = meant.is_some_and(|meant| match meant.status {
                InstanceStatus::Draining { .. } => meant.intent == *id,
                InstanceStatus::Stopping => true,
                _ => false,
            });
            return drains.then_some(()).ok_or_else(|| {
                format!("{server} is told to take no new work, and nothing drains it")
            });
        }
        let Effect::StopInstance {
            id,
            server,
            placement,
            ..
        } = effect
        else {
            return Ok(());
        };
        let place = self.place_of(placement);
        let meant = place.and_then(|place| place.instances.get(server));
        let there = fleet.instances.get(server);
        // Where nothing runs any more nothing is stopped, whatever the newest reading showed.
        let foreign =
            there.is_none_or(|there| meant.is_none_or(|meant| meant.release != there.release));
        if foreign {
            return Ok(());
        }
        let stopping = meant
            .is_some_and(|meant| meant.status == InstanceStatus::Stopping && meant.intent == *id);
        if !stopping {
            return Err(format!("{server} is stopped without a durable intent"));
        }
        let (weight, _) = balancer.load(server, now_ms);
        match weight > 0 && now_ms > self.flux_ms {
            true => Err(format!("{server} is stopped while it gets requests")),
            false => Ok(()),
        }
    }

    /// A stop arrives.
    pub(in crate::sim) fn stopped(
        &mut self,
        server: &ServerName,
        balancer: &Balancers,
        own: bool,
        now_ms: u64,
    ) -> Checked {
        let (weight, _) = balancer.load(server, now_ms);
        match own && weight > 0 && now_ms > self.flux_ms {
            true => Err(format!("{server} was stopped while it got requests")),
            false => Ok(()),
        }
    }

    /// While settings are made one after the other, the share stays within both ends and somebody
    /// serves.
    pub(in crate::sim) fn on_the_way(
        &mut self,
        change: &Change<'_>,
        settings: &[(ServerName, ServerSetting)],
        fleet: &Fleet,
        now_ms: u64,
        engine_ms: u64,
    ) -> Checked {
        let Change { name, before, now } = *change;
        let Some(place) = self.place().filter(|_| now_ms > self.flux_ms) else {
            return Ok(());
        };
        let canary = place.canary();
        let is_canary = |server: &ServerName| {
            let release = place.instances.get(server).map(|there| there.release);
            release.is_some() && release == canary
        };
        let mut after = before.clone();
        after.set(settings, settings.len());
        let (start, end) = (before.share(is_canary), after.share(is_canary));
        let most = start.unwrap_or(0.0).max(end.unwrap_or(0.0));
        let share = now
            .share(is_canary)
            .filter(|_| !self.is_blind(name, engine_ms));
        if share.is_some_and(|share| share > most + POINTS) {
            return Err(format!("on the way to {end:?} % the share is {share:?} %"));
        }
        let served = before.somebody_serves(fleet, now_ms) && after.somebody_serves(fleet, now_ms);
        match served && !now.somebody_serves(fleet, now_ms) {
            true => Err("on the way nobody serves".to_owned()),
            false => Ok(()),
        }
    }
}

/// The share that the new release may have, in percent: all, where every other instance that
/// shares the traffic is recorded as on its way out.
pub(super) fn intended(place: &PlacementState) -> f64 {
    let Some(canary) = place.canary() else {
        return 0.0;
    };
    let share = place.share(canary);
    let stays = |release: &ReleaseId| {
        let mut servers = place.servers_of(*release);
        servers.any(|(server, there)| {
            there.status == InstanceStatus::Up && !place.out.contains(server)
        })
    };
    let shares = place.weight.iter().flat_map(|intent| &intent.shares);
    let mut others = shares.filter(|(release, share)| **release != canary && **share > 0);
    match share > 0 && !others.any(|(release, _)| stays(release)) {
        true => 100.0,
        false => f64::from(share),
    }
}

pub(super) fn share_of(reading: &BalancerReading, mine: impl Fn(&ServerName) -> bool) -> f64 {
    let weight = |(server, view): (&ServerName, &crate::model::world::ServerView)| {
        (mine(server), view.effective_weight())
    };
    ratio(reading.servers.iter().map(weight))
}

/// The share settings lead to, as far as the engine can know: servers that are down do not count
/// unless all of their side are.
fn share_after(
    settings: &[(ServerName, ServerSetting)],
    known: Option<&BalancerReading>,
    mine: impl Fn(&ServerName) -> bool,
) -> f64 {
    let down = |server: &ServerName| {
        let view = known.and_then(|reading| reading.servers.get(server));
        view.is_some_and(|view| view.admin == Admin::Ready && !view.up)
    };
    let ready = || {
        settings
            .iter()
            .filter(|(_, setting)| setting.admin == Admin::Ready)
    };
    let all_down = |side: bool| {
        ready()
            .filter(|(s, _)| mine(s) == side)
            .all(|(s, _)| down(s))
    };
    let (mine_down, theirs_down) = (all_down(true), all_down(false));
    let counts = |server: &ServerName| match mine(server) {
        true => mine_down || !down(server),
        false => theirs_down || !down(server),
    };
    let weights = ready().filter(|(server, _)| counts(server));
    ratio(weights.map(|(server, setting)| (mine(server), u64::from(setting.weight))))
}

fn ratio(weights: impl Iterator<Item = (bool, u64)>) -> f64 {
    let (mut all, mut sum) = (0, 0);
    for (mine, weight) in weights {
        all += weight;
        sum += if mine { weight } else { 0 };
    }
    if all == 0 {
        0.0
    } else {
        sum as f64 * 100.0 / all as f64
    }
}
