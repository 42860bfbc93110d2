//! How large an image is, and what a tag stands for, by the manifest in a registry (the distribution
//! API). Reads only; must not decide whether a host can pull it: this machine may reach another
//! registry than the host does.

use super::login;
use crate::model::container::repository;
use bollard::auth::DockerCredentials;
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// For one answer.
const DEADLINE: Duration = Duration::from_secs(4);
/// Longest manifest, in bytes; registries take none above 4 MiB.
const MANIFEST_MAX: usize = 4 << 20;
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What an image would run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Option<Blob>,
    #[serde(default)]
    layers: Vec<Blob>,
    /// Of an index: one manifest per platform.
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Debug, Deserialize)]
struct Blob {
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
}

/// What a tag stands for in its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The manifest's digest, `sha256:…`, computed of what came.
    pub digest: String,
    /// The digest of the settings that the manifest names, which is the image's id on most daemons;
    /// `None` for an index over several platforms.
    pub config: Option<String>,
}

/// Asks an image's registry what its tag stands for; `None` where it has no such tag. Within 4 s per
/// answer.
///
/// # Errors
/// In words, when the registry cannot be reached or refuses.
pub async fn tagged(
    image: &str,
    login: Option<&DockerCredentials>,
) -> Result<Option<Tagged>, String> {
    let host = login::registry(image);
    let registry = Registry::of(image, login);
    let registry = registry.ok_or_else(|| format!("{host}: no HTTP client can be made"))?;
    let Some(bytes) = registry.read(tag(image)).await? else {
        return Ok(None);
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{host}: its answer is no manifest: {error}"))?;
    let hex: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let config = manifest.config.map(|config| config.digest);
    Ok(Some(Tagged {
        digest: format!("sha256:{hex}"),
        config: config.filter(|digest| !digest.is_empty()),
    }))
}

/// The tag of an image's name, as docker reads it.
fn tag(image: &str) -> &str {
    let rest = &image[repository(image).len()..];
    match rest.strip_prefix(':') {
        Some(tag) => tag,
        None => "latest",
    }
}

#[derive(Debug, Deserialize)]
struct Child {
    digest: String,
    platform: Option<ChildPlatform>,
}

#[derive(Debug, Deserialize)]
struct ChildPlatform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The compressed bytes of an image's layers and settings; `None` where nobody says. `reference` is
/// `repository@sha256:…`.
pub(super) async fn size(
    reference: &str,
    login: Option<&DockerCredentials>,
    platform: &Platform,
) -> Option<u64> {
    let (_, digest) = reference.split_once('@')?;
    let registry = Registry::of(reference, login)?;
    let manifest = registry.manifest(digest).await?;
    if manifest.manifests.is_empty() {
        return Some(bytes(&manifest));
    }
    let child = child(&manifest, platform)?;
    Some(bytes(&registry.manifest(child).await?))
}

fn bytes(manifest: &Manifest) -> u64 {
    let blobs = manifest.config.iter().chain(&manifest.layers);
    blobs.map(|blob| blob.size).fold(0, u64::saturating_add)
}

fn child<'a>(manifest: &'a Manifest, platform: &Platform) -> Option<&'a str> {
    let fits = |child: &&Child| {
        let its = child.platform.as_ref();
        its.is_some_and(|its| its.os == platform.os && its.architecture == platform.architecture)
    };
    let child = manifest.manifests.iter().find(fits)?;
    Some(&child.digest)
}

/// A repository of a registry, and who asks.
struct Registry<'a> {
    http: Client,
    base: String,
    path: String,
    login: Option<&'a DockerCredentials>,
}

impl<'a> Registry<'a> {
    fn of(reference: &str, login: Option<&'a DockerCredentials>) -> Option<Self> {
        let host = login::registry(reference);
        let name = repository(reference);
        let path = name.strip_prefix(&format!("{host}/")).unwrap_or(name);
        let (base, path) = match host {
            "docker.io" if !path.contains('/') => {
                (base("registry-1.docker.io"), format!("library/{path}"))
            }
            "docker.io" => (base("registry-1.docker.io"), path.to_owned()),
            host => (base(host), path.to_owned()),
        };
        let http = Client::builder().no_proxy().timeout(DEADLINE).build();
        Some(Self {
            http: http.ok()?,
            base,
            path,
            login,
        })
    }

    async fn manifest(&self, digest: &str) -> Option<Manifest> {
        let url = format!("{}/v2/{}/manifests/{digest}", self.base, self.path);
        let ask = || self.http.get(&url).header(ACCEPT, MANIFESTS);
        let mut answer = ask().send().await.ok()?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenge = answer.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
            let challenge = challenge.to_owned();
            answer = self.admitted(ask(), &challenge).await?.send().await.ok()?;
        }
        if !answer.status().is_success() {
            return None;
        }
        serde_json::from_slice(&body(answer).await?).ok()
    }

    /// The bytes of a manifest by its tag or digest; `None` where there is none.
    async fn read(&self, reference: &str) -> Result<Option<Vec<u8>>, String> {
        let url = format!("{}/v2/{}/manifests/{reference}", self.base, self.path);
        let ask = || self.http.get(&url).header(ACCEPT, MANIFESTS);
        let wrong = |error: reqwest::Error| format!("{}: {}", self.base, deepest(&error));
        let mut answer = ask().send().await.map_err(wrong)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenge = answer.headers().get(WWW_AUTHENTICATE);
            let challenge = challenge.and_then(|value| value.to_str().ok());
            let challenge = challenge.unwrap_or_default().to_owned();
            let again = self.admitted(ask(), &challenge).await;
            let again = again.ok_or_else(|| {
                format!(
                    "{}: it asks for a login, and none fits; log in to it",
                    self.base
                )
            })?;
            answer = again.send().await.map_err(wrong)?;
        }
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let whole = body(answer).await;
                let cut = || format!("{}: its answer is too long or was cut", self.base);
                whole.ok_or_else(cut).map(Some)
            }
            status => Err(format!("{}: it answered {status}", self.base)),
        }
    }

    /// The request again, with what the registry asks for.
    async fn admitted(&self, request: RequestBuilder, challenge: &str) -> Option<RequestBuilder> {
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return self.with_login(request);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = parameter(rest, "realm")?;
        // A password goes over plain text only to this machine.
        if !realm.starts_with("https://") && !self.base.starts_with("http://") {
            return None;
        }
        let named = ["service", "scope"].map(|name| Some((name, parameter(rest, name)?)));
        let query: Vec<_> = named.into_iter().flatten().collect();
        let ask = self.http.get(&realm).query(&query);
        let ask = match self.login {
            Some(_) => self.with_login(ask)?,
            None => ask,
        };
        let answer = ask.send().await.ok()?.error_for_status().ok()?;
        let token: Token = serde_json::from_slice(&body(answer).await?).ok()?;
        Some(request.bearer_auth(token.token.or(token.access_token)?))
    }

    fn with_login(&self, request: RequestBuilder) -> Option<RequestBuilder> {
        let login = self.login?;
        Some(request.basic_auth(login.username.as_ref()?, login.password.as_ref()))
    }
}

/// The innermost cause, which says most.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// As docker does it: plain text on this machine, TLS everywhere else.
fn base(host: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let here = name == "localhost" || name.starts_with("127.") || name == "[::1]";
    format!("{}://{host}", if here { "http" } else { "https" })
}

/// `realm` of `realm="https://…",service="…"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let begin = format!("{name}=\"");
    let at = challenge.find(&begin)? + begin.len();
    let end = challenge[at..].find('"')?;
    Some(challenge[at..at + end].to_owned())
}

async fn body(mut answer: Response) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MANIFEST_MAX {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_where_docker_asks_it() {
        let of = |reference| {
            let registry = Registry::of(reference, None).expect("a client");
            format!("{}/v2/{}", registry.base, registry.path)
        };
        assert_eq!(
            of("shop@sha256:00"),
            "https://registry-1.docker.io/v2/library/shop"
        );
        assert_eq!(
            of("team/shop@sha256:00"),
            "https://registry-1.docker.io/v2/team/shop"
        );
        assert_eq!(
            of("127.0.0.1:5000/a/b@sha256:00"),
            "http://127.0.0.1:5000/v2/a/b"
        );
        assert_eq!(of("r.example/a/b@sha256:00"), "https://r.example/v2/a/b");
    }

    #[test]
    fn a_tag_is_what_follows_the_repository() {
        assert_eq!(tag("127.0.0.1:5000/a/b:v1.2"), "v1.2");
        assert_eq!(tag("127.0.0.1:5000/a/b"), "latest");
        assert_eq!(tag("shop"), "latest");
    }

    #[test]
    fn a_challenge_and_a_manifest_are_read() {
        let challenge =
            r#"realm="https://auth.example/token",service="r",scope="repository:a:pull""#;
        assert_eq!(
            parameter(challenge, "scope").as_deref(),
            Some("repository:a:pull")
        );
        assert_eq!(parameter(challenge, "nonce"), None);
        let manifest = |text| serde_json::from_str::<Manifest>(text).expect("a manifest");
        let one = manifest(r#"{"config":{"size":3},"layers":[{"size":40},{"size":100}]}"#);
        assert_eq!(bytes(&one), 143);
        let index = manifest(
            r#"{"manifests":[
                {"digest":"sha256:a","platform":{"os":"linux","architecture":"arm64"}},
                {"digest":"sha256:b","platform":{"os":"linux","architecture":"amd64"}}]}"#,
        );
        let platform = |architecture: &str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        };
        assert_eq!(child(&index, &platform("amd64")), Some("sha256:b"));
        assert_eq!(child(&index, &platform("riscv64")), None);
    }
}
