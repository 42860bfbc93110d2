//! Whether a Prometheus is fit to confirm a rollout: it answers, takes every question, scrapes as
//! often as configured, and has the edges that limits are judged at.

use super::{Prometheus, now_ms, parse};
use crate::metrics::prometheus::http::Session;
use crate::model::metrics::{Buckets, Figure, Preset, Subject};
use crate::model::{Clean, ReleaseId, ServiceSpec};
use crate::ports::{NOTE, ReadError};
use serde_json::Value;

/// Clocks further apart than this are told of.
const SKEW_MS: i64 = 5_000;

/// What is wrong, and what to expect.
pub(super) async fn lines(
    prometheus: &Prometheus,
    spec: &ServiceSpec,
) -> Result<Vec<Clean>, ReadError> {
    let session = prometheus.http.session().await?;
    let mut lines = Vec::new();
    lines.extend(clock(prometheus, &session).await?);
    for (what, query) in questions(prometheus, spec) {
        lines.extend(question(&session, what, &query).await?);
    }
    lines.extend(edges(prometheus, &session, spec).await?);
    lines.extend(scrapes(prometheus, &session, spec).await?);
    Ok(lines)
}

fn note(text: &str) -> Clean {
    Clean::new(&format!("{NOTE}{text}"))
}

async fn clock(prometheus: &Prometheus, session: &Session<'_>) -> Result<Option<Clean>, ReadError> {
    let body = session.query("time()").await?;
    let answer = parse::one(&body).map_err(|error| prometheus.wrong("time()", &error))?;
    let skew_ms = answer
        .at_s
        .map_or(0, |at_s| (at_s * 1_000.0) as i64 - now_ms());
    let told = skew_ms.abs() > SKEW_MS;
    Ok(told.then(|| {
        let (s, way) = (
            skew_ms.abs() / 1_000,
            if skew_ms > 0 { "ahead" } else { "behind" },
        );
        note(&format!(
            "its clock is {s} s {way} of ours; ages are by its own, but set both by NTP"
        ))
    }))
}

/// Every question, filled in for a release that does not exist.
fn questions(prometheus: &Prometheus, spec: &ServiceSpec) -> Vec<(&'static str, String)> {
    let servers = spec.servers.iter().map(|server| server.name.clone());
    let subject = Subject {
        release: ReleaseId(uuid::Uuid::nil()),
        version: "0".parse().expect("invariant: a digit is a version"),
        servers: servers.collect(),
        backend: spec.balancers.first().map(|first| first.backend.clone()),
    };
    let filling = prometheus.filling(&spec.placement, &subject);
    let queries = prometheus.queries().into_iter();
    let queries = queries.map(|(figure, query)| (figure.word(), filling.fill(query)));
    let age = prometheus.age_query();
    queries
        .chain(age.map(|query| ("series", filling.fill(&query))))
        .collect()
}

async fn question(
    session: &Session<'_>,
    what: &str,
    query: &str,
) -> Result<Option<Clean>, ReadError> {
    let body = session
        .get("/api/v1/format_query", &[("query", query)])
        .await?;
    Ok(parse::data(&body).err().map(|error| {
        let text = format!("the question for {what} is no PromQL: {error}; it is {query}");
        Clean::new(&text)
    }))
}

/// The p99 limit must be an edge of the services' own histogram.
async fn edges(
    prometheus: &Prometheus,
    session: &Session<'_>,
    spec: &ServiceSpec,
) -> Result<Option<Clean>, ReadError> {
    let options = &prometheus.options;
    let is_ready_made = options.preset == Some(Preset::Http)
        && options.selector.is_none()
        && !options.queries.contains_key(&Figure::Latency);
    let (true, Some(limit_ms)) = (is_ready_made, spec.analysis.latency_p99_ms) else {
        return Ok(None);
    };
    let query = format!(
        "group by (le) (http_request_duration_seconds_bucket{{service=\"{}\",environment=\"{}\"}})",
        super::query::quoted(spec.placement.service.as_str()),
        super::query::quoted(spec.placement.environment.as_str()),
    );
    let body = session.query(&query).await?;
    let found = parse::edges_ms(&body).map_err(|error| prometheus.wrong("edges", &error))?;
    if found.is_empty() {
        let text = format!("it has no latencies of {} yet", spec.placement);
        return Ok(Some(note(&text)));
    }
    let buckets = Buckets {
        within: found.into_iter().map(|edge| (edge, 0.0)).collect(),
        count: 0.0,
    };
    let limit_ms = f64::from(limit_ms);
    Ok(match buckets.above(limit_ms) {
        Some(_) => None,
        None => Some(no_edge(&buckets, limit_ms)),
    })
}

/// Says that a limit is no edge, with the nearest that are.
fn no_edge(buckets: &Buckets, limit_ms: f64) -> Clean {
    let near: Vec<_> = buckets.nearest_edges(limit_ms);
    let near: Vec<_> = near.iter().map(ToString::to_string).collect();
    Clean::new(&format!(
        "latency_p99_ms = {limit_ms} is no edge of the series; use the next edge: {}",
        near.join(" or ")
    ))
}

/// How often it scrapes what it knows of the service.
async fn scrapes(
    prometheus: &Prometheus,
    session: &Session<'_>,
    spec: &ServiceSpec,
) -> Result<Option<Clean>, ReadError> {
    let body = session
        .get("/api/v1/targets", &[("state", "active")])
        .await?;
    // Other software with the same API may not tell: then there is nothing to say.
    let Ok(data) = parse::data(&body) else {
        return Ok(None);
    };
    let ours = |target: &&Value| {
        let label = |name: &str| target.pointer(&format!("/labels/{name}"))?.as_str();
        label("service") == Some(spec.placement.service.as_str())
            && label("environment") == Some(spec.placement.environment.as_str())
    };
    let targets = data.get("activeTargets").and_then(Value::as_array);
    let mine: Vec<_> = targets.into_iter().flatten().filter(ours).collect();
    let interval = |target: &&Value| seconds(target.get("scrapeInterval")?.as_str()?);
    let slowest_s = mine.iter().filter_map(interval).fold(0.0, f64::max);
    let wanted_s = prometheus.options.scrape_ms as f64 / 1_000.0;
    if slowest_s > wanted_s {
        let text = format!(
            "it scrapes {} every {slowest_s} s, but scrape_interval says {wanted_s} s; \
             set them equal",
            spec.placement
        );
        return Ok(Some(Clean::new(&text)));
    }
    let by_release = prometheus.options.preset == Some(Preset::Http);
    Ok((mine.is_empty() && by_release).then(|| {
        let text = format!(
            "it scrapes nothing of {} yet; point its http_sd or file_sd at the engine's",
            spec.placement
        );
        note(&text)
    }))
}

/// A duration as Prometheus writes it, such as `1m30s` or `500ms`, in s.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[end..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        assert_eq!(seconds("15s"), Some(15.0));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("soon"), None);
    }
}
