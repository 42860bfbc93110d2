//! The program itself, at the end of a real terminal, with a scripted engine behind it.

mod engine;
mod panic;
mod pty;

use super::fixture;
use engine::Engine;
use pty::Pty;
use std::time::Duration;
use wheelhouse::console::terminal::RESTORE;
use wheelhouse::link::wire::{CommandRequest, Request};

const SIZE: (u16, u16) = (100, 30);

/// A program that was told to end has this long.
const PROMPT: Duration = Duration::from_secs(1);

#[test]
fn start_and_quit_give_the_terminal_back_to_the_byte() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    pty.send(b"q");
    pty.until("Rollout #1841 goes on");
    pty.send(b"q");
    assert_eq!(pty.ended(PROMPT), Some(0));
    assert!(pty.output().ends_with(RESTORE), "{:?}", pty.output());
    assert_eq!(pty.modes(), pty.modes_before, "line discipline");
    let output = String::from_utf8_lossy(&pty.output()).into_owned();
    let frames = output.matches("\x1b[?2026h").count();
    let ends = output.matches("\x1b[?2026l").count();
    assert!(
        frames > 0 && ends == frames + 1,
        "each frame is whole, and once more at the end"
    );
    assert_eq!(engine.commands(), []);
}

#[test]
fn an_abort_by_key_reaches_the_engine_once() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    pty.send(b"A");
    pty.until("y does it");
    pty.send(b"y");
    pty.until("accepted");
    let abort = Request::Command {
        command: CommandRequest::Abort {
            placement: fixture::placement(),
            reason: None,
        },
    };
    assert_eq!(engine.commands(), [abort]);
}

#[test]
fn storms_pastes_split_keys_and_typed_ahead_confirm_nothing() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    // Typed before the first frame.
    pty.send(b"Py\rAy\ryyyy");
    pty.until("CANARY 25%");
    let storms: [&[u8]; 6] = [
        b"PyPy\r\rAyAy",
        b"\x1b[200~Ay\rproduction\r\x1b[201~",
        b"\x1b[200~y\r",
        b"HyRyAy\r\r\ryyyyyyyyy",
        b"\x1b]11;rgb:1e1e/1e1e/1e1e\x07\x1b[?62;4cAy",
        b"Pproduction\t\r",
    ];
    for storm in storms {
        pty.send(&storm.repeat(50));
    }
    for last in b"ABCDHFPQRSZ" {
        for part in [&b"\x1b"[..], b"[", &[*last]] {
            pty.send(part);
            pty.let_pass(Duration::from_millis(50));
        }
    }
    // An unterminated paste ends by itself, and then keys are keys again.
    pty.let_pass(Duration::from_millis(1_200));
    pty.until_after_each(&[b"\x1b", b"?"], "this help");
    assert_eq!(engine.commands(), []);
}

#[test]
fn any_size_and_back() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    for (width, height) in [(1, 1), (0, 0), (20, 1), (500, 200), (1, 50), (60, 16)] {
        pty.resize(width, height);
    }
    pty.resize(80, 24);
    pty.until("Verdict");
    pty.send(b"?");
    pty.until("Keys");
}

#[test]
fn a_hang_up_ends_it_at_once() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    assert!(pty.hang_up(PROMPT), "it is gone within a second");
}

#[test]
fn a_hang_up_nobody_signals_ends_it_too() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start_apart(&engine, SIZE);
    pty.until("CANARY 25%");
    assert!(pty.hang_up(PROMPT), "it is gone within a second");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    pty.terminate();
    assert_eq!(pty.ended(PROMPT), Some(0));
    assert!(pty.output().ends_with(RESTORE));
    assert_eq!(pty.modes(), pty.modes_before);
}

#[test]
fn idle_writes_nothing() {
    let engine = Engine::start(fixture::idle());
    let pty = Pty::start(&engine, SIZE, &[]);
    pty.until("no rollout open");
    pty.until_still(Duration::from_millis(500));
    let before = pty.output().len();
    for _ in 0..20 {
        let mut later = fixture::idle();
        later.engine.now_ms += 100;
        engine.publish(later);
        pty.let_pass(Duration::from_millis(100));
    }
    assert_eq!(pty.output().len(), before);
}

#[test]
fn no_color_keeps_reverse_and_drops_colours() {
    let engine = Engine::start(fixture::held());
    let pty = Pty::start(&engine, SIZE, &[("NO_COLOR", "1")]);
    pty.until("HELD by bob");
    let output = String::from_utf8_lossy(&pty.output()).into_owned();
    let codes: Vec<_> = output
        .split("\x1b[")
        .filter_map(|part| part.split_once('m'))
        .filter(|(codes, _)| codes.chars().all(|c| c.is_ascii_digit() || c == ';'))
        .flat_map(|(codes, _)| codes.split(';'))
        .map(|code| code.parse().unwrap_or(0))
        .collect();
    let coloured = codes
        .iter()
        .find(|code| matches!(code, 30..=38 | 40..=48 | 58 | 90..=107));
    assert_eq!(coloured, None::<&u32>, "{output:?}");
    assert!(codes.contains(&7), "reverse is there");
}

#[test]
fn a_suspension_nobody_can_undo_is_none() {
    let engine = Engine::start(fixture::soaking());
    let mut pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    pty.send(b"\x1a");
    pty.until("not suspended");
    pty.until("CANARY 25%");
}

#[test]
fn a_lost_engine_is_told_and_found_again() {
    let engine = Engine::start(fixture::soaking());
    let pty = Pty::start(&engine, SIZE, &[]);
    pty.until("CANARY 25%");
    let engine = engine.restart(|| pty.until("STALE since 12:03:42"));
    pty.until_gone("STALE");
    assert_eq!(engine.commands(), []);
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let engine = Engine::start(fixture::idle());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wheelhouse"))
        .arg("--config")
        .arg(engine.config())
        .env("TERM", "dumb")
        .output()
        .expect("it can be run");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("wheelhouse watch"), "{said}");
}
