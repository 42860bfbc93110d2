//! How likely a count of events is when they come in bursts: the beta-binomial distribution on a
//! grid of probabilities. Knows nothing of canary, stable or time.
//!
//! Within one interval every request fails with the same probability, which itself is drawn anew
//! for each interval from a beta distribution around the mean `p`. The correlation of two requests
//! of one interval is `1 / (a + b + 1)`; 0 is the binomial distribution.

use super::Counted;

/// Least relative likelihood of a point: products of two stay above the smallest `f64`.
const LEAST: f64 = 1e-140;

/// The log-likelihood at every probability of a grid, for one correlation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bursts {
    /// `a + b` of the beta distributions; `None` without correlation.
    mass: Option<f64>,
    points: Vec<Point>,
}

/// What does not change with the counts: of a beta distribution `a`, `b` and their log-gammas, of
/// a binomial one the logarithms of `p` and `1 − p`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    a: f64,
    b: f64,
    ln_gamma_a: f64,
    ln_gamma_b: f64,
}

impl Bursts {
    /// `correlation` is 0 (no bursts) up to, not including, 1; probabilities lie between 0 and 1.
    pub(super) fn new(probabilities: &[f64], correlation: f64) -> Self {
        let mass = (correlation > 0.0).then(|| 1.0 / correlation - 1.0);
        let point = |&p: &f64| match mass {
            None => Point {
                a: p.ln(),
                b: (-p).ln_1p(),
                ln_gamma_a: 0.0,
                ln_gamma_b: 0.0,
            },
            Some(mass) => Point {
                a: p * mass,
                b: (1.0 - p) * mass,
                ln_gamma_a: ln_gamma(p * mass),
                ln_gamma_b: ln_gamma((1.0 - p) * mass),
            },
        };
        Self {
            mass,
            points: probabilities.iter().map(point).collect(),
        }
    }

    /// Natural logarithm of the likelihood at one point, without the binomial coefficient, which
    /// is the same for every probability and every correlation.
    fn ln(&self, at: usize, counted: Counted) -> f64 {
        let point = &self.points[at];
        let events = counted.events as f64;
        let others = counted.requests.saturating_sub(counted.events) as f64;
        match self.mass {
            None => events * point.a + others * point.b,
            Some(_) => {
                ln_rising(point.a, point.ln_gamma_a, events)
                    + ln_rising(point.b, point.ln_gamma_b, others)
            }
        }
    }

    /// Fills `into[from..to]` with likelihoods relative to the largest there, and returns the
    /// logarithm of that.
    pub(super) fn fill(&self, counted: Counted, range: (usize, usize), into: &mut [f64]) -> f64 {
        let (from, to) = range;
        let mut most = f64::NEG_INFINITY;
        for (at, slot) in into.iter_mut().enumerate().take(to).skip(from) {
            *slot = self.ln(at, counted);
            most = most.max(*slot);
        }
        for slot in &mut into[from..to] {
            *slot = (*slot - most).exp().max(LEAST);
        }
        most - self.common(counted)
    }

    /// The part of a beta-binomial likelihood that depends on the correlation only.
    fn common(&self, counted: Counted) -> f64 {
        self.mass.map_or(0.0, |mass| {
            ln_rising(mass, ln_gamma(mass), counted.requests as f64)
        })
    }
}

/// Logarithm of `x (x + 1) … (x + k − 1)`.
fn ln_rising(x: f64, ln_gamma_x: f64, k: f64) -> f64 {
    if k <= 8.0 {
        let mut product = 1.0;
        let mut i = 0.0;
        while i < k {
            product *= x + i;
            i += 1.0;
        }
        product.ln()
    } else {
        ln_gamma(x + k) - ln_gamma_x
    }
}

/// Logarithm of the gamma function of a positive number: Stirling's series from 10 up, the
/// recurrence below. Relative error under 1e-10.
pub(super) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 1.0);
    while x < 10.0 {
        below *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0)));
    let half_ln_two_pi = 0.918_938_533_204_672_8;
    let ln_below = if below == 1.0 { 0.0 } else { below.ln() };
    (x - 0.5) * x.ln() - x + half_ln_two_pi + series - ln_below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_gamma_is_that_of_factorials_and_of_one_half() {
        let half = std::f64::consts::PI.sqrt().ln();
        assert!((ln_gamma(0.5) - half).abs() < 1e-9, "{}", ln_gamma(0.5));
        let mut factorial = 1.0_f64;
        for n in 1..30_u32 {
            let error = ln_gamma(f64::from(n)) - factorial.ln();
            assert!(error.abs() < 1e-9, "{n}: {error}");
            factorial *= f64::from(n);
        }
    }

    #[test]
    fn likelihoods_of_all_counts_add_up_to_one() {
        for correlation in [0.0, 0.002, 0.03, 0.5] {
            let bursts = Bursts::new(&[0.07], correlation);
            let n = 40;
            let mut choose = 0.0;
            let mut sum = 0.0;
            for events in 0..=n {
                let counted = Counted::new(n, events);
                sum += (choose + bursts.ln(0, counted) - bursts.common(counted)).exp();
                choose += ((n - events) as f64 / (events + 1) as f64).ln();
            }
            assert!((sum - 1.0).abs() < 1e-9, "{correlation}: {sum}");
        }
    }
}
