//! HAProxy without a master, and clients that stay where they are: what a reload and a maintenance
//! leave open. The numbers in names are rows of the fault catalogue.

#[path = "support/needs.rs"]
mod needs;
#[path = "support/haproxy.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{Behaviour, Haproxy, Instance, installed, server, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wheelhouse::balancer::haproxy::{HaproxyBalancer, HaproxyOptions, Shares};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::Backend;
use wheelhouse::ports::Balancer;

/// An instance that answers and then echoes for as long as the client likes, as a websocket does.
async fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                if !matches!(stream.read(&mut bytes).await, Ok(read) if read > 0) {
                    return;
                }
                let upgrade = bytes.windows(13).any(|window| window == b"upgrade: echo");
                let answer: &[u8] = match upgrade {
                    true => b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                    false => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                };
                let _ = stream.write_all(answer).await;
                if upgrade {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                }
            });
        }
    });
    address
}

/// An open upgraded connection through a balancer.
async fn upgraded(listen: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(listen).await.expect("HAProxy listens");
    let request = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && stream.read_exact(&mut back).await.is_ok()
        && back == *b"ping"
}

/// HAProxy without a master: a new process takes over from the one with this pid.
fn plain(directory: &Path, over_from: Option<u32>) -> Process {
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(directory.join("plain.cfg"));
    if let Some(pid) = over_from {
        command.arg("-x").arg(directory.join("admin.sock"));
        command.args(["-sf", &pid.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process(command.spawn().expect("haproxy"))
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_044_an_old_process_that_still_serves_is_another_epoch_and_loses_no_weight() {
    if !installed() {
        return;
    }
    let echo = echoing().await;
    let other = Instance::start("other", Behaviour::Works).await;
    // Only for its text: this one runs under a master.
    let template = Haproxy::start(&[echo, other.address]).await;
    let listen = support::free_address();
    let directory = tempfile::tempdir().expect("a directory");
    let text = template
        .configuration()
        .replace(
            &template.directory.path().display().to_string(),
            &directory.path().display().to_string(),
        )
        .replace(&template.listen.to_string(), &listen.to_string());
    fs::write(directory.path().join("plain.cfg"), text).expect("a configuration");
    let old = plain(directory.path(), None);
    let balancer = HaproxyBalancer::new(HaproxyOptions {
        name: "lb".parse().expect("a name"),
        socket: directory.path().join("admin.sock"),
        state_file: directory.path().join("{backend}.state"),
        shares: Shares::Exact,
        log: None,
    });
    let backend: &Backend = &template.backend;
    until("HAProxy's first answer", async || {
        balancer.read(backend).await.is_ok()
    })
    .await;
    let only_echo = [
        (server("web1"), ServerSetting::ready(7)),
        (server("web2"), ServerSetting::OUT),
    ];
    balancer.write(backend, &only_echo).await;
    let mut stream = upgraded(listen).await;
    let before = balancer.read(backend).await.expect("a reading");
    let new = plain(directory.path(), Some(old.0.id()));
    until("the new process", async || {
        balancer
            .read(backend)
            .await
            .is_ok_and(|now| now.epoch != before.epoch)
    })
    .await;
    let after = balancer.read(backend).await.expect("a reading");
    assert!(
        after.epoch.starts_with(&format!("{}@", new.0.id())),
        "{}",
        after.epoch
    );
    assert_eq!(after.settings()[&server("web1")], ServerSetting::ready(7));
    assert!(
        echoes(&mut stream).await,
        "the old process keeps what it serves"
    );
    // Nobody proves the old process idle: its sessions are no longer to be seen.
    assert_eq!(after.servers[&server("web1")].sessions, 0);
    assert_eq!(before.servers[&server("web1")].sessions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_043_maintenance_moves_those_that_stick_and_leaves_open_connections_to_be_drained() {
    if !installed() {
        return;
    }
    let stable = Instance::start("stable", Behaviour::Works).await;
    let canary = echoing().await;
    let haproxy = Haproxy::start_edited(&[stable.address, canary], |text| {
        let text = text.replace(
            "  balance roundrobin\n",
            "  balance roundrobin\n  cookie SRV insert\n",
        );
        ["web1", "web2"].into_iter().fold(text, |text, name| {
            let at = text.find(&format!("server {name} ")).expect("its server");
            let end = at + text[at..].find('\n').expect("the end of its line");
            format!("{} cookie {name}{}", &text[..end], &text[end..])
        })
    })
    .await;
    haproxy
        .set(&[(0, ServerSetting::OUT), (1, ServerSetting::ready(1))])
        .await;
    let mut stream = upgraded(haproxy.listen).await;
    assert!(echoes(&mut stream).await);
    haproxy
        .set(&[(1, ServerSetting::OUT), (0, ServerSetting::ready(1))])
        .await;
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .expect("a client");
    for _ in 0..50 {
        let request = client
            .get(format!("http://{}/", haproxy.listen))
            .header("cookie", "SRV=web2");
        let body = request
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        assert_eq!(
            body, "stable",
            "one that sticks to the server in maintenance"
        );
    }
    let view = haproxy
        .balancer()
        .read(&haproxy.backend)
        .await
        .expect("a reading");
    let sessions = view.servers[&server("web2")].sessions;
    assert_eq!(
        sessions, 1,
        "an open connection is seen, so nothing is stopped under it"
    );
    assert!(echoes(&mut stream).await, "and not cut");
}
