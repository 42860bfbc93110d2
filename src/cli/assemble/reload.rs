//! Reading the configuration anew while the engine runs: read, validated, compared, recorded, and
//! only then in force. Files that are not valid change nothing. Rollouts that are open keep the
//! settings they began with: those are in their records.

use super::super::runbook;
use super::{Side, hello, placed};
use crate::config::{Config, ConfigErrors, Loaded};
use crate::driver::Refit;
use crate::link::wire::Reply;
use crate::model::command::Answer;
use crate::model::entry::CHANGES_MAX;
use crate::model::{Actor, Clean, Entry};
use std::sync::Arc;

/// Faults of bad files told at once; a reply must fit into a frame.
const FAULTS_MAX: usize = 100;

/// Whether a reload is only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Reload {
    /// It holds from now on.
    Apply,
    /// Only the difference is told.
    DryRun,
}

impl Side {
    /// Reads the files again. One reload at a time.
    pub(in crate::cli) async fn reload(&self, by: Actor, how: Reload) -> Result<Reply, Clean> {
        let _one = self.reloading.lock().await;
        let old = self.loaded();
        let paths = old.paths.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&paths)).await;
        let new = match read {
            Ok(Ok(new)) => new,
            Ok(Err(errors)) => return Ok(bad(&errors)),
            Err(error) => return Err(Clean::new(&format!("reading the files failed: {error}"))),
        };
        let mut changes = old.written.difference(&new.written);
        let more = changes.len().saturating_sub(CHANGES_MAX);
        changes.truncate(CHANGES_MAX);
        let reply = |applied| Reply::Reloaded {
            applied,
            hash: new.hash.clone(),
            changes: changes.clone(),
            more: u32::try_from(more).unwrap_or(u32::MAX),
        };
        if how == Reload::DryRun || new.hash == old.hash {
            return Ok(reply(false));
        }
        if old.home().ok() != new.home().ok() {
            return Err("state_dir cannot change while the engine runs: restart it".into());
        }
        let entry = Entry::ConfigReloaded {
            hash: new.hash.clone(),
            changes: changes.clone(),
            more: u32::try_from(more).unwrap_or(u32::MAX),
        };
        let reply = reply(true);
        self.put_in_force(by, entry, new).await?;
        Ok(reply)
    }

    async fn put_in_force(&self, by: Actor, entry: Entry, new: Loaded) -> Result<(), Clean> {
        let world = self.world().renewed(&new.config, &self.state_dir);
        let world = world.map_err(|failure| failure.text)?;
        let closed = |error: crate::driver::Closed| Clean::new(&error.to_string());
        // Durable first: what holds must be what the history says.
        if let Answer::Refused(refusal) = self.handle.record(by, entry).await.map_err(closed)? {
            return Err(Clean::new(&refusal.to_string()));
        }
        let refit = Refit {
            peers: world.clone(),
            configured: placed(&new.config),
            config_hash: new.hash.clone(),
        };
        if self.refits.send(refit).await.is_err() {
            return Err("the engine has ended".into());
        }
        self.hello.send_replace(hello(&new));
        let roles = new.config.access().roles.clone();
        self.roles.send_replace(roles);
        self.by_hand
            .send_replace(runbook::access(&new.config, &self.state_dir));
        self.replace(Arc::new(new), world);
        Ok(())
    }
}

fn bad(errors: &ConfigErrors) -> Reply {
    let faults = errors.0.iter().take(FAULTS_MAX);
    Reply::BadConfig {
        faults: faults
            .map(|error| Clean::new(&error.to_string().replace("\n ", ";")))
            .collect(),
    }
}
