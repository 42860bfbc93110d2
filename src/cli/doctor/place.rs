//! Files and directories of our own: the configuration, the state directory, the history in it,
//! and room on its disk.

use super::finding::{Finding, Subject, size};
use crate::config::{Home, Loaded, Ownership};
use crate::history::{HistoryError, HistoryReader, sentence};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// With less the engine will soon be unable to record, and then to go forward.
const DISK_BAD_BYTES: u64 = 64 << 20;
/// With less somebody should look.
const DISK_LOW_BYTES: u64 = 1 << 30;

/// The files, and what their reader warns of.
pub(super) fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let subject = Subject::new("configuration", "configuration");
    let files = loaded.paths.iter().map(|path| {
        let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777);
        let mode = mode.map_or_else(|_| "?".to_owned(), |mode| format!("{mode:o}"));
        subject.ok(&format!("{} mode {mode}", path.display()))
    });
    let warnings = loaded.warnings.iter().map(|warning| {
        let text = warning.to_string();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        subject.part("warning").note(&lines.join("; "))
    });
    files.chain(warnings).collect()
}

/// The state directory with what is in it.
pub(super) fn state(home: &Home) -> Vec<Finding> {
    let dir = &home.state_dir;
    let subject = Subject::new("state_directory", "state directory");
    let owner = std::fs::symlink_metadata(dir).map(|meta| meta.uid());
    let is_others = owner.is_ok_and(|uid| uid != rustix::process::getuid().as_raw());
    if home.ownership == Ownership::System && is_others {
        let text = format!(
            "{} belongs to the engine's own user, as it should; run doctor as that user to look \
             into it",
            dir.display()
        );
        return vec![subject.ok(&text), disk(dir)];
    }
    vec![directory(&subject, dir), history(dir), disk(dir)]
}

fn directory(subject: &Subject, dir: &Path) -> Finding {
    let Ok(meta) = std::fs::symlink_metadata(dir) else {
        let text = format!("{} will be made at the first start", dir.display());
        return subject.ok(&text);
    };
    let mode = meta.permissions().mode() & 0o777;
    let mine = meta.uid() == rustix::process::getuid().as_raw();
    let text = format!("{} mode {mode:o}", dir.display());
    match (mine, mode & 0o077) {
        (true, 0) => subject.ok(&text),
        (true, _) => subject.bad(&format!("{text}; chmod 700 it")),
        (false, _) => subject.bad(&format!("{text} is not yours; set state_dir")),
    }
}

/// What an engine reads when it starts; `history verify` reads all of it.
fn history(dir: &Path) -> Finding {
    let subject = Subject::new("history", "history");
    let newest = HistoryReader::open(dir).and_then(|reader| reader.newest());
    match newest {
        Ok((state, tail)) => {
            let checkpoint = state.map_or(0, |state| state.seq);
            let last = tail.last().map_or(checkpoint, |record| record.seq);
            subject.ok(&format!(
                "{last} records, the chain of the newest {} holds",
                tail.len()
            ))
        }
        Err(HistoryError::Missing { .. }) => subject.ok("nothing was recorded yet"),
        Err(error) => subject.bad(sentence(&error).as_str()),
    }
}

fn disk(dir: &Path) -> Finding {
    let subject = Subject::new("disk", "disk");
    let there = dir.ancestors().find(|part| part.exists());
    let there = there.unwrap_or(Path::new("/"));
    let free = match rustix::fs::statvfs(there) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => return subject.bad(&format!("{}: {error}; look at it", there.display())),
    };
    let text = format!("{} free at {}", size(free), there.display());
    match free {
        0..DISK_BAD_BYTES => subject.bad(&format!(
            "{text}; free some: without room nothing is recorded, and nothing goes forward"
        )),
        DISK_BAD_BYTES..DISK_LOW_BYTES => subject.note(&format!("{text}; it is getting full")),
        _ => subject.ok(&text),
    }
}
