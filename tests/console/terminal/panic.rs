//! A panic while drawing: the terminal is given back before the panic is printed.

use super::engine::Engine;
use super::pty::Pty;
use super::{SIZE, fixture};
use std::time::Duration;
use wheelhouse::config::ConsoleSettings;
use wheelhouse::console::terminal::RESTORE;
use wheelhouse::console::{ConsoleOptions, CtrlC, Surroundings, run};
use wheelhouse::link::ClientOptions;

/// For a process that prints a panic with its trace, on a busy machine.
const SLOW: Duration = Duration::from_secs(20);
/// Names the socket to the process that is to panic.
const SOCKET: &str = "WHEELHOUSE_TEST_SOCKET";

#[test]
fn a_panic_while_drawing_gives_the_terminal_back_first() {
    let engine = Engine::start(fixture::soaking());
    let socket = engine.dir().join("state").join("engine.sock");
    let child = "console::terminal::panic::a_console_that_panics";
    let mut pty = Pty::start_test(child, SIZE, &[(SOCKET, &socket.display().to_string())]);
    pty.until("the guide failed");
    assert!(pty.ended(SLOW).is_some());
    let output = pty.output();
    let restored = output
        .windows(RESTORE.len())
        .position(|bytes| bytes == RESTORE)
        .expect("it was given back");
    let rest = String::from_utf8_lossy(&output[restored..]).into_owned();
    assert!(rest.contains("the guide failed"), "{rest}");
    assert_eq!(pty.modes(), pty.modes_before);
}

/// The process of the test above; by itself it has nothing to do.
#[test]
fn a_console_that_panics() {
    let Ok(socket) = std::env::var(SOCKET) else {
        return;
    };
    let options = ConsoleOptions {
        socket: socket.into(),
        client: ClientOptions {
            version: "0.1.0".to_owned(),
            config_hash: None,
            console: true,
        },
        settings: ConsoleSettings::default(),
        keys: Vec::new(),
        surroundings: Surroundings::from_env(),
        theme_dir: None,
        engine_log: None,
        guide: Some(Box::new(|_| panic!("the guide failed"))),
        ctrl_c: CtrlC::AskTwice,
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().expect("threads");
    runtime.block_on(run(options)).expect("it starts");
}
