//! The one who tells a story: a connection to its engine, with words for what a story needs.

use super::chapter::Chapter;
use super::repository::{Change, RepositoryError};
use super::stage::{ENVIRONMENT, Stage, StageError};
use crate::link::wire::{CommandRequest, Reply, Request};
use crate::link::{Client, ClientOptions, socket_path};
use crate::model::command::{Answer, Refusal};
use crate::model::{Clean, Placement, RolloutNumber, RunNumber, StageName, Status, Version};
use crate::view::snapshot::PlacementView;
use crate::view::{RunView, Snapshot};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For one request to the engine.
const ASK: Duration = Duration::from_secs(10);
/// Between two attempts while the history cannot be written.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// For one scene; the longest is a canary of four steps.
pub(super) const SCENE: Duration = Duration::from_secs(75);

/// Why a story broke off.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The stage.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A commit.
    #[error("cannot commit")]
    Repository(#[from] RepositoryError),
    /// The engine could not be asked, or answered otherwise than the story goes.
    #[error("{0}")]
    Turned(String),
}

pub(super) fn turned(text: impl Into<String>) -> StoryError {
    StoryError::Turned(text.into())
}

/// A connection to the story's engine.
#[derive(Debug)]
pub struct Teller {
    client: Client,
    placement: Placement,
}

impl Teller {
    /// Connects to a stage's engine, to tell a chapter of its service.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(stage: &Stage, chapter: Chapter) -> Result<Self, StoryError> {
        let options = ClientOptions::command(None);
        let socket = socket_path(&stage.state_dir());
        let (client, _) = Client::connect(&socket, &options)
            .await
            .map_err(|error| turned(error.to_string()))?;
        let placement = format!("{}@{ENVIRONMENT}", chapter.service())
            .parse()
            .map_err(|error: crate::model::NameError| turned(error.to_string()))?;
        Ok(Self { client, placement })
    }

    /// The chapter's service, where it runs.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Sends a command and expects it to be accepted; asks again for a while where a busy disk
    /// stands in the way. `None` where it is carried out before it could be recorded.
    ///
    /// # Errors
    /// When it is refused or not answered.
    pub async fn command(
        &self,
        command: CommandRequest,
    ) -> Result<Option<RolloutNumber>, StoryError> {
        let verb = command.verb();
        let until = Instant::now() + ASK;
        loop {
            let command = command.clone();
            match self.client.ask(Request::Command { command }, ASK).await {
                Ok(Reply::Answer {
                    answer: Answer::Accepted { number, .. },
                }) => return Ok(Some(number)),
                Ok(Reply::Answer {
                    answer: Answer::Unrecorded { .. },
                }) => return Ok(None),
                Ok(Reply::Answer {
                    answer: Answer::Refused(Refusal::HistoryBroken { .. }),
                }) if Instant::now() < until => sleep(ASK_AGAIN).await,
                Ok(other) => return Err(turned(format!("{verb}: {other:?}"))),
                Err(error) => return Err(turned(format!("{verb}: {error}"))),
            }
        }
    }

    /// Sends a command that begins a rollout; gives its number.
    ///
    /// # Errors
    /// As [`Teller::command`].
    pub async fn begin(&self, command: CommandRequest) -> Result<RolloutNumber, StoryError> {
        let number = self.command(command).await?;
        number.ok_or_else(|| turned("a rollout began without a record"))
    }

    /// Deploys a version.
    ///
    /// # Errors
    /// As [`Teller::command`].
    pub async fn deploy(&self, version: &str) -> Result<RolloutNumber, StoryError> {
        let version: Version = version
            .parse()
            .map_err(|error: crate::model::NameError| turned(error.to_string()))?;
        let placement = self.placement.clone();
        self.begin(CommandRequest::Deploy {
            placement,
            version,
            reason: None,
            request_id: None,
        })
        .await
    }

    /// Waits until the placement's view is as wanted, at most one scene long.
    ///
    /// # Errors
    /// When it does not become so, or the engine goes away.
    pub async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&PlacementView) -> bool,
    ) -> Result<Arc<Snapshot>, StoryError> {
        in_one_scene(what, self.when(wanted)).await
    }

    /// Waits until the placement's view is as wanted, however long a person takes.
    ///
    /// # Errors
    /// When the engine goes away.
    pub async fn when(
        &self,
        mut wanted: impl FnMut(&PlacementView) -> bool,
    ) -> Result<Arc<Snapshot>, StoryError> {
        self.shows(|snapshot| snapshot.placement(&self.placement).is_some_and(&mut wanted))
            .await
    }

    /// Waits until everything together is as wanted, however long a person takes.
    ///
    /// # Errors
    /// When the engine goes away.
    pub async fn shows(
        &self,
        mut wanted: impl FnMut(&Snapshot) -> bool,
    ) -> Result<Arc<Snapshot>, StoryError> {
        let watch = self.client.watch(ASK).await;
        let mut snapshots = watch.map_err(|error| turned(error.to_string()))?;
        while let Some(snapshot) = snapshots.next().await {
            if wanted(&snapshot) {
                return Ok(snapshot);
            }
        }
        Err(turned(self.client.why_ended().as_str()))
    }

    /// Waits for a rollout's end and says how it ended.
    ///
    /// # Errors
    /// As [`Teller::until`].
    pub async fn ended(&self, number: RolloutNumber) -> Result<(Status, String), StoryError> {
        let closed =
            |view: &PlacementView| view.last.as_ref().is_some_and(|last| last.number == number);
        let snapshot = self.until(&format!("the end of {number}"), closed).await?;
        let view = snapshot.placement(&self.placement);
        let last = view.and_then(|view| view.last.as_ref());
        last.map(|last| (last.status, last.because.to_string()))
            .ok_or_else(|| turned("the engine forgot a rollout"))
    }

    /// Begins a run of the only pipeline for a change that was committed; gives its number.
    ///
    /// # Errors
    /// When it is refused or not answered.
    pub async fn push(&self, change: Change) -> Result<RunNumber, StoryError> {
        let request = Request::TriggerPipeline {
            pipeline: None,
            branch: None,
            commit: None,
            environment: None,
            reason: Some(Clean::new(change.subject())),
            request_id: None,
        };
        self.about_run("run", request).await
    }

    /// Lets a stage begin that waits for a person.
    ///
    /// # Errors
    /// When it is refused or not answered.
    pub async fn confirm(&self, run: RunNumber, stage: &StageName) -> Result<(), StoryError> {
        let stage = stage.clone();
        let request = Request::ConfirmStage { id: run, stage };
        self.about_run("confirm", request).await.map(|_| ())
    }

    async fn about_run(&self, verb: &str, request: Request) -> Result<RunNumber, StoryError> {
        match self.client.ask(request, ASK).await {
            Ok(Reply::Answer {
                answer: Answer::Run { run, .. } | Answer::RunBegun { run },
            }) => Ok(run),
            Ok(other) => Err(turned(format!("pipeline {verb}: {other:?}"))),
            Err(error) => Err(turned(format!("pipeline {verb}: {error}"))),
        }
    }

    /// Waits until a run is as wanted, at most one scene long.
    ///
    /// # Errors
    /// When it does not become so, or the engine goes away.
    pub async fn run_until(
        &self,
        what: &str,
        number: RunNumber,
        mut wanted: impl FnMut(&RunView) -> bool,
    ) -> Result<RunView, StoryError> {
        let shown = self.shows(|snapshot| run(snapshot, number).is_some_and(&mut wanted));
        let snapshot = in_one_scene(what, shown).await?;
        let found = run(&snapshot, number).cloned();
        found.ok_or_else(|| turned(format!("the engine forgot {number}")))
    }
}

/// A run among those that are shown.
pub(super) fn run(snapshot: &Snapshot, number: RunNumber) -> Option<&RunView> {
    snapshot.runs.iter().find(|run| run.number == number)
}

/// Waits at most one scene long.
async fn in_one_scene<T>(
    what: &str,
    waits: impl Future<Output = Result<T, StoryError>>,
) -> Result<T, StoryError> {
    match timeout(SCENE, waits).await {
        Ok(ended) => ended,
        Err(_) => Err(turned(format!(
            "waited {} s for {what} in vain",
            SCENE.as_secs()
        ))),
    }
}
