//! Logins for registries, fetched anew for each pull: a configured reference, a credential
//! helper, or what `docker login` left in `config.json`.

use crate::model::secret::SecretRef;
use crate::secret::{self, Secret};
use base64::Engine as _;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// For one credential helper.
const HELPER_DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer of a credential helper, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;
/// How docker's own registry is called in `config.json`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A configured login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// Where logins come from.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    /// Those of the configuration, by registry.
    pub configured: BTreeMap<String, Login>,
    /// The directory of docker's `config.json`.
    pub config_dir: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The registry an image comes from, as docker reads its name.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

impl Logins {
    /// The login for an image's registry; `None` where there is none.
    ///
    /// # Errors
    /// When there is one and it cannot be fetched.
    pub async fn of(&self, image: &str) -> Result<Option<DockerCredentials>, String> {
        let registry = registry(image);
        let Some((user, password)) = self.fetch(registry).await? else {
            return Ok(None);
        };
        // Helpers answer with this name where the secret is a token.
        let token = user == "<token>";
        let (name, word) = (user, password.expose().to_owned());
        Ok(Some(DockerCredentials {
            username: (!token).then_some(name),
            password: (!token).then(|| word.clone()),
            identitytoken: token.then_some(word),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }))
    }

    async fn fetch(&self, registry: &str) -> Result<Option<(String, Secret)>, String> {
        if let Some(login) = self.configured.get(registry) {
            let password = secret::fetch(&login.password).await;
            let password = password.map_err(|error| format!("login for {registry}: {error}"))?;
            return Ok(Some((login.user.clone(), password)));
        }
        let Some(file) = self.config_file(registry)? else {
            return Ok(None);
        };
        let names = names_of(registry);
        let own = names.iter().find_map(|name| file.cred_helpers.get(name));
        let helper = own.or(Some(&file.creds_store).filter(|store| !store.is_empty()));
        if let Some(helper) = helper {
            let server = names.first().map_or(registry, String::as_str);
            return from_helper(helper, server).await;
        }
        let written = names.iter().find_map(|name| file.auths.get(name));
        let Some(auth) = written else {
            return Ok(None);
        };
        if !auth.identitytoken.is_empty() {
            let token = Secret::new(auth.identitytoken.clone());
            return Ok(Some(("<token>".to_owned(), token)));
        }
        if auth.auth.is_empty() {
            return Ok(None);
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(&auth.auth);
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or_else(|| {
            format!("docker's config.json: the login for {registry} cannot be read; log in anew")
        })?;
        Ok(Some((user.to_owned(), Secret::new(password.to_owned()))))
    }

    fn config_file(&self, registry: &str) -> Result<Option<ConfigFile>, String> {
        let Some(directory) = &self.config_dir else {
            return Ok(None);
        };
        let path = directory.join("config.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(&text);
        // The parser's words could quote what is in the file.
        let unread = |_| {
            format!(
                "{} is no JSON; login for {registry} not read",
                path.display()
            )
        };
        parsed.map(Some).map_err(unread)
    }
}

/// The names under which `config.json` may keep a registry.
fn names_of(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => vec![DOCKER_HUB.to_owned(), "docker.io".to_owned()],
        host => vec![
            host.to_owned(),
            format!("https://{host}"),
            format!("http://{host}"),
            format!("https://{host}/v1/"),
            format!("https://{host}/v2/"),
        ],
    }
}

/// Asks `docker-credential-NAME get`: the registry on its standard input, the login on its output.
async fn from_helper(helper: &str, registry: &str) -> Result<Option<(String, Secret)>, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !helper.chars().all(plain) {
        return Err("docker's config.json names no credential helper one could run".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    let wrong = |why: &dyn std::fmt::Display| format!("{program} for {registry}: {why}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| wrong(&error))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let asked = async {
        if let Some(mut input) = input {
            let sent = input.write_all(format!("{registry}\n").as_bytes()).await;
            sent.map_err(|error| wrong(&error))?;
        }
        let mut bytes = Vec::new();
        if let Some(output) = output {
            let read = output.take(ANSWER_MAX).read_to_end(&mut bytes).await;
            read.map_err(|error| wrong(&error))?;
        }
        let status = child.wait().await.map_err(|error| wrong(&error))?;
        Ok::<_, String>((status.success(), bytes))
    };
    let asked = tokio::time::timeout(HELPER_DEADLINE, asked).await;
    let (success, bytes) = asked.unwrap_or_else(|_| Err(wrong(&"no answer within 10 s")))?;
    if !success {
        // How helpers say that they know none.
        let text = String::from_utf8_lossy(&bytes);
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(wrong(&"it failed; ask it by hand")),
        };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&bytes).map_err(|_| wrong(&"its answer is no login"))?;
    Ok(Some((answer.username, Secret::new(answer.secret))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(config: &str) -> (tempfile::TempDir, Logins) {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("config.json"), config).expect("written");
        let logins = Logins {
            configured: BTreeMap::new(),
            config_dir: Some(directory.path().to_owned()),
        };
        (directory, logins)
    }

    #[test]
    fn an_image_names_its_registry_as_docker_reads_it() {
        for (image, name) in [
            ("shop:v1", "docker.io"),
            ("team/shop", "docker.io"),
            ("localhost/shop", "localhost"),
            ("registry:5000/shop:v1", "registry:5000"),
            ("registry.example/team/shop@sha256:00", "registry.example"),
        ] {
            assert_eq!(registry(image), name);
        }
    }

    #[tokio::test]
    async fn a_login_of_the_docker_config_is_found() {
        let auth = base64::engine::general_purpose::STANDARD.encode("me:pass:word");
        let (_kept, logins) = logins(&format!(
            r#"{{"auths":{{"https://r:5000":{{"auth":"{auth}"}}}}}}"#
        ));
        let found = logins
            .of("r:5000/shop:v1")
            .await
            .expect("read")
            .expect("there");
        assert_eq!(found.username.as_deref(), Some("me"));
        assert_eq!(found.password.as_deref(), Some("pass:word"));
        assert!(logins.of("other:5000/shop").await.expect("read").is_none());
    }

    #[tokio::test]
    async fn a_configured_reference_comes_first_and_is_fetched_anew() {
        let (kept, mut logins) = logins("{}");
        let path = kept.path().join("password");
        let login = Login {
            user: "deployer".to_owned(),
            password: SecretRef::File(path.display().to_string()),
        };
        logins.configured.insert("r:5000".to_owned(), login);
        for word in ["first", "second"] {
            std::fs::write(&path, word).expect("written");
            let found = logins
                .of("r:5000/shop")
                .await
                .expect("read")
                .expect("there");
            assert_eq!(found.password.as_deref(), Some(word));
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_json_is_said_without_its_words() {
        let (_kept, logins) = logins("{hunter2");
        let text = logins.of("r:5000/shop").await.expect_err("no JSON");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
