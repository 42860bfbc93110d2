//! What an engine needs for its pipelines: who does their stages, who clears up behind them, and
//! who hears webhooks.

use super::Side;
use crate::config::{Config, LoginRef, Pushed, RuntimeSettings, WebhookSettings};
use crate::driver::Peers as _;
use crate::model::command::{Answer, Command, PipelineCommand};
use crate::model::pipeline::Trigger;
use crate::model::{Actor, Clean, RunId};
use crate::pipeline::webhook::{
    self, Started, TriggerAsked, WebhookEvent, WebhookLimits, WebhookRule,
};
use crate::pipeline::{DockerCommand, LocalStages, StagesOptions, own_program};
use crate::runtime::docker::{Login, Logins, Surroundings};
use crate::secret::{self, SecretError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Between two attempts to listen at an address somebody else holds, or to fetch secrets.
const AGAIN: Duration = Duration::from_secs(10);

/// Who does stages, by the logins of every Docker runtime.
pub(super) fn stages(config: &Config, state_dir: &Path) -> LocalStages {
    let login = |(registry, login): (&String, &LoginRef)| {
        let login = Login {
            user: login.user.clone(),
            password: login.password.clone(),
        };
        (registry.clone(), login)
    };
    let docker = config
        .runtimes()
        .filter_map(|(_, settings)| match settings {
            RuntimeSettings::Docker(docker) => Some(docker),
            RuntimeSettings::Host { .. } => None,
        });
    LocalStages::new(StagesOptions {
        directory: state_dir.join("pipelines"),
        shepherd: own_program(),
        docker: DockerCommand {
            program: "docker".into(),
            env: BTreeMap::new(),
            logins: Logins {
                configured: docker.flat_map(|it| it.logins.iter().map(login)).collect(),
                config_dir: Surroundings::of_process().config_dir,
            },
        },
    })
}

impl Side {
    /// Clears up behind runs that ended, until `stop`.
    pub(in crate::cli) async fn clear_up(self: Arc<Self>, stop: CancellationToken) {
        let mut snapshots = self.handle.snapshots();
        let mut before: Option<BTreeSet<RunId>> = None;
        loop {
            let open: BTreeSet<RunId> = {
                let snapshot = snapshots.borrow_and_update();
                let open = snapshot.runs.iter().filter(|run| run.is_open());
                open.map(|run| run.id).collect()
            };
            if before.as_ref() != Some(&open) {
                let (stages, keep) = (self.world().stages().clone(), open.clone());
                let tidied = tokio::task::spawn_blocking(move || stages.tidy(&keep)).await;
                if let Err(error) = tidied {
                    tracing::error!("clearing up behind pipelines: {error}");
                }
                before = Some(open);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = snapshots.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Hears webhooks, until `stop`, where the configuration says so. What it says there holds as
    /// long as the engine runs.
    pub(in crate::cli) async fn hear_webhooks(self: Arc<Self>, stop: CancellationToken) {
        let Some(settings) = self.loaded().config.webhook().cloned() else {
            return;
        };
        let hear = async {
            let rules = rules(&settings).await;
            let listener = bound(&settings).await;
            tracing::info!(address = %settings.listen, "webhooks are heard");
            let settings = webhook::WebhookSettings {
                rules,
                limits: WebhookLimits::usual(),
            };
            let side = Arc::clone(&self);
            let start = move |asked: TriggerAsked| {
                let side = Arc::clone(&side);
                async move { side.start(&asked).await }
            };
            let ends = stop.clone().cancelled_owned();
            webhook::serve(listener, settings, start, ends).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = hear => {}
        }
    }

    /// Begins the run that a webhook asks for.
    async fn start(&self, asked: &TriggerAsked) -> Started {
        let loaded = self.loaded();
        let spec = match loaded.config.pipeline(&asked.pipeline) {
            Ok(spec) => Box::new(spec.clone()),
            Err(error) => return Started::Refused(Clean::new(&error.to_string())),
        };
        let trigger: Box<Trigger> = Box::new(asked.trigger());
        let command = Command::Pipeline(PipelineCommand::Run { spec, trigger });
        match self.handle.command(Actor::Engine, command).await {
            Ok(Answer::Run { run, .. }) => Started::Begun(run),
            Ok(Answer::RunBegun { run }) => Started::Already(run),
            Ok(Answer::Refused(refusal)) => Started::Refused(Clean::new(&refusal.to_string())),
            Ok(other) => Started::Unavailable(Clean::new(&format!("{other:?}"))),
            Err(error) => Started::Unavailable(Clean::new(&error.to_string())),
        }
    }
}

async fn bound(settings: &WebhookSettings) -> TcpListener {
    loop {
        match TcpListener::bind(settings.listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::warn!("webhooks cannot be heard at {}: {error}", settings.listen);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The rules with their secrets, once those can be fetched.
async fn rules(settings: &WebhookSettings) -> Vec<WebhookRule> {
    loop {
        match fetched(settings).await {
            Ok(rules) => return rules,
            Err(error) => tracing::warn!("webhooks are not heard: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn fetched(settings: &WebhookSettings) -> Result<Vec<WebhookRule>, SecretError> {
    let mut rules = Vec::new();
    for source in &settings.sources {
        let secret = secret::fetch(&source.secret).await?;
        for rule in &source.rules {
            let (branches, tags) = match &rule.pushed {
                Pushed::Branch(pattern) => (vec![pattern.clone()], Vec::new()),
                Pushed::Tag(pattern) => (Vec::new(), vec![pattern.clone()]),
            };
            rules.push(WebhookRule {
                provider: source.provider,
                repository: source.repository.clone(),
                secrets: vec![secret.clone()],
                pipeline: rule.pipeline.clone(),
                environment: rule.environment.clone(),
                events: [WebhookEvent::Push, WebhookEvent::Tag, WebhookEvent::Merge].into(),
                branches,
                tags,
            });
        }
    }
    Ok(rules)
}
