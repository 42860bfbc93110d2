//! The third chapter: a commit goes through a pipeline to production, where a person lets it begin;
//! the next one fails its test and gets no further. Times are those that the engine measured,
//! requests are counted at the load's end of the connections.

use super::{WATCHED, more_requests};
use crate::demo::load::{Load, Tally};
use crate::demo::repository::{Change, Repository};
use crate::demo::stage::ENVIRONMENT;
use crate::demo::teller::{StoryError, Teller, turned};
use crate::model::pipeline::RunResult;
use crate::view::RunView;
use crate::view::pipeline::StageView;

/// What the scenes found, for the promises.
pub(super) struct Outcome {
    fixed: Fixed,
    broken: Broken,
}

/// The commit that goes all the way.
struct Fixed {
    run: RunView,
    /// What its version is called.
    version: String,
    /// Requests that its version answered before a person let it begin.
    early: u64,
    /// Whether its version is what the service runs now.
    is_stable: bool,
}

/// The commit that does not.
struct Broken {
    run: RunView,
    version: String,
    /// Requests that its version answered.
    met: u64,
}

pub(super) async fn scenes(
    teller: &Teller,
    commits: &Repository,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Outcome, StoryError> {
    let fixed = fix(teller, commits, load, tell).await?;
    let broken = break_it(teller, commits, load, tell).await?;
    Ok(Outcome { fixed, broken })
}

/// A sound commit: lint and test side by side, then production once a person lets it begin.
async fn fix(
    teller: &Teller,
    commits: &Repository,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Fixed, StoryError> {
    let change = Change::Fix;
    commits.commit(change).await?;
    let number = teller.push(change).await?;
    tell(&format!(
        "{number} \"{}\" is committed: lint and test begin side by side",
        change.subject()
    ));
    let what = format!("{number} to ask for a person");
    let waits = |run: &RunView| !run.is_open() || waiting(run).is_some();
    let run = teller.run_until(&what, number, waits).await?;
    let stage = waiting(&run).ok_or_else(|| otherwise(&run))?;
    let version = version(&run)?;
    tell(&side_by_side(&run)?);
    more_requests(load, WATCHED).await?;
    let tally = load.tally();
    let early = tally.of(&version).answers;
    tell(&format!(
        "{} waits for a person; {early} of {} requests went to {version}",
        stage.name, tally.sent
    ));
    teller.confirm(number, &stage.name).await?;
    let over = format!("the end of {number}");
    let begun = |run: &RunView| !run.is_open() || production(run).is_some_and(has_rollout);
    let run = teller.run_until(&over, number, begun).await?;
    let rollout = production(&run).and_then(|stage| stage.rollout);
    let rollout = rollout.ok_or_else(|| otherwise(&run))?;
    tell(&format!(
        "confirmed: {rollout} {version} is a canary beside v1, at 50 %, then at 100 %"
    ));
    let run = teller
        .run_until(&over, number, |run| !run.is_open())
        .await?;
    if run.result != Some(RunResult::Passed) {
        return Err(otherwise(&run));
    }
    tell(&format!("{number} passed: {}", times(&run)));
    let snapshot = teller.shows(|_| true).await?;
    let stable = snapshot.placement(teller.placement());
    let stable = stable.and_then(|view| view.stable.as_ref());
    Ok(Fixed {
        is_stable: stable.is_some_and(|release| release.version.as_str() == version),
        run,
        version,
        early,
    })
}

/// A commit whose test fails; the load goes on for a while after that.
async fn break_it(
    teller: &Teller,
    commits: &Repository,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Broken, StoryError> {
    let change = Change::Break;
    commits.commit(change).await?;
    let before = load.tally();
    let number = teller.push(change).await?;
    tell(&format!(
        "{number} \"{}\" is committed; nobody looked at its test",
        change.subject()
    ));
    let over = format!("the end of {number}");
    let run = teller
        .run_until(&over, number, |run| !run.is_open())
        .await?;
    let version = version(&run)?;
    let failed = run.stages.iter().find(|stage| stage.status == "failed");
    let Some(failed) = failed.filter(|_| run.result == Some(RunResult::Failed)) else {
        return Err(otherwise(&run));
    };
    let why = failed.why.as_ref().map_or("", |why| why.as_str());
    tell(&format!("{number} failed: {}: {why}", failed.name));
    more_requests(load, WATCHED).await?;
    let after = load.tally();
    let met = after.of(&version).answers;
    tell(&format!(
        "{met} of {} requests since then met {version}; {}",
        after.sent - before.sent,
        answered_instead(&before, &after)
    ));
    Ok(Broken { run, version, met })
}

/// Which versions answered between two tallies.
fn answered_instead(before: &Tally, after: &Tally) -> String {
    let newly = |version: &str| after.of(version).answers - before.of(version).answers;
    let versions = after.versions.keys();
    let told: Vec<_> = versions
        .map(|version| (newly(version), version))
        .filter(|(count, _)| *count > 0)
        .map(|(count, version)| format!("{version} answered {count}"))
        .collect();
    told.join(", ")
}

/// The stage that waits for a person.
fn waiting(run: &RunView) -> Option<&StageView> {
    run.stages.iter().find(|stage| stage.waits_for_person)
}

fn stage<'a>(run: &'a RunView, name: &str) -> Option<&'a StageView> {
    run.stages.iter().find(|stage| stage.name.as_str() == name)
}

fn production(run: &RunView) -> Option<&StageView> {
    stage(run, ENVIRONMENT)
}

fn has_rollout(stage: &StageView) -> bool {
    stage.rollout.is_some()
}

/// What a run's version is called: its checkout says so.
fn version(run: &RunView) -> Result<String, StoryError> {
    let checkout = run.stages.first();
    let short = checkout.and_then(|stage| stage.values.get("short"));
    let short = short.map(|short| short.as_str().to_owned());
    short.ok_or_else(|| otherwise(run))
}

/// The run did not go as the story does.
fn otherwise(run: &RunView) -> StoryError {
    let failed = run.foremost().map_or_else(String::new, |stage| {
        let why = stage.why.as_ref().map_or("", |why| why.as_str());
        format!(", {} {}: {why}", stage.name, stage.status)
    });
    let result = run.result.map_or("open", RunResult::word);
    turned(format!("{} is {result}{failed}", run.number))
}

/// How long two stages ran at the same time; `None` where one did not end.
fn together_ms(run: &RunView) -> Option<(u64, u64, u64)> {
    let (lint, test) = (stage(run, "lint")?, stage(run, "test")?);
    let (lint_ms, test_ms) = (lint.took_ms?, test.took_ms?);
    let ended_ms = lint.since_ms.min(test.since_ms);
    let began = |stage: &StageView, took_ms| stage.since_ms.saturating_sub(took_ms);
    let began_ms = began(lint, lint_ms).max(began(test, test_ms));
    Some((lint_ms, test_ms, ended_ms.saturating_sub(began_ms)))
}

fn side_by_side(run: &RunView) -> Result<String, StoryError> {
    let (lint_ms, test_ms, both_ms) = together_ms(run).ok_or_else(|| otherwise(run))?;
    Ok(format!(
        "lint passed in {lint_ms} ms and test in {test_ms} ms, {both_ms} ms of it at the same time"
    ))
}

/// What each stage took.
fn times(run: &RunView) -> String {
    let told = run.stages.iter().map(|stage| match stage.took_ms {
        Some(ms) => format!("{} {ms} ms", stage.name),
        None => format!("{} {}", stage.name, stage.status),
    });
    told.collect::<Vec<_>>().join(", ")
}

pub(super) fn judge(outcome: &Outcome) -> Vec<(bool, String)> {
    let Outcome { fixed, broken } = outcome;
    let stages = &fixed.run.stages;
    let passed = stages.iter().filter(|stage| stage.status == "passed");
    let passed = passed.count();
    let both_ms = together_ms(&fixed.run).map_or(0, |(.., both_ms)| both_ms);
    let deploy = production(&broken.run);
    let is_untouched = deploy.is_some_and(|stage| stage.attempts == 0 && !has_rollout(stage));
    vec![
        (
            passed == stages.len() && both_ms > 0,
            format!(
                "{} passed {passed} of {} stages, two of them side by side for {both_ms} ms",
                fixed.run.number,
                stages.len()
            ),
        ),
        (
            fixed.early == 0 && fixed.is_stable,
            format!(
                "{} requests met {} before a person let it begin, and now it has all traffic",
                fixed.early, fixed.version
            ),
        ),
        (
            broken.met == 0 && is_untouched,
            format!(
                "{} never reached {ENVIRONMENT}: {} requests met {}",
                broken.run.number, broken.met, broken.version
            ),
        ),
    ]
}
