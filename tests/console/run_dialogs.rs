//! What is asked of runs by replayed keys: what confirms, and all that must not.

use super::runs::{self, deploying, failed, of, parallel, pass, unknown, waiting};
use super::scene::{LOCK_MS, Scene};
use super::{fixture, scene};
use wheelhouse::console::app::{Cmd, Msg, Overlay, Page};
use wheelhouse::console::dialog::confirm::{End, Stage};
use wheelhouse::console::input::{Company, Heard, Key};
use wheelhouse::link::LinkEvent;
use wheelhouse::link::wire::{CommandRequest, Reply, Request};
use wheelhouse::model::command::{Answer, Refusal};
use wheelhouse::model::{Clean, Role, RunNumber};
use wheelhouse::view::Snapshot;

const SMALL: (u16, u16) = (80, 24);
const MEDIUM: (u16, u16) = (120, 40);

fn acts(request: &Request) -> bool {
    matches!(
        request,
        Request::TriggerPipeline { .. }
            | Request::CancelPipeline { .. }
            | Request::ConfirmStage { .. }
    )
}

fn sent(scene: &Scene) -> Vec<&Request> {
    let requests = scene.asked.iter().map(|(_, request)| request);
    requests.filter(|request| acts(request)).collect()
}

fn typed(scene: &mut Scene, line: &str) {
    scene.press(Key::Char(':'));
    scene.letters(line);
    scene.press(Key::Enter);
}

/// A dialog that is open and no longer locked.
fn armed(snapshot: Snapshot, key: char) -> Scene {
    let mut scene = Scene::of(snapshot, SMALL);
    scene.press(Key::Char('p'));
    scene.press(Key::Char(key));
    scene.wait(LOCK_MS);
    scene
}

fn stage(scene: &Scene) -> Option<&Stage> {
    match &scene.app.overlay {
        Some(Overlay::Confirm(dialog)) => Some(&dialog.stage),
        _ => None,
    }
}

#[test]
fn dialogs_of_runs_look_as_reviewed() {
    let cancel = armed(runs::with(fixture::soaking(), vec![deploying()]), 'X');
    insta::assert_snapshot!("dialog_cancel_80x24", cancel.text(SMALL));
    let confirm = armed(runs::idle(waiting()), 'L');
    insta::assert_snapshot!("dialog_confirm_80x24", confirm.text(SMALL));
    let unknown = armed(runs::idle(unknown()), 'L');
    insta::assert_snapshot!("dialog_confirm_unknown_80x24", unknown.text(SMALL));
    let mut begin = Scene::of(runs::fleet(), SMALL);
    typed(&mut begin, "pipeline run shop fix-cart");
    begin.wait(LOCK_MS);
    insta::assert_snapshot!("dialog_run_80x24", begin.text(SMALL));
}

#[test]
fn a_run_is_canceled_by_its_key_and_one_y() {
    let mut scene = armed(runs::idle(parallel()), 'X');
    assert!(sent(&scene).is_empty(), "opening sends nothing");
    scene.press(Key::Char('y'));
    let expected = Request::CancelPipeline {
        id: RunNumber(12),
        reason: None,
    };
    assert_eq!(sent(&scene), [&expected]);
    scene.press(Key::Char('y'));
    assert_eq!(sent(&scene).len(), 1, "sent once");
    let answer = Answer::Run {
        seq: 50,
        run: RunNumber(12),
    };
    scene.answer(acts, Reply::Answer { answer });
    assert_eq!(scene.app.overlay, None);
    assert!(scene.text(SMALL).contains("cancel of p12 accepted"));
}

#[test]
fn a_refusal_stays_to_be_read() {
    let mut scene = armed(runs::idle(parallel()), 'X');
    scene.press(Key::Char('y'));
    let why = Refusal::NotNow {
        why: "run p12 is over".into(),
    };
    scene.answer(
        acts,
        Reply::Answer {
            answer: Answer::Refused(why),
        },
    );
    let failed = |stage: Option<&Stage>| {
        matches!(
            stage,
            Some(Stage::Over {
                end: End::Failed,
                ..
            })
        )
    };
    assert!(failed(stage(&scene)));
    assert!(scene.text(SMALL).contains("run p12 is over"));
}

#[test]
fn production_takes_its_name_tab_and_enter() {
    let mut scene = armed(runs::idle(waiting()), 'L');
    scene.press(Key::Char('y'));
    scene.press(Key::Backspace);
    assert!(sent(&scene).is_empty(), "y is no word");
    scene.letters("production");
    scene.press(Key::Tab);
    scene.press(Key::Enter);
    let expected = Request::ConfirmStage {
        id: RunNumber(12),
        stage: "canary".parse().expect("valid"),
    };
    assert_eq!(sent(&scene), [&expected]);
}

#[test]
fn an_unprotected_environment_and_a_mere_stage_take_one_y() {
    let mut open = runs::idle(waiting());
    open.placements[0].protected = false;
    for snapshot in [open, runs::idle(unknown())] {
        let mut scene = armed(snapshot, 'L');
        scene.press(Key::Char('y'));
        assert_eq!(sent(&scene).len(), 1, "{}", scene.text(SMALL));
    }
}

#[test]
fn an_environment_nobody_tells_of_is_taken_for_a_protected_one() {
    let mut snapshot = runs::idle(waiting());
    snapshot.placements[0].placement = "billing@production".parse().expect("valid");
    let mut scene = armed(snapshot, 'X');
    scene.press(Key::Esc);
    let number = "pipeline confirm p12 canary";
    typed(&mut scene, number);
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert!(sent(&scene).is_empty());
    assert!(scene.text(SMALL).contains("Type  production"));
}

#[test]
fn a_run_that_moves_on_under_the_dialog_locks_it_and_says_so() {
    let mut scene = armed(runs::idle(waiting()), 'L');
    scene.letters("production");
    scene.press(Key::Tab);
    let mut elsewhere = deploying();
    of(&mut elsewhere, "canary").rollout = None;
    scene.snapshot(runs::idle(elsewhere));
    let text = scene.text(SMALL);
    assert!(
        text.contains("STATE CHANGED: p12 canary is running now"),
        "{text}"
    );
    assert!(text.contains("does not wait for a person"), "{text}");
    scene.wait(LOCK_MS);
    scene.press(Key::Enter);
    assert!(sent(&scene).is_empty());
}

#[test]
fn a_cancel_is_stopped_by_a_deploy_that_begins_not_by_a_stage_more() {
    let mut scene = armed(runs::idle(parallel()), 'X');
    let mut on = parallel();
    pass(&mut on, "lint", 50_000);
    scene.snapshot(runs::idle(on));
    let text = scene.text(SMALL);
    assert!(
        text.contains("end test, under way") && !text.contains("STATE CHANGED"),
        "{text}"
    );
    scene.press(Key::Char('y'));
    assert_eq!(sent(&scene).len(), 1);

    let mut scene = armed(runs::idle(waiting()), 'X');
    scene.snapshot(runs::with(fixture::soaking(), vec![deploying()]));
    scene.press(Key::Char('y'));
    assert!(sent(&scene).is_empty());
    let text = scene.text(SMALL);
    assert!(text.contains("STATE CHANGED"), "{text}");
    assert!(
        text.contains("rollout #1841 of shop@production; there A aborts it"),
        "{text}"
    );

    let mut over = armed(runs::idle(parallel()), 'X');
    over.snapshot(runs::idle(failed()));
    over.wait(LOCK_MS);
    over.press(Key::Char('y'));
    assert!(sent(&over).is_empty());
    assert!(over.text(SMALL).contains("p12 is over: failed"));
}

#[test]
fn another_run_of_the_same_number_is_another_run() {
    let mut scene = armed(runs::idle(parallel()), 'X');
    let mut other = parallel();
    other.id = wheelhouse::model::RunId(uuid::Uuid::from_u128(7));
    scene.snapshot(runs::idle(other));
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert!(sent(&scene).is_empty());
    assert!(
        scene
            .text(SMALL)
            .contains("STATE CHANGED: p12 is not there any more")
    );
}

#[test]
fn a_lost_engine_leaves_the_outcome_unknown_and_sends_nothing_again() {
    let mut scene = armed(runs::idle(parallel()), 'X');
    scene.press(Key::Char('y'));
    scene.asked.clear();
    let why = "gone".into();
    scene.tell(Msg::Link(LinkEvent::Disconnected { why }));
    let unknown = |stage: Option<&Stage>| {
        matches!(
            stage,
            Some(Stage::Over {
                end: End::Unknown,
                ..
            })
        )
    };
    assert!(unknown(stage(&scene)));
    scene.connect();
    scene.snapshot(runs::idle(parallel()));
    scene.wait(60_000);
    assert!(sent(&scene).is_empty());
}

#[test]
fn held_keys_bursts_and_pastes_end_no_run() {
    let mut scene = Scene::of(runs::idle(parallel()), SMALL);
    for key in [Key::Char('X'), Key::Char('y'), Key::Enter] {
        scene.tell(Msg::Heard(Heard::Key(key, Company::Crowd)));
    }
    let mut held = armed(runs::idle(parallel()), 'X');
    for _ in 0..5 {
        held.now_ms += 33;
        held.tell(Msg::Heard(Heard::Key(Key::Char('X'), Company::Alone)));
    }
    held.tell(Msg::Heard(Heard::Key(Key::Char('y'), Company::Alone)));
    let mut pasted = armed(runs::idle(waiting()), 'L');
    pasted.tell(Msg::Heard(Heard::Paste));
    pasted.press(Key::Tab);
    pasted.press(Key::Enter);
    for scene in [scene, held, pasted] {
        assert!(sent(&scene).is_empty());
    }
}

#[test]
fn the_palette_begins_cancels_and_confirms_by_name() {
    let begin = |line: &str, pipeline: Option<&str>, branch: Option<&str>| {
        let mut scene = Scene::of(runs::fleet(), MEDIUM);
        typed(&mut scene, line);
        scene.wait(LOCK_MS);
        scene.press(Key::Char('y'));
        let expected = Request::TriggerPipeline {
            pipeline: pipeline.map(|name| name.parse().expect("valid")),
            branch: branch.map(Clean::new),
            commit: None,
            environment: None,
            reason: None,
            request_id: None,
        };
        assert_eq!(sent(&scene), [&expected]);
    };
    begin("pipeline run", None, None);
    begin("pipeline run shop", Some("shop"), None);
    begin("pipeline run shop fix/cart", Some("shop"), Some("fix/cart"));

    let mut scene = Scene::of(runs::fleet(), MEDIUM);
    typed(&mut scene, "pipeline cancel p12");
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    let expected = Request::CancelPipeline {
        id: RunNumber(12),
        reason: None,
    };
    assert_eq!(sent(&scene), [&expected]);

    let mut none = Scene::of(runs::fleet(), MEDIUM);
    typed(&mut none, "pipeline cancel p99");
    assert!(none.text(MEDIUM).contains("there is no run p99"));
    let mut list = Scene::of(runs::fleet(), MEDIUM);
    typed(&mut list, "pipeline");
    assert_eq!(list.app.page, Page::Runs);
}

#[test]
fn from_a_placement_the_keys_mean_its_run() {
    let mut scene = Scene::of(runs::idle(waiting()), MEDIUM);
    let text = scene.text(MEDIUM);
    assert!(
        text.contains("p12 canary: a person lets it begin: L asks for it"),
        "{text}"
    );
    scene.press(Key::Char('L'));
    scene.wait(LOCK_MS);
    scene.letters("production");
    scene.press(Key::Tab);
    scene.press(Key::Enter);
    assert_eq!(sent(&scene).len(), 1);

    let mut none = Scene::of(fixture::idle(), MEDIUM);
    none.press(Key::Char('X'));
    assert_eq!(none.app.overlay, None);
    assert!(
        none.text(MEDIUM)
            .contains("no run of a pipeline is selected")
    );
    let mut over = Scene::of(runs::idle(failed()), MEDIUM);
    over.press(Key::Char('X'));
    assert!(over.text(MEDIUM).contains("p12 is over: failed"));
}

#[test]
fn among_runs_an_abort_means_the_deploy_that_is_shown_or_nothing() {
    let mut several = runs::with(fixture::fleet(), vec![deploying(), runs::nightly(11)]);
    several.placements.rotate_left(1);
    let mut scene = Scene::of(several, MEDIUM);
    scene.app.selected = Some("billing@staging".parse().expect("valid"));
    scene.press(Key::Char('p'));
    assert!(scene.text(MEDIUM).contains(" A abort "));
    scene.press(Key::Char('A'));
    scene.preview(scene::abort());
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    let commands = scene.commands();
    let Some(Request::Command {
        command: CommandRequest::Abort { placement, .. },
    }) = commands.first()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(*placement, fixture::placement());

    let mut nothing = Scene::of(
        runs::with(fixture::soaking(), vec![runs::nightly(11)]),
        MEDIUM,
    );
    nothing.press(Key::Char('p'));
    nothing.press(Key::Char('A'));
    assert_eq!(nothing.app.overlay, None);
    assert!(
        nothing
            .text(MEDIUM)
            .contains("no placement is selected here")
    );
}

#[test]
fn a_viewer_and_a_lost_engine_open_no_dialog() {
    let mut viewer = Scene::of(runs::idle(waiting()), MEDIUM);
    viewer.connect_as(Role::Viewer);
    let mut lost = Scene::of(runs::idle(waiting()), MEDIUM);
    let why = "gone".into();
    lost.tell(Msg::Link(LinkEvent::Disconnected { why }));
    for mut scene in [viewer, lost] {
        for key in ['X', 'L'] {
            scene.press(Key::Char(key));
            assert_eq!(scene.app.overlay, None, "{key}");
        }
        typed(&mut scene, "pipeline run");
        assert_eq!(scene.app.overlay, None);
        assert!(scene.app.toast_text().is_some(), "it says why");
    }
}

#[test]
fn somebody_away_is_called_when_a_run_waits_or_fails() {
    for (run, said) in [
        (waiting(), "p12 waits for a person"),
        (failed(), "p12 failed"),
    ] {
        let mut scene = Scene::of(runs::idle(parallel()), SMALL);
        scene.tell(Msg::Heard(Heard::FocusLost));
        scene.snapshot(runs::idle(run.clone()));
        scene.snapshot(runs::idle(run));
        assert_eq!(scene.cmds, [Cmd::Call(said.to_owned())], "once");
    }
}

#[test]
fn leaving_says_that_the_run_goes_on() {
    let mut scene = Scene::of(runs::with(fixture::soaking(), vec![deploying()]), SMALL);
    scene.press(Key::Char('q'));
    let text = scene.text(SMALL);
    assert!(text.contains("Rollout #1841, Run p12 go on"), "{text}");
}

#[test]
fn what_cannot_be_drawn_cannot_be_agreed_to() {
    let tiny = (30, 5);
    let mut scene = Scene::of(runs::idle(parallel()), tiny);
    scene.press(Key::Char('p'));
    scene.press(Key::Char('X'));
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert!(sent(&scene).is_empty());
    assert!(scene.text(tiny).contains("enlarge to cancel"));
}
