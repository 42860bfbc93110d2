//! An engine in the background: detached, and heard when it fails.

use crate::support::*;
use rustix::process::{Pid, Signal, getsid, kill_process};
use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wheelhouse::link::wire::{Reply, Request};
use wheelhouse::link::{Client, Launch, SpawnError, bind, socket_path, spawn_engine};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");

/// Runs a shell script as if it were the engine.
async fn launch(dir: &Path, script: &str, deadline: Duration) -> Result<(), SpawnError> {
    let args = ["-c", script].map(OsString::from);
    spawn_engine(Launch {
        program: Path::new("/bin/sh"),
        args: &args,
        log_file: &dir.join("engine.log"),
        socket: &socket_path(dir),
        deadline,
    })
    .await
}

#[tokio::test]
async fn the_real_engine_answers_in_a_session_of_its_own_and_outlives_the_caller() {
    let dir = private_dir();
    let state = dir.path().join("state");
    let config = dir.path().join("wheelhouse.toml");
    let text = format!("state_dir = {:?}\n", state.display().to_string());
    std::fs::write(&config, text).expect("written");
    let mut args = ["engine", "run", "--background", "--config"]
        .map(OsString::from)
        .to_vec();
    args.push(config.into_os_string());
    let log_file = dir.path().join("engine.log");
    let socket = socket_path(&state);
    let spawned = spawn_engine(Launch {
        program: Path::new(PROGRAM),
        args: &args,
        log_file: &log_file,
        socket: &socket,
        deadline: PATIENCE,
    });
    spawned.await.expect("it answers");

    let (client, _) = Client::connect(&socket, &caller(false))
        .await
        .expect("connected");
    let Ok(Reply::Snapshot { snapshot }) = client.ask(Request::Snapshot, PATIENCE).await else {
        panic!("a snapshot");
    };
    let pid = i32::try_from(snapshot.engine.info.pid).expect("fits");
    let pid = Pid::from_raw(pid).expect("a process");
    assert_eq!(
        getsid(Some(pid)).expect("alive"),
        pid,
        "it leads its session"
    );
    let mode = log_file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(client.ask(Request::Stop, PATIENCE).await, Ok(Reply::Done));
    let gone = async {
        while socket.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("its socket is gone", gone).await;
}

#[tokio::test]
async fn one_that_ends_at_once_is_quoted_with_its_own_last_lines_only() {
    let dir = private_dir();
    std::fs::write(dir.path().join("engine.log"), "an older engine's words\n").expect("written");
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n >&2; done; \
                  printf 'the \\033[31mreason\\n' >&2; exit 78";
    let error = launch(dir.path(), script, PATIENCE).await;
    let error = error.expect_err("it ended");
    let text = error.to_string();
    assert!(matches!(error, SpawnError::Ended { .. }), "{text}");
    assert!(text.contains("exit status: 78"), "{text}");
    assert!(
        text.contains("\n  line 12\n") && text.contains("reason"),
        "{text}"
    );
    assert!(!text.contains("line 1\n"), "the last ten: {text}");
    assert!(
        !text.contains("older") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_in_time_and_left_running() {
    let dir = private_dir();
    let deadline = Duration::from_millis(300);
    let script = format!("echo $$ > {}/pid; exec sleep 100", dir.path().display());
    let began = Instant::now();
    let error = launch(dir.path(), &script, deadline).await;
    let error = error.expect_err("it is silent");
    assert!(matches!(error, SpawnError::Silent { .. }), "{error}");
    assert!(began.elapsed() >= deadline && began.elapsed() < PATIENCE);
    let pid = std::fs::read_to_string(dir.path().join("pid")).expect("it began");
    let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process");
    kill_process(pid, Signal::KILL).expect("it still ran");
}

#[tokio::test]
async fn one_that_is_locked_out_leaves_the_field_to_the_one_that_answers() {
    let dir = private_dir();
    let path = dir.path().to_owned();
    let marker = path.join("was-started");
    let script = format!("touch {}; exit 73", marker.display());
    let launching = tokio::spawn({
        let path = path.clone();
        async move { launch(&path, &script, PATIENCE).await }
    });
    let began = async {
        while !marker.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the loser began", began).await;
    let engine = Engine::on(bind(&path).await.expect("bound"), options(limits()));
    launching
        .await
        .expect("no panic")
        .expect("the other one answers");
    engine.stop().await;
}

#[tokio::test]
async fn a_program_or_a_log_that_cannot_be_used_is_said_before_anything_runs() {
    let dir = private_dir();
    let log_file = dir.path().join("engine.log");
    let socket = socket_path(dir.path());
    let missing = spawn_engine(Launch {
        program: Path::new("/does/not/exist"),
        args: &[],
        log_file: &log_file,
        socket: &socket,
        deadline: PATIENCE,
    });
    let error = missing.await.expect_err("no such program");
    assert!(matches!(error, SpawnError::Start { .. }), "{error}");

    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").expect("written");
    std::fs::remove_file(&log_file).expect("removed");
    symlink(&victim, &log_file).expect("linked");
    let error = launch(dir.path(), "echo overwritten", PATIENCE).await;
    let error = error.expect_err("the log is a link");
    assert!(matches!(error, SpawnError::Log { .. }), "{error}");
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
}

#[tokio::test]
async fn a_hang_up_of_the_terminal_does_not_reach_it() {
    let dir = private_dir();
    let config = dir.path().join("wheelhouse.toml");
    let state = dir.path().join("state");
    let text = format!("state_dir = {:?}\n", state.display().to_string());
    std::fs::write(&config, text).expect("written");
    let mut engine = Command::new(PROGRAM)
        .args(["engine", "run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let socket = socket_path(&state);
    let connected = async {
        loop {
            if let Ok((client, _)) = Client::connect(&socket, &caller(false)).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let client = soon("it answers", connected).await;
    let pid = Pid::from_child(&engine);
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).expect("sent");
        let reply = client.ask(Request::Snapshot, PATIENCE).await;
        assert!(matches!(reply, Ok(Reply::Snapshot { .. })), "{reply:?}");
    }
    kill_process(pid, Signal::TERM).expect("sent");
    let ended = tokio::task::spawn_blocking(move || engine.wait());
    let status = soon("it ends", ended).await.expect("no panic");
    assert_eq!(status.expect("reaped").code(), Some(0));
}
