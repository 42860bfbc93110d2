//! A real Prometheus that scrapes every second.

use crate::haproxy::{Behaviour, Haproxy, Instance, free_address};
use crate::needs::has;
use crate::support::{Exporter, RealPrometheus, eventually, installed};
use crate::{CANARY, STABLE, adapter, options, placement, read};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wheelhouse::analysis::{Evidence, SourceEvidence, SourceState, judge};
use wheelhouse::config::{Config, defaults};
use wheelhouse::metrics::discovery;
use wheelhouse::metrics::prometheus::query::quoted;
use wheelhouse::metrics::prometheus::{Login, Prometheus};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::metrics::{Figure, MetricsReading, Preset, ReleaseFigures, TargetGroup};
use wheelhouse::model::verdict::{Counters, VerdictClass};
use wheelhouse::model::{ReleaseId, ServiceSpec};
use wheelhouse::ports::{Metrics, NOTE};

/// What a service shows after so many requests and errors. Without errors it has no 5xx series.
fn counted(requests: u64, errors: u64, stamp: &str) -> String {
    let good = requests - errors;
    let mut text = format!("http_requests_total{{code=\"200\"}} {good}{stamp}\n");
    if errors > 0 {
        text += &format!("http_requests_total{{code=\"500\"}} {errors}{stamp}\n");
    }
    for (le, within) in [("0.25", good), ("1", requests), ("+Inf", requests)] {
        text += &format!("http_request_duration_seconds_bucket{{le=\"{le}\"}} {within}{stamp}\n");
    }
    text += &format!("http_request_duration_seconds_count {requests}{stamp}\n");
    text += &format!(
        "http_request_duration_seconds_sum {}{stamp}\n",
        requests as f64 / 10.0
    );
    text
}

/// A job that scrapes one address under a release.
fn job(name: &str, address: std::net::SocketAddr, release: ReleaseId) -> String {
    format!(
        "- job_name: {name}\n  static_configs:\n  - targets: ['{address}']\n    labels: \
         {{service: shop, environment: production, release: '{release}'}}\n"
    )
}

fn group(address: std::net::SocketAddr, release: ReleaseId, version: &str) -> TargetGroup {
    let labels = [
        ("service", "shop".to_owned()),
        ("environment", "production".to_owned()),
        ("release", release.to_string()),
        ("version", version.to_owned()),
        ("instance", version.to_owned()),
    ];
    TargetGroup {
        targets: vec![address.to_string()],
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// Two services with steady requests; the canary's errors are one in `errors_every`, or none.
struct Pair {
    stable: Exporter,
    canary: Exporter,
    counting: tokio::task::JoinHandle<()>,
}

impl Pair {
    async fn start(errors_every: Option<u64>) -> Self {
        let stable = Exporter::start(&counted(0, 0, "")).await;
        let canary = Exporter::start(&counted(0, 0, "")).await;
        let (mine, theirs) = (canary.teller(), stable.teller());
        let counting = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            for n in 0_u64.. {
                tick.tick().await;
                let requests = n * 10;
                let errors = errors_every.map_or(0, |every| requests / every);
                mine(&counted(requests, errors, ""));
                theirs(&counted(requests * 9, 0, ""));
            }
        });
        Self {
            stable,
            canary,
            counting,
        }
    }

    fn jobs(&self) -> String {
        job("stable", self.stable.address, STABLE) + &job("canary", self.canary.address, CANARY)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

/// Waits for an answer in which nothing is missing and there are requests on both sides.
async fn whole(prometheus: &Prometheus) -> MetricsReading {
    eventually("a whole answer", async || {
        let reading = read(prometheus).await.ok()?;
        let is_whole = |about: &Option<ReleaseFigures>| {
            about.as_ref().is_some_and(|about| {
                let requests = about.value(Figure::Requests).unwrap_or(0.0);
                about.nothing().is_none() && about.doubtful().is_none() && requests > 30.0
            })
        };
        (is_whole(&reading.canary) && is_whole(&reading.stable)).then_some(reading)
    })
    .await
}

#[tokio::test]
async fn a_clean_canary_without_a_5xx_series_has_no_errors_and_a_bad_one_has_them() {
    if !installed() {
        return;
    }
    for (errors_every, expected) in [(None, 0.0), (Some(10), 0.1)] {
        let pair = Pair::start(errors_every).await;
        let real = RealPrometheus::start(&pair.jobs()).await;
        let prometheus = adapter(&real.url(), Preset::Http);
        let reading = eventually("the ratio", async || {
            let reading = whole(&prometheus).await;
            let canary = reading.canary.as_ref()?;
            let requests = canary.value(Figure::Requests)?;
            let ratio = canary.value(Figure::Errors)? / requests;
            ((ratio - expected).abs() < 0.04).then_some(reading)
        })
        .await;
        let canary = reading.canary.expect("asked");
        assert!(canary.age_ms.is_some_and(|age_ms| age_ms <= 2_000));
        let latency = canary.latency.as_ref().expect("asked");
        let latency = latency.value().expect("counted");
        assert_eq!(latency.above(1_000.0), Some(0.0));
        assert_eq!(latency.above(500.0), None, "no edge of this service");
        let mean = canary.value(Figure::Mean).expect("counted");
        assert!((90.0..=110.0).contains(&mean), "{mean} ms");
        assert_eq!(canary.value(Figure::Uptime), Some(1.0));
        assert!(reading.skew_ms.abs() < 2_000, "{}", reading.skew_ms);
    }
}

/// What charts show of the time before an engine began to look.
#[tokio::test]
async fn the_past_is_told_where_it_is_asked_for() {
    if !installed() {
        return;
    }
    let pair = Pair::start(None).await;
    let real = RealPrometheus::start(&pair.jobs()).await;
    let prometheus = adapter(&real.url(), Preset::Http);
    whole(&prometheus).await;
    let question = wheelhouse::model::metrics::MetricsQuestion {
        past_ms: 60_000,
        ..crate::question()
    };
    let past = eventually("two points of the past", async || {
        let reading = prometheus.read(&placement(), &question).await.ok()?;
        let past = reading.canary?.past_p99_ms;
        (past.len() >= 2).then_some(past)
    })
    .await;
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    for (at_ms, p99_ms) in &past {
        assert!(
            (now_ms - 65_000..=now_ms + 2_000).contains(at_ms),
            "{past:?}"
        );
        assert!(
            (240.0..=250.0).contains(p99_ms),
            "all are within 250 ms: {past:?}"
        );
    }
}

#[tokio::test]
async fn fault_72_a_release_without_series_is_nothing() {
    if !installed() {
        return;
    }
    let real = RealPrometheus::start("").await;
    let prometheus = adapter(&real.url(), Preset::Http);
    let reading = eventually("an answer", async || read(&prometheus).await.ok()).await;
    let canary = reading.canary.expect("asked");
    let why = canary.nothing().expect("nothing");
    assert!(why.as_str().contains("is not scraped"), "{why}");
}

fn stamp() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    format!(" {}", since.expect("after 1970").as_millis())
}

/// A sample with a time of its own leaves no marker when its target is gone: Prometheus goes on
/// answering with it for five minutes.
#[tokio::test]
async fn fault_74_a_value_that_is_only_looked_back_at_is_no_data() {
    if !installed() {
        return;
    }
    let exporter = Exporter::start(&counted(500, 0, &stamp())).await;
    let jobs = job("c", exporter.address, CANARY) + &job("s", exporter.address, STABLE);
    let real = RealPrometheus::start(&jobs).await;
    let prometheus = adapter(&real.url(), Preset::Http);
    eventually("samples", async || {
        exporter.set(&counted(500, 0, &stamp()));
        let reading = read(&prometheus).await.ok()?;
        reading.canary?.age_ms.filter(|age_ms| *age_ms <= 2_000)
    })
    .await;
    exporter.stop();
    let why = eventually("old samples", async || {
        let canary = read(&prometheus).await.ok()?.canary?;
        assert!(canary.age_ms.is_some(), "it is still answered");
        canary
            .nothing()
            .filter(|why| why.as_str().contains("s old"))
            .cloned()
    })
    .await;
    assert!(why.as_str().contains("scraped every 1 s"), "{why}");
}

#[tokio::test]
async fn faults_76_78_a_frozen_or_dead_one_is_an_error_in_time_and_comes_back() {
    if !installed() {
        return;
    }
    let pair = Pair::start(None).await;
    let mut real = RealPrometheus::start(&pair.jobs()).await;
    let prometheus = adapter(&real.url(), Preset::Http);
    whole(&prometheus).await;
    real.signal(Signal::STOP);
    let began = Instant::now();
    let error = read(&prometheus).await.expect_err("frozen").to_string();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(error.contains("no whole answer"), "{error}");
    real.signal(Signal::CONT);
    whole(&prometheus).await;
    real.kill();
    let began = Instant::now();
    // What is asked on a connection that died with it is an error of another kind.
    eventually("a refusal", async || {
        let error = read(&prometheus).await.expect_err("dead").to_string();
        error.contains("cannot be reached").then_some(())
    })
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn fault_79_three_requests_are_three() {
    if !installed() {
        return;
    }
    let exporter = Exporter::start(&counted(0, 0, "")).await;
    let jobs = job("c", exporter.address, CANARY) + &job("s", exporter.address, STABLE);
    let real = RealPrometheus::start(&jobs).await;
    let mut options = options(&real.url(), Preset::Http);
    options.window_ms = 60_000;
    let prometheus = Prometheus::new(options).expect("an adapter");
    eventually("samples", async || {
        read(&prometheus)
            .await
            .ok()?
            .canary?
            .value(Figure::Requests)
    })
    .await;
    exporter.set(&counted(3, 0, ""));
    let requests = eventually("three requests", async || {
        let requests = read(&prometheus)
            .await
            .ok()?
            .canary?
            .value(Figure::Requests)?;
        (requests > 0.0).then_some(requests)
    })
    .await;
    assert!((2.0..=6.0).contains(&requests), "{requests}");
}

/// Both releases' targets carry the new release's label.
#[tokio::test]
async fn fault_81_mixed_up_labels_are_inconclusive() {
    if !installed() {
        return;
    }
    let pair = Pair::start(None).await;
    // Swapped: the canary's label stands on the one with nine tenths of the requests.
    let jobs =
        job("stable", pair.stable.address, CANARY) + &job("canary", pair.canary.address, STABLE);
    let real = RealPrometheus::start(&jobs).await;
    let reading = whole(&adapter(&real.url(), Preset::Http)).await;
    let word = |share_percent| {
        let evidence = Evidence {
            canary: Counters {
                requests: 1_000,
                ..Counters::default()
            },
            fresh: true,
            sources: vec![SourceEvidence {
                name: "prom".into(),
                state: SourceState::Answers,
                canary: reading.canary.clone(),
                stable: reading.stable.clone(),
                share_percent: Some(share_percent),
                scrapes: 60,
            }],
            ..Evidence::default()
        };
        judge(&evidence, &defaults::analysis(), 300)
    };
    let verdict = word(10.0);
    assert_eq!(verdict.class, VerdictClass::Inconclusive, "{verdict:#?}");
    assert!(
        verdict.because.as_str().contains("right release"),
        "{}",
        verdict.because
    );
    assert_eq!(
        word(90.0).class,
        VerdictClass::Pass,
        "the same numbers, were they true"
    );
}

#[tokio::test]
async fn fault_83_a_restarted_service_counts_nothing_below_zero() {
    if !installed() {
        return;
    }
    let exporter = Exporter::start(&counted(0, 0, "")).await;
    let jobs = job("c", exporter.address, CANARY) + &job("s", exporter.address, STABLE);
    let real = RealPrometheus::start(&jobs).await;
    let mut options = options(&real.url(), Preset::Http);
    options.window_ms = 60_000;
    let prometheus = Prometheus::new(options).expect("an adapter");
    let requests = async || {
        read(&prometheus)
            .await
            .ok()?
            .canary?
            .value(Figure::Requests)
    };
    eventually("samples", requests).await;
    exporter.set(&counted(1_000, 0, ""));
    let before = eventually("a thousand", async || {
        requests().await.filter(|n| *n > 500.0)
    })
    .await;
    exporter.set(&counted(100, 0, ""));
    let after = eventually("the restart", async || {
        requests().await.filter(|n| *n > before)
    })
    .await;
    assert!(after >= 1_000.0, "{after}");
}

/// Parse equality by Prometheus itself: what it makes of a quoted value is the value.
#[tokio::test]
async fn fault_86_prometheus_reads_every_quoted_value_as_it_was() {
    if !installed() {
        return;
    }
    let real = RealPrometheus::start("").await;
    let http = reqwest::Client::new();
    for value in [
        r#""}) or vector(1)"#,
        r"\",
        "'",
        "`",
        "a\nb\tc",
        "\u{202e}é\u{1f600}",
        "{service}{release}",
        "%22%5c",
    ] {
        let query = format!(
            "label_replace(vector(1), \"v\", \"{}\", \"\", \"\")",
            quoted(value)
        );
        let answer: serde_json::Value = eventually("an answer", async || {
            let url = format!("{}/api/v1/query", real.url());
            let sent = http
                .get(url)
                .query(&[("query", query.as_str())])
                .send()
                .await;
            sent.ok()?.json().await.ok()
        })
        .await;
        let found = answer.pointer("/data/result/0/metric/v");
        assert_eq!(
            found.and_then(|v| v.as_str()),
            Some(value),
            "{query}: {answer}"
        );
        let count = answer["data"]["result"].as_array().map(Vec::len);
        assert_eq!(count, Some(1), "{query}");
    }
}

async fn found_by(discovery_config: &str, directory: tempfile::TempDir) {
    let real = RealPrometheus::start_in(directory, discovery_config, &[]).await;
    whole(&adapter(&real.url(), Preset::Http)).await;
}

#[tokio::test]
async fn j15_targets_are_found_by_file_and_by_http_and_so_are_new_ones() {
    if !installed() {
        return;
    }
    let pair = Pair::start(None).await;
    let stable = group(pair.stable.address, STABLE, "v1");
    let canary = group(pair.canary.address, CANARY, "v2");
    let stop = CancellationToken::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("targets.json");
    let (tell, targets) = watch::channel(Arc::new(vec![stable.clone()]));
    let keeper = tokio::spawn(discovery::keep_file(
        file.clone(),
        targets.clone(),
        stop.clone(),
    ));
    let address = free_address();
    let server = tokio::spawn(discovery::serve(address, targets, stop.clone()));
    eventually("the file", async || file.exists().then_some(())).await;
    // The canary comes later, as in a rollout.
    let by_file =
        "- job_name: f\n  file_sd_configs:\n  - {files: ['targets.json'], refresh_interval: 1s}\n";
    let by_http = format!(
        "- job_name: h\n  http_sd_configs:\n  - {{url: 'http://{address}/targets', refresh_interval: 1s}}\n"
    );
    tell.send_replace(Arc::new(vec![stable, canary]));
    found_by(by_file, directory).await;
    found_by(&by_http, tempfile::tempdir().expect("a directory")).await;
    stop.cancel();
    keeper.await.expect("it ends");
    server.await.expect("it ends").expect("it served");
}

fn spec() -> ServiceSpec {
    let text = r#"
[service.shop]
command = ["./shop", "{port}"]
listen = 8080
[env.production]
[analysis]
latency_p99_ms = 1000
"#;
    let loaded = Config::of_texts(&[(Path::new("w.toml"), text)]).expect("valid");
    let placement = placement();
    let spec = loaded
        .config
        .spec(&placement.service, &placement.environment);
    spec.expect("it is there").clone()
}

#[tokio::test]
async fn a_real_one_takes_every_question_of_every_preset() {
    if !installed() {
        return;
    }
    let real = RealPrometheus::start("").await;
    for (word, preset) in Preset::ALL {
        let prometheus = adapter(&real.url(), preset);
        let lines = eventually("an answer", async || prometheus.inspect(&spec()).await.ok()).await;
        let faults: Vec<_> = lines
            .iter()
            .filter(|l| !l.as_str().starts_with(NOTE))
            .collect();
        assert!(faults.is_empty(), "{word}: {faults:?}");
    }
}

#[tokio::test]
async fn looking_it_over_finds_a_wrong_question_a_wrong_limit_and_rare_scrapes() {
    if !installed() {
        return;
    }
    let pair = Pair::start(None).await;
    let real = RealPrometheus::start(&pair.jobs()).await;
    whole(&adapter(&real.url(), Preset::Http)).await;
    let mut options = options(&real.url(), Preset::Http);
    options.scrape_ms = 500;
    let broken = "sum(rate(x{{selector}}[{window}])";
    options.queries = BTreeMap::from([(Figure::Errors, broken.to_owned())]);
    let prometheus = Prometheus::new(options).expect("an adapter");
    let mut spec = spec();
    spec.analysis.latency_p99_ms = Some(300);
    let lines = prometheus.inspect(&spec).await.expect("an answer");
    let all: Vec<_> = lines.iter().map(|line| line.as_str()).collect();
    let has = |said: &str| all.iter().any(|line| line.contains(said));
    assert!(has("errors is no PromQL"), "{all:?}");
    assert!(has("250 or 1000"), "{all:?}");
    assert!(has("every 1 s, but scrape_interval says 0.5 s"), "{all:?}");
}

/// A figure of every other preset, as its exporter would show it.
#[tokio::test]
async fn cadvisor_and_node_presets_read_what_their_exporters_show() {
    if !installed() {
        return;
    }
    let label = format!("id=\"/c\",container_label_wheelhouse_release=\"{CANARY}\"");
    let exporter = Exporter::start(&format!(
        "container_last_seen{{{label}}} 1\n\
         container_cpu_usage_seconds_total{{{label}}} 5\n\
         container_spec_cpu_quota{{{label}}} 100000\ncontainer_spec_cpu_period{{{label}}} 100000\n\
         container_memory_working_set_bytes{{{label}}} 600\n\
         container_spec_memory_limit_bytes{{{label}}} 1000\n\
         node_filesystem_size_bytes{{mountpoint=\"/\",fstype=\"ext4\"}} 100\n\
         node_filesystem_avail_bytes{{mountpoint=\"/\",fstype=\"ext4\"}} 5\n\
         node_filesystem_size_bytes{{mountpoint=\"/run\",fstype=\"tmpfs\"}} 100\n\
         node_filesystem_avail_bytes{{mountpoint=\"/run\",fstype=\"tmpfs\"}} 0\n"
    ))
    .await;
    let job = format!(
        "- job_name: e\n  static_configs:\n  - targets: ['{}']\n",
        exporter.address
    );
    let real = RealPrometheus::start(&job).await;
    let figure = async |preset, figure| {
        let prometheus = adapter(&real.url(), preset);
        eventually("a figure", async || {
            crate::read_canary(&prometheus)
                .await
                .ok()?
                .canary?
                .value(figure)
        })
        .await
    };
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-6, "{found}");
    near(figure(Preset::Cadvisor, Figure::Memory).await, 0.6);
    near(figure(Preset::Cadvisor, Figure::Cpu).await, 0.0);
    near(figure(Preset::Node, Figure::Disk).await, 0.95);
}

/// HAProxy's own exporter, behind its stats frontend.
#[tokio::test]
async fn the_haproxy_preset_reads_a_real_exporter() {
    if !installed() || !crate::haproxy::installed() {
        return;
    }
    let good = Instance::start("v1", Behaviour::Works).await;
    let bad = Instance::start("v2", Behaviour::Fails).await;
    let stats = free_address();
    let haproxy = Haproxy::start_edited(&[good.address, bad.address], |text| {
        format!(
            "{text}\nfrontend stats\n    mode http\n    bind {stats}\n    \
             http-request use-service prometheus-exporter if {{ path /metrics }}\n"
        )
    })
    .await;
    let ready = ServerSetting::ready(50);
    haproxy.set(&[(0, ready), (1, ready)]).await;
    let job = format!("- job_name: h\n  static_configs:\n  - targets: ['{stats}']\n");
    let real = RealPrometheus::start(&job).await;
    let prometheus = adapter(&real.url(), Preset::Haproxy);
    let url = format!("http://{}/", haproxy.listen);
    let (canary, stable) = eventually("both counts", async || {
        for _ in 0..10 {
            let _ = reqwest::get(&url).await;
        }
        let reading = read(&prometheus).await.ok()?;
        let (canary, stable) = (reading.canary?, reading.stable?);
        let some = |about: &ReleaseFigures| about.value(Figure::Requests).is_some_and(|n| n > 5.0);
        (some(&canary) && some(&stable)).then_some((canary, stable))
    })
    .await;
    let ratio = |about: &ReleaseFigures| {
        about.value(Figure::Errors).expect("counted")
            / about.value(Figure::Requests).expect("counted")
    };
    assert!(ratio(&canary) > 0.8, "{canary:?}");
    assert!(ratio(&stable) < 0.01, "{stable:?}");
}

fn openssl(directory: &Path, arguments: &str) {
    let mut command = std::process::Command::new("openssl");
    let words = arguments.split_whitespace();
    let done = command
        .current_dir(directory)
        .args(words)
        .output()
        .expect("openssl runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// TLS with a private CA, and a name with a password: the real one's own.
#[tokio::test]
async fn a_private_ca_and_basic_auth_are_taken_and_nothing_else_is() {
    if !installed() || !has("openssl", "version") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().to_owned();
    std::fs::write(dir.join("leaf.ext"), "subjectAltName=IP:127.0.0.1\n").expect("written");
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(
        &dir,
        &format!("{new} -keyout ca.key -out ca.pem -subj /CN=test-ca"),
    );
    let request = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        &dir,
        &format!("{request} -keyout leaf.key -out leaf.csr -subj /CN=prometheus"),
    );
    openssl(
        &dir,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem",
    );
    // bcrypt of "hunter2".
    let web = "tls_server_config: {cert_file: leaf.pem, key_file: leaf.key}\n\
               basic_auth_users: {wheelhouse: '$2b$12$kJdU3vCo/C6rABc3c8kqKOU8m2DN5d/b8nMuxgyxPs6AuzHGFYF6q'}\n";
    std::fs::write(dir.join("web.yml"), web).expect("written");
    std::fs::write(dir.join("user"), "wheelhouse\n").expect("written");
    std::fs::write(dir.join("password"), "hunter2\n").expect("written");
    let real = RealPrometheus::start_in(directory, "", &["--web.config.file=web.yml"]).await;
    let url = format!("https://{}", real.address);
    let kept = |name: &str| {
        let reference = format!("file:{}", dir.join(name).display());
        reference.parse().expect("a reference")
    };
    let login = || Login::Basic {
        user: kept("user"),
        password: kept("password"),
    };
    let with = |login: Option<Login>, ca: bool| {
        let mut options = options(&url, Preset::Http);
        options.login = login;
        options.ca = ca.then(|| dir.join("ca.pem"));
        Prometheus::new(options).expect("an adapter")
    };
    let trusted = with(Some(login()), true);
    eventually("an answer", async || read(&trusted).await.ok()).await;
    let stranger = read(&with(Some(login()), false))
        .await
        .expect_err("not trusted");
    assert!(
        stranger.to_string().contains("cannot be reached"),
        "{stranger}"
    );
    let nobody = read(&with(None, true))
        .await
        .expect_err("not allowed")
        .to_string();
    assert!(nobody.contains("user and password"), "{nobody}");
    std::fs::write(dir.join("password"), "wrong\n").expect("written");
    let wrong = read(&trusted).await.expect_err("not allowed").to_string();
    assert!(!wrong.contains("wrong") && wrong.contains("401"), "{wrong}");
}
