//! What must become true in time, while the engine can act and the world answers.

use super::effects::intended;
use super::{Checks, POINTS};
use crate::model::state::InstanceStatus;
use crate::model::{BalancerName, Command, PlacementState, ServerName};
use crate::sim::balancer::FakeBalancer;
use crate::sim::balancers::Balancers;
use crate::sim::fleet::Fleet;
use crate::sim::run::Checked;

/// A share above the intent is corrected within this time.
const ABOVE_MS: u64 = 4_000;
/// An abort is carried out within this time.
const ABORT_MS: u64 = 4_000;
/// An abort is answered within this time, whatever the disk does.
const ABORT_ANSWER_MS: u64 = 1_000;
/// Any other command is answered within this time.
const ANSWER_MS: u64 = 9_000;
/// A failed instance of the new release takes it back within this time.
const FAILED_MS: u64 = 6_000;

impl Checks {
    pub(in crate::sim) fn watch(
        &mut self,
        able: bool,
        balancers: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        if let Some(found) = self.remembered.take() {
            return Err(found);
        }
        if !able {
            self.able_ms = None;
            return Ok(());
        }
        let able_ms = *self.able_ms.get_or_insert(now_ms);
        self.answers(able_ms, now_ms)?;
        for name in balancers.names() {
            self.above(able_ms, &name, balancers.get(&name), fleet, now_ms)?;
            self.abort(able_ms, &name, balancers.get(&name), fleet, now_ms)?;
        }
        let (canary, _) = self.highest(balancers);
        if canary == 0.0 || self.place().is_none_or(|place| place.rollout.is_none()) {
            self.aborted_ms = None;
        }
        self.failed(able_ms, now_ms)
    }

    fn answers(&self, able_ms: u64, now_ms: u64) -> Checked {
        for (request, question) in &self.questions {
            let limit_ms = match question.command {
                Command::Abort { .. } => ABORT_ANSWER_MS,
                _ => ANSWER_MS,
            };
            if question.asked_ms.max(able_ms) + limit_ms < now_ms {
                return Err(format!(
                    "{} {request} is not answered",
                    question.command.verb()
                ));
            }
        }
        Ok(())
    }

    /// The share in percent of the new release, and of what should have none.
    fn shares(&self, balancer: &FakeBalancer) -> (f64, f64) {
        let place = self.place();
        let release = |server: &ServerName| Some(place?.instances.get(server)?.release);
        let canary = place.and_then(PlacementState::canary);
        let stable = place.and_then(PlacementState::stable);
        let mine = |server: &ServerName| canary.is_some() && release(server) == canary;
        let foreign = |server: &ServerName| {
            let release = release(server);
            release.is_none() || (release != canary && release != stable)
        };
        (
            balancer.share(mine).unwrap_or(0.0),
            balancer.share(foreign).unwrap_or(0.0),
        )
    }

    /// The highest of these shares over all balancers.
    fn highest(&self, balancers: &Balancers) -> (f64, f64) {
        let shares = balancers.all().map(|one| self.shares(one));
        shares.fold((0.0, 0.0), |most, (canary, foreign)| {
            (most.0.max(canary), most.1.max(foreign))
        })
    }

    fn stable_serves(&self, fleet: &Fleet, now_ms: u64) -> bool {
        let stable = self.place().and_then(PlacementState::stable);
        self.place().is_some_and(|place| {
            let mut all = place.instances.iter();
            all.any(|(server, there)| Some(there.release) == stable && fleet.serves(server, now_ms))
        })
    }

    fn above(
        &mut self,
        able_ms: u64,
        name: &BalancerName,
        balancer: &FakeBalancer,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        let Some(place) = self.place() else {
            return Ok(());
        };
        if place.weight.is_none() {
            return Ok(());
        }
        let intended = intended(place);
        let (canary, foreign) = self.shares(balancer);
        // Where stable is down the canary serves alone, whatever the weights say.
        let alone = place.stable().is_some() && !self.stable_serves(fleet, now_ms);
        if alone || (canary <= intended + POINTS && foreign <= POINTS) {
            self.above_ms.remove(name);
            return Ok(());
        }
        let since_ms = *self.above_ms.entry(name.clone()).or_insert(now_ms);
        let since_ms = since_ms.max(self.free_ms(Some(name), able_ms));
        match since_ms + ABOVE_MS < now_ms {
            true => Err(format!(
                "the share on {name} stays at {canary:.0} % (others {foreign:.0} %) instead of {intended} %"
            )),
            false => Ok(()),
        }
    }

    fn abort(
        &mut self,
        able_ms: u64,
        name: &BalancerName,
        balancer: &FakeBalancer,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        let Some(aborted_ms) = self.aborted_ms else {
            return Ok(());
        };
        let open = self.place().is_some_and(|place| place.rollout.is_some());
        let (canary, _) = self.shares(balancer);
        if !open || canary == 0.0 {
            return Ok(());
        }
        // Stable may have to be brought up first.
        let extra_ms = if self.stable_serves(fleet, now_ms) {
            0
        } else {
            self.spec.health.start_timeout_ms
        };
        let free_ms = self.free_ms(Some(name), able_ms);
        let since_ms = aborted_ms.max(free_ms).max(self.flux_ms);
        match since_ms + ABORT_MS + extra_ms < now_ms {
            true => Err(format!(
                "aborted, and the share on {name} stays at {canary:.0} %"
            )),
            false => Ok(()),
        }
    }

    fn failed(&mut self, able_ms: u64, now_ms: u64) -> Checked {
        let failed = self.place().is_some_and(|place| {
            let rollout = place
                .rollout
                .as_ref()
                .filter(|rollout| !rollout.is_reverting());
            let mut all = place.instances.values();
            rollout.is_some_and(|rollout| {
                all.any(|i| {
                    i.release == rollout.release
                        && matches!(i.status, InstanceStatus::Failed { .. })
                })
            })
        });
        if !failed || self.appending || self.disk_broken {
            self.failed_ms = None;
            return Ok(());
        }
        let newest_ms = self.call_failed_ms.values().max().copied().unwrap_or(0);
        let since_ms = *self.failed_ms.get_or_insert(now_ms);
        let since_ms = since_ms.max(able_ms).max(newest_ms);
        match since_ms + FAILED_MS < now_ms {
            true => Err("an instance of the new release failed and nothing happens".to_owned()),
            false => Ok(()),
        }
    }
}
