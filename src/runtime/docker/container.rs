//! Starts and stops instances. What it did is decided by reading back.

use super::connect::CallError;
use super::pull::Pull;
use super::read::{Ours, behind, list, now_s, ours, publisher};
use super::{Cause, DockerRuntime, NotYet, labels, shape};
use crate::model::container::{Container, Pin};
use crate::model::service::Workload;
use crate::model::world::RuntimeReading;
use crate::model::{Clean, Outcome, Placement};
use crate::ports::{Quiet, Start, Stop, Written};
use bollard::Docker;
use bollard::models::{ContainerUpdateBody, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use std::time::Duration;

/// For one start, its read-back aside; the engine gives both 10 s.
const START_DEADLINE: Duration = Duration::from_secs(7);
/// For one signal, its read-back aside; the engine gives both 5 s.
const QUIET_DEADLINE: Duration = Duration::from_secs(2);
/// Beyond the grace of a stop, its read-back aside; the engine gives both 5 s.
const STOP_MARGIN: Duration = Duration::from_millis(2_800);

/// How a write failed.
enum Failure {
    /// Nothing changed, and it may succeed later.
    NotNow(String),
    /// Nothing changed, and trying again will not mend it.
    ForGood(String),
    /// Nobody knows.
    Lost(String),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreached(why) => Self::NotNow(why),
            CallError::Refused { message, .. } => Self::ForGood(message),
            CallError::Lost(why) => Self::Lost(why),
        }
    }
}

impl From<bollard::errors::Error> for Failure {
    fn from(error: bollard::errors::Error) -> Self {
        CallError::from(error).into()
    }
}

impl DockerRuntime {
    pub(super) async fn start_container(&self, start: Start) -> Written<RuntimeReading> {
        let ended = tokio::time::timeout(START_DEADLINE, self.begin(&start)).await;
        let ended = ended.unwrap_or_else(|_| {
            let seconds = START_DEADLINE.as_secs();
            Err(Failure::Lost(format!("no answer within {seconds} s")))
        });
        match &ended {
            Ok(()) => self.set_not_yet(&start.placement, &start.server, None),
            Err(Failure::ForGood(why)) => self.wait_for(&start, Cause::Failed(Clean::new(why))),
            Err(Failure::NotNow(_) | Failure::Lost(_)) => {}
        }
        let stands = |reading: &RuntimeReading| {
            let view = reading.instances.get(&start.server);
            view.is_some_and(|view| {
                let begun = view.identity.is_some();
                begun && view.release == start.release && view.keep_running == start.keep_running
            })
        };
        self.settle(&start.placement, ended, stands).await
    }

    fn wait_for(&self, start: &Start, cause: Cause) {
        let not_yet = NotYet {
            release: start.release,
            keep_running: start.keep_running,
            cause,
        };
        self.set_not_yet(&start.placement, &start.server, Some(not_yet));
    }

    /// Makes it stand, whatever of it is there already.
    async fn begin(&self, start: &Start) -> Result<(), Failure> {
        let (_, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        let ours = ours(&docker, &all, &start.placement).await?;
        let Some(there) = behind(&ours, &start.server) else {
            return self.create(start, &docker).await;
        };
        if there.known.release != start.release {
            if there.never_ran() {
                remove(&docker, &there.id).await?;
                return self.create(start, &docker).await;
            }
            let text = format!("another release's container stands behind {}", start.server);
            return Err(Failure::NotNow(text));
        }
        if there.never_ran() {
            return self.run(start, &docker, &there.id).await;
        }
        bring_up_to_date(start, &docker, there).await
    }

    async fn create(&self, start: &Start, docker: &Docker) -> Result<(), Failure> {
        let workload = start.workload.of_instance(&start.server, start.address);
        let Some(container) = workload.container.clone() else {
            let text = "the release has no image; deploy one made for containers";
            return Err(Failure::ForGood(text.to_owned()));
        };
        self.image(start, docker, &container).await?;
        let env = shape::variables(&self.connection, &workload, &container).await;
        let env = env.map_err(Failure::ForGood)?;
        // The label tells what was asked before anything was filled in per instance, so that the
        // instances of one release are alike.
        let asked = Workload {
            container: start.workload.container.clone(),
            env: start.workload.env.clone(),
            ..workload
        };
        let body = shape::body(start, &asked, &container, env);
        let name = labels::name(start);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let created = docker.create_container(Some(options), body).await;
        let id = match created {
            Ok(created) => created.id,
            Err(error) => {
                self.created_all_the_same(start, docker, error.into())
                    .await?
            }
        };
        for (network, settings) in shape::further_networks(&container) {
            let request = NetworkConnectRequest {
                container: id.clone(),
                endpoint_config: Some(settings),
            };
            let joined = docker.connect_network(&network, request).await;
            if let Err(error) = joined.map_err(CallError::from) {
                remove(docker, &id).await?;
                return Err(Failure::ForGood(format!("network {network}: {error}")));
            }
        }
        self.run(start, docker, &id).await
    }

    /// After a failed creation: the container may be there, its name may be somebody else's.
    async fn created_all_the_same(
        &self,
        start: &Start,
        docker: &Docker,
        error: CallError,
    ) -> Result<String, Failure> {
        let all = list(docker).await?;
        let ours = ours(docker, &all, &start.placement).await?;
        let there = behind(&ours, &start.server);
        if let Some(there) = there.filter(|there| there.known.release == start.release) {
            return Ok(there.id.clone());
        }
        match error {
            CallError::Refused { status: 409, .. } => {
                let name = labels::name(start);
                Err(Failure::ForGood(format!(
                    "a container named {name} is there that is not ours; rename or remove it"
                )))
            }
            error => Err(error.into()),
        }
    }

    /// Runs what was created. What does not run is removed again: it is ours and held nothing.
    async fn run(&self, start: &Start, docker: &Docker, id: &str) -> Result<(), Failure> {
        let Err(error) = docker.start_container(id, None).await else {
            return Ok(());
        };
        let error = CallError::from(error);
        let CallError::Refused { message, .. } = &error else {
            return Err(error.into());
        };
        let all = list(docker).await?;
        let other = publisher(&all, start.address);
        let holder = other.and_then(|other| other.names.as_ref()?.first());
        let why = match holder {
            Some(name) => format!(
                "{} is published by container {}; stop it, or give the server another port",
                start.address,
                name.trim_start_matches('/')
            ),
            None => message.clone(),
        };
        remove(docker, id).await?;
        Err(Failure::ForGood(why))
    }

    /// The image must be on the host before a container is made of it.
    async fn image(
        &self,
        start: &Start,
        docker: &Docker,
        container: &Container,
    ) -> Result<(), Failure> {
        let image = container.reference();
        match docker.inspect_image(&image).await.map_err(CallError::from) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(Pin::HostImage(_)) = &container.pin {
            return Err(Failure::ForGood(format!(
                "image {} ({image}) is not on this host any more, and no registry has it",
                container.image
            )));
        }
        let pull = self.pulls.join(&self.connection, &self.logins, &image);
        let words = pull.words(&image);
        self.wait_for(start, Cause::Image(image));
        match pull {
            Pull::Hopeless(_) => Err(Failure::ForGood(words)),
            _ => Err(Failure::NotNow(words)),
        }
    }

    pub(super) async fn quiet_container(&self, quiet: Quiet) -> Written<RuntimeReading> {
        let ended = tokio::time::timeout(QUIET_DEADLINE, self.tell(&quiet)).await;
        let ended = ended.unwrap_or_else(|_| {
            let ms = QUIET_DEADLINE.as_millis();
            Err(Failure::Lost(format!("no answer within {ms} ms")))
        });
        let told = |reading: &RuntimeReading| {
            let view = reading.instances.get(&quiet.server);
            view.is_some_and(|view| view.quiet && !view.keep_running)
        };
        self.settle(&quiet.placement, ended, told).await
    }

    /// Sends the signal to what runs behind a server. The policy comes first: a worker that is done
    /// at once must not be started again.
    async fn tell(&self, quiet: &Quiet) -> Result<(), Failure> {
        let (_, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        let ours = ours(&docker, &all, &quiet.placement).await?;
        let there = behind(&ours, &quiet.server).filter(|ours| ours.is_running());
        let Some(there) = there else {
            let text = format!("nothing runs behind {}", quiet.server);
            return Err(Failure::NotNow(text));
        };
        if there.keeps_running() {
            set_policy(&docker, &there.id, shape::policy(false)).await?;
        }
        if self.is_quiet(&there.id) {
            return Ok(());
        }
        let signal = quiet.signal.word();
        let options = KillContainerOptionsBuilder::default()
            .signal(signal)
            .build();
        docker.kill_container(&there.id, Some(options)).await?;
        let known: Vec<&str> = all.iter().filter_map(|one| one.id.as_deref()).collect();
        self.set_quiet(&there.id, &known);
        Ok(())
    }

    pub(super) async fn stop_container(&self, stop: Stop) -> Written<RuntimeReading> {
        let (placement, server) = (&stop.placement, &stop.server);
        self.set_not_yet(placement, server, None);
        let limit = Duration::from_millis(stop.grace_ms) + STOP_MARGIN;
        let ended = tokio::time::timeout(limit, self.end(&stop)).await;
        let ended = ended.unwrap_or_else(|_| {
            let text = format!("it did not end within {} ms", limit.as_millis());
            Err(Failure::Lost(text))
        });
        let gone = |reading: &RuntimeReading| !reading.instances.contains_key(server);
        self.settle(placement, ended, gone).await
    }

    /// Ends everything of ours behind a server.
    async fn end(&self, stop: &Stop) -> Result<(), Failure> {
        let (_, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        let ours = ours(&docker, &all, &stop.placement).await?;
        for ours in ours.iter().filter(|ours| ours.known.server == stop.server) {
            if ours.never_ran() {
                remove(&docker, &ours.id).await?;
                continue;
            }
            // One that ended by itself, or had to be started again, is evidence.
            let failed = stop.failed || !ours.is_running() || ours.restarts() > 0;
            if ours.keeps_running() {
                set_policy(&docker, &ours.id, shape::policy(false)).await?;
            }
            let grace_s = i32::try_from(stop.grace_ms.div_ceil(1_000)).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::default().t(grace_s).build();
            absent_is_fine(docker.stop_container(&ours.id, Some(options)).await)?;
            match failed {
                true => keep_as_evidence(&docker, ours).await?,
                false => remove(&docker, &ours.id).await?,
            }
        }
        Ok(())
    }

    /// Reads back; what is seen decides, what was answered only explains.
    async fn settle(
        &self,
        placement: &Placement,
        ended: Result<(), Failure>,
        done: impl FnOnce(&RuntimeReading) -> bool,
    ) -> Written<RuntimeReading> {
        let reading = self
            .within(super::READ_DEADLINE, self.reading(placement))
            .await;
        let why = |text: &str| Clean::new(&format!("runtime {}: {text}", self.name));
        let outcome = match (&ended, &reading) {
            (_, Ok(reading)) if done(reading) => Outcome::Applied,
            (Err(Failure::NotNow(text) | Failure::ForGood(text)), _) => {
                Outcome::Rejected { why: why(text) }
            }
            (Err(Failure::Lost(text)), _) => Outcome::Unknown { why: why(text) },
            (Ok(()), Ok(_)) => Outcome::Unknown {
                why: why("it was answered, but the read-back does not show it"),
            },
            (Ok(()), Err(error)) => Outcome::Unknown {
                why: why(&error.to_string()),
            },
        };
        if reading.is_err() {
            self.connection.forget();
        }
        Written {
            outcome,
            reading: reading.ok(),
        }
    }
}

/// A container of the release is there: its restart policy follows, and one that is to be kept
/// running runs again. One that ended and is not to be kept running has ended.
async fn bring_up_to_date(start: &Start, docker: &Docker, there: &Ours) -> Result<(), Failure> {
    if there.keeps_running() != start.keep_running {
        set_policy(docker, &there.id, shape::policy(start.keep_running)).await?;
    }
    if start.keep_running && !there.is_running() {
        docker.start_container(&there.id, None).await?;
    }
    Ok(())
}

async fn set_policy(
    docker: &Docker,
    id: &str,
    policy: bollard::models::RestartPolicy,
) -> Result<(), Failure> {
    let body = ContainerUpdateBody {
        restart_policy: Some(policy),
        ..ContainerUpdateBody::default()
    };
    absent_is_fine(docker.update_container(id, body).await)
}

async fn keep_as_evidence(docker: &Docker, ours: &Ours) -> Result<(), Failure> {
    let name = ours.inspected.name.as_deref().unwrap_or_default();
    let name = labels::evidence_name(name, now_s());
    let options = RenameContainerOptionsBuilder::default().name(&name).build();
    absent_is_fine(docker.rename_container(&ours.id, options).await)
}

/// Removes a container of ours, with the volumes that have no name.
async fn remove(docker: &Docker, id: &str) -> Result<(), Failure> {
    let options = RemoveContainerOptionsBuilder::default().v(true).build();
    absent_is_fine(docker.remove_container(id, Some(options)).await)
}

/// Gone is what it was to be.
fn absent_is_fine(ended: Result<(), bollard::errors::Error>) -> Result<(), Failure> {
    match ended.map_err(CallError::from) {
        Err(error) if error.is_absent() => Ok(()),
        ended => Ok(ended?),
    }
}
