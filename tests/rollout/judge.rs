//! The questions every scenario ends with.

use crate::load::{End, Exchange, Load};
use crate::stage::{Stage, placement};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wheelhouse::engine;
use wheelhouse::history::HistoryReader;
use wheelhouse::model::world::BalancerReading;
use wheelhouse::model::{Entry, Record, ReleaseId, State, Version};

/// A time in which something may happen that otherwise must not, in Unix ms.
pub type Span = (u64, u64);

/// Requests answered after the end, to see who still answers.
const AFTERWARDS: usize = 150;
/// Clocks are read on both sides of a socket.
const CLOCKS_MS: u64 = 20;
/// How many standard deviations a share may be above its mean: one in a million by chance.
const DEVIATIONS: f64 = 5.0;
/// Round robin begins anew with each process and each change of weights: one per server.
const ROUNDS: f64 = 6.0;

/// What a scenario expects of its end.
#[derive(Debug, Default)]
pub struct Expected<'a> {
    /// Who has all the traffic.
    pub serving: &'a str,
    /// Who has none.
    pub silent: &'a [&'a str],
    /// When requests may be lost: while what stands in front was dead itself.
    pub lost_within: Vec<Span>,
    /// When a share may be above the intended one: between a stranger's deed and its correction.
    pub above_within: Vec<Span>,
}

impl<'a> Expected<'a> {
    /// All traffic here, none there, and at no time anything lost or exceeded.
    pub fn of(serving: &'a str, silent: &'a [&'a str]) -> Self {
        Self {
            serving,
            silent,
            ..Self::default()
        }
    }
}

/// Asks all of them. Traffic must go on until here.
pub async fn judge(stage: &Stage, load: Load, expected: &Expected<'_>) {
    world_is_as_the_history_says(stage, expected.serving).await;
    silent_by_the_instances_own_counts(stage, &load, expected).await;
    let exchanges = load.stop().await;
    nothing_was_lost(&exchanges, &expected.lost_within);
    let elsewhere = |record: &Record| {
        let mut at = record.entry.placement().into_iter();
        at.any(|at| *at != placement())
    };
    let mut records = records(stage);
    records.retain(|record| !elsewhere(record));
    let (lost, above) = (&expected.lost_within[..], &expected.above_within[..]);
    let unfaithful = [lost, above, &gaps(&records)].concat();
    no_share_was_exceeded(&records, &exchanges, &unfaithful);
    let said = stage.run(&["history", "verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

pub fn records(stage: &Stage) -> Vec<Record> {
    let reader = HistoryReader::open(&stage.state_dir()).expect("a history");
    reader.records(0, u32::MAX).expect("records")
}

/// Folds the records as a new engine would, and holds the balancer's own word against them.
pub async fn world_is_as_the_history_says(stage: &Stage, serving: &str) {
    let mut last = String::new();
    for _ in 0..200 {
        match differences(stage, serving).await {
            None => return,
            Some(difference) => last = difference,
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("world and history differ: {last}");
}

async fn differences(stage: &Stage, serving: &str) -> Option<String> {
    let mut state = State::default();
    for record in &records(stage) {
        engine::evolve(&mut state, record);
    }
    let place = &state.placements[&placement()];
    let intent = place.weight.as_ref().expect("an intent");
    let reading = stage.balancer_reading().await;
    let by_release = |release: ReleaseId| weight_of(&reading, place, release);
    let all: u64 = reading
        .servers
        .values()
        .map(|view| view.effective_weight())
        .sum();
    for (release, percent) in &intent.shares {
        let applied = by_release(*release) as f64 * 100.0 / all.max(1) as f64;
        if (applied - f64::from(*percent)).abs() > 1.0 {
            return Some(format!("{release} has {applied} % instead of {percent} %"));
        }
    }
    let snapshot = stage.status().await;
    let view = snapshot.placement(&placement()).expect("the service");
    let stable = view
        .stable
        .as_ref()
        .map(|stable| stable.version.to_string());
    if view.rollout.is_none() && stable.as_deref() != Some(serving) {
        return Some(format!("stable is {stable:?}"));
    }
    if snapshot.engine.seq != state.seq {
        return Some(format!(
            "the engine is at {}, the file at {}",
            snapshot.engine.seq, state.seq
        ));
    }
    let (wanted, shown) = (view.traffic.wanted_percent, view.traffic.applied_percent);
    (wanted != shown).then(|| format!("status wants {wanted:?} and shows {shown:?}"))
}

fn weight_of(
    reading: &BalancerReading,
    place: &wheelhouse::model::PlacementState,
    release: ReleaseId,
) -> u64 {
    let servers = place.servers_of(release).map(|(server, _)| server);
    let views = servers.filter_map(|server| reading.servers.get(server));
    views.map(|view| view.effective_weight()).sum()
}

/// The instances themselves say whether anybody still sends them requests.
async fn silent_by_the_instances_own_counts(stage: &Stage, load: &Load, expected: &Expected<'_>) {
    let view = stage.status().await;
    let view = view.placement(&placement()).expect("the service").clone();
    let of = |version: &str| -> Vec<SocketAddr> {
        let rows = view.instances.iter();
        rows.filter(|row| row.version.as_str() == version)
            .map(|row| stage.address(row.server.as_str()))
            .collect()
    };
    let silent: Vec<_> = expected
        .silent
        .iter()
        .flat_map(|version| of(version))
        .collect();
    let serving = of(expected.serving);
    let before = (served(&silent).await, served(&serving).await);
    load.answers(AFTERWARDS).await;
    let after = (served(&silent).await, served(&serving).await);
    let mut both = before.0.iter().zip(&after.0);
    // An instance that is gone since answers nobody.
    let is_silent = both.all(|(before, after)| after.is_none() || before == after);
    assert!(
        is_silent,
        "{:?} still get requests: {before:?}, {after:?}",
        expected.silent
    );
    let sum = |counts: &[Option<u64>]| counts.iter().flatten().sum::<u64>();
    let more = sum(&after.1) - sum(&before.1);
    assert!(
        more >= AFTERWARDS as u64,
        "{} answered only {more}",
        expected.serving
    );
}

/// Requests to `/` that each instance answered, errors included, by its own counting; `None` of
/// one that is gone.
async fn served(instances: &[SocketAddr]) -> Vec<Option<u64>> {
    let mut all = Vec::new();
    for address in instances {
        all.push(served_by(*address).await.ok());
    }
    all
}

async fn served_by(address: SocketAddr) -> reqwest::Result<u64> {
    let get = |path: &str| reqwest::get(format!("http://{address}{path}"));
    let good: serde_json::Value = get("/served").await?.json().await?;
    let metrics = get("/metrics").await?.text().await?;
    let errors = metrics.lines().find_map(|line| {
        let (name, count) = line.rsplit_once(' ')?;
        name.contains("code=\"500\"")
            .then(|| count.parse::<u64>().ok())?
    });
    Ok(good["served"].as_u64().expect("a count") + errors.unwrap_or(0))
}

fn overlaps(exchange: &Exchange, spans: &[Span]) -> bool {
    let mut spans = spans.iter();
    spans.any(|(from, to)| exchange.sent_ms <= *to && exchange.ended_ms >= *from)
}

/// No request may have been lost, except while that is allowed.
pub fn nothing_was_lost(exchanges: &[Exchange], allowed: &[Span]) {
    let lost: Vec<String> = exchanges
        .iter()
        .filter(|exchange| !overlaps(exchange, allowed))
        .filter_map(|exchange| match &exchange.end {
            End::Lost { why } => Some(format!(
                "request {} at {}–{}: {why}",
                exchange.id, exchange.sent_ms, exchange.ended_ms
            )),
            End::Answered { .. } => None,
        })
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} requests lost (allowed {allowed:?}): {:#?}",
        lost.len(),
        exchanges.len(),
        &lost[..lost.len().min(20)]
    );
}

/// A release's highest permitted share from some time on, in percent.
type Bound = (u64, u8);

/// Holds every stretch between two records against the share the history allowed in it.
fn no_share_was_exceeded(records: &[Record], exchanges: &[Exchange], unfaithful: &[Span]) {
    for (release, version) in releases(records) {
        let bounds = bounds(records, release);
        let ends = bounds
            .iter()
            .skip(1)
            .map(|(at_ms, _)| *at_ms)
            .chain([u64::MAX]);
        for ((from_ms, percent), until_ms) in bounds.iter().zip(ends) {
            let within = exchanges.iter().filter(|exchange| {
                exchange.sent_ms > from_ms + CLOCKS_MS
                    && exchange.ended_ms < until_ms
                    && !overlaps(exchange, unfaithful)
            });
            let within: Vec<_> = within.collect();
            let mine = within
                .iter()
                .filter(|exchange| exchange.is_of(version.as_str()));
            let (all, mine) = (within.len() as f64, mine.count() as f64);
            let most = highest(all, *percent);
            assert!(
                mine <= most,
                "{version} answered {mine} of {all} requests from {from_ms} to {until_ms}, \
                 where it had at most {percent} %"
            );
        }
    }
}

/// The most answers that a share explains: none at 0 %, else its mean and what chance, rounding
/// of weights and a new round add.
fn highest(all: f64, percent: u8) -> f64 {
    let share = f64::from(percent) / 100.0;
    match percent {
        0 => 0.0,
        _ => all * (share + 0.01) + DEVIATIONS * (all * share * (1.0 - share)).sqrt() + ROUNDS,
    }
}

/// While the history could not be written, traffic may have gone to stable before it says so.
fn gaps(records: &[Record]) -> Vec<Span> {
    let gap = |record: &Record| match record.entry {
        Entry::HistoryGap { since_ms, .. } => Some((since_ms, record.at_ms)),
        _ => None,
    };
    records.iter().filter_map(gap).collect()
}

fn releases(records: &[Record]) -> BTreeMap<ReleaseId, Version> {
    let started = |record: &Record| match &record.entry {
        Entry::RolloutStarted { release, .. } => Some((release.id, release.version.clone())),
        _ => None,
    };
    let all: BTreeMap<_, _> = records.iter().filter_map(started).collect();
    // A version that several releases carry cannot be told apart by what answers.
    let only = |version: &Version| all.values().filter(|other| *other == version).count() == 1;
    all.clone()
        .into_iter()
        .filter(|(_, version)| only(version))
        .collect()
}

/// A raise is allowed once it is intended; a lowering binds once it is settled.
fn bounds(records: &[Record], release: ReleaseId) -> Vec<Bound> {
    let (mut intended, mut applied) = (0, 0);
    let mut bounds = vec![(0, 0)];
    for record in records {
        match &record.entry {
            Entry::WeightIntended { shares, .. } => {
                applied = applied.max(intended);
                intended = shares.get(&release).copied().unwrap_or(0);
            }
            Entry::WeightAbandoned { shares, .. } => {
                intended = shares.get(&release).copied().unwrap_or(0);
                applied = intended;
            }
            Entry::WeightSettled { .. } => applied = intended,
            _ => continue,
        }
        bounds.push((record.at_ms, applied.max(intended)));
    }
    bounds
}
