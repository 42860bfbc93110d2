//! Reads `[webhook]`: who may ask for runs of which pipelines from outside. Must not know how a
//! request is spoken or proved.

use super::accepted::{RULE, SOURCE, WEBHOOK};
use super::errors::{Problems, quoted};
use super::pipeline::{Ground, PROVIDERS, environment, is_ref, project};
use super::reader::{Located, Reader};
use super::service;
use super::suggest;
use super::tree::{Node, Place};
use crate::model::pipeline::{PipelineSpec, Provider, StageWork};
use crate::model::secret::SecretRef;
use crate::model::{EnvName, PipelineName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Repositories that may ask.
const SOURCES_MAX: usize = 50;

/// Rules of one of them.
const RULES_MAX: usize = 50;

/// Where webhooks are listened for, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where; on this machine only, unless the writer said otherwise.
    pub listen: SocketAddr,
    /// Who may ask; at least one, and no two of the same provider and repository.
    pub sources: Vec<WebhookSource>,
}

/// One repository that may ask for runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSource {
    /// Whose requests they are.
    pub provider: Provider,
    /// What proves a request: GitHub's signature is made with it, GitLab sends it.
    pub secret: SecretRef,
    /// `owner/name`, on GitLab with groups; compared without regard to case.
    pub repository: String,
    /// What is begun; the first that fits counts, and where none does, nothing is begun.
    pub rules: Vec<WebhookRule>,
}

/// What is begun for what was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRule {
    /// What must have been pushed.
    pub pushed: Pushed,
    /// The pipeline that is begun; it is configured.
    pub pipeline: PipelineName,
    /// How far it goes; `None`: all the way.
    pub environment: Option<EnvName>,
}

/// A branch or a tag by its name without `refs/…`; `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// A branch, pushed or merged into.
    Branch(String),
    /// A tag.
    Tag(String),
}

impl Pushed {
    /// The pattern, whatever it is for.
    pub fn pattern(&self) -> &str {
        match self {
            Self::Branch(pattern) | Self::Tag(pattern) => pattern,
        }
    }

    /// Whether everything that fits another one fits this one before it.
    fn hides(&self, later: &Self) -> bool {
        let same_kind = std::mem::discriminant(self) == std::mem::discriminant(later);
        same_kind && (self.pattern() == "*" || self.pattern() == later.pattern())
    }
}

/// The pipelines there are.
type Pipelines = BTreeMap<PipelineName, PipelineSpec>;

/// Reads the table; `None` where it is absent, and then nobody listens.
pub(super) fn read(
    ground: &Ground<'_>,
    pipelines: &Pipelines,
    listeners: &[(SocketAddr, String)],
) -> Option<WebhookSettings> {
    let node = ground.root.get("webhook")?;
    let reader = Reader::new(node, &WEBHOOK, ground.problems);
    node.table()?;
    let listen = listen(&reader, listeners, ground.problems);
    let sources = sources(ground, pipelines, &reader);
    Some(WebhookSettings {
        listen: listen?,
        sources,
    })
}

/// Where: loopback, unless `exposed` says that it may be more.
fn listen(
    reader: &Reader<'_>,
    listeners: &[(SocketAddr, String)],
    problems: &Problems<'_>,
) -> Option<SocketAddr> {
    let exposed = reader.flag("exposed", false);
    if !reader.mentions("listen", &WEBHOOK) {
        let mend = "add a port of this machine, e.g. listen = \"127.0.0.1:9095\"";
        reader.missing("listen", mend);
    }
    let found = service::listen(reader.node("listen")?, problems)?;
    let address = found.value;
    if !address.ip().is_loopback() && !exposed {
        let what = format!("{address} can be reached from other machines, without encryption");
        let mend = "listen at 127.0.0.1 and put a TLS proxy in front, or add exposed = true";
        problems.error(&found.place, what, mend);
    }
    let overlaps = |other: &&(SocketAddr, String)| {
        let (a, b) = (other.0.ip(), address.ip());
        other.0.port() == address.port() && (a == b || a.is_unspecified() || b.is_unspecified())
    };
    if let Some((_, by)) = listeners.iter().find(overlaps) {
        let what = format!("{address} is taken by {by}");
        problems.error(&found.place, what, "choose another port");
    }
    Some(address)
}

fn sources(ground: &Ground<'_>, pipelines: &Pipelines, webhook: &Reader<'_>) -> Vec<WebhookSource> {
    const MEND: &str = "add a table [[webhook.source]] for each repository";
    if !webhook.mentions("source", &WEBHOOK) {
        webhook.missing("source", MEND);
    }
    let Some(list) = webhook.list("source", MEND) else {
        return Vec::new();
    };
    limit(&list, SOURCES_MAX, MEND, ground.problems);
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for node in list.value.iter().take(SOURCES_MAX) {
        let Some((source, place)) = source(ground, pipelines, node) else {
            continue;
        };
        if !seen.insert((source.provider, source.repository.to_lowercase())) {
            let what = format!("{} has a source already", quoted(&source.repository));
            ground.problems.error(&place, what, "join their rules");
        }
        sources.push(source);
    }
    sources
}

/// Reports a list that is empty or too long.
fn limit(list: &Located<&[Node]>, most: usize, mend: &str, problems: &Problems<'_>) {
    if list.value.is_empty() {
        problems.error(&list.place, "is empty", mend);
    }
    if let Some(over) = list.value.get(most) {
        let what = format!("is one of more than {most}");
        problems.error(&over.place, what, "use patterns: \"release/*\"");
    }
}

fn source(
    ground: &Ground<'_>,
    pipelines: &Pipelines,
    node: &Node,
) -> Option<(WebhookSource, Place)> {
    let reader = Reader::new(node, &SOURCE, ground.problems);
    node.table()?;
    for (key, mend) in [
        ("provider", "add provider = \"github\" or \"gitlab\""),
        (
            "secret",
            "add where it is, e.g. secret = \"env:WEBHOOK_SECRET\"",
        ),
        (
            "repository",
            "add who asks, e.g. repository = \"acme/shop\"",
        ),
        ("rules", RULES_MEND),
    ] {
        if !reader.mentions(key, &SOURCE) {
            reader.missing(key, mend);
        }
    }
    let provider = reader.word("provider", &PROVIDERS);
    let mend = "a secret itself has no place in a configuration";
    let secret: Option<Located<SecretRef>> = reader.parsed("secret", mend);
    let repository = reader.text("repository").filter(|text| {
        let is_one = project(text.value);
        if !is_one {
            let what = format!("{} is no repository", quoted(text.value));
            let mend = "write OWNER/NAME as in its address; on GitLab with its groups";
            ground.problems.error(&text.place, what, mend);
        }
        is_one
    });
    let rules = rules(ground, pipelines, &reader);
    let repository = repository?;
    let source = WebhookSource {
        provider: provider?.value,
        secret: secret?.value,
        repository: repository.value.to_owned(),
        rules,
    };
    Some((source, repository.place))
}

const RULES_MEND: &str = "add what is begun, e.g. rules = [{ branch = \"main\", \
                          pipeline = \"shop\" }]";

fn rules(ground: &Ground<'_>, pipelines: &Pipelines, source: &Reader<'_>) -> Vec<WebhookRule> {
    let Some(list) = source.list("rules", RULES_MEND) else {
        return Vec::new();
    };
    limit(&list, RULES_MAX, RULES_MEND, ground.problems);
    let mut rules: Vec<WebhookRule> = Vec::new();
    for node in list.value.iter().take(RULES_MAX) {
        let Some(rule) = rule(ground, pipelines, node) else {
            continue;
        };
        if let Some(first) = rules.iter().find(|it| it.pushed.hides(&rule.pushed)) {
            let what = format!(
                "is never reached: {} comes before it, and the first rule that fits counts",
                quoted(first.pushed.pattern())
            );
            let mend = "take it out, or move it up";
            ground.problems.error(&node.place, what, mend);
        }
        rules.push(rule);
    }
    rules
}

fn rule(ground: &Ground<'_>, pipelines: &Pipelines, node: &Node) -> Option<WebhookRule> {
    let reader = Reader::new(node, &RULE, ground.problems);
    node.table()?;
    let pushed = pushed(&reader, ground.problems);
    if !reader.mentions("pipeline", &RULE) {
        reader.missing("pipeline", "name the pipeline that is begun");
    }
    let name: Option<Located<PipelineName>> = reader.parsed("pipeline", "name a pipeline");
    let pipeline = name.as_ref().and_then(|name| {
        let found = pipelines.get(&name.value);
        if found.is_none() && !ground.is_written("pipeline", name.value.as_str()) {
            let known = pipelines.keys().map(PipelineName::as_str);
            let what = format!("pipeline {} is not configured", quoted(name.value.as_str()));
            let mend = suggest::mend(name.value.as_str(), known);
            ground.problems.error(&name.place, what, mend);
        }
        found
    });
    let written = reader.text("environment");
    let target = written.as_ref().and_then(|text| environment(ground, text));
    if let (Some(text), Some(target), Some(pipeline)) = (&written, &target, pipeline) {
        is_reached(pipeline, target, &text.place, ground);
    }
    Some(WebhookRule {
        pushed: pushed?,
        pipeline: name?.value,
        environment: target,
    })
}

/// Exactly one of a branch and a tag.
fn pushed(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<Pushed> {
    let named = |key: &str| {
        let text = reader.text(key)?;
        if !is_ref(text.value) {
            let what = format!("{} is no {key}", quoted(text.value));
            let mend = "write a name or a pattern without refs/, e.g. \"main\", \"v*\"";
            problems.error(&text.place, what, mend);
        }
        Some(text)
    };
    match (named("branch"), named("tag")) {
        (Some(branch), None) => Some(Pushed::Branch(branch.value.to_owned())),
        (None, Some(tag)) => Some(Pushed::Tag(tag.value.to_owned())),
        (Some(_), Some(tag)) => {
            let mend = "make two rules of it";
            problems.error(&tag.place, "stands beside branch", mend);
            None
        }
        (None, None) => {
            let written = ["branch", "tag"]
                .iter()
                .any(|key| reader.mentions(key, &RULE));
            if !written {
                let what = "says neither branch nor tag";
                let mend = "add what must have been pushed, e.g. branch = \"main\"";
                problems.error(reader.place(), what, mend);
            }
            None
        }
    }
}

/// A run that goes as far as an environment needs a deploy to it.
fn is_reached(pipeline: &PipelineSpec, target: &EnvName, place: &Place, ground: &Ground<'_>) {
    let deploys = pipeline
        .stages
        .iter()
        .filter_map(|stage| match &stage.work {
            StageWork::Deploy(work) => Some(work.spec.placement.environment.as_str()),
            _ => None,
        });
    let mut reached: Vec<&str> = deploys.collect();
    reached.dedup();
    // That an environment is unknown, or a stage faulty, has been told.
    let known = ground.environments.contains_key(target) && ground.is_whole(pipeline);
    if !known || reached.contains(&target.as_str()) {
        return;
    }
    let what = format!("{} never deploys to {target}", pipeline.name);
    let mend = match reached.is_empty() {
        true => "take it out: the pipeline deploys nowhere".to_owned(),
        false => format!("use one of: {}", reached.join(", ")),
    };
    ground.problems.error(place, what, mend);
}
