//! Who may do what: two roles, granted to users and groups by name.
//!
//! Must not know how a name is found; whoever asks brings the [`Identity`].

use super::Clean;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What somebody may do. An operator may do everything a viewer may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything, change nothing.
    Viewer,
    /// Ask for everything.
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

/// Who somebody is by the machine's own account books, never by their own word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Their user id.
    pub uid: u32,
    /// Their account's name; `None` for a uid without an account.
    pub user: Option<String>,
    /// The names of all their groups, the primary one too.
    pub groups: BTreeSet<String>,
}

/// To whom one role is granted. Empty lists grant it to nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// User names.
    pub users: BTreeSet<String>,
    /// Group names.
    pub groups: BTreeSet<String>,
}

impl Grant {
    fn covers(&self, who: &Identity) -> bool {
        let by_name = who
            .user
            .as_ref()
            .is_some_and(|user| self.users.contains(user));
        by_name || !self.groups.is_disjoint(&who.groups)
    }
}

impl fmt::Display for Grant {
    /// "group deploy, user ada", for people who look for somebody to ask; "nobody" when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.iter().map(|group| format!("group {group}"));
        let users = self.users.iter().map(|user| format!("user {user}"));
        let all: Vec<_> = groups.chain(users).collect();
        match all.is_empty() {
            true => f.write_str("nobody"),
            false => f.write_str(&all.join(", ")),
        }
    }
}

/// All grants of a system engine. Whoever is not named may do nothing, with one exception:
/// root, who could take on any name, is an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// Who may look.
    pub viewer: Grant,
    /// Who may act.
    pub operator: Grant,
}

impl Roles {
    /// What somebody may do; `None` when not even look.
    pub fn role_of(&self, who: &Identity) -> Option<Role> {
        if who.uid == ROOT || self.operator.covers(who) {
            return Some(Role::Operator);
        }
        self.viewer.covers(who).then_some(Role::Viewer)
    }

    /// Why somebody who may only look was refused, and whom to ask.
    pub fn who_may(&self, verb: &str) -> Clean {
        Clean::new(&format!(
            "a viewer may look, not {verb}; operators here are {}, root: ask one of them",
            self.operator
        ))
    }
}

/// The superuser.
const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn who(uid: u32, user: &str, groups: &[&str]) -> Identity {
        Identity {
            uid,
            user: Some(user.to_owned()),
            groups: names(groups),
        }
    }

    #[test]
    fn nobody_may_anything_unless_named_and_the_wider_role_wins() {
        let nobody = Roles::default();
        assert_eq!(nobody.role_of(&who(1000, "ada", &["ada"])), None);
        assert_eq!(nobody.role_of(&who(0, "root", &[])), Some(Role::Operator));
        let roles = Roles {
            viewer: Grant {
                users: names(&["bob"]),
                groups: names(&["staff"]),
            },
            operator: Grant {
                users: names(&["ada"]),
                groups: names(&["deploy"]),
            },
        };
        let table = [
            (who(1, "ada", &["staff"]), Some(Role::Operator)),
            (who(2, "eve", &["deploy"]), Some(Role::Operator)),
            (who(3, "bob", &[]), Some(Role::Viewer)),
            (who(4, "joe", &["staff"]), Some(Role::Viewer)),
            (who(5, "deploy", &["bob"]), None),
            (who(6, "Ada", &["Deploy"]), None),
        ];
        for (who, role) in table {
            assert_eq!(roles.role_of(&who), role, "{who:?}");
        }
        let nameless = Identity {
            uid: 7,
            ..Identity::default()
        };
        assert_eq!(roles.role_of(&nameless), None);
        let told = roles.who_may("abort");
        assert!(
            told.as_str().contains("group deploy, user ada, root"),
            "{told}"
        );
    }
}
