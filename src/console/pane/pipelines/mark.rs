//! How stages and runs are told everywhere on the screen: mark, time against the usual one, what
//! stands beside what. Knows no pane.

use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::pipeline::RunResult;
use crate::model::{Clean, Placement, StageName};
use crate::view::pipeline::{RunView, StageView};
use crate::view::words;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;

/// Characters of a commit that tell it from others.
const SHORT: usize = 7;

/// How long an ended run is shown beside what it deployed to.
const ENDED_SHOWN_MS: u64 = 3_600_000;

/// A stage's symbol and style.
pub fn mark(theme: &Theme, stage: &StageView) -> (&'static str, Style) {
    let symbols = &theme.symbols;
    let (symbol, role) = match stage.status.as_str() {
        "passed" => (symbols.passed, Role::Ok),
        "failed" => (symbols.failed, Role::Fail),
        "running" => (symbols.running, Role::Running),
        "resting" => (symbols.warned, Role::Warn),
        "skipped" => (symbols.skipped, Role::Muted),
        "canceled" => (symbols.canceled, Role::Muted),
        "waiting" if stage.waits_for_person => (symbols.held, Role::Warn),
        "waiting" => (symbols.todo, Role::Muted),
        // A word that only a newer engine knows tells as little.
        _ => (symbols.unknown, Role::Warn),
    };
    (symbol, theme.style(role))
}

/// A run's symbol and style.
pub fn run_mark(theme: &Theme, run: &RunView) -> (&'static str, Style) {
    let symbols = &theme.symbols;
    let begun = run.stages.iter().any(|stage| stage.status != "waiting");
    let (symbol, role) = match (run.result, run.foremost()) {
        (Some(RunResult::Passed), _) => (symbols.passed, Role::Ok),
        (Some(RunResult::Failed), _) => (symbols.failed, Role::Fail),
        (Some(RunResult::Canceled), _) => (symbols.canceled, Role::Muted),
        (None, Some(stage)) => return mark(theme, stage),
        (None, None) if begun => (symbols.running, Role::Running),
        (None, None) => (symbols.todo, Role::Waiting),
    };
    (symbol, theme.style(role))
}

/// How long a stage took, or takes already; `None` before it began.
fn elapsed_ms(stage: &StageView, now_ms: u64) -> Option<u64> {
    match stage.status.as_str() {
        "running" => Some(now_ms.saturating_sub(stage.since_ms)),
        _ => stage.took_ms,
    }
}

/// `+18 %`: a time against the usual one. `None` where there is none to compare with.
fn against(elapsed_ms: u64, usual_ms: Option<u64>) -> Option<String> {
    let usual_ms = usual_ms.filter(|usual_ms| *usual_ms > 0)?;
    let percent = (elapsed_ms as f64 / usual_ms as f64 - 1.0) * 100.0;
    Some(format!("{:+.0} %", percent.round().clamp(-99.0, 999.0)))
}

/// A stage's time and, once it says something, how it compares: `00:42`, and `+18 %` or
/// `of 01:10`. Both empty before it began.
pub fn times(stage: &StageView, now_ms: u64) -> (String, String) {
    let Some(elapsed_ms) = elapsed_ms(stage, now_ms) else {
        return Default::default();
    };
    let early = stage.usual_ms.filter(|usual_ms| {
        // What is not over yet is not faster than usual.
        stage.status == "running" && elapsed_ms < *usual_ms
    });
    let compared = match early {
        Some(usual_ms) => format!("of {}", words::clock(usual_ms)),
        None => against(elapsed_ms, stage.usual_ms).unwrap_or_default(),
    };
    (words::clock(elapsed_ms), compared)
}

/// A stage's time on a line with others: `00:42 (+18 %)`, `00:42 of 01:10`.
pub fn time(stage: &StageView, now_ms: u64) -> String {
    match times(stage, now_ms) {
        (time, compared) if compared.is_empty() => time,
        (time, compared) if compared.starts_with("of") => format!("{time} {compared}"),
        (time, compared) => format!("{time} ({compared})"),
    }
}

/// The commit's first characters.
pub fn short(run: &RunView) -> Option<&str> {
    run.commit.as_ref().map(|commit| {
        let commit = commit.as_str();
        let end = commit.char_indices().nth(SHORT).map(|(at, _)| at);
        &commit[..end.unwrap_or(commit.len())]
    })
}

/// `p12 main c0ffee1 "Fix the cart"`.
pub fn head(run: &RunView) -> String {
    let subject = run.subject.as_ref();
    let subject = subject.map_or_else(String::new, |subject| format!(" \"{subject}\""));
    format!("{}{subject}", head_short(run))
}

/// `p12 main c0ffee1`.
pub fn head_short(run: &RunView) -> String {
    let commit = short(run).map_or_else(String::new, |commit| format!(" {commit}"));
    format!("{} {}{commit}", run.number, run.branch)
}

/// How far a run is, in a few words: its foremost stage with its time, or how it ended.
pub fn how_far(run: &RunView, now_ms: u64) -> String {
    if let Some(result) = run.result {
        return result.word().to_owned();
    }
    let Some(stage) = run.foremost() else {
        let begun = run.stages.iter().any(|stage| stage.status != "waiting");
        return if begun { "under way" } else { "queued" }.to_owned();
    };
    let time = time(stage, now_ms);
    match (stage.waits_for_person, stage.status.as_str()) {
        (true, _) => format!("{} waits for a person", stage.name),
        (false, "running") => format!("{} {time}", stage.name),
        (false, status) => format!("{} {status}", stage.name),
    }
}

/// `about 4 min left`, where the past allows an estimate.
pub fn left(run: &RunView) -> Option<String> {
    let left_ms = run.left_ms.filter(|left_ms| *left_ms >= 1_000)?;
    // Parts of a second would claim to be more than an estimate.
    Some(format!(
        "about {} left",
        words::span(left_ms / 1_000 * 1_000)
    ))
}

/// How many stages must be over before each one, counted along the longest way.
pub fn depths(run: &RunView) -> Vec<usize> {
    let mut known: BTreeMap<&StageName, usize> = BTreeMap::new();
    let stages = run.stages.iter();
    stages
        .map(|stage| {
            let before = stage.needs.iter().filter_map(|name| known.get(name));
            let depth = before.max().map_or(0, |before| before + 1);
            known.insert(&stage.name, depth);
            depth
        })
        .collect()
}

/// The stages in the order in which they come; those that can be under way at the same time
/// together.
pub fn groups(run: &RunView) -> Vec<Vec<&StageView>> {
    let mut groups: BTreeMap<usize, Vec<&StageView>> = BTreeMap::new();
    for (stage, depth) in run.stages.iter().zip(depths(run)) {
        groups.entry(depth).or_default().push(stage);
    }
    groups.into_values().collect()
}

/// What went wrong or is waited for, each with its label: the failing lines in full.
pub fn troubles(run: &RunView) -> Vec<(&'static str, String, Role)> {
    let why = |stage: &StageView| {
        let why = stage.why.as_ref();
        let why = why.map_or_else(|| "no reason was told".to_owned(), Clean::to_string);
        format!("{}: {why}", stage.name)
    };
    let told = run.stages.iter().filter_map(|stage| {
        Some(match stage.status.as_str() {
            "failed" => ("Failed", why(stage), Role::Fail),
            "unknown" => ("Unknown", why(stage), Role::Warn),
            "resting" => ("Retries", why(stage), Role::Warn),
            _ => return None,
        })
    });
    let waits = run.waits.as_ref();
    let waits = waits.map(|waits| ("Waits", waits.to_string(), Role::Warn));
    let canceled = run.canceled.as_ref();
    let canceled = canceled.map(|by| ("Canceled", by.to_string(), Role::Muted));
    told.chain(waits).chain(canceled).collect()
}

/// A text beside its label, wrapped to so many cells, nothing left out.
pub fn labelled(
    theme: &Theme,
    label: &str,
    body: &str,
    cells: usize,
    style: Style,
) -> Vec<Line<'static>> {
    let parts = text::wrap(body, cells.saturating_sub(9).max(1));
    let muted = theme.style(Role::Muted);
    let label = |n: usize| if n == 0 { label } else { "" };
    parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            Line::from(vec![
                Span::styled(format!("{:<9}", label(n)), muted),
                Span::styled(part, style),
            ])
        })
        .collect()
}

/// Open runs first, then ended ones; the newest of each first.
pub fn ordered(runs: &[RunView]) -> Vec<&RunView> {
    let (open, ended): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.is_open());
    open.into_iter().chain(ended).collect()
}

/// Whether a run deploys to a place, or did.
fn deploys_to(run: &RunView, placement: &Placement) -> bool {
    let mut stages = run.stages.iter();
    stages.any(|stage| stage.placement.as_ref() == Some(placement) && stage.status != "skipped")
}

/// The newest open run on its way to a place: one whose deploy to it is not over.
pub fn on_its_way<'a>(runs: &'a [RunView], placement: &Placement) -> Option<&'a RunView> {
    runs.iter().find(|run| {
        let mut stages = run.stages.iter();
        let ahead = |status: &str| !matches!(status, "passed" | "failed" | "skipped" | "canceled");
        run.is_open()
            && stages
                .any(|stage| stage.placement.as_ref() == Some(placement) && ahead(&stage.status))
    })
}

/// The run that concerns a place: the newest open one that deploys to it, else the newest that
/// ended within the last hour.
pub fn concerning<'a>(
    runs: &'a [RunView],
    placement: &Placement,
    now_ms: u64,
) -> Option<&'a RunView> {
    let lately = |run: &&RunView| {
        let shown = |ended_ms: u64| now_ms.saturating_sub(ended_ms) < ENDED_SHOWN_MS;
        run.ended_ms.is_some_and(shown)
    };
    let mut here = runs.iter().filter(|run| deploys_to(run, placement));
    let open = here.clone().find(|run| run.is_open());
    open.or_else(|| here.find(lately))
}
