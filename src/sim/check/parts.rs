//! What must hold of a part: it never runs ahead of the service that leads it, it is never left
//! behind, and it ends as that one does.

use super::Checks;
use super::records::expect;
use crate::model::state::InstanceStatus;
use crate::model::strategy::Strategy;
use crate::model::{
    Entry, Placement, PlacementState, Record, ReleaseId, Rollout, RolloutKind, Status,
};
use crate::sim::fleet::Fleet;
use crate::sim::run::Checked;

impl Checks {
    pub(in crate::sim) fn place_of(&self, placement: &Placement) -> Option<&PlacementState> {
        self.oracle.placements.get(placement)
    }

    /// The parts, as far as anything was ever begun there.
    pub(in crate::sim) fn parts(&self) -> impl Iterator<Item = &PlacementState> {
        let parts = self.spec.parts.iter();
        parts.filter_map(|part| self.place_of(&part.placement))
    }

    /// Remembers which parts a rollback left behind: it goes on without one that fails.
    pub(super) fn note_part(&mut self, placement: &Placement, record: &Record) {
        let Entry::RolloutFinished { status, .. } = &record.entry else {
            return;
        };
        let place = self.place_of(placement);
        let kind = place.and_then(|place| Some(place.rollout.as_ref()?.kind));
        match (status, kind) {
            (Status::Succeeded, Some(RolloutKind::Deploy | RolloutKind::Rollback)) => {
                self.left_behind.remove(placement);
            }
            (Status::Failed | Status::RolledBack, Some(RolloutKind::Rollback)) => {
                self.left_behind.insert(placement.clone());
            }
            _ => {}
        }
    }

    /// Whether a part's record may follow.
    pub(super) fn part_may_follow(&self, placement: &Placement, record: &Record) -> Checked {
        if let Entry::RolloutStarted { number, from, .. } = &record.entry {
            let place = self.place_of(placement);
            let open = place.is_some_and(|place| place.rollout.is_some());
            let stable = place.and_then(PlacementState::stable);
            expect(!open && *from == stable, "it may not begin")?;
            return expect(number.0 == self.oracle.rollouts + 1, "its number is taken");
        }
        let place = self.place_of(placement).ok_or("nothing was ever begun")?;
        let status = |server| place.instances.get(server).map(|there| &there.status);
        match &record.entry {
            Entry::InstanceIntended {
                server, release, ..
            } => {
                expect(status(server).is_none(), "the server is taken")?;
                self.may_replace(place, *release)
            }
            Entry::StopIntended { server, .. } => expect(
                matches!(status(server), Some(InstanceStatus::Draining { .. })),
                "it was not draining",
            ),
            Entry::InstanceStopped { server, .. } => expect(
                status(server) == Some(&InstanceStatus::Stopping),
                "it was not stopping",
            ),
            Entry::RolloutFinished { status, .. } => {
                let rollout = place.rollout.as_ref().ok_or("no rollout is open")?;
                self.may_end(rollout, *status)
            }
            _ => Ok(()),
        }
    }

    /// A new instance of a part stands only as far as the share of its lead goes; one of stable
    /// only where it lacks some.
    fn may_replace(&self, part: &PlacementState, release: ReleaseId) -> Checked {
        let stands = part.servers_of(release);
        let stands = stands.filter(|(_, there)| there.is_standing()).count();
        let forward = part.rollout.as_ref().filter(|open| !open.is_reverting());
        match forward {
            Some(open) if open.release == release => {
                let led = open.led_by.is_some() && open.kind == RolloutKind::Deploy;
                let most = self.asked_of(part, open);
                expect(!led || stands < most, "its lead has no such share")
            }
            Some(_) => Err("nobody needs it".to_owned()),
            None => {
                let lacks = part.stable() == Some(release) && stands < part.spec.instances as usize;
                expect(lacks, "nobody needs it")
            }
        }
    }

    /// New instances of a part that the present share of its lead asks for.
    fn asked_of(&self, part: &PlacementState, open: &Rollout) -> usize {
        let all = part.spec.instances as usize;
        let whole = matches!(part.spec.strategy, Strategy::Recreate(_)) || open.from.is_none();
        let lead = self.place().and_then(|lead| {
            let leading = lead.rollout.as_ref()?;
            (Some(leading.id) == open.led_by).then(|| lead.share(leading.release))
        });
        match lead {
            None => all,
            Some(share) if whole && share < 100 => 0,
            Some(share) => (usize::from(share) * all).div_ceil(100),
        }
    }

    fn may_end(&self, open: &Rollout, status: Status) -> Checked {
        if status != Status::Succeeded {
            return expect(open.is_reverting(), "it was not on the way back");
        }
        expect(!open.is_reverting(), "it was on the way back")?;
        let led = open.led_by.filter(|_| open.kind == RolloutKind::Deploy);
        let Some(led_by) = led else {
            return Ok(());
        };
        let last = self.place().and_then(|lead| lead.last.as_ref());
        let done = last.is_some_and(|last| last.id == led_by && last.status == Status::Succeeded);
        expect(done, "the one that leads it is not done")
    }

    /// Held where the lead takes its next share or ends: every part is where it must be.
    pub(super) fn parts_are_along(&self, lead: &Rollout) -> Checked {
        if lead.kind != RolloutKind::Deploy {
            return Ok(());
        }
        for part in self.parts() {
            let Some(open) = &part.rollout else {
                continue;
            };
            let up = part.servers_of(open.release);
            let up = up
                .filter(|(_, one)| one.status == InstanceStatus::Up)
                .count();
            expect(up >= self.asked_of(part, open), "a part is not there yet")?;
        }
        Ok(())
    }

    /// What of the parts is not settled yet, in words.
    pub(in crate::sim) fn parts_unsettled(&self, fleet: &Fleet) -> Option<String> {
        let lead = self.place().and_then(PlacementState::stable);
        self.parts().find_map(|part| {
            let name = &part.spec.placement;
            if let Some(open) = &part.rollout {
                return Some(format!("{name}: {:?}, hold {:?}", open.phase, open.hold));
            }
            let stable = part.stable();
            let with = stable.and_then(|id| part.releases.get(&id)?.part_of);
            if with != lead && !self.left_behind.contains(name) {
                return Some(format!("{name} is of {with:?}, its lead of {lead:?}"));
            }
            let runs = |(server, there): (_, &crate::model::state::Instance)| {
                let really = fleet.instances.get(server);
                let really =
                    really.is_some_and(|it| it.release == there.release && it.is_running());
                Some(there.release) == stable && there.status == InstanceStatus::Up && really
            };
            let crashes = stable.is_some_and(|id| fleet.traits(id).dies_after_ms.is_some());
            let whole = part.instances.len() == part.spec.instances as usize;
            let settled = crashes || part.instances.iter().all(runs) && (whole || stable.is_none());
            (!settled).then(|| format!("{name} stands with {:?}", part.instances))
        })
    }
}
