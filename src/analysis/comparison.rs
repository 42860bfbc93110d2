//! One rollout's comparison with stable as it goes on: what was counted, in whatever slices it
//! comes, is added up to intervals of about five seconds, and each closed interval feeds the
//! sequential tests. Whoever feeds it, the engine or a file of samples, gets the same answer.
//!
//! Must not know where counts come from, nor what a verdict is. Following an hour of stable's
//! history takes a while, so that is done in bounded pieces: whoever feeds it also calls
//! [`Comparison::work`], again and again.

mod rows;

pub use rows::is_ruled_out;
pub(super) use rows::{findings, is_worse, sentence};

use super::counts::{CountJudge, Watched};
use super::sequential::Question;
use crate::model::comparison::Compared;
use crate::model::service::ComparisonSettings;
use crate::model::verdict::Counters;
use std::collections::VecDeque;

/// What the tests take for one interval: how fast rates move is meant per five seconds.
pub const INTERVAL_MS: u64 = 5_000;
/// An interval may close a little early: slices seldom end on the millisecond.
const INTERVAL_MS_MIN: u64 = 4_500;
/// Intervals of stable's that are remembered: an hour.
pub const HISTORY_MAX: usize = 720;
/// Intervals that wait before the tests are made, unless a request of the canary's failed: until
/// then there is nothing to say, and many rollouts of small services end sooner.
const PATIENCE: usize = 3;
/// Intervals of the history that are followed at once.
const LEARNED_AT_ONCE: usize = 24;
/// Intervals that may wait for the history to be followed; then it is followed to its end.
const WAITING_MAX: usize = 64;
/// Intervals over which the canary's rate of requests is told: a minute.
const RECENT: usize = 12;

/// What both versions answered within one span of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slice {
    /// Its beginning, in ms.
    pub from_ms: u64,
    /// Its end, in ms.
    pub to_ms: u64,
    /// What the canary answered.
    pub canary: Counters,
    /// What stable answered.
    pub stable: Counters,
}

impl Slice {
    fn add(&mut self, later: &Self) {
        self.to_ms = later.to_ms;
        self.canary.add(&later.canary);
        self.stable.add(&later.stable);
    }

    fn length_ms(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    fn has_canary(&self) -> bool {
        self.canary.requests > 0 || self.canary.errors > 0
    }
}

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// More of the history is to be followed.
    Left,
    /// Everything is followed that was added.
    Done,
}

/// The tests, before and after they are made.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// The canary had too little traffic so far.
    Before,
    /// They follow stable's history; what is left of it.
    Learning(CountJudge, VecDeque<Counters>),
    /// They compare.
    Comparing(CountJudge),
}

/// The running comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    question: Question,
    watched: Watched,
    history: VecDeque<Counters>,
    open: Option<Slice>,
    waiting: VecDeque<Slice>,
    recent: VecDeque<(u64, u64)>,
    stage: Stage,
    said: Compared,
}

impl Comparison {
    /// `history` are stable's counts of about an hour before, interval by interval, oldest first;
    /// none is needed, but without any it takes more requests.
    pub fn new(settings: &ComparisonSettings, history: impl IntoIterator<Item = Counters>) -> Self {
        let question = Question {
            false_alarm: settings.false_alarm_per_rollout,
            tolerated_ratio: settings.tolerated_ratio,
            smallest_regression: settings.smallest_regression,
            ..Question::default()
        };
        Self {
            question,
            watched: match settings.latencies {
                true => Watched::ErrorsAndLatencies,
                false => Watched::Errors,
            },
            history: history.into_iter().collect(),
            open: None,
            waiting: VecDeque::new(),
            recent: VecDeque::new(),
            stage: Stage::Before,
            said: Compared::default(),
        }
    }

    /// The same, in a rollout that an engine before this one began.
    pub fn begun_anew(mut self) -> Self {
        self.said.anew = true;
        self
    }

    /// Adds what was counted since the last slice.
    pub fn add(&mut self, slice: Slice) {
        let open = match &mut self.open {
            Some(open) => {
                open.add(&slice);
                open
            }
            None => self.open.insert(slice),
        };
        if open.length_ms() >= INTERVAL_MS_MIN
            && let Some(closed) = self.open.take()
        {
            self.close(closed);
        }
    }

    /// An interval is over. Stable's before the canary's first request is history; one without
    /// requests of stable's has nothing to compare with.
    fn close(&mut self, closed: Slice) {
        let is_before = matches!(self.stage, Stage::Before) && self.waiting.is_empty();
        if is_before && !closed.has_canary() {
            remember(&mut self.history, closed.stable);
            return;
        }
        if closed.stable.requests == 0 {
            return;
        }
        self.recent
            .push_back((closed.length_ms(), closed.canary.requests));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.waiting.push_back(closed);
    }

    /// Follows a bounded piece of what was added.
    pub fn work(&mut self) -> Work {
        if self.waiting.is_empty() {
            return Work::Done;
        }
        self.make();
        self.learn();
        match &mut self.stage {
            Stage::Before => Work::Done,
            Stage::Learning(..) => Work::Left,
            Stage::Comparing(judge) => {
                self.said.intervals += self.waiting.len();
                for slice in self.waiting.drain(..) {
                    judge.add(&slice.canary, &slice.stable);
                }
                self.said.tests = judge.evidence();
                self.said.requests_per_s = rate(&self.recent);
                Work::Done
            }
        }
    }

    /// Makes the tests, once it is worth it.
    fn make(&mut self) {
        let failed = self.waiting.iter().any(|slice| slice.canary.errors > 0);
        let is_early = self.waiting.len() < PATIENCE && !failed;
        if is_early || !matches!(self.stage, Stage::Before) {
            return;
        }
        let history = std::mem::take(&mut self.history);
        self.said.history = history.len();
        let known: Vec<Counters> = history.into();
        let judge = CountJudge::unlearned(self.question, self.watched, &known);
        self.stage = Stage::Learning(judge, known.into());
    }

    fn learn(&mut self) {
        let Stage::Learning(judge, left) = &mut self.stage else {
            return;
        };
        let piece = match self.waiting.len() < WAITING_MAX {
            true => left.len().min(LEARNED_AT_ONCE),
            false => left.len(),
        };
        for counters in left.drain(..piece) {
            judge.learn(&counters);
        }
        if left.is_empty() {
            judge.begin();
            if let Stage::Learning(judge, _) = std::mem::replace(&mut self.stage, Stage::Before) {
                self.stage = Stage::Comparing(judge);
            }
        }
    }

    /// Whether everything is followed that was added and can be: [`Self::work`] would do nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What it says so far.
    pub fn said(&self) -> &Compared {
        &self.said
    }
}

/// Keeps stable's newest hour of intervals.
pub fn remember(history: &mut VecDeque<Counters>, closed: Counters) {
    history.push_back(closed);
    if history.len() > HISTORY_MAX {
        history.pop_front();
    }
}

/// Requests per second over some intervals.
fn rate(recent: &VecDeque<(u64, u64)>) -> Option<f64> {
    let sum = recent
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (sum.0 > 0).then(|| sum.1 as f64 * 1_000.0 / sum.0 as f64)
}

#[cfg(test)]
mod tests;
