//! A place for the stages of one test, and what is asked of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;
use wheelhouse::model::pipeline::{CommandWork, StageCall, StageResult, StageWork};
use wheelhouse::model::{Clean, RunId, RunNumber, StageName};
use wheelhouse::pipeline::{DockerCommand, LocalStages, StagesOptions};
use wheelhouse::ports::Stages;
use wheelhouse::runtime::docker::Logins;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One run.
pub struct Place {
    pub directory: TempDir,
    pub stages: LocalStages,
    pub run: RunId,
}

impl Place {
    pub fn open() -> Self {
        Self::with(Logins::default())
    }

    pub fn with(logins: Logins) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let stages = stages_in(directory.path(), logins);
        let run = RunId(Uuid::now_v7());
        let place = Self {
            directory,
            stages,
            run,
        };
        std::fs::create_dir_all(place.tree()).expect("a work tree");
        place
    }

    pub fn tree(&self) -> PathBuf {
        tree_in(self.directory.path(), self.run)
    }

    /// A path beside everything of the run's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn call(&self, stage: &str, work: StageWork) -> StageCall {
        call(self.run, stage, work)
    }

    /// Does a stage whose program is a line of shell.
    pub async fn sh(&self, line: &str) -> StageResult {
        self.stages.run(self.call("test", shell(line))).await
    }

    /// Everything that can be read of the first attempt of a stage.
    pub async fn output(&self, stage: &str) -> Vec<String> {
        let (mut lines, mut from) = (Vec::new(), 0);
        loop {
            let page = self.stages.logs(self.run, &name(stage), 1, from).await;
            let page = page.expect("kept");
            if page.lines.is_empty() {
                return lines;
            }
            lines.extend(page.lines.into_iter().map(Clean::into_string));
            from = page.next;
        }
    }
}

pub fn stages_in(directory: &Path, logins: Logins) -> LocalStages {
    LocalStages::new(StagesOptions {
        directory: directory.to_owned(),
        shepherd: PROGRAM.into(),
        docker: DockerCommand {
            program: "docker".into(),
            env: BTreeMap::new(),
            logins,
        },
    })
}

pub fn tree_in(directory: &Path, run: RunId) -> PathBuf {
    directory.join("runs").join(run.to_string()).join("tree")
}

pub fn call(run: RunId, stage: &str, work: StageWork) -> StageCall {
    StageCall {
        run,
        number: RunNumber(1),
        stage: name(stage),
        attempt: 1,
        repository: "/nonexistent".to_owned(),
        revision: Clean::new("main"),
        deployed: None,
        work,
        env: [("WHEELHOUSE_COMMIT".to_owned(), "abc".to_owned())].into(),
        timeout_ms: 60_000,
    }
}

pub fn name(stage: &str) -> StageName {
    stage.parse().expect("a name")
}

pub fn command(words: &[&str]) -> CommandWork {
    CommandWork {
        command: words.iter().map(ToString::to_string).collect(),
        image: None,
        directory: None,
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

pub fn shell(line: &str) -> StageWork {
    StageWork::Command(command(&["sh", "-c", line]))
}

/// What a stage handed on; it must have passed.
pub fn passed(result: &StageResult) -> BTreeMap<&str, &str> {
    match result {
        StageResult::Passed { values } => {
            let pairs = values.iter();
            pairs
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Why a stage failed; it must have.
pub fn why(result: &StageResult) -> &str {
    match result {
        StageResult::Failed { why } => why.as_str(),
        other => panic!("{other:?}"),
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The processes, those that ended not among them, whose environment has this mark.
pub fn marked(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let has = |path: PathBuf| {
        let env = std::fs::read(path.join("environ")).unwrap_or_default();
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let is_there = env
            .split(|byte| *byte == 0)
            .any(|set| set == mark.as_bytes());
        is_there && !state.starts_with('Z') && !state.is_empty()
    };
    let of = |entry: &std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let all = entries.filter_map(|entry| Some((of(&entry)?, entry.path())));
    all.filter(|(_, path)| has(path.clone()))
        .map(|(id, _)| id)
        .collect()
}
