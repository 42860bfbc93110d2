//! The simulator: a seeded fake world that drives [`driver::turn`](crate::driver::turn()) through
//! every fault there is a word for.
//!
//! One seed is one schedule: a service, people who ask things, faults that strike, all in virtual
//! time. Invariants are held at every event; then the faults end and everything must settle. The
//! history is the real encoding in memory, so a crash is what it is in life: what was not durable
//! is gone, the rest is decoded and replayed.
//!
//! - `scenario` what a seed means;
//! - `run` the loop; `peers` the calls to the world and what goes wrong on the way; `people`;
//! - `balancer`, `fleet`, `disk` the fake world;
//! - `check` the invariants;
//! - [`Mutation`] planted bugs that prove the net.

mod balancer;
mod balancers;
mod check;
mod disk;
mod faults;
mod fleet;
mod lives;
mod mutation;
mod peers;
mod people;
mod rng;
mod run;
mod scenario;
mod words;

pub use mutation::Mutation;

use rng::Rng;
use run::{Image, Sim};
pub use scenario::SPECS;
use scenario::{Ask, Before, Boundary, Rates, Scenario};
use std::collections::{BTreeMap, BTreeSet};

/// What one schedule came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Happenings in the fake world.
    pub events: u64,
    /// Turns of the engine.
    pub turns: u64,
    /// Crashes of the engine.
    pub crashes: u64,
    /// Kinds of records it decided.
    pub kinds: BTreeSet<&'static str>,
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The schedule that shows it.
    pub seed: u64,
    /// Virtual time of it.
    pub at_ms: u64,
    /// What is broken, in words.
    pub what: String,
}

/// Plays schedules. Making one prepares what stands before a schedule begins; share it.
#[derive(Debug, Clone)]
pub struct Simulator {
    images: BTreeMap<(usize, Before), Image>,
}

impl Simulator {
    /// Prepares the services with one and two verified releases.
    ///
    /// # Errors
    /// When not even a schedule without faults holds the invariants.
    pub fn new() -> Result<Self, Violation> {
        let mut images = BTreeMap::new();
        for number in 0..SPECS {
            let one = prepare(number, None)?;
            images.insert((number, Before::Two), prepare(number, Some(&one))?);
            images.insert((number, Before::One), one);
        }
        Ok(Self { images })
    }

    /// Plays the schedule of a seed.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn play(&self, seed: u64, mutation: Option<Mutation>) -> Result<Report, Violation> {
        self.tell(seed, mutation, None)
    }

    /// Plays the schedule of a seed and tells every event.
    ///
    /// # Errors
    /// As [`Simulator::play`].
    pub fn replay(
        &self,
        seed: u64,
        mutation: Option<Mutation>,
        tell: &mut dyn FnMut(String),
    ) -> Result<Report, Violation> {
        self.tell(seed, mutation, Some(tell))
    }

    fn tell(
        &self,
        seed: u64,
        mutation: Option<Mutation>,
        mut tell: Option<&mut dyn FnMut(String)>,
    ) -> Result<Report, Violation> {
        let mut rng = Rng::new(seed);
        let (number, scenario) = scenario::random(&mut rng);
        if let Some(tell) = tell.as_mut() {
            let Scenario {
                before,
                people,
                faults,
                rates,
                ..
            } = &scenario;
            tell(format!(
                "service {number}, {before:?} before, {rates:?}\n{people:#?}\n{faults:#?}"
            ));
        }
        let image = self.images.get(&(number, scenario.before));
        let mut sim = Sim::new(rng, scenario, image, mutation, tell);
        let played = sim.run();
        report(&sim, seed, played)
    }

    /// Plays every service's stories with the engine killed at each boundary of each, and again in
    /// the recovery. Says at how many points that was.
    ///
    /// # Errors
    /// The first broken invariant; its seed is the service, the story and the point, as digits.
    pub fn crash_everywhere(&self, number: usize) -> Result<u64, Violation> {
        let boundaries = [
            Boundary::BeforeDurable,
            Boundary::AfterDurable,
            Boundary::BeforeEffect,
            Boundary::AfterEffect,
        ];
        let mut points = 0;
        for story in 0..scenario::STORIES.len() {
            for (kind, boundary) in boundaries.into_iter().enumerate() {
                for pass in 0.. {
                    let seed = ((number * 10 + story) * 10 + kind) as u64 * 1_000 + u64::from(pass);
                    let reached = [false, true].map(|again| {
                        let scenario = scenario::killed(number, story, (boundary, pass), again);
                        let image = self.images.get(&(number, scenario.before));
                        let mut sim = Sim::new(Rng::new(seed), scenario, image, None, None);
                        let played = sim.run();
                        report(&sim, seed, played)
                    });
                    let [once, twice] = reached;
                    let struck = once?.crashes > 0;
                    twice?;
                    if !struck {
                        break;
                    }
                    points += 2;
                }
            }
        }
        Ok(points)
    }
}

fn report(sim: &Sim<'_>, seed: u64, played: Result<(), String>) -> Result<Report, Violation> {
    let at_ms = sim.now_ms;
    played.map_err(|what| Violation { seed, at_ms, what })?;
    Ok(Report {
        events: sim.events,
        turns: sim.turns,
        crashes: sim.crashes,
        kinds: sim.checks.kinds.clone(),
    })
}

/// One more good release, without faults.
fn prepare(number: usize, before: Option<&Image>) -> Result<Image, Violation> {
    let scenario = Scenario {
        spec: scenario::spec(number),
        before: Before::Nothing,
        people: vec![(100, Ask::Deploy(fleet::Traits::GOOD))],
        faults: Vec::new(),
        rates: Rates::default(),
        rps: 200,
        quiet_ms: 200,
    };
    let mut sim = Sim::new(Rng::new(0), scenario, before, None, None);
    let played = sim.run();
    let played = played.and_then(|()| sim.disk.take_checkpoint(&sim.checks.oracle));
    report(&sim, 0, played)?;
    Ok(sim.image())
}
