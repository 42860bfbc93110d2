//! What the driver needs of the outside world: one small trait per kind of peer.
//!
//! Adapters live in `runtime/` and `balancer/`; one contract test per trait holds the embedded
//! default and the real systems to the same words. Writes return an [`Outcome`], never a bare
//! error: after a failed call nobody knows what happened unless the read-back says so.

use crate::model::container::Container;
use crate::model::effect::ServerSetting;
use crate::model::metrics::{MetricsQuestion, MetricsReading};
use crate::model::pipeline::{StageCall, StageResult};
use crate::model::service::{Backend, HealthCheck, QuietSignal, SmokeTest, Workload};
use crate::model::world::{BalancerReading, Evidence, RuntimeReading, SmokeResult};
use crate::model::{
    Clean, EffectId, Outcome, Placement, ReleaseId, RolloutNumber, RunId, ServerName, ServiceSpec,
    StageName, Stock,
};
use std::future::Future;
use std::net::SocketAddr;

/// Why a peer could not be read. The text names the peer, what went wrong and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub Clean);

/// A write's end, with the read-back that decided it (absent when that failed too).
#[derive(Debug, Clone, PartialEq)]
pub struct Written<R> {
    /// How it ended, by the read-back.
    pub outcome: Outcome,
    /// What the read-back showed.
    pub reading: Option<R>,
}

/// Begins a line of [`Balancer::inspect`] or [`Runtime::inspect`] that makes nothing unfit but says what to expect.
pub const NOTE: &str = "note: ";

/// Something that shares requests between servers.
pub trait Balancer: Send + Sync {
    /// Reads one backend whole.
    ///
    /// # Errors
    /// When the balancer cannot be reached or its answer makes no sense; nothing is assumed.
    fn read(
        &self,
        backend: &Backend,
    ) -> impl Future<Output = Result<BalancerReading, ReadError>> + Send;

    /// Sets servers in the order given, then reads back. Idempotent. Dropping the future leaves
    /// the outcome unknown.
    fn write(
        &self,
        backend: &Backend,
        settings: &[(ServerName, ServerSetting)],
    ) -> impl Future<Output = Written<BalancerReading>> + Send;

    /// Says in lines for people what would make this backend unfit to carry a rollout, and in
    /// lines that begin with [`NOTE`] what to expect of it; empty when there is nothing to say.
    ///
    /// # Errors
    /// When the balancer cannot be asked.
    fn inspect(
        &self,
        backend: &Backend,
        servers: &[(ServerName, SocketAddr)],
    ) -> impl Future<Output = Result<Vec<Clean>, ReadError>> + Send;
}

/// One instance to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The intent; starting the same one twice makes one instance.
    pub id: EffectId,
    /// For which placement.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// Where it must listen.
    pub address: SocketAddr,
    /// The release it is.
    pub release: ReleaseId,
    /// How it is started.
    pub workload: Workload,
    /// Whether the runtime starts it again when it exits.
    pub keep_running: bool,
    /// The rollout that was open when it was intended: for people who look at what runs.
    pub rollout: Option<RolloutNumber>,
}

/// One worker that is to take no new work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// For which placement.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// What tells it.
    pub signal: QuietSignal,
}

/// One instance to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// For which placement.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// Between the polite and the final signal.
    pub grace_ms: u64,
    /// Whether it failed: a runtime that can keeps it, stopped, for people to look at.
    pub failed: bool,
}

impl Stop {
    /// Of an instance that did not fail.
    pub fn of(placement: &Placement, server: &ServerName, grace_ms: u64) -> Self {
        Self {
            placement: placement.clone(),
            server: server.clone(),
            grace_ms,
            failed: false,
        }
    }
}

/// Log lines of an instance, bounded, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogPage {
    /// Where to read on.
    pub next: u64,
    /// Lines lost between the asked position and the first one here.
    pub skipped: u64,
    /// The lines.
    pub lines: Vec<Clean>,
}

/// What a runtime found out about a workload before a release is made of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeLook {
    /// As those of [`Balancer::inspect`]: what makes it unfit, and in lines that begin with
    /// [`NOTE`] what to expect, the difference to what runs now among it.
    pub lines: Vec<Clean>,
    /// The container with its image pinned and its clone taken in; `None` for other workloads,
    /// and where the image was not found.
    pub pinned: Option<Container>,
}

/// Something that runs instances.
pub trait Runtime: Send + Sync {
    /// Reads the placement's instances.
    ///
    /// # Errors
    /// When the runtime cannot be reached.
    fn read(
        &self,
        placement: &Placement,
    ) -> impl Future<Output = Result<RuntimeReading, ReadError>> + Send;

    /// Starts an instance, then reads back. Idempotent: a running instance of the same release
    /// behind the server stays, only its restart policy is brought up to date.
    fn start(&self, start: Start) -> impl Future<Output = Written<RuntimeReading>> + Send;

    /// Sends a worker's first process the signal to take no new work, and lets it end for good when
    /// it is done; then reads back. Done twice to the same process it sends nothing, as long as the
    /// runtime remembers.
    fn quiet(&self, quiet: Quiet) -> impl Future<Output = Written<RuntimeReading>> + Send;

    /// Stops and forgets the instance behind a server, then reads back. Idempotent.
    fn stop(&self, stop: Stop) -> impl Future<Output = Written<RuntimeReading>> + Send;

    /// Reads what a release's instance behind a server left, also while it still runs and, where
    /// the runtime keeps it, once it was stopped. `None` when nothing of it is there.
    ///
    /// # Errors
    /// When the runtime cannot be reached.
    fn evidence(
        &self,
        placement: &Placement,
        server: &ServerName,
        release: ReleaseId,
    ) -> impl Future<Output = Result<Option<Evidence>, ReadError>> + Send;

    /// Looks over what a release would need here: its image, the logins for it, room for the
    /// instances behind these servers. The workload has its version filled in, where one is known.
    /// Changes nothing.
    ///
    /// # Errors
    /// When the runtime cannot be asked.
    fn inspect(
        &self,
        placement: &Placement,
        workload: &Workload,
        servers: &[(ServerName, SocketAddr)],
    ) -> impl Future<Output = Result<RuntimeLook, ReadError>> + Send;

    /// Tells for ever whose instances should be read anew, `None` for everybody's: something
    /// happened to them, or it cannot be known whether something did. Hints only: one may come
    /// late, twice or never, and nothing may depend on it. A runtime without a way to tell, tells
    /// nothing.
    fn watch(
        &self,
        _tell: impl Fn(Option<Placement>) + Send + Sync,
    ) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Finds out whether a release could still be begun here: whether its image or program is on
    /// the host, else whether its registry has it. Changes nothing, within 15 s of its own.
    fn stock(&self, workload: &Workload) -> impl Future<Output = Stock> + Send;

    /// Reads an instance's output from a position on.
    ///
    /// # Errors
    /// When the runtime cannot be reached or keeps no output.
    fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> impl Future<Output = Result<LogPage, ReadError>> + Send;
}

/// Something that measured what releases did.
pub trait Metrics: Send + Sync {
    /// Asks for everything the source supplies about the question's releases, within its own
    /// deadlines: 2 s to connect, 10 s for everything.
    ///
    /// # Errors
    /// When it cannot be reached, refuses, or its answer is ambiguous or makes no sense. That a
    /// release has no series is an answer.
    fn read(
        &self,
        placement: &Placement,
        question: &MetricsQuestion,
    ) -> impl Future<Output = Result<MetricsReading, ReadError>> + Send;

    /// Says in lines for people what would make the source unfit to confirm a rollout, and in
    /// lines that begin with [`NOTE`] what to expect of it; empty when there is nothing to say.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn inspect(
        &self,
        spec: &ServiceSpec,
    ) -> impl Future<Output = Result<Vec<Clean>, ReadError>> + Send;
}

/// Something that does the stages of pipelines.
pub trait Stages: Send + Sync {
    /// Does one attempt of a stage, within its own time. Everything it began has ended when this
    /// returns, and when the future is dropped. Its output is kept, bounded, for [`Stages::logs`].
    fn run(&self, call: StageCall) -> impl Future<Output = StageResult> + Send;

    /// Ends a stage that is under way, with everything it began; [`Stages::run`] returns
    /// [`StageResult::Canceled`] then. Does nothing where none is.
    fn cancel(&self, run: RunId, stage: &StageName);

    /// The newest line of a stage's output that is not empty, while it runs.
    fn last_line(&self, run: RunId, stage: &StageName) -> Option<Clean>;

    /// Reads what an attempt wrote, from a position on; also long after it ended.
    ///
    /// # Errors
    /// When nothing is kept of it.
    fn logs(
        &self,
        run: RunId,
        stage: &StageName,
        attempt: u32,
        from: u64,
    ) -> impl Future<Output = Result<LogPage, ReadError>> + Send;
}

/// For an engine that has no pipelines.
#[derive(Debug, Clone, Copy)]
pub struct NoStages;

impl Stages for NoStages {
    async fn run(&self, _: StageCall) -> StageResult {
        let why = "this engine does no stages".into();
        StageResult::Failed { why }
    }

    fn cancel(&self, _: RunId, _: &StageName) {}

    fn last_line(&self, _: RunId, _: &StageName) -> Option<Clean> {
        None
    }

    async fn logs(&self, _: RunId, _: &StageName, _: u32, _: u64) -> Result<LogPage, ReadError> {
        Err(ReadError("this engine does no stages".into()))
    }
}

/// Our own checks of instances. Whoever stops waiting for one ends all that it began.
pub trait Probe: Send + Sync {
    /// Asks one instance whether it is healthy; `Err` says why it is not.
    fn probe(
        &self,
        server: &ServerName,
        address: SocketAddr,
        check: &HealthCheck,
    ) -> impl Future<Output = Result<(), Clean>> + Send;

    /// Puts one instance to a smoke test, once: further attempts are the caller's.
    fn smoke(
        &self,
        server: &ServerName,
        address: SocketAddr,
        test: &SmokeTest,
    ) -> impl Future<Output = SmokeResult> + Send;
}
