//! A key, and how people write it.

use std::fmt;
use std::str::FromStr;

/// A key, as a terminal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Key {
    Char(char),
    Ctrl(char),
    Alt(char),
    F(u8),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Insert,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
}

/// A text that names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key; write one character, or ctrl-x, alt-x, f1, tab, space, up, pgdn, …")]
pub struct KeyError(String);

const NAMES: [(&str, Key); 17] = [
    ("enter", Key::Enter),
    ("esc", Key::Esc),
    ("tab", Key::Tab),
    ("s-tab", Key::BackTab),
    ("backspace", Key::Backspace),
    ("del", Key::Delete),
    ("ins", Key::Insert),
    ("up", Key::Up),
    ("down", Key::Down),
    ("left", Key::Left),
    ("right", Key::Right),
    ("home", Key::Home),
    ("end", Key::End),
    ("pgup", Key::PageUp),
    ("pgdn", Key::PageDown),
    ("space", Key::Char(' ')),
    ("shift-tab", Key::BackTab),
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMES.iter().find(|(_, key)| key == self) {
            return f.write_str(name);
        }
        match self {
            Self::Char(c) => write!(f, "{c}"),
            Self::Ctrl(c) => write!(f, "ctrl-{c}"),
            Self::Alt(c) => write!(f, "alt-{c}"),
            Self::F(n) => write!(f, "f{n}"),
            named => write!(f, "{named:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let one = |text: &str| {
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none())
        };
        let lower = text.to_ascii_lowercase();
        let function = || lower.strip_prefix('f')?.parse().ok();
        if let Some(c) = one(text) {
            return Ok(Self::Char(c));
        }
        if let Some((_, key)) = NAMES.iter().find(|(name, _)| *name == lower) {
            return Ok(*key);
        }
        if let Some(c) = lower.strip_prefix("ctrl-").and_then(one) {
            return Ok(Self::Ctrl(c));
        }
        if let Some(c) = text.strip_prefix("alt-").and_then(one) {
            return Ok(Self::Alt(c));
        }
        match function() {
            Some(n @ 1..=12) => Ok(Self::F(n)),
            _ => Err(KeyError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_its_name() {
        let mut keys = vec![
            Key::Char('P'),
            Key::Ctrl('r'),
            Key::Alt('x'),
            Key::F(1),
            Key::F(12),
        ];
        keys.extend(NAMES.iter().map(|(_, key)| *key));
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for bad in ["", "f13", "f0", "ctrl-", "hello"] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }
}
