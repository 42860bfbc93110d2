//! What a source of metrics confirms: rules of its own, beside those on the balancers' counts.
//!
//! A source may fail a release by itself. It never passes one by its silence: what is missing is no
//! data, what means nothing is inconclusive.

use super::rules;
use crate::model::Clean;
use crate::model::metrics::{Buckets, Figure, Measured, ReleaseFigures, UPTIME_MS};
use crate::model::service::AnalysisSettings;
use crate::model::verdict::{Counters, Finding, RuleState, VerdictClass};

/// Scrapes before the rule on uptime judges.
const SCRAPES_MIN: u64 = 20;
/// Scrapes without an answer before it is broken: one may have been bad luck.
const MISSES_MIN: f64 = 2.0;
/// Samples before a rule on what instances use judges.
const GAUGES_MIN: u64 = 10;
/// Requests of both sides before shares are compared.
const SHARE_REQUESTS_MIN: f64 = 200.0;
/// Shares further apart than this mean that somebody counts the wrong release, in percent.
const SHARE_TOLERANCE: f64 = 10.0;

/// What one source of metrics says.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceEvidence {
    /// Its name.
    pub name: Clean,
    /// Whether it says anything.
    pub state: SourceState,
    /// The release under way.
    pub canary: Option<ReleaseFigures>,
    /// What it is compared with.
    pub stable: Option<ReleaseFigures>,
    /// The new release's share of requests as the balancers counted it meanwhile, in percent;
    /// `None` while that cannot be compared.
    pub share_percent: Option<f64>,
    /// Scrapes of the new release there can have been.
    pub scrapes: u64,
}

/// Whether a source says anything.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceState {
    /// It does.
    Answers,
    /// It cannot yet.
    Awaited(Clean),
    /// It does not, and should.
    Silent(Clean),
}

/// What a runtime's instances of the new release used, averaged over the recent window; of the one
/// that used most.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// The runtime.
    pub name: Clean,
    /// CPU used ÷ what may be used, 0–1.
    pub cpu: Option<f64>,
    /// Memory used ÷ what may be used, 0–1.
    pub memory: Option<f64>,
    /// Samples averaged.
    pub samples: u64,
}

/// The rules on what instances use.
pub(super) fn usage_findings(usage: &Usage, settings: &AnalysisSettings) -> Vec<Finding> {
    let rule = |name: &str, value: Option<f64>, limit: Option<f64>| {
        let (value, limit) = value.zip(limit)?;
        let counters = Counters {
            requests: usage.samples,
            ..Counters::default()
        };
        Some(Finding {
            state: rules::verdict(usage.samples >= GAUGES_MIN, value > limit),
            canary: Some(value),
            limit: Some(limit),
            source: usage.name.clone(),
            ..rules::finding(name, &counters, GAUGES_MIN)
        })
    };
    let all = [
        rule("cpu", usage.cpu, settings.cpu),
        rule("memory", usage.memory, settings.memory),
    ];
    all.into_iter().flatten().collect()
}

/// The rules of one source with their values, and the word its silence or doubt amounts to.
pub(super) fn findings(
    source: &SourceEvidence,
    settings: &AnalysisSettings,
) -> (Vec<Finding>, Option<(VerdictClass, Clean)>) {
    let only = |state, class, why: &Clean| {
        let row = told(source, state, why);
        (vec![row], Some((class, named(source, why))))
    };
    let canary = match (&source.state, &source.canary) {
        (SourceState::Silent(why), _) => {
            return only(RuleState::NoData, VerdictClass::NoData, why);
        }
        (SourceState::Awaited(why), _) => {
            return only(RuleState::Wait, VerdictClass::Inconclusive, why);
        }
        (SourceState::Answers, None) => {
            let why = "it said nothing of the new release".into();
            return only(RuleState::NoData, VerdictClass::NoData, &why);
        }
        (SourceState::Answers, Some(canary)) => canary,
    };
    let mut rows = rows(source, canary, settings);
    let missing = canary.nothing();
    rows.extend(missing.map(|why| told(source, RuleState::NoData, why)));
    let mismatch = share(source, canary);
    rows.extend(mismatch.clone());
    for row in &mut rows {
        row.source = source.name.clone();
    }
    let word = word(source, canary, &rows, mismatch.as_ref());
    (rows, word)
}

/// A row that judges nothing but says how the source itself stands.
fn told(source: &SourceEvidence, state: RuleState, why: &Clean) -> Finding {
    Finding {
        state,
        note: Some(why.clone()),
        source: source.name.clone(),
        ..rules::finding("source", &Counters::default(), 0)
    }
}

fn named(source: &SourceEvidence, why: &Clean) -> Clean {
    Clean::new(&format!("{}: {why}", source.name))
}

/// What a source's answer amounts to beside its rules; `None` when there is nothing to object.
fn word(
    source: &SourceEvidence,
    canary: &ReleaseFigures,
    rows: &[Finding],
    mismatch: Option<&Finding>,
) -> Option<(VerdictClass, Clean)> {
    let quiet = canary.value(Figure::Requests) == Some(0.0);
    let unjudged = || {
        let row = rows.iter().find(|row| row.state == RuleState::NoData)?;
        row.note.as_ref()
    };
    let stable = source.stable.as_ref();
    let missing = canary.nothing();
    let doubt = mismatch
        .and_then(|row| row.note.as_ref())
        // A mean of no requests is no number, and no cause for doubt.
        .or_else(|| canary.doubtful().filter(|_| !quiet))
        .or_else(|| stable?.nothing())
        .or_else(unjudged);
    match (missing, doubt) {
        (Some(why), _) => Some((VerdictClass::NoData, named(source, why))),
        (None, Some(why)) => Some((VerdictClass::Inconclusive, named(source, why))),
        (None, None) => None,
    }
}

fn rows(
    source: &SourceEvidence,
    canary: &ReleaseFigures,
    settings: &AnalysisSettings,
) -> Vec<Finding> {
    let stable = source.stable.as_ref();
    let mut rows = Vec::new();
    let mine = counters(canary);
    if let Some(mine) = &mine {
        rows.extend(
            settings
                .error_ratio
                .map(|limit| rules::error_ratio(mine, limit)),
        );
        rows.extend(
            settings
                .error_ratio_vs_stable
                .zip(stable.and_then(counters))
                .map(|(times, stable)| rules::error_ratio_vs_stable(mine, &stable, times)),
        );
    }
    if let Some(Measured::Value(latency)) = &canary.latency {
        rows.extend(
            settings
                .latency_p99_ms
                .map(|limit| p99(latency, f64::from(limit))),
        );
        let theirs = stable.and_then(|stable| stable.latency.as_ref()?.value());
        rows.extend(
            settings
                .latency_p99_vs_stable
                .zip(theirs)
                .map(|(times, stable)| p99_vs_stable(latency, stable, times)),
        );
    }
    if let (Some(mine), Some(mean)) = (&mine, canary.value(Figure::Mean)) {
        rows.extend(settings.mean_ms.map(|limit| self::mean(mine, mean, limit)));
        let theirs = stable.and_then(|stable| stable.value(Figure::Mean));
        rows.extend(
            settings
                .mean_vs_stable
                .zip(theirs)
                .zip(stable.and_then(counters))
                .map(|((times, theirs), stable)| {
                    mean_vs_stable(mine, &stable, [mean, theirs], times)
                }),
        );
    }
    rows.extend(gauges(canary, settings));
    let uptime = canary.value(Figure::Uptime).zip(settings.uptime);
    rows.extend(uptime.map(|(ratio, limit)| self::uptime(ratio, limit, source.scrapes)));
    rows
}

/// Requests and errors as counts, where there are both.
fn counters(figures: &ReleaseFigures) -> Option<Counters> {
    let count = |figure| figures.value(figure).map(|count| count.round() as u64);
    Some(Counters {
        requests: count(Figure::Requests)?,
        errors: count(Figure::Errors)?,
        ..Counters::default()
    })
}

fn of(requests: f64) -> Counters {
    Counters {
        requests: requests.round() as u64,
        ..Counters::default()
    }
}

/// Judged as the share above the limit's bucket edge; the quantile is for display only.
fn p99(latency: &Buckets, limit_ms: f64) -> Finding {
    let blank = Finding {
        canary: latency.quantile_edge_ms(0.99),
        limit: Some(limit_ms),
        ..rules::finding("latency_p99", &of(latency.count), rules::P99_REQUESTS_MIN)
    };
    let Some(above) = latency.above(limit_ms) else {
        let near = latency.nearest_edges(limit_ms);
        let near: Vec<_> = near.iter().map(ToString::to_string).collect();
        let note = format!(
            "{limit_ms} ms is no edge of its histogram; the next are {} ms",
            near.join(" and ")
        );
        return Finding {
            state: RuleState::NoData,
            note: Some(Clean::new(&note)),
            ..blank
        };
    };
    let over = above > latency.count * rules::P99_SHARE_ABOVE;
    Finding {
        state: rules::verdict(blank.samples >= rules::P99_REQUESTS_MIN, over),
        ..blank
    }
}

fn p99_vs_stable(latency: &Buckets, stable: &Buckets, times: f64) -> Finding {
    let rule = "latency_p99_vs_stable";
    let theirs = stable.quantile_edge_ms(0.99);
    let enough = stable.count >= rules::P99_REQUESTS_MIN as f64;
    let edge = theirs.and_then(|p99| latency.edge_at_least(p99 * times));
    match edge.filter(|_| enough) {
        Some(edge) => Finding {
            rule: rule.to_owned(),
            stable: theirs,
            ..p99(latency, edge)
        },
        None => rules::finding(rule, &of(latency.count), rules::P99_REQUESTS_MIN),
    }
}

fn mean(mine: &Counters, mean: f64, limit: f64) -> Finding {
    let needs = rules::ABSOLUTE_REQUESTS_MIN;
    Finding {
        state: rules::verdict(mine.requests >= needs, mean > limit),
        canary: Some(mean),
        limit: Some(limit),
        ..rules::finding("mean", mine, needs)
    }
}

fn mean_vs_stable(
    mine: &Counters,
    stable: &Counters,
    [mean, theirs]: [f64; 2],
    times: f64,
) -> Finding {
    let needs = rules::RELATIVE_REQUESTS_MIN;
    let limit = theirs * times;
    Finding {
        state: rules::verdict(mine.requests.min(stable.requests) >= needs, mean > limit),
        canary: Some(mean),
        stable: Some(theirs),
        limit: Some(limit),
        ..rules::finding("mean_vs_stable", mine, needs)
    }
}

fn gauges(canary: &ReleaseFigures, settings: &AnalysisSettings) -> Vec<Finding> {
    let limits = [
        (Figure::Cpu, settings.cpu),
        (Figure::Memory, settings.memory),
        (Figure::Disk, settings.disk),
    ];
    let rule = |(figure, limit): (Figure, Option<f64>)| {
        let (value, limit) = canary.value(figure).zip(limit)?;
        Some(Finding {
            state: rules::verdict(true, value > limit),
            canary: Some(value),
            limit: Some(limit),
            ..rules::finding(figure.word(), &Counters::default(), 0)
        })
    };
    limits.into_iter().filter_map(rule).collect()
}

fn uptime(ratio: f64, limit: f64, scrapes: u64) -> Finding {
    let missed = (1.0 - ratio) * scrapes as f64;
    let counters = of(scrapes as f64);
    Finding {
        state: rules::verdict(
            scrapes >= SCRAPES_MIN,
            ratio < limit && missed >= MISSES_MIN - 0.5,
        ),
        canary: Some(ratio),
        limit: Some(limit),
        ..rules::finding("uptime", &counters, SCRAPES_MIN)
    }
}

/// Scrapes within the window that uptime looks at.
pub fn scrapes(since_ms: u64, scrape_ms: u64) -> u64 {
    since_ms.min(UPTIME_MS) / scrape_ms.max(1)
}

/// A row that says that the source counts other requests for the new release than the balancers
/// gave it: labels that were mixed up, most likely.
fn share(source: &SourceEvidence, canary: &ReleaseFigures) -> Option<Finding> {
    let mine = canary.value(Figure::Requests)?;
    let theirs = source.stable.as_ref()?.value(Figure::Requests)?;
    let all = mine + theirs;
    let counted = source.share_percent?;
    if all < SHARE_REQUESTS_MIN {
        return None;
    }
    let share = mine * 100.0 / all;
    let note = format!(
        "it counts {share:.0} % of the requests for the new release, the balancers {counted:.0} %; \
         see whether its series carry the right release"
    );
    ((share - counted).abs() > SHARE_TOLERANCE).then(|| Finding {
        state: RuleState::NoData,
        canary: Some(share / 100.0),
        limit: Some(counted / 100.0),
        note: Some(Clean::new(&note)),
        ..rules::finding("request_share", &of(all), 0)
    })
}

#[cfg(test)]
mod tests;
