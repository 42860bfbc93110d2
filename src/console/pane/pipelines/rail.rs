//! A run's stages along one line, or as few as they take: `p12 main c0ffee1  ✔checkout [✔lint ∥
//! ▶test 00:42 of 01:10] ○push`. What is foremost stays to the last where room is short.

use super::mark::{groups, head, head_short, how_far, left, mark, run_mark, time};
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::view::pipeline::{RunView, StageView};
use ratatui::text::{Line, Span};

/// What stays together on one line.
type Piece = Vec<Span<'static>>;

fn width(piece: &[Span<'_>]) -> usize {
    piece.iter().map(|span| text::width(&span.content)).sum()
}

fn widths(pieces: &[Piece]) -> usize {
    let between = 2 * pieces.len().saturating_sub(1);
    pieces.iter().map(|piece| width(piece)).sum::<usize>() + between
}

fn is_foremost(run: &RunView, stage: &StageView) -> bool {
    let under_way = matches!(stage.status.as_str(), "running" | "resting" | "unknown");
    under_way || run.foremost().is_some_and(|it| it.name == stage.name)
}

fn stage_piece(theme: &Theme, run: &RunView, stage: &StageView, now_ms: u64) -> Span<'static> {
    let (symbol, style) = mark(theme, stage);
    let time = match stage.status.as_str() {
        "running" | "failed" => time(stage, now_ms),
        _ => String::new(),
    };
    let time = match time.as_str() {
        "" => time,
        _ if is_foremost(run, stage) => format!(" {time}"),
        _ => String::new(),
    };
    Span::styled(format!("{symbol}{}{time}", stage.name), style)
}

fn group_piece(theme: &Theme, run: &RunView, group: &[&StageView], now_ms: u64) -> Piece {
    let muted = theme.style(Role::Muted);
    let between = format!(" {} ", theme.symbols.beside);
    let mut piece = Vec::new();
    for (n, stage) in group.iter().enumerate() {
        if n > 0 {
            piece.push(Span::styled(between.clone(), muted));
        }
        piece.push(stage_piece(theme, run, stage, now_ms));
    }
    if group.len() > 1 {
        piece.insert(0, Span::styled("[", muted));
        piece.push(Span::styled("]", muted));
    }
    piece
}

fn line(pieces: Vec<Piece>) -> Line<'static> {
    let mut spans = Vec::new();
    for (n, piece) in pieces.into_iter().enumerate() {
        if n > 0 {
            spans.push(Span::raw("  "));
        }
        spans.extend(piece);
    }
    Line::from(spans)
}

fn head_piece(theme: &Theme, said: &str) -> Piece {
    let (number, rest) = said.split_once(' ').unwrap_or((said, ""));
    let mut piece = vec![Span::styled(number.to_owned(), theme.style(Role::Title))];
    if !rest.is_empty() {
        piece.push(Span::raw(format!(" {rest}")));
    }
    piece
}

fn left_piece(theme: &Theme, run: &RunView) -> Option<Piece> {
    let style = theme.style(Role::Muted);
    left(run).map(|left| vec![Span::styled(left, style)])
}

/// Every stage, on as many lines as they take.
pub fn lines(theme: &Theme, run: &RunView, now_ms: u64, cells: usize) -> Vec<Line<'static>> {
    let said = text::fit(&head(run), cells, &theme.symbols);
    let mut pieces = vec![head_piece(theme, &said)];
    for group in groups(run) {
        let together = group_piece(theme, run, &group, now_ms);
        if width(&together) <= cells {
            pieces.push(together);
            continue;
        }
        let alone = group
            .iter()
            .map(|stage| vec![stage_piece(theme, run, stage, now_ms)]);
        pieces.extend(alone);
    }
    pieces.extend(left_piece(theme, run));
    let mut rows: Vec<Vec<Piece>> = vec![Vec::new()];
    for piece in pieces {
        let used = rows
            .last()
            .map_or(0, |row| widths(row) + 2 * usize::from(!row.is_empty()));
        if used > 0 && used + width(&piece) > cells {
            rows.push(Vec::new());
        }
        if let Some(row) = rows.last_mut() {
            row.push(piece);
        }
    }
    rows.into_iter().map(line).collect()
}

/// One line: all of it, less of the head, or less of what is over and what is far.
pub fn one(theme: &Theme, run: &RunView, now_ms: u64, cells: usize) -> Line<'static> {
    let number = run.number.to_string();
    let heads = [head(run), head_short(run), number.clone()];
    let stages = all(theme, run, now_ms);
    let near = near(theme, run, now_ms);
    for (said, stages) in heads
        .iter()
        .flat_map(|head| [(head, &stages), (head, &near)])
    {
        let few = stages.len() < groups(run).len();
        // The subject gives way before a stage does.
        if few && *said == heads[0] {
            continue;
        }
        let mut pieces = vec![head_piece(theme, said)];
        pieces.extend(stages.iter().cloned());
        if widths(&pieces) > cells {
            continue;
        }
        let left = left_piece(theme, run);
        let fits = |left: &Piece| widths(&pieces) + 2 + width(left) <= cells;
        pieces.extend(left.filter(fits));
        return line(pieces);
    }
    let (symbol, style) = run_mark(theme, run);
    let said = text::fit(
        &format!("{symbol} {}", how_far(run, now_ms)),
        cells,
        &theme.symbols,
    );
    line(vec![
        head_piece(theme, &number),
        vec![Span::styled(said, style)],
    ])
}

fn all(theme: &Theme, run: &RunView, now_ms: u64) -> Vec<Piece> {
    let groups = groups(run);
    let pieces = groups.iter();
    pieces
        .map(|group| group_piece(theme, run, group, now_ms))
        .collect()
}

/// What is foremost, with how many stages lie before and behind it.
fn near(theme: &Theme, run: &RunView, now_ms: u64) -> Vec<Piece> {
    let groups = groups(run);
    let has = |group: &Vec<&StageView>| group.iter().any(|stage| is_foremost(run, stage));
    let Some(first) = groups.iter().position(has) else {
        return all(theme, run, now_ms);
    };
    let last = groups.iter().rposition(has).unwrap_or(first);
    let count = |groups: &[Vec<&StageView>]| groups.iter().map(Vec::len).sum::<usize>();
    let (before, behind) = (count(&groups[..first]), count(&groups[last + 1..]));
    let mut pieces = Vec::new();
    if before > 0 {
        let done = format!("{}{before}", theme.symbols.passed);
        pieces.push(vec![Span::styled(done, theme.style(Role::Ok))]);
    }
    for group in &groups[first..=last] {
        pieces.push(group_piece(theme, run, group, now_ms));
    }
    if behind > 0 {
        let todo = format!("+{behind}");
        pieces.push(vec![Span::styled(todo, theme.style(Role::Muted))]);
    }
    pieces
}
