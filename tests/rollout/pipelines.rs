//! Pipelines for real, on the embedded default: the example repository, a real git, stages that are
//! programs, rollouts under load, an engine that is killed, and webhooks over HTTP.

#[path = "pipelines/shop.rs"]
mod shop;
#[path = "pipelines/webhooks.rs"]
mod webhooks;

use crate::judge::{Expected, judge, records};
use crate::stage::placement;
use shop::{Shop, status};
use wheelhouse::model::pipeline::{RunResult, StageResult};
use wheelhouse::model::{Entry, RolloutKind, RunNumber, StageName};

/// A stage that hangs and forks, also out of its group, until `NAME.go` is there.
const HANGS: &str = r#"
[pipeline.NAME]
repository = "REPOSITORY"
[[pipeline.NAME.stage]]
name = "work"
command = ["sh", "-c", "test -e DIR/NAME.go && exit 0; sleep 600 & setsid sleep 600 & echo hangs; echo > DIR/NAME.begun; wait"]
env = { SHOP_TEST_MARK = "DIR/NAME" }
RERUN
[[pipeline.NAME.stage]]
name = "after"
command = ["sh", "-c", "echo done after it"]
"#;

fn hangs(name: &str, rerun: &str) -> String {
    HANGS.replace("NAME", name).replace("RERUN", rerun)
}

/// The stages of a run that were begun, in that order, with their attempts.
fn begun(shop: &Shop, number: RunNumber) -> Vec<(String, u32)> {
    let intents = records(&shop.stage).into_iter();
    let mine = intents.filter_map(|record| match record.entry {
        Entry::StageIntended {
            run,
            stage,
            attempt,
        } if run == number => Some((stage.to_string(), attempt)),
        _ => None,
    });
    mine.collect()
}

/// Rollouts of the service in production that deploys began.
fn deploys(shop: &Shop) -> usize {
    let all = records(&shop.stage).into_iter();
    all.filter(|record| {
        matches!(&record.entry, Entry::RolloutStarted { rollout: RolloutKind::Deploy, spec, .. }
            if spec.placement == placement())
    })
    .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_goes_to_production_under_load_once_a_person_lets_it() {
    let shop = Shop::open("").await;
    let load = shop.stage.load();
    let short = shop.commits("settings.env", "LATENCY_MS=8", "LATENCY_MS=4");
    let run = shop.begins(&["pipeline", "run", "shop"]).await;
    let said = shop.says(&["pipeline", "wait", &run.to_string()]).await;
    assert_eq!(said.code, 2, "it asks a person: {said:?}");
    let view = shop.status(run).await;
    for stage in ["lint", "test", "pack", "staging", "integration"] {
        assert_eq!(status(&view, stage), "passed", "{view:#?}");
    }
    let production = shop::stage(&view, "production");
    assert!(production.waits_for_person, "{view:#?}");
    assert_eq!(production.rollout, None);
    assert_eq!(deploys(&shop), 1, "only the version before it");
    lint_and_test_ran_side_by_side(&shop, run);
    let confirm = ["pipeline", "confirm", &run.to_string(), "production"];
    let said = shop.says(&confirm).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("--confirm production"), "{said:?}");
    shop.confirms(run, "production").await;
    let said = shop.says(&["pipeline", "wait", &run.to_string()]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let view = shop.status(run).await;
    assert_eq!(view.result, Some(RunResult::Passed), "{view:#?}");
    let deployed = &shop::stage(&view, "production").values["version"];
    assert_eq!(deployed.as_str(), short);
    let said = shop.says(&["pipeline", "logs", "p1", "integration"]).await;
    assert!(
        said.out.contains(&format!("answers as {short}")),
        "{said:?}"
    );
    judge(&shop.stage, load, &Expected::of(&short, &["v1"])).await;
}

/// Neither waited for the other: both were begun before either ended.
fn lint_and_test_ran_side_by_side(shop: &Shop, number: RunNumber) {
    let is = |stage: &StageName| ["lint", "test"].contains(&stage.as_str());
    let all = records(&shop.stage).into_iter();
    let moments = all.filter_map(|record| match record.entry {
        Entry::StageIntended { run, stage, .. } if run == number && is(&stage) => Some("begun"),
        Entry::StageEnded { run, stage, .. } if run == number && is(&stage) => Some("ended"),
        _ => None,
    });
    let moments: Vec<_> = moments.collect();
    assert_eq!(moments, ["begun", "begun", "ended", "ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_in_a_command_asks_or_goes_on_as_the_stage_says() {
    let tables = hangs("ask", "") + &hangs("safe", "rerun = \"safe\"");
    let mut shop = Shop::open(&tables).await;
    let mut runs = Vec::new();
    for name in ["ask", "safe"] {
        runs.push(shop.begins(&["pipeline", "run", name]).await);
        shop.hangs(name).await;
    }
    shop.stage.engine.kill();
    for name in ["ask", "safe"] {
        shop.nothing_is_left_of(name).await;
    }
    shop.lets("safe");
    shop.stage.start_engine().await;
    let ended = shop.until("the safe one to go on", runs[1], |run| !run.is_open());
    assert_eq!(ended.await.result, Some(RunResult::Passed));
    let safe = ["checkout", "work", "work", "after"].into_iter();
    let safe: Vec<_> = safe.zip([1, 1, 2, 1]).collect();
    let seen = begun(&shop, runs[1]);
    let seen: Vec<_> = seen.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    assert_eq!(seen, safe);
    let asks = shop.until("the other one to ask", runs[0], |run| {
        status(run, "work") == "unknown" && shop::stage(run, "work").waits_for_person
    });
    let asks = asks.await;
    assert_eq!(status(&asks, "after"), "waiting");
    let said = shop.says(&["pipeline", "status", "p1"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let mend = "wheelhouse pipeline confirm p1 work";
    assert!(said.out.contains(mend), "{said:?}");
    shop.lets("ask");
    shop.confirms(runs[0], "work").await;
    let said = shop.says(&["pipeline", "wait", "p1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(shop::stage(&shop.status(runs[0]).await, "work").attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_in_a_deploy_stage_makes_one_rollout_of_it() {
    let mut shop = Shop::open("").await;
    let load = shop.stage.load();
    let short = shop.commits("settings.env", "LATENCY_MS=8", "LATENCY_MS=4");
    let run = shop.begins(&["pipeline", "run"]).await;
    for stage in ["staging", "production"] {
        if stage == "production" {
            shop.waits_for_person(run).await;
            shop.confirms(run, stage).await;
        }
        // Once where it may not have begun yet, once where it has.
        for is_there in [false, true] {
            let what = format!("{stage} under way");
            let begun = shop.until(&what, run, |run| {
                let seen = shop::stage(run, stage);
                seen.attempts > 0 && (!is_there || seen.rollout.is_some())
            });
            begun.await;
            shop.stage.engine.kill();
            shop.stage.start_engine().await;
        }
    }
    let ended = shop.until("its end", run, |run| !run.is_open()).await;
    assert_eq!(ended.result, Some(RunResult::Passed), "{ended:#?}");
    assert_eq!(deploys(&shop), 2, "the version before it, and this one");
    let attempts = ended.stages.iter().map(|stage| stage.attempts);
    assert!(attempts.into_iter().all(|attempts| attempts == 1));
    judge(&shop.stage, load, &Expected::of(&short, &["v1"])).await;
}

/// FAULTS 69: a stage that hangs and forks is ended with all that it began.
#[tokio::test(flavor = "multi_thread")]
async fn fault_069_cancel_ends_a_stage_that_hangs_with_all_that_it_forked() {
    let shop = Shop::open(&hangs("ask", "")).await;
    let run = shop.begins(&["pipeline", "run", "ask"]).await;
    shop.hangs("ask").await;
    let cancel = ["pipeline", "cancel", "p1", "--reason", "not today"];
    let said = shop.says(&cancel).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = shop.says(&["pipeline", "wait", "p1"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    shop.nothing_is_left_of("ask").await;
    let view = shop.status(run).await;
    assert_eq!(view.result, Some(RunResult::Canceled));
    assert!(view.canceled.is_some(), "{view:#?}");
    assert_eq!(status(&view, "work"), "canceled");
    assert_eq!(status(&view, "after"), "canceled");
    let names: Vec<_> = begun(&shop, run)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["checkout", "work"]);
    let said = shop.says(&["pipeline", "status", "p1"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("not today"), "{said:?}");
    let said = shop.says(&["pipeline", "logs", "p1", "work"]).await;
    assert!(said.out.contains("hangs"), "{said:?}");
    let said = shop.says(&cancel).await;
    assert_eq!(said.code, 3, "it is over: {said:?}");
    let said = shop.says(&["pipeline", "cancel", "p99"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("pipeline list"), "{said:?}");
}

/// FAULTS 144: a stage fails, by its exit code or killed, in noise that is no text.
#[tokio::test(flavor = "multi_thread")]
async fn fault_144_after_a_stage_that_fails_or_is_killed_nothing_begins() {
    let killed = r#"
[pipeline.killed]
repository = "REPOSITORY"
[[pipeline.killed.stage]]
name = "work"
command = ["sh", "-c", 'printf "error: \377\376 no text\n"; kill -9 $$']
[[pipeline.killed.stage]]
name = "after"
command = ["true"]
"#;
    let shop = Shop::open(killed).await;
    shop.commits("scripts/pack.sh", "mkdir -p", "if mkdir -p");
    let run = shop.begins(&["pipeline", "run", "shop"]).await;
    let said = shop.says(&["pipeline", "wait", "p1"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("scripts/pack.sh"), "{said:?}");
    let view = shop.status(run).await;
    assert_eq!(view.result, Some(RunResult::Failed));
    let lint = shop::stage(&view, "lint");
    let why = lint.why.as_ref().map_or("", |why| why.as_str());
    assert_eq!(lint.status, "failed");
    assert!(why.contains("scripts/pack.sh: "), "the failing line: {why}");
    for stage in ["pack", "staging", "integration", "production"] {
        assert_eq!(status(&view, stage), "skipped", "{view:#?}");
    }
    let mut names: Vec<_> = begun(&shop, run)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["checkout", "lint", "test"]);
    let grep = ["pipeline", "logs", "p1", "lint", "--grep", "pack\\.sh"];
    let said = shop.says(&grep).await;
    assert!(said.out.contains("scripts/pack.sh"), "{said:?}");
    let said = shop
        .says(&["pipeline", "logs", "p1", "lint", "--grep", "no such line"])
        .await;
    assert_eq!((said.code, said.out.trim()), (0, ""), "{said:?}");

    let run = shop.begins(&["pipeline", "run", "killed"]).await;
    let said = shop.says(&["pipeline", "wait", "p2"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    let view = shop.status(run).await;
    assert_eq!(
        (status(&view, "work"), status(&view, "after")),
        ("failed", "skipped")
    );
    let failed = records(&shop.stage).into_iter().any(|record| {
        matches!(&record.entry, Entry::StageEnded { run: at, result: StageResult::Failed { why }, .. }
            if *at == run && why.as_str().contains("no text"))
    });
    assert!(failed, "{view:#?}");
}
