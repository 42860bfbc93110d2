//! A real registry with a login: right and wrong ones, a tag that moves, a digest that is not
//! there, a pull that is slow.

use crate::contract;
use crate::needs::found_or_skipped;
use crate::support::{
    SOCKET, Shop, available, directory, docker, docker_says, free_address, image, runtime_with,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wheelhouse::model::container::Pin;
use wheelhouse::model::secret::SecretRef;
use wheelhouse::model::{Clean, Outcome, Stock};
use wheelhouse::ports::{NOTE, Runtime, RuntimeLook, Start, Stop};
use wheelhouse::runtime::docker::{DockerRuntime, Login, Logins};

pub const USER: &str = "deployer";
pub const PASSWORD: &str = "wheelhouse-test";
/// bcrypt of the password, for a file as htpasswd writes it.
const HASH: &str = "$2b$04$JRYZ3zjICECWSbVzs2BL0OpDTMOVqf9aNVSh0xnwq5T2t1bvUV7c6";

/// Debian's docker-registry on loopback, where docker asks for no TLS.
pub struct Registry {
    directory: TempDir,
    pub address: SocketAddr,
    child: Child,
}

impl Registry {
    pub fn begin() -> Option<Self> {
        let version = Command::new("docker-registry").arg("--version").output();
        let found = version.is_ok_and(|output| output.status.success());
        if !found_or_skipped("docker-registry", found) {
            return None;
        }
        let (directory, root) = directory();
        let address = free_address();
        let below = |name: &str| root.join(name).display().to_string();
        std::fs::write(below("users"), format!("{USER}:{HASH}\n")).expect("written");
        std::fs::write(below("password"), PASSWORD).expect("written");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            below("data"),
            below("users")
        );
        std::fs::write(below("config.yml"), text).expect("written");
        let child = Command::new("docker-registry")
            .args(["serve", &below("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self {
            directory,
            address,
            child,
        };
        let until = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "the registry did not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    /// Pushes what is tagged so on this daemon under a name of the registry, and forgets it here.
    pub fn push(&self, from: &str, tag: &str) -> String {
        let name = format!("{}/shop:{tag}", self.address);
        let config = self.directory.path().join("docker");
        let config = config.to_string_lossy();
        docker(&["tag", from, &name]);
        let host = self.address.to_string();
        let login = [
            "--config", &config, "login", "-u", USER, "-p", PASSWORD, &host,
        ];
        docker(&login);
        docker(&["--config", &config, "push", "-q", &name]);
        docker(&["rmi", &name]);
        name
    }

    /// Pulls what a digest stands for, as somebody who is logged in.
    fn pull(&self, reference: &str) {
        let config = self.directory.path().join("docker");
        docker(&[
            "--config",
            &config.to_string_lossy(),
            "pull",
            "-q",
            reference,
        ]);
    }

    /// Deletes a manifest, as a clean-up of old versions does.
    async fn delete(&self, digest: &str) {
        let url = format!("http://{}/v2/shop/manifests/{digest}", self.address);
        let http = reqwest::Client::new().delete(url);
        let answer = http.basic_auth(USER, Some(PASSWORD)).send().await;
        let status = answer.expect("the registry answers").status();
        assert_eq!(status.as_u16(), 202);
    }

    /// Bytes of everything it keeps.
    fn kept(&self) -> u64 {
        fn below(path: &Path) -> u64 {
            let entries = std::fs::read_dir(path).expect("a directory").flatten();
            let size = |entry: std::fs::DirEntry| match entry.metadata().expect("there") {
                meta if meta.is_dir() => below(&entry.path()),
                meta => meta.len(),
            };
            entries.map(size).sum()
        }
        below(&self.directory.path().join("data"))
    }

    /// The file with the password.
    pub fn password(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    fn logins(&self, registry: SocketAddr, password: &str) -> Logins {
        let path = self.directory.path().join(password);
        let login = Login {
            user: USER.to_owned(),
            password: SecretRef::File(path.display().to_string()),
        };
        Logins {
            configured: [(registry.to_string(), login)].into(),
            config_dir: None,
        }
    }

    fn runtime(&self) -> DockerRuntime {
        runtime_with(Path::new(SOCKET), self.logins(self.address, "password"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An image like the test's but not the same, with this many bytes nothing can compress.
pub fn variant(word: &str, bytes: usize) -> String {
    image();
    let (_kept, root) = directory();
    let mut file = std::fs::File::create(root.join("word")).expect("created");
    file.write_all(word.as_bytes()).expect("written");
    let mut random = std::fs::File::open("/dev/urandom")
        .expect("there")
        .take(bytes as u64);
    std::io::copy(&mut random, &mut file).expect("copied");
    let text = format!("FROM {}\nCOPY word /word\n", crate::support::IMAGE);
    std::fs::write(root.join("Dockerfile"), text).expect("written");
    let tag = format!("wheelhouse-test:{word}-{}", std::process::id());
    let built = Command::new("docker")
        .args(["build", "-q", "-t", &tag, &root.to_string_lossy()])
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .expect("docker");
    assert!(built.status.success(), "{built:?}");
    tag
}

/// Removes images at the end, whatever happened.
pub struct Images(pub Vec<String>);

impl Drop for Images {
    fn drop(&mut self) {
        for image in &self.0 {
            drop(docker_says(&["rmi", "-f", image]));
        }
    }
}

async fn look(runtime: &DockerRuntime, shop: &Shop, image: &str) -> RuntimeLook {
    let start = of(shop, image, None);
    let look = runtime.inspect(&shop.placement, &start.workload, &[]);
    look.await.expect("the daemon answers")
}

fn of(shop: &Shop, image: &str, pin: Option<Pin>) -> Start {
    let mut start = shop.demo("web1", &[]);
    let container = start.workload.container.as_mut().expect("one");
    container.image = image.to_owned();
    container.pin = pin;
    start
}

fn unfit(look: &RuntimeLook) -> Vec<&Clean> {
    let unfit = |line: &&Clean| !line.as_str().starts_with(NOTE);
    look.lines.iter().filter(unfit).collect()
}

fn digest(look: &RuntimeLook) -> String {
    let pinned = look.pinned.as_ref().expect("found");
    match &pinned.pin {
        Some(Pin::Digest(digest)) => digest.clone(),
        other => panic!("{other:?}"),
    }
}

/// Starts until it stands, as the engine does, and gives back every word of waiting.
async fn started(runtime: &DockerRuntime, start: &Start) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut words = Vec::new();
    loop {
        let written = runtime.start(start.clone()).await;
        match written.outcome {
            Outcome::Applied => return words,
            Outcome::Rejected { why } => words.push(why.into_string()),
            Outcome::Unknown { why } => panic!("{why}"),
        }
        let reading = written.reading.expect("read back");
        let view = reading.instances.get(&start.server);
        if let Some(why) = view.and_then(|view| view.exited.clone()) {
            panic!("{why}");
        }
        words.extend(view.and_then(|view| Some(view.waiting.clone()?.into_string())));
        assert!(Instant::now() < until, "{words:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_56_the_right_login_pulls_by_digest_and_a_tag_that_moves_changes_nothing() {
    if !available() {
        return;
    }
    let Some(registry) = Registry::begin() else {
        return;
    };
    let (first, second) = (variant("first", 16), variant("second", 16));
    let name = registry.push(&first, "v1");
    let mut images = Images(vec![first, second.clone(), name.clone()]);
    let shop = Shop::open();
    let runtime = registry.runtime();
    let seen = look(&runtime, &shop, &name).await;
    assert!(unfit(&seen).is_empty(), "{:?}", seen.lines);
    let pinned = digest(&seen);
    // The tag moves between the approval and the start.
    registry.push(&second, "v1");
    let start = of(&shop, &name, Some(Pin::Digest(pinned.clone())));
    let words = started(&runtime, &start).await;
    assert!(
        words.iter().any(|word| word.contains("pulling")),
        "{words:?}"
    );
    let id = shop.containers().remove(0);
    let image = docker(&["inspect", "-f", "{{.Config.Image}}", &id]);
    assert!(image.ends_with(&pinned), "{image} is what was approved");
    images.0.push(image);
    let moved = look(&runtime, &shop, &name).await;
    assert_ne!(
        digest(&moved),
        pinned,
        "a new release takes what is there now"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_56_wrong_logins_and_absent_images_fail_before_any_traffic() {
    if !available() {
        return;
    }
    let Some(registry) = Registry::begin() else {
        return;
    };
    let first = variant("login", 16);
    let name = registry.push(&first, "v1");
    let _images = Images(vec![first, name.clone()]);
    let shop = Shop::open();
    std::fs::write(registry.directory.path().join("wrong"), "hunter2").expect("written");
    let wrong = runtime_with(
        Path::new(SOCKET),
        registry.logins(registry.address, "wrong"),
    );
    let none = runtime_with(Path::new(SOCKET), Logins::default());
    let gone = runtime_with(
        Path::new(SOCKET),
        registry.logins(registry.address, "absent"),
    );
    for (runtime, mend) in [
        (&wrong, "user and password"),
        (&none, "runtime.NAME.registry"),
        (&gone, "absent"),
    ] {
        let seen = look(runtime, &shop, &name).await;
        let line = unfit(&seen).first().map(|line| line.to_string());
        let line = line.expect("it says so");
        assert!(line.contains(mend) && !line.contains("hunter2"), "{line}");
        assert_eq!(seen.pinned, None);
    }
    let runtime = registry.runtime();
    let absent = look(&runtime, &shop, &name.replace(":v1", ":v9")).await;
    let line = unfit(&absent).first().expect("it says so").to_string();
    assert!(line.contains("does not have it"), "{line}");
    // A digest nobody has: pinned, and then removed from the registry.
    let pin = Pin::Digest(format!("sha256:{}", "ab".repeat(32)));
    let start = of(&shop, &name, Some(pin));
    for (runtime, start) in [(&runtime, start.clone()), (&wrong, start)] {
        let why = contract::eventually("the pull failed for good", || async {
            let written = runtime.start(start.clone()).await;
            assert_ne!(written.outcome, Outcome::Applied);
            let reading = written.reading?;
            reading.instances.get(&start.server)?.exited.clone()
        })
        .await;
        assert!(why.as_str().contains("cannot be pulled"), "{why}");
        assert!(!why.as_str().contains("hunter2"));
        let stopped = runtime
            .stop(Stop::of(&shop.placement, &start.server, 0))
            .await;
        assert_eq!(stopped.outcome, Outcome::Applied);
    }
    assert_eq!(shop.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rollback_needs_is_here_or_can_be_pulled_or_is_gone() {
    const LAYER: u64 = 5_000_000;
    if !available() {
        return;
    }
    let Some(mut registry) = Registry::begin() else {
        return;
    };
    let built = variant("stock", LAYER as usize);
    let name = registry.push(&built, "v1");
    let shop = Shop::open();
    let runtime = registry.runtime();
    let pin = digest(&look(&runtime, &shop, &name).await);
    let reference = format!("{}/shop@{pin}", registry.address);
    let _images = Images(vec![built.clone(), reference.clone()]);
    docker(&["rmi", "-f", &built]);
    let workload = of(&shop, &name, Some(Pin::Digest(pin.clone()))).workload;

    registry.pull(&reference);
    assert_eq!(runtime.stock(&workload).await, Stock::Here);

    docker(&["rmi", "-f", &reference]);
    let Stock::Pull { bytes: Some(bytes) } = runtime.stock(&workload).await else {
        panic!("{:?}", runtime.stock(&workload).await);
    };
    let kept = registry.kept();
    assert!((LAYER..kept).contains(&bytes), "{bytes} of {kept} bytes");

    std::fs::write(registry.directory.path().join("wrong"), "hunter2").expect("written");
    let wrong = registry.logins(registry.address, "wrong");
    let wrong = runtime_with(Path::new(SOCKET), wrong);
    let said = wrong.stock(&workload).await;
    let is_said = |why: &Clean| why.as_str().contains("user and password");
    assert!(
        matches!(&said, Stock::Unknown { why } if is_said(why)),
        "{said:?}"
    );

    registry.delete(&pin).await;
    let said = runtime.stock(&workload).await;
    let is_said = |why: &Clean| why.as_str().contains("does not have it");
    assert!(
        matches!(&said, Stock::Gone { why } if is_said(why)),
        "{said:?}"
    );

    registry.child.kill().expect("our own child");
    registry.child.wait().expect("our own child");
    let said = runtime.stock(&workload).await;
    assert!(matches!(said, Stock::Unknown { .. }), "{said:?}");

    let host_only = Pin::HostImage(format!("sha256:{}", "ab".repeat(32)));
    let workload = of(&shop, &name, Some(host_only)).workload;
    let said = runtime.stock(&workload).await;
    assert!(matches!(said, Stock::Gone { .. }), "{said:?}");
}

/// Passes bytes to a registry and, while it is slow, only few of them back.
struct SlowProxy {
    address: SocketAddr,
    slow: Arc<AtomicBool>,
}

impl SlowProxy {
    fn before(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind(free_address()).expect("bound");
        let address = listener.local_addr().expect("bound");
        let slow = Arc::new(AtomicBool::new(true));
        let kept = Arc::clone(&slow);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let slow = Arc::clone(&slow);
                std::thread::spawn(move || drop(trickle(client, registry, &slow)));
            }
        });
        Self {
            address,
            slow: kept,
        }
    }
}

fn trickle(mut client: TcpStream, registry: SocketAddr, slow: &AtomicBool) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(registry)?;
    let (mut client_in, mut upstream_out) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || drop(std::io::copy(&mut client_in, &mut upstream_out)));
    let mut bytes = vec![0; 32 * 1024];
    loop {
        let read = upstream.read(&mut bytes)?;
        if read == 0 {
            return client.shutdown(std::net::Shutdown::Both);
        }
        client.write_all(&bytes[..read])?;
        if slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_57_a_slow_pull_shows_its_progress_and_ends() {
    if !available() {
        return;
    }
    let Some(registry) = Registry::begin() else {
        return;
    };
    let large = variant("large", 12_000_000);
    let name = registry.push(&large, "v1");
    let proxy = SlowProxy::before(registry.address);
    let name = name.replace(&registry.address.to_string(), &proxy.address.to_string());
    // Gone from this host, so that it must be loaded.
    let mut images = Images(vec![name.clone()]);
    docker(&["rmi", "-f", &large]);
    let shop = Shop::open();
    let logins = registry.logins(proxy.address, "password");
    let runtime = runtime_with(Path::new(SOCKET), logins);
    let seen = look(&runtime, &shop, &name).await;
    let pinned = digest(&seen);
    let start = of(&shop, &name, Some(Pin::Digest(pinned)));
    let began = Instant::now();
    let written = runtime.start(start.clone()).await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "no start waits for a pull"
    );
    assert!(
        matches!(written.outcome, Outcome::Rejected { .. }),
        "{:?}",
        written.outcome
    );
    let word = contract::eventually("bytes are counted", || async {
        let reading = runtime.read(&shop.placement).await.ok()?;
        let view = reading.instances.get(&start.server)?.clone();
        assert_eq!(view.exited, None);
        let word = view.waiting?.into_string();
        (word.contains(" of 12 MB") || word.contains(" of 13 MB")).then_some(word)
    })
    .await;
    assert!(word.starts_with("pulling"), "{word}");
    proxy.slow.store(false, Ordering::SeqCst);
    started(&runtime, &start).await;
    let id = shop.containers().remove(0);
    images
        .0
        .push(docker(&["inspect", "-f", "{{.Config.Image}}", &id]));
}

/// Set where the helper is on the path, to the directory of docker's `config.json`.
const HELPED: &str = "WHEELHOUSE_TEST_HELPED";

/// Runs the test of this name again with a credential helper that knows the login, and writes down
/// who asked it for what.
fn run_again_helped(test: &str) {
    let (_kept, root) = directory();
    let helper = root.join("docker-credential-wheelhouse-test");
    let script = format!(
        "#!/bin/sh\nread -r server\necho \"$1 $server\" >> {asked}\n\
         [ \"$server\" = \"$(cat {known})\" ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"ServerURL\":\"\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        asked = root.join("asked").display(),
        known = root.join("known").display(),
    );
    std::fs::write(&helper, script).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&helper, executable).expect("made executable");
    let store = r#"{"credsStore":"wheelhouse-test"}"#;
    std::fs::write(root.join("config.json"), store).expect("written");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(std::env::current_exe().expect("this test's program"))
        .args([test, "--exact", "--nocapture"])
        .env("PATH", format!("{}:{path}", root.display()))
        .env(HELPED, &root)
        .output();
    let output = output.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_helper_on_the_path_logs_in_and_one_that_knows_nothing_does_not() {
    if !available() {
        return;
    }
    let Some(helped) = std::env::var_os(HELPED) else {
        return run_again_helped(
            "registry::a_credential_helper_on_the_path_logs_in_and_one_that_knows_nothing_does_not",
        );
    };
    let helped = Path::new(&helped);
    let Some(registry) = Registry::begin() else {
        return;
    };
    let first = variant("helped", 16);
    let name = registry.push(&first, "v1");
    let mut images = Images(vec![first, name.clone()]);
    let shop = Shop::open();
    let logins = Logins {
        configured: [].into(),
        config_dir: Some(helped.to_owned()),
    };
    let runtime = runtime_with(Path::new(SOCKET), logins);
    std::fs::write(helped.join("known"), "another:5000").expect("written");
    let seen = look(&runtime, &shop, &name).await;
    let line = unfit(&seen).first().map(ToString::to_string);
    assert!(line.is_some_and(|line| line.contains("runtime.NAME.registry")));
    std::fs::write(helped.join("known"), registry.address.to_string()).expect("written");
    let seen = look(&runtime, &shop, &name).await;
    assert!(unfit(&seen).is_empty(), "{:?}", seen.lines);
    let start = of(&shop, &name, Some(Pin::Digest(digest(&seen))));
    started(&runtime, &start).await;
    let id = shop.containers().remove(0);
    images
        .0
        .push(docker(&["inspect", "-f", "{{.Config.Image}}", &id]));
    let asked = std::fs::read_to_string(helped.join("asked")).expect("it was asked");
    let meant = format!("get {}", registry.address);
    assert!(asked.lines().all(|line| line == meant), "{asked}");
    assert!(asked.lines().count() >= 3, "anew each time: {asked}");
}
