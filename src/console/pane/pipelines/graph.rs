//! A run's stages as a graph: one line each, the further right the more must be over before it,
//! with its time, the usual one and what it needs.

use super::mark::{depths, mark, times};
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::{Clean, StageName};
use crate::view::pipeline::{RunView, StageView};
use ratatui::text::{Line, Span};

/// Cells of a time: `1:02:03`.
const TIME: usize = 8;

/// Cells of what it is compared with: `of 1:02:03`, or `of 12:03` where room is short.
const COMPARED: [usize; 2] = [11, 9];

/// Below so many cells a line tells less.
const NARROW: usize = 60;

/// Longest name column.
const NAME_MAX: usize = 32;

/// The graph, below a line of titles where `heading` asks for one.
pub struct Graph<'a> {
    /// How it looks.
    pub theme: &'a Theme,
    /// Cells of a line.
    pub cells: usize,
    /// The stage a person chose; `None` where none can be.
    pub chosen: Option<&'a StageName>,
}

impl Graph<'_> {
    fn step(&self) -> usize {
        if self.cells >= 90 { 2 } else { 1 }
    }

    fn name_cells(&self, run: &RunView) -> usize {
        let names = run.stages.iter().zip(depths(run));
        let longest =
            names.map(|(stage, depth)| self.step() * depth + text::width(stage.name.as_str()));
        longest.max().unwrap_or(0).clamp(5, NAME_MAX) + 1
    }

    fn compared_cells(&self) -> usize {
        COMPARED[usize::from(self.cells < NARROW)]
    }

    /// Cells of the mark, and of the pointer before it where a stage can be chosen.
    fn mark_cells(&self) -> usize {
        let pointer = if self.chosen.is_some() { 2 } else { 0 };
        text::width(self.theme.symbols.passed) + 1 + pointer
    }

    /// What the columns are.
    pub fn heading(&self, run: &RunView) -> Line<'static> {
        let front = " ".repeat(self.mark_cells());
        let names = text::left("STAGE", self.name_cells(run), &self.theme.symbols);
        let compared = self.compared_cells();
        let said = format!("{front}{names}{:>7} {:<compared$}WHAT", "TIME", "VS 30 D");
        let said = text::fit(&said, self.cells, &self.theme.symbols);
        Line::styled(said, self.theme.style(Role::Muted))
    }

    /// One line per stage, in the order in which they are declared.
    pub fn lines(&self, run: &RunView, now_ms: u64) -> Vec<Line<'static>> {
        let names = self.name_cells(run);
        let stages = run.stages.iter().zip(depths(run));
        stages
            .map(|(stage, depth)| self.line(stage, depth, names, now_ms))
            .collect()
    }

    fn line(&self, stage: &StageView, depth: usize, names: usize, now_ms: u64) -> Line<'static> {
        let symbols = &self.theme.symbols;
        let (symbol, style) = mark(self.theme, stage);
        let indent = (self.step() * depth).min(names.saturating_sub(5));
        let name = format!("{}{}", " ".repeat(indent), stage.name);
        let name = text::left(&name, names.saturating_sub(1), symbols) + " ";
        let (time, compared) = times(stage, now_ms);
        let cells = self.compared_cells();
        let columns = format!("{time:>width$} {compared:<cells$}", width = TIME - 1);
        let used = self.mark_cells() + names + TIME + cells;
        let what = self.what(stage);
        let what = text::fit(&what, self.cells.saturating_sub(used), symbols);
        let muted = self.theme.style(Role::Muted);
        let chosen = self.chosen == Some(&stage.name);
        let pointer = match (self.chosen, chosen) {
            (None, _) => String::new(),
            (Some(_), true) => format!("{} ", symbols.pointer),
            (Some(_), false) => "  ".to_owned(),
        };
        let line = Line::from(vec![
            Span::styled(format!("{pointer}{symbol} {name}"), style),
            Span::styled(columns, self.theme.style(Role::Fg)),
            Span::styled(what, muted),
        ]);
        match chosen {
            true => line.style(self.theme.selection()),
            false => line,
        }
    }

    /// What a stage is, why it stands as it stands, and what it needs.
    fn what(&self, stage: &StageView) -> String {
        let mut parts = Vec::new();
        match (&stage.placement, stage.rollout) {
            (Some(placement), Some(number)) => parts.push(format!("to {placement} {number}")),
            (Some(placement), None) => parts.push(format!("to {placement}")),
            // What it needs tells more.
            (None, _) if self.cells < NARROW => {}
            (None, _) => parts.push(stage.work.clone()),
        }
        if stage.attempts > 1 {
            parts.push(format!("attempt {}", stage.attempts));
        }
        match stage.status.as_str() {
            _ if stage.waits_for_person => parts.push("waits for a person".to_owned()),
            "resting" | "unknown" | "canceled" => parts.push(stage.status.clone()),
            "skipped" => {
                let why = stage.why.as_ref().map(Clean::as_str).unwrap_or_default();
                parts.push(format!("skipped {why}"));
            }
            _ => {}
        }
        let said = parts.join(", ");
        let needs: Vec<_> = stage.needs.iter().map(StageName::as_str).collect();
        if needs.is_empty() {
            return said;
        }
        let needs = format!("{} {}", self.theme.symbols.from, needs.join(", "));
        format!("{said} {needs}").trim_start().to_owned()
    }
}
