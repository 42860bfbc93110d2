//! People: what they ask, how they look after what is held, and when everything counts as settled.

use super::run::{Checked, Happening, Sim, say};
use super::scenario::{Ask, Seen, pipeline, placement};
use crate::model::command::{PipelineCommand, PromoteTo};
use crate::model::input::Asked;
use crate::model::pipeline::Trigger;
use crate::model::state::{HoldReason, InstanceStatus};
use crate::model::world::Admin;
use crate::model::{Actor, Command, Event, Placement, RunNumber, ServerName, Urgency};

/// Settled things are watched for this long: nothing more may be recorded.
const STILL_MS: u64 = 2_500;
/// A person looks after a held rollout at most this often, then aborts it.
const NUDGES_MAX: u32 = 3;
/// A person looks after what is held this long.
const NUDGE_EVERY_MS: u64 = 2_000;

impl Sim<'_> {
    pub(super) fn ask(&mut self, ask: Ask) {
        let Some(engine) = &self.engine else {
            return;
        };
        let place = engine.core.acting_state().placements.get(&placement());
        let revision = place
            .and_then(|place| place.rollout.as_ref())
            .map_or(0, |r| r.revision);
        let seen = |seen: Seen| match seen {
            Seen::Now => revision,
            Seen::Earlier(by) => revision.saturating_sub(by),
        };
        let spec = Box::new(self.scenario.spec.clone());
        let (rollout, release) = self.fresh();
        let command = match ask {
            Ask::Deploy(traits) => {
                self.fleet.truth.insert(release, traits);
                for n in 1..=self.scenario.spec.parts.len() as u8 {
                    self.fleet.truth.insert(release.of_part(n), traits);
                }
                let version = format!("v{}", self.ids).parse().expect("a valid version");
                Command::Deploy {
                    spec,
                    version,
                    reason: None,
                    request_id: None,
                }
            }
            Ask::Promote(to, saw) => Command::Promote {
                placement: placement(),
                to,
                revision: seen(saw),
            },
            Ask::Hold => Command::Hold {
                placement: placement(),
                reason: None,
            },
            Ask::Resume(saw) => Command::Resume {
                placement: placement(),
                revision: seen(saw),
            },
            Ask::Restart => Command::Restart {
                placement: placement(),
                reason: None,
            },
            Ask::Scale(instances) => Command::Scale {
                placement: placement(),
                instances,
                reason: None,
            },
            Ask::Drain(number) => Command::Drain {
                placement: placement(),
                server: self.server(number),
                reason: None,
            },
            Ask::Undrain(number) => Command::Undrain {
                placement: placement(),
                server: self.server(number),
            },
            Ask::Drill => Command::Drill {
                placement: placement(),
                reason: None,
            },
            Ask::Abort => Command::Abort {
                placement: placement(),
                reason: None,
            },
            Ask::AbortPart => Command::Abort {
                placement: self.part(),
                reason: None,
            },
            Ask::RestartPart => Command::Restart {
                placement: self.part(),
                reason: None,
            },
            Ask::ResumePart => Command::Resume {
                placement: self.part(),
                revision: self.part_revision(),
            },
            Ask::Run(branch, request) => {
                let id = request.map(|n| format!("hook:{n}").parse().expect("a valid id"));
                Command::Pipeline(PipelineCommand::Run {
                    spec: Box::new(pipeline(&self.scenario.spec)),
                    trigger: Box::new(Trigger {
                        revision: branch.into(),
                        branch: branch.into(),
                        environment: None,
                        reason: None,
                        request_id: id,
                        provider: None,
                    }),
                })
            }
            Ask::CancelRun => Command::Pipeline(PipelineCommand::Cancel {
                run: self.newest_run(),
                reason: None,
            }),
            Ask::ConfirmStage => {
                let waits = self.checks.waits_for_person();
                let (run, stage) = waits
                    .unwrap_or_else(|| (self.newest_run(), "lint".parse().expect("a valid name")));
                Command::Pipeline(PipelineCommand::Confirm { run, stage })
            }
            Ask::Rollback(urgency) => Command::Rollback {
                spec,
                to: None,
                reason: (urgency == Urgency::Emergency).then(|| "now".into()),
                urgency,
            },
        };
        let request = self.ids;
        let user = format!("p{request}");
        let by = Actor::Person {
            uid: request as u32,
            user: user.as_str().into(),
        };
        say!(self, "ASK {request} {}", command.verb());
        let asked = Asked {
            request,
            by,
            command,
            rollout,
            release,
        };
        self.checks.asked(&asked, self.now_ms);
        let life = self.life;
        self.later(
            0,
            Happening::Feed {
                life,
                event: Box::new(Event::Command(asked)),
            },
        );
    }

    fn newest_run(&self) -> RunNumber {
        let runs = self.checks.oracle.pipelines.runs.keys();
        runs.last().copied().unwrap_or(RunNumber(1))
    }

    /// The first part, or the service where it has none.
    fn part(&self) -> Placement {
        let part = self.scenario.spec.parts.first();
        part.map_or_else(placement, |part| part.placement.clone())
    }

    fn part_revision(&self) -> u64 {
        let place = self.checks.place_of(&self.part());
        let open = place.and_then(|place| place.rollout.as_ref());
        open.map_or(0, |open| open.revision)
    }

    fn server(&self, number: usize) -> ServerName {
        let servers = &self.scenario.spec.servers;
        servers[number % servers.len()].name.clone()
    }

    /// Held against the invariants after each event; in the quiet, whether it is over.
    pub(super) fn watch(&mut self) -> Checked {
        let able = self.engine.is_some() && self.now_ms >= self.paused_until_ms;
        self.checks
            .watch(able, &self.balancers, &self.fleet, self.now_ms)
    }

    /// Whether all has settled and stayed so.
    pub(super) fn is_over(&mut self) -> Result<bool, String> {
        self.look_after();
        if self.unsettled().is_some() {
            if self.settled_ms.take().is_some() && self.checks.recorded_since_settled() {
                let why = self.unsettled().unwrap_or_default();
                return Err(format!("it was settled and began again: {why}"));
            }
            return Ok(false);
        }
        let since_ms = *self.settled_ms.get_or_insert(self.now_ms);
        if since_ms == self.now_ms {
            self.checks.settled();
        }
        if self.checks.recorded_since_settled() {
            return Err("settled, and yet something was recorded".to_owned());
        }
        Ok(since_ms + STILL_MS <= self.now_ms)
    }

    /// A person resumes what is held, and in the end aborts.
    fn look_after(&mut self) {
        let held = self.checks.parts().any(|part| {
            let open = part.rollout.as_ref();
            open.is_some_and(|open| open.hold.is_some())
        });
        let due_ms = self.checks.nudged_ms + NUDGE_EVERY_MS;
        if held && due_ms <= self.engine_ms() && self.engine.is_some() {
            self.checks.nudged_ms = self.engine_ms();
            return self.ask(Ask::ResumePart);
        }
        let waits = self.checks.waits_for_person().is_some();
        if waits && due_ms <= self.engine_ms() && self.engine.is_some() {
            self.checks.nudged_ms = self.engine_ms();
            return self.ask(Ask::ConfirmStage);
        }
        let Some(place) = self.checks.place() else {
            return;
        };
        let Some(rollout) = &place.rollout else {
            return;
        };
        let Some(hold) = &rollout.hold else {
            return;
        };
        let since_ms = hold.since_ms.max(self.checks.nudged_ms) + NUDGE_EVERY_MS;
        if since_ms > self.engine_ms() || self.engine.is_none() {
            return;
        }
        let paused = matches!(hold.why, HoldReason::PauseStep | HoldReason::Switch);
        self.checks.nudged_ms = self.engine_ms();
        self.nudges += 1;
        let ask = match self.nudges {
            n if n > NUDGES_MAX => Ask::Abort,
            n if paused && n % 2 == 1 => Ask::Promote(PromoteTo::Next, Seen::Now),
            _ => Ask::Resume(Seen::Now),
        };
        self.ask(ask);
    }

    /// What is not settled yet, in words.
    pub(super) fn unsettled(&self) -> Option<String> {
        let some = |text: String| Some(text);
        let Some(engine) = &self.engine else {
            return some("the engine is down".to_owned());
        };
        if self.pending.is_some() || engine.core.history_trouble().is_some() {
            return some("the history is not written".to_owned());
        }
        if let Some(open) = self.checks.run_unsettled() {
            return some(open);
        }
        let Some(place) = self.checks.place() else {
            // Nothing was ever begun.
            return None;
        };
        if let Some(rollout) = &place.rollout {
            return some(format!(
                "rollout open: {:?}, hold {:?}",
                rollout.phase, rollout.hold
            ));
        }
        let stable = place.stable();
        for (server, instance) in &place.instances {
            if Some(instance.release) != stable || instance.status != InstanceStatus::Up {
                return some(format!("{server} is {:?}", instance.status));
            }
            if self.fleet.traits(instance.release).dies_after_ms.is_some() {
                // Somebody promoted what crashes again and again.
                return None;
            }
            let there = self.fleet.instances.get(server);
            if there.is_none_or(|there| there.release != instance.release || !there.is_running()) {
                return some(format!("{server} does not run"));
            }
        }
        if let Some(server) = self
            .fleet
            .instances
            .keys()
            .filter(|server| self.scenario.spec.address(server).is_some())
            .find(|s| !place.instances.contains_key(s))
        {
            return some(format!("{server} runs what nobody recorded"));
        }
        let set = self.balancers.all().flat_map(|one| one.settings());
        for (server, setting) in set {
            let stands = place.instances.contains_key(&server) && stable.is_some();
            let serves = stands && !place.out.contains(&server);
            let ready = setting.admin == Admin::Ready && setting.weight > 0;
            if serves != ready {
                return some(format!("{server} is set to {setting:?}"));
            }
        }
        // What somebody took out of traffic stays where it is: what serves beside it may be too much.
        let wanted = self.checks.size();
        let out = place.out.iter();
        let kept = out.filter(|server| place.instances.contains_key(*server));
        let enough = wanted..=wanted + kept.count();
        if stable.is_some() && !enough.contains(&place.instances.len()) {
            return some(format!(
                "{} of {wanted} instances stand",
                place.instances.len()
            ));
        }
        match (
            stable.is_some(),
            self.balancers.somebody_serves(&self.fleet, self.now_ms),
        ) {
            (true, false) => some("nobody serves".to_owned()),
            _ => self.checks.parts_unsettled(&self.fleet),
        }
    }
}
