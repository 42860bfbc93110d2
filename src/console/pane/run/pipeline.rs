//! The run of a pipeline above the rollout it led to, or will: as a graph where there is room,
//! else as a rail, and shorter the less room the rollout leaves. What comes next in the rollout
//! is never pushed off for it.

use super::Room;
use crate::console::pane::pipelines::graph::Graph;
use crate::console::pane::pipelines::mark::{head, how_far, labelled, left, run_mark, troubles};
use crate::console::pane::pipelines::rail;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::view::pipeline::RunView;
use crate::view::snapshot::PlacementView;
use ratatui::text::{Line, Span};

/// Below so many rows the rollout tells its traffic on one line.
const LOW: usize = 12;

/// Cells of that line.
const FLAT: usize = 60;

/// Lines of a placement without a rollout that must be seen.
const IDLE: usize = 3;

/// Lines of it that must be seen below a graph.
const IDLE_BELOW_GRAPH: usize = 8;

/// What the pane shows, and what had no room but in its title.
pub(super) struct Shown<'r> {
    /// Its lines.
    pub(super) lines: Vec<Line<'static>>,
    /// The run, where it has no line.
    pub(super) title: Option<&'r RunView>,
}

/// A run in a title of so many cells, beside the clock that is there: its foremost stage with its
/// time, its mark, or its number alone.
pub(super) fn title(
    theme: &Theme,
    run: &RunView,
    now_ms: u64,
    clock: &str,
    cells: usize,
) -> String {
    let number = run.number;
    let (symbol, _) = run_mark(theme, run);
    let stage = run.foremost().map_or("", |stage| stage.name.as_str());
    let ways = [
        format!("{number} {} {clock}", how_far(run, now_ms)),
        format!("{number} {symbol}{stage} {clock}"),
        format!("{number} {symbol} {clock}"),
    ];
    let mut ways = ways.into_iter();
    let fitting = ways.find(|said| text::width(said) <= cells);
    fitting.unwrap_or_else(|| number.to_string())
}

impl Room<'_> {
    /// The placement, below the run where one concerns it; `wide` is whether the screen is.
    pub(super) fn shown<'r>(
        &self,
        view: &PlacementView,
        run: Option<&'r RunView>,
        now_ms: u64,
        wide: Width,
    ) -> Shown<'r> {
        let Some(run) = run else {
            let (lines, _) = self.below(view, now_ms);
            return Shown { lines, title: None };
        };
        if wide == Width::Wide
            && let Some(lines) = self.with_graph(view, run, now_ms)
        {
            return Shown { lines, title: None };
        }
        for above in self.above(run, now_ms) {
            let room = Room {
                rows: self.rows.saturating_sub(above.len()),
                ..*self
            };
            let (below, must) = room.below(view, now_ms);
            // On a low and narrow pane a share of the traffic would fall off its line.
            let flat = room.rows < LOW && self.rows >= LOW && self.cells < FLAT;
            if above.len() + must <= self.rows && !flat {
                let lines = above.into_iter().chain(below).collect();
                return Shown { lines, title: None };
            }
        }
        let (lines, _) = self.below(view, now_ms);
        let title = Some(run);
        Shown { lines, title }
    }

    /// The placement itself, and how many of its lines must be seen.
    fn below(&self, view: &PlacementView, now_ms: u64) -> (Vec<Line<'static>>, usize) {
        match &view.rollout {
            Some(open) => self.open(view, open, now_ms),
            None => (self.idle(view, now_ms), IDLE),
        }
    }

    /// A graph above the placement, where it takes away nothing that must be seen.
    fn with_graph(
        &self,
        view: &PlacementView,
        run: &RunView,
        now_ms: u64,
    ) -> Option<Vec<Line<'static>>> {
        let graph = self.graph(run, now_ms);
        let (lines, must) = self.below(view, now_ms);
        let must = match view.rollout {
            Some(_) => must,
            None => lines.len().min(IDLE_BELOW_GRAPH),
        };
        let rows = self.rows.checked_sub(graph.len())?;
        let (below, _) = Room { rows, ..*self }.below(view, now_ms);
        (must <= rows).then(|| graph.into_iter().chain(below).collect())
    }

    /// The run along a rail, the most telling way first; what is wrong with it is told in full as
    /// long as there is room.
    fn above(&self, run: &RunView, now_ms: u64) -> Vec<Vec<Line<'static>>> {
        let rail = rail::lines(self.theme, run, now_ms, self.cells);
        let one = rail::one(self.theme, run, now_ms, self.cells);
        let whole = self.said_of(run);
        let short: Vec<_> = self.short_of(run).into_iter().collect();
        let gap = (self.rows >= 16).then(Line::default);
        let spaced = rail.iter().chain(&whole).cloned().chain(gap).collect();
        let join = |front: &[Line<'static>], said: &[Line<'static>]| [front, said].concat();
        let one = [one];
        vec![
            spaced,
            join(&rail, &whole),
            join(&one, &whole),
            join(&rail, &short),
            join(&one, &short),
            one.to_vec(),
        ]
    }

    fn graph(&self, run: &RunView, now_ms: u64) -> Vec<Line<'static>> {
        let graph = Graph {
            theme: self.theme,
            cells: self.cells,
            chosen: None,
        };
        let symbols = &self.theme.symbols;
        let left = left(run).map_or_else(String::new, |left| format!("  {left}"));
        let room = self.cells.saturating_sub(text::width(&left));
        let mut lines = vec![Line::from(vec![
            Span::styled(
                text::fit(&head(run), room, symbols),
                self.theme.style(Role::Title),
            ),
            Span::styled(left, self.muted()),
        ])];
        lines.push(graph.heading(run));
        lines.extend(graph.lines(run, now_ms));
        lines.extend(self.said_of(run));
        lines.push(Line::default());
        lines
    }

    /// What is wrong with it, in full.
    fn said_of(&self, run: &RunView) -> Vec<Line<'static>> {
        let told = troubles(run).into_iter();
        told.flat_map(|(label, said, role)| {
            labelled(self.theme, label, &said, self.cells, self.theme.style(role))
        })
        .collect()
    }

    /// The first of it on one line.
    fn short_of(&self, run: &RunView) -> Option<Line<'static>> {
        let (label, said, role) = troubles(run).into_iter().next()?;
        let said = text::fit(&said, self.cells.saturating_sub(9), &self.theme.symbols);
        Some(Line::from(vec![
            Span::styled(format!("{label:<9}"), self.muted()),
            Span::styled(said, self.theme.style(role)),
        ]))
    }
}

/// Whether the screen has room for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Too narrow for them.
    Narrow,
    /// Wide enough.
    Wide,
}

impl Width {
    /// Of a screen of so many columns.
    pub(super) fn of(columns: u16) -> Self {
        if columns >= 120 {
            Self::Wide
        } else {
            Self::Narrow
        }
    }
}
