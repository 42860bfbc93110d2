//! The story with a person in it: releases arrive by themselves, the person steers, and one line
//! says what there is to see and which key to try.
//!
//! What the line says and what arrives next are functions of what the screen shows, so the story
//! goes on whatever the person does. The first chapter's line is here; the others have files of
//! their own.

mod second;
mod third;

use super::chapter::Chapter;
use super::load::Load;
use super::repository::Repository;
use super::stage::{BAD_VERSION, Stage};
use super::story::{REQUESTS_PER_S, first_deploy, set_stage};
use super::teller::{StoryError, Teller};
use crate::model::{RolloutKind, Status};
use crate::view::Snapshot;
use crate::view::snapshot::{ClosedView, PhaseView, PlacementView, RolloutView};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

const FIRST: &str = "v1";
const GOOD: &str = "v2";
const LAST: &str = "v4";
const THE_END: &str =
    "That was the story; pane 5 kept every step of it. q or Ctrl-C ends everything.";
/// Between the end of one rollout and the next release: time to read why it ended.
const PAUSE: Duration = Duration::from_secs(6);

/// A stage under load, and the releases that arrive on it.
#[derive(Debug)]
pub struct Show {
    stage: Stage,
    /// One for each chapter that has begun, in their order.
    loads: Vec<Arc<OnceLock<Load>>>,
    arrivals: JoinHandle<Result<(), StoryError>>,
}

/// What became of all requests of a show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Requests sent.
    pub sent: u64,
    /// Requests without an answer of an instance.
    pub lost: u64,
}

/// A chapter whose first version serves.
struct Opened {
    chapter: Chapter,
    teller: Arc<Teller>,
    listen: SocketAddr,
    repository: Repository,
    load: Arc<OnceLock<Load>>,
}

impl Show {
    /// Sets the stage for these chapters, brings each one's first version up and puts the load on
    /// the first; `None` when it was interrupted. `tell` hears what is being waited for.
    ///
    /// # Errors
    /// When the stage cannot be set; nothing is left behind then.
    pub async fn begin(
        chapters: &[Chapter],
        tell: &(dyn Fn(&str) + Send + Sync),
        interrupted: impl Future<Output = ()>,
    ) -> Result<Option<Self>, StoryError> {
        let mut interrupted = pin!(interrupted);
        let Some(stage) = set_stage(chapters, interrupted.as_mut()).await? else {
            return Ok(None);
        };
        let opened = tokio::select! {
            opened = opened(&stage, chapters, tell) => opened.map(Some),
            () = interrupted => Ok(None),
        };
        match opened {
            Ok(Some(opened)) => Ok(Some(Self {
                loads: opened.iter().map(|one| Arc::clone(&one.load)).collect(),
                arrivals: tokio::spawn(arrive(opened)),
                stage,
            })),
            Ok(None) => {
                stage.strike().await;
                Ok(None)
            }
            Err(error) => {
                stage.strike().await;
                Err(error)
            }
        }
    }

    /// The configuration file, for a second terminal.
    pub fn config(&self) -> &Path {
        self.stage.config()
    }

    /// Where engine and host keep everything.
    pub fn state_dir(&self) -> PathBuf {
        self.stage.state_dir()
    }

    /// The engine's own log.
    pub fn engine_log(&self) -> PathBuf {
        self.stage.engine_log()
    }

    /// Ends everything and tells what became of the requests.
    pub async fn end(self) -> Sum {
        self.arrivals.abort();
        // What is still to come begins no load any more.
        let _ = self.arrivals.await;
        let mut sum = Sum::default();
        for load in self.loads.iter().filter_map(|load| load.get()) {
            let tally = load.stop().await;
            sum.sent += tally.sent;
            sum.lost += tally.lost;
        }
        self.stage.strike().await;
        sum
    }
}

async fn opened(
    stage: &Stage,
    chapters: &[Chapter],
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Opened>, StoryError> {
    let mut all = Vec::new();
    for chapter in chapters {
        let teller = Teller::connect(stage, *chapter).await?;
        first_deploy(&teller, tell).await?;
        all.push(Opened {
            chapter: *chapter,
            teller: Arc::new(teller),
            listen: stage.listen(*chapter),
            repository: stage.repository().clone(),
            load: Arc::default(),
        });
    }
    Ok(all)
}

/// Tells the chapters one after the other. Each goes on behind the next, for a person who returns
/// to it.
async fn arrive(chapters: Vec<Opened>) -> Result<(), StoryError> {
    let mut told = JoinSet::new();
    for one in chapters {
        one.load
            .get_or_init(|| Load::start(one.listen, REQUESTS_PER_S));
        let (teller, chapter) = (Arc::clone(&one.teller), one.chapter);
        let over = one.teller.shows(|snapshot| chapter.is_over(snapshot));
        told.spawn(async move {
            match chapter {
                Chapter::First | Chapter::Second => arrivals(&teller, chapter).await,
                Chapter::Third => third::arrivals(&teller, &one.repository).await,
            }
        });
        over.await?;
    }
    while let Some(ended) = told.join_next().await {
        if let Ok(Err(error)) = ended {
            return Err(error);
        }
    }
    Ok(())
}

/// Deploys each release when the story has come to it. A refusal (somebody was quicker) is met by
/// looking again.
async fn arrivals(teller: &Teller, chapter: Chapter) -> Result<(), StoryError> {
    loop {
        teller.when(|view| chapter.arriving(view).is_some()).await?;
        sleep(PAUSE).await;
        let snapshot = teller.when(|_| true).await?;
        let view = snapshot.placement(teller.placement());
        if let Some(version) = view.and_then(|view| chapter.arriving(view))
            && let Err(refused) = teller.deploy(version).await
        {
            tracing::info!("{version} comes later: {refused}");
        }
    }
}

impl Chapter {
    /// The release that comes next, `None` while it is the person's turn.
    fn arriving(self, view: &PlacementView) -> Option<&'static str> {
        match self {
            Self::First => arriving(view),
            Self::Second => second::arriving(view),
            // What arrives there are commits.
            Self::Third => None,
        }
    }

    /// Whether more than its first version was brought.
    fn has_begun(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::First => true,
            Self::Second => of(snapshot, self).is_some_and(second::has_begun),
            Self::Third => !snapshot.runs.is_empty(),
        }
    }

    /// Whether nothing is left to be told of it.
    fn is_over(self, snapshot: &Snapshot) -> bool {
        let last = || {
            let view = of(snapshot, self)?;
            view.last.as_ref().filter(|_| view.rollout.is_none())
        };
        match self {
            Self::First => last().is_some_and(|last| {
                last.kind == RolloutKind::Deploy && last.release.version.as_str() == LAST
            }),
            Self::Second => last().is_some_and(|last| last.kind == RolloutKind::Restart),
            Self::Third => third::is_over(&snapshot.runs),
        }
    }

    /// What there is to see and to try in it; `several` is whether it is one of several.
    fn line(self, snapshot: &Snapshot, view: &PlacementView, several: bool) -> String {
        match self {
            Self::First => first_line(view),
            Self::Second => second::line(view, several),
            Self::Third => third::line(&snapshot.runs),
        }
    }
}

/// The release that comes next, `None` while it is the person's turn.
fn arriving(view: &PlacementView) -> Option<&'static str> {
    if view.rollout.is_some() {
        return None;
    }
    let last = view.last.as_ref()?;
    match (last.kind, last.release.version.as_str()) {
        (RolloutKind::Rollback, _) => Some(LAST),
        (RolloutKind::Deploy, FIRST) => Some(GOOD),
        (RolloutKind::Deploy, GOOD) => Some(BAD_VERSION),
        (RolloutKind::Deploy, BAD_VERSION) if view.rollback.is_none() => Some(LAST),
        (RolloutKind::Deploy | RolloutKind::Restart | RolloutKind::Drill, _) => None,
    }
}

/// What there is to see and to try now.
pub fn line(snapshot: &Snapshot) -> Option<String> {
    let all = Chapter::ALL.into_iter();
    let told: Vec<_> = all.filter(|one| of(snapshot, *one).is_some()).collect();
    let chapter = leading(snapshot, &told)?;
    let view = of(snapshot, chapter)?;
    Some(chapter.line(snapshot, view, told.len() > 1))
}

/// The last one that has begun: the one before it is over, or the person did not wait for that.
fn leading(snapshot: &Snapshot, told: &[Chapter]) -> Option<Chapter> {
    let after = told.windows(2).rev().find_map(|pair| match pair {
        [before, chapter] if before.is_over(snapshot) || chapter.has_begun(snapshot) => {
            Some(*chapter)
        }
        _ => None,
    });
    after.or_else(|| told.first().copied())
}

fn of(snapshot: &Snapshot, chapter: Chapter) -> Option<&PlacementView> {
    let mut views = snapshot.placements.iter();
    views.find(|view| view.placement.service.as_str() == chapter.service())
}

fn first_line(view: &PlacementView) -> String {
    match (&view.rollout, &view.last) {
        (Some(open), _) => during(open),
        (None, Some(last)) => between(view, last),
        (None, None) => "The first version is being started.".to_owned(),
    }
}

fn during(open: &RolloutView) -> String {
    let version = open.release.version.as_str();
    let text = match (open.kind, open.phase, version) {
        (_, PhaseView::Reverting, _) => {
            return format!("{version} goes back: {}", open.because);
        }
        _ if open.hold.as_ref().is_some_and(|hold| hold.by_person) => {
            "Held: nothing moves forward by itself, and judging goes on. H resumes, A aborts."
        }
        (RolloutKind::Rollback, ..) => {
            "A rollback takes no canary steps: the old version is proven up, then gets everything."
        }
        (_, PhaseView::Starting | PhaseView::Smoking, _) => {
            "It starts beside the running version and gets no request before its probes pass."
        }
        _ if open.hold.is_some() => {
            "The step at 25 % waits for a person. P opens the dialog; it asks for the \
             environment's name, then Tab and Enter."
        }
        (.., GOOD) => {
            "v2 gets its share step by step (pane 1) and is compared with v1 (pane 2). \
             P goes a step further."
        }
        (.., BAD_VERSION) => {
            "v3 answers one request in twenty with an error. Touch nothing: watch the verdict."
        }
        (.., LAST) => "v4 is sound. Change your mind all the same: A, then y, takes it back.",
        _ => "A release of your own. P promotes, A aborts, H holds.",
    };
    text.to_owned()
}

fn between(view: &PlacementView, last: &ClosedView) -> String {
    let version = last.release.version.as_str();
    let coming = arriving(view).map(|next| format!(" {next} comes in a moment."));
    let coming = coming.unwrap_or_default();
    match (last.kind, version) {
        (RolloutKind::Rollback, _) => format!("{version} has all traffic again.{coming}"),
        (RolloutKind::Deploy, FIRST) => {
            format!("v1 answers {REQUESTS_PER_S} requests a second.{coming}")
        }
        (RolloutKind::Deploy, BAD_VERSION) if view.rollback.is_some() => {
            format!(
                "v3: {}. Now you: R, then y, rolls back further.",
                last.because
            )
        }
        (RolloutKind::Deploy, LAST) => THE_END.to_owned(),
        (RolloutKind::Deploy | RolloutKind::Restart | RolloutKind::Drill, _) => match last.status {
            Status::Succeeded => format!("{version} has all traffic.{coming}"),
            _ => format!("{version}: {}.{coming}", last.because),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::input::EngineInfo;
    use crate::model::{ReleaseId, RolloutId, RolloutNumber};
    use crate::view::snapshot::{EngineView, ReleaseView, RollbackView, TrafficView};
    use uuid::Uuid;

    fn release(version: &str) -> ReleaseView {
        ReleaseView {
            id: ReleaseId(Uuid::nil()),
            version: version.parse().expect("a version"),
        }
    }

    pub(super) fn after(kind: RolloutKind, version: &str, status: Status) -> PlacementView {
        PlacementView {
            placement: "shop@production".parse().expect("a placement"),
            protected: true,
            strategy: None,
            slots: None,
            stable: Some(release("v1")),
            rollout: None,
            last: Some(ClosedView {
                id: RolloutId(Uuid::nil()),
                number: RolloutNumber(1),
                kind,
                release: release(version),
                status,
                at_ms: 0,
                because: "it ended".into(),
            }),
            traffic: TrafficView::default(),
            instances: Vec::new(),
            metrics: Vec::new(),
            trends: Vec::new(),
            tree: Vec::new(),
            rollback: Some(RollbackView {
                version: "v1".parse().expect("a version"),
                readiness: "warm".into(),
                warm_until_ms: None,
            }),
            ready: Vec::new(),
            peers: Vec::new(),
        }
    }

    #[test]
    fn releases_arrive_in_order_and_stop_for_the_person() {
        use RolloutKind::{Deploy, Rollback};
        let next = |kind, version, status| arriving(&after(kind, version, status));
        assert_eq!(next(Deploy, "v1", Status::Succeeded), Some("v2"));
        assert_eq!(next(Deploy, "v2", Status::Succeeded), Some("v3"));
        assert_eq!(next(Deploy, "v2", Status::RolledBack), Some("v3"));
        assert_eq!(next(Deploy, "v3", Status::RolledBack), None);
        assert_eq!(next(Rollback, "v1", Status::Succeeded), Some("v4"));
        assert_eq!(next(Deploy, "v4", Status::RolledBack), None);
    }

    fn engine() -> EngineView {
        EngineView {
            info: EngineInfo {
                version: "0.1.0".to_owned(),
                pid: 1,
                host: "here".into(),
                config_hash: String::new(),
            },
            now_ms: 0,
            started_ms: 0,
            seq: 0,
            history_trouble: None,
            newer: false,
            consoles: Vec::new(),
            read_only: Vec::new(),
            timeline: Vec::new(),
        }
    }

    pub(super) fn service(name: &str, view: PlacementView) -> PlacementView {
        PlacementView {
            placement: format!("{name}@production").parse().expect("a placement"),
            ..view
        }
    }

    pub(super) fn showing(placements: Vec<PlacementView>) -> Snapshot {
        Snapshot {
            engine: engine(),
            placements,
            runs: Vec::new(),
        }
    }

    #[test]
    fn the_second_chapter_leads_once_the_first_is_over() {
        use RolloutKind::Deploy;
        let said = |first: Option<PlacementView>, second: PlacementView| {
            let first = first.map(|view| service("shop", view));
            let placements = first.into_iter().chain([service("stock", second)]);
            line(&showing(placements.collect())).expect("a line")
        };
        let begin = || after(Deploy, "v1", Status::Succeeded);
        let over = || after(Deploy, "v4", Status::RolledBack);
        assert!(said(Some(begin()), begin()).contains("v2 comes"));
        assert!(said(Some(over()), begin()).contains("Chapter 2"));
        let early = after(Deploy, "v2", Status::Succeeded);
        assert!(said(Some(begin()), early).contains("R, then y"));
        assert!(said(None, begin()).contains("v1 in blue"));
    }

    #[test]
    fn nobody_waits_for_a_rollback_that_cannot_be() {
        let mut view = after(RolloutKind::Deploy, "v3", Status::RolledBack);
        view.rollback = None;
        assert_eq!(arriving(&view), Some("v4"));
        let last = view.last.clone().expect("a closed rollout");
        assert!(between(&view, &last).contains("v4 comes"));
    }
}
