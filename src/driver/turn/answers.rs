//! Answers to commands that found nothing to do.

use crate::engine;
use crate::model::command::{Answer, Command, PipelineCommand};
use crate::model::{Placement, State};

/// What an accepted command without entries found already done.
pub(super) fn already(state: &State, command: &Command) -> Answer {
    if let Some(answer) = already_begun(state, command) {
        return answer;
    }
    let rollout = command.placement().and_then(|at| rollout_of(state, at));
    let what = match (command, rollout) {
        (Command::Hold { .. }, Some(rollout)) => {
            let by = rollout
                .hold
                .as_ref()
                .and_then(|hold| engine::evolve::held_by(&hold.why));
            format!(
                "already held by {}",
                by.map_or("?".to_owned(), ToString::to_string)
            )
        }
        (Command::Scale { instances, .. }, _) => format!("there are {instances} instances already"),
        (Command::Drain { server, .. }, _) => format!("{server} is out of traffic already"),
        (Command::Undrain { server, .. }, _) => format!("{server} is not drained"),
        (Command::Pipeline(PipelineCommand::Cancel { run, .. }), _) => {
            format!("run {run} is being ended already")
        }
        (Command::Pipeline(PipelineCommand::Confirm { stage, .. }), _) => {
            format!("{stage} may begin already")
        }
        (Command::Resume { .. }, _) => "not held; it goes on by itself".to_owned(),
        _ => "traffic is on its way back to stable already".to_owned(),
    };
    Answer::Already {
        what: what.as_str().into(),
    }
}

/// The answer to a deploy whose request began a rollout before.
pub(super) fn already_begun(state: &State, command: &Command) -> Option<Answer> {
    match command {
        Command::Deploy { request_id, .. } => {
            let begun = state.requested(request_id.as_ref()?)?;
            Some(Answer::Begun {
                number: begun.number,
            })
        }
        Command::Pipeline(PipelineCommand::Run { spec, trigger }) => {
            let run = engine::pipeline::begun(state, &spec.name, trigger)?;
            Some(Answer::RunBegun { run })
        }
        _ => None,
    }
}

fn rollout_of<'a>(state: &'a State, placement: &Placement) -> Option<&'a crate::model::Rollout> {
    state.placements.get(placement)?.rollout.as_ref()
}
