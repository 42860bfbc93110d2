//! `{…}` in a stage's settings: what earlier stages handed on, and what the run is.

use crate::model::container::Pin;
use crate::model::pipeline::{BuildWork, CommandWork, DeployWork, Run, StageSpec, StageWork};
use crate::model::placeholder::{OWN, next, own_variable, variable};
use crate::model::{Clean, ServiceSpec, StageName, Version};
use std::collections::BTreeMap;

/// What a run can fill in by now.
#[derive(Debug, Clone, Copy)]
pub struct Fill<'a>(&'a Run);

impl<'a> Fill<'a> {
    /// What this run can fill in.
    pub fn of(run: &'a Run) -> Self {
        Self(run)
    }

    /// The full commit, once the checkout has found it.
    pub fn commit(self) -> Option<&'a Clean> {
        self.checkout("commit")
    }

    fn checkout(self, name: &str) -> Option<&'a Clean> {
        let checkout = self.0.spec.stages.first()?;
        self.0.value(&checkout.name, name)
    }

    fn value(self, name: &str) -> Option<&'a str> {
        let run = self.0;
        match name {
            "commit" | "short" => self.checkout(name).map(Clean::as_str),
            "branch" => Some(run.trigger.branch.as_str()),
            "pipeline" => Some(run.spec.name.as_str()),
            _ => {
                let (stage, value) = name.split_once('.')?;
                let stage: StageName = stage.parse().ok()?;
                run.value(&stage, value).map(Clean::as_str)
            }
        }
    }

    /// A text with everything filled in.
    ///
    /// # Errors
    /// With the first name that stands for nothing, in a sentence.
    pub fn text(self, text: &str) -> Result<String, Clean> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next(rest) {
            let value = self.value(name).ok_or_else(|| {
                Clean::new(&format!(
                    "{{{name}}} stands for nothing: no stage handed it on"
                ))
            })?;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn map(self, texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Clean> {
        let filled = texts.iter();
        filled
            .map(|(name, text)| Ok((name.clone(), self.text(text)?)))
            .collect()
    }

    /// What a stage does, with everything filled in. A deploy stays as it is: see
    /// [`Fill::deploy`].
    ///
    /// # Errors
    /// As [`Fill::text`].
    pub fn work(self, work: &StageWork) -> Result<StageWork, Clean> {
        Ok(match work {
            StageWork::Command(work) => StageWork::Command(CommandWork {
                command: work
                    .command
                    .iter()
                    .map(|word| self.text(word))
                    .collect::<Result<_, _>>()?,
                image: work
                    .image
                    .as_deref()
                    .map(|image| self.text(image))
                    .transpose()?,
                env: self.map(&work.env)?,
                ..work.clone()
            }),
            StageWork::Build(work) => StageWork::Build(BuildWork {
                image: self.text(&work.image)?,
                arguments: self.map(&work.arguments)?,
                ..work.clone()
            }),
            StageWork::Push { image } => StageWork::Push {
                image: self.text(image)?,
            },
            StageWork::Checkout | StageWork::External(_) | StageWork::Deploy(_) => work.clone(),
        })
    }

    /// What a deploy stage deploys: the service, its image pinned where the stage says a digest,
    /// and the version.
    ///
    /// # Errors
    /// As [`Fill::text`]; also for a version or digest that is none, and for a digest where the
    /// service is no container.
    pub fn deploy(self, spec: &StageSpec) -> Result<(ServiceSpec, Version), Clean> {
        let StageWork::Deploy(work) = &spec.work else {
            return Err("it is no deploy".into());
        };
        let version = self.text(&work.version)?;
        let version = version
            .parse()
            .map_err(|error: crate::model::NameError| Clean::new(&error.to_string()))?;
        Ok((self.pinned(work)?, version))
    }

    fn pinned(self, work: &DeployWork) -> Result<ServiceSpec, Clean> {
        let mut spec = work.spec.clone();
        let Some(digest) = &work.digest else {
            return Ok(spec);
        };
        let digest = self.text(digest)?;
        if !is_digest(&digest) {
            let why = format!("{digest} is no digest: sha256: and 64 hexadecimal digits");
            return Err(Clean::new(&why));
        }
        let image = spec.workload.container.as_ref().map(|it| it.image.clone());
        let Some(image) = image else {
            let why = format!("{} is no container: it has no digest", spec.placement);
            return Err(Clean::new(&why));
        };
        // What is built once is deployed everywhere: the parts of one image too.
        let all = std::iter::once(&mut spec.workload)
            .chain(spec.parts.iter_mut().map(|part| &mut part.workload));
        let same = all
            .filter_map(|workload| workload.container.as_mut())
            .filter(|container| container.image == image);
        for container in same {
            container.pin = Some(Pin::Digest(digest.clone()));
        }
        Ok(spec)
    }

    /// What every stage is told, by the names of variables.
    pub fn env(self) -> BTreeMap<String, String> {
        let run = self.0;
        let own = OWN.iter().filter_map(|name| {
            let value = self.value(name)?.to_owned();
            Some((own_variable(name), value))
        });
        let handed = run.stages.iter().flat_map(|(stage, at)| {
            let values = at.values.iter();
            values.map(move |(name, value)| (variable(stage, name), value.as_str().to_owned()))
        });
        own.chain(handed).collect()
    }
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}
