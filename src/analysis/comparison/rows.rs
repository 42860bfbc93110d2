//! What the comparison says, as rows of the verdict.

use super::super::{Evidence, rules};
use crate::model::Clean;
use crate::model::comparison::{Answer, Compared, Event, EventEvidence};
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Counters, Finding, RuleState, Verdict};

/// One row per test; one that waits while there is none yet. None where nothing is compared:
/// switched off, or nothing stable to compare with.
pub(in crate::analysis) fn findings(
    evidence: &Evidence,
    settings: &AnalysisSettings,
) -> Vec<Finding> {
    if settings.comparison.is_none() || evidence.stable.is_none() {
        return Vec::new();
    }
    let nothing = Compared::default();
    let compared = evidence.compared.as_ref().unwrap_or(&nothing);
    match compared.tests.is_empty() {
        true => vec![awaited(compared)],
        false => compared
            .tests
            .iter()
            .map(|test| row(test, compared))
            .collect(),
    }
}

fn awaited(compared: &Compared) -> Finding {
    let text = "begins once both versions answered requests for a few intervals of 5 s, or one of \
                the new release's failed";
    Finding {
        note: Some(Clean::new(&anew(text, compared))),
        ..rules::finding(&Event::Error.rule(), &Counters::default(), 0)
    }
}

fn row(test: &EventEvidence, compared: &Compared) -> Finding {
    let (canary, stable) = (test.evidence.canary, test.evidence.stable);
    let counters = Counters {
        requests: canary.requests,
        ..Counters::default()
    };
    let needs = test.evidence.needs_requests;
    let needs = needs.map_or(0, |needs| canary.requests.saturating_add(needs));
    let text = test.sentence(compared.requests_per_s);
    Finding {
        state: match test.evidence.answer {
            Answer::Worse => RuleState::Broken,
            Answer::Safe => RuleState::Ok,
            Answer::Open => RuleState::Wait,
        },
        canary: canary.ratio(),
        stable: stable.ratio(),
        note: Some(Clean::new(&anew(&text, compared))),
        compared: Some(Box::new(test.clone())),
        ..rules::finding(&test.event.rule(), &counters, needs)
    }
}

/// The text, with a word about a comparison that had to begin in the midst of a rollout.
fn anew(text: &str, compared: &Compared) -> String {
    match compared.anew {
        true => format!("{text}; begun anew when the engine started"),
        false => text.to_owned(),
    }
}

/// Whether a row says that the comparison crossed its threshold.
pub(in crate::analysis) fn is_worse(finding: &Finding) -> bool {
    let compared = finding.compared.as_ref();
    compared.is_some_and(|test| test.evidence.answer == Answer::Worse)
}

/// Whether every test that was made rules a regression worth catching out; false where none was.
pub fn is_ruled_out(verdict: &Verdict) -> bool {
    let mut tests = verdict
        .findings
        .iter()
        .filter_map(|row| row.compared.as_ref())
        .peekable();
    tests.peek().is_some() && tests.all(|test| test.evidence.answer == Answer::Safe)
}

/// One sentence about a crossing; `None` for every other row.
pub(in crate::analysis) fn sentence(finding: &Finding) -> Option<String> {
    let test = finding.compared.as_ref()?;
    let what = match test.event {
        Event::Error => "error rate".to_owned(),
        Event::SlowerThan(edge_ms) => format!("share of requests over {edge_ms} ms"),
    };
    let percent = |ratio: Option<f64>| {
        ratio.map_or_else(
            || "none".to_owned(),
            |ratio| format!("{:.2} %", ratio * 100.0),
        )
    };
    let (canary, stable) = (percent(finding.canary), percent(finding.stable));
    let note = finding.note.as_ref().map_or("", Clean::as_str);
    Some(format!("{what} {canary} (stable {stable}): {note}"))
}
