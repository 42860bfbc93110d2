//! What most commands need: the configuration, the state directory, a connection.

use super::exit::{Exit, Failure};
use super::print;
use crate::config::{self, Config, ConfigErrors, Home, Loaded, Ownership};
use crate::link::wire::{Reply, Request};
use crate::link::{self, AskError, Client, ClientOptions, HelloInfo};
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

    /// The same for the machine's engine: its file is one of those named, or the only one.
    pub(super) fn of_system(&self) -> Result<Self, Failure> {
        let mut explicit = self.explicit.clone();
        if explicit.is_empty() {
            explicit.push(config::system_file());
        }
        if config::ownership(&explicit) != Ownership::System {
            let file = config::system_file();
            let text = format!(
                "a system engine runs with {}, so that everybody finds it: name that with --config",
                file.display()
            );
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(Self::new(explicit, self.json))
    }

    /// The configuration files that were named, none by default.
    pub(super) fn named(&self) -> &[PathBuf] {
        &self.explicit
    }

    /// A configuration by the names of its files.
    pub(super) fn load_named(&self, paths: &[PathBuf]) -> Result<Loaded, Failure> {
        Config::load(paths).map_err(|errors| self.bad_config(&errors))
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
        let what = "the configuration is not valid";
        if self.json {
            let exit = Exit::Config.code();
            print::json(&json!({ "error": what, "exit": exit, "faults": errors.to_json() }));
        } else {
            print::to_stderr(&errors.to_string());
            print::error(&format!("{what}; nothing was done"));
        }
        Failure::told(Exit::Config)
    }

    /// Where the engine keeps its history and lock.
    pub(super) fn state_dir(&self, loaded: &Loaded) -> Result<PathBuf, Failure> {
        Ok(self.home(loaded)?.state_dir)
    }

    /// Where the engine of this configuration lives.
    pub(super) fn home(&self, loaded: &Loaded) -> Result<Home, Failure> {
        let home = loaded.home();
        home.map_err(|error| Failure::because(Exit::Config, &error))
    }

    /// The socket of the engine this configuration belongs to.
    pub(super) fn socket(&self, loaded: &Loaded) -> Result<PathBuf, Failure> {
        Ok(link::socket_path(&self.home(loaded)?.socket_dir))
    }

    /// Connects to the engine; never starts one.
    pub(super) async fn connect(&self, loaded: &Loaded) -> Result<Client, Failure> {
        Ok(self.greet(loaded).await?.0)
    }

    /// As [`Context::connect`], with what the engine says of itself and of the caller.
    pub(super) async fn greet(&self, loaded: &Loaded) -> Result<(Client, HelloInfo), Failure> {
        let options = ClientOptions::command(Some(loaded.hash.clone()));
        let (client, hello) = Client::connect(&self.socket(loaded)?, &options)
            .await
            .map_err(|error| Failure::because(Exit::Unreachable, &error))?;
        if let Some(skew) = hello.skew(env!("CARGO_PKG_VERSION")) {
            print::error(skew.as_str());
        }
        if hello.differs(Some(&loaded.hash)) {
            print::error(&format!(
                "the engine runs with another configuration ({}); `wheelhouse engine reload` makes it use this one",
                hello.config_path
            ));
        }
        Ok((client, hello))
    }

    /// Connects to the engine even if the configuration is not valid at the moment: what stops a
    /// rollout must not wait for somebody to mend a file.
    pub(super) async fn connect_to_stop(&self) -> Result<Client, Failure> {
        let paths = self.paths()?;
        let errors = match Config::load(&paths) {
            Ok(loaded) => return self.connect(&loaded).await,
            Err(errors) => errors,
        };
        let dir = match config::ownership(&paths) {
            Ownership::System => Some(config::runtime_dir()),
            Ownership::Personal => config::state_dir_as_written(&paths),
        };
        let Some(dir) = dir else {
            return Err(self.bad_config(&errors));
        };
        print::error(&format!(
            "the configuration is not valid; asking the engine at {} all the same",
            dir.display()
        ));
        let options = ClientOptions::command(None);
        let connected = Client::connect(&link::socket_path(&dir), &options).await;
        connected
            .map(|(client, _)| client)
            .map_err(|error| Failure::because(Exit::Unreachable, &error))
    }

    /// Says on standard error, or as JSON on standard output, why a command failed.
    pub(super) fn fail(&self, failure: &Failure) {
        if failure.text.is_empty() {
            return;
        }
        match self.json {
            true => print::json(&json!({ "error": failure.text, "exit": failure.exit.code() })),
            false => print::error(failure.text.as_str()),
        }
    }
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
