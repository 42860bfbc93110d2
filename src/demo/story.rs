//! The story: a good release goes out, a bad one is taken back, and there is a way back from
//! everything. Told unattended as plain lines; [`guide`](super::guide) tells it beside a person's console.
//! Its first chapter is here; the others have files of their own.

mod second;
mod third;

use super::chapter::Chapter;
use super::load::{Load, Tally};
use super::stage::{BAD_VERSION, Pace, Stage};
use super::teller::{SCENE, StoryError, Teller, turned};
use crate::history::{self, Integrity};
use crate::link::wire::CommandRequest;
use crate::model::Status;
use crate::model::command::PromoteTo;
use crate::view::snapshot::{PhaseView, PlacementView};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Requests per second of the story.
pub const REQUESTS_PER_S: u32 = 300;
/// Until what the engine decided shows in its snapshots.
const SNAPSHOT: Duration = Duration::from_millis(150);
/// The bad version must not have answered for this long at the end.
const SILENCE_MS: u64 = 1_000;
/// Requests that are sent while nothing of a version may be met.
const WATCHED: u64 = 300;
/// Between two looks at the tally.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a story promised, and what became of it.
#[derive(Debug, Clone)]
pub struct Promises {
    /// Every promise with whether it held, in words.
    pub kept: Vec<(bool, String)>,
}

impl Promises {
    /// Whether all of them held.
    pub fn held(&self) -> bool {
        self.kept.iter().all(|(held, _)| *held)
    }
}

/// Tells these chapters without a terminal. `tell` gets their lines; `interrupted` ends them early,
/// and everything with it.
///
/// # Errors
/// When the story could not be told to its end; nothing is left behind then either.
pub async fn unattended(
    chapters: &[Chapter],
    tell: &(dyn Fn(&str) + Send + Sync),
    interrupted: impl Future<Output = ()>,
) -> Result<Option<Promises>, StoryError> {
    let mut interrupted = pin!(interrupted);
    let Some(stage) = set_stage(chapters, interrupted.as_mut()).await? else {
        return Ok(None);
    };
    let told = tokio::select! {
        told = told(&stage, chapters, tell) => Some(told),
        () = interrupted => None,
    };
    let state_dir = stage.state_dir();
    let verified = history::verify(&state_dir);
    let gently = stage.strike().await;
    let Some(told) = told else {
        return Ok(None);
    };
    let mut promises = told?;
    let whole = matches!(&verified, Ok(report) if report.integrity == Integrity::Whole);
    promises
        .kept
        .push((whole, "the history verifies".to_owned()));
    let gone = gently && !state_dir.exists();
    promises
        .kept
        .push((gone, "nothing is left behind".to_owned()));
    Ok(Some(promises))
}

/// Sets the stage. Interrupted, it strikes it again: `None`.
pub(super) async fn set_stage(
    chapters: &[Chapter],
    interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Stage>, StoryError> {
    let mut setting = pin!(Stage::set(Pace { soak_s: 10 }, chapters));
    tokio::select! {
        biased;
        () = interrupted => {
            setting.await?.strike().await;
            Ok(None)
        }
        stage = setting.as_mut() => Ok(Some(stage?)),
    }
}

async fn told(
    stage: &Stage,
    chapters: &[Chapter],
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Promises, StoryError> {
    let mut kept = Vec::new();
    for chapter in chapters {
        tell(chapter.title());
        let (teller, load) = opened(stage, *chapter, tell).await?;
        let told = match chapter {
            Chapter::First => scenes(&teller, &load, tell).await.map(Told::First),
            Chapter::Second => second::scenes(&teller, &load, tell).await.map(Told::Second),
            Chapter::Third => {
                let commits = stage.repository();
                let told = third::scenes(&teller, commits, &load, tell).await;
                told.map(|outcome| Told::Third(Box::new(outcome)))
            }
        };
        let tally = load.stop().await;
        for complaint in &tally.complaints {
            tracing::warn!("{complaint}");
        }
        kept.push((
            tally.lost == 0,
            format!("{} requests sent, {} lost", tally.sent, tally.lost),
        ));
        kept.extend(match told? {
            Told::First(outcome) => judge_story(&tally, &outcome),
            Told::Second(outcome) => second::judge(&outcome),
            Told::Third(outcome) => third::judge(&outcome),
        });
    }
    Ok(Promises { kept })
}

/// What a chapter's scenes found.
enum Told {
    First(Outcome),
    Second(second::Outcome),
    Third(Box<third::Outcome>),
}

/// The first version serves, and the load asks it.
async fn opened(
    stage: &Stage,
    chapter: Chapter,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(Teller, Load), StoryError> {
    let teller = Teller::connect(stage, chapter).await?;
    let listen = stage.listen(chapter);
    tell(&format!(
        "host and engine run; the proxy listens at http://{listen}"
    ));
    first_deploy(&teller, tell).await?;
    let load = Load::start(listen, REQUESTS_PER_S);
    tell(&format!(
        "{REQUESTS_PER_S} requests a second from now on, each with an id of its own"
    ));
    Ok((teller, load))
}

/// Waits until the load is as wanted, at most one scene long.
async fn load_until(
    load: &Load,
    what: &str,
    wanted: impl Fn(&Load) -> bool,
) -> Result<(), StoryError> {
    let waits = async {
        while !wanted(load) {
            sleep(LOOK_AGAIN).await;
        }
    };
    let waited = timeout(SCENE, waits).await;
    waited.map_err(|_| turned(format!("waited {} s for {what} in vain", SCENE.as_secs())))
}

/// Waits until so many more requests were sent.
async fn more_requests(load: &Load, count: u64) -> Result<(), StoryError> {
    let asked = load.tally().sent;
    let sent = |load: &Load| load.tally().sent >= asked + count;
    load_until(load, "further requests", sent).await
}

/// What the scenes found, for the promises.
struct Outcome {
    bad_taken_back: bool,
    bad_silent: bool,
    rolled_back: bool,
    aborted: bool,
}

async fn scenes(
    teller: &Teller,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Outcome, StoryError> {
    good_canary(teller, tell).await?;
    let bad_taken_back = bad_canary(teller, load, tell).await?;
    let rolled_back = rollback(teller, tell).await?;
    let aborted = abort(teller, tell).await?;
    let bad_silent = second::silent(load, BAD_VERSION).await.is_ok();
    Ok(Outcome {
        bad_taken_back,
        bad_silent,
        rolled_back,
        aborted,
    })
}

pub(super) async fn first_deploy(
    teller: &Teller,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StoryError> {
    let number = teller.deploy("v1").await?;
    tell(&format!(
        "{number} v1: the first deploy has nothing to compare with"
    ));
    let running = |view: &PlacementView| {
        let traffic = view.traffic.applied_percent == Some(100.0);
        traffic || view.stable.is_some()
    };
    teller.until("v1 to serve", running).await?;
    tell("v1 has the traffic; a person promotes it to finish");
    promote(teller, PromoteTo::Full).await?;
    teller.ended(number).await?;
    Ok(())
}

/// Promotes, again if the rollout moved on meanwhile, as a person would.
async fn promote(teller: &Teller, to: PromoteTo) -> Result<(), StoryError> {
    const ATTEMPTS: usize = 20;
    let waits = |view: &PlacementView| {
        let open = view.rollout.as_ref();
        open.is_none_or(|open| matches!(open.phase, PhaseView::Soaking | PhaseView::Ready))
    };
    let mut why = turned("there was nothing to promote");
    for _ in 0..ATTEMPTS {
        let snapshot = teller.until("something to promote", waits).await?;
        let view = snapshot.placement(teller.placement());
        let Some(open) = view.and_then(|view| view.rollout.as_ref()) else {
            return Ok(());
        };
        let (placement, revision) = (teller.placement().clone(), open.revision);
        match teller
            .command(CommandRequest::Promote {
                placement,
                to,
                revision,
            })
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => why = error,
        }
        // What moved on meanwhile is on its way to the screen.
        sleep(SNAPSHOT).await;
    }
    Err(why)
}

async fn good_canary(
    teller: &Teller,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StoryError> {
    let number = teller.deploy("v2").await?;
    tell(&format!("{number} v2: a canary beside v1, first at 10 %"));
    let at = |percent: f64| {
        move |view: &PlacementView| {
            view.rollout
                .as_ref()
                .is_some_and(|open| open.phase == PhaseView::Soaking)
                && view.traffic.applied_percent == Some(percent)
        }
    };
    teller.until("v2 at 10 %", at(10.0)).await?;
    tell("v2 answers one request in ten; the judge compares it with v1");
    teller.until("v2 at 25 %", at(25.0)).await?;
    tell("step 1 passed by itself; now a person promotes past 25 %");
    promote(teller, PromoteTo::Next).await?;
    teller.until("v2 at 50 %", at(50.0)).await?;
    tell("v2 at 50 %, and from here it goes on by itself");
    match teller.ended(number).await? {
        (Status::Succeeded, because) => {
            tell(&format!("{number} done: {because}; v1 stays warm"));
            Ok(())
        }
        (status, because) => Err(turned(format!(
            "v2 should have succeeded: {status:?}, {because}"
        ))),
    }
}

async fn bad_canary(
    teller: &Teller,
    load: &Load,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<bool, StoryError> {
    let before = load.tally();
    let number = teller.deploy(BAD_VERSION).await?;
    tell(&format!(
        "{number} {BAD_VERSION}: one answer in twenty is an error; nobody touches a key"
    ));
    let (status, because) = teller.ended(number).await?;
    let after = load.tally();
    let hit = after.of(BAD_VERSION).errors - before.of(BAD_VERSION).errors;
    let sent = after.sent - before.sent;
    tell(&format!("{number} taken back: {because}"));
    tell(&format!(
        "{hit} of {sent} requests met an error of {BAD_VERSION} meanwhile"
    ));
    Ok(status == Status::RolledBack)
}

async fn rollback(
    teller: &Teller,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<bool, StoryError> {
    let placement = teller.placement().clone();
    let number = teller
        .begin(CommandRequest::Rollback {
            placement,
            to: None,
            reason: None,
            urgency: crate::model::Urgency::Ordinary,
        })
        .await?;
    tell(&format!(
        "{number} rollback to v1: verified up first, then all traffic at once"
    ));
    let (status, because) = teller.ended(number).await?;
    tell(&format!("{number} done: {because}"));
    Ok(status == Status::Succeeded)
}

async fn abort(teller: &Teller, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<bool, StoryError> {
    let number = teller.deploy("v4").await?;
    tell(&format!("{number} v4: somebody changes their mind at 10 %"));
    let serves = |view: &PlacementView| view.traffic.applied_percent == Some(10.0);
    teller.until("v4 at 10 %", serves).await?;
    let placement = teller.placement().clone();
    let reason = Some("changed our mind".into());
    teller
        .command(CommandRequest::Abort { placement, reason })
        .await?;
    let (status, because) = teller.ended(number).await?;
    tell(&format!("{number} {}: {because}", status.word()));
    Ok(status == Status::RolledBack)
}

fn judge_story(tally: &Tally, outcome: &Outcome) -> Vec<(bool, String)> {
    let share = |answers: u64| answers as f64 * 100.0 / tally.sent.max(1) as f64;
    let bad = tally.of(BAD_VERSION);
    vec![
        (
            outcome.bad_taken_back,
            format!("{BAD_VERSION} was taken back without a person"),
        ),
        (
            outcome.bad_silent,
            format!(
                "{BAD_VERSION} answers no more (it had {:.1} % of all requests)",
                share(bad.answers)
            ),
        ),
        (
            outcome.rolled_back,
            "the rollback moved all traffic to v1".to_owned(),
        ),
        (outcome.aborted, "the abort took v4 back".to_owned()),
    ]
}
