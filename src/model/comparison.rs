//! What the sequential comparison of two versions' counts says: for the judge, the screens and the
//! history. Plain data; how it is computed is for `analysis`.

use super::verdict::Counters;
use serde::{Deserialize, Serialize};

/// What is counted of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It failed.
    Error,
    /// It took longer than so many ms, an edge of [`Histogram`](super::verdict::Histogram).
    SlowerThan(u32),
}

impl Event {
    /// Requests and events of one interval. Requests whose latency is unknown do not count for a
    /// latency.
    pub fn of(self, counters: &Counters) -> Counted {
        match (self, &counters.latency) {
            (Self::Error, _) => Counted::new(counters.requests, counters.errors),
            (Self::SlowerThan(edge_ms), Some(latency)) => {
                Counted::new(latency.count(), latency.above(edge_ms).unwrap_or(0))
            }
            (Self::SlowerThan(_), None) => Counted::default(),
        }
    }

    /// Stable machine name of the rule that compares it.
    pub fn rule(self) -> String {
        match self {
            Self::Error => "errors_compared".to_owned(),
            Self::SlowerThan(edge_ms) => format!("slower_than_{edge_ms}_ms_compared"),
        }
    }

    /// Its events in words: "errors", "requests over 150 ms".
    pub fn words(self) -> String {
        match self {
            Self::Error => "errors".to_owned(),
            Self::SlowerThan(edge_ms) => format!("requests over {edge_ms} ms"),
        }
    }
}

/// One version's counts of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Requests.
    pub requests: u64,
    /// Of those: events, such as errors; never more.
    pub events: u64,
}

impl Counted {
    /// More events than requests (an error without a counted request) count as so many requests.
    pub fn new(requests: u64, events: u64) -> Self {
        Self {
            requests: requests.max(events),
            events,
        }
    }

    /// Adds another interval's counts.
    pub fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.events = self.events.saturating_add(other.events);
    }

    /// Events ÷ requests, 0–1; `None` without requests.
    pub fn ratio(self) -> Option<f64> {
        (self.requests > 0).then(|| self.events as f64 / self.requests as f64)
    }
}

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The canary has more events than tolerated: the evidence once reached its threshold.
    Worse,
    /// A regression worth catching is ruled out.
    Safe,
    /// Neither yet.
    Open,
}

/// The evidence so far, to be shown and recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountEvidence {
    /// What it says.
    pub answer: Answer,
    /// Decimal logarithm of the evidence that the canary is worse; −log10 of the false-alarm rate
    /// is enough.
    pub log10_worse: f64,
    /// The largest it ever was.
    pub log10_worse_peak: f64,
    /// The same for "no regression worth catching".
    pub log10_safe: f64,
    /// What the canary answered since the test began.
    pub canary: Counted,
    /// What stable answered in the same time.
    pub stable: Counted,
    /// The canary's odds of an event ÷ stable's at the same time; for rare events the ratio of
    /// their shares.
    pub ratio: f64,
    /// Lower end of the ratio's interval, valid at any time at the false-alarm rate; 0 if open.
    pub ratio_low: f64,
    /// Upper end; `None` if open.
    pub ratio_high: Option<f64>,
    /// Correlation of two requests within one interval, as it is believed.
    pub correlation: f64,
    /// Canary requests until an answer is likely, were all to go on as it seems; `None` if there
    /// is one already or nobody can tell.
    pub needs_requests: Option<u64>,
}

/// What one test says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEvidence {
    /// Of what.
    pub event: Event,
    /// The probability of a false alarm that this test may use, 0–1.
    pub false_alarm: f64,
    /// What it says.
    pub evidence: CountEvidence,
}

impl EventEvidence {
    /// The evidence that is enough: 1 ÷ the false-alarm rate.
    pub fn enough(&self) -> f64 {
        1.0 / self.false_alarm
    }

    /// The evidence for "worse": the one that decided, once it has, else that of now.
    pub fn worse(&self) -> f64 {
        let log10 = match self.evidence.answer {
            Answer::Worse => self.evidence.log10_worse_peak,
            Answer::Safe | Answer::Open => self.evidence.log10_worse,
        };
        10f64.powf(log10)
    }

    /// One sentence for people. `requests_per_s` are the canary's at present, if that is known.
    pub fn sentence(&self, requests_per_s: Option<f64>) -> String {
        let CountEvidence {
            ratio, ratio_low, ..
        } = self.evidence;
        let what = self.event.words();
        let high = self.evidence.ratio_high;
        let high = high.map_or("?".to_owned(), |high| format!("{high:.1}"));
        let requests = self.evidence.canary.requests;
        let evidence = format!(
            "evidence {} of {}",
            magnitude(self.worse()),
            magnitude(self.enough())
        );
        let said = match self.evidence.answer {
            Answer::Worse => format!("worse than tolerated, {evidence}"),
            Answer::Safe => "no regression worth catching".to_owned(),
            Answer::Open => match self.evidence.needs_requests {
                Some(needs) => format!("{}, {evidence}", more(needs, requests_per_s)),
                None => format!("open, {evidence}"),
            },
        };
        format!(
            "{what} {ratio:.1} × stable's ({ratio_low:.1}–{high}) in {requests} requests: {said}"
        )
    }
}

/// "needs about 900 more requests, about 3 min at this traffic".
fn more(needs: u64, requests_per_s: Option<f64>) -> String {
    let requests = format!("needs about {needs} more requests");
    match requests_per_s.filter(|rate| *rate > 0.0) {
        Some(rate) => {
            let ms = (needs as f64 / rate * 1_000.0) as u64;
            format!("{requests}, about {} at this traffic", about(ms))
        }
        None => requests,
    }
}

/// A span of time in one unit.
fn about(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        s @ 0..90 => format!("{s} s"),
        s @ 90..5_400 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

/// Two digits of a number of any size.
fn magnitude(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{value:.0e}"),
        value if value >= 10.0 => format!("{value:.0}"),
        value if value >= 0.1 => format!("{value:.1}"),
        _ => "under 0.1".to_owned(),
    }
}

/// What the comparison of one rollout says so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compared {
    /// Intervals of stable's that it learned from before it began.
    pub history: usize,
    /// Intervals compared.
    pub intervals: usize,
    /// Whether the rollout is older than the comparison: an engine that was started again knows
    /// nothing of what the former one counted.
    pub anew: bool,
    /// The canary's requests per second over the newest intervals; `None` before the first.
    pub requests_per_s: Option<f64>,
    /// What each test says, errors first; empty before anything can be said.
    pub tests: Vec<EventEvidence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(answer: Answer, log10_worse: f64) -> EventEvidence {
        EventEvidence {
            event: Event::Error,
            false_alarm: 0.01,
            evidence: CountEvidence {
                answer,
                log10_worse,
                log10_worse_peak: 2.4,
                log10_safe: -1.0,
                canary: Counted::new(812, 25),
                stable: Counted::new(8_000, 40),
                ratio: 6.31,
                ratio_low: 3.94,
                ratio_high: None,
                correlation: 0.0,
                needs_requests: Some(900),
            },
        }
    }

    #[test]
    fn a_sentence_tells_evidence_threshold_and_what_is_needed_at_this_traffic() {
        assert_eq!(
            evidence(Answer::Open, 0.3).sentence(Some(5.0)),
            "errors 6.3 × stable's (3.9–?) in 812 requests: needs about 900 more requests, about \
             3 min at this traffic, evidence 2.0 of 100"
        );
        let untimed = evidence(Answer::Open, -9.0).sentence(None);
        assert!(
            untimed.ends_with("900 more requests, evidence under 0.1 of 100"),
            "{untimed}"
        );
    }

    #[test]
    fn a_crossing_is_told_by_the_evidence_that_crossed() {
        let text = evidence(Answer::Worse, 0.3).sentence(Some(5.0));
        assert!(
            text.ends_with("worse than tolerated, evidence 251 of 100"),
            "{text}"
        );
    }
}
