//! How long a step takes to see enough requests, at the rate that is measured.

use super::words;
use crate::model::Step;

/// What a step needs, and how much comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand<'a> {
    /// The steps still to go, in order.
    pub(super) steps: &'a [Step],
    /// Requests the new release must have answered in each.
    pub(super) min_requests: u64,
    /// A soak short of requests goes on to this multiple of itself.
    pub(super) max_soak_factor: u32,
    /// Requests per second to the whole service.
    pub(super) requests_per_s: f64,
}

/// How long a share takes to see so many requests, in ms; `None` where none come.
pub(super) fn wait_ms(requests: u64, percent: u8, requests_per_s: f64) -> Option<u64> {
    let rate = requests_per_s * f64::from(percent) / 100.0;
    (rate > 0.0).then(|| (requests as f64 * 1_000.0 / rate).ceil() as u64)
}

/// Rounded as people say it: seconds below two minutes, else whole minutes.
pub(super) fn about(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{} s", ms.div_ceil(1_000)),
        _ => words::span(ms.div_ceil(60_000) * 60_000),
    }
}

/// `2.1 req/s`, `340 req/s`.
pub(super) fn rate(requests_per_s: f64) -> String {
    match requests_per_s < 10.0 {
        true => format!("{requests_per_s:.1} req/s"),
        false => format!("{requests_per_s:.0} req/s"),
    }
}

impl Demand<'_> {
    /// The first step whose soak is too short at this rate, in words, with a later step that
    /// would not be; `None` where every soak is long enough.
    pub(super) fn shortfall(&self) -> Option<String> {
        let at = rate(self.requests_per_s);
        let needs =
            |step: &Step| wait_ms(self.min_requests, step.weight_percent, self.requests_per_s);
        let is_short = |step: &&Step| needs(step).is_none_or(|ms| ms > step.soak_ms);
        let short = self.steps.iter().find(is_short)?;
        let Some(takes_ms) = needs(short) else {
            return Some(format!(
                "no requests come now, and every step needs {}: it would be held",
                self.min_requests
            ));
        };
        let longest_ms = short
            .soak_ms
            .saturating_mul(u64::from(self.max_soak_factor));
        let end = match takes_ms > longest_ms {
            true => format!(", but is held after {}", about(longest_ms)),
            false => String::new(),
        };
        let percent = short.weight_percent;
        let mut text = format!(
            "at {at} the {percent} % step needs about {} for {} requests{end}",
            about(takes_ms),
            self.min_requests
        );
        let higher = |step: &&Step| step.weight_percent > percent && step.weight_percent < 100;
        let fits = |step: &&Step| needs(step).is_some_and(|ms| ms <= step.soak_ms);
        let higher: Vec<_> = self.steps.iter().filter(higher).collect();
        let better = higher.iter().find(|step| fits(step)).or(higher.last());
        if let Some((step, ms)) = better.and_then(|step| Some((step, needs(step)?))) {
            text.push_str(&format!(
                "; {} % would need {}",
                step.weight_percent,
                about(ms)
            ));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(percents: &[u8], soak_ms: u64) -> Vec<Step> {
        let step = |percent: &u8| Step {
            weight_percent: *percent,
            soak_ms,
            pause: false,
        };
        percents.iter().map(step).collect()
    }

    fn said(percents: &[u8], requests_per_s: f64) -> Option<String> {
        let steps = steps(percents, 5 * 60_000);
        let demand = Demand {
            steps: &steps,
            min_requests: 300,
            max_soak_factor: 3,
            requests_per_s,
        };
        demand.shortfall()
    }

    #[test]
    fn a_step_that_sees_too_little_is_told_with_one_that_sees_more() {
        let text = said(&[5, 25, 100], 2.1).expect("too little");
        let wanted = "at 2.1 req/s the 5 % step needs about 48 min for 300 requests, but is held \
                      after 15 min; 25 % would need 10 min";
        assert_eq!(text, wanted);
        let text = said(&[5, 10, 25, 50, 100], 15.0).expect("a little too little");
        let wanted = "at 15 req/s the 5 % step needs about 7 min for 300 requests; \
                      10 % would need 4 min";
        assert_eq!(text, wanted);
    }

    #[test]
    fn enough_traffic_is_not_worth_a_word_and_none_is() {
        assert_eq!(said(&[5, 25, 100], 100.0), None);
        let text = said(&[5, 25, 100], 0.0).expect("nothing comes");
        assert!(text.contains("no requests come"), "{text}");
        assert!(said(&[100], 0.1).is_some_and(|text| !text.contains("would need")));
    }
}
