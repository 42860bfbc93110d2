//! Reads what instances are asked before they get traffic: `health` and `smoke`. Must not know
//! services.

use super::accepted::{HEALTH, SMOKE};
use super::defaults;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader, text};
use super::tree::{Node, Place, Value};
use crate::model::Name;
use crate::model::service::{HealthCheck, SmokeTest};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// What an instance may be asked with.
const METHODS: [(&str, &str); 7] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("OPTIONS", "OPTIONS"),
];

/// HTTP statuses an answer may be expected to have.
const STATUS_RANGE: std::ops::RangeInclusive<i64> = 100..=599;

/// Reads when an instance counts as healthy.
pub(super) fn health(node: &Node, problems: &Problems<'_>) -> Located<HealthCheck> {
    let reader = Reader::new(node, &HEALTH, problems);
    let default = defaults::health();
    let check = HealthCheck {
        path: request_path(&reader, problems).unwrap_or(default.path),
        status: reader.integer_or("status", STATUS_RANGE, default.status),
        json: expected_json(&reader, problems),
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

/// Reads the smoke requests.
pub(super) fn smoke(reader: &Reader<'_>, problems: &Problems<'_>) -> Vec<SmokeTest> {
    let Some(list) = reader.list("smoke", "write each test under [[service.NAME.smoke]]") else {
        return Vec::new();
    };
    let mut seen: BTreeMap<Name, Place> = BTreeMap::new();
    let mut tests = Vec::new();
    for node in list.value {
        let Some((test, place)) = smoke_test(node, problems) else {
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

fn smoke_test(node: &Node, problems: &Problems<'_>) -> Option<(SmokeTest, Place)> {
    let reader = Reader::new(node, &SMOKE, problems);
    let name: Option<Located<Name>> = reader.parsed("name", "give it a short name");
    if reader.node("name").is_none() {
        reader.missing(
            "name",
            "give the test a short name, e.g. name = \"front-page\"",
        );
    }
    let path = request_path(&reader, problems);
    if reader.node("path").is_none() {
        reader.missing("path", "add the path to ask for, e.g. path = \"/\"");
    }
    let method = reader.word("method", &METHODS);
    let test = SmokeTest {
        method: method.map_or("GET", |found| found.value).to_owned(),
        headers: headers(&reader, problems),
        body: reader.text("body").map(|text| text.value.to_owned()),
        status: reader.integer_or("status", STATUS_RANGE, 200),
        contains: reader.text("contains").map(|text| text.value.to_owned()),
        json: expected_json(&reader, problems),
        timeout_ms: reader.duration_ms("timeout", 10..=5 * MINUTE, defaults::SMOKE_TIMEOUT_MS),
        path: path.unwrap_or_default(),
        name: name.as_ref()?.value.clone(),
    };
    Some((test, name?.place))
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
