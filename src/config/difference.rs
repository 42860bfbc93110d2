//! What changed between two readings of a configuration, key by key as written.
//!
//! Values that may be secret are compared but never shown: environment variables, request headers,
//! addresses with a password in them, and keys that say so by name.

use super::errors::quoted;
use super::tree::{Node, Value};
use crate::model::Clean;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Tables whose values are nobody's business.
const SECRET_TABLES: [&str; 2] = ["variables", "headers"];

/// Words in a key that make its value a secret.
const SECRET_WORDS: [&str; 4] = ["secret", "password", "token", "credential"];

/// Longest value shown, in characters.
const SHOWN_MAX: usize = 120;

/// Everything that is written, by the path of its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written(BTreeMap<String, Text>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Shown(String),
    /// SHA-256 of what it is.
    Hidden([u8; 32]),
}

impl Text {
    fn words(&self) -> &str {
        match self {
            Self::Shown(text) => text,
            Self::Hidden(_) => "(not shown)",
        }
    }
}

impl Written {
    pub(super) fn of(root: &Node) -> Self {
        let mut all = BTreeMap::new();
        walk(root, false, &mut all);
        Self(all)
    }

    /// The lines that lead from this to another: `key: old → new`, in the order of the keys.
    pub fn difference(&self, new: &Self) -> Vec<Clean> {
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(new.0.keys()).collect();
        keys.into_iter()
            .filter_map(|key| {
                let (old, new) = (self.0.get(key), new.0.get(key));
                let words = |text: Option<&Text>| text.map_or("unset", Text::words).to_owned();
                (old != new)
                    .then(|| Clean::new(&format!("{key}: {} \u{2192} {}", words(old), words(new))))
            })
            .collect()
    }
}

fn walk(node: &Node, secret: bool, all: &mut BTreeMap<String, Text>) {
    match &node.value {
        Value::Table(table) => {
            for (key, member) in table {
                let lower = key.to_lowercase();
                let names_one = SECRET_TABLES.contains(&key.as_str())
                    || SECRET_WORDS.iter().any(|word| lower.contains(word));
                walk(&member.node, secret || names_one, all);
            }
        }
        _ => {
            let text = words(node);
            let hidden = secret || has_password(&text);
            let text = match hidden {
                true => Text::Hidden(Sha256::digest(text.as_bytes()).into()),
                false => Text::Shown(shortened(&text)),
            };
            all.insert(node.place.key.to_string(), text);
        }
    }
}

/// Whether an address carries a user's name, and with it most likely a password.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        rest.split(['/', ' ', '"'])
            .next()
            .is_some_and(|host| host.contains('@'))
    })
}

/// Two long values that differ only far behind must still differ.
fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX {
        return text.to_owned();
    }
    let digest = Sha256::digest(text.as_bytes());
    let start: String = text.chars().take(SHOWN_MAX).collect();
    format!(
        "{start}\u{2026} ({:02x}{:02x}{:02x}{:02x})",
        digest[0], digest[1], digest[2], digest[3]
    )
}

fn words(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => match text.chars().count() {
            0..=60 => quoted(text),
            _ => format!("\"{}\"", Clean::new(text)),
        },
        Value::Integer(Some(number)) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(None) | Value::Time => node.kind().to_owned(),
        Value::List(list) => {
            let items: Vec<_> = list.iter().map(words).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let items: Vec<_> = table
                .iter()
                .map(|(key, member)| format!("{key} = {}", words(&member.node)))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
    }
}
