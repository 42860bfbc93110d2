//! Where a system engine lives, and whether a configuration belongs to one.
//!
//! systemd hands the engine its directories in `RUNTIME_DIRECTORY`, `STATE_DIRECTORY` and
//! `CONFIGURATION_DIRECTORY`. They count only where the directory is called `wheelhouse`: a
//! command started from within another service's unit inherits that unit's.

use super::search::SYSTEM_FILE;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The name of the system engine's directories and of its user.
const NAME: &str = "wheelhouse";

/// Its socket's directory.
const RUNTIME: &str = "/run/wheelhouse";

/// Its history's directory.
const STATE: &str = "/var/lib/wheelhouse";

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// One user's own.
    Personal,
    /// The machine's, for whoever its `[roles]` name.
    System,
}

/// Where an engine lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Whose it is.
    pub ownership: Ownership,
    /// Its history and lock.
    pub state_dir: PathBuf,
    /// Its socket.
    pub socket_dir: PathBuf,
}

/// The system engine's configuration. Where it is there, the console starts no engine.
pub fn system_file() -> PathBuf {
    given("CONFIGURATION_DIRECTORY")
        .map_or_else(|| PathBuf::from(SYSTEM_FILE), |dir| dir.join("config.toml"))
}

/// The file beside it that bounds all others.
pub fn policy_file() -> PathBuf {
    system_file().with_file_name("policy.toml")
}

/// Whose engine runs with these files.
pub fn ownership(paths: &[PathBuf]) -> Ownership {
    let system = system_file();
    let is_system = |path: &Path| std::path::absolute(path).is_ok_and(|path| path == system);
    match paths.iter().any(|path| is_system(path)) {
        true => Ownership::System,
        false => Ownership::Personal,
    }
}

/// Where the system engine keeps its history, unless its configuration says otherwise.
pub(super) fn state_dir() -> PathBuf {
    given("STATE_DIRECTORY").unwrap_or_else(|| PathBuf::from(STATE))
}

/// Where the system engine listens.
pub fn runtime_dir() -> PathBuf {
    given("RUNTIME_DIRECTORY").unwrap_or_else(|| PathBuf::from(RUNTIME))
}

fn given(variable: &str) -> Option<PathBuf> {
    ours(&env::var_os(variable)?)
}

/// The first of the directories, separated by `:`, that bears our name.
fn ours(directories: &OsStr) -> Option<PathBuf> {
    env::split_paths(directories)
        .find(|dir| dir.is_absolute() && dir.file_name() == Some(OsStr::new(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_bear_our_name_count() {
        let found = |text: &str| ours(OsStr::new(text));
        let dir = |text: &str| Some(PathBuf::from(text));
        assert_eq!(found("/run/wheelhouse"), dir("/run/wheelhouse"));
        assert_eq!(found("/run/ci:/tmp/x/wheelhouse"), dir("/tmp/x/wheelhouse"));
        assert_eq!(found("/run/github-runner"), None);
        assert_eq!(found("wheelhouse"), None, "relative to nobody knows what");
        assert_eq!(found(""), None);
    }

    #[test]
    fn the_system_file_among_others_makes_it_the_systems() {
        let paths = |list: &[&str]| -> Vec<PathBuf> { list.iter().map(PathBuf::from).collect() };
        let system = system_file();
        let of = |list: &[&str]| ownership(&paths(list));
        assert_eq!(of(&["wheelhouse.toml"]), Ownership::Personal);
        assert_eq!(
            ownership(&[PathBuf::from("a.toml"), system]),
            Ownership::System
        );
        assert_eq!(of(&["/etc/wheelhouse/other.toml"]), Ownership::Personal);
    }
}
