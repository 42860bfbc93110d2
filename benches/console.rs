//! The console from outside, through a pseudo-terminal, beside another terminal program in the
//! same run: first paint, what an idle screen costs, how soon a key shows.
//!
//! `cargo bench --bench console` compares with `btm` (bottom) where that is installed
//! (`cargo install bottom`); `cargo bench --bench console -- PROGRAM [ARGS]` with any other.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");
const SIZE: PtySize = PtySize {
    rows: 40,
    cols: 120,
    pixel_width: 0,
    pixel_height: 0,
};
const ROUNDS: usize = 3;
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);
const KEYS: usize = 100;
/// Between two keys; the product of two primes, so that no tick of a program is hit in step.
const GAP: Duration = Duration::from_millis(77);
/// Silence that ends a reply.
const QUIET: Duration = Duration::from_millis(15);
/// Bytes that count as the first painted screen.
const PAINTED: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let peer = match arguments.is_empty() {
        true => vec!["btm".to_owned()],
        false => arguments,
    };
    let stage = Stage::set();
    let console = vec![
        PROGRAM.to_owned(),
        "--config".to_owned(),
        stage.config.display().to_string(),
    ];
    let has_peer = Command::new(&peer[0])
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    println!("120x40, medians of {ROUNDS} alternating rounds, {KEYS} keys each");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(measure(&console, [b"\t", b"\x1b[Z"]));
        if has_peer {
            theirs.push(measure(&peer, [b"\x1b[B", b"\x1b[A"]));
        }
    }
    let ours = Figures::median(&ours);
    ours.print("wheelhouse");
    if has_peer {
        let theirs = Figures::median(&theirs);
        theirs.print(&peer[0]);
        println!(
            "ratios            first paint {:.2}   key p50 {:.2}",
            ours.first_paint_ms / theirs.first_paint_ms,
            ours.key_ms / theirs.key_ms,
        );
    } else {
        println!("{} is not installed: nothing to compare with", peer[0]);
    }
}

/// A host and an engine with one healthy service and no open rollout.
struct Stage {
    _dir: tempfile::TempDir,
    config: std::path::PathBuf,
    host: std::process::Child,
    engine: std::process::Child,
}

impl Stage {
    fn set() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("wheelhouse.toml");
        let text = format!(
            "state_dir = \"state\"\n[service.web]\ncommand = [{PROGRAM:?}, \"demo-service\", \
             \"--address\", \"{{address}}\", \"--version\", \"{{version}}\"]\nlisten = {}\n\
             [canary]\nsoak = \"1s\"\nmin_requests = 1\n[analysis]\ninterval = \"1s\"\n",
            free_ports(5)
        );
        std::fs::write(&config, text).expect("written");
        let run = |arguments: &[&str]| {
            command(&config, arguments)
                .spawn()
                .expect("the product starts")
        };
        let (host, engine) = (run(&["host"]), run(&["engine", "run"]));
        let stage = Self {
            _dir: dir,
            config,
            host,
            engine,
        };
        stage.until_accepted(&["deploy", "web", "v1", "-e", "dev"]);
        stage.until_accepted(&["promote", "web", "-e", "dev", "--full"]);
        stage.until_accepted(&["wait", "1"]);
        stage
    }

    /// Asks again until the product is ready to do it.
    fn until_accepted(&self, arguments: &[&str]) {
        let began = Instant::now();
        while !command(&self.config, arguments)
            .status()
            .is_ok_and(|status| status.success())
        {
            assert!(began.elapsed() < Duration::from_secs(30), "{arguments:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in [&mut self.engine, &mut self.host] {
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The first of so many ports in a row that nobody listens on.
fn free_ports(count: u16) -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (21_000..60_000)
        .step_by(usize::from(count))
        .find(|first| (0..count).all(|n| free(first + n)))
        .expect("free ports")
}

/// What one round found.
#[derive(Clone, Copy)]
struct Figures {
    first_byte_ms: f64,
    first_paint_ms: f64,
    idle_bytes_per_s: f64,
    idle_cpu_percent: f64,
    key_ms: f64,
    key_p99_ms: f64,
    bytes_per_key: f64,
}

impl Figures {
    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            first_byte_ms: of(|f| f.first_byte_ms),
            first_paint_ms: of(|f| f.first_paint_ms),
            idle_bytes_per_s: of(|f| f.idle_bytes_per_s),
            idle_cpu_percent: of(|f| f.idle_cpu_percent),
            key_ms: of(|f| f.key_ms),
            key_p99_ms: of(|f| f.key_p99_ms),
            bytes_per_key: of(|f| f.bytes_per_key),
        }
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<12} first byte {:6.1} ms   first paint {:6.1} ms   idle {:7.1} B/s {:5.2} % \
             CPU   key p50 {:6.2} ms p99 {:6.2} ms, {:5.0} B",
            self.first_byte_ms,
            self.first_paint_ms,
            self.idle_bytes_per_s,
            self.idle_cpu_percent,
            self.key_ms,
            self.key_p99_ms,
            self.bytes_per_key
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50)
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Plays the script against a program; the keys are two that move its selection there and back.
fn measure(program: &[String], keys: [&[u8]; 2]) -> Figures {
    let mut screen = Screen::start(program);
    let (first_byte_ms, first_paint_ms) = screen.first_paint();
    screen.read_for(SETTLE);
    let cpu_before = screen.cpu_ms();
    let idle_bytes = screen.read_for(IDLE);
    let cpu_ms = screen.cpu_ms() - cpu_before;
    let (mut delays, mut bytes) = (Vec::new(), Vec::new());
    for n in 0..KEYS {
        if let Some((delay_ms, count)) = screen.press(keys[n % 2]) {
            delays.push(delay_ms);
            bytes.push(count as f64);
        }
        screen.read_for(GAP);
    }
    screen.end();
    Figures {
        first_byte_ms,
        first_paint_ms,
        idle_bytes_per_s: idle_bytes as f64 / IDLE.as_secs_f64(),
        idle_cpu_percent: cpu_ms / IDLE.as_secs_f64() / 10.0,
        key_ms: percentile(&mut delays, 50),
        key_p99_ms: percentile(&mut delays, 99),
        bytes_per_key: median(bytes),
    }
}

/// A program on a pseudo-terminal.
struct Screen {
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
    input: Box<dyn Write + Send>,
    output: Receiver<(Instant, usize)>,
    started: Instant,
}

impl Screen {
    fn start(program: &[String]) -> Self {
        let pair = native_pty_system().openpty(SIZE).expect("a terminal");
        let mut command = CommandBuilder::new(&program[0]);
        command.args(&program[1..]);
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env_remove("SSH_CONNECTION");
        command.env_remove("SSH_TTY");
        let started = Instant::now();
        let child = pair.slave.spawn_command(command).expect("it starts");
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let input = pair.master.take_writer().expect("a writer");
        let (told, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 65_536];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if told.send((Instant::now(), count)).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            _master: pair.master,
            input,
            output,
            started,
        }
    }

    /// From start to the first byte, and to the first painted screen, in ms.
    fn first_paint(&self) -> (f64, f64) {
        let (mut first, mut count) = (None, 0);
        loop {
            let (at, bytes) = self
                .output
                .recv_timeout(Duration::from_secs(10))
                .expect("the program paints");
            let ms = (at - self.started).as_secs_f64() * 1_000.0;
            first.get_or_insert(ms);
            count += bytes;
            if count >= PAINTED {
                return (first.unwrap_or(ms), ms);
            }
        }
    }

    fn read_for(&self, span: Duration) -> usize {
        let until = Instant::now() + span;
        let mut count = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok((_, bytes)) => count += bytes,
                Err(RecvTimeoutError::Timeout) => return count,
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended"),
            }
        }
    }

    /// Presses a key; how long until the first byte of the answer, and all its bytes.
    fn press(&mut self, key: &[u8]) -> Option<(f64, usize)> {
        let pressed = Instant::now();
        self.input.write_all(key).expect("written");
        self.input.flush().expect("flushed");
        let (at, mut count) = self.output.recv_timeout(Duration::from_secs(2)).ok()?;
        while let Ok((_, bytes)) = self.output.recv_timeout(QUIET) {
            count += bytes;
        }
        Some(((at - pressed).as_secs_f64() * 1_000.0, count))
    }

    /// CPU time of the program so far, over all its threads.
    fn cpu_ms(&self) -> f64 {
        let pid = self.child.process_id().expect("it runs");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("readable");
        let ns = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        tasks.flatten().filter_map(ns).sum::<f64>() / 1e6
    }

    fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
