//! Pane 1: the rollout's stages, its traffic, the verdict, what comes next, and the rollback
//! tree with its live values. Without a rollout: what runs, and how the last one ended. Above
//! either the run of a pipeline that leads here.

mod idle;
mod pipeline;
mod slots;

use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::{bar::bar, text};
use crate::model::RolloutKind;
use crate::model::verdict::{RuleState, VerdictClass};
use crate::view::pipeline::RunView;
use crate::view::snapshot::{
    PlacementView, Role as Part, RolloutView, StageState, StageView, TreeRow,
};
use crate::view::words;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Widest bar.
const BAR_MAX: usize = 30;

/// Draws it; returns how far it can be scrolled.
pub fn draw(
    view: &PlacementView,
    run: Option<&RunView>,
    now_ms: u64,
    top: usize,
    canvas: &mut Canvas<'_, '_>,
    slot: Slot,
) -> usize {
    let (about, clock) = match &view.rollout {
        Some(open) => (
            format!("{} {}", open.number, what(open)),
            words::clock(now_ms.saturating_sub(open.started_ms)),
        ),
        None => (view.placement.to_string(), String::new()),
    };
    let room = Room {
        theme: canvas.theme,
        cells: usize::from(slot.area.width.saturating_sub(4)),
        rows: usize::from(slot.area.height.saturating_sub(2)),
    };
    let width = pipeline::Width::of(canvas.frame.area().width);
    let shown = room.shown(view, run, now_ms, width);
    let state = match shown.title {
        Some(run) => {
            // What the frame's own name and blanks leave.
            let cells = usize::from(slot.area.width.saturating_sub(12));
            pipeline::title(room.theme, run, now_ms, &clock, cells)
        }
        None => clock,
    };
    let inner = super::indent(super::frame(canvas, slot, Pane::Run, &about, &state));
    super::lines(canvas, inner, shown.lines, top)
}

fn what(open: &RolloutView) -> String {
    format!(
        "{} {} by {}",
        open.kind.phrase(),
        open.release.version,
        open.by
    )
}

/// Cells for the names of stages, with what parts them from the rest.
fn name_cells(stages: &[StageView]) -> usize {
    let longest = stages.iter().map(|stage| text::width(stage.name.as_str()));
    longest.max().map_or(7, |longest| (longest + 1).max(7))
}

/// A stage's symbol and style.
pub(super) fn stage_mark(theme: &Theme, stage: &StageView) -> (&'static str, Style) {
    let symbols = &theme.symbols;
    match stage.state {
        StageState::Passed if stage.warns => (symbols.warned, theme.style(Role::Warn)),
        StageState::Todo => (symbols.todo, theme.style(Role::Muted)),
        StageState::Running => (symbols.running, theme.style(Role::Running)),
        StageState::Held => (symbols.held, theme.style(Role::Warn)),
        StageState::Passed => (symbols.passed, theme.style(Role::Ok)),
        StageState::Failed => (symbols.failed, theme.style(Role::Fail)),
        StageState::Skipped => (symbols.skipped, theme.style(Role::Muted)),
    }
}

/// The style of a verdict.
pub(super) fn verdict_role(verdict: VerdictClass) -> Role {
    match verdict {
        VerdictClass::Pass => Role::Ok,
        VerdictClass::Fail => Role::Fail,
        VerdictClass::Inconclusive => Role::Waiting,
        VerdictClass::NoData => Role::Warn,
    }
}

#[derive(Clone, Copy)]
struct Room<'a> {
    theme: &'a Theme,
    cells: usize,
    rows: usize,
}

impl Room<'_> {
    fn muted(&self) -> Style {
        self.theme.style(Role::Muted)
    }

    /// The rollout, and how many of its lines must be seen: down to what comes next.
    fn open(
        &self,
        view: &PlacementView,
        open: &RolloutView,
        now_ms: u64,
    ) -> (Vec<Line<'static>>, usize) {
        // A row per stage needs room for what is said below them too.
        let below = 6;
        let tall = self.rows >= open.stages.len() + below;
        let mut lines = match tall {
            true => self.stages(&open.stages, now_ms),
            false => self.stages_short(&open.stages, now_ms),
        };
        let roomy = self.rows >= lines.len() + 12;
        let gap = |lines: &mut Vec<Line<'static>>| {
            if roomy {
                lines.push(Line::default());
            }
        };
        gap(&mut lines);
        lines.extend(self.flow(view, open, now_ms));
        gap(&mut lines);
        // On a low pane they stand beside the instances.
        if self.rows >= 12 {
            lines.extend(self.parts(&open.parts));
        }
        // Nothing new is judged in a restart.
        if open.kind != RolloutKind::Restart {
            lines.extend(self.said(
                "Verdict",
                &format!("{}: {}", open.verdict.word(), open.because),
                self.theme.style(verdict_role(open.verdict)),
            ));
        }
        // On a low pane the banner has to do.
        if let (Some(hold), false) = (&open.hold, self.rows < 12) {
            lines.extend(self.said("Held", hold.text.as_str(), self.theme.style(Role::Warn)));
        }
        let next = match open.next_ms.and_then(|at_ms| at_ms.checked_sub(now_ms)) {
            Some(left_ms) => format!("{} in {}", open.next, words::clock(left_ms)),
            None => open.next.to_string(),
        };
        lines.extend(self.said("Next", &next, self.theme.style(Role::Fg)));
        let must = lines.len();
        if !view.tree.is_empty() && roomy {
            lines.push(Line::default());
            lines.push(Line::styled("Taken back when", self.muted()));
            lines.extend(self.tree(&view.tree));
        }
        (lines, must)
    }

    /// Where the traffic is, and what stands behind it.
    fn flow(&self, view: &PlacementView, open: &RolloutView, now_ms: u64) -> Vec<Line<'static>> {
        let low = self.rows < 12;
        let mut lines = match &view.slots {
            Some(slots) if !low => return self.slots(view, slots, now_ms),
            // A restart moves no traffic between releases.
            _ if open.kind == RolloutKind::Restart => Vec::new(),
            _ => self.traffic(view, open),
        };
        match (&view.slots, open.outage) {
            (Some(slots), _) => lines.push(self.colour(view, slots)),
            (None, Some(outage)) => lines.extend(self.outage(outage, now_ms)),
            (None, None) => {}
        }
        let said_already = low && (view.slots.is_some() || open.outage.is_some());
        if !said_already && self.rows < 20 {
            lines.extend(self.instances(view));
        }
        lines
    }

    fn stages(&self, stages: &[StageView], now_ms: u64) -> Vec<Line<'static>> {
        let name_cells = name_cells(stages);
        stages
            .iter()
            .map(|stage| {
                let (mark, style) = stage_mark(self.theme, stage);
                let name = text::left(stage.name.as_str(), name_cells, &self.theme.symbols);
                let mut spans = vec![
                    Span::styled(format!("{mark} {name}"), style),
                    Span::styled(stage.detail.to_string(), self.stage_style(stage)),
                ];
                spans.extend(self.soak(stage, 5 + name_cells, now_ms));
                Line::from(spans)
            })
            .collect()
    }

    fn stage_style(&self, stage: &StageView) -> Style {
        match stage.state {
            StageState::Todo | StageState::Skipped => self.muted(),
            _ => self.theme.style(Role::Fg),
        }
    }

    /// How much of a soak is over, as a bar and a clock.
    fn soak(&self, stage: &StageView, before: usize, now_ms: u64) -> Vec<Span<'static>> {
        let (Some(began_ms), Some(length_ms)) = (stage.began_ms, stage.length_ms) else {
            return Vec::new();
        };
        let open = matches!(stage.state, StageState::Running | StageState::Held);
        if !open || length_ms == 0 {
            return Vec::new();
        }
        let soaked_ms = now_ms.saturating_sub(began_ms);
        let clock = format!("{}/{}", words::clock(soaked_ms), words::clock(length_ms));
        let used = before + text::width(stage.detail.as_str()) + text::width(&clock) + 2;
        let cells = self.cells.saturating_sub(used).min(16);
        let mut spans = vec![Span::raw("  ")];
        if used > self.cells {
            return Vec::new();
        }
        if cells >= 4 {
            let ratio = soaked_ms as f64 / length_ms as f64;
            spans.extend(self.bar(ratio, cells, Role::Running));
            spans.push(Span::raw(" "));
        }
        spans.push(Span::styled(clock, self.theme.style(Role::Running)));
        spans
    }

    fn bar(&self, ratio: f64, cells: usize, role: Role) -> [Span<'static>; 2] {
        let [full, empty] = bar(&self.theme.symbols, ratio, cells);
        [
            Span::styled(full, self.theme.style(role)),
            Span::styled(empty, self.muted()),
        ]
    }

    /// The stages on as few lines as they take, with the current one's soak on its own.
    fn stages_short(&self, stages: &[StageView], now_ms: u64) -> Vec<Line<'static>> {
        let mut lines: Vec<Vec<Span<'static>>> = vec![Vec::new()];
        let mut used = 0;
        for stage in stages {
            let (mark, style) = stage_mark(self.theme, stage);
            let piece = format!("{mark} {}", stage.name);
            let cells = text::width(&piece) + 2;
            if used + cells > self.cells + 2 && used > 0 {
                lines.push(Vec::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(Span::styled(piece, style));
                line.push(Span::raw("  "));
            }
            used += cells;
        }
        let mut lines: Vec<_> = lines.into_iter().map(Line::from).collect();
        let open = |stage: &&StageView| {
            stage.warns
                || matches!(
                    stage.state,
                    StageState::Running | StageState::Held | StageState::Failed
                )
        };
        if let Some(stage) = stages.iter().rfind(open) {
            let cells = name_cells(std::slice::from_ref(stage)).max(8) + 1;
            let mut spans = vec![
                Span::styled(
                    text::left(stage.name.as_str(), cells, &self.theme.symbols),
                    self.muted(),
                ),
                Span::raw(stage.detail.to_string()),
            ];
            spans.extend(self.soak(stage, cells + 3, now_ms));
            lines.push(Line::from(spans));
        }
        lines
    }

    /// The new release's share three ways: as the history intends, as the balancers' weights say,
    /// as counted requests say.
    fn traffic(&self, view: &PlacementView, open: &RolloutView) -> Vec<Line<'static>> {
        let traffic = &view.traffic;
        let rows = [
            ("wanted", traffic.wanted_percent),
            ("applied", traffic.applied_percent),
            ("observed", traffic.observed_percent),
        ];
        let rate = traffic
            .requests_per_s
            .map(|rate| format!("   {} over all", text::figure(rate, "/s")))
            .unwrap_or_default();
        let title = format!("Traffic to {}{rate}", open.release.version);
        if self.rows < 12 {
            let value = |value: Option<f64>| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}%"))
            };
            let mut spans = vec![Span::styled("Traffic  ", self.muted())];
            spans.extend(rows.iter().enumerate().flat_map(|(n, (name, percent))| {
                let role = if n == 2 { Role::Fg } else { Role::Canary };
                [
                    Span::styled(format!("{name} "), self.muted()),
                    Span::styled(format!("{}  ", value(*percent)), self.theme.style(role)),
                ]
            }));
            let cells = self.cells.saturating_sub(58).min(20);
            if let (Some(applied), true) = (traffic.applied_percent, cells >= 6) {
                spans.extend(self.bar(applied / 100.0, cells, Role::Canary));
            }
            return vec![Line::from(spans)];
        }
        let mut lines = vec![Line::styled(title, self.muted())];
        let cells = self.cells.saturating_sub(19).min(BAR_MAX);
        lines.extend(rows.iter().map(|(name, percent)| {
            let mut spans = vec![Span::styled(format!("  {name:<9}"), self.muted())];
            match percent {
                None => spans.push(Span::styled("   -", self.muted())),
                Some(percent) => {
                    spans.push(Span::raw(format!("{percent:>5.1}% ")));
                    spans.extend(self.bar(percent / 100.0, cells, Role::Canary));
                }
            }
            Line::from(spans)
        }));
        lines
    }

    /// How many instances of each release are up; only those that were probed count.
    fn instances(&self, view: &PlacementView) -> Option<Line<'static>> {
        let count = |part: Part| {
            let of: Vec<_> = view
                .instances
                .iter()
                .filter(|row| row.role == part)
                .collect();
            let up = of.iter().filter(|row| row.healthy == Some(true)).count();
            (!of.is_empty()).then(|| format!("{up}/{}", of.len()))
        };
        let parts = [
            ("stable", Part::Stable),
            ("canary", Part::Canary),
            ("warm", Part::Warm),
        ];
        let mut texts: Vec<_> = parts
            .into_iter()
            .filter_map(|(name, part)| Some(format!("{name} {}", count(part)?)))
            .collect();
        let open = view.rollout.as_ref();
        if let Some(batch) = open.and_then(|open| open.batch.as_ref()) {
            texts.push(format!("replaced {}/{}", batch.replaced, batch.instances));
        }
        let low = self.rows < 12;
        for part in open.iter().flat_map(|open| &open.parts).filter(|_| low) {
            let held = if part.held { " HELD" } else { "" };
            let (name, new, all) = (&part.placement.service, part.replaced, part.instances);
            texts.push(format!("{name}{held} {new}/{all}"));
        }
        let out = view.instances.iter().filter(|row| row.out);
        let out: Vec<_> = out.map(|row| row.server.as_str()).collect();
        if !out.is_empty() {
            texts.push(format!("drained {}", out.join(" ")));
        }
        (!texts.is_empty()).then(|| {
            Line::from(vec![
                Span::styled("Healthy  ", self.muted()),
                Span::raw(texts.join("   ")),
            ])
        })
    }

    fn said(&self, label: &str, body: &str, style: Style) -> Vec<Line<'static>> {
        let room = self.cells.saturating_sub(9).max(1);
        let mut parts = text::wrap(body, room);
        // On a low pane one line each, so that nothing falls off below.
        if self.rows < 12 && parts.len() > 1 {
            parts = vec![text::fit(body, room, &self.theme.symbols)];
        }
        let label = |n: usize| if n == 0 { label } else { "" };
        parts
            .into_iter()
            .enumerate()
            .map(|(n, part)| {
                Line::from(vec![
                    Span::styled(format!("{:<9}", label(n)), self.muted()),
                    Span::styled(part, style),
                ])
            })
            .collect()
    }

    /// The tree's questions, with words and values in columns.
    fn tree(&self, rows: &[TreeRow]) -> Vec<Line<'static>> {
        let symbols = &self.theme.symbols;
        let word = |row: &TreeRow| match row.state {
            RuleState::Ok => ("no", Role::Ok),
            RuleState::Wait => ("wait", Role::Waiting),
            RuleState::NoData => ("no data", Role::Warn),
            RuleState::Broken => ("YES", Role::Fail),
        };
        let longest = |width: &dyn Fn(&TreeRow) -> usize| rows.iter().map(width).max();
        let question = longest(&|row| text::width(row.question.as_str())).unwrap_or(0) + 1;
        let question = question.min(self.cells.saturating_sub(20)).max(1);
        let words = longest(&|row| word(row).0.len()).unwrap_or(0) + 1;
        let value = self.cells.saturating_sub(2 + question + words);
        let line = |row: &TreeRow| {
            let (said, role) = word(row);
            let asked = text::left(row.question.as_str(), question - 1, symbols) + " ";
            Line::from(vec![
                Span::raw(format!("  {asked}")),
                Span::styled(format!("{said:<words$}"), self.theme.style(role)),
                Span::styled(text::fit(row.value.as_str(), value, symbols), self.muted()),
            ])
        };
        rows.iter().map(line).collect()
    }
}
