//! Reads `[roles]`: who may look at a system engine and who may act. Must not know whether these
//! users and groups exist; the name service may learn of them later.

use super::accepted::{GRANT, ROLES};
use super::errors::{Problems, quoted};
use super::reader::{Reader, text};
use super::tree::Node;
use crate::model::{Grant, Roles};
use std::collections::BTreeSet;

/// Longest name of a user or group, in bytes: what `useradd` takes, and room for a directory's
/// longer ones.
const NAME_MAX: usize = 256;

/// Who may use a system engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// By role.
    pub roles: Roles,
    /// The group that may open the socket at all; the engine's own when absent.
    pub socket_group: Option<String>,
}

/// Reads the table.
pub(super) fn read(node: &Node, problems: &Problems<'_>) -> Access {
    let reader = Reader::new(node, &ROLES, problems);
    let granted = |key| reader.node(key).map(|node| grant(node, problems));
    Access {
        roles: Roles {
            viewer: granted("viewer").unwrap_or_default(),
            operator: granted("operator").unwrap_or_default(),
        },
        socket_group: reader
            .node("socket_group")
            .and_then(|node| name(node, problems)),
    }
}

fn grant(node: &Node, problems: &Problems<'_>) -> Grant {
    let reader = Reader::new(node, &GRANT, problems);
    let names = |key| -> BTreeSet<String> {
        let mend = "write a list of names, e.g. [\"deploy\"]";
        let list = reader.list(key, mend);
        list.map_or(&[][..], |list| list.value)
            .iter()
            .filter_map(|node| name(node, problems))
            .collect()
    };
    Grant {
        users: names("users"),
        groups: names("groups"),
    }
}

fn name(node: &Node, problems: &Problems<'_>) -> Option<String> {
    let found = text(node, problems)?;
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ':' | ',');
    if found.value.is_empty() || found.value.len() > NAME_MAX || !found.value.chars().all(fits) {
        let what = format!("{} is no name of a user or group", quoted(found.value));
        let mend = "write the name as `id` shows it, without spaces, commas and colons";
        problems.error(&found.place, what, mend);
        return None;
    }
    Some(found.value.to_owned())
}
