//! Whether the canary is worse than stable by counts, asked as often as anyone likes.
//!
//! Two streams of events (an error; a request slower than some bucket edge) are compared interval
//! by interval. The evidence is an e-value: the likelihood of everything counted so far if the
//! canary is worse, by a mixture of ratios and of times at which that began, over its likelihood if
//! it is as good. Under the latter its expectation is 1 at any time, so by Ville's inequality it
//! ever reaches `1 / α` with a probability of at most `α`, however often it is looked at. Against a
//! canary that is worse by exactly the tolerated ratio it must reach `1 / 3α` as well.
//!
//! The likelihoods are sums over what is not known and hits both versions alike: stable's rate,
//! which drifts with the day, and shocks. The bound so holds in the mean over what is thought of
//! them; that it holds for kinds of traffic one by one is shown by simulation, not proven. Stable's
//! samples from before the rollout say where that rate was and how much requests of one interval
//! fail together (beta-binomial), which breaks the textbook test: with a correlation of 0.01 a
//! binomial e-value cries wolf in one rollout of ten. With little history all correlations stay
//! possible and more is needed. What is not thought of: bursts of one version alone that outlast an
//! interval. Intervals are of about five seconds; how fast things move is meant per interval.
//!
//! Literature: Ville 1939; Wald 1945 (the bound on the requests needed); Turner, Ly, Grünwald,
//! "Generic E-Variables for Exact Sequential k-Sample Tests" 2022 (2×2 tables); Shin, Ramdas,
//! Rinaldo, "E-detectors" 2022 (mixing over when the change begins).

mod evidence;
mod filter;
mod grid;
mod likelihood;

use filter::{Path, Seen, ln_sum};
use grid::{MOST_BASE_RATE, MOST_RATE, grid, rate_of, steps};
use likelihood::Bursts;
use serde::{Deserialize, Serialize};

pub use crate::model::comparison::{Answer, CountEvidence, Counted};
pub use filter::Dynamics;
pub use grid::divergence;

/// Correlations of requests within an interval that are thought of, with their prior weights.
const CORRELATIONS: [(f64, f64); 9] = [
    (0.0, 0.3),
    (0.000_5, 0.1),
    (0.001, 0.1),
    (0.002, 0.1),
    (0.005, 0.1),
    (0.012, 0.1),
    (0.03, 0.1),
    (0.07, 0.05),
    (0.15, 0.05),
];
/// A correlation this much less likely (natural logarithm) than the likeliest is dropped once the
/// history is read.
const HOPELESS: f64 = -14.0;
/// Ratios of the mixture, as multiples of the smallest regression worth catching, with weights.
const WORSE: [(f64, f64); 4] = [(1.0, 0.1), (1.5, 0.5), (5.0, 0.35), (20.0, 0.05)];
/// How much likelier than for one that is as good a false alarm may be for a canary that is worse by
/// exactly the tolerated ratio. That bound is far from reached: the evidence jumps over its
/// threshold, and an hour is not for ever.
const LENIENCE: f64 = 3.0;
/// Further ratios, for the estimate and its interval only.
const LADDER: [f64; 6] = [0.2, 0.5, 0.8, 1.0, 1.4, 2.5];
/// Weight of "bad from its first request on"; the rest is for a change later on.
const FROM_THE_START: f64 = 0.85;
/// Probability that a change that comes later comes with the next interval: in the mean an hour
/// of intervals of five seconds.
const ONSET: f64 = 1.0 / 720.0;

/// What the test is asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Probability of a false alarm over everything that is ever added, 0–1.
    pub false_alarm: f64,
    /// A canary with up to this many times stable's events is as good; at least 1. One that is worse
    /// by exactly that much may be called worse with three times the probability above.
    pub tolerated_ratio: f64,
    /// The ratio that an early "safe enough" rules out and that detection is tuned to; greater
    /// than the tolerated one.
    pub smallest_regression: f64,
    /// Up to this share of events (0–1) the canary is never called worse: one error is no
    /// regression where stable never fails.
    pub floor: f64,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            false_alarm: 0.01,
            tolerated_ratio: 1.2,
            smallest_regression: 2.0,
            floor: 0.001,
        }
    }
}

/// How the hidden rate moves, as it was found to serve in simulations of day cycles and shocks.
pub const LIVELY: Dynamics = Dynamics {
    drift: 0.002,
    shock: 0.01,
    calm: 0.08,
    change: 0.02,
};

/// How the canary compares with stable under one hypothesis.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hypothesis {
    /// Worse by the tolerated ratio, or at the floor: what must be refuted.
    Tolerated,
    /// Its odds lie so many grid steps beside stable's; with a weight if part of the mixture.
    Shifted { steps: isize, weight: f64 },
}

/// A correlation that is thought possible.
#[derive(Debug, Clone, PartialEq)]
struct Belief {
    correlation: f64,
    ln_prior: f64,
    rates: Bursts,
    tolerated: Bursts,
    /// One per hypothesis.
    paths: Vec<Path>,
}

/// The running test: constant memory, constant work per interval.
#[derive(Debug, Clone, PartialEq)]
pub struct SequentialTest {
    question: Question,
    dynamics: Dynamics,
    hypotheses: Vec<Hypothesis>,
    beliefs: Vec<Belief>,
    /// Log-odds of the first point of the grid.
    least_odds: f64,
    /// Points of the grid that the base rate may take.
    points: usize,
    /// The first point at which the tolerated rate exceeds the floor.
    floor: usize,
    /// The least and the greatest shift of any hypothesis, in grid steps.
    shifts: (isize, isize),
    buffers: [Vec<f64>; 3],
    canary: Counted,
    stable: Counted,
    /// Intervals in which the canary was asked anything.
    intervals: u64,
    /// Logarithm of the weight that still waits for a later onset.
    ln_waiting: f64,
    peak: f64,
    safe_peak: f64,
}

impl SequentialTest {
    /// A test that knows stable's `history` (intervals of the same length, oldest first; may be
    /// empty). Costs about as much as following it would.
    pub fn new(question: Question, history: &[Counted]) -> Self {
        Self::with_dynamics(question, LIVELY, history)
    }

    /// The same with another idea of how rates move.
    pub fn with_dynamics(question: Question, dynamics: Dynamics, history: &[Counted]) -> Self {
        let mut test = Self::unlearned(question, dynamics, history);
        history.iter().for_each(|counted| test.learn(*counted));
        test.begin();
        test
    }

    /// A test that knows which rates to expect from `history`, but followed none of it yet: each
    /// interval of it is to be [learned](Self::learn), before it [begins](Self::begin).
    pub(super) fn unlearned(question: Question, dynamics: Dynamics, history: &[Counted]) -> Self {
        let grid = grid(history);
        let rates: Vec<f64> = grid.iter().map(|odds| rate_of(*odds)).collect();
        let least = question.floor.clamp(1e-9, MOST_RATE);
        let limit = |rate: &f64| (rate * question.tolerated_ratio).clamp(least, MOST_RATE);
        let tolerated: Vec<f64> = rates.iter().map(limit).collect();
        let points = rates.partition_point(|rate| *rate <= MOST_BASE_RATE);
        let floor = rates.partition_point(|rate| rate * question.tolerated_ratio < least);
        let belief = |(correlation, prior): (f64, f64)| Belief {
            correlation,
            ln_prior: prior.ln(),
            rates: Bursts::new(&rates, correlation),
            tolerated: Bursts::new(&tolerated, correlation),
            paths: vec![Path::unknowing(points)],
        };
        let hypotheses = hypotheses(&question);
        let shifts = hypotheses.iter().map(|hypothesis| hypothesis.steps());
        Self {
            question,
            dynamics,
            shifts: shifts.fold((0, 0), |all, steps| (all.0.min(steps), all.1.max(steps))),
            hypotheses,
            beliefs: CORRELATIONS.map(belief).into(),
            least_odds: grid[0],
            points,
            floor: floor.min(rates.len() - 1),
            buffers: std::array::from_fn(|_| vec![1.0; rates.len()]),
            canary: Counted::default(),
            stable: Counted::default(),
            intervals: 0,
            ln_waiting: (1.0 - FROM_THE_START).ln(),
            peak: 0.0,
            safe_peak: f64::NEG_INFINITY,
        }
    }

    /// One interval of stable alone, before the rollout.
    pub(super) fn learn(&mut self, stable: Counted) {
        let [rates, nothing, _] = &mut self.buffers;
        for belief in &mut self.beliefs {
            let path = &mut belief.paths[0];
            let range = stretched(path.range(), rates.len());
            let scale = belief.rates.fill(stable, range, rates);
            let seen = Seen {
                stable: rates,
                canary: nothing,
                shift: 0,
                floor: 0,
            };
            path.step(&self.dynamics, self.points, &seen, scale);
        }
        self.forget();
    }

    /// Drops correlations that stable's history speaks against.
    fn forget(&mut self) {
        let ln = |belief: &Belief| belief.ln_prior + belief.paths[0].ln;
        let most = self
            .beliefs
            .iter()
            .map(ln)
            .fold(f64::NEG_INFINITY, f64::max);
        self.beliefs.retain(|belief| ln(belief) - most > HOPELESS);
    }

    /// From here on there is a canary.
    pub(super) fn begin(&mut self) {
        let likelihoods = self
            .beliefs
            .iter()
            .map(|belief| belief.ln_prior + belief.paths[0].ln);
        let all = likelihoods.fold(f64::NEG_INFINITY, ln_sum);
        for belief in &mut self.beliefs {
            belief.ln_prior += belief.paths[0].ln - all;
            let mut known = belief.paths.remove(0);
            let of = |hypothesis: &Hypothesis| {
                known.ln = match hypothesis {
                    Hypothesis::Tolerated => 0.0,
                    Hypothesis::Shifted { .. } => FROM_THE_START.ln(),
                };
                known.clone()
            };
            belief.paths = self.hypotheses.iter().map(of).collect();
        }
    }

    /// Adds what both versions answered within one interval.
    pub fn add(&mut self, canary: Counted, stable: Counted) {
        self.canary.add(canary);
        self.stable.add(stable);
        self.intervals += u64::from(canary.requests > 0);
        let ln_onset = self.ln_waiting + ONSET.ln();
        self.ln_waiting += (-ONSET).ln_1p();
        let [of_stable, of_canary, of_tolerated] = &mut self.buffers;
        let grid = of_stable.len();
        let tolerated = steps(self.question.tolerated_ratio);
        for belief in &mut self.beliefs {
            let ranges = belief.paths.iter().map(Path::range);
            let (from, to) = ranges.fold((grid, 0), |a, b| (a.0.min(b.0), a.1.max(b.1)));
            let range = stretched((from, to), grid);
            let scale = belief.rates.fill(stable, range, of_stable);
            let floored = (range.0.max(self.floor), range.1.max(self.floor + 1));
            let scale_tolerated = scale + belief.tolerated.fill(canary, floored, of_tolerated);
            let range = (range.0, floored.1);
            let range = (
                range.0.saturating_add_signed(self.shifts.0),
                range.1.saturating_add_signed(self.shifts.1).min(grid),
            );
            let scale_shifted = scale + belief.rates.fill(canary, range, of_canary);
            let (null, others) = belief.paths.split_at_mut(1);
            for (path, hypothesis) in others.iter_mut().zip(&self.hypotheses[1..]) {
                if null[0].ln + ln_onset > path.ln - 20.0 {
                    path.join(&null[0], ln_onset);
                }
                let seen = Seen {
                    stable: of_stable,
                    canary: of_canary,
                    shift: hypothesis.steps(),
                    // Only what is worse than tolerated lies above the floor.
                    floor: if hypothesis.steps() > tolerated {
                        self.floor
                    } else {
                        0
                    },
                };
                path.step(&self.dynamics, self.points, &seen, scale_shifted);
            }
            let seen = Seen {
                stable: of_stable,
                canary: of_tolerated,
                shift: 0,
                floor: self.floor,
            };
            null[0].step(&self.dynamics, self.points, &seen, scale_tolerated);
        }
        self.peak = self.peak.max(self.ln_worse());
        self.safe_peak = self.safe_peak.max(self.ln_safe());
    }

    /// Log-likelihood of a hypothesis, whatever the correlation.
    fn ln(&self, hypothesis: usize) -> f64 {
        let each = self
            .beliefs
            .iter()
            .map(|belief| belief.ln_prior + belief.paths[hypothesis].ln);
        each.fold(f64::NEG_INFINITY, ln_sum)
    }

    /// Natural logarithm of the evidence that the canary is worse than stable, and by more than is
    /// tolerated.
    fn ln_worse(&self) -> f64 {
        let mixture = self.ln_mixture();
        let same = self.ln_shifted(0) - FROM_THE_START.ln();
        let over_tolerated = ln_sum(mixture - self.ln(0), self.ln_waiting);
        (mixture - same).min(over_tolerated + LENIENCE.ln())
    }

    /// Log-likelihood of the canary's odds so many grid steps beside stable's.
    fn ln_shifted(&self, steps: isize) -> f64 {
        let others = self.hypotheses.iter().enumerate().skip(1);
        let mut found = others.filter(|(_, hypothesis)| hypothesis.steps() == steps);
        found.next().map_or(f64::NEG_INFINITY, |(i, _)| self.ln(i))
    }

    fn ln_mixture(&self) -> f64 {
        let parts = self.hypotheses.iter().enumerate();
        let weighed = parts.filter_map(|(i, hypothesis)| match hypothesis {
            Hypothesis::Shifted { weight, .. } if *weight > 0.0 => Some(weight.ln() + self.ln(i)),
            _ => None,
        });
        weighed.fold(f64::NEG_INFINITY, ln_sum)
    }

    /// Natural logarithm of the evidence against the smallest regression worth catching.
    fn ln_safe(&self) -> f64 {
        let worse = self.ln_shifted(steps(self.question.smallest_regression));
        self.ln_shifted(0) - worse + FROM_THE_START.ln()
    }
}

impl Hypothesis {
    fn steps(self) -> isize {
        match self {
            Self::Tolerated => 0,
            Self::Shifted { steps, .. } => steps,
        }
    }
}

/// The tolerated one first, then the mixture, then the rest of the ladder.
fn hypotheses(question: &Question) -> Vec<Hypothesis> {
    let mut all = vec![Hypothesis::Tolerated];
    let mixture = WORSE.map(|(times, weight)| (times * question.smallest_regression, weight));
    let rest = LADDER.map(|ratio| (ratio, 0.0));
    for (ratio, weight) in mixture.into_iter().chain(rest) {
        let steps = steps(ratio);
        if !all[1..].iter().any(|known| known.steps() == steps) {
            all.push(Hypothesis::Shifted { steps, weight });
        }
    }
    all
}

/// A range of base rates with what shocks make of them.
fn stretched((from, to): (usize, usize), grid: usize) -> (usize, usize) {
    let most = filter::REGIMES[filter::REGIMES.len() - 1];
    (from.min(grid - 1), (to + most).min(grid))
}
