//! The run of a pipeline above the rollout it led to, or will: as a graph where there is room,
//! else as a rail, and shorter the less room the rollout leaves. What comes next in the rollout
//! is never pushed off for it.

use super::Room;
use crate::console::pane::pipelines::graph::Graph;
use crate::console::pane::pipelines::mark::{head, how_far, labelled, left, troubles};
use crate::console::pane::pipelines::rail;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::view::pipeline::RunView;
use crate::view::snapshot::PlacementView;
use ratatui::text::{Line, Span};

/// Lines that must stay free below a graph.
const BELOW_GRAPH: usize = 8;

/// Lines of a placement without a rollout that must be seen.
const IDLE: usize = 3;

/// What the pane shows, and what had no room but in its title.
pub(super) struct Shown {
    /// Its lines.
    pub(super) lines: Vec<Line<'static>>,
    /// The run in a few words, where it has no line.
    pub(super) title: Option<String>,
}

impl Room<'_> {
    /// The placement, below the run where one concerns it; `wide` is whether the screen is.
    pub(super) fn shown(
        &self,
        view: &PlacementView,
        run: Option<&RunView>,
        now_ms: u64,
        wide: Width,
    ) -> Shown {
        let Some(run) = run else {
            let (lines, _) = self.below(view, now_ms);
            return Shown { lines, title: None };
        };
        for above in self.above(run, now_ms, wide) {
            let room = Room {
                rows: self.rows.saturating_sub(above.len()),
                ..*self
            };
            let (below, must) = room.below(view, now_ms);
            if above.len() + must <= self.rows {
                let lines = above.into_iter().chain(below).collect();
                return Shown { lines, title: None };
            }
        }
        let (lines, _) = self.below(view, now_ms);
        let title = format!("{} {}", run.number, how_far(run, now_ms));
        let title = Some(title);
        Shown { lines, title }
    }

    /// The placement itself, and how many of its lines must be seen.
    fn below(&self, view: &PlacementView, now_ms: u64) -> (Vec<Line<'static>>, usize) {
        match &view.rollout {
            Some(open) => self.open(view, open, now_ms),
            None => (self.idle(view, now_ms), IDLE),
        }
    }

    /// The run, the most telling way first.
    fn above(&self, run: &RunView, now_ms: u64, wide: Width) -> Vec<Vec<Line<'static>>> {
        let rail = rail::lines(self.theme, run, now_ms, self.cells);
        let one = rail::one(self.theme, run, now_ms, self.cells);
        let whole = self.said_of(run);
        let short: Vec<_> = self.short_of(run).into_iter().collect();
        let gap = (self.rows >= 16).then(Line::default);
        let join = |front: Vec<Line<'static>>, said: &[Line<'static>]| {
            let lines = front.into_iter().chain(said.iter().cloned());
            lines.chain(gap.clone()).collect::<Vec<_>>()
        };
        let mut ways = Vec::new();
        let graph = join(self.graph(run, now_ms), &whole);
        if wide == Width::Wide && self.rows >= graph.len() + BELOW_GRAPH {
            ways.push(graph);
        }
        ways.push(join(rail.clone(), &whole));
        ways.push(rail.into_iter().chain(short.clone()).collect());
        ways.push([one.clone()].into_iter().chain(whole).collect());
        ways.push([one.clone()].into_iter().chain(short).collect());
        ways.push(vec![one]);
        ways
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
