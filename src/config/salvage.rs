//! Where the engine lives although its configuration is not valid: an abort must find it.

use super::search;
use std::path::{Path, PathBuf};

/// The state directory that these files seem to name, else the user's own. Reads nothing but lines
/// of the form `state_dir = "..."`, so it works on files that are no TOML.
pub fn state_dir_as_written(paths: &[PathBuf]) -> Option<PathBuf> {
    let named = paths.iter().rev().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        let dir = named_in(&text)?;
        let beside = path.parent().unwrap_or(Path::new(""));
        Some(beside.join(dir))
    });
    named.or_else(search::default_state_dir)
}

fn named_in(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let table: toml::Table = line
            .trim_start()
            .starts_with("state_dir")
            .then(|| line.parse().ok())??;
        table.get("state_dir")?.as_str().map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_still_names_its_directory() {
        let text = "[canary\nsteps = oops\n\n  state_dir = \"/srv/wheelhouse\"\n";
        assert_eq!(named_in(text), Some("/srv/wheelhouse".into()));
        assert_eq!(named_in("state_dir = 7\n"), None);
        assert_eq!(named_in("# state_dir = \"x\"\n"), None);
    }

    #[test]
    fn a_relative_directory_begins_at_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("wheelhouse.toml");
        std::fs::write(&file, "state_dir = \"state\"\nfoo").expect("written");
        let found = state_dir_as_written(&[file]);
        assert_eq!(found, Some(dir.path().join("state")));
    }
}
