//! Which record may follow which: legal transitions, held at the moment a record is durable.

use super::Checks;
use super::effects::{intended, share_of};
use crate::model::entry::{IdleProof, WeightReason};
use crate::model::state::{EvidenceStatus, HoldReason, InstanceStatus};
use crate::model::verdict::VerdictClass;
use crate::model::world::BalancerReading;
use crate::model::{
    Actor, Entry, Phase, PlacementState, Record, ReleaseId, Rollout, RolloutKind, ServerName,
    Status, Strategy,
};
use crate::sim::balancers::Balancers;
use crate::sim::fleet::Fleet;
use crate::sim::mutation::{Mutation, fold};
use crate::sim::run::Checked;

impl Checks {
    /// A record is durable.
    pub(in crate::sim) fn durable(
        &mut self,
        record: &Record,
        balancer: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        let illegal =
            |why: String| format!("record {} ({}): {why}", record.seq, record.entry.kind());
        if record.entry.run().is_some() {
            self.run_may_follow(record).map_err(illegal)?;
            fold(&mut self.oracle, record, self.mutation);
            return Ok(());
        }
        if let Some(part) = record.entry.placement().filter(|at| **at != self.at) {
            self.part_may_follow(part, record).map_err(illegal)?;
            self.note_part(part, record);
            fold(&mut self.oracle, record, self.mutation);
            return Ok(());
        }
        match &record.entry {
            Entry::EngineStarted { .. }
            | Entry::HistoryGap { .. }
            | Entry::ConfigReloaded { .. }
            | Entry::LeaseTaken { .. }
            | Entry::Refused { .. } => {}
            Entry::RolloutStarted { number, from, .. } => {
                let place = self.place();
                let open = place.is_some_and(|place| place.rollout.is_some());
                let stable = place.and_then(PlacementState::stable);
                if open || number.0 != self.oracle.rollouts + 1 || *from != stable {
                    return Err(illegal("it may not begin".to_owned()));
                }
            }
            Entry::Unknown => return Err(illegal("it cannot be read".to_owned())),
            entry => {
                let Some(place) = self.place() else {
                    return Err(illegal("nothing was ever begun".to_owned()));
                };
                self.may_follow(place, record, entry, balancer, fleet, now_ms)
                    .map_err(illegal)?;
            }
        }
        self.note_rollout(record).map_err(illegal)?;
        self.note(record);
        let (before, soak_ms) = (self.key(), self.soak_ms());
        let revision = self.revision();
        fold(&mut self.oracle, record, self.mutation);
        if self.soak_ms() != soak_ms {
            self.soak_answered = self.answered;
        }
        match before.is_some()
            && self.key().is_some()
            && self.key() != before
            && self.revision() <= revision
        {
            true => Err(illegal(
                "what a command would do changed, the revision did not".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Since when the soak goes on.
    fn soak_ms(&self) -> Option<u64> {
        match self.place()?.rollout.as_ref()?.phase {
            Phase::Soaking { since_ms } => Some(since_ms),
            _ => None,
        }
    }

    /// What a command would do depends on this.
    fn key(&self) -> Option<String> {
        let place = self.place()?;
        let rollout = place.rollout.as_ref()?;
        let phase = std::mem::discriminant(&rollout.phase);
        let held = rollout
            .hold
            .as_ref()
            .map(|hold| std::mem::discriminant(&hold.why));
        let intent = place
            .weight
            .as_ref()
            .map(|weight| (weight.id, &weight.shares));
        Some(format!(
            "{phase:?} {held:?} {intent:?} {} {:?}",
            rollout.step,
            rollout.verdict_class()
        ))
    }

    /// Remembers what the state does not hold.
    fn note(&mut self, record: &Record) {
        match &record.entry {
            Entry::Resumed { .. } => self.held_by_person = false,
            Entry::RolloutFinished {
                status: Status::Succeeded,
                ..
            } => {
                let from = self.place().and_then(|place| place.rollout.as_ref()?.from);
                self.warm_since_ms.clear();
                self.warm_since_ms
                    .extend(from.map(|from| (from, record.at_ms)));
            }
            Entry::RetireIntended { release, .. } => {
                self.hurried.insert(*release);
            }
            Entry::Held {
                why: HoldReason::Person { .. },
                ..
            } => self.held_by_person = true,
            Entry::Promoted { .. } => self.promoted_by_person = true,
            Entry::EngineStarted { .. } => self.engine_seq = record.seq,
            Entry::Scaled { instances, .. } => self.scaled = Some(*instances),
            Entry::RolloutStarted { spec, .. } => {
                self.scaled = Some(spec.instances);
                self.held_by_person = false;
                self.promoted_by_person = false;
            }
            _ => {}
        }
    }

    fn may_follow(
        &self,
        place: &PlacementState,
        record: &Record,
        entry: &Entry,
        balancer: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        match entry {
            Entry::InstanceIntended { .. }
            | Entry::InstanceFound { .. }
            | Entry::InstanceUp { .. }
            | Entry::InstanceFailed { .. }
            | Entry::EvidenceKept { .. }
            | Entry::DrainBegun { .. }
            | Entry::InstanceQuieted { .. }
            | Entry::StopIntended { .. }
            | Entry::InstanceStopped { .. } => {
                self.instance(place, record, balancer, fleet, now_ms)
            }
            Entry::RetireIntended { release, .. } => {
                let needed = place.stable() == Some(*release) || place.canary() == Some(*release);
                expect(!needed, "it is needed")
            }
            Entry::WeightSettled { .. }
            | Entry::DriftFound { .. }
            | Entry::ServerDrained { .. }
            | Entry::ServerUndrained { .. } => Ok(()),
            Entry::Scaled { .. } => expect(place.rollout.is_none(), "a rollout is open"),
            _ => {
                let rollout = place.rollout.as_ref().ok_or("no rollout is open")?;
                self.in_rollout(place, rollout, record, balancer, fleet)
            }
        }
    }

    fn instance(
        &self,
        place: &PlacementState,
        record: &Record,
        balancer: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        let status = |server: &ServerName| place.instances.get(server).map(|there| &there.status);
        match &record.entry {
            Entry::InstanceIntended {
                server, release, ..
            } => {
                expect(!place.instances.contains_key(server), "the server is taken")?;
                self.may_stand(place, server, *release, balancer, now_ms)
            }
            Entry::InstanceFound { server, .. } => {
                expect(!place.instances.contains_key(server), "the server is taken")
            }
            Entry::InstanceUp { server, .. } => expect(
                self.after_gap || status(server) == Some(&InstanceStatus::Starting),
                "it was not starting",
            ),
            Entry::InstanceFailed { server, .. } => {
                let begun = matches!(
                    status(server),
                    Some(InstanceStatus::Starting | InstanceStatus::Up)
                );
                expect(self.after_gap || begun, "it was not running")
            }
            Entry::DrainBegun { server, .. } => {
                let there = place.instances.get(server).ok_or("nothing is there")?;
                let needed = [place.stable(), place.canary()].contains(&Some(there.release));
                match needed {
                    true => self.replace(place, server, balancer, fleet, now_ms),
                    false => self.drain(place, server, record.at_ms),
                }
            }
            Entry::EvidenceKept {
                server, release, ..
            } => {
                let there = place.instances.get(server).ok_or("nothing is there")?;
                expect(there.release == *release, "it is another release's")?;
                expect(
                    there.evidence == EvidenceStatus::Wanted,
                    "nobody failed, or it is kept already",
                )
            }
            Entry::StopIntended { server, proof, .. } => {
                let there = place.instances.get(server).ok_or("nothing is there")?;
                let draining = matches!(there.status, InstanceStatus::Draining { .. });
                expect(draining, "it was not draining")?;
                let (weight, sessions) = balancer.load(server, now_ms);
                let due_ms = there.since_ms + self.spec.canary.drain_timeout_ms;
                match proof {
                    IdleProof::Idle if now_ms > self.flux_ms => {
                        expect((weight, sessions) == (0, 0), "it is not idle")
                    }
                    IdleProof::Ended if now_ms > self.flux_ms => {
                        let there = fleet.instances.get(server);
                        let runs = there.is_some_and(|there| there.is_running());
                        // A start that nobody heard of yet may arrive at this very moment.
                        expect(!runs || self.is_under_way(server), "it still runs")
                    }
                    IdleProof::Timeout => expect(record.at_ms >= due_ms, "its time is not over"),
                    _ => Ok(()),
                }
            }
            Entry::InstanceStopped { server, .. } => {
                expect(
                    status(server) == Some(&InstanceStatus::Stopping),
                    "it was not stopping",
                )?;
                let gone = !fleet.instances.contains_key(server);
                let moving = now_ms <= self.flux_ms || self.is_under_way(server);
                expect(gone || moving, "it still runs")
            }
            _ => Ok(()),
        }
    }

    /// An instance is begun for the rollout, or for stable where it lacks some; never in a slot that
    /// has traffic, and never beside another release where only one may run.
    fn may_stand(
        &self,
        place: &PlacementState,
        server: &ServerName,
        release: ReleaseId,
        balancers: &Balancers,
        now_ms: u64,
    ) -> Checked {
        let open = place.rollout.as_ref().filter(|open| !open.is_reverting());
        let forward = open.is_some();
        let for_it = open.is_some_and(|open| open.release == release);
        let servers = place.servers_of(release);
        let stands = servers.filter(|(_, there)| there.is_standing()).count();
        let lacks = place.stable() == Some(release) && stands < place.spec.instances as usize;
        expect(for_it || lacks && !forward, "nobody needs it")?;
        let alone = matches!(self.spec.strategy, Strategy::Recreate(_));
        let mut others = place.instances.values();
        let beside = others.any(|there| there.release != release);
        expect(!(alone && beside), "another release stands there still")?;
        let Some(slots) = self.spec.strategy.slots().filter(|_| forward) else {
            return Ok(());
        };
        let slot = slots.of(server).ok_or("it is in no slot")?;
        let mut weights = slots
            .servers(slot)
            .iter()
            .map(|one| balancers.load(one, now_ms).0);
        let live = now_ms > self.flux_ms && weights.any(|weight| weight > 0);
        expect(!live || place.share(release) > 0, "its slot is live")
    }

    /// An instance that is needed may go where others were begun in its place, or are too many.
    fn replace(
        &self,
        place: &PlacementState,
        server: &ServerName,
        balancers: &Balancers,
        fleet: &Fleet,
        now_ms: u64,
    ) -> Checked {
        let Some(rollout) = &place.rollout else {
            let all = place.instances.values();
            let stand = all.filter(|there| there.is_standing()).count();
            return expect(stand > place.spec.instances as usize, "it is stable");
        };
        let mine = place.instances.get(server).map(|there| there.release) == Some(rollout.release);
        if rollout.is_reverting() {
            return expect(
                mine && Some(rollout.release) != place.stable(),
                "stable is needed",
            );
        }
        let least = match (&self.spec.strategy, rollout.kind) {
            (Strategy::Recreate(_), _) => 0,
            (Strategy::Rolling(settings), _) => place
                .spec
                .instances
                .saturating_sub(settings.max_unavailable),
            (_, RolloutKind::Restart) => place.spec.instances.saturating_sub(1),
            _ => return Err("nothing replaces it".to_owned()),
        };
        let serves = |other: &&ServerName| {
            *other != server && fleet.serves(other, now_ms) && balancers.load(other, now_ms).0 > 0
        };
        let serving = place.instances.keys().filter(serves).count();
        // What was down or out already serves nobody.
        let serves_itself = serves(&server) || balancers.load(server, now_ms).0 > 0;
        let enough = serving >= least as usize || !serves_itself || now_ms <= self.flux_ms;
        expect(enough, "too few would serve")
    }

    fn drain(&self, place: &PlacementState, server: &ServerName, at_ms: u64) -> Checked {
        let there = place.instances.get(server).ok_or("nothing is there")?;
        let release = there.release;
        expect(place.stable() != Some(release), "it is stable")?;
        expect(place.canary() != Some(release), "it is the rollout's")?;
        expect(place.share(release) == 0, "it has a share")?;
        let warm_ms = self
            .warm_since_ms
            .get(&release)
            .filter(|_| !self.hurried.contains(&release));
        let warm_ms = warm_ms.filter(|_| self.spec.strategy.stands_beside());
        let due_ms = warm_ms.map_or(0, |since_ms| since_ms + self.spec.canary.keep_warm_ms);
        expect(at_ms >= due_ms, "it was to be kept warm")
    }

    /// Whether the judge must be convinced, and not only unopposed.
    fn is_convinced(&self, rollout: &Rollout) -> bool {
        self.spec.strategy.stands_beside() && rollout.kind.is_judged()
    }

    /// Held at the moment of the decision: the balancer was seen to show it.
    pub(super) fn weight_settled(&self, id: u64, now_ms: u64) -> Checked {
        let Some(place) = self.place().filter(|_| !self.after_gap) else {
            return Ok(());
        };
        let intent = place.weight.as_ref().filter(|weight| weight.id == id);
        expect(intent.is_some(), "it is not the newest intent")?;
        let Some(canary) = place.canary() else {
            return Ok(());
        };
        let there = |server: &ServerName| place.instances.get(server);
        let mine = |server: &ServerName| there(server).is_some_and(|i| i.release == canary);
        let calm = now_ms > self.flux_ms && self.nobody_failed(place, canary);
        let shows = |(reading, _): &(BalancerReading, u64)| {
            let off = share_of(reading, mine) - intended(place);
            off <= super::POINTS && (off >= -super::POINTS || !calm)
        };
        let all = self.heard.len() == self.spec.balancers.len();
        expect(all, "a balancer was not heard")?;
        expect(
            self.heard.values().all(shows),
            "a balancer does not show it",
        )
    }

    fn nobody_failed(&self, place: &PlacementState, canary: crate::model::ReleaseId) -> bool {
        let mut mine = place.servers_of(canary);
        mine.all(|(_, there)| there.status == InstanceStatus::Up)
    }

    fn in_rollout(
        &self,
        place: &PlacementState,
        rollout: &Rollout,
        record: &Record,
        balancer: &Balancers,
        fleet: &Fleet,
    ) -> Checked {
        let held = rollout.hold.is_some() && self.mutation != Some(Mutation::HoldIgnored);
        match &record.entry {
            Entry::WeightIntended { shares, reason, .. } => {
                let sum: u32 = shares.values().map(|share| u32::from(*share)).sum();
                expect(
                    sum == 100 || (sum == 0 && rollout.from.is_none()),
                    "the shares do not sum to 100",
                )?;
                expect(
                    rollout.is_reverting() == (*reason == WeightReason::Revert),
                    "wrong way",
                )?;
                let (now, next) = (
                    place.share(rollout.release),
                    shares.get(&rollout.release).copied().unwrap_or(0),
                );
                if *reason == WeightReason::Revert {
                    let same = rollout.from == Some(rollout.release);
                    return expect(next == 0 || same, "it goes back to more than nothing");
                }
                expect(next >= now, "it goes forward to less")?;
                let all_up = place
                    .servers_of(rollout.release)
                    .filter(|(_, i)| {
                        !matches!(
                            i.status,
                            InstanceStatus::Draining { .. } | InstanceStatus::Stopping
                        )
                    })
                    .all(|(_, i)| i.status == InstanceStatus::Up);
                let by_batches = rollout.is_by_batches(&place.spec);
                expect(all_up || by_batches, "an instance is not up")?;
                self.raise(place, rollout, record, reason, next)
            }
            Entry::StepPassed { verdict, .. } => {
                expect(
                    verdict.class == VerdictClass::Pass || !self.is_convinced(rollout),
                    "its verdict is no pass",
                )?;
                expect(!held && !self.held_by_person, "it is held")?;
                if !self.is_convinced(rollout) {
                    return expect(verdict.class != VerdictClass::Fail, "its verdict is fail");
                }
                let answered = balancer.answered(rollout.release) - self.soak_answered;
                let enough = answered * 10 >= self.spec.canary.min_requests * 9;
                expect(enough, "too few requests were answered")?;
                expect(
                    matches!(rollout.phase, Phase::Soaking { .. }),
                    "it was not soaking",
                )
            }
            Entry::Resumed { .. } if record.actor == Actor::Engine => {
                let hold = rollout.hold.as_ref().map(|hold| &hold.why);
                expect(
                    matches!(
                        hold,
                        Some(HoldReason::NoData | HoldReason::OutOfSight { .. })
                    ) || self.mutation.is_some(),
                    "the engine resumed",
                )
            }
            Entry::AbortRequested { .. } => {
                expect(record.actor != Actor::Engine, "the engine aborted")
            }
            Entry::RolloutFinished { status, .. } => self.finished(place, rollout, *status, fleet),
            _ => Ok(()),
        }
    }

    fn raise(
        &self,
        place: &PlacementState,
        rollout: &Rollout,
        record: &Record,
        reason: &WeightReason,
        percent: u8,
    ) -> Checked {
        let by_engine = record.actor == Actor::Engine;
        let deploys = rollout.kind.is_judged();
        match reason {
            WeightReason::Step { .. } => {
                let steps = deploys || !self.spec.strategy.stands_beside();
                expect(
                    by_engine && steps && !self.held_by_person,
                    "a step nobody may take",
                )?;
                let share = place.share(rollout.release);
                let steps = rollout.steps(&place.spec);
                let mut percents = steps.iter().map(|step| step.weight_percent);
                let next = percents.find(|percent| *percent > share);
                expect(next == Some(percent), "it is not the next step")?;
                self.parts_are_along(rollout)
            }
            WeightReason::Promotion { .. } => expect(!by_engine, "the engine promoted"),
            WeightReason::Rollback => expect(!deploys && percent == 100, "it is no rollback"),
            WeightReason::Revert => Ok(()),
        }
    }

    fn finished(
        &self,
        place: &PlacementState,
        rollout: &Rollout,
        status: Status,
        fleet: &Fleet,
    ) -> Checked {
        let intent = place.weight.as_ref();
        let settled = intent.is_some_and(|intent| intent.settled.is_some());
        expect(settled, "its weight is not settled")?;
        if status != Status::Succeeded {
            expect(rollout.is_reverting(), "it was not on the way back")?;
            let lost = if rollout.had_traffic {
                Status::RolledBack
            } else {
                Status::Failed
            };
            return expect(status == lost, "its status is wrong");
        }
        expect(!rollout.is_reverting(), "it was on the way back")?;
        expect(
            place.share(rollout.release) == 100,
            "it has not all traffic",
        )?;
        self.parts_are_along(rollout)?;
        let judged = self.is_convinced(rollout) && !self.promoted_by_person;
        let bad = fleet.traits(rollout.release).is_bad();
        expect(!(judged && bad), "a bad release passed")
    }
}

pub(super) fn expect(holds: bool, otherwise: &str) -> Checked {
    match holds {
        true => Ok(()),
        false => Err(otherwise.to_owned()),
    }
}
