//! The judge: what was counted → a [`Verdict`] with its evidence.
//!
//! Pure: it knows neither where counts come from nor what the engine will do about its word.

#![deny(clippy::disallowed_methods)]

pub mod comparison;
pub mod counts;
pub mod rank;
pub mod replay;
mod rules;
pub mod sequential;
mod source;
pub mod sustained;
mod unmistakable;

pub use source::{SourceEvidence, SourceState, Usage, scrapes};

pub use comparison::is_ruled_out;
pub use unmistakable::{is_first_look, is_unmistakable};

use crate::model::Clean;
use crate::model::comparison::Compared;
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
    /// What runtimes say the new release's instances use.
    pub usage: Option<Usage>,
    /// What sources of metrics say.
    pub sources: Vec<SourceEvidence>,
    /// What the comparison of counts with stable's says so far, over the whole rollout.
    pub compared: Option<Compared>,
}

/// Length of the recent window.
pub const RECENT_MS: u64 = 60_000;

/// Judges a step. `min_requests` is what the step needs before it may pass.
pub fn judge(evidence: &Evidence, settings: &AnalysisSettings, min_requests: u64) -> Verdict {
    let mut findings = rules::findings(evidence, settings);
    let usage = evidence.usage.iter();
    findings.extend(usage.flat_map(|usage| source::usage_findings(usage, settings)));
    let unmeasured = rules::without_the_unmeasured(evidence, &mut findings);
    let unmeasured = unmeasured.map(|why| (VerdictClass::NoData, Clean::new(&why)));
    let mut words: Vec<Word> = unmeasured.into_iter().collect();
    for source in &evidence.sources {
        let (rows, word) = source::findings(source, settings);
        findings.extend(rows);
        words.extend(word);
    }
    let class = classify(evidence, &findings, &words, min_requests);
    let because = because(class, evidence, &findings, &words, min_requests);
    Verdict {
        class,
        failures: 0,
        findings,
        because,
    }
}

/// How many judgements in a row failed, up to the one at `now_ms`, an interval apart; at most as many
/// as count. `at` says what the word was at an earlier time.
pub fn failures(
    now: VerdictClass,
    settings: &AnalysisSettings,
    now_ms: u64,
    at: impl Fn(u64) -> VerdictClass,
) -> u32 {
    if now != VerdictClass::Fail {
        return 0;
    }
    let earlier = (1..settings.failures).take_while(|back| {
        let then_ms = now_ms.saturating_sub(u64::from(*back) * settings.interval_ms);
        at(then_ms) == VerdictClass::Fail
    });
    1 + earlier.count() as u32
}

/// Whether a failing release is taken back now; `before` is the newest verdict that was recorded.
pub fn takes_back(now: &Verdict, before: Option<&Verdict>, settings: &AnalysisSettings) -> bool {
    let enough = now.failures >= settings.failures;
    now.class == VerdictClass::Fail && (enough || is_unmistakable(now, before))
}

/// Whether a verdict is to be recorded: its word changed, or it is a look to be confirmed.
pub fn is_news(now: &Verdict, before: Option<&Verdict>) -> bool {
    let was = before.map_or(VerdictClass::Inconclusive, |before| before.class);
    was != now.class || is_first_look(now, before)
}

/// What a source of metrics has to say beside its rules: the word, and why.
type Word = (VerdictClass, Clean);

fn classify(
    evidence: &Evidence,
    findings: &[Finding],
    words: &[Word],
    min_requests: u64,
) -> VerdictClass {
    let broken = |finding: &Finding| finding.state == RuleState::Broken;
    let said = |class| words.iter().any(|(word, _)| *word == class);
    if findings.iter().any(broken) {
        VerdictClass::Fail
    } else if !evidence.fresh || said(VerdictClass::NoData) {
        VerdictClass::NoData
    } else if evidence.canary.requests < min_requests || said(VerdictClass::Inconclusive) {
        VerdictClass::Inconclusive
    } else {
        VerdictClass::Pass
    }
}

fn because(
    class: VerdictClass,
    evidence: &Evidence,
    findings: &[Finding],
    words: &[Word],
    min_requests: u64,
) -> Clean {
    let said = || {
        let mine = words.iter().filter(|(word, _)| *word == class);
        mine.map(|(_, why)| why.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let text = match class {
        VerdictClass::Fail => findings
            .iter()
            .filter(|finding| finding.state == RuleState::Broken)
            .map(rules::sentence)
            .collect::<Vec<_>>()
            .join("; "),
        VerdictClass::NoData if !evidence.fresh => {
            "the counters could not be read within the last interval".into()
        }
        VerdictClass::NoData => said(),
        VerdictClass::Inconclusive if evidence.canary.requests < min_requests => format!(
            "{} of {min_requests} requests seen; needs {} more",
            evidence.canary.requests,
            min_requests.saturating_sub(evidence.canary.requests)
        ),
        VerdictClass::Inconclusive => said(),
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
