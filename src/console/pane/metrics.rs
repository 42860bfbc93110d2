//! Pane 2: canary against stable in a table with limits and verdicts, and how the key metrics
//! moved: charts where there is room, a sparkline per row where there is not.

mod compared;

use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::{bar::sparkline, text};
use crate::model::RolloutKind;
use crate::model::verdict::RuleState;
use crate::view::snapshot::{MetricRow, PhaseView, PlacementView, Trend};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

/// Lowest chart that says something.
const CHART_ROWS_MIN: u16 = 6;

/// Narrowest chart.
const CHART_CELLS_MIN: u16 = 50;

/// Draws it; returns how far it can be scrolled.
pub fn draw(view: &PlacementView, top: usize, canvas: &mut Canvas<'_, '_>, slot: Slot) -> usize {
    let theme = canvas.theme;
    let about = match (&view.rollout, theme.symbols.ascii) {
        (None, _) => "",
        (Some(_), true) => "canary (x) against stable (.)",
        (Some(_), false) => "canary against stable",
    };
    let window = view.trends.first().map(|trend| {
        let minutes = trend.canary.len() as u64 * trend.bucket_ms / 60_000;
        format!("{minutes} min")
    });
    let window = window
        .filter(|_| view.rollout.is_some())
        .unwrap_or_default();
    let inner = super::indent(super::frame(canvas, slot, Pane::Metrics, about, &window));
    if view.metrics.is_empty() {
        let line = Line::styled(nothing(view), theme.style(Role::Muted));
        return super::lines(canvas, inner, vec![line], 0);
    }
    let table = table(theme, view, usize::from(inner.width), true);
    let rows = table.len() as u16;
    let sentences = compared::sentences(theme, view, usize::from(inner.width)).len() as u16;
    let charts = chart_rooms(inner, rows, sentences, &view.trends);
    if charts.is_empty() {
        return super::lines(canvas, inner, table, top);
    }
    for (trend, area) in view.trends.iter().zip(&charts) {
        chart(canvas, trend, *area);
    }
    let used: u16 = charts.iter().map(|area| area.height).sum();
    let gap = 1.min(inner.height - used);
    let below = Rect {
        y: inner.y + used + gap,
        height: inner.height - used - gap,
        ..inner
    };
    super::lines(
        canvas,
        below,
        self::table(theme, view, usize::from(inner.width), false),
        top,
    )
}

/// Why there is no row.
fn nothing(view: &PlacementView) -> &'static str {
    let Some(open) = &view.rollout else {
        return "nothing is measured while no rollout is open";
    };
    let counts = |kind: &str| {
        view.peers
            .iter()
            .any(|peer| peer.name.as_str().starts_with(kind))
    };
    match open.phase {
        _ if open.kind == RolloutKind::Restart => "a restart brings nothing new to measure",
        _ if !counts("balancer ") && !counts("metrics ") => {
            "no source: nothing counts what it does; name one under [metrics]"
        }
        PhaseView::Starting | PhaseView::Smoking | PhaseView::Ready => {
            "nothing yet: the new version has no traffic"
        }
        PhaseView::Shifting | PhaseView::Soaking | PhaseView::Reverting => {
            "nothing yet: no figures have come"
        }
    }
}

/// Where charts go above a table of `rows`, of which the last are sentences; none when they would be
/// too small. Sentences take no chart's place: they can be scrolled to.
fn chart_rooms(inner: Rect, rows: u16, sentences: u16, trends: &[Trend]) -> Vec<Rect> {
    let count = trends.len() as u16;
    let room = |rows: u16| inner.height.saturating_sub(rows + 1);
    let fit = |rows: u16| count.min(room(rows) / CHART_ROWS_MIN);
    let room = match fit(rows) < fit(rows - sentences) {
        true => room(rows - sentences),
        false => room(rows),
    };
    if count == 0 || inner.width < CHART_CELLS_MIN {
        return Vec::new();
    }
    // One chart if two do not fit.
    let count = count.min(room / CHART_ROWS_MIN);
    if count == 0 {
        return Vec::new();
    }
    let each = (room / count).min(14);
    let heights = (0..count).map(|_| Constraint::Length(each));
    Layout::vertical(heights).split(inner).to_vec()
}

/// The columns that fit.
struct Columns {
    name: usize,
    delta: bool,
    samples: bool,
    trend: usize,
}

fn columns(cells: usize, rows: &[MetricRow], with_trend: bool) -> Columns {
    let longest = rows.iter().map(|row| text::width(row.name.as_str())).max();
    let name = longest.unwrap_or(0).max(6) + 1;
    let fixed = name + 3 * 10 + 10;
    let left = cells.saturating_sub(fixed);
    let delta = left >= 10;
    let left = left.saturating_sub(if delta { 10 } else { 0 });
    let trend = if with_trend && left >= 10 {
        left.min(24)
    } else {
        0
    };
    let samples = !with_trend && left >= 14;
    Columns {
        name,
        delta,
        samples,
        trend,
    }
}

fn table(
    theme: &Theme,
    view: &PlacementView,
    cells: usize,
    with_trend: bool,
) -> Vec<Line<'static>> {
    let columns = columns(cells, &view.metrics, with_trend);
    let mut lines = vec![heading(theme, &columns)];
    lines.extend(
        view.metrics
            .iter()
            .map(|row| metric(theme, &columns, row, &view.trends)),
    );
    lines.extend(compared::sentences(theme, view, cells));
    lines
}

fn heading(theme: &Theme, columns: &Columns) -> Line<'static> {
    let symbols = &theme.symbols;
    let mut line = text::left("METRIC", columns.name, symbols);
    for name in ["STABLE", "CANARY"] {
        line.push_str(&text::right(name, 10, symbols));
    }
    if columns.delta {
        line.push_str(&text::right("DELTA", 10, symbols));
    }
    line.push_str(&text::right("LIMIT", 10, symbols));
    if columns.samples {
        line.push_str(&text::right("SAMPLES", 14, symbols));
    }
    if columns.trend > 0 {
        line.push_str(&text::left("  TREND", columns.trend, symbols));
    }
    line.push_str("  JUDGED");
    Line::styled(line, theme.style(Role::Muted))
}

fn metric(theme: &Theme, columns: &Columns, row: &MetricRow, trends: &[Trend]) -> Line<'static> {
    let symbols = &theme.symbols;
    let unit = row.unit.as_str();
    let muted = theme.style(Role::Muted);
    let value = |value: Option<f64>| match value {
        Some(value) => text::right(&text::figure(value, unit), 10, symbols),
        None => text::right("-", 10, symbols),
    };
    let canary = match row.state {
        Some(RuleState::Broken) => theme.style(Role::Fail),
        _ => theme.style(Role::Canary),
    };
    let mut spans = vec![
        Span::raw(text::left(row.name.as_str(), columns.name, symbols)),
        Span::styled(value(row.stable), theme.style(Role::Stable)),
        Span::styled(value(row.canary), canary),
    ];
    if columns.delta {
        spans.push(Span::styled(text::right(&delta(row), 10, symbols), muted));
    }
    let limit = match row.limit {
        _ if row.compared.is_some() => compared::evidence(row),
        Some(limit) => {
            let floor = ["health", "uptime"]
                .iter()
                .any(|name| row.name.as_str().starts_with(name));
            let sign = if floor { ">" } else { "<" };
            format!("{sign} {}", text::figure(limit, unit))
        }
        None => "-".to_owned(),
    };
    spans.push(Span::styled(text::right(&limit, 10, symbols), muted));
    if columns.samples {
        let samples = match (row.state, row.needs) {
            (None, _) => "-".to_owned(),
            (Some(_), 0) => row.samples.to_string(),
            (Some(_), needs) => format!("{}/{needs}", row.samples),
        };
        spans.push(Span::styled(text::right(&samples, 14, symbols), muted));
    }
    if columns.trend > 0 {
        let trend = trends.iter().find(|trend| trend.name == row.name);
        let drawn = trend.map_or_else(String::new, |trend| {
            sparkline(symbols, &trend.canary, top_of(trend), columns.trend - 2)
        });
        let drawn = text::left(&format!("  {drawn}"), columns.trend, symbols);
        spans.push(Span::styled(drawn, theme.style(Role::Canary)));
    }
    let (word, style) = judged(theme, row);
    spans.push(Span::styled(format!("  {word}"), style));
    Line::from(spans)
}

/// Symbol, word and colour of a rule's state.
fn judged(theme: &Theme, row: &MetricRow) -> (String, Style) {
    let symbols = &theme.symbols;
    match row.state {
        None => ("-".to_owned(), theme.style(Role::Muted)),
        Some(RuleState::Ok) if symbols.ascii => ("[ok]".to_owned(), theme.style(Role::Ok)),
        Some(RuleState::Ok) => (format!("{} ok", symbols.passed), theme.style(Role::Ok)),
        Some(RuleState::Wait) => ("wait".to_owned(), theme.style(Role::Waiting)),
        Some(RuleState::NoData) => ("no data".to_owned(), theme.style(Role::Warn)),
        Some(RuleState::Broken) => (format!("{} OVER", symbols.failed), theme.style(Role::Fail)),
    }
}

fn delta(row: &MetricRow) -> String {
    let (Some(stable), Some(canary)) = (row.stable, row.canary) else {
        return "-".to_owned();
    };
    match row.unit.as_str() {
        // A difference of percentages is in points.
        "%" => format!("{:+.2} pp", canary - stable),
        "/s" => "-".to_owned(),
        _ if stable > 0.0 => format!("{:+.0} %", (canary / stable - 1.0) * 100.0),
        _ => "-".to_owned(),
    }
}

/// The upper end of a trend's axis: above limit and values, in steps, so that it seldom moves.
fn top_of(trend: &Trend) -> f64 {
    let values = trend.canary.iter().chain(&trend.stable).flatten();
    let highest = values.fold(trend.limit.unwrap_or(0.0) * 1.1, |top, value| {
        top.max(*value)
    });
    if highest <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(highest.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0];
    let step = steps.into_iter().find(|step| step * magnitude >= highest);
    step.unwrap_or(10.0) * magnitude
}

/// Values as points; a gap separates two runs of them.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (at, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some(run)) => run.push((at as f64, *value)),
            (None, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn chart(canvas: &mut Canvas<'_, '_>, trend: &Trend, area: Rect) {
    let theme = canvas.theme;
    let symbols = &theme.symbols;
    let unit = trend.unit.as_str();
    let buckets = trend.canary.len().max(trend.stable.len()).max(2);
    let top = top_of(trend);
    let last = buckets as f64 - 1.0;
    let limit: Vec<_> = trend
        .limit
        .map(|limit| vec![(0.0, limit), (last, limit)])
        .unwrap_or_default();
    let (canary, stable) = (runs(&trend.canary), runs(&trend.stable));
    let set = |points, marker, role| {
        Dataset::default()
            .marker(marker)
            .graph_type(GraphType::Line)
            .style(theme.style(role))
            .data(points)
    };
    let [canary_marker, stable_marker, limit_marker] = symbols.markers;
    let mut sets = vec![set(limit.as_slice(), limit_marker, Role::Limit)];
    sets.extend(
        stable
            .iter()
            .map(|run| set(run, stable_marker, Role::Stable)),
    );
    sets.extend(
        canary
            .iter()
            .map(|run| set(run, canary_marker, Role::Canary)),
    );
    let title = chart_title(theme, trend);
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    canvas.frame.render_widget(title, head);
    let muted = theme.style(Role::Muted);
    let span_ms = trend.bucket_ms * buckets as u64;
    let ago = |ms: u64| Span::styled(format!("-{}", crate::view::words::span(ms)), muted);
    let label = |value: f64| {
        let figure = text::figure(value, unit);
        Span::styled(text::right(&figure, 9, symbols), muted)
    };
    let chart = Chart::new(sets)
        .x_axis(Axis::default().bounds([0.0, last]).style(muted).labels([
            ago(span_ms),
            ago(span_ms / 2),
            Span::styled("now", muted),
        ]))
        .y_axis(
            Axis::default()
                .bounds([0.0, top])
                .style(muted)
                .labels([label(0.0), label(top)]),
        )
        .legend_position(None);
    canvas.frame.render_widget(chart, body);
    if symbols.ascii {
        // The axes have no ASCII form of their own.
        ascii_axes(canvas, body);
    }
}

fn chart_title(theme: &Theme, trend: &Trend) -> Line<'static> {
    let unit = trend.unit.as_str();
    let newest = |values: &[Option<f64>]| {
        let value = values.iter().rev().take(5).flatten().next();
        value.map_or_else(|| "no data".to_owned(), |value| text::figure(*value, unit))
    };
    let mut spans = vec![
        Span::styled(format!("{}  ", trend.name), theme.style(Role::Title)),
        Span::styled(
            format!("canary {}  ", newest(&trend.canary)),
            theme.style(Role::Canary),
        ),
        Span::styled(
            format!("stable {}  ", newest(&trend.stable)),
            theme.style(Role::Stable),
        ),
    ];
    if let Some(limit) = trend.limit {
        let limit = format!("limit {}", text::figure(limit, unit));
        spans.push(Span::styled(limit, theme.style(Role::Limit)));
    }
    Line::from(spans)
}

fn ascii_axes(canvas: &mut Canvas<'_, '_>, area: Rect) {
    let buffer = canvas.frame.buffer_mut();
    for position in area.intersection(buffer.area).positions() {
        let cell = &mut buffer[position];
        let ascii = match cell.symbol() {
            "│" | "┤" => "|",
            "─" => "-",
            "└" | "┘" => "+",
            _ => continue,
        };
        cell.set_symbol(ascii);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_breaks_the_line_and_nothing_is_not_zero() {
        let values = [Some(1.0), Some(2.0), None, None, Some(3.0)];
        let two = vec![vec![(0.0, 1.0), (1.0, 2.0)], vec![(4.0, 3.0)]];
        assert_eq!(runs(&values), two);
        assert_eq!(runs(&[None, None]), Vec::<Vec<(f64, f64)>>::new());
    }

    #[test]
    fn the_axis_moves_in_steps() {
        let trend = |value| Trend {
            name: "p99".into(),
            unit: "ms".into(),
            bucket_ms: 2_000,
            until_ms: 0,
            canary: vec![Some(value)],
            stable: Vec::new(),
            limit: Some(100.0),
        };
        assert_eq!(top_of(&trend(10.0)), top_of(&trend(140.0)), "150");
        assert_eq!(top_of(&trend(160.0)), 200.0);
    }
}
