//! A recorded rollout, judged again: samples in the order of time go through the very rules and the
//! very comparison that the engine uses, and what comes out is when which verdict would have fallen.
//!
//! Pure; must not know where the samples were written down. Steps and soaks play no part.

mod samples;
mod sources;

pub use samples::{Counts, Point, Samples, Side};

use super::comparison::{Comparison, INTERVAL_MS, Slice, Work};
use super::{Evidence, RECENT_MS, failures, is_news, is_ruled_out, judge, takes_back};
use crate::model::Clean;
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Finding, RuleState, Verdict, VerdictClass};
use samples::Sums;

/// By what a rollout is judged again.
#[derive(Debug, Clone, PartialEq)]
pub struct Judging {
    /// Limits and the comparison.
    pub analysis: AnalysisSettings,
    /// Requests of the canary's before it may pass.
    pub min_requests: u64,
}

/// What the judge thought at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Thought {
    /// When.
    pub at_ms: u64,
    /// The word.
    pub class: VerdictClass,
    /// The canary's requests until then.
    pub canary_requests: u64,
    /// Decimal logarithm of the evidence that the canary has more errors than stable; `None` while
    /// nothing is compared.
    pub log10_worse: Option<f64>,
}

/// How a recorded rollout would have been judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The verdict in the end: a pass, a fail that would have taken the release back, or neither.
    pub class: VerdictClass,
    /// When the first fail fell, else the pass; `None` where neither did.
    pub decided_at_ms: Option<u64>,
    /// The canary's requests until then, else all.
    pub canary_requests: u64,
    /// The judge's word then, with its evidence.
    pub verdict: Verdict,
    /// What it thought after each sample.
    pub thoughts: Vec<Thought>,
}

/// Judges samples as if they came now.
pub fn replay(samples: &Samples, judging: &Judging) -> Judged {
    let settings = samples.judgeable(&judging.analysis);
    let mut run = Run {
        samples,
        settings: &settings,
        min_requests: judging.min_requests,
        sums: samples.sums(),
        comparison: settings
            .comparison
            .map(|settings| Comparison::new(&settings, Vec::new())),
        recorded: None,
        thoughts: Vec::new(),
    };
    let Some(first) = samples.first_canary() else {
        return run.without_canary();
    };
    for at in 0..samples.points.len() {
        run.compare(at);
        if at < first {
            continue;
        }
        let verdict = run.look(first, at);
        if let Some(judged) = run.decided(at, &verdict) {
            return judged;
        }
        let is_last = at + 1 == samples.points.len();
        if is_last {
            return run.ended(at, verdict);
        }
    }
    run.without_canary()
}

/// One pass over the samples.
struct Run<'a> {
    samples: &'a Samples,
    settings: &'a AnalysisSettings,
    min_requests: u64,
    sums: Vec<Sums>,
    comparison: Option<Comparison>,
    recorded: Option<Verdict>,
    thoughts: Vec<Thought>,
}

impl Run<'_> {
    /// Feeds one point to the comparison.
    fn compare(&mut self, at: usize) {
        let Some(comparison) = &mut self.comparison else {
            return;
        };
        let point = &self.samples.points[at];
        let earlier = at
            .checked_sub(1)
            .map(|before| self.samples.points[before].at_ms);
        let from_ms =
            earlier.unwrap_or_else(|| point.at_ms.saturating_sub(self.samples.spacing_ms()));
        let counts = |side: &Option<Side>| {
            let counts = side.as_ref().map(|side| &side.counts);
            counts
                .map(|counts| self.samples.counters(counts))
                .unwrap_or_default()
        };
        comparison.add(Slice {
            from_ms,
            to_ms: point.at_ms,
            canary: counts(&point.canary),
            stable: counts(&point.stable),
        });
        while comparison.work() == Work::Left {}
    }

    /// The judge's word after a point.
    fn look(&mut self, first: usize, at: usize) -> Verdict {
        let now_ms = self.samples.points[at].at_ms;
        let evidence = self.evidence(first, at);
        let mut verdict = judge(&evidence, self.settings, self.min_requests);
        // The file's own latencies are judged between its own edges.
        let is_elsewhere = |row: &Finding| {
            row.state == RuleState::NoData
                && row.source.is_empty()
                && row.rule.starts_with("latency")
        };
        verdict.findings.retain(|row| !is_elsewhere(row));
        let compared = evidence.compared.as_ref();
        let errors = compared.and_then(|compared| compared.tests.first());
        self.thoughts.push(Thought {
            at_ms: now_ms,
            class: verdict.class,
            canary_requests: evidence.canary.requests,
            log10_worse: errors.map(|test| test.evidence.log10_worse),
        });
        let failures = failures(verdict.class, self.settings, now_ms, |then_ms| {
            let until = self
                .thoughts
                .partition_point(|thought| thought.at_ms <= then_ms);
            let then = until.checked_sub(1).map(|last| self.thoughts[last].class);
            then.unwrap_or(VerdictClass::Inconclusive)
        });
        Verdict {
            failures,
            ..verdict
        }
    }

    fn evidence(&self, first: usize, at: usize) -> Evidence {
        let points = &self.samples.points;
        let recent_ms = points[at].at_ms.saturating_sub(RECENT_MS);
        let recent = points.partition_point(|point| point.at_ms <= recent_ms);
        let (whole, recent) = (
            self.sums[at].since(self.before(first)),
            self.sums[at].since(self.before(recent.max(first))),
        );
        let has_stable = points.iter().any(|point| point.stable.is_some());
        let counters = |counts: &Counts| counts.without_latency();
        Evidence {
            canary: counters(&whole.canary),
            stable: has_stable.then(|| counters(&whole.stable)),
            recent_canary: counters(&recent.canary),
            recent_stable: has_stable.then(|| counters(&recent.stable)),
            fresh: self.is_fresh(at),
            sources: sources::evidence(self.samples, at, &whole, &recent),
            compared: self
                .comparison
                .as_ref()
                .map(|comparison| comparison.said().clone()),
            ..Evidence::default()
        }
    }

    /// The sums before a point.
    fn before(&self, at: usize) -> Option<&Sums> {
        self.sums.get(at.checked_sub(1)?)
    }

    /// Whether the canary was heard of as lately as a rollout may go without data.
    fn is_fresh(&self, at: usize) -> bool {
        let points = &self.samples.points[..=at];
        let Some(last) = points.iter().rev().find(|point| point.canary.is_some()) else {
            return false;
        };
        let patience_ms = self.settings.interval_ms * u64::from(self.settings.no_data_intervals);
        let patience_ms = patience_ms.max(2 * self.samples.spacing_ms());
        points[at].at_ms - last.at_ms <= patience_ms
    }

    /// The end, where the engine would have acted after a point.
    fn decided(&mut self, at: usize, verdict: &Verdict) -> Option<Judged> {
        let class = match takes_back(verdict, self.recorded.as_ref(), self.settings) {
            true => VerdictClass::Fail,
            false if self.is_safe_early(verdict) => VerdictClass::Pass,
            false => {
                if is_news(verdict, self.recorded.as_ref()) {
                    self.recorded = Some(verdict.clone());
                }
                return None;
            }
        };
        let decided_at_ms = Some(self.samples.points[at].at_ms);
        Some(self.judged(class, decided_at_ms, verdict.clone()))
    }

    fn is_safe_early(&self, verdict: &Verdict) -> bool {
        let early = self
            .settings
            .comparison
            .is_some_and(|settings| settings.early_safety);
        early && verdict.class == VerdictClass::Pass && is_ruled_out(verdict)
    }

    /// The last point. A rule that is broken there fails, though the engine would have waited for a
    /// second look: whoever cut the samples there gave it none.
    fn ended(&mut self, at: usize, mut verdict: Verdict) -> Judged {
        let at_ms = Some(self.samples.points[at].at_ms);
        let class = verdict.class;
        let decided_at_ms = match class {
            VerdictClass::Pass => at_ms,
            VerdictClass::Fail => {
                let text = format!("{}; the samples end before a second look", verdict.because);
                verdict.because = Clean::new(&text);
                at_ms
            }
            VerdictClass::Inconclusive | VerdictClass::NoData => None,
        };
        self.judged(class, decided_at_ms, verdict)
    }

    fn judged(&mut self, class: VerdictClass, at_ms: Option<u64>, verdict: Verdict) -> Judged {
        let thoughts = std::mem::take(&mut self.thoughts);
        Judged {
            class,
            decided_at_ms: at_ms,
            canary_requests: thoughts.last().map_or(0, |thought| thought.canary_requests),
            verdict,
            thoughts,
        }
    }

    fn without_canary(&mut self) -> Judged {
        let verdict = Verdict {
            class: VerdictClass::NoData,
            failures: 0,
            findings: Vec::new(),
            because: "there is no sample of the canary".into(),
        };
        self.judged(VerdictClass::NoData, None, verdict)
    }
}

#[cfg(test)]
mod tests;
