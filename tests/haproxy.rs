//! The HAProxy adapter against the real HAProxy: shares, counters, reloads, crashes, hangs. The
//! numbers in names are rows of the fault catalogue.

#[path = "support/needs.rs"]
mod needs;
#[path = "support/haproxy.rs"]
mod support;

use rustix::process::{Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Behaviour, Haproxy, Instance, free_address, installed, server, until};
use wheelhouse::balancer::haproxy::{HaproxyBalancer, HaproxyOptions, Shares};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::verdict::Counters;
use wheelhouse::model::world::{Admin, BalancerReading};
use wheelhouse::model::{Clean, Outcome};
use wheelhouse::ports::Balancer;

const OUT: ServerSetting = ServerSetting::OUT;

fn ready(weight: u16) -> ServerSetting {
    ServerSetting::ready(weight)
}

async fn read(haproxy: &Haproxy) -> BalancerReading {
    haproxy
        .balancer()
        .read(&haproxy.backend)
        .await
        .expect("a reading")
}

/// Admin and weight of every server, in the order of their names.
fn settings(reading: &BalancerReading) -> Vec<(Admin, u16)> {
    reading
        .servers
        .values()
        .map(|server| (server.admin, server.weight))
        .collect()
}

fn since(now: &BalancerReading, then: &BalancerReading, name: &str) -> Counters {
    let name = server(name);
    let (now, then) = (&now.servers[&name].counters, &then.servers[&name].counters);
    now.since(then).expect("counters of one epoch only rise")
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_042_shares_follow_the_weights_and_the_counters_follow_the_requests() {
    if !installed() {
        return;
    }
    const SENT: u64 = 2_000;
    let stable = Instance::start("stable", Behaviour::Works).await;
    let canary = Instance::start("canary", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[stable.address, canary.address]).await;
    haproxy.set(&[(0, ready(90)), (1, ready(10))]).await;
    let before = read(&haproxy).await;
    let mut answers = BTreeMap::new();
    for _ in 0..SENT {
        let (status, body) = haproxy.get().await.expect("an answer");
        assert_eq!(status, 200);
        *answers.entry(body).or_insert(0_u64) += 1;
    }
    let after = read(&haproxy).await;
    let counted = since(&after, &before, "web2");
    assert_eq!(counted.requests, answers["canary"]);
    assert_eq!(
        counted.requests,
        canary.count(),
        "the instance itself saw as many"
    );
    assert_eq!(counted.errors, 0);
    assert_eq!(since(&after, &before, "web1").requests, stable.count());
    let share = answers["canary"] as f64 / SENT as f64;
    assert!((share - 0.10).abs() <= 0.01, "10 % asked, {share} seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_a_request_is_counted() {
    if !installed() {
        return;
    }
    const SENT: u64 = 40;
    let fails = Instance::start("fails", Behaviour::Fails).await;
    let closes = Instance::start("closes", Behaviour::Closes).await;
    let works = Instance::start("works", Behaviour::Works).await;
    let addresses = [fails.address, closes.address, free_address(), works.address];
    // Without checks the closing and the absent one stay in traffic.
    let haproxy = Haproxy::start_edited(&addresses, |text| text.replace(" check\n", "\n")).await;
    for at in 0..3 {
        let name = format!("web{}", at + 1);
        let others = (0..4)
            .filter(|other| *other != at)
            .map(|other| (other, OUT));
        let alone: Vec<_> = others.chain([(at, ready(1))]).collect();
        haproxy.set(&alone).await;
        let before = read(&haproxy).await;
        // The absent one costs about 3 s a request while it is alone: retries wait.
        let sent = if at == 2 { 1 } else { SENT };
        for _ in 0..sent {
            let (status, _) = haproxy.get().await.expect("an answer");
            assert!(status >= 500, "{status}");
        }
        let counted = since(&read(&haproxy).await, &before, &name);
        // A connection reset while the answer is awaited may count twice, never less than once.
        assert!(
            counted.errors >= counted.requests,
            "{name}: all of them failed, {counted:?}"
        );
        assert!(counted.requests >= sent, "{name}: {counted:?}");
        assert_eq!(counted.error_ratio(), Some(1.0));
    }
    // With a working one beside it, clients notice nothing of the absent one; the counters do.
    haproxy
        .set(&[(0, OUT), (1, OUT), (2, ready(50)), (3, ready(50))])
        .await;
    let before = read(&haproxy).await;
    for _ in 0..SENT {
        assert_eq!(haproxy.get().await.map(|(status, _)| status), Ok(200));
    }
    let after = read(&haproxy).await;
    let counted = since(&after, &before, "web3");
    assert!(counted.errors >= counted.requests, "{counted:?}");
    assert!(counted.errors >= SENT / 4, "{counted:?}");
    assert_eq!(since(&after, &before, "web4").errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_033_weights_and_states_survive_a_reload() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address, two.address, free_address()]).await;
    let drain = ServerSetting {
        admin: Admin::Drain,
        weight: 5,
    };
    haproxy
        .set(&[(0, ready(95)), (1, ready(5)), (2, drain)])
        .await;
    let before = read(&haproxy).await;
    haproxy.reload().await;
    let after = read(&haproxy).await;
    assert_ne!(after.epoch, before.epoch, "a new process is a new epoch");
    assert_eq!(settings(&after), settings(&before));
    assert!(
        after.servers[&server("web1")].up,
        "in traffic at once, before any check"
    );
    assert_eq!(after.servers[&server("web1")].counters, Counters::default());
}

/// Servers are never added at run time, so there is none that a reload could forget.
#[tokio::test(flavor = "multi_thread")]
async fn fault_045_a_reload_keeps_every_server_there_is() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address, free_address(), free_address()]).await;
    haproxy
        .set(&[(0, ServerSetting::OUT), (1, ready(10)), (2, ready(20))])
        .await;
    haproxy.set(&[(0, ready(100))]).await;
    let before = read(&haproxy).await;
    haproxy.reload().await;
    let after = read(&haproxy).await;
    let names = |reading: &BalancerReading| reading.servers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), ["web1", "web2", "web3"].map(server));
    assert_eq!(names(&after), names(&before));
    assert_eq!(settings(&after), settings(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_states_survive_a_kill_and_a_start() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let mut haproxy = Haproxy::start(&[one.address, two.address]).await;
    haproxy.set(&[(0, ready(75)), (1, ready(25))]).await;
    let kept = fs::read_to_string(haproxy.path("web.state")).expect("the state file");
    let kept = |line: &str| kept.lines().any(|found| found.contains(line));
    assert!(
        kept(" web1 127.0.0.1 2 4 75 1 "),
        "written before the change counted"
    );
    assert!(
        kept(" web2 127.0.0.1 2 4 25 1 "),
        "written before the change counted"
    );
    let before = read(&haproxy).await;
    haproxy.crash().await;
    let refused = haproxy
        .balancer()
        .write(&haproxy.backend, &[(server("web1"), OUT)])
        .await;
    assert!(
        matches!(refused.outcome, Outcome::Rejected { .. }),
        "{refused:?}"
    );
    haproxy.start_again().await;
    let after = read(&haproxy).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(settings(&after), settings(&before));
    assert_eq!(haproxy.get().await.map(|(status, _)| status), Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_file_every_server_starts_out_of_traffic() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let mut haproxy = Haproxy::start(&[one.address]).await;
    haproxy.set(&[(0, ready(100))]).await;
    haproxy.crash().await;
    fs::remove_file(haproxy.path("web.state")).expect("the state file");
    haproxy.start_again().await;
    assert_eq!(settings(&read(&haproxy).await), [(Admin::Maintenance, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_034_a_changed_initial_weight_beats_the_state_file() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address]).await;
    haproxy.set(&[(0, ready(40))]).await;
    haproxy.edit(|text| text.replace("disabled weight 1 ", "disabled weight 3 "));
    haproxy.reload().await;
    // The state came back, the weight did not: the reading shows what is, and inspection why.
    assert_eq!(settings(&read(&haproxy).await), [(Admin::Ready, 3)]);
    let lines = inspect(&haproxy, Shares::Exact).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].as_str().contains("make it `weight 1`"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_041_a_weight_set_by_hand_is_read_and_kept_for_the_next_reload() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address]).await;
    haproxy.set(&[(0, ready(40))]).await;
    by_hand(&haproxy, "set weight web/web1 17").await;
    assert_eq!(settings(&read(&haproxy).await), [(Admin::Ready, 17)]);
    haproxy.reload().await;
    assert_eq!(settings(&read(&haproxy).await), [(Admin::Ready, 17)]);
}

async fn by_hand(haproxy: &Haproxy, line: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::UnixStream::connect(haproxy.path("admin.sock")).await;
    let mut socket = socket.expect("a connection");
    socket
        .write_all(format!("{line}\n").as_bytes())
        .await
        .expect("a line sent");
    socket
        .read_to_end(&mut Vec::new())
        .await
        .expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_to_weights_maintenance_or_reloads() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let haproxy = Arc::new(Haproxy::start(&[one.address, two.address]).await);
    haproxy.set(&[(0, ready(90)), (1, ready(10))]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (haproxy, stop) = (Arc::clone(&haproxy), Arc::clone(&stop));
        let answered = Arc::clone(&answered);
        async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(haproxy.get().await.map(|(status, _)| status), Ok(200));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // Three rounds, and on a busy machine more: until enough requests were in between.
    for round in 0..30 {
        if round >= 3 && answered.load(Ordering::Relaxed) > 100 {
            break;
        }
        haproxy.set(&[(0, ready(1)), (1, ready(100))]).await;
        haproxy.set(&[(0, OUT)]).await;
        haproxy.reload().await;
        haproxy.set(&[(0, ready(100)), (1, OUT)]).await;
        haproxy.reload().await;
        haproxy.set(&[(1, ready(10 + round))]).await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.expect("no request lost");
    let answered = answered.load(Ordering::Relaxed);
    assert!(
        answered > 100,
        "only {answered} requests: nothing was proved"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_037_a_hung_haproxy_ends_in_unknown_within_the_deadline() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address]).await;
    haproxy.set(&[(0, ready(40))]).await;
    let worker = haproxy.worker().await;
    kill_process(worker, Signal::STOP).expect("a signal");
    let start = Instant::now();
    let change = [(server("web1"), ready(50))];
    let written = haproxy.balancer().write(&haproxy.backend, &change).await;
    let took = start.elapsed();
    assert!(
        matches!(written.outcome, Outcome::Unknown { .. }),
        "{written:?}"
    );
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let unread = haproxy
        .balancer()
        .read(&haproxy.backend)
        .await
        .expect_err("no reading");
    assert!(
        unread.to_string().contains("gave no whole answer in time"),
        "{unread}"
    );
    kill_process(worker, Signal::CONT).expect("a signal");
    // Unknown was right: HAProxy carries the line out when it wakes up.
    until("the late change", async || {
        let read = haproxy.balancer().read(&haproxy.backend).await;
        read.is_ok_and(|reading| settings(&reading) == [(Admin::Ready, 50)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_would_be_lost_at_a_reload_is_not_applied() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address]).await;
    let state_file = haproxy.path("missing").join("web.state");
    let options = HaproxyOptions {
        state_file,
        ..haproxy.options()
    };
    let balancer = HaproxyBalancer::new(options);
    let written = balancer
        .write(&haproxy.backend, &[(server("web1"), ready(9))])
        .await;
    let Outcome::Unknown { why } = written.outcome else {
        panic!("{written:?}")
    };
    assert!(why.as_str().contains("missing/web.state"), "{why}");
    assert!(why.as_str().contains("make its directory"), "{why}");
    let reading = written.reading.expect("it was read back");
    assert_eq!(settings(&reading), [(Admin::Ready, 9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_039_a_renamed_server_and_a_missing_backend_are_found_before_any_effect() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let renamed = |text: String| text.replace("server web1 ", "server other ");
    let haproxy = Haproxy::start_edited(&[one.address], renamed).await;
    let lines = inspect(&haproxy, Shares::Exact).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0]
            .as_str()
            .contains("has no server web1; add `server web1 "),
        "{lines:?}"
    );
    let written = haproxy
        .balancer()
        .write(&haproxy.backend, &[(server("web1"), OUT)])
        .await;
    let Outcome::Rejected { why } = written.outcome else {
        panic!("{written:?}")
    };
    assert!(
        why.as_str().contains("HAProxy said: No such server."),
        "{why}"
    );
    let mut nowhere = haproxy.backend.clone();
    nowhere.backend = "nowhere".parse().expect("a name");
    let lines = haproxy
        .balancer()
        .inspect(&nowhere, &haproxy.servers)
        .await
        .expect("a look");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].as_str().contains("no backend of this name"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_of_the_same_name_does_not_hide_the_backend() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let named = |text: String| text.replace("frontend web-in", "frontend web");
    let haproxy = Haproxy::start_edited(&[one.address], named).await;
    haproxy.set(&[(0, ready(8))]).await;
    assert_eq!(settings(&read(&haproxy).await), [(Admin::Ready, 8)]);
}

async fn inspect(haproxy: &Haproxy, shares: Shares) -> Vec<Clean> {
    let options = HaproxyOptions {
        shares,
        ..haproxy.options()
    };
    let balancer = HaproxyBalancer::new(options);
    balancer
        .inspect(&haproxy.backend, &haproxy.servers)
        .await
        .expect("a look")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_is_accepted_and_nothing_is_wrong_with_it() {
    if !installed() {
        return;
    }
    let haproxy = Haproxy::start(&[free_address(), free_address()]).await;
    let check = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(haproxy.path("haproxy.cfg"))
        .output();
    let check = check.expect("haproxy -c");
    assert!(check.status.success(), "{check:?}");
    assert_eq!(inspect(&haproxy, Shares::Exact).await, []);
    let checked = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(haproxy.path("haproxy.cfg"))
        .output();
    let words = String::from_utf8_lossy(&checked.expect("haproxy -c").stderr).into_owned();
    assert!(
        !words.contains("WARNING"),
        "with its state file there it has no warning: {words}"
    );
}

/// What inspection says after one edit of a good configuration.
async fn lines_after(shares: Shares, from: &str, to: &str) -> Vec<Clean> {
    let edit = |text: String| {
        assert!(text.contains(from), "{from:?} is not in the snippet");
        text.replace(from, to)
    };
    let haproxy = Haproxy::start_edited(&[free_address()], edit).await;
    inspect(&haproxy, shares).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_040_whatever_makes_a_backend_unfit_is_said_with_the_mend() {
    if !installed() {
        return;
    }
    let load = "load-server-state-from-file";
    let file = "server-state-file-name";
    let cases = [
        (
            "balance roundrobin",
            "balance source",
            "use `balance roundrobin`",
        ),
        (
            "balance roundrobin",
            "balance leastconn",
            "shares = \"approximate\"",
        ),
        ("level admin", "level operator", "make it `level admin`"),
        ("disabled weight 1", "weight 1", "add `disabled`"),
        ("weight 1 check", "weight 2 check", "make it `weight 1`"),
        ("weight 1 check", "weight 1", "add `check`"),
        ("  load-server-state-from-file local\n", "", load),
        (
            "from-file local",
            "from-file global",
            "shares its state file with other backends",
        ),
        (file, "# server-state-file-name", "is what is written"),
        ("  option redispatch 1\n", "", "add `option redispatch 1`"),
        (
            "rise 1",
            "rise 1 on-marked-down shutdown-sessions",
            "cuts the requests",
        ),
        ("rise 1", "rise 1 slowstart 5s", "note: `slowstart`"),
        (
            "mode http\n  balance",
            "mode http\n  cookie S insert\n  balance",
            "note: clients stick",
        ),
        (
            "retry-on conn-failure",
            "retry-on all-retryable-errors",
            "note: `retry-on",
        ),
    ];
    for (from, to, expected) in cases {
        let lines = lines_after(Shares::Exact, from, to).await;
        assert_eq!(lines.len(), 1, "{from:?} -> {to:?}: {lines:?}");
        assert!(
            lines[0].as_str().contains(expected),
            "{from:?} -> {to:?}: {lines:?}"
        );
    }
    let lines = lines_after(
        Shares::Approximate,
        "balance roundrobin",
        "balance leastconn",
    )
    .await;
    assert_eq!(lines, [], "leastconn will do where shares are approximate");
}
