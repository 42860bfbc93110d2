//! One backend: its servers, their settings, and who gets the next request.
//!
//! One short lock orders everything: once a change of settings returned, no request is given out
//! by the settings before, and each one given out is in its server's sessions already.

use super::is_judged;
use super::server::{Server, Session};
use super::shares::{Candidate, choose};
use crate::host::wire::SettingBody;
use crate::model::effect::ServerSetting;
use crate::model::world::{Admin, ServerView};
use crate::model::{Name, ServerName, service};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::task::TaskTracker;

#[derive(Debug)]
struct Entry {
    server: Arc<Server>,
    setting: ServerSetting,
    /// What it is owed by the round robin.
    credit: i64,
}

impl Entry {
    fn new(server: &service::Server) -> Self {
        Self {
            server: Arc::new(Server::new(server.name.clone(), server.address)),
            setting: ServerSetting::OUT,
            credit: 0,
        }
    }

    fn stands_for(&self, server: &service::Server) -> bool {
        self.server.name == server.name && self.server.address == server.address
    }

    /// The weight it gets requests by.
    fn effective_weight(&self) -> u16 {
        if self.setting.admin == Admin::Ready && self.server.is_up() {
            self.setting.weight
        } else {
            0
        }
    }

    fn view(&self) -> ServerView {
        ServerView {
            admin: self.setting.admin,
            weight: self.setting.weight,
            up: self.setting.admin != Admin::Maintenance && self.server.is_up(),
            sessions: self.server.sessions(),
            counters: self.server.counters(),
        }
    }
}

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: Name,
    /// Connections to its servers, and upgraded ones.
    pub(super) tasks: TaskTracker,
    entries: Mutex<Vec<Entry>>,
}

impl Backend {
    pub(super) fn new(name: Name, tasks: TaskTracker) -> Self {
        Self {
            name,
            tasks,
            entries: Mutex::default(),
        }
    }

    /// The server that gets the next request, with the session that holds it; `None` when nobody
    /// can. Those in `tried` had this request already.
    pub(super) fn pick(&self, tried: &[Arc<Server>]) -> Option<Session> {
        let mut entries = self.lock();
        let may = |entry: &Entry| {
            let weight = entry.effective_weight();
            let is_new = !tried.iter().any(|one| Arc::ptr_eq(one, &entry.server));
            (weight > 0 && is_new).then_some(weight)
        };
        let candidates = entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| may(entry).map(|weight| Candidate { index, weight }));
        let choice = choose(candidates, |index| entries[index].credit)?;
        for entry in entries.iter_mut() {
            if let Some(weight) = may(entry) {
                entry.credit += i64::from(weight);
            }
        }
        let chosen = &mut entries[choice.index];
        chosen.credit -= choice.total;
        Some(Session::begin(&chosen.server))
    }

    /// Sets servers in order, all or none.
    ///
    /// # Errors
    /// The first server that does not exist.
    pub(super) fn set(&self, settings: &[SettingBody]) -> Result<(), ServerName> {
        let mut entries = self.lock();
        for one in settings {
            if !entries.iter().any(|entry| entry.server.name == one.server) {
                return Err(one.server.clone());
            }
        }
        for one in settings {
            let named = entries
                .iter_mut()
                .find(|entry| entry.server.name == one.server);
            if let Some(entry) = named {
                apply(entry, one.setting);
            }
        }
        // Credit was earned by the weights before.
        for entry in entries.iter_mut() {
            entry.credit = 0;
        }
        Ok(())
    }

    /// Whether the servers may become these.
    ///
    /// # Errors
    /// A server that would go while it may get requests.
    pub(super) fn check_change(&self, servers: &[service::Server]) -> Result<(), ServerName> {
        let entries = self.lock();
        let gone = entries
            .iter()
            .filter(|entry| !servers.iter().any(|server| entry.stands_for(server)));
        match gone
            .into_iter()
            .find(|entry| entry.setting.admin == Admin::Ready)
        {
            Some(entry) => Err(entry.server.name.clone()),
            None => Ok(()),
        }
    }

    /// Makes the servers these. Those that stay keep setting and counters.
    pub(super) fn change(&self, servers: &[service::Server]) {
        let mut entries = self.lock();
        let mut old = std::mem::take(&mut *entries);
        for server in servers {
            let kept = old.iter().position(|entry| entry.stands_for(server));
            entries.push(kept.map_or_else(|| Entry::new(server), |at| old.swap_remove(at)));
        }
    }

    /// What it is, and how its traffic is shared.
    pub(super) fn settings(&self) -> (Vec<service::Server>, Vec<SettingBody>) {
        let entries = self.lock();
        let both = entries.iter().map(|entry| {
            let name = entry.server.name.clone();
            let server = service::Server {
                name: name.clone(),
                address: entry.server.address,
                runtime: None,
            };
            let setting = SettingBody {
                server: name,
                setting: entry.setting,
            };
            (server, setting)
        });
        both.unzip()
    }

    /// How its servers stand.
    pub(super) fn views(&self) -> BTreeMap<ServerName, ServerView> {
        let entries = self.lock();
        entries
            .iter()
            .map(|entry| (entry.server.name.clone(), entry.view()))
            .collect()
    }

    /// Every server, and whether it is to be checked.
    pub(super) fn servers(&self) -> Vec<(Arc<Server>, bool)> {
        self.lock()
            .iter()
            .map(|entry| (Arc::clone(&entry.server), is_judged(entry.setting.admin)))
            .collect()
    }

    /// Closes every idle connection.
    pub(super) fn drop_idle(&self) {
        for entry in self.lock().iter() {
            entry.server.pool.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries
            .lock()
            .expect("invariant: nothing panics under a backend's lock")
    }
}

fn apply(entry: &mut Entry, setting: ServerSetting) {
    if setting.admin == Admin::Ready && entry.setting.admin != Admin::Ready {
        // It was not looked at while it got nothing; the first attempt to connect tells.
        entry.server.set_up(true);
    }
    if setting.admin != Admin::Ready {
        entry.server.pool.clear();
    }
    entry.setting = setting;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(settings: &[(&str, ServerSetting)]) -> Backend {
        let backend = Backend::new("shop".parse().expect("valid"), TaskTracker::new());
        let servers: Vec<service::Server> = settings
            .iter()
            .map(|(name, _)| service::Server {
                name: name.parse().expect("valid"),
                address: "127.0.0.1:1".parse().expect("valid"),
                runtime: None,
            })
            .collect();
        backend.change(&servers);
        set(&backend, settings);
        backend
    }

    fn set(backend: &Backend, settings: &[(&str, ServerSetting)]) {
        let settings: Vec<SettingBody> = settings
            .iter()
            .map(|(name, setting)| SettingBody {
                server: name.parse().expect("valid"),
                setting: *setting,
            })
            .collect();
        backend.set(&settings).expect("known servers");
    }

    fn picks(backend: &Backend, count: usize) -> BTreeMap<String, usize> {
        let mut by_server = BTreeMap::new();
        for _ in 0..count {
            let session = backend.pick(&[]).expect("somebody");
            *by_server
                .entry(session.server.name.to_string())
                .or_default() += 1;
        }
        by_server
    }

    #[test]
    fn only_servers_that_are_ready_up_and_weighted_get_requests() {
        let backend = backend(&[
            ("a", ServerSetting::ready(10)),
            ("b", ServerSetting::ready(10)),
            ("c", ServerSetting::ready(0)),
            (
                "d",
                ServerSetting {
                    admin: Admin::Drain,
                    weight: 10,
                },
            ),
        ]);
        assert_eq!(
            picks(&backend, 20),
            BTreeMap::from([("a".into(), 10), ("b".into(), 10)])
        );
        backend.servers()[0].0.set_up(false);
        assert_eq!(picks(&backend, 20), BTreeMap::from([("b".into(), 20)]));
        set(&backend, &[("b", ServerSetting::OUT)]);
        assert!(backend.pick(&[]).is_none());
    }

    #[test]
    fn a_request_is_in_the_sessions_from_the_pick_to_the_drop() {
        let backend = backend(&[("a", ServerSetting::ready(1))]);
        let sessions =
            |backend: &Backend| backend.views().values().next().map(|view| view.sessions);
        let session = backend.pick(&[]).expect("somebody");
        assert_eq!(sessions(&backend), Some(1));
        drop(session);
        assert_eq!(sessions(&backend), Some(0));
    }

    #[test]
    fn a_server_that_gets_requests_is_not_removed_and_one_that_stays_keeps_its_setting() {
        let backend = backend(&[("a", ServerSetting::ready(7)), ("b", ServerSetting::OUT)]);
        let (servers, _) = backend.settings();
        assert_eq!(
            backend.check_change(&servers[1..]),
            Err("a".parse().expect("valid"))
        );
        assert_eq!(backend.check_change(&servers[..1]), Ok(()));
        backend.change(&servers[..1]);
        let (_, settings) = backend.settings();
        assert_eq!(settings[0].setting, ServerSetting::ready(7));
        assert_eq!(settings.len(), 1);
    }

    #[test]
    fn settings_with_an_unknown_server_change_nothing() {
        let backend = backend(&[("a", ServerSetting::ready(7))]);
        let settings = [("a", 1), ("x", 1)].map(|(name, weight)| SettingBody {
            server: name.parse().expect("valid"),
            setting: ServerSetting::ready(weight),
        });
        assert_eq!(backend.set(&settings), Err("x".parse().expect("valid")));
        assert_eq!(backend.settings().1[0].setting.weight, 7);
    }
}
