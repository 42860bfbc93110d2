//! The example repository with a host, an engine and its first version in production.

use crate::git::git;
use crate::haproxy::until;
use crate::process::PROGRAM;
use crate::stage::{ENVIRONMENT, Front, QUICK, Said, Stage, free_ports};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use wheelhouse::link::{Client, ClientOptions, socket_path};
use wheelhouse::model::RunNumber;
use wheelhouse::model::command::Answer;
use wheelhouse::view::pipeline::{RunView, StageView};

/// The example as it is kept.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/shop");
/// What `DIR/webhook.secret` holds.
pub const WEBHOOK_SECRET: &str = "known to both";
/// How long one thing may take to happen.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Shop {
    pub stage: Stage,
}

impl Shop {
    /// With more tables, in which `DIR` and `REPOSITORY` are filled in.
    pub async fn open(tables: &str) -> Self {
        let staging = free_ports();
        let edit = |text: String, dir: &Path| {
            make_repository(dir);
            fs::write(dir.join("webhook.secret"), WEBHOOK_SECRET).expect("written");
            let pipeline = fs::read_to_string(dir.join("shop/pipeline.toml")).expect("kept");
            configuration(&text, dir, staging) + &filled(&(pipeline + tables), dir, staging)
        };
        let stage = Stage::set_as("canary", Front::Embedded, QUICK, edit).await;
        Self {
            stage: stage.expect("the embedded front is always there"),
        }
    }

    pub fn dir(&self) -> &Path {
        self.stage.dir.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Changes a text of the repository and commits that; gives the commit's short name.
    pub fn commits(&self, file: &str, from: &str, to: &str) -> String {
        let repository = self.path("shop");
        let path = repository.join(file);
        let text = fs::read_to_string(&path).expect("a text");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("written");
        git(&repository, &["commit", "-qam", "Change the settings"]);
        git(&repository, &["rev-parse", "--short=12", "HEAD"])
    }

    /// The full name of the newest commit.
    pub fn head(&self) -> String {
        git(&self.path("shop"), &["rev-parse", "HEAD"])
    }

    pub async fn says(&self, arguments: &[&str]) -> Said {
        self.stage.run(arguments).await
    }

    /// Begins a run; gives its number.
    pub async fn begins(&self, arguments: &[&str]) -> RunNumber {
        let said = self.says(&[arguments, &["--json"]].concat()).await;
        match serde_json::from_str(&said.out) {
            Ok(Answer::Run { run, .. }) => run,
            other => panic!("{arguments:?}: {other:?}, {said:?}"),
        }
    }

    /// Lets a stage begin, as a person who knows where it goes.
    pub async fn confirms(&self, run: RunNumber, stage: &str) {
        let run = run.to_string();
        let confirm = ["--confirm", ENVIRONMENT];
        let said = self
            .says(&[&["pipeline", "confirm", &run, stage][..], &confirm].concat())
            .await;
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// What `pipeline status --json` says.
    pub async fn status(&self, run: RunNumber) -> RunView {
        let run = run.to_string();
        let said = self.says(&["pipeline", "status", &run, "--json"]).await;
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    pub async fn waits_for_person(&self, run: RunNumber) -> RunView {
        self.until("a stage that waits for a person", run, |run| {
            run.stages.iter().any(|stage| stage.waits_for_person)
        })
        .await
    }

    /// Waits until what the engine shows of a run is as wanted. Engines may come and go.
    pub async fn until(
        &self,
        what: &str,
        run: RunNumber,
        mut wanted: impl FnMut(&RunView) -> bool,
    ) -> RunView {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let followed = timeout(left, self.follow(run, &mut wanted, &mut last)).await;
            if let Ok(Some(view)) = followed {
                return view;
            }
            // Between two engines there is nobody to wait for.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited {PATIENCE:?} in vain for {what}; the last view was {last:#?}");
    }

    /// Follows one engine; `None` when it goes away.
    async fn follow(
        &self,
        number: RunNumber,
        wanted: &mut impl FnMut(&RunView) -> bool,
        last: &mut Option<RunView>,
    ) -> Option<RunView> {
        let options = ClientOptions {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: None,
            console: false,
        };
        let socket = socket_path(&self.stage.state_dir());
        let (client, _) = Client::connect(&socket, &options).await.ok()?;
        let mut snapshots = client.watch(Duration::from_secs(5)).await.ok()?;
        while let Some(snapshot) = snapshots.next().await {
            let view = snapshot.runs.iter().find(|run| run.number == number);
            let Some(view) = view else { continue };
            *last = Some(view.clone());
            if wanted(view) {
                return Some(view.clone());
            }
        }
        None
    }

    /// Waits until the stage of this pipeline hangs, with what it forked.
    pub async fn hangs(&self, name: &str) {
        let begun = self.path(&format!("{name}.begun"));
        until("the stage to begin", async || begun.exists()).await;
        assert!(self.of(name).len() >= 3, "a shell and what it began");
    }

    /// From now on the stage of this pipeline passes.
    pub fn lets(&self, name: &str) {
        fs::write(self.path(&format!("{name}.go")), "").expect("written");
    }

    pub async fn nothing_is_left_of(&self, name: &str) {
        until("its processes to end", async || self.of(name).is_empty()).await;
    }

    /// The processes of this pipeline's stage.
    fn of(&self, name: &str) -> Vec<i32> {
        let mark = format!("SHOP_TEST_MARK={}", self.path(name).display());
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let has = |path: PathBuf| {
            let env = fs::read(path.join("environ")).unwrap_or_default();
            env.split(|byte| *byte == 0).any(|it| it == mark.as_bytes())
        };
        let ids = entries.filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            has(entry.path()).then_some(id)
        });
        ids.collect()
    }
}

/// A stage of a run.
pub fn stage<'a>(run: &'a RunView, name: &str) -> &'a StageView {
    let mut stages = run.stages.iter();
    let found = stages.find(|stage| stage.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no stage {name}: {run:#?}"))
}

/// How far a stage of a run is.
pub fn status<'a>(run: &'a RunView, name: &str) -> &'a str {
    &stage(run, name).status
}

/// A copy of the example as a git repository, and its first version where instances begin it.
fn make_repository(dir: &Path) {
    let repository = dir.join("shop");
    let copied = Command::new("cp")
        .args(["-R", EXAMPLE])
        .arg(&repository)
        .status();
    assert!(copied.expect("cp").success());
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "-qm", "Begin"]);
    let packed = Command::new("sh")
        .arg("scripts/pack.sh")
        .arg(dir.join("releases"))
        .arg("v1")
        .current_dir(&repository)
        .output()
        .expect("a shell");
    assert!(packed.status.success(), "{packed:?}");
}

/// The stage's configuration with the example's program as its service, also in staging.
fn configuration(text: &str, dir: &Path, staging: u16) -> String {
    let (head, rest) = text.split_once("command = [").expect("a command");
    let (_, tail) = rest.split_once("]\n").expect("its end");
    let releases = dir.join("releases");
    let (releases, [first, second]) = (releases.display(), [staging + 1, staging + 2]);
    format!(
        r#"{head}command = ["{releases}/{{version}}/bin/shop", "{{address}}", "{{version}}"]
{tail}
[service.shop.variables]
SHOP_PROGRAM = "{PROGRAM}"

[env.staging]

[service.shop.env.staging]
listen = {staging}
instances = 1
strategy = "recreate"
servers = {{ a1 = "127.0.0.1:{first}", a2 = "127.0.0.1:{second}" }}

[service.shop.env.staging.recreate]
watch = "1s"

"#
    )
}

/// Pipelines with the places of this test.
fn filled(pipelines: &str, dir: &Path, staging: u16) -> String {
    let staging = SocketAddr::from(([127, 0, 0, 1], staging));
    let repository = dir.join("shop").display().to_string();
    let dir = dir.display().to_string();
    pipelines
        .replace("repository = \".\"", "repository = \"REPOSITORY\"")
        .replace("REPOSITORY", &repository)
        .replace("/srv/shop/releases", "DIR/releases")
        .replace("127.0.0.1:8091", &staging.to_string())
        .replace("DIR", &dir)
}
