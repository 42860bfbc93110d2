//! The judge: what was counted → a [`Verdict`] with its evidence.
//!
//! Pure: it knows neither where counts come from nor what the engine will do about its word.

mod rules;

use crate::model::Clean;
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Counters, Finding, RuleState, Verdict, VerdictClass};

/// Everything one judgement looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// What the new release answered since the step began.
    pub canary: Counters,
    /// What stable answered in the same time; `None` where nothing stable exists.
    pub stable: Option<Counters>,
    /// The same two over the last [`RECENT_MS`], so that a late failure is not diluted.
    pub recent_canary: Counters,
    /// See `recent_canary`.
    pub recent_stable: Option<Counters>,
    /// Own probes of the new release passed and made over the last minute.
    pub probes_passed: u64,
    /// See `probes_passed`.
    pub probes_made: u64,
    /// Whether the counters were read within the last interval.
    pub fresh: bool,
}

/// Length of the recent window.
pub const RECENT_MS: u64 = 60_000;

/// Judges a step. `min_requests` is what the step needs before it may pass.
pub fn judge(evidence: &Evidence, settings: &AnalysisSettings, min_requests: u64) -> Verdict {
    let findings = rules::findings(evidence, settings);
    let class = classify(evidence, &findings, min_requests);
    let because = because(class, evidence, &findings, min_requests);
    Verdict {
        class,
        failures: 0,
        findings,
        because,
    }
}

fn classify(evidence: &Evidence, findings: &[Finding], min_requests: u64) -> VerdictClass {
    let broken = |finding: &Finding| finding.state == RuleState::Broken;
    if findings.iter().any(broken) {
        VerdictClass::Fail
    } else if !evidence.fresh {
        VerdictClass::NoData
    } else if evidence.canary.requests < min_requests {
        VerdictClass::Inconclusive
    } else {
        VerdictClass::Pass
    }
}

fn because(
    class: VerdictClass,
    evidence: &Evidence,
    findings: &[Finding],
    min_requests: u64,
) -> Clean {
    let text = match class {
        VerdictClass::Fail => findings
            .iter()
            .filter(|finding| finding.state == RuleState::Broken)
            .map(rules::sentence)
            .collect::<Vec<_>>()
            .join("; "),
        VerdictClass::NoData => "the counters could not be read within the last interval".into(),
        VerdictClass::Inconclusive => format!(
            "{} of {min_requests} requests seen; needs {} more",
            evidence.canary.requests,
            min_requests.saturating_sub(evidence.canary.requests)
        ),
        VerdictClass::Pass => {
            let ok = |finding: &&Finding| finding.state == RuleState::Ok;
            let judged = findings.iter().filter(ok).count();
            format!(
                "{judged} of {} rules satisfied, none broken",
                findings.len()
            )
        }
    };
    Clean::new(&text)
}

#[cfg(test)]
mod tests;
