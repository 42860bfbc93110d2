use super::*;
use crate::model::world::Admin;
use std::time::Instant as Clock;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

fn backend() -> Backend {
    Backend {
        balancer: "lb".parse().expect("a name"),
        backend: "web".parse().expect("a name"),
    }
}

fn server(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

fn ready(weight: u16) -> ServerSetting {
    ServerSetting::ready(weight)
}

fn balancer(directory: &TempDir) -> HaproxyBalancer {
    HaproxyBalancer::new(HaproxyOptions {
        name: "lb".parse().expect("a name"),
        socket: directory.path().join("sock"),
        state_file: directory.path().join("state"),
        shares: Shares::Exact,
        log: None,
    })
}

/// What a peer that is no HAProxy does after each line it takes.
#[derive(Debug, Clone)]
enum Peer {
    /// Answers this and closes.
    Says(Vec<u8>),
    /// Keeps the connection and says nothing.
    Silent,
}

fn peer(directory: &TempDir, peer: Peer) -> JoinHandle<()> {
    let listener = UnixListener::bind(directory.path().join("sock")).expect("a socket");
    tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            match &peer {
                // The reader may have had enough before the end.
                Peer::Says(bytes) => drop(stream.write_all(bytes).await),
                Peer::Silent => silent.push(stream),
            }
        }
    })
}

#[tokio::test]
async fn fault_038_no_answer_that_makes_no_sense_is_taken_for_a_reading() {
    let cases = [
        ("nothing", Vec::new(), "cut off after 0 bytes"),
        ("an empty line", b"\n".to_vec(), "cut off"),
        (
            "a web server",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "makes no sense",
        ),
        ("control characters", b"\x1b]0;x\x07\n\n".to_vec(), "␛]0;x␇"),
        (
            "no text",
            vec![0xff, 0xfe, b'\n', b'\n'],
            "bytes that are no text",
        ),
        (
            "too much",
            vec![b'x'; 3 * 1024 * 1024],
            "more than 1048576 bytes",
        ),
    ];
    for (what, bytes, expected) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let peer = peer(&directory, Peer::Says(bytes));
        let balancer = balancer(&directory);
        let error = balancer.read(&backend()).await.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(error.starts_with("HAProxy lb at "), "{what}: {error}");
        let written = balancer
            .write(&backend(), &[(server("web1"), ready(1))])
            .await;
        assert!(
            matches!(written.outcome, Outcome::Unknown { .. }),
            "{what}: {written:?}"
        );
        assert_eq!(written.reading, None);
        peer.abort();
    }
}

#[tokio::test]
async fn a_silent_peer_costs_a_second_and_ends_in_unknown() {
    let directory = tempfile::tempdir().expect("a directory");
    let peer = peer(&directory, Peer::Silent);
    let start = Clock::now();
    let written = balancer(&directory)
        .write(&backend(), &[(server("web1"), ready(1))])
        .await;
    let took = start.elapsed();
    assert!(
        matches!(written.outcome, Outcome::Unknown { .. }),
        "{written:?}"
    );
    assert!(took >= DEADLINE && took < 2 * DEADLINE, "{took:?}");
    peer.abort();
}

#[tokio::test]
async fn where_nobody_listens_a_write_is_rejected_and_says_the_mend() {
    let directory = tempfile::tempdir().expect("a directory");
    let written = balancer(&directory)
        .write(&backend(), &[(server("web1"), ready(1))])
        .await;
    let Outcome::Rejected { why } = written.outcome else {
        panic!("{written:?}")
    };
    assert!(
        why.as_str()
            .contains("no such socket; see that HAProxy runs"),
        "{why}"
    );
    drop(UnixListener::bind(directory.path().join("sock")).expect("a socket"));
    let written = balancer(&directory)
        .write(&backend(), &[(server("web1"), ready(1))])
        .await;
    let Outcome::Rejected { why } = written.outcome else {
        panic!("{written:?}")
    };
    assert!(why.as_str().contains("connection refused"), "{why}");
}

#[test]
fn a_change_is_one_line_in_the_order_given_with_absolute_weights() {
    let drain = ServerSetting {
        admin: Admin::Drain,
        weight: 3,
    };
    let settings = [
        (server("web2"), ServerSetting::OUT),
        (server("web1"), ready(100)),
        (server("web3"), drain),
    ];
    assert_eq!(
        change_line(&backend().backend, &settings).as_deref(),
        Ok("set server web/web2 state maint; set weight web/web2 0; \
            set weight web/web1 100; set server web/web1 state ready; \
            set server web/web3 state drain; set weight web/web3 3")
    );
}

#[test]
fn a_change_that_haproxy_would_not_take_is_refused_before_it_is_sent() {
    let heavy = change_line(&backend().backend, &[(server("web1"), ready(257))]);
    assert!(heavy.is_err_and(|why| why.as_str().contains("above 256")));
    let many: Vec<_> = (0..400)
        .map(|i| (server(&format!("web{i}")), ready(1)))
        .collect();
    let long = change_line(&backend().backend, &many);
    assert!(long.is_err_and(|why| why.as_str().contains("400 servers do not fit")));
}

/// The end of a change to weight 7, by epoch and weight before it and the weight after it.
fn judged(before: Option<(&str, &str)>, after: &str) -> Outcome {
    let table = |weight: &str| {
        let text = format!(
            "1\n# be_id be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
             srv_iweight srv_check_state srv_port\n3 web web1 127.0.0.1 2 4 {weight} 1 6 1\n"
        );
        parse::state_table(&text, &backend().backend).expect("a table")
    };
    let settings = [(server("web1"), ready(7))];
    let after = Dump {
        repeated: BTreeMap::new(),
        reading: BalancerReading {
            epoch: "12@34".to_owned(),
            software: Clean::default(),
            servers: BTreeMap::new(),
        },
        pid: 12,
        algorithm: None,
        cookie: None,
        table: table(after),
    };
    let sent = Sent {
        after: None,
        answered: true,
        before: before.map(|(epoch, weight)| (epoch.to_owned(), table(weight))),
        words: Clean::new("HAProxy said: no"),
    };
    let lacks = missing(&after.table, &settings).expect("not as set");
    not_applied(&sent, &after, &settings, &lacks)
}

#[test]
fn only_what_certainly_did_not_change_is_rejected() {
    let why = Clean::new("server web1 is Ready at weight 5 after the change; HAProxy said: no");
    let rejected = Outcome::Rejected { why: why.clone() };
    let unknown = Outcome::Unknown { why };
    assert_eq!(judged(Some(("12@34", "5")), "5"), rejected);
    assert_eq!(judged(Some(("12@34", "4")), "5"), unknown);
    assert_eq!(
        judged(Some(("11@30", "5")), "5"),
        unknown,
        "HAProxy was reloaded meanwhile"
    );
    assert_eq!(judged(None, "5"), unknown, "nobody knows what was before");
}
