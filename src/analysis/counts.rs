//! The sequential tests of one rollout: errors, and requests slower than stable's usual ones.
//!
//! The judge must not cry wolf more often because it looks at more things: the tests share one
//! false-alarm rate, half of it for errors. A latency is judged as the share of requests above a
//! bucket edge, the one that stable's p50, p95 or p99 lies in: no quantile is compared.

use super::sequential::{Answer, Counted, LIVELY, Question, SequentialTest};
use crate::model::verdict::{Counters, Histogram};

pub use crate::model::comparison::{Event, EventEvidence};

/// Stable's quantiles whose edges are watched.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// Latencies in stable's history before its quantiles are taken to be known: ten above the p99.
const LATENCIES_MIN: u64 = 1_000;
/// Share of the false-alarm rate for errors, where latencies are watched too.
const ERRORS_SHARE: f64 = 0.5;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Errors alone.
    Errors,
    /// Errors, and requests slower than stable's usual ones.
    ErrorsAndLatencies,
}

/// All tests of one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct CountJudge {
    tests: Vec<(Event, f64, SequentialTest)>,
}

impl CountJudge {
    /// `history` are stable's counters before the rollout, interval by interval, oldest first.
    /// Latencies are watched where it holds enough of them.
    pub fn new(question: Question, history: &[Counters]) -> Self {
        let mut judge = Self::unlearned(question, Watched::ErrorsAndLatencies, history);
        history.iter().for_each(|counters| judge.learn(counters));
        judge.begin();
        judge
    }

    /// The same before it followed any of `history`, which takes most of the time: each interval of
    /// it is to be [learned](Self::learn), before it [begins](Self::begin).
    pub fn unlearned(question: Question, watched: Watched, history: &[Counters]) -> Self {
        let edges = match watched {
            Watched::Errors => Vec::new(),
            Watched::ErrorsAndLatencies => usual_edges(history),
        };
        let (errors, latencies) = match edges.len() {
            0 => (question.false_alarm, 0.0),
            edges => {
                let errors = question.false_alarm * ERRORS_SHARE;
                (errors, (question.false_alarm - errors) / edges as f64)
            }
        };
        let slower = edges
            .into_iter()
            .map(|edge_ms| (Event::SlowerThan(edge_ms), latencies));
        let test = |(event, false_alarm): (Event, f64)| {
            let counts: Vec<Counted> = history.iter().map(|counters| event.of(counters)).collect();
            let question = Question {
                false_alarm,
                ..question
            };
            let test = SequentialTest::unlearned(question, LIVELY, &counts);
            (event, false_alarm, test)
        };
        let events = std::iter::once((Event::Error, errors)).chain(slower);
        Self {
            tests: events.map(test).collect(),
        }
    }

    /// One interval of stable alone, before the canary had requests.
    pub fn learn(&mut self, stable: &Counters) {
        for (event, _, test) in &mut self.tests {
            test.learn(event.of(stable));
        }
    }

    /// From here on there is a canary.
    pub fn begin(&mut self) {
        self.tests.iter_mut().for_each(|(_, _, test)| test.begin());
    }

    /// Adds what both versions answered within one interval.
    pub fn add(&mut self, canary: &Counters, stable: &Counters) {
        for (event, _, test) in &mut self.tests {
            test.add(event.of(canary), event.of(stable));
        }
    }

    /// What every test says, errors first.
    pub fn evidence(&self) -> Vec<EventEvidence> {
        let each = self.tests.iter();
        each.map(|(event, false_alarm, test)| EventEvidence {
            event: *event,
            false_alarm: *false_alarm,
            evidence: test.evidence(),
        })
        .collect()
    }

    /// Worse if any test says so, safe if all do.
    pub fn answer(&self) -> Answer {
        let answers: Vec<Answer> = self.evidence().iter().map(|e| e.evidence.answer).collect();
        match answers.as_slice() {
            answers if answers.contains(&Answer::Worse) => Answer::Worse,
            answers if answers.contains(&Answer::Open) => Answer::Open,
            _ => Answer::Safe,
        }
    }
}

/// The edges that stable's quantiles lie within, each once, rising.
fn usual_edges(history: &[Counters]) -> Vec<u32> {
    let mut all = Histogram::default();
    let latencies = history
        .iter()
        .filter_map(|counters| counters.latency.as_ref());
    latencies.for_each(|latency| all.add(latency));
    if all.count() < LATENCIES_MIN {
        return Vec::new();
    }
    let edges = QUANTILES
        .iter()
        .filter_map(|quantile| all.quantile_edge_ms(*quantile));
    let mut edges: Vec<u32> = edges.collect();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of which every tenth takes `slow_ms` and the others 20 ms.
    fn counted(requests: u64, errors: u64, slow_ms: u64) -> Counters {
        let mut latency = Histogram::default();
        for i in 0..requests {
            let is_slow = i % 10 == 9;
            latency.record_us(if is_slow { slow_ms } else { 20 } * 1_000);
        }
        Counters {
            requests,
            errors,
            latency: Some(latency),
            unmeasured: 0,
        }
    }

    #[track_caller]
    fn judged(canary: &Counters, intervals: usize) -> CountJudge {
        let stable = counted(400, 2, 150);
        let history = vec![stable.clone(); 60];
        let mut judge = CountJudge::new(Question::default(), &history);
        for _ in 0..intervals {
            judge.add(canary, &stable);
        }
        judge
    }

    #[test]
    fn tests_share_the_false_alarm_rate_and_watch_stable_s_own_edges() {
        let evidence = judged(&counted(100, 0, 150), 1).evidence();
        let events: Vec<Event> = evidence.iter().map(|one| one.event).collect();
        let edges = [Event::SlowerThan(20), Event::SlowerThan(150)];
        assert_eq!(events, [Event::Error, edges[0], edges[1]]);
        let sum: f64 = evidence.iter().map(|one| one.false_alarm).sum();
        assert!(
            (sum - Question::default().false_alarm).abs() < 1e-12,
            "{sum}"
        );
    }

    #[test]
    fn more_errors_or_slower_requests_are_worse_and_the_same_is_safe_in_the_end() {
        assert_eq!(judged(&counted(100, 8, 150), 6).answer(), Answer::Worse);
        let slower = judged(&counted(100, 0, 400), 6);
        assert_eq!(slower.answer(), Answer::Worse);
        let evidence = slower.evidence();
        let says: Vec<Answer> = evidence.iter().map(|one| one.evidence.answer).collect();
        assert_ne!(says[0], Answer::Worse, "{}", evidence[0].sentence(None));
        assert_eq!(judged(&counted(100, 0, 150), 2).answer(), Answer::Open);
        let safe = judged(&counted(100, 0, 150), 200);
        let says: Vec<String> = safe
            .evidence()
            .iter()
            .map(|one| one.sentence(None))
            .collect();
        assert_eq!(
            safe.answer(),
            Answer::Safe,
            "{says:?} {:?}",
            safe.evidence()
        );
    }

    #[test]
    fn without_latencies_errors_have_the_whole_rate_and_a_sentence_says_what_is_needed() {
        let bare = |requests, errors| Counters {
            requests,
            errors,
            ..Counters::default()
        };
        let mut judge = CountJudge::new(Question::default(), &vec![bare(400, 2); 60]);
        judge.add(&bare(100, 1), &bare(400, 2));
        let evidence = judge.evidence();
        assert_eq!(evidence.len(), 1);
        assert_eq!(evidence[0].false_alarm, 0.01);
        let text = evidence[0].sentence(None);
        assert!(text.starts_with("errors "), "{text}");
        assert!(text.contains("in 100 requests: needs about "), "{text}");
    }
}
