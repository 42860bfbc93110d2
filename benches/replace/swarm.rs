//! Docker Swarm on the same daemon and bridge. Its own way in, the ingress network, needs IPVS of
//! the kernel, which not every machine has; so HAProxy stands in front of it too.

use crate::daemon::{Daemon, Manner};
use crate::haproxy::{Haproxy, until};
use crate::{HEALTH_MS, INSTANCES, front};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wheelhouse::ports::Balancer as _;

const SERVICE: &str = "shop";
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what still runs.
const ASKED_EVERY: Duration = Duration::from_millis(10);
/// The health check in the container: the same question as everybody's.
const CHECK: &str = "exec 3<>/dev/tcp/127.0.0.1/8080; \
    printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3; read -r line <&3; [[ $line == *200* ]]";

/// A check in the container is a process: on a busy machine it needs time, and a task that fails one
/// too many would end the update.
const CHECK_LIMIT: &str = "10s";
const CHECK_RETRIES: &str = "10";

/// A service of Swarm's with the first version serving.
pub struct Swarm<'a> {
    daemon: &'a Daemon,
    manner: Manner,
    haproxy: Haproxy,
}

impl<'a> Swarm<'a> {
    pub async fn begin(daemon: &'a Daemon, manner: Manner, batch: usize, port: u16) -> Self {
        let swarm = Self {
            daemon,
            manner,
            haproxy: front::begin_finding(front::loopback(port)).await,
        };
        let every = format!("{HEALTH_MS}ms");
        daemon.docker(&[
            "service",
            "create",
            "--quiet",
            "--name",
            SERVICE,
            "--network",
            "bridge",
            "--no-resolve-image",
            "--replicas",
            &INSTANCES.to_string(),
            "--update-order",
            "start-first",
            "--update-parallelism",
            &batch.to_string(),
            // Its own watch after each task is no part of the comparison.
            "--update-monitor",
            "1ms",
            "--update-delay",
            "0s",
            "--health-cmd",
            CHECK,
            "--health-interval",
            &every,
            "--health-timeout",
            CHECK_LIMIT,
            "--health-retries",
            CHECK_RETRIES,
            &manner.image("v1"),
        ]);
        swarm
    }

    /// Waits until HAProxy knows who is there: exactly the instances.
    pub async fn settles(&self) {
        until("HAProxy to find the instances", async || {
            let Ok(reading) = self.haproxy.balancer().read(&self.haproxy.backend).await else {
                return false;
            };
            let up = reading.servers.values().filter(|view| view.up);
            up.count() == INSTANCES
        })
        .await;
    }

    pub fn listen(&self) -> SocketAddr {
        self.haproxy.listen
    }

    /// Updates the service; returns once the command is done and no old container runs.
    pub fn replace(&self) -> Instant {
        let image = self.manner.image("v2");
        let update = ["service", "update", "--quiet", "--no-resolve-image"];
        self.daemon
            .docker(&[&update[..], &["--image", &image, SERVICE]].concat());
        let began = Instant::now();
        while self.daemon.running(&self.manner.image("v1")) > 0 {
            assert!(began.elapsed() < PATIENCE, "an old container goes on");
            std::thread::sleep(ASKED_EVERY);
        }
        Instant::now()
    }
}

impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        self.daemon.docker(&["service", "rm", SERVICE]);
        let began = Instant::now();
        let runs = || {
            let images = crate::daemon::VERSIONS.map(|version| self.manner.image(version));
            images.iter().any(|image| self.daemon.running(image) > 0)
        };
        while runs() && began.elapsed() < PATIENCE {
            std::thread::sleep(ASKED_EVERY);
        }
    }
}
