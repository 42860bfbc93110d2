//! `haproxy snippet`: the configuration HAProxy needs for a service.

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::print;
use crate::balancer::haproxy::{self, Snippet};
use crate::config::{BalancerSettings, Shares};
use crate::model::service::{Backend, ServiceSpec};
use crate::model::{BalancerName, ServiceName};
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
        /// Only what this balancer needs; all of them by default
        #[arg(long, value_name = "NAME")]
        balancer: Option<BalancerName>,
    },
}

pub(super) fn run(context: &Context, command: &HaproxyCommand) -> Ended {
    let HaproxyCommand::Snippet {
        service,
        listen,
        balancer,
    } = command;
    let loaded = context.load()?;
    let specs = loaded
        .config
        .specs()
        .filter(|spec| spec.placement.service == *service);
    let mut printed = false;
    for spec in specs {
        let asked = |backend: &&Backend| balancer.as_ref().is_none_or(|b| *b == backend.balancer);
        for backend in spec.balancers.iter().filter(asked) {
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
                "{service} stands behind no such balancer of kind \"haproxy\" in this configuration"
            ),
        )),
    }
}

fn print_one(
    spec: &ServiceSpec,
    backend: &Backend,
    settings: &crate::config::HaproxySettings,
    listen: SocketAddr,
) {
    let (placement, balancer) = (&spec.placement, &backend.balancer);
    print::line(&format!("# {placement} on {balancer} for Wheelhouse"));
    print::line(&haproxy::snippet(&Snippet {
        socket: &settings.socket,
        state_file: &settings.state_file(&backend.backend),
        backend: &backend.backend,
        listen,
        health: spec.health.kind.http(),
        servers: &spec.servers,
        shares: shares(settings.shares),
        log: settings.log.as_ref(),
    }));
}

/// The configuration's word in the adapter's.
pub(super) fn shares(shares: Shares) -> haproxy::Shares {
    match shares {
        Shares::Exact => haproxy::Shares::Exact,
        Shares::Approximate => haproxy::Shares::Approximate,
    }
}
