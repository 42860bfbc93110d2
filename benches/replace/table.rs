//! The figures as they are printed.

use crate::Run;
use crate::daemon::Manner;
use crate::load::Exchange;
use std::fmt;
use std::time::{Duration, Instant};

/// All rounds of one way to replace.
pub struct Replaced {
    manner: Manner,
    batch: usize,
    pub floor: Vec<Run>,
    pub ours: Vec<Run>,
    pub swarm: Vec<Run>,
    /// What the floor and our engine did when, in the last round.
    pub timelines: [String; 2],
}

impl Replaced {
    pub fn new(manner: Manner, batch: usize) -> Self {
        Self {
            manner,
            batch,
            floor: Vec::new(),
            ours: Vec::new(),
            swarm: Vec::new(),
            timelines: [String::new(), String::new()],
        }
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manner = match self.manner {
            Manner::Drains => "a service that drains",
            Manner::EndsAtOnce => "a service that ends at once",
        };
        let how = match self.batch {
            1 => "one by one",
            _ => "all at once",
        };
        let title = format!("{how}, {manner}");
        writeln!(
            f,
            "\n{title:<44}{:<24}{:<24}{:>8}{:>8}",
            "old gone", "done", "sent", "failed"
        )?;
        for (name, runs) in [
            ("floor", &self.floor),
            ("wheelhouse", &self.ours),
            ("swarm", &self.swarm),
        ] {
            row(f, name, runs)?;
        }
        let to = |these: &[Run], those: &[Run], span: fn(&Run) -> Duration| {
            middle(these, span).as_secs_f64() / middle(those, span).as_secs_f64()
        };
        let (gone, done) = (|run: &Run| run.old_gone, |run: &Run| run.done);
        writeln!(
            f,
            "  {:<42}{:<24.2}{:<24.2}(goal: 1.15 or less)",
            "wheelhouse to floor",
            to(&self.ours, &self.floor, gone),
            to(&self.ours, &self.floor, done)
        )?;
        writeln!(
            f,
            "  {:<42}{:<24.2}{:<24.2}(goal: 3.00 or more)",
            "swarm to wheelhouse",
            to(&self.swarm, &self.ours, gone),
            to(&self.swarm, &self.ours, done)
        )?;
        let [floor, ours] = &self.timelines;
        writeln!(f, "  the floor's last, in ms: {floor}")?;
        write!(f, "  wheelhouse's last, in ms: {ours}")
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, runs: &[Run]) -> fmt::Result {
    let all = || runs.iter().flat_map(|run| &run.exchanges);
    let failed: Vec<_> = all().filter_map(|it| it.end.as_ref().err()).collect();
    writeln!(
        f,
        "  {name:<42}{:<24}{:<24}{:>8}{:>8}",
        spread(runs.iter().map(|run| run.old_gone)),
        spread(runs.iter().map(|run| run.done)),
        all().count(),
        failed.len()
    )?;
    match failed.first() {
        Some(why) => writeln!(f, "    the first: {why}"),
        None => Ok(()),
    }
}

fn middle(runs: &[Run], span: fn(&Run) -> Duration) -> Duration {
    let mut all: Vec<_> = runs.iter().map(span).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn spread(all: impl Iterator<Item = Duration>) -> String {
    let mut all: Vec<_> = all.map(|one| one.as_secs_f64()).collect();
    all.sort_by(f64::total_cmp);
    let (least, most) = (all[0], all[all.len() - 1]);
    format!("{:.2} s ({least:.2}-{most:.2})", all[all.len() / 2])
}

/// All switches between blue and green.
#[derive(Default)]
pub struct Switched {
    /// The slowest in a hundred before it, and from its command on.
    p99: Vec<(Duration, Duration)>,
    sent: usize,
    failed: usize,
}

impl Switched {
    pub fn push(&mut self, began: Instant, window: Duration, exchanges: Vec<Exchange>) {
        let p99 = |from: Instant| {
            let within = |it: &&Exchange| it.sent >= from && it.sent < from + window;
            let took = exchanges.iter().filter(within);
            let mut took: Vec<_> = took.map(|it| it.ended - it.sent).collect();
            took.sort_unstable();
            took[took.len().saturating_sub(1) * 99 / 100]
        };
        self.p99.push((p99(began - window), p99(began)));
        self.sent += exchanges.len();
        self.failed += exchanges.iter().filter(|it| it.end.is_err()).count();
    }
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |one: &Duration| one.as_secs_f64() * 1_000.0;
        let spread = |all: Vec<f64>| {
            let mut all = all;
            all.sort_by(f64::total_cmp);
            let (least, most) = (all[0], all[all.len() - 1]);
            format!("{:.2} ({least:.2}-{most:.2})", all[all.len() / 2])
        };
        let of = |value: &dyn Fn(&(Duration, Duration)) -> f64| {
            spread(self.p99.iter().map(value).collect())
        };
        writeln!(
            f,
            "\nblue-green switch                       sent {}, failed {}",
            self.sent, self.failed
        )?;
        writeln!(
            f,
            "  p99 in the 2 s before it, ms          {}",
            of(&|it| ms(&it.0))
        )?;
        writeln!(
            f,
            "  p99 in the 2 s from its command, ms   {}",
            of(&|it| ms(&it.1))
        )?;
        write!(
            f,
            "  during to before, round by round      {}   (goal: 1.50 or less)",
            of(&|it| ms(&it.1) / ms(&it.0))
        )
    }
}
