//! Pipelines on screen: rail, graph, list and output by snapshot, and the keys that look.

use super::fixture;
use super::runs::{self, deploying, failed, of, parallel, passed, unknown, waiting};
use super::scene::{Scene, settings};
use proptest::prelude::*;
use ratatui::layout::Size;
use wheelhouse::console::app::{Msg, Page};
use wheelhouse::console::input::Key;
use wheelhouse::console::pane::pipelines::Level;
use wheelhouse::console::theme::{Depth, Symbols};
use wheelhouse::link::wire::{Reply, Request};
use wheelhouse::model::pipeline::RunResult;
use wheelhouse::model::{Clean, RunNumber};
use wheelhouse::view::pipeline::RunView;

const SMALL: (u16, u16) = (80, 24);
const MEDIUM: (u16, u16) = (120, 40);
const LARGE: (u16, u16) = (200, 60);
const SIZES: [(u16, u16); 3] = [SMALL, MEDIUM, LARGE];

fn lines_of(request: &Request) -> bool {
    matches!(request, Request::StageLogs { .. })
}

/// The output that the newest question is answered with.
fn prints(scene: &mut Scene, lines: &[&str], next: u64) {
    let reply = Reply::Logs {
        next,
        skipped: 0,
        lines: lines.iter().map(|line| Clean::new(line)).collect(),
    };
    scene.answer(lines_of, reply);
}

#[test]
fn at_every_size_each_run_looks_as_reviewed() {
    type Moment = (&'static str, fn() -> RunView);
    let moments: [Moment; 4] = [
        ("parallel", parallel),
        ("failed", failed),
        ("waiting", waiting),
        ("unknown", unknown),
    ];
    for (name, run) in moments {
        for size in SIZES {
            let mut scene = Scene::of(runs::idle(run()), size);
            let place = scene.text(size);
            insta::assert_snapshot!(format!("place_{name}_{}x{}", size.0, size.1), place);
            scene.press(Key::Char('p'));
            let alone = scene.text(size);
            insta::assert_snapshot!(format!("run_{name}_{}x{}", size.0, size.1), alone);
        }
    }
}

#[test]
fn beside_a_rollout_the_rail_looks_as_reviewed() {
    for size in SIZES {
        let snapshot = runs::with(fixture::soaking(), vec![deploying()]);
        let text = Scene::of(snapshot, size).text(size);
        insta::assert_snapshot!(format!("deploying_{}x{}", size.0, size.1), text);
    }
}

#[test]
fn the_list_and_the_fleet_look_as_reviewed() {
    for size in SIZES {
        let mut scene = Scene::of(runs::fleet(), size);
        let fleet = scene.text(size);
        insta::assert_snapshot!(format!("fleet_{}x{}", size.0, size.1), fleet);
        scene.press(Key::Char('p'));
        scene.press(Key::Down);
        let list = scene.text(size);
        insta::assert_snapshot!(format!("list_{}x{}", size.0, size.1), list);
        let mut empty = Scene::of(fixture::fleet(), size);
        empty.press(Key::Char('p'));
        let text = empty.text(size);
        insta::assert_snapshot!(format!("list_empty_{}x{}", size.0, size.1), text);
    }
}

#[test]
fn ascii_and_no_colours_tell_the_same() {
    let ascii = settings(Depth::None, Symbols::ASCII);
    let mut scene = Scene::with(runs::idle(parallel()), SMALL, ascii);
    let text = scene.text(SMALL);
    assert!(text.is_ascii(), "{text}");
    assert!(
        text.contains("[>>]lint 00:42 of 01:10 | [>>]test 01:02 (+18 %)"),
        "{text}"
    );
    scene.press(Key::Char('p'));
    insta::assert_snapshot!("run_ascii_80x24", scene.text(SMALL));
}

#[test]
fn what_comes_next_in_the_rollout_is_never_pushed_off() {
    let mut long = deploying();
    for n in 0..14 {
        let name = format!("integration-{n}");
        let mut stage = runs::stage(&name, "command", &["checkout"]);
        stage.status = "passed".to_owned();
        long.stages.insert(3, stage);
    }
    let retry = of(&mut long, "push");
    retry.status = "resting".to_owned();
    retry.why = Some("the registry answered 503 ".repeat(9).as_str().into());
    for (width, height) in (60..=130).flat_map(|width| (16..=60).map(move |height| (width, height)))
    {
        let size = (width, height);
        let without = Scene::of(fixture::soaking(), size).text(size);
        let snapshot = runs::with(fixture::soaking(), vec![long.clone()]);
        let text = Scene::of(snapshot, size).text(size);
        let next = |text: &str| text.contains("Next     50 % in 01:48");
        assert!(next(&text) || !next(&without), "{size:?}\n{text}");
        assert!(text.contains("p12"), "the run is told somewhere\n{text}");
        let whole = |text: &str| text.contains("observed");
        assert!(whole(&text) || !whole(&without), "{size:?}\n{text}");
    }
}

#[test]
fn a_failing_line_is_told_in_full_without_searching() {
    let whole = |text: &str| {
        let text: String = text.replace(['│', '┃'], " ");
        let words: Vec<_> = text.split_whitespace().collect();
        words.join(" ")
    };
    let why = "left: 41, right: 42, at src/cart/sums.rs:118, after 1284 others had passed";
    for size in SIZES {
        let mut scene = Scene::of(runs::idle(failed()), size);
        let text = whole(&scene.text(size));
        if size == SMALL {
            assert!(text.contains(why), "{text}");
        }
        scene.press(Key::Char('p'));
        let text = whole(&scene.text(size));
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn an_ended_run_stays_beside_its_placement_for_an_hour() {
    let shows = |ago_ms: u64| {
        let mut run = failed();
        run.ended_ms = Some(fixture::NOW_MS - ago_ms);
        let size = MEDIUM;
        Scene::of(runs::idle(run), size).text(size).contains("p12")
    };
    assert!(shows(3_599_000));
    assert!(!shows(3_600_000));
    // An open one is shown before an ended one, however new that is.
    let mut newer = passed(13);
    newer.ended_ms = Some(fixture::NOW_MS - 1_000);
    let snapshot = runs::with(fixture::idle(), vec![newer, parallel()]);
    let text = Scene::of(snapshot, MEDIUM).text(MEDIUM);
    assert!(text.contains("p12 main") && !text.contains("p13"), "{text}");
}

#[test]
fn a_run_concerns_only_what_it_deploys_to() {
    let mut skipped = parallel();
    of(&mut skipped, "canary").status = "skipped".to_owned();
    for run in [runs::nightly(12), skipped] {
        let text = Scene::of(runs::idle(run), MEDIUM).text(MEDIUM);
        assert!(!text.contains("p12"), "{text}");
    }
}

#[test]
fn an_idle_screen_with_ended_runs_stands_still() {
    let mut scene = Scene::of(runs::with(fixture::idle(), vec![passed(11)]), MEDIUM);
    scene.press(Key::Char('p'));
    for _ in 0..2 {
        let before = scene.text(MEDIUM);
        let mut later = runs::with(fixture::idle(), vec![passed(11)]);
        later.engine.now_ms += 60_000;
        scene.snapshot(later);
        assert_eq!(before, scene.text(MEDIUM));
        scene.press(Key::Enter);
    }
}

#[test]
fn enter_goes_deeper_and_esc_comes_back_to_where_one_was() {
    let mut scene = Scene::of(runs::fleet(), MEDIUM);
    scene.press(Key::Char('p'));
    assert_eq!(
        (scene.app.page, scene.app.runs.level),
        (Page::Runs, Level::List)
    );
    scene.press(Key::Down);
    scene.press(Key::Enter);
    assert_eq!(scene.app.runs.level, Level::Run);
    assert_eq!(
        scene.app.run_shown().map(|run| run.number),
        Some(RunNumber(12))
    );
    scene.press(Key::Char('l'));
    assert_eq!(scene.app.runs.level, Level::Log);
    for level in [Level::Run, Level::List] {
        scene.press(Key::Esc);
        assert_eq!(scene.app.runs.level, level);
    }
    scene.press(Key::Esc);
    assert_eq!(scene.app.page, Page::Fleet);
    scene.press(Key::Enter);
    // Of the placement that is shown its run is opened at once.
    for key in [Key::Char('p'), Key::Enter] {
        scene.press(key);
        assert_eq!(scene.app.runs.level, Level::Run);
        scene.press(Key::Char('q'));
        assert_eq!(scene.app.page, Page::Place, "q closes the view");
    }
}

#[test]
fn what_is_selected_is_a_number_not_a_row() {
    let mut scene = Scene::of(runs::fleet(), MEDIUM);
    scene.press(Key::Char('p'));
    scene.press(Key::Down);
    let mut more = runs::fleet();
    more.runs.insert(0, runs::queued(14));
    scene.snapshot(more);
    let shown = |scene: &Scene| scene.app.run_shown().map(|run| run.number);
    assert_eq!(shown(&scene), Some(RunNumber(12)));
    let mut gone = runs::fleet();
    gone.runs.retain(|run| run.number != RunNumber(12));
    scene.snapshot(gone);
    assert_eq!(shown(&scene), None);
    scene.press(Key::Char('X'));
    assert_eq!(scene.app.overlay, None, "nothing else is canceled for it");
    scene.press(Key::Enter);
    scene.press(Key::Down);
    assert!(shown(&scene).is_some(), "moving selects one that is there");
}

#[test]
fn a_stages_output_follows_while_it_runs_and_ends_with_it() {
    let mut scene = Scene::of(runs::idle(parallel()), MEDIUM);
    scene.press(Key::Char('p'));
    scene.press(Key::Down);
    scene.press(Key::Char('l'));
    let asked = |scene: &Scene| {
        let mut requests = scene.asked.iter().map(|(_, request)| request.clone());
        requests.rfind(lines_of)
    };
    let question = |from| Request::StageLogs {
        id: RunNumber(12),
        stage: "test".parse().expect("valid"),
        attempt: Some(1),
        from,
    };
    assert_eq!(asked(&scene), Some(question(0)), "at once");
    scene.wait(5_000);
    let open = scene.asked.iter().filter(|(_, request)| lines_of(request));
    assert_eq!(open.count(), 1, "one question at a time");
    prints(
        &mut scene,
        &["running 1285 tests", "test cart::sums ... FAILED"],
        90,
    );
    assert!(scene.text(MEDIUM).contains("test cart::sums ... FAILED"));
    scene.wait(500);
    assert_eq!(asked(&scene), Some(question(90)));
    prints(&mut scene, &[], 90);
    scene.wait(500);
    assert_eq!(asked(&scene), Some(question(90)), "it runs: more may come");
    // It ends while that question is under way: what it printed last is still asked for.
    scene.snapshot(runs::idle(failed()));
    prints(&mut scene, &[], 90);
    scene.wait(500);
    prints(&mut scene, &["error: test failed"], 120);
    scene.wait(500);
    prints(&mut scene, &[], 120);
    scene.wait(5_000);
    assert_eq!(asked(&scene), None, "nothing more can come");
    let text = scene.text(MEDIUM);
    assert!(text.contains("error: test failed"), "{text}");
    assert!(text.contains("Failed   exit status 101"), "{text}");
}

#[test]
fn another_attempt_prints_anew_and_what_cannot_be_read_says_why() {
    let mut scene = Scene::of(runs::idle(parallel()), MEDIUM);
    scene.press(Key::Char('p'));
    scene.press(Key::Char('l'));
    prints(&mut scene, &["first attempt"], 50);
    scene.wait(500);
    let mut again = parallel();
    of(&mut again, "lint").attempts = 2;
    scene.snapshot(runs::idle(again));
    // What was asked of the first attempt does not stand among the second one's lines.
    prints(&mut scene, &["late line"], 70);
    scene.wait(500);
    prints(&mut scene, &["second attempt"], 20);
    let text = scene.text(MEDIUM);
    assert!(
        !text.contains("first attempt") && !text.contains("late line"),
        "{text}"
    );
    assert!(
        text.contains("second attempt") && text.contains("attempt 2"),
        "{text}"
    );

    let mut unread = Scene::of(runs::idle(failed()), MEDIUM);
    unread.press(Key::Char('p'));
    unread.press(Key::Char('l'));
    let text = "its file is gone".into();
    unread.answer(lines_of, Reply::Error { text });
    let text = unread.text(MEDIUM);
    assert!(
        text.contains("the output cannot be read: its file is gone"),
        "{text}"
    );
}

#[test]
fn output_is_searched_like_any_log_and_letters_are_text_there() {
    let mut scene = Scene::of(runs::idle(parallel()), MEDIUM);
    scene.press(Key::Char('p'));
    scene.press(Key::Char('/'));
    assert_eq!(scene.app.runs.level, Level::Log, "of the foremost stage");
    scene.letters("LpXq");
    assert!(scene.app.runs.is_typing());
    assert_eq!(
        (scene.app.overlay.clone(), scene.app.page),
        (None, Page::Runs)
    );
    let text = scene.text(MEDIUM);
    assert!(text.contains("/LpXq_"), "{text}");
    scene.press(Key::Esc);
    scene.press(Key::Esc);
    assert_eq!(scene.app.runs.level, Level::Run);
}

#[test]
fn an_ended_run_tells_how_it_ended() {
    for (result, word) in [
        (RunResult::Passed, "passed in"),
        (RunResult::Canceled, "canceled in"),
    ] {
        let mut run = passed(11);
        run.result = Some(result);
        let mut scene = Scene::of(runs::with(fixture::idle(), vec![run]), MEDIUM);
        scene.press(Key::Char('p'));
        let text = scene.text(MEDIUM);
        assert!(text.contains(word), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn no_size_and_no_keys_panic(
        width in 0u16..=250,
        height in 0u16..=80,
        moment in 0usize..7,
        keys in proptest::collection::vec(0usize..20, 0..8),
    ) {
        let mut unheard = parallel();
        of(&mut unheard, "test").status = "from a newer engine".to_owned();
        unheard.result = None;
        unheard.stages[0].needs = vec!["nobody".parse().expect("valid")];
        let mut bare = parallel();
        bare.stages.clear();
        bare.commit = Some("é".into());
        let moments = [parallel(), failed(), waiting(), unknown(), deploying(), unheard, bare];
        let run = moments.into_iter().nth(moment).expect("there are as many");
        let mut scene = Scene::of(runs::with(fixture::fleet(), vec![run]), (100, 30));
        scene.tell(Msg::Resized(Size { width, height }));
        let all: Vec<_> = "p:XLAPqjklh/01G"
            .chars()
            .map(Key::Char)
            .chain([Key::Enter, Key::Esc, Key::PageDown, Key::Down, Key::Tab])
            .collect();
        for key in keys {
            scene.press(all[key]);
            scene.draw((width, height));
        }
    }
}
