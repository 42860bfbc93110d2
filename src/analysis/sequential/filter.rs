//! One hypothesis about the canary, followed through time: how likely everything counted so far
//! is, summed over what stable's rate may be now and whether something shakes both versions.
//!
//! A forward filter of a hidden Markov model. Hidden are stable's base rate, a point of a grid of
//! log-odds that moves slowly (days have cycles), and the regime: calm, or a shock that multiplies
//! the odds of *both* versions for a while (a database that both use). Knows neither thresholds
//! nor what is compared with what.

/// Grid steps (of 0.1 in log-odds) that each regime adds to both versions: 1, 2.5, 6,
/// 15 and 40 times the odds.
pub(super) const REGIMES: [usize; 5] = [0, 9, 18, 27, 37];
/// Weights below this share of the largest are dropped from the edges of the grid.
const NEGLIGIBLE: f64 = 1e-9;

/// How the hidden state moves from one interval to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dynamics {
    /// Probability that the base rate moves one grid step (10 %) up, and as much down.
    pub drift: f64,
    /// Probability that a calm interval is followed by a shock to both versions.
    pub shock: f64,
    /// Probability that a shock ends with an interval.
    pub calm: f64,
    /// Probability that a shock changes its size with an interval.
    pub change: f64,
}

impl Dynamics {
    /// Nothing ever moves: then only sums of counts matter, not how they were batched.
    pub const STILL: Self = Self {
        drift: 0.0,
        shock: 0.0,
        calm: 1.0,
        change: 0.0,
    };
}

/// Likelihoods of one interval's counts, relative to their largest. Every regime, so every shift,
/// stays within the grid by taking the last point beyond it.
pub(super) struct Seen<'a> {
    /// Stable's counts at each grid point.
    pub(super) stable: &'a [f64],
    /// The canary's counts, were its rate that of a grid point.
    pub(super) canary: &'a [f64],
    /// Grid steps between stable's rate and the canary's.
    pub(super) shift: isize,
    /// The canary's rate is never looked up below this point (before the shift).
    pub(super) floor: usize,
}

impl Seen<'_> {
    fn at(&self, base: usize, regime: usize) -> f64 {
        let last = self.stable.len() - 1;
        let point = (base + REGIMES[regime]).min(last);
        let canary = (point.max(self.floor) as isize + self.shift).clamp(0, last as isize);
        self.stable[point] * self.canary[canary as usize]
    }
}

/// The weights of the hidden states under one hypothesis, and its log-likelihood so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    /// Natural logarithm of the likelihood of everything seen, times the prior weight.
    pub(super) ln: f64,
    /// First grid point with weight.
    from: usize,
    /// Per grid point from `from` on: weight per regime; all add up to 1.
    weights: Vec<[f64; REGIMES.len()]>,
}

impl Path {
    /// Nothing is known but that the base rate is one of the first `points` of the grid.
    pub(super) fn unknowing(points: usize) -> Self {
        let calm = 1.0 / points as f64;
        Self {
            ln: 0.0,
            from: 0,
            weights: vec![[calm, 0.0, 0.0, 0.0, 0.0]; points],
        }
    }

    /// First grid point with weight, and the one after the last after the next move.
    pub(super) fn range(&self) -> (usize, usize) {
        let to = self.from + self.weights.len() + 1;
        (self.from.saturating_sub(1), to)
    }

    /// The base rate's mean place on the grid.
    pub(super) fn mean_point(&self) -> f64 {
        let points = self.weights.iter().enumerate();
        let weighed = points.map(|(i, weights)| i as f64 * weights.iter().sum::<f64>());
        self.from as f64 + weighed.sum::<f64>()
    }

    /// One interval: the hidden state moves within the first `points` of the grid, then what was
    /// seen is weighed. `scale` is the logarithm of what the likelihoods are relative to.
    pub(super) fn step(&mut self, dynamics: &Dynamics, points: usize, seen: &Seen<'_>, scale: f64) {
        self.drift(dynamics.drift, points);
        let mut sum = 0.0;
        for (i, weights) in self.weights.iter_mut().enumerate() {
            *weights = stirred(weights, dynamics);
            for (regime, weight) in weights.iter_mut().enumerate() {
                if *weight > 0.0 {
                    *weight *= seen.at(self.from + i, regime);
                    sum += *weight;
                }
            }
        }
        self.ln += sum.ln() + scale;
        let keep = sum * NEGLIGIBLE;
        let weighty = |weights: &[f64; 5]| weights.iter().sum::<f64>() > keep;
        let first = self.weights.iter().position(weighty).unwrap_or(0);
        let last = self.weights.iter().rposition(weighty).unwrap_or(0);
        self.weights.truncate(last + 1);
        self.weights.drain(..first);
        self.from += first;
        let all = self.weights.iter_mut().flatten();
        all.for_each(|weight| *weight /= sum);
    }

    fn drift(&mut self, drift: f64, points: usize) {
        if drift <= 0.0 {
            return;
        }
        let still = [0.0; REGIMES.len()];
        let (before, room) = (self.from > 0, self.from + self.weights.len() < points);
        if before {
            self.weights.insert(0, still);
            self.from -= 1;
        }
        if room {
            self.weights.push(still);
        }
        let mut left = still;
        for i in 0..self.weights.len() {
            let here = self.weights[i];
            let right = self.weights.get(i + 1).copied().unwrap_or(still);
            for (regime, slot) in self.weights[i].iter_mut().enumerate() {
                *slot += drift * (left[regime] + right[regime] - 2.0 * here[regime]);
            }
            left = here;
        }
    }

    /// Adds another hypothesis' weights, taken `exp(ln_share)` times: those who leave it for this
    /// one.
    pub(super) fn join(&mut self, other: &Self, ln_share: f64) {
        let theirs = other.ln + ln_share;
        let ln = ln_sum(self.ln, theirs);
        let (mine, theirs) = ((self.ln - ln).exp(), (theirs - ln).exp());
        let from = self.from.min(other.from);
        let to = (self.from + self.weights.len()).max(other.from + other.weights.len());
        let of = |path: &Self, point: usize, regime: usize| {
            let weights = point
                .checked_sub(path.from)
                .and_then(|i| path.weights.get(i));
            weights.map_or(0.0, |weights| weights[regime])
        };
        let sum = |point: usize| {
            std::array::from_fn(|regime| {
                mine * of(self, point, regime) + theirs * of(other, point, regime)
            })
        };
        self.weights = (from..to).map(sum).collect();
        (self.ln, self.from) = (ln, from);
    }
}

/// The regimes' weights after a move.
fn stirred(weights: &[f64; 5], dynamics: &Dynamics) -> [f64; 5] {
    let shocks: f64 = weights[1..].iter().sum();
    let sizes = (REGIMES.len() - 1) as f64;
    let stays = 1.0 - dynamics.calm - dynamics.change * sizes;
    let mut moved = *weights;
    moved[0] = weights[0] * (1.0 - dynamics.shock) + dynamics.calm * shocks;
    for weight in &mut moved[1..] {
        *weight = weights[0] * dynamics.shock / sizes + *weight * stays + dynamics.change * shocks;
    }
    moved
}

/// Logarithm of the sum of two numbers given by their logarithms.
pub(super) fn ln_sum(a: f64, b: f64) -> f64 {
    let (most, least) = (a.max(b), a.min(b));
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + (least - most).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::super::Counted;
    use super::super::likelihood::Bursts;
    use super::*;
    use proptest::prelude::*;

    const POINTS: usize = 60;

    /// A path of stable alone, without correlation.
    fn followed(dynamics: &Dynamics, counted: &[Counted]) -> Path {
        let odds = |i: usize| (-8.0 + 0.1 * i as f64).exp();
        let rates: Vec<f64> = (0..POINTS).map(|i| odds(i) / (1.0 + odds(i))).collect();
        let bursts = Bursts::new(&rates, 0.0);
        let (mut stable, canary) = (vec![1.0; POINTS], vec![1.0; POINTS]);
        let mut path = Path::unknowing(POINTS);
        for counted in counted {
            let scale = bursts.fill(*counted, (0, POINTS), &mut stable);
            let seen = Seen {
                stable: &stable,
                canary: &canary,
                shift: 0,
                floor: 0,
            };
            path.step(dynamics, POINTS, &seen, scale);
        }
        path
    }

    fn lively() -> Dynamics {
        super::super::LIVELY
    }

    #[test]
    fn weights_stay_a_distribution_and_find_the_rate() {
        // 1 % is 4.6 in log-odds: point 34.
        let path = followed(&lively(), &[Counted::new(200, 2); 200]);
        let sum: f64 = path.weights.iter().flatten().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert!(
            (path.mean_point() - 34.0).abs() < 1.5,
            "{}",
            path.mean_point()
        );
    }

    #[test]
    fn a_shock_is_told_from_a_new_rate() {
        let mut counted = vec![Counted::new(500, 5); 100];
        counted.extend([Counted::new(500, 60); 3]);
        let path = followed(&lively(), &counted);
        let calm: f64 = path.weights.iter().map(|weights| weights[0]).sum();
        assert!(calm < 0.01, "{calm}");
        assert!(
            (path.mean_point() - 34.0).abs() < 3.0,
            "{}",
            path.mean_point()
        );
    }

    proptest! {
        /// Where nothing moves and nothing comes in bursts, only sums matter, but for the little
        /// that the filter drops.
        #[test]
        fn batches_make_no_difference(
            parts in prop::collection::vec((100u64..300, 0u64..5), 1..12),
        ) {
            let parts: Vec<_> = parts.iter().map(|(n, e)| Counted::new(*n, *e)).collect();
            let mut sum = Counted::default();
            parts.iter().for_each(|part| sum.add(*part));
            let (one, many) = (followed(&Dynamics::STILL, &[sum]), followed(&Dynamics::STILL, &parts));
            prop_assert!((one.ln - many.ln).abs() < 1e-3, "{} {}", one.ln, many.ln);
            prop_assert!((one.mean_point() - many.mean_point()).abs() < 1e-2);
        }
    }
}
