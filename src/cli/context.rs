//! What most commands need: the configuration, the state directory, a connection.

use super::exit::{Exit, Failure};
use super::print;
use crate::config::{self, Config, ConfigErrors, Loaded};
use crate::link::wire::{Reply, Request};
use crate::link::{self, AskError, Client, ClientOptions, ConnectError};
use crate::model::{EnvName, Placement, ServiceName};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// For one request of a command; the engine answers once its records are durable.
pub(super) const ASK: Duration = Duration::from_secs(15);

/// The flags every command takes.
#[derive(Debug, Clone)]
pub(super) struct Context {
    explicit: Vec<PathBuf>,
    pub(super) json: bool,
}

impl Context {
    pub(super) fn new(explicit: Vec<PathBuf>, json: bool) -> Self {
        Self { explicit, json }
    }

    /// The configuration files in force.
    pub(super) fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        config::paths(&self.explicit).map_err(|errors| self.bad_config(&errors))
    }

    /// The configuration.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let loaded = Config::load(&self.paths()?).map_err(|errors| self.bad_config(&errors))?;
        Ok(loaded)
    }

    fn bad_config(&self, errors: &ConfigErrors) -> Failure {
        if self.json {
            print::json(&errors.to_json());
        } else {
            for line in errors.to_string().lines() {
                print::error(line);
            }
        }
        Failure::new(
            Exit::Config,
            "the configuration is not valid; `wheelhouse config check` tells more",
        )
    }

    /// Where the engine keeps its socket, history and lock.
    pub(super) fn state_dir(&self, loaded: &Loaded) -> Result<PathBuf, Failure> {
        let dir = loaded.config.state_dir();
        dir.map_err(|error| Failure::because(Exit::Config, &error))
    }

    /// The socket of the engine this configuration belongs to.
    pub(super) fn socket(&self, loaded: &Loaded) -> Result<PathBuf, Failure> {
        Ok(link::socket_path(&self.state_dir(loaded)?))
    }

    /// Connects to the engine; never starts one.
    pub(super) async fn connect(&self, loaded: &Loaded) -> Result<Client, Failure> {
        let options = self.client_options(loaded, false);
        let (client, hello) = Client::connect(&self.socket(loaded)?, &options)
            .await
            .map_err(|error| unreachable(&error))?;
        if hello.differs(Some(&loaded.hash)) {
            print::error(&format!(
                "the engine runs with another configuration ({}); restart it to use this one",
                hello.config_path
            ));
        }
        Ok(client)
    }

    pub(super) fn client_options(&self, loaded: &Loaded, console: bool) -> ClientOptions {
        ClientOptions {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: Some(loaded.hash.clone()),
            console,
        }
    }

    /// Says on standard error, or as JSON on standard output, why a command failed.
    pub(super) fn fail(&self, failure: &Failure) {
        match self.json {
            true => print::json(&json!({ "error": failure.text, "exit": failure.exit.code() })),
            false => print::error(failure.text.as_str()),
        }
    }
}

fn unreachable(error: &ConnectError) -> Failure {
    let mut failure = Failure::because(Exit::Unreachable, error);
    if let ConnectError::NotRunning { .. } = error {
        failure = Failure::new(
            Exit::Unreachable,
            format!("{}; start one with `wheelhouse engine run`", failure.text),
        );
    }
    failure
}

/// Asks and turns what is no reply into a failure.
pub(super) async fn ask(client: &Client, request: Request) -> Result<Reply, Failure> {
    match client.ask(request, ASK).await {
        Ok(Reply::Error { text }) => Err(Failure::new(Exit::Refused, text.as_str())),
        Ok(reply) => Ok(reply),
        Err(error @ (AskError::NotSent { .. } | AskError::Unknown { .. })) => {
            Err(Failure::because(Exit::Unreachable, &error))
        }
    }
}

/// The failure for a reply that does not fit its request.
pub(super) fn unexpected() -> Failure {
    Failure::new(
        Exit::Unreachable,
        "the engine's reply does not fit the request; do versions differ?",
    )
}

/// A service in an environment, as the arguments name it and the configuration knows it.
pub(super) fn placement(
    loaded: &Loaded,
    service: &ServiceName,
    environment: &EnvName,
) -> Result<Placement, Failure> {
    let spec = loaded.config.spec(service, environment);
    spec.map(|spec| spec.placement.clone())
        .map_err(|error| Failure::because(Exit::Config, &error))
}
