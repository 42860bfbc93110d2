//! The invariants. They look at what was recorded, at what was asked of the world, and at what
//! the world really is; never into the engine.

mod effects;
mod parts;
mod pipeline;
mod records;
mod watch;

use super::mutation::{Mutation, spoil};
use super::run::Checked;
use crate::driver::turn::Core;
use crate::model::command::{Answer, Refusal};
use crate::model::effect::{EffectKey, ServerSetting};
use crate::model::input::{Asked, Observation};
use crate::model::world::BalancerReading;
use crate::model::{
    Actor, BalancerName, Command, Effect, Entry, Event, Placement, PlacementState, Record,
    ReleaseId, Seq, ServerName, ServiceSpec, State,
};
pub(super) use effects::Change;
use std::collections::{BTreeMap, BTreeSet};

/// An effect that is silent this long after its deadline may be given up.
const GRACE_MS: u64 = 2_000;
/// What the world did, the engine cannot have noticed for so long.
const FLUX_MS: u64 = 2_500;
/// Effects started within one second: more is a storm.
const STARTS_MAX: u32 = 300;
/// How far a share may be off, in points.
const POINTS: f64 = 1.5;

/// A command that waits for its answer.
#[derive(Debug, Clone)]
struct Question {
    command: Command,
    asked_ms: u64,
}

/// What is known independently of the engine.
pub(super) struct Checks {
    at: Placement,
    /// The fold of everything durable.
    pub(super) oracle: State,
    spec: ServiceSpec,
    mutation: Option<Mutation>,
    /// Records decided, by kind; for coverage.
    pub(super) kinds: BTreeSet<&'static str>,
    started: BTreeMap<EffectKey, (u64, u64)>,
    last_ticket: u64,
    /// A second of the engine's time, and effects started in it.
    busy: (u64, u32),
    last_append_ms: u64,
    appending: bool,
    disk_broken: bool,
    doubt: bool,
    questions: BTreeMap<u64, Question>,
    refused: BTreeSet<u64>,
    /// The newest reading of each balancer the engine heard, and when; forgotten with the engine.
    heard: BTreeMap<BalancerName, (BalancerReading, u64)>,
    /// Balancers of which the newest call brought no reading.
    blind: BTreeSet<BalancerName>,
    /// What each was last asked to be set to.
    settings: BTreeMap<BalancerName, Vec<(ServerName, ServerSetting)>>,
    flux_ms: u64,
    /// When calls last failed: of one balancer, or of anything else.
    call_failed_ms: BTreeMap<Option<BalancerName>, u64>,
    able_ms: Option<u64>,
    /// Somebody changed weights that nobody set since: readings until the engine must know.
    unheard: BTreeMap<BalancerName, u8>,
    above_ms: BTreeMap<BalancerName, u64>,
    aborted_ms: Option<u64>,
    failed_ms: Option<u64>,
    soak_answered: u64,
    warm_since_ms: BTreeMap<ReleaseId, u64>,
    hurried: BTreeSet<ReleaseId>,
    /// The record that began the running engine.
    engine_seq: Seq,
    /// What the new release had answered when the append began.
    pub(super) answered: u64,
    /// Whether what is appended was decided during a gap.
    after_gap: bool,
    held_by_person: bool,
    promoted_by_person: bool,
    /// The size somebody asked for since the last rollout with a configuration of its own.
    scaled: Option<u32>,
    /// Parts that are not of their lead's release since a rollback of theirs failed.
    left_behind: BTreeSet<Placement>,
    pub(super) nudged_ms: u64,
    settled_seq: Option<Seq>,
    remembered: Option<String>,
    /// Pipelines.
    lines: pipeline::Lines,
}

impl Checks {
    pub(super) fn new(mut oracle: State, spec: ServiceSpec, mutation: Option<Mutation>) -> Self {
        spoil(mutation, &mut oracle);
        let last_append_ms = oracle.at_ms;
        Self {
            at: spec.placement.clone(),
            oracle,
            spec,
            mutation,
            kinds: BTreeSet::new(),
            started: BTreeMap::new(),
            last_ticket: 0,
            busy: (0, 0),
            last_append_ms,
            appending: false,
            disk_broken: false,
            doubt: false,
            questions: BTreeMap::new(),
            refused: BTreeSet::new(),
            heard: BTreeMap::new(),
            blind: BTreeSet::new(),
            settings: BTreeMap::new(),
            flux_ms: 0,
            call_failed_ms: BTreeMap::new(),
            able_ms: None,
            unheard: BTreeMap::new(),
            above_ms: BTreeMap::new(),
            aborted_ms: None,
            failed_ms: None,
            soak_answered: 0,
            warm_since_ms: BTreeMap::new(),
            hurried: BTreeSet::new(),
            engine_seq: 0,
            answered: 0,
            after_gap: false,
            held_by_person: false,
            promoted_by_person: false,
            scaled: None,
            left_behind: BTreeSet::new(),
            nudged_ms: 0,
            settled_seq: None,
            remembered: None,
            lines: pipeline::Lines::default(),
        }
    }

    pub(super) fn place(&self) -> Option<&PlacementState> {
        self.oracle.placements.get(&self.at)
    }

    /// Instances that are wanted: what the service says, unless somebody scaled it since.
    pub(super) fn size(&self) -> usize {
        self.scaled.unwrap_or(self.spec.instances) as usize
    }

    pub(super) fn revision(&self) -> u64 {
        let rollout = self.place().and_then(|place| place.rollout.as_ref());
        rollout.map_or(0, |rollout| rollout.revision)
    }

    pub(super) fn last_settings(
        &self,
        balancer: &BalancerName,
    ) -> Option<Vec<(ServerName, ServerSetting)>> {
        self.settings.get(balancer).cloned()
    }

    pub(super) fn ticket_under_way(&self, key: &EffectKey) -> Option<u64> {
        self.started.get(key).map(|(ticket, _)| *ticket)
    }

    /// The world moved by itself; the engine may be wrong about it for a moment.
    pub(super) fn flux(&mut self, now_ms: u64) {
        self.flux_ms = self.flux_ms.max(now_ms + FLUX_MS);
    }

    pub(super) fn paused(&mut self, now_ms: u64) {
        self.able_ms = None;
        self.flux(now_ms);
    }

    /// Whatever somebody did by hand is overwritten.
    pub(super) fn weights_set(&mut self, balancer: &BalancerName) {
        self.unheard.remove(balancer);
    }

    /// Whether the newest call to some other balancer brought no reading.
    pub(super) fn another_is_blind(&self, balancer: &BalancerName) -> bool {
        self.blind.iter().any(|other| other != balancer)
    }

    /// Whether the engine has not heard of the balancer for a while: it may write blindly then.
    fn is_blind(&self, balancer: &BalancerName, engine_ms: u64) -> bool {
        let heard = self.heard.get(balancer);
        let old = |at_ms: u64| at_ms + self.spec.analysis.interval_ms < engine_ms;
        self.blind.contains(balancer) || heard.is_none_or(|(_, at_ms)| old(*at_ms))
    }

    pub(super) fn world_changed_weights(
        &mut self,
        balancer: &BalancerName,
        by_hand: bool,
        now_ms: u64,
    ) {
        self.flux(now_ms);
        self.unheard.remove(balancer);
        if by_hand {
            // One reading may be on its way; the next one shows it.
            self.unheard.insert(balancer.clone(), 2);
        }
    }

    pub(super) fn call_failed(&mut self, effect: &Effect, now_ms: u64) {
        let of = match effect {
            Effect::ReadBalancer { backend, .. } | Effect::SetWeights { backend, .. } => {
                Some(backend.balancer.clone())
            }
            _ => None,
        };
        self.call_failed_ms.insert(of, now_ms);
    }

    /// Since when the calls to a balancer, and all that are to none, go well.
    fn free_ms(&self, balancer: Option<&BalancerName>, able_ms: u64) -> u64 {
        let failed = |of: Option<&BalancerName>| {
            let failed_ms = self.call_failed_ms.get(&of.cloned());
            failed_ms.copied().unwrap_or(0)
        };
        able_ms.max(failed(None)).max(failed(balancer))
    }

    pub(super) fn disk_broke(&mut self, doubt: bool) {
        self.disk_broken = true;
        self.doubt |= doubt;
    }

    pub(super) fn crashed(&mut self) {
        self.started.clear();
        self.last_ticket = 0;
        self.appending = false;
        self.disk_broken = false;
        self.doubt = false;
        self.questions.clear();
        self.heard.clear();
        self.able_ms = None;
        self.aborted_ms = None;
        self.last_append_ms = 0;
    }

    /// A violation found where none could be returned.
    pub(super) fn remember(&mut self, checked: Checked) {
        self.remembered = self.remembered.take().or(checked.err());
    }

    pub(super) fn settled(&mut self) {
        self.settled_seq = Some(self.oracle.seq);
    }

    pub(super) fn recorded_since_settled(&self) -> bool {
        self.settled_seq.is_some_and(|seq| seq != self.oracle.seq)
    }

    /// What is replayed is what was.
    pub(super) fn replayed(&self, state: &State) -> Checked {
        match *state == self.oracle {
            true => Ok(()),
            false => Err("replaying the history leads to another state".to_owned()),
        }
    }

    /// What the engine holds is what is recorded.
    pub(super) fn same(&self, core: &Core) -> Checked {
        match core.state == self.oracle || self.doubt {
            true => Ok(()),
            false => Err("the engine's state is not what the history says".to_owned()),
        }
    }

    /// The engine hears of something.
    pub(super) fn heard(&mut self, event: &Event, now_ms: u64) {
        match event {
            Event::Settled(settled) => {
                let under_way = self.ticket_under_way(&settled.key) == Some(settled.ticket);
                if under_way {
                    self.started.remove(&settled.key);
                }
                let EffectKey::Balancer(_, balancer) = &settled.key else {
                    return;
                };
                if !under_way {
                    return;
                }
                let Some(Observation::Balancer {
                    reading: Ok(reading),
                    ..
                }) = &settled.seen
                else {
                    self.blind.insert(balancer.clone());
                    return;
                };
                self.blind.remove(balancer);
                self.heard
                    .insert(balancer.clone(), (reading.clone(), now_ms));
                if let Some(left) = self.unheard.get_mut(balancer) {
                    *left = left.saturating_sub(1);
                }
            }
            Event::Appended { .. } => self.appending = false,
            Event::AppendFailed { .. } => self.appending = false,
            Event::HistoryReopened { .. } => {
                self.disk_broken = false;
                self.doubt = false;
            }
            Event::Started(_)
            | Event::Command(_)
            | Event::Denied(_)
            | Event::Fact(_)
            | Event::Wake
            | Event::Inspected(_)
            | Event::RuntimeInspected(_)
            | Event::RuntimeHinted { .. } => {}
        }
    }

    pub(super) fn asked(&mut self, asked: &Asked, now_ms: u64) {
        let question = Question {
            command: asked.command.clone(),
            asked_ms: now_ms,
        };
        self.questions.insert(asked.request, question);
    }

    pub(super) fn answered(&mut self, request: u64, answer: &Answer, now_ms: u64) -> Checked {
        let Some(question) = self.questions.remove(&request) else {
            return Err(format!(
                "request {request} was answered twice, or never asked"
            ));
        };
        let abort = matches!(question.command, Command::Abort { .. });
        match answer {
            Answer::Refused(refusal) => {
                if abort && !matches!(refusal, Refusal::NoRollout { .. }) {
                    return Err(format!("an abort was refused: {refusal}"));
                }
                // Told that nobody knows yet whether it was recorded.
                let unknown = self.disk_broken && matches!(refusal, Refusal::NotNow { .. });
                if !unknown {
                    self.refused.insert(request);
                }
            }
            Answer::Accepted { .. } | Answer::Already { .. } | Answer::Unrecorded { .. }
                if abort =>
            {
                self.aborted_ms = Some(now_ms);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a start or stop is under way behind a server.
    fn is_under_way(&self, server: &ServerName) -> bool {
        let key = EffectKey::Instance(self.at.clone(), server.clone());
        self.started.contains_key(&key)
    }

    /// The engine asks for records to be made durable.
    pub(super) fn append(&mut self, records: &[Record], now_ms: u64, world_ms: u64) -> Checked {
        if let Some(found) = self.remembered.take() {
            return Err(found);
        }
        if self.appending {
            return Err("two appends at once".to_owned());
        }
        self.appending = true;
        self.after_gap = matches!(records[0].entry, Entry::HistoryGap { .. });
        for (record, seq) in records.iter().zip(self.oracle.seq + 1..) {
            if record.seq != seq {
                return Err(format!("record {} was given seq {}", seq, record.seq));
            }
            if record.at_ms < self.last_append_ms.max(self.oracle.at_ms) || record.at_ms > now_ms {
                return Err(format!("time runs backwards at record {seq}"));
            }
            self.last_append_ms = record.at_ms;
            self.kinds.insert(record.entry.kind());
            self.decided(record, now_ms, world_ms)?;
        }
        Ok(())
    }

    /// Held against what must be true at the moment of the decision.
    fn decided(&self, record: &Record, now_ms: u64, world_ms: u64) -> Checked {
        if let Actor::Person { uid, .. } = &record.actor
            && self.refused.contains(&u64::from(*uid))
            && !matches!(record.entry, Entry::Refused { .. })
        {
            return Err(format!("a refused command left a {}", record.entry.kind()));
        }
        if record.entry.placement().is_some_and(|at| *at != self.at) {
            return Ok(());
        }
        let fresh_ms = self.spec.analysis.interval_ms;
        let fresh = self.spec.balancers.iter().all(|backend| {
            let heard = self.heard.get(&backend.balancer);
            heard.is_some_and(|(_, at_ms)| at_ms + fresh_ms >= now_ms)
        });
        match &record.entry {
            Entry::StepPassed { .. } if !fresh => Err("a step passed without data".to_owned()),
            Entry::Promoted { .. } if !fresh => Err("promoted without fresh readings".to_owned()),
            Entry::Promoted { .. } => self.promoted(record),
            Entry::WeightSettled { id, .. } => self.weight_settled(*id, world_ms),
            _ => Ok(()),
        }
    }

    fn promoted(&self, record: &Record) -> Checked {
        let Actor::Person { uid, .. } = &record.actor else {
            return Err("the engine promoted by itself".to_owned());
        };
        let question = self.questions.get(&u64::from(*uid));
        match question.map(|question| &question.command) {
            Some(Command::Promote { revision, .. }) if *revision == self.revision() => Ok(()),
            Some(Command::Promote { revision, .. }) => Err(format!(
                "a promotion of revision {revision} was taken at {}",
                self.revision()
            )),
            _ => Err("a promotion that nobody asked for".to_owned()),
        }
    }
}
