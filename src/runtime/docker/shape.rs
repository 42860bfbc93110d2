//! A start → the container Docker is asked to create, labels included. Pure but for what must be
//! fetched at each start: files of variables, secrets, the values of cloned variables.

use super::connect::Connection;
use super::{clone, labels};
use crate::model::container::{Container, Shape};
use crate::model::service::Workload;
use crate::ports::Start;
use crate::secret;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, NetworkingConfig,
    PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Longest file of variables, in bytes.
const ENV_FILE_MAX: u64 = 1024 * 1024;

/// The restart policy of an instance.
pub fn policy(keep_running: bool) -> RestartPolicy {
    let name = match keep_running {
        true => RestartPolicyNameEnum::UNLESS_STOPPED,
        false => RestartPolicyNameEnum::NO,
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: None,
    }
}

/// Everything Docker is told of an instance. `env` is what [`variables`] fetched.
pub fn body(
    start: &Start,
    workload: &Workload,
    container: &Container,
    env: BTreeMap<String, String>,
) -> ContainerCreateBody {
    let shape = container.shape.clone();
    let labels = shape.labels.clone().unwrap_or_default();
    let labels = labels.into_iter().chain(labels::of(start, workload));
    let networks = shape.networks.clone();
    let grace_s = workload.stop_grace_ms.div_ceil(1_000);
    ContainerCreateBody {
        image: Some(container.reference()),
        env: Some(
            env.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        cmd: shape.command.clone(),
        entrypoint: shape.entrypoint.clone(),
        working_dir: shape.directory.clone(),
        user: shape.user.clone(),
        stop_signal: shape.stop_signal.clone(),
        stop_timeout: Some(i64::try_from(grace_s).unwrap_or(i64::MAX)),
        labels: Some(labels.collect()),
        exposed_ports: container.port.map(|port| vec![format!("{port}/tcp")]),
        networking_config: networks.map(|networks| NetworkingConfig {
            endpoints_config: Some(networks.into_iter().map(endpoint).take(1).collect()),
        }),
        host_config: Some(HostConfig {
            restart_policy: Some(policy(start.keep_running)),
            port_bindings: container.port.map(|port| {
                HashMap::from([(format!("{port}/tcp"), Some(vec![at(start.address)]))])
            }),
            network_mode: match (container.port, &shape.networks) {
                (None, _) => Some("host".to_owned()),
                (_, Some(networks)) => networks.keys().next().cloned(),
                _ => None,
            },
            ..host(shape)
        }),
        ..ContainerCreateBody::default()
    }
}

/// Networks beyond the first: older daemons take one when a container is created.
pub fn further_networks(container: &Container) -> Vec<(String, EndpointSettings)> {
    let networks = container.shape.networks.clone().unwrap_or_default();
    networks.into_iter().skip(1).map(endpoint).collect()
}

fn endpoint((name, aliases): (String, Vec<String>)) -> (String, EndpointSettings) {
    let settings = EndpointSettings {
        aliases: Some(aliases),
        ..EndpointSettings::default()
    };
    (name, settings)
}

fn at(address: SocketAddr) -> PortBinding {
    PortBinding {
        host_ip: Some(address.ip().to_string()),
        host_port: Some(address.port().to_string()),
    }
}

fn host(shape: Shape) -> HostConfig {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ulimit = |(name, (soft, hard))| ResourcesUlimits {
        name: Some(name),
        soft: Some(soft),
        hard: Some(hard),
    };
    let map = |options: BTreeMap<String, String>| options.into_iter().collect();
    HostConfig {
        binds: shape.volumes,
        memory: shape.memory_bytes.map(signed),
        nano_cpus: shape.cpu_milli.map(|milli| signed(milli * 1_000_000)),
        cap_add: shape.cap_add,
        cap_drop: shape.cap_drop,
        ulimits: shape
            .ulimits
            .map(|all| all.into_iter().map(ulimit).collect()),
        log_config: shape.log_driver.map(|driver| HostConfigLogConfig {
            typ: Some(driver),
            config: shape.log_options.map(map),
        }),
        extra_hosts: shape.extra_hosts,
        readonly_rootfs: shape.read_only,
        tmpfs: shape.tmpfs.map(map),
        ..HostConfig::default()
    }
}

/// Whether a binding leads from the server's address to the container.
pub fn leads_here(binding: &PortBinding, address: SocketAddr) -> bool {
    let port = binding
        .host_port
        .as_deref()
        .and_then(|port| port.parse().ok());
    let ip = binding.host_ip.as_deref().unwrap_or_default();
    let ip: Option<IpAddr> = match ip {
        "" => Some(IpAddr::from([0, 0, 0, 0])),
        text => text.parse().ok(),
    };
    let ip = ip.is_some_and(|ip| ip.is_unspecified() || ip == address.ip());
    ip && port == Some(address.port())
}

/// All variables of an instance: cloned ones, then files, then those written, then secrets; the
/// later wins.
///
/// # Errors
/// When one cannot be fetched; the text holds no value.
pub async fn variables(
    connection: &Connection,
    workload: &Workload,
    container: &Container,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    if let (Some(source), false) = (&container.clone, container.clone_env.is_empty()) {
        let values = cloned(connection, source).await?;
        for name in &container.clone_env {
            let value = values.get(name).ok_or_else(|| {
                format!("container {source} has no variable {name} any more; deploy anew")
            })?;
            all.insert(name.clone(), value.clone());
        }
    }
    for path in &container.env_file {
        all.extend(from_file(path).await?);
    }
    all.extend(workload.env.clone());
    for (name, reference) in &container.secrets {
        let secret = secret::fetch(reference).await;
        let secret = secret.map_err(|error| format!("variable {name}: {error}"))?;
        all.insert(name.clone(), secret.expose().to_owned());
    }
    Ok(all)
}

async fn cloned(connection: &Connection, source: &str) -> Result<BTreeMap<String, String>, String> {
    let failed = |error: super::connect::CallError| match error.is_absent() {
        true => format!(
            "container {source}, whose variables are taken over, is gone; \
             write them as variables or secrets and deploy anew"
        ),
        false => format!("container {source}: {error}"),
    };
    let (_, docker) = connection.api().await.map_err(failed)?;
    let inspected = docker.inspect_container(source, None).await;
    let inspected = inspected.map_err(|error| failed(error.into()))?;
    let image = inspected.image.clone().unwrap_or_default();
    let image = docker.inspect_image(&image).await;
    let image = image.map_err(|error| failed(error.into()))?;
    Ok(clone::shape_of(&inspected, &image).1)
}

/// Lines of NAME=VALUE as `docker run --env-file` reads them.
async fn from_file(path: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = |why: &str| format!("file of variables {path}: {why}");
    let size = tokio::fs::metadata(path).await;
    let size = size.map_err(|error| wrong(&error.to_string()))?.len();
    if size > ENV_FILE_MAX {
        return Err(wrong("is longer than 1 MB"));
    }
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| wrong(&error.to_string()))?;
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| wrong(&format!("line {} is no NAME=VALUE", number + 1)))?;
        found.insert(name.to_owned(), value.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_leads_from_the_servers_address_or_from_every_one() {
        let address: SocketAddr = "127.0.0.1:18001".parse().expect("an address");
        let binding = |ip: &str, port: &str| PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some(port.to_owned()),
        };
        for (ip, port, leads) in [
            ("127.0.0.1", "18001", true),
            ("0.0.0.0", "18001", true),
            ("", "18001", true),
            ("10.0.0.1", "18001", false),
            ("127.0.0.1", "18002", false),
        ] {
            assert_eq!(
                leads_here(&binding(ip, port), address),
                leads,
                "{ip}:{port}"
            );
        }
    }

    #[tokio::test]
    async fn files_of_variables_are_read_line_by_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("env");
        std::fs::write(&path, "# a word\nMODE=live\n\nURL=http://x?a=b\n").expect("written");
        let path = path.display().to_string();
        let found = from_file(&path).await.expect("read");
        assert_eq!(found["URL"], "http://x?a=b");
        assert_eq!(found.len(), 2);
        std::fs::write(&path, "MODE=live\nhunter2\n").expect("written");
        let error = from_file(&path).await.expect_err("no pair");
        assert!(
            error.contains("line 2") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
