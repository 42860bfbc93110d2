//! A dockerd of the measurement's own, in a network of its own, with the images that everybody
//! replaces. Its API is asked directly: what a program needs to start would be measured else.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Its bridge, and the network of all containers.
const BRIDGE: &str = "172.29.77.1/28";
/// Where the service listens in its container.
pub const PORT: u16 = 8080;
/// A registry that refuses at once: nobody waits for a name that cannot be resolved.
const REGISTRY: &str = "127.0.0.1:1";
const PATIENCE: Duration = Duration::from_secs(60);
pub const VERSIONS: [&str; 2] = ["v1", "v2"];

/// What a service does with requests under way when it is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Finishes them.
    Drains,
    /// Ends at once.
    EndsAtOnce,
}

impl Manner {
    /// The image's name before its version.
    pub fn repository(self) -> String {
        let name = match self {
            Self::Drains => "drains",
            Self::EndsAtOnce => "ends",
        };
        format!("{REGISTRY}/{name}")
    }

    pub fn image(self, version: &str) -> String {
        format!("{}:{version}", self.repository())
    }
}

pub struct Daemon {
    root: PathBuf,
    child: Child,
}

impl Daemon {
    pub fn begin(root: PathBuf) -> Self {
        let below = |name: &str| root.join(name).display().to_string();
        // The machine's daemon says which storage works here; nothing else is asked of it.
        let asked = Command::new("docker")
            .args(["info", "-f", "{{.Driver}}"])
            .output();
        let driver = said(asked);
        let config = format!("{{\"storage-driver\":\"{driver}\"}}");
        std::fs::write(below("daemon.json"), config).expect("written");
        let log = std::fs::File::create(root.join("log")).expect("created");
        let child = Command::new("dockerd")
            .args(["--data-root", &below("data"), "--exec-root", &below("exec")])
            .args(["--config-file", &below("daemon.json")])
            .args([
                "--cgroup-parent",
                &format!("/{}", crate::inside::CONTROL_GROUP),
            ])
            .args(["--pidfile", &below("pid"), "--bip", BRIDGE])
            .args(["-H", &format!("unix://{}", below("docker.sock"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd");
        let daemon = Self { root, child };
        let until = Instant::now() + PATIENCE;
        while daemon.try_ask("GET", "/version", "").is_err() {
            let log = std::fs::read_to_string(daemon.root.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "dockerd did not begin:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon.import_all();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("docker.sock")
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs `docker` on it as a person would; it must succeed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        said(
            Command::new("docker")
                .args(["-H", &self.host()])
                .args(arguments)
                .output(),
        )
    }

    /// One request to its API: the status and the body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.try_ask(method, path, body);
        answer.expect("the daemon answers")
    }

    fn try_ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket())?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.unwrap_or(0), body.to_owned()))
    }

    /// How many containers of an image run.
    pub fn running(&self, image: &str) -> usize {
        let (_, body) = self.ask("GET", "/containers/json", "");
        let listed: Vec<Value> = serde_json::from_str(&body).expect("a list");
        let those = listed.iter().filter(|one| one["Image"] == image);
        those.count()
    }

    /// Begins a container of an image, published at a port; gives its id.
    pub fn run(&self, image: &str, port: u16) -> String {
        let inside = format!("{PORT}/tcp");
        let outside = json!([{ "HostIp": "127.0.0.1", "HostPort": port.to_string() }]);
        let wanted = json!({
            "Image": image,
            "ExposedPorts": { (inside.as_str()): {} },
            "HostConfig": { "PortBindings": { (inside.as_str()): outside } },
        });
        let (status, body) = self.ask("POST", "/containers/create", &wanted.to_string());
        assert_eq!(status, 201, "{body}");
        let made: Value = serde_json::from_str(&body).expect("what was made");
        let id = made["Id"].as_str().expect("an id").to_owned();
        let (status, body) = self.ask("POST", &format!("/containers/{id}/start"), "");
        assert_eq!(status, 204, "{body}");
        id
    }

    /// Asks a container to end, and waits until it did.
    pub fn stop(&self, id: &str) {
        let (status, body) = self.ask("POST", &format!("/containers/{id}/stop?t=5"), "");
        assert_eq!(status, 204, "{body}");
    }

    pub fn remove(&self, id: &str) {
        self.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
    }

    /// Imports every image: the program with the libraries it needs, and a shell for the health
    /// checks of those who run them in the container.
    fn import_all(&self) {
        let root = self.root.join("image");
        std::fs::create_dir_all(root.join("tmp")).expect("created");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_wheelhouse"));
        copy(&program, &root.join("wheelhouse"));
        drop(Command::new("strip").arg(root.join("wheelhouse")).output());
        copy(Path::new("/bin/bash"), &root.join("bin/sh"));
        let libraries = said(Command::new("ldd").arg(&program).arg("/bin/bash").output());
        let words = libraries.split_whitespace();
        let paths = words.filter(|word| word.starts_with('/') && !word.ends_with(':'));
        for library in paths.map(Path::new) {
            let inside = library.strip_prefix("/").expect("absolute");
            copy(library, &root.join(inside));
        }
        for manner in [Manner::Drains, Manner::EndsAtOnce] {
            for version in VERSIONS {
                self.import(&root, manner, version);
            }
        }
    }

    fn import(&self, root: &Path, manner: Manner, version: &str) {
        let address = format!("0.0.0.0:{PORT}");
        let mut command = vec!["demo-service", "--address", &address, "--version", version];
        // Long enough that some requests are always under way.
        command.extend(["--latency-ms", "8"]);
        command.extend((manner == Manner::EndsAtOnce).then_some("--no-drain"));
        let mut tar = Command::new("tar")
            .args(["-C", &root.display().to_string(), "-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let imported = Command::new("docker")
            .args(["-H", &self.host(), "import"])
            .args(["-c", "ENTRYPOINT [\"/wheelhouse\"]"])
            .args(["-c", &format!("CMD {}", json!(command))])
            .args(["-", &manner.image(version)])
            .stdin(tar.stdout.take().expect("piped"))
            .output();
        said(imported);
        assert!(tar.wait().expect("tar").success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Everything in here ends with the first process of its namespace.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a directory")).expect("created");
    std::fs::copy(from, to).expect("copied");
    let executable = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(to, executable).expect("made executable");
}

/// What a program printed; it must succeed.
fn said(output: std::io::Result<Output>) -> String {
    let output = output.expect("the program is there");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
