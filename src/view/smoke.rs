//! Smoke runs for people: in one sentence, and test by test.

use super::snapshot::SmokeView;
use super::words;
use crate::model::Clean;
use crate::model::world::{SmokeReport, SmokeResult};

/// Most results a snapshot carries; a record holds them all.
const RESULTS_MAX: usize = 50;

/// A run for a snapshot: what failed first.
pub(super) fn view(report: &SmokeReport) -> SmokeView {
    let (failed, warned) = (report.failures().count(), report.warnings().count());
    let passed = report.results.iter().filter(|it| it.trouble.is_none());
    let all = report.failures().chain(report.warnings()).chain(passed);
    SmokeView {
        took_ms: report.took_ms,
        passed: report.results.len() - failed - warned,
        warned,
        failed,
        results: all.take(RESULTS_MAX).cloned().collect(),
    }
}

/// A run in one sentence: what failed, how many passed, how long it took.
pub(super) fn summary(report: &SmokeReport) -> String {
    let bad = report.failures().count() + report.warnings().count();
    let all = report.results.len();
    let took = match report.took_ms {
        0 => String::new(),
        ms => format!(" ({})", words::span(ms)),
    };
    let passed = format!("{}/{all} ok{took}", all - bad);
    let worst = report.failures().next();
    match (worst, report.warnings().next()) {
        (Some(result), _) => format!("{}; {passed}", failing(result)),
        (None, Some(result)) => format!("warning: {}; {passed}", failing(result)),
        (None, None) => passed,
    }
}

fn failing(result: &SmokeResult) -> String {
    let why = result.trouble.as_ref().map_or("", |why| why.as_str());
    format!("{} fails on {}: {why}", result.test, result.server)
}

/// A test's result on one instance, with its status, time and attempts.
pub(super) fn line(result: &SmokeResult) -> Clean {
    let word = match (&result.trouble, result.critical) {
        (None, _) => "ok",
        (Some(_), true) => "FAILED",
        (Some(_), false) => "warning",
    };
    let status = result.status.map(|status| format!(", status {status}"));
    let attempts = match result.attempts {
        1 => String::new(),
        count => format!(", {count} attempts"),
    };
    let why = result.trouble.as_ref().map(|why| format!(": {why}"));
    Clean::new(&format!(
        "{} on {} {word}{}, {}{attempts}{}",
        result.test,
        result.server,
        status.unwrap_or_default(),
        words::span(result.took_ms),
        why.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RolloutId, ServerName};

    fn result(test: &str, critical: bool, trouble: Option<&str>) -> SmokeResult {
        let server: ServerName = "web2".parse().expect("a name");
        SmokeResult {
            test: test.to_owned(),
            server,
            status: Some(200),
            took_ms: 12,
            attempts: 1,
            critical,
            trouble: trouble.map(Clean::new),
        }
    }

    fn report(results: Vec<SmokeResult>) -> SmokeReport {
        SmokeReport {
            rollout: RolloutId(uuid::Uuid::nil()),
            results,
            took_ms: 212,
        }
    }

    #[test]
    fn a_run_is_told_by_its_worst_result() {
        let passed = || result("front", true, None);
        let warned = || result("cache", false, Some("status 503, not 200"));
        let failed = || result("order", true, Some("no answer"));
        assert_eq!(summary(&report(vec![passed()])), "1/1 ok (212 ms)");
        assert_eq!(
            summary(&report(vec![passed(), warned()])),
            "warning: cache fails on web2: status 503, not 200; 1/2 ok (212 ms)"
        );
        assert_eq!(
            summary(&report(vec![warned(), passed(), failed()])),
            "order fails on web2: no answer; 1/3 ok (212 ms)"
        );
        let view = view(&report(vec![warned(), passed(), failed()]));
        assert_eq!((view.passed, view.warned, view.failed), (1, 1, 1));
        let order: Vec<_> = view.results.iter().map(|it| it.test.as_str()).collect();
        assert_eq!(order, ["order", "cache", "front"]);
    }

    #[test]
    fn a_result_says_status_time_and_attempts() {
        let line = |result| line(&result).into_string();
        assert_eq!(
            line(result("front", true, None)),
            "front on web2 ok, status 200, 12 ms"
        );
        let again = SmokeResult {
            status: None,
            attempts: 3,
            ..result("cache", false, Some("connection refused"))
        };
        assert_eq!(
            line(again),
            "cache on web2 warning, 12 ms, 3 attempts: connection refused"
        );
    }
}
