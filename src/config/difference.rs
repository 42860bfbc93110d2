//! What changed between two readings of a configuration, key by key as written.
//!
//! Values that may be secret are compared but never shown: environment variables, request headers,
//! addresses with a password in them, and keys that say so by name. What has a name within a list,
//! such as a stage, is told by it: one more before it changes nothing of it.

use super::errors::quoted;
use super::tree::{Node, Value};
use crate::model::Clean;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Tables whose values are nobody's business.
const SECRET_TABLES: [&str; 3] = ["variables", "headers", "arguments"];

/// The same within an item of a list: a stage's variables. Elsewhere `env` holds environments.
const SECRET_OF_ITEM: &str = "env";

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
        walk(root, At::default(), &mut all);
        Self(all)
    }

    /// The lines that lead from this to another: `key: old → new`, in the order of the keys.
    pub fn difference(&self, new: &Self) -> Vec<Clean> {
        let keys: BTreeSet<_> = self.0.keys().chain(new.0.keys()).collect();
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

/// How what is below a place is told.
#[derive(Clone, Copy, Default)]
struct At<'a> {
    /// Whether it is nobody's business.
    hidden: bool,
    /// Within an item of a list: the item's key as written, and as it is told.
    item: Option<(&'a str, &'a str)>,
}

impl At<'_> {
    fn hides(self, key: &str) -> bool {
        let lower = key.to_lowercase();
        self.hidden
            || SECRET_TABLES.contains(&key)
            || (self.item.is_some() && key == SECRET_OF_ITEM)
            || SECRET_WORDS.iter().any(|word| lower.contains(word))
    }

    /// The key of a value, with its item's name in place of its number.
    fn told(self, key: &str) -> String {
        let rest = self.item.and_then(|(written, told)| {
            let rest = key.strip_prefix(written)?;
            Some(format!("{told}{rest}"))
        });
        rest.unwrap_or_else(|| key.to_owned())
    }
}

fn walk(node: &Node, at: At<'_>, all: &mut BTreeMap<String, Text>) {
    match &node.value {
        Value::Table(table) => {
            for (key, member) in table {
                let hidden = at.hides(key);
                walk(&member.node, At { hidden, ..at }, all);
            }
        }
        Value::List(list) if !at.hidden && is_told_by_item(list) => {
            items(node, list, at, all);
        }
        _ => {
            let text = words(node);
            let hidden = at.hidden || has_password(&text);
            let text = match hidden {
                true => Text::Hidden(Sha256::digest(text.as_bytes()).into()),
                false => Text::Shown(shortened(&text)),
            };
            all.insert(at.told(&node.place.key), text);
        }
    }
}

/// Each item for itself, and their order where they have names.
fn items(node: &Node, list: &[Node], at: At<'_>, all: &mut BTreeMap<String, Text>) {
    let key = at.told(&node.place.key);
    let names = names(list);
    for (index, item) in list.iter().enumerate() {
        let told = match &names {
            Some(names) => format!("{key}[{}]", Clean::line(names[index], NAME_MAX)),
            None => format!("{key}[{index}]"),
        };
        let item_at = At {
            item: Some((&item.place.key, &told)),
            ..at
        };
        walk(item, item_at, all);
    }
    if let Some(names) = names {
        let names: Vec<_> = names.into_iter().map(quoted).collect();
        let order = shortened(&format!("[{}]", names.join(", ")));
        all.insert(key, Text::Shown(order));
    }
}

/// Longest name told, in characters.
const NAME_MAX: usize = 64;

/// Whether a list is told item by item: its items have names, or hold what must not be shown.
fn is_told_by_item(list: &[Node]) -> bool {
    let secret = |item: &Node| {
        let item_at = At {
            hidden: false,
            item: Some(("", "")),
        };
        item.table()
            .is_some_and(|table| table.keys().any(|key| item_at.hides(key)))
    };
    names(list).is_some() || list.iter().any(secret)
}

/// The names of a list's items, where each has one of its own.
fn names(list: &[Node]) -> Option<Vec<&str>> {
    let names = list
        .iter()
        .filter_map(|item| match &item.get("name")?.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
    let names: Vec<&str> = names.collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    (!list.is_empty() && unique.len() == list.len()).then_some(names)
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
