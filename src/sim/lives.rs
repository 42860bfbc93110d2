//! The engine's lives: what becomes durable, where it crashes, and what a new process finds.

use super::disk::Fate;
use super::mutation::{Mutation, spoil};
use super::run::{Armed, Checked, EPOCH_MS, Engine, Happening, Sim, say};
use super::scenario::Boundary;
use crate::driver::turn::Core;
use crate::engine;
use crate::model::input::EngineInfo;
use crate::model::{Event, Record};

impl Sim<'_> {
    pub(super) fn append(&mut self, records: Vec<Record>) -> Checked {
        let canary = self.checks.place().and_then(|place| place.canary());
        self.checks.answered = canary.map_or(0, |canary| self.balancers.answered(canary));
        self.checks
            .append(&records, self.engine_ms(), self.now_ms)?;
        if self.pending.is_some() {
            return Err("an append began while another was under way".to_owned());
        }
        self.stop_early(&records)?;
        self.pending = Some(records);
        match self.armed.map(|armed| (armed.boundary, armed.pass)) {
            Some((Boundary::BeforeDurable, 0)) => {
                self.pending = None;
                self.strikes(Boundary::BeforeDurable);
            }
            Some((Boundary::AfterDurable, 0)) => {
                let records = self.pending.take().unwrap_or_default();
                self.make_durable(&records)?;
                self.strikes(Boundary::AfterDurable);
            }
            _ => {
                self.strikes(Boundary::BeforeDurable);
                self.strikes(Boundary::AfterDurable);
                let slow = self.now_ms < self.disk.slow_until_ms;
                let after_ms = if slow {
                    self.disk.slow_ms
                } else {
                    self.rng.between(1, 4)
                };
                let life = self.life;
                self.later(after_ms, Happening::Appended { life });
                if self.mutation == Some(Mutation::ActsBeforeDurable) {
                    let last = self.pending.iter().flatten().last().map_or(0, |r| r.seq);
                    self.later(
                        0,
                        Happening::Feed {
                            life,
                            event: Box::new(Event::Appended { last }),
                        },
                    );
                }
            }
        }
        Ok(())
    }

    /// A boundary is reached: kills the engine where a crash waits for this one, else lets it go
    /// by.
    pub(super) fn strikes(&mut self, boundary: Boundary) -> bool {
        let Some(armed) = self.armed.as_mut().filter(|it| it.boundary == boundary) else {
            return false;
        };
        if armed.pass > 0 {
            armed.pass -= 1;
            return false;
        }
        let Armed { down_ms, again, .. } = *armed;
        self.armed = again.then_some(Armed {
            boundary: Boundary::InRecovery,
            pass: 0,
            down_ms,
            again: false,
        });
        self.crash(down_ms);
        true
    }

    pub(super) fn make_durable(&mut self, records: &[Record]) -> Checked {
        self.disk.append(records)?;
        for record in records {
            say!(
                self,
                "  durable {} {}",
                record.seq,
                super::words::entry(&record.entry)
            );
            self.checks
                .durable(record, &self.balancers, &self.fleet, self.now_ms)?;
        }
        if records.len() > 1 && self.rng.chance(20) {
            self.disk.take_checkpoint(&self.checks.oracle)?;
        }
        Ok(())
    }

    pub(super) fn append_ends(&mut self) -> Checked {
        let life = self.life;
        let Some(records) = self.pending.take() else {
            return Ok(());
        };
        let last = records.last().map_or(0, |record| record.seq);
        let fate = self.disk.fate(self.now_ms);
        if fate != Fate::Lost {
            self.make_durable(&records)?;
        }
        let event = match fate {
            Fate::Durable => Event::Appended { last },
            Fate::Lost | Fate::ArrivedWithError => {
                self.checks.disk_broke(fate == Fate::ArrivedWithError);
                Event::AppendFailed {
                    why: "no space left".into(),
                }
            }
        };
        if self.mutation == Some(Mutation::ActsBeforeDurable) {
            return Ok(());
        }
        self.later(
            0,
            Happening::Feed {
                life,
                event: Box::new(event),
            },
        );
        Ok(())
    }

    pub(super) fn reopen(&mut self) {
        if self.now_ms < self.disk.fails_until_ms {
            return;
        }
        self.disk.dead = false;
        let (life, last) = (self.life, self.disk.log.last_seq());
        self.later(
            0,
            Happening::Feed {
                life,
                event: Box::new(Event::HistoryReopened { last }),
            },
        );
    }

    /// The engine's process ends, here and now.
    pub(super) fn crash(&mut self, down_ms: u64) {
        say!(self, "CRASH");
        self.crashes += 1;
        self.life += 1;
        self.engine = None;
        self.paused_until_ms = 0;
        self.checks.crashed();
        self.works.die();
        if let Some(records) = self.pending.take()
            && !self.disk.dead
            && self.now_ms >= self.disk.fails_until_ms
            && self.rng.chance(50)
        {
            // What was on its way to the disk may have arrived.
            let arrived = self.make_durable(&records);
            self.checks.remember(arrived);
        }
        self.later(down_ms, Happening::Restart);
    }

    pub(super) fn start(&mut self) -> Checked {
        if self.engine.is_some() {
            return Ok(());
        }
        let (mut state, tail) = self.disk.open()?;
        spoil(self.mutation, &mut state);
        for record in tail {
            let skipped = self.mutation == Some(Mutation::ReplaySkipsAKind)
                && record.entry.kind() == "verdict_changed";
            if !skipped {
                engine::evolve(&mut state, &record);
                spoil(self.mutation, &mut state);
            }
        }
        self.checks.replayed(&state)?;
        let wall_ms = self.now_ms + EPOCH_MS + self.rng.below(2_000);
        let floor_ms = match self.mutation {
            Some(Mutation::ClockRunsBack) => 0,
            _ => state.at_ms,
        };
        self.ahead_ms = wall_ms.saturating_sub(self.rng.below(4_000)).max(floor_ms) - self.now_ms;
        self.engine = Some(Engine {
            core: Core::new(state),
            wake: None,
        });
        if let Some(armed) = &mut self.armed
            && armed.boundary == Boundary::InRecovery
        {
            armed.boundary = Boundary::BeforeDurable;
        }
        self.feed(Event::Started(EngineInfo {
            version: "0.1.0".to_owned(),
            pid: self.life,
            host: "sim".into(),
            config_hash: "c0ffee".to_owned(),
        }))
    }
}
