//! A git repository made on the spot: a cart that adds up prices, and its test. Three commits come
//! into being one after the other; the last one is wrong, and its test says so.
//!
//! Knows nothing of the person's git: no settings, no hooks and no templates of theirs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// For one git command; a repository of two files takes it milliseconds.
const GIT: Duration = Duration::from_secs(10);
/// Characters of a complaint that are passed on.
const COMPLAINT_CHARS_MAX: usize = 200;

/// The test of the cart, and the pipeline's stage `test`. It takes a second for each that passes:
/// one must see it.
const TEST: &str = r#". ./cart.sh
expect() {
    want=$1
    shift
    is=$(total "$@")
    if [ "$is" != "$want" ]; then
        echo "FAILED: a cart of $* costs $want, not $is"
        exit 1
    fi
    echo "a cart of $* costs $want"
    sleep 1
}
expect 4 4
expect 19 4 15
expect 10 2 3 5
"#;

/// Why there is no commit.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Git could not be started.
    #[error("cannot start git; is it installed?")]
    Start(#[source] io::Error),
    /// It did not end in time.
    #[error("`git {0}` did not end within {limit_s} s", limit_s = GIT.as_secs())]
    Late(&'static str),
    /// It failed.
    #[error("`git {verb}` failed: {complaint}")]
    Failed {
        /// What was asked of it.
        verb: &'static str,
        /// The beginning of what it said.
        complaint: String,
    },
}

/// A commit of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// What there was before: a cart that forgets every article but the first.
    Begin,
    /// All articles are added up.
    Fix,
    /// Only the first two are: the test of three says so.
    Break,
}

impl Change {
    /// The commit's first line.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Begin => "A cart",
            Self::Fix => "Fix the cart",
            Self::Break => "Simplify the cart",
        }
    }

    fn cart(self) -> &'static str {
        match self {
            Self::Begin => "total() {\n    echo \"$1\"\n}\n",
            Self::Fix => {
                "total() {\n    sum=0\n    for price in \"$@\"; do\n        \
                 sum=$((sum + price))\n    done\n    echo \"$sum\"\n}\n"
            }
            Self::Break => "total() {\n    echo $(($1 + ${2:-0}))\n}\n",
        }
    }
}

/// The repository, and the only one who commits to it.
#[derive(Debug, Clone)]
pub struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// Where it is, below a demo's private directory.
    pub fn below(private: &Path) -> Self {
        Self {
            dir: private.join("repository"),
        }
    }

    /// Its directory, as the pipeline takes it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes it, with its first commit.
    ///
    /// # Errors
    /// Any [`RepositoryError`]; what was written stays for whoever made the private directory.
    pub async fn make(&self) -> Result<(), RepositoryError> {
        let written = std::fs::create_dir(&self.dir);
        written.map_err(|source| wrong(&self.dir, source))?;
        let words = ["--quiet", "--template=", "--initial-branch=main"];
        self.git("init", &words).await?;
        self.write("test.sh", TEST)?;
        self.commit(Change::Begin).await
    }

    /// Commits a change.
    ///
    /// # Errors
    /// Any [`RepositoryError`].
    pub async fn commit(&self, change: Change) -> Result<(), RepositoryError> {
        self.write("cart.sh", change.cart())?;
        self.git("add", &["--", "cart.sh", "test.sh"]).await?;
        let words = ["--quiet", "--no-gpg-sign", "--message", change.subject()];
        self.git("commit", &words).await
    }

    fn write(&self, name: &str, text: &str) -> Result<(), RepositoryError> {
        let path = self.dir.join(name);
        let written = std::fs::write(&path, text);
        written.map_err(|source| wrong(&path, source))
    }

    async fn git(&self, verb: &'static str, words: &[&str]) -> Result<(), RepositoryError> {
        let mut command = git(&self.dir);
        // Nothing of git's may stay behind: it would write into a directory that is being removed.
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        command.args(["-c", "core.hooksPath=/dev/null", verb]);
        let ending = command.args(words).output();
        let ended = timeout(GIT, ending).await;
        let ended = ended.map_err(|_| RepositoryError::Late(verb))?;
        let output = ended.map_err(RepositoryError::Start)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let complaint = said.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
        Err(RepositoryError::Failed { verb, complaint })
    }
}

fn wrong(path: &Path, source: io::Error) -> RepositoryError {
    RepositoryError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Whether git is installed on this machine: whether it says its version.
pub async fn git_is_installed() -> bool {
    let mut command = git(Path::new("/"));
    let ended = timeout(GIT, command.arg("version").output()).await;
    matches!(ended, Ok(Ok(output)) if output.status.success())
}

/// A git command that knows nobody and asks nobody. It ends with whoever waits for it.
fn git(at: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let (name, mail) = ("the demo", "demo@localhost");
    command
        .env("HOME", at)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", name)
        .env("GIT_AUTHOR_EMAIL", mail)
        .env("GIT_COMMITTER_NAME", name)
        .env("GIT_COMMITTER_EMAIL", mail)
        .current_dir(at)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the test says of a change's cart, and whether it passed. Its pauses are left out.
    fn tested(change: Change) -> (bool, String) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("cart.sh"), change.cart()).expect("written");
        let test = TEST.replace("    sleep 1\n", "");
        let mut shell = std::process::Command::new("sh");
        let shell = shell.args(["-c", &test]).current_dir(dir.path());
        let output = shell.output().expect("sh");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    }

    #[test]
    fn only_the_fixed_cart_passes_its_test() {
        let (passed, said) = tested(Change::Fix);
        assert!(passed, "{said}");
        let (passed, said) = tested(Change::Begin);
        assert!(
            !passed && said.contains("FAILED: a cart of 4 15 costs 19, not 4"),
            "{said}"
        );
        let (passed, said) = tested(Change::Break);
        assert!(
            !passed && said.contains("FAILED: a cart of 2 3 5 costs 10, not 5"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn every_change_is_a_commit_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let repository = Repository::below(dir.path());
        repository.make().await.expect("made");
        repository.commit(Change::Fix).await.expect("committed");
        let again = repository.commit(Change::Fix).await;
        assert!(again.is_err(), "nothing is new in it");
        repository.commit(Change::Break).await.expect("committed");
        let mut log = git(repository.dir());
        let output = log.args(["log", "--format=%an: %s", "main"]).output().await;
        let said = String::from_utf8(output.expect("git").stdout).expect("text");
        let lines: Vec<_> = said.lines().collect();
        let told = [Change::Break, Change::Fix, Change::Begin]
            .map(|change| format!("the demo: {}", change.subject()));
        assert_eq!(lines, told);
    }
}
