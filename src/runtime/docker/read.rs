//! What runs: our containers of a placement, listed and looked at anew each time.

use super::connect::CallError;
use super::labels::{self, Known};
use super::pull::Pull;
use super::shape::leads_here;
use super::{Cause, DockerRuntime, NotYet};
use crate::model::world::{InstanceView, RuntimeReading};
use crate::model::{Clean, Placement, ServerName};
use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum as Status, ContainerSummary,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::future::join_all;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a failed instance is kept, in seconds.
const EVIDENCE_S: u64 = 24 * 3_600;
/// A container that was created and not started for this long was left over, in seconds.
const LEFT_OVER_S: u64 = 600;

/// One of our containers, whole.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    pub(super) known: Known,
    pub(super) id: String,
    pub(super) inspected: ContainerInspectResponse,
}

impl Ours {
    pub(super) fn status(&self) -> Option<Status> {
        self.inspected.state.as_ref()?.status
    }

    pub(super) fn is_running(&self) -> bool {
        let state = self.inspected.state.as_ref();
        state.is_some_and(|state| state.running == Some(true) && state.restarting != Some(true))
    }

    /// Whether it was created and never started.
    pub(super) fn never_ran(&self) -> bool {
        self.status() == Some(Status::CREATED)
    }

    pub(super) fn restarts(&self) -> u32 {
        let count = self.inspected.restart_count.unwrap_or_default();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn keeps_running(&self) -> bool {
        let host = self.inspected.host_config.as_ref();
        let policy = host.and_then(|host| host.restart_policy.as_ref()?.name);
        matches!(
            policy,
            Some(RestartPolicyNameEnum::UNLESS_STOPPED | RestartPolicyNameEnum::ALWAYS)
        )
    }
}

pub(super) fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl DockerRuntime {
    pub(super) async fn reading(&self, placement: &Placement) -> Result<RuntimeReading, CallError> {
        let (daemon, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        self.sweep(&docker, &all);
        let mut reading = RuntimeReading {
            epoch: daemon.epoch.clone(),
            software: Clean::new(&format!(
                "Docker {} (API {}.{})",
                daemon.version, daemon.api.0, daemon.api.1
            )),
            ..RuntimeReading::default()
        };
        let ours = ours(&docker, &all, placement).await?;
        self.figures.refresh(&docker, &ours);
        for ours in ours.iter().filter(|ours| !ours.never_ran()) {
            let server = ours.known.server.clone();
            let view = self.view(ours, &all);
            let shown = reading.instances.get(&server);
            // Of several the one that runs counts: it is what the address leads to.
            if shown.is_none_or(|shown| shown.pid == 0 && view.pid != 0) {
                reading.instances.insert(server, view);
            }
        }
        for (server, not_yet) in self.not_yet(placement) {
            if let (None, Some(view)) = (reading.instances.get(&server), self.waiting(&not_yet)) {
                reading.instances.insert(server, view);
            }
        }
        Ok(reading)
    }

    fn view(&self, ours: &Ours, all: &[ContainerSummary]) -> InstanceView {
        let state = ours.inspected.state.clone().unwrap_or_default();
        let running = ours.is_running();
        let elsewhere = || elsewhere(ours, all).map(|why| Clean::new(&why));
        let pid = state.pid.and_then(|pid| u32::try_from(pid).ok());
        let figures = self.figures.of(&ours.id).filter(|_| running);
        InstanceView {
            release: ours.known.release,
            pid: pid.filter(|_| running).unwrap_or(0),
            started_ms: state.started_at.as_deref().map_or(0, ms),
            restarts: ours.restarts(),
            keep_running: ours.keeps_running(),
            exited: match running {
                true => elsewhere(),
                false => Some(Clean::new(&exit_words(ours))),
            },
            waiting: None,
            identity: Some(Clean::new(ours.id.get(..12).unwrap_or(&ours.id))),
            quiet: self.is_quiet(&ours.id),
            cpu_percent: figures.and_then(|figures| figures.cpu_percent),
            memory_bytes: figures.map(|figures| figures.memory_bytes),
            memory_limit_bytes: figures.and_then(|figures| figures.memory_limit_bytes),
        }
    }

    /// An instance that has no container yet; `None` once it can be tried again.
    fn waiting(&self, not_yet: &NotYet) -> Option<InstanceView> {
        let (waiting, exited) = match &not_yet.cause {
            Cause::Failed(why) => (None, Some(why.clone())),
            Cause::Image(image) => match self.pulls.state(image)? {
                Pull::Done => return None,
                hopeless @ Pull::Hopeless(_) => (None, Some(Clean::new(&hopeless.words(image)))),
                Pull::Failed(_) if self.pulls.may_begin(image) => return None,
                state => (Some(Clean::new(&state.words(image))), None),
            },
        };
        Some(InstanceView {
            pid: 0,
            started_ms: 0,
            keep_running: not_yet.keep_running,
            exited,
            waiting,
            ..InstanceView::of(not_yet.release)
        })
    }

    /// Removes evidence that is older than a day, and what was created and never started. A
    /// failure is met again at the next reading.
    fn sweep(&self, docker: &Docker, all: &[ContainerSummary]) {
        let now_s = now_s();
        for summary in all {
            let labels = summary.labels.clone().unwrap_or_default();
            let (Some(_), Some(id)) = (labels::read(&labels), summary.id.clone()) else {
                continue;
            };
            let kept_s = name_of(summary).and_then(labels::evidence_since_s);
            let created_s = summary.created.and_then(|at| u64::try_from(at).ok());
            let never_ran =
                summary.state == Some(bollard::models::ContainerSummaryStateEnum::CREATED);
            let over = match (kept_s, created_s) {
                (Some(since_s), _) => since_s + EVIDENCE_S < now_s,
                (None, Some(since_s)) => never_ran && since_s + LEFT_OVER_S < now_s,
                _ => false,
            };
            if over {
                let docker = docker.clone();
                tokio::spawn(async move {
                    if let Err(error) = docker.remove_container(&id, None).await {
                        tracing::warn!("removing container {id}: {error}");
                    }
                });
            }
        }
    }
}

/// Every container of the daemon, running or not.
pub(super) async fn list(docker: &Docker) -> Result<Vec<ContainerSummary>, CallError> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    Ok(docker.list_containers(Some(options)).await?)
}

fn name_of(summary: &ContainerSummary) -> Option<&str> {
    summary.names.as_ref()?.first().map(String::as_str)
}

/// Our containers of a placement, without those that are kept as evidence only.
pub(super) async fn ours(
    docker: &Docker,
    all: &[ContainerSummary],
    placement: &Placement,
) -> Result<Vec<Ours>, CallError> {
    let mine = all.iter().filter_map(|summary| {
        let known = labels::read(summary.labels.as_ref()?)?;
        let evidence = name_of(summary).and_then(labels::evidence_since_s);
        let counts = known.placement == *placement && evidence.is_none();
        counts.then_some((known, summary.id.clone()?))
    });
    let looks = mine.map(|(known, id)| async move {
        match docker.inspect_container(&id, None).await {
            Ok(inspected) => Ok(Some(Ours {
                known,
                id,
                inspected,
            })),
            Err(error) => match CallError::from(error) {
                // Gone since it was listed.
                gone if gone.is_absent() => Ok(None),
                error => Err(error),
            },
        }
    });
    let found: Result<Vec<_>, _> = join_all(looks).await.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

/// Why the server's address does not lead to this container, if it does not.
fn elsewhere(ours: &Ours, all: &[ContainerSummary]) -> Option<String> {
    let address = ours.known.address?;
    if let Some(other) =
        publisher(all, address).filter(|other| other.id.as_deref() != Some(&ours.id))
    {
        let name = name_of(other).unwrap_or("?").trim_start_matches('/');
        return Some(format!("{address} leads to container {name} instead"));
    }
    let host = ours.inspected.host_config.as_ref();
    let on_host = host.and_then(|host| host.network_mode.as_deref()) == Some("host");
    if on_host {
        return None;
    }
    let settings = ours.inspected.network_settings.as_ref();
    let ports = settings.and_then(|settings| settings.ports.as_ref());
    let bindings: Vec<_> = ports
        .into_iter()
        .flat_map(|ports| ports.values())
        .flatten()
        .flatten()
        .collect();
    if bindings.iter().any(|binding| leads_here(binding, address)) {
        return None;
    }
    let there: Vec<_> = bindings
        .iter()
        .map(|binding| {
            let ip = binding.host_ip.as_deref().unwrap_or_default();
            format!("{ip}:{}", binding.host_port.as_deref().unwrap_or_default())
        })
        .collect();
    Some(match there.is_empty() {
        true => format!("published nowhere instead of at {address}"),
        false => format!("published at {} instead of {address}", there.join(", ")),
    })
}

/// The running container at which a port of the host leads.
pub(super) fn publisher(
    all: &[ContainerSummary],
    address: SocketAddr,
) -> Option<&ContainerSummary> {
    all.iter().find(|summary| {
        summary.ports.iter().flatten().any(|port| {
            let ip = port.ip.as_deref().and_then(|ip| ip.parse().ok());
            let ip: Option<std::net::IpAddr> = ip;
            port.public_port == Some(address.port())
                && ip.is_some_and(|ip| ip.is_unspecified() || ip == address.ip())
        })
    })
}

/// Why a container does not run.
pub(super) fn exit_words(ours: &Ours) -> String {
    let state = ours.inspected.state.clone().unwrap_or_default();
    let code = state.exit_code.unwrap_or_default();
    let mut words = match code {
        137 if state.oom_killed == Some(true) => "out of memory, killed by the kernel".to_owned(),
        _ if state.oom_killed == Some(true) => format!("out of memory, exit status {code}"),
        137 => "killed (exit status 137)".to_owned(),
        code => format!("exit status {code}"),
    };
    if let Some(error) = state.error.filter(|error| !error.is_empty()) {
        words = format!("{words}: {error}");
    }
    match state.status {
        Some(Status::RESTARTING) => {
            format!(
                "{words}; Docker starts it again ({} times so far)",
                ours.restarts()
            )
        }
        Some(Status::DEAD | Status::REMOVING) => format!("{words}; it is being removed"),
        _ => words,
    }
}

/// RFC 3339 → ms since 1970; 0 for what is none, and for Docker's "never" in the year 1.
pub(super) fn ms(text: &str) -> u64 {
    let at: Option<jiff::Timestamp> = text.parse().ok();
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .unwrap_or(0)
}

/// The instance behind a server, by its labels: the one that runs, else the newest.
pub(super) fn behind<'a>(ours: &'a [Ours], server: &ServerName) -> Option<&'a Ours> {
    let mine = || ours.iter().filter(|ours| ours.known.server == *server);
    mine()
        .find(|ours| ours.is_running())
        .or_else(|| mine().max_by(|a, b| a.inspected.created.cmp(&b.inspected.created)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(state: serde_json::Value, restarts: i64) -> Ours {
        let text = serde_json::json!({ "State": state, "RestartCount": restarts });
        Ours {
            known: Known {
                placement: "shop@test".parse().expect("a placement"),
                server: "web1".parse().expect("a name"),
                release: crate::model::ReleaseId(uuid::Uuid::from_u128(1)),
                address: None,
                asked: None,
            },
            id: "0123".to_owned(),
            inspected: serde_json::from_value(text).expect("an answer"),
        }
    }

    #[test]
    fn the_end_of_a_container_is_told_in_words() {
        for (state, words) in [
            (
                serde_json::json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}),
                "out of memory, killed by the kernel",
            ),
            (
                serde_json::json!({"Status": "exited", "ExitCode": 137, "OOMKilled": false}),
                "killed (exit status 137)",
            ),
            (
                serde_json::json!({"Status": "exited", "ExitCode": 127, "Error": "no such file"}),
                "exit status 127: no such file",
            ),
            (
                serde_json::json!({"Status": "restarting", "Restarting": true, "Running": true, "ExitCode": 1}),
                "exit status 1; Docker starts it again (3 times so far)",
            ),
        ] {
            let ours = ours(state, 3);
            assert!(!ours.is_running());
            assert_eq!(exit_words(&ours), words);
        }
    }

    #[test]
    fn dockers_never_is_no_time() {
        assert_eq!(ms("0001-01-01T00:00:00Z"), 0);
        assert_eq!(ms("1970-01-01T00:00:01.5Z"), 1_500);
    }
}
