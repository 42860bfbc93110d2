//! Reads one table key by key: each method takes a key, records what is wrong with its value and
//! goes on with the default. Must not know what the keys are for.

use super::accepted::Accepted;
use super::durations;
use super::errors::{Problems, quoted};
use super::suggest;
use super::tree::{Node, Place, Table, Value};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A value with the place it was written at.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A limit as written.
#[derive(Debug, Clone)]
pub(super) enum Limit<T> {
    /// Not written: the default holds.
    Unset,
    /// Switched off with `false`.
    Off,
    /// Written.
    At(Located<T>),
}

impl<T> Limit<T> {
    /// The limit in force.
    pub(super) fn or(self, default: Option<T>) -> Option<T> {
        match self {
            Self::Unset => default,
            Self::Off => None,
            Self::At(located) => Some(located.value),
        }
    }

    /// Where it is written, when it is a limit.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::At(located) => Some(&located.place),
            _ => None,
        }
    }
}

/// Reads one table.
pub(super) struct Reader<'a> {
    table: &'a Table,
    place: &'a Place,
    problems: &'a Problems<'a>,
}

/// Stands in for a table that is absent or no table.
const NO_TABLE: &Table = &Table::new();

impl<'a> Reader<'a> {
    /// Begins a table: its unknown keys are reported at once.
    pub(super) fn new(node: &'a Node, accepted: &Accepted, problems: &'a Problems<'a>) -> Self {
        let reader = Self::open(node, problems);
        for (key, member) in reader.table {
            if !accepted.keys.contains(&key.as_str()) {
                problems.error(
                    &member.key,
                    "is an unknown key",
                    suggest::mend(key, accepted.keys.iter().copied()),
                );
            }
        }
        reader
    }

    /// Begins a table whose keys are names of the writer's choice.
    pub(super) fn open(node: &'a Node, problems: &'a Problems<'a>) -> Self {
        let table = node.table().unwrap_or_else(|| {
            let mend = "write it as a [table]";
            problems.error(&node.place, is_but_must_be(node, "a table"), mend);
            NO_TABLE
        });
        Self {
            table,
            place: &node.place,
            problems,
        }
    }

    /// Where the table is.
    pub(super) fn place(&self) -> &'a Place {
        self.place
    }

    /// The value of a key, whatever it is.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.table.get(key).map(|member| &member.node)
    }

    /// Whether a key is there, right or wrong, or an unknown one that most likely means it: then it
    /// is not missing as well.
    pub(super) fn mentions(&self, key: &str, accepted: &Accepted) -> bool {
        let means_it = |written: &String| {
            let known = accepted.keys.iter().copied();
            !accepted.keys.contains(&written.as_str())
                && suggest::nearest(written, known) == Some(key)
        };
        self.table.contains_key(key) || self.table.keys().any(means_it)
    }

    /// Every entry: its key, where the key stands, its value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Place, &'a Node)> {
        self.table
            .iter()
            .map(|(key, member)| (key.as_str(), &member.key, &member.node))
    }

    /// Records a key that must be there and is not.
    pub(super) fn missing(&self, key: &str, mend: &str) {
        self.problems
            .error(&self.place.of_key(key), "is missing", mend);
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Option<Located<&'a str>> {
        self.node(key).and_then(|node| text(node, self.problems))
    }

    /// A text that a type can be made of, such as a name; its own words say what is wrong.
    pub(super) fn parsed<T>(&self, key: &str, mend: &str) -> Option<Located<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(key)?;
        parsed(&text, mend, self.problems)
    }

    /// One word of several.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<Located<T>> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            self.problems.error(
                &text.place,
                format!("{} is unknown here", quoted(text.value)),
                suggest::mend(text.value, words.iter().map(|(word, _)| *word)),
            );
        }
        found.map(|(_, value)| Located {
            value: *value,
            place: text.place,
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.node(key) {
            None => default,
            Some(Node {
                value: Value::Flag(flag),
                ..
            }) => *flag,
            Some(node) => {
                let mend = "write true or false, without quotes";
                self.problems
                    .error(&node.place, is_but_must_be(node, "true or false"), mend);
                default
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn integer<T>(&self, key: &str, range: RangeInclusive<i64>) -> Option<Located<T>>
    where
        T: TryFrom<i64>,
    {
        let node = self.node(key)?;
        integer(node, range, self.problems)
    }

    /// A whole number within a range, with a default.
    pub(super) fn integer_or<T>(&self, key: &str, range: RangeInclusive<i64>, default: T) -> T
    where
        T: TryFrom<i64>,
    {
        self.integer(key, range)
            .map_or(default, |found| found.value)
    }

    /// A duration in ms within a range, with a default.
    pub(super) fn duration_ms(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.node(key)
            .and_then(|node| duration_ms(node, range, self.problems))
            .unwrap_or(default)
    }

    /// A limit: `false`, or a number within a range.
    pub(super) fn limit(&self, key: &str, range: RangeInclusive<f64>, mend: &str) -> Limit<f64> {
        let Some(node) = self.node(key) else {
            return Limit::Unset;
        };
        if matches!(node.value, Value::Flag(false)) {
            return Limit::Off;
        }
        match number(node, range, mend, self.problems) {
            Some(value) => Limit::At(Located {
                value,
                place: node.place.clone(),
            }),
            None => Limit::Unset,
        }
    }

    /// A number within a range.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        mend: &str,
    ) -> Option<Located<f64>> {
        let node = self.node(key)?;
        let value = match node.value {
            Value::Number(_) | Value::Integer(_) => number(node, range, mend, self.problems),
            _ => {
                self.problems
                    .error(&node.place, is_but_must_be(node, "a number"), mend);
                None
            }
        };
        value.map(|value| Located {
            value,
            place: node.place.clone(),
        })
    }

    /// A list; a single value counts as a list of one.
    pub(super) fn one_or_more(&self, key: &str) -> Vec<&'a Node> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node {
                value: Value::List(list),
                ..
            }) => list.iter().collect(),
            Some(node) => vec![node],
        }
    }

    /// A list.
    pub(super) fn list(&self, key: &str, mend: &str) -> Option<Located<&'a [Node]>> {
        let node = self.node(key)?;
        let Value::List(list) = &node.value else {
            self.problems
                .error(&node.place, is_but_must_be(node, "a list"), mend);
            return None;
        };
        Some(Located {
            value: list.as_slice(),
            place: node.place.clone(),
        })
    }
}

fn is_but_must_be(node: &Node, wanted: &str) -> String {
    format!("is {}, but must be {wanted}", node.kind())
}

/// A text.
pub(super) fn text<'a>(node: &'a Node, problems: &Problems<'_>) -> Option<Located<&'a str>> {
    let Value::Text(text) = &node.value else {
        let mend = "put it in double quotes";
        problems.error(&node.place, is_but_must_be(node, "a text"), mend);
        return None;
    };
    if text.contains('\0') {
        let mend = "take it out";
        problems.error(&node.place, "contains a NUL character", mend);
        return None;
    }
    Some(Located {
        value: text,
        place: node.place.clone(),
    })
}

/// A text that a type can be made of.
pub(super) fn parsed<T>(
    text: &Located<&str>,
    mend: &str,
    problems: &Problems<'_>,
) -> Option<Located<T>>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    match text.value.parse() {
        Ok(value) => Some(Located {
            value,
            place: text.place.clone(),
        }),
        Err(error) => {
            problems.error(&text.place, error.to_string(), mend);
            None
        }
    }
}

/// A whole number within a range.
pub(super) fn integer<T>(
    node: &Node,
    range: RangeInclusive<i64>,
    problems: &Problems<'_>,
) -> Option<Located<T>>
where
    T: TryFrom<i64>,
{
    let (least, most) = (range.start(), range.end());
    let mend = format!("use a whole number from {least} to {most}");
    let Value::Integer(number) = &node.value else {
        problems.error(&node.place, is_but_must_be(node, "a whole number"), mend);
        return None;
    };
    let fitting = number.filter(|number| range.contains(number));
    let value = fitting.and_then(|number| T::try_from(number).ok());
    if value.is_none() {
        let written = number.map_or("this number".to_owned(), |n| n.to_string());
        problems.error(&node.place, format!("{written} is out of range"), mend);
    }
    value.map(|value| Located {
        value,
        place: node.place.clone(),
    })
}

/// A duration in ms within a range.
pub(super) fn duration_ms(
    node: &Node,
    range: RangeInclusive<u64>,
    problems: &Problems<'_>,
) -> Option<u64> {
    let how = "write a duration such as \"500ms\", \"30s\" or \"1h30m\"";
    let Value::Text(text) = &node.value else {
        let mend = match &node.value {
            Value::Integer(Some(number @ 0..)) => {
                format!("write it with a unit, such as \"{number}s\"")
            }
            _ => how.to_owned(),
        };
        problems.error(&node.place, is_but_must_be(node, "a duration"), mend);
        return None;
    };
    match durations::parse_ms(text) {
        Ok(ms) if range.contains(&ms) => Some(ms),
        Ok(_) => {
            let least = durations::text(*range.start());
            let most = durations::text(*range.end());
            problems.error(
                &node.place,
                format!("{} is out of range", quoted(text)),
                format!("use a duration from \"{least}\" to \"{most}\""),
            );
            None
        }
        Err(error) => {
            problems.error(&node.place, format!("{} {error}", quoted(text)), how);
            None
        }
    }
}

/// A number within a range; `mend` says which.
fn number(
    node: &Node,
    range: RangeInclusive<f64>,
    mend: &str,
    problems: &Problems<'_>,
) -> Option<f64> {
    let number = match &node.value {
        Value::Number(number) => *number,
        Value::Integer(Some(number)) => *number as f64,
        Value::Integer(None) => f64::INFINITY,
        _ => {
            problems.error(&node.place, is_but_must_be(node, "a number or false"), mend);
            return None;
        }
    };
    if range.contains(&number) {
        return Some(number);
    }
    let what = if number.is_nan() {
        "is not a number (nan)".to_owned()
    } else if number.abs() >= 1e9 {
        format!("{number:e} is out of range")
    } else {
        format!("{number} is out of range")
    };
    problems.error(&node.place, what, mend);
    None
}
