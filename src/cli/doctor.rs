//! `doctor`: is everything there, reachable and fit to carry a rollout? Works with an engine and
//! without one.
//!
//! One file per kind of thing that is looked at; each gives [`Finding`]s. Ends with 0 where
//! nothing is bad, 69 where something cannot be reached, else 3: a deploy would be refused, or
//! should be.

mod back;
mod engine;
mod finding;
mod peers;
mod place;
mod surge;
mod time;

use super::assemble::World;
use super::context::Context;
use super::exit::{Ended, Exit};
use super::print;
use crate::config::{BalancerSettings, Config, RuntimeSettings, durations};
use crate::model::ServiceSpec;
use finding::{Finding, State, Subject};
use std::time::Duration;

/// For one peer to answer.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(context: &Context) -> Ended {
    let loaded = context.load()?;
    let home = context.home(&loaded)?;
    let state_dir = &home.state_dir;
    let mut all = vec![Subject::new("version", "version").ok(env!("CARGO_PKG_VERSION"))];
    all.extend(place::configuration(&loaded));
    all.extend(place::state(&home));
    all.extend(engine::check(context, &loaded).await);
    all.extend(encryption(&loaded.config));
    let world = World::new(&loaded.config, state_dir)?;
    let recorded = back::recorded(state_dir);
    let stable = engine::stable(context, &loaded).await;
    for spec in loaded.config.specs() {
        all.push(judging(spec));
        all.extend(scrapes(spec));
        let (runtimes, instances) =
            peers::runtimes(&world, spec, stable.get(&spec.placement)).await;
        all.extend(runtimes);
        all.push(surge::check(spec, &instances));
        all.extend(time::of_an_instance(spec, &instances).await);
        all.extend(peers::balancers(&loaded.config, &world, spec).await);
        all.extend(peers::metrics(&world, spec).await);
        if let Some(state) = &recorded {
            all.extend(back::check(&world, spec, state).await);
        }
    }
    report(context, &all);
    Ok(exit(&all))
}

fn exit(all: &[Finding]) -> Exit {
    let has = |state| all.iter().any(|finding| finding.state == state);
    match (has(State::Unreachable), has(State::Bad)) {
        (true, _) => Exit::Unreachable,
        (false, true) => Exit::Refused,
        (false, false) => Exit::Done,
    }
}

fn report(context: &Context, all: &[Finding]) {
    if context.json {
        print::json(&all);
        return;
    }
    for finding in all {
        let mark = match finding.state {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Bad | State::Unreachable => "BAD ",
        };
        print::line(&format!("[{mark}] {}: {}", finding.what, finding.text));
    }
}

/// How peers are reached: over a socket of this machine, or encrypted, or else.
fn encryption(config: &Config) -> Vec<Finding> {
    let runtimes = config.runtimes().map(|(_, settings)| match settings {
        RuntimeSettings::Host { .. } => 1,
        RuntimeSettings::Docker(_) => 0,
    });
    let balancers = config.balancers().map(|(_, settings)| match settings {
        BalancerSettings::Host { .. } | BalancerSettings::Haproxy(_) => 1,
    });
    let count: usize = runtimes.chain(balancers).sum();
    let text = format!("{count} peers are reached over Unix sockets of this machine");
    let mut all = vec![Subject::new("tls", "encryption").ok(&text)];
    all.extend(config.metrics().map(|(name, settings)| {
        let subject = Subject::new("tls", &format!("metrics {name}"));
        over_network(&subject, &settings.url)
    }));
    all
}

/// Plain text is for this machine alone.
fn over_network(subject: &Subject, url: &str) -> Finding {
    let host = reqwest::Url::parse(url);
    let scheme = host.as_ref().map_or("", |url| url.scheme()).to_owned();
    let host = host.ok().and_then(|url| url.host_str().map(str::to_owned));
    let is_here = host.as_deref().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<std::net::IpAddr>();
        bare == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    match (scheme.as_str(), is_here) {
        ("https", _) => subject.ok("is asked over TLS"),
        (_, true) => subject.ok("is asked on this machine, in plain text"),
        _ => subject.note("is asked in plain text over a network; put TLS in front, use https"),
    }
}

/// How old what is confirmed may be.
fn scrapes(spec: &ServiceSpec) -> Vec<Finding> {
    let sources = spec.metrics.iter().map(|source| {
        let what = format!("{} metrics {}", spec.placement, source.name);
        let subject = Subject::new("metrics.scrape", &what);
        let (scrape, window) = (
            durations::text(source.scrape_ms),
            durations::text(source.window_ms),
        );
        let text = format!("scraped every {scrape}, asked about the last {window}");
        match source.scrape_ms > spec.analysis.interval_ms * 3 {
            true => subject.note(&format!(
                "{text}; each judgement sees the same samples several times: lower scrape_interval"
            )),
            false => subject.ok(&text),
        }
    });
    sources.collect()
}

/// What the judge will have to go by.
fn judging(spec: &ServiceSpec) -> Finding {
    let subject = Subject::new("judge", &format!("{} judge", spec.placement));
    let analysis = &spec.analysis;
    let limits = [
        (analysis.error_ratio.is_some(), "errors"),
        (
            analysis.comparison.is_some() || analysis.error_ratio_vs_stable.is_some(),
            "errors against stable",
        ),
        (analysis.latency_p99_ms.is_some(), "p99"),
        (
            analysis.latency_p99_vs_stable.is_some(),
            "p99 against stable",
        ),
        (analysis.mean_ms.is_some(), "mean"),
        (analysis.mean_vs_stable.is_some(), "mean against stable"),
        (analysis.infrastructure_health.is_some(), "own probes"),
    ];
    let judged: Vec<_> = limits
        .iter()
        .filter(|(is_judged, _)| *is_judged)
        .map(|(_, word)| *word)
        .collect();
    let every = durations::text(analysis.interval_ms);
    let has_errors = analysis.error_ratio.is_some() || analysis.error_ratio_vs_stable.is_some();
    match has_errors {
        true => subject.ok(&format!("every {every} by {}", judged.join(", "))),
        false => subject.note(&format!(
            "every {every} without a limit on errors ({}); set analysis.error_ratio",
            judged.join(", ")
        )),
    }
}
