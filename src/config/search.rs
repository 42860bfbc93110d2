//! Which files make up the configuration where nobody says so, and where the state lives where the
//! configuration does not say. The only part that looks at the process's surroundings.

use super::errors::{ConfigError, ConfigErrors};
use directories::BaseDirs;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The environment variable that names the files, separated by `:`.
pub const VARIABLE: &str = "WHEELHOUSE_CONFIG";

/// The file in the working directory.
pub const LOCAL_FILE: &str = "wheelhouse.toml";

/// The system's file. Where it exists, the engine is the system's too.
pub const SYSTEM_FILE: &str = "/etc/wheelhouse/config.toml";

/// The files to load: those named with `--config`, else those that `WHEELHOUSE_CONFIG` names, else
/// the first that exists of `./wheelhouse.toml`, `~/.config/wheelhouse/config.toml` and
/// `/etc/wheelhouse/config.toml`.
///
/// # Errors
/// When none is named and none exists; the text says where it was looked for.
pub fn paths(explicit: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigErrors> {
    let user = BaseDirs::new().map(|dirs| dirs.config_dir().join("wheelhouse/config.toml"));
    let candidates: Vec<PathBuf> = std::iter::once(PathBuf::from(LOCAL_FILE))
        .chain(user)
        .chain(std::iter::once(super::system::system_file()))
        .collect();
    // A link that leads nowhere must be found too, and then complain; so no `exists`.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    choose(explicit, std::env::var_os(VARIABLE), &candidates, is_there)
}

fn choose(
    explicit: &[PathBuf],
    variable: Option<OsString>,
    candidates: &[PathBuf],
    is_there: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, ConfigErrors> {
    if !explicit.is_empty() {
        return Ok(explicit.to_vec());
    }
    let named: Vec<PathBuf> = variable
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    if let Some(found) = candidates.iter().find(|path| is_there(path)) {
        return Ok(vec![found.clone()]);
    }
    let looked: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let what = format!("no configuration was found at {}", looked.join(", "));
    let mend = format!("write one, or name it with --config or {VARIABLE}");
    let first = candidates
        .first()
        .map_or(Path::new(LOCAL_FILE), |path| path);
    Err(ConfigError::of_file(first, what, mend).into())
}

/// Where the state lives by default: `wheelhouse` in the user's state directory.
pub(super) fn default_state_dir() -> Option<PathBuf> {
    let dirs = BaseDirs::new()?;
    let state = dirs.state_dir().unwrap_or(dirs.data_local_dir());
    Some(state.join("wheelhouse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(explicit: &[&str], variable: Option<&str>, there: &[&str]) -> Option<Vec<PathBuf>> {
        let explicit: Vec<PathBuf> = explicit.iter().map(PathBuf::from).collect();
        let candidates = [PathBuf::from("local"), PathBuf::from("user")];
        let is_there = |path: &Path| there.iter().any(|t| Path::new(t) == path);
        choose(
            &explicit,
            variable.map(OsString::from),
            &candidates,
            is_there,
        )
        .ok()
    }

    #[test]
    fn what_is_said_goes_before_what_is_found() {
        let both = ["local", "user"];
        let path = |text: &str| Some(vec![PathBuf::from(text)]);
        assert_eq!(chosen(&["a"], Some("b"), &both), path("a"));
        assert_eq!(chosen(&[], Some("b"), &both), path("b"));
        assert_eq!(chosen(&[], Some(""), &both), path("local"));
        assert_eq!(chosen(&[], None, &["user"]), path("user"));
        assert_eq!(chosen(&[], None, &[]), None);
        let two = Some(vec![PathBuf::from("b"), PathBuf::from("c")]);
        assert_eq!(chosen(&[], Some("b:c"), &[]), two);
    }

    #[test]
    fn a_search_in_vain_says_where_it_looked() {
        let candidates = [PathBuf::from("local"), PathBuf::from("user")];
        let error = choose(&[], None, &candidates, |_| false).expect_err("nothing is there");
        let text = error.to_string();
        assert!(text.contains("local, user"), "{text}");
        assert!(text.contains("--config"), "{text}");
    }
}
