//! What the running test says: for the judge, the screen and the history.

use super::filter::ln_sum;
use super::grid::{MOST_RATE, STEP, divergence, rate_of, shifted};
use super::{Answer, Belief, CountEvidence, Hypothesis, Question, SequentialTest};

impl SequentialTest {
    /// The evidence so far.
    pub fn evidence(&self) -> CountEvidence {
        let enough = -self.question.false_alarm.ln();
        let ladder = self.ladder();
        let ratio = estimate(&ladder);
        let (ratio_low, ratio_high) = interval(&ladder, self.ln_ladder(&ladder) - enough);
        let answer = match (self.peak >= enough, self.safe_peak >= enough) {
            (true, _) => Answer::Worse,
            (false, true) => Answer::Safe,
            (false, false) => Answer::Open,
        };
        CountEvidence {
            answer,
            log10_worse: self.ln_worse() / std::f64::consts::LN_10,
            log10_worse_peak: self.peak / std::f64::consts::LN_10,
            log10_safe: self.ln_safe() / std::f64::consts::LN_10,
            canary: self.canary,
            stable: self.stable,
            ratio,
            ratio_low,
            ratio_high,
            correlation: self.correlation(),
            needs_requests: match answer {
                Answer::Open => self.needs_requests(ratio),
                _ => None,
            },
        }
    }

    /// Canary requests until an answer is likely: the evidence that lacks ÷ what a request brings
    /// in the mean if the canary's ratio is the estimated one, more where requests fail together.
    fn needs_requests(&self, ratio: f64) -> Option<u64> {
        let Question {
            tolerated_ratio,
            smallest_regression,
            floor,
            ..
        } = self.question;
        let enough = -self.question.false_alarm.ln();
        let base = self.base_rate().max(floor / tolerated_ratio);
        let is_worse = ratio > (tolerated_ratio * smallest_regression).sqrt();
        let (lacks, per_request) = match is_worse {
            true => {
                let brings = divergence(
                    shifted(base, ratio),
                    (base * tolerated_ratio).min(MOST_RATE),
                );
                (enough - self.ln_worse(), brings)
            }
            false => {
                let brings = divergence(base, shifted(base, smallest_regression));
                (enough - self.ln_safe(), brings)
            }
        };
        let per_interval = self.canary.requests as f64 / self.intervals.max(1) as f64;
        let together = 1.0 + (per_interval - 1.0).max(0.0) * self.correlation();
        let needs = lacks.max(0.0) / per_request * together;
        needs.is_finite().then(|| needs.ceil() as u64)
    }

    /// Stable's rate as it seems now.
    fn base_rate(&self) -> f64 {
        let most = self.ln(0);
        let each = self.beliefs.iter();
        let weighed = each.map(|belief| {
            let path = &belief.paths[0];
            path.mean_point() * (belief.ln_prior + path.ln - most).exp()
        });
        let odds = self.least_odds + weighed.sum::<f64>() * STEP;
        rate_of(odds)
    }

    fn ln_ladder(&self, ladder: &[(f64, f64)]) -> f64 {
        let even = (ladder.len() as f64).ln();
        ladder
            .iter()
            .map(|(_, ln)| ln - even)
            .fold(f64::NEG_INFINITY, ln_sum)
    }

    /// Log-ratios, rising, with their log-likelihoods.
    fn ladder(&self) -> Vec<(f64, f64)> {
        let ln_ratio = |hypothesis: &Hypothesis| match hypothesis {
            Hypothesis::Tolerated => self.question.tolerated_ratio.ln(),
            Hypothesis::Shifted { steps, .. } => *steps as f64 * STEP,
        };
        let all = self.hypotheses.iter().enumerate();
        let mut ladder: Vec<_> = all.map(|(i, h)| (ln_ratio(h), self.ln(i))).collect();
        ladder.sort_by(|a, b| a.0.total_cmp(&b.0));
        ladder
    }

    fn correlation(&self) -> f64 {
        let of = |belief: &Belief| {
            let paths = belief.paths.iter().map(|path| path.ln);
            belief.ln_prior + paths.fold(f64::NEG_INFINITY, ln_sum)
        };
        let all = self.beliefs.iter().map(of).fold(f64::NEG_INFINITY, ln_sum);
        let weighed = self.beliefs.iter();
        weighed
            .map(|belief| belief.correlation * (of(belief) - all).exp())
            .sum()
    }
}

/// The mean of the ratio's logarithm, were all of the ladder equally likely before.
fn estimate(ladder: &[(f64, f64)]) -> f64 {
    let most = ladder
        .iter()
        .map(|(_, ln)| *ln)
        .fold(f64::NEG_INFINITY, f64::max);
    let weighed = ladder
        .iter()
        .map(|(ln_ratio, ln)| (ln_ratio, (ln - most).exp()));
    let (sum, weight) = weighed.fold((0.0, 0.0), |(sum, all), (ln_ratio, weight)| {
        (sum + ln_ratio * weight, all + weight)
    });
    (sum / weight).exp()
}

/// Ratios that are not refuted: log-likelihood at least `least`, linear between the ladder's.
fn interval(ladder: &[(f64, f64)], least: f64) -> (f64, Option<f64>) {
    let between = |out: (f64, f64), within: (f64, f64)| {
        let part = (least - out.1) / (within.1 - out.1);
        (out.0 + part * (within.0 - out.0)).exp()
    };
    let holds = |(_, ln): &(f64, f64)| *ln >= least;
    let (first, last) = (
        ladder.iter().position(holds),
        ladder.iter().rposition(holds),
    );
    let low = match first {
        None | Some(0) => 0.0,
        Some(i) => between(ladder[i - 1], ladder[i]),
    };
    let high = match last {
        Some(i) if i + 1 < ladder.len() => Some(between(ladder[i + 1], ladder[i])),
        _ => None,
    };
    (low, high)
}
