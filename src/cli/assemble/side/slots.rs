//! What is asked by slot: a deploy into the idle one, the switch to it, and how both stand.

use super::Side;
use crate::history::{RolloutRef, RolloutRefError};
use crate::link::wire::Reply;
use crate::model::command::{Command, PromoteTo};
use crate::model::{Clean, Placement, RolloutNumber, ServiceSpec};
use crate::view::Snapshot;
use crate::view::snapshot::{RolloutView, SlotsView};

/// A service's settings, where its strategy is blue-green.
///
/// # Errors
/// When it is another one.
pub(super) fn only_with_slots(spec: Box<ServiceSpec>) -> Result<Box<ServiceSpec>, Clean> {
    match spec.strategy.slots() {
        Some(_) => Ok(spec),
        None => Err(Clean::new(&format!(
            "{} is deployed by {}, which has no green slot; use deploy",
            spec.placement,
            spec.strategy.word()
        ))),
    }
}

/// The promotion of the rollout that stands in the slot to be switched to.
///
/// # Errors
/// When that rollout is not the open one there, or has no slot.
pub(super) fn switch(
    snapshot: &Snapshot,
    placement: Placement,
    green_id: &str,
    revision: u64,
) -> Result<Command, Clean> {
    let which = rollout(green_id)?;
    let view = snapshot.placement(&placement);
    let open = view.and_then(|view| view.rollout.as_ref());
    let named = open.is_some_and(|open| is_it(open, which));
    let slots = view.is_some_and(|view| view.slots.is_some());
    let why = match (open, named, slots) {
        (Some(_), true, true) => {
            return Ok(Command::Promote {
                placement,
                to: PromoteTo::Next,
                revision,
            });
        }
        (None, ..) => format!("{placement} has no open rollout: there is nothing to switch to"),
        (Some(open), false, _) => format!("{} is open on {placement}, not {green_id}", open.number),
        (Some(_), true, false) => format!("{placement} has no slots; use promote"),
    };
    Err(Clean::new(&why))
}

fn rollout(id: &str) -> Result<RolloutRef, Clean> {
    id.parse()
        .map_err(|error: RolloutRefError| Clean::new(&error.to_string()))
}

fn is_it(open: &RolloutView, which: RolloutRef) -> bool {
    match which {
        RolloutRef::Number(number) => open.number == number,
        RolloutRef::Id(id) => open.id == id,
    }
}

impl Side {
    /// How the two slots stand that these rollouts filled.
    pub(super) async fn monitor(
        &self,
        placement: &Placement,
        ids: [&str; 2],
    ) -> Result<Reply, Clean> {
        let snapshot = self.handle.snapshots().borrow().clone();
        let view = snapshot.placement(placement);
        let slots = view.and_then(|view| view.slots.clone()).ok_or_else(|| {
            Clean::new(&format!(
                "{placement} has no blue and green slots; ask for its status"
            ))
        })?;
        let open = view.and_then(|view| view.rollout.clone());
        for id in ids {
            let number = self.number(id).await?;
            let opening = open.as_ref().is_some_and(|open| open.number == number);
            if !opening && !stands(&slots, number) {
                let text = format!(
                    "{number} stands in no slot of {placement}: {}",
                    held(&slots)
                );
                return Err(Clean::new(&text));
            }
        }
        Ok(Reply::BlueGreen {
            slots: Box::new(slots),
            rollout: open.map(Box::new),
        })
    }

    async fn number(&self, id: &str) -> Result<RolloutNumber, Clean> {
        let which = match rollout(id)? {
            RolloutRef::Number(number) => return Ok(number),
            which => which,
        };
        let row = self.read(move |reader| reader.find(which)).await?;
        let unknown = || Clean::new(&format!("the history knows no rollout {id}"));
        row.map(|row| row.number).ok_or_else(unknown)
    }
}

fn stands(slots: &SlotsView, number: RolloutNumber) -> bool {
    slots.slots.iter().any(|slot| slot.rollout == Some(number))
}

/// `blue holds #7, green nothing`.
fn held(slots: &SlotsView) -> String {
    let texts = slots.slots.iter().map(|slot| match slot.rollout {
        Some(number) => format!("{} holds {number}", slot.slot),
        None => format!("{} holds nothing known", slot.slot),
    });
    texts.collect::<Vec<_>>().join(", ")
}
