//! Dialogs by replayed keys: what confirms, and all that must not.

use super::fixture;
use super::scene::{LOCK_MS, Scene, abort, promote};
use ratatui::layout::Size;
use wheelhouse::console::app::{Cmd, ConsoleEnd, Msg, Overlay};
use wheelhouse::console::dialog::confirm::{End, Stage};
use wheelhouse::console::input::{Company, Decoder, Heard, Key};
use wheelhouse::link::LinkEvent;
use wheelhouse::link::wire::{CommandRequest, Reply, Request};
use wheelhouse::model::command::{Answer, PromoteTo, Refusal};
use wheelhouse::model::{Role, RolloutId, RolloutNumber};
use wheelhouse::view::Preview;

const SIZE: (u16, u16) = (80, 24);

fn opened(key: char, preview: Preview) -> Scene {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char(key));
    scene.preview(preview);
    scene
}

fn armed(key: char, preview: Preview) -> Scene {
    let mut scene = opened(key, preview);
    scene.wait(LOCK_MS);
    scene
}

/// Bytes as a terminal sends them at one moment.
fn bytes(scene: &mut Scene, bytes: &[u8]) {
    let mut decoder = Decoder::new(40);
    for heard in decoder.feed(bytes, scene.now_ms) {
        scene.tell(Msg::Heard(heard));
    }
}

fn stage(scene: &Scene) -> Option<&Stage> {
    match &scene.app.overlay {
        Some(Overlay::Confirm(dialog)) => Some(&dialog.stage),
        _ => None,
    }
}

#[test]
fn tier_one_takes_one_y_once_it_is_armed() {
    let mut scene = armed('A', abort());
    scene.press(Key::Char('y'));
    let expected = Request::Command {
        command: CommandRequest::Abort {
            placement: fixture::placement(),
            reason: None,
        },
    };
    assert_eq!(scene.commands(), [&expected]);
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 1, "sent once");
    let answer = Answer::Accepted {
        seq: 50,
        number: RolloutNumber(1_841),
        revision: 14,
    };
    scene.answer(
        |request| matches!(request, Request::Command { .. }),
        Reply::Answer { answer },
    );
    assert_eq!(scene.app.overlay, None, "the screen shows the rest");
    assert!(scene.text(SIZE).contains("abort of #1841 accepted"));
}

/// Whatever is being read or waited for, an abort is one key away.
#[test]
fn an_abort_is_asked_for_over_help_results_and_pending_answers() {
    let aborts = |scene: &Scene| match &scene.app.overlay {
        Some(Overlay::Confirm(dialog)) => dialog.word() == "abort",
        _ => false,
    };
    let mut help = Scene::of(fixture::soaking(), SIZE);
    help.press(Key::Char('?'));
    help.press(Key::Char('A'));
    assert!(aborts(&help));

    let mut pending = armed('H', abort());
    pending.press(Key::Char('y'));
    assert!(matches!(stage(&pending), Some(Stage::Waiting { .. })));
    pending.press(Key::Char('P'));
    assert!(matches!(stage(&pending), Some(Stage::Waiting { .. })));
    pending.press(Key::Char('A'));
    assert!(aborts(&pending));

    let mut refused = armed('H', abort());
    refused.press(Key::Char('y'));
    let why = Refusal::NotNow { why: "no".into() };
    refused.answer(
        |request| matches!(request, Request::Command { .. }),
        Reply::Answer {
            answer: Answer::Refused(why),
        },
    );
    assert!(matches!(stage(&refused), Some(Stage::Over { .. })));
    refused.press(Key::Char('A'));
    assert!(aborts(&refused));
    assert!(refused.commands().is_empty(), "opening sends nothing");
}

#[test]
fn a_note_is_written_without_a_dialog() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char(':'));
    scene.letters("note page acknowledged");
    scene.press(Key::Enter);
    let note = Request::Command {
        command: CommandRequest::Note {
            placement: fixture::placement(),
            text: "page acknowledged".into(),
        },
    };
    assert_eq!(scene.commands(), [&note]);
    assert_eq!(scene.app.overlay, None);
}

#[test]
fn tier_two_takes_word_tab_enter_and_carries_the_revision() {
    let mut scene = armed('P', promote());
    scene.letters("production");
    assert_eq!(scene.commands().len(), 0);
    scene.press(Key::Tab);
    scene.press(Key::Enter);
    let expected = Request::Command {
        command: CommandRequest::Promote {
            placement: fixture::placement(),
            to: PromoteTo::Next,
            revision: 12,
        },
    };
    assert_eq!(scene.commands(), [&expected]);
}

#[test]
fn enter_confirms_nowhere_else() {
    let mut one = armed('A', abort());
    one.press(Key::Enter);
    assert_eq!(one.app.overlay, None, "it cancels");
    let mut two = armed('P', promote());
    two.letters("production");
    two.press(Key::Enter);
    assert_eq!(two.app.overlay, None, "Tab was missing");
    let mut short = armed('P', promote());
    short.letters("productio");
    short.press(Key::Tab);
    short.press(Key::Enter);
    let mut wrong = armed('P', promote());
    wrong.letters("Production");
    wrong.press(Key::Tab);
    wrong.press(Key::Enter);
    for scene in [one, two, short, wrong] {
        assert_eq!(scene.commands().len(), 0);
    }
}

#[test]
fn y_never_confirms_tier_two() {
    let mut scene = armed('P', promote());
    scene.letters("yyy");
    assert_eq!(scene.commands().len(), 0);
}

#[test]
fn what_was_typed_ahead_confirms_nothing() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    bytes(&mut scene, b"Ay\r");
    assert_eq!(scene.app.overlay, None, "Enter closed it");
    bytes(&mut scene, b"Ayyyy");
    scene.preview(abort());
    scene.wait(LOCK_MS / 2);
    bytes(&mut scene, b"y");
    scene.wait(LOCK_MS / 2 + 1);
    assert_eq!(scene.commands().len(), 0);
    // The lock begins anew with every y that comes too early.
    bytes(&mut scene, b"y");
    assert_eq!(scene.commands().len(), 0);
    scene.wait(LOCK_MS);
    bytes(&mut scene, b"y");
    assert_eq!(scene.commands().len(), 1, "and opens in the end");
}

#[test]
fn held_keys_and_storms_confirm_nothing() {
    for keys in ["A", "y", "\r", "Ay", "Ay\r", "P\r", "HyHy"] {
        let mut scene = armed('A', abort());
        for _ in 0..100 {
            // As fast as a keyboard repeats, and at once.
            scene.wait(33);
            bytes(&mut scene, keys.as_bytes());
            bytes(&mut scene, keys.repeat(3).as_bytes());
        }
        let first_y_alone = keys == "y";
        let sent = scene.commands().len();
        assert!(sent <= usize::from(first_y_alone), "{keys:?}: {sent}");
    }
}

#[test]
fn a_held_trigger_locks_again() {
    let mut scene = armed('A', abort());
    for _ in 0..5 {
        scene.wait(33);
        scene.tell(Msg::Heard(Heard::Key(Key::Char('A'), Company::Alone)));
    }
    scene.wait(100);
    scene.tell(Msg::Heard(Heard::Key(Key::Char('y'), Company::Alone)));
    assert_eq!(scene.commands().len(), 0);
}

#[test]
fn a_paste_is_never_text() {
    let mut scene = armed('P', promote());
    bytes(&mut scene, b"\x1b[200~production\x1b[201~");
    assert!(scene.text(SIZE).contains("paste ignored - type it"));
    // Without marks: the whole word at once.
    bytes(&mut scene, b"production");
    assert!(scene.text(SIZE).contains("paste ignored - type it"));
    scene.press(Key::Tab);
    scene.press(Key::Enter);
    assert_eq!(scene.commands().len(), 0);
    // A slow line that brings a few keys together is none.
    let mut slow = armed('P', promote());
    for part in ["prod", "uct", "ion"] {
        slow.wait(120);
        bytes(&mut slow, part.as_bytes());
    }
    slow.press(Key::Tab);
    slow.press(Key::Enter);
    assert_eq!(slow.commands().len(), 1);
}

#[test]
fn an_arrow_key_split_by_the_line_is_no_abort() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    let mut decoder = Decoder::new(40);
    for final_byte in b"ABCDHFPQRSZ" {
        for (at_ms, part) in [(0, &b"\x1b"[..]), (60, b"["), (120, &[*final_byte])] {
            let now_ms = scene.now_ms + at_ms;
            let told = decoder.feed(part, now_ms).into_iter();
            for heard in told.chain(decoder.tick(now_ms + 50)) {
                scene.tell(Msg::Heard(heard));
            }
        }
        scene.wait(2_000);
        assert_eq!(scene.app.overlay, None, "{}", char::from(*final_byte));
    }
}

#[test]
fn a_risen_revision_locks_again_and_says_so() {
    let mut scene = armed('P', promote());
    scene.letters("production");
    scene.press(Key::Tab);
    scene.snapshot(fixture::held());
    assert!(
        scene.text(SIZE).contains("STATE CHANGED"),
        "{}",
        scene.text(SIZE)
    );
    scene.press(Key::Enter);
    assert_eq!(scene.commands().len(), 0);
    assert_eq!(scene.app.overlay, None, "the button was Cancel again");

    let mut again = armed('P', promote());
    again.letters("production");
    again.snapshot(fixture::held());
    let preview = Preview {
        revision: 13,
        ..promote()
    };
    again.preview(preview);
    again.wait(LOCK_MS);
    again.letters("production");
    again.press(Key::Tab);
    again.press(Key::Enter);
    let commands = again.commands();
    let Some(Request::Command {
        command: CommandRequest::Promote { revision, .. },
    }) = commands.first()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(*revision, 13);
}

#[test]
fn an_abort_is_not_stopped_by_a_revision_but_by_another_rollout() {
    let mut scene = armed('A', abort());
    scene.snapshot(fixture::held());
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 1);
    let mut other = armed('A', abort());
    let mut snapshot = fixture::soaking();
    let open = snapshot.placements[0].rollout.as_mut().expect("open");
    open.id = RolloutId(uuid::Uuid::from_u128(99));
    open.number = RolloutNumber(1_842);
    other.snapshot(snapshot);
    other.press(Key::Char('y'));
    assert_eq!(other.commands().len(), 0);
    assert!(other.text(SIZE).contains("STATE CHANGED: #1842"));
}

#[test]
fn a_dialog_acts_on_what_it_was_opened_for() {
    let mut scene = Scene::of(fixture::fleet(), SIZE);
    scene.press(Key::Enter);
    scene.press(Key::Char('A'));
    let selected = scene.app.selected.clone();
    assert_eq!(selected, Some(fixture::placement()));
    let mut fewer = fixture::fleet();
    fewer
        .placements
        .retain(|view| view.placement != "billing@production".parse().expect("valid"));
    scene.snapshot(fewer);
    assert_eq!(scene.app.selected, selected, "a name, not a row");
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    let commands = scene.commands();
    let Some(Request::Command { command }) = commands.first() else {
        panic!("{commands:?}");
    };
    assert_eq!(*command.placement(), fixture::placement());
}

#[test]
fn a_lost_engine_leaves_the_outcome_unknown_and_sends_nothing_again() {
    let mut scene = armed('A', abort());
    scene.press(Key::Char('y'));
    scene.asked.clear();
    let why = "connection reset".into();
    scene.tell(Msg::Link(LinkEvent::Disconnected { why }));
    assert!(matches!(
        stage(&scene),
        Some(Stage::Over {
            end: End::Unknown,
            ..
        })
    ));
    scene.connect();
    scene.snapshot(fixture::soaking());
    scene.wait(60_000);
    assert_eq!(scene.commands().len(), 0);

    let mut silent = armed('A', abort());
    silent.press(Key::Char('y'));
    silent.wait(20_000);
    assert!(matches!(
        stage(&silent),
        Some(Stage::Over {
            end: End::Unknown,
            ..
        })
    ));
}

#[test]
fn without_an_engine_no_dialog_opens_and_the_reason_is_told() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    let why = "gone".into();
    scene.tell(Msg::Link(LinkEvent::Disconnected { why }));
    scene.press(Key::Char('A'));
    assert_eq!(scene.app.overlay, None);
    assert!(scene.text(SIZE).contains("not connected to an engine"));
}

#[test]
fn a_refusal_can_only_be_closed() {
    let refused = Preview {
        refused: Some(Refusal::NotNow {
            why: "not every target was read".into(),
        }),
        ..promote()
    };
    let mut scene = armed('P', refused);
    scene.letters("production");
    scene.press(Key::Tab);
    assert!(
        scene
            .text(SIZE)
            .contains("Not possible: not every target was read")
    );
    scene.press(Key::Enter);
    assert_eq!(scene.commands().len(), 0);
    assert_eq!(scene.app.overlay, None);
}

#[test]
fn what_cannot_be_drawn_cannot_be_confirmed_save_abort_and_hold() {
    let tiny = (20, 1);
    for (key, works) in [('A', true), ('H', true), ('R', false)] {
        let mut scene = Scene::of(fixture::soaking(), tiny);
        scene.press(Key::Char(key));
        scene.preview(abort());
        scene.wait(LOCK_MS);
        let line = scene.text(tiny);
        scene.press(Key::Char('y'));
        assert_eq!(scene.commands().len(), usize::from(works), "{key}: {line}");
        if key == 'A' {
            assert_eq!(line, "abort #1841? y");
        }
    }
    let mut promoting = Scene::of(fixture::soaking(), (60, 10));
    promoting.press(Key::Char('P'));
    promoting.preview(promote());
    promoting.wait(LOCK_MS);
    promoting.letters("production");
    promoting.press(Key::Tab);
    promoting.press(Key::Enter);
    assert_eq!(promoting.commands().len(), 0);
}

#[test]
fn an_abort_waits_for_no_preview() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char('A'));
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 1);
    let mut promoting = Scene::of(fixture::soaking(), SIZE);
    promoting.press(Key::Char('P'));
    promoting.wait(LOCK_MS);
    promoting.letters("yproduction");
    promoting.press(Key::Tab);
    promoting.press(Key::Enter);
    assert_eq!(promoting.commands().len(), 0, "a promotion does");
}

#[test]
fn hold_becomes_resume_when_held() {
    let mut scene = Scene::of(fixture::held(), SIZE);
    scene.press(Key::Char('H'));
    let asks_resume = |(_, request): &(u64, Request)| {
        matches!(
            request,
            Request::Preview {
                command: CommandRequest::Resume { revision: 13, .. }
            }
        )
    };
    assert!(scene.asked.iter().any(asks_resume));
}

#[test]
fn quitting_says_that_the_rollout_goes_on() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char('q'));
    assert!(scene.text(SIZE).contains("Rollout #1841 goes on"));
    scene.press(Key::Esc);
    assert!(scene.cmds.is_empty());
    scene.press(Key::Char('q'));
    scene.press(Key::Char('q'));
    assert_eq!(scene.cmds, [Cmd::Leave(ConsoleEnd::Left)]);
    let mut idle = Scene::of(fixture::idle(), SIZE);
    idle.press(Key::Char('q'));
    assert_eq!(idle.cmds, [Cmd::Leave(ConsoleEnd::Left)]);
    let mut twice = Scene::of(fixture::soaking(), SIZE);
    twice.press(Key::Ctrl('c'));
    assert!(twice.cmds.is_empty());
    twice.press(Key::Ctrl('c'));
    assert_eq!(twice.cmds, [Cmd::Leave(ConsoleEnd::Left)]);
}

#[test]
fn the_palette_leads_to_the_same_guard() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char(':'));
    scene.letters("promote --full");
    scene.press(Key::Enter);
    scene.preview(promote());
    // The Enter that opened it is still held.
    for _ in 0..20 {
        scene.wait(33);
        scene.tell(Msg::Heard(Heard::Key(Key::Enter, Company::Alone)));
    }
    assert_eq!(scene.commands().len(), 0);
}

#[test]
fn a_suspension_cancels_dialogs() {
    let mut scene = armed('A', abort());
    scene.tell(Msg::Resumed);
    assert_eq!(scene.app.overlay, None);
    scene.tell(Msg::Resized(Size {
        width: 80,
        height: 24,
    }));
    assert_eq!(scene.commands().len(), 0);
}

#[test]
fn a_storm_of_openings_uses_up_nothing_an_abort_needs() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    for _ in 0..50 {
        scene.press(Key::Char('P'));
        scene.press(Key::Esc);
    }
    let previews = |(_, request): &&(u64, Request)| matches!(request, Request::Preview { .. });
    assert!(scene.asked.iter().filter(previews).count() <= 3);
    scene.press(Key::Char('A'));
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 1);
}

#[test]
fn an_abort_needs_no_text_where_the_engine_gives_none() {
    let mut scene = Scene::of(fixture::soaking(), SIZE);
    scene.press(Key::Char('A'));
    let text = "too busy".into();
    scene.answer(
        |request| matches!(request, Request::Preview { .. }),
        Reply::Error { text },
    );
    assert!(scene.text(SIZE).contains("no preview: too busy"));
    scene.wait(LOCK_MS);
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 1);
}

#[test]
fn an_esc_that_arrives_with_the_next_key_still_cancels() {
    let mut scene = armed('A', abort());
    bytes(&mut scene, b"\x1bH");
    scene.wait(1_000);
    scene.press(Key::Char('y'));
    assert_eq!(scene.commands().len(), 0);
}

#[test]
fn a_viewer_is_told_so_and_nothing_opens() {
    let mut scene = Scene::of(fixture::soaking(), (120, 40));
    scene.connect_as(Role::Viewer);
    for key in ['P', 'H', 'A', 'R'] {
        scene.press(Key::Char(key));
        assert!(scene.app.overlay.is_none(), "{key}");
        let told = scene.app.toast_text().expect("told why");
        assert!(told.contains("you are a viewer here"), "{told}");
    }
    assert!(scene.commands().is_empty());
    let text = scene.text((120, 40));
    assert!(text.contains("(viewer)"), "{text}");
    scene.connect_as(Role::Operator);
    scene.press(Key::Char('A'));
    assert!(scene.app.overlay.is_some(), "an operator may");
}
