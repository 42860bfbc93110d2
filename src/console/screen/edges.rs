//! Header, banner, guide and footer; and the one line that is left on the smallest screens.

use super::{Canvas, hints, loud};
use crate::console::app::{App, Page};
use crate::console::dialog::leave;
use crate::console::keymap::Action;
use crate::console::pane::{Pane, fleet};
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::RolloutKind;
use crate::view::snapshot::{PhaseView, PlacementView, ReleaseView, RolloutView, StageState};
use crate::view::words;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// One row: the left part first, the right one where there is room.
fn row(canvas: &mut Canvas<'_, '_>, area: Rect, left: Vec<Span<'_>>, right: &str) {
    let cells = usize::from(area.width);
    let used: usize = left.iter().map(|span| text::width(&span.content)).sum();
    let mut spans = left;
    let rest = text::width(right) + 2;
    if !right.is_empty() && used + rest <= cells {
        spans.push(Span::raw(" ".repeat(cells - used - rest + 1)));
        let muted = canvas.theme.style(Role::Muted);
        spans.push(Span::styled(right.to_owned(), muted));
    }
    canvas.frame.render_widget(Line::from(spans), area);
}

pub(super) fn header(app: &App, canvas: &mut Canvas<'_, '_>, area: Rect) {
    let theme = canvas.theme;
    let left = match (app.page, app.view()) {
        (Page::Place, Some(view)) => of_placement(theme, view, app.engine_now_ms()),
        (page, _) => {
            let of = if page == Page::Runs {
                " pipelines"
            } else {
                " fleet"
            };
            let name = Span::styled(" wheelhouse ", theme.style(Role::Title));
            vec![name, Span::raw(of)]
        }
    };
    let open = app.snapshot.as_deref().is_some_and(leave::goes_on);
    let who = app.who();
    // Without an open rollout or run nothing on the screen moves by itself.
    let time = match &app.snapshot {
        Some(snapshot) if open => {
            format!("{} UTC", text::time_of_day(snapshot.engine.now_ms))
        }
        _ => String::new(),
    };
    let used: usize = left.iter().map(|span| text::width(&span.content)).sum();
    let both = format!("{who}  {time}");
    let fits = used + text::width(&both) + 2 <= usize::from(area.width);
    row(canvas, area, left, if fits { both.trim() } else { &time });
}

fn of_placement(theme: &Theme, view: &PlacementView, now_ms: u64) -> Vec<Span<'static>> {
    let place = &view.placement;
    let badge = theme.environment(place.environment.as_str(), view.protected);
    let mut spans = vec![
        Span::styled(
            format!("[{}]", place.environment.as_str().to_uppercase()),
            badge,
        ),
        Span::styled(format!(" {}  ", place.service), theme.style(Role::Title)),
    ];
    match &view.rollout {
        None => {
            let stable = view.stable.as_ref().map_or_else(
                || "no version".to_owned(),
                |stable| stable.version.to_string(),
            );
            spans.push(Span::styled(stable, theme.style(Role::Stable)));
            spans.push(Span::styled("  no rollout open", theme.style(Role::Muted)));
        }
        Some(open) => {
            spans.push(Span::styled(
                open.release.version.to_string(),
                theme.style(Role::Canary),
            ));
            let other = |from: &&ReleaseView| from.version != open.release.version;
            if let Some(from) = open.from.as_ref().filter(other) {
                let text = format!(" {} {}", theme.symbols.from, from.version);
                spans.push(Span::styled(text, theme.style(Role::Stable)));
            }
            let (word, style) = word(theme, view, open, now_ms);
            spans.push(Span::raw("  "));
            spans.push(Span::styled(word, style));
            spans.push(Span::styled(
                format!("  {}", open.number),
                theme.style(Role::Muted),
            ));
        }
    }
    spans
}

/// The rollout's state in capitals.
fn word(theme: &Theme, view: &PlacementView, open: &RolloutView, now_ms: u64) -> (String, Style) {
    let kind = kind(view, open);
    let down = open.outage.filter(|outage| outage.until_ms.is_none());
    let text = match (open.phase, &open.batch, down) {
        (PhaseView::Reverting, ..) => "TAKING BACK".to_owned(),
        (_, _, Some(outage)) => {
            let so_far = words::clock(now_ms.saturating_sub(outage.since_ms));
            format!("{kind} NO SERVICE {so_far}")
        }
        (PhaseView::Smoking, ..) => "SMOKE TEST".to_owned(),
        (_, Some(batch), _) => format!("{kind} batch {}/{}", batch.number, batch.of),
        (PhaseView::Ready, ..) => format!("{kind} READY"),
        (PhaseView::Starting, ..) if kind == "CANARY" => "STARTING".to_owned(),
        (PhaseView::Starting, ..) => format!("{kind} STARTING"),
        (PhaseView::Shifting | PhaseView::Soaking, ..) => {
            let share = view.traffic.wanted_percent.unwrap_or(0.0);
            format!("{kind} {share:.0}%{}", step(open))
        }
    };
    match (&open.hold, open.phase) {
        (_, PhaseView::Reverting) => (text, loud(theme, Role::Fail)),
        _ if down.is_some() => (text, loud(theme, Role::Fail)),
        (Some(_), PhaseView::Ready) => (text, loud(theme, Role::Warn)),
        (Some(_), _) => (format!("{text}  HELD"), loud(theme, Role::Warn)),
        (None, _) => (text, theme.style(Role::Running)),
    }
}

/// What is done, and for a deploy by which strategy.
fn kind(view: &PlacementView, open: &RolloutView) -> String {
    match (open.kind, &view.strategy) {
        (RolloutKind::Deploy, None) => "CANARY".to_owned(),
        (RolloutKind::Deploy, Some(strategy)) => strategy.as_str().to_uppercase(),
        (kind, _) => kind.word().to_uppercase(),
    }
}

fn step(open: &RolloutView) -> String {
    let steps: Vec<_> = open
        .stages
        .iter()
        .filter(|stage| stage.name.as_str().ends_with('%'))
        .collect();
    let at = steps
        .iter()
        .position(|stage| matches!(stage.state, StageState::Running | StageState::Held));
    match at {
        Some(at) if steps.len() > 1 => format!(" step {}/{}", at + 1, steps.len()),
        _ => String::new(),
    }
}

/// The one thing a person must know now, and how loudly.
fn matter(app: &App) -> Option<(String, Role)> {
    if let Some(stale) = app.stale() {
        return Some((stale, Role::Fail));
    }
    let snapshot = app.snapshot.as_ref()?;
    if let Some(why) = &snapshot.engine.history_trouble {
        let text = format!("HISTORY NOT WRITTEN: {why}. Only abort and hold are possible");
        return Some((text, Role::Fail));
    }
    if snapshot.engine.newer {
        let text = "LOOKING ONLY: a newer Wheelhouse wrote this history";
        return Some((text.to_owned(), Role::Warn));
    }
    if app.page == Page::Runs {
        return asks(app);
    }
    let view = app.view()?;
    if let Some(open) = &view.rollout {
        if open.phase == PhaseView::Reverting {
            return Some((format!("TAKING BACK: {}", open.because), Role::Fail));
        }
        if open.phase == PhaseView::Ready
            && let Some(hold) = &open.hold
        {
            return Some((format!("READY {}", hold.text), Role::Warn));
        }
        if let Some(hold) = &open.hold {
            let text = hold.text.as_str();
            let text = text.strip_prefix("held ").unwrap_or(text);
            return Some((format!("HELD {text}"), Role::Warn));
        }
        if open.verdict == crate::model::verdict::VerdictClass::Fail {
            return Some((format!("FAILING: {}", open.because), Role::Fail));
        }
    }
    let peer = view
        .peers
        .iter()
        .find_map(|peer| Some((&peer.name, peer.trouble.as_ref()?)));
    if let Some((name, trouble)) = peer {
        return Some((format!("{name}: {trouble}"), Role::Warn));
    }
    if app.differs() {
        let text = "the engine runs with another configuration than this console read";
        return Some((text.to_owned(), Role::Warn));
    }
    asks(app)
}

/// The run that is shown waits for a person.
fn asks(app: &App) -> Option<(String, Role)> {
    let run = app.run_shown()?;
    let stage = run.stages.iter().find(|stage| stage.waits_for_person)?;
    let key = app.keymap.key(Action::ConfirmStage)?;
    let why = match stage.status.as_str() {
        "unknown" => "nobody knows how far it got",
        _ => "a person lets it begin",
    };
    let text = format!("{} {}: {why}: {key} asks for it", run.number, stage.name);
    Some((text, Role::Warn))
}

pub(super) fn banner(app: &App, canvas: &mut Canvas<'_, '_>, area: Rect) {
    let theme = canvas.theme;
    let cells = usize::from(area.width);
    match matter(app) {
        Some((said, role)) => {
            let mark = match role {
                Role::Fail => theme.symbols.failed,
                _ => theme.symbols.held,
            };
            let said = format!(" {mark} {said} ");
            let said = text::left(&said, cells, &theme.symbols);
            let line = Line::styled(said, loud(theme, role));
            canvas.frame.render_widget(line, area);
        }
        None => row(canvas, area, tabs(app, theme, cells), ""),
    }
}

/// A pane's name in the list of all; a short one where they do not fit otherwise.
fn tab(app: &App, pane: Pane, cells: usize) -> Option<String> {
    let key = match pane.number() {
        Some(number) => number.to_string(),
        // Where nothing ever ran there is nothing to go to.
        None if !tells_of_runs(app) => return None,
        None => app.keymap.key(Action::Pipelines)?.to_string(),
    };
    let name = match (pane, cells) {
        (Pane::EngineLog, 0..90) if tells_of_runs(app) => "Engine",
        (Pane::Instances, 0..90) if tells_of_runs(app) => "Inst",
        (Pane::Pipelines, 0..90) => "Pipes",
        _ => pane.name(),
    };
    Some(format!(" {key} {name} "))
}

fn tells_of_runs(app: &App) -> bool {
    app.has_runs() || app.page == Page::Runs
}

fn tabs(app: &App, theme: &Theme, cells: usize) -> Vec<Span<'static>> {
    let mut spans = vec![Span::raw(" ")];
    for pane in Pane::ALL {
        let Some(name) = tab(app, pane, cells) else {
            continue;
        };
        let here = pane == app.focus;
        let style = match here {
            true => theme.selection(),
            false => theme.style(Role::Muted),
        };
        spans.push(Span::styled(name, style));
    }
    spans
}

pub(super) fn guide(app: &App, canvas: &mut Canvas<'_, '_>, area: Rect) {
    let Some(said) = app.guide_text() else {
        return;
    };
    let theme = canvas.theme;
    let cells = usize::from(area.width).saturating_sub(2).max(1);
    let style = loud(theme, Role::Accent);
    let rows = text::wrap(&said, cells);
    for (n, line) in rows.into_iter().take(usize::from(area.height)).enumerate() {
        let line = text::left(&format!(" {line}"), usize::from(area.width), &theme.symbols);
        let row = Rect {
            y: area.y + n as u16,
            height: 1,
            ..area
        };
        canvas.frame.render_widget(Line::styled(line, style), row);
    }
}

pub(super) fn footer(app: &App, canvas: &mut Canvas<'_, '_>, area: Rect) {
    let [keys, state] = ratatui::layout::Layout::vertical([
        ratatui::layout::Constraint::Length(1),
        ratatui::layout::Constraint::Length(1),
    ])
    .areas(area);
    let hints = hints::hints(app, canvas.theme, usize::from(area.width));
    row(canvas, keys, hints, "");
    if let Some(toast) = app.toast_text() {
        let said = text::fit(
            &format!(" {toast}"),
            usize::from(area.width),
            &canvas.theme.symbols,
        );
        let style = canvas.theme.style(Role::Warn);
        row(canvas, state, vec![Span::styled(said, style)], "");
        return;
    }
    let last = app.last_record();
    let peers = peers(app, canvas.theme);
    let room = usize::from(area.width).saturating_sub(text::width(&peers) + 3);
    let last = text::fit(&format!(" {last}"), room, &canvas.theme.symbols);
    let muted = canvas.theme.style(Role::Muted);
    row(canvas, state, vec![Span::styled(last, muted)], &peers);
}

fn peers(app: &App, theme: &Theme) -> String {
    let Some(view) = app.view() else {
        return String::new();
    };
    let dot = format!(" {} ", theme.symbols.dot);
    let words = view.peers.iter().map(|peer| match peer.trouble {
        Some(_) => format!("{} TROUBLE", peer.name),
        None => format!("{} ok", peer.name),
    });
    words.collect::<Vec<_>>().join(&dot)
}

/// All there is on a screen without room for panes: one line of state, and the two keys that
/// must always work.
pub(super) fn tiny(app: &App, canvas: &mut Canvas<'_, '_>) {
    let theme = canvas.theme;
    let area = canvas.frame.area();
    let state = match (app.stale(), app.view()) {
        (Some(stale), _) => stale,
        (None, Some(view)) => {
            let env = view.placement.environment.as_str().to_uppercase();
            format!(
                "[{env}] {} {}",
                view.placement.service,
                fleet::state(theme, view).0
            )
        }
        (None, None) => leave::open(app.snapshot.as_deref()),
    };
    let (width, height) = (area.width, area.height);
    let lines = [
        state,
        format!("too small: have {width}x{height}, need 60x16"),
        "A abort  H hold  q quit".to_owned(),
        app.toast_text().unwrap_or_default(),
    ];
    for (n, line) in lines.iter().take(usize::from(height)).enumerate() {
        let line = text::fit(line, usize::from(width), &theme.symbols);
        let row = Rect {
            y: area.y + n as u16,
            height: 1,
            ..area
        };
        canvas.frame.render_widget(Line::raw(line), row);
    }
}
