//! Reads Prometheus' answers strictly. Pure. A value is a finite number or it is none; more series
//! than asked for are an error that names them, never the last one taken.

use crate::model::Clean;
use crate::model::metrics::{Buckets, Measured};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest part of an answer that is quoted, in characters.
const QUOTE_MAX: usize = 120;
/// Series named when there are too many.
const NAMED_MAX: usize = 3;
/// Most buckets of a histogram.
const BUCKETS_MAX: usize = 256;

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Something else answers there: a login page, a proxy.
    #[error("the answer is no JSON of Prometheus: {0}; see what answers at that address")]
    NotPrometheus(Clean),
    /// Prometheus says it cannot answer.
    #[error("it refuses: {0}")]
    Refused(Clean),
    /// It answers in part only; a part is no evidence.
    #[error("the answer is partial: {0}")]
    Partial(Clean),
    /// Several series where one was asked for.
    #[error("{count} series where one was expected: {named}; narrow the query or sum over them")]
    Several {
        /// How many.
        count: usize,
        /// Some of them, by their labels.
        named: Clean,
    },
    /// The answer has another form than the question asked for.
    #[error("the answer has another form than asked for: {0}")]
    Form(Clean),
}

#[derive(Deserialize)]
struct Response {
    status: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(f64, Value)>,
    #[serde(default)]
    values: Vec<(f64, Value)>,
}

/// One value, with the source's time of it.
#[derive(Debug, Clone, PartialEq)]
pub struct One {
    /// The value.
    pub value: Measured<f64>,
    /// The source's own time in s; `None` when there is no series.
    pub at_s: Option<f64>,
}

/// The part of an answer that the API wraps. For questions that are not PromQL's.
///
/// # Errors
/// When the answer is none.
pub fn data(body: &[u8]) -> Result<Value, AnswerError> {
    let excerpt = || {
        Clean::line(
            &String::from_utf8_lossy(&body[..body.len().min(512)]),
            QUOTE_MAX,
        )
    };
    let response: Response =
        serde_json::from_slice(body).map_err(|_| AnswerError::NotPrometheus(excerpt()))?;
    if response.status != "success" {
        return Err(AnswerError::Refused(Clean::line(&response.error, 300)));
    }
    if !response.warnings.is_empty() {
        let warnings = Clean::line(&response.warnings.join("; "), 300);
        return Err(AnswerError::Partial(warnings));
    }
    Ok(response.data)
}

fn result(body: &[u8]) -> Result<Data, AnswerError> {
    serde_json::from_value(data(body)?).map_err(form)
}

fn form(error: impl std::fmt::Display) -> AnswerError {
    AnswerError::Form(Clean::line(&error.to_string(), QUOTE_MAX))
}

fn series(data: Data, kind: &str) -> Result<Vec<Series>, AnswerError> {
    if data.result_type != kind {
        let text = format!("a {} instead of a {kind}", data.result_type);
        return Err(form(text));
    }
    serde_json::from_value(data.result).map_err(form)
}

/// Reads the answer to a question that has one value.
///
/// # Errors
/// When the answer is none, or has several series.
pub fn one(body: &[u8]) -> Result<One, AnswerError> {
    let data = result(body)?;
    if data.result_type == "scalar" {
        let (at_s, value): (f64, Value) = serde_json::from_value(data.result).map_err(form)?;
        return Ok(One {
            value: number(&value),
            at_s: Some(at_s),
        });
    }
    let all = series(data, "vector")?;
    match all.as_slice() {
        [] => Ok(One {
            value: Measured::Nothing("no such series".into()),
            at_s: None,
        }),
        [only] => Ok(match &only.value {
            Some((at_s, value)) => One {
                value: number(value),
                at_s: Some(*at_s),
            },
            None => One {
                value: Measured::Doubtful("it is a histogram, not a number".into()),
                at_s: None,
            },
        }),
        several => Err(too_many(several)),
    }
}

fn too_many(several: &[Series]) -> AnswerError {
    let named: Vec<_> = several.iter().take(NAMED_MAX).map(labels).collect();
    AnswerError::Several {
        count: several.len(),
        named: Clean::line(&named.join(", "), 300),
    }
}

fn labels(series: &Series) -> String {
    let pairs: Vec<_> = series
        .metric
        .iter()
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// A finite number that is not below zero, and nothing else.
fn number(value: &Value) -> Measured<f64> {
    let doubtful = |what: &str| Measured::Doubtful(Clean::new(what));
    let Value::String(text) = value else {
        return doubtful("the value is no number");
    };
    match text.parse::<f64>() {
        Ok(number) if number.is_nan() => doubtful("the value is NaN"),
        Ok(number) if number.is_infinite() => doubtful("the value is infinite"),
        Ok(number) if number < 0.0 => doubtful("the value is below zero"),
        // Also makes -0 a 0.
        Ok(number) => Measured::Value(number + 0.0),
        Err(_) => doubtful("the value is no number"),
    }
}

/// Reads the answer to a question that has one value per `le`, in seconds.
///
/// # Errors
/// When the answer is none, or its series are not told apart by `le` alone.
pub fn buckets(body: &[u8]) -> Result<Measured<Buckets>, AnswerError> {
    let all = series(result(body)?, "vector")?;
    if all.is_empty() {
        return Ok(Measured::Nothing("no such series".into()));
    }
    if all.len() > BUCKETS_MAX {
        return Err(too_many(&all));
    }
    let mut buckets = Buckets::default();
    let mut count = None;
    for one in &all {
        let edge = one.metric.get("le").and_then(|le| le.parse::<f64>().ok());
        let (Some(edge), 1) = (edge, one.metric.len()) else {
            return Err(too_many(&all));
        };
        let within = match one.value.as_ref().map(|(_, value)| number(value)) {
            Some(Measured::Value(within)) => within,
            Some(Measured::Doubtful(why) | Measured::Nothing(why)) => {
                return Ok(Measured::Doubtful(why));
            }
            None => return Ok(Measured::Doubtful("a bucket has no number".into())),
        };
        match edge.is_infinite() {
            true => count = Some(within),
            false => buckets.within.push((edge * 1_000.0, within)),
        }
    }
    buckets.within.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(count) = count else {
        let why = "the histogram has no bucket for everything (+Inf)";
        return Ok(Measured::Doubtful(why.into()));
    };
    buckets.count = count;
    Ok(Measured::Value(smoothed(buckets)))
}

/// Increases are extrapolated per bucket and may cross by a little: none holds more than the next.
fn smoothed(mut buckets: Buckets) -> Buckets {
    let mut most = buckets.count;
    for (_, within) in buckets.within.iter_mut().rev() {
        *within = within.min(most);
        most = *within;
    }
    buckets
}

/// Reads the answer to a question over a range that has one series: its finite values with their
/// times in s. No series is no values.
///
/// # Errors
/// When the answer is none, or has several series.
pub fn range(body: &[u8]) -> Result<Vec<(f64, f64)>, AnswerError> {
    let all = series(result(body)?, "matrix")?;
    match all.as_slice() {
        [] => Ok(Vec::new()),
        [only] => Ok(only
            .values
            .iter()
            .filter_map(|(at_s, value)| Some((*at_s, *number(value).value()?)))
            .collect()),
        several => Err(too_many(several)),
    }
}

/// Reads the edges of a histogram, in ms, from an answer with one series per `le`.
///
/// # Errors
/// When the answer is none.
pub fn edges_ms(body: &[u8]) -> Result<Vec<f64>, AnswerError> {
    let all = series(result(body)?, "vector")?;
    let edge = |one: &Series| one.metric.get("le")?.parse::<f64>().ok();
    let mut edges: Vec<_> = all.iter().filter_map(edge).collect();
    edges.retain(|edge| edge.is_finite());
    edges.sort_by(f64::total_cmp);
    Ok(edges.into_iter().map(|edge| edge * 1_000.0).collect())
}

#[cfg(test)]
mod tests;
