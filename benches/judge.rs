//! How often the judge cries wolf and how soon it catches a regression, beside the rules of other
//! controllers, over the same seeded traffic.
//!
//! A rollout lasts an hour and is looked at every five seconds; stable's hour before it is known.
//! *False aborts*: the versions are identical. *Found*: the canary fails three or ten times as
//! often from its first request on; time and canary requests until the rule aborts, median and
//! 95th percentile, two hours at most. *Bound*: no test with a false-alarm rate of 1 % needs fewer
//! requests in the mean than `ln 100 / KL` (Wald 1945), `KL` between what the canary does and
//! stable's true rate per request; with bursts between the beta-binomial counts of an interval.
//!
//! `cargo bench --bench judge` prints figures; it holds nothing against a limit. `-- 100` simulates
//! so many rollouts for false aborts.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/traffic.rs"]
mod traffic;

use peers::RULES;
use traffic::{HOUR, INTERVAL_S, Scenario, Traffic};
use wheelhouse::analysis::sequential::divergence;

/// Rollouts of identical versions per rule and scenario.
const IDENTICAL: u64 = 300;
/// Rollouts of a canary that is worse.
const WORSE: u64 = 101;
const RATIOS: [f64; 2] = [3.0, 10.0];
/// Seeds of the rollouts that are worse begin here.
const SEED_WORSE: u64 = 1_000_000;

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let identical = asked.unwrap_or(IDENTICAL);
    println!(
        "canary 10 requests/s, stable 90, 0.5 % errors where nothing else is said; false aborts of \
         {identical} rollouts with the 95 % interval, found in {WORSE} each\n"
    );
    println!(
        "{:<11} {:<22} {:>21}   3×: {:<43}   10×: bound …",
        "rule", "scenario", "false aborts", "bound; found; median, p95 s; requests; ÷ bound"
    );
    for scenario in scenarios() {
        for rule in RULES {
            line(rule, scenario, identical);
        }
        println!();
    }
}

fn scenarios() -> Vec<Scenario> {
    let smooth = Scenario::SMOOTH;
    let bursty = |name, correlation| Scenario {
        name,
        correlation,
        ..smooth
    };
    let day = Scenario {
        name: "day cycle",
        swing: 3.0,
        swing_intervals: 6.0 * HOUR as f64,
        ..smooth
    };
    let shocks = Scenario {
        name: "common shocks to 20×",
        shock: 0.01,
        shock_times: 20.0,
        ..smooth
    };
    vec![
        smooth,
        Scenario {
            name: "smooth, 50/50 a second",
            rates: [50.0, 50.0],
            ..smooth
        },
        bursty("bursty, 0.002", 0.002),
        bursty("bursty, 0.01", 0.01),
        bursty("bursty, 0.03", 0.03),
        day,
        shocks,
        Scenario {
            name: "all, steps 10 to 90 %",
            steps: true,
            correlation: 0.01,
            swing: 2.0,
            ..shocks
        },
    ]
}

fn line(rule: &'static str, scenario: Scenario, identical: u64) {
    let alarms = rollouts(rule, scenario, 1.0, 0..identical, HOUR);
    let alarms = alarms.iter().flatten().count() as u64;
    let (low, high) = binomial_interval(alarms, identical);
    print!(
        "{rule:<11} {:<22} {:>5.1} % ({low:>4.1}…{high:>5.1})",
        scenario.name,
        alarms as f64 * 100.0 / identical as f64
    );
    for ratio in RATIOS {
        let seeds = SEED_WORSE..SEED_WORSE + WORSE;
        let found = rollouts(rule, scenario, ratio, seeds, 2 * HOUR);
        print!("   {}", Found::of(found).text(bound(scenario, ratio)));
    }
    println!();
}

/// When a rule aborted: seconds and canary requests.
type Abort = Option<(f64, u64)>;

/// Simulated on all cores; the order is that of the seeds.
fn rollouts(
    rule: &'static str,
    scenario: Scenario,
    ratio: f64,
    seeds: std::ops::Range<u64>,
    intervals: usize,
) -> Vec<Abort> {
    let seeds: Vec<u64> = seeds.collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |seed: &u64| rollout(rule, Traffic::new(scenario, ratio, *seed), intervals);
    std::thread::scope(|scope| {
        let parts = seeds.chunks(seeds.len().div_ceil(cores).max(1));
        let threads: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(one).collect::<Vec<_>>()))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a simulation"));
        joined.flatten().collect()
    })
}

fn rollout(rule: &str, mut traffic: Traffic, intervals: usize) -> Abort {
    let mut rule = peers::rule(rule, &traffic.history());
    let mut seen = Vec::with_capacity(intervals);
    for at in 0..intervals {
        seen.push(traffic.interval(at));
        if rule.aborts(&seen) {
            let requests = seen.iter().map(|[canary, _]| canary.requests).sum();
            return Some(((at + 1) as f64 * INTERVAL_S, requests));
        }
    }
    None
}

/// Detections, sorted; what was never found counts as longer than anything.
struct Found {
    seconds: Vec<f64>,
    requests: Vec<f64>,
}

impl Found {
    fn of(found: Vec<Abort>) -> Self {
        let sorted = |of: fn((f64, u64)) -> f64| {
            let mut all: Vec<f64> = found
                .iter()
                .map(|abort| abort.map_or(f64::INFINITY, of))
                .collect();
            all.sort_by(f64::total_cmp);
            all
        };
        Self {
            seconds: sorted(|(seconds, _)| seconds),
            requests: sorted(|(_, requests)| requests as f64),
        }
    }

    fn text(&self, bound: Option<f64>) -> String {
        let at = |all: &[f64], share: f64| all[((all.len() - 1) as f64 * share) as usize];
        let number = |value: f64| match value.is_finite() {
            true => format!("{value:.0}"),
            false => "-".into(),
        };
        let caught = self.seconds.iter().filter(|s| s.is_finite()).count();
        let median = at(&self.requests, 0.5);
        let times = bound
            .filter(|_| median.is_finite())
            .map(|bound| median / bound);
        format!(
            "{:>6} {:>3.0} % {:>5} {:>5} s {:>6} {:>6} {:>6}",
            bound.map_or("-".into(), number),
            caught as f64 * 100.0 / self.seconds.len() as f64,
            number(at(&self.seconds, 0.5)),
            number(at(&self.seconds, 0.95)),
            number(median),
            number(at(&self.requests, 0.95)),
            times.map_or("-".into(), |times| format!("{times:.1}")),
        )
    }
}

/// Wald's bound in canary requests; `None` where rates change, and so the bound.
fn bound(scenario: Scenario, ratio: f64) -> Option<f64> {
    let enough = 100f64.ln();
    let [truth, other] = [scenario.errors * ratio, scenario.errors];
    let still = scenario.swing == 1.0 && scenario.shock == 0.0 && !scenario.steps;
    let per_request = match scenario.correlation {
        0.0 => divergence(truth, other),
        correlation => {
            let requests = scenario.rates[0] * INTERVAL_S;
            bursts_divergence(requests as u64, [truth, other], correlation) / requests
        }
    };
    still.then(|| enough / per_request)
}

/// Divergence of two beta-binomial distributions of the counts of one interval.
fn bursts_divergence(requests: u64, rates: [f64; 2], correlation: f64) -> f64 {
    let mass = 1.0 / correlation - 1.0;
    let ln_rising = |x: f64, k: u64| (0..k).map(|i| (x + i as f64).ln()).sum::<f64>();
    let mut ln_choose = 0.0;
    let mut sum = 0.0;
    for events in 0..=requests {
        let others = requests - events;
        let [truth, other] = rates.map(|p| {
            ln_choose + ln_rising(p * mass, events) + ln_rising((1.0 - p) * mass, others)
                - ln_rising(mass, requests)
        });
        sum += truth.exp() * (truth - other);
        ln_choose += (others as f64 / (events + 1) as f64).ln();
    }
    sum
}

/// Wilson's 95 % interval of a share, in percent.
fn binomial_interval(hits: u64, all: u64) -> (f64, f64) {
    let (n, z) = (all.max(1) as f64, 1.96);
    let p = hits as f64 / n;
    let middle = p + z * z / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let within = |share: f64| (share / (1.0 + z * z / n) * 100.0).clamp(0.0, 100.0);
    (within(middle - reach), within(middle + reach))
}
