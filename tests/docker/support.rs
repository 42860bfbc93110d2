//! What every test of the Docker runtime needs: the daemon, one small image, a placement of its
//! own whose containers are removed at the end.

use crate::needs::found_or_skipped;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use uuid::Uuid;
use wheelhouse::model::container::{Container, Shape};
use wheelhouse::model::service::Workload;
use wheelhouse::model::world::InstanceView;
use wheelhouse::model::{Outcome, Placement, ReleaseId, ServerName};
use wheelhouse::ports::{Runtime, Start};
use wheelhouse::runtime::docker::{DockerOptions, DockerRuntime, Endpoint, Logins};

/// The program under test, which is also the service in the image.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");
/// The image every test uses.
pub const IMAGE: &str = "wheelhouse-test:v1";
/// The port the service listens on inside.
pub const PORT: u16 = 8080;
/// Where the daemon listens.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Whether a daemon answers. Where `CI` or `WHEELHOUSE_TESTS_STRICT` is 1 one must.
pub fn available() -> bool {
    let asked = Command::new("docker").args(["version"]).output();
    let found = asked.is_ok_and(|output| output.status.success());
    found_or_skipped("a docker daemon", found)
}

/// Runs `docker` as a person would; it must succeed.
pub fn docker(arguments: &[&str]) -> String {
    let output = docker_says(arguments);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {err}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn docker_says(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output();
    output.expect("docker is there")
}

/// Everything of a container that must not change when nobody touches it.
pub fn inspected(container: &str) -> String {
    docker(&["inspect", container])
}

/// The image, built when this binary's is not there yet.
pub fn image() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| import(None, IMAGE));
    IMAGE
}

/// Imports the program with the libraries it needs as an image.
pub fn import(host: Option<&str>, tag: &str) {
    let bytes = std::fs::read(PROGRAM).expect("the program");
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let on = |arguments: &[&str]| {
        let mut all: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
        all.extend(arguments);
        docker_says(&all)
    };
    let label = "{{index .Config.Labels \"wheelhouse.test.binary\"}}";
    let there = on(&["image", "inspect", "-f", label, tag]);
    if String::from_utf8_lossy(&there.stdout).trim() == digest {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let program = root.path().join("wheelhouse");
    std::fs::write(&program, bytes).expect("copied");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).expect("made executable");
    // Half the size where binutils are there; it runs without.
    drop(Command::new("strip").arg(&program).output());
    std::fs::create_dir(root.path().join("tmp")).expect("created");
    let libraries = Command::new("ldd").arg(&program).output().expect("ldd");
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let paths = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in paths.map(Path::new) {
        let inside = root
            .path()
            .join(library.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(inside.parent().expect("a directory")).expect("created");
        std::fs::copy(library, inside).expect("copied");
    }
    let mut tar = Command::new("tar")
        .args(["-C", &root.path().to_string_lossy(), "-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar");
    let change = format!("LABEL wheelhouse.test.binary={digest}");
    let mut arguments: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
    arguments.extend(["import", "-c", "ENTRYPOINT [\"/wheelhouse\"]"]);
    arguments.extend(["-c", "ENV MADE_BY=image", "-c", &change, "-", tag]);
    let imported = Command::new("docker")
        .args(arguments)
        .stdin(tar.stdout.take().expect("piped"))
        .output()
        .expect("docker");
    assert!(tar.wait().expect("tar").success());
    assert!(imported.status.success(), "{imported:?}");
}

/// A runtime over a socket.
pub fn runtime_at(socket: &Path) -> DockerRuntime {
    runtime_with(socket, Logins::default())
}

pub fn runtime_with(socket: &Path, logins: Logins) -> DockerRuntime {
    DockerRuntime::new(DockerOptions {
        name: "docker".parse().expect("a name"),
        endpoint: Endpoint::Unix(socket.to_owned()),
        logins,
    })
}

/// A placement of one test. Its containers, and those begun with [`Shop::foreign`], end with it.
pub struct Shop {
    pub placement: Placement,
    pub runtime: DockerRuntime,
    foreign: Vec<String>,
    host: Option<String>,
}

impl Shop {
    pub fn open() -> Self {
        image();
        Self::at(Path::new(SOCKET), None)
    }

    /// On another daemon.
    pub fn at(socket: &Path, host: Option<String>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}x{number}@test", std::process::id());
        Self {
            placement: name.parse().expect("a placement"),
            runtime: runtime_at(socket),
            foreign: Vec::new(),
            host,
        }
    }

    /// A start of the demo service behind this server.
    pub fn demo(&self, server: &str, more: &[&str]) -> Start {
        static NEXT: AtomicU64 = AtomicU64::new(100);
        let mut command = vec!["demo-service", "--address", "{address}", "--version", "v1"];
        command.extend(more);
        Start {
            id: NEXT.fetch_add(10, Ordering::Relaxed),
            placement: self.placement.clone(),
            server: server.parse().expect("a name"),
            address: free_address(),
            release: ReleaseId(Uuid::now_v7()),
            workload: Workload {
                command: Vec::new(),
                env: BTreeMap::new(),
                directory: None,
                stop_grace_ms: 2_000,
                quiet: None,
                container: Some(Box::new(Container {
                    image: IMAGE.to_owned(),
                    port: Some(PORT),
                    shape: Shape {
                        command: Some(command.iter().map(ToString::to_string).collect()),
                        ..Shape::default()
                    },
                    ..Container::default()
                })),
            },
            keep_running: false,
            rollout: None,
        }
    }

    pub async fn must_start(&self, start: &Start) -> InstanceView {
        let written = self.runtime.start(start.clone()).await;
        assert_eq!(written.outcome, Outcome::Applied);
        let reading = written.reading.expect("read back");
        reading.instances[&start.server].clone()
    }

    pub async fn view(&self, server: &ServerName) -> Option<InstanceView> {
        crate::contract::runtime::view(&self.runtime, &self.placement, server).await
    }

    /// Reads until an instance did not run.
    pub async fn ended(&self, server: &ServerName) -> String {
        let ended = crate::contract::eventually("the instance ended", || async {
            self.view(server).await?.exited
        });
        ended.await.into_string()
    }

    /// Begins somebody else's container; the arguments follow `docker run -d --name NAME`.
    pub fn foreign(&mut self, name: &str, arguments: &[&str]) -> String {
        self.foreign.push(name.to_owned());
        let mut all = vec!["run", "-d", "--name", name];
        all.extend(arguments);
        docker(&all)
    }

    /// Has `docker` remove this container at the end too.
    pub fn removes(&mut self, name: &str) {
        self.foreign.push(name.to_owned());
    }

    /// The engines' markers for this placement.
    pub fn markers(&self) -> Vec<String> {
        let filter = format!("label=wheelhouse.service={}", self.placement.service);
        let host = self.host.as_deref();
        let mut arguments: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
        arguments.extend(["volume", "ls", "-q", "--filter", &filter]);
        let listed = docker_says(&arguments);
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// A killed engine leaves its marker.
    fn remove_markers(&self) {
        for marker in self.markers() {
            let host = self.host.as_deref();
            let mut arguments: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
            arguments.extend(["volume", "rm", &marker]);
            drop(docker_says(&arguments));
        }
    }

    /// Ids of all containers with our labels for this placement, evidence among them.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=wheelhouse.service={}", self.placement.service);
        let host = self.host.as_deref();
        let mut arguments: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
        arguments.extend(["ps", "-aq", "--no-trunc", "--filter", &filter]);
        let listed = docker_says(&arguments);
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.remove_markers();
        let mut all = self.containers();
        all.append(&mut self.foreign);
        if all.is_empty() {
            return;
        }
        let host = self.host.as_deref();
        let mut arguments: Vec<&str> = host.iter().flat_map(|host| ["-H", host]).collect();
        arguments.extend(["rm", "-f", "-v"]);
        arguments.extend(all.iter().map(String::as_str));
        drop(docker_says(&arguments));
    }
}

/// The name of an instance's container, as people see it.
pub fn name_of(start: &Start) -> String {
    let release = start.release.0.simple().to_string();
    let short = &release[release.len() - 12..];
    let Placement {
        service,
        environment,
    } = &start.placement;
    format!(
        "wheelhouse-{service}-{environment}-{}-{short}",
        start.server
    )
}

/// An address nobody uses, below the range from which the kernel gives out client ports.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() * 41 + step) % 8_000;
        let address = format!("127.0.0.1:{port}").parse().expect("valid");
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A directory for a daemon or registry of a test's own.
pub fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    (directory, path)
}
