//! One attempt of a stage: what all kinds of work share.

use super::process::{self, Ended, Job, SharedOutput, Stop, Until, locked};
use super::{Place, StagesOptions, environment::Env};
use crate::model::Clean;
use crate::model::pipeline::{StageCall, StageResult};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// What a stage hands on.
pub(super) type Values = BTreeMap<String, Clean>;

/// For one short question to a program on this machine.
const QUESTION: Duration = Duration::from_secs(60);
/// Longest answer to one, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Why an attempt did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Failed(String),
    /// Nobody knows how far it got.
    Unknown(String),
    Stopped(Stop),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) options: &'a StagesOptions,
    pub(super) place: &'a Place,
    pub(super) call: &'a StageCall,
    pub(super) until: Until,
    pub(super) output: SharedOutput,
}

impl Attempt<'_> {
    /// The run's work tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.place.tree(self.call.run)
    }

    /// Adds a line of our own to the output.
    pub(super) fn say(&self, text: &str) {
        locked(&self.output).say(text);
    }

    /// A program of this attempt.
    pub(super) fn job(&self, program: Vec<OsString>, directory: PathBuf, env: Env) -> Job {
        Job {
            program,
            directory,
            env,
            lock: self.place.lock(self.call.run, &self.call.stage),
            cleanup: Vec::new(),
        }
    }

    /// Runs a program to its end.
    pub(super) async fn run(&self, job: Job) -> Ended {
        process::run(&self.options.shepherd, job, &self.until, &self.output).await
    }

    /// Runs a program that must end with exit code 0.
    pub(super) async fn must_run(&self, job: Job) -> Result<(), Failure> {
        match self.run(job).await {
            Ended::Exit(0) => Ok(()),
            ended => Err(self.failure(&ended)),
        }
    }

    /// What a program's end means where it was no success.
    pub(super) fn failure(&self, ended: &Ended) -> Failure {
        match ended {
            Ended::Stopped(stop) => Failure::Stopped(*stop),
            Ended::Unknown(why) => Failure::Unknown(why.clone()),
            Ended::NotBegun(why) => Failure::Failed(why.clone()),
            Ended::Exit(_) | Ended::Signal(_) => {
                let output = locked(&self.output);
                Failure::Failed(output.failing().why(&ended.words()).into_string())
            }
        }
    }

    /// Asks a program on this machine something short, by itself: no shepherd, no kept output.
    /// Gives back what it wrote, also where it failed.
    pub(super) async fn ask(
        &self,
        program: &[OsString],
        directory: &Path,
        env: &Env,
    ) -> Result<Answer, Failure> {
        let asked = tokio::time::timeout(QUESTION, ask(program, directory, env));
        let name = program
            .first()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        match self.until.during(asked).await? {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Failed(format!(
                "`{name}` cannot be run: {error}; see that it is installed and on the engine's PATH"
            ))),
            Err(_) => Err(Failure::Failed(format!(
                "`{name}` did not answer within {} s",
                QUESTION.as_secs()
            ))),
        }
    }

    /// The result, as it is recorded.
    pub(super) fn result(&self, done: Result<Values, Failure>) -> StageResult {
        let line = |text: &str| {
            let shown = locked(&self.output).masks().hide(text).into_owned();
            Clean::line(&shown, super::failing::WHY_CHARS_MAX)
        };
        match done {
            Ok(values) => StageResult::Passed { values },
            Err(Failure::Failed(why)) => StageResult::Failed { why: line(&why) },
            Err(Failure::Unknown(why)) => StageResult::Unknown { why: line(&why) },
            Err(Failure::Stopped(Stop::Canceled)) => StageResult::Canceled,
            Err(Failure::Stopped(Stop::TimeIsUp)) => {
                let ended = format!("took longer than {}", duration_words(self.call.timeout_ms));
                let why = locked(&self.output).failing().why(&ended);
                StageResult::Failed { why }
            }
        }
    }
}

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) is_success: bool,
    pub(super) said: String,
    pub(super) complained: String,
}

impl Answer {
    /// What it said, where it succeeded and said something.
    pub(super) fn line(&self) -> Option<&str> {
        let said = self.said.trim();
        (self.is_success && !said.is_empty()).then_some(said)
    }

    /// The last line it complained with.
    pub(super) fn complaint(&self) -> &str {
        let lines = self.complained.lines().rev().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty());
        lines.next().unwrap_or("it said nothing")
    }
}

async fn ask(program: &[OsString], directory: &Path, env: &Env) -> std::io::Result<Answer> {
    let (name, arguments) = program
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (said, complained) = tokio::try_join!(text(out), text(err))?;
    let status = child.wait().await?;
    Ok(Answer {
        is_success: status.success(),
        said,
        complained,
    })
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .await?;
        // The rest is not for us, but must be taken or the program never ends.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A directory or file below a work tree.
///
/// # Errors
/// When it is not there, or leads out of it, also by a link.
pub(super) fn below(tree: &Path, path: &str) -> Result<PathBuf, String> {
    let asked = Path::new(path);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !asked.components().all(is_plain) {
        return Err(format!(
            "`{path}` leads out of the work tree; write a path below it"
        ));
    }
    let tree = tree.canonicalize();
    let tree = tree.map_err(|error| format!("the run's work tree: {error}; begin a new run"))?;
    let found = tree.join(asked).canonicalize();
    let found = found.map_err(|error| format!("`{path}` in the work tree: {error}"))?;
    match found.starts_with(&tree) {
        true => Ok(found),
        false => Err(format!(
            "`{path}` is a link that leads out of the work tree"
        )),
    }
}

/// `90 s`, `10 min`, `2 h`.
pub(super) fn duration_words(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_work_tree() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).expect("made");
        std::os::unix::fs::symlink("/", tree.join("out")).expect("made");
        std::os::unix::fs::symlink("a/b", tree.join("in")).expect("made");
        for good in ["", ".", "a", "a/b", "./a/./b", "in"] {
            below(&tree, good).expect(good);
        }
        for (bad, why) in [
            ("..", "leads out"),
            ("a/../..", "leads out"),
            ("/etc", "leads out"),
            ("out", "is a link"),
            ("absent", "No such file"),
        ] {
            let said = below(&tree, bad).expect_err(bad);
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn durations_have_words() {
        let words = [200, 90_000, 600_000, 7_200_000].map(duration_words);
        assert_eq!(words, ["200 ms", "90 s", "10 min", "2 h"]);
    }
}
