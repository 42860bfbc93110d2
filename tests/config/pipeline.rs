//! Pipelines and webhooks as people write them: what they resolve to, what is doubtful, and what a
//! change of them looks like.

use super::{loaded, spec};
use std::path::Path;
use wheelhouse::config::{Loaded, Pushed, WebhookRule};
use wheelhouse::model::StageName;
use wheelhouse::model::pipeline::{
    DeployWork, PipelineSpec, Provider, Rerun, StageSpec, StageWork, WhenBusy,
};
use wheelhouse::model::secret::SecretRef;

const SHOP: &str = include_str!("../configs/valid/pipeline.toml");

fn pipeline(loaded: &Loaded, name: &str) -> PipelineSpec {
    let name = name.parse().expect("a name");
    loaded.config.pipeline(&name).expect("it is there").clone()
}

fn stage(pipeline: &PipelineSpec, name: &str) -> StageSpec {
    let name = name.parse().expect("a name");
    pipeline.stage(&name).expect("it is there").clone()
}

fn deploy(stage: &StageSpec) -> &DeployWork {
    match &stage.work {
        StageWork::Deploy(work) => work,
        other => panic!("{} is no deploy", other.word()),
    }
}

/// A service with a pipeline of these stages.
fn with_stages(stages: &str) -> String {
    format!(
        "{}[pipeline.p]\nrepository = \"p.git\"\n{stages}",
        super::SERVICE
    )
}

fn one(keys: &str) -> StageSpec {
    let text = with_stages(&format!("[[pipeline.p.stage]]\nname = \"one\"\n{keys}\n"));
    stage(&pipeline(&loaded(&text), "p"), "one")
}

#[test]
fn a_pipeline_begins_with_its_checkout_and_each_stage_needs_the_one_before_it() {
    let shop = pipeline(&loaded(SHOP), "shop");
    assert_eq!(shop.repository, "/etc/srv/shop.git", "from its file on");
    assert_eq!((shop.branch.as_str(), shop.at_once), ("main", 2));
    assert_eq!(shop.when_busy, WhenBusy::Newest);
    let first = &shop.stages[0];
    assert_eq!(first.name.as_str(), "checkout");
    assert_eq!(first.work, StageWork::Checkout);
    assert_eq!(
        (first.timeout_ms, first.retries, first.backoff_ms),
        (600_000, 2, 2_000)
    );
    assert_eq!(first.rerun, Rerun::Safe);
    let needs = |name: &str| -> Vec<String> {
        let needs = stage(&shop, name).needs;
        needs.iter().map(StageName::to_string).collect()
    };
    assert_eq!(needs("checkout"), <[String; 0]>::default());
    assert_eq!(needs("lint"), ["checkout"]);
    assert_eq!(needs("test"), ["checkout"], "[] is only the checkout");
    assert_eq!(needs("image"), ["lint", "test"]);
    assert_eq!(needs("push"), ["image"]);
}

#[test]
fn a_command_is_resolved_with_all_its_keys() {
    let test = stage(&pipeline(&loaded(SHOP), "shop"), "test");
    let StageWork::Command(work) = &test.work else {
        panic!("it is a command");
    };
    assert_eq!(work.image.as_deref(), Some("rust:1"));
    assert_eq!(work.directory.as_deref(), Some("services/shop"));
    assert_eq!(work.env["BRANCH"], "{branch}");
    assert_eq!(work.secrets["TOKEN"], SecretRef::Env("TOKEN".to_owned()));
    assert_eq!(
        (test.timeout_ms, test.retries, test.backoff_ms),
        (45 * 60_000, 2, 10_000)
    );
    assert_eq!(test.rerun, Rerun::Safe);
    assert_eq!(test.when.branches, ["main", "release/*"]);
}

#[test]
fn what_is_not_written_follows_from_what_the_stage_does() {
    for (keys, timeout_ms, rerun) in [
        ("command = [\"true\"]", 1_800_000, Rerun::Ask),
        ("build = { image = \"p:{short}\" }", 1_800_000, Rerun::Safe),
        ("push = \"p:{short}\"", 1_800_000, Rerun::Safe),
        (
            "external = { provider = \"github\", project = \"a/b\" }",
            3_600_000,
            Rerun::Safe,
        ),
        ("deploy = \"web@dev\"", 600_000, Rerun::Safe),
    ] {
        let stage = one(keys);
        assert_eq!(
            (stage.timeout_ms, stage.rerun, stage.retries),
            (timeout_ms, rerun, 0),
            "{keys}"
        );
    }
    let StageWork::Build(build) = one("build = { image = \"p\" }").work else {
        panic!("it is a build");
    };
    assert_eq!((&*build.context, &*build.dockerfile), (".", "Dockerfile"));
    let external = one("external = { provider = \"gitlab\", project = \"17\" }");
    let StageWork::External(external) = external.work else {
        panic!("it is external");
    };
    assert_eq!(external.provider, Provider::Gitlab);
    assert_eq!(external.url, "https://gitlab.com/api/v4");
    assert_eq!((external.contexts.len(), external.interval_ms), (0, 15_000));
}

#[test]
fn a_deploy_holds_its_service_as_resolved_and_a_person_confirms_where_it_is_protected() {
    let loaded = loaded(SHOP);
    let shop = pipeline(&loaded, "shop");
    let (staging, production) = (stage(&shop, "staging"), stage(&shop, "production"));
    let (staging, production) = (deploy(&staging), deploy(&production));
    assert_eq!(staging.spec, spec(&loaded, "shop@staging"));
    assert_eq!(production.spec, spec(&loaded, "shop@production"));
    assert_eq!((staging.confirm, production.confirm), (false, true));
    assert_eq!(staging.version, "{short}");
    assert_eq!(production.version, "{staging.version}");
    assert_eq!(production.digest.as_deref(), Some("{push.digest}"));
}

#[test]
fn a_deploy_takes_the_parts_of_its_service_along() {
    let text = std::fs::read_to_string("tests/configs/valid/parts.toml").expect("it is there");
    let plain = loaded(&text);
    let (env, _) = plain.config.environments().next().expect("one is");
    let stages = format!("[[pipeline.p.stage]]\nname = \"d\"\ndeploy = \"shop@{env}\"\n");
    let text = format!("{text}\n[pipeline.p]\nrepository = \"p.git\"\n{stages}");
    let deployed = stage(&pipeline(&loaded(&text), "p"), "d");
    assert_eq!(deploy(&deployed).spec.parts.len(), 2);
}

#[test]
fn repositories_are_paths_of_their_file_or_addresses_as_written() {
    for (written, resolved) in [
        ("../shop", "/etc/../shop"),
        ("/srv/git/shop.git", "/srv/git/shop.git"),
        ("git@example.com:acme/shop", "git@example.com:acme/shop"),
        (
            "ssh://git@example.com/shop.git",
            "ssh://git@example.com/shop.git",
        ),
        (
            "https://example.com:8443/shop.git",
            "https://example.com:8443/shop.git",
        ),
    ] {
        let text = with_stages("stage = [{ name = \"a\", command = [\"true\"] }]\n");
        let loaded = loaded(&text.replace("p.git", written));
        assert_eq!(pipeline(&loaded, "p").repository, resolved);
        assert_eq!(loaded.warnings, []);
    }
}

/// The keys of the warnings about a configuration.
fn warned(text: &str) -> Vec<String> {
    let warnings = loaded(text).warnings;
    warnings.into_iter().map(|warning| warning.key).collect()
}

#[test]
fn what_is_fetched_or_asked_in_plain_text_is_a_warning() {
    let stages = "[[pipeline.p.stage]]\nname = \"ci\"\n\
                  external = { provider = \"github\", project = \"a/b\", token = \"env:T\", \
                  url = \"http://HOST/api\" }\n";
    let at = |host: &str| with_stages(&stages.replace("HOST", host));
    assert_eq!(warned(&at("127.0.0.1:8080")), <[String; 0]>::default());
    assert_eq!(
        warned(&at("git.example.com")),
        ["pipeline.p.stage[0].external.url"]
    );
    let plain = at("[::1]").replace("p.git", "http://example.com/p.git");
    assert_eq!(warned(&plain), ["pipeline.p.repository"]);
}

#[test]
fn production_without_the_digest_that_staging_proved_is_a_warning() {
    let last = SHOP.rfind("digest = \"{push.digest}\"").expect("written");
    let (before, after) = SHOP.split_at(last);
    let without = format!(
        "{before}{}",
        after.replacen("digest = \"{push.digest}\"", "", 1)
    );
    let warnings = loaded(&without).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].key, "pipeline.shop.stage[7].digest");
    assert_eq!(warnings[0].mend, "digest = \"{push.digest}\"");
    let elsewhere = without.replace("push = \"{image.image}\"", "push = \"other/shop:{short}\"");
    assert_eq!(
        warned(&elsewhere),
        <[String; 0]>::default(),
        "that is not the image it runs"
    );
}

#[test]
fn a_version_whose_image_nobody_pushes_is_a_warning() {
    let key = "version = \"{staging.version}\"";
    let other = SHOP.replace(key, "version = \"1.4.{short}\"");
    let warnings = loaded(&other).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].key, "pipeline.shop.stage[7].version");
    assert_eq!(
        warnings[0].what,
        "makes the image \"registry:5000/shop:1.4.{short}\", but push pushes \
         \"registry:5000/shop:{short}\""
    );
    let same = SHOP.replace(key, "version = \"{short}\"");
    assert_eq!(warned(&same), <[String; 0]>::default());
}

#[test]
fn letting_whoever_pushes_deploy_to_a_protected_environment_is_a_warning() {
    let key = "version = \"{staging.version}\"";
    let open = SHOP.replace(key, &format!("{key}\nconfirm = false"));
    assert_eq!(warned(&open), ["pipeline.shop.stage[7].confirm"]);
    let loaded = loaded(&open);
    let production = stage(&pipeline(&loaded, "shop"), "production");
    assert!(!deploy(&production).confirm);
}

#[test]
fn asking_for_a_pipeline_that_is_not_there_says_which_are() {
    let loaded = loaded(SHOP);
    let names: Vec<_> = loaded
        .config
        .pipelines()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names, ["shop"]);
    let ask = |loaded: &Loaded, name: &str| {
        let answer = loaded.config.pipeline(&name.parse().expect("a name"));
        answer.expect_err("it is not there").to_string()
    };
    assert_eq!(
        ask(&loaded, "shpo"),
        "there is no pipeline shpo; did you mean \"shop\"?"
    );
    assert_eq!(
        ask(&super::loaded(""), "shop"),
        "there is no pipeline shop; add one as [pipeline.NAME] to the configuration"
    );
}

#[test]
fn webhooks_are_listened_for_only_where_they_are_written() {
    assert_eq!(loaded("").config.webhook(), None);
    let loaded = loaded(SHOP);
    let webhook = loaded.config.webhook().expect("written");
    assert_eq!(webhook.listen.to_string(), "127.0.0.1:9095");
    let [github, gitlab] = webhook.sources.as_slice() else {
        panic!("two sources");
    };
    assert_eq!(github.provider, Provider::Github);
    assert_eq!(github.secret, SecretRef::Env("WEBHOOK_SECRET".to_owned()));
    assert_eq!(github.repository, "acme/shop");
    let rule = |pushed: Pushed, environment: Option<&str>| WebhookRule {
        pushed,
        pipeline: "shop".parse().expect("a name"),
        environment: environment.map(|name| name.parse().expect("a name")),
    };
    let branch = |name: &str| Pushed::Branch(name.to_owned());
    assert_eq!(
        github.rules,
        [
            rule(branch("main"), Some("production")),
            rule(branch("develop"), Some("staging")),
            rule(Pushed::Tag("v*".to_owned()), None),
        ]
    );
    assert_eq!(gitlab.provider, Provider::Gitlab);
    assert_eq!(gitlab.rules, [rule(branch("*"), None)]);
}

#[test]
fn a_webhook_reached_by_others_must_be_wanted() {
    let exposed = SHOP.replace("listen = 9095", "listen = \"0.0.0.0:9095\"\nexposed = true");
    let loaded = loaded(&exposed);
    let webhook = loaded.config.webhook().expect("written");
    assert_eq!(webhook.listen.to_string(), "0.0.0.0:9095");
}

// ---- What a change looks like ----

fn changes(new: &str) -> Vec<String> {
    let (old, new) = (loaded(SHOP).written, loaded(new).written);
    old.difference(&new)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_changed_stage_is_told_by_its_name() {
    let longer = SHOP.replace("timeout = \"45m\"", "timeout = \"1h\"");
    assert_eq!(
        changes(&longer),
        ["pipeline.shop.stage[test].timeout: \"45m\" → \"1h\""]
    );
    let first = "[[pipeline.shop.stage]]\nname = \"first\"\ncommand = [\"true\"]\n";
    let at = SHOP.find("[[pipeline.shop.stage]]").expect("written");
    let more = format!("{}{first}{}", &SHOP[..at], &SHOP[at..]);
    let told = changes(&more);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("→ [\"first\", \"lint\","), "{}", told[0]);
    assert_eq!(
        told[1..],
        [
            "pipeline.shop.stage[first].command: unset → [\"true\"]",
            "pipeline.shop.stage[first].name: unset → \"first\"",
        ]
    );
}

#[test]
fn what_may_be_secret_is_not_told() {
    for (old, new, key) in [
        (
            "env:TOKEN",
            "env:OTHER",
            "pipeline.shop.stage[test].secrets.TOKEN",
        ),
        (
            "\"{branch}\"",
            "\"hunter2\"",
            "pipeline.shop.stage[test].env.BRANCH",
        ),
        (
            "VERSION = \"{short}\"",
            "VERSION = \"hunter2\"",
            "pipeline.shop.stage[image].build.arguments.VERSION",
        ),
        (
            "env:WEBHOOK_SECRET",
            "env:OTHER",
            "webhook.source[0].secret",
        ),
    ] {
        let told = changes(&SHOP.replace(old, new));
        assert_eq!(told, [format!("{key}: (not shown) → (not shown)")]);
    }
    let rule = changes(&SHOP.replace("\"v*\"", "\"w*\""));
    assert_eq!(rule.len(), 1);
    assert!(
        rule[0].starts_with("webhook.source[0].rules: [{ branch"),
        "{}",
        rule[0]
    );
}

#[test]
fn a_pipeline_belongs_to_the_file_that_names_it() {
    let (a, b) = (Path::new("/etc/a.toml"), Path::new("/srv/ci/b.toml"));
    let both = wheelhouse::config::Config::of_texts(&[
        (a, super::SERVICE),
        (
            b,
            "[pipeline.p]\nrepository = \".\"\nstage = [{ name = \"d\", deploy = \"web@dev\" }]\n",
        ),
    ]);
    let both = both.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(pipeline(&both, "p").repository, "/srv/ci/.");
}
