use super::super::turn;
use super::*;
use crate::engine::tests::stage::{self, person};
use crate::model::{Clean, Entry, Event, Input, Placement};

struct Bench {
    core: Core,
    placement: Placement,
    now_ms: u64,
    requests: u64,
}

impl Bench {
    /// A quiet engine with one service, deployed.
    fn new() -> Self {
        let stage = stage::stable();
        let core = Core {
            world: stage.world.clone(),
            ..Core::new(stage.state.clone())
        };
        Self {
            core,
            placement: stage.placement(),
            now_ms: stage.world.now_ms,
            requests: 0,
        }
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        let now_ms = self.now_ms;
        turn(&mut self.core, Input { now_ms, event })
    }

    /// Feeds and makes everything durable; returns what was recorded and what was answered.
    fn durably(&mut self, event: Event) -> (Vec<Entry>, Vec<Answer>) {
        let (mut entries, mut answers) = (Vec::new(), Vec::new());
        let mut actions = self.feed(event);
        while let Some(action) = actions.pop() {
            match action {
                Action::Append(records) => {
                    let last = records.last().expect("not empty").seq;
                    entries.extend(records.into_iter().map(|record| record.entry));
                    actions.extend(self.feed(Event::Appended { last }));
                }
                Action::Answer { answer, .. } => answers.push(answer),
                _ => {}
            }
        }
        (entries, answers)
    }

    fn denied(&mut self) -> Event {
        self.requests += 1;
        Event::Denied(Denied {
            request: self.requests,
            by: person(),
            placement: self.placement.clone(),
            verb: "abort",
            refusal: Refusal::Forbidden {
                why: "a viewer may look, not abort".into(),
            },
        })
    }

    fn fact(&mut self) -> Event {
        self.requests += 1;
        Event::Fact(Fact {
            request: self.requests,
            by: person(),
            entry: Box::new(reloaded()),
        })
    }
}

fn reloaded() -> Entry {
    Entry::ConfigReloaded {
        hash: "ab".to_owned(),
        changes: vec![Clean::new("canary.soak: 1 → 2")],
        more: 0,
    }
}

fn is_forbidden(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::Forbidden { .. }))
}

#[test]
fn a_denied_command_is_answered_every_time_and_recorded_now_and_then() {
    let mut bench = Bench::new();
    let mut refused = 0;
    for _ in 0..50 {
        let denied = bench.denied();
        let (entries, answers) = bench.durably(denied);
        assert!(
            matches!(&answers[..], [answer] if is_forbidden(answer)),
            "{answers:?}"
        );
        let told = |entry: &&Entry| {
            matches!(entry, Entry::Refused { verb, why, .. }
            if verb == "abort" && why.as_str().contains("a viewer"))
        };
        refused += entries.iter().filter(told).count();
        bench.now_ms += 100;
    }
    assert_eq!(refused, 1, "in five seconds");
    bench.now_ms += 10_000;
    let denied = bench.denied();
    let (entries, _) = bench.durably(denied);
    assert!(
        entries.iter().any(|entry| entry.kind() == "refused"),
        "{entries:?}"
    );
}

#[test]
fn a_fact_is_answered_once_it_is_durable_and_not_before() {
    let mut bench = Bench::new();
    let fact = bench.fact();
    let actions = bench.feed(fact);
    let appended = actions.iter().find_map(|action| match action {
        Action::Append(records) => records.last(),
        _ => None,
    });
    let last = appended.expect("it is written").seq;
    let answered = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Answer { answer, .. } => Some(answer.clone()),
            _ => None,
        })
    };
    assert_eq!(answered(&actions), None);
    let actions = bench.feed(Event::Appended { last });
    let Some(Answer::Accepted { seq, .. }) = answered(&actions) else {
        panic!("{actions:?}");
    };
    assert_eq!(seq, last);
}

#[test]
fn a_fact_that_cannot_be_written_is_refused_and_so_are_those_behind_it() {
    let mut bench = Bench::new();
    let fact = bench.fact();
    bench.feed(fact);
    let why = || "no space left on device".into();
    let actions = bench.feed(Event::AppendFailed { why: why() });
    let refused = |actions: &[Action]| {
        actions.iter().any(|action| {
            matches!(
                action,
                Action::Answer {
                    answer: Answer::Refused(_),
                    ..
                }
            )
        })
    };
    assert!(refused(&actions), "{actions:?}");
    let fact = bench.fact();
    let actions = bench.feed(fact);
    assert!(refused(&actions), "the history is broken: {actions:?}");
    // A denied command is answered all the same.
    let denied = bench.denied();
    let actions = bench.feed(denied);
    assert!(refused(&actions), "{actions:?}");
}
