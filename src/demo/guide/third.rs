//! The third chapter beside a person's console: commits arrive, the person lets production begin.

use super::{PAUSE, THE_END};
use crate::demo::repository::{Change, Repository};
use crate::demo::teller::{StoryError, Teller, run};
use crate::model::RunNumber;
use crate::model::pipeline::RunResult;
use crate::view::RunView;
use tokio::time::sleep;

/// The commits that arrive, in their order.
const CHANGES: [Change; 2] = [Change::Fix, Change::Break];

/// Commits each change once the run of the one before it is over, however it ended.
pub(super) async fn arrivals(teller: &Teller, commits: &Repository) -> Result<(), StoryError> {
    for change in CHANGES {
        sleep(PAUSE).await;
        commits.commit(change).await?;
        let number = pushed(teller, change).await?;
        let over = teller.shows(|snapshot| run(snapshot, number).is_some_and(|run| !run.is_open()));
        over.await?;
    }
    Ok(())
}

/// Begins a run; asks again where a busy disk stands in the way, as long as the engine is there.
async fn pushed(teller: &Teller, change: Change) -> Result<RunNumber, StoryError> {
    loop {
        match teller.push(change).await {
            Ok(number) => return Ok(number),
            Err(refused) => tracing::info!("{} comes later: {refused}", change.subject()),
        }
        sleep(PAUSE).await;
        teller.shows(|_| true).await?;
    }
}

/// Whether the last commit's run has ended.
pub(super) fn is_over(runs: &[RunView]) -> bool {
    let mut runs = runs.iter();
    runs.any(|run| change(run) == Some(Change::Break) && !run.is_open())
}

/// The change that a run is about; `None` for a run that the person began.
fn change(run: &RunView) -> Option<Change> {
    let reason = run.reason.as_ref()?.as_str();
    let mut changes = CHANGES.into_iter();
    changes.find(|change| change.subject() == reason)
}

/// What there is to see and to try now; `runs` begin with the newest.
pub(super) fn line(runs: &[RunView]) -> String {
    let Some(run) = runs.first() else {
        return "Chapter 3, a pipeline: a commit comes in a moment. p shows its run.".to_owned();
    };
    match (run.result, change(run)) {
        (None, change) => during(run, change),
        (Some(_), _) if is_over(runs) => format!("{} {THE_END}", ended(run)),
        (Some(_), _) => format!("{} The next commit comes in a moment.", ended(run)),
    }
}

fn during(run: &RunView, change: Option<Change>) -> String {
    let number = run.number;
    let waits = run.stages.iter().any(|stage| stage.waits_for_person);
    let deploys = run.stages.iter().find_map(|stage| {
        let runs = stage.status == "running";
        stage.rollout.filter(|_| runs)
    });
    match (change, deploys) {
        _ if waits => format!(
            "{number} waits for a person before production. p, then L; the environment's name, Tab, \
             Enter let it begin."
        ),
        (_, Some(rollout)) => format!(
            "{number} is in production: {rollout} is a canary like any other, at 50 %, then at \
             100 %."
        ),
        (Some(Change::Break), _) => {
            "This commit breaks the cart. Touch nothing: its test will say so. p shows its run, l \
             goes deeper to a stage's output."
                .to_owned()
        }
        (Some(_), _) => {
            "This commit fixes the cart: lint and test run side by side. p shows its run, l goes \
             deeper to a stage's output."
                .to_owned()
        }
        (None, _) => format!("{number} is a run of your own. X cancels it."),
    }
}

/// How a run ended.
fn ended(run: &RunView) -> String {
    let number = run.number;
    match (run.result, run.foremost()) {
        (Some(RunResult::Passed), _) => format!("{number} passed: its commit has all traffic."),
        (Some(RunResult::Failed), Some(stage)) if stage.rollout.is_none() => {
            format!(
                "{number} failed at {}, and not one request met it.",
                stage.name
            )
        }
        (Some(result), _) => format!("{number}: {}.", result.word()),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{after, service, showing};
    use super::*;
    use crate::model::{RolloutKind, RolloutNumber, RunId, Status};
    use crate::view::pipeline::StageView;
    use crate::view::snapshot::PlacementView;
    use uuid::Uuid;

    fn stage(name: &str, status: &str) -> StageView {
        StageView {
            name: name.parse().expect("a name"),
            work: "command".to_owned(),
            needs: Vec::new(),
            status: status.to_owned(),
            why: None,
            since_ms: 0,
            took_ms: None,
            usual_ms: None,
            attempts: 0,
            placement: None,
            rollout: None,
            waits_for_person: false,
            last_line: None,
            values: Default::default(),
        }
    }

    fn run_of(reason: &str, stages: Vec<StageView>) -> RunView {
        RunView {
            number: RunNumber(1),
            id: RunId(Uuid::nil()),
            pipeline: "web".parse().expect("a name"),
            branch: "main".into(),
            commit: None,
            subject: None,
            changed: None,
            by: "ada".into(),
            reason: Some(reason.into()),
            began_ms: 0,
            result: None,
            ended_ms: None,
            canceled: None,
            waits: None,
            left_ms: None,
            stages,
        }
    }

    fn over(change: Change, result: RunResult) -> RunView {
        RunView {
            result: Some(result),
            ..run_of(change.subject(), vec![stage("test", "failed")])
        }
    }

    #[test]
    fn the_line_leads_through_a_run_to_production() {
        let fix = Change::Fix.subject();
        let tests = run_of(fix, vec![stage("test", "running")]);
        assert!(line(&[tests]).contains("side by side"));
        let mut production = stage("production", "waiting");
        production.waits_for_person = true;
        let waits = run_of(fix, vec![stage("test", "passed"), production.clone()]);
        assert!(line(&[waits]).contains("then L"));
        production.waits_for_person = false;
        production.status = "running".to_owned();
        production.rollout = Some(RolloutNumber(7));
        let deploys = run_of(fix, vec![stage("test", "passed"), production]);
        assert!(line(&[deploys]).contains("#7 is a canary"));
        let passed = over(Change::Fix, RunResult::Passed);
        assert!(line(&[passed]).contains("The next commit comes"));
        let breaks = run_of(Change::Break.subject(), vec![stage("test", "running")]);
        assert!(line(&[breaks]).contains("Touch nothing"));
    }

    #[test]
    fn however_the_person_ends_the_runs_the_story_comes_to_its_end() {
        let canceled = over(Change::Fix, RunResult::Canceled);
        assert!(!is_over(std::slice::from_ref(&canceled)));
        assert!(line(std::slice::from_ref(&canceled)).contains("canceled. The next"));
        for result in [RunResult::Failed, RunResult::Canceled] {
            let runs = [over(Change::Break, result), canceled.clone()];
            assert!(is_over(&runs));
            assert!(line(&runs).contains("That was the story"));
        }
        let own = run_of("mine", vec![stage("test", "running")]);
        assert!(line(&[own]).contains("X cancels"));
    }

    #[test]
    fn the_chapter_leads_once_the_second_is_over_or_a_run_began() {
        let first = |name: &str| {
            let view = after(RolloutKind::Deploy, "v1", Status::Succeeded);
            service(name, view)
        };
        let said = |stock: PlacementView, runs: Vec<RunView>| {
            let mut snapshot = showing(vec![first("shop"), stock, first("web")]);
            snapshot.runs = runs;
            super::super::line(&snapshot).expect("a line")
        };
        assert!(said(first("stock"), Vec::new()).contains("v2 comes"));
        let restarted = after(RolloutKind::Restart, "v1", Status::Succeeded);
        let over = said(service("stock", restarted), Vec::new());
        assert!(over.contains("Chapter 3"), "{over}");
        let began = run_of(Change::Fix.subject(), vec![stage("test", "running")]);
        assert!(said(first("stock"), vec![began]).contains("side by side"));
    }
}
