//! The docker command as stages use it: where it finds its daemon, its logins, the names of
//! containers.

use super::attempt::{Attempt, Failure};
use super::environment::{self, Env};
use super::process::Job;
use crate::model::{RunId, StageName};
use crate::runtime::docker::Logins;
use crate::secret;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How docker's own registry is called in `config.json`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// How the docker command is run.
#[derive(Debug, Clone)]
pub struct DockerCommand {
    /// The command: `docker`, or a path.
    pub program: PathBuf,
    /// Variables that lead it to its daemon (`DOCKER_HOST` and the like), over the engine's own.
    pub env: BTreeMap<String, String>,
    /// Logins for registries. Configured ones are fetched anew for each stage; without any, the
    /// command finds those of `docker login` itself.
    pub logins: Logins,
}

/// The docker command for one attempt.
pub(super) struct Cli {
    program: PathBuf,
    env: Env,
    /// Removed at the end.
    _config: Option<Config>,
}

impl Cli {
    /// For the daemon that stages use, with its logins.
    ///
    /// # Errors
    /// When a configured login cannot be fetched.
    pub(super) async fn new(attempt: &Attempt<'_>) -> Result<Self, Failure> {
        let options = &attempt.options.docker;
        let mut env = environment::inherited(&environment::FOR_DOCKER);
        environment::add(&mut env, &options.env);
        let call = attempt.call;
        let directory = attempt
            .place
            .run(call.run)
            .join(format!("{}.docker", call.stage));
        let made = Config::make(directory, attempt, &env);
        let config = attempt.until.during(made).await??;
        if let Some(config) = &config {
            env.push(("DOCKER_CONFIG".into(), config.0.clone().into()));
        }
        Ok(Self {
            program: options.program.clone(),
            env,
            _config: config,
        })
    }

    /// As [`Cli::new`], for a daemon that sees the files of this machine.
    pub(super) async fn here(attempt: &Attempt<'_>) -> Result<Self, Failure> {
        let cli = Self::new(attempt).await?;
        let host = cli.env.iter().rev().find(|(name, _)| name == "DOCKER_HOST");
        let host = host.map(|(_, value)| value.to_string_lossy().into_owned());
        match host {
            Some(host) if !host.is_empty() && !host.starts_with("unix://") => {
                Err(Failure::Failed(format!(
                    "the work tree cannot be mounted: the daemon at {host} is on another machine; \
                     give stages with an image a daemon on the engine's own"
                )))
            }
            _ => Ok(cli),
        }
    }

    /// Whether the command itself goes by a variable of this name.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.env.iter().any(|(used, _)| used == name) || name.starts_with("DOCKER_")
    }

    /// The command with arguments.
    pub(super) fn words<'a>(&self, more: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
        let program = std::iter::once(OsString::from(&self.program));
        program
            .chain(more.into_iter().map(OsString::from))
            .collect()
    }

    /// A docker command as a program of an attempt.
    pub(super) fn job(&self, attempt: &Attempt<'_>, more: Vec<OsString>, at: PathBuf) -> Job {
        let mut program = vec![OsString::from(&self.program)];
        program.extend(more);
        attempt.job(program, at, self.env.clone())
    }

    /// Asks a short question; what it said, where it succeeded.
    pub(super) async fn ask(
        &self,
        attempt: &Attempt<'_>,
        more: &[&str],
    ) -> Result<Option<String>, Failure> {
        let words = self.words(more.iter().copied());
        let directory = attempt.place.run(attempt.call.run);
        let answer = attempt.ask(&words, &directory, &self.env).await?;
        Ok(answer.line().map(str::to_owned))
    }
}

/// The name of a stage's container: one per attempt, so that it can be ended by it.
pub(super) fn container_name(run: RunId, stage: &StageName, attempt: u32) -> String {
    format!("wheelhouse-{run}-{stage}-{attempt}")
}

/// Refuses what the docker command would take for an option, or for nothing.
pub(super) fn must_be_image(image: &str) -> Result<(), String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    match image.is_empty() || image.starts_with('-') || image.contains(is_odd) {
        true => Err(format!("{image:?} is no image; write NAME:TAG")),
        false => Ok(()),
    }
}

/// A directory for the docker command with a `config.json` of its own, for as long as the value
/// lives: the user's, with the configured logins in it. Passwords are neither in the list of
/// processes nor in the user's own file.
struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        if let Err(error) = super::place::remove(&self.0) {
            let path = self.0.display();
            tracing::warn!(%path, %error, "a file with logins cannot be removed; remove it by hand");
        }
    }
}

impl Config {
    async fn make(
        directory: PathBuf,
        attempt: &Attempt<'_>,
        env: &Env,
    ) -> Result<Option<Self>, String> {
        let logins = &attempt.options.docker.logins;
        if logins.configured.is_empty() {
            return Ok(None);
        }
        let mut auths = BTreeMap::new();
        for (registry, login) in &logins.configured {
            let password = secret::fetch(&login.password).await;
            let password = password.map_err(|error| format!("login for {registry}: {error}"))?;
            super::process::locked(&attempt.output).hide("password", password.expose());
            let pair = format!("{}:{}", login.user, password.expose());
            let auth = base64::engine::general_purpose::STANDARD.encode(pair);
            super::process::locked(&attempt.output).hide("password", &auth);
            auths.insert(registry.clone(), auth);
        }
        let theirs = logins.config_dir.clone().or_else(|| config_directory(env));
        let wrong = |error: std::io::Error| format!("logins cannot be written: {error}");
        let config = Self(directory);
        config.write(theirs.as_deref(), auths).map_err(wrong)?;
        Ok(Some(config))
    }

    fn write(&self, theirs: Option<&Path>, auths: BTreeMap<String, String>) -> std::io::Result<()> {
        super::place::remove(&self.0)?;
        DirBuilder::new().mode(0o700).create(&self.0)?;
        let text = theirs.and_then(|theirs| fs::read(theirs.join("config.json")).ok());
        let config = text.and_then(|text| serde_json::from_slice(&text).ok());
        let config = with_logins(config.unwrap_or_default(), auths);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(self.0.join("config.json"))?;
        file.write_all(Value::Object(config).to_string().as_bytes())?;
        // Contexts and plugins are found beside it.
        for name in ["contexts", "cli-plugins"] {
            let there = theirs.map(|theirs| theirs.join(name));
            if let Some(there) = there.filter(|there| there.exists()) {
                std::os::unix::fs::symlink(there, self.0.join(name))?;
            }
        }
        Ok(())
    }
}

/// Where the docker command finds its configuration.
fn config_directory(env: &Env) -> Option<PathBuf> {
    let of = |name: &str| env.iter().rev().find(|(set, _)| set == name);
    let own = of("DOCKER_CONFIG").map(|(_, value)| PathBuf::from(value));
    own.or_else(|| Some(Path::new(&of("HOME")?.1).join(".docker")))
}

/// The configuration with logins by registry. An empty helper for a registry has its login read from
/// the file even where the user keeps others in a store.
fn with_logins(
    mut config: Map<String, Value>,
    auths: BTreeMap<String, String>,
) -> Map<String, Value> {
    for (registry, auth) in auths {
        let name = match registry.as_str() {
            "docker.io" => DOCKER_HUB.to_owned(),
            _ => registry,
        };
        let mut set = |table: &str, value: Value| {
            let table = config.entry(table).or_insert_with(|| json!({}));
            if let Some(table) = table.as_object_mut() {
                table.insert(name.clone(), value);
            }
        };
        set("auths", json!({ "auth": auth }));
        set("credHelpers", json!(""));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_logins_are_read_from_the_file_whatever_store_the_user_has() {
        let text = json!({
            "credsStore": "desktop",
            "auths": { "other:5000": { "auth": "eA==" }, "r:5000": {} },
            "currentContext": "build",
        });
        let config = text.as_object().expect("an object").clone();
        let auths = ["r:5000", "docker.io"].map(|name| (name.to_owned(), "bWU6cHc=".to_owned()));
        let config = Value::Object(with_logins(config, auths.into()));
        assert_eq!(config["auths"]["r:5000"]["auth"], "bWU6cHc=");
        assert_eq!(config["auths"][DOCKER_HUB]["auth"], "bWU6cHc=");
        assert_eq!(config["auths"]["other:5000"]["auth"], "eA==");
        assert_eq!(config["credHelpers"]["r:5000"], "");
        assert_eq!(config["credsStore"], "desktop");
        assert_eq!(config["currentContext"], "build");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        must_be_image("r.example:5000/a/b:v1").expect("an image");
        for bad in ["", "--privileged", "a b", "a\nb"] {
            assert!(must_be_image(bad).is_err(), "{bad:?}");
        }
    }
}
