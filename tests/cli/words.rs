//! What the program says without an engine.

use crate::support::*;
use serde_json::json;

/// A service behind the embedded proxy, and one behind HAProxy.
const TWO_KINDS: &str = r#"
[env.dev]
balancers = "host"

[env.prod]
protected = true
balancers = "lb"

[balancer.host]
kind = "host"

[balancer.lb]
kind = "haproxy"
socket = "/run/haproxy/admin.sock"
state_file = "/var/lib/haproxy/server-state"

[service.shop]
command = ["./shop", "{version}", "{address}"]

[service.shop.env.dev]
listen = 8080

[service.shop.env.prod.servers]
web1 = "127.0.0.1:18001"
web2 = "127.0.0.1:18002"
web3 = "127.0.0.1:18003"
web4 = "127.0.0.1:18004"
"#;

#[test]
fn used_wrongly_it_ends_with_64_and_says_how_to_use_it() {
    let place = Place::with(TWO_KINDS);
    for args in [
        &["depoly", "shop"] as &[&str],
        &["deploy", "shop"],
        &["deploy", "shop", "v1"],
        &["deploy", "shop", "v 1", "-e", "dev"],
        &["promote", "shop", "-e", "dev", "--to", "101"],
        &["promote", "shop", "-e", "dev", "--to", "50", "--full"],
        &["restart", "shop"],
        &["restart", "shop", "-e", "dev", "--timeout", "1m"],
        &["scale", "shop", "-e", "dev"],
        &["scale", "shop", "0", "-e", "dev"],
        &["drain", "shop", "-e", "dev"],
        &["undrain", "shop", "s 1", "-e", "dev"],
        &["history", "list", "--limit", "0"],
        &["history", "export", "--format", "csv"],
        &["engine"],
        &["wait"],
    ] {
        let said = place.run(args).must(64);
        assert!(
            said.out.is_empty() && said.err.contains("--help"),
            "{said:?}"
        );
    }
    for args in [
        &["--help"] as &[&str],
        &["--version"],
        &["deploy", "--help"],
    ] {
        let said = place.run(args).must(0);
        assert!(
            said.err.is_empty() && said.out.contains("wheelhouse"),
            "{said:?}"
        );
    }
}

#[test]
fn without_a_terminal_it_points_at_watch_and_starts_nothing() {
    let place = Place::with(TWO_KINDS);
    let said = place.run(&[]).must(64);
    assert!(said.err.contains("wheelhouse watch"), "{said:?}");
    assert!(!place.state().exists(), "nothing was made");
}

#[test]
fn without_an_engine_commands_end_with_69_say_once_how_to_start_one_and_start_none() {
    let place = Place::with(TWO_KINDS);
    for args in [
        &["status"] as &[&str],
        &["watch"],
        &["engine", "status"],
        &["engine", "stop"],
        &["wait", "#1"],
        &["deploy", "shop", "v1", "-e", "dev"],
        &["deploy", "shop", "v1", "-e", "dev", "--dry-run"],
        &["promote", "shop", "-e", "dev"],
        &["hold", "shop", "-e", "dev"],
        &["resume", "shop", "-e", "dev"],
        &["abort", "shop", "-e", "dev"],
        &["rollback", "shop", "-e", "dev"],
        &["restart", "shop", "-e", "dev", "--wait"],
        &["scale", "shop", "2", "-e", "dev"],
        &["drain", "shop", "s1", "-e", "dev"],
        &["undrain", "shop", "s1", "-e", "dev"],
        &["drill", "shop", "-e", "dev", "--dry-run"],
    ] {
        let said = place.run(args).must(69);
        let hints = said.err.matches("wheelhouse engine run").count();
        assert!(said.out.is_empty() && hints == 1, "{said:?}");
        let said = place.run(&[args, &["--json"]].concat()).must(69);
        assert_eq!(said.json()["exit"], 69, "{said:?}");
        assert!(said.err.is_empty(), "{said:?}");
    }
    for args in [
        &["history"] as &[&str],
        &["history", "verify"],
        &["history", "show", "1"],
    ] {
        let said = place.run(args).must(69);
        assert!(said.err.contains("there is no history"), "{said:?}");
    }
    assert!(!place.state().exists(), "nothing was made");
}

#[test]
fn a_configuration_with_faults_ends_with_78_and_every_fault_has_file_line_key_and_mend() {
    let place = Place::with("[service.shop]\ncommand = []\nlistne = 8080\n");
    let file = place.config().display().to_string();
    for args in [
        &["config", "check"] as &[&str],
        &["status"],
        &["engine", "run"],
        &["doctor"],
        &["history"],
        &["deploy", "shop", "v1", "-e", "dev"],
    ] {
        let said = place.run(args).must(78);
        for (line, key) in [(3, "service.shop.command"), (4, "service.shop.listne")] {
            let start = format!("{file}:{line}:");
            let found = said.err.lines().find(|text| text.starts_with(&start));
            assert!(found.is_some_and(|text| text.ends_with(key)), "{said:?}");
        }
        assert_eq!(said.err.matches("\n  mend: ").count(), 2, "{said:?}");
        assert!(said.err.contains("\"listen\""), "the near word: {said:?}");

        let said = place.run(&[args, &["--json"]].concat()).must(78);
        let told = said.json();
        assert_eq!(told["exit"], 78);
        let faults = told["faults"].as_array().expect("a list");
        let at = |fault: &serde_json::Value| (fault["file"].clone(), fault["line"].clone());
        assert_eq!(
            faults.iter().map(at).collect::<Vec<_>>(),
            [(json!(file), json!(3)), (json!(file), json!(4)),]
        );
        assert!(said.err.is_empty(), "{said:?}");
    }
    assert!(!place.state().exists(), "nothing was made");
}

#[test]
fn a_configuration_that_is_not_there_or_names_no_such_service_ends_with_78() {
    let place = Place::with(TWO_KINDS);
    let said = place
        .run(&["status", "--config", "/does/not/exist.toml"])
        .must(78);
    assert!(said.err.contains("/does/not/exist.toml"), "{said:?}");
    let said = place.run(&["deploy", "shpo", "v1", "-e", "dev"]).must(78);
    assert!(said.err.contains("shpo"), "{said:?}");
    let said = place
        .run(&["deploy", "shop", "v1", "-e", "staging"])
        .must(78);
    assert!(said.err.contains("staging"), "{said:?}");
}

#[test]
fn a_latency_limit_behind_haproxy_is_an_error_that_says_so() {
    for limit in [
        "latency_p99_ms = 100",
        "mean_ms = 50",
        "latency_p99_vs_stable = 2.0",
    ] {
        let place = Place::with(&format!("{TWO_KINDS}\n[service.shop.analysis]\n{limit}\n"));
        let said = place.run(&["config", "check"]).must(78);
        let key = limit.split(' ').next().expect("a key");
        assert!(
            said.err.contains(key) && said.err.contains("HAProxy"),
            "{said:?}"
        );
        let off = format!("{TWO_KINDS}\n[service.shop.analysis]\n{key} = false\n");
        Place::with(&off).run(&["config", "check"]).must(0);
    }
    let only_errors = format!("{TWO_KINDS}\n[service.shop.analysis]\nerror_ratio = 0.02\n");
    Place::with(&only_errors).run(&["config", "check"]).must(0);
}

#[test]
fn config_check_names_the_files_and_what_is_in_them() {
    let place = Place::with(TWO_KINDS);
    let said = place.run(&["config", "check"]).must(0);
    assert!(said.out.contains("shop@dev, shop@prod"), "{said:?}");
    let told = place.run(&["config", "check", "--json"]).must(0).json();
    assert_eq!(told["ok"], true);
    assert_eq!(told["placements"], json!(["shop@dev", "shop@prod"]));
    assert_eq!(told["files"], json!([place.config()]));
    assert_eq!(told["hash"].as_str().map(str::len), Some(64));
}

#[test]
fn the_haproxy_snippet_has_every_server_and_the_state_file_and_haproxy_accepts_it() {
    let place = Place::with(TWO_KINDS);
    let listen = format!("127.0.0.1:{}", free_ports(1));
    let said = place
        .run(&["haproxy", "snippet", "shop", "--listen", &listen])
        .must(0);
    for line in [
        "backend be_shop",
        "server web1 127.0.0.1:18001 ",
        "server web4 127.0.0.1:18004 ",
        "load-server-state-from-file",
        "server-state",
        "/run/haproxy/admin.sock",
        &listen,
    ] {
        assert!(said.out.contains(line), "{line} in {}", said.out);
    }
    let file = place.dir.path().join("haproxy.cfg");
    // The check would not find a directory that only a real installation has.
    let here = place.dir.path().display().to_string();
    let text = said.out.replace("/run/haproxy", &here);
    std::fs::write(&file, text.replace("/var/lib/haproxy", &here)).expect("written");
    let mut check = std::process::Command::new("haproxy");
    let checked = crate::support::said(check.arg("-c").arg("-f").arg(&file));
    assert_eq!(checked.code, 0, "{checked:?}\n{}", said.out);

    let only_dev = TWO_KINDS.replace(r#"balancers = "lb""#, r#"balancers = "host""#);
    let only_dev = only_dev.replace("[service.shop]\n", "[service.shop]\nlisten = 9080\n");
    let said = Place::with(&only_dev).run(&["haproxy", "snippet", "shop"]);
    assert!(said.code == 78 && said.err.contains("haproxy"), "{said:?}");
}

#[test]
fn the_doctor_says_what_is_missing_and_how_to_mend_it() {
    let place = Place::with(&shop(free_ports(5)));
    let said = place.run(&["doctor"]).must(69);
    assert!(
        said.out.contains("[BAD ] shop@prod runtime host"),
        "{said:?}"
    );
    assert!(
        said.out.contains("is `wheelhouse host` running?"),
        "{said:?}"
    );
    assert_eq!(
        said.out.matches("wheelhouse engine run").count(),
        1,
        "{said:?}"
    );
    let told = place.run(&["doctor", "--json"]).must(69).json();
    let all = told.as_array().expect("a list");
    let bad = all.iter().filter(|one| one["state"] == "unreachable");
    assert!(bad.count() >= 2, "{told}");
    let keys: Vec<_> = all.iter().filter_map(|one| one["key"].as_str()).collect();
    for key in [
        "version",
        "configuration",
        "configuration.warning",
        "state_directory",
        "history",
        "disk",
        "engine",
        "tls",
        "judge",
        "runtime",
        "memory",
        "balancer",
        "balancer.latencies",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}
