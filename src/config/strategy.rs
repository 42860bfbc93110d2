//! Reads `[canary]` and `[analysis]`: how traffic moves, and what the judge holds against a new
//! release. The other strategies are read in `takeover`. Must not know services.

use super::accepted::{ANALYSIS, CANARY, STEP};
use super::defaults;
use super::errors::Problems;
use super::reader::{Limit, Located, Reader, duration_ms, integer};
use super::tree::{Node, Place, Value};
use crate::model::metrics::Figure;
use crate::model::service::{AnalysisSettings, CanarySettings, ComparisonSettings, Step};
use std::ops::RangeInclusive;

pub(super) const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// Range of a soak.
pub(super) const SOAK: RangeInclusive<u64> = SECOND..=7 * DAY;

/// Range of a limit on latencies, in ms.
const LATENCY: RangeInclusive<u32> = 1..=600_000;

/// What is to be caught is at least so many times what is tolerated.
const REGRESSION_MIN: f64 = 1.25;

/// Most steps of one rollout.
const STEPS_MAX: usize = 50;

const LOAD: &str =
    "use a multiple of an old instance's load from 0.1 to 100, or false to switch it off";

const STEPS_MEND: &str = "write rising shares that end with 100, e.g. [5, 25, 100]";

/// Canary settings as read.
pub(super) struct CanaryText {
    pub(super) settings: CanarySettings,
    /// Where the canary's own size is written.
    pub(super) instances: Option<Place>,
    /// Where the table is.
    pub(super) place: Place,
}

/// Analysis settings as read.
pub(super) struct AnalysisText {
    pub(super) settings: AnalysisSettings,
    /// Limits that were written and need latencies to be judged, with the figure each needs.
    pub(super) latency_limits: Vec<(Figure, Place)>,
    /// Whether nothing is written about errors as a multiple of stable's.
    pub(super) relative_errors_unset: bool,
    /// Limits that were written and need requests to be counted.
    pub(super) error_limits: Vec<(Figure, Place)>,
    /// Limits that were written on what a machine or container uses.
    pub(super) gauge_limits: Vec<(Figure, Place)>,
    /// Where the table is.
    pub(super) place: Place,
}

impl AnalysisText {
    /// Where a limit on the p99 is written.
    pub(super) fn latency_p99(&self) -> Option<&Place> {
        let mut places = self.latency_limits.iter().map(|(_, place)| place);
        places.find(|place| place.key.ends_with("latency_p99_ms"))
    }
}

/// Reads how traffic moves.
pub(super) fn canary(node: &Node, problems: &Problems<'_>) -> CanaryText {
    let reader = Reader::new(node, &CANARY, problems);
    let default = defaults::canary();
    let soak_ms = reader.duration_ms("soak", SOAK, defaults::SOAK_MS);
    let instances = reader.integer("instances", 1..=100);
    CanaryText {
        settings: CanarySettings {
            steps: steps(
                &reader,
                "steps",
                &defaults::STEPS_PERCENT,
                soak_ms,
                problems,
            ),
            min_requests: reader.integer_or(
                "min_requests",
                1..=1_000_000_000,
                default.min_requests,
            ),
            max_soak_factor: reader.integer_or("max_soak_factor", 1..=100, default.max_soak_factor),
            instances: instances.as_ref().map(|found| found.value),
            max_load_factor: reader
                .limit("max_load_factor", 0.1..=100.0, LOAD)
                .or(default.max_load_factor),
            keep_warm_ms: reader.duration_ms("keep_warm", 0..=30 * DAY, default.keep_warm_ms),
            drain_timeout_ms: reader.duration_ms(
                "drain_timeout",
                SECOND..=HOUR,
                default.drain_timeout_ms,
            ),
            shift_timeout_ms: reader.duration_ms(
                "shift_timeout",
                SECOND..=10 * MINUTE,
                default.shift_timeout_ms,
            ),
        },
        instances: instances.map(|found: Located<u32>| found.place),
        place: reader.place().clone(),
    }
}

/// Rising shares, the last of them 100 %; a share without a soak of its own has the one given.
pub(super) fn steps(
    reader: &Reader<'_>,
    key: &str,
    default_percent: &[u8],
    soak_ms: u64,
    problems: &Problems<'_>,
) -> Vec<Step> {
    let default = |weight_percent: &u8| Step {
        weight_percent: *weight_percent,
        soak_ms,
        pause: false,
    };
    let Some(list) = reader.list(key, STEPS_MEND) else {
        return default_percent.iter().map(default).collect();
    };
    if list.value.is_empty() || list.value.len() > STEPS_MAX {
        let what = format!(
            "has {} steps, but must have 1 to {STEPS_MAX}",
            list.value.len()
        );
        problems.error(&list.place, what, STEPS_MEND);
        return Vec::new();
    }
    let steps: Vec<_> = list
        .value
        .iter()
        .map(|node| step(node, soak_ms, problems))
        .collect();
    let known: Option<Vec<Located<Step>>> = steps.into_iter().collect();
    let known = known.unwrap_or_default();
    check_order(&known, problems);
    known.into_iter().map(|step| step.value).collect()
}

/// One step: a share, or a table with a share, a soak of its own and a pause.
fn step(node: &Node, soak_ms: u64, problems: &Problems<'_>) -> Option<Located<Step>> {
    if matches!(node.value, Value::Integer(_) | Value::Number(_)) {
        return integer(node, 1..=100, problems).map(|weight| Located {
            value: Step {
                weight_percent: weight.value,
                soak_ms,
                pause: false,
            },
            place: weight.place,
        });
    }
    if node.table().is_none() {
        let what = format!("is {}, but must be a share or a table", node.kind());
        let mend = "write 25 or { weight = 25, soak = \"10m\", pause = true }";
        problems.error(&node.place, what, mend);
        return None;
    }
    let reader = Reader::new(node, &STEP, problems);
    let soak_ms = reader
        .node("soak")
        .map_or(Some(soak_ms), |node| duration_ms(node, SOAK, problems));
    let pause = reader.flag("pause", false);
    let Some(weight) = reader.node("weight") else {
        reader.missing("weight", "add the share in percent, e.g. weight = 25");
        return None;
    };
    let weight: Located<u8> = integer(weight, 1..=100, problems)?;
    Some(Located {
        value: Step {
            weight_percent: weight.value,
            soak_ms: soak_ms?,
            pause,
        },
        place: weight.place,
    })
}

fn check_order(steps: &[Located<Step>], problems: &Problems<'_>) {
    for pair in steps.windows(2) {
        let (before, after) = (pair[0].value.weight_percent, pair[1].value.weight_percent);
        if after <= before {
            let what = format!("{after} % does not rise above the {before} % before it");
            problems.error(&pair[1].place, what, STEPS_MEND);
        }
    }
    if let Some(last) = steps.last()
        && last.value.weight_percent != 100
    {
        let what = format!("the last step is {} %", last.value.weight_percent);
        problems.error(&last.place, what, "add 100 as the last step");
    }
}

/// Reads what the judge holds against a new release.
pub(super) fn analysis(node: &Node, problems: &Problems<'_>) -> AnalysisText {
    const RATIO: &str = "use a ratio from 0 to 1 (5 % is 0.05), or false to switch it off";
    const MEAN: &str = "use milliseconds from 1 to 600000, or false to switch it off";
    const TIMES: &str = "use a multiple of stable's value from 1 to 100, or false to switch it off";
    let reader = Reader::new(node, &ANALYSIS, problems);
    let default = defaults::analysis();
    let p99 = latency_ms(&reader, problems);
    let mean = reader.limit("mean_ms", 1.0..=600_000.0, MEAN);
    let p99_vs_stable = reader.limit("latency_p99_vs_stable", 1.0..=100.0, TIMES);
    let mean_vs_stable = reader.limit("mean_vs_stable", 1.0..=100.0, TIMES);
    let latency_limits = written([
        (Figure::Latency, p99.place()),
        (Figure::Mean, mean.place()),
        (Figure::Latency, p99_vs_stable.place()),
        (Figure::Mean, mean_vs_stable.place()),
    ]);
    let errors = reader.limit("error_ratio", 0.0..=1.0, RATIO);
    let errors_vs_stable = reader.limit("error_ratio_vs_stable", 1.0..=100.0, TIMES);
    let relative_errors_unset = matches!(errors_vs_stable, Limit::Unset);
    let error_limits = written([
        (Figure::Errors, errors.place()),
        (Figure::Errors, errors_vs_stable.place()),
    ]);
    let gauge = |figure: Figure| reader.limit(figure.word(), 0.0..=1.0, RATIO);
    let (cpu, memory) = (gauge(Figure::Cpu), gauge(Figure::Memory));
    let (disk, uptime) = (gauge(Figure::Disk), gauge(Figure::Uptime));
    let gauge_limits = written([
        (Figure::Cpu, cpu.place()),
        (Figure::Memory, memory.place()),
        (Figure::Disk, disk.place()),
        (Figure::Uptime, uptime.place()),
    ]);
    let settings = AnalysisSettings {
        interval_ms: reader.duration_ms("interval", 100..=HOUR, default.interval_ms),
        failures: reader.integer_or("failures", 1..=100, default.failures),
        no_data_intervals: reader.integer_or(
            "no_data_intervals",
            1..=1_000,
            default.no_data_intervals,
        ),
        no_data_abort_ms: reader.duration_ms(
            "no_data_abort",
            SECOND..=DAY,
            default.no_data_abort_ms,
        ),
        error_ratio: errors.or(default.error_ratio),
        error_ratio_vs_stable: errors_vs_stable.or(default.error_ratio_vs_stable),
        infrastructure_health: reader
            .limit("infrastructure_health", 0.0..=1.0, RATIO)
            .or(default.infrastructure_health),
        latency_p99_ms: p99.or(default.latency_p99_ms),
        mean_ms: mean.or(default.mean_ms),
        latency_p99_vs_stable: p99_vs_stable.or(default.latency_p99_vs_stable),
        mean_vs_stable: mean_vs_stable.or(default.mean_vs_stable),
        cpu: cpu.or(default.cpu),
        memory: memory.or(default.memory),
        disk: disk.or(default.disk),
        uptime: uptime.or(default.uptime),
        comparison: comparison(&reader, problems),
    };
    AnalysisText {
        settings,
        relative_errors_unset,
        latency_limits,
        error_limits,
        gauge_limits,
        place: reader.place().clone(),
    }
}

/// How counts are compared with stable's; `None` where that is switched off.
fn comparison(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<ComparisonSettings> {
    const ALARM: &str = "use a probability from 0.000001 to 0.2 (one rollout in a hundred is 0.01), \
                         or false to switch the comparison off";
    const TIMES: &str = "use a multiple of stable's value from 1 to 100";
    let default = defaults::comparison();
    let alarm = reader.limit("false_alarm_per_rollout", 1e-6..=0.2, ALARM);
    let tolerated = reader.number("tolerated_ratio", 1.0..=100.0, TIMES);
    let smallest = reader.number("smallest_regression_worth_catching", 1.0..=100.0, TIMES);
    let place = [&smallest, &tolerated];
    let place = place
        .into_iter()
        .flatten()
        .map(|at| at.place.clone())
        .next();
    let or = |found: Option<Located<f64>>, default| found.map_or(default, |found| found.value);
    let settings = ComparisonSettings {
        false_alarm_per_rollout: alarm.or(Some(default.false_alarm_per_rollout))?,
        tolerated_ratio: or(tolerated, default.tolerated_ratio),
        smallest_regression: or(smallest, default.smallest_regression),
        latencies: reader.flag("compare_latencies", default.latencies),
        early_safety: reader.flag("early_safety", default.early_safety),
    };
    let (tolerated, smallest) = (settings.tolerated_ratio, settings.smallest_regression);
    if let Some(place) = place
        && smallest < tolerated * REGRESSION_MIN
    {
        let what = format!(
            "{smallest} × stable's is to be caught, but {tolerated} × is tolerated: that is too close \
             to tell apart"
        );
        let mend = format!(
            "set smallest_regression_worth_catching to at least {:.2}, or lower tolerated_ratio",
            tolerated * REGRESSION_MIN
        );
        problems.error(&place, what, mend);
    }
    Some(settings)
}

/// Those limits that are written.
fn written<const COUNT: usize>(limits: [(Figure, Option<&Place>); COUNT]) -> Vec<(Figure, Place)> {
    let written = limits.into_iter();
    written
        .filter_map(|(figure, place)| Some((figure, place?.clone())))
        .collect()
}

/// The p99 limit. Whether it is an edge of the histogram depends on who counts.
fn latency_ms(reader: &Reader<'_>, problems: &Problems<'_>) -> Limit<u32> {
    let Some(node) = reader.node("latency_p99_ms") else {
        return Limit::Unset;
    };
    let written = match &node.value {
        Value::Flag(false) => return Limit::Off,
        Value::Integer(Some(ms)) => *ms,
        _ => {
            let what = format!(
                "is {}, but must be whole milliseconds or false",
                node.kind()
            );
            problems.error(&node.place, what, "write milliseconds, e.g. 1000, or false");
            return Limit::Unset;
        }
    };
    match u32::try_from(written)
        .ok()
        .filter(|ms| LATENCY.contains(ms))
    {
        Some(ms) => Limit::At(Located {
            value: ms,
            place: node.place.clone(),
        }),
        None => {
            let what = format!("{written} ms is out of range");
            let (least, most) = (LATENCY.start(), LATENCY.end());
            let mend = format!("use whole milliseconds from {least} to {most}, or false");
            problems.error(&node.place, what, mend);
            Limit::Unset
        }
    }
}
