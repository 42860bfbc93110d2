//! A run of a pipeline as plain lines.

use crate::view::pipeline::{RunView, StageView};
use crate::view::words;

/// One line about a run.
pub(super) fn headline(run: &RunView, now_ms: u64) -> String {
    let commit = run.commit.as_ref().map_or("", |commit| commit.as_str());
    let commit: String = commit.chars().take(12).collect();
    let subject = run.subject.as_ref();
    let subject = subject.map_or_else(String::new, |subject| format!(" \"{subject}\""));
    let how = match (run.result, &run.canceled) {
        (Some(result), _) => {
            let took_ms = run.ended_ms.unwrap_or(now_ms).saturating_sub(run.began_ms);
            format!("{} in {}", result.word(), words::span(took_ms))
        }
        (None, Some(_)) => "being canceled".to_owned(),
        (None, None) => on_its_way(run, now_ms),
    };
    let what = format!(
        "{} {} {} {commit}{subject}",
        run.number, run.pipeline, run.branch
    );
    format!("{} by {}: {how}", what.trim_end(), run.by)
}

fn on_its_way(run: &RunView, now_ms: u64) -> String {
    let since = words::span(now_ms.saturating_sub(run.began_ms));
    let stage = run.foremost();
    let stage = stage.map_or_else(String::new, |stage| format!(" {}", stage.name));
    let left = run.left_ms;
    let left = left.map_or_else(String::new, |ms| {
        format!(", about {} left", words::span(ms))
    });
    format!("under way{stage} since {since}{left}")
}

/// A run with its stages.
pub(super) fn whole(run: &RunView, now_ms: u64) -> Vec<String> {
    let mut lines = vec![headline(run, now_ms)];
    lines.extend(run.changed.as_ref().map(|changed| format!("  {changed}")));
    lines.extend(run.reason.as_ref().map(|why| format!("  why: {why}")));
    lines.extend(
        run.canceled
            .as_ref()
            .map(|by| format!("  canceled by {by}")),
    );
    let width = run
        .stages
        .iter()
        .map(|stage| stage.name.as_str().len())
        .max();
    for stage in &run.stages {
        lines.push(line(stage, width.unwrap_or(0), now_ms));
        lines.extend(stage.why.as_ref().map(|why| format!("      {why}")));
        lines.extend(
            stage
                .last_line
                .as_ref()
                .map(|last| format!("      > {last}")),
        );
    }
    lines.extend(run.waits.as_ref().map(|waits| format!("  waits: {waits}")));
    lines
}

fn line(stage: &StageView, width: usize, now_ms: u64) -> String {
    let runs = stage.status == "running";
    let took_ms = match runs {
        true => Some(now_ms.saturating_sub(stage.since_ms)),
        false => stage.took_ms,
    };
    let took = took_ms.map_or_else(String::new, |ms| format!(" {}", words::span(ms)));
    let usual = match (took_ms, stage.usual_ms) {
        (Some(took_ms), Some(usual_ms)) => against(took_ms, usual_ms),
        _ => String::new(),
    };
    let rollout = stage.rollout;
    let rollout = rollout.map_or_else(String::new, |number| format!(" rollout {number}"));
    let to = stage.placement.as_ref();
    let to = to.map_or_else(String::new, |placement| format!(" to {placement}"));
    let again = match stage.attempts {
        0 | 1 => String::new(),
        n => format!(", attempt {n}"),
    };
    let name = &stage.name;
    format!(
        "  {name:<width$}  {}{took}{usual}{to}{rollout}{again}",
        stage.status
    )
}

/// A duration against the usual one.
fn against(took_ms: u64, usual_ms: u64) -> String {
    let usual = words::span(usual_ms);
    if usual_ms == 0 {
        return format!(" (usually {usual})");
    }
    let percent = (took_ms as f64 / usual_ms as f64 - 1.0) * 100.0;
    format!(" (usually {usual}, {percent:+.0} %)")
}
