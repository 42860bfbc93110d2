//! The loop: one queue of happenings in virtual time, the engine's turn in the middle.

use super::balancers::Balancers;
use super::check::Checks;
use super::disk::Disk;
use super::fleet::Fleet;
use super::mutation::Mutation;
use super::peers::Works;
use super::rng::Rng;
use super::scenario::{Boundary, Fault, Rates, Scenario};
use crate::driver::turn::{Core, turn};
use crate::model::{
    Action, Effect, EffectId, Event, Input, Record, ReleaseId, RolloutId, RuntimeName, State,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Wall time at which every schedule begins.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;
/// After the faults everything must have settled within this time.
const SETTLE_MS: u64 = 90_000;
/// Events of one schedule: more is a livelock.
const EVENTS_MAX: u64 = 20_000;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// The engine of that life hears of it.
    Feed {
        life: u32,
        event: Box<Event>,
    },
    /// The engine's timer, in the engine's time.
    Wake {
        life: u32,
        at_ms: u64,
    },
    /// A call arrives at its peer.
    Perform(Box<super::peers::Call>),
    /// The process of a stage ends by itself.
    StageEnds {
        life: u32,
        id: EffectId,
    },
    /// The disk is done with an append.
    Appended {
        life: u32,
    },
    /// The history is opened anew.
    Reopen {
        life: u32,
    },
    /// The engine is started.
    Restart,
    /// Things of the schedule, by number.
    Fault(usize),
    Ask(usize),
    /// Faults end.
    Quiet,
    /// A look at the world.
    Look,
}

/// A crash that waits for its moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    pub(super) boundary: Boundary,
    /// So many such boundaries go by first.
    pub(super) pass: u32,
    pub(super) down_ms: u64,
    /// Whether it strikes once more in the recovery.
    pub(super) again: bool,
}

/// The engine's process, while there is one.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub(super) core: Core,
    pub(super) wake: Option<u64>,
}

/// Everything of one schedule.
pub(super) struct Sim<'a> {
    pub(super) rng: Rng,
    pub(super) scenario: Scenario,
    pub(super) mutation: Option<Mutation>,
    /// Virtual time.
    pub(super) now_ms: u64,
    /// What the engine's clock is ahead of it.
    pub(super) ahead_ms: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub(super) life: u32,
    pub(super) engine: Option<Engine>,
    pub(super) paused_until_ms: u64,
    pub(super) armed: Option<Armed>,
    pub(super) fleet: Fleet,
    pub(super) balancers: Balancers,
    /// Until when nobody reaches a runtime.
    pub(super) runtimes_dark_ms: BTreeMap<RuntimeName, u64>,
    pub(super) probes_dark_ms: u64,
    pub(super) traffic_back_ms: u64,
    pub(super) disk: Disk,
    pub(super) pending: Option<Vec<Record>>,
    pub(super) works: Works,
    pub(super) checks: Checks,
    pub(super) ids: u64,
    pub(super) quiet: bool,
    pub(super) nudges: u32,
    pub(super) settled_ms: Option<u64>,
    pub(super) events: u64,
    pub(super) turns: u64,
    pub(super) crashes: u64,
    pub(super) tell: Option<&'a mut dyn FnMut(String)>,
}

/// A violation, in words.
pub(super) type Checked = Result<(), String>;

/// What stands when a schedule begins.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) fleet: Fleet,
    pub(super) balancers: Balancers,
    pub(super) disk: Disk,
    pub(super) state: State,
    pub(super) now_ms: u64,
    pub(super) ids: u64,
}

macro_rules! say {
    ($sim:expr, $($arg:tt)*) => {
        if $sim.tell.is_some() {
            let line = format!($($arg)*);
            $sim.say(line);
        }
    };
}
pub(super) use say;

impl<'a> Sim<'a> {
    pub(super) fn new(
        rng: Rng,
        scenario: Scenario,
        image: Option<&Image>,
        mutation: Option<Mutation>,
        tell: Option<&'a mut dyn FnMut(String)>,
    ) -> Self {
        let blank = Image {
            fleet: Fleet::default(),
            balancers: Balancers::new(&scenario.spec, scenario.rps),
            disk: Disk::default(),
            state: State::default(),
            now_ms: 0,
            ids: 0,
        };
        let Image {
            fleet,
            mut balancers,
            disk,
            state,
            now_ms,
            ids,
        } = image.cloned().unwrap_or(blank);
        balancers.arrive(scenario.rps);
        let checks = Checks::new(state, scenario.spec.clone(), mutation);
        Self {
            rng,
            scenario,
            mutation,
            now_ms,
            ahead_ms: EPOCH_MS,
            queue: BTreeMap::new(),
            queued: 0,
            life: 0,
            engine: None,
            paused_until_ms: 0,
            armed: None,
            fleet,
            balancers,
            runtimes_dark_ms: BTreeMap::new(),
            probes_dark_ms: 0,
            traffic_back_ms: 0,
            disk,
            pending: None,
            works: Works::default(),
            checks,
            ids,
            quiet: false,
            nudges: 0,
            settled_ms: None,
            events: 0,
            turns: 0,
            crashes: 0,
            tell,
        }
    }

    pub(super) fn say(&mut self, line: String) {
        let now_ms = self.now_ms;
        if let Some(tell) = self.tell.as_mut() {
            tell(format!("{now_ms:>7} {line}"));
        }
    }

    pub(super) fn engine_ms(&self) -> u64 {
        self.now_ms + self.ahead_ms
    }

    pub(super) fn later(&mut self, after_ms: u64, what: Happening) {
        self.queued += 1;
        self.queue
            .insert((self.now_ms + after_ms, self.queued), what);
    }

    /// Plays the whole schedule.
    pub(super) fn run(&mut self) -> Checked {
        self.later(0, Happening::Restart);
        for i in 0..self.scenario.people.len() {
            self.later(self.scenario.people[i].0, Happening::Ask(i));
        }
        for i in 0..self.scenario.faults.len() {
            self.later(self.scenario.faults[i].0, Happening::Fault(i));
        }
        let quiet_ms = self.scenario.quiet_ms;
        self.later(quiet_ms, Happening::Quiet);
        self.later(0, Happening::Look);
        let end_ms = self.now_ms + quiet_ms + SETTLE_MS;
        while let Some(((at_ms, _), what)) = self.queue.pop_first() {
            if at_ms > end_ms {
                return Err(format!(
                    "it did not settle: {}",
                    self.unsettled().unwrap_or_default()
                ));
            }
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err("livelock: too many events".to_owned());
            }
            self.now_ms = at_ms;
            self.happen(what)?;
            if self.quiet && self.is_over()? {
                return Ok(());
            }
        }
        Err("the queue is empty: the engine waits for nothing".to_owned())
    }

    fn happen(&mut self, what: Happening) -> Checked {
        match what {
            Happening::Feed { life, event } if life == self.life => match self.is_paused() {
                true => self.put_off(Happening::Feed { life, event }),
                false => self.feed(*event)?,
            },
            Happening::Wake { life, at_ms } if life == self.life => match self.is_paused() {
                true => self.put_off(Happening::Wake { life, at_ms }),
                false => self.wake(at_ms)?,
            },
            Happening::Appended { life } if life == self.life => self.append_ends()?,
            Happening::Reopen { life } if life == self.life => self.reopen(),
            Happening::StageEnds { life, id } if life == self.life => self.stage_ends(id),
            Happening::Feed { .. }
            | Happening::StageEnds { .. }
            | Happening::Wake { .. }
            | Happening::Appended { .. }
            | Happening::Reopen { .. } => {}
            Happening::Perform(call) => self.perform(*call)?,
            Happening::Restart => self.start()?,
            Happening::Fault(i) => self.strike(self.scenario.faults[i].1),
            Happening::Ask(i) => self.ask(self.scenario.people[i].1),
            Happening::Quiet => self.end_faults(),
            Happening::Look => {
                self.advance_world();
                self.later(500, Happening::Look);
            }
        }
        self.watch()
    }

    fn is_paused(&self) -> bool {
        self.now_ms < self.paused_until_ms
    }

    fn put_off(&mut self, what: Happening) {
        self.later(self.paused_until_ms - self.now_ms, what);
    }

    fn wake(&mut self, at_ms: u64) -> Checked {
        let Some(engine) = self
            .engine
            .as_mut()
            .filter(|engine| engine.wake == Some(at_ms))
        else {
            return Ok(());
        };
        engine.wake = None;
        self.feed(Event::Wake)
    }

    pub(super) fn advance_world(&mut self) {
        self.balancers
            .arrive(match self.now_ms < self.traffic_back_ms {
                true => 0,
                false => self.scenario.rps,
            });
        self.balancers.advance(&self.fleet, self.now_ms);
        if self.fleet.advance(self.now_ms) {
            self.checks.flux(self.now_ms);
        }
    }

    /// The engine takes in one event, and what it asks for is done.
    pub(super) fn feed(&mut self, event: Event) -> Checked {
        let now_ms = self.engine_ms();
        let life = self.life;
        if self.engine.is_none() {
            return Ok(());
        }
        say!(self, "{}", super::words::event(&event));
        self.turns += 1;
        self.checks.heard(&event, now_ms);
        let durable = matches!(event, Event::Appended { .. });
        let event = self.tamper(event);
        let Some(engine) = self.engine.as_mut() else {
            return Ok(());
        };
        let actions = turn(&mut engine.core, Input { now_ms, event });
        if durable {
            super::mutation::spoil(self.mutation, &mut engine.core.state);
            self.checks.same(&engine.core)?;
        }
        for action in actions {
            if life != self.life {
                break;
            }
            self.act(action)?;
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Checked {
        say!(self, "{}", super::words::action(&action));
        match action {
            Action::Append(records) => self.append(records),
            Action::Start {
                ticket,
                effect,
                deadline_ms,
            } => self.begin(ticket, effect, deadline_ms),
            Action::WakeAt(at_ms) => {
                let life = self.life;
                if let Some(engine) = self.engine.as_mut() {
                    engine.wake = Some(at_ms);
                }
                let after_ms = at_ms.saturating_sub(self.engine_ms());
                self.later(after_ms, Happening::Wake { life, at_ms });
                Ok(())
            }
            Action::Answer { request, answer } => {
                let now_ms = self.now_ms;
                self.deploy_answered(request, &answer);
                self.checks.answered(request, &answer, now_ms)
            }
            Action::ReopenHistory => {
                let life = self.life;
                self.later(10, Happening::Reopen { life });
                Ok(())
            }
            Action::Say(_) => Ok(()),
        }
    }

    fn begin(&mut self, ticket: u64, effect: Effect, deadline_ms: u64) -> Checked {
        self.advance_world();
        let effect = super::mutation::spoil_effect(self.mutation, effect, &self.checks);
        self.checks
            .start(ticket, &effect, deadline_ms, self.engine_ms())?;
        self.checks
            .start_in_world(&effect, &self.balancers, &self.fleet, self.now_ms)?;
        if effect.is_write() && self.strikes(Boundary::BeforeEffect) {
            return Ok(());
        }
        self.send(ticket, effect, deadline_ms);
        Ok(())
    }

    fn strike(&mut self, fault: Fault) {
        if self.quiet {
            return;
        }
        say!(self, "FAULT {fault:?}");
        self.advance_world();
        self.fault(fault);
    }

    fn end_faults(&mut self) {
        say!(self, "QUIET");
        self.quiet = true;
        self.armed = None;
        self.scenario.rates = Rates::default();
        self.balancers.lighten();
        self.runtimes_dark_ms.clear();
        self.probes_dark_ms = 0;
        self.traffic_back_ms = 0;
        self.disk.fails_until_ms = 0;
        self.disk.slow_until_ms = 0;
        self.balancers.set_tail(200);
        self.checks.flux(self.now_ms);
    }

    /// A fresh id, with the number the traits of a release are kept under.
    pub(super) fn fresh(&mut self) -> (RolloutId, ReleaseId) {
        self.ids += 1;
        let low = u128::from(self.ids);
        (
            RolloutId(Uuid::from_u128(low << 64)),
            // The low byte tells its parts apart.
            ReleaseId(Uuid::from_u128(low << 8)),
        )
    }

    pub(super) fn image(&self) -> Image {
        Image {
            fleet: self.fleet.clone(),
            balancers: self.balancers.clone(),
            disk: self.disk.clone(),
            state: self.checks.oracle.clone(),
            now_ms: self.now_ms,
            ids: self.ids,
        }
    }
}
