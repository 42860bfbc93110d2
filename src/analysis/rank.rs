//! Whether one series of values lies above another: the Mann–Whitney (Wilcoxon rank sum) test with
//! the Hodges–Lehmann shift, its confidence interval and effect sizes.
//!
//! For gauges and latency series, whose values are not counts. It agrees with R's `wilcox.test`,
//! exact for fewer than 50 distinct values a side, else by the normal approximation with ties and
//! continuity correction; but roots are sought relative to the values' own scale: an absolute
//! tolerance (1e-4 in R and in Kayenta) turns the shift of small ratios into noise. One look only:
//! who looks again and again must count that in, or use [`super::sequential`].

mod distribution;

use distribution::{normal_quantile, normal_tail, u_probabilities};
use serde::{Deserialize, Serialize};

/// From this many values on either side, or with ties, the normal approximation is used.
const EXACT_BELOW: usize = 50;
/// Halvings of the search interval: 2⁻⁶⁰ of the range, below what an `f64` tells apart.
const HALVINGS: usize = 60;

/// What is done with values that are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreal {
    /// They are left out.
    Remove,
    /// They count as 0: for rates whose absence means that nothing happened.
    Zero,
}

/// What is done with values far from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outliers {
    /// They stay: the test looks at ranks, and a tail may be the regression.
    Keep,
    /// Left out where they lie more than this many interquartile ranges beyond the quartiles; at
    /// least 0.
    Beyond(f64),
}

/// The values that are looked at: first what is not finite, then outliers, quartiles by linear
/// interpolation (R's type 7).
pub fn cleaned(values: &[f64], unreal: Unreal, outliers: Outliers) -> Vec<f64> {
    let real = values.iter().filter_map(|value| match unreal {
        _ if value.is_finite() => Some(*value),
        Unreal::Remove => None,
        Unreal::Zero => Some(0.0),
    });
    let mut kept: Vec<f64> = real.collect();
    if let (Outliers::Beyond(ranges), Some((low, high))) = (outliers, quartiles(&kept)) {
        let reach = ranges * (high - low);
        kept.retain(|value| (low - reach..=high + reach).contains(value));
    }
    kept
}

fn quartiles(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |share: f64| {
        let place = share * last as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        sorted[below] + part * (sorted[(below + 1).min(last)] - sorted[below])
    };
    Some((at(0.25), at(0.75)))
}

/// How the canary's values lie to stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankComparison {
    /// Pairs in which the canary's value is the greater one, ties by half.
    pub u: f64,
    /// Two-sided p-value of "no shift", 0–1.
    pub p_two_sided: f64,
    /// p-value against "the canary's values are greater", 0–1.
    pub p_greater: f64,
    /// p-value against "the canary's values are smaller", 0–1.
    pub p_less: f64,
    /// Hodges–Lehmann estimate of canary − stable, in the values' unit.
    pub shift: f64,
    /// Interval of the shift at the confidence asked for.
    pub shift_low: f64,
    /// See `shift_low`.
    pub shift_high: f64,
    /// Mean of the canary ÷ mean of stable; `None` where stable's is 0.
    pub mean_ratio: Option<f64>,
    /// Common-language effect size: probability that a value of the canary is greater than one of
    /// stable, ties by half, 0–1.
    pub greater_share: f64,
}

/// Where the canary lies, beyond a tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Its values are greater.
    High,
    /// Its values are smaller.
    Low,
    /// Neither is shown.
    Same,
}

impl RankComparison {
    /// Compares two series at a confidence (0–1, e.g. 0.98); `None` where one has no values or any
    /// value is not finite, see [`cleaned`].
    pub fn of(canary: &[f64], stable: &[f64], confidence: f64) -> Option<Self> {
        let all = || canary.iter().chain(stable);
        let usable = !canary.is_empty() && !stable.is_empty() && all().all(|v| v.is_finite());
        usable.then(|| Pair::new(canary, stable).compare(1.0 - confidence.clamp(0.0, 1.0)))
    }

    /// Kayenta's classification: the whole interval lies beyond `tolerance` × |shift|.
    pub fn direction(&self, tolerance: f64) -> Direction {
        let margin = tolerance * self.shift.abs();
        match self {
            _ if self.shift_low > margin => Direction::High,
            _ if self.shift_high < -margin => Direction::Low,
            _ => Direction::Same,
        }
    }
}

/// Both series, sorted.
struct Pair {
    canary: Vec<f64>,
    stable: Vec<f64>,
    /// Variance of U under no shift, for the ties within and between the series.
    deviation: f64,
}

impl Pair {
    fn new(canary: &[f64], stable: &[f64]) -> Self {
        let sorted = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let (canary, stable) = (sorted(canary), sorted(stable));
        let deviation = deviation(&canary, &stable, 0.0);
        Self {
            canary,
            stable,
            deviation,
        }
    }

    fn pairs(&self) -> f64 {
        self.canary.len() as f64 * self.stable.len() as f64
    }

    fn is_exact(&self) -> bool {
        let few = self.canary.len().max(self.stable.len()) < EXACT_BELOW;
        few && ties(&self.canary, &self.stable, 0.0) == 0.0
    }

    fn compare(&self, error: f64) -> RankComparison {
        let u = wins(&self.canary, &self.stable, 0.0);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mine, theirs) = (mean(&self.canary), mean(&self.stable));
        let ([p_two_sided, p_greater, p_less], [shift, shift_low, shift_high]) =
            match self.is_exact() {
                true => self.exactly(u, error),
                false => (self.p_values(u), self.shifts(error)),
            };
        RankComparison {
            u,
            p_two_sided,
            p_greater,
            p_less,
            shift,
            shift_low,
            shift_high,
            mean_ratio: (theirs != 0.0).then(|| mine / theirs),
            greater_share: u / self.pairs(),
        }
    }

    /// p-values and shifts by counting all orders.
    fn exactly(&self, u: f64, error: f64) -> ([f64; 3], [f64; 3]) {
        let probabilities = u_probabilities(self.canary.len(), self.stable.len());
        let at_most = |u: f64| probabilities.iter().take(u as usize + 1).sum::<f64>();
        let less = at_most(u).min(1.0);
        let greater = at_most(self.pairs() - u).min(1.0);
        let two_sided = (2.0 * less.min(greater)).min(1.0);
        let mut differences = self.differences();
        differences.sort_by(f64::total_cmp);
        let mut below = 0.0;
        let reaches = |probability: &f64| {
            below += probability;
            below >= error / 2.0 * (1.0 - 1e-12)
        };
        let quantile = probabilities.iter().position(reaches).unwrap_or(0).max(1);
        let pairs = differences.len();
        let middle = (differences[(pairs - 1) / 2] + differences[pairs / 2]) / 2.0;
        let (low, high) = (differences[quantile - 1], differences[pairs - quantile]);
        ([two_sided, greater, less], [middle, low, high])
    }

    fn differences(&self) -> Vec<f64> {
        let of = |mine: &f64| {
            let mine = *mine;
            self.stable.iter().map(move |theirs| mine - theirs)
        };
        self.canary.iter().flat_map(of).collect()
    }

    /// By the normal approximation: two-sided, greater, less.
    fn p_values(&self, u: f64) -> [f64; 3] {
        let off = u - self.pairs() / 2.0;
        if self.deviation == 0.0 {
            return [1.0; 3];
        }
        let tail = |off: f64| normal_tail(off / self.deviation);
        let nearer = (off.abs() - 0.5).max(-0.5);
        let two_sided = match off == 0.0 {
            true => 1.0,
            false => (2.0 * tail(nearer).min(tail(-nearer))).min(1.0),
        };
        [two_sided, tail(off - 0.5), tail(-off - 0.5)]
    }

    /// The shift and its interval: where the standardised U of the shifted canary crosses zero
    /// and the normal quantiles.
    fn shifts(&self, error: f64) -> [f64; 3] {
        if self.deviation == 0.0 {
            let shift = self.canary[0] - self.stable[0];
            return [shift; 3];
        }
        let z = normal_quantile(1.0 - error / 2.0);
        let corrected = |shift: f64| {
            let off = self.off(shift);
            (off - 0.5 * sign(off)) / deviation(&self.canary, &self.stable, shift)
        };
        let low = self.last_where(|shift| corrected(shift) > z);
        let high = self.last_where(|shift| corrected(shift) > -z);
        let above = self.last_where(|shift| self.off(shift) > 0.0);
        let below = self.last_where(|shift| self.off(shift) >= 0.0);
        [(above + below) / 2.0, low, high]
    }

    /// U less its mean, were the canary's values smaller by `shift`.
    fn off(&self, shift: f64) -> f64 {
        wins(&self.canary, &self.stable, shift) - self.pairs() / 2.0
    }

    /// The largest shift for which `holds`, which it does from some shift down.
    fn last_where(&self, holds: impl Fn(f64) -> bool) -> f64 {
        let (mine, theirs) = (ends(&self.canary), ends(&self.stable));
        let (mut low, mut high) = (mine.0 - theirs.1, mine.1 - theirs.0);
        if !holds(low) {
            return low;
        }
        for _ in 0..HALVINGS {
            let middle = low + (high - low) / 2.0;
            if holds(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low + (high - low) / 2.0
    }
}

fn ends(sorted: &[f64]) -> (f64, f64) {
    (sorted[0], sorted[sorted.len() - 1])
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// Pairs in which `mine − shift` is greater than theirs, ties by half. Both are sorted.
fn wins(mine: &[f64], theirs: &[f64], shift: f64) -> f64 {
    let (mut below, mut within, mut sum) = (0, 0, 0);
    for value in mine.iter().map(|value| value - shift) {
        while below < theirs.len() && theirs[below] < value {
            below += 1;
        }
        while within < theirs.len() && theirs[within] <= value {
            within += 1;
        }
        sum += below + within;
    }
    sum as f64 / 2.0
}

/// Sum of t³ − t over groups of t equal values. Both are sorted.
fn ties(mine: &[f64], theirs: &[f64], shift: f64) -> f64 {
    let mut all: Vec<f64> = mine.iter().map(|value| value - shift).collect();
    all.extend(theirs);
    all.sort_by(f64::total_cmp);
    let groups = all.chunk_by(|a, b| a == b);
    groups
        .map(|group| (group.len() as f64).powi(3) - group.len() as f64)
        .sum()
}

/// Standard deviation of U under no shift beyond `shift`.
fn deviation(mine: &[f64], theirs: &[f64], shift: f64) -> f64 {
    let (m, n) = (mine.len() as f64, theirs.len() as f64);
    let all = m + n;
    let correction = ties(mine, theirs, shift) / (all * (all - 1.0));
    (m * n / 12.0 * (all + 1.0 - correction)).max(0.0).sqrt()
}

#[cfg(test)]
mod tests;
