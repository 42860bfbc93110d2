//! Effects in words: what would be done to whom.

use crate::model::world::Admin;
use crate::model::{Clean, Effect};

/// One effect as a line.
pub fn effect_text(effect: &Effect) -> Clean {
    let text = match effect {
        Effect::SetWeights {
            backend, settings, ..
        } => {
            let all: Vec<_> = settings
                .iter()
                .map(|(server, setting)| match setting.admin {
                    Admin::Ready => format!("{server} ready weight {}", setting.weight),
                    Admin::Drain => format!("{server} drain"),
                    Admin::Maintenance => format!("{server} maint"),
                })
                .collect();
            format!(
                "{} {}: {}",
                backend.balancer,
                backend.backend,
                all.join("; ")
            )
        }
        Effect::StartInstance {
            runtime,
            server,
            address,
            workload,
            keep_running,
            ..
        } => {
            let workload = workload.of_instance(server, *address);
            let command = match &workload.container {
                Some(container) => container.image.clone(),
                None => workload.command.join(" "),
            };
            let again = if *keep_running {
                " (again whenever it exits)"
            } else {
                ""
            };
            format!("{runtime}: start {server} at {address}{again}: {command}")
        }
        Effect::QuietInstance {
            runtime,
            server,
            signal,
            ..
        } => format!("{runtime}: {} to {server}: take no new work", signal.word()),
        Effect::StopInstance {
            runtime, server, ..
        } => format!("{runtime}: stop {server}"),
        Effect::ReadBalancer { backend, .. } => {
            format!("{} {}: read", backend.balancer, backend.backend)
        }
        Effect::ReadMetrics { source, .. } => format!("{source}: ask for metrics"),
        Effect::ReadRuntime { runtime, .. } => format!("{runtime}: read instances"),
        Effect::Probe {
            server,
            address,
            check,
            ..
        } => {
            format!("probe {server}: {}", check.kind.words(*address))
        }
        Effect::Smoke {
            tests, instances, ..
        } => {
            format!(
                "{} smoke tests on {} instances",
                tests.len(),
                instances.len()
            )
        }
        Effect::ReadEvidence {
            runtime, server, ..
        } => format!("{runtime}: read what {server} left"),
        Effect::ReadStock { runtime, .. } => format!("{runtime}: look for earlier releases"),
        Effect::RunStage { call, .. } => format!("{} {}: run", call.number, call.stage),
        Effect::CancelStage { run, stage, .. } => format!("{run} {stage}: end"),
        Effect::AskDeploy { run, stage, .. } => format!("{run} {stage}: deploy"),
        Effect::WakeAt { .. } => "wait".to_owned(),
    };
    Clean::new(&text)
}
