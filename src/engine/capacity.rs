//! Whether the new release's instances can carry a share: each of them at most so many times what
//! an old one carries.
//!
//! While `n` old instances carry everything, each has `1/n` of it; at a share of `p` each of `c`
//! new ones has `p/c`. Their ratio needs no measurement, so that traffic which doubles overnight
//! makes no step fit that did not fit before. What is measured only makes the words concrete.

use super::look::Look;
use crate::model::state::InstanceStatus;
use crate::model::{BalancerName, Clean, ReleaseId, Rollout, RolloutKind};

/// Rates are measured over this long.
const RATE_MS: u64 = 60_000;
/// Less than this is no measurement.
const RATE_MS_MIN: u64 = 2_000;
/// For shares in percent that come out of a division.
const EPSILON: f64 = 1e-9;

/// A share, and who is to carry it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// The new release's share in percent.
    pub percent: u8,
    /// Its instances.
    pub canary: usize,
    /// Instances that carry everything without it.
    pub stable: usize,
    /// Load of a new instance in loads of an old one, at most.
    pub factor: f64,
}

/// A share that would put too much on each new instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overload {
    /// What was asked.
    pub asked: Asked,
    /// The load of a new instance, in loads of an old one; infinite without an instance.
    pub load: f64,
    /// The highest share that fits, 0–100.
    pub fits_percent: u8,
    /// Instances that would carry the asked share.
    pub needs: usize,
}

impl Asked {
    /// Judges it; `None` where it fits, or nothing old is there to compare with.
    pub fn overload(self) -> Option<Overload> {
        let Self {
            percent,
            canary,
            stable,
            factor,
        } = self;
        if stable == 0 || percent == 0 {
            return None;
        }
        let share = f64::from(percent) / 100.0;
        let load = share * stable as f64 / canary as f64;
        if load <= factor + EPSILON {
            return None;
        }
        let fits = 100.0 * factor * canary as f64 / stable as f64;
        Some(Overload {
            asked: self,
            load,
            fits_percent: (fits + EPSILON).floor().clamp(0.0, 100.0) as u8,
            needs: (share * stable as f64 / factor - EPSILON).ceil() as usize,
        })
    }
}

impl Overload {
    /// What is wrong, with the measured rate where there is one.
    pub fn sentence(&self, requests_per_s: Option<f64>) -> Clean {
        let Asked {
            percent,
            canary,
            stable,
            factor,
        } = self.asked;
        if canary == 0 {
            return Clean::new(&format!("no new instance is up to carry {percent} %"));
        }
        let measured = requests_per_s.filter(|rate| *rate > 0.0).map(|rate| {
            let (mine, theirs) = (
                rate * f64::from(percent) / 100.0 / canary as f64,
                rate / stable as f64,
            );
            format!(" ({mine:.1} requests/s against {theirs:.1})")
        });
        Clean::new(&format!(
            "at {percent} % each of {canary} new instances would carry {:.1} times the load of \
             one of {stable} old ones{}, and max_load_factor is {factor}; {} % fits, \
             {percent} % needs {} instances",
            self.load,
            measured.unwrap_or_default(),
            self.fits_percent,
            self.needs
        ))
    }
}

/// Whether the instances that are up could carry a share now.
pub(crate) fn overload(look: &Look<'_>, rollout: &Rollout, percent: u8) -> Option<Overload> {
    let factor = look.place.spec.canary.max_load_factor?;
    if rollout.kind == RolloutKind::Rollback {
        return None;
    }
    let asked = Asked {
        percent,
        canary: serving(look, rollout.release),
        stable: look.place.servers_of(rollout.from?).count(),
        factor,
    };
    asked.overload()
}

/// Instances that are up, by the balancer that can use the fewest of them.
fn serving(look: &Look<'_>, release: ReleaseId) -> usize {
    let usable = |balancer: Option<&BalancerName>| {
        let instances = look.place.servers_of(release);
        let up = instances.filter(|(_, instance)| instance.status == InstanceStatus::Up);
        up.filter(|(server, _)| balancer.is_none_or(|balancer| !look.down_at(balancer, server)))
            .count()
    };
    let backends = look.place.spec.balancers.iter();
    let by_balancer = backends.map(|backend| usable(Some(&backend.balancer)));
    by_balancer.min().unwrap_or_else(|| usable(None))
}

/// Requests per second over the last minute, by every server together; `None` while nothing was
/// measured for long enough.
pub fn requests_per_s(look: &Look<'_>) -> Option<f64> {
    let from_ms = look.now_ms.saturating_sub(RATE_MS);
    let views = look.seen?.balancers.values();
    let samples = views.flat_map(|view| view.samples.values()).flatten();
    let in_window: Vec<_> = samples.filter(|it| it.from_ms >= from_ms).collect();
    let first_ms = in_window.iter().map(|sample| sample.from_ms).min()?;
    let span_ms = look.now_ms.saturating_sub(first_ms);
    if span_ms < RATE_MS_MIN {
        return None;
    }
    let requests: u64 = in_window.iter().map(|it| it.counters.requests).sum();
    Some(requests as f64 * 1_000.0 / span_ms as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(percent: u8, canary: usize, stable: usize) -> Asked {
        Asked {
            percent,
            canary,
            stable,
            factor: 1.2,
        }
    }

    #[test]
    fn equal_sets_carry_every_share_and_a_small_one_only_some() {
        for percent in 0..=100 {
            assert_eq!(asked(percent, 3, 3).overload(), None);
            assert_eq!(
                asked(percent, 5, 6).overload(),
                None,
                "1.2 times is allowed"
            );
            assert_eq!(
                asked(percent, 1, 0).overload(),
                None,
                "nothing to compare with"
            );
        }
        let over = asked(100, 1, 3).overload().expect("three times the load");
        assert_eq!((over.fits_percent, over.needs), (40, 3));
        assert!((over.load - 3.0).abs() < 1e-9);
        assert_eq!(asked(40, 1, 3).overload(), None, "what is said to fit does");
        assert!(asked(41, 1, 3).overload().is_some());
        assert_eq!(
            asked(100, 3, 3).overload(),
            None,
            "so does what is said to be needed"
        );
    }

    #[test]
    fn what_fits_and_what_is_needed_hold_for_every_size() {
        for canary in 0..12 {
            for stable in 1..12 {
                for percent in 1..=100 {
                    let Some(over) = asked(percent, canary, stable).overload() else {
                        continue;
                    };
                    assert!(over.fits_percent < percent && over.needs > canary);
                    let fits = asked(over.fits_percent, canary, stable);
                    assert_eq!(fits.overload(), None, "{over:?}");
                    let enough = asked(percent, over.needs, stable);
                    assert_eq!(enough.overload(), None, "{over:?}");
                }
            }
        }
    }

    #[test]
    fn the_sentence_names_what_fits_and_what_was_measured() {
        let over = asked(100, 1, 3).overload().expect("too much");
        let text = over.sentence(Some(60.0)).to_string();
        for part in [
            "3.0 times",
            "60.0 requests/s against 20.0",
            "40 % fits",
            "needs 3",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!over.sentence(None).as_str().contains("requests/s"));
    }
}
