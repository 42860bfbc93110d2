//! What sources of metrics and runtimes said that the judge may look at: how fresh it is, since
//! when there is none, and what to ask next. Facts, no decisions.

use super::look::Look;
use crate::analysis::{self, RECENT_MS, SourceEvidence, SourceState, Usage};
use crate::model::metrics::{MetricsQuestion, MetricsReading, MetricsSource, Subject, ToldBy};
use crate::model::state::InstanceStatus;
use crate::model::world::{MetricsView, UsageSample};
use crate::model::{Clean, ReleaseId};

/// Shortest time between two questions to a source.
const POLL_MS_MIN: u64 = 500;
/// Furthest back that a source is asked to tell: what the charts span.
const PAST_MS_MAX: u64 = 180_000;
/// Scrapes within which a new release must be found.
const FIRST_SCRAPES: u64 = 2;

/// Between two questions to a source while a rollout is open.
pub(super) fn poll_ms(look: &Look<'_>) -> u64 {
    look.place.spec.analysis.interval_ms.max(POLL_MS_MIN)
}

/// What sources are asked now; `None` when there is nothing to ask about.
pub(super) fn question(look: &Look<'_>) -> Option<MetricsQuestion> {
    let (canary, stable) = match &look.place.rollout {
        Some(rollout) => (Some(rollout.release), rollout.from),
        None => (None, look.place.stable()),
    };
    let about = |release: ReleaseId| {
        let servers = look.place.servers_of(release);
        let backend = look.place.spec.balancers.first();
        Some(Subject {
            release,
            version: look.place.releases.get(&release)?.version.clone(),
            servers: servers.map(|(server, _)| server.clone()).collect(),
            backend: backend.map(|backend| backend.backend.clone()),
        })
    };
    let (canary, stable) = (canary.and_then(about), stable.and_then(about));
    let asks = canary.is_some() || stable.is_some();
    asks.then_some(MetricsQuestion {
        canary,
        stable,
        past_ms: 0,
    })
}

/// How far back a source is to tell: not at all, once it answered about a rollout.
pub(super) fn past_ms(look: &Look<'_>, source: &MetricsSource) -> u64 {
    let canary = look.place.canary();
    let readings = view(look, source)
        .into_iter()
        .flat_map(|view| &view.readings);
    let mut about = readings.filter_map(|(_, reading)| reading.canary.as_ref());
    let known = about.any(|about| Some(about.release) == canary);
    let began_ms = look
        .place
        .rollout
        .as_ref()
        .map(|rollout| rollout.started_ms);
    match (known, began_ms) {
        (false, Some(began_ms)) => look.now_ms.saturating_sub(began_ms).min(PAST_MS_MAX),
        _ => 0,
    }
}

/// Until when everybody who is to be judged by had data: the balancers' readings, and answers of
/// the sources that lack nothing of the new release.
pub(super) fn newest_data_ms(look: &Look<'_>, canary: ReleaseId) -> Option<u64> {
    let sources = &look.place.spec.metrics;
    let newest = sources.iter().map(|source| {
        let mut readings = view(look, source)?.readings.iter().rev();
        let whole = readings.find(|(_, reading)| {
            let about = reading.canary.as_ref();
            about.is_some_and(|about| about.release == canary && about.nothing().is_none())
        });
        whole.map(|(at_ms, _)| *at_ms)
    });
    let all = std::iter::once(look.newest_common_reading_ms()).chain(newest);
    all.min().flatten()
}

fn view<'a>(look: &Look<'a>, source: &MetricsSource) -> Option<&'a MetricsView> {
    look.seen?.metrics.get(&source.name)
}

/// What every source says, or said at an earlier time, of a phase that began at `from_ms`.
pub(super) fn evidence(
    look: &Look<'_>,
    canary: ReleaseId,
    from_ms: u64,
    until_ms: u64,
) -> Vec<SourceEvidence> {
    let moment = Moment {
        canary,
        from_ms,
        until_ms,
        up_ms: up_since_ms(look, canary),
    };
    let sources = &look.place.spec.metrics;
    sources
        .iter()
        .map(|source| moment.of(look, source))
        .collect()
}

/// Since when every instance of a release stands where it does.
fn up_since_ms(look: &Look<'_>, release: ReleaseId) -> u64 {
    let servers = look.place.servers_of(release);
    servers
        .map(|(_, instance)| instance.since_ms)
        .max()
        .unwrap_or(0)
}

/// When and about whom a source is heard.
struct Moment {
    canary: ReleaseId,
    from_ms: u64,
    until_ms: u64,
    up_ms: u64,
}

impl Moment {
    fn of(&self, look: &Look<'_>, source: &MetricsSource) -> SourceEvidence {
        let reading = self.reading(look, source);
        SourceEvidence {
            name: Clean::new(source.name.as_str()),
            state: self.state(look, source, reading),
            canary: reading.and_then(|reading| reading.canary.clone()),
            stable: reading.and_then(|reading| reading.stable.clone()),
            share_percent: self.share_percent(look, source),
            scrapes: analysis::scrapes(self.until_ms.saturating_sub(self.up_ms), source.scrape_ms),
        }
    }

    /// The newest answer about the release that was there then and is not too old.
    fn reading<'a>(&self, look: &Look<'a>, source: &MetricsSource) -> Option<&'a MetricsReading> {
        let oldest_ms = self.until_ms.saturating_sub(2 * poll_ms(look));
        let readings = &view(look, source)?.readings;
        let (at_ms, reading) = readings
            .iter()
            .rev()
            .find(|(at_ms, _)| *at_ms <= self.until_ms)?;
        let about = reading.canary.as_ref()?;
        let usable = *at_ms >= self.from_ms.max(oldest_ms) && about.release == self.canary;
        usable.then_some(reading)
    }

    fn state(
        &self,
        look: &Look<'_>,
        source: &MetricsSource,
        reading: Option<&MetricsReading>,
    ) -> SourceState {
        let view = view(look, source);
        if let Some(why) = view.and_then(|view| view.trouble.clone()) {
            return SourceState::Silent(why);
        }
        let began_ms = self.from_ms.max(self.up_ms).max(look.since_ms);
        let settled_ms = self.up_ms + source.window_ms;
        if source.told_by == ToldBy::Server && self.until_ms < settled_ms {
            let text = "its servers' counts still hold what stood there before; it is heard after \
                        one window";
            return SourceState::Awaited(text.into());
        }
        let about = reading.and_then(|reading| reading.canary.as_ref());
        let first_ms = began_ms + FIRST_SCRAPES * source.scrape_ms + poll_ms(look);
        let early = self.until_ms < first_ms;
        match about.map(|about| about.nothing()) {
            Some(None) => SourceState::Answers,
            Some(Some(why)) if early => SourceState::Awaited(why.clone()),
            Some(Some(_)) => SourceState::Answers,
            None if early => SourceState::Awaited("its first answer is awaited".into()),
            None => SourceState::Silent("it has not answered lately".into()),
        }
    }

    /// The release's share of requests over the source's window, as the balancers counted it;
    /// `None` while the window holds another step.
    fn share_percent(&self, look: &Look<'_>, source: &MetricsSource) -> Option<f64> {
        let whole_ms = source.window_ms + FIRST_SCRAPES * source.scrape_ms;
        if self.until_ms < self.from_ms + whole_ms {
            return None;
        }
        let since_ms = self.until_ms - source.window_ms;
        let stable = look.place.rollout.as_ref()?.from?;
        let counted = |release| look.counted(release, since_ms, self.until_ms).requests as f64;
        let (mine, theirs) = (counted(self.canary), counted(stable));
        (mine + theirs > 0.0).then(|| mine * 100.0 / (mine + theirs))
    }
}

/// What the release's instances used over the recent window.
pub(super) fn usage(look: &Look<'_>, canary: ReleaseId, until_ms: u64) -> Option<Usage> {
    let mut most: Option<Usage> = None;
    let up = look
        .place
        .servers_of(canary)
        .filter(|(_, instance)| instance.status == InstanceStatus::Up);
    for (server, instance) in up {
        let from_ms = instance.since_ms.max(until_ms.saturating_sub(RECENT_MS));
        let log = look.seen?.usage.get(server).into_iter().flatten();
        let recent: Vec<_> = log
            .filter(|sample| (from_ms..=until_ms).contains(&sample.at_ms))
            .filter(|sample| sample.release == canary)
            .collect();
        let cpu = mean(&recent, |sample| sample.cpu);
        let memory = mean(&recent, |sample| sample.memory);
        if cpu.is_none() && memory.is_none() {
            continue;
        }
        let so_far = most.get_or_insert_with(Usage::default);
        let runtime = look.place.spec.runtime_of(server);
        so_far.name = Clean::new(runtime.map_or("", |name| name.as_str()));
        so_far.cpu = highest(so_far.cpu, cpu);
        so_far.memory = highest(so_far.memory, memory);
        so_far.samples = so_far.samples.max(recent.len() as u64);
    }
    most
}

fn mean(samples: &[&UsageSample], of: impl Fn(&UsageSample) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = samples.iter().filter_map(|sample| of(sample)).collect();
    let sum: f64 = values.iter().sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

fn highest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}
