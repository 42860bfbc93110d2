//! Work trees of real repositories.

use crate::git::git;
use crate::needs::found_or_skipped;
use crate::support::{Place, call, name, passed, tree_in, why};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use wheelhouse::model::pipeline::{StageCall, StageResult, StageWork};
use wheelhouse::model::{Clean, RunId};
use wheelhouse::ports::Stages;

/// A repository with two commits on main, a branch, a tag with a message, and changes that are no
/// commit.
fn repository(place: &Place) -> PathBuf {
    let path = place.path("shop");
    std::fs::create_dir(&path).expect("made");
    let commit = |text: &str, subject: &str| {
        std::fs::write(path.join("a.txt"), text).expect("written");
        git(&path, &["add", "--all"]);
        git(&path, &["commit", "--quiet", "--message", subject]);
    };
    git(&path, &["init", "--quiet", "--initial-branch=main"]);
    commit("one\n", "The first");
    git(&path, &["tag", "--annotate", "v1", "--message", "a tag"]);
    git(&path, &["branch", "release/1.2"]);
    std::fs::write(path.join("b.txt"), "b\n").expect("written");
    commit("one\ntwo\nthree\n", "Fix \u{1b}[31mit\u{1b}[0m");
    std::fs::write(path.join("a.txt"), "not committed\n").expect("written");
    path
}

fn of(place: &Place, repository: &Path, revision: &str) -> StageCall {
    checkout(place.run, &repository.display().to_string(), revision)
}

fn checkout(run: RunId, repository: &str, revision: &str) -> StageCall {
    let mut call = call(run, "checkout", StageWork::Checkout);
    call.repository = repository.to_owned();
    call.revision = Clean::new(revision);
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_is_the_commit_alone_and_says_what_is_new() {
    let place = Place::open();
    let shop = repository(&place);
    let (head, first) = (
        git(&shop, &["rev-parse", "HEAD"]),
        git(&shop, &["rev-parse", "v1^{commit}"]),
    );
    let result = place.stages.run(of(&place, &shop, "main")).await;
    let values = passed(&result);
    assert_eq!((values["commit"], values["short"]), (&*head, &head[..12]));
    assert_eq!(
        (values["author"], values["subject"]),
        ("Ada", "Fix ␛[31mit␛[0m")
    );
    let changed = [values["files"], values["insertions"], values["deletions"]];
    assert_eq!(changed, ["2", "3", "0"], "against its parent");
    assert!(!values.contains_key("commits"), "nobody knows since when");
    let text = std::fs::read_to_string(place.tree().join("a.txt")).expect("there");
    assert_eq!(text, "one\ntwo\nthree\n", "only commits count");
    assert_eq!(git(&place.tree(), &["status", "--porcelain"]), "");
    assert_eq!(
        git(&place.tree(), &["describe", "--tags"])
            .split('-')
            .next(),
        Some("v1")
    );

    let mut since = of(&place, &shop, &head);
    since.deployed = Some(Clean::new(&first));
    std::fs::write(place.tree().join("left.txt"), "of the first attempt").expect("written");
    let result = place.stages.run(since).await;
    assert_eq!(passed(&result)["commits"], "1");
    assert!(!place.tree().join("left.txt").exists(), "clean each time");

    let mut unknown = of(&place, &shop, "v1");
    unknown.deployed = Some(Clean::new(&"ab".repeat(20)));
    let result = place.stages.run(unknown).await;
    let values = passed(&result);
    assert_eq!(values["commit"], first, "the commit, not the tag");
    assert_eq!(
        (values["files"], values["insertions"]),
        ("1", "1"),
        "against nothing"
    );
    assert!(!values.contains_key("commits"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_is_fetched_and_a_branch_comes_before_a_tag_of_its_name() {
    let place = Place::open();
    let shop = repository(&place);
    let result = place.stages.run(of(&place, &shop, "release/1.2")).await;
    let before = passed(&result)["commit"].to_owned();
    git(&shop, &["branch", "--force", "release/1.2", "main"]);
    git(&shop, &["tag", "release/1.2", "v1"]);
    git(&shop, &["branch", "gone"]);
    let result = place.stages.run(of(&place, &shop, "release/1.2")).await;
    assert_ne!(passed(&result)["commit"], before);
    passed(&place.stages.run(of(&place, &shop, "gone")).await);
    git(&shop, &["branch", "--delete", "--force", "gone"]);
    let result = place.stages.run(of(&place, &shop, "gone")).await;
    assert!(why(&result).contains("has no `gone`"), "{}", why(&result));
    // A commit that no branch leads to any more was kept for its run.
    git(&shop, &["commit", "--quiet", "--all", "--message", "Lost"]);
    let lost = git(&shop, &["rev-parse", "HEAD"]);
    passed(&place.stages.run(of(&place, &shop, "main")).await);
    git(&shop, &["reset", "--quiet", "--hard", "HEAD~1"]);
    let result = place.stages.run(of(&place, &shop, &lost)).await;
    assert_eq!(passed(&result)["commit"], lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_one_repository_at_once_have_trees_of_their_own() {
    let place = Place::open();
    let shop = repository(&place).display().to_string();
    let runs = [0; 4].map(|_| RunId(Uuid::now_v7()));
    let calls = runs
        .iter()
        .map(|run| place.stages.run(checkout(*run, &shop, "main")));
    for result in futures::future::join_all(calls).await {
        passed(&result);
    }
    for run in runs {
        let tree = tree_in(place.directory.path(), run);
        assert!(tree.join("a.txt").exists());
        // What a stage does to its tree's repository reaches nobody else.
        git(&tree, &["branch", "--force", "mine"]);
        git(&tree, &["checkout", "--quiet", "-B", "main"]);
    }
    let mirrors = std::fs::read_dir(place.path("mirrors"))
        .expect("there")
        .flatten();
    let is_mirror = |entry: &std::fs::DirEntry| entry.path().is_dir();
    assert_eq!(mirrors.filter(is_mirror).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_fetched_or_cannot_be_is_said_with_the_mend() {
    let place = Place::open();
    let shop = repository(&place);
    let shop = shop.display().to_string();
    let proof = place.path("proof");
    let ext = format!("ext::sh -c 'touch {}'", proof.display());
    for (repository, revision, said) in [
        (&*shop, "--upload-pack=x", "is no revision"),
        (&*shop, "main..v1", "is no revision"),
        (&*shop, "absent", "has no `absent`"),
        (&*shop, &"ab".repeat(20), "has no `abab"),
        (&*ext, "main", "only https://"),
        ("--upload-pack=x", "main", "is no repository"),
        (
            "/nonexistent",
            "main",
            "no directory on the engine's machine",
        ),
        ("/proc", "main", "is no git repository"),
        (
            "https://me:hunter2@127.0.0.1:9/r",
            "main",
            "exit code 128: fatal",
        ),
    ] {
        let result = place
            .stages
            .run(checkout(place.run, repository, revision))
            .await;
        assert!(
            why(&result).contains(said),
            "{repository} {revision}: {result:?}"
        );
        let output = place.output("checkout").await.join("\n");
        assert!(!output.contains("hunter2"), "{output}");
        assert!(!why(&result).contains("hunter2"));
    }
    assert!(!proof.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_of_another_user_is_refused_with_the_mend() {
    let place = Place::open();
    let shop = repository(&place);
    let owned = std::process::Command::new("chown")
        .args(["-R", "12345"])
        .arg(&shop)
        .output()
        .expect("chown");
    let probe = std::process::Command::new("git")
        .arg("-C")
        .arg(&shop)
        .args(["rev-parse", "--git-dir"])
        .output()
        .expect("git");
    if !found_or_skipped(
        "root, without a safe.directory for everything",
        owned.status.success() && !probe.status.success(),
    ) {
        return;
    }
    let result = place.stages.run(of(&place, &shop, "main")).await;
    assert!(
        why(&result).contains("belongs to another user"),
        "{result:?}"
    );
    assert!(why(&result).contains("safe.directory"), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_lets_go_of_runs_whose_trees_are_gone() {
    let place = Place::open();
    let shop = repository(&place);
    passed(&place.stages.run(of(&place, &shop, "main")).await);
    place.stages.tidy(&[place.run].into());
    place.stages.tidy(&[].into());
    let next = RunId(Uuid::now_v7());
    let shop = shop.display().to_string();
    passed(&place.stages.run(checkout(next, &shop, "main")).await);
    let mirror = std::fs::read_dir(place.path("mirrors"))
        .expect("there")
        .flatten();
    let mirror = mirror.map(|entry| entry.path()).find(|path| path.is_dir());
    let mirror = mirror.expect("one");
    let kept = git(
        &mirror,
        &["for-each-ref", "--format=%(refname)", "refs/wheelhouse"],
    );
    assert_eq!(kept, format!("refs/wheelhouse/{next}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_the_repository_and_locks_of_a_killed_fetch_change_nothing() {
    let place = Place::open();
    let shop = repository(&place);
    passed(&place.stages.run(of(&place, &shop, "main")).await);
    let mirror = std::fs::read_dir(place.path("mirrors"))
        .expect("there")
        .flatten();
    let mirror = mirror
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .expect("one");
    let proof = place.path("proof");
    let hook = format!("#!/bin/sh\ntouch {}\n", proof.display());
    std::fs::create_dir_all(mirror.join("hooks")).expect("made");
    for hook_name in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
    ] {
        let path = mirror.join("hooks").join(hook_name);
        std::fs::write(&path, &hook).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("made executable");
    }
    std::fs::write(mirror.join("packed-refs.lock"), "").expect("written");
    std::fs::write(mirror.join("refs/heads/main.lock"), "").expect("written");
    git(&shop, &["commit", "--quiet", "--all", "--message", "More"]);
    let result = place.stages.run(of(&place, &shop, "main")).await;
    assert_eq!(passed(&result)["subject"], "More");
    assert!(!proof.exists(), "no hook ran");
    place.stages.cancel(place.run, &name("checkout"));
    let mut late = of(&place, &shop, "main");
    late.timeout_ms = 1;
    let result = place.stages.run(late).await;
    assert!(matches!(&result, StageResult::Failed { .. }), "{result:?}");
    assert!(why(&result).contains("took longer than 1 ms"), "{result:?}");
}
