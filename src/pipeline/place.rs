//! Where the files of runs are: work trees, outputs, mirrors of repositories; and what is removed
//! of them. Blocks on the file system.

use super::output;
use crate::model::{RunId, StageName};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Newest runs whose output is kept.
pub const RUNS_WITH_OUTPUT: usize = 200;
/// A mirror that no run used for so long is removed; the next run makes it anew.
const MIRROR_IDLE: Duration = Duration::from_secs(60 * 24 * 3_600);

/// The directory of everything.
#[derive(Debug, Clone)]
pub(super) struct Place {
    directory: PathBuf,
}

impl Place {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn all_runs(&self) -> PathBuf {
        self.directory.join("runs")
    }

    /// The runs of which there is something.
    pub(super) fn runs(&self) -> Vec<RunId> {
        runs_in(&self.all_runs())
    }

    fn mirrors(&self) -> PathBuf {
        self.directory.join("mirrors")
    }

    /// Everything of a run.
    pub(super) fn run(&self, run: RunId) -> PathBuf {
        self.all_runs().join(run.to_string())
    }

    /// Its work tree.
    pub(super) fn tree(&self, run: RunId) -> PathBuf {
        self.run(run).join("tree")
    }

    /// The file that whatever works for a stage of a run has locked.
    pub(super) fn lock(&self, run: RunId, stage: &StageName) -> PathBuf {
        self.run(run).join(format!("{stage}.lock"))
    }

    /// The output of an attempt.
    pub(super) fn output(&self, run: RunId, stage: &StageName, attempt: u32) -> PathBuf {
        self.run(run).join(format!("{stage}.{attempt}.log"))
    }

    /// What an attempt hands on.
    pub(super) fn values(&self, run: RunId, stage: &StageName, attempt: u32) -> PathBuf {
        self.run(run).join(format!("{stage}.{attempt}.values"))
    }

    /// The mirror of a repository.
    pub(super) fn mirror(&self, repository: &str) -> PathBuf {
        let digest = Sha256::digest(repository.as_bytes());
        let name: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.mirrors().join(format!("{name}.git"))
    }

    /// Makes the directories of a run, for their owner only.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub(super) fn make(&self, run: RunId) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.mirrors())?;
        builder.create(self.run(run))
    }

    /// Removes the work trees of those of these runs that are not kept, the outputs of all but the newest
    /// [`RUNS_WITH_OUTPUT`] runs, and mirrors that are long unused; compresses what a crash left.
    pub(super) fn tidy(&self, mut runs: Vec<RunId>, keep: &BTreeSet<RunId>) {
        // UUIDv7 begin with their time.
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.0));
        for (index, run) in runs.iter().enumerate() {
            if keep.contains(run) {
                continue;
            }
            let told = match index < RUNS_WITH_OUTPUT {
                true => self.strip(*run),
                false => remove(&self.run(*run)),
            };
            if let Err(error) = told {
                let path = self.run(*run);
                let path = path.display();
                tracing::warn!(%path, %error, "an old run cannot be removed; see whose files it holds");
            }
        }
        self.tidy_mirrors();
    }

    /// Leaves of a run only its outputs.
    fn strip(&self, run: RunId) -> io::Result<()> {
        let directory = self.run(run);
        remove(&self.tree(run))?;
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("log") => output::compress(&path)?,
                Some("values" | "lock" | "iid") => fs::remove_file(&path)?,
                // Logins of a stage whose engine was killed.
                Some("docker") => remove(&path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn tidy_mirrors(&self) {
        let Ok(entries) = fs::read_dir(self.mirrors()) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let used = fs::metadata(path.join("used")).and_then(|meta| meta.modified());
            let Ok(used) = used else {
                continue;
            };
            let idle = SystemTime::now().duration_since(used).unwrap_or_default();
            if idle < MIRROR_IDLE {
                continue;
            }
            if let Err(error) = remove(&path) {
                let path = path.display();
                tracing::warn!(%path, %error, "an unused mirror cannot be removed");
            }
        }
    }
}

fn runs_in(directory: &Path) -> Vec<RunId> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let of = |entry: fs::DirEntry| Uuid::parse_str(entry.file_name().to_str()?).ok().map(RunId);
    entries.flatten().filter_map(of).collect()
}

/// Removes a directory with all that is in it, also directories that were made read-only, as some
/// package managers leave them. One that is not there is removed.
///
/// # Errors
/// When something of it belongs to somebody else.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(directory);
            fs::remove_dir_all(directory)
        }
        other => other,
    }
}

/// Makes every directory below one writable for its owner, as far as that can be done.
fn make_writable(directory: &Path) {
    let mut next = vec![directory.to_owned()];
    while let Some(directory) = next.pop() {
        // What cannot be changed shows when it is removed.
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        next.extend(
            entries
                .flatten()
                .filter(is_directory)
                .map(|entry| entry.path()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_runs_lose_their_trees_then_their_outputs_and_open_ones_lose_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::new(directory.path().to_owned());
        let stage: StageName = "test".parse().expect("a name");
        let runs: Vec<RunId> = (0..RUNS_WITH_OUTPUT as u128 + 2)
            .map(|n| RunId(Uuid::from_u128(0x0190_0000 << 96 | n)))
            .collect();
        for run in &runs {
            place.make(*run).expect("made");
            let closed = place.tree(*run).join("cache");
            fs::create_dir_all(&closed).expect("made");
            fs::write(closed.join("file"), "x").expect("written");
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
            fs::write(place.output(*run, &stage, 1), "1 a line\n").expect("written");
            fs::write(place.values(*run, &stage, 1), "a=b").expect("written");
            fs::create_dir(place.run(*run).join("push.docker")).expect("made");
        }
        let open = runs[0];
        place.tidy(place.runs(), &[open].into());
        assert!(place.tree(open).exists() && place.values(open, &stage, 1).exists());
        assert!(!place.run(runs[1]).exists(), "the oldest one that is over");
        let newest = runs[RUNS_WITH_OUTPUT + 1];
        assert!(!place.tree(newest).exists());
        let left: Vec<_> = fs::read_dir(place.run(newest))
            .expect("listed")
            .flatten()
            .collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let page = output::page(&place.output(newest, &stage, 1), 0).expect("readable");
        assert_eq!(page.expect("kept").lines[0].as_str(), "a line");
        place.tidy(place.runs(), &BTreeSet::new());
        assert!(!place.tree(open).exists());
    }

    #[test]
    fn a_mirror_has_one_place_per_repository() {
        let place = Place::new("/state".into());
        assert_eq!(place.mirror("/a"), place.mirror("/a"));
        assert_ne!(place.mirror("/a"), place.mirror("/b"));
    }
}
