//! Prometheus over its HTTP API: instant questions about two releases, and a look over the source
//! itself.
//!
//! Ages are told by Prometheus' own clock, so that a wrong clock on either side makes no sample
//! older or newer. Redirects are not followed: credentials go nowhere else. Must not know what is
//! judged.

mod http;
mod inspect;
pub mod parse;
pub mod query;

use super::preset::{self, Questions};
use crate::model::metrics::{
    Buckets, Figure, Measured, MetricsQuestion, MetricsReading, Preset, ReleaseFigures, Subject,
};
use crate::model::secret::SecretRef;
use crate::model::{Clean, MetricsName, Placement, ServiceSpec};
use crate::ports::{Metrics, ReadError};
use futures::stream::{self, StreamExt};
use http::Http;
use query::Filling;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For everything one reading or one look over asks; the engine gives up a moment later.
const TOTAL: Duration = Duration::from_millis(9_500);
/// Questions under way at a time.
const AT_A_TIME: usize = 4;
/// Between two points of the past, at least, in s.
const PAST_STEP_S: f64 = 2.0;
/// Samples older than this many scrapes are no data.
const SCRAPES_MAX: u64 = 2;

/// How a Prometheus is reached and asked.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// As the configuration names it.
    pub name: MetricsName,
    /// Where it answers, without a slash at the end.
    pub url: String,
    /// The questions that come ready-made.
    pub preset: Option<Preset>,
    /// What selects one release's series, instead of the preset's own.
    pub selector: Option<String>,
    /// Questions instead of the preset's.
    pub queries: BTreeMap<Figure, String>,
    /// The series that tells the age, instead of the preset's.
    pub series: Option<String>,
    /// Between two scrapes.
    pub scrape_ms: u64,
    /// How far back a question looks.
    pub window_ms: u64,
    /// How it is asked for permission.
    pub login: Option<Login>,
    /// Certificates to trust beside the system's.
    pub ca: Option<PathBuf>,
}

/// How a Prometheus is asked for permission.
#[derive(Debug, Clone)]
pub enum Login {
    /// By a token.
    Bearer(SecretRef),
    /// By name and password.
    Basic {
        /// The name.
        user: SecretRef,
        /// The password.
        password: SecretRef,
    },
}

/// A Prometheus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prometheus {
    options: PrometheusOptions,
    http: Http,
}

impl Prometheus {
    /// Makes an adapter; connects to nothing yet.
    ///
    /// # Errors
    /// When the certificates cannot be read, or there are none at all to trust.
    pub fn new(options: PrometheusOptions) -> Result<Self, ReadError> {
        let http = Http::new(&options)?;
        Ok(Self { options, http })
    }

    fn ready(&self) -> Option<&'static Questions> {
        self.options.preset.map(preset::questions)
    }

    /// What selects one release's series; a template.
    fn selector(&self) -> &str {
        let ready = self.ready().map_or("", |ready| ready.selector);
        self.options.selector.as_deref().unwrap_or(ready)
    }

    /// Every question, as a template, its own before the preset's.
    fn queries(&self) -> BTreeMap<Figure, &str> {
        let ready = self.ready().map_or(&[][..], |ready| ready.queries);
        let own = self.options.queries.iter();
        let mut queries: BTreeMap<Figure, &str> = ready.iter().copied().collect();
        queries.extend(own.map(|(figure, query)| (*figure, query.as_str())));
        queries
    }

    /// The question for the age of the newest sample, by Prometheus' own clock.
    fn age_query(&self) -> Option<String> {
        let series = self.options.series.as_deref();
        let series = series.or(self.ready().map(|ready| ready.series))?;
        Some(format!("time() - max(timestamp({series}))"))
    }

    fn filling<'a>(&'a self, placement: &'a Placement, subject: &'a Subject) -> Filling<'a> {
        Filling {
            placement,
            subject,
            selector: self.selector(),
            window_ms: self.options.window_ms,
        }
    }

    async fn about(
        &self,
        session: &http::Session<'_>,
        placement: &Placement,
        subject: &Subject,
        past_ms: u64,
    ) -> Result<(ReleaseFigures, Option<i64>), ReadError> {
        let filling = self.filling(placement, subject);
        let (age, skew_ms) = match self.age_query() {
            Some(template) => self.age(session, &filling.fill(&template)).await?,
            None => (Measured::Value(0.0), None),
        };
        let mut answers = ReleaseFigures {
            release: subject.release,
            figures: BTreeMap::new(),
            latency: None,
            age_ms: age.value().map(|age_s| (age_s * 1_000.0) as u64),
            past_p99_ms: Vec::new(),
        };
        if past_ms > 0
            && let Some(template) = self.queries().get(&Figure::Latency)
        {
            let query = filling.fill(template);
            let skew_ms = skew_ms.unwrap_or(0);
            answers.past_p99_ms = self.past(session, &query, past_ms, skew_ms).await;
        }
        let stale = self.stale(&age, subject);
        let asks = self.queries().into_iter().map(|(figure, template)| {
            let (query, stale) = (filling.fill(template), stale.clone());
            async move { self.ask(session, figure, &query, stale).await }
        });
        let mut asks = stream::iter(asks.collect::<Vec<_>>()).buffered(AT_A_TIME);
        while let Some(answered) = asks.next().await {
            match answered? {
                Answered::Number(figure, value) => drop(answers.figures.insert(figure, value)),
                Answered::Latency(buckets) => answers.latency = Some(buckets),
            }
        }
        Ok((answers, skew_ms))
    }

    /// The age of the newest sample in s, and how far Prometheus' clock is from ours in ms.
    async fn age(
        &self,
        session: &http::Session<'_>,
        query: &str,
    ) -> Result<(Measured<f64>, Option<i64>), ReadError> {
        let asked_ms = now_ms();
        let body = session.query(query).await?;
        let took_ms = now_ms() - asked_ms;
        let age = parse::one(&body).map_err(|error| self.wrong("the age", &error))?;
        let skew_ms = age
            .at_s
            .map(|at_s| (at_s * 1_000.0) as i64 - asked_ms - took_ms / 2);
        Ok((age.value, skew_ms))
    }

    /// The p99 at earlier times by our clock. It is for screens: where it cannot be had there is
    /// none, and that is no fault.
    async fn past(
        &self,
        session: &http::Session<'_>,
        latency: &str,
        past_ms: u64,
        skew_ms: i64,
    ) -> Vec<(u64, f64)> {
        let until_s = (now_ms() + skew_ms) as f64 / 1_000.0;
        let from_s = until_s - past_ms as f64 / 1_000.0;
        let step_s = (self.options.scrape_ms as f64 / 1_000.0).max(PAST_STEP_S);
        let query = format!("1000 * histogram_quantile(0.99, {latency})");
        let body = session.range(&query, [from_s, until_s, step_s]).await;
        let points = body.ok().and_then(|body| parse::range(&body).ok());
        let ours = |(at_s, value): (f64, f64)| {
            let at_ms = (at_s * 1_000.0) as i64 - skew_ms;
            Some((u64::try_from(at_ms).ok()?, value))
        };
        points.into_iter().flatten().filter_map(ours).collect()
    }

    /// Why a release's samples are no data; `None` while they are.
    fn stale(&self, age: &Measured<f64>, subject: &Subject) -> Option<Measured<()>> {
        let limit_ms = SCRAPES_MAX * self.options.scrape_ms;
        let scrape_s = self.options.scrape_ms as f64 / 1_000.0;
        match age {
            Measured::Value(age_s) if age_s * 1_000.0 <= limit_ms as f64 => None,
            Measured::Value(age_s) => Some(Measured::Nothing(Clean::new(&format!(
                "the newest sample of {} is {age_s:.0} s old, scraped every {scrape_s} s",
                subject.version
            )))),
            Measured::Nothing(_) => Some(Measured::Nothing(Clean::new(&format!(
                "it has no series of {}: release {} is not scraped",
                subject.version, subject.release
            )))),
            Measured::Doubtful(why) => Some(Measured::Doubtful(why.clone())),
        }
    }

    async fn ask(
        &self,
        session: &http::Session<'_>,
        figure: Figure,
        query: &str,
        stale: Option<Measured<()>>,
    ) -> Result<Answered, ReadError> {
        // Whether targets answer is known of those that do not answer, too.
        let stale = stale.filter(|_| figure != Figure::Uptime);
        if let Some(stale) = stale {
            return Ok(match figure {
                Figure::Latency => Answered::Latency(none(&stale)),
                _ => Answered::Number(figure, none(&stale)),
            });
        }
        let body = session.query(query).await?;
        let wrong = |error| self.wrong(figure.word(), &error);
        Ok(match figure {
            Figure::Latency => {
                Answered::Latency(named(parse::buckets(&body).map_err(wrong)?, figure))
            }
            _ => {
                let one = parse::one(&body).map_err(wrong)?;
                Answered::Number(figure, named(one.value, figure))
            }
        })
    }

    fn wrong(&self, what: &str, error: &parse::AnswerError) -> ReadError {
        let text = format!("metrics {}: {what}: {error}", self.options.name);
        ReadError(Clean::new(&text))
    }

    fn too_late(&self) -> ReadError {
        let text = format!(
            "metrics {}: no whole answer within 10 s; see its process",
            self.options.name
        );
        ReadError(Clean::new(&text))
    }
}

enum Answered {
    Number(Figure, Measured<f64>),
    Latency(Measured<Buckets>),
}

/// The same, of another type: there is no value in it.
fn none<T>(stale: &Measured<()>) -> Measured<T> {
    match stale {
        Measured::Doubtful(why) => Measured::Doubtful(why.clone()),
        Measured::Nothing(why) => Measured::Nothing(why.clone()),
        Measured::Value(()) => Measured::Nothing(Clean::default()),
    }
}

/// Says which figure has no value.
fn named<T>(measured: Measured<T>, figure: Figure) -> Measured<T> {
    let named = |why: Clean| Clean::new(&format!("{}: {why}", figure.word()));
    match measured {
        Measured::Value(value) => Measured::Value(value),
        Measured::Nothing(why) => Measured::Nothing(named(why)),
        Measured::Doubtful(why) => Measured::Doubtful(named(why)),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Metrics for Prometheus {
    async fn read(
        &self,
        placement: &Placement,
        question: &MetricsQuestion,
    ) -> Result<MetricsReading, ReadError> {
        let everything = async {
            let session = self.http.session().await?;
            let one = async |subject: &Option<Subject>| match subject {
                Some(subject) => {
                    let about = self.about(&session, placement, subject, question.past_ms);
                    about.await.map(Some)
                }
                None => Ok(None),
            };
            let (canary, stable) =
                futures::try_join!(one(&question.canary), one(&question.stable))?;
            let skews = [&canary, &stable];
            let skew_ms = skews
                .into_iter()
                .flatten()
                .find_map(|(_, skew_ms)| *skew_ms);
            Ok(MetricsReading {
                canary: canary.map(|(figures, _)| figures),
                stable: stable.map(|(figures, _)| figures),
                skew_ms: skew_ms.unwrap_or(0),
            })
        };
        let ended = tokio::time::timeout(TOTAL, everything).await;
        ended.unwrap_or_else(|_| Err(self.too_late()))
    }

    async fn inspect(&self, spec: &ServiceSpec) -> Result<Vec<Clean>, ReadError> {
        let ended = tokio::time::timeout(TOTAL, inspect::lines(self, spec)).await;
        ended.unwrap_or_else(|_| Err(self.too_late()))
    }
}
