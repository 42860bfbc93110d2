//! Where a Docker daemon is, as the `docker` command would find it: `DOCKER_HOST`,
//! `DOCKER_CONTEXT`, the current context of `config.json`, the local socket.
//!
//! Connects to nothing.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the daemon listens on this machine unless something else is said.
pub const LOCAL_SOCKET: &str = "/var/run/docker.sock";

/// Certificates for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who signed the daemon's certificate.
    pub ca: PathBuf,
    /// Our own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// The three files as the `docker` command names them in a directory.
    fn below(directory: &Path) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }
    }
}

/// A daemon that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// Over TCP, `host:port`.
    Tcp(String, Option<Tls>),
    /// `docker system dial-stdio` on another machine, by `ssh` with these arguments.
    Ssh(Vec<String>),
}

/// What an endpoint is found by. Environment variables are handed in, so that tests can.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_CERT_PATH`, `DOCKER_TLS_VERIFY` where set.
    pub variables: BTreeMap<String, String>,
    /// The directory of `config.json`, if the user has one.
    pub config_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let names = [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "DOCKER_CERT_PATH",
            "DOCKER_TLS_VERIFY",
        ];
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let own = set("DOCKER_CONFIG").map(PathBuf::from);
        Self {
            variables: names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), set(name)?)))
                .collect(),
            config_dir: own.or_else(|| Some(Path::new(&set("HOME")?).join(".docker"))),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// Why no endpoint was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing this program can dial.
    #[error("{0} is no daemon's address; write unix:///PATH, tcp://HOST:PORT or ssh://HOST")]
    Unknown(String),
    /// A context that is not there.
    #[error("docker context {name}: {why}; `docker context ls` shows those there are")]
    Context {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextMeta {
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextEndpoint {
    #[serde(default)]
    host: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    current_context: String,
}

impl Endpoint {
    /// As the `docker` command would find it.
    ///
    /// # Errors
    /// When what is set leads nowhere.
    pub fn found(around: &Surroundings) -> Result<Self, EndpointError> {
        if let Some(host) = around.variable("DOCKER_HOST") {
            let directory = around.variable("DOCKER_CERT_PATH").map(PathBuf::from);
            let directory = directory.or_else(|| around.config_dir.clone());
            let verified = around.variable("DOCKER_TLS_VERIFY").is_some();
            let tls = directory.filter(|_| verified).map(|dir| Tls::below(&dir));
            return Self::of_host(host, tls);
        }
        let written = around.config_dir.as_ref().and_then(|directory| {
            let text = std::fs::read_to_string(directory.join("config.json")).ok()?;
            serde_json::from_str::<ConfigFile>(&text).ok()
        });
        let current = written.map(|file| file.current_context).unwrap_or_default();
        let context = around.variable("DOCKER_CONTEXT").unwrap_or(&current);
        match context {
            "" | "default" => Ok(Self::Unix(LOCAL_SOCKET.into())),
            name => Self::of_context(name, around),
        }
    }

    /// `unix:///…`, `tcp://…` or `ssh://…`.
    ///
    /// # Errors
    /// When it is nothing of the kind.
    pub fn of_host(host: &str, tls: Option<Tls>) -> Result<Self, EndpointError> {
        let unknown = || EndpointError::Unknown(host.to_owned());
        let (scheme, rest) = host.split_once("://").ok_or_else(unknown)?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "tcp" | "http" | "https" if rest.contains(':') => {
                Ok(Self::Tcp(rest.trim_end_matches('/').to_owned(), tls))
            }
            "ssh" => ssh(rest).map(Self::Ssh).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }

    /// A context of the `docker` command.
    ///
    /// # Errors
    /// When it is not there, or names no daemon.
    pub fn of_context(name: &str, around: &Surroundings) -> Result<Self, EndpointError> {
        let wrong = |why: &str| EndpointError::Context {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let directory = around.config_dir.as_ref();
        let directory = directory.ok_or_else(|| wrong("this user has no home"))?;
        let id: String = Sha256::digest(name.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let contexts = directory.join("contexts");
        let meta = contexts.join("meta").join(&id).join("meta.json");
        let text = std::fs::read_to_string(&meta).map_err(|_| wrong("is not there"))?;
        let meta: ContextMeta =
            serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let endpoint = meta.endpoints.get("docker");
        let endpoint = endpoint.ok_or_else(|| wrong("names no docker daemon"))?;
        let tls = Tls::below(&contexts.join("tls").join(&id).join("docker"));
        Self::of_host(&endpoint.host, tls.ca.exists().then_some(tls))
    }

    /// Whether the daemon runs on this machine, so that its memory and disk are ours to see.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// `[user@]host[:port][/socket]` → arguments of `ssh`; nothing in it may become an option.
fn ssh(rest: &str) -> Option<Vec<String>> {
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\$`;&|<>".contains(c);
    if host.is_empty() || host.starts_with('-') || host.contains(odd) || path.contains(odd) {
        return None;
    }
    // Nobody is there to answer a question.
    let mut arguments = vec!["-o".to_owned(), "BatchMode=yes".to_owned()];
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), host.trim_matches(['[', ']']).to_owned()]);
    arguments.push("docker".to_owned());
    if path.len() > 1 {
        arguments.extend(["--host".to_owned(), format!("unix://{path}")]);
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn around(variables: &[(&str, &str)], config_dir: Option<&Path>) -> Surroundings {
        Surroundings {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            config_dir: config_dir.map(Path::to_owned),
        }
    }

    /// Writes a context as the `docker` command keeps it.
    fn context(directory: &Path, name: &str, host: &str) -> PathBuf {
        let id: String = Sha256::digest(name.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let meta = directory.join("contexts/meta").join(&id);
        fs::create_dir_all(&meta).expect("created");
        let text = serde_json::json!({
            "Name": name, "Metadata": {},
            "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } },
        });
        fs::write(meta.join("meta.json"), text.to_string()).expect("written");
        directory.join("contexts/tls").join(id).join("docker")
    }

    #[test]
    fn docker_host_comes_first_then_the_context_then_the_local_socket() {
        let home = tempfile::tempdir().expect("a directory");
        let home = home.path();
        context(home, "far", "ssh://deploy@far:2222");
        let local = Endpoint::Unix(LOCAL_SOCKET.into());
        assert_eq!(Endpoint::found(&around(&[], Some(home))), Ok(local.clone()));
        fs::write(home.join("config.json"), r#"{"currentContext":"far"}"#).expect("written");
        let far = Endpoint::found(&around(&[], Some(home))).expect("found");
        let Endpoint::Ssh(arguments) = &far else {
            panic!("{far:?}")
        };
        let line = arguments.join(" ");
        assert_eq!(
            line,
            "-o BatchMode=yes -p 2222 -- deploy@far docker system dial-stdio"
        );
        let default = around(&[("DOCKER_CONTEXT", "default")], Some(home));
        assert_eq!(Endpoint::found(&default), Ok(local));
        let host = around(
            &[("DOCKER_HOST", "tcp://h:2375"), ("DOCKER_CONTEXT", "far")],
            Some(home),
        );
        assert_eq!(
            Endpoint::found(&host),
            Ok(Endpoint::Tcp("h:2375".into(), None))
        );
    }

    #[test]
    fn certificates_come_from_the_context_or_from_the_variables() {
        let home = tempfile::tempdir().expect("a directory");
        let tls = context(home.path(), "tls", "tcp://h:2376");
        fs::create_dir_all(&tls).expect("created");
        fs::write(tls.join("ca.pem"), "").expect("written");
        let found = Endpoint::of_context("tls", &around(&[], Some(home.path())));
        let Ok(Endpoint::Tcp(_, Some(files))) = &found else {
            panic!("{found:?}")
        };
        assert_eq!(files.key, tls.join("key.pem"));
        let variables = [
            ("DOCKER_HOST", "tcp://h:2376"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", "/certs"),
        ];
        let found = Endpoint::found(&around(&variables, None));
        let Ok(Endpoint::Tcp(_, Some(files))) = &found else {
            panic!("{found:?}")
        };
        assert_eq!(files.ca, Path::new("/certs/ca.pem"));
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        let home = tempfile::tempdir().expect("a directory");
        let absent = Endpoint::of_context("absent", &around(&[], Some(home.path())));
        let text = absent.expect_err("not there").to_string();
        assert!(
            text.contains("absent") && text.contains("docker context ls"),
            "{text}"
        );
        for bad in [
            "docker",
            "ftp://x",
            "unix://relative",
            "ssh://-oProxyCommand=x",
            "ssh://h;x",
        ] {
            assert!(Endpoint::of_host(bad, None).is_err(), "{bad}");
        }
    }
}
