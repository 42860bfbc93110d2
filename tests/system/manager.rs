//! What systemd is told, and the unit it starts the engine with.

use crate::machine::{Machine, skip};
use crate::support::{PATIENCE, eventually};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn listens(machine: &Machine, command: &mut Command) -> Self {
        let path = machine.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        command.env("NOTIFY_SOCKET", path);
        Self { socket }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 512];
        let n = self.socket.recv(&mut buffer).expect("told in time");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    fn hears_of(&self, wanted: &str) {
        while self.hears() != wanted {}
    }
}

#[test]
fn systemd_hears_that_it_is_ready_how_it_stands_that_it_turns_and_that_it_ends() {
    let machine = Machine::with("");
    let mut command = machine.command(&["engine", "run", "--system"]);
    let systemd = Systemd::listens(&machine, &mut command);
    command.env("WATCHDOG_USEC", "300000");
    let mut engine = machine.spawn(&mut command);
    assert_eq!(systemd.hears(), "READY=1");
    // Ready means ready: the first command after it finds the engine.
    machine.run(&["engine", "status"]).must(0);
    systemd.hears_of("STATUS=1 placements, 0 open rollouts");
    (0..3).for_each(|_| systemd.hears_of("WATCHDOG=1"));
    engine.signal(rustix::process::Signal::TERM);
    systemd.hears_of("STOPPING=1");
    assert!(engine.ends().success());
}

#[test]
fn a_frozen_engine_pings_no_more() {
    let machine = Machine::with("");
    let mut command = machine.command(&["engine", "run", "--system"]);
    let systemd = Systemd::listens(&machine, &mut command);
    command.env("WATCHDOG_USEC", "90000");
    let engine = machine.spawn(&mut command);
    systemd.hears_of("WATCHDOG=1");
    engine.signal(rustix::process::Signal::STOP);
    let pause = Duration::from_millis(400);
    systemd.socket.set_read_timeout(Some(pause)).expect("set");
    let mut buffer = [0; 512];
    // What was sent before it froze is still to be read; then nothing comes for many periods.
    eventually("silence", || {
        systemd.socket.recv(&mut buffer).is_err().then_some(())
    });
    engine.signal(rustix::process::Signal::CONT);
    systemd
        .socket
        .set_read_timeout(Some(PATIENCE))
        .expect("set");
    systemd.hears_of("WATCHDOG=1");
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let machine = Machine::with("");
    let mut command = machine.command(&["engine", "run", "--system"]);
    let systemd = Systemd::listens(&machine, &mut command);
    command
        .env("WATCHDOG_USEC", "90000")
        .env("WATCHDOG_PID", "1");
    let mut engine = machine.spawn(&mut command);
    assert_eq!(systemd.hears(), "READY=1");
    engine.signal(rustix::process::Signal::TERM);
    let mut all = Vec::new();
    while all.last().is_none_or(|text| text != "STOPPING=1") {
        all.push(systemd.hears());
    }
    assert!(!all.iter().any(|text| text == "WATCHDOG=1"), "{all:?}");
    engine.ends();
}

#[test]
fn the_unit_is_one_that_systemd_takes_without_a_word() {
    let machine = Machine::with("");
    let unit = machine.run(&["engine", "unit"]).must(0).out;
    let lines: Vec<_> = unit.lines().collect();
    for wanted in [
        "Type=notify",
        "User=wheelhouse",
        "WatchdogSec=30s",
        "Restart=always",
        "RuntimeDirectory=wheelhouse",
        "StateDirectory=wheelhouse",
        "ConfigurationDirectory=wheelhouse",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "MemoryDenyWriteExecute=yes",
        "CapabilityBoundingSet=",
        "LimitCORE=0",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ] {
        assert!(lines.contains(&wanted), "{wanted} in {unit}");
    }
    let started = lines.iter().find(|line| line.starts_with("ExecStart="));
    let started = started.expect("it starts something");
    assert!(
        started.ends_with("/wheelhouse engine run --system"),
        "{started}"
    );
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("systemd-analyze is not installed");
    }
    let file = machine.dir.path().join("wheelhouse.service");
    // The user is made when the package is installed; the check must not depend on it.
    let user = rustix::process::geteuid().as_raw().to_string();
    let here = unit.replace("=wheelhouse\nGroup=wheelhouse", &format!("={user}"));
    std::fs::write(&file, here).expect("written");
    let checked = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output();
    let checked = checked.expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    // Other units of this machine may have faults of their own.
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("wheelhouse"))
        .collect();
    assert!(checked.status.success() && ours.is_empty(), "{said}");
}
