//! `wheelhouse` without a command: the console, with a personal engine behind it.

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::config::{self, Loaded};
use crate::console::{self, ConsoleEnd, ConsoleError, ConsoleOptions, CtrlC, Surroundings};
use crate::link::{self, Client, ClientOptions, ConnectError, Launch};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an engine in the background has until it answers.
const START: Duration = Duration::from_secs(15);

/// Shows the console; starts a personal engine first where none runs and one may be started.
pub(super) async fn run(context: &Context) -> Ended {
    let surroundings = Surroundings::from_env();
    if !has_screen(&surroundings) {
        return Err(Failure::because(Exit::Usage, &ConsoleError::NoTerminal));
    }
    let loaded = context.load()?;
    for warning in &loaded.warnings {
        print::error(&format!("warning: {warning}"));
    }
    let state_dir = context.state_dir(&loaded)?;
    let log = state_dir.join("engine.log");
    let socket = context.socket(&loaded)?;
    let client = ClientOptions::console(Some(loaded.hash.clone()));
    match Client::connect(&socket, &client).await {
        Ok(_) => {}
        Err(ConnectError::NotRunning { .. }) => start(&loaded, &state_dir, &socket, &log).await?,
        Err(error) => return Err(Failure::because(Exit::Unreachable, &error)),
    }
    let options = ConsoleOptions {
        socket,
        client,
        settings: loaded.config.console().clone(),
        keys: loaded.config.keys().to_vec(),
        surroundings,
        theme_dir: theme_dir(&loaded),
        engine_log: log.exists().then_some(log),
        guide: None,
        ctrl_c: CtrlC::AskTwice,
    };
    match console::run(options).await {
        Ok(ConsoleEnd::Left | ConsoleEnd::Interrupted | ConsoleEnd::Told | ConsoleEnd::HungUp) => {
            Ok(Exit::Done)
        }
        Err(error @ ConsoleError::NoTerminal) => Err(Failure::because(Exit::Usage, &error)),
        Err(error @ ConsoleError::Terminal(_)) => Err(Failure::because(Exit::Unreachable, &error)),
        Err(error) => Err(Failure::because(Exit::Config, &error)),
    }
}

/// Whether somebody sits at a terminal that can show a screen.
pub(super) fn has_screen(surroundings: &Surroundings) -> bool {
    let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    tty && !surroundings.is_dumb()
}

/// `themes` beside the first configuration file.
fn theme_dir(loaded: &Loaded) -> Option<PathBuf> {
    Some(loaded.paths.first()?.parent()?.join("themes"))
}

/// Starts a personal engine in the background, unless that is for a person to decide.
async fn start(
    loaded: &Loaded,
    state_dir: &Path,
    socket: &Path,
    log: &Path,
) -> Result<(), Failure> {
    let mut args = Vec::new();
    for path in &loaded.paths {
        args.extend([OsString::from("--config"), path.clone().into_os_string()]);
    }
    if loaded.config.has_protected() || config::system_file().exists() {
        let shown: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        let command = format!("wheelhouse {} engine run", shown.join(" "));
        let why = match loaded.config.has_protected() {
            true => "this configuration has a protected environment",
            false => "this machine has a system engine",
        };
        return Err(Failure::new(
            Exit::Unreachable,
            format!("no engine runs, and {why}, so none is started by itself; start it: {command}"),
        ));
    }
    args.extend(["engine", "run", "--background"].map(OsString::from));
    let program =
        std::env::current_exe().map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let launch = Launch {
        program: &program,
        args: &args,
        log_file: log,
        socket,
        deadline: START,
    };
    link::spawn_engine(launch)
        .await
        .map_err(|error| Failure::because(Exit::Unreachable, &error))
}
