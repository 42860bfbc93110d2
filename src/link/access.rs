//! Who may do what over the socket: from the kernel's word on a caller to a role.
//!
//! The caller is never asked. Its uid comes from the kernel, its name and groups from the
//! machine's account books (the name service, so LDAP too), looked up anew for every request: a
//! person taken out of a group loses what the group gave at their next one. While the account
//! books do not answer, what only makes the world safer goes by the last known answer.
//!
//! Must not know what a request does.

use super::peer::{Peer, own_uid};
use crate::model::{Actor, Clean, Identity, Role, Roles};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How long the account books have for one answer.
const LOOKUP: Duration = Duration::from_secs(1);

/// Lookups under way at a time: each holds a thread, for as long as a dead LDAP server likes.
const LOOKUPS_MAX: usize = 16;

/// Uids whose last role is remembered; more people than a team has are a fault.
const REMEMBERED_MAX: usize = 1024;

/// Longest user name that is shown.
const USER_CHARS_MAX: usize = 64;

/// Where names and groups of a uid are looked up. Blocks; called off the async threads.
pub trait AccountBook: Send + Sync + fmt::Debug + 'static {
    /// Who has this uid. A uid without an account is an identity without name and groups.
    ///
    /// # Errors
    /// When the books cannot be read; nothing is known then.
    fn find(&self, uid: u32) -> io::Result<Identity>;

    /// Who has this uid, where no book need be opened. Must not block.
    fn by_heart(&self, uid: u32) -> Option<Identity> {
        let _ = uid;
        None
    }
}

/// The machine's own account books, as `id UID` shows them.
#[derive(Debug, Clone, Copy)]
pub struct MachineAccounts;

impl AccountBook for MachineAccounts {
    /// The superuser's role hangs on no name, so it must not hang on a name service.
    fn by_heart(&self, uid: u32) -> Option<Identity> {
        (uid == 0).then(|| Identity {
            uid,
            user: Some("root".to_owned()),
            groups: BTreeSet::new(),
        })
    }

    fn find(&self, uid: u32) -> io::Result<Identity> {
        let Some(user) = uzers::get_user_by_uid(uid) else {
            return Ok(Identity {
                uid,
                ..Identity::default()
            });
        };
        let text = |name: &std::ffi::OsStr| name.to_str().map(str::to_owned);
        let groups = uzers::get_user_groups(user.name(), user.primary_group_id())
            .ok_or_else(|| io::Error::other("the groups of the caller cannot be read"))?;
        Ok(Identity {
            uid,
            user: text(user.name()),
            groups: groups
                .iter()
                .filter_map(|group| text(group.name()))
                .collect(),
        })
    }
}

/// Whether a request may go by the last known answer while the account books are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It only makes the world safer: abort and hold.
    Urgent,
    /// Everything else.
    Ordinary,
}

/// Why somebody has no role now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    /// Nothing grants them one.
    Stranger,
    /// It cannot be found out.
    Unknown {
        /// Why, with the mend.
        why: Clean,
    },
}

/// The rule by which callers are let in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access(Rule);

#[derive(Debug, Clone)]
enum Rule {
    /// These uids are operators, nobody else may even look.
    Uids(BTreeSet<u32>),
    /// By name.
    Roles(Arc<ByName>),
}

#[derive(Debug)]
struct ByName {
    roles: watch::Receiver<Roles>,
    book: Arc<dyn AccountBook>,
    lookups: Arc<Semaphore>,
    /// The last answer of the books by uid.
    remembered: Mutex<BTreeMap<u32, Identity>>,
}

impl Access {
    /// A personal engine's: its own user and nobody else.
    pub fn personal() -> Self {
        Self::only(BTreeSet::from([own_uid()]))
    }

    /// These users and nobody else.
    pub fn only(uids: BTreeSet<u32>) -> Self {
        Self(Rule::Uids(uids))
    }

    /// A system engine's: by the newest roles, and what the books say of the caller at that
    /// moment.
    pub fn by_name(roles: watch::Receiver<Roles>, book: Arc<dyn AccountBook>) -> Self {
        Self(Rule::Roles(Arc::new(ByName {
            roles,
            book,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            remembered: Mutex::default(),
        })))
    }

    /// What a caller may do now.
    pub(super) async fn role(&self, peer: Peer, urgency: Urgency) -> Result<Role, Denial> {
        let by_name = match &self.0 {
            Rule::Uids(uids) if uids.contains(&peer.uid) => return Ok(Role::Operator),
            Rule::Uids(_) => return Err(Denial::Stranger),
            Rule::Roles(by_name) => by_name,
        };
        let who = match (by_name.find(peer.uid).await, urgency) {
            (Ok(who), _) => who,
            (Err(denial), Urgency::Ordinary) => return Err(denial),
            (Err(denial), Urgency::Urgent) => by_name.remembered(peer.uid).ok_or(denial)?,
        };
        let role = by_name.roles.borrow().role_of(&who);
        role.ok_or(Denial::Stranger)
    }

    /// The caller as a person, with the name the books gave them.
    pub(super) async fn person(&self, peer: Peer) -> Actor {
        let known = match &self.0 {
            Rule::Uids(_) => None,
            Rule::Roles(by_name) => by_name.remembered(peer.uid).and_then(|who| who.user),
        };
        match known {
            Some(user) => Actor::Person {
                uid: peer.uid,
                user: Clean::line(&user, USER_CHARS_MAX),
            },
            None => peer.person().await,
        }
    }

    /// Why a viewer may not do this, and who may.
    pub(super) fn who_may(&self, verb: &str) -> Clean {
        match &self.0 {
            Rule::Uids(_) => Clean::new(&format!("only this engine's own user may {verb}")),
            Rule::Roles(by_name) => by_name.roles.borrow().who_may(verb),
        }
    }
}

impl ByName {
    async fn find(&self, uid: u32) -> Result<Identity, Denial> {
        if let Some(who) = self.book.by_heart(uid) {
            return Ok(self.remember(uid, who));
        }
        let looked = timeout(LOOKUP, async {
            let permit = Arc::clone(&self.lookups).acquire_owned().await;
            let book = Arc::clone(&self.book);
            let job = tokio::task::spawn_blocking(move || {
                // Given back only when the books let go of the thread.
                let _permit = permit;
                book.find(uid)
            });
            job.await
        });
        match looked.await {
            Ok(Ok(Ok(who))) => Ok(self.remember(uid, who)),
            Ok(Ok(Err(error))) => Err(silent(&error)),
            Ok(Err(error)) => Err(silent(&error)),
            Err(_) => Err(silent(&format!("no answer within {LOOKUP:?}"))),
        }
    }

    fn remember(&self, uid: u32, who: Identity) -> Identity {
        let mut all = self.lock();
        if all.len() < REMEMBERED_MAX || all.contains_key(&uid) {
            all.insert(uid, who.clone());
        }
        who
    }

    fn remembered(&self, uid: u32) -> Option<Identity> {
        self.lock().get(&uid).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Identity>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent(why: &impl fmt::Display) -> Denial {
    Denial::Unknown {
        why: Clean::new(&format!(
            "the machine's account books do not say who you are ({why}): see its name service; \
             abort and hold go by their last answer meanwhile"
        )),
    }
}

#[cfg(test)]
mod tests;
