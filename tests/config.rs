//! Configuration files as people write them: what loads, what is refused and in which words.
//!
//! `configs/valid` must load without a word, `configs/invalid` each with exactly the text in the
//! `.stderr` file beside it. `WHEELHOUSE_BLESS=1` writes those texts anew; read the difference.

#[path = "config/pipeline.rs"]
mod pipeline;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::{Strategy as Generator, *};
use wheelhouse::config::accepted::TABLES;
use wheelhouse::config::{
    BalancerSettings, Config, ConfigErrors, FILE_MAX_BYTES, Loaded, Shares, defaults,
};
use wheelhouse::model::service::{CheckKind, HealthCheck, HttpCheck, SmokeTest, Step};
use wheelhouse::model::strategy::{Recreate, Rolling, Strategy};
use wheelhouse::model::{Placement, ServerName, ServiceSpec};

fn corpus(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new("tests/configs").join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the corpus is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    files.sort();
    files
}

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    Config::of_texts(&[(Path::new("/etc/wheelhouse.toml"), text)])
}

fn loaded(text: &str) -> Loaded {
    load_text(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn spec(loaded: &Loaded, placement: &str) -> ServiceSpec {
    let placement: Placement = placement.parse().expect("a placement");
    let (service, env) = (&placement.service, &placement.environment);
    match loaded.config.spec(service, env) {
        Ok(spec) => spec.clone(),
        Err(error) => panic!("{error}"),
    }
}

const SERVICE: &str = r#"
[service.web]
command = ["./web", "{port}"]
listen = 8080
"#;

const HAPROXY: &str = r#"
[service.web]
command = ["./web", "{port}"]
instances = 1
servers = { a = "10.0.0.1:80", b = "10.0.0.2:80" }
[balancer.lb]
kind = "haproxy"
socket = "/run/haproxy.sock"
state_file = "/var/lib/haproxy/state"
"#;

// ---- The corpora ----

#[test]
fn valid_files_load_without_a_word() {
    let files = corpus("valid");
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let loaded = Config::of_texts(&[(&path, &text)]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = loaded.warnings;
        assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
    }
}

#[test]
fn invalid_files_are_refused_with_these_words() {
    let files = corpus("invalid");
    assert!(files.len() >= 60, "only {} cases", files.len());
    let bless = std::env::var_os("WHEELHOUSE_BLESS").is_some();
    for path in files {
        let text = std::fs::read(&path).expect("readable");
        let text = String::from_utf8(text).expect("UTF-8; other bytes have a test of their own");
        let name = PathBuf::from(path.file_name().expect("has a name"));
        let errors = match Config::of_texts(&[(&Path::new("/etc").join(&name), &text)]) {
            Ok(_) => panic!("{} was accepted", path.display()),
            Err(errors) => errors,
        };
        let lines = text.lines().count().max(1);
        for error in &errors.0 {
            assert!((1..=lines).contains(&error.position.line), "{error}");
            assert!(error.position.column >= 1, "{error}");
            assert!(!error.what.is_empty() && !error.mend.is_empty(), "{error}");
        }
        let snapshot = path.with_extension("stderr");
        let words = format!("{errors}\n").replace("/etc/", "");
        if bless {
            std::fs::write(&snapshot, &words).expect("writable");
        }
        let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
        assert_eq!(words, expected, "{}", path.display());
    }
}

// ---- The example ----

const EXAMPLE: &str = include_str!("../config.example.toml");

/// The example with every setting switched on.
fn example_uncommented() -> String {
    let switched_off = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
            .map(str::to_owned)
    };
    EXAMPLE
        .lines()
        .map(|line| switched_off(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

/// The kind of table a path belongs to, and the keys below it, for every table written.
fn documented(value: &toml::Table) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

fn walk(path: &str, table: &toml::Table, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for (key, value) in table {
        found.entry(kind_of(path)).or_default().insert(key.clone());
        let below = format!("{path}.{key}");
        match value {
            toml::Value::Table(table) => walk(&below, table, found),
            toml::Value::Array(list) => list
                .iter()
                .filter_map(toml::Value::as_table)
                .for_each(|table| walk(&below, table, found)),
            _ => {}
        }
    }
}

/// `.service.web.env.dev.canary` → `canary`: names become `*`, and overrides count as what they
/// override.
fn kind_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').skip(1).collect();
    let parts: Vec<&str> = match parts.as_slice() {
        ["service", _, "env", _, rest @ ..] => {
            ["service", "*"].into_iter().chain(rest.to_vec()).collect()
        }
        ["service", _, rest @ ..] => ["service", "*"].into_iter().chain(rest.to_vec()).collect(),
        [
            kind @ ("env" | "runtime" | "balancer" | "metrics" | "roles"),
            _,
        ] => vec![kind, "*"],
        ["metrics", _, "queries"] => vec!["metrics", "*", "queries"],
        ["runtime", _, "registry", _] => vec!["runtime", "*", "registry", "*"],
        ["pipeline", _, rest @ ..] => ["pipeline", "*"].into_iter().chain(rest.to_vec()).collect(),
        ["policy", "env", _] => vec!["policy", "env", "*"],
        other => other.to_vec(),
    };
    match parts.as_slice() {
        [
            "service",
            "*",
            shared @ ("canary" | "blue_green" | "rolling" | "recreate" | "analysis"),
            rest @ ..,
        ] => std::iter::once(shared)
            .chain(rest)
            .copied()
            .collect::<Vec<_>>()
            .join("."),
        ["service", "*", "servers", _] => "service.*.servers.*".to_owned(),
        other => other.join("."),
    }
}

#[test]
fn the_example_loads_as_it_stands_and_with_everything_switched_on() {
    let plain = loaded(EXAMPLE);
    assert_eq!(plain.warnings, []);
    let all = loaded(&example_uncommented());
    assert_eq!(all.warnings, []);
    assert!(all.config.has_protected());
}

#[test]
fn the_example_documents_every_accepted_key_and_no_other() {
    let text = example_uncommented();
    let documented = documented(&text.parse().expect("TOML"));
    let mut accepted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for table in TABLES {
        let kind = match table.table {
            "service.*.env.*" => "service.*",
            other => other,
        };
        let keys = table.keys.iter().map(|key| (*key).to_owned());
        accepted.entry(kind.to_owned()).or_default().extend(keys);
    }
    for (kind, keys) in &accepted {
        assert_eq!(documented.get(kind), Some(keys), "[{kind}]");
    }
}

/// An HTTP check without what the example shows of keys that have no default.
fn without_extras(kind: &CheckKind) -> HttpCheck {
    let shown = kind.http().expect("the example's first checks are HTTP");
    HttpCheck {
        method: shown.method.clone(),
        status: shown.status,
        ..HttpCheck::get(&shown.path)
    }
}

#[test]
fn the_defaults_that_the_example_shows_are_the_defaults() {
    let plain = loaded(EXAMPLE);
    let all = loaded(&example_uncommented());
    let (shown, real) = (spec(&all, "web@dev"), spec(&plain, "web@dev"));
    assert_eq!(shown.canary, real.canary);
    assert_eq!(shown.canary, defaults::canary());
    assert_eq!(shown.analysis, defaults::analysis());
    let nothing_measures = wheelhouse::model::service::AnalysisSettings {
        cpu: None,
        memory: None,
        disk: None,
        uptime: None,
        ..defaults::analysis()
    };
    assert_eq!(real.analysis, nothing_measures);
    assert_eq!(shown.instances, real.instances);
    assert_eq!(shown.servers, real.servers);
    assert_eq!(shown.workload.stop_grace_ms, real.workload.stop_grace_ms);
    assert_eq!(
        (shown.runtimes, shown.balancers),
        (real.runtimes, real.balancers)
    );
    let shown_health = HealthCheck {
        kind: CheckKind::Http(without_extras(&shown.health.kind)),
        ..shown.health
    };
    assert_eq!(shown_health, defaults::health());
    assert_eq!(real.health, defaults::health());
    assert_eq!(shown.smoke_timeout_ms, real.smoke_timeout_ms);
    let (shown, real) = (&shown.smoke[0], &real.smoke[0]);
    let shown = SmokeTest {
        kind: CheckKind::Http(without_extras(&shown.kind)),
        ..shown.clone()
    };
    assert_eq!(shown, *real);
    assert_eq!(all.config.console(), plain.config.console());
    let lb = all
        .config
        .balancers()
        .find(|(name, _)| name.as_str() == "lb");
    let Some((_, BalancerSettings::Haproxy(lb))) = lb else {
        panic!("the example has a HAProxy");
    };
    assert_eq!(lb.backend, defaults::HAPROXY_BACKEND);
    assert_eq!(lb.shares, Shares::Exact);
}

#[test]
fn the_defaults_of_each_strategy_that_the_example_shows_are_the_defaults() {
    let example = example_uncommented();
    let from = example.find("\n[blue_green]").expect("documented");
    let shown = &example[from..];
    let shown = &shown[..shown.find("\n# ---- ").expect("another section")];
    for word in ["blue-green", "rolling", "recreate"] {
        let plain = format!("{SERVICE}strategy = \"{word}\"\n");
        let chosen = strategy(&plain, "web@dev");
        assert_eq!(chosen.word(), word);
        assert_eq!(strategy(&format!("{plain}{shown}"), "web@dev"), chosen);
    }
}

// ---- The comparison with stable ----

#[test]
fn errors_are_compared_by_default_and_as_a_multiple_only_where_nothing_else_counts_them() {
    let analysis = |text: &str, placement: &str| spec(&loaded(text), placement).analysis;
    let plain = analysis(SERVICE, "web@dev");
    assert_eq!(plain.comparison, Some(defaults::comparison()));
    assert_eq!(plain.error_ratio_vs_stable, None);
    let written = format!(
        "{SERVICE}[analysis]\ntolerated_ratio = 1.5\n[service.web.analysis]\n\
         smallest_regression_worth_catching = 3\ncompare_latencies = true\nearly_safety = true\n"
    );
    let comparison = analysis(&written, "web@dev").comparison.expect("on");
    let ratios = (comparison.tolerated_ratio, comparison.smallest_regression);
    assert_eq!(ratios, (1.5, 3.0), "key by key");
    assert!(comparison.latencies && comparison.early_safety);
    let off = format!("{SERVICE}[analysis]\nfalse_alarm_per_rollout = false\n");
    assert_eq!(analysis(&off, "web@dev").comparison, None);
    let worker = "[metrics.prom]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\n\
                  preset = \"http\"\nscrape_interval = \"5s\"\n[service.jobs]\n\
                  command = [\"./jobs\", \"{port}\"]\ntraffic = \"none\"\n\
                  strategy = \"rolling\"\nservers = { j1 = \"127.0.0.1:8301\", \
                  j2 = \"127.0.0.1:8302\", j3 = \"127.0.0.1:8303\" }\n";
    let of_source = analysis(worker, "jobs@dev");
    assert_eq!(of_source.comparison, None);
    assert_eq!(of_source.error_ratio_vs_stable, Some(1.5));
    let off = format!("{worker}[service.jobs.analysis]\nerror_ratio_vs_stable = false\n");
    assert_eq!(analysis(&off, "jobs@dev").error_ratio_vs_stable, None);
}

// ---- Strategies ----

fn strategy(text: &str, placement: &str) -> Strategy {
    spec(&loaded(text), placement).strategy
}

fn shares(steps: &[Step]) -> Vec<(u8, u64, bool)> {
    let share = |step: &Step| (step.weight_percent, step.soak_ms, step.pause);
    steps.iter().map(share).collect()
}

#[test]
fn blue_green_is_resolved_per_environment_and_slots_are_halves_of_derived_servers() {
    let text = include_str!("configs/valid/blue_green.toml");
    let (Strategy::BlueGreen(dev), Strategy::BlueGreen(prod)) =
        (strategy(text, "web@dev"), strategy(text, "web@prod"))
    else {
        panic!("both are blue-green");
    };
    let names = |servers: &[ServerName]| -> Vec<String> {
        servers.iter().map(ServerName::to_string).collect()
    };
    assert_eq!(names(&dev.slots.blue), ["s1", "s2"]);
    assert_eq!(names(&dev.slots.green), ["s3", "s4"]);
    assert_eq!(names(&prod.slots.green), ["b", "d", "e"]);
    let switch = [
        (10, 120_000, false),
        (50, 60_000, true),
        (100, 120_000, false),
    ];
    assert_eq!(shares(&dev.switch), switch);
    assert_eq!(shares(&prod.switch), [(100, 120_000, false)]);
    assert_eq!((dev.confirm, prod.confirm), (false, true), "as protected");
}

#[test]
fn whether_a_person_begins_the_switch_can_be_written() {
    let text = include_str!("configs/valid/blue_green.toml");
    let text = text.replace("[blue_green]", "[blue_green]\nconfirm = false");
    let Strategy::BlueGreen(prod) = strategy(&text, "web@prod") else {
        panic!("it is blue-green");
    };
    assert!(!prod.confirm);
}

#[test]
fn rolling_needs_no_second_set_of_servers() {
    let text = include_str!("configs/valid/rolling.toml");
    let dev = Rolling {
        batch: 2,
        max_surge: 2,
        min_healthy_ms: 20_000,
        first_watch_ms: Some(300_000),
        pause_after_first: true,
        ..defaults::rolling()
    };
    let prod = Rolling {
        max_unavailable: 2,
        max_surge: 0,
        progress_deadline_ms: 3_600_000,
        ..dev
    };
    assert_eq!(strategy(text, "web@dev"), Strategy::Rolling(dev));
    assert_eq!(strategy(text, "web@prod"), Strategy::Rolling(prod));
    let loaded = loaded(text);
    assert_eq!(spec(&loaded, "web@dev").servers.len(), 6, "still twice");
    assert_eq!(spec(&loaded, "web@prod").servers.len(), 3);
}

#[test]
fn recreate_needs_as_many_servers_as_instances() {
    let text = include_str!("configs/valid/recreate.toml");
    let spec = spec(&loaded(text), "ledger@dev");
    let wanted = Strategy::Recreate(Recreate { watch_ms: 300_000 });
    assert_eq!((spec.strategy, spec.servers.len()), (wanted, 1));
}

#[test]
fn a_service_without_traffic_has_places_but_no_balancer() {
    let loaded = loaded(include_str!("configs/valid/worker.toml"));
    let spec = spec(&loaded, "worker@dev");
    assert!(!spec.has_traffic());
    assert_eq!(spec.servers.len(), 3);
    assert_eq!(loaded.config.listen(&spec.placement), None);
    assert_eq!(
        (spec.analysis.error_ratio, spec.analysis.latency_p99_ms),
        (None, None),
        "nobody counts its requests"
    );
    assert!(spec.analysis.infrastructure_health.is_some());
}

#[test]
fn keys_that_no_strategy_of_the_service_uses_are_warnings() {
    let warned = |more: &str| -> Vec<String> {
        let warnings = loaded(&format!("{SERVICE}{more}")).warnings;
        warnings.into_iter().map(|warning| warning.key).collect()
    };
    let rolling = "[service.web.rolling]\nbatch = 1\n";
    assert_eq!(warned(rolling), ["service.web.rolling"]);
    let used = format!("strategy = \"rolling\"\n{rolling}");
    assert_eq!(warned(&used), <[String; 0]>::default());
    let shared = "[rolling]\nbatch = 1\n";
    assert_eq!(
        warned(shared),
        <[String; 0]>::default(),
        "a default for others"
    );
    let canary = "strategy = \"recreate\"\n[service.web.canary]\nsteps = [100]\nsoak = \"1m\"\nkeep_warm = \"1h\"\n";
    assert_eq!(
        warned(canary),
        ["service.web.canary.steps", "service.web.canary.soak"]
    );
    let in_env = "[env.dev]\n[service.web.env.dev.recreate]\nwatch = \"1m\"\n";
    assert_eq!(warned(in_env), ["service.web.env.dev.recreate"]);
}

#[test]
fn where_a_worker_would_listen_is_a_warning() {
    let text = include_str!("configs/valid/worker.toml");
    let text = text.replace("traffic = \"none\"", "traffic = \"none\"\nlisten = 8080");
    let warnings = loaded(&text).warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key, "service.worker.listen");
}

#[test]
fn a_worker_that_a_command_finds_healthy_need_not_listen() {
    let text = include_str!("configs/valid/worker.toml");
    let deaf = text.replace(", \"{port}\"", "");
    let with = |health: &str| {
        loaded(&format!(
            "{deaf}\n[service.worker.health]\nkind = \"command\"\n{health}\n"
        ))
        .warnings
    };
    assert!(with("command = [\"./healthy\"]").is_empty());
    let told = with("command = [\"./healthy\", \"{address}\"]");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].key, "service.worker.command");
    assert_eq!(
        loaded(&deaf).warnings.len(),
        1,
        "a probe over HTTP connects"
    );
}

// ---- Checks ----

#[test]
fn every_kind_of_check_is_read() {
    let loaded = loaded(include_str!("configs/valid/checks.toml"));
    let web = spec(&loaded, "web@dev");
    let http = web.health.kind.http().expect("HTTP");
    assert_eq!(
        (http.method.as_str(), http.path.as_str()),
        ("HEAD", "/readyz")
    );
    assert_eq!(http.headers["Host"], "web.example");
    assert_eq!(spec(&loaded, "cache@dev").health.kind, CheckKind::Tcp);
    let program = |kind: &CheckKind| match kind {
        CheckKind::Command { command } => command.clone(),
        other => panic!("{other:?} is no command"),
    };
    let jobs = spec(&loaded, "jobs@dev");
    assert!(program(&jobs.health.kind)[0].ends_with("/check-jobs"));
    assert_eq!(jobs.smoke_timeout_ms, 5 * 60_000);

    assert_eq!(web.smoke_timeout_ms, 30_000);
    let [accepts, certificate, resolver, front] = web.smoke.as_slice() else {
        panic!("four tests");
    };
    assert_eq!((&accepts.kind, accepts.critical), (&CheckKind::Tcp, false));
    assert_eq!(
        (certificate.attempts, certificate.retry_interval_ms),
        (3, 500)
    );
    let words = program(&certificate.kind);
    assert!(
        Path::new(&words[0]).is_absolute(),
        "a path begins at its file"
    );
    assert_eq!(words[1..], ["{address}", "{server}"]);
    assert_eq!(
        program(&resolver.kind),
        ["true"],
        "a name is looked up in PATH"
    );
    let front = front.kind.http().expect("HTTP");
    assert_eq!(front.matches.as_deref(), Some(r"^ready \d+$"));
}

// ---- Layers ----

#[test]
fn the_nearest_table_wins_key_by_key() {
    let text = include_str!("configs/valid/override_layers.toml");
    let loaded = loaded(text);
    let (dev, staging) = (spec(&loaded, "web@dev"), spec(&loaded, "web@staging"));
    let soaks = |spec: &ServiceSpec| -> Vec<u64> {
        spec.canary.steps.iter().map(|step| step.soak_ms).collect()
    };
    assert_eq!(soaks(&dev), [60_000; 4]);
    assert_eq!(soaks(&staging), [120_000; 2]);
    assert!(staging.canary.steps[0].pause);
    assert_eq!(
        (dev.canary.min_requests, staging.canary.min_requests),
        (200, 200)
    );
    assert_eq!((dev.instances, staging.instances), (2, 3));
    assert_eq!(dev.workload.env["COLOR"], "blue");
    assert_eq!(staging.workload.env["COLOR"], "green");
    assert_eq!(staging.workload.env["PORT"], "{port}", "variables merge");
    assert_eq!(staging.analysis.latency_p99_ms, None, "switched off");
    assert_eq!(dev.analysis.latency_p99_ms, Some(1_000));
}

#[test]
fn without_environments_there_is_one_with_everything_embedded() {
    let loaded = loaded(SERVICE);
    let spec = spec(&loaded, "web@dev");
    assert!(!spec.protected);
    assert_eq!(spec.runtimes[0].as_str(), "host");
    assert_eq!(spec.balancers[0].balancer.as_str(), "host");
    assert_eq!(spec.balancers[0].backend.as_str(), "web.dev");
    let servers: Vec<String> = spec
        .servers
        .iter()
        .map(|server| format!("{} {}", server.name, server.address))
        .collect();
    let expected = [
        "s1 127.0.0.1:8081",
        "s2 127.0.0.1:8082",
        "s3 127.0.0.1:8083",
        "s4 127.0.0.1:8084",
    ];
    assert_eq!(servers, expected);
    let listen = loaded.config.listen(&spec.placement).map(|a| a.to_string());
    assert_eq!(listen.as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(spec.config_hash, loaded.hash);
}

#[test]
fn instances_behind_a_proxy_on_all_interfaces_listen_on_this_machine_only() {
    let loaded = loaded(include_str!("configs/valid/ipv6.toml"));
    let spec = spec(&loaded, "web@dev");
    assert_eq!(spec.servers[0].address.to_string(), "[::1]:8081");
}

#[test]
fn behind_haproxy_latencies_are_not_judged_and_the_backend_follows_the_pattern() {
    let loaded = loaded(HAPROXY);
    let spec = spec(&loaded, "web@dev");
    let off = &spec.analysis;
    assert_eq!((off.latency_p99_ms, off.mean_ms), (None, None));
    assert_eq!(
        (off.latency_p99_vs_stable, off.mean_vs_stable),
        (None, None)
    );
    assert_eq!(off.error_ratio, Some(0.05));
    assert_eq!(spec.balancers[0].backend.as_str(), "be_web");
    assert_eq!(spec.runtimes[0].as_str(), "host");
    assert_eq!(loaded.config.listen(&spec.placement), None);
}

#[test]
fn a_haproxy_that_logs_has_latencies() {
    let text = HAPROXY.replace(
        "kind = \"haproxy\"",
        "kind = \"haproxy\"\nlog = \"127.0.0.1:5140\"",
    );
    let loaded = loaded(&text);
    let on = &spec(&loaded, "web@dev").analysis;
    assert_eq!(
        (on.latency_p99_ms, on.mean_ms),
        (Some(1_000), Some(2_000.0))
    );
}

#[test]
fn relative_paths_begin_at_the_file_they_are_written_in() {
    let loaded = loaded(include_str!("configs/valid/haproxy_and_host.toml"));
    let lb = loaded
        .config
        .balancers()
        .find(|(name, _)| name.as_str() == "lb");
    let Some((_, BalancerSettings::Haproxy(lb))) = lb else {
        panic!("there is a HAProxy");
    };
    assert_eq!(lb.socket, Path::new("/etc/haproxy.sock"));
    let backend = "be_web".parse().expect("a name");
    assert_eq!(lb.state_file(&backend), Path::new("/etc/state/be_web"));
    let production = spec(&loaded, "web@production");
    assert_eq!(production.balancers[0].backend.as_str(), "www");
    assert!(production.protected && loaded.config.has_protected());
    assert_eq!(
        production.servers.len(),
        2,
        "servers are replaced as a whole"
    );
}

#[test]
fn asking_for_a_service_that_is_not_there_says_where_it_is() {
    let loaded = loaded(SERVICE);
    let ask = |service: &str, env: &str| {
        let (service, env) = (service.parse().expect("name"), env.parse().expect("name"));
        let answer = loaded.config.spec(&service, &env);
        answer.expect_err("it is not there").to_string()
    };
    assert_eq!(
        ask("web", "production"),
        "service web is not in environment production; it is in: dev"
    );
    assert_eq!(
        ask("wbe", "dev"),
        "there is no service wbe; did you mean \"web\"?"
    );
}

#[test]
fn an_instance_that_cannot_learn_its_port_is_a_warning() {
    let loaded = loaded(&SERVICE.replace("{port}", "80"));
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].key, "service.web.command");
    assert_eq!(loaded.warnings[0].position.line, 3);
}

#[test]
fn a_step_that_could_pass_before_its_error_limit_can_bind_is_a_warning() {
    for (min_requests, error_ratio, warned) in [
        (99, "0.05", true),
        (100, "0.05", false),
        (300, "0.01", true),
        (9, "false", false),
    ] {
        let text = format!(
            "{SERVICE}\n[canary]\nmin_requests = {min_requests}\n\
             [analysis]\nerror_ratio = {error_ratio}\n"
        );
        let warnings = loaded(&text).warnings;
        let told: Vec<_> = warnings
            .iter()
            .map(|warning| warning.key.as_str())
            .collect();
        let wanted: &[&str] = if warned {
            &["canary.min_requests"]
        } else {
            &[]
        };
        assert_eq!(told, wanted, "{text}");
    }
}

#[test]
fn a_state_directory_is_as_written_or_the_users_own() {
    let written = loaded("state_dir = \"state\"");
    assert_eq!(written.config.state_dir(), Ok(PathBuf::from("/etc/state")));
    if let Ok(directory) = loaded("").config.state_dir() {
        assert!(directory.ends_with("wheelhouse"), "{}", directory.display());
    }
}

// ---- Several files ----

#[test]
fn files_merge_by_table_and_the_hash_is_that_of_their_bytes() {
    let (a, b) = (Path::new("/etc/a.toml"), Path::new("/etc/b.toml"));
    let more = "[service.web.canary]\nsoak = \"1m\"\n";
    let both = Config::of_texts(&[(a, SERVICE), (b, more)]).expect("valid");
    assert_eq!(spec(&both, "web@dev").canary.steps[0].soak_ms, 60_000);
    assert_eq!(both.paths, [a, b]);
    assert_eq!(both.hash, loaded(&format!("{SERVICE}{more}")).hash);
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(loaded("").hash, nothing, "SHA-256 of no bytes");
}

#[test]
fn a_key_set_in_two_files_names_both_with_their_lines() {
    let (a, b) = (Path::new("/etc/a.toml"), Path::new("/etc/b.toml"));
    let again = "[canary]\n[service.web]\n\nlisten = 1\n";
    let errors = Config::of_texts(&[(a, SERVICE), (b, again)]).expect_err("a duplicate");
    let expected = "/etc/b.toml:4:1: service.web.listen\n  is set already at /etc/a.toml:4\n  \
                    mend: keep one of the two";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn errors_are_json_too() {
    let errors = load_text("x = 1").expect_err("unknown");
    let json = errors.to_json();
    assert_eq!(json[0]["file"], "/etc/wheelhouse.toml");
    assert_eq!(
        (&json[0]["line"], &json[0]["column"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&json[0]["key"], &json[0]["what"]),
        (&"x".into(), &"is an unknown key".into())
    );
}

#[test]
fn a_flood_of_faults_is_counted_and_cut() {
    let text: String = (0..2_000).map(|i| format!("x{i} = 1\n")).collect();
    let errors = load_text(&text).expect_err("unknown keys");
    assert_eq!(errors.0.len(), wheelhouse::config::errors::ERRORS_MAX);
    let last = errors.0.last().expect("not empty").to_string();
    assert!(last.ends_with("(and 1500 more faults)"), "{last}");
}

// ---- Files on disk ----

/// A directory with one configuration of the given mode.
fn on_disk(text: impl AsRef<[u8]>, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("wheelhouse.toml");
    std::fs::write(&path, text).expect("writable");
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own file");
    (directory, path)
}

fn load_error(path: &Path) -> String {
    let loaded = Config::load(&[path.to_owned()]);
    loaded.expect_err("this must be refused").to_string()
}

fn protected() -> String {
    format!("{SERVICE}\n[env.production]\nprotected = true\n")
}

#[test]
fn a_file_that_others_may_write_is_refused_where_it_protects_something() {
    for (mode, who) in [
        (0o666, "its group and all others"),
        (0o660, "its group"),
        (0o602, "all others"),
    ] {
        let (_directory, path) = on_disk(protected(), mode);
        let error = load_error(&path);
        let expected = format!("can be written by {who}, and it protects an environment");
        assert!(error.contains(&expected), "{error}");
        let (_directory, path) = on_disk(SERVICE, mode);
        let loaded = Config::load(&[path]).expect("nothing is protected");
        assert_eq!(loaded.warnings[0].what, format!("can be written by {who}"));
    }
    let (_directory, path) = on_disk(protected(), 0o640);
    assert_eq!(Config::load(&[path]).expect("safe").warnings, []);
}

#[test]
fn a_symbolic_link_is_refused_where_it_protects_something() {
    for (text, refused) in [(protected(), true), (SERVICE.to_owned(), false)] {
        let (directory, path) = on_disk(text, 0o600);
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        match Config::load(&[link]) {
            Ok(loaded) => {
                assert!(!refused);
                assert_eq!(loaded.warnings[0].what, "is a symbolic link");
            }
            Err(errors) => {
                assert!(refused, "{errors}");
                assert!(
                    errors.to_string().contains("is a symbolic link"),
                    "{errors}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    let (directory, path) = on_disk(b"a = 1\nb = \"\xff\"\n", 0o600);
    let error = load_error(&path);
    assert!(error.contains(":2:6\n  is not UTF-8"), "{error}");

    let large = vec![b'#'; FILE_MAX_BYTES as usize + 1];
    let (_directory, path) = on_disk(&large, 0o600);
    assert!(load_error(&path).contains("is larger than 1024 kB"));
    let (_directory, path) = on_disk(&large[1..], 0o600);
    assert!(Config::load(&[path]).is_ok(), "exactly the limit");

    assert!(load_error(directory.path()).contains("is not a regular file"));
    let missing = directory.path().join("missing.toml");
    assert!(load_error(&missing).contains("cannot be read"));
    let both = Config::load(&[missing.clone(), directory.path().to_owned()]);
    assert_eq!(
        both.expect_err("both faulty").0.len(),
        2,
        "all files at once"
    );
}

#[test]
fn a_named_pipe_is_refused_without_waiting_for_a_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    assert!(load_error(&pipe).contains("is not a regular file"));
}

#[test]
fn a_file_named_twice_is_refused() {
    let (_directory, path) = on_disk(SERVICE, 0o600);
    let errors = Config::load(&[path.clone(), path]).expect_err("twice");
    assert!(errors.to_string().contains("is given twice"), "{errors}");
}

// ---- Anything at all ----

/// Values of every kind, likely and absurd.
fn any_value() -> impl Generator<Value = String> + Clone {
    prop_oneof![
        Just("true".to_owned()),
        Just("nan".to_owned()),
        Just("-inf".to_owned()),
        Just("2020-01-01".to_owned()),
        Just("[5, 100]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("TOML writes it otherwise", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        any::<String>().prop_map(|text| toml::Value::String(text).to_string()),
        Just("\"10.0.0.1:80\"".to_owned()),
        Just("\"5m\"".to_owned()),
        Just("[{ weight = 5, soak = \"1s\" }]".to_owned()),
        Just(
            "[{ name = \"a\", command = [\"{b.c}\"] }, { name = \"b\", deploy = \"a@dev\" }]"
                .to_owned()
        ),
        Just("[{ rules = [{ branch = \"*\", pipeline = \"p\" }] }]".to_owned()),
    ]
}

/// Known keys with any value, in known tables.
fn any_document() -> impl Generator<Value = String> {
    let tables = [
        "service.a",
        "service.a.health",
        "service.a.canary",
        "service.a.slots",
        "service.a.rolling",
        "blue_green",
        "recreate",
        "service.a.env.dev",
        "canary",
        "analysis",
        "env.dev",
        "env.prod",
        "runtime.r",
        "balancer.b",
        "pipeline.p",
        "webhook",
        "console",
        "keys",
    ];
    let keys: Vec<&str> = TABLES
        .iter()
        .flat_map(|table| table.keys)
        .copied()
        .collect();
    let entries = prop::collection::btree_map(prop::sample::select(keys), any_value(), 0..6);
    let tables = prop::sample::subsequence(tables.to_vec(), 0..tables.len());
    tables.prop_flat_map(move |tables| {
        let bodies = prop::collection::vec(entries.clone(), tables.len());
        (Just(tables), bodies).prop_map(|(tables, bodies)| {
            let table = |(name, body): (&str, std::collections::BTreeMap<&str, String>)| {
                let lines = body.iter().map(|(key, value)| format!("{key} = {value}\n"));
                format!("[{name}]\n{}", lines.collect::<String>())
            };
            tables.into_iter().zip(bodies).map(table).collect()
        })
    })
}

/// Loads a text; every fault must have a place in it, a reason and a mend, and show nothing that a
/// terminal would obey.
fn must_stand(text: &str) {
    let Err(errors) = load_text(text) else {
        return;
    };
    assert!(!errors.0.is_empty());
    let lines = text.split('\n').count();
    for error in &errors.0 {
        assert!((1..=lines).contains(&error.position.line), "{error}");
        assert!(!error.what.is_empty() && !error.mend.is_empty(), "{error}");
        let hostile = |c: char| c.is_control() && c != '\n';
        assert!(!error.to_string().contains(hostile), "{error:?}");
    }
    let mut sorted = errors.0.clone();
    sorted.sort_by(|a, b| a.position.cmp(&b.position));
    let places = |list: &[wheelhouse::config::ConfigError]| -> Vec<_> {
        list.iter().map(|error| error.position.clone()).collect()
    };
    assert_eq!(places(&errors.0), places(&sorted), "from top to bottom");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        must_stand(&text);
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(text in any_document()) {
        must_stand(&text);
    }

    #[test]
    fn no_damage_to_the_example_makes_it_panic(at in 0..EXAMPLE.len(), cut in 0_usize..200, put in ".{0,8}") {
        let whole = example_uncommented();
        let mut damaged: Vec<char> = whole.chars().collect();
        let from = at.min(damaged.len());
        let to = (from + cut).min(damaged.len());
        damaged.splice(from..to, put.chars());
        must_stand(&damaged.into_iter().collect::<String>());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let (_directory, path) = on_disk(&bytes, 0o600);
        let _any_answer_will_do = Config::load(&[path]);
    }
}

#[test]
fn a_service_has_its_parts_in_each_environment() {
    let text = std::fs::read_to_string("tests/configs/valid/parts.toml").expect("it is there");
    let loaded = loaded(&text);
    let (env, _) = loaded.config.environments().next().expect("one is");
    let shop = spec(&loaded, &format!("shop@{env}"));
    let names: Vec<_> = shop
        .parts
        .iter()
        .map(|part| part.placement.to_string())
        .collect();
    assert_eq!(
        names,
        [format!("shop-clock@{env}"), format!("shop-jobs@{env}")]
    );
    let jobs = spec(&loaded, &format!("shop-jobs@{env}"));
    assert_eq!(jobs.lead(), Some(shop.placement));
    assert!(jobs.parts.is_empty());
}
