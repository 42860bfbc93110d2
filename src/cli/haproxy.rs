//! `haproxy snippet`: the configuration HAProxy needs for a service.

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::balancer::haproxy::{self, Snippet};
use crate::config::{BalancerSettings, Shares};
use crate::model::ServiceName;
use crate::model::service::ServiceSpec;
use clap::Subcommand;
use std::net::SocketAddr;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum HaproxyCommand {
    /// Print what haproxy.cfg needs for a service, in every environment behind HAProxy
    Snippet {
        /// The service
        service: ServiceName,
        /// Where HAProxy listens for it
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
    },
}

pub(super) fn run(context: &Context, command: &HaproxyCommand) -> Ended {
    let HaproxyCommand::Snippet { service, listen } = command;
    let loaded = context.load()?;
    let specs = loaded
        .config
        .specs()
        .filter(|spec| spec.placement.service == *service);
    let mut printed = false;
    for spec in specs {
        for backend in &spec.balancers {
            if let Some(BalancerSettings::Haproxy(settings)) =
                loaded.config.balancer(&backend.balancer)
            {
                print_one(spec, backend, settings, *listen);
                printed = true;
            }
        }
    }
    match printed {
        true => Ok(Exit::Done),
        false => Err(Failure::new(
            Exit::Config,
            format!(
                "{service} stands behind no balancer of kind \"haproxy\" in this configuration"
            ),
        )),
    }
}

fn print_one(
    spec: &ServiceSpec,
    backend: &crate::model::service::Backend,
    settings: &crate::config::HaproxySettings,
    listen: SocketAddr,
) {
    print::line(&format!("# {} for Wheelhouse", spec.placement));
    print::line(&haproxy::snippet(&Snippet {
        socket: &settings.socket,
        state_file: &settings.state_file(&backend.backend),
        backend: &backend.backend,
        listen,
        health_path: &spec.health.path,
        health_status: spec.health.status,
        servers: &spec.servers,
        shares: shares(settings.shares),
    }));
}

/// The configuration's word in the adapter's.
pub(super) fn shares(shares: Shares) -> haproxy::Shares {
    match shares {
        Shares::Exact => haproxy::Shares::Exact,
        Shares::Approximate => haproxy::Shares::Approximate,
    }
}
