//! A chart of the evidence over time, drawn with characters.

use crate::analysis::replay::Thought;

/// Columns of the chart, at most.
const WIDTH: usize = 64;
/// Rows of the chart.
const HEIGHT: usize = 12;
/// The lowest evidence that is drawn, as a decimal logarithm: below, all is alike.
const LEAST: f64 = -3.0;

/// Lines of a chart; none where nothing was compared. `log10_enough` is the threshold.
pub(super) fn lines(thoughts: &[Thought], log10_enough: f64) -> Vec<String> {
    let told: Vec<&Thought> = thoughts
        .iter()
        .filter(|one| one.log10_worse.is_some())
        .collect();
    let (Some(first), Some(last)) = (told.first(), told.last()) else {
        return Vec::new();
    };
    let columns = columns(&told, (first.at_ms, last.at_ms));
    let highest = columns
        .iter()
        .flatten()
        .copied()
        .fold(log10_enough, f64::max);
    let lowest = columns
        .iter()
        .flatten()
        .copied()
        .fold(0.0, f64::min)
        .max(LEAST);
    let height = |value: f64| {
        let part = (value.max(lowest) - lowest) / (highest - lowest);
        (part * (HEIGHT - 1) as f64).round() as usize
    };
    let threshold = height(log10_enough);
    let mut lines = vec!["evidence that the canary has more errors than is tolerated".to_owned()];
    for row in (0..HEIGHT).rev() {
        let label = match row {
            row if row == threshold => format!("{:>9.0}", 10f64.powf(log10_enough)),
            row if row == height(0.0) => format!("{:>9}", "1"),
            _ => " ".repeat(9),
        };
        let cell = |value: &Option<f64>| match value {
            Some(value) if height(*value) == row => '*',
            _ if row == threshold => '-',
            _ => ' ',
        };
        let cells: String = columns.iter().map(cell).collect();
        lines.push(format!("{label} |{}", cells.trim_end()));
    }
    lines.push(format!("{:>9} +{}", "", "-".repeat(columns.len())));
    let (from, to) = (format!("{} ms", first.at_ms), format!("{} ms", last.at_ms));
    let gap = columns.len().saturating_sub(from.len() + to.len()).max(1);
    lines.push(format!("{:>10} {from}{}{to}", "", " ".repeat(gap)));
    lines
}

/// The highest evidence per column.
fn columns(told: &[&Thought], (from_ms, to_ms): (u64, u64)) -> Vec<Option<f64>> {
    let count = told.len().min(WIDTH);
    let mut columns = vec![None; count];
    let span = (to_ms - from_ms).max(1);
    for thought in told {
        let at = (thought.at_ms - from_ms) as f64 / span as f64 * (count - 1) as f64;
        let slot: &mut Option<f64> = &mut columns[at.round() as usize];
        *slot = slot
            .iter()
            .copied()
            .chain(thought.log10_worse)
            .reduce(f64::max);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VerdictClass;

    #[test]
    fn the_evidence_climbs_to_its_threshold() {
        let thought = |n: u64| Thought {
            at_ms: n * 5_000,
            class: VerdictClass::Pass,
            canary_requests: n * 50,
            log10_worse: Some(n as f64 * 0.5 - 0.5),
        };
        let thoughts: Vec<_> = (0..6).map(thought).collect();
        let lines = lines(&thoughts, 2.0);
        assert_eq!(lines.len(), HEIGHT + 3);
        assert!(
            lines[1].starts_with("      100 |") && lines[1].ends_with('*'),
            "{lines:#?}"
        );
        let lowest = &lines[HEIGHT];
        assert!(lowest.ends_with("|*"), "{lines:#?}");
        assert!(lines[HEIGHT + 2].contains("0 ms") && lines[HEIGHT + 2].ends_with("25000 ms"));
    }

    #[test]
    fn where_nothing_was_compared_there_is_no_chart() {
        assert!(lines(&[], 2.0).is_empty());
    }
}
