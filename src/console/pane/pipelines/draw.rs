//! The list of runs, one run, and its output, as lines.

use super::graph::Graph;
use super::mark::{head, how_far, labelled, left, ordered, run_mark, short, time, times, troubles};
use super::{Level, Output, Runs};
use crate::console::pane::{Pane, Slot, frame, indent, lines, logs};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::view::pipeline::{RunView, StageView};
use crate::view::words;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// How to begin a run, for those who see none.
const EMPTY: [&str; 3] = [
    "no run of a pipeline yet",
    "begin one with  :pipeline run [NAME] [BRANCH]",
    "or              wheelhouse pipeline run [NAME]",
];

/// Draws it.
pub fn draw(state: &Runs, runs: &[RunView], now_ms: u64, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    match state.level {
        Level::List => list(state, runs, now_ms, canvas, slot),
        Level::Run => one(state, runs, now_ms, canvas, slot),
        Level::Log => output(state, runs, now_ms, canvas, slot),
    }
}

fn list(state: &Runs, runs: &[RunView], now_ms: u64, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    let theme = canvas.theme;
    let open = runs.iter().filter(|run| run.is_open()).count();
    let count = format!("{open} open, {} ended", runs.len() - open);
    let inner = indent(frame(canvas, slot, Pane::Pipelines, "open first", &count));
    let cells = usize::from(inner.width);
    if runs.is_empty() {
        let said = EMPTY.map(|said| Line::styled(said, theme.style(Role::Muted)));
        lines(canvas, inner, said.to_vec(), 0);
        return;
    }
    let columns = Columns::of(runs, cells);
    let mut rows = vec![columns.heading(theme)];
    let chosen = state.run(runs).map(|run| run.number);
    let mut at = 0;
    for run in ordered(runs) {
        let selected = Some(run.number) == chosen;
        if selected {
            at = rows.len();
        }
        let row = columns.row(theme, run, now_ms, selected);
        rows.push(row);
    }
    show(canvas, inner, rows, at);
}

/// Draws lines so that the one at `at` can be seen.
fn show(canvas: &mut Canvas<'_, '_>, inner: Rect, rows: Vec<Line<'_>>, at: usize) {
    let top = (at + 1).saturating_sub(usize::from(inner.height));
    lines(canvas, inner, rows, top);
}

/// Widths of the list's columns.
struct Columns {
    cells: usize,
    pipeline: usize,
    branch: usize,
}

impl Columns {
    fn of(runs: &[RunView], cells: usize) -> Self {
        let most = if cells >= 100 { 24 } else { 12 };
        let longest = |width: &dyn Fn(&RunView) -> usize| runs.iter().map(width).max().unwrap_or(0);
        let pipeline = longest(&|run| text::width(run.pipeline.as_str()));
        let branch = longest(&|run| text::width(run.branch.as_str()));
        Self {
            cells,
            pipeline: pipeline.clamp(8, most),
            branch: branch.clamp(6, most),
        }
    }

    fn texts(&self, theme: &Theme, texts: [&str; 4]) -> String {
        let symbols = &theme.symbols;
        let widths = [6, self.pipeline, self.branch, 7];
        let columns = texts.iter().zip(widths);
        columns
            .map(|(said, cells)| text::left(said, cells, symbols) + " ")
            .collect()
    }

    fn heading(&self, theme: &Theme) -> Line<'static> {
        let front = " ".repeat(3 + text::width(theme.symbols.passed));
        let titles = self.texts(theme, ["RUN", "PIPELINE", "BRANCH", "COMMIT"]);
        let said = text::fit(&format!("{front}{titles}STATE"), self.cells, &theme.symbols);
        Line::styled(said, theme.style(Role::Muted))
    }

    fn row(&self, theme: &Theme, run: &RunView, now_ms: u64, selected: bool) -> Line<'static> {
        let symbols = &theme.symbols;
        let (symbol, style) = run_mark(theme, run);
        let pointer = if selected { symbols.pointer } else { " " };
        let columns = self.texts(
            theme,
            [
                &run.number.to_string(),
                run.pipeline.as_str(),
                run.branch.as_str(),
                short(run).unwrap_or("-"),
            ],
        );
        let columns = format!(" {columns}");
        let front = format!("{pointer} {symbol}");
        let room = self
            .cells
            .saturating_sub(text::width(&front) + text::width(&columns));
        let line = Line::from(vec![
            Span::styled(front, style),
            Span::raw(columns),
            Span::styled(text::left(&state(run, now_ms), room, symbols), style),
        ]);
        match selected {
            true => line.style(theme.selection()),
            false => line,
        }
    }
}

/// A run's state on one line: what is foremost and why, or how and when it ended.
fn state(run: &RunView, now_ms: u64) -> String {
    let mut parts = vec![how_far(run, now_ms)];
    if let Some(ended_ms) = run.ended_ms {
        let took = words::clock(ended_ms.saturating_sub(run.began_ms));
        parts[0] = format!("{} in {took}, {}", parts[0], text::day_and_time(ended_ms));
    }
    parts.extend(left(run));
    let trouble = troubles(run).into_iter().next();
    parts.extend(trouble.map(|(_, said, _)| said));
    parts.extend(run.subject.as_ref().map(|subject| format!("\"{subject}\"")));
    parts.join(", ")
}

/// What is said where the selected run is not among those that are kept.
fn gone(state: &Runs, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    let inner = indent(frame(canvas, slot, Pane::Pipelines, "", ""));
    let number = state
        .number()
        .map_or_else(String::new, |run| format!("{run} "));
    let said = format!("the run {number}is no longer kept; Esc shows those that are");
    let style = canvas.theme.style(Role::Muted);
    let said = labelled(canvas.theme, "Gone", &said, usize::from(inner.width), style);
    lines(canvas, inner, said, 0);
}

fn one(state: &Runs, runs: &[RunView], now_ms: u64, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    let Some(run) = state.run(runs) else {
        return gone(state, canvas, slot);
    };
    let theme = canvas.theme;
    let about = format!("{} {}", run.number, run.pipeline);
    let clock = match run.ended_ms {
        Some(ended_ms) => words::clock(ended_ms.saturating_sub(run.began_ms)),
        None => words::clock(now_ms.saturating_sub(run.began_ms)),
    };
    let inner = indent(frame(canvas, slot, Pane::Pipelines, &about, &clock));
    let cells = usize::from(inner.width);
    let chosen = state.stage(run);
    let graph = Graph {
        theme,
        cells,
        chosen: chosen.map(|stage| &stage.name),
    };
    let mut rows = front(theme, run, now_ms, cells);
    rows.push(Line::default());
    rows.push(graph.heading(run));
    let name = chosen.map(|stage| &stage.name);
    let place = run
        .stages
        .iter()
        .position(|stage| Some(&stage.name) == name);
    let at = rows.len() + place.unwrap_or(0);
    rows.extend(graph.lines(run, now_ms));
    rows.push(Line::default());
    rows.extend(
        chosen
            .into_iter()
            .flat_map(|stage| details(theme, stage, now_ms, cells)),
    );
    show(canvas, inner, rows, at);
}

/// What a run is, how far it is, and what is wrong with it.
fn front(theme: &Theme, run: &RunView, now_ms: u64, cells: usize) -> Vec<Line<'static>> {
    let fg = theme.style(Role::Fg);
    let muted = theme.style(Role::Muted);
    let (symbol, style) = run_mark(theme, run);
    let mut state = vec![format!("{symbol} {}", how_far(run, now_ms))];
    state.extend(
        run.ended_ms
            .map(|at_ms| format!("at {}", text::day_and_time(at_ms))),
    );
    state.extend(left(run));
    let mut rows = labelled(theme, "Commit", &head(run), cells, fg);
    if let Some(changed) = &run.changed {
        rows.extend(labelled(theme, "Changed", changed.as_str(), cells, muted));
    }
    let reason = run.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let began = text::day_and_time(run.began_ms);
    let began = format!("{began} by {}{reason}", run.by);
    rows.extend(labelled(theme, "Began", &began, cells, muted));
    rows.extend(labelled(theme, "State", &state.join(", "), cells, style));
    for (label, said, role) in troubles(run) {
        rows.extend(labelled(theme, label, &said, cells, theme.style(role)));
    }
    rows
}

/// What is known of one stage beyond its line.
fn details(theme: &Theme, stage: &StageView, now_ms: u64, cells: usize) -> Vec<Line<'static>> {
    let fg = theme.style(Role::Fg);
    let muted = theme.style(Role::Muted);
    let time = match times(stage, now_ms) {
        (clock, compared) if compared.starts_with(['+', '-']) => {
            format!("{clock}, {compared} vs the median of 30 days")
        }
        _ => time(stage, now_ms),
    };
    let said = format!("{} {} {time}", stage.name, stage.status);
    let mut rows = labelled(theme, "Stage", said.trim_end(), cells, fg);
    if let Some(why) = stage.why.as_ref().filter(|_| stage.status == "skipped") {
        rows.extend(labelled(theme, "Skipped", why.as_str(), cells, muted));
    }
    if let Some(last) = &stage.last_line {
        rows.extend(labelled(theme, "Says", last.as_str(), cells, muted));
    }
    for (name, value) in &stage.values {
        let said = format!("{name} = {value}");
        rows.extend(labelled(theme, "Value", &said, cells, fg));
    }
    rows
}

fn output(state: &Runs, runs: &[RunView], now_ms: u64, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    let Some(of) = state.log.of() else {
        return gone(state, canvas, slot);
    };
    let mut stages = state.run(runs).into_iter().flat_map(|run| &run.stages);
    let stage = stages.find(|stage| stage.name == of.stage);
    let log = &state.log.lines;
    let about = format!("{}  {}", whose(of, stage, now_ms), log.about());
    let inner = frame(canvas, slot, Pane::Pipelines, &about, &log.follows());
    let inner = indent(inner);
    // The failing line is told without searching for it.
    let failed = stage.filter(|stage| stage.status == "failed");
    let why = failed.and_then(|stage| stage.why.as_ref());
    let fail = canvas.theme.style(Role::Fail);
    let mut said = why.map_or_else(Vec::new, |why| {
        let cells = usize::from(inner.width);
        labelled(canvas.theme, "Failed", why.as_str(), cells, fail)
    });
    said.truncate(usize::from(inner.height / 2));
    let rows = said.len() as u16;
    let above = Rect {
        height: rows,
        ..inner
    };
    lines(canvas, above, said, 0);
    let below = Rect {
        y: inner.y + rows,
        height: inner.height - rows,
        ..inner
    };
    logs::body(log, canvas, below, &unread(of, state));
}

/// Whose output it is, and how far that stage is: `p12 test attempt 2 running 00:42`.
fn whose(of: &Output, stage: Option<&StageView>, now_ms: u64) -> String {
    let how = stage.map_or_else(String::new, |stage| {
        format!(" {} {}", stage.status, time(stage, now_ms))
    });
    let attempt = match of.attempt {
        0 | 1 => String::new(),
        attempt => format!(" attempt {attempt}"),
    };
    let said = format!("{} {}{attempt}{how}", of.run, of.stage);
    said.trim_end().to_owned()
}

/// Why there is no line.
fn unread(of: &Output, state: &Runs) -> String {
    match (of.attempt, state.log.trouble()) {
        (0, _) => format!("{} of {} has not begun: it has no output", of.stage, of.run),
        (_, Some(why)) => format!("the output cannot be read: {why}"),
        (_, None) => "no line read yet".to_owned(),
    }
}
