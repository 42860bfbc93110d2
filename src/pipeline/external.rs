//! The stage that waits until somebody else's pipeline has judged the commit, on GitHub or GitLab.
//!
//! Nothing reported is never a pass: it is waited for until the time is up, and then it has failed.
//! Must not know what the words it waits for are about.

mod github;
mod gitlab;
mod http;

use super::attempt::{Attempt, Failure, Values, duration_words};
use super::process::{Stop, locked};
use super::values;
use crate::model::pipeline::{ExternalWork, Provider};
use crate::secret;
use http::{Http, Trouble};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

/// Shortest time between two questions.
const INTERVAL_MS_MIN: u64 = 1_000;
/// Most contexts named in one line.
const NAMED_MAX: usize = 5;

/// What somebody said about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    /// The context or the job's name.
    name: String,
    word: Word,
    /// As they call it.
    said: String,
    /// Where one reads more.
    url: Option<String>,
}

/// What a report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Succeeded,
    /// It judged nothing, and that is meant so.
    Neutral,
    Pending,
    Failed,
}

/// What all reports together mean.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed { url: Option<String> },
    Failed { why: String },
    Waiting { on: String },
}

pub(super) async fn run(attempt: &Attempt<'_>, work: &ExternalWork) -> Result<Values, Failure> {
    let commit = attempt.call.revision.as_str();
    if !super::git::is_full(commit) {
        return Err(Failure::Failed(format!(
            "`{commit}` is no commit's full name; the checkout must come before"
        )));
    }
    let token = match &work.token {
        None => None,
        Some(reference) => {
            let fetched = attempt.until.during(secret::fetch(reference)).await?;
            Some(fetched.map_err(|error| format!("token: {error}"))?)
        }
    };
    if let Some(token) = &token {
        locked(&attempt.output).hide("token", token.expose());
    }
    let http = Http::new(&work.url, token)?;
    let mut waiting = Waiting {
        attempt,
        work,
        http,
        commit,
        last: String::new(),
        before: BTreeMap::new(),
    };
    match waiting.go().await {
        Err(Failure::Stopped(Stop::TimeIsUp)) => Err(Failure::Failed(format!(
            "not judged within {}: {}",
            duration_words(attempt.call.timeout_ms),
            waiting.last
        ))),
        done => done,
    }
}

struct Waiting<'a> {
    attempt: &'a Attempt<'a>,
    work: &'a ExternalWork,
    http: Http,
    commit: &'a str,
    /// What was last waited for, as people were told.
    last: String,
    /// What each context said when it was asked before.
    before: BTreeMap<String, Word>,
}

impl Waiting<'_> {
    async fn go(&mut self) -> Result<Values, Failure> {
        let interval = Duration::from_millis(self.work.interval_ms.max(INTERVAL_MS_MIN));
        self.last = "it was not asked yet".to_owned();
        loop {
            let began = Instant::now();
            let pause = match self.attempt.until.during(self.read()).await? {
                Ok(reports) => match self.judge(&reports) {
                    Verdict::Passed { url } => return Ok(passed(url)),
                    Verdict::Failed { why } => return Err(Failure::Failed(why)),
                    Verdict::Waiting { on } => {
                        self.tell(on);
                        interval
                    }
                },
                Err(Trouble::Final(why)) => return Err(Failure::Failed(why)),
                Err(Trouble::Passing(why)) => {
                    self.tell(why);
                    interval
                }
                Err(Trouble::Limited { wait }) => {
                    let wait = wait.max(interval);
                    self.tell(format!(
                        "{} limits how often it may be asked; next in {} s",
                        self.http.host(),
                        wait.as_secs()
                    ));
                    wait
                }
            };
            let pause = pause.saturating_sub(began.elapsed());
            self.attempt.until.during(sleep(pause)).await?;
        }
    }

    fn tell(&mut self, text: String) {
        if text != self.last {
            self.attempt.say(&text);
        }
        self.last = text;
    }

    async fn read(&self) -> Result<Vec<Report>, Trouble> {
        match self.work.provider {
            Provider::Github => github::read(&self.http, &self.work.project, self.commit).await,
            Provider::Gitlab => gitlab::read(&self.http, &self.work.project, self.commit).await,
        }
    }

    fn judge(&mut self, reports: &[Report]) -> Verdict {
        let verdict = judge(&self.work.contexts, reports);
        let now: BTreeMap<_, _> = reports
            .iter()
            .map(|it| (it.name.clone(), it.word))
            .collect();
        let is_settled = self.before == now;
        self.before = now;
        match verdict {
            // More may be reported while the first ones are done already.
            Verdict::Passed { .. } if self.work.contexts.is_empty() && !is_settled => {
                Verdict::Waiting {
                    on: "all that was reported succeeded; looking once more".to_owned(),
                }
            }
            verdict => verdict,
        }
    }
}

fn passed(url: Option<String>) -> Values {
    let url = url.map(|url| ("url".to_owned(), values::own(&url)));
    url.into_iter().collect()
}

/// Judges what was reported: each context that is asked for must have succeeded; where none is asked
/// for, all that there are, at least one, and one that judged something.
fn judge(contexts: &[String], reports: &[Report]) -> Verdict {
    let is_asked = |report: &&Report| contexts.is_empty() || contexts.contains(&report.name);
    let asked: Vec<&Report> = reports.iter().filter(is_asked).collect();
    if let Some(failed) = asked.iter().find(|report| report.word == Word::Failed) {
        let at = failed.url.as_deref().map(|url| format!(" ({url})"));
        let why = format!("{}: {}{}", failed.name, failed.said, at.unwrap_or_default());
        return Verdict::Failed { why };
    }
    let is_there = |name: &&String| asked.iter().any(|report| report.name == **name);
    let absent: Vec<_> = contexts.iter().filter(|name| !is_there(name)).collect();
    let pending = asked.iter().filter(|report| report.word == Word::Pending);
    let pending: Vec<_> = pending.map(|report| &report.name).collect();
    let on: Vec<String> = [("pending: ", pending), ("not reported: ", absent)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("{word}{}", listed(&names)))
        .collect();
    if !on.is_empty() {
        return Verdict::Waiting { on: on.join("; ") };
    }
    let judged = asked.iter().find(|report| report.word == Word::Succeeded);
    match (judged, contexts.is_empty()) {
        (Some(report), _) => Verdict::Passed {
            url: report.url.clone(),
        },
        // Everything that was asked for said that there was nothing to judge.
        (None, false) => Verdict::Passed { url: None },
        (None, true) => Verdict::Waiting {
            on: match asked.is_empty() {
                true => "nothing is reported for the commit".to_owned(),
                false => "nothing that judged the commit is reported".to_owned(),
            },
        },
    }
}

fn listed(names: &[&String]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| name.as_str())
        .collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The time, in seconds since 1970.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
