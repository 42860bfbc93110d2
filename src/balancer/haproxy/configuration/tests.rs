use super::*;

fn facts(text: &str) -> BackendFacts {
    backend_facts(text, "web", Path::new("/run/here")).expect("a backend web")
}

#[test]
fn directives_of_the_backend_beat_those_of_its_defaults() {
    let text = "
        global
            server-state-base /var/lib/haproxy   # a comment
        defaults
            load-server-state-from-file global
            option redispatch
        backend other
            load-server-state-from-file none
        backend web
            load-server-state-from-file local
            no option redispatch
    ";
    let facts = facts(text);
    assert_eq!(facts.loads_state.as_deref(), Some("local"));
    assert_eq!(facts.state_file, Path::new("/var/lib/haproxy/web"));
    assert!(!facts.redispatches);
}

#[test]
fn the_nearest_or_the_named_defaults_apply() {
    let text = "
        defaults kept
            load-server-state-from-file local
        defaults middle from kept
            option redispatch 1
        defaults
            retries 2
        backend web from middle
            server-state-file-name '/a dir/web' # a comment
        listen lone
            bind :1
    ";
    let found = facts(text);
    assert_eq!(found.loads_state.as_deref(), Some("local"));
    assert_eq!(found.state_file, Path::new("/a dir/web"));
    assert!(found.redispatches);
    let lone = backend_facts(text, "lone", Path::new("/run/here")).expect("a listen section");
    assert_eq!(
        lone.loads_state, None,
        "the nearest defaults says nothing of it"
    );
    assert_eq!(lone.state_file, Path::new("/run/here/lone"));
    assert_eq!(backend_facts(text, "absent", Path::new("/")), None);
}

#[test]
fn what_binds_clients_or_cuts_them_is_seen() {
    let text = r#"
        backend web
            stick-table type ip size 1k
            stick on src
            option persist
            retry-on empty-response 503
            default-server slowstart 5s on-marked-down shutdown-sessions
            server "web1" 127.0.0.1:1 # slowstart
    "#;
    let facts = facts(text);
    assert_eq!(facts.sticky, ["stick on src", "option persist"]);
    assert_eq!(facts.retry_on, ["empty-response", "503"]);
    assert!(facts.slow_start && facts.cuts_sessions);
}

#[test]
fn words_are_split_as_haproxy_splits_them() {
    let split = words(r#"  http-request set-header X "a \"b\" 'c'" d\ e 'f\g"h'i # rest"#);
    assert_eq!(
        split,
        [
            "http-request",
            "set-header",
            "X",
            r#"a "b" 'c'"#,
            "d e",
            r#"f\g"hi"#
        ]
    );
    assert_eq!(words("   # only a comment"), Vec::<String>::new());
    assert_eq!(words("a ''"), ["a", ""]);
}

#[test]
fn files_are_found_on_the_command_line_of_a_reloaded_worker() {
    let line = [
        "haproxy",
        "-sf",
        "11672",
        "-x",
        "sockpair@3",
        "-Ws",
        "-f",
        "a.cfg",
        "-f",
        "b.d",
    ];
    let line: Vec<String> = line.map(str::to_owned).to_vec();
    assert_eq!(files_named(&line), ["a.cfg", "b.d"]);
    let line: Vec<String> = ["haproxy", "--", "a.cfg", "b.cfg", ""]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(files_named(&line), ["a.cfg", "b.cfg"]);
}

#[test]
fn a_directory_stands_for_its_cfg_files_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["20-b.cfg", "10-a.cfg", "notes.txt"] {
        std::fs::write(directory.path().join(name), "").expect("a file");
    }
    let files = expand(directory.path()).expect("files");
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    assert_eq!(names, ["10-a.cfg", "20-b.cfg"]);
}

#[test]
fn another_program_under_the_pid_is_not_taken_for_haproxy() {
    let error = of_process(std::process::id()).expect_err("these tests are no HAProxy");
    assert!(error.contains("is another program here"), "{error}");
}

#[test]
fn what_keeps_log_lines_away_is_found() {
    let text = "
global
  chroot /var/lib/haproxy
  log /log/lb.log len 2048 local0 info
defaults
  option dontlog-normal
frontend good
  log global
  option httplog
  default_backend other
frontend bad from nowhere
  log 127.0.0.1:5140 sample 1:10 local0 notice
  log-format %ci
  use_backend web if { path / }
backend web
  balance roundrobin
";
    let log = facts(text).log;
    assert_eq!(log.chroot.as_deref(), Some("/var/lib/haproxy"));
    assert_eq!(log.frontends.len(), 1);
    let bad = &log.frontends[0];
    assert_eq!(bad.name, "frontend bad");
    assert_eq!(bad.targets, ["127.0.0.1:5140"]);
    let all = bad.faults.join("\n");
    for part in ["`notice`", "`sample`", "`log-format`"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let good = &facts(&text.replace("other", "web")).log.frontends[0];
    assert_eq!(good.targets, ["/log/lb.log"]);
    assert_eq!(
        good.faults.len(),
        1,
        "dontlog-normal of the defaults: {good:?}"
    );
}
