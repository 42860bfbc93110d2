//! What a failed instance left: how its container ended, and its newest output. Values of its
//! environment are never read out of what the daemon tells.

use super::DockerRuntime;
use super::connect::CallError;
use super::labels;
use super::read::{Ours, exit_words, list, ms};
use crate::model::world::{EVIDENCE_LINES_MAX, Evidence};
use crate::model::{Clean, Placement, ReleaseId, ServerName};
use bollard::models::ContainerSummary;
use std::time::Duration;

/// For the output; what came until then is kept.
const LOG_DEADLINE: Duration = Duration::from_millis(2_500);
/// Characters kept of one word of the command, and of what the daemon calls its error.
const WORD_CHARS_MAX: usize = 500;
/// Words kept of the command.
const WORDS_MAX: usize = 64;

impl DockerRuntime {
    /// Looks among all containers: one that was stopped has another name, and still its labels.
    pub(super) async fn left_by(
        &self,
        placement: &Placement,
        server: &ServerName,
        release: ReleaseId,
    ) -> Result<Option<Evidence>, CallError> {
        let (_, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        let known = |summary: &ContainerSummary| labels::read(summary.labels.as_ref()?);
        let mine = all.iter().filter_map(|summary| {
            let known = known(summary)?;
            let meant = known.placement == *placement && known.server == *server;
            (meant && known.release == release).then_some((summary.created, known, summary))
        });
        let newest = mine.max_by_key(|(created, ..)| *created);
        let Some((id, known)) = newest.and_then(|(_, known, it)| Some((it.id.clone()?, known)))
        else {
            return Ok(None);
        };
        let inspected = match docker.inspect_container(&id, None).await {
            Ok(inspected) => inspected,
            Err(error) => match CallError::from(error) {
                gone if gone.is_absent() => return Ok(None),
                error => return Err(error),
            },
        };
        let ours = Ours {
            known,
            id,
            inspected,
        };
        if ours.never_ran() {
            return Ok(None);
        }
        let mut evidence = told_of(&ours);
        let log = super::logs::newest(&self.connection, &ours, EVIDENCE_LINES_MAX, LOG_DEADLINE);
        match log.await {
            Ok(lines) => evidence.keep_log(lines),
            Err(why) => evidence.log_trouble = Some(Clean::new(&why)),
        }
        Ok(Some(evidence))
    }
}

fn told_of(ours: &Ours) -> Evidence {
    let inspected = &ours.inspected;
    let state = inspected.state.clone().unwrap_or_default();
    let running = ours.is_running();
    let config = inspected.config.as_ref();
    let program = inspected.path.iter();
    let words = program.chain(inspected.args.iter().flatten());
    let at_ms = |text: Option<&str>| text.map(ms).filter(|at_ms| *at_ms > 0);
    Evidence {
        identity: Some(Clean::new(ours.id.get(..12).unwrap_or(&ours.id))),
        ended: (!running).then(|| Clean::new(&exit_words(ours))),
        exit_code: state.exit_code.filter(|_| !running),
        out_of_memory: state.oom_killed == Some(true),
        error: state.error.filter(|error| !error.is_empty()).map(short),
        image: config
            .and_then(|config| config.image.clone())
            .map(|image| short(&image)),
        command: words.take(WORDS_MAX).map(short).collect(),
        started_ms: at_ms(state.started_at.as_deref()),
        finished_ms: at_ms(state.finished_at.as_deref()).filter(|_| !running),
        restarts: ours.restarts(),
        ..Evidence::default()
    }
}

fn short(text: impl AsRef<str>) -> Clean {
    let text = text.as_ref();
    match text.char_indices().nth(WORD_CHARS_MAX) {
        Some((end, _)) => Clean::new(&format!("{}…", &text[..end])),
        None => Clean::new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::docker::labels::Known;

    fn ours(running: bool) -> Ours {
        let text = serde_json::json!({
            "Path": "/shop", "Args": ["--port", "8080", "x".repeat(2_000)],
            "RestartCount": 2,
            "State": {
                "Status": if running { "running" } else { "exited" }, "Running": running,
                "ExitCode": 137, "OOMKilled": !running, "Error": "",
                "StartedAt": "1970-01-01T00:00:01Z", "FinishedAt": "1970-01-01T00:00:03Z",
            },
            "Config": { "Image": "shop:v2", "Env": ["PASSWORD=hunter2"] },
        });
        Ours {
            known: Known {
                placement: "shop@test".parse().expect("a placement"),
                server: "web1".parse().expect("a name"),
                release: ReleaseId(uuid::Uuid::from_u128(1)),
                address: None,
                asked: None,
            },
            id: "0123456789abcdef".to_owned(),
            inspected: serde_json::from_value(text).expect("an answer"),
        }
    }

    #[test]
    fn what_is_told_of_a_container_is_bounded_and_holds_no_value_of_its_environment() {
        let evidence = told_of(&ours(false));
        assert_eq!(evidence.exit_code, Some(137));
        assert!(evidence.out_of_memory);
        assert_eq!(evidence.image, Some("shop:v2".into()));
        assert_eq!(evidence.command.len(), 4);
        assert_eq!(evidence.command[3].as_str().chars().count(), 501);
        assert_eq!(
            (evidence.started_ms, evidence.finished_ms),
            (Some(1_000), Some(3_000))
        );
        assert_eq!((evidence.restarts, evidence.error.clone()), (2, None));
        let text = serde_json::to_string(&evidence).expect("JSON");
        assert!(
            !text.contains("hunter2") && !text.contains("PASSWORD"),
            "{text}"
        );
    }

    #[test]
    fn one_that_still_runs_has_not_ended() {
        let evidence = told_of(&ours(true));
        assert_eq!((evidence.ended, evidence.exit_code), (None, None));
        assert_eq!(evidence.finished_ms, None);
    }
}
