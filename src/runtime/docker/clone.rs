//! The shape of a container that runs already, without what its image says itself. Pure.

use crate::model::container::{Container, Shape};
use bollard::models::{ContainerInspectResponse, HostConfig, ImageInspect};
use std::collections::BTreeMap;

/// Labels that belong to whoever made the container: with them it would take ours for its own.
const OTHERS_LABELS: [&str; 3] = ["com.docker.compose.", "com.docker.stack.", "wheelhouse."];

/// What a container was given beyond its image, and its variables of that kind.
pub fn shape_of(
    container: &ContainerInspectResponse,
    image: &ImageInspect,
) -> (Shape, BTreeMap<String, String>) {
    let config = container.config.clone().unwrap_or_default();
    let own = image.config.clone().unwrap_or_default();
    let host = container.host_config.clone().unwrap_or_default();
    let image_env = pairs(own.env.as_deref());
    let mut env = pairs(config.env.as_deref());
    env.retain(|name, value| image_env.get(name) != Some(value));
    let image_labels = own.labels.clone().unwrap_or_default();
    let labels: BTreeMap<_, _> = config
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, value)| image_labels.get(name) != Some(value))
        .filter(|(name, _)| !OTHERS_LABELS.iter().any(|other| name.starts_with(other)))
        .collect();
    let other = |mine: Option<String>, image: Option<String>| {
        mine.filter(|value| !value.is_empty() && Some(value) != image.as_ref())
    };
    let shape = Shape {
        entrypoint: unlike(config.entrypoint, own.entrypoint),
        command: unlike(config.cmd, own.cmd),
        directory: other(config.working_dir, own.working_dir),
        labels: (!labels.is_empty()).then_some(labels),
        user: other(config.user, own.user),
        stop_signal: other(config.stop_signal, own.stop_signal),
        networks: networks(container),
        ..of_host(&host)
    };
    (shape, env)
}

fn unlike(mine: Option<Vec<String>>, image: Option<Vec<String>>) -> Option<Vec<String>> {
    let mine = mine.filter(|words| !words.is_empty());
    mine.filter(|words| Some(words) != image.as_ref())
}

fn pairs(list: Option<&[String]>) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    list.unwrap_or_default().iter().map(pair).collect()
}

fn of_host(host: &HostConfig) -> Shape {
    let some = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let log = host.log_config.clone().unwrap_or_default();
    let ulimits: BTreeMap<_, _> = host
        .ulimits
        .iter()
        .flatten()
        .filter_map(|limit| Some((limit.name.clone()?, (limit.soft?, limit.hard?))))
        .collect();
    let options: BTreeMap<_, _> = log.config.unwrap_or_default().into_iter().collect();
    let tmpfs: BTreeMap<_, _> = host.tmpfs.clone().unwrap_or_default().into_iter().collect();
    let mounts = host.mounts.iter().flatten().filter_map(|mount| {
        let (source, target) = (mount.source.as_ref()?, mount.target.as_ref()?);
        let end = if mount.read_only == Some(true) {
            ":ro"
        } else {
            ""
        };
        Some(format!("{source}:{target}{end}"))
    });
    let volumes: Vec<_> = host.binds.iter().flatten().cloned().chain(mounts).collect();
    Shape {
        volumes: (!volumes.is_empty()).then_some(volumes),
        memory_bytes: host.memory.and_then(positive),
        cpu_milli: host
            .nano_cpus
            .and_then(positive)
            .map(|nano| nano / 1_000_000),
        cap_add: some(&host.cap_add),
        cap_drop: some(&host.cap_drop),
        ulimits: (!ulimits.is_empty()).then_some(ulimits),
        log_driver: log.typ.filter(|driver| !driver.is_empty()),
        log_options: (!options.is_empty()).then_some(options),
        extra_hosts: some(&host.extra_hosts),
        read_only: host.readonly_rootfs.filter(|read_only| *read_only),
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        ..Shape::default()
    }
}

fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// Networks of its own with their aliases; docker's built-in ones, and the alias that is its id,
/// are nobody's choice.
fn networks(container: &ContainerInspectResponse) -> Option<BTreeMap<String, Vec<String>>> {
    let id = container.id.as_deref().unwrap_or_default();
    let settings = container.network_settings.as_ref()?;
    let networks: BTreeMap<_, _> = settings
        .networks
        .iter()
        .flatten()
        .filter(|(name, _)| !["bridge", "host", "none"].contains(&name.as_str()))
        .map(|(name, endpoint)| {
            let aliases = endpoint.aliases.iter().flatten();
            let aliases = aliases.filter(|alias| !id.starts_with(alias.as_str()));
            (name.clone(), aliases.cloned().collect())
        })
        .collect();
    (!networks.is_empty()).then_some(networks)
}

/// A container with everything it does not say itself taken from a shape.
pub fn taken_in(explicit: &Container, from: &Shape, env: &BTreeMap<String, String>) -> Container {
    let own = explicit.shape.clone();
    let from = from.clone();
    Container {
        clone_env: env.keys().cloned().collect(),
        shape: Shape {
            entrypoint: own.entrypoint.or(from.entrypoint),
            command: own.command.or(from.command),
            directory: own.directory.or(from.directory),
            labels: own.labels.or(from.labels),
            volumes: own.volumes.or(from.volumes),
            networks: own
                .networks
                .or(from.networks.filter(|_| explicit.port.is_some())),
            memory_bytes: own.memory_bytes.or(from.memory_bytes),
            cpu_milli: own.cpu_milli.or(from.cpu_milli),
            user: own.user.or(from.user),
            cap_add: own.cap_add.or(from.cap_add),
            cap_drop: own.cap_drop.or(from.cap_drop),
            ulimits: own.ulimits.or(from.ulimits),
            stop_signal: own.stop_signal.or(from.stop_signal),
            log_options: match own.log_driver {
                Some(_) => own.log_options,
                None => own.log_options.or(from.log_options),
            },
            log_driver: own.log_driver.or(from.log_driver),
            extra_hosts: own.extra_hosts.or(from.extra_hosts),
            read_only: own.read_only.or(from.read_only),
            tmpfs: own.tmpfs.or(from.tmpfs),
        },
        ..explicit.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(
        container: serde_json::Value,
        image: serde_json::Value,
    ) -> (Shape, BTreeMap<String, String>) {
        let container = serde_json::from_value(container).expect("an answer");
        let image = serde_json::from_value(image).expect("an answer");
        shape_of(&container, &image)
    }

    #[test]
    fn what_the_image_says_itself_is_no_part_of_the_shape() {
        let (shape, env) = inspected(
            serde_json::json!({
                "Id": "0123456789abcdef",
                "Config": {
                    "Env": ["PATH=/bin", "MODE=live"], "Cmd": ["serve"], "Entrypoint": ["/own"],
                    "WorkingDir": "/srv", "User": "",
                    "Labels": {"made": "by the image", "team": "shop", "com.docker.compose.project": "x"},
                },
                "HostConfig": {
                    "Memory": 268435456, "NanoCpus": 1500000000, "CapAdd": ["NET_ADMIN"],
                    "Binds": ["/a:/b:ro"], "LogConfig": {"Type": "json-file", "Config": {}},
                    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "ReadonlyRootfs": false,
                },
                "NetworkSettings": {"Networks": {
                    "bridge": {}, "backend": {"Aliases": ["web", "0123456789ab"]},
                }},
            }),
            serde_json::json!({"Config": {
                "Env": ["PATH=/bin"], "Cmd": ["serve"], "Entrypoint": ["/image"],
                "WorkingDir": "/srv", "Labels": {"made": "by the image"},
            }}),
        );
        assert_eq!(env, BTreeMap::from([("MODE".into(), "live".into())]));
        let expected = Shape {
            entrypoint: Some(vec!["/own".into()]),
            labels: Some(BTreeMap::from([("team".into(), "shop".into())])),
            volumes: Some(vec!["/a:/b:ro".into()]),
            networks: Some(BTreeMap::from([("backend".into(), vec!["web".into()])])),
            memory_bytes: Some(268_435_456),
            cpu_milli: Some(1_500),
            cap_add: Some(vec!["NET_ADMIN".into()]),
            ulimits: Some(BTreeMap::from([("nofile".into(), (1, 2))])),
            log_driver: Some("json-file".into()),
            ..Shape::default()
        };
        assert_eq!(shape, expected);
    }

    #[test]
    fn what_is_written_wins_over_what_is_cloned() {
        let explicit = Container {
            port: Some(80),
            shape: Shape {
                memory_bytes: Some(1),
                log_driver: Some("none".into()),
                ..Shape::default()
            },
            ..Container::default()
        };
        let from = Shape {
            memory_bytes: Some(2),
            user: Some("app".into()),
            log_driver: Some("json-file".into()),
            log_options: Some(BTreeMap::from([("max-size".into(), "1m".into())])),
            ..Shape::default()
        };
        let env = BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]);
        let taken = taken_in(&explicit, &from, &env);
        assert_eq!(taken.shape.memory_bytes, Some(1));
        assert_eq!(taken.shape.user.as_deref(), Some("app"));
        assert_eq!(
            taken.shape.log_options, None,
            "they belong to the other driver"
        );
        assert_eq!(taken.clone_env, ["TOKEN"]);
        assert!(
            !serde_json::to_string(&taken)
                .expect("JSON")
                .contains("secret")
        );
    }
}
