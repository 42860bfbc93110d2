//! The variables a stage gets: few of the engine's own, those of the run, those of its settings, and
//! its secrets, fetched when it begins and kept nowhere.

use super::process::{SharedOutput, locked};
use crate::model::secret::SecretRef;
use crate::secret;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What every program inherits of the engine's own environment; the rest stays private.
const INHERITED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What git inherits beside that, to reach repositories as the engine's user does.
pub(super) const FOR_GIT: [&str; 9] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "XDG_CONFIG_HOME",
    "ALL_PROXY",
];

/// What the docker command inherits beside that, to reach the daemon as the engine's user does.
pub(super) const FOR_DOCKER: [&str; 9] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "DOCKER_BUILDKIT",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
];

/// Variables as a program is given them.
pub(super) type Env = Vec<(OsString, OsString)>;

/// Those of the engine's own environment that a program gets, with `more` of them.
pub(super) fn inherited(more: &[&str]) -> Env {
    let names = INHERITED.iter().chain(more);
    let set = |name: &&str| Some((OsString::from(*name), std::env::var_os(name)?));
    let mut env: Env = names.filter_map(set).collect();
    // Nothing draws on a terminal here.
    env.push(("TERM".into(), "dumb".into()));
    env
}

/// Whether a program without any of our own could use such a name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Fetches secrets, and has them hidden in the output before anything else is done.
///
/// # Errors
/// Which one could not be fetched, and why; never what was read.
pub(super) async fn secrets(
    references: &BTreeMap<String, SecretRef>,
    output: &SharedOutput,
) -> Result<BTreeMap<String, secret::Secret>, String> {
    let mut fetched = BTreeMap::new();
    for (name, reference) in references {
        if !is_name(name) {
            return Err(format!(
                "the secret {name:?} has no name a variable may have"
            ));
        }
        let secret = secret::fetch(reference).await;
        let secret = secret.map_err(|error| format!("{name}: {error}"))?;
        locked(output).hide(name, secret.expose());
        fetched.insert(name.clone(), secret);
    }
    Ok(fetched)
}

/// Adds variables; a later one of the same name replaces.
pub(super) fn add(env: &mut Env, more: &BTreeMap<String, String>) {
    let more = more.iter().filter(|(name, _)| is_name(name));
    env.extend(more.map(|(name, value)| (name.into(), value.into())));
}
