//! Whole screens, and that none of any size panics.

use super::fixture;
use super::scene::{Scene, abort, lines, promote, settings};
use proptest::prelude::*;
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};
use wheelhouse::console::app::{Msg, Settings};
use wheelhouse::console::input::Key;
use wheelhouse::console::theme::{Depth, Symbols};
use wheelhouse::link::LinkEvent;
use wheelhouse::link::wire::{Reply, Request};
use wheelhouse::view::Snapshot;
use wheelhouse::view::snapshot::{Role, StageState};

const SMALL: (u16, u16) = (80, 24);
const MEDIUM: (u16, u16) = (120, 40);
const LARGE: (u16, u16) = (200, 60);

fn with_logs(scene: &mut Scene) {
    let logs = |request: &Request| matches!(request, Request::Logs { .. });
    while scene.asked.iter().any(|(_, request)| logs(request)) {
        let lines = (0..4).map(|n| {
            let level = ["INFO", "INFO", "WARN", "ERROR"][n];
            format!("12:03:4{n} {level} GET /cart 200 {n}1ms req=9f2{n}").into()
        });
        let reply = Reply::Logs {
            next: 4,
            skipped: 0,
            lines: lines.collect(),
        };
        scene.answer(logs, reply);
    }
}

fn scene(snapshot: Snapshot, size: (u16, u16)) -> Scene {
    let mut scene = Scene::of(snapshot, size);
    with_logs(&mut scene);
    scene
}

#[test]
fn at_every_size_each_moment_looks_as_reviewed() {
    type Moment = (&'static str, fn() -> Snapshot);
    let moments: [Moment; 4] = [
        ("idle", fixture::idle),
        ("soaking", fixture::soaking),
        ("failing", fixture::failing),
        ("held", fixture::held),
    ];
    for (name, moment) in moments {
        for size in [SMALL, MEDIUM, LARGE] {
            let text = scene(moment(), size).text(size);
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), text);
        }
    }
}

#[test]
fn a_smoke_test_that_only_warned_stays_to_be_seen() {
    let mut snapshot = fixture::soaking();
    let rollout = snapshot
        .placements
        .iter_mut()
        .find_map(|view| view.rollout.as_mut());
    let stage = &mut rollout.expect("it is open").stages[1];
    stage.warns = true;
    stage.detail = "warning: cache fails on s4: status 503, not 200; 5/6 ok (212 ms)".into();
    let text = scene(snapshot.clone(), SMALL).text(SMALL);
    assert!(text.contains("! Smoke"), "{text}");
    assert!(
        text.contains("soak 5 min"),
        "the step under way has the line\n{text}"
    );
    let text = scene(snapshot, LARGE).text(LARGE);
    assert!(
        text.contains("! Smoke  warning: cache fails on s4: status 503"),
        "{text}"
    );
}

#[test]
fn a_failed_smoke_test_has_one_line_on_a_small_screen() {
    let mut snapshot = fixture::soaking();
    let view = snapshot
        .placements
        .iter_mut()
        .find(|view| view.rollout.is_some());
    let view = view.expect("one is open");
    for row in &mut view.instances {
        row.probe_ms = Some(7);
    }
    let rollout = view.rollout.as_mut().expect("it is open");
    rollout.stages.truncate(2);
    rollout.stages[1].state = StageState::Failed;
    rollout.stages[1].detail = "front fails on s4: status 503, not 200; 5/6 ok (212 ms)".into();
    let text = scene(snapshot.clone(), SMALL).text(SMALL);
    assert!(
        text.contains("Smoke    front fails on s4: status 503"),
        "{text}"
    );
    let text = scene(snapshot, LARGE).text(LARGE);
    assert!(text.contains("ok 7ms"), "probes show their time\n{text}");
}

#[test]
fn the_fleet_marks_what_is_selected() {
    let mut scene = scene(fixture::fleet(), SMALL);
    scene.press(Key::Down);
    insta::assert_snapshot!("fleet_80x24", scene.text(SMALL));
}

#[test]
fn ascii_uses_nothing_else() {
    let settings = settings(Depth::Colours16, Symbols::ASCII);
    let mut hostile = fixture::soaking();
    hostile.placements[0]
        .rollout
        .as_mut()
        .expect("open")
        .because = "日本 ␛[31m é".into();
    let mut scene = Scene::with(hostile, MEDIUM, settings);
    with_logs(&mut scene);
    let text = scene.text(MEDIUM);
    assert!(text.is_ascii());
    insta::assert_snapshot!("ascii_120x40", text);
}

#[test]
fn without_colours_the_attributes_tell() {
    let settings = settings(Depth::None, Symbols::UTF8);
    let scene = Scene::with(fixture::held(), MEDIUM, settings);
    let buffer = scene.draw(MEDIUM);
    let colourless = buffer
        .content
        .iter()
        .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset);
    assert!(colourless);
    let reversed = |y: u16| {
        (0..MEDIUM.0)
            .filter(|x| buffer[(*x, y)].modifier.contains(Modifier::REVERSED))
            .count()
    };
    assert_eq!(reversed(0), "[PRODUCTION]CANARY 25% step 2/4  HELD".len());
    assert_eq!(reversed(1), usize::from(MEDIUM.0), "the banner");
}

#[test]
fn dialogs_help_and_staleness_look_as_reviewed() {
    let mut dialog = scene(fixture::soaking(), SMALL);
    dialog.press(Key::Char('P'));
    dialog.preview(promote());
    dialog.wait(500);
    dialog.letters("produ");
    insta::assert_snapshot!("dialog_tier_2_80x24", dialog.text(SMALL));

    let mut dialog = scene(fixture::soaking(), SMALL);
    dialog.press(Key::Char('A'));
    dialog.preview(abort());
    insta::assert_snapshot!("dialog_tier_1_locked_80x24", dialog.text(SMALL));
    dialog.wait(500);
    insta::assert_snapshot!("dialog_tier_1_80x24", dialog.text(SMALL));

    let mut help = scene(fixture::soaking(), SMALL);
    help.press(Key::Char('?'));
    insta::assert_snapshot!("help_80x24", help.text(SMALL));

    let mut leave = scene(fixture::soaking(), SMALL);
    leave.press(Key::Char('q'));
    insta::assert_snapshot!("leave_80x24", leave.text(SMALL));

    let mut palette = scene(fixture::soaking(), SMALL);
    palette.press(Key::Char(':'));
    palette.letters("pro");
    insta::assert_snapshot!("palette_80x24", palette.text(SMALL));

    let mut stale = scene(fixture::soaking(), SMALL);
    let why = "no engine listens on /run/engine.sock".into();
    stale.tell(Msg::Link(LinkEvent::Disconnected { why }));
    insta::assert_snapshot!("stale_80x24", stale.text(SMALL));
    assert!(stale.text(SMALL).contains("STALE since 12:03:42 UTC"));
}

#[test]
fn a_guide_line_follows_the_snapshot() {
    let guide = Settings {
        guide: Some(Box::new(|snapshot: &Snapshot| {
            let open = snapshot.placements[0].rollout.as_ref()?;
            Some(format!("look at {}: press P to go on", open.number))
        })),
        ..settings(Depth::True, Symbols::UTF8)
    };
    let mut scene = Scene::with(fixture::soaking(), SMALL, guide);
    assert!(scene.text(SMALL).contains("look at #1841: press P"));
    scene.snapshot(fixture::idle());
    assert!(!scene.text(SMALL).contains("look at"));
}

#[test]
fn the_same_state_draws_the_same_frame() {
    let mut scene = scene(fixture::idle(), MEDIUM);
    let before = scene.draw(MEDIUM);
    let mut later = fixture::idle();
    later.engine.now_ms += 60_000;
    scene.snapshot(later);
    let after = scene.draw(MEDIUM);
    assert_eq!(lines(&before), lines(&after), "an idle screen stands still");
}

#[test]
fn the_header_tells_production_at_every_width() {
    for width in 60..=200 {
        let text = scene(fixture::soaking(), (width, 24)).text((width, 24));
        assert!(text.starts_with("[PRODUCTION] shop"), "{width}");
    }
}

#[test]
fn roles_have_words_not_only_colours() {
    let text = scene(fixture::soaking(), MEDIUM).text(MEDIUM);
    for role in [Role::Canary, Role::Stable] {
        let word = format!("{role:?}").to_lowercase();
        assert!(text.contains(&word), "{word}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_size_panics(
        width in 0u16..=250,
        height in 0u16..=80,
        moment in 0usize..5,
        keys in proptest::collection::vec(0usize..18, 0..5),
    ) {
        let moments = [
            fixture::idle,
            fixture::soaking,
            fixture::failing,
            fixture::held,
            fixture::fleet,
        ];
        let mut scene = scene(moments[moment](), (100, 30));
        scene.tell(Msg::Resized(Size { width, height }));
        let all: Vec<_> = "?:PARHqz0123568/"
            .chars()
            .map(Key::Char)
            .chain([Key::Tab, Key::PageUp])
            .collect();
        for key in keys {
            scene.press(all[key]);
            scene.draw((width, height));
        }
    }
}
