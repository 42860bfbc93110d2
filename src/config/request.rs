//! Reads how instances are checked before they get traffic: `health` and `smoke`. Must not know
//! what else a service is.

use super::accepted::{HEALTH, SMOKE};
use super::defaults;
use super::durations;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader, text};
use super::service;
use super::tree::{Node, Place, Value};
use crate::model::service::{CheckKind, HealthCheck, HttpCheck, SMOKE_TIMEOUT_MS, SmokeTest};
use crate::model::{Clean, Name};
use regex::Regex;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// What a smoke test may ask with.
const METHODS: [(&str, &str); 7] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("OPTIONS", "OPTIONS"),
];

/// What a health check may ask with: it is asked again and again.
const HEALTH_METHODS: [(&str, &str); 2] = [("GET", "GET"), ("HEAD", "HEAD")];

/// HTTP statuses an answer may be expected to have.
const STATUS_RANGE: std::ops::RangeInclusive<i64> = 100..=599;

/// How an instance may be checked, and the keys that only fit this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Command,
}

const KINDS: [(&str, Kind); 3] = [
    ("http", Kind::Http),
    ("tcp", Kind::Tcp),
    ("command", Kind::Command),
];

const HTTP_KEYS: [&str; 8] = [
    "method", "path", "headers", "body", "status", "contains", "matches", "json",
];

/// Reads when an instance counts as healthy.
pub(super) fn health(node: &Node, problems: &Problems<'_>) -> Located<HealthCheck> {
    let reader = Reader::new(node, &HEALTH, problems);
    let default = defaults::health();
    let check = HealthCheck {
        kind: match kind(&reader, problems) {
            Kind::Http => {
                let path = request_path(&reader, problems);
                let path = path.unwrap_or_else(|| defaults::HEALTH_PATH.to_owned());
                CheckKind::Http(http(&reader, path, &HEALTH_METHODS, problems))
            }
            Kind::Tcp => CheckKind::Tcp,
            Kind::Command => command(&reader, problems),
        },
        interval_ms: reader.duration_ms("interval", 100..=10 * MINUTE, default.interval_ms),
        timeout_ms: reader.duration_ms("timeout", 10..=MINUTE, default.timeout_ms),
        successes: reader.integer_or("successes", 1..=100, default.successes),
        failures: reader.integer_or("failures", 1..=100, default.failures),
        start_timeout_ms: reader.duration_ms(
            "start_timeout",
            SECOND..=60 * MINUTE,
            default.start_timeout_ms,
        ),
    };
    Located {
        value: check,
        place: reader.place().clone(),
    }
}

/// Reads how long all smoke tests may take together.
pub(super) fn smoke_timeout_ms(reader: &Reader<'_>) -> u64 {
    let range = SECOND..=60 * MINUTE;
    reader.duration_ms("smoke_timeout", range, SMOKE_TIMEOUT_MS)
}

/// Reads the smoke tests; none may take longer than all of them together.
pub(super) fn smoke(reader: &Reader<'_>, limit_ms: u64, problems: &Problems<'_>) -> Vec<SmokeTest> {
    let Some(list) = reader.list("smoke", "write each test under [[service.NAME.smoke]]") else {
        return Vec::new();
    };
    let mut seen: BTreeMap<Name, Place> = BTreeMap::new();
    let mut tests = Vec::new();
    for node in list.value {
        let Some((test, place)) = smoke_test(node, limit_ms, problems) else {
            continue;
        };
        if let Some(first) = seen.get(&test.name) {
            let what = format!("is the name of the test at {} too", problems.line_of(first));
            problems.error(&place, what, "give each test its own name");
        }
        seen.insert(test.name.clone(), place);
        tests.push(test);
    }
    tests
}

fn smoke_test(node: &Node, limit_ms: u64, problems: &Problems<'_>) -> Option<(SmokeTest, Place)> {
    let reader = Reader::new(node, &SMOKE, problems);
    let name: Option<Located<Name>> = reader.parsed("name", "give it a short name");
    if reader.node("name").is_none() {
        reader.missing(
            "name",
            "give the test a short name, e.g. name = \"front-page\"",
        );
    }
    let kind = match kind(&reader, problems) {
        Kind::Http => {
            let path = request_path(&reader, problems);
            if reader.node("path").is_none() {
                reader.missing("path", "add the path to ask for, e.g. path = \"/\"");
            }
            CheckKind::Http(http(&reader, path.unwrap_or_default(), &METHODS, problems))
        }
        Kind::Tcp => CheckKind::Tcp,
        Kind::Command => command(&reader, problems),
    };
    let timeout_ms = reader.duration_ms("timeout", 10..=5 * MINUTE, defaults::SMOKE_TIMEOUT_MS);
    if timeout_ms > limit_ms {
        let what = format!(
            "{} is longer than the {} of smoke_timeout",
            durations::text(timeout_ms),
            durations::text(limit_ms)
        );
        let mend = "lower timeout or raise smoke_timeout";
        problems.error(&reader.place().of_key("timeout"), what, mend);
    }
    let test = SmokeTest {
        critical: reader.flag("critical", true),
        kind,
        timeout_ms,
        attempts: reader.integer_or("attempts", 1..=10, 1),
        retry_interval_ms: reader.duration_ms(
            "retry_interval",
            0..=5 * MINUTE,
            defaults::SMOKE_RETRY_INTERVAL_MS,
        ),
        name: name.as_ref()?.value.clone(),
    };
    Some((test, name?.place))
}

/// The kind of a check; keys that do not fit it are faults.
fn kind(reader: &Reader<'_>, problems: &Problems<'_>) -> Kind {
    let written = reader.word("kind", &KINDS).map(|found| found.value);
    if written.is_none() && reader.node("kind").is_some() {
        // Nothing more is asked of it.
        return Kind::Tcp;
    }
    let kind = written.unwrap_or(Kind::Http);
    let name = |kind| {
        KINDS
            .iter()
            .find(|(_, it)| *it == kind)
            .map_or("", |(name, _)| name)
    };
    for (key, place, _) in reader.entries() {
        let wants = match key {
            "command" => Kind::Command,
            key if HTTP_KEYS.contains(&key) => Kind::Http,
            _ => kind,
        };
        if wants != kind {
            let what = format!("does not fit a check of kind \"{}\"", name(kind));
            let mend = format!("take it out, or write kind = \"{}\"", name(wants));
            problems.error(place, what, mend);
        }
    }
    kind
}

/// A program that the engine runs; where it is written as a path, that begins at the file.
fn command(reader: &Reader<'_>, problems: &Problems<'_>) -> CheckKind {
    if reader.node("command").is_none() {
        let mend = "add the program and its arguments, e.g. command = [\"./check\", \"{address}\"]";
        reader.missing("command", mend);
    }
    let written = service::command(reader, problems);
    let mut command = written
        .as_ref()
        .map(|written| written.value.clone())
        .unwrap_or_default();
    if let (Some(program), Some(written)) = (command.first_mut(), written)
        && program.contains('/')
    {
        let path = problems.absolute(&written.place, program);
        *program = path.to_string_lossy().into_owned();
    }
    CheckKind::Command { command }
}

/// A request on a path, and what its answer must be.
fn http(
    reader: &Reader<'_>,
    path: String,
    methods: &[(&str, &'static str)],
    problems: &Problems<'_>,
) -> HttpCheck {
    let method = reader.word("method", methods);
    let default = HttpCheck::get(&path);
    let check = HttpCheck {
        method: method
            .as_ref()
            .map_or("GET", |found| found.value)
            .to_owned(),
        headers: headers(reader, problems),
        body: reader.text("body").map(|text| text.value.to_owned()),
        status: reader.integer_or("status", STATUS_RANGE, default.status),
        contains: reader.text("contains").map(|text| text.value.to_owned()),
        matches: pattern(reader, problems),
        json: expected_json(reader, problems),
        ..default
    };
    if let Some(method) = method
        && method.value == "HEAD"
        && check.reads_body()
    {
        let mend = "use GET, or take out what is expected of the body";
        problems.error(&method.place, "is answered without a body", mend);
    }
    check
}

/// A regular expression.
fn pattern(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<String> {
    let text = reader.text("matches")?;
    let Err(error) = Regex::new(text.value) else {
        return Some(text.value.to_owned());
    };
    let error = error.to_string();
    let why = error.lines().last().unwrap_or_default();
    let why = why.trim_start_matches("error: ");
    let what = format!(
        "{} is no regular expression: {}",
        quoted(text.value),
        Clean::new(why)
    );
    let mend = "correct it; in single quotes a \\ stands for itself";
    problems.error(&text.place, what, mend);
    None
}

/// A path with its query, as it goes into the request line.
fn request_path(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<String> {
    let path = reader.text("path")?;
    if path.value.starts_with('/') && path.value.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(path.value.to_owned());
    }
    let what = format!("{} is no request path", quoted(path.value));
    let mend = "begin it with / and write other than visible ASCII characters as %XX";
    problems.error(&path.place, what, mend);
    None
}

fn headers(reader: &Reader<'_>, problems: &Problems<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let Some(node) = reader.node("headers") else {
        return headers;
    };
    for (key, place, value) in Reader::open(node, problems).entries() {
        if !is_header_name(key) {
            let mend = "use letters, digits and -, e.g. Content-Type";
            problems.error(place, "is no header name", mend);
        }
        let Some(value) = text(value, problems) else {
            continue;
        };
        if !value
            .value
            .bytes()
            .all(|b| b == b' ' || b.is_ascii_graphic())
        {
            let mend = "use visible ASCII characters and spaces";
            problems.error(&value.place, "is no header value", mend);
        }
        headers.insert(key.to_owned(), value.value.to_owned());
    }
    headers
}

fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

/// JSON pointers with the values expected there.
fn expected_json(
    reader: &Reader<'_>,
    problems: &Problems<'_>,
) -> BTreeMap<String, serde_json::Value> {
    let mut expected = BTreeMap::new();
    let Some(node) = reader.node("json") else {
        return expected;
    };
    for (pointer, place, value) in Reader::open(node, problems).entries() {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let mend = format!("begin it with /, e.g. {}", quoted(&format!("/{pointer}")));
            problems.error(place, "is no JSON pointer", mend);
        }
        if let Some(value) = json(value, problems) {
            expected.insert(pointer.to_owned(), value);
        }
    }
    expected
}

fn json(node: &Node, problems: &Problems<'_>) -> Option<serde_json::Value> {
    let value = match &node.value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(Some(number)) => (*number).into(),
        Value::Number(number) if number.is_finite() => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(list) => list
            .iter()
            .map(|item| json(item, problems))
            .collect::<Option<_>>()?,
        Value::Table(table) => table
            .iter()
            .map(|(key, member)| Some((key.clone(), json(&member.node, problems)?)))
            .collect::<Option<_>>()?,
        Value::Integer(None) | Value::Number(_) | Value::Time => {
            let mend = "use a text, a finite number, true, false, a list or a table";
            problems.error(&node.place, "is nothing that JSON can hold", mend);
            return None;
        }
    };
    Some(value)
}
