//! Reads `[metrics.*]`: which sources of metrics there are and what they are asked. Must not know
//! services, nor how a source is spoken to.

use super::accepted::{METRICS, QUERIES};
use super::defaults;
use super::durations;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader};
use super::tree::Node;
use crate::model::metrics::{Figure, MetricsSource, Preset, ToldBy};
use crate::model::secret::SecretRef;
use crate::model::{Clean, MetricsName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

const HOUR: u64 = 3_600_000;

/// Longest question, in bytes.
const QUERY_MAX: usize = 8 * 1024;

/// What a question may leave to be filled in.
const PLACEHOLDERS: [&str; 8] = [
    "service", "env", "release", "version", "backend", "servers", "window", "selector",
];

/// A Prometheus, and what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// Where it answers, without a slash at the end.
    pub url: String,
    /// The questions that come ready-made.
    pub preset: Option<Preset>,
    /// What selects one release's series, instead of the preset's own.
    pub selector: Option<String>,
    /// Questions of the writer's own, by what they answer.
    pub queries: BTreeMap<Figure, String>,
    /// The series whose newest sample tells the age of those questions' answers.
    pub series: Option<String>,
    /// Between two scrapes.
    pub scrape_ms: u64,
    /// How far back a question looks.
    pub window_ms: u64,
    /// How it is asked for permission.
    pub credentials: Option<Credentials>,
    /// Certificates to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Where targets are served for its discovery.
    pub http_sd: Option<SocketAddr>,
    /// Where targets are written for its discovery.
    pub file_sd: Option<PathBuf>,
}

/// How a source of metrics is asked for permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
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

impl PrometheusSettings {
    /// What a placement needs to know of it.
    pub fn source(&self, name: &MetricsName) -> MetricsSource {
        let ready = self.preset.map_or(&[][..], Preset::supplies);
        MetricsSource {
            name: name.clone(),
            scrape_ms: self.scrape_ms,
            window_ms: self.window_ms,
            told_by: self.preset.map_or(ToldBy::Release, Preset::told_by),
            supplies: self.queries.keys().chain(ready).copied().collect(),
        }
    }
}

/// Reads one Prometheus.
pub(super) fn prometheus(node: &Node, problems: &Problems<'_>) -> Option<PrometheusSettings> {
    let reader = Reader::new(node, &METRICS, problems);
    if reader.node("url").is_none() {
        reader.missing(
            "url",
            "add where it answers, e.g. url = \"http://127.0.0.1:9090\"",
        );
    }
    let url = reader.text("url").and_then(|text| url(&text, problems));
    let preset = reader.word("preset", &Preset::ALL).map(|found| found.value);
    let (queries, series) = queries(&reader, problems);
    if reader.node("preset").is_none() && reader.node("queries").is_none() {
        let words: Vec<_> = Preset::ALL.iter().map(|(word, _)| quoted(word)).collect();
        let mend = format!("name one of {}, or add queries", words.join(", "));
        reader.missing("preset", &mend);
    }
    if preset.is_none() && !queries.is_empty() && series.is_none() {
        let mend = "name the series whose newest sample tells the age of the answers";
        problems.error(&reader.place().of_key("queries.series"), "is missing", mend);
    }
    let scrape_ms = reader.duration_ms("scrape_interval", 100..=HOUR, defaults::SCRAPE_MS);
    let credentials = credentials(&reader, problems);
    let url = url?;
    report_plain_text(&url, credentials.as_ref(), problems);
    Some(PrometheusSettings {
        url: url.value,
        preset,
        selector: reader
            .text("selector")
            .filter(|text| template(text, problems))
            .map(|text| text.value.to_owned()),
        queries,
        series,
        scrape_ms,
        window_ms: window_ms(&reader, scrape_ms, problems),
        credentials,
        ca: path(&reader, "ca", problems),
        http_sd: http_sd(&reader, problems),
        file_sd: path(&reader, "file_sd", problems),
    })
}

fn path(reader: &Reader<'_>, key: &str, problems: &Problems<'_>) -> Option<PathBuf> {
    let text = reader.text(key)?;
    Some(problems.absolute(&text.place, text.value))
}

/// Its address: no credentials in it, nothing after the path.
fn url(text: &Located<&str>, problems: &Problems<'_>) -> Option<Located<String>> {
    const MEND: &str = "write where it answers, e.g. \"http://127.0.0.1:9090\"";
    let (scheme, rest) = text.value.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        let what = "carries a user or password";
        problems.error(
            &text.place,
            what,
            "use the keys user and password, or token",
        );
        return None;
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"\\".contains(c);
    if !["http", "https"].contains(&scheme) || host.is_empty() || rest.contains(odd) {
        let what = format!("{} is no address of a Prometheus", quoted(text.value));
        problems.error(&text.place, what, MEND);
        return None;
    }
    Some(Located {
        value: text.value.trim_end_matches('/').to_owned(),
        place: text.place.clone(),
    })
}

/// Secrets over plain HTTP can be read on the way.
fn report_plain_text(
    url: &Located<String>,
    credentials: Option<&Credentials>,
    problems: &Problems<'_>,
) {
    let Some(host) = url.value.strip_prefix("http://") else {
        return;
    };
    let here = ["127.", "localhost", "[::1]"];
    if credentials.is_some() && !here.iter().any(|mine| host.starts_with(mine)) {
        let what = "the secret would be sent in plain text";
        problems.warning(&url.place, what, "use https://");
    }
}

fn window_ms(reader: &Reader<'_>, scrape_ms: u64, problems: &Problems<'_>) -> u64 {
    let least_ms = scrape_ms * defaults::SCRAPES_MIN;
    let default_ms = defaults::WINDOW_MS.max(least_ms);
    let window_ms = reader.duration_ms("window", 400..=24 * HOUR, default_ms);
    if window_ms < least_ms {
        let what = format!(
            "{} is shorter than {} scrapes of {}",
            durations::text(window_ms),
            defaults::SCRAPES_MIN,
            durations::text(scrape_ms)
        );
        let mend = format!("use at least \"{}\"", durations::text(least_ms));
        problems.error(&reader.place().of_key("window"), what, mend);
    }
    window_ms
}

fn secret(reader: &Reader<'_>, key: &str, problems: &Problems<'_>) -> Option<SecretRef> {
    let text = reader.text(key)?;
    match text.value.parse() {
        Ok(found) => Some(found),
        Err(error) => {
            let mend = "write where the secret is kept, e.g. \"env:PROMETHEUS_TOKEN\" or \
                        \"file:/run/secrets/token\"";
            problems.error(&text.place, error.to_string(), mend);
            None
        }
    }
}

fn credentials(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<Credentials> {
    let token = secret(reader, "token", problems);
    let (user, password) = (
        secret(reader, "user", problems),
        secret(reader, "password", problems),
    );
    let written = |key| reader.node(key).is_some();
    let names = written("user") || written("password");
    if written("token") && names {
        let mend = "keep either token, or user and password";
        problems.error(&reader.place().of_key("token"), "is one way too many", mend);
    }
    if written("user") != written("password") {
        let missing = if written("user") { "password" } else { "user" };
        reader.missing(missing, "user and password belong together");
    }
    let basic = user.zip(password);
    token
        .map(Credentials::Bearer)
        .or(basic.map(|(user, password)| Credentials::Basic { user, password }))
}

/// Where targets are served: this machine only, for whoever reads them learns every instance.
fn http_sd(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<SocketAddr> {
    let text = reader.text("http_sd")?;
    let address: Option<SocketAddr> = text.value.parse().ok();
    let fit = address.filter(|address| address.port() > 0 && address.ip().is_loopback());
    if fit.is_none() {
        let what = format!("{} is no address on this machine", quoted(text.value));
        let mend = "write a loopback address with a port, e.g. \"127.0.0.1:9180\"";
        problems.error(&text.place, what, mend);
    }
    fit
}

fn queries(
    reader: &Reader<'_>,
    problems: &Problems<'_>,
) -> (BTreeMap<Figure, String>, Option<String>) {
    let Some(node) = reader.node("queries") else {
        return (BTreeMap::new(), None);
    };
    let table = Reader::new(node, &QUERIES, problems);
    let question = |word: &str| {
        let text = table.text(word)?;
        template(&text, problems).then(|| text.value.to_owned())
    };
    let own = Figure::ALL
        .iter()
        .filter_map(|(word, figure)| Some((*figure, question(word)?)));
    (own.collect(), question("series"))
}

/// Whether a question can be filled in.
fn template(text: &Located<&str>, problems: &Problems<'_>) -> bool {
    let fault = match text.value {
        "" => Some(("is empty".to_owned(), "write a question in PromQL")),
        long if long.len() > QUERY_MAX => Some(("is too long".to_owned(), "use a recording rule")),
        raw if raw.contains('`') => {
            let mend = "use double quotes: what is filled in cannot be made safe in raw ones";
            Some(("contains a raw string".to_owned(), mend))
        }
        other => unknown_placeholder(other).map(|name| {
            let mend = "use {service}, {env}, {release}, {version}, {backend}, {servers}, \
                        {window} or {selector}";
            (format!("{{{name}}} stands for nothing"), mend)
        }),
    };
    if let Some((what, mend)) = &fault {
        problems.error(&text.place, what.as_str(), *mend);
    }
    fault.is_none()
}

/// A word in braces that is none of ours: `{` begins PromQL's own selectors too, but those hold
/// more than one word.
fn unknown_placeholder(query: &str) -> Option<Clean> {
    let words: BTreeSet<&str> = PLACEHOLDERS.into_iter().collect();
    query.split('{').skip(1).find_map(|rest| {
        let (word, _) = rest.split_once('}')?;
        let one_word =
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (one_word && !words.contains(word)).then(|| Clean::line(word, 32))
    })
}
