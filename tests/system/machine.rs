//! A machine's directories below a temporary one, with a system engine in them.

use crate::support::{Background, PROGRAM, Said, eventually, free_ports, said, shop};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub struct Machine {
    pub dir: TempDir,
}

impl Machine {
    /// With the shop and this behind it in the system's configuration.
    pub fn with(more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("opened");
        let machine = Self { dir };
        for made in [machine.etc(), machine.run_dir().join("..")] {
            std::fs::create_dir_all(made).expect("made");
        }
        machine.configure(&format!("{}{more}", shop(free_ports(5))));
        machine
    }

    pub fn etc(&self) -> PathBuf {
        self.dir.path().join("etc/wheelhouse")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run/wheelhouse")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state/wheelhouse")
    }

    pub fn config(&self) -> PathBuf {
        self.etc().join("config.toml")
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).expect("written");
    }

    pub fn configured(&self) -> String {
        std::fs::read_to_string(self.config()).expect("readable")
    }

    /// A command in this machine's environment, as systemd would set it.
    pub fn set(&self, command: &mut Command) {
        command
            .env("CONFIGURATION_DIRECTORY", self.etc())
            .env("RUNTIME_DIRECTORY", self.run_dir())
            .env("STATE_DIRECTORY", self.state())
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.dir.path().join("none"))
            .env_remove("WHEELHOUSE_CONFIG")
            .env_remove("NOTIFY_SOCKET")
            .current_dir("/")
            .stdin(Stdio::null());
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        self.set(&mut command);
        command
    }

    /// Runs it as this test's user.
    pub fn run(&self, args: &[&str]) -> Said {
        said(&mut self.command(args))
    }

    pub fn spawn(&self, command: &mut Command) -> Background {
        let log = std::fs::File::create(self.dir.path().join("engine.log")).expect("created");
        command.stdout(Stdio::null()).stderr(log);
        Background(command.spawn().expect("it starts"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("engine.log")).unwrap_or_default()
    }

    /// An engine, found by its file alone.
    pub fn engine(&self) -> Background {
        let mut engine = self.spawn(&mut self.command(&["engine", "run", "--system"]));
        self.has_engine(&mut engine);
        engine
    }

    pub fn has_engine(&self, engine: &mut Background) {
        eventually("the engine answers", || {
            if let Ok(Some(ended)) = engine.0.try_wait() {
                panic!("the engine ended: {ended}: {}", self.log());
            }
            (self.run(&["engine", "status"]).code == 0).then_some(())
        });
    }
}

/// Whether other users can be played: only root can.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says loudly that a test was not run, or fails where that may not be.
pub fn skip(why: &str) {
    let strict = ["CI", "WHEELHOUSE_TESTS_STRICT"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    assert!(!strict, "cannot be skipped here: {why}");
    eprintln!("SKIPPED: {why}");
}
