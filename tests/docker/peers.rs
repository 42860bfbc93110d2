//! Daemons that are far away: over TLS, and through a real sshd.

use crate::contract::eventually;
use crate::daemon::{Network, PrivateDaemon};
use crate::inside;
use crate::needs::found_or_skipped;
use crate::support::{SOCKET, Shop, available, directory, docker, free_address};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wheelhouse::model::Placement;
use wheelhouse::ports::Runtime;
use wheelhouse::runtime::docker::{DockerOptions, DockerRuntime, Endpoint, Logins, Tls};

fn runtime(endpoint: Endpoint) -> DockerRuntime {
    DockerRuntime::new(DockerOptions {
        name: "far".parse().expect("a name"),
        endpoint,
        logins: Logins::default(),
    })
}

fn nobodys() -> Placement {
    "nobody@test".parse().expect("a placement")
}

/// Certificates as an administrator makes them.
struct Authority {
    root: PathBuf,
}

impl Authority {
    fn new(root: PathBuf) -> Self {
        std::fs::create_dir(&root).expect("created");
        let authority = Self { root };
        let (key, cert) = (authority.path("ca.key"), authority.path("ca.pem"));
        openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &cert,
        ])
        .args(["-days", "3650", "-subj", "/CN=test authority"])
        .run();
        authority
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// Signs `name.pem` with `name.key`, for these days from now on; none is over in a second.
    fn signs(&self, name: &str, extensions: &str, days: &str) {
        let (key, cert) = (
            self.path(&format!("{name}.key")),
            self.path(&format!("{name}.pem")),
        );
        let (request, more) = (self.path("request"), self.path("extensions"));
        std::fs::write(&more, extensions).expect("written");
        openssl(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request,
        ])
        .args(["-subj", &format!("/CN={name}")])
        .run();
        openssl(&[
            "x509", "-req", "-in", &request, "-out", &cert, "-days", days,
        ])
        .args(["-CA", &self.path("ca.pem"), "-CAkey", &self.path("ca.key")])
        .args(["-CAcreateserial", "-extfile", &more])
        .run();
    }
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

trait Run {
    fn run(&mut self);
}

impl Run for Command {
    fn run(&mut self) {
        let output = self.stdin(Stdio::null()).output().expect("it is there");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self:?}: {err}");
    }
}

const CLIENT: &str = "extendedKeyUsage = clientAuth\n";
const SERVER: &str = "extendedKeyUsage = serverAuth\nsubjectAltName = IP:127.0.0.1\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_067_a_daemon_over_tls_answers_the_right_client_and_others_are_told_the_mend() {
    if !available() || !inside::available() {
        return;
    }
    if !inside::is_inside() {
        return inside::run_again(
            "peers::fault_067_a_daemon_over_tls_answers_the_right_client_and_others_are_told_the_mend",
        );
    }
    let (_kept, root) = directory();
    let ours = Authority::new(root.join("ours"));
    let others = Authority::new(root.join("others"));
    ours.signs("daemon", SERVER, "30");
    ours.signs("client", CLIENT, "30");
    ours.signs("expired", CLIENT, "0");
    others.signs("client", CLIENT, "30");
    let address = free_address();
    let arguments = [
        ("-H", format!("tcp://{address}")),
        ("--tlscacert", ours.path("ca.pem")),
        ("--tlscert", ours.path("daemon.pem")),
        ("--tlskey", ours.path("daemon.key")),
    ];
    let arguments = arguments.into_iter();
    let mut arguments: Vec<_> = arguments
        .flat_map(|(flag, at)| [flag.to_owned(), at])
        .collect();
    arguments.push("--tlsverify".to_owned());
    let daemon = PrivateDaemon::begin_with(Network::OfTheTest, arguments.clone());
    let files = |authority: &Authority, name: &str, ca: &Authority| Tls {
        ca: ca.path("ca.pem").into(),
        cert: authority.path(&format!("{name}.pem")).into(),
        key: authority.path(&format!("{name}.key")).into(),
    };
    let over = |files: Option<Tls>| runtime(Endpoint::Tcp(address.to_string(), files));
    let right = over(Some(files(&ours, "client", &ours)));
    let reading = right.read(&nobodys()).await.expect("readable");
    assert!(
        reading.software.as_str().starts_with("Docker "),
        "{reading:?}"
    );
    let cases = [
        (
            Some(files(&ours, "expired", &ours)),
            ["expired.pem", "renew"],
        ),
        (
            Some(files(&others, "client", &ours)),
            ["others/client.pem", "--tlscacert"],
        ),
        (
            Some(files(&ours, "client", &others)),
            ["others/ca.pem", "tls_ca"],
        ),
        (None, ["HTTP request", "HTTPS"]),
    ];
    for (files, parts) in cases {
        told(&over(files), &parts).await;
    }
    let absent = over(Some(files(&ours, "nobody", &ours)));
    let error = absent.read(&nobodys()).await.expect_err("no such file");
    assert!(error.to_string().contains("nobody.key"), "{error}");
    drop(daemon);
    // The daemon's own has expired, and it listens as before.
    ours.signs("daemon", SERVER, "0");
    let _daemon = PrivateDaemon::begin_with(Network::OfTheTest, arguments);
    told(&right, &["the daemon's certificate has expired"]).await;
}

/// Reads until the trouble is told in words with these parts: what has just expired may be taken
/// for another moment.
async fn told(runtime: &DockerRuntime, parts: &[&str]) {
    let last = std::sync::Mutex::new(String::new());
    let ask = || async {
        let read = runtime.read(&nobodys()).await;
        let text = read
            .err()
            .map_or_else(String::new, |error| error.to_string());
        let good = parts.iter().all(|part| text.contains(part));
        *last.lock().expect("not broken") = text;
        good.then_some(())
    };
    let asked = tokio::time::timeout(Duration::from_secs(25), eventually("it is told", ask));
    let asked = asked.await.is_ok();
    let last = last.into_inner().expect("not broken");
    assert!(asked, "{parts:?} in {last}");
}

/// An sshd of this test's own, for the user it runs as.
struct Sshd {
    directory: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Sshd {
    fn begin() -> Option<Self> {
        let there = Path::new("/usr/sbin/sshd").exists();
        // Root's sshd wants this directory, which its service would make.
        let ready = std::fs::create_dir_all("/run/sshd").is_ok();
        if !found_or_skipped("openssh-server, as root", there && ready) {
            return None;
        }
        let (directory, root) = directory();
        let below = |name: &str| root.join(name).display().to_string();
        for key in ["host", "client", "stranger"] {
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &below(key)])
                .run();
        }
        std::fs::copy(root.join("client.pub"), root.join("authorized")).expect("copied");
        let address = free_address();
        let host = std::fs::read_to_string(root.join("host.pub")).expect("readable");
        let known = format!("[127.0.0.1]:{} {host}", address.port());
        std::fs::write(below("known"), known).expect("written");
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             KbdInteractiveAuthentication no\nMaxStartups 100\n",
            below("host"),
            below("authorized")
        );
        std::fs::write(below("sshd_config"), config).expect("written");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f", &below("sshd_config"), "-E", &below("log")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd");
        let sshd = Self {
            directory,
            address,
            child,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "sshd did not begin: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sshd)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The endpoint as it is written, by a client whose files are the test's and not its user's.
    /// Connections share one, as Docker's own documents advise: each by itself would take longer
    /// on a busy machine than a reading may.
    fn endpoint(&self, key: &str, socket: &str) -> Endpoint {
        let below = |name: &str| self.directory.path().join(name).display().to_string();
        let config = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n\
             ControlMaster auto\nControlPath {}\nControlPersist 20\n",
            below(key),
            below("known"),
            below(&format!("{key}.control")),
        );
        let path = below(&format!("{key}.config"));
        std::fs::write(&path, config).expect("written");
        let host = format!("ssh://{}{socket}", self.address);
        match Endpoint::of_host(&host, None).expect("an endpoint") {
            Endpoint::Ssh(mut arguments) => {
                arguments.splice(0..0, ["-F".to_owned(), path]);
                Endpoint::Ssh(arguments)
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_behind_ssh_is_followed_and_ssh_s_own_words_are_told() {
    if !available() {
        return;
    }
    let Some(sshd) = Sshd::begin() else {
        return;
    };
    let shop = Shop::open();
    let mine = Some(shop.placement.clone());
    let far = runtime(sshd.endpoint("client", SOCKET));
    let (hints, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let watch = tokio::spawn(async move {
        far.watch(|whose| drop(hints.send(whose))).await;
    });
    // Whose it is stands in the daemon's own events, so they came all the way.
    let start = shop.demo("web1", &[]);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        shop.must_start(&start).await;
        docker(&["rm", "-f", &shop.containers().remove(0)]);
        let said = std::iter::from_fn(|| heard.try_recv().ok());
        if said.into_iter().any(|whose| whose == mine) {
            break;
        }
        assert!(Instant::now() < until, "nothing came: {}", sshd.log());
    }
    watch.abort();
    // A reading takes several connections: the first ones may be given up.
    shop.must_start(&start).await;
    let far = runtime(sshd.endpoint("client", SOCKET));
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let reading = far.read(&shop.placement).await;
        if reading.is_ok_and(|reading| !reading.instances.is_empty()) {
            break;
        }
        assert!(Instant::now() < until, "nothing was read: {}", sshd.log());
    }
    for (key, socket, parts) in [
        ("stranger", SOCKET, ["Permission denied", "by hand"]),
        (
            "client",
            "/nonexistent/docker.sock",
            ["/nonexistent/docker.sock: connect", "by hand"],
        ),
    ] {
        told(&runtime(sshd.endpoint(key, socket)), &parts).await;
    }
}
