//! The configuration: TOML as written → validated settings, or every error at once with file,
//! line, key and mend.
//!
//! Files are read (`file`), parsed and merged (`tree`), read key by key (`world`, `service`,
//! `request`, `strategy`, `takeover`, `slots`, `console`, `pipeline`, `webhook`), laid over each other
//! per service and environment (`resolve`), and judged (`relations`, `check`). Must not know any room but `model`: whether a
//! balancer really is as configured is for `doctor` to say.

pub mod accepted;
mod balancer_log;
mod check;
pub mod console;
mod container;
pub mod defaults;
mod difference;
mod docker;
pub mod durations;
pub mod errors;
mod file;
mod limits;
pub mod metrics;
mod parts;
mod pipeline;
mod policy;
mod reader;
mod relations;
mod request;
mod resolve;
pub mod roles;
mod salvage;
mod search;
mod service;
mod slots;
mod strategy;
mod suggest;
pub mod system;
mod takeover;
mod tree;
pub mod webhook;
pub mod world;

pub use console::{Attention, ConsoleSettings, KeyBinding, Toggle};
pub use difference::Written;
pub use docker::{DaemonAt, DockerSettings, LoginRef, TlsFiles};
pub use errors::{ConfigError, ConfigErrors, Position};
pub use file::FILE_MAX_BYTES;
pub use metrics::{Credentials, PrometheusSettings};
pub use roles::Access;
pub use salvage::state_dir_as_written;
pub use search::{LOCAL_FILE, SYSTEM_FILE, VARIABLE, paths};
pub use system::{Home, Ownership, ownership, policy_file, runtime_dir, system_file};
pub use webhook::{Pushed, WebhookRule, WebhookSettings, WebhookSource};
pub use world::{BalancerSettings, EnvSettings, HaproxySettings, RuntimeSettings, Shares};

use crate::model::pipeline::PipelineSpec;
use crate::model::service::AnalysisSettings;
use crate::model::{
    BalancerName, EnvName, MetricsName, PipelineName, Placement, RuntimeName, ServiceName,
    ServiceSpec,
};
use errors::Problems;
use file::Files;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tree::{Node, Place, Value};

/// Validated settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    console: ConsoleSettings,
    keys: Vec<KeyBinding>,
    state_dir: Option<PathBuf>,
    access: Access,
    environments: BTreeMap<EnvName, EnvSettings>,
    runtimes: BTreeMap<RuntimeName, RuntimeSettings>,
    balancers: BTreeMap<BalancerName, BalancerSettings>,
    metrics: BTreeMap<MetricsName, PrometheusSettings>,
    placements: BTreeMap<Placement, Placed>,
    judging: Judging,
    pipelines: BTreeMap<PipelineName, PipelineSpec>,
    webhook: Option<WebhookSettings>,
}

/// By what the judge goes where no service says otherwise: `[analysis]` and `[canary]` themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Judging {
    /// What it holds against a new release.
    pub analysis: AnalysisSettings,
    /// Requests the new release must have answered before it may pass.
    pub min_requests: u64,
    /// `FILE:LINE` of a p99 limit that is written, and no default.
    pub latency_p99_at: Option<String>,
}

impl Default for Judging {
    fn default() -> Self {
        Self {
            analysis: defaults::analysis(),
            min_requests: defaults::canary().min_requests,
            latency_p99_at: None,
        }
    }
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    spec: ServiceSpec,
    listen: Option<SocketAddr>,
}

/// A configuration as loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What is doubtful, in the shape of errors, but prevents nothing.
    pub warnings: Vec<ConfigError>,
    /// The files, in order.
    pub paths: Vec<PathBuf>,
    /// SHA-256 (hex) over the bytes of all files in order: what `cat FILES | sha256sum` prints.
    pub hash: String,
    /// What is written in them.
    pub written: Written,
}

/// A service that is not in an environment, or a pipeline that is not there. The text says what is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct NotPlaced {
    what: String,
    mend: String,
}

/// Without a home directory nobody knows where the state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the state directory is unknown: you have no home directory; set state_dir in the configuration"
)]
pub struct NoStateDir;

impl Config {
    /// Loads and merges files; for the system engine's, the policy file beside it too. Relative paths written in a file begin at that file's directory.
    ///
    /// # Errors
    /// With every fault of every file. Files that cannot be read, or are no TOML, are reported
    /// before what is written in them is judged.
    pub fn load(paths: &[PathBuf]) -> Result<Loaded, ConfigErrors> {
        if paths.is_empty() {
            let what = "no configuration file is named";
            return Err(ConfigError::of_file(
                Path::new(LOCAL_FILE),
                what,
                "name one with --config",
            )
            .into());
        }
        let mut all = paths.to_vec();
        let policy = system::policy_file();
        let bounded = system::ownership(paths) == Ownership::System;
        // A link that leads nowhere must be found too, and then complain.
        if bounded && policy.symlink_metadata().is_ok() && !all.contains(&policy) {
            all.push(policy);
        }
        Self::of_files(&Files::read(&all).map_err(ConfigErrors)?)
    }

    /// As [`Config::load`], from texts with the paths they go by.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_texts(texts: &[(&Path, &str)]) -> Result<Loaded, ConfigErrors> {
        Self::of_files(&Files::from_texts(texts))
    }

    fn of_files(files: &Files) -> Result<Loaded, ConfigErrors> {
        let problems = Problems::new(files);
        let hash = files.hash();
        let root = tree::parse(files, &problems);
        let config = root.as_ref().map(|root| {
            report_exposure(files, root, &problems);
            resolve::resolve(root, &hash, &problems)
        });
        let (errors, warnings) = problems.finish();
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded {
                config,
                warnings,
                paths: files.paths(),
                hash,
                written: root.as_ref().map(Written::of).unwrap_or_default(),
            }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// A service in an environment, as resolved.
    ///
    /// # Errors
    /// When the service is not in that environment.
    pub fn spec(&self, service: &ServiceName, env: &EnvName) -> Result<&ServiceSpec, NotPlaced> {
        let wanted = |placed: &&Placed| {
            placed.spec.placement.service == *service && placed.spec.placement.environment == *env
        };
        let found = self.placements.values().find(wanted);
        found
            .map(|placed| &placed.spec)
            .ok_or_else(|| self.not_placed(service, env))
    }

    fn not_placed(&self, service: &ServiceName, env: &EnvName) -> NotPlaced {
        let all = || self.placements.keys();
        let homes: Vec<&str> = all()
            .filter(|placement| placement.service == *service)
            .map(|placement| placement.environment.as_str())
            .collect();
        if !homes.is_empty() {
            return NotPlaced {
                what: format!("service {service} is not in environment {env}"),
                mend: format!("it is in: {}", homes.join(", ")),
            };
        }
        let mut services: Vec<&str> = all().map(|p| p.service.as_str()).collect();
        services.dedup();
        NotPlaced {
            what: format!("there is no service {service}"),
            mend: suggest::mend(service.as_str(), services),
        }
    }

    /// Every service in every environment, in order.
    pub fn specs(&self) -> impl Iterator<Item = &ServiceSpec> {
        self.placements.values().map(|placed| &placed.spec)
    }

    /// Every service in every environment, in order.
    pub fn placements(&self) -> impl Iterator<Item = &Placement> {
        self.placements.keys()
    }

    /// Where the embedded proxy listens for a service; `None` behind another balancer.
    pub fn listen(&self, placement: &Placement) -> Option<SocketAddr> {
        self.placements.get(placement)?.listen
    }

    /// An environment.
    pub fn env(&self, name: &EnvName) -> Option<&EnvSettings> {
        self.environments.get(name)
    }

    /// Every environment, in order.
    pub fn environments(&self) -> impl Iterator<Item = (&EnvName, &EnvSettings)> {
        self.environments.iter()
    }

    /// A runtime. The built-in `host` is always there.
    pub fn runtime(&self, name: &RuntimeName) -> Option<&RuntimeSettings> {
        self.runtimes.get(name)
    }

    /// Every runtime, in order.
    pub fn runtimes(&self) -> impl Iterator<Item = (&RuntimeName, &RuntimeSettings)> {
        self.runtimes.iter()
    }

    /// A balancer. The built-in `host` is always there.
    pub fn balancer(&self, name: &BalancerName) -> Option<&BalancerSettings> {
        self.balancers.get(name)
    }

    /// Every balancer, in order.
    pub fn balancers(&self) -> impl Iterator<Item = (&BalancerName, &BalancerSettings)> {
        self.balancers.iter()
    }

    /// Every source of metrics, in order.
    pub fn metrics(&self) -> impl Iterator<Item = (&MetricsName, &PrometheusSettings)> {
        self.metrics.iter()
    }

    /// By what the judge goes where no service says otherwise.
    pub fn judging(&self) -> &Judging {
        &self.judging
    }

    /// A pipeline, as resolved: its deploys hold their services with their parts.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn pipeline(&self, name: &PipelineName) -> Result<&PipelineSpec, NotPlaced> {
        let found = self.pipelines.get(name);
        found.ok_or_else(|| NotPlaced {
            what: format!("there is no pipeline {name}"),
            mend: match self.pipelines.is_empty() {
                true => "add one as [pipeline.NAME] to the configuration".to_owned(),
                false => suggest::mend(name.as_str(), self.pipelines.keys().map(|it| it.as_str())),
            },
        })
    }

    /// Every pipeline, in the order of their names.
    pub fn pipelines(&self) -> impl Iterator<Item = &PipelineSpec> {
        self.pipelines.values()
    }

    /// Where webhooks are listened for; `None`: nowhere.
    pub fn webhook(&self) -> Option<&WebhookSettings> {
        self.webhook.as_ref()
    }

    /// Whether any environment is protected.
    pub fn has_protected(&self) -> bool {
        self.environments.values().any(|env| env.protected)
    }

    /// Where the engine's state lives: as configured, else `wheelhouse` in the user's state
    /// directory. Whoever creates it gives it mode 0700.
    ///
    /// # Errors
    /// When it is not configured and the user has no home.
    pub fn state_dir(&self) -> Result<PathBuf, NoStateDir> {
        self.state_dir
            .clone()
            .or_else(search::default_state_dir)
            .ok_or(NoStateDir)
    }

    /// Who may use a system engine; a personal one is its user's alone.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The screen's settings.
    pub fn console(&self) -> &ConsoleSettings {
        &self.console
    }

    /// The entries of `[keys]`, by action. Whether action and key exist is for the console to say.
    pub fn keys(&self) -> &[KeyBinding] {
        &self.keys
    }
}

impl Loaded {
    /// Where the engine of this configuration lives.
    ///
    /// # Errors
    /// When it is a personal one, none is configured and the user has no home.
    pub fn home(&self) -> Result<Home, NoStateDir> {
        let ownership = system::ownership(&self.paths);
        Ok(match ownership {
            Ownership::Personal => {
                let dir = self.config.state_dir()?;
                Home {
                    ownership,
                    state_dir: dir.clone(),
                    socket_dir: dir,
                }
            }
            Ownership::System => {
                let written = self.config.state_dir.clone();
                Home {
                    ownership,
                    state_dir: written.unwrap_or_else(system::state_dir),
                    socket_dir: system::runtime_dir(),
                }
            }
        })
    }
}

/// Who else may write the files: an error where an environment is protected, else a warning.
fn report_exposure(files: &Files, root: &Node, problems: &Problems<'_>) {
    let protected = writes_protected(root);
    let policy = policy::file(root);
    for (index, file) in files.iter().enumerate() {
        for exposure in &file.exposure {
            let place = Place::file(index);
            if policy == Some(index) {
                let what = format!("{}, and it holds the policy", exposure.what);
                problems.error(&place, what, exposure.mend.as_str());
            } else if protected {
                let what = format!("{}, and it protects an environment", exposure.what);
                problems.error(&place, what, exposure.mend.as_str());
            } else {
                problems.warning(&place, exposure.what.as_str(), exposure.mend.as_str());
            }
        }
    }
}

/// Whether an environment is written as protected, be the rest of it faulty or not.
fn writes_protected(root: &Node) -> bool {
    let environments = root.get("env").and_then(Node::table);
    environments.is_some_and(|environments| {
        environments.values().any(|env| {
            let protected = env.node.get("protected").map(|node| &node.value);
            matches!(protected, Some(Value::Flag(true)))
        })
    })
}
