//! Reads `[runtime.*]` of kind `docker`: how a daemon is reached, and the logins for its
//! registries. Must not know how either is used.

use super::accepted::{REGISTRY, RUNTIME_DOCKER};
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader};
use super::tree::Node;
use crate::model::secret::SecretRef;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DockerSettings {
    /// Where it is; as the `docker` command would find it when absent.
    pub daemon: Option<DaemonAt>,
    /// How it is known over TCP, and we to it; plain TCP when absent.
    pub tls: Option<TlsFiles>,
    /// Logins by registry, e.g. `registry:5000`.
    pub logins: BTreeMap<String, LoginRef>,
}

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonAt {
    /// `unix:///…`, `tcp://…` or `ssh://…`.
    Host(String),
    /// A context of the `docker` command.
    Context(String),
}

/// Certificates for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signed the daemon's certificate.
    pub ca: PathBuf,
    /// Our own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The login for a registry, by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRef {
    /// The user's name.
    pub user: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// How a host is written.
const HOST_MEND: &str = "write unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]";

/// Reads one runtime of kind `docker`.
pub(super) fn read(node: &Node, problems: &Problems<'_>) -> Option<DockerSettings> {
    let reader = Reader::new(node, &RUNTIME_DOCKER, problems);
    let host = reader.text("host").filter(|host| {
        let known = is_host(host.value);
        if !known {
            let what = format!("{} is no daemon's address", quoted(host.value));
            problems.error(&host.place, what, HOST_MEND);
        }
        known
    });
    let context = reader.text("context");
    if let (Some(_), Some(context)) = (&host, &context) {
        let what = "is written beside host, which says where the daemon is already";
        problems.error(&context.place, what, "keep one of the two");
    }
    Some(DockerSettings {
        tls: tls(&reader, host.as_ref(), problems),
        daemon: host
            .map(|host| DaemonAt::Host(host.value.to_owned()))
            .or(context.map(|context| DaemonAt::Context(context.value.to_owned()))),
        logins: logins(&reader, problems),
    })
}

fn is_host(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    match scheme {
        "unix" => rest.starts_with('/'),
        "tcp" => rest.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.trim_end_matches('/').parse::<u16>().is_ok()
        }),
        // What begins with a dash would be an option of ssh.
        "ssh" => !rest.is_empty() && !rest.starts_with('-') && !rest.contains([' ', '\n']),
        _ => false,
    }
}

fn tls(
    reader: &Reader<'_>,
    host: Option<&Located<&str>>,
    problems: &Problems<'_>,
) -> Option<TlsFiles> {
    const KEYS: [&str; 3] = ["tls_ca", "tls_cert", "tls_key"];
    let written = KEYS.map(|key| reader.text(key));
    let first = written.iter().flatten().next()?;
    if !host.is_some_and(|host| host.value.starts_with("tcp://")) {
        let what = "is for a daemon that is reached over TCP";
        problems.error(&first.place, what, "add host = \"tcp://HOST:2376\"");
    }
    for (key, found) in KEYS.iter().zip(&written) {
        if found.is_none() {
            reader.missing(key, "TLS needs tls_ca, tls_cert and tls_key");
        }
    }
    let [ca, cert, key] =
        written.map(|text| text.map(|text| problems.absolute(&text.place, text.value)));
    Some(TlsFiles {
        ca: ca?,
        cert: cert?,
        key: key?,
    })
}

fn logins(reader: &Reader<'_>, problems: &Problems<'_>) -> BTreeMap<String, LoginRef> {
    let mut logins = BTreeMap::new();
    let Some(node) = reader.node("registry") else {
        return logins;
    };
    for (registry, place, value) in Reader::open(node, problems).entries() {
        if registry.is_empty() || registry.contains(['/', ' ']) {
            let mend = "write it as in an image's name: HOST or HOST:PORT";
            problems.error(place, "is no registry", mend);
        }
        let login = Reader::new(value, &REGISTRY, problems);
        for key in REGISTRY.keys {
            if login.node(key).is_none() {
                let mend = "write user = \"NAME\" and password = \"env:NAME\", \
                            \"file:/PATH\" or \"cmd:[…]\"";
                login.missing(key, mend);
            }
        }
        let user = login.text("user").map(|user| user.value.to_owned());
        let password: Option<Located<SecretRef>> = login.parsed(
            "password",
            "a secret itself has no place in a configuration",
        );
        if let (Some(user), Some(password)) = (user, password) {
            let password = password.value;
            logins.insert(registry.to_owned(), LoginRef { user, password });
        }
    }
    logins
}
