//! Limits that must be exceeded for a while, and failures that are forgotten with time.
//!
//! A spike of CPU is no fault, ten minutes of it are. A check that fails once an hour is noise;
//! counters that never forget (Flagger's failed checks) add such noise up until a sound release
//! is rolled back. Pure functions over windows that somebody else keeps.

use super::sequential::Counted;
use serde::{Deserialize, Serialize};

/// One value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it was read, in ms.
    pub at_ms: u64,
    /// In the unit of the limit. What is not finite counts as not read.
    pub value: f64,
}

/// "Above a limit for so long", e.g. memory above 0.9 for ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SustainedLimit {
    /// Values above it are bad; the limit itself is not.
    pub above: f64,
    /// For how long, in ms.
    pub for_ms: u64,
    /// Two readings further apart than this, in ms, say nothing of the time between them.
    pub gap_ms: u64,
}

/// How a sustained limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The newest reading is within the limit.
    Within,
    /// Above the limit without a break since then, but not for long enough.
    Above {
        /// The first reading above, in ms.
        since_ms: u64,
    },
    /// Above it for long enough.
    Broken {
        /// The first reading above, in ms.
        since_ms: u64,
    },
    /// There is no reading that is new enough.
    NoData,
}

impl SustainedLimit {
    /// How it stands at `now_ms`, by readings in the order of their times. Readings from later than
    /// now are not looked at. A gap begins the time anew: what nobody read broke no limit.
    pub fn standing(&self, readings: &[Reading], now_ms: u64) -> Standing {
        let known = readings.iter().rev();
        let known = known.filter(|reading| reading.value.is_finite() && reading.at_ms <= now_ms);
        let (mut since_ms, mut next_ms) = (None, now_ms);
        for reading in known {
            let is_gap = next_ms - reading.at_ms > self.gap_ms;
            if since_ms.is_none() && is_gap {
                return Standing::NoData;
            }
            if is_gap || reading.value <= self.above {
                break;
            }
            (since_ms, next_ms) = (Some(reading.at_ms), reading.at_ms);
        }
        match since_ms {
            Some(since_ms) if now_ms - since_ms >= self.for_ms => Standing::Broken { since_ms },
            Some(since_ms) => Standing::Above { since_ms },
            None if Self::is_known(readings, now_ms) => Standing::Within,
            None => Standing::NoData,
        }
    }

    fn is_known(readings: &[Reading], now_ms: u64) -> bool {
        let mut known = readings.iter();
        known.any(|reading| reading.value.is_finite() && reading.at_ms <= now_ms)
    }
}

/// Shares of events per slice of time, for a sustained limit on counts: one interval of few requests
/// is without an error by luck, a minute is not. `counts` are intervals with the time they ended at;
/// a slice is as long as `slice_ms`, ends at `now_ms` or a multiple before it, and is no reading
/// where it holds fewer than `requests_min` requests. Oldest first, at the end of its slice: five
/// slices of a minute span four minutes from the first reading to the last.
pub fn sliced(
    counts: &[(u64, Counted)],
    now_ms: u64,
    slice_ms: u64,
    requests_min: u64,
) -> Vec<Reading> {
    let mut slices: Vec<(u64, Counted)> = Vec::new();
    for (ended_ms, counted) in counts.iter().filter(|(ended_ms, _)| *ended_ms <= now_ms) {
        let back = (now_ms - ended_ms) / slice_ms.max(1);
        let at_ms = now_ms - back * slice_ms;
        match slices.last_mut() {
            Some((last_ms, sum)) if *last_ms == at_ms => {
                *sum = Counted::new(sum.requests + counted.requests, sum.events + counted.events);
            }
            _ => slices.push((at_ms, *counted)),
        }
    }
    let enough = slices
        .iter()
        .filter(|(_, sum)| sum.requests >= requests_min.max(1));
    enough
        .map(|(at_ms, sum)| Reading {
            at_ms: *at_ms,
            value: sum.events as f64 / sum.requests as f64,
        })
        .collect()
}

/// How many failures may gather, and how soon one is forgotten: a leaking bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FailureBudget {
    /// Failures that use it up; more than 0.
    pub failures: f64,
    /// One failure is forgotten within so many ms; 0 never forgets.
    pub forget_ms: u64,
}

/// What is spent of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Failures not forgotten by then.
    pub failures: f64,
    /// When that was, in ms.
    pub at_ms: u64,
}

impl FailureBudget {
    /// What is left of `spent` at a later time.
    pub fn leaked(&self, spent: Spent, now_ms: u64) -> Spent {
        let passed_ms = now_ms.saturating_sub(spent.at_ms);
        let forgotten = match self.forget_ms {
            0 => 0.0,
            forget_ms => passed_ms as f64 / forget_ms as f64,
        };
        Spent {
            failures: (spent.failures - forgotten).max(0.0),
            at_ms: spent.at_ms.max(now_ms),
        }
    }

    /// With another failure of a weight (1 for a critical check, less for others) at `now_ms`. It
    /// never holds more than what uses it up, so that recovery takes no longer than the budget.
    pub fn fail(&self, spent: Spent, now_ms: u64, weight: f64) -> Spent {
        let left = self.leaked(spent, now_ms);
        Spent {
            failures: (left.failures + weight.max(0.0)).min(self.failures),
            ..left
        }
    }

    /// Whether it is used up.
    pub fn is_exhausted(&self, spent: Spent) -> bool {
        spent.failures >= self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;
    /// FEATURES D4: CPU or memory above 90 % for ten minutes.
    const MEMORY: SustainedLimit = SustainedLimit {
        above: 0.9,
        for_ms: 10 * MINUTE,
        gap_ms: MINUTE,
    };
    /// Error share above 1 % for five minutes, minute by minute.
    const ERRORS: SustainedLimit = SustainedLimit {
        above: 0.01,
        for_ms: 4 * MINUTE,
        gap_ms: MINUTE,
    };

    fn every_minute(values: &[f64]) -> Vec<Reading> {
        let reading = |(minute, value): (usize, &f64)| Reading {
            at_ms: minute as u64 * MINUTE,
            value: *value,
        };
        values.iter().enumerate().map(reading).collect()
    }

    #[test]
    fn a_limit_is_broken_once_it_was_exceeded_for_long_enough() {
        let readings = every_minute(&[0.95; 11]);
        let at = |minute| MEMORY.standing(&readings[..=minute], minute as u64 * MINUTE);
        assert_eq!(at(9), Standing::Above { since_ms: 0 });
        assert_eq!(at(10), Standing::Broken { since_ms: 0 });
        assert_eq!(
            MEMORY.standing(&every_minute(&[0.9; 11]), 10 * MINUTE),
            Standing::Within
        );
    }

    #[test]
    fn one_value_within_or_a_gap_begins_anew() {
        let mut values = [0.95; 14];
        values[3] = 0.5;
        let readings = every_minute(&values);
        let broken_from = 4 * MINUTE;
        let at = |minute| MEMORY.standing(&readings[..=minute], minute as u64 * MINUTE);
        assert_eq!(
            at(13),
            Standing::Above {
                since_ms: broken_from
            }
        );
        values[3] = f64::NAN;
        let readings = every_minute(&values);
        let standing = MEMORY.standing(&readings, 13 * MINUTE);
        assert_eq!(
            standing,
            Standing::Above {
                since_ms: broken_from
            }
        );
    }

    #[test]
    fn old_readings_and_none_are_no_data() {
        assert_eq!(MEMORY.standing(&[], 0), Standing::NoData);
        let readings = every_minute(&[0.95; 11]);
        assert_eq!(MEMORY.standing(&readings, 12 * MINUTE), Standing::NoData);
        assert_eq!(
            MEMORY.standing(&every_minute(&[0.1]), 2 * MINUTE),
            Standing::NoData
        );
        let nan = every_minute(&[f64::NAN; 5]);
        assert_eq!(MEMORY.standing(&nan, 4 * MINUTE), Standing::NoData);
        assert_eq!(
            MEMORY.standing(&readings, 5 * MINUTE),
            Standing::Above { since_ms: 0 }
        );
    }

    #[test]
    fn errors_are_sustained_by_the_minute_although_intervals_are_without_any() {
        let interval = |i: u64| {
            let events = u64::from(i.is_multiple_of(2));
            (i * 5_000, Counted::new(40, events))
        };
        let counts: Vec<_> = (1..=60).map(interval).collect();
        let now_ms = 5 * MINUTE;
        let readings = sliced(&counts, now_ms, MINUTE, 300);
        assert_eq!(readings.len(), 5);
        assert!(matches!(
            ERRORS.standing(&readings, now_ms),
            Standing::Broken { .. }
        ));
        // A good minute among them.
        let mut better = counts.clone();
        better[24..36]
            .iter_mut()
            .for_each(|(_, counted)| counted.events = 0);
        let readings = sliced(&better, now_ms, MINUTE, 300);
        assert!(matches!(
            ERRORS.standing(&readings, now_ms),
            Standing::Above { .. }
        ));
        // Too few requests say nothing.
        let few = sliced(&counts, now_ms, MINUTE, 1_000);
        assert_eq!(ERRORS.standing(&few, now_ms), Standing::NoData);
    }

    #[test]
    fn a_budget_forgets_and_a_cluster_of_failures_uses_it_up() {
        let budget = FailureBudget {
            failures: 3.0,
            forget_ms: 10 * MINUTE,
        };
        let mut spent = Spent::default();
        for hour in 0..24 {
            spent = budget.fail(spent, hour * 60 * MINUTE, 1.0);
            assert!(!budget.is_exhausted(spent), "{spent:?}");
        }
        let now_ms = 24 * 60 * MINUTE;
        for _ in 0..3 {
            spent = budget.fail(spent, now_ms, 1.0);
        }
        assert!(budget.is_exhausted(spent));
        let later = budget.leaked(spent, now_ms + MINUTE);
        assert!(!budget.is_exhausted(later) && later.failures > 2.0);
        let forgetless = FailureBudget {
            forget_ms: 0,
            ..budget
        };
        assert_eq!(
            forgetless.leaked(spent, now_ms * 9).failures,
            spent.failures
        );
    }

    proptest! {
        /// However often somebody looks in between.
        #[test]
        fn a_budget_leaks_the_same_in_one_step_or_many(
            start in 0.0..5.0f64, steps in prop::collection::vec(0u64..600_000, 1..10),
        ) {
            let budget = FailureBudget { failures: 5.0, forget_ms: 300_000 };
            let begin = Spent { failures: start, at_ms: 7 };
            let all: u64 = steps.iter().sum();
            let (mut stepped, mut now_ms) = (begin, 7);
            for step in steps {
                now_ms += step;
                stepped = budget.leaked(stepped, now_ms);
            }
            let once = budget.leaked(begin, 7 + all);
            prop_assert!((once.failures - stepped.failures).abs() < 1e-9);
            prop_assert_eq!(once.at_ms, stepped.at_ms);
        }
    }
}
