//! A rollout taken back by its number: only what runs can be.

use super::slots::{is_it, rollout};
use crate::history::RolloutRef;
use crate::model::{Clean, Placement, RolloutNumber, Status};
use crate::view::Snapshot;
use crate::view::snapshot::{PlacementView, Role};

/// Whether a rollout is the open one of a placement, or what it brought has the traffic.
///
/// # Errors
/// When it is neither: what would be taken back is another one.
pub(super) fn check(snapshot: &Snapshot, placement: &Placement, id: &str) -> Result<(), Clean> {
    let which = rollout(id)?;
    let view = snapshot.placement(placement);
    if view.is_some_and(|view| runs(view, which)) {
        return Ok(());
    }
    let now = view.and_then(|view| {
        let open = view.rollout.as_ref().map(|open| open.number);
        open.or_else(|| view.last.as_ref().map(|last| last.number))
    });
    let now = now.map_or_else(|| "nothing".to_owned(), |number| number.to_string());
    Err(Clean::new(&format!(
        "{id} is neither open on {placement} nor what has the traffic there (newest: {now}); \
         name the version to go to with rollback"
    )))
}

fn runs(view: &PlacementView, which: RolloutRef) -> bool {
    if let Some(open) = &view.rollout {
        return is_it(open, which);
    }
    let last = view.last.as_ref();
    let last = last.filter(|last| last.status == Status::Succeeded);
    match which {
        RolloutRef::Id(id) => last.is_some_and(|last| last.id == id),
        RolloutRef::Number(number) => {
            last.is_some_and(|last| last.number == number) || stands(view, number)
        }
    }
}

/// Whether the stable instances were begun by a rollout.
fn stands(view: &PlacementView, number: RolloutNumber) -> bool {
    let mut stable = view.instances.iter().filter(|row| row.role == Role::Stable);
    stable.any(|row| row.rollout == Some(number))
}
