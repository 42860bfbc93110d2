//! The distributions that rank tests need: the normal one, and that of U by counting.

/// Probability that a standard normal variable exceeds `z`: Marsaglia's series ("Evaluating the
/// Normal Distribution", 2004) near the middle, a continued fraction in the tails. Relative error
/// below 1e-11 for |z| under 37.
pub(super) fn normal_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 3.0 {
        let (mut term, mut sum, mut odd) = (z, z, 1.0);
        while term > sum * 1e-17 {
            odd += 2.0;
            term *= z * z / odd;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let mut fraction = 0.0;
    for step in (1..=80_u32).rev() {
        fraction = f64::from(step) / (z + fraction);
    }
    density / (z + fraction)
}

/// The value that a standard normal variable stays below with `probability` (within 0–1), by
/// halving.
pub(super) fn normal_quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-38.0, 38.0);
    for _ in 0..90 {
        let middle = (low + high) / 2.0;
        let beyond = match middle > 0.0 {
            true => normal_tail(middle) < 1.0 - probability,
            false => normal_tail(-middle) > probability,
        };
        if beyond {
            high = middle;
        } else {
            low = middle;
        }
    }
    (low + high) / 2.0
}

/// Probability of each value 0 … m·n of U, were all orders of `m` and `n` distinct values equally
/// likely: the greatest value is one of the `m` or one of the `n`.
pub(super) fn u_probabilities(m: usize, n: usize) -> Vec<f64> {
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        for j in 1..=n {
            let (mine, all) = (i as f64, (i + j) as f64);
            let mut next = vec![0.0; i * j + 1];
            for (u, p) in row[j].iter().enumerate() {
                next[u + j] += p * mine / all;
            }
            for (u, p) in row[j - 1].iter().enumerate() {
                next[u] += p * (all - mine) / all;
            }
            row[j] = next;
        }
    }
    row.swap_remove(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_is_the_table_s() {
        // R: pnorm(z, lower.tail = FALSE).
        let table = [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457_05),
            (1.96, 0.024_997_895_148_220_435),
            (2.999, 0.001_354_336_533_727_106_4),
            (3.5, 0.000_232_629_079_035_525_04),
            (6.0, 9.865_876_450_376_98e-10),
            (10.0, 7.619_853_024_160_527e-24),
        ];
        for (z, p) in table {
            let error = normal_tail(z) / p - 1.0;
            assert!(error.abs() < 1e-11, "{z}: {error}");
            assert!((normal_tail(-z) + p - 1.0).abs() < 1e-9);
        }
        for p in [0.5, 0.9, 0.975, 0.99, 0.999_9] {
            assert!((normal_tail(normal_quantile(p)) - (1.0 - p)).abs() < 1e-12);
        }
    }

    #[test]
    fn u_is_counted_over_all_orders() {
        // R: dwilcox(0:6, 2, 3) * 10.
        let counts: Vec<f64> = u_probabilities(2, 3).iter().map(|p| p * 10.0).collect();
        for (count, expected) in counts.iter().zip([1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0]) {
            assert!((count - expected).abs() < 1e-12);
        }
        let all: f64 = u_probabilities(49, 49).iter().sum();
        assert!((all - 1.0).abs() < 1e-9);
    }
}
