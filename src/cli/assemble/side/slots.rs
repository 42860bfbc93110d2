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

pub(super) fn rollout(id: &str) -> Result<RolloutRef, Clean> {
    id.parse()
        .map_err(|error: RolloutRefError| Clean::new(&error.to_string()))
}

pub(super) fn is_it(open: &RolloutView, which: RolloutRef) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::stage::{Stage, server, soaking, spec, stable_with};
    use crate::model::strategy::{BlueGreen, Slots, Strategy};
    use crate::model::{RolloutNumber, Step};
    use crate::view;
    use crate::view::snapshot::EngineView;

    fn blue_green() -> ServiceSpec {
        ServiceSpec {
            strategy: Strategy::BlueGreen(BlueGreen {
                slots: Slots {
                    blue: vec![server(1), server(2)],
                    green: vec![server(3), server(4)],
                },
                switch: vec![Step {
                    weight_percent: 100,
                    soak_ms: 10_000,
                    pause: false,
                }],
                confirm: true,
            }),
            ..spec()
        }
    }

    fn snapshot(stage: &Stage) -> Snapshot {
        Snapshot {
            engine: EngineView {
                info: crate::model::input::EngineInfo {
                    version: "0.1.0".to_owned(),
                    pid: 1,
                    host: "test".into(),
                    config_hash: String::new(),
                },
                now_ms: 0,
                started_ms: 0,
                seq: 0,
                history_trouble: None,
                newer: false,
                consoles: Vec::new(),
                read_only: Vec::new(),
                timeline: Vec::new(),
            },
            placements: view::placements(&stage.state, &stage.world, &[]),
            runs: Vec::new(),
        }
    }

    #[track_caller]
    fn refused(asked: Result<Command, Clean>, says: &str) {
        let why = asked.expect_err("refused").to_string();
        assert!(why.contains(says), "{why}");
    }

    #[test]
    fn a_green_deploy_needs_a_green_slot() {
        assert!(only_with_slots(Box::new(blue_green())).is_ok());
        let why = only_with_slots(Box::new(spec())).expect_err("refused");
        assert!(why.as_str().contains("deployed by canary"), "{why}");
    }

    #[test]
    fn traffic_is_switched_only_to_the_rollout_that_is_open() {
        let mut stage = stable_with(blue_green());
        let placement = stage.placement();
        let asked = |stage: &Stage, id: &str| switch(&snapshot(stage), placement.clone(), id, 7);
        refused(asked(&stage, "#1"), "no open rollout");
        stage.deploy("v2");
        stage.until("it is ready", |stage| stage.held().is_some());
        refused(asked(&stage, "#1"), "#2 is open on shop@prod, not #1");
        refused(asked(&stage, "green"), "names no rollout");
        for id in ["#2".to_owned(), stage.rollout().id.to_string()] {
            let Ok(Command::Promote { revision: 7, .. }) = asked(&stage, &id) else {
                panic!("{id}");
            };
        }
        let canary = soaking();
        refused(asked(&canary, "#2"), "no slots; use promote");
    }

    #[test]
    fn what_stands_in_no_slot_is_told_with_what_does() {
        let stage = stable_with(blue_green());
        let slots = snapshot(&stage).placements.remove(0).slots;
        let slots = slots.expect("slots");
        assert!(stands(&slots, RolloutNumber(1)));
        assert!(!stands(&slots, RolloutNumber(9)));
        assert_eq!(held(&slots), "blue holds #1, green holds nothing known");
    }
}
