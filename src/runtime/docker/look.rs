//! Looks over what a release would need on this host, before anything is done: its image and the
//! login for it, the container it is cloned from, room; and what it changes. Changes nothing.

use super::connect::{CallError, Connection};
use super::read::{list, ours};
use super::{DockerRuntime, clone, difference, labels, login};
use crate::model::container::{Container, Pin, repository};
use crate::model::service::Workload;
use crate::model::{Clean, Placement, ServerName};
use crate::ports::{NOTE, RuntimeLook};
use bollard::Docker;
use bollard::models::SystemInfo;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// For a registry's answer.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(6);
/// Less room on the daemon's disk makes it unfit.
const DISK_MIN_BYTES: u64 = 256 << 20;
/// Less room than this is worth a word.
const DISK_LOW_BYTES: u64 = 4 << 30;

/// What stands in an image's name while no version is known.
const VERSION: &str = "{version}";

/// Lines as they gather.
#[derive(Default)]
struct Lines(Vec<Clean>);

impl Lines {
    fn unfit(&mut self, text: &str) {
        self.0.push(Clean::new(text));
    }

    fn note(&mut self, text: &str) {
        self.0.push(Clean::new(&format!("{NOTE}{text}")));
    }
}

impl DockerRuntime {
    pub(super) async fn look_over(
        &self,
        placement: &Placement,
        workload: &Workload,
        servers: &[(ServerName, SocketAddr)],
    ) -> Result<RuntimeLook, CallError> {
        let (_, docker) = self.connection.api().await?;
        let mut lines = Lines::default();
        let Some(container) = &workload.container else {
            lines.unfit("the service has no image; add image = \"…\" to it");
            return Ok(RuntimeLook {
                lines: lines.0,
                pinned: None,
            });
        };
        let info = docker.info().await.map_err(CallError::from)?;
        room(
            &self.connection,
            &info,
            container,
            servers.len(),
            &mut lines,
        );
        let pin = match container.image.contains(VERSION) {
            true => {
                lines.note(
                    "no release stands whose image could be looked at; `wheelhouse deploy … \
                     --dry-run` looks at the one it names",
                );
                None
            }
            false => self.pin(&docker, &container.image, &mut lines).await?,
        };
        let mut found = (**container).clone();
        if let Some(source) = &container.clone {
            match cloned(&docker, source, container).await? {
                Ok(taken) => found = taken,
                Err(why) => lines.unfit(&why),
            }
        }
        found.pin = pin;
        self.changes(&docker, placement, &found, workload, &mut lines)
            .await?;
        let pinned = found.pin.is_some().then_some(found);
        Ok(RuntimeLook {
            lines: lines.0,
            pinned,
        })
    }

    /// What the image's name stands for now: by the registry, else by what is on the host.
    async fn pin(
        &self,
        docker: &Docker,
        image: &str,
        lines: &mut Lines,
    ) -> Result<Option<Pin>, CallError> {
        let here = match docker.inspect_image(image).await.map_err(CallError::from) {
            Ok(here) => Some(here),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error),
        };
        let digests = here.as_ref().and_then(|here| here.repo_digests.clone());
        let digests = digests.unwrap_or_default();
        if let (Some(here), true) = (&here, digests.is_empty()) {
            lines.note(&format!(
                "image {image} is on this host only; no registry has it"
            ));
            return Ok(here.id.clone().map(Pin::HostImage));
        }
        let known = digests.iter().find_map(|digest| {
            let (name, digest) = digest.split_once('@')?;
            (name == repository(image)).then(|| digest.to_owned())
        });
        match self.ask_registry(docker, image).await {
            Ok(digest) => {
                if known.as_ref().is_some_and(|known| *known != digest) {
                    lines.note(&format!(
                        "image {image} moved in its registry since this host pulled it; the one there now is taken"
                    ));
                }
                Ok(Some(Pin::Digest(digest)))
            }
            Err((Certainty::Absent | Certainty::Refused, why)) => {
                lines.unfit(&format!("image {image}: {why}"));
                Ok(None)
            }
            Err((Certainty::NoAnswer, why)) => {
                match &known {
                    Some(_) => lines.note(&format!(
                        "image {image}: {why}; the one that is on this host is taken"
                    )),
                    None => lines.unfit(&format!("image {image} is not on this host, and {why}")),
                }
                Ok(known.map(Pin::Digest))
            }
        }
    }

    /// The digest that an image's name stands for in its registry, as this host's daemon sees it.
    pub(super) async fn ask_registry(
        &self,
        docker: &Docker,
        image: &str,
    ) -> Result<String, (Certainty, String)> {
        let registry = login::registry(image);
        let login = self.logins.of(image).await;
        let login = login.map_err(|why| (Certainty::Refused, why))?;
        let logged_in = login.is_some();
        let asked = docker.inspect_registry_image(image, login);
        let Ok(answer) = tokio::time::timeout(REGISTRY_DEADLINE, asked).await else {
            let why = format!("registry {registry} does not answer within 6 s");
            return Err((Certainty::NoAnswer, why));
        };
        let error = match answer.map_err(CallError::from) {
            Ok(answer) => {
                let digest = answer.descriptor.digest;
                let missing = || (Certainty::NoAnswer, format!("{registry} names no digest"));
                return digest.ok_or_else(missing);
            }
            Err(error) => error,
        };
        let text = error.to_string();
        let low = text.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| low.contains(word));
        if says(&[
            "unauthorized",
            "denied",
            "authentication required",
            "no basic auth",
        ]) {
            let mend = match logged_in {
                true => "check the login's user and password",
                false => {
                    "add a login under [runtime.NAME.registry], or `docker login` as the engine's user"
                }
            };
            let why = format!("registry {registry} refuses the login ({text}); {mend}");
            return Err((Certainty::Refused, why));
        }
        if says(&[
            "not found",
            "manifest unknown",
            "name unknown",
            "no such manifest",
        ]) {
            let why = format!("registry {registry} does not have it ({text}); push it first");
            return Err((Certainty::Absent, why));
        }
        Err((Certainty::NoAnswer, format!("registry {registry}: {text}")))
    }

    /// What the release changes, against what runs now; else against what it is cloned from.
    async fn changes(
        &self,
        docker: &Docker,
        placement: &Placement,
        new: &Container,
        workload: &Workload,
        lines: &mut Lines,
    ) -> Result<(), CallError> {
        let all = list(docker).await?;
        let ours = ours(docker, &all, placement).await?;
        let newest = ours
            .iter()
            .filter(|ours| ours.is_running())
            // What is kept running is verified: the rest may be a release that was taken back.
            .max_by_key(|ours| (ours.keeps_running(), ours.inspected.created.clone()));
        let Some(asked) = newest.and_then(|ours| ours.known.asked.clone()) else {
            return Ok(());
        };
        let labels::Asked { container, env } = asked;
        for line in difference::difference((&container, &env), (new, &workload.env)) {
            lines.note(&format!("changes {line}"));
        }
        Ok(())
    }
}

/// What a registry said instead of a digest, or that it said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It has no such image.
    Absent,
    /// It says no.
    Refused,
    NoAnswer,
}

/// The container with the shape of another one taken in; the inner error makes it unfit.
async fn cloned(
    docker: &Docker,
    source: &str,
    container: &Container,
) -> Result<Result<Container, String>, CallError> {
    let inspected = match docker
        .inspect_container(source, None)
        .await
        .map_err(CallError::from)
    {
        Ok(inspected) => inspected,
        Err(error) if error.is_absent() => {
            return Ok(Err(format!(
                "container {source}, which is to be cloned, is not on this host; \
                 name one that is, or write its keys under [service.NAME.container]"
            )));
        }
        Err(error) => return Err(error),
    };
    let image = inspected.image.clone().unwrap_or_default();
    let image = docker
        .inspect_image(&image)
        .await
        .map_err(CallError::from)?;
    let (shape, env): (_, BTreeMap<_, _>) = clone::shape_of(&inspected, &image);
    Ok(Ok(clone::taken_in(container, &shape, &env)))
}

/// Memory and disk for the new instances. A daemon on another machine tells only its total memory.
fn room(
    connection: &Connection,
    info: &SystemInfo,
    container: &Container,
    servers: usize,
    lines: &mut Lines,
) {
    let total = info.mem_total.and_then(|total| u64::try_from(total).ok());
    let limit = container.shape.memory_bytes;
    // Servers are twice the instances: half of them are new at a time.
    let need = limit.map(|limit| limit * servers.div_ceil(2) as u64);
    if let (Some(need), Some(total)) = (need, total)
        && need > total
    {
        lines.unfit(&format!(
            "the new instances may use {} MB of memory, but the host has {} MB; lower memory",
            need >> 20,
            total >> 20
        ));
    }
    if !connection.endpoint().is_local() {
        lines.note("how much memory and disk is free on its host cannot be seen from here");
        return;
    }
    let free = free_memory_bytes();
    if let (Some(need), Some(free)) = (need, free)
        && need > free
    {
        lines.note(&format!(
            "the new instances may use {} MB of memory, and {} MB are free",
            need >> 20,
            free >> 20
        ));
    }
    let root = info.docker_root_dir.as_deref().unwrap_or_default();
    match free_disk_bytes(root) {
        Some(free) if free < DISK_MIN_BYTES => lines.unfit(&format!(
            "only {} MB are free in {root}; remove images or containers, e.g. docker system prune",
            free >> 20
        )),
        Some(free) if free < DISK_LOW_BYTES => {
            lines.note(&format!("{} MB are free in {root}", free >> 20));
        }
        Some(_) => {}
        None => lines.note(&format!("how much is free in {root} cannot be seen")),
    }
}

fn free_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024)
}

fn free_disk_bytes(path: &str) -> Option<u64> {
    let seen = rustix::fs::statvfs(path).ok()?;
    Some(seen.f_bavail * seen.f_frsize)
}
