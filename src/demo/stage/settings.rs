//! The configuration that a demo writes for its host and its engine. Pure.

use super::{BAD_VERSION, ENVIRONMENT, PORTS_EACH, Pace};
use crate::demo::chapter::Chapter;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// What differs between two demos.
pub(super) struct Settings<'a> {
    /// The program that its instances are.
    pub(super) program: &'a Path,
    /// Where engine and host keep everything.
    pub(super) state_dir: &'a Path,
    /// Where the pipeline's commits come from.
    pub(super) repository: &'a Path,
    /// The first of its ports.
    pub(super) first_port: u16,
    /// How its rollouts go.
    pub(super) pace: Pace,
}

/// Where the proxy listens for a chapter's service.
pub(super) fn listen(first_port: u16, chapter: Chapter) -> SocketAddr {
    let before = Chapter::ALL.iter().take_while(|other| **other != chapter);
    let port = first_port + before.count() as u16 * PORTS_EACH;
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A path as TOML writes it.
fn quoted(path: &Path) -> String {
    toml::Value::from(path.display().to_string()).to_string()
}

impl Settings<'_> {
    /// The configuration for these chapters.
    pub(super) fn text(&self, chapters: &[Chapter]) -> String {
        let state = quoted(self.state_dir);
        let soak = self.pace.soak_s;
        let mut whole = format!(
            r#"state_dir = {state}

[env.{ENVIRONMENT}]
protected = true

[canary]
steps = [10, {{ weight = 25, pause = true }}, 50, 100]
soak = "{soak}s"
min_requests = 200

# Production is protected: a person begins the switch.
[blue_green]
soak = "{soak}s"

# The story is about errors; a busy machine must not tell another one.
[analysis]
interval = "1s"
error_ratio = 0.03
latency_p99_vs_stable = 4.0
mean_vs_stable = 4.0
infrastructure_health = 0.7
"#
        );
        for chapter in chapters {
            let _ = write!(whole, "{}", self.service(*chapter));
        }
        if chapters.contains(&Chapter::Third) {
            whole.push_str(&self.pipeline());
        }
        whole
    }

    fn service(&self, chapter: Chapter) -> String {
        let (service, strategy) = (chapter.service(), chapter.strategy());
        let slow_start_ms = chapter.slow_start_ms();
        let program = quoted(self.program);
        let listen = listen(self.first_port, chapter);
        format!(
            r#"
[service.{service}]
strategy = "{strategy}"
listen = "{listen}"
instances = 3
command = [
    {program}, "demo-service", "--address", "{{address}}", "--version", "{{version}}",
    "--latency-ms", "8", "--fault", "{BAD_VERSION}=0.05",
    "--slow-start-ms", "{slow_start_ms}",
]
stop_grace = "5s"

[service.{service}.health]
path = "/readyz"
json = {{ "/checks/database" = "ok", "/checks/cache" = "ok" }}
interval = "1s"
timeout = "900ms"

[[service.{service}.smoke]]
name = "front-page"
path = "/"
contains = "version"

[service.{service}.env.{ENVIRONMENT}]
"#
        )
    }

    /// From a commit to production. The stages need a shell and nothing from a network.
    fn pipeline(&self) -> String {
        let service = Chapter::Third.service();
        let repository = quoted(self.repository);
        format!(
            r#"
# The canary is the pipeline's last stage; the first chapter was about its steps.
[service.{service}.canary]
steps = [50, 100]
soak = "3s"
min_requests = 100

[pipeline.{service}]
repository = {repository}
branch = "main"

[[pipeline.{service}.stage]]
name = "lint"
needs = []
command = ["sh", "-c", 'for file in *.sh; do sh -n "$file" || exit 1; echo "$file is sound"; sleep 1; done']
timeout = "1m"

[[pipeline.{service}.stage]]
name = "test"
needs = []
command = ["sh", "test.sh"]
timeout = "1m"

[[pipeline.{service}.stage]]
name = "{ENVIRONMENT}"
needs = ["lint", "test"]
deploy = "{service}@{ENVIRONMENT}"
version = "{{short}}"
"#
        )
    }
}
