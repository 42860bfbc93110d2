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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::stage::{Stage, spec, stable_with};
    use crate::view;

    #[track_caller]
    fn which(stage: &Stage, id: &str) -> bool {
        let view = view::placements(&stage.state, &stage.world, &[]).remove(0);
        runs(&view, id.parse().expect("a rollout"))
    }

    #[test]
    fn only_what_is_open_or_has_the_traffic_is_taken_back() {
        let mut stage = stable_with(spec());
        assert!(which(&stage, "#1") && !which(&stage, "#2"));
        stage.deploy("v2");
        stage.until("the first soak", Stage::is_soaking);
        let id = stage.rollout().id.to_string();
        assert!(which(&stage, "#2") && which(&stage, &id) && !which(&stage, "#1"));
        stage.until("v2 is verified", |stage| !stage.is_open());
        assert!(which(&stage, "#2") && which(&stage, &id) && !which(&stage, "#1"));
        stage.deploy("v3");
        stage.until("the first soak", Stage::is_soaking);
        stage.abort().expect("it is taken");
        stage.until("the end", |stage| !stage.is_open());
        assert!(!which(&stage, "#3"), "it was taken back already");
        assert!(which(&stage, "#2"), "what it brought has the traffic still");
    }
}
