//! What screens show of each strategy, from scenarios of the engine.

use super::snapshot::*;
use super::{name_switchers, placements, timeline_row};
use crate::engine::tests::stage::{Stage, server, spec, stable_with};
use crate::model::command::{Command, PromoteTo};
use crate::model::input::EngineInfo;
use crate::model::service::Step;
use crate::model::strategy::{BlueGreen, Recreate, Rolling, Slot, Slots, Strategy};
use crate::model::{Actor, Record, ServiceSpec};

fn view(stage: &Stage) -> PlacementView {
    placements(&stage.state, &stage.world, &[]).remove(0)
}

fn open(stage: &Stage) -> RolloutView {
    view(stage).rollout.expect("a rollout is open")
}

fn stages(open: &RolloutView) -> Vec<(&str, StageState)> {
    let stage = |stage: &'_ StageView| (stage.name.as_str().to_owned(), stage.state);
    let all: Vec<_> = open.stages.iter().map(stage).collect();
    all.into_iter()
        .map(|(name, state)| (&*name.leak(), state))
        .collect()
}

fn blue_green(confirm: bool) -> ServiceSpec {
    let step = |weight_percent| Step {
        weight_percent,
        soak_ms: 10_000,
        pause: false,
    };
    ServiceSpec {
        strategy: Strategy::BlueGreen(BlueGreen {
            slots: Slots {
                blue: vec![server(1), server(2)],
                green: vec![server(3), server(4)],
            },
            switch: vec![step(10), step(100)],
            confirm,
        }),
        ..spec()
    }
}

fn rolling() -> ServiceSpec {
    ServiceSpec {
        strategy: Strategy::Rolling(Rolling {
            batch: 1,
            max_unavailable: 0,
            max_surge: 1,
            min_healthy_ms: 5_000,
            first_watch_ms: None,
            pause_after_first: false,
            progress_deadline_ms: 120_000,
        }),
        ..spec()
    }
}

fn recreate() -> ServiceSpec {
    ServiceSpec {
        strategy: Strategy::Recreate(Recreate { watch_ms: 20_000 }),
        ..spec()
    }
}

fn slot(view: &SlotsView, slot: Slot) -> &SlotView {
    view.of(slot).expect("both are there")
}

#[test]
fn the_slots_are_told_by_the_balancers_from_idle_to_live() {
    let mut stage = stable_with(blue_green(true));
    stage.deploy("v2");
    stage.until("it is ready", |stage| stage.held().is_some());
    let ready = view(&stage);
    let slots = ready.slots.as_ref().expect("slots");
    assert_eq!(
        (slots.live, slots.text.as_str()),
        (LiveSlot::Blue, "blue is live")
    );
    let green = slot(slots, Slot::Green);
    assert_eq!((green.up, green.needed, green.serves), (2, 2, Some(false)));
    assert_eq!(
        green.release.as_ref().map(|it| it.version.as_str()),
        Some("v2")
    );
    assert_eq!(green.since_ms, None, "it never had the traffic");
    let open = ready.rollout.as_ref().expect("open");
    assert_eq!(open.phase, PhaseView::Ready);
    assert_eq!(
        stages(open),
        [
            ("Start", StageState::Passed),
            ("switch 10%", StageState::Held),
            ("100%", StageState::Todo),
        ]
    );
    let hold = open.hold.as_ref().expect("held");
    assert_eq!(
        hold.text.as_str(),
        "verified in green; promote switches to it"
    );

    let mut aborted = stable_with(blue_green(true));
    aborted.deploy("v2");
    aborted.until("it is ready", |stage| stage.held().is_some());
    aborted.abort().expect("it is taken");
    aborted.until("it is over", |stage| !stage.is_open());
    let slots = view(&aborted).slots.expect("slots");
    assert_eq!(slots.live, LiveSlot::Blue);
    let blue = slot(&slots, Slot::Blue);
    assert_eq!(blue.since_ms, None, "it was live before the abort");

    stage.promote(PromoteTo::Next).expect("it is taken");
    stage.until("the switch is watched", Stage::is_soaking);
    stage.pass_ms(3_000);
    let switching = view(&stage).slots.expect("slots");
    assert_eq!(switching.live, LiveSlot::Both);
    assert_eq!(switching.text.as_str(), "both have traffic: 10 % to green");
    let green = slot(&switching, Slot::Green);
    assert_eq!(
        (green.wanted_percent, green.serves),
        (Some(10.0), Some(true))
    );
    assert!(
        green
            .applied_percent
            .is_some_and(|share| (share - 10.0).abs() <= 1.0)
    );
    assert!(green.observed_percent.is_some());

    stage.until("v2 is verified", |stage| !stage.is_open());
    let done = view(&stage).slots.expect("slots");
    assert_eq!(done.live, LiveSlot::Green);
    let green = slot(&done, Slot::Green);
    assert!(green.since_ms.is_some() && green.record.is_some());
    assert!(slot(&done, Slot::Blue).warm_until_ms.is_some());
}

#[test]
fn neither_and_both_are_said_plainly_and_nothing_is_guessed() {
    let mut stage = stable_with(blue_green(false));
    stage.by_hand(&[(1, 0), (2, 0)]);
    let text = |stage: &Stage| {
        let slots = view(stage).slots.expect("slots");
        (slots.live, slots.text.to_string())
    };
    // The engine sets it right by itself; what is shown is the reading before that.
    let mut world = stage.world.clone();
    let reading = &mut world
        .placements
        .get_mut(&stage.placement())
        .expect("seen")
        .balancers
        .values_mut()
        .next()
        .expect("one")
        .reading;
    *reading = stage.balancer.clone();
    let seen = placements(&stage.state, &world, &[]).remove(0);
    let slots = seen.slots.expect("slots");
    assert_eq!(slots.live, LiveSlot::Neither);
    assert_eq!(slots.text.as_str(), "NEITHER has traffic");
    assert!(slots.slots.iter().all(|slot| slot.since_ms.is_none()));

    stage.restart();
    assert_eq!(text(&stage).0, LiveSlot::Unknown);
    let slots = view(&stage).slots.expect("slots");
    assert!(slots.slots.iter().all(|slot| slot.serves.is_none()));
}

#[test]
fn whoever_gave_a_slot_the_traffic_is_named_while_the_timeline_says_so() {
    let stage = stable_with(blue_green(false));
    let place = view(&stage);
    let live = place.slots.as_ref().and_then(|slots| slots.of(Slot::Blue));
    let seq = live.and_then(|slot| slot.record).expect("it is recorded");
    let entry = stage.entries[seq as usize - 1].clone();
    let record = Record {
        seq,
        at_ms: 5,
        actor: Actor::Engine,
        entry,
    };
    let row = timeline_row(&stage.state, &record).expect("for people");
    let mut snapshot = Snapshot {
        engine: EngineView {
            info: EngineInfo {
                version: "0.1.0".to_owned(),
                pid: 1,
                host: "test".into(),
                config_hash: String::new(),
            },
            now_ms: 0,
            started_ms: 0,
            seq,
            history_trouble: None,
            newer: false,
            consoles: Vec::new(),
            read_only: Vec::new(),
            timeline: vec![row],
        },
        placements: vec![place],
        runs: Vec::new(),
    };
    let by = |snapshot: &Snapshot| {
        let slots = snapshot.placements[0].slots.as_ref();
        slots.and_then(|slots| slots.of(Slot::Blue)?.by.clone())
    };
    name_switchers(&mut snapshot);
    assert_eq!(by(&snapshot).expect("named").as_str(), "engine");
    snapshot.engine.timeline.clear();
    name_switchers(&mut snapshot);
    assert_eq!(by(&snapshot), None, "left out, not guessed");
}

#[test]
fn a_rolling_update_is_told_in_batches() {
    let mut stage = stable_with(rolling());
    stage.deploy("v2");
    stage.until("the first watch", Stage::is_soaking);
    let first = open(&stage);
    assert_eq!(
        stages(&first),
        [
            ("Start", StageState::Passed),
            ("batch 1/2", StageState::Running),
            ("batch 2/2", StageState::Todo),
        ]
    );
    let batch = first.batch.expect("batches");
    assert_eq!(
        (batch.number, batch.of, batch.replaced, batch.instances),
        (1, 2, 1, 2)
    );
    assert_eq!(first.next.as_str(), "batch 2/2");
    stage.until("the second batch", |stage| stage.rollout().step == 2);
    let second = open(&stage);
    assert_eq!(
        stages(&second),
        [
            ("Start", StageState::Passed),
            ("batch 1/2", StageState::Passed),
            ("batch 2/2", StageState::Running),
        ]
    );
}

#[test]
fn a_restart_is_told_in_batches_and_moves_no_traffic() {
    let mut stage = stable_with(spec());
    let placement = stage.placement();
    let reason = None;
    stage
        .ask(Command::Restart { placement, reason })
        .expect("it is taken");
    stage.tick();
    let view = view(&stage);
    let open = view.rollout.as_ref().expect("open");
    let batch = open.batch.as_ref().expect("batches");
    assert_eq!((batch.number, batch.of, batch.instances), (1, 2, 2));
    assert_eq!(view.traffic.wanted_percent, None);
    assert!(view.instances.iter().all(|row| row.role == Role::Stable));
    assert!(
        stages(open)
            .iter()
            .all(|(name, _)| name.starts_with("batch "))
    );
    stage.until("it is over", |stage| !stage.is_open());
}

#[test]
fn a_recreate_tells_its_outage_while_it_lasts_and_as_it_was() {
    let mut stage = stable_with(recreate());
    stage.deploy("v2");
    stage.until("the old are on their way out", |stage| {
        stage.rollout().outage.is_some()
    });
    let during = open(&stage);
    assert_eq!(during.outage.expect("an outage").until_ms, None);
    assert_eq!(
        stages(&during),
        [
            ("stop old", StageState::Running),
            ("start new", StageState::Todo),
            ("watch", StageState::Todo),
        ]
    );
    stage.until("it is watched", Stage::is_soaking);
    let after = open(&stage);
    let outage = after.outage.expect("an outage");
    assert!(
        outage
            .until_ms
            .is_some_and(|until_ms| until_ms > outage.since_ms)
    );
    assert_eq!(
        stages(&after),
        [
            ("stop old", StageState::Passed),
            ("start new", StageState::Passed),
            ("watch", StageState::Running),
        ]
    );
}

#[test]
fn a_drained_server_is_marked() {
    let mut stage = stable_with(spec());
    let placement = stage.placement();
    let command = Command::Drain {
        placement,
        server: server(1),
        reason: None,
    };
    stage.ask(command).expect("it is taken");
    let rows = view(&stage).instances;
    let out: Vec<_> = rows.iter().map(|row| row.out).collect();
    assert_eq!(out, [true, false]);
}

#[test]
fn earlier_versions_say_only_what_is_known_of_them() {
    let mut stage = stable_with(spec());
    stage.deploy("v2");
    stage.until("v2 is verified", |stage| !stage.is_open());
    let ready = view(&stage).ready;
    assert_eq!(ready.len(), 1, "not the stable one");
    assert_eq!((ready[0].ready, ready[0].up), (Ready::Warm, 2));
    assert!(ready[0].warm_until_ms.is_some());
    stage.until("v1 is gone", |stage| stage.running("v1") == 0);
    let ready = view(&stage).ready;
    assert_eq!(
        (ready[0].ready, ready[0].warm_until_ms),
        (Ready::Anew, None)
    );
}
