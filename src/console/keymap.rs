//! One table of keys: what the console obeys, what `?` shows, what the README prints.
//!
//! Small letters look; capital letters open a dialog; nothing changes the world by one key.

use super::input::Key;
use crate::config::{KeyBinding, Position};
use std::collections::BTreeMap;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The table below says it.
pub enum Action {
    Promote,
    Abort,
    Rollback,
    Hold,
    CancelRun,
    ConfirmStage,
    Pipelines,
    Help,
    Palette,
    Search,
    NextMatch,
    PreviousMatch,
    Filter,
    NextPane,
    PreviousPane,
    Zoom,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Left,
    Right,
    Open,
    Back,
    Follow,
    Wrap,
    Source,
    Redraw,
    Suspend,
    Quit,
}

/// One row of the table.
struct Row {
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    help: &'static str,
}

const fn row(action: Action, name: &'static str, keys: &'static [Key], help: &'static str) -> Row {
    Row {
        action,
        name,
        keys,
        help,
    }
}

const ROWS: [Row; 32] = [
    row(
        Action::Promote,
        "promote",
        &[Key::Char('P')],
        "promote: forward to the next step (:promote --full for 100 %)",
    ),
    row(
        Action::Abort,
        "abort",
        &[Key::Char('A')],
        "abort: end this rollout, traffic back to stable",
    ),
    row(
        Action::Rollback,
        "rollback",
        &[Key::Char('R')],
        "rollback: return to the previous verified version at once",
    ),
    row(
        Action::Hold,
        "hold",
        &[Key::Char('H')],
        "hold automatic progress; when held: resume",
    ),
    row(
        Action::Pipelines,
        "pipelines",
        &[Key::Char('p')],
        "runs of pipelines: enter opens one, l a stage's output",
    ),
    row(
        Action::CancelRun,
        "cancel-run",
        &[Key::Char('X')],
        "cancel the run of a pipeline that is shown",
    ),
    row(
        Action::ConfirmStage,
        "confirm-stage",
        &[Key::Char('L')],
        "let the stage begin that waits for a person",
    ),
    row(
        Action::Help,
        "help",
        &[Key::Char('?'), Key::F(1)],
        "this help",
    ),
    row(
        Action::Palette,
        "palette",
        &[Key::Char(':')],
        "type a command",
    ),
    row(
        Action::NextPane,
        "next-pane",
        &[Key::Tab],
        "next pane (0-9 jump to one)",
    ),
    row(
        Action::PreviousPane,
        "previous-pane",
        &[Key::BackTab],
        "previous pane",
    ),
    row(
        Action::Zoom,
        "zoom",
        &[Key::Char('z')],
        "this pane alone on the screen, and back",
    ),
    row(
        Action::Open,
        "open",
        &[Key::Enter],
        "open what is selected; never confirms",
    ),
    row(
        Action::Back,
        "back",
        &[Key::Esc],
        "one level back; never changes anything",
    ),
    row(Action::Up, "up", &[Key::Char('k'), Key::Up], "up"),
    row(Action::Down, "down", &[Key::Char('j'), Key::Down], "down"),
    row(
        Action::PageUp,
        "page-up",
        &[Key::PageUp, Key::Ctrl('u')],
        "a page up",
    ),
    row(
        Action::PageDown,
        "page-down",
        &[Key::PageDown, Key::Ctrl('d')],
        "a page down",
    ),
    row(
        Action::Top,
        "top",
        &[Key::Char('g'), Key::Home],
        "to the beginning",
    ),
    row(
        Action::Bottom,
        "bottom",
        &[Key::Char('G'), Key::End],
        "to the end",
    ),
    row(
        Action::Left,
        "left",
        &[Key::Char('h'), Key::Left],
        "scroll left",
    ),
    row(
        Action::Right,
        "right",
        &[Key::Char('l'), Key::Right],
        "scroll right; in pipelines: deeper",
    ),
    row(Action::Search, "search", &[Key::Char('/')], "logs: search"),
    row(
        Action::NextMatch,
        "next-match",
        &[Key::Char('n')],
        "logs: next match",
    ),
    row(
        Action::PreviousMatch,
        "previous-match",
        &[Key::Char('N')],
        "logs: previous match",
    ),
    row(
        Action::Filter,
        "filter",
        &[Key::Char('&')],
        "logs: only matching lines (! first: only the others)",
    ),
    row(
        Action::Follow,
        "follow",
        &[Key::Char('f')],
        "logs: follow the newest line, or stay",
    ),
    row(
        Action::Wrap,
        "wrap",
        &[Key::Char('w')],
        "logs: wrap long lines, or cut them",
    ),
    row(
        Action::Source,
        "source",
        &[Key::Char('v')],
        "logs: of all instances, the canary's or stable's",
    ),
    row(
        Action::Redraw,
        "redraw",
        &[Key::Ctrl('l')],
        "draw the whole screen again",
    ),
    row(
        Action::Suspend,
        "suspend",
        &[Key::Ctrl('z')],
        "back to the shell for a while (fg returns)",
    ),
    row(
        Action::Quit,
        "quit",
        &[Key::Char('q')],
        "close this view; quit the console (rollouts go on)",
    ),
];

/// Keys whose meaning is a promise.
const RESERVED: [Key; 4] = [Key::Enter, Key::Esc, Key::Char('y'), Key::Ctrl('c')];

/// Why `[keys]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeymapError {
    /// No such action.
    #[error("{position}: keys.{action}: there is no such action; actions are {known}")]
    Action {
        /// Where.
        position: Position,
        /// As written.
        action: String,
        /// Those there are.
        known: String,
    },
    /// No such key.
    #[error("{position}: keys.{action}: {why}")]
    Key {
        /// Where.
        position: Position,
        /// Whose.
        action: String,
        /// What is wrong with it, and the mend.
        why: String,
    },
    /// Two actions on one key.
    #[error(
        "{position}: keys.{action}: {key} is the key of {other} already; give one of them another"
    )]
    Clash {
        /// Where.
        position: Position,
        /// One action.
        action: String,
        /// The other.
        other: String,
        /// The key.
        key: String,
    },
}

/// The keys in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    actions: BTreeMap<Key, Action>,
    keys: BTreeMap<Action, Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = ROWS.iter().map(|row| (row.action, row.keys.to_vec()));
        Self::of(keys.collect())
    }
}

impl Keymap {
    fn of(keys: BTreeMap<Action, Vec<Key>>) -> Self {
        let actions = keys
            .iter()
            .flat_map(|(action, keys)| keys.iter().map(|key| (*key, *action)))
            .collect();
        Self { actions, keys }
    }

    /// The table with a person's own keys in it; a remapped action loses its old keys.
    ///
    /// # Errors
    /// When an action or key does not exist, is reserved, or two actions share a key.
    pub fn new(own: &[KeyBinding]) -> Result<Self, KeymapError> {
        let mut keys = Self::default().keys;
        for binding in own {
            let (action, key) = parse(binding)?;
            keys.insert(action, vec![key]);
        }
        for binding in own {
            let (action, key) = parse(binding)?;
            let other = keys
                .iter()
                .find(|(other, keys)| **other != action && keys.contains(&key));
            if let Some((other, _)) = other {
                return Err(KeymapError::Clash {
                    position: binding.position.clone(),
                    action: binding.action.clone(),
                    other: name(*other).to_owned(),
                    key: key.to_string(),
                });
            }
        }
        Ok(Self::of(keys))
    }

    /// What a key asks for.
    pub fn action(&self, key: Key) -> Option<Action> {
        self.actions.get(&key).copied()
    }

    /// An action's first key, for hints.
    pub fn key(&self, action: Action) -> Option<Key> {
        self.keys.get(&action)?.first().copied()
    }

    /// Every action: its keys, and what it does.
    pub fn rows(&self) -> Vec<(String, &'static str)> {
        let texts = |action| {
            let keys = self.keys.get(&action).into_iter().flatten();
            keys.map(Key::to_string).collect::<Vec<_>>().join(" ")
        };
        ROWS.iter()
            .map(|row| (texts(row.action), row.help))
            .collect()
    }
}

fn name(action: Action) -> &'static str {
    let row = ROWS.iter().find(|row| row.action == action);
    row.map_or("", |row| row.name)
}

fn parse(binding: &KeyBinding) -> Result<(Action, Key), KeymapError> {
    let wrong = |why: String| KeymapError::Key {
        position: binding.position.clone(),
        action: binding.action.clone(),
        why,
    };
    let row = ROWS.iter().find(|row| row.name == binding.action);
    let row = row.ok_or_else(|| KeymapError::Action {
        position: binding.position.clone(),
        action: binding.action.clone(),
        known: ROWS.map(|row| row.name).join(", "),
    })?;
    let key: Key = binding
        .key
        .parse()
        .map_err(|error: super::input::KeyError| wrong(error.to_string()))?;
    let own = row.keys.contains(&key);
    let digit = matches!(key, Key::Char('0'..='9'));
    if !own && (digit || RESERVED.contains(&key)) {
        return Err(wrong(format!("{key} cannot be changed; take another key")));
    }
    Ok((row.action, key))
}

/// The table as shipped: keys, and what they do.
pub fn table() -> Vec<(String, &'static str)> {
    Keymap::default().rows()
}

#[cfg(test)]
mod tests;
