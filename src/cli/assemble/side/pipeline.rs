//! What clients ask of pipelines.

use super::Side;
use crate::config::Config;
use crate::link::wire::{Reply, Request};
use crate::model::command::{Command, PipelineCommand};
use crate::model::pipeline::{PipelineSpec, Trigger};
use crate::model::{Actor, Clean, PipelineName, RunNumber, StageName};
use crate::ports::Stages;
use crate::view::RunView;

/// Most runs of one answer.
const RUNS_MAX: u32 = 50;

impl Side {
    pub(super) async fn pipeline(&self, by: Actor, request: Request) -> Result<Reply, Clean> {
        let command = match request {
            Request::TriggerPipeline {
                pipeline,
                branch,
                commit,
                environment,
                reason,
                request_id,
            } => {
                let spec = named(&self.loaded().config, pipeline.as_ref())?.clone();
                let branch = branch.unwrap_or_else(|| Clean::new(&spec.branch));
                let trigger = Trigger {
                    revision: commit.unwrap_or_else(|| branch.clone()),
                    branch,
                    environment,
                    reason,
                    request_id,
                    provider: None,
                };
                PipelineCommand::Run {
                    spec: Box::new(spec),
                    trigger: Box::new(trigger),
                }
            }
            Request::CancelPipeline { id, reason } => PipelineCommand::Cancel { run: id, reason },
            Request::ConfirmStage { id, stage } => PipelineCommand::Confirm { run: id, stage },
            Request::GetPipelineStatus { id } => {
                let run = Box::new(self.run(id)?);
                return Ok(Reply::Pipeline { run });
            }
            Request::Pipelines { limit } => {
                let snapshot = self.handle.snapshots().borrow().clone();
                let limit = limit.min(RUNS_MAX) as usize;
                let runs = snapshot.runs.iter().take(limit).cloned().collect();
                return Ok(Reply::Pipelines { runs });
            }
            Request::StageLogs {
                id,
                stage,
                attempt,
                from,
            } => return self.stage_logs(id, &stage, attempt, from).await,
            _ => return Err("that is asked of no pipeline".into()),
        };
        let answer = self.handle.command(by, Command::Pipeline(command)).await;
        let answer = answer.map_err(|error| Clean::new(&error.to_string()))?;
        Ok(Reply::Answer { answer })
    }

    fn run(&self, id: RunNumber) -> Result<RunView, Clean> {
        let snapshot = self.handle.snapshots().borrow().clone();
        let found = snapshot.runs.iter().find(|run| run.number == id).cloned();
        found.ok_or_else(|| {
            let text = format!(
                "there is no run {id} among the newest; `wheelhouse pipeline list` shows them"
            );
            Clean::new(&text)
        })
    }

    async fn stage_logs(
        &self,
        id: RunNumber,
        stage: &StageName,
        attempt: Option<u32>,
        from: u64,
    ) -> Result<Reply, Clean> {
        let run = self.run(id)?;
        let of = run.stages.iter().find(|it| it.name == *stage);
        let of = of.ok_or_else(|| Clean::new(&format!("run {id} has no stage {stage}")))?;
        if let Some(at) = &of.placement {
            let rollout = of.rollout;
            let rollout = rollout.map_or_else(String::new, |number| format!(" {number}"));
            let text = format!("{stage} writes nothing itself: it is the rollout{rollout} of {at}");
            return Err(Clean::new(&text));
        }
        let attempt = attempt.unwrap_or(of.attempts);
        if attempt == 0 {
            return Err(Clean::new(&format!("{stage} of {id} has not begun")));
        }
        let world = self.world();
        let page = crate::driver::Peers::stages(&world)
            .logs(run.id, stage, attempt, from)
            .await;
        let page = page.map_err(|error| error.0)?;
        Ok(Reply::Logs {
            next: page.next,
            skipped: page.skipped,
            lines: page.lines,
        })
    }
}

/// The pipeline of this name, or the only one there is.
fn named<'a>(config: &'a Config, name: Option<&PipelineName>) -> Result<&'a PipelineSpec, Clean> {
    if let Some(name) = name {
        let found = config.pipeline(name);
        return found.map_err(|error| Clean::new(&error.to_string()));
    }
    let mut all = config.pipelines();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("no pipeline is configured; add a table [pipeline.NAME]".into()),
        (Some(first), Some(second)) => Err(Clean::new(&format!(
            "there are several pipelines ({}, {}, …): say which",
            first.name, second.name
        ))),
    }
}
