//! When one look is enough: a breach so far over its limit that chance does not explain it.
//!
//! A marginal breach must show in as many intervals as `failures` says. A release that fails half
//! of its requests must not keep its share for an interval longer. Pure, and only about the
//! balancer's own counters: a source that is scraped confirms, it does not hurry.

use super::comparison;
use crate::model::verdict::{Finding, RuleState, Verdict};

/// How many standard deviations of the errors the limit must lie below: one false alarm in three
/// million looks, were errors independent. At 5 % it takes 33 of 60 requests, or 45 of 220.
const DEVIATIONS: f64 = 5.0;

/// Whether the absolute error limit is broken beyond chance, and was broken before on fewer
/// requests: two readings say so, not one. Or whether the comparison with stable crossed its
/// threshold: its false alarms are bounded however often it looks, so there is nothing to confirm.
pub fn is_unmistakable(now: &Verdict, before: Option<&Verdict>) -> bool {
    if now.findings.iter().any(comparison::is_worse) {
        return true;
    }
    let Some(before) = before else { return false };
    let confirmed = |found: &Finding| {
        let mut earlier = before.findings.iter();
        earlier.any(|earlier| {
            is_of_errors(earlier)
                && earlier.state == RuleState::Broken
                && earlier.samples < found.samples
        })
    };
    let mut found = now.findings.iter();
    found.any(|found| is_of_errors(found) && is_far_over(found) && confirmed(found))
}

/// Whether the absolute error limit is broken beyond chance for the first time in a release that
/// fails already, by another rule: that look is to be remembered, for the next one to confirm.
pub fn is_first_look(now: &Verdict, before: Option<&Verdict>) -> bool {
    let over = |found: &&Finding| is_of_errors(found) && is_far_over(found);
    let known = |found: &Finding| is_of_errors(found) && found.state == RuleState::Broken;
    let told = before.is_some_and(|before| before.findings.iter().any(known));
    now.findings.iter().any(|found| over(&found)) && !told
}

fn is_of_errors(finding: &Finding) -> bool {
    finding.rule == "error_ratio" && finding.source.is_empty()
}

fn is_far_over(finding: &Finding) -> bool {
    let (Some(ratio), Some(limit), RuleState::Broken) =
        (finding.canary, finding.limit, finding.state)
    else {
        return false;
    };
    let requests = finding.samples as f64;
    let errors = ratio * requests;
    errors - DEVIATIONS * errors.sqrt() > limit * requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Clean;
    use crate::model::verdict::VerdictClass;

    fn verdict(errors: u64, requests: u64) -> Verdict {
        let ratio = errors as f64 / requests as f64;
        let finding = Finding {
            state: match ratio > 0.05 {
                true => RuleState::Broken,
                false => RuleState::Ok,
            },
            canary: Some(ratio),
            limit: Some(0.05),
            ..crate::analysis::rules::finding(
                "error_ratio",
                &crate::model::verdict::Counters {
                    requests,
                    ..Default::default()
                },
                50,
            )
        };
        Verdict {
            class: VerdictClass::Fail,
            failures: 1,
            findings: vec![finding],
            because: Clean::default(),
        }
    }

    #[test]
    fn a_breach_beyond_chance_needs_two_readings_and_no_more() {
        let (first, second) = (verdict(30, 50), verdict(60, 100));
        assert!(is_unmistakable(&second, Some(&first)));
        assert!(!is_unmistakable(&second, None), "one reading");
        assert!(!is_unmistakable(&first, Some(&first)), "the same reading");
        let well = verdict(1, 50);
        assert!(!is_unmistakable(&second, Some(&well)), "it was well before");
    }

    #[test]
    fn a_marginal_breach_waits_for_its_intervals() {
        let first = verdict(6, 100);
        for (errors, requests) in [(12, 200), (30, 300), (62, 1_000)] {
            assert!(
                !is_unmistakable(&verdict(errors, requests), Some(&first)),
                "{errors}"
            );
        }
        assert!(is_unmistakable(&verdict(120, 1_000), Some(&first)));
    }

    #[test]
    fn a_scraped_source_does_not_hurry() {
        let mut scraped = verdict(100, 200);
        scraped.findings[0].source = "prom".into();
        assert!(!is_unmistakable(&scraped, Some(&verdict(50, 100))));
    }
}
