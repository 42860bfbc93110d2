//! The grid of rates: points at equal distances in log-odds, so that "so many times the odds" is a
//! shift by so many points.

use super::Counted;

/// Distance of two grid points in log-odds: about 10 %.
pub(super) const STEP: f64 = 0.1;
/// The lowest base rate that is thought of; below it all are alike.
const LEAST_RATE: f64 = 1e-7;
/// The highest.
pub(super) const MOST_BASE_RATE: f64 = 0.9;
/// The last point of the grid, for what shocks and regressions lead to.
pub(super) const MOST_RATE: f64 = 0.995;

/// Log-odds from the least to the most rate. One point is that of the history's own rate.
pub(super) fn grid(history: &[Counted]) -> Vec<f64> {
    let mut sum = Counted::default();
    history.iter().for_each(|counted| sum.add(*counted));
    let rate = (sum.events as f64 + 0.5) / (sum.requests as f64 + 1.0);
    let odds = |rate: f64| (rate / (1.0 - rate)).ln();
    let centre = odds(rate.clamp(LEAST_RATE, MOST_BASE_RATE));
    let below = ((centre - odds(LEAST_RATE)) / STEP).floor();
    let above = ((odds(MOST_RATE) - centre) / STEP).floor();
    let points = (below + above) as usize + 1;
    (0..points)
        .map(|i| centre + (i as f64 - below) * STEP)
        .collect()
}

/// The rate of log-odds.
pub(super) fn rate_of(ln_odds: f64) -> f64 {
    1.0 / (1.0 + (-ln_odds).exp())
}

/// The rate whose odds are so many times those of `rate`.
pub(super) fn shifted(rate: f64, times: f64) -> f64 {
    let odds = rate / (1.0 - rate) * times;
    odds / (1.0 + odds)
}

/// Kullback–Leibler divergence of two Bernoulli distributions: the evidence in nats that one
/// request brings in the mean for `truth` against `other`. By Wald (1945) no test with a false-alarm
/// rate α finds the truth with fewer than `ln(1/α) / divergence` requests in the mean.
pub fn divergence(truth: f64, other: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    part(truth, other) + part(1.0 - truth, 1.0 - other)
}

/// The shift that is nearest to a ratio of odds.
pub(super) fn steps(ratio: f64) -> isize {
    (ratio.ln() / STEP).round() as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that Wald's bound asks for at 1 %, by hand: a threefold of 0.5 % and a tenfold.
    #[test]
    fn the_divergence_gives_wald_s_bound() {
        let bound = |truth| 100f64.ln() / divergence(truth, 0.005);
        assert!((bound(0.015) - 705.3).abs() < 0.1, "{}", bound(0.015));
        assert!((bound(0.05) - 64.7).abs() < 0.1, "{}", bound(0.05));
        assert_eq!(divergence(0.3, 0.3), 0.0);
    }

    #[test]
    fn the_grid_holds_the_history_s_own_rate_and_rises() {
        let grid = grid(&[Counted::new(999, 7), Counted::new(1_000, 12)]);
        let rate = 19.5 / 2_000.0;
        assert!(
            grid.iter()
                .any(|odds| (rate_of(*odds) - rate).abs() < 1e-12)
        );
        assert!(grid.is_sorted_by(|a, b| a < b));
        assert!(
            rate_of(grid[grid.len() - 1]) < MOST_RATE && rate_of(grid[0]) >= LEAST_RATE * 0.999
        );
    }
}
