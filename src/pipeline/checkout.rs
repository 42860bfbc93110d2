//! The stage that makes a clean work tree of a commit, and says what is new in it.
//!
//! Of each repository a bare mirror is kept and brought up to date, so that only what is new is
//! fetched; a run's tree borrows its objects from there. Only commits count: what is changed in a
//! repository's own work tree is not seen.

use super::attempt::{Attempt, Failure, Values};
use super::git::{Git, Repository, is_full, must_be_revision};
use super::place::remove;
use super::process::{Ended, Job};
use super::values;
use crate::model::RunId;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Mutex as Turn;

/// Letters of a commit's short name.
const SHORT: usize = 12;

/// Under which names a mirror keeps the commits of runs.
const KEPT_REFS: &str = "refs/wheelhouse/";
/// Old runs that one checkout lets go of at most.
const FORGOTTEN_MAX: usize = 20;

/// Whose turn it is at each mirror.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Mutex<HashMap<PathBuf, Weak<Turn<()>>>>);

impl Mirrors {
    fn turn(&self, mirror: &Path) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(mirror).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::new(()));
        turns.insert(mirror.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

pub(super) async fn run(attempt: &Attempt<'_>, mirrors: &Mirrors) -> Result<Values, Failure> {
    let revision = attempt.call.revision.as_str();
    must_be_revision(revision)?;
    let checkout = Checkout {
        git: Git::new(attempt),
        repository: Repository::parse(&attempt.call.repository)?,
        mirror: attempt.place.mirror(&attempt.call.repository),
        attempt,
    };
    checkout.must_be_ours().await?;
    let turn = mirrors.turn(&checkout.mirror);
    let held = attempt.until.during(turn.lock()).await?;
    checkout.bring_up_to_date().await?;
    let commit = checkout.find(revision).await?;
    checkout.make_tree(&commit).await?;
    checkout.forget_old_runs().await?;
    drop(held);
    checkout.values(&commit).await
}

struct Checkout<'a> {
    attempt: &'a Attempt<'a>,
    git: Git<'a>,
    repository: Repository,
    mirror: PathBuf,
}

impl Checkout<'_> {
    /// Git refuses directories of other users, in words that come late; asked for first they are
    /// said with the mend.
    async fn must_be_ours(&self) -> Result<(), Failure> {
        let Repository::Directory(path) = &self.repository else {
            return Ok(());
        };
        let shown = path.display();
        if !path.is_dir() {
            return Err(Failure::Failed(format!(
                "the repository {shown} is no directory on the engine's machine"
            )));
        }
        let answer = self.git.ask(path, &["rev-parse", "--git-dir"]).await?;
        if answer.is_success {
            return Ok(());
        }
        Err(Failure::Failed(
            match answer.complained.contains("dubious ownership") {
                true => format!(
                    "the repository {shown} belongs to another user; if you trust it, run as the \
                 engine's user: git config --global --add safe.directory {shown}"
                ),
                false => format!("{shown} is no git repository: {}", answer.complaint()),
            },
        ))
    }

    async fn bring_up_to_date(&self) -> Result<(), Failure> {
        let mirror = self.mirror.clone();
        if !mirror.join("HEAD").exists() {
            let words = [
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch=none",
            ];
            let mut words: Vec<OsString> = words.map(OsString::from).into();
            words.extend(["--".into(), mirror.clone().into()]);
            let at = self.attempt.place.run(self.attempt.call.run);
            self.attempt.must_run(self.at_mirror(&at, &words)).await?;
        }
        // Tells the tidying that the mirror is in use.
        let marked = std::fs::write(mirror.join("used"), "");
        marked.map_err(|error| format!("the mirror {}: {error}", mirror.display()))?;
        self.attempt
            .say(&format!("fetching {}", self.repository.shown()));
        let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        match self.fetch(&refs, true).await {
            Err(Failure::Failed(_)) if remove_locks(&mirror) > 0 => {
                self.attempt
                    .say("an earlier fetch was killed in the middle; fetching anew");
                self.fetch(&refs, true).await
            }
            fetched => fetched,
        }
    }

    /// A program that changes the mirror: what an earlier engine began there is waited for.
    fn at_mirror(&self, at: &Path, words: &[OsString]) -> Job {
        let mut job = self.git.job(at, words);
        job.lock = self.mirror.with_extension("lock");
        job
    }

    async fn fetch(&self, refs: &[&str], prune: bool) -> Result<(), Failure> {
        let mut words: Vec<OsString> = ["fetch", "--quiet", "--force", "--no-tags"]
            .map(OsString::from)
            .into();
        words.extend([
            "--no-recurse-submodules".into(),
            "--no-write-fetch-head".into(),
        ]);
        if prune {
            words.push("--prune".into());
        }
        words.extend(["--".into(), self.source()]);
        words.extend(refs.iter().map(OsString::from));
        match self.attempt.run(self.at_mirror(&self.mirror, &words)).await {
            Ended::Exit(0) => Ok(()),
            ended => match self.attempt.failure(&ended) {
                // What a fetch did is seen by the next one.
                Failure::Unknown(why) => Err(Failure::Failed(why)),
                failure => Err(failure),
            },
        }
    }

    /// Where to fetch from. A directory is named from the root: the mirror is elsewhere.
    fn source(&self) -> OsString {
        match &self.repository {
            Repository::Directory(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .into(),
            Repository::Remote(_) => self.repository.argument(),
        }
    }

    /// The full name of the commit that is meant. A branch comes before a tag of the same name.
    async fn find(&self, revision: &str) -> Result<String, Failure> {
        let named = [
            format!("refs/heads/{revision}"),
            format!("refs/tags/{revision}"),
            revision.to_owned(),
        ];
        let named = match is_full(revision) {
            true => &named[2..],
            false => &named[..],
        };
        for name in named {
            if let Some(commit) = self.commit(name).await? {
                return Ok(commit);
            }
        }
        let absent = format!("{} has no `{revision}`", self.repository.shown());
        if !is_full(revision) {
            return Err(Failure::Failed(absent));
        }
        // No branch or tag leads to it, but some repositories give it to whoever knows its name.
        let wanted = format!("+{revision}:{}", self.kept_ref());
        match self.fetch(&[&wanted], false).await {
            Err(Failure::Failed(why)) => return Err(Failure::Failed(format!("{absent}: {why}"))),
            fetched => fetched?,
        }
        let found = self.commit(revision).await?;
        found.ok_or(Failure::Failed(absent))
    }

    async fn commit(&self, name: &str) -> Result<Option<String>, Failure> {
        let name = format!("{name}^{{commit}}");
        let words = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &name,
        ];
        let answer = self.git.ask(&self.mirror, &words).await?;
        Ok(answer.line().map(str::to_owned))
    }

    /// Keeps the run's commit in the mirror, whatever becomes of its branch.
    fn kept_ref(&self) -> String {
        format!("{KEPT_REFS}{}", self.attempt.call.run)
    }

    /// Lets go of the commits of runs whose trees are gone. Whoever makes a tree of this mirror has
    /// the turn, so none is in the making.
    async fn forget_old_runs(&self) -> Result<(), Failure> {
        let words = ["for-each-ref", "--format=%(refname)", KEPT_REFS];
        let answer = self.git.ask(&self.mirror, &words).await?;
        let is_gone = |name: &&str| {
            let run = name.strip_prefix(KEPT_REFS);
            let run = run.and_then(|run| run.parse().ok()).map(RunId);
            run.is_none_or(|run| !self.attempt.place.tree(run).exists())
        };
        for name in answer.said.lines().filter(is_gone).take(FORGOTTEN_MAX) {
            self.git
                .ask(&self.mirror, &["update-ref", "-d", name])
                .await?;
        }
        Ok(())
    }

    async fn make_tree(&self, commit: &str) -> Result<(), Failure> {
        let kept = self.kept_ref();
        let words = ["update-ref", &kept, commit];
        let answer = self.git.ask(&self.mirror, &words).await?;
        if !answer.is_success {
            let why = answer.complaint();
            return Err(Failure::Failed(format!(
                "the mirror cannot be written: {why}"
            )));
        }
        let tree = self.attempt.tree();
        let gone = remove(&tree);
        gone.map_err(|error| format!("the old work tree {}: {error}", tree.display()))?;
        let at = self.attempt.place.run(self.attempt.call.run);
        let words = [
            "clone",
            "--quiet",
            "--shared",
            "--no-checkout",
            "--template=",
            "--",
        ];
        let mut words: Vec<OsString> = words.map(OsString::from).into();
        words.extend([self.mirror.clone().into(), tree.clone().into()]);
        self.attempt.must_run(self.git.job(&at, &words)).await?;
        let words = ["checkout", "--quiet", "--force", "--detach", commit];
        let job = self.git.job(&tree, &words.map(OsString::from));
        self.attempt.must_run(job).await?;
        // What a stage fetches or pushes must not go to the mirror.
        let origin = match &self.repository {
            Repository::Directory(_) => self.source().to_string_lossy().into_owned(),
            Repository::Remote(_) => self.repository.shown(),
        };
        self.git
            .ask(&tree, &["remote", "set-url", "origin", &origin])
            .await?;
        self.attempt.say(&format!("checked out {commit}"));
        Ok(())
    }

    async fn values(&self, commit: &str) -> Result<Values, Failure> {
        let words = [
            "show",
            "--no-patch",
            "--no-show-signature",
            "--format=%an%x00%s",
            commit,
        ];
        let answer = self.git.ask(&self.mirror, &words).await?;
        let (author, subject) = answer.said.trim_end().split_once('\0').unwrap_or_default();
        let deployed = self.deployed().await?;
        let base = match &deployed {
            Some(deployed) => deployed.clone(),
            None => self.parent(commit).await?,
        };
        let changed = self.changed(&base, commit).await?;
        let count = match &deployed {
            Some(deployed) => self.count(deployed, commit).await?,
            None => None,
        };
        let pairs = [
            ("commit", commit.to_owned()),
            ("short", short(commit).to_owned()),
            ("author", author.to_owned()),
            ("subject", subject.to_owned()),
            ("files", changed.files.to_string()),
            ("insertions", changed.insertions.to_string()),
            ("deletions", changed.deletions.to_string()),
        ];
        let pairs = pairs
            .into_iter()
            .chain(count.map(|count| ("commits", count)));
        Ok(pairs
            .map(|(name, text)| (name.to_owned(), values::own(&text)))
            .collect())
    }

    /// What is new against a commit or a tree.
    async fn changed(&self, base: &str, commit: &str) -> Result<Changed, Failure> {
        let words = [
            "diff",
            "--shortstat",
            "--no-ext-diff",
            "--no-textconv",
            base,
            commit,
        ];
        let answer = self.git.ask(&self.mirror, &words).await?;
        let changed = Changed::parse(&answer.said);
        self.attempt.say(&format!(
            "{} files, +{} -{} against {}",
            changed.files,
            changed.insertions,
            changed.deletions,
            short(base)
        ));
        Ok(changed)
    }

    /// Commits since the deployed one, where that can be counted.
    async fn count(&self, deployed: &str, commit: &str) -> Result<Option<String>, Failure> {
        let range = format!("{deployed}..{commit}");
        let words = ["rev-list", "--count", "--end-of-options", &range];
        let answer = self.git.ask(&self.mirror, &words).await?;
        let count = answer.line().filter(|line| line.parse::<u64>().is_ok());
        Ok(count.map(str::to_owned))
    }

    /// The commit that was deployed last, where the repository has it.
    async fn deployed(&self) -> Result<Option<String>, Failure> {
        let Some(deployed) = &self.attempt.call.deployed else {
            return Ok(None);
        };
        if must_be_revision(deployed.as_str()).is_err() {
            return Ok(None);
        }
        self.commit(deployed.as_str()).await
    }

    /// The first parent; for a commit without one, the tree without files.
    async fn parent(&self, commit: &str) -> Result<String, Failure> {
        if let Some(parent) = self.commit(&format!("{commit}^1")).await? {
            return Ok(parent);
        }
        let answer = self
            .git
            .ask(&self.mirror, &["hash-object", "-t", "tree", "/dev/null"])
            .await?;
        Ok(answer.line().unwrap_or(commit).to_owned())
    }
}

fn short(commit: &str) -> &str {
    commit.get(..SHORT).unwrap_or(commit)
}

/// What a difference changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Changed {
    files: u64,
    insertions: u64,
    deletions: u64,
}

impl Changed {
    /// ` 3 files changed, 10 insertions(+), 2 deletions(-)`; parts that are none are left out.
    fn parse(said: &str) -> Self {
        let mut changed = Self::default();
        for part in said.trim().split(", ") {
            let (number, what) = part.split_once(' ').unwrap_or_default();
            let number = number.parse().unwrap_or(0);
            match what.chars().next() {
                Some('f') => changed.files = number,
                Some('i') => changed.insertions = number,
                Some('d') => changed.deletions = number,
                _ => {}
            }
        }
        changed
    }
}

/// Removes the locks that a killed git left in a mirror, where nobody else works now; gives back how
/// many there were.
fn remove_locks(mirror: &Path) -> usize {
    let mut removed = 0;
    let mut next = vec![mirror.to_owned()];
    while let Some(directory) = next.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && entry.file_name() != "objects" {
                next.push(path);
            } else if path.extension().is_some_and(|end| end == "lock") {
                removed += usize::from(std::fs::remove_file(path).is_ok());
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_read_with_and_without_its_parts() {
        let changed = |files, insertions, deletions| Changed {
            files,
            insertions,
            deletions,
        };
        for (said, read) in [
            (
                " 3 files changed, 10 insertions(+), 2 deletions(-)\n",
                changed(3, 10, 2),
            ),
            (" 1 file changed, 1 deletion(-)", changed(1, 0, 1)),
            (
                " 1 file changed, 0 insertions(+), 0 deletions(-)",
                changed(1, 0, 0),
            ),
            ("", changed(0, 0, 0)),
        ] {
            assert_eq!(Changed::parse(said), read);
        }
    }

    #[test]
    fn one_mirror_has_one_turn_at_a_time() {
        let mirrors = Mirrors::default();
        let (a, b) = (mirrors.turn(Path::new("/a")), mirrors.turn(Path::new("/a")));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &mirrors.turn(Path::new("/b"))));
    }
}
