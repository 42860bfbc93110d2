//! `demo` and the service it steers.

use super::console::has_screen;
use super::engine::told_to_end;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::config::Config;
use crate::console::{self, ConsoleOptions, CtrlC, Surroundings};
use crate::demo::chapter::Chapter;
use crate::demo::guide::{self, Show};
use crate::demo::repository::git_is_installed;
use crate::demo::service::{self, DemoEnd, DemoServiceOptions};
use crate::demo::story;
use crate::link::{self, ClientOptions};
use clap::Args;
use std::net::SocketAddr;
use std::time::Instant;

#[derive(Debug, Clone, Args)]
pub(super) struct DemoArgs {
    /// Play the whole story without a terminal, as plain lines, in at most two minutes
    #[arg(long)]
    unattended: bool,
    /// Only this chapter: 1 is a canary, 2 is blue-green and a rolling restart, 3 is a pipeline from
    /// commit to production
    #[arg(long, value_name = "N", value_parser = chapter)]
    chapter: Option<Chapter>,
}

fn chapter(text: &str) -> Result<Chapter, String> {
    match text {
        "1" => Ok(Chapter::First),
        "2" => Ok(Chapter::Second),
        "3" => Ok(Chapter::Third),
        _ => Err("the story has the chapters 1, 2 and 3".to_owned()),
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct ServiceArgs {
    /// Where to listen
    #[arg(long)]
    address: SocketAddr,
    /// The version to answer with
    #[arg(long)]
    version: String,
    /// Median time to answer
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Share of requests answered with an error, 0-1
    #[arg(long, default_value_t = 0.0)]
    error_ratio: f64,
    /// Share of requests answered with an error by one version: `v3=0.05`
    #[arg(long, value_name = "VERSION=RATIO", value_parser = fault)]
    fault: Vec<(String, f64)>,
    /// Median time to answer of one version: `v4=200`
    #[arg(long, value_name = "VERSION=MS", value_parser = slow)]
    slow: Vec<(String, u64)>,
    /// Not ready for this long
    #[arg(long, default_value_t = 0)]
    slow_start_ms: u64,
    /// Crash after this long
    #[arg(long)]
    crash_after_ms: Option<u64>,
    /// Stop without finishing requests under way
    #[arg(long)]
    no_drain: bool,
}

fn slow(text: &str) -> Result<(String, u64), String> {
    let (version, ms) = text.split_once('=').ok_or("expected VERSION=MS")?;
    let ms = ms.parse().map_err(|_| format!("{ms} is no number"))?;
    Ok((version.to_owned(), ms))
}

fn fault(text: &str) -> Result<(String, f64), String> {
    let (version, ratio) = text.split_once('=').ok_or("expected VERSION=RATIO")?;
    let ratio: f64 = ratio.parse().map_err(|_| format!("{ratio} is no number"))?;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok((version.to_owned(), ratio)),
        false => Err(format!("{ratio} is not between 0 and 1")),
    }
}

pub(super) async fn run(args: DemoArgs) -> Ended {
    let chapters = chapters(args.chapter).await?;
    match args.unattended {
        true => unattended(&chapters).await,
        false => attended(&chapters).await,
    }
}

/// Those that are asked for and can be told on this machine.
async fn chapters(asked: Option<Chapter>) -> Result<Vec<Chapter>, Failure> {
    let wanted = asked.map_or_else(|| Chapter::ALL.to_vec(), |one| vec![one]);
    let needs_git = wanted.iter().any(|chapter| chapter.needs_git());
    if !needs_git || git_is_installed().await {
        return Ok(wanted);
    }
    if asked.is_some() {
        let text = "chapter 3 begins with commits and git is not installed: install git, or tell \
                    --chapter 1 or 2";
        return Err(Failure::new(Exit::Usage, text));
    }
    print::line("git is not installed: chapter 3 is left out");
    Ok(wanted
        .into_iter()
        .filter(|chapter| !chapter.needs_git())
        .collect())
}

/// The story with a person in it: everything the demo began ends with the console.
async fn attended(chapters: &[Chapter]) -> Ended {
    let surroundings = Surroundings::from_env();
    if !has_screen(&surroundings) {
        let text = "the demo's console needs a terminal; `demo --unattended` needs none";
        return Err(Failure::new(Exit::Usage, text));
    }
    let tell = |text: &str| print::line(text);
    tell(
        "Setting the stage: a host with three instances a service, an engine, 300 requests a second.",
    );
    let begun = Show::begin(chapters, &tell, told_to_end_once()).await;
    let Some(show) = begun.map_err(|error| Failure::because(Exit::RolledBack, &error))? else {
        return Err(interrupted());
    };
    tell(&format!(
        "A second terminal can join: wheelhouse --config {} status",
        show.config().display()
    ));
    let ended = match options(&show, surroundings) {
        Ok(options) => console::run(options)
            .await
            .map_err(|error| Failure::because(Exit::Usage, &error)),
        Err(failure) => Err(failure),
    };
    let sum = show.end().await;
    tell(&format!(
        "{} requests were sent, {} were lost; host, engine and instances have ended.",
        sum.sent, sum.lost
    ));
    ended.map(|_| Exit::Done)
}

fn options(show: &Show, surroundings: Surroundings) -> Result<ConsoleOptions, Failure> {
    let config = [show.config().to_owned()];
    let loaded = Config::load(&config).map_err(|error| Failure::because(Exit::Config, &error))?;
    Ok(ConsoleOptions {
        socket: link::socket_path(&show.state_dir()),
        client: ClientOptions::console(Some(loaded.hash)),
        settings: loaded.config.console().clone(),
        keys: loaded.config.keys().to_vec(),
        surroundings,
        theme_dir: None,
        engine_log: Some(show.engine_log()),
        guide: Some(Box::new(guide::line)),
        ctrl_c: CtrlC::EndsEverything,
    })
}

async fn told_to_end_once() {
    told_to_end().await;
}

fn interrupted() -> Failure {
    let text = "the demo was interrupted; everything was ended";
    Failure::new(Exit::Held, text)
}

async fn unattended(chapters: &[Chapter]) -> Ended {
    let began = Instant::now();
    let tell = |text: &str| {
        let s = began.elapsed().as_secs();
        print::line(&format!("{:02}:{:02}  {text}", s / 60, s % 60));
    };
    let told = story::unattended(chapters, &tell, told_to_end_once()).await;
    let told = told.map_err(|error| Failure::because(Exit::RolledBack, &error))?;
    let Some(promises) = told else {
        return Err(interrupted());
    };
    for (held, text) in &promises.kept {
        tell(&format!("{} {text}", if *held { "[ok]" } else { "[!!]" }));
    }
    Ok(if promises.held() {
        Exit::Done
    } else {
        Exit::RolledBack
    })
}

pub(super) async fn serve(args: ServiceArgs) -> Ended {
    let faulty = args
        .fault
        .iter()
        .find(|(version, _)| *version == args.version);
    let slow = args
        .slow
        .iter()
        .find(|(version, _)| *version == args.version);
    let latency_ms = slow.map_or(args.latency_ms, |(_, ms)| *ms);
    let options = DemoServiceOptions {
        address: args.address,
        version: args.version,
        latency_ms,
        error_ratio: faulty.map_or(args.error_ratio, |(_, ratio)| *ratio),
        slow_start_ms: args.slow_start_ms,
        crash_after_ms: args.crash_after_ms,
        drain: !args.no_drain,
    };
    match service::run(options, told_to_end_once()).await {
        Ok(DemoEnd::Stopped) => Ok(Exit::Done),
        Ok(DemoEnd::Crashed) => Ok(Exit::RolledBack),
        Err(error) => Err(Failure::because(Exit::Unreachable, &error)),
    }
}
