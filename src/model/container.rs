//! An instance as a container: its image and the shape it is given. What it was resolved to when
//! its release was made is kept here, so that a tag that moves later changes nothing.

use super::secret::SecretRef;
use super::{ServerName, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How an instance is made as a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Container {
    /// The image as people write it, e.g. `registry:5000/shop:{version}`.
    pub image: String,
    /// What the image was when the release was made; nothing else is ever run for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// The port the service listens on inside, published at the server's address; the host's own
    /// network when absent, where the service listens at the server's address itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The container whose shape holds where nothing is written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone: Option<String>,
    /// Variables taken over from that container, by name: their values are read there anew at each
    /// start and kept nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clone_env: Vec<String>,
    /// Files of variables on the engine's machine, read at each start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_file: Vec<String>,
    /// Variables whose values are secrets, resolved at each start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Everything a running container shows of its shape.
    pub shape: Shape,
}

/// What an image's name stood for when a release was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// A registry's manifest: `sha256:…`. It can be pulled again.
    Digest(String),
    /// An image that is only on the hosts, by its id: `sha256:…`.
    HostImage(String),
}

/// The shape of a container. What is absent is left to the image and the runtime's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// The image's entry point is replaced by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The image's command is replaced by this; `{…}` are filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Working directory inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Labels beside our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Volumes and directories of the host: `source:/target[:ro]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<String>>,
    /// Networks with the names it has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, Vec<String>>>,
    /// Memory it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time it may use, in thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u64>,
    /// `user[:group]` it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Capabilities added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_add: Option<Vec<String>>,
    /// Capabilities dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_drop: Option<Vec<String>>,
    /// Limits by name: soft and hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ulimits: Option<BTreeMap<String, (i64, i64)>>,
    /// The polite stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<String>,
    /// Options of that driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_options: Option<BTreeMap<String, String>>,
    /// Names it knows beside DNS: `name:address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hosts: Option<Vec<String>>,
    /// Whether its root file system cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// File systems in memory: path → options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<BTreeMap<String, String>>,
}

impl Container {
    /// The image with nothing left to fill in, as it is named when it is run: by its pin where it
    /// has one.
    pub fn reference(&self) -> String {
        match &self.pin {
            None => self.image.clone(),
            Some(Pin::HostImage(id)) => id.clone(),
            Some(Pin::Digest(digest)) => format!("{}@{digest}", repository(&self.image)),
        }
    }

    /// With the version filled in, as when a release is made.
    pub fn of_version(&self, version: &Version) -> Self {
        self.filled(|text| text.replace("{version}", version.as_str()))
    }

    /// Where the instance behind a server listens, as it sees it itself.
    pub fn listens(&self, address: SocketAddr) -> SocketAddr {
        match (self.port, address) {
            (None, address) => address,
            (Some(port), SocketAddr::V4(_)) => SocketAddr::from(([0, 0, 0, 0], port)),
            (Some(port), SocketAddr::V6(_)) => SocketAddr::from(([0_u16; 8], port)),
        }
    }

    /// With what differs between instances filled in.
    pub fn of_instance(&self, server: &ServerName, address: SocketAddr) -> Self {
        let at = self.listens(address);
        self.filled(|text| {
            text.replace("{port}", &at.port().to_string())
                .replace("{address}", &at.to_string())
                .replace("{server}", server.as_str())
        })
    }

    fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        let words = |list: &Option<Vec<String>>| {
            let list = list.as_ref()?;
            Some(list.iter().map(|word| fill(word)).collect())
        };
        let pairs = |(name, value): (&String, &String)| (name.clone(), fill(value));
        let labels = self.shape.labels.as_ref();
        Self {
            image: fill(&self.image),
            shape: Shape {
                entrypoint: words(&self.shape.entrypoint),
                command: words(&self.shape.command),
                volumes: words(&self.shape.volumes),
                labels: labels.map(|labels| labels.iter().map(pairs).collect()),
                ..self.shape.clone()
            },
            ..self.clone()
        }
    }
}

/// An image's name without tag and digest: the last `:` after the last `/` begins a tag.
pub fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let path = name.rfind('/').map_or(0, |at| at + 1);
    match name[path..].find(':') {
        Some(at) => &name[..path + at],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_port_is_no_tag() {
        for (image, name) in [
            ("registry:5000/shop", "registry:5000/shop"),
            ("registry:5000/shop:v1", "registry:5000/shop"),
            ("shop:v1", "shop"),
            ("a/b@sha256:00", "a/b"),
            ("a/b:v1@sha256:00", "a/b"),
        ] {
            assert_eq!(repository(image), name);
        }
    }

    #[test]
    fn a_pinned_image_is_run_by_what_it_was() {
        let mut container = Container {
            image: "registry:5000/shop:{version}".to_owned(),
            ..Container::default()
        };
        container = container.of_version(&"v2".parse().expect("a version"));
        assert_eq!(container.reference(), "registry:5000/shop:v2");
        container.pin = Some(Pin::Digest("sha256:aa".to_owned()));
        assert_eq!(container.reference(), "registry:5000/shop@sha256:aa");
        container.pin = Some(Pin::HostImage("sha256:bb".to_owned()));
        assert_eq!(container.reference(), "sha256:bb");
    }

    #[test]
    fn an_instance_is_told_the_port_it_has_inside() {
        let container = Container {
            port: Some(8080),
            shape: Shape {
                command: Some(vec!["--at={address}".into(), "{server}{port}".into()]),
                ..Shape::default()
            },
            ..Container::default()
        };
        let server = "web1".parse().expect("a name");
        let address = "10.0.0.1:18001".parse().expect("an address");
        let command = container.of_instance(&server, address).shape.command;
        assert_eq!(command.expect("written"), ["--at=0.0.0.0:8080", "web18080"]);
    }
}
