//! A source of metrics in the fake world: by turns it answers, has no series, means nothing, is
//! old, refuses or hangs; in the quiet it answers.

use super::{Call, Sim};
use crate::model::input::Observation;
use crate::model::metrics::{Figure, Measured, MetricsReading, ReleaseFigures, Subject};
use crate::model::{Clean, Effect, Outcome};

/// How long it stays as it is.
const TURN_MS: u64 = 2_500;
/// Requests it counts of a release within its window: enough for an error ratio, and too few for
/// comparing shares.
const REQUESTS: u64 = 60;

impl Sim<'_> {
    pub(super) fn at_metrics(&mut self, call: &Call) {
        let Effect::ReadMetrics {
            placement,
            source,
            question,
        } = &call.effect
        else {
            return;
        };
        let turn = if self.quiet {
            0
        } else {
            self.now_ms / TURN_MS % 9
        };
        let reading = match turn {
            5 => return self.give_up(call, call.deadline_ms.saturating_sub(self.now_ms)),
            7 => Err(Clean::new("connection refused")),
            _ => {
                let about = |subject: &Subject| self.told(subject, turn);
                Ok(MetricsReading {
                    canary: question.canary.as_ref().map(about),
                    stable: question.stable.as_ref().map(about),
                    skew_ms: 0,
                })
            }
        };
        let seen = Observation::Metrics {
            placement: placement.clone(),
            source: source.clone(),
            reading,
        };
        self.answer(call, Outcome::Applied, Some(seen));
    }

    fn told(&self, subject: &Subject, turn: u64) -> ReleaseFigures {
        let errors = self.fleet.traits(subject.release).errors_permille * REQUESTS / 1_000;
        let errors = match turn {
            1 => Measured::Nothing("it is not scraped".into()),
            2 => Measured::Doubtful("the value is NaN".into()),
            3 => Measured::Nothing("the newest sample is old".into()),
            _ => Measured::Value(errors as f64),
        };
        ReleaseFigures {
            release: subject.release,
            figures: [
                (Figure::Requests, Measured::Value(REQUESTS as f64)),
                (Figure::Errors, errors),
            ]
            .into(),
            latency: None,
            age_ms: Some(0),
            past_p99_ms: Vec::new(),
        }
    }
}
