//! The order of things, and what a bad disk, late answers and a standing engine do to it. Most of
//! these were found by the simulator.

use super::{Core, turn};
use crate::engine::tests::stage::{self, Stage, person, server};
use crate::model::command::{Answer, Command, PromoteTo, Refusal};
use crate::model::effect::EffectKey;
use crate::model::input::{Asked, Observation, Settled};
use crate::model::world::Admin;
use crate::model::{
    Action, Effect, Entry, Event, Input, Outcome, Phase, Placement, Record, ReleaseId, RolloutId,
    RuntimeName,
};
use std::collections::VecDeque;
use uuid::Uuid;

/// Length of one step of time.
const STEP_MS: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Works,
    /// An append does not return.
    Hangs,
    /// An append fails; whether the records are there all the same.
    Fails {
        arrives: bool,
    },
}

/// A turn with a disk and the stage's world around it.
struct Bench {
    stage: Stage,
    core: Core,
    disk: Disk,
    log: Vec<Record>,
    hanging: Option<Vec<Record>>,
    wake_ms: Option<u64>,
    queue: VecDeque<Event>,
    answers: Vec<(u64, Answer)>,
    started: Vec<Effect>,
    requests: u64,
}

impl Bench {
    fn new(stage: Stage) -> Self {
        let core = Core {
            world: stage.world.clone(),
            ..Core::new(stage.state.clone())
        };
        let mut bench = Self {
            stage,
            core,
            disk: Disk::Works,
            log: Vec::new(),
            hanging: None,
            wake_ms: None,
            queue: VecDeque::new(),
            answers: Vec::new(),
            started: Vec::new(),
            requests: 0,
        };
        bench.feed(Event::Wake);
        bench.pass_ms(1_000);
        bench
    }

    fn feed(&mut self, event: Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            let now_ms = self.stage.world.now_ms;
            for action in turn(&mut self.core, Input { now_ms, event }) {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(records) => self.append(records),
            Action::Start { ticket, effect, .. } => {
                self.started.push(effect.clone());
                let settled = self.settle(ticket, effect);
                self.queue.push_back(Event::Settled(settled));
            }
            Action::WakeAt(at_ms) => self.wake_ms = Some(at_ms),
            Action::Answer { request, answer } => self.answers.push((request, answer)),
            Action::ReopenHistory if self.disk == Disk::Works => {
                let last = self.last();
                self.queue.push_back(Event::HistoryReopened { last });
            }
            Action::ReopenHistory | Action::Say(_) => {}
        }
    }

    fn settle(&mut self, ticket: u64, effect: Effect) -> Settled {
        let key = effect.key().expect("a timer is not started");
        let id = effect.id();
        let (outcome, seen) = self.stage.perform(&effect);
        let seen = Some(seen);
        Settled {
            ticket,
            key,
            id,
            outcome,
            seen,
        }
    }

    fn append(&mut self, records: Vec<Record>) {
        let last = self.last() + records.len() as u64;
        match self.disk {
            Disk::Works => {
                self.log.extend(records);
                self.queue.push_back(Event::Appended { last });
            }
            Disk::Hangs => self.hanging = Some(records),
            Disk::Fails { arrives } => {
                if arrives {
                    self.log.extend(records);
                }
                let why = "no space left".into();
                self.queue.push_back(Event::AppendFailed { why });
            }
        }
    }

    fn last(&self) -> u64 {
        self.stage.state.seq + self.log.len() as u64
    }

    /// The disk works again, and what hung arrives.
    fn mend(&mut self) {
        self.disk = Disk::Works;
        if let Some(records) = self.hanging.take() {
            self.append(records);
            let arrived = self.queue.pop_back().expect("an append is answered");
            self.feed(arrived);
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        let end_ms = self.stage.world.now_ms + ms;
        while self.stage.world.now_ms < end_ms {
            self.stage.world.now_ms += STEP_MS;
            if self
                .wake_ms
                .is_some_and(|at_ms| at_ms <= self.stage.world.now_ms)
            {
                self.wake_ms = None;
                self.feed(Event::Wake);
            }
        }
    }

    /// Asks, and says which request that was.
    fn ask(&mut self, command: Command) -> u64 {
        self.requests += 1;
        let request = self.requests;
        self.feed(Event::Command(Asked {
            request,
            by: person(),
            command,
            rollout: RolloutId(Uuid::from_u128(u128::from(request) << 80)),
            release: ReleaseId(Uuid::from_u128(u128::from(request) << 80)),
        }));
        request
    }

    fn abort(&mut self) -> u64 {
        let placement = self.stage.placement();
        self.ask(Command::Abort {
            placement,
            reason: None,
        })
    }

    fn promote(&mut self, to: PromoteTo) -> u64 {
        let placement = self.stage.placement();
        let rollout = self.core.acting_state().placements[&placement]
            .rollout
            .as_ref();
        let revision = rollout.map_or(0, |rollout| rollout.revision);
        self.ask(Command::Promote {
            placement,
            to,
            revision,
        })
    }

    fn answer(&self, request: u64) -> Option<&Answer> {
        let mut all = self.answers.iter().filter(|(asked, _)| *asked == request);
        let answer = all.next().map(|(_, answer)| answer);
        assert!(all.next().is_none(), "{request} was answered twice");
        answer
    }

    fn canary_percent(&self) -> u64 {
        let weight =
            |number: usize| self.stage.balancer.servers[&server(number)].effective_weight();
        let (stable, canary) = (weight(1) + weight(2), weight(3) + weight(4));
        canary * 100 / (stable + canary).max(1)
    }

    fn count(&self, is_it: fn(&Entry) -> bool) -> usize {
        self.log
            .iter()
            .filter(|record| is_it(&record.entry))
            .count()
    }

    /// What is recorded is gapless, and leads to what the engine holds.
    fn check_log(&self) {
        let mut state = self.stage.state.clone();
        for (record, seq) in self.log.iter().zip(state.seq + 1..) {
            assert_eq!(record.seq, seq);
            crate::engine::evolve(&mut state, record);
        }
        assert_eq!(state, self.core.state);
    }
}

fn is_abort(entry: &Entry) -> bool {
    matches!(entry, Entry::AbortRequested { .. })
}

#[test]
fn nothing_is_raised_before_its_intent_is_durable() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Hangs;
    let asked = bench.promote(PromoteTo::Next);
    bench.pass_ms(100);
    assert_eq!((bench.canary_percent(), bench.answer(asked)), (5, None));
    bench.mend();
    bench.pass_ms(100);
    assert_eq!(bench.canary_percent(), 25);
    assert!(matches!(bench.answer(asked), Some(Answer::Accepted { .. })));
}

#[test]
fn an_abort_is_carried_out_and_answered_although_its_own_append_hangs() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Hangs;
    let asked = bench.abort();
    bench.pass_ms(500);
    assert_eq!(bench.canary_percent(), 0);
    assert!(matches!(
        bench.answer(asked),
        Some(Answer::Unrecorded { .. })
    ));
    bench.mend();
    bench.pass_ms(3_000);
    assert_eq!(bench.count(is_abort), 1, "recorded once");
    bench.check_log();
}

#[test]
fn an_abort_whose_append_fails_is_recorded_once_whether_it_arrived_or_not() {
    for arrives in [false, true] {
        let mut bench = Bench::new(stage::soaking());
        bench.disk = Disk::Fails { arrives };
        let asked = bench.abort();
        bench.pass_ms(500);
        assert_eq!(bench.canary_percent(), 0);
        assert!(matches!(
            bench.answer(asked),
            Some(Answer::Unrecorded { .. })
        ));
        bench.mend();
        bench.pass_ms(5_000);
        assert_eq!(bench.count(is_abort), 1, "arrived: {arrives}");
        assert_eq!(
            bench.count(|entry| matches!(entry, Entry::HistoryGap { .. })),
            1
        );
        bench.check_log();
        let rolled_back = |entry: &Entry| {
            matches!(
                entry,
                Entry::RolloutFinished {
                    status: crate::model::Status::RolledBack,
                    ..
                }
            )
        };
        assert_eq!(bench.count(rolled_back), 1, "arrived: {arrives}");
    }
}

#[test]
fn a_promotion_whose_append_fails_is_answered_by_what_arrived() {
    for arrives in [false, true] {
        let mut bench = Bench::new(stage::soaking());
        bench.disk = Disk::Fails { arrives };
        let asked = bench.promote(PromoteTo::Next);
        bench.pass_ms(500);
        assert_eq!((bench.canary_percent(), bench.answer(asked)), (5, None));
        bench.mend();
        bench.pass_ms(5_000);
        assert_eq!(bench.canary_percent(), if arrives { 25 } else { 5 });
        match (bench.answer(asked), arrives) {
            (Some(Answer::Accepted { .. }), true) => {}
            (Some(Answer::Refused(Refusal::HistoryBroken { .. })), false) => {}
            (other, _) => panic!("arrived: {arrives}, answered {other:?}"),
        }
        bench.check_log();
    }
}

#[test]
fn whoever_waits_for_a_dead_disk_is_told_that_nobody_knows() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Fails { arrives: true };
    let asked = bench.promote(PromoteTo::Next);
    bench.pass_ms(6_000);
    let Some(Answer::Refused(Refusal::NotNow { why })) = bench.answer(asked) else {
        panic!("answered {:?}", bench.answer(asked));
    };
    assert!(why.as_str().contains("whether it was recorded"), "{why}");
}

#[test]
fn while_the_history_is_broken_only_the_safe_direction_is_taken() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Fails { arrives: false };
    let placement = bench.stage.placement();
    bench.ask(Command::Hold {
        placement,
        reason: None,
    });
    let promoted = bench.promote(PromoteTo::Full);
    bench.pass_ms(1_000);
    let broken = Answer::Refused(Refusal::HistoryBroken {
        why: "no space left".into(),
    });
    assert_eq!(bench.answer(promoted), Some(&broken));
    assert_eq!(bench.canary_percent(), 5);
    let aborted = bench.abort();
    bench.pass_ms(500);
    assert_eq!(bench.canary_percent(), 0);
    assert!(matches!(
        bench.answer(aborted),
        Some(Answer::Unrecorded { .. })
    ));
}

#[test]
fn a_rollback_that_is_an_abort_is_taken_while_the_history_is_broken() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Fails { arrives: false };
    let spec = Box::new(bench.stage.spec.clone());
    let asked = bench.ask(Command::Rollback {
        spec,
        to: None,
        reason: None,
        urgency: crate::model::Urgency::Ordinary,
    });
    bench.pass_ms(500);
    assert_eq!(bench.canary_percent(), 0);
    assert!(matches!(
        bench.answer(asked),
        Some(Answer::Unrecorded { .. })
    ));
    bench.mend();
    bench.pass_ms(5_000);
    assert_eq!(bench.count(is_abort), 1);
    bench.check_log();
}

#[test]
fn an_abort_of_what_is_being_recorded_as_finished_comes_too_late_and_moves_nothing() {
    let mut stage = stage::soaking();
    stage.promote(PromoteTo::Full).expect("promote is taken");
    stage.until("100 %", |stage| {
        stage.share("v2") == 100 && stage.is_soaking()
    });
    let mut bench = Bench::new(stage);
    bench.disk = Disk::Hangs;
    let finished = bench.promote(PromoteTo::Full);
    bench.pass_ms(500);
    let aborted = bench.abort();
    bench.pass_ms(500);
    let refused = Answer::Refused(Refusal::NoRollout {
        placement: bench.stage.placement(),
    });
    assert_eq!(bench.answer(aborted), Some(&refused));
    bench.mend();
    bench.pass_ms(3_000);
    assert!(matches!(
        bench.answer(finished),
        Some(Answer::Accepted { .. })
    ));
    assert_eq!((bench.canary_percent(), bench.count(is_abort)), (100, 0));
    bench.check_log();
}

#[test]
fn a_settlement_told_after_a_gap_names_the_intent_by_its_place_in_the_history() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Fails { arrives: false };
    bench.abort();
    bench.pass_ms(1_000);
    bench.mend();
    bench.pass_ms(5_000);
    let intent = bench
        .log
        .iter()
        .find(|record| matches!(record.entry, Entry::WeightIntended { .. }));
    let intent = intent.expect("the way back is recorded").seq;
    let settled = bench.log.iter().find_map(|record| match record.entry {
        Entry::WeightSettled { id, .. } => Some(id),
        _ => None,
    });
    assert_eq!(settled, Some(intent));
}

#[test]
fn a_history_that_somebody_else_wrote_is_not_written_to() {
    let mut bench = Bench::new(stage::soaking());
    bench.disk = Disk::Fails { arrives: false };
    bench.promote(PromoteTo::Next);
    let last = bench.last() + 7;
    bench.feed(Event::HistoryReopened { last });
    let why = bench.core.history_trouble().expect("it stays broken");
    assert!(why.as_str().contains("somebody else"), "{why}");
    assert_eq!(bench.canary_percent(), 5);
}

#[test]
fn a_refused_command_leaves_one_record_in_ten_seconds() {
    let mut bench = Bench::new(stage::stable());
    for _ in 0..20 {
        let asked = bench.abort();
        assert!(matches!(bench.answer(asked), Some(Answer::Refused(_))));
    }
    assert_eq!(
        bench.count(|entry| matches!(entry, Entry::Refused { .. })),
        1
    );
}

#[test]
fn a_late_answer_vouches_for_nothing() {
    let mut bench = Bench::new(stage::soaking());
    let placement = bench.stage.placement();
    let balancer = bench.stage.spec.balancers[0].balancer.clone();
    let mut reading = bench.stage.balancer.clone();
    for view in reading.servers.values_mut() {
        (view.admin, view.weight) = (Admin::Ready, 1);
    }
    let seen = Observation::Balancer {
        placement: placement.clone(),
        balancer: balancer.clone(),
        reading: Ok(reading),
    };
    let started = bench.started.len();
    bench.feed(Event::Settled(Settled {
        ticket: 0,
        key: EffectKey::Balancer(placement, balancer),
        id: None,
        outcome: Outcome::Applied,
        seen: Some(seen),
    }));
    let reads = |effect: &Effect| matches!(effect, Effect::ReadBalancer { .. });
    assert!(
        bench.started[started..].iter().all(reads),
        "it is only read again"
    );
    assert!(!bench.started[started..].is_empty());
    assert_eq!(
        bench.count(|entry| matches!(entry, Entry::DriftFound { .. })),
        0
    );
}

#[test]
fn an_answer_from_before_the_engine_stood_still_vouches_for_nothing() {
    let mut core = Core::new(stage::soaking().state);
    let stage = stage::soaking();
    let mut now_ms = stage.world.now_ms + 1_000;
    let wake = |now_ms| Input {
        now_ms,
        event: Event::Wake,
    };
    let actions = turn(&mut core, wake(now_ms));
    let read = actions.into_iter().find_map(|action| match action {
        Action::Start {
            ticket,
            effect: effect @ Effect::ReadBalancer { .. },
            ..
        } => Some((ticket, effect)),
        _ => None,
    });
    let (ticket, effect) = read.expect("the balancer is read first");
    now_ms += 60_000;
    let seen = Observation::Balancer {
        placement: stage.placement(),
        balancer: stage.spec.balancers[0].balancer.clone(),
        reading: Ok(stage.balancer.clone()),
    };
    let settled = Settled {
        ticket,
        key: effect.key().expect("a reading has a key"),
        id: None,
        outcome: Outcome::Applied,
        seen: Some(seen),
    };
    turn(
        &mut core,
        Input {
            now_ms,
            event: Event::Settled(settled),
        },
    );
    let view = core.world.placements.get(&stage.placement());
    let view = view.and_then(|seen| seen.balancers.values().next());
    assert!(
        view.is_none_or(|view| view.read_ms.is_none()),
        "it was a minute old"
    );
}

#[test]
fn a_crash_before_durability_leaves_nothing_and_one_after_it_goes_on() {
    for durable in [false, true] {
        let mut bench = Bench::new(stage::soaking());
        bench.disk = Disk::Hangs;
        bench.promote(PromoteTo::Next);
        if durable {
            bench.log.extend(bench.hanging.take().unwrap_or_default());
        }
        // The process is gone; a new one folds the history.
        let mut state = bench.stage.state.clone();
        bench
            .log
            .iter()
            .for_each(|record| crate::engine::evolve(&mut state, record));
        bench.stage.state = state;
        bench.stage.restart();
        bench.stage.pass_ms(3_000);
        assert_eq!(bench.stage.share("v2"), 5, "a raise is never repeated");
        assert_eq!(bench.stage.count("weight_abandoned"), usize::from(durable));
        assert!(matches!(bench.stage.rollout().phase, Phase::Soaking { .. }));
    }
}

#[test]
fn an_engine_whose_calls_never_return_wakes_itself() {
    let stage = stage::soaking();
    let mut core = Core::new(stage.state.clone());
    let mut now_ms = stage.world.now_ms + 1_000;
    let mut reads = 0;
    for _ in 0..20 {
        let event = Event::Wake;
        let mut wake_ms = None;
        for action in turn(&mut core, Input { now_ms, event }) {
            match action {
                Action::WakeAt(at_ms) => wake_ms = Some(at_ms),
                Action::Start { .. } => reads += 1,
                _ => {}
            }
        }
        let Some(at_ms) = wake_ms else {
            panic!("it waits for nothing after {reads} reads");
        };
        now_ms = at_ms;
    }
    assert!(reads >= 10, "only {reads} reads were tried");
}

#[test]
fn a_peer_that_refuses_writes_is_not_stormed() {
    let mut bench = Bench::new(stage::soaking());
    bench.stage.stubborn = true;
    bench.abort();
    let before = bench.started.len();
    bench.pass_ms(5_000);
    let writes = bench.started[before..]
        .iter()
        .filter(|effect| effect.is_write())
        .count();
    assert!(
        (10..=20).contains(&writes),
        "{writes} writes in five seconds"
    );
}

#[test]
fn a_disk_that_stalls_for_a_moment_refuses_nobody_and_one_that_stays_away_does() {
    for (stall_ms, is_taken) in [(1_500, true), (4_000, false)] {
        let mut bench = Bench::new(stage::soaking());
        bench.disk = Disk::Hangs;
        let placement = bench.stage.placement();
        bench.ask(Command::Note {
            placement,
            text: "the append that hangs".into(),
        });
        bench.pass_ms(300);
        let promoted = bench.promote(PromoteTo::Next);
        bench.pass_ms(stall_ms);
        match is_taken {
            true => assert_eq!(bench.answer(promoted), None, "it waits"),
            false => assert!(matches!(
                bench.answer(promoted),
                Some(Answer::Refused(Refusal::HistoryBroken { .. }))
            )),
        }
        assert_eq!(bench.canary_percent(), 5, "nothing goes forward meanwhile");
        bench.mend();
        bench.pass_ms(3_000);
        assert_eq!(bench.canary_percent(), if is_taken { 25 } else { 5 });
        let accepted = matches!(bench.answer(promoted), Some(Answer::Accepted { .. }));
        assert_eq!(accepted, is_taken);
        bench.check_log();
    }
}

/// Whether the runtime is read when nothing but this asks for it.
fn reads_after(bench: &mut Bench, event: Event) -> usize {
    bench.started.clear();
    bench.feed(event);
    let is_read = |effect: &&Effect| matches!(effect, Effect::ReadRuntime { .. });
    bench.started.iter().filter(is_read).count()
}

#[test]
fn fault_055_a_hint_makes_a_reading_due_that_was_not_and_nothing_else() {
    let mut bench = Bench::new(stage::stable());
    let mine = bench.stage.placement();
    let runtime = bench.stage.place().spec.runtimes[0].clone();
    let hint = |runtime: &RuntimeName, placement: Option<&Placement>| Event::RuntimeHinted {
        runtime: runtime.clone(),
        placement: placement.cloned(),
    };
    let other: Placement = "other@prod".parse().expect("a placement");
    let elsewhere: RuntimeName = "elsewhere".parse().expect("a name");
    // In the middle between two polls of an engine at rest.
    let rest = |bench: &mut Bench| {
        bench.feed(hint(&runtime, None));
        bench.pass_ms(1_000);
        assert_eq!(reads_after(bench, Event::Wake), 0, "no poll is due");
    };
    rest(&mut bench);
    assert_eq!(reads_after(&mut bench, hint(&runtime, Some(&mine))), 1);
    // What comes again and again is read once, and once more after a rest.
    for _ in 0..50 {
        assert_eq!(reads_after(&mut bench, hint(&runtime, Some(&mine))), 0);
    }
    bench.pass_ms(STEP_MS);
    assert_eq!(reads_after(&mut bench, Event::Wake), 0);
    bench.started.clear();
    bench.pass_ms(200);
    let reads = bench.started.iter();
    let reads = reads.filter(|effect| matches!(effect, Effect::ReadRuntime { .. }));
    assert_eq!(
        reads.count(),
        1,
        "what came during the first one is not forgotten"
    );
    rest(&mut bench);
    assert_eq!(reads_after(&mut bench, hint(&runtime, None)), 1);
    rest(&mut bench);
    assert_eq!(reads_after(&mut bench, hint(&runtime, Some(&other))), 0);
    assert_eq!(reads_after(&mut bench, hint(&elsewhere, None)), 0);
    assert!(!bench.core.world.placements.contains_key(&other));
}
