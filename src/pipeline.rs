//! Does the stages of pipelines on the engine's machine: work trees, programs, containers, images,
//! and waiting for what others judge.
//!
//! Every program of a stage runs under a [`shepherd`], a process of our own binary that ends it with
//! all that it began, also when the engine is killed. Must not know what follows from a result, nor
//! what a rollout is: stages that are one never come here.

mod attempt;
mod checkout;
mod command;
mod docker;
mod environment;
mod external;
mod failing;
mod git;
mod image;
mod lines;
mod output;
mod place;
mod process;
pub mod shepherd;
mod values;
pub mod webhook;

pub use docker::DockerCommand;
pub use place::RUNS_WITH_OUTPUT;

use crate::model::pipeline::{StageCall, StageResult, StageWork};
use crate::model::{Clean, RunId, StageName};
use crate::ports::{LogPage, ReadError, Stages};
use attempt::{Attempt, Failure, Values};
use checkout::Mirrors;
use output::{Newest, Output};
use place::Place;
use process::{SharedOutput, Until};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What stages need to be done.
#[derive(Debug, Clone)]
pub struct StagesOptions {
    /// Everything of theirs is below it: work trees, outputs, mirrors of repositories.
    pub directory: PathBuf,
    /// Our own binary, run with the subcommand [`shepherd::SUBCOMMAND`]; see [`own_program`].
    pub shepherd: PathBuf,
    /// How the docker command is run.
    pub docker: DockerCommand,
}

/// This process's own program, also after its file was replaced by a newer one.
pub fn own_program() -> PathBuf {
    let by_kernel = PathBuf::from("/proc/self/exe");
    match by_kernel.exists() {
        true => by_kernel,
        false => std::env::current_exe().unwrap_or_else(|_| "wheelhouse".into()),
    }
}

/// Does stages on this machine. Cheap to clone.
#[derive(Clone)]
pub struct LocalStages {
    inner: Arc<Inner>,
}

struct Inner {
    options: StagesOptions,
    place: Place,
    mirrors: Mirrors,
    active: Mutex<HashMap<(RunId, StageName), Active>>,
    seen: Mutex<Seen>,
}

/// Runs of this process, so that one is not taken for an old one before anybody could know of it.
#[derive(Default)]
struct Seen {
    /// When a stage of a run last began or ended here.
    at: HashMap<RunId, Instant>,
    /// Runs that somebody asked to keep: where they are not asked for any more, they are over.
    kept: BTreeSet<RunId>,
}

impl Seen {
    /// Whether a run that is not to be kept may still be a new one.
    fn may_be_new(&self, run: RunId) -> bool {
        let is_recent = self.at.get(&run).is_some_and(|at| at.elapsed() < NEW);
        is_recent && !self.kept.contains(&run)
    }
}

/// So long a run may be under way before those who ask what to keep must know of it.
const NEW: Duration = Duration::from_secs(60);

/// A stage under way.
struct Active {
    attempt: u32,
    canceled: CancellationToken,
    newest: Newest,
}

impl LocalStages {
    /// Nothing is touched yet.
    pub fn new(options: StagesOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                place: Place::new(options.directory.clone()),
                options,
                mirrors: Mirrors::default(),
                active: Mutex::default(),
                seen: Mutex::default(),
            }),
        }
    }

    /// Removes what is not needed any more: the work trees of all runs but those to keep and those
    /// under way, and the outputs of all but the newest [`RUNS_WITH_OUTPUT`] runs. A run that began
    /// here within the last minute stays until it was kept once: whoever says what to keep may not
    /// have known of it. Idempotent. Blocks on the file system: call it where that may be.
    pub fn tidy(&self, keep: &BTreeSet<RunId>) {
        let place = &self.inner.place;
        // What begins after this is no old run's.
        let there = place.runs();
        let mut stay = keep.clone();
        stay.extend(self.active().keys().map(|(run, _)| *run));
        let mut seen = self.seen();
        seen.kept.extend(keep);
        stay.extend(there.iter().filter(|run| seen.may_be_new(**run)));
        seen.kept.retain(|run| stay.contains(run));
        seen.at
            .retain(|run, at| stay.contains(run) || at.elapsed() < NEW);
        drop(seen);
        place.tidy(there, &stay);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        let seen = self.inner.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<(RunId, StageName), Active>> {
        let active = self.inner.active.lock();
        active.unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stage among those under way, until the value goes.
    fn enter(&self, call: &StageCall) -> Result<Entered<'_>, String> {
        let key = (call.run, call.stage.clone());
        let canceled = CancellationToken::new();
        let newest = Newest::default();
        let entry = Active {
            attempt: call.attempt,
            canceled: canceled.clone(),
            newest: newest.clone(),
        };
        let mut active = self.active();
        if let Some(there) = active.get(&key) {
            let attempt = there.attempt;
            return Err(format!("its attempt {attempt} is still under way"));
        }
        active.insert(key.clone(), entry);
        drop(active);
        self.seen().at.insert(call.run, Instant::now());
        Ok(Entered {
            stages: self,
            key,
            canceled,
            newest,
        })
    }

    async fn attempt(&self, call: &StageCall, entered: &Entered<'_>) -> StageResult {
        let inner = &self.inner;
        let path = inner.place.output(call.run, &call.stage, call.attempt);
        let begun = inner.place.make(call.run);
        let begun = begun.and_then(|()| Output::begin(path, entered.newest.clone()));
        let output = match begun {
            Ok(output) => Arc::new(Mutex::new(output)),
            Err(error) => {
                let shown = inner.place.run(call.run);
                let why = format!("{} cannot be written: {error}", shown.display());
                return failed(&why);
            }
        };
        let attempt = Attempt {
            options: &inner.options,
            place: &inner.place,
            call,
            until: Until {
                canceled: entered.canceled.clone(),
                deadline: Instant::now() + Duration::from_millis(call.timeout_ms),
            },
            output: Arc::clone(&output),
        };
        let done = self.work(&attempt).await;
        let result = attempt.result(done);
        attempt.say(&ending(&result));
        drop(attempt);
        end(output).await;
        result
    }

    async fn work(&self, attempt: &Attempt<'_>) -> Result<Values, Failure> {
        match &attempt.call.work {
            StageWork::Checkout => checkout::run(attempt, &self.inner.mirrors).await,
            StageWork::Command(work) => command::run(attempt, work).await,
            StageWork::Build(work) => image::build(attempt, work).await,
            StageWork::Push { image } => image::push(attempt, image).await,
            StageWork::External(work) => external::run(attempt, work).await,
            StageWork::Deploy(_) => Err(Failure::Failed(
                "a deploy is a rollout, which the engine itself does; this is a fault in Wheelhouse"
                    .to_owned(),
            )),
        }
    }
}

/// A stage among those under way.
struct Entered<'a> {
    stages: &'a LocalStages,
    key: (RunId, StageName),
    canceled: CancellationToken,
    newest: Newest,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.stages.seen().at.insert(self.key.0, Instant::now());
        self.stages.active().remove(&self.key);
    }
}

fn failed(why: &str) -> StageResult {
    StageResult::Failed {
        why: Clean::line(why, failing::WHY_CHARS_MAX),
    }
}

/// The last line of an output.
fn ending(result: &StageResult) -> String {
    match result {
        StageResult::Passed { .. } => "passed".to_owned(),
        StageResult::Failed { why } => format!("failed: {why}"),
        StageResult::Unknown { why } => format!("nobody knows how far it got: {why}"),
        StageResult::Skipped { why } => format!("skipped: {why}"),
        StageResult::Canceled => "canceled".to_owned(),
    }
}

/// Has an output compressed. Where somebody still writes to it, that is done when runs are tidied.
async fn end(output: SharedOutput) {
    let Some(output) = Arc::into_inner(output) else {
        return;
    };
    let output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Its only fault would be a panic, and that is reported.
    let _ = tokio::task::spawn_blocking(move || output.end()).await;
}

impl Stages for LocalStages {
    async fn run(&self, call: StageCall) -> StageResult {
        let entered = match self.enter(&call) {
            Ok(entered) => entered,
            Err(why) => return failed(&why),
        };
        self.attempt(&call, &entered).await
    }

    fn cancel(&self, run: RunId, stage: &StageName) {
        if let Some(active) = self.active().get(&(run, stage.clone())) {
            active.canceled.cancel();
        }
    }

    fn last_line(&self, run: RunId, stage: &StageName) -> Option<Clean> {
        self.active().get(&(run, stage.clone()))?.newest.get()
    }

    async fn logs(
        &self,
        run: RunId,
        stage: &StageName,
        attempt: u32,
        from: u64,
    ) -> Result<LogPage, ReadError> {
        let path = self.inner.place.output(run, stage, attempt);
        let read = tokio::task::spawn_blocking(move || output::page(&path, from)).await;
        let wrong = |why: String| ReadError(Clean::new(&format!("output of {stage}: {why}")));
        let page = read.map_err(|error| wrong(error.to_string()))?;
        let page = page.map_err(|error| wrong(error.to_string()))?;
        let none = || wrong(format!("nothing is kept of its attempt {attempt}"));
        page.ok_or_else(none)
    }
}
