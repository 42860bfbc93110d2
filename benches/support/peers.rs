//! The rules of other controllers, as their documents and code have them, on the same counts.

use crate::traffic::INTERVAL_S;
use wheelhouse::analysis::rank::{Direction, RankComparison};
use wheelhouse::analysis::sequential::{Answer, Counted, Question, SequentialTest};

/// What one rollout looks like so far: canary and stable, interval by interval.
pub type Seen = [[Counted; 2]];

/// A rule that looks after every interval and says when it has had enough.
pub trait Rule {
    fn aborts(&mut self, seen: &Seen) -> bool;
}

/// The names of the rules, as [`rule`] makes them.
pub const RULES: [&str; 6] = [
    "wheelhouse",
    "flagger",
    "argo",
    "kayenta",
    "naive 1.5x",
    "fixed 1 %",
];

pub fn rule(name: &str, history: &[Counted]) -> Box<dyn Rule> {
    match name {
        "wheelhouse" => Box::new(Ours(SequentialTest::new(Question::default(), history))),
        "flagger" => Box::new(Flagger { failed: 0 }),
        "argo" => Box::new(Argo { failed: 0 }),
        "kayenta" => Box::new(Kayenta),
        "naive 1.5x" => Box::new(Naive::default()),
        _ => Box::new(Fixed),
    }
}

struct Ours(SequentialTest);

impl Rule for Ours {
    fn aborts(&mut self, seen: &Seen) -> bool {
        let Some([canary, stable]) = seen.last() else {
            return false;
        };
        self.0.add(*canary, *stable);
        self.0.evidence().answer == Answer::Worse
    }
}

/// Intervals of so many seconds.
fn intervals(seconds: f64) -> usize {
    (seconds / INTERVAL_S) as usize
}

/// Whether an interval ends a period of so many seconds.
fn is_due(seen: &Seen, seconds: f64) -> bool {
    !seen.is_empty() && seen.len().is_multiple_of(intervals(seconds))
}

fn canary_ratio(seen: &Seen, seconds: f64) -> Option<f64> {
    let [canary, _] = sum(seen, seconds);
    ratio(canary)
}

fn sum(seen: &Seen, seconds: f64) -> [Counted; 2] {
    let from = seen.len().saturating_sub(intervals(seconds));
    let of = |version: usize| {
        let counts = seen[from..].iter().map(|both| both[version]);
        counts.fold(Counted::default(), |sum, one| {
            Counted::new(sum.requests + one.requests, sum.events + one.events)
        })
    };
    [of(0), of(1)]
}

fn ratio(counted: Counted) -> Option<f64> {
    (counted.requests > 0).then(|| counted.events as f64 / counted.requests as f64)
}

/// As its tutorials have it: every minute the last minute's success rate must be at least 99 %;
/// the fifth failed check, ever, rolls back.
struct Flagger {
    failed: u32,
}

impl Rule for Flagger {
    fn aborts(&mut self, seen: &Seen) -> bool {
        if is_due(seen, 60.0) && canary_ratio(seen, 60.0).is_none_or(|ratio| ratio > 0.01) {
            self.failed += 1;
        }
        self.failed >= 5
    }
}

/// As its documents' example has it: every five minutes the success rate must be at least 95 %,
/// `failureLimit: 3`, which the code takes as "more than three".
struct Argo {
    failed: u32,
}

impl Rule for Argo {
    fn aborts(&mut self, seen: &Seen) -> bool {
        if is_due(seen, 300.0) && canary_ratio(seen, 300.0).is_none_or(|ratio| ratio >= 0.05) {
            self.failed += 1;
        }
        self.failed > 3
    }
}

/// Mann–Whitney on one-minute error ratios from the start on, at 98 % with tolerance 0.25,
/// repeated every 15 minutes. One bad judgement stops.
struct Kayenta;

impl Rule for Kayenta {
    fn aborts(&mut self, seen: &Seen) -> bool {
        if !is_due(seen, 900.0) {
            return false;
        }
        let series = |version: usize| -> Vec<f64> {
            let minutes = seen.chunks(intervals(60.0)).map(|minute| {
                let [canary, stable] = sum(minute, 60.0);
                ratio([canary, stable][version])
            });
            minutes.flatten().collect()
        };
        let compared = RankComparison::of(&series(0), &series(1), 0.98);
        compared.is_some_and(|found| found.direction(0.25) == Direction::High)
    }
}

/// Every interval: more than 1.5 times stable's share of errors since the start, from 300
/// requests.
#[derive(Default)]
struct Naive {
    sum: [Counted; 2],
}

impl Rule for Naive {
    fn aborts(&mut self, seen: &Seen) -> bool {
        for (sum, one) in self.sum.iter_mut().zip(seen.last().into_iter().flatten()) {
            *sum = Counted::new(sum.requests + one.requests, sum.events + one.events);
        }
        let [canary, stable] = self.sum;
        let (mine, theirs) = (ratio(canary), ratio(stable));
        canary.requests >= 300
            && mine
                .zip(theirs)
                .is_some_and(|(mine, theirs)| mine > theirs * 1.5)
    }
}

/// Every interval: more than 1 % of the last minute's requests, from 50.
struct Fixed;

impl Rule for Fixed {
    fn aborts(&mut self, seen: &Seen) -> bool {
        let [canary, _] = sum(seen, 60.0);
        canary.requests >= 50 && ratio(canary).is_some_and(|ratio| ratio > 0.01)
    }
}
