//! The whole screen: what is where at which size, and drawing it.

mod edges;
mod hints;

use super::app::{App, Overlay, Page};
use super::dialog::{confirm, help, leave};
use super::pane::{self, Pane, Slot};
use super::theme::{Role, Theme};
use super::widget::text;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Size};
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::Block;

/// What panes draw on.
pub struct Canvas<'a, 'b> {
    /// The frame.
    pub frame: &'a mut Frame<'b>,
    /// How things look.
    pub theme: &'a Theme,
}

/// Below this there are no panes.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 16;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who and what; never dropped.
    pub header: Rect,
    /// The one thing that matters, and the panes' names.
    pub banner: Rect,
    /// The guide's line; empty without one.
    pub guide: Rect,
    /// The panes.
    pub panes: Vec<(Pane, Rect)>,
    /// Keys and state.
    pub footer: Rect,
}

/// Whether there is no room for panes.
pub fn is_tiny(size: Size) -> bool {
    size.width < WIDTH_MIN || size.height < HEIGHT_MIN
}

/// Rows for what is not always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// For the guide.
    pub guide: u16,
    /// For the run of a pipeline above a rollout.
    pub rail: u16,
}

/// Plans a screen; `whole` is the pane that has it alone.
pub fn plan(size: Size, whole: Option<Pane>, extra: Extra) -> Plan {
    let [header, banner, guide, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(extra.guide),
        Constraint::Min(0),
        Constraint::Length(2),
    ])
    .areas(Rect::from((ratatui::layout::Position::ORIGIN, size)));
    let panes = match whole {
        Some(pane) => vec![(pane, body)],
        None => panes(body, extra.rail),
    };
    Plan {
        header,
        banner,
        guide,
        panes,
        footer,
    }
}

fn panes(body: Rect, rail: u16) -> Vec<(Pane, Rect)> {
    match (body.width, body.height) {
        (0..=84, 42..) => portrait(body),
        (160.., 40..) => large(body),
        (100.., 26..) => medium(body),
        _ => small(body, rail),
    }
}

fn small(body: Rect, rail: u16) -> Vec<(Pane, Rect)> {
    let run = if body.height >= 19 { 8 } else { 7 } + rail;
    let metrics = if body.height >= 19 && rail < 2 { 7 } else { 5 };
    let [run, metrics, logs] = Layout::vertical([
        Constraint::Length(run),
        Constraint::Length(metrics),
        Constraint::Min(0),
    ])
    .areas(body);
    let all = [
        (Pane::Run, run),
        (Pane::Metrics, metrics),
        (Pane::Logs, logs),
    ];
    // A pane without a row inside is none.
    all.into_iter()
        .filter(|(_, area)| area.height > 2)
        .collect()
}

fn portrait(body: Rect) -> Vec<(Pane, Rect)> {
    let [run, metrics, instances, logs] = Layout::vertical([
        Constraint::Fill(4),
        Constraint::Fill(4),
        Constraint::Length(9),
        Constraint::Fill(3),
    ])
    .areas(body);
    vec![
        (Pane::Run, run),
        (Pane::Metrics, metrics),
        (Pane::Instances, instances),
        (Pane::Logs, logs),
    ]
}

fn medium(body: Rect) -> Vec<(Pane, Rect)> {
    let [upper, lower] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
    let [run, metrics] =
        Layout::horizontal([Constraint::Fill(9), Constraint::Fill(13)]).areas(upper);
    let [left, logs] = Layout::horizontal([Constraint::Fill(9), Constraint::Fill(13)]).areas(lower);
    let [instances, history] =
        Layout::vertical([Constraint::Length(9), Constraint::Min(0)]).areas(left);
    vec![
        (Pane::Run, run),
        (Pane::Metrics, metrics),
        (Pane::Instances, instances),
        (Pane::History, history),
        (Pane::Logs, logs),
    ]
}

fn large(body: Rect) -> Vec<(Pane, Rect)> {
    let [upper, lower] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
    let columns = [
        Constraint::Fill(5),
        Constraint::Fill(8),
        Constraint::Fill(6),
    ];
    let [run, metrics, right] = Layout::horizontal(columns).areas(upper);
    let [instances, history] =
        Layout::vertical([Constraint::Length(10), Constraint::Min(0)]).areas(right);
    let [logs, engine] =
        Layout::horizontal([Constraint::Fill(13), Constraint::Fill(6)]).areas(lower);
    vec![
        (Pane::Run, run),
        (Pane::Metrics, metrics),
        (Pane::Instances, instances),
        (Pane::History, history),
        (Pane::Logs, logs),
        (Pane::EngineLog, engine),
    ]
}

/// Draws the screen at a time of the console's own clock. Says how far the focused pane can be
/// scrolled.
pub fn draw(app: &App, frame: &mut Frame<'_>, now_ms: u64) -> usize {
    let area = frame.area();
    if area.is_empty() {
        return 0;
    }
    let theme = &app.theme;
    frame.render_widget(Block::new().style(theme.base()), area);
    let canvas = &mut Canvas { frame, theme };
    let furthest = match is_tiny(area.as_size()) {
        true => {
            edges::tiny(app, canvas);
            0
        }
        false => draw_all(app, canvas),
    };
    overlay(app, canvas, now_ms);
    if theme.symbols.ascii {
        only_ascii(frame);
    }
    furthest
}

fn draw_all(app: &App, canvas: &mut Canvas<'_, '_>) -> usize {
    let plan = app.plan();
    edges::header(app, canvas, plan.header);
    edges::banner(app, canvas, plan.banner);
    edges::guide(app, canvas, plan.guide);
    let mut furthest = 0;
    for (pane, area) in &plan.panes {
        let slot = Slot {
            area: *area,
            focused: *pane == app.focus,
        };
        let reach = draw_pane(app, canvas, *pane, slot);
        if slot.focused {
            furthest = reach;
        }
    }
    edges::footer(app, canvas, plan.footer);
    furthest
}

fn draw_pane(app: &App, canvas: &mut Canvas<'_, '_>, pane: Pane, slot: Slot) -> usize {
    let top = if slot.focused { app.scroll } else { 0 };
    match pane {
        Pane::Logs => {
            pane::logs::draw(&app.logs, canvas, slot);
            return 0;
        }
        Pane::EngineLog => {
            pane::engine_log::draw(&app.engine_log, canvas, slot);
            return 0;
        }
        _ => {}
    }
    let Some(snapshot) = &app.snapshot else {
        let inner = pane::frame(canvas, slot, pane, "", "");
        let text = "waiting for the engine's first word";
        let line = Line::styled(text, canvas.theme.style(Role::Muted));
        pane::lines(canvas, pane::indent(inner), vec![line], 0);
        return 0;
    };
    if pane == Pane::Fleet {
        pane::fleet::draw(snapshot, app.selected.as_ref(), canvas, slot);
        return 0;
    }
    if pane == Pane::Pipelines {
        let now_ms = snapshot.engine.now_ms;
        pane::pipelines::draw(&app.runs, &snapshot.runs, now_ms, canvas, slot);
        return 0;
    }
    let Some(view) = app.view() else {
        let inner = pane::frame(canvas, slot, pane, "", "");
        let text = "nothing is selected: 0 shows the fleet";
        let line = Line::styled(text, canvas.theme.style(Role::Muted));
        pane::lines(canvas, pane::indent(inner), vec![line], 0);
        return 0;
    };
    match pane {
        Pane::Run => {
            let (run, now_ms) = (app.run_here(), snapshot.engine.now_ms);
            pane::run::draw(view, run, now_ms, top, canvas, slot)
        }
        Pane::Metrics => pane::metrics::draw(view, top, canvas, slot),
        Pane::Instances => pane::instances::draw(view, app.selected_instance(), top, canvas, slot),
        Pane::History => {
            let place = &view.placement;
            pane::history::draw(&app.history, snapshot, place, top, canvas, slot)
        }
        Pane::Fleet | Pane::Logs | Pane::EngineLog | Pane::Pipelines => 0,
    }
}

fn overlay(app: &App, canvas: &mut Canvas<'_, '_>, now_ms: u64) {
    match &app.overlay {
        None => {}
        Some(Overlay::Confirm(dialog)) => confirm::draw(dialog, canvas, &app.you(), now_ms),
        Some(Overlay::Help(state)) => help::draw(state, &app.keymap, canvas),
        Some(Overlay::Leave) => leave::draw(app.snapshot.as_deref(), canvas),
        Some(Overlay::Palette(palette)) => {
            let area = canvas.frame.area();
            let cells = usize::from(area.width);
            let symbols = &canvas.theme.symbols;
            let typed = text::left(&format!(" :{}_", palette.text), cells, symbols);
            let hint = palette.hint(canvas.theme);
            let hint = text::left(&format!(" {hint}"), cells, symbols);
            let role = if palette.trouble.is_some() {
                Role::Warn
            } else {
                Role::Muted
            };
            let rows = [
                Line::styled(hint, canvas.theme.style(role)),
                Line::styled(typed, canvas.theme.style(Role::Title)),
            ];
            for (n, line) in rows.into_iter().enumerate() {
                let y = area.height.saturating_sub(2) + n as u16;
                let row = Rect {
                    y,
                    height: 1,
                    ..area
                }
                .intersection(area);
                canvas.frame.render_widget(line, row);
            }
        }
    }
}

/// Whatever came from outside is shown with ASCII alone.
fn only_ascii(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        if !cell.symbol().is_ascii() {
            cell.set_symbol("?");
        }
    }
}

/// The panes a person can go to, in order.
pub(super) fn reachable(page: Page) -> Vec<Pane> {
    match page {
        Page::Fleet => vec![Pane::Fleet],
        Page::Runs => vec![Pane::Pipelines],
        Page::Place => {
            let alone = [Pane::Fleet, Pane::Pipelines];
            let all = Pane::ALL.into_iter();
            all.filter(|pane| !alone.contains(pane)).collect()
        }
    }
}

/// Reversed, for what must be seen.
pub(super) fn loud(theme: &Theme, role: Role) -> ratatui::style::Style {
    theme
        .style(role)
        .add_modifier(Modifier::REVERSED | Modifier::BOLD)
}
