//! The rules of the judge, in the order of the decision tree: errors (and what they are
//! compared with), latency, health.
//!
//! Absolute limits are fire alarms; relative ones compare with stable at the same time. A
//! relative rule on few requests cries wolf: with identical versions at 0.2 % errors,
//! "≤ 1.5 × stable" fires on 18–34 % of looks at 100–1,000 requests, hence the minimums.

use super::{Evidence, comparison};
use crate::model::Clean;
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Counters, Finding, LATENCY_EDGES_MS, RuleState};

/// Requests before an absolute rule judges: fewer make one error a percentage.
pub(super) const ABSOLUTE_REQUESTS_MIN: u64 = 50;
/// Requests before a relative error or mean rule judges.
pub(super) const RELATIVE_REQUESTS_MIN: u64 = 300;
/// Canary errors before any error rule judges.
const ERRORS_MIN: u64 = 5;
/// A relative error rule does not bind below this error ratio.
const ERROR_RATIO_FLOOR: f64 = 0.005;
/// Requests per side before a p99 rule judges: ten of them lie above the p99.
pub(super) const P99_REQUESTS_MIN: u64 = 1_000;
/// A p99 limit is broken when more than this share took longer.
pub(super) const P99_SHARE_ABOVE: f64 = 0.01;
/// Share of requests without a latency from which no latency rule is satisfied: as large as what a
/// p99 limit lets through, so that those missing could hide it.
const UNMEASURED_SHARE_MAX: f64 = 0.01;
/// Fewer than this are no loss: a line may be on its way.
const UNMEASURED_MIN: u64 = 5;
/// Probes before the health rule judges.
const PROBES_MIN: u64 = 20;

/// Every configured rule with its values.
pub(super) fn findings(evidence: &Evidence, settings: &AnalysisSettings) -> Vec<Finding> {
    let pairs = [
        (&evidence.canary, evidence.stable.as_ref()),
        (&evidence.recent_canary, evidence.recent_stable.as_ref()),
    ];
    let mut step = traffic(pairs[0].0, pairs[0].1, settings);
    for (slot, recent) in step
        .iter_mut()
        .zip(traffic(pairs[1].0, pairs[1].1, settings))
    {
        if recent.state == RuleState::Broken && slot.state != RuleState::Broken {
            *slot = recent;
        }
    }
    step.extend(
        settings
            .infrastructure_health
            .map(|limit| health(evidence, limit)),
    );
    let errors = |row: &&Finding| row.rule.starts_with("error_ratio");
    let at = step.iter().take_while(errors).count();
    step.splice(at..at, comparison::findings(evidence, settings));
    step
}

/// One sentence about a broken rule.
pub(super) fn sentence(finding: &Finding) -> String {
    if let Some(sentence) = comparison::sentence(finding) {
        return sentence;
    }
    let rule = finding.rule.as_str();
    let value = |value: Option<f64>| match value {
        None => "none".to_owned(),
        Some(v) if is_ratio(rule) => format!("{:.2} %", v * 100.0),
        Some(v) => format!("{v:.0} ms"),
    };
    let versus = match finding.stable {
        Some(_) => format!(" (stable {})", value(finding.stable)),
        None => String::new(),
    };
    let by = match finding.source.is_empty() {
        true => String::new(),
        false => format!(", by {}", finding.source),
    };
    let (canary, limit) = (value(finding.canary), value(finding.limit));
    let n = finding.samples;
    match rule {
        "infrastructure_health" => {
            format!("infrastructure health {canary} is below {limit} ({n} probes)")
        }
        "uptime" => format!("uptime {canary} is below {limit} ({n} scrapes{by})"),
        "cpu" | "memory" | "disk" => format!("{rule} {canary} is over {limit}{by}"),
        "error_ratio" | "error_ratio_vs_stable" => {
            format!("error rate {canary}{versus} is over {limit} ({n} requests{by})")
        }
        "latency_p99" | "latency_p99_vs_stable" => {
            format!("p99 {canary}{versus} is over {limit} ({n} requests{by})")
        }
        _ => format!("mean response {canary}{versus} is over {limit} ({n} requests{by})"),
    }
}

/// Whether a rule's values are ratios; all others are in ms.
fn is_ratio(rule: &str) -> bool {
    let ratios = [
        "error",
        "infra",
        "cpu",
        "memory",
        "disk",
        "uptime",
        "request_share",
    ];
    ratios.iter().any(|ratio| rule.starts_with(ratio))
}

/// Whether too many requests ended without a latency for the rest to speak for all.
fn is_unmeasured(counters: &Counters) -> bool {
    let missing = counters.unmeasured;
    missing >= UNMEASURED_MIN && missing as f64 > counters.requests as f64 * UNMEASURED_SHARE_MAX
}

/// Takes the word from latency rules that look at too few of the requests; a broken one stays
/// broken. Says why, if there is such a rule.
pub(super) fn without_the_unmeasured(
    evidence: &Evidence,
    findings: &mut [Finding],
) -> Option<String> {
    let sides = [Some(&evidence.canary), evidence.stable.as_ref()];
    let [canary, stable] = sides.map(|side| side.filter(|side| is_unmeasured(side)));
    let mut why = None;
    for finding in findings
        .iter_mut()
        .filter(|finding| finding.source.is_empty())
    {
        let rule = finding.rule.as_str();
        let of_latency = rule.starts_with("latency") || rule.starts_with("mean");
        let blind = canary.or(stable.filter(|_| rule.ends_with("vs_stable")));
        if let Some(side) = blind.filter(|_| of_latency && finding.state != RuleState::Broken) {
            finding.state = RuleState::NoData;
            why.get_or_insert(format!(
                "{} of {} requests came without a latency; see the balancer's log",
                side.unmeasured, side.requests
            ));
        }
    }
    why
}

fn traffic(canary: &Counters, stable: Option<&Counters>, s: &AnalysisSettings) -> Vec<Finding> {
    let mut all = Vec::with_capacity(6);
    all.extend(s.error_ratio.map(|limit| error_ratio(canary, limit)));
    all.extend(
        s.error_ratio_vs_stable
            .zip(stable)
            .map(|(ratio, stable)| error_ratio_vs_stable(canary, stable, ratio)),
    );
    all.extend(
        s.latency_p99_ms
            .map(|limit| p99(canary, None, limit, "latency_p99")),
    );
    all.extend(
        s.latency_p99_vs_stable
            .zip(stable)
            .map(|(ratio, stable)| p99_vs_stable(canary, stable, ratio)),
    );
    all.extend(s.mean_ms.map(|limit| mean(canary, limit)));
    all.extend(
        s.mean_vs_stable
            .zip(stable)
            .map(|(ratio, stable)| mean_vs_stable(canary, stable, ratio)),
    );
    all
}

/// A row without values, which waits.
pub(super) fn finding(rule: &str, counters: &Counters, needs: u64) -> Finding {
    Finding {
        rule: rule.to_owned(),
        state: RuleState::Wait,
        canary: None,
        stable: None,
        limit: None,
        samples: counters.requests,
        needs,
        source: Clean::default(),
        note: None,
        compared: None,
    }
}

pub(super) fn verdict(enough: bool, over: bool) -> RuleState {
    match (enough, over) {
        (false, _) => RuleState::Wait,
        (true, true) => RuleState::Broken,
        (true, false) => RuleState::Ok,
    }
}

pub(super) fn error_ratio(canary: &Counters, limit: f64) -> Finding {
    let ratio = canary.error_ratio();
    let over = ratio.is_some_and(|ratio| ratio > limit) && canary.errors >= ERRORS_MIN;
    let seen = canary.requests.max(canary.errors);
    Finding {
        state: verdict(seen >= ABSOLUTE_REQUESTS_MIN, over),
        canary: ratio,
        limit: Some(limit),
        ..finding("error_ratio", canary, ABSOLUTE_REQUESTS_MIN)
    }
}

pub(super) fn error_ratio_vs_stable(canary: &Counters, stable: &Counters, times: f64) -> Finding {
    let (mine, theirs) = (canary.error_ratio(), stable.error_ratio());
    let limit = (theirs.unwrap_or(0.0) * times).max(ERROR_RATIO_FLOOR);
    let enough = canary.requests >= RELATIVE_REQUESTS_MIN && stable.requests > 0;
    let over = mine.is_some_and(|mine| mine > limit) && canary.errors >= ERRORS_MIN;
    Finding {
        state: verdict(enough, over),
        canary: mine,
        stable: theirs,
        limit: Some(limit),
        ..finding("error_ratio_vs_stable", canary, RELATIVE_REQUESTS_MIN)
    }
}

/// Judged as the share above the limit's bucket edge; the quantile is for display only.
fn p99(canary: &Counters, stable: Option<f64>, edge_ms: u32, rule: &str) -> Finding {
    let blank = finding(rule, canary, P99_REQUESTS_MIN);
    let Some(latency) = &canary.latency else {
        return Finding {
            state: RuleState::NoData,
            ..blank
        };
    };
    let count = latency.count();
    let above = latency.above(edge_ms).unwrap_or(0);
    let over = above as f64 > count as f64 * P99_SHARE_ABOVE;
    Finding {
        state: verdict(count >= P99_REQUESTS_MIN, over),
        canary: display_quantile(canary, 0.99),
        stable,
        limit: Some(f64::from(edge_ms)),
        ..blank
    }
}

fn p99_vs_stable(canary: &Counters, stable: &Counters, times: f64) -> Finding {
    let rule = "latency_p99_vs_stable";
    let blank = finding(rule, canary, P99_REQUESTS_MIN);
    let (Some(_), Some(theirs)) = (&canary.latency, &stable.latency) else {
        return Finding {
            state: RuleState::NoData,
            ..blank
        };
    };
    let edge = theirs
        .quantile_edge_ms(0.99)
        .and_then(|p99| edge_at_least(f64::from(p99) * times));
    let (true, Some(edge)) = (theirs.count() >= P99_REQUESTS_MIN, edge) else {
        return blank;
    };
    p99(
        canary,
        theirs.quantile_edge_ms(0.99).map(f64::from),
        edge,
        rule,
    )
}

/// The first bucket edge not below a latency; `None` above the last.
fn edge_at_least(ms: f64) -> Option<u32> {
    LATENCY_EDGES_MS
        .into_iter()
        .find(|edge| f64::from(*edge) >= ms)
}

fn display_quantile(counters: &Counters, quantile: f64) -> Option<f64> {
    let latency = counters.latency.as_ref()?;
    let last = LATENCY_EDGES_MS[LATENCY_EDGES_MS.len() - 1];
    (latency.count() > 0).then(|| f64::from(latency.quantile_edge_ms(quantile).unwrap_or(last)))
}

fn mean(canary: &Counters, limit: f64) -> Finding {
    let blank = finding("mean", canary, ABSOLUTE_REQUESTS_MIN);
    let Some(latency) = &canary.latency else {
        return Finding {
            state: RuleState::NoData,
            ..blank
        };
    };
    let mean = latency.mean_ms();
    Finding {
        state: verdict(
            latency.count() >= ABSOLUTE_REQUESTS_MIN,
            mean.is_some_and(|mean| mean > limit),
        ),
        canary: mean,
        limit: Some(limit),
        ..blank
    }
}

fn mean_vs_stable(canary: &Counters, stable: &Counters, times: f64) -> Finding {
    let blank = finding("mean_vs_stable", canary, RELATIVE_REQUESTS_MIN);
    let (Some(mine), Some(theirs)) = (&canary.latency, &stable.latency) else {
        return Finding {
            state: RuleState::NoData,
            ..blank
        };
    };
    let (mean, base) = (mine.mean_ms(), theirs.mean_ms());
    let limit = base.map(|base| base * times);
    let enough = mine.count().min(theirs.count()) >= RELATIVE_REQUESTS_MIN;
    let over = mean.zip(limit).is_some_and(|(mean, limit)| mean > limit);
    Finding {
        state: verdict(enough, over),
        canary: mean,
        stable: base,
        limit,
        ..blank
    }
}

fn health(evidence: &Evidence, limit: f64) -> Finding {
    let made = evidence.probes_made;
    let ratio = (made > 0).then(|| evidence.probes_passed as f64 / made as f64);
    Finding {
        rule: "infrastructure_health".to_owned(),
        state: verdict(made >= PROBES_MIN, ratio.is_some_and(|ratio| ratio < limit)),
        canary: ratio,
        stable: None,
        limit: Some(limit),
        samples: made,
        needs: PROBES_MIN,
        source: Clean::default(),
        note: None,
        compared: None,
    }
}
