//! `[runtime.*]` of kind `docker` → how its adapter reaches the daemon.

use crate::config::{DaemonAt, DockerSettings, LoginRef, TlsFiles};
use crate::model::RuntimeName;
use crate::runtime::docker::{
    DockerOptions, Endpoint, EndpointError, Login, Logins, Surroundings, Tls,
};

/// Finds the daemon as configured, else as the `docker` command would.
pub(super) fn options(
    name: &RuntimeName,
    settings: &DockerSettings,
) -> Result<DockerOptions, EndpointError> {
    let around = Surroundings::of_process();
    let tls = settings.tls.as_ref().map(tls);
    let endpoint = match &settings.daemon {
        Some(DaemonAt::Host(host)) => Endpoint::of_host(host, tls)?,
        Some(DaemonAt::Context(context)) => Endpoint::of_context(context, &around)?,
        None => Endpoint::found(&around)?,
    };
    let login = |(registry, login): (&String, &LoginRef)| {
        let login = Login {
            user: login.user.clone(),
            password: login.password.clone(),
        };
        (registry.clone(), login)
    };
    Ok(DockerOptions {
        name: name.clone(),
        endpoint,
        logins: Logins {
            configured: settings.logins.iter().map(login).collect(),
            config_dir: around.config_dir,
        },
    })
}

fn tls(files: &TlsFiles) -> Tls {
    Tls {
        ca: files.ca.clone(),
        cert: files.cert.clone(),
        key: files.key.clone(),
    }
}
