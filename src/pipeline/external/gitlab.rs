//! GitLab: the statuses of a commit, jobs of its own pipelines among them.
//!
//! Docs: "List the statuses of a commit" of its commits API.

use super::http::{Http, PAGE, PAGES_MAX, Trouble};
use super::{Report, Word};
use serde::Deserialize;
use std::collections::BTreeMap;

const ACCEPT: &str = "application/json";
/// The header that names the next page; empty on the last.
const NEXT: &str = "x-next-page";

#[derive(Debug, Deserialize)]
struct Status {
    id: u64,
    name: String,
    status: String,
    #[serde(default)]
    allow_failure: bool,
    target_url: Option<String>,
}

/// Everything reported at a commit, the newest word of each.
pub(super) async fn read(http: &Http, project: &str, commit: &str) -> Result<Vec<Report>, Trouble> {
    let path = [
        "projects",
        project,
        "repository",
        "commits",
        commit,
        "statuses",
    ];
    let mut found = Vec::new();
    let mut next = "1".to_owned();
    for _ in 0..PAGES_MAX {
        let size = PAGE.to_string();
        let query = [("per_page", &*size), ("page", &*next)];
        let page = http.get::<Vec<Status>>(&path, &query, ACCEPT).await?;
        found.extend(page.body);
        let header = page.headers.get(NEXT).and_then(|value| value.to_str().ok());
        match header.map(str::trim).filter(|number| !number.is_empty()) {
            Some(number) => next = number.to_owned(),
            None => return Ok(newest(found)),
        }
    }
    let most = PAGE * PAGES_MAX;
    Err(Trouble::Final(format!(
        "more than {most} reports at one commit"
    )))
}

/// A job that was begun anew, or runs in several pipelines of the commit, is there several times.
fn newest(statuses: Vec<Status>) -> Vec<Report> {
    let mut newest: BTreeMap<String, Status> = BTreeMap::new();
    for status in statuses {
        let is_newer = newest
            .get(&status.name)
            .is_none_or(|there| there.id < status.id);
        if is_newer {
            newest.insert(status.name.clone(), status);
        }
    }
    newest.into_values().map(report).collect()
}

fn report(status: Status) -> Report {
    let word = match (status.status.as_str(), status.allow_failure) {
        ("success", _) => Word::Succeeded,
        ("failed" | "canceled" | "skipped" | "manual", true) => Word::Neutral,
        // One that others kept from running has judged nothing; nobody runs it by itself any more.
        ("failed" | "canceled" | "skipped", false) => Word::Failed,
        _ => Word::Pending,
    };
    Report {
        name: status.name,
        word,
        said: status.status,
        url: status.target_url.filter(|url| !url.is_empty()),
    }
}
