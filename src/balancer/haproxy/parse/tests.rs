use super::*;

/// A whole reply of HAProxy 2.6.12. web1 works and had 20 requests; web2 is unchecked, nobody
/// listens there, and two requests went on to web1; web3 is down; web4 drains.
fn reply() -> String {
    format!("{}\n", include_str!("reply-2.6.txt"))
}

fn web() -> Name {
    "web".parse().expect("a name")
}

fn named(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

#[test]
fn a_real_reply_is_read_whole() {
    let dump = dump(&reply(), &web()).expect("a dump");
    assert_eq!(dump.pid, 1184);
    assert_eq!(dump.reading.epoch, "1184@1795208682");
    assert_eq!(dump.algorithm.as_deref(), Some("roundrobin"));
    assert_eq!(dump.cookie.as_deref(), Some("SRV"));
    assert_eq!(dump.table.backend_id, 3);
    let all: Vec<_> = dump
        .reading
        .servers
        .iter()
        .map(|(name, s)| {
            let counted = (s.counters.requests, s.counters.errors);
            (name.as_str(), s.admin, s.weight, s.up, s.sessions, counted)
        })
        .collect();
    assert_eq!(
        all,
        [
            ("web1", Admin::Ready, 90, true, 0, (20, 0)),
            ("web2", Admin::Ready, 10, true, 0, (2, 2)),
            ("web3", Admin::Ready, 1, false, 0, (0, 0)),
            ("web4", Admin::Drain, 1, false, 0, (0, 0)),
        ]
    );
    let table = &dump.table.servers;
    assert_eq!(
        (
            table[&named("web4")].address.as_str(),
            table[&named("web4")].port
        ),
        ("::1", 19184)
    );
    assert!(table[&named("web1")].checked && !table[&named("web2")].checked);
    assert!(table.values().all(ServerState::starts_disabled));
}

#[test]
fn columns_are_found_by_name_wherever_they_are() {
    // A later version puts a column in front: every row shifts, nothing else may change.
    let shifted: Vec<String> = reply()
        .lines()
        .map(|line| match line {
            line if line.starts_with("# pxname") => line.replacen("# ", "# new,", 1),
            line if line.starts_with("web,") => format!("\"a,\"\"b\"\"\",{line}"),
            line => line.to_owned(),
        })
        .collect();
    let shifted = format!("{}\n", shifted.join("\n"));
    assert_eq!(dump(&shifted, &web()), dump(&reply(), &web()));
}

#[test]
fn fault_038_a_reply_cut_off_anywhere_is_an_error() {
    let whole = reply();
    for length in 0..whole.len() {
        let cut = whole.get(..length).expect("the reply is ASCII");
        assert!(dump(cut, &web()).is_err(), "cut after {length} bytes");
    }
}

#[test]
fn fault_038_what_is_not_understood_is_never_guessed() {
    let cases = [
        ("Pid: 1184", "Pid: many", "Pid"),
        ("Start_time_sec", "Started", "Start_time_sec"),
        ("svname", "name", "no column svname"),
        ("stot", "scur", "column scur twice"),
        (
            "web,web1,0,0,0,1,,20,",
            "web,web1,0,0,0,1,,-20,",
            "stot is \"-20\"",
        ),
        (
            "web,web1,0,0,0,1,,20,",
            "web,web1,0,0,0,1,,,",
            "stot is \"\"",
        ),
        ("UP,90,", "UP,9000,", "above 256"),
        ("web,web3,", "web,web9,", "no statistics of server web3"),
        ("web,web3,", "other,web3,", "another backend"),
        (
            "127.0.0.1 2 4 90",
            "127.0.0.1 7 4 90",
            "srv_op_state 7 is unknown",
        ),
        (
            "127.0.0.1 2 4 90",
            "127.0.0.1 2 128 90",
            "srv_admin_state 128 is unknown",
        ),
        ("127.0.0.1 2 4 90", "127.0.0.1 2 4 90%", "srv_uweight"),
        (
            "\n1\n# be_id",
            "\n2\n# be_id",
            "not a state table of version 1",
        ),
        ("3 web 2 web2", "4 web 2 web2", "two backends"),
        ("3 web 2 web2", "3 web 2 web1", "a server twice"),
        ("3 web 2 web2", "3 web 2 -x;y", "server name"),
    ];
    for (from, to, expected) in cases {
        assert!(reply().contains(from), "{from:?} is not in the reply");
        let error = dump(&reply().replace(from, to), &web()).expect_err(to);
        assert!(error.to_string().contains(expected), "{to:?}: {error}");
    }
}

#[test]
fn refusals_are_told_apart_from_nonsense() {
    assert_eq!(
        state_reply("\nCan't find backend.\n\n", &web()),
        Err(Fault::NoBackend)
    );
    assert_eq!(dump("\nPermission denied\n\n", &web()), Err(Fault::Denied));
    let garbage = state_reply("\u{1b}[2Jhello\n\n", &web()).expect_err("garbage");
    assert!(!garbage.to_string().contains('\u{1b}'), "{garbage:?}");
}

#[test]
fn maintenance_of_any_origin_counts_and_configured_disabled_alone_does_not() {
    let admin = |admin_bits: u8| {
        let state = ServerState {
            address: String::new(),
            port: 1,
            operation: 2,
            admin_bits,
            weight: 1,
            initial_weight: 1,
            checked: true,
        };
        state.admin()
    };
    for bits in [0x01, 0x02, 0x05, 0x20, 0x09] {
        assert_eq!(admin(bits), Admin::Maintenance, "{bits:#x}");
    }
    for bits in [0x08, 0x10, 0x0c] {
        assert_eq!(admin(bits), Admin::Drain, "{bits:#x}");
    }
    for bits in [0x00, 0x04, 0x40] {
        assert_eq!(admin(bits), Admin::Ready, "{bits:#x}");
    }
}
