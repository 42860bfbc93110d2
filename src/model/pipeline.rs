//! Pipelines: from a commit through stages to production, as they are declared and as they run.
//!
//! A run keeps the settings it began with to its end. Its stages form a graph without circles, in
//! the order in which they are declared; the first is the checkout. What a stage hands to later
//! ones are values, by name.

use super::secret::SecretRef;
use super::{
    Actor, Clean, EffectId, EnvName, PipelineName, RequestId, RunId, RunNumber, ServiceSpec,
    StageName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Values that one stage may hand on, and the bytes of each.
pub const VALUES_MAX: usize = 32;
/// Bytes of one value.
pub const VALUE_BYTES_MAX: usize = 1_024;
/// Ended runs that are kept with all their stages.
pub const RUNS_KEPT: usize = 50;

/// A pipeline as the configuration resolves it when a run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// Its name.
    pub name: PipelineName,
    /// The repository: a directory of the engine's machine, or what `git clone` takes.
    pub repository: String,
    /// The branch whose newest commit is meant where nobody says another.
    pub branch: String,
    /// In the order in which they are declared; the first is the checkout.
    pub stages: Vec<StageSpec>,
    /// Runs of this pipeline under way at once, at least 1; further ones wait.
    pub at_once: u32,
    /// What a new run means for older ones of the same branch.
    pub when_busy: WhenBusy,
}

impl PipelineSpec {
    /// A stage by its name.
    pub fn stage(&self, name: &StageName) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.name == *name)
    }
}

/// What a new run means for older ones of the same branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// It waits until they are over.
    #[default]
    Queue,
    /// They are canceled, unless a deploy of theirs has begun.
    Newest,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Its name, unique within the pipeline.
    pub name: StageName,
    /// Stages that must have passed, or been skipped, before it begins; all declared before it.
    pub needs: Vec<StageName>,
    /// What is done.
    pub work: StageWork,
    /// When it is done at all.
    #[serde(default)]
    pub when: When,
    /// For one attempt.
    pub timeout_ms: u64,
    /// Further attempts after a failed one.
    #[serde(default)]
    pub retries: u32,
    /// Before the first further attempt; doubled before each one after it.
    #[serde(default)]
    pub backoff_ms: u64,
    /// What becomes of it when the engine ended while it was under way.
    #[serde(default)]
    pub rerun: Rerun,
}

/// What becomes of a stage when the engine ended while it was under way, so that nobody knows how
/// far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rerun {
    /// A person is asked.
    #[default]
    Ask,
    /// It is begun anew: done twice it does no harm.
    Safe,
}

/// When a stage is done; otherwise it is skipped, and what needs it goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct When {
    /// Only for these branches; `*` stands for any characters. Empty: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Only in runs that go as far as one of these environments. Empty: in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvName>,
}

/// Whether a text is as a pattern says, in which `*` stands for any characters.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(begin) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum StageWork {
    /// A clean work tree of the commit. Its values: `commit`, `short`, `subject`, `author`,
    /// `files`, `insertions`, `deletions`, `commits`.
    Checkout,
    /// A program in the work tree.
    Command(CommandWork),
    /// `docker build` in the work tree. Its values: `image` (with its tag) and `image_id`.
    Build(BuildWork),
    /// `docker push` of a built image. Its values: `image` and `digest` (`sha256:…`), read back from
    /// the registry.
    Push {
        /// The image with its tag; `{…}` are filled in.
        image: String,
    },
    /// Waits until somebody else's pipeline has judged the commit. Its values: `url`.
    External(ExternalWork),
    /// A rollout. Its values: `rollout`, `version`, `digest` where there is one.
    Deploy(Box<DeployWork>),
}

impl StageWork {
    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Command(work) if work.image.is_some() => "container",
            Self::Command(_) => "command",
            Self::Build(_) => "build",
            Self::Push { .. } => "push",
            Self::External(_) => "external",
            Self::Deploy(_) => "deploy",
        }
    }
}

/// A program in the work tree, on the engine's machine or in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandWork {
    /// The program and its arguments, no shell; `{…}` are filled in.
    pub command: Vec<String>,
    /// The image of the container it runs in, with the work tree mounted at `/work`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where it runs, below the work tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Variables beside those every stage has; `{…}` are filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are secrets, resolved when it begins and kept nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// An image to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildWork {
    /// The image with its tag; `{…}` are filled in.
    pub image: String,
    /// The build's context, below the work tree.
    pub context: String,
    /// The Dockerfile, below the context.
    pub dockerfile: String,
    /// Build arguments; `{…}` are filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
}

/// Whose word is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalWork {
    /// Which service's programming interface.
    pub provider: Provider,
    /// Where that is: `https://api.github.com`, `https://gitlab.com/api/v4`.
    pub url: String,
    /// `owner/name` on GitHub; a project's path or number on GitLab.
    pub project: String,
    /// The contexts (GitHub) or names (GitLab) that must have succeeded; empty: all that there are,
    /// and at least one.
    pub contexts: Vec<String>,
    /// The token to ask with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// Between two questions.
    pub interval_ms: u64,
}

/// A service that keeps repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// GitHub, and what speaks as it does.
    Github,
    /// GitLab.
    Gitlab,
}

impl Provider {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
        }
    }
}

/// A rollout as a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployWork {
    /// The service in its environment, as the configuration resolved it when the run began.
    pub spec: ServiceSpec,
    /// The version; `{…}` are filled in.
    pub version: String,
    /// The manifest its image must be, `sha256:…`; `{…}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether a person must let it begin.
    pub confirm: bool,
}

/// What begins a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// A commit, a branch or a tag: what the checkout takes.
    pub revision: Clean,
    /// The branch or tag, for rules that ask for it.
    pub branch: Clean,
    /// How far it goes: stages for other environments are skipped. `None`: all the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// Why, as the person said; who pushed, where a webhook asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Clean>,
    /// The same one never begins two runs: a webhook's delivery among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The webhook that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
}

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// Its settings.
    pub spec: PipelineSpec,
    /// What began it.
    pub trigger: Trigger,
    /// Who began it.
    pub by: Actor,
    /// When.
    pub began_ms: u64,
    /// Its stages.
    pub stages: BTreeMap<StageName, StageRun>,
    /// Who canceled it, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled: Option<Clean>,
    /// How it ended, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<RunEnded>,
}

impl Run {
    /// A value that a stage handed on.
    pub fn value(&self, stage: &StageName, name: &str) -> Option<&Clean> {
        self.stages.get(stage)?.values.get(name)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    /// How.
    pub result: RunResult,
    /// When.
    pub at_ms: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    /// Every stage passed or was skipped.
    Passed,
    /// A stage failed.
    Failed,
    /// Somebody canceled it, or a newer run did.
    Canceled,
}

impl RunResult {
    /// What it is, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// A stage within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRun {
    /// How far it is.
    pub status: StageStatus,
    /// Attempts begun so far.
    pub attempts: u32,
    /// The intent behind the newest attempt; 0 before the first.
    pub intent: EffectId,
    /// Since when it has its status.
    pub since_ms: u64,
    /// How long it took, where it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// What it handed on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Clean>,
    /// Whether a person let it begin.
    #[serde(default)]
    pub confirmed: bool,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum StageStatus {
    /// Not begun.
    Waiting,
    /// Under way.
    Running,
    /// An attempt failed; the next one comes at this time.
    Resting {
        /// When.
        until_ms: u64,
        /// Why the last one failed.
        why: Clean,
    },
    /// The engine ended while it was under way: a person says what becomes of it.
    Unknown {
        /// What is known.
        why: Clean,
    },
    /// It passed.
    Passed,
    /// It failed for good.
    Failed {
        /// Why.
        why: Clean,
    },
    /// It was not done.
    Skipped {
        /// Why.
        why: Clean,
    },
    /// It was ended, or not begun, because the run was canceled.
    Canceled,
}

impl StageStatus {
    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Passed | Self::Failed { .. } | Self::Skipped { .. } | Self::Canceled
        )
    }

    /// Whether what needs it may go on.
    pub fn lets_on(&self) -> bool {
        matches!(self, Self::Passed | Self::Skipped { .. })
    }

    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Resting { .. } => "resting",
            Self::Unknown { .. } => "unknown",
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Canceled => "canceled",
        }
    }
}

/// What an attempt of a stage came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StageResult {
    /// It passed, and hands this on.
    Passed {
        /// At most [`VALUES_MAX`].
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        values: BTreeMap<String, Clean>,
    },
    /// It failed.
    Failed {
        /// In one line, the failing line of its output where there is one.
        why: Clean,
    },
    /// Nobody knows how far it got.
    Unknown {
        /// What is known.
        why: Clean,
    },
    /// It was not done.
    Skipped {
        /// Why.
        why: Clean,
    },
    /// It was ended, or not begun, because the run was canceled.
    Canceled,
}

/// One attempt of a stage, with everything filled in: what the driver is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCall {
    /// The run.
    pub run: RunId,
    /// Its number.
    pub number: RunNumber,
    /// The stage.
    pub stage: StageName,
    /// Counted from 1.
    pub attempt: u32,
    /// The repository.
    pub repository: String,
    /// The commit, full, once the checkout has found it; before, what is to be checked out.
    pub revision: Clean,
    /// The commit that stands in the furthest environment, for statistics of what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Clean>,
    /// What is done; nothing is left to fill in.
    pub work: StageWork,
    /// What every stage of the run is told: `WHEELHOUSE_COMMIT` and the like.
    pub env: BTreeMap<String, String>,
    /// For this attempt.
    pub timeout_ms: u64,
}

/// How long a stage took when it last passed, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usual {
    /// When each ended, and how long it took.
    pub took: VecDeque<(u64, u64)>,
}

impl Usual {
    /// Passes that are kept.
    pub const KEPT: usize = 30;
    /// How far back they count.
    pub const DAYS_MS: u64 = 30 * 24 * 3_600_000;

    /// Takes in a pass.
    pub fn add(&mut self, at_ms: u64, took_ms: u64) {
        self.took.push_back((at_ms, took_ms));
        if self.took.len() > Self::KEPT {
            self.took.pop_front();
        }
    }

    /// The median of the 30 days before a time; `None` where there is none.
    pub fn median_ms(&self, before_ms: u64) -> Option<u64> {
        let recent = self.took.iter();
        let recent =
            recent.filter(|(at_ms, _)| *at_ms < before_ms && at_ms + Self::DAYS_MS >= before_ms);
        let mut took: Vec<u64> = recent.map(|(_, took_ms)| *took_ms).collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}

/// All pipelines, as recorded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pipelines {
    /// Runs begun so far.
    pub begun: u64,
    /// Open runs, and the newest [`RUNS_KEPT`] ended ones.
    pub runs: BTreeMap<RunNumber, Run>,
    /// How long stages usually take, by pipeline.
    pub usual: BTreeMap<PipelineName, BTreeMap<StageName, Usual>>,
    /// Requests that began a run, oldest first: webhooks' deliveries among them.
    pub requests: VecDeque<RunRequested>,
}

/// A request that began a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequested {
    /// What the asker called it.
    pub id: RequestId,
    /// The run it began.
    pub number: RunNumber,
    /// When.
    pub at_ms: u64,
}

impl Pipelines {
    /// Nothing was ever begun.
    pub fn is_empty(&self) -> bool {
        self.begun == 0
    }

    /// Runs that are not over, oldest first.
    pub fn open(&self) -> impl Iterator<Item = (&RunNumber, &Run)> {
        self.runs.iter().filter(|(_, run)| run.ended.is_none())
    }
}
