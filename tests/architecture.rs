//! Who may use whom: the table of rooms, held over every path that names one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms it may name. A narrower entry stands before the wider one it is cut from.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    ("analysis", &["model"]),
    ("engine", &["model", "analysis"]),
    ("history", &["model"]),
    ("ports", &["model"]),
    ("view", &["model", "engine", "analysis"]),
    ("host", &["model", "ports"]),
    ("balancer", &["model", "ports", "host::wire"]),
    ("runtime", &["model", "ports", "host::wire", "secret"]),
    ("metrics", &["model", "ports", "secret"]),
    ("pipeline", &["model", "ports", "secret", "runtime::docker"]),
    ("secret", &["model"]),
    ("probe", &["model", "ports"]),
    ("runbook", &["model", "host::wire"]),
    ("driver/turn", &["model", "engine"]),
    (
        "driver",
        &["model", "engine", "analysis", "history", "ports", "view"],
    ),
    ("sim", &["model", "engine", "history", "driver::turn"]),
    ("lease", &["model"]),
    ("link", &["model", "view"]),
    ("console", &["model", "view", "link", "config"]),
    ("cli", ANY),
    ("demo", ANY),
    ("lib", ANY),
    ("main", &["cli"]),
];
const ANY: &[&str] = &["*"];

/// Rooms that must be the same on every run: no clock, no I/O, no tasks, no chance, no map
/// without an order.
const PURE: &[&str] = &[
    "model",
    "analysis",
    "engine",
    "view",
    "driver/turn",
    "sim",
    "runbook",
];
const IMPURE: &[&str] = &[
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UnixStream",
    "UdpSocket",
    "std::process",
    "std::env",
    "std::thread",
    "std::time::Instant",
    "SystemTime",
    "Instant::now",
    "HashMap",
    "HashSet",
    "tokio",
    "reqwest",
    "hyper",
    "rusqlite",
    "crossterm",
    "ratatui",
    "Uuid::now_v7",
    "Timestamp::now",
];

#[test]
fn rooms_name_only_the_rooms_they_may() {
    let mut offences = Vec::new();
    for file in sources() {
        let (room, may_use) = rule_for(&file.room_path);
        for (line, path) in file.crate_paths() {
            let own = room.split('/').next() == path.split("::").next();
            let allowed = may_use
                .iter()
                .any(|may| *may == "*" || path == *may || path.starts_with(&format!("{may}::")));
            let within = own && !room.contains('/');
            let below = own && path.starts_with(&format!("{}::", room.replace('/', "::")));
            if !(allowed || within || below) {
                offences.push(format!("{}:{line}: {room} names {path}", file.room_path));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn pure_rooms_are_pure() {
    let mut offences = Vec::new();
    for file in sources() {
        let (room, _) = rule_for(&file.room_path);
        if !PURE.contains(&room) {
            continue;
        }
        for (line, text) in file.code() {
            for word in IMPURE.iter().filter(|word| text.contains(**word)) {
                offences.push(format!("{}:{line}: {word}", file.room_path));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn the_table_knows_every_room_and_no_other() {
    let known: BTreeSet<&str> = MAY_USE
        .iter()
        .map(|(room, _)| *room)
        .filter(|room| !room.contains('/'))
        .collect();
    let files = sources();
    let there: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.room_path.split(['/', '.']).next())
        .collect();
    assert_eq!(known, there);
}

/// The front page of the crate has a row for every room.
#[test]
fn the_front_page_names_every_room() {
    let front = fs::read_to_string(source_dir().join("lib.rs")).expect("lib.rs");
    for (room, _) in MAY_USE {
        let named = front.contains(&format!("[`{room}`]"));
        let aside = room.contains('/') || ["lib", "main"].contains(room);
        assert!(named || aside, "lib.rs does not name {room}");
    }
}

struct Source {
    /// Below `src`: `engine/plan.rs`.
    room_path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers: no comments, and nothing from the first test module on.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Every path into the crate: `crate::model::Entry` gives `model::Entry`.
    fn crate_paths(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().flat_map(|(line, text)| {
            let paths = text.match_indices("crate::").map(|(at, found)| {
                let rest = &text[at + found.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                rest[..end.unwrap_or(rest.len())].trim_end_matches(':')
            });
            paths.map(move |path| (line, path))
        })
    }
}

fn rule_for(room_path: &str) -> (&'static str, &'static [&'static str]) {
    let rule = MAY_USE.iter().find(|(room, _)| {
        let rest = room_path.strip_prefix(room);
        rest.is_some_and(|rest| rest.starts_with(['/', '.']))
    });
    *rule.unwrap_or_else(|| panic!("{room_path} belongs to no room of the table"))
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let root = source_dir();
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let tests = path.file_stem().is_some_and(|stem| stem == "tests");
            if tests {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let room_path = path.strip_prefix(&root).expect("below src");
                sources.push(Source {
                    room_path: room_path.display().to_string(),
                    text: fs::read_to_string(&path).expect("readable"),
                });
            }
        }
    }
    sources
}
