//! Screens of the strategies beside the canary, and the everyday verbs in the palette.

use super::fixture::{self, NOW_MS, instance, release, stage};
use super::scene::{LOCK_MS, Scene, promote};
use wheelhouse::console::app::Overlay;
use wheelhouse::console::input::Key;
use wheelhouse::link::wire::{CommandRequest, Request};
use wheelhouse::model::command::PromoteTo;
use wheelhouse::model::strategy::Slot;
use wheelhouse::model::{Role as Who, RolloutKind, RolloutNumber, Stock};
use wheelhouse::view::snapshot::*;
use wheelhouse::view::{Preview, Snapshot, Tier};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn place(snapshot: &mut Snapshot) -> &mut PlacementView {
    &mut snapshot.placements[0]
}

fn open(snapshot: &mut Snapshot) -> &mut RolloutView {
    place(snapshot).rollout.as_mut().expect("open")
}

fn slot(slot: Slot, version: (u128, &str), share: f64) -> SlotView {
    SlotView {
        slot,
        serves: Some(share > 0.0),
        release: Some(release(version.0, version.1)),
        rollout: Some(RolloutNumber(1_840 + version.0 as u64 - 1)),
        up: 3,
        needed: 3,
        wanted_percent: Some(share),
        applied_percent: Some(share),
        observed_percent: Some(share),
        warm_until_ms: None,
        since_ms: None,
        record: None,
        by: None,
    }
}

/// v2 is verified in green; a person switches.
fn ready() -> Snapshot {
    let mut snapshot = fixture::soaking();
    let view = place(&mut snapshot);
    view.strategy = Some("blue-green".into());
    view.slots = Some(SlotsView {
        live: LiveSlot::Blue,
        text: "blue is live".into(),
        slots: vec![
            SlotView {
                since_ms: Some(NOW_MS - 200_000_000),
                by: Some("bob".into()),
                ..slot(Slot::Blue, (1, "v1"), 100.0)
            },
            slot(Slot::Green, (2, "v2"), 0.0),
        ],
    });
    view.traffic.wanted_percent = Some(0.0);
    view.traffic.applied_percent = Some(0.0);
    view.traffic.observed_percent = Some(0.0);
    view.metrics.clear();
    view.tree.clear();
    let open = open(&mut snapshot);
    open.phase = PhaseView::Ready;
    open.stages = vec![
        stage("Start", StageState::Passed, "3/3 up"),
        stage("Smoke", StageState::Passed, "3/3 ok"),
        stage("switch 10%", StageState::Held, "promote switches to green"),
        stage("50%", StageState::Todo, "soak 5 min"),
        stage("100%", StageState::Todo, "soak 5 min"),
    ];
    open.hold = Some(HoldView {
        since_ms: NOW_MS - 10_000,
        by_person: false,
        text: "verified in green; promote switches to it".into(),
    });
    open.because = "nothing to judge yet".into();
    open.verdict = wheelhouse::model::VerdictClass::Inconclusive;
    open.next = "nothing until it is promoted or aborted".into();
    open.next_ms = None;
    snapshot
}

/// Half of the traffic is on green.
fn switching() -> Snapshot {
    let mut snapshot = fixture::soaking();
    let before = ready().placements.remove(0);
    let view = place(&mut snapshot);
    view.strategy = before.strategy;
    view.slots = Some(SlotsView {
        live: LiveSlot::Both,
        text: "both have traffic: 50 % to green".into(),
        slots: vec![
            slot(Slot::Blue, (1, "v1"), 50.0),
            slot(Slot::Green, (2, "v2"), 50.0),
        ],
    });
    view.traffic.wanted_percent = Some(50.0);
    view.traffic.applied_percent = Some(50.0);
    view.traffic.observed_percent = Some(49.7);
    let open = open(&mut snapshot);
    open.stages = vec![
        stage("Start", StageState::Passed, "3/3 up"),
        stage("Smoke", StageState::Passed, "3/3 ok"),
        stage("switch 10%", StageState::Passed, "soak 5 min"),
        StageView {
            began_ms: Some(NOW_MS - 192_000),
            length_ms: Some(300_000),
            ..stage("50%", StageState::Running, "soak 5 min")
        },
        stage("100%", StageState::Todo, "soak 5 min"),
    ];
    open.next = "100 %".into();
    snapshot
}

fn batch(number: usize) -> BatchView {
    BatchView {
        number,
        of: 3,
        replaced: number - 1,
        instances: 3,
        starting: vec!["s4".parse().expect("valid")],
        draining: vec!["s1".parse().expect("valid")],
    }
}

/// The second of three batches is being replaced.
fn rolling() -> Snapshot {
    let mut snapshot = fixture::soaking();
    let view = place(&mut snapshot);
    view.strategy = Some("rolling".into());
    view.instances = vec![
        InstanceRow {
            status: "draining".into(),
            balancer: "maint".into(),
            weight: Some(0),
            ..instance(1, Role::Stable, "v1", 0)
        },
        instance(2, Role::Stable, "v1", 33),
        instance(3, Role::Canary, "v2", 33),
        InstanceRow {
            status: "starting".into(),
            healthy: None,
            balancer: "maint".into(),
            ..instance(4, Role::Canary, "v2", 0)
        },
    ];
    view.traffic.wanted_percent = Some(33.0);
    view.traffic.applied_percent = Some(33.3);
    view.traffic.observed_percent = Some(33.1);
    let open = open(&mut snapshot);
    open.phase = PhaseView::Starting;
    open.batch = Some(batch(2));
    open.stages = vec![
        stage("Start", StageState::Passed, "1/1 up"),
        stage("Smoke", StageState::Passed, "1/1 ok"),
        stage("batch 1/3", StageState::Passed, "1/3 replaced"),
        stage("batch 2/3", StageState::Running, "starting s4, draining s1"),
        stage("batch 3/3", StageState::Todo, "watch 10 s"),
    ];
    open.because = "nothing to judge yet".into();
    open.next = "traffic to batch 2 once it is verified".into();
    snapshot
}

/// Every instance of v1 is begun anew.
fn restart() -> Snapshot {
    let mut snapshot = rolling();
    let view = place(&mut snapshot);
    view.traffic.wanted_percent = None;
    view.traffic.applied_percent = None;
    view.traffic.observed_percent = None;
    view.metrics.clear();
    view.tree.clear();
    for row in &mut view.instances {
        row.role = Role::Stable;
        row.version = "v1".parse().expect("valid");
    }
    let open = open(&mut snapshot);
    open.kind = RolloutKind::Restart;
    open.release = release(1, "v1");
    open.stages.drain(..2);
    open.next = "the rest of batch 2, one way or back".into();
    snapshot
}

/// v1 has ended, v2 is not up yet.
fn outage() -> Snapshot {
    let mut snapshot = fixture::soaking();
    let view = place(&mut snapshot);
    view.strategy = Some("recreate".into());
    view.instances = (1..=3)
        .map(|n| InstanceRow {
            status: "starting".into(),
            healthy: None,
            balancer: "maint".into(),
            ..instance(n, Role::Canary, "v2", 0)
        })
        .collect();
    view.traffic = TrafficView {
        wanted_percent: Some(0.0),
        applied_percent: Some(0.0),
        ..TrafficView::default()
    };
    view.metrics.clear();
    view.tree.clear();
    let open = open(&mut snapshot);
    open.phase = PhaseView::Starting;
    open.outage = Some(OutageView {
        since_ms: NOW_MS - 18_000,
        until_ms: None,
    });
    open.stages = vec![
        stage("stop old", StageState::Passed, "ended"),
        stage("start new", StageState::Running, "0/3 up"),
        stage("watch", StageState::Todo, "watch 5 min"),
    ];
    open.because = "nothing to judge yet".into();
    open.next = "service again once every new instance is verified".into();
    open.next_ms = Some(NOW_MS + 12_000);
    snapshot
}

/// Nothing is open; a person took s2 out of traffic.
fn drained() -> Snapshot {
    let mut snapshot = fixture::idle();
    let view = place(&mut snapshot);
    view.instances[1].out = true;
    view.instances[1].balancer = "maint".into();
    view.instances[1].weight = Some(0);
    let ready = |n: u128, version: &str, ready: Ready| ReadyView {
        version: version.parse().expect("valid"),
        release: release(n, version).id,
        ready,
        up: if ready == Ready::Warm { 3 } else { 0 },
        warm_until_ms: (ready == Ready::Warm).then_some(NOW_MS + 1_200_000),
        withdrawn: false,
        hosts: Vec::new(),
    };
    view.ready = vec![
        ready(10, "v0", Ready::Warm),
        ready(9, "v0-rc", Ready::Pinned),
        ready(8, "v0-beta", Ready::Anew),
    ];
    snapshot
}

#[test]
fn at_every_size_each_strategy_looks_as_reviewed() {
    type Moment = (&'static str, fn() -> Snapshot, &'static str);
    let moments: [Moment; 6] = [
        ("blue_green_ready", ready, "BLUE-GREEN READY"),
        ("blue_green_switching", switching, "BLUE-GREEN 50% step 2/3"),
        ("rolling", rolling, "ROLLING batch 2/3"),
        ("restart", restart, "RESTART batch 2/3"),
        ("outage", outage, "RECREATE NO SERVICE 00:18"),
        ("drained", drained, "no rollout open"),
    ];
    for (name, moment, word) in moments {
        for size in SIZES {
            let text = Scene::of(moment(), size).text(size);
            let header = text.lines().next().expect("a header");
            assert!(header.contains(word), "{name} {size:?}: {header}");
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), text);
        }
    }
}

#[test]
fn slots_that_are_odd_are_said_plainly() {
    for (live, text) in [
        (LiveSlot::Neither, "NEITHER has traffic"),
        (LiveSlot::Both, "BOTH have traffic"),
    ] {
        let mut snapshot = ready();
        place(&mut snapshot).rollout = None;
        let slots = place(&mut snapshot).slots.as_mut().expect("slots");
        slots.live = live;
        slots.text = text.into();
        for size in SIZES {
            let screen = Scene::of(snapshot.clone(), size).text(size);
            assert!(screen.contains(text), "{size:?}:\n{screen}");
        }
    }
}

#[test]
fn nothing_resumes_a_slot_that_waits_for_its_switch() {
    let mut scene = Scene::of(ready(), (80, 24));
    assert!(scene.text((80, 24)).contains("H hold"));
    scene.press(Key::Char('P'));
    let promote = CommandRequest::Promote {
        placement: fixture::placement(),
        to: PromoteTo::Next,
        revision: 12,
    };
    assert_eq!(previewed(&scene), Some(&promote));
}

#[test]
fn a_measured_outage_is_shown_as_it_was() {
    let mut snapshot = outage();
    open(&mut snapshot).phase = PhaseView::Soaking;
    open(&mut snapshot).outage = Some(OutageView {
        since_ms: NOW_MS - 60_000,
        until_ms: Some(NOW_MS - 42_000),
    });
    for size in SIZES {
        let screen = Scene::of(snapshot.clone(), size).text(size);
        assert!(screen.contains("no service for 18 s"), "{screen}");
        assert!(!screen.contains("NO SERVICE"), "{screen}");
    }
}

#[test]
fn an_empty_table_of_metrics_says_why_it_is_empty() {
    let says = |snapshot: &Snapshot, text: &str| {
        let screen = Scene::of(snapshot.clone(), (200, 60)).text((200, 60));
        assert!(screen.contains(text), "{text}: {screen}");
    };
    says(&drained(), "nothing is measured while no rollout is open");
    says(&ready(), "nothing yet: the new version has no traffic");
    says(&restart(), "a restart brings nothing new to measure");
    let mut deaf = ready();
    place(&mut deaf).peers.clear();
    says(&deaf, "no source: nothing counts what it does");
    let mut soaking = ready();
    open(&mut soaking).phase = PhaseView::Soaking;
    says(&soaking, "nothing yet: no figures have come");
}

#[test]
fn how_ready_each_version_is_is_said_where_the_hosts_were_asked() {
    let mut snapshot = drained();
    let host = |runtime: &str, stock: Stock| HostStock {
        runtime: runtime.parse().expect("valid"),
        stock,
        asked_ms: NOW_MS,
    };
    let pull = || Stock::Pull {
        bytes: Some(141_500_000),
    };
    let gone = || Stock::Gone { why: "no".into() };
    let versions = &mut place(&mut snapshot).ready;
    versions[1].hosts = vec![host("app1", pull()), host("app2", pull())];
    versions[2].hosts = vec![host("app1", Stock::Here), host("app2", gone())];
    let mut scene = Scene::of(snapshot, (200, 60));
    scene.press(Key::Char('z'));
    let screen = scene.text((200, 60));
    let words: Vec<_> = screen.split_whitespace().collect();
    let screen = words.join(" ");
    for text in ["v0-rc pull 142 MB", "app2 gone"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
}

#[test]
fn the_fleet_shows_how_ready_a_rollback_is_where_there_is_room() {
    let mut scene = Scene::of(fixture::fleet(), (120, 40));
    scene.press(Key::Char('0'));
    insta::assert_snapshot!("fleet_120x40", scene.text((120, 40)));
}

fn typed(scene: &mut Scene, line: &str) {
    scene.press(Key::Char(':'));
    scene.letters(line);
    scene.press(Key::Enter);
}

fn previewed(scene: &Scene) -> Option<&CommandRequest> {
    scene
        .asked
        .iter()
        .rev()
        .find_map(|(_, request)| match request {
            Request::Preview { command } => Some(command),
            _ => None,
        })
}

fn verb(name: &str, tier: Tier) -> Preview {
    Preview {
        verb: name.into(),
        title: format!("{} - shop PRODUCTION", name.to_uppercase())
            .as_str()
            .into(),
        button: name.into(),
        tier,
        number: None,
        revision: 0,
        ..promote()
    }
}

#[test]
fn everyday_verbs_go_through_the_same_dialogs() {
    let placement = fixture::placement;
    let lines = [
        (
            "restart",
            CommandRequest::Restart {
                placement: placement(),
                reason: None,
            },
        ),
        (
            "scale 4",
            CommandRequest::Scale {
                placement: placement(),
                instances: 4,
                reason: None,
            },
        ),
        (
            "drain s2",
            CommandRequest::Drain {
                placement: placement(),
                server: "s2".parse().expect("valid"),
                reason: None,
            },
        ),
        (
            "undrain s2",
            CommandRequest::Undrain {
                placement: placement(),
                server: "s2".parse().expect("valid"),
            },
        ),
        (
            "drill",
            CommandRequest::Drill {
                placement: placement(),
                reason: None,
            },
        ),
    ];
    for (line, command) in lines {
        let mut scene = Scene::of(fixture::idle(), (80, 24));
        typed(&mut scene, line);
        assert_eq!(previewed(&scene), Some(&command));
        scene.preview(verb(command.verb(), Tier::Two));
        scene.wait(LOCK_MS);
        scene.press(Key::Char('y'));
        assert_eq!(scene.commands().len(), 0, "{line}: y is not the word");
        scene.press(Key::Backspace);
        scene.letters("production");
        scene.press(Key::Tab);
        scene.press(Key::Enter);
        assert_eq!(scene.commands(), [&Request::Command { command }]);
    }
}

#[test]
fn drain_takes_the_selected_instance_by_its_name() {
    let mut scene = Scene::of(fixture::idle(), (120, 40));
    typed(&mut scene, "drain");
    let screen = scene.text((120, 40));
    assert!(screen.contains("there are: s1, s2, s3"), "{screen}");
    assert_eq!(previewed(&scene), None);
    scene.press(Key::Esc);

    scene.press(Key::Char('6'));
    scene.press(Key::Down);
    scene.press(Key::Down);
    // Rows move; what is selected does not.
    let mut later = fixture::idle();
    later.placements[0].instances.remove(0);
    scene.snapshot(later);
    typed(&mut scene, "drain");
    let drain = CommandRequest::Drain {
        placement: fixture::placement(),
        server: "s2".parse().expect("valid"),
        reason: None,
    };
    assert_eq!(previewed(&scene), Some(&drain));
    scene.press(Key::Esc);

    // What is gone is no longer selected.
    let mut later = fixture::idle();
    later.placements[0].instances.remove(1);
    scene.snapshot(later);
    scene.asked.clear();
    typed(&mut scene, "undrain");
    assert_eq!(previewed(&scene), None);
    assert!(matches!(scene.app.overlay, Some(Overlay::Palette(_))));
}

#[test]
fn a_viewer_opens_no_dialog_by_typing() {
    let mut scene = Scene::of(fixture::idle(), (80, 24));
    scene.connect_as(Who::Viewer);
    typed(&mut scene, "restart");
    assert_eq!(scene.app.overlay, None);
    assert!(scene.text((80, 24)).contains("you are a viewer here"));
}

#[test]
fn parts_stand_below_the_traffic_and_what_is_held_is_said() {
    let mut snapshot = fixture::soaking();
    open(&mut snapshot).parts = vec![
        PartView {
            placement: "checkout-jobs@production".parse().expect("a placement"),
            number: RolloutNumber(1_842),
            replaced: 1,
            instances: 4,
            held: false,
        },
        PartView {
            placement: "checkout-mail@production".parse().expect("a placement"),
            number: RolloutNumber(1_843),
            replaced: 0,
            instances: 1,
            held: true,
        },
    ];
    open(&mut snapshot).next =
        "50 % once every part is there: checkout-mail (#1843) is held".into();
    for size in SIZES {
        let text = Scene::of(snapshot.clone(), size).text(size);
        assert!(text.contains("checkout-jobs"), "{text}");
        assert!(text.contains("HELD"), "{text}");
        assert!(
            text.contains("Next "),
            "what it waits for stays on the screen: {text}"
        );
        insta::assert_snapshot!(format!("parts_{}x{}", size.0, size.1), text);
    }
}
