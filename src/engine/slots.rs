//! Blue and green: which slot is live is read from the balancers, never guessed.

use super::look::Look;
use crate::model::strategy::{Slot, Slots};
use crate::model::world::BalancerReading;
use crate::model::{Clean, ReleaseId, ServerName};
use std::collections::BTreeSet;

/// The slots whose servers get traffic by one reading.
pub fn with_traffic(reading: &BalancerReading, slots: &Slots) -> BTreeSet<Slot> {
    let serving = |server: &&ServerName| {
        let view = reading.servers.get(*server);
        view.is_some_and(|view| view.effective_weight() > 0)
    };
    let mut both = Slot::BOTH.into_iter();
    let live = |slot: &Slot| slots.servers(*slot).iter().any(|server| serving(&server));
    both.by_ref().filter(live).collect()
}

/// The slot that has the traffic on every balancer; `None` where none has any.
///
/// # Errors
/// Both have, or the balancers differ: the sentence that says so.
pub fn live<'a>(
    readings: impl IntoIterator<Item = &'a BalancerReading>,
    slots: &Slots,
) -> Result<Option<Slot>, Clean> {
    let seen = readings.into_iter();
    let serving: BTreeSet<Slot> = seen.flat_map(|one| with_traffic(one, slots)).collect();
    let mut serving = serving.into_iter();
    match (serving.next(), serving.next()) {
        (live, None) => Ok(live),
        _ => Err("both slots have traffic".into()),
    }
}

/// The slot a release stands in, by the records.
pub fn of(look: &Look<'_>, slots: &Slots, release: ReleaseId) -> Option<Slot> {
    let mut servers = look.place.servers_of(release);
    servers.find_map(|(server, _)| slots.of(server))
}

/// The slot a release is to stand in: where it stands already, else the one that is not live; where
/// none is, as with a balancer that forgot its weights, the one where stable does not stand. `None`
/// while the balancers do not say which that is.
pub(super) fn destination(look: &Look<'_>, slots: &Slots, release: ReleaseId) -> Option<Slot> {
    if let Some(there) = of(look, slots, release) {
        return Some(there);
    }
    let readings = look.readings()?;
    let live = live(readings.into_iter().map(|(_, reading)| reading), slots).ok()?;
    let stable = look.place.stable().and_then(|id| of(look, slots, id));
    let idle = live.or(stable).map_or(Slot::Blue, Slot::other);
    (Some(idle) != stable).then_some(idle)
}

/// Whether the balancers show no traffic in the slot a release stands in.
pub(super) fn is_idle(look: &Look<'_>, slots: &Slots, release: ReleaseId) -> bool {
    let (Some(slot), Some(readings)) = (of(look, slots, release), look.readings()) else {
        return false;
    };
    let mut readings = readings.iter();
    readings.all(|(_, reading)| !with_traffic(reading, slots).contains(&slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::stage::server;
    use crate::model::verdict::Counters;
    use crate::model::world::{Admin, ServerView};

    fn slots() -> Slots {
        Slots {
            blue: vec![server(1), server(2)],
            green: vec![server(3), server(4)],
        }
    }

    fn reading(weights: [u16; 4]) -> BalancerReading {
        let view = |weight| ServerView {
            admin: Admin::Ready,
            weight,
            up: true,
            sessions: 0,
            counters: Counters::default(),
        };
        let servers = weights.into_iter().enumerate();
        BalancerReading {
            servers: servers
                .map(|(at, weight)| (server(at + 1), view(weight)))
                .collect(),
            ..BalancerReading::default()
        }
    }

    #[test]
    fn the_live_slot_is_the_one_with_traffic_on_every_balancer() {
        let (blue, green) = (reading([100, 0, 0, 0]), reading([0, 0, 0, 7]));
        assert_eq!(live([&blue, &blue], &slots()), Ok(Some(Slot::Blue)));
        assert_eq!(live([&green], &slots()), Ok(Some(Slot::Green)));
        assert_eq!(live([&reading([0; 4])], &slots()), Ok(None));
        assert!(
            live([&blue, &green], &slots()).is_err(),
            "two balancers differ"
        );
        assert!(live([&reading([1, 0, 1, 0])], &slots()).is_err());
    }
}
