//! The judge's rules as rows: of the table of metrics, and of what takes a release back.

use super::snapshot::{ComparedView, MetricRow, TreeRow};
use super::trend;
use crate::engine::Look;
use crate::model::Clean;
use crate::model::comparison::{Event, EventEvidence};
use crate::model::verdict::{Finding, RuleState, Verdict};

/// Every rule with its values, and figures that nobody judges.
pub(super) fn metrics(look: &Look<'_>, verdict: Option<&Verdict>) -> Vec<MetricRow> {
    let mut rows: Vec<_> = verdict
        .iter()
        .flat_map(|verdict| verdict.findings.iter().map(metric_row))
        .collect();
    rows.extend(trend::request_rate_row(look));
    rows
}

/// A rule's name and unit for people, and the factor from its unit.
pub(super) fn named(rule: &str) -> (&'static str, &'static str, f64) {
    match rule {
        "errors_compared" => ("errors compared", "%", 100.0),
        rule if rule.ends_with("_compared") => ("slow compared", "%", 100.0),
        "error_ratio" => ("error rate", "%", 100.0),
        "error_ratio_vs_stable" => ("error vs stable", "%", 100.0),
        "latency_p99" => ("p99", "ms", 1.0),
        "latency_p99_vs_stable" => ("p99 vs stable", "ms", 1.0),
        "mean" => ("mean", "ms", 1.0),
        "mean_vs_stable" => ("mean vs stable", "ms", 1.0),
        "infrastructure_health" => ("health", "%", 100.0),
        "cpu" => ("cpu", "%", 100.0),
        "memory" => ("memory", "%", 100.0),
        "disk" => ("disk", "%", 100.0),
        "uptime" => ("uptime", "%", 100.0),
        "request_share" => ("share", "%", 100.0),
        "source" => ("answers", "", 1.0),
        _ => ("?", "", 1.0),
    }
}

fn metric_row(finding: &Finding) -> MetricRow {
    let (name, unit, factor) = named(&finding.rule);
    let scale = |value: Option<f64>| value.map(|value| value * factor);
    MetricRow {
        name: match compared_words(finding) {
            Some(words) => Clean::new(&words),
            None => sourced(name, &finding.source),
        },
        unit: unit.into(),
        stable: scale(finding.stable),
        canary: scale(finding.canary),
        limit: scale(finding.limit),
        state: Some(finding.state),
        samples: finding.samples,
        needs: finding.needs,
        source: finding.source.clone(),
        note: finding.note.clone(),
        compared: finding.compared.as_deref().map(compared_view),
    }
}

/// What a comparison's row is called where it is of latencies: the edge tells them apart.
fn compared_words(finding: &Finding) -> Option<String> {
    match finding.compared.as_ref()?.event {
        Event::Error => None,
        Event::SlowerThan(edge_ms) => Some(format!("over {edge_ms} ms")),
    }
}

fn compared_view(test: &EventEvidence) -> ComparedView {
    ComparedView {
        evidence: test.worse(),
        enough: test.enough(),
        ratio: test.evidence.ratio,
        ratio_low: test.evidence.ratio_low,
        ratio_high: test.evidence.ratio_high,
        needs_requests: test.evidence.needs_requests,
    }
}

/// A rule's name with its source, where that is not the balancer.
pub(super) fn sourced(name: &str, source: &Clean) -> Clean {
    match source.is_empty() {
        true => name.into(),
        false => Clean::new(&format!("{name} ({source})")),
    }
}

/// Whether a rule is broken by being below its limit.
fn is_floor(rule: &str) -> bool {
    ["infrastructure_health", "uptime"].contains(&rule)
}

/// A question for a row that tells in words: of a source itself, or of a comparison.
fn told_row(finding: &Finding) -> Option<TreeRow> {
    let question = match finding.rule.as_str() {
        "source" => format!("{} answers?", finding.source),
        "request_share" => format!("{} counts the same share?", finding.source),
        "errors_compared" => "more errors than stable?".to_owned(),
        rule if rule.ends_with("_compared") => format!(
            "more {} than stable?",
            finding.compared.as_ref()?.event.words()
        ),
        _ => return None,
    };
    let note = || finding.note.clone().unwrap_or_default();
    Some(TreeRow {
        question: Clean::new(&question),
        state: finding.state,
        value: finding.compared.as_deref().map_or_else(note, lacks),
    })
}

/// How far a comparison is, in a few words.
fn lacks(test: &EventEvidence) -> Clean {
    let text = match test.evidence.needs_requests {
        Some(needs) => format!("about {needs} more requests"),
        None => format!("{:.1} × stable's", test.evidence.ratio),
    };
    Clean::new(&text)
}

/// A rule as a question, with its answer so far.
pub(super) fn tree_row(finding: &Finding) -> TreeRow {
    if let Some(row) = told_row(finding) {
        return row;
    }
    let (name, unit, factor) = named(&finding.rule);
    let name = sourced(name, &finding.source);
    let text = |value: Option<f64>| match (value, unit) {
        (None, _) => "-".to_owned(),
        (Some(value), "%") => format!("{:.2} %", value * factor),
        (Some(value), unit) => format!("{:.0} {unit}", value * factor),
    };
    let sign = if is_floor(&finding.rule) { "<" } else { ">" };
    let value = match finding.state {
        RuleState::Wait => {
            let unit = match finding.rule.as_str() {
                "infrastructure_health" => "probes",
                "uptime" => "scrapes",
                "cpu" | "memory" => "samples",
                _ => "requests",
            };
            format!("{} of {} {unit}", finding.samples, finding.needs)
        }
        RuleState::NoData => match &finding.note {
            Some(note) => note.as_str().to_owned(),
            None => "the source has no such figure".to_owned(),
        },
        RuleState::Ok | RuleState::Broken => text(finding.canary),
    };
    TreeRow {
        question: Clean::new(&format!("{name} {sign} {}?", text(finding.limit))),
        state: finding.state,
        value: Clean::new(&value),
    }
}
