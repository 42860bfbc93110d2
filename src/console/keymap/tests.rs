use super::*;

fn binding(action: &str, key: &str) -> KeyBinding {
    KeyBinding {
        action: action.to_owned(),
        key: key.to_owned(),
        position: Position {
            file: "w.toml".into(),
            line: 3,
            column: 1,
        },
    }
}

#[test]
fn no_two_actions_share_a_key_and_every_action_has_one() {
    let keys: usize = ROWS.iter().map(|row| row.keys.len()).sum();
    let map = Keymap::default();
    assert_eq!(map.actions.len(), keys);
    assert!(ROWS.iter().all(|row| !row.keys.is_empty()));
}

#[test]
fn only_capitals_and_dialogs_change_the_world() {
    for action in [
        Action::Promote,
        Action::Abort,
        Action::Rollback,
        Action::Hold,
        Action::CancelRun,
        Action::ConfirmStage,
    ] {
        let key = Keymap::default().key(action);
        assert!(matches!(key, Some(Key::Char('A'..='Z'))), "{action:?}");
    }
}

#[test]
fn a_remap_replaces_and_a_clash_names_both() {
    let map = Keymap::new(&[binding("zoom", "ctrl-f")]).expect("free");
    assert_eq!(map.action(Key::Ctrl('f')), Some(Action::Zoom));
    assert_eq!(map.action(Key::Char('z')), None);
    let error = Keymap::new(&[binding("zoom", "P")]).expect_err("taken");
    let text = error.to_string();
    assert!(
        text.contains("w.toml:3:1: keys.zoom: P is the key of promote"),
        "{text}"
    );
    let swapped = [binding("zoom", "w"), binding("wrap", "z")];
    assert!(Keymap::new(&swapped).is_ok(), "swapping is no clash");
    for bad in [
        ("zoom", "y"),
        ("zoom", "7"),
        ("zoom", "esc"),
        ("zap", "x"),
        ("zoom", "xx"),
    ] {
        assert!(Keymap::new(&[binding(bad.0, bad.1)]).is_err(), "{bad:?}");
    }
}
