//! Who has a session: how many there may be, and which of them are consoles.
//!
//! Must not know what sessions do.

use crate::model::Clean;
use crate::view::snapshot::Attached;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions, by arrival.
#[derive(Debug)]
pub(super) struct Roster {
    places_max: usize,
    places_per_uid_max: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next_id: u64,
    guests: BTreeMap<u64, Guest>,
}

/// Somebody who wants a session.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// Their user id.
    pub(super) uid: u32,
    /// How they show as attached; `None` for a command.
    pub(super) console: Option<Attached>,
}

/// A place on the roster, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    roster: Arc<Roster>,
    id: u64,
}

impl Roster {
    /// A roster with this many places, in all and for each uid.
    pub(super) fn new(places_max: usize, places_per_uid_max: usize) -> Arc<Self> {
        Arc::new(Self {
            places_max,
            places_per_uid_max,
            present: Mutex::default(),
        })
    }

    /// Gives a guest a place, or `None` when there is none left.
    pub(super) fn enter(roster: &Arc<Self>, guest: Guest) -> Option<Place> {
        let mut present = roster.lock();
        let of_uid = |other: &&Guest| other.uid == guest.uid;
        let same = present.guests.values().filter(of_uid).count();
        if present.guests.len() >= roster.places_max || same >= roster.places_per_uid_max {
            return None;
        }
        let id = present.next_id;
        present.next_id += 1;
        present.guests.insert(id, guest);
        let roster = Arc::clone(roster);
        Some(Place { roster, id })
    }

    /// Tells who is attached, oldest first. Changes are told in their order: no other one comes
    /// between the look and the end of `tell`, which must not block.
    pub(super) fn tell(&self, tell: impl FnOnce(Vec<Attached>)) {
        let present = self.lock();
        let consoles = present.guests.values();
        tell(consoles.filter_map(|guest| guest.console.clone()).collect());
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.lock().guests.remove(&self.id);
    }
}

/// How a console shows.
pub(super) fn attached(user: Clean, since_ms: u64) -> Attached {
    Attached { user, since_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(uid: u32) -> Guest {
        Guest { uid, console: None }
    }

    #[test]
    fn places_are_limited_in_all_and_by_user_and_come_back() {
        let roster = Roster::new(3, 2);
        let _ada = Roster::enter(&roster, guest(1)).expect("free");
        let ada_too = Roster::enter(&roster, guest(1)).expect("free");
        assert!(Roster::enter(&roster, guest(1)).is_none(), "her third");
        let _bob = Roster::enter(&roster, guest(2)).expect("free");
        assert!(Roster::enter(&roster, guest(3)).is_none(), "the fourth");
        drop(ada_too);
        assert!(Roster::enter(&roster, guest(3)).is_some());
    }

    #[test]
    fn only_consoles_are_attached_in_the_order_they_came() {
        let roster = Roster::new(8, 8);
        let console = |user: &str, at| Guest {
            uid: 1,
            console: Some(attached(user.into(), at)),
        };
        let places: Vec<_> = [console("ada", 5), guest(1), console("bob", 6)]
            .into_iter()
            .filter_map(|guest| Roster::enter(&roster, guest))
            .collect();
        let mut seen = Vec::new();
        roster.tell(|consoles| seen = consoles);
        let users: Vec<_> = seen.iter().map(|console| console.user.as_str()).collect();
        assert_eq!((users, places.len()), (vec!["ada", "bob"], 3));
    }
}
