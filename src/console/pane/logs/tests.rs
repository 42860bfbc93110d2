use super::*;
use crate::console::theme::{Depth, Symbols};
use crate::console::widget::ring::LINES_MAX;

fn logs(lines: usize) -> Logs {
    let mut logs = Logs::default();
    let texts = (0..lines).map(|n| format!("line {n}").into());
    logs.add("web1", Some(Part::Stable), 0, texts.collect());
    logs
}

fn texts(logs: &Logs, rows: u16) -> Vec<String> {
    let (theme, _) =
        Theme::load("ansi16", None, Depth::None, Symbols::ASCII).expect("it is shipped");
    visible(logs, &theme, Rect::new(0, 0, 40, rows))
        .iter()
        .map(|line| {
            line.spans[1..]
                .iter()
                .map(|span| span.content.as_ref())
                .collect()
        })
        .collect()
}

#[test]
fn a_paused_view_stays_while_lines_come_and_old_ones_go() {
    let mut logs = logs(100);
    logs.act(Action::PageUp, 10);
    let before = texts(&logs, 5);
    assert_eq!(before.last().map(String::as_str), Some("line 89"));
    let more = (0..LINES_MAX - 60).map(|n| format!("more {n}").into());
    logs.add("web1", None, 0, more.collect());
    assert!(logs.ring.first() > 0, "the oldest went");
    assert_eq!(texts(&logs, 5), before);
    logs.act(Action::Bottom, 10);
    let newest = format!("more {}", LINES_MAX - 61);
    assert_eq!(texts(&logs, 1), [newest]);
}

#[test]
fn search_walks_matches_and_filter_hides_the_rest() {
    let mut logs = logs(100);
    logs.act(Action::Search, 10);
    for c in "line 7".chars() {
        logs.typed(Key::Char(c));
    }
    logs.typed(Key::Enter);
    assert_eq!(texts(&logs, 1), ["line 79"]);
    logs.act(Action::PreviousMatch, 10);
    assert_eq!(texts(&logs, 1), ["line 78"]);
    logs.act(Action::NextMatch, 10);
    assert_eq!(texts(&logs, 1), ["line 79"]);
    logs.act(Action::Back, 10);
    logs.act(Action::Bottom, 10);
    logs.act(Action::Filter, 10);
    for c in "!9".chars() {
        logs.typed(Key::Char(c));
    }
    logs.typed(Key::Enter);
    assert_eq!(texts(&logs, 2), ["line 87", "line 88"]);
}

#[test]
fn lost_lines_are_told() {
    let mut logs = logs(1);
    logs.add("web1", None, 312, Vec::new());
    assert!(texts(&logs, 1)[0].starts_with("(312 lines of web1"));
}

#[test]
fn a_megabyte_on_one_line_is_cut_not_measured() {
    let mut logs = Logs::default();
    logs.add(
        "web1",
        None,
        0,
        vec![crate::model::Clean::new(&"x".repeat(1_000_000))],
    );
    logs.act(Action::Wrap, 10);
    assert_eq!(texts(&logs, 10).len(), 10);
}
