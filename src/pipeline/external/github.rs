//! GitHub: commit statuses and check runs, both at the commit.
//!
//! Docs: "Get the combined status for a specific reference" and "List check runs for a Git
//! reference" of its REST API.

use super::http::{Http, PAGE, PAGES_MAX, Trouble};
use super::{Report, Word};
use serde::Deserialize;
use std::collections::BTreeMap;

const ACCEPT: &str = "application/vnd.github+json";

#[derive(Debug, Deserialize)]
struct Combined {
    total_count: usize,
    statuses: Vec<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    context: String,
    state: String,
    target_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CheckRuns {
    total_count: usize,
    check_runs: Vec<CheckRun>,
}

#[derive(Debug, Deserialize)]
struct CheckRun {
    id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    details_url: Option<String>,
    html_url: Option<String>,
    app: Option<App>,
}

#[derive(Debug, Deserialize)]
struct App {
    id: u64,
}

/// Everything reported at a commit, the newest word of each.
pub(super) async fn read(http: &Http, project: &str, commit: &str) -> Result<Vec<Report>, Trouble> {
    let mut reports = statuses(http, project, commit).await?;
    reports.extend(checks(http, project, commit).await?);
    Ok(reports)
}

fn path<'a>(project: &'a str, commit: &'a str, last: &'a str) -> Vec<&'a str> {
    let mut path = vec!["repos"];
    path.extend(project.split('/'));
    path.extend(["commits", commit, last]);
    path
}

async fn statuses(http: &Http, project: &str, commit: &str) -> Result<Vec<Report>, Trouble> {
    let path = path(project, commit, "status");
    let mut found = Vec::new();
    for number in 1..=PAGES_MAX {
        let (size, number) = (PAGE.to_string(), number.to_string());
        let query = [("per_page", &*size), ("page", &*number)];
        let page = http.get::<Combined>(&path, &query, ACCEPT).await?.body;
        let is_last = page.statuses.is_empty();
        found.extend(page.statuses.into_iter().map(of_status));
        if is_last || found.len() >= page.total_count {
            return Ok(found);
        }
    }
    Err(too_many())
}

async fn checks(http: &Http, project: &str, commit: &str) -> Result<Vec<Report>, Trouble> {
    let path = path(project, commit, "check-runs");
    let mut found = Vec::new();
    for number in 1..=PAGES_MAX {
        let (size, number) = (PAGE.to_string(), number.to_string());
        let query = [
            ("filter", "latest"),
            ("per_page", &*size),
            ("page", &*number),
        ];
        let page = http.get::<CheckRuns>(&path, &query, ACCEPT).await?.body;
        let is_last = page.check_runs.is_empty();
        found.extend(page.check_runs);
        if is_last || found.len() >= page.total_count {
            return Ok(newest(found));
        }
    }
    Err(too_many())
}

fn too_many() -> Trouble {
    let most = PAGE * PAGES_MAX;
    Trouble::Final(format!("more than {most} reports at one commit"))
}

/// Each suite has a run of its own of one name; of one app only the newest counts.
fn newest(runs: Vec<CheckRun>) -> Vec<Report> {
    let mut newest: BTreeMap<(String, u64), CheckRun> = BTreeMap::new();
    for run in runs {
        let key = (run.name.clone(), run.app.as_ref().map_or(0, |app| app.id));
        let is_newer = newest.get(&key).is_none_or(|there| there.id < run.id);
        if is_newer {
            newest.insert(key, run);
        }
    }
    newest.into_values().map(of_check).collect()
}

fn of_status(status: Status) -> Report {
    let word = match status.state.as_str() {
        "success" => Word::Succeeded,
        "failure" | "error" => Word::Failed,
        _ => Word::Pending,
    };
    Report {
        name: status.context,
        word,
        said: status.state,
        url: status.target_url.filter(|url| !url.is_empty()),
    }
}

/// As GitHub's own branch rules take it: neutral and skipped checks do not stop anything.
fn of_check(run: CheckRun) -> Report {
    let said = run.conclusion.unwrap_or(run.status.clone());
    let word = match (run.status.as_str(), said.as_str()) {
        ("completed", "success") => Word::Succeeded,
        ("completed", "neutral" | "skipped") => Word::Neutral,
        ("completed", _) => Word::Failed,
        _ => Word::Pending,
    };
    Report {
        name: run.name,
        word,
        said,
        url: run.html_url.or(run.details_url),
    }
}
