//! Pipelines through decide → evolve → plan, with the deploys they make.

use super::stage::{Stage, empty, refused, spec, stable};
use crate::engine;
use crate::model::command::{Answer, Command, PipelineCommand, Refusal};
use crate::model::container::{Container, Pin};
use crate::model::effect::{Effect, EffectKey};
use crate::model::input::{Observation, RuntimeInspection, Settled};
use crate::model::pipeline::{
    CommandWork, DeployWork, PipelineSpec, Rerun, Run, RunResult, StageResult, StageSpec,
    StageStatus, StageWork, Trigger, When, WhenBusy,
};
use crate::model::{Clean, Entry, Event, Input, Outcome, RunNumber, StageName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What stages come to, and which are under way.
#[derive(Debug, Default)]
pub(crate) struct Works {
    /// Results by stage, in order; then it passes.
    results: BTreeMap<String, VecDeque<StageResult>>,
    /// Stages that do not end by themselves.
    hang: BTreeSet<String>,
    under_way: BTreeMap<EffectKey, u64>,
    /// Stages in the order in which they were begun.
    begun: Vec<String>,
}

impl Works {
    fn result(&mut self, stage: &StageName) -> StageResult {
        let results = self.results.get_mut(stage.as_str());
        let next = results.and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| StageResult::Passed {
            values: match stage.as_str() {
                "checkout" => values(&[("commit", COMMIT), ("short", "c0ffee123456")]),
                "push" => values(&[("digest", DIGEST)]),
                _ => BTreeMap::new(),
            },
        })
    }
}

const COMMIT: &str = "c0ffee1234567890c0ffee1234567890c0ffee12";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, Clean> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), Clean::new(value)))
        .collect()
}

impl Stage {
    /// Does what a pipeline asks for; says whether anything was done.
    pub(crate) fn work(&mut self, effect: &Effect, key: EffectKey) -> bool {
        let seen = match effect {
            Effect::RunStage { .. } if self.works.under_way.contains_key(&key) => return false,
            Effect::RunStage { id, call } => {
                engine::observe::begun(&mut self.world, effect);
                self.works.begun.push(call.stage.to_string());
                if self.works.hang.contains(call.stage.as_str()) {
                    self.works.under_way.insert(key, *id);
                    return true;
                }
                let result = self.works.result(&call.stage);
                Some(Observation::Stage { id: *id, result })
            }
            Effect::CancelStage { run, stage, .. } => {
                let key = EffectKey::Stage(*run, stage.clone());
                let Some(id) = self.works.under_way.remove(&key) else {
                    return false;
                };
                let result = StageResult::Canceled;
                self.settle(key, Observation::Stage { id, result });
                None
            }
            Effect::AskDeploy { id, command, .. } => {
                engine::observe::begun(&mut self.world, effect);
                let answer = match self.ask((**command).clone()) {
                    Ok(()) => Answer::Already { what: "".into() },
                    Err(refusal) => Answer::Refused(refusal),
                };
                let answer = Box::new(answer);
                Some(Observation::Deploy { id: *id, answer })
            }
            _ => None,
        };
        if let Some(seen) = seen {
            self.settle(key, seen);
        }
        true
    }

    fn settle(&mut self, key: EffectKey, seen: Observation) {
        let settled = Settled {
            ticket: 0,
            key,
            id: None,
            outcome: Outcome::Applied,
            seen: Some(seen),
        };
        let now_ms = self.world.now_ms;
        engine::observe::settled(&mut self.world, &settled, now_ms, now_ms);
    }

    /// A stage that hangs ends.
    fn ends(&mut self, name: &str, result: StageResult) {
        self.works.hang.remove(name);
        let mut keys = self.works.under_way.keys();
        let key = keys.find(|key| matches!(key, EffectKey::Stage(_, it) if it.as_str() == name));
        let key = key.expect("it is under way").clone();
        let id = self.works.under_way.remove(&key).expect("it is under way");
        self.settle(key, Observation::Stage { id, result });
    }

    fn run(&self, number: u64) -> &Run {
        let run = self.state.pipelines.runs.get(&RunNumber(number));
        run.expect("the run is there")
    }

    fn result(&self, number: u64) -> Option<RunResult> {
        self.run(number).ended.as_ref().map(|ended| ended.result)
    }

    fn status(&self, number: u64, stage: &str) -> &StageStatus {
        &self.run(number).stages[&name(stage)].status
    }

    fn trigger(&mut self, spec: &PipelineSpec, branch: &str) -> Result<(), Refusal> {
        self.ask(run(spec, trigger_of(branch)))
    }

    fn until_over(&mut self, number: u64) {
        self.until("the run is over", |stage| stage.result(number).is_some());
    }
}

fn name(text: &str) -> StageName {
    text.parse().expect("a valid name")
}

fn trigger_of(branch: &str) -> Trigger {
    Trigger {
        revision: branch.into(),
        branch: branch.into(),
        environment: None,
        reason: None,
        request_id: None,
        provider: None,
    }
}

fn run(spec: &PipelineSpec, trigger: Trigger) -> Command {
    Command::Pipeline(PipelineCommand::Run {
        spec: Box::new(spec.clone()),
        trigger: Box::new(trigger),
    })
}

fn cancel(number: u64) -> Command {
    Command::Pipeline(PipelineCommand::Cancel {
        run: RunNumber(number),
        reason: None,
    })
}

fn confirm(number: u64, stage: &str) -> Command {
    Command::Pipeline(PipelineCommand::Confirm {
        run: RunNumber(number),
        stage: name(stage),
    })
}

fn stage(text: &str, needs: &[&str], work: StageWork) -> StageSpec {
    StageSpec {
        name: name(text),
        needs: needs.iter().map(|needed| name(needed)).collect(),
        work,
        when: When::default(),
        timeout_ms: 60_000,
        retries: 0,
        backoff_ms: 1_000,
        rerun: Rerun::Ask,
    }
}

fn command(words: &[&str]) -> StageWork {
    StageWork::Command(CommandWork {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        image: None,
        directory: None,
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
    })
}

fn deploy(confirm: bool) -> StageWork {
    StageWork::Deploy(Box::new(DeployWork {
        spec: spec(),
        version: "{short}".to_owned(),
        digest: None,
        confirm,
    }))
}

/// checkout → lint ∥ test → production
fn line() -> PipelineSpec {
    PipelineSpec {
        name: "shop".parse().expect("a valid name"),
        repository: "shop.git".to_owned(),
        branch: "main".to_owned(),
        stages: vec![
            stage("checkout", &[], StageWork::Checkout),
            stage("lint", &["checkout"], command(&["lint"])),
            stage("test", &["checkout"], command(&["test"])),
            stage("production", &["lint", "test"], deploy(false)),
        ],
        at_once: 1,
        when_busy: WhenBusy::Queue,
    }
}

fn change<'a>(spec: &'a mut PipelineSpec, stage: &str) -> &'a mut StageSpec {
    let stages = spec.stages.iter_mut();
    let mut stages = stages.filter(|it| it.name.as_str() == stage);
    stages.next().expect("the stage is there")
}

fn failed(why: &str) -> StageResult {
    StageResult::Failed { why: why.into() }
}

#[test]
fn a_commit_goes_through_all_stages_to_production() {
    let mut world = stable();
    world.trigger(&line(), "main").expect("it begins");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
    assert_eq!(world.works.begun, ["checkout", "lint", "test"]);
    let place = world.place();
    let stable = place.stable().expect("something is stable");
    assert_eq!(place.releases[&stable].version.as_str(), "c0ffee123456");
    let production = &world.run(1).stages[&name("production")];
    assert_eq!(production.values["version"].as_str(), "c0ffee123456");
}

#[test]
fn nothing_begins_before_its_needs_or_after_a_failure() {
    let mut world = stable();
    world.works.hang.insert("lint".to_owned());
    let why = failed("2 tests failed");
    world.works.results.insert("test".to_owned(), [why].into());
    world.trigger(&line(), "main").expect("it begins");
    world.pass_ms(5_000);
    assert_eq!(
        world.status(1, "production"),
        &StageStatus::Skipped {
            why: "test failed".into()
        }
    );
    assert_eq!(
        world.status(1, "lint"),
        &StageStatus::Running,
        "what is under way may end"
    );
    assert_eq!(world.result(1), None);
    world.ends(
        "lint",
        StageResult::Passed {
            values: BTreeMap::new(),
        },
    );
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Failed));
    assert!(!world.is_open(), "no rollout began");
}

#[test]
fn a_failed_attempt_is_tried_again_later_and_later() {
    let mut line = line();
    change(&mut line, "test").retries = 2;
    let mut world = stable();
    let results = [failed("a flaky one"), failed("another")];
    world
        .works
        .results
        .insert("test".to_owned(), results.into());
    world.trigger(&line, "main").expect("it begins");
    world.until("the first attempt failed", |world| {
        matches!(world.status(1, "test"), StageStatus::Resting { .. })
    });
    let first_ms = world.world.now_ms;
    world.until("the last attempt passed", |world| {
        *world.status(1, "test") == StageStatus::Passed
    });
    assert!(world.world.now_ms - first_ms >= 3_000, "1 s, then 2 s");
    assert_eq!(world.run(1).stages[&name("test")].attempts, 3);
}

#[test]
fn what_an_engine_left_under_way_is_unknown_and_a_person_is_asked() {
    let mut world = stable();
    world.works.hang.insert("test".to_owned());
    world.trigger(&line(), "main").expect("it begins");
    world.until("it runs", |world| {
        *world.status(1, "test") == StageStatus::Running
    });
    world.works.hang.clear();
    world.works.under_way.clear();
    world.restart();
    world.pass_ms(2_000);
    assert!(matches!(
        world.status(1, "test"),
        StageStatus::Unknown { .. }
    ));
    assert_eq!(world.result(1), None);
    world
        .ask(confirm(1, "test"))
        .expect("it waits for a person");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
    assert_eq!(world.run(1).stages[&name("test")].attempts, 2);
}

#[test]
fn what_is_safe_to_run_again_is_run_again_unasked() {
    let mut line = line();
    change(&mut line, "test").rerun = Rerun::Safe;
    let mut world = stable();
    world.works.hang.insert("test".to_owned());
    world.trigger(&line, "main").expect("it begins");
    world.until("it runs", |world| {
        *world.status(1, "test") == StageStatus::Running
    });
    world.works.hang.clear();
    world.works.under_way.clear();
    world.restart();
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
}

#[test]
fn a_restart_in_the_middle_of_a_deploy_begins_no_second_one() {
    let mut world = stable();
    world.trigger(&line(), "main").expect("it begins");
    world.until("it soaks", Stage::is_soaking);
    world.restart();
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
    assert_eq!(world.count("rollout_started"), 2, "v1, and this one");
}

#[test]
fn a_canceled_run_ends_what_it_began_and_begins_nothing() {
    let mut world = stable();
    world.works.hang.insert("test".to_owned());
    world.trigger(&line(), "main").expect("it begins");
    world.until("it runs", |world| {
        *world.status(1, "test") == StageStatus::Running
    });
    world.ask(cancel(1)).expect("it can be canceled");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Canceled));
    assert_eq!(world.status(1, "test"), &StageStatus::Canceled);
    assert_eq!(world.status(1, "production"), &StageStatus::Canceled);
    assert!(world.works.under_way.is_empty());
    refused(world.ask(cancel(1)), "is over");
}

#[test]
fn a_deploy_on_its_way_while_its_run_is_canceled_does_not_begin() {
    let mut world = stable();
    world.deploy("v2");
    world.trigger(&line(), "main").expect("it begins");
    world.until("it waits for the other rollout", |world| {
        *world.status(1, "production") == StageStatus::Running
    });
    let asked = Command::Deploy {
        spec: Box::new(spec()),
        version: "c0ffee123456".parse().expect("a valid version"),
        reason: None,
        request_id: Some(request(&world)),
    };
    world.ask(cancel(1)).expect("it can be canceled");
    world.until_over(1);
    world.until("the other rollout is over", |world| !world.is_open());
    refused(world.ask(asked), "canceled");
}

#[test]
fn an_aborted_rollout_fails_its_stage() {
    let mut world = stable();
    world.trigger(&line(), "main").expect("it begins");
    world.until("it soaks", Stage::is_soaking);
    world.abort().expect("it can be aborted");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Failed));
    let StageStatus::Failed { why } = world.status(1, "production") else {
        panic!("the stage failed");
    };
    assert!(why.as_str().contains("rollout #2"), "{why}");
}

#[test]
fn a_stage_waits_for_a_rollout_that_is_open_and_then_begins() {
    let mut world = stable();
    world.deploy("v2");
    world.trigger(&line(), "main").expect("it begins");
    world.pass_ms(500);
    assert_eq!(world.status(1, "production"), &StageStatus::Running);
    assert!(world.state.requested(&request(&world)).is_none());
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
}

fn request(world: &Stage) -> crate::model::RequestId {
    let id = format!("pipeline/{}/production/1", world.run(1).id);
    id.parse().expect("a valid id")
}

#[test]
fn a_deploy_that_can_never_begin_fails_its_stage() {
    let mut line = line();
    let StageWork::Deploy(work) = &mut change(&mut line, "production").work else {
        panic!("it is a deploy");
    };
    work.version = "{branch}".to_owned();
    let mut world = stable();
    world
        .trigger(&line, "no version/at all")
        .expect("it begins");
    world.until_over(1);
    let StageStatus::Failed { why } = world.status(1, "production") else {
        panic!("the stage failed");
    };
    assert!(why.as_str().contains("version"), "{why}");
}

#[test]
fn production_waits_for_a_person_where_it_must() {
    let mut line = line();
    change(&mut line, "production").work = deploy(true);
    let mut world = stable();
    world.trigger(&line, "main").expect("it begins");
    world.pass_ms(5_000);
    assert_eq!(world.status(1, "production"), &StageStatus::Waiting);
    refused(world.ask(confirm(1, "lint")), "does not wait");
    world.ask(confirm(1, "production")).expect("it waits");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
}

#[test]
fn runs_of_one_pipeline_wait_for_each_other() {
    let mut world = stable();
    world.works.hang.insert("test".to_owned());
    world.trigger(&line(), "main").expect("it begins");
    world.trigger(&line(), "main").expect("it waits");
    world.pass_ms(2_000);
    assert_eq!(world.status(2, "checkout"), &StageStatus::Waiting);
    world.ends(
        "test",
        StageResult::Passed {
            values: BTreeMap::new(),
        },
    );
    world.until_over(2);
    assert_eq!(world.result(1), Some(RunResult::Passed));
    assert_eq!(world.result(2), Some(RunResult::Passed));
}

#[test]
fn the_newest_wins_but_never_over_a_deploy_that_has_begun() {
    let mut line = line();
    line.when_busy = WhenBusy::Newest;
    let mut world = stable();
    world.works.hang.insert("test".to_owned());
    world.trigger(&line, "main").expect("it begins");
    world.pass_ms(1_000);
    world.trigger(&line, "other").expect("another branch");
    world.trigger(&line, "main").expect("the newest");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Canceled));
    assert!(
        world.run(2).canceled.is_none(),
        "another branch is another matter"
    );
    world.works.hang.clear();
    world.ends_all();
    world.until("it soaks", Stage::is_soaking);
    let deploying = if world.run(2).ended.is_none() { 2 } else { 3 };
    let branch = world.run(deploying).trigger.branch.clone();
    world.trigger(&line, branch.as_str()).expect("newer still");
    world.pass_ms(500);
    assert!(world.run(deploying).canceled.is_none());
}

impl Stage {
    fn ends_all(&mut self) {
        let under_way = std::mem::take(&mut self.works.under_way);
        for (key, id) in under_way {
            let result = StageResult::Passed {
                values: BTreeMap::new(),
            };
            self.settle(key, Observation::Stage { id, result });
        }
    }
}

#[test]
fn the_same_request_begins_one_run() {
    let mut world = stable();
    let asked = Trigger {
        request_id: Some("github:1".parse().expect("a valid id")),
        ..trigger_of("main")
    };
    world.ask(run(&line(), asked.clone())).expect("it begins");
    world.ask(run(&line(), asked)).expect("it is known");
    assert_eq!(world.count("pipeline_started"), 1);
}

#[test]
fn stages_for_other_branches_and_environments_are_skipped() {
    let mut line = line();
    change(&mut line, "lint").when.branches = vec!["release/*".to_owned()];
    line.stages
        .push(stage("watch", &["production"], command(&["watch"])));
    let mut world = stable();
    let asked = Trigger {
        environment: Some("staging".parse().expect("a valid name")),
        ..trigger_of("main")
    };
    world.ask(run(&line, asked)).expect("it begins");
    world.until_over(1);
    assert_eq!(world.result(1), Some(RunResult::Passed));
    assert_eq!(world.works.begun, ["checkout", "test"]);
    assert_eq!(
        world.status(1, "watch").word(),
        "skipped",
        "it needs production"
    );
    assert!(!world.is_open());
}

#[test]
fn what_was_built_once_is_what_production_gets() {
    let mut line = line();
    change(&mut line, "test").name = name("push");
    change(&mut line, "production").needs = vec![name("push")];
    let StageWork::Deploy(work) = &mut change(&mut line, "production").work else {
        panic!("it is a deploy");
    };
    work.digest = Some("{push.digest}".to_owned());
    work.spec.workload.container = Some(Box::new(Container {
        image: "registry:5000/shop:{version}".to_owned(),
        ..Container::default()
    }));
    let mut world = empty();
    world.look_finds(OTHER);
    world.trigger(&line, "main").expect("it begins");
    world.until_over(1);
    let StageStatus::Failed { why } = world.status(1, "production") else {
        panic!("the stage failed");
    };
    assert!(why.as_str().contains("not what was proven"), "{why}");
    world.look_finds(DIGEST);
    world.trigger(&line, "main").expect("it begins");
    world.until("the rollout began", |world| {
        world.count("rollout_started") == 1
    });
    let release = world.place().releases.values().next().expect("a release");
    let container = release.workload.container.as_ref().expect("a container");
    assert_eq!(container.pin, Some(Pin::Digest(DIGEST.to_owned())));
}

const OTHER: &str = "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Stage {
    /// What the look before a deploy says that the image is.
    fn look_finds(&mut self, digest: &str) {
        let spec = spec();
        let seen = RuntimeInspection {
            placement: spec.placement.clone(),
            runtime: spec.runtimes[0].clone(),
            unfit: Vec::new(),
            notes: Vec::new(),
            pinned: Some(Container {
                image: "registry:5000/shop:c0ffee123456".to_owned(),
                pin: Some(Pin::Digest(digest.to_owned())),
                ..Container::default()
            }),
        };
        let input = Input {
            now_ms: self.world.now_ms,
            event: Event::RuntimeInspected(Box::new(seen)),
        };
        engine::observe(&mut self.world, &input);
    }
}

#[test]
fn a_value_that_nobody_handed_on_fails_the_stage_before_it_begins() {
    let mut line = line();
    change(&mut line, "test").work = command(&["test", "{lint.report}"]);
    change(&mut line, "test").needs = vec![name("lint")];
    let mut world = stable();
    world.trigger(&line, "main").expect("it begins");
    world.until_over(1);
    assert_eq!(world.works.begun, ["checkout", "lint"]);
    let StageStatus::Failed { why } = world.status(1, "test") else {
        panic!("the stage failed");
    };
    assert!(why.as_str().contains("{lint.report}"), "{why}");
}

#[test]
fn every_started_stage_ends_in_exactly_one_result() {
    let mut world = stable();
    world.trigger(&line(), "main").expect("it begins");
    world.until_over(1);
    for stage in ["checkout", "lint", "test", "production"] {
        let about = |entry: &&Entry| match entry {
            Entry::StageEnded { stage: ended, .. } => ended.as_str() == stage,
            _ => false,
        };
        assert_eq!(world.entries.iter().filter(about).count(), 1, "{stage}");
    }
}

#[test]
fn patterns_of_branches() {
    let matches = crate::model::pipeline::is_like;
    assert!(matches("main", "main"));
    assert!(matches("release/*", "release/1.2"));
    assert!(matches("*", ""));
    assert!(matches("v*.*", "v1.2"));
    assert!(!matches("main", "main2"));
    assert!(!matches("release/*", "releases/1"));
    assert!(!matches("v*.*", "v12"));
}
