//! Whether a program that instances are begun with is still there. The host runs on this machine,
//! so its files are looked at from here.

use crate::model::service::Workload;
use crate::model::{Clean, Stock};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How a workload's program stands.
pub(super) fn stock(workload: &Workload) -> Stock {
    let Some(program) = workload.command.first() else {
        return Stock::unknown("the release has no command");
    };
    if program.contains('{') {
        return Stock::unknown("its program differs by instance");
    }
    let path = Path::new(program);
    if path.is_absolute() {
        return at(path);
    }
    match &workload.directory {
        Some(directory) if program.contains('/') => at(&Path::new(directory).join(path)),
        None if program.contains('/') => Stock::unknown("its path is relative to the host's own"),
        _ => on_the_path(program, workload),
    }
}

/// As the system looks a program up: in the directories of its `PATH`.
fn on_the_path(program: &str, workload: &Workload) -> Stock {
    let set = workload.env.get("PATH").map(Into::into);
    let path = set.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory: PathBuf| directory.join(program));
    match places.any(|place| at(&place) == Stock::Here) {
        true => Stock::Here,
        false => gone(&format!("{program} is in no directory of the PATH")),
    }
}

fn at(path: &Path) -> Stock {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Stock::Here,
        Ok(_) => gone(&format!("{shown} is no program that could be run")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            gone(&format!("{shown} is not there"))
        }
        Err(error) => Stock::unknown(&format!("{shown}: {error}")),
    }
}

fn gone(why: &str) -> Stock {
    Stock::Gone {
        why: Clean::new(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn of(program: &str, directory: Option<&Path>) -> Stock {
        stock(&Workload {
            command: vec![program.to_owned()],
            env: BTreeMap::new(),
            directory: directory.map(|path| path.display().to_string()),
            stop_grace_ms: 1_000,
            quiet: None,
            container: None,
        })
    }

    #[test]
    fn a_program_is_there_or_gone() {
        let kept = tempfile::tempdir().expect("a directory");
        let path = kept.path().join("shop");
        let shown = path.display().to_string();
        assert!(matches!(of(&shown, None), Stock::Gone { .. }));
        std::fs::write(&path, "#!/bin/sh\n").expect("written");
        assert!(matches!(of(&shown, None), Stock::Gone { .. }), "no program");
        let runs = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, runs).expect("its mode");
        assert_eq!(of(&shown, None), Stock::Here);
        assert_eq!(of("./shop", Some(kept.path())), Stock::Here);
        assert_eq!(of("sh", None), Stock::Here);
        assert!(matches!(of("no-such-program-1", None), Stock::Gone { .. }));
        for unclear in ["./shop", "/srv/{server}/shop"] {
            assert!(matches!(of(unclear, None), Stock::Unknown { .. }));
        }
    }
}
