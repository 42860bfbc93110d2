//! TOML as written, as one tree: every value knows the file, place and key it came from, through
//! merging files and laying one table over another.
//!
//! Must not know which keys exist or what they mean.

use super::errors::{Problems, quoted};
use super::file::{File, Files};
use std::collections::BTreeMap;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something is written.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) file: usize,
    /// Byte in it.
    pub(super) offset: usize,
    /// The key's path as written.
    pub(super) key: Rc<str>,
}

impl Place {
    /// A file as a whole.
    pub(super) fn file(file: usize) -> Self {
        Self {
            file,
            offset: 0,
            key: "".into(),
        }
    }

    /// The same place, speaking of a key below it.
    pub(super) fn of_key(&self, key: &str) -> Self {
        Self {
            key: joined(&self.key, key),
            ..self.clone()
        }
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A table's entry: where its key stands, and its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// A table's entries by key.
pub(super) type Table = BTreeMap<String, Member>;

/// What can be written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// `None` when it does not fit.
    Integer(Option<i64>),
    Number(f64),
    Flag(bool),
    Time,
    List(Vec<Node>),
    Table(Table),
}

impl Node {
    /// A table with nothing in it.
    pub(super) fn empty(place: Place) -> Self {
        Self {
            place,
            value: Value::Table(Table::new()),
        }
    }

    /// Its entries, if it is a table.
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// One entry's value, if this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.table()?.get(key).map(|member| &member.node)
    }

    /// The table without one of its entries.
    pub(super) fn without(&self, key: &str) -> Self {
        let mut copy = self.clone();
        if let Value::Table(table) = &mut copy.value {
            table.remove(key);
        }
        copy
    }

    /// Puts a table's entry in place of what is there.
    pub(super) fn set(&mut self, key: &str, node: Node) {
        if let Value::Table(table) = &mut self.value {
            let member = Member {
                key: node.place.clone(),
                node,
            };
            table.insert(key.to_owned(), member);
        }
    }

    /// What kind of value it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Number(number) if !number.is_finite() => "no finite number",
            Value::Number(_) => "a number with a fraction",
            Value::Flag(_) => "true or false",
            Value::Time => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Lays a table over another, key by key; what is no table on both sides is replaced whole, and so
/// are the entries named in `whole`.
pub(super) fn overlay(base: &Node, top: &Node, whole: &[&str]) -> Node {
    let (Value::Table(below), Value::Table(above)) = (&base.value, &top.value) else {
        return top.clone();
    };
    if below.is_empty() {
        return top.clone();
    }
    let mut table = below.clone();
    for (key, member) in above {
        let merged = match below.get(key) {
            Some(under) if !whole.contains(&key.as_str()) => Member {
                key: member.key.clone(),
                node: overlay(&under.node, &member.node, whole),
            },
            _ => member.clone(),
        };
        table.insert(key.clone(), merged);
    }
    Node {
        place: base.place.clone(),
        value: Value::Table(table),
    }
}

/// Parses all files and merges them by table. `None` when a file cannot be understood so far that
/// more faults found in it would mean anything.
pub(super) fn parse(files: &Files, problems: &Problems<'_>) -> Option<Node> {
    let mut root = Node::empty(Place::file(0));
    let mut understood = true;
    for (index, file) in files.iter().enumerate() {
        let (document, syntax) = DeTable::parse_recoverable(&file.text);
        for error in &syntax {
            understood &= syntax_error(index, file, error, problems);
        }
        let node = Node {
            place: Place::file(index),
            value: Value::Table(converted_table(index, "", document.into_inner())),
        };
        merge(&mut root, node, problems);
    }
    understood.then_some(root)
}

/// Reports what the parser found; whether the rest of the file can still be judged.
fn syntax_error(
    file: usize,
    source: &File,
    error: &toml::de::Error,
    problems: &Problems<'_>,
) -> bool {
    let span = error.span().unwrap_or(0..0);
    let place = |key: &str| Place {
        file,
        offset: span.start,
        key: key.into(),
    };
    if error.message() == "duplicate key" {
        let key = source.text.get(span.clone()).unwrap_or_default();
        let key = crate::model::Clean::line(key, 64).into_string();
        problems.error(
            &place(&key),
            "is set twice in this file",
            "keep one of the two",
        );
        return true;
    }
    problems.error(
        &place(""),
        format!(
            "is no TOML: {}",
            crate::model::Clean::line(error.message(), 200)
        ),
        "write key = value under a [table]; put texts in double quotes",
    );
    false
}

fn merge(into: &mut Node, from: Node, problems: &Problems<'_>) {
    let (Value::Table(ours), Value::Table(theirs)) = (&mut into.value, from.value) else {
        return;
    };
    for (key, member) in theirs {
        match ours.get_mut(&key) {
            None => {
                ours.insert(key, member);
            }
            Some(first) if first.node.table().is_some() && member.node.table().is_some() => {
                merge(&mut first.node, member.node, problems);
            }
            Some(first) => problems.error(
                &member.key,
                format!("is set already at {}", problems.line_of(&first.key)),
                "keep one of the two",
            ),
        }
    }
}

fn converted_table(file: usize, path: &str, table: DeTable<'_>) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let path = joined(path, key.get_ref());
            let member = Member {
                key: Place {
                    file,
                    offset: key.span().start,
                    key: path.clone(),
                },
                node: converted(file, path, value),
            };
            (key.into_inner().into_owned(), member)
        })
        .collect()
}

fn converted(file: usize, path: Rc<str>, value: Spanned<DeValue<'_>>) -> Node {
    let offset = value.span().start;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Time,
        DeValue::Array(list) => Value::List(
            list.into_iter()
                .enumerate()
                .map(|(i, item)| converted(file, format!("{path}[{i}]").into(), item))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(converted_table(file, &path, table)),
    };
    Node {
        place: Place {
            file,
            offset,
            key: path,
        },
        value,
    }
}

/// A key's path: keys that TOML would want in quotes are in quotes.
fn joined(path: &str, key: &str) -> Rc<str> {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare {
        crate::model::Clean::line(key, 64).into_string()
    } else {
        quoted(key)
    };
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}").into()
    }
}
