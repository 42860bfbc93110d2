//! What strikes the world and the engine by itself.

use super::run::{Armed, Sim};
use super::scenario::{Boundary, Fault};
use crate::model::effect::ServerSetting;
use crate::model::world::Admin;
use crate::model::{BalancerName, RuntimeName, ServerName};

impl Sim<'_> {
    pub(super) fn fault(&mut self, fault: Fault) {
        let now_ms = self.now_ms;
        let name = |sim: &Self, server: usize| {
            let servers = &sim.scenario.spec.servers;
            servers[server % servers.len()].name.clone()
        };
        match fault {
            Fault::Crash { down_ms } if self.engine.is_some() => self.crash(down_ms),
            Fault::Crash { .. } => {}
            Fault::CrashAt {
                boundary: Boundary::InRecovery,
                down_ms,
                ..
            } if self.engine.is_some() => {
                self.armed = Some(Armed {
                    boundary: Boundary::InRecovery,
                    pass: 0,
                    down_ms,
                    again: false,
                });
                self.crash(down_ms);
            }
            Fault::CrashAt {
                boundary,
                pass,
                down_ms,
                again,
            } => {
                self.armed = Some(Armed {
                    boundary,
                    pass,
                    down_ms,
                    again,
                });
            }
            Fault::Pause { ms } => {
                self.paused_until_ms = self.paused_until_ms.max(now_ms + ms);
                self.checks.paused(now_ms);
            }
            Fault::BalancerRestarts(how) => {
                let Some(which) = self.some_balancer() else {
                    return;
                };
                self.balancers.get_mut(&which).restart(how);
                self.checks.world_changed_weights(&which, false, now_ms);
            }
            Fault::BalancerDark { ms } => {
                let Some(which) = self.some_balancer() else {
                    return;
                };
                self.balancers.darken(&which, now_ms + ms);
            }
            Fault::RuntimeDark { ms } => {
                let which = self.some_runtime();
                self.runtimes_dark_ms.insert(which, now_ms + ms);
            }
            Fault::HostLost { ms } => self.lose_host(ms),
            Fault::ProbesFail { ms } => self.probes_dark_ms = now_ms + ms,
            Fault::Hands { server, weight } => {
                let setting = match weight {
                    0 => ServerSetting {
                        admin: Admin::Drain,
                        weight: 0,
                    },
                    weight => ServerSetting::ready(weight),
                };
                let server = name(self, server);
                let Some(which) = self.some_balancer() else {
                    return;
                };
                let balancer = self.balancers.get_mut(&which);
                let before = balancer.settings();
                balancer.hand(&server, setting);
                if balancer.settings() != before {
                    self.checks.world_changed_weights(&which, true, now_ms);
                }
            }
            Fault::InstanceDies { server } => {
                let server = self.anyone(server);
                self.fleet.kill(&server, now_ms);
            }
            Fault::InstanceHangs { server, ms } => {
                let server = self.anyone(server);
                self.fleet.hang(&server, now_ms + ms);
                self.checks.flux(now_ms + ms);
            }
            Fault::RuntimeRestarts => {
                self.fleet.restart(now_ms);
                self.checks.flux(now_ms);
            }
            Fault::TrafficStops { ms } => self.traffic_back_ms = now_ms + ms,
            Fault::CountersCleared => {
                let Some(which) = self.some_balancer() else {
                    return;
                };
                self.balancers.get_mut(&which).clear_counters();
            }
            Fault::DiskFails { ms, arrives } => {
                self.disk.fails_until_ms = now_ms + ms;
                self.disk.arrives = arrives;
            }
            Fault::DiskSlow { ms, append_ms } => {
                self.disk.slow_until_ms = now_ms + ms;
                self.disk.slow_ms = append_ms;
            }
            Fault::Lingering { tail_ms } => {
                self.balancers.set_tail(tail_ms);
                self.checks.flux(now_ms);
            }
        }
    }

    /// The n-th server of the service and its parts.
    fn anyone(&self, n: usize) -> ServerName {
        let spec = &self.scenario.spec;
        let parts = spec.parts.iter().flat_map(|part| &part.servers);
        let all: Vec<_> = spec.servers.iter().chain(parts).collect();
        all[n % all.len()].name.clone()
    }

    /// `None` where the service has none.
    fn some_balancer(&mut self) -> Option<BalancerName> {
        let names = self.balancers.names();
        match names.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            several => Some(self.rng.pick(several).clone()),
        }
    }

    fn some_runtime(&mut self) -> RuntimeName {
        match self.scenario.spec.runtimes.as_slice() {
            [only] => only.clone(),
            several => self.rng.pick(several).clone(),
        }
    }

    /// A host falls off the network: its runtime and its instances answer nobody.
    fn lose_host(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        let which = self.some_runtime();
        let parts = self
            .scenario
            .spec
            .parts
            .iter()
            .flat_map(|part| &part.servers);
        for server in self.scenario.spec.servers.iter().chain(parts) {
            if self.scenario.spec.runtime_of(&server.name) == Some(&which) {
                self.fleet.hang(&server.name, until_ms);
            }
        }
        self.runtimes_dark_ms.insert(which, until_ms);
        self.checks.flux(until_ms);
    }
}
