//! Reads one `[[pipeline.NAME.stage]]`: its kind, and what all kinds have.

use super::super::accepted::{STAGE, WHEN};
use super::super::defaults;
use super::super::errors::quoted;
use super::super::reader::{Located, Reader, parsed, text};
use super::super::suggest;
use super::super::tree::{Node, Place};
use super::graph::{Graph, Stage};
use super::repository::is_ref;
use super::scope::Scope;
use super::{Ground, deploy, external, work};
use crate::model::EnvName;
use crate::model::pipeline::{Rerun, StageSpec, StageWork, When};
use std::ops::RangeInclusive;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600_000;

/// What one attempt may take.
const TIMEOUT_MS: RangeInclusive<u64> = SECOND..=24 * HOUR;

/// What a stage does, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Build,
    Push,
    External,
    Deploy,
}

impl Kind {
    const ALL: [(&'static str, Self); 5] = [
        ("command", Self::Command),
        ("build", Self::Build),
        ("push", Self::Push),
        ("external", Self::External),
        ("deploy", Self::Deploy),
    ];

    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(word, _)| word)
    }

    /// Keys that this kind has beside those of every kind.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Command => &["image", "directory", "env", "secrets"],
            Self::Build | Self::Push | Self::External => &[],
            Self::Deploy => &["version", "digest", "confirm"],
        }
    }

    fn timeout_ms(self) -> u64 {
        match self {
            Self::Command | Self::Build | Self::Push => defaults::STAGE_TIMEOUT_MS,
            Self::External => defaults::EXTERNAL_TIMEOUT_MS,
            Self::Deploy => defaults::DEPLOY_TIMEOUT_MS,
        }
    }

    fn rerun(self) -> Rerun {
        match self {
            Self::Command => Rerun::Ask,
            _ => Rerun::Safe,
        }
    }
}

/// Keys that belong to some kinds only.
const OWN_KEYS: [&str; 7] = [
    "image",
    "directory",
    "env",
    "secrets",
    "version",
    "digest",
    "confirm",
];

/// Keys that every kind has but a deploy: a rollout that was judged and taken back is not simply
/// begun anew, and one that is under way is found again by its record.
const ATTEMPT_KEYS: [&str; 3] = ["retries", "backoff", "rerun"];

/// Reads a stage into the graph.
pub(super) fn read(ground: &Ground<'_>, graph: &mut Graph<'_>, node: &Node) {
    let reader = Reader::new(node, &STAGE, ground.problems);
    if node.table().is_none() {
        return graph.add(None);
    }
    let name = graph.name(&reader);
    let needs = graph.needs(&reader);
    let behind = graph.behind(&needs);
    let Some(kind) = kind(ground, &reader) else {
        return graph.add(None);
    };
    unfit(ground, &reader, kind);
    let timeout_ms = reader.duration_ms("timeout", TIMEOUT_MS, kind.timeout_ms());
    let scope = Scope {
        graph,
        behind: &behind,
        problems: ground.problems,
    };
    let work = work_of(ground, &scope, &reader, kind);
    if let Some(StageWork::External(work)) = &work {
        external::fits(work, timeout_ms, &reader, ground.problems);
    }
    let stage = name.zip(work).map(|(name, work)| Stage {
        spec: StageSpec {
            name: name.value,
            needs: needs.names,
            work,
            when: when(ground, &reader),
            timeout_ms,
            retries: reader.integer_or("retries", 0..=10, 0),
            backoff_ms: backoff_ms(&reader),
            rerun: rerun(&reader, kind),
        },
        place: reader.place().clone(),
        behind,
    });
    graph.add(stage);
}

fn work_of(
    ground: &Ground<'_>,
    scope: &Scope<'_>,
    reader: &Reader<'_>,
    kind: Kind,
) -> Option<StageWork> {
    match kind {
        Kind::Command => work::command(scope, reader).map(StageWork::Command),
        Kind::Build => work::build(scope, reader).map(StageWork::Build),
        Kind::Push => reader.text("push").map(|text| StageWork::Push {
            image: work::image(scope, &text),
        }),
        Kind::External => external::read(reader, scope.problems).map(StageWork::External),
        Kind::Deploy => deploy::read(ground, scope, reader)
            .map(Box::new)
            .map(StageWork::Deploy),
    }
}

/// What the stage does: exactly one thing.
fn kind(ground: &Ground<'_>, reader: &Reader<'_>) -> Option<Kind> {
    let place = |word: &str| reader.node(word).map(|node| &node.place);
    let mut written = Kind::ALL
        .iter()
        .filter_map(|(word, kind)| Some((*word, *kind, place(word)?)));
    let Some((first, kind, _)) = written.next() else {
        let meant = Kind::ALL
            .iter()
            .any(|(word, _)| reader.mentions(word, &STAGE));
        if !meant {
            let mend = "add one of command, build, push, external and deploy";
            let what = "says nothing that is to be done";
            ground.problems.error(reader.place(), what, mend);
        }
        return None;
    };
    for (_, _, place) in written {
        let what = format!("stands beside {first}, and a stage does one thing");
        let mend = "make two stages of it";
        ground.problems.error(place, what, mend);
    }
    Some(kind)
}

/// Reports keys of other kinds.
fn unfit(ground: &Ground<'_>, reader: &Reader<'_>, kind: Kind) {
    for (key, place, _) in reader.entries() {
        let others = OWN_KEYS.contains(&key) && !kind.keys().contains(&key);
        let attempt = kind == Kind::Deploy && ATTEMPT_KEYS.contains(&key);
        if others {
            let owner = match Kind::Deploy.keys().contains(&key) {
                true => Kind::Deploy,
                false => Kind::Command,
            };
            let what = format!("means nothing to a {} stage", kind.word());
            let mend = format!("take it out; it belongs to {}", owner.word());
            ground.problems.error(place, what, mend);
        } else if attempt {
            let what = "means nothing to a deploy stage: its rollout is begun once";
            let mend = "take it out; what went wrong is for a person to look at";
            ground.problems.error(place, what, mend);
        }
    }
}

fn backoff_ms(reader: &Reader<'_>) -> u64 {
    reader.duration_ms("backoff", 100..=HOUR, defaults::STAGE_BACKOFF_MS)
}

fn rerun(reader: &Reader<'_>, kind: Kind) -> Rerun {
    let words = [("ask", Rerun::Ask), ("safe", Rerun::Safe)];
    let found = reader.word("rerun", &words);
    found.map_or(kind.rerun(), |found| found.value)
}

/// When the stage is done at all.
fn when(ground: &Ground<'_>, stage: &Reader<'_>) -> When {
    let Some(node) = stage.node("when") else {
        return When::default();
    };
    let reader = Reader::new(node, &WHEN, ground.problems);
    let texts = |key| -> Vec<Located<&str>> {
        let list = reader.one_or_more(key);
        if let (Some(node), true) = (reader.node(key), list.is_empty()) {
            let what = "is empty: the stage would never be done";
            ground
                .problems
                .error(&node.place, what, "name one, or take it out");
        }
        let texts = list.into_iter();
        texts
            .filter_map(|node| text(node, ground.problems))
            .collect()
    };
    let branches = texts("branch");
    for branch in branches.iter().filter(|text| !is_ref(text.value)) {
        let what = format!("{} is no branch", quoted(branch.value));
        let mend = "write a name or a pattern, e.g. \"main\" or \"release/*\"";
        ground.problems.error(&branch.place, what, mend);
    }
    When {
        branches: branches.iter().map(|text| text.value.to_owned()).collect(),
        environments: texts("environment")
            .iter()
            .filter_map(|text| environment(ground, text))
            .collect(),
    }
}

/// An environment that is configured.
pub(in super::super) fn environment(
    ground: &Ground<'_>,
    written: &Located<&str>,
) -> Option<EnvName> {
    let name: Located<EnvName> = parsed(written, "name an environment", ground.problems)?;
    if !ground.environments.contains_key(&name.value) && !ground.is_written("env", written.value) {
        unknown_environment(ground, &name.place, written.value);
    }
    Some(name.value)
}

fn unknown_environment(ground: &Ground<'_>, place: &Place, name: &str) {
    let known = ground.environments.keys().map(EnvName::as_str);
    let what = format!("environment {} is not configured", quoted(name));
    ground
        .problems
        .error(place, what, suggest::mend(name, known));
}
