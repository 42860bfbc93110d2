//! Made-up traffic for the judge's benchmark: counts per interval of a canary and of stable.
//! Seeded, so every run is the same.

use wheelhouse::analysis::sequential::Counted;

/// Length of an interval.
pub const INTERVAL_S: f64 = 5.0;
/// Intervals of an hour.
pub const HOUR: usize = 720;

/// SplitMix64: small, and good enough for a simulation.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Within (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Marsaglia and Tsang.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.uniform().ln() / shape;
            return (self.gamma(shape + 1.0).ln() + boost).exp();
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        if x + y > 0.0 { x / (x + y) } else { 0.0 }
    }

    /// By counting the waiting times of rare successes.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let ln_q = (-p).ln_1p();
        let (mut successes, mut at) = (0, 0.0);
        loop {
            at += (self.uniform().ln() / ln_q).floor() + 1.0;
            if at > n as f64 {
                return successes;
            }
            successes += 1;
        }
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 60.0 {
            let half = self.poisson(mean / 2.0);
            return half + self.poisson(mean / 2.0);
        }
        let (mut product, limit, mut count) = (self.uniform(), (-mean).exp(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }
}

/// What the traffic is like, apart from the regression.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// Requests a second to the canary, and to stable.
    pub rates: [f64; 2],
    /// Whether the canary's share rises: 10, 25, 50, 90 % for a quarter of an hour each.
    pub steps: bool,
    /// Share of errors.
    pub errors: f64,
    /// Correlation of two requests of one interval and version.
    pub correlation: f64,
    /// Errors and traffic swing this many times up and down ...
    pub swing: f64,
    /// ... over so many intervals.
    pub swing_intervals: f64,
    /// Shocks to both versions begin with this probability per interval ...
    pub shock: f64,
    /// ... and multiply errors by up to so many times.
    pub shock_times: f64,
}

impl Scenario {
    pub const SMOOTH: Self = Self {
        name: "smooth",
        rates: [10.0, 90.0],
        steps: false,
        errors: 0.005,
        correlation: 0.0,
        swing: 1.0,
        swing_intervals: 720.0,
        shock: 0.0,
        shock_times: 1.0,
    };
}

/// The traffic as it comes.
pub struct Traffic {
    scenario: Scenario,
    /// The canary's errors are so many times stable's.
    pub ratio: f64,
    dice: Dice,
    at: usize,
    shock: f64,
    shock_left: usize,
    phase: f64,
}

impl Traffic {
    pub fn new(scenario: Scenario, ratio: f64, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let phase = dice.uniform() * std::f64::consts::TAU;
        Self {
            scenario,
            ratio,
            dice,
            at: 0,
            shock: 1.0,
            shock_left: 0,
            phase,
        }
    }

    /// Stable's hour before the rollout.
    pub fn history(&mut self) -> Vec<Counted> {
        (0..HOUR)
            .map(|_| self.next([0.0, self.scenario.rates.iter().sum()])[1])
            .collect()
    }

    /// The next interval of the rollout: canary, stable. `at` counts from the rollout's start.
    pub fn interval(&mut self, at: usize) -> [Counted; 2] {
        let mut rates = self.scenario.rates;
        if self.scenario.steps {
            let share = [0.1, 0.25, 0.5, 0.9][(at / 180).min(3)];
            let all: f64 = rates.iter().sum();
            rates = [all * share, all * (1.0 - share)];
        }
        self.next(rates)
    }

    fn next(&mut self, rates: [f64; 2]) -> [Counted; 2] {
        let s = self.scenario;
        let angle = self.phase + std::f64::consts::TAU * self.at as f64 / s.swing_intervals;
        let swing = s.swing.powf(angle.sin());
        self.at += 1;
        if self.shock_left > 0 {
            self.shock_left -= 1;
            if self.shock_left == 0 {
                self.shock = 1.0;
            }
        } else if s.shock > 0.0 && self.dice.uniform() < s.shock {
            self.shock = s.shock_times.powf(self.dice.uniform());
            self.shock_left = 1 + (self.dice.uniform() * 23.0) as usize;
        }
        let errors = s.errors * swing * self.shock;
        [(rates[0], self.ratio), (rates[1], 1.0)].map(|(rate, ratio)| {
            let requests = self.dice.poisson(rate * swing * INTERVAL_S);
            let p = (errors * ratio).min(0.99);
            let p = match s.correlation {
                0.0 => p,
                rho => {
                    let mass = 1.0 / rho - 1.0;
                    self.dice.beta(p * mass, (1.0 - p) * mass)
                }
            };
            Counted::new(requests, self.dice.binomial(requests, p))
        })
    }
}
