//! Reads `[service.*.container]`, and with it a service's `image` and `port`: an instance's shape
//! as a container. Must not know what a runtime makes of it.

use super::accepted::CONTAINER;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader, integer, parsed, text};
use super::tree::{Node, Value};
use crate::model::container::{Container, Shape};
use crate::model::secret::SecretRef;
use std::collections::BTreeMap;

/// Reads a service's container; `None` without an image.
pub(super) fn read(
    service: &Reader<'_>,
    table: &Node,
    problems: &Problems<'_>,
) -> Option<Located<Container>> {
    let image = service.text("image");
    let port = service.integer("port", 1..=65_535);
    let reader = Reader::new(table, &CONTAINER, problems);
    let container = Container {
        image: String::new(),
        pin: None,
        port: port.map(|port| port.value),
        clone: reader.text("clone").map(|text| text.value.to_owned()),
        clone_env: Vec::new(),
        env_file: env_files(&reader, problems),
        secrets: secrets(&reader, problems),
        shape: shape(&reader, problems),
    };
    let image = image?;
    let name = image.value;
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if name.is_empty() || name.starts_with('-') || name.contains(odd) {
        let what = format!("{} is no image", quoted(name));
        let mend = "write it as docker does, e.g. \"registry:5000/shop:{version}\"";
        problems.error(&image.place, what, mend);
    }
    Some(Located {
        value: Container {
            image: name.to_owned(),
            ..container
        },
        place: image.place,
    })
}

fn shape(reader: &Reader<'_>, problems: &Problems<'_>) -> Shape {
    let owned = |key| reader.text(key).map(|text| text.value.to_owned());
    Shape {
        entrypoint: words(reader, "entrypoint", problems),
        command: words(reader, "command", problems),
        directory: owned("directory"),
        labels: labels(reader, problems),
        volumes: words(reader, "volumes", problems),
        networks: networks(reader, problems),
        memory_bytes: memory(reader, problems),
        cpu_milli: cpus(reader, problems),
        user: owned("user"),
        cap_add: words(reader, "cap_add", problems),
        cap_drop: words(reader, "cap_drop", problems),
        ulimits: ulimits(reader, problems),
        stop_signal: owned("stop_signal"),
        log_driver: owned("log_driver"),
        log_options: texts(reader, "log_options", problems),
        extra_hosts: words(reader, "extra_hosts", problems),
        read_only: reader
            .node("read_only")
            .map(|_| reader.flag("read_only", false)),
        tmpfs: texts(reader, "tmpfs", problems),
    }
}

/// A list of texts; one text counts as a list of one.
fn words(reader: &Reader<'_>, key: &str, problems: &Problems<'_>) -> Option<Vec<String>> {
    reader.node(key)?;
    let list = reader.one_or_more(key);
    let words = list.into_iter().filter_map(|node| text(node, problems));
    Some(words.map(|word| word.value.to_owned()).collect())
}

/// A table of texts.
fn texts(
    reader: &Reader<'_>,
    key: &str,
    problems: &Problems<'_>,
) -> Option<BTreeMap<String, String>> {
    let node = reader.node(key)?;
    let reader = Reader::open(node, problems);
    let pairs = reader.entries().filter_map(|(name, _, value)| {
        Some((name.to_owned(), text(value, problems)?.value.to_owned()))
    });
    Some(pairs.collect())
}

fn labels(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<BTreeMap<String, String>> {
    let labels = texts(reader, "labels", problems)?;
    let ours = labels.keys().find(|name| name.starts_with("wheelhouse."));
    if let (Some(name), Some(node)) = (ours, reader.node("labels")) {
        let what = format!(
            "{} begins with wheelhouse., by which instances are known",
            quoted(name)
        );
        problems.error(&node.place, what, "choose another name");
    }
    Some(labels)
}

fn env_files(reader: &Reader<'_>, problems: &Problems<'_>) -> Vec<String> {
    let files = reader.one_or_more("env_file").into_iter();
    let path = |node| {
        let text = text(node, problems)?;
        let path = problems.absolute(&text.place, text.value);
        Some(path.to_string_lossy().into_owned())
    };
    files.filter_map(path).collect()
}

fn secrets(reader: &Reader<'_>, problems: &Problems<'_>) -> BTreeMap<String, SecretRef> {
    let Some(node) = reader.node("secrets") else {
        return BTreeMap::new();
    };
    let reader = Reader::open(node, problems);
    let secret = |(name, _, value): (&str, _, &Node)| {
        let text = text(value, problems)?;
        let mend = "a secret itself has no place in a configuration";
        let reference: Located<SecretRef> = parsed(&text, mend, problems)?;
        Some((name.to_owned(), reference.value))
    };
    reader.entries().filter_map(secret).collect()
}

/// Networks: a list of names, or a table of names with aliases.
fn networks(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let node = reader.node("networks")?;
    if node.table().is_none() {
        let names = words(reader, "networks", problems)?;
        return Some(names.into_iter().map(|name| (name, Vec::new())).collect());
    }
    let table = Reader::open(node, problems);
    let network = |(name, _, _): (&str, _, _)| {
        let aliases = words(&table, name, problems)?;
        Some((name.to_owned(), aliases))
    };
    Some(table.entries().filter_map(network).collect())
}

/// Bytes with a unit: `"512m"`.
fn memory(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<u64> {
    const MEND: &str = "write a size such as \"512m\" or \"2g\", at least \"6m\"";
    let text = reader.text("memory")?;
    let split = text.value.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.value.split_at(split.unwrap_or(text.value.len()));
    let factor = match unit {
        "k" => 1_u64 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok();
    let bytes = bytes.and_then(|number| number.checked_mul(factor));
    // Docker takes no less.
    let fitting = bytes.filter(|bytes| *bytes >= 6 << 20);
    if fitting.is_none() {
        let what = format!("{} is no size of memory", quoted(text.value));
        problems.error(&text.place, what, MEND);
    }
    fitting
}

/// Processors: 0.5 is half of one.
fn cpus(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<u64> {
    let node = reader.node("cpus")?;
    let number = match &node.value {
        Value::Number(number) => *number,
        Value::Integer(Some(number)) => *number as f64,
        _ => f64::NAN,
    };
    if !(0.01..=1_000.0).contains(&number) {
        let mend = "write a number of processors from 0.01 to 1000, e.g. 1.5";
        problems.error(&node.place, "is no number of processors", mend);
        return None;
    }
    Some((number * 1_000.0).round() as u64)
}

/// Limits: one number, or soft and hard.
fn ulimits(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<BTreeMap<String, (i64, i64)>> {
    let node = reader.node("ulimits")?;
    let table = Reader::open(node, problems);
    let limit = |(name, _, value): (&str, _, &Node)| {
        let range = || -1..=i64::MAX;
        let pair: Vec<i64> = match &value.value {
            Value::List(list) => list
                .iter()
                .filter_map(|node| integer(node, range(), problems).map(|found| found.value))
                .collect(),
            _ => vec![integer(value, range(), problems)?.value],
        };
        match pair.as_slice() {
            [both] => Some((name.to_owned(), (*both, *both))),
            [soft, hard] => Some((name.to_owned(), (*soft, *hard))),
            _ => {
                let mend = "write one number, or [SOFT, HARD]; -1 is no limit";
                problems.error(&value.place, "is no limit", mend);
                None
            }
        }
    };
    Some(table.entries().filter_map(limit).collect())
}
