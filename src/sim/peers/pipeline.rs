//! Stages of pipelines in the fake world: processes that end with the engine, and deploys that are
//! asked of the engine itself.

use super::{Call, Fate};
use crate::model::command::Answer;
use crate::model::input::{Asked, Observation};
use crate::model::pipeline::StageResult;
use crate::model::{Clean, Command, Effect, EffectId, Event, Outcome, RunNumber, StageName};
use crate::sim::run::{Happening, Sim};
use crate::sim::scenario;
use std::collections::BTreeMap;

/// What is under way.
#[derive(Debug, Default)]
pub(in crate::sim) struct Works {
    /// Stages whose process runs.
    stages: BTreeMap<(RunNumber, StageName), Call>,
    /// Deploys that wait for their answer, by request.
    deploys: BTreeMap<u64, Call>,
}

impl Works {
    /// The engine is gone, and everything that it began with it.
    pub(in crate::sim) fn die(&mut self) {
        *self = Self::default();
    }
}

impl Sim<'_> {
    pub(super) fn begin_stage(&mut self, call: &Call) {
        let Effect::RunStage { id, call: stage } = &call.effect else {
            return;
        };
        if call.life() != self.life {
            return;
        }
        let (id, key) = (*id, (stage.number, stage.stage.clone()));
        self.works.stages.insert(key, call.clone());
        let after_ms = self.rng.between(5, 1_500);
        let life = self.life;
        self.later(after_ms, Happening::StageEnds { life, id });
    }

    /// A stage's process ends by itself.
    pub(in crate::sim) fn stage_ends(&mut self, id: EffectId) {
        let mut stages = self.works.stages.iter();
        let found = stages.find(|(_, call)| call.effect.id() == Some(id));
        let Some(key) = found.map(|(key, _)| key.clone()) else {
            return;
        };
        let result = match self.rng.chance(10) {
            true => StageResult::Failed {
                why: "exit code 1".into(),
            },
            false => StageResult::Passed {
                values: match key.1.as_str() {
                    "checkout" => BTreeMap::from([("short".to_owned(), short(key.0))]),
                    _ => BTreeMap::new(),
                },
            },
        };
        self.end_stage(&key, result);
    }

    fn end_stage(&mut self, key: &(RunNumber, StageName), result: StageResult) {
        let Some(call) = self.works.stages.remove(key) else {
            return;
        };
        let Some(id) = call.effect.id() else {
            return;
        };
        self.checks.stage_ended(id, &result);
        if call.fate != Fate::Silent {
            let seen = Observation::Stage { id, result };
            self.reply(&call, 1, Outcome::Applied, Some(seen));
        }
    }

    pub(super) fn cancel_stage(&mut self, call: &Call) {
        let Effect::CancelStage { run, stage, .. } = &call.effect else {
            return;
        };
        if call.life() == self.life {
            self.end_stage(&(*run, stage.clone()), StageResult::Canceled);
            self.answer(call, Outcome::Applied, None);
        }
    }

    pub(super) fn ask_deploy(&mut self, call: &Call) {
        let Effect::AskDeploy { by, command, .. } = &call.effect else {
            return;
        };
        if call.life() != self.life {
            return;
        }
        let (rollout, release) = self.fresh();
        let traits = scenario::traits(&mut self.rng);
        self.fleet.truth.insert(release, traits);
        if let Command::Deploy { spec, .. } = &**command {
            for n in 1..=spec.parts.len() as u8 {
                self.fleet.truth.insert(release.of_part(n), traits);
            }
        }
        let asked = Asked {
            request: self.ids,
            by: by.clone(),
            command: (**command).clone(),
            rollout,
            release,
        };
        self.checks.asked(&asked, self.now_ms);
        self.works.deploys.insert(self.ids, call.clone());
        let (life, event) = (self.life, Box::new(Event::Command(asked)));
        self.later(0, Happening::Feed { life, event });
    }

    /// A command was answered: a stage's deploy, maybe.
    pub(in crate::sim) fn deploy_answered(&mut self, request: u64, answer: &Answer) {
        let Some(call) = self.works.deploys.remove(&request) else {
            return;
        };
        let Some(id) = call.effect.id() else {
            return;
        };
        let answer = Box::new(answer.clone());
        let seen = Observation::Deploy { id, answer };
        self.reply(&call, 1, Outcome::Applied, Some(seen));
    }
}

/// What a run's commit is called.
fn short(run: RunNumber) -> Clean {
    Clean::new(&format!("c{}", run.0))
}
