//! Containers, builds and pushes with a real daemon and Debian's registry on loopback.

use crate::needs::found_or_skipped;
use crate::support::{PROGRAM, Place, command, marked, name, passed, stages_in, until, why};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wheelhouse::model::Clean;
use wheelhouse::model::pipeline::{BuildWork, StageCall, StageResult, StageWork};
use wheelhouse::pipeline::{DockerCommand, LocalStages, StagesOptions};
use wheelhouse::ports::Stages;
use wheelhouse::runtime::docker::{Login, Logins};

/// A shell in an image.
const SHELL: &str = "wheelhouse-pipeline-test:shell";
const USER: &str = "deployer";
const PASSWORD: &str = "wheelhouse-test";
/// bcrypt of the password, for a file as htpasswd writes it.
const HASH: &str = "$2b$04$JRYZ3zjICECWSbVzs2BL0OpDTMOVqf9aNVSh0xnwq5T2t1bvUV7c6";

fn docker(words: &[&str]) -> Output {
    let output = Command::new("docker").args(words).output();
    output.expect("docker is there")
}

fn must(words: &[&str]) -> String {
    let output = docker(words);
    assert!(output.status.success(), "docker {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn available() -> bool {
    let asked = Command::new("docker").arg("version").output();
    found_or_skipped(
        "a docker daemon",
        asked.is_ok_and(|output| output.status.success()),
    )
}

/// The shell and few programs of this machine as an image, made once for all times.
fn shell_image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        if docker(&["image", "inspect", SHELL]).status.success() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let mut files: Vec<PathBuf> = ["sh", "sleep", "cat", "id"]
            .map(|program| Path::new("/bin").join(program))
            .into();
        for program in files.clone() {
            let output = Command::new("ldd").arg(program).output().expect("ldd");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
            files.extend(paths.map(PathBuf::from));
        }
        for file in files {
            let inside = root.path().join(file.strip_prefix("/").expect("absolute"));
            std::fs::create_dir_all(inside.parent().expect("a directory")).expect("made");
            std::fs::copy(&file, inside).expect("copied");
        }
        let mut tar = Command::new("tar")
            .args(["-C", &root.path().to_string_lossy(), "-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let imported = Command::new("docker")
            .args(["import", "-c", "ENTRYPOINT [\"/bin/false\"]", "-", SHELL])
            .stdin(tar.stdout.take().expect("piped"))
            .output()
            .expect("docker");
        assert!(
            tar.wait().expect("tar").success() && imported.status.success(),
            "{imported:?}"
        );
    });
    SHELL
}

fn in_shell(place: &Place, line: &str) -> StageCall {
    let mut work = command(&["/bin/sh", "-c", line]);
    work.image = Some(shell_image().to_owned());
    place.call("test", StageWork::Command(work))
}

/// Containers of a run that are there, in whatever state.
fn containers(place: &Place) -> String {
    let filter = format!("name=wheelhouse-{}", place.run);
    must(&["ps", "--all", "--quiet", "--filter", &filter])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_sees_the_tree_its_variables_and_its_secrets_and_hands_on_values() {
    if !available() {
        return;
    }
    let place = Place::open();
    std::fs::create_dir(place.tree().join("service")).expect("made");
    std::fs::write(place.tree().join("service/file"), "of the tree\n").expect("written");
    std::fs::write(place.path("token"), "hunter2-token").expect("written");
    let line = "cat file; echo \"$MODE $TOKEN $WHEELHOUSE_COMMIT\"; echo a=b > $WHEELHOUSE_OUTPUT; \
                echo made > made; echo err >&2";
    let mut call = in_shell(&place, line);
    let StageWork::Command(work) = &mut call.work else {
        unreachable!("a command");
    };
    work.directory = Some("service".to_owned());
    work.env.insert("MODE".to_owned(), "ci".to_owned());
    let token = format!("file:{}", place.path("token").display());
    work.secrets
        .insert("TOKEN".to_owned(), token.parse().expect("a reference"));
    let result = place.stages.run(call).await;
    assert_eq!(passed(&result), [("a", "b")].into());
    let output = place.output("test").await;
    for line in ["of the tree", "ci [secret TOKEN] abc", "err"] {
        assert!(output.iter().any(|said| said == line), "{output:?}");
    }
    assert!(place.tree().join("service/made").exists());
    assert_eq!(containers(&place), "");
    let mut absent = in_shell(&place, "true");
    if let StageWork::Command(work) = &mut absent.work {
        work.image = Some("127.0.0.1:9/absent:v1".to_owned());
    }
    let result = place.stages.run(absent).await;
    assert!(why(&result).contains("exit code 125"), "{result:?}");
    let result = place
        .stages
        .run(in_shell(&place, "echo 'error: no'; exit 4"))
        .await;
    assert_eq!(why(&result), "exit code 4: error: no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_69_a_container_ends_with_its_stage_however_that_ends() {
    if !available() {
        return;
    }
    let place = Place::open();
    let stubborn = "trap '' TERM; echo begun; while :; do sleep 1; done";
    let stages = place.stages.clone();
    let is_begun = || {
        let line = stages.last_line(place.run, &name("test"));
        line.is_some_and(|line| line.as_str() == "begun")
    };
    let running = place.stages.run(in_shell(&place, stubborn));
    let canceled = async {
        until("it began", is_begun).await;
        stages.cancel(place.run, &name("test"));
    };
    let (result, ()) = tokio::join!(running, canceled);
    assert_eq!(result, StageResult::Canceled);
    assert_eq!(containers(&place), "");
    let mut call = in_shell(&place, stubborn);
    call.attempt = 2;
    tokio::select! {
        result = place.stages.run(call) => panic!("{result:?}"),
        () = until("it began", is_begun) => {}
    }
    until("the container is gone", || containers(&place).is_empty()).await;
    let mark = format!("WHEELHOUSE_TEST_MARK={}", place.run);
    assert_eq!(marked(&mark), [0; 0]);
}

/// Debian's docker-registry on loopback, where docker asks for no TLS.
struct Registry {
    directory: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Registry {
    fn begin() -> Option<Self> {
        let version = Command::new("docker-registry").arg("--version").output();
        let found = version.is_ok_and(|output| output.status.success());
        if !found_or_skipped("docker-registry", found) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = free.local_addr().expect("bound");
        drop(free);
        let below = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(below("users"), format!("{USER}:{HASH}\n")).expect("written");
        std::fs::write(below("password"), PASSWORD).expect("written");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            below("data"),
            below("users")
        );
        std::fs::write(below("config.yml"), text).expect("written");
        let child = Command::new("docker-registry")
            .args(["serve", &below("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let until = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "the registry did not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            directory,
            address,
            child,
        })
    }

    fn image(&self, tag: &str) -> Image {
        Image(format!("{}/shop:{tag}", self.address))
    }

    fn logins(&self) -> Logins {
        let path = self.directory.path().join("password");
        let login = Login {
            user: USER.to_owned(),
            password: format!("file:{}", path.display())
                .parse()
                .expect("a reference"),
        };
        Logins {
            configured: [(self.address.to_string(), login)].into(),
            config_dir: None,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An image's name, forgotten by the daemon at the end.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        drop(docker(&["rmi", "--force", &self.0]));
    }
}

/// A work tree with a Dockerfile of a word.
fn with_dockerfile(place: &Place, word: &str) {
    std::fs::create_dir_all(place.tree().join("image")).expect("made");
    std::fs::write(place.tree().join("image/word"), word).expect("written");
    let text = "FROM scratch\nARG VERSION\nCOPY word /word\nLABEL version=$VERSION\n";
    std::fs::write(place.tree().join("image/Dockerfile.shop"), text).expect("written");
}

fn build(place: &Place, image: &Image) -> StageCall {
    let mut call = place.call(
        "build",
        StageWork::Build(BuildWork {
            image: image.0.clone(),
            context: "image".to_owned(),
            dockerfile: "Dockerfile.shop".to_owned(),
            arguments: [("VERSION".to_owned(), "1.2".to_owned())].into(),
        }),
    );
    call.revision = Clean::new(&"ab".repeat(20));
    call
}

fn push(place: &Place, image: &Image) -> StageCall {
    let image = image.0.clone();
    place.call("push", StageWork::Push { image })
}

/// Stages whose docker command is a script around the real one.
fn with_script(place: &Place, logins: Logins, script: &str) -> LocalStages {
    let path = place.path("docker");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("made executable");
    LocalStages::new(StagesOptions {
        directory: place.directory.path().to_owned(),
        shepherd: PROGRAM.into(),
        docker: DockerCommand {
            program: path,
            env: BTreeMap::new(),
            logins,
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_built_labelled_pushed_with_its_login_and_its_digest_read_back() {
    if !available() {
        return;
    }
    let Some(registry) = Registry::begin() else {
        return;
    };
    let place = Place::with(registry.logins());
    with_dockerfile(&place, "built");
    let image = registry.image("v1");
    let result = place.stages.run(build(&place, &image)).await;
    let built = passed(&result);
    let id = must(&["image", "inspect", "--format", "{{.Id}}", &image.0]);
    assert_eq!((built["image"], built["image_id"]), (&*image.0, &*id));
    let format =
        "{{index .Config.Labels \"org.opencontainers.image.revision\"}} {{.Config.Labels.version}}";
    let labels = must(&["image", "inspect", "--format", format, &image.0]);
    assert_eq!(labels, format!("{} 1.2", "ab".repeat(20)));

    let result = place.stages.run(push(&place, &image)).await;
    let pushed = passed(&result);
    assert_eq!(pushed["image"], image.0);
    let format = "{{index .RepoDigests 0}}";
    let known = must(&["image", "inspect", "--format", format, &image.0]);
    assert!(known.ends_with(pushed["digest"]), "{known} {pushed:?}");
    for stage in ["build", "push"] {
        let output = place.output(stage).await.join("\n");
        assert!(!output.contains(PASSWORD), "{output}");
    }
    let run = place.tree();
    let run = run.parent().expect("the run's directory");
    let left = ["build.docker", "push.docker"].map(|name| run.join(name).exists());
    assert_eq!(left, [false; 2], "no file with logins is left");

    let anonymous = stages_in(place.directory.path(), Logins::default());
    let second = registry.image("v2");
    must(&["tag", &image.0, &second.0]);
    let result = anonymous.run(push(&place, &second)).await;
    assert!(
        matches!(
            &result,
            StageResult::Failed { .. } | StageResult::Unknown { .. }
        ),
        "{result:?}"
    );
    let mut absent = build(&place, &image);
    if let StageWork::Build(work) = &mut absent.work {
        work.dockerfile = "../../../etc/passwd".to_owned();
    }
    let result = place.stages.run(absent).await;
    assert!(
        why(&result).contains("leads out of the work tree"),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_145_a_push_whose_answer_is_lost_is_proven_and_not_made_twice() {
    if !available() {
        return;
    }
    let Some(registry) = Registry::begin() else {
        return;
    };
    let place = Place::with(registry.logins());
    with_dockerfile(&place, "lost");
    let image = registry.image("v1");
    passed(&place.stages.run(build(&place, &image)).await);
    let log = place.path("pushes");
    let script = format!(
        "docker \"$@\" || exit\nif [ \"$1\" = push ]; then\n  echo push >> {}\n  \
         echo 'error: connection reset by peer'; exit 1\nfi",
        log.display()
    );
    let stages = with_script(&place, registry.logins(), &script);
    let result = stages.run(push(&place, &image)).await;
    let digest = passed(&result)["digest"].to_owned();
    assert!(digest.starts_with("sha256:"));
    let output = place.output("push").await.join("\n");
    assert!(output.contains("answer was lost"), "{output}");
    let mut again = push(&place, &image);
    again.attempt = 2;
    let result = stages.run(again).await;
    assert_eq!(passed(&result)["digest"], digest);
    let pushes = std::fs::read_to_string(log).expect("one push");
    assert_eq!(pushes, "push\n", "no second one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moves_stops_the_line_and_a_registry_that_is_gone_leaves_it_unknown() {
    if !available() {
        return;
    }
    let Some(mut registry) = Registry::begin() else {
        return;
    };
    let place = Place::with(registry.logins());
    let (image, other) = (registry.image("v1"), registry.image("other"));
    with_dockerfile(&place, "other");
    passed(&place.stages.run(build(&place, &other)).await);
    with_dockerfile(&place, "ours");
    passed(&place.stages.run(build(&place, &image)).await);
    let (ours, theirs) = (&image.0, &other.0);
    let script = format!(
        "if [ \"$1\" = push ]; then\n  docker tag {ours} {ours}-kept && docker push -q {ours} && \
         docker tag {theirs} {ours} && docker push -q {ours} && docker tag {ours}-kept {ours} && \
         docker rmi {ours}-kept\nelse\n  exec docker \"$@\"\nfi"
    );
    let stages = with_script(&place, registry.logins(), &script);
    let result = stages.run(push(&place, &image)).await;
    assert!(why(&result).starts_with("the tag moved: "), "{result:?}");
    let result = stages.run(push(&place, &registry.image("absent"))).await;
    assert!(
        why(&result).contains("a stage before this one must build it"),
        "{result:?}"
    );

    registry.child.kill().expect("our own child");
    registry.child.wait().expect("our own child");
    let result = place.stages.run(push(&place, &image)).await;
    let StageResult::Unknown { why } = &result else {
        panic!("{result:?}");
    };
    assert!(
        why.as_str().contains("the registry cannot be asked"),
        "{why}"
    );
}
