//! The command line: arguments → one file per command → an exit code. Thin: what a command does
//! lives in its room; what it prints, here.

mod act;
mod assemble;
mod config;
mod console;
mod context;
mod demo;
mod docker;
mod doctor;
mod engine;
mod exit;
mod haproxy;
mod history;
mod host;
mod judge;
mod log;
mod look;
mod metrics;
mod pipeline;
mod print;
mod runbook;
mod stage;
mod wait;

use clap::{Args, Parser, Subcommand};
use color_eyre::config::HookBuilder;
use context::Context;
pub use exit::Exit;
use exit::Failure;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Steer deployments from a terminal. Without a command: the console.
#[derive(Debug, Parser)]
#[command(name = "wheelhouse", version, about, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 rolled back or failed, 2 held or inconclusive, \
    3 refused, 64 usage, 69 engine unreachable, 73 locked, 78 configuration"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Global {
    /// Configuration file; several are merged
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the whole story on this machine: a good release, a bad one, and the way back
    Demo(demo::DemoArgs),
    /// Roll out a version
    Deploy(act::deploy::DeployArgs),
    /// Go forward now
    Promote(act::PromoteArgs),
    /// Stop automatic progress
    Hold(act::ActArgs),
    /// Continue automatic progress
    Resume(act::ResumeArgs),
    /// End the rollout, traffic to stable
    Abort(act::ActArgs),
    /// Go to an earlier version at once
    Rollback(act::RollbackArgs),
    /// Begin every instance of what serves anew, a batch at a time
    Restart(act::everyday::BeginArgs),
    /// Have so many instances
    Scale(act::everyday::ScaleArgs),
    /// Take one instance out of traffic; it stays
    Drain(act::everyday::DrainArgs),
    /// Give a drained instance its traffic back
    Undrain(act::everyday::UndrainArgs),
    /// Rehearse a deploy: the same version once more, to the first step, then back
    Drill(act::everyday::BeginArgs),
    /// Write a line into the timeline
    Note(act::NoteArgs),
    /// Say how everything stands
    Status(look::StatusArgs),
    /// Print what happens, line by line
    Watch(look::WatchArgs),
    /// Wait for a rollout's end
    Wait(wait::WaitArgs),
    /// Judge samples again, as the engine would
    #[command(subcommand)]
    Judge(judge::JudgeCommand),
    /// From a commit to production, stage by stage
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
    /// Read the history
    #[command(subcommand_negates_reqs = true)]
    History(history::HistoryArgs),
    /// The engine that drives rollouts
    #[command(subcommand)]
    Engine(engine::EngineCommand),
    /// The embedded default: instances as child processes, a proxy in front of them
    Host(host::HostArgs),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check that everything can be reached and is fit to carry a rollout
    Doctor,
    /// The commands back to stable without Wheelhouse, from what is recorded now
    Runbook(runbook::RunbookArgs),
    /// HAProxy's side
    #[command(subcommand)]
    Haproxy(haproxy::HaproxyCommand),
    /// The service the demo steers
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
    /// The parent of one program of a pipeline's stage
    #[command(hide = true)]
    StageShepherd(stage::ShepherdArgs),
}

/// Makes a panic a report that helps to mend it. The console puts a hook of its own before it,
/// which gives the terminal back first.
fn report_panics() {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = match plain || !std::io::stderr().is_terminal() {
        true => HookBuilder::blank(),
        false => HookBuilder::default(),
    };
    let told = "This is a bug in Wheelhouse. Rollouts stay as they are: the engine's history knows \
                every step, and a restarted engine goes on from there.";
    if let Err(error) = builder.panic_section(told).install() {
        print::error(&format!("panics will be reported without a trace: {error}"));
    }
}

/// Runs the command line and says how it ended.
pub fn main() -> Exit {
    report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            let asked = !error.use_stderr();
            return if asked && shown.is_ok() {
                Exit::Done
            } else {
                Exit::Usage
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&format!("cannot start worker threads: {error}"));
            return Exit::Unreachable;
        }
    };
    let context = Context::new(cli.global.config, cli.global.json);
    let exit = runtime.block_on(dispatch(context, cli.command));
    runtime.shutdown_background();
    exit
}

/// Whether somebody can look and type.
fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

async fn dispatch(context: Context, command: Option<Command>) -> Exit {
    let ended = match command {
        None if !is_terminal() => Err(Failure::new(
            Exit::Usage,
            "the console needs a terminal; without one use `wheelhouse watch`, or `--help`",
        )),
        None => console::run(&context).await,
        Some(Command::Demo(args)) => demo::run(args).await,
        Some(Command::Deploy(args)) => act::deploy::run(&context, args).await,
        Some(Command::Promote(args)) => act::promote(&context, args).await,
        Some(Command::Hold(args)) => act::hold(&context, args).await,
        Some(Command::Resume(args)) => act::resume(&context, args).await,
        Some(Command::Abort(args)) => act::abort(&context, args).await,
        Some(Command::Rollback(args)) => act::rollback(&context, args).await,
        Some(Command::Restart(args)) => act::everyday::restart(&context, args).await,
        Some(Command::Scale(args)) => act::everyday::scale(&context, args).await,
        Some(Command::Drain(args)) => act::everyday::drain(&context, args).await,
        Some(Command::Undrain(args)) => act::everyday::undrain(&context, args).await,
        Some(Command::Drill(args)) => act::everyday::drill(&context, args).await,
        Some(Command::Note(args)) => act::note(&context, args).await,
        Some(Command::Status(args)) => look::status(&context, args).await,
        Some(Command::Watch(args)) => look::watch(&context, args).await,
        Some(Command::Wait(args)) => wait::run(&context, args).await,
        Some(Command::Judge(command)) => judge::run(&context, &command),
        Some(Command::Pipeline(command)) => pipeline::run(&context, command).await,
        Some(Command::History(args)) => history::run(&context, args).await,
        Some(Command::Engine(command)) => engine::run(&context, command).await,
        Some(Command::Host(args)) => host::run(&context, args).await,
        Some(Command::Config(command)) => config::run(&context, &command).await,
        Some(Command::Doctor) => doctor::run(&context).await,
        Some(Command::Runbook(args)) => runbook::run(&context, &args),
        Some(Command::Haproxy(command)) => haproxy::run(&context, &command),
        Some(Command::DemoService(args)) => demo::serve(args).await,
        Some(Command::StageShepherd(args)) => stage::shepherd(args).await,
    };
    ended.unwrap_or_else(|failure| {
        context.fail(&failure);
        failure.exit
    })
}
