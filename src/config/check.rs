//! Judges placements against each other: no two may use the same address or the same backend.

use super::errors::Problems;
use super::tree::Place;
use crate::model::service::Backend;
use crate::model::{Clean, Placement};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// An address that somebody uses.
pub(super) struct Claim {
    pub(super) address: SocketAddr,
    pub(super) by: Placement,
    /// What it is for, e.g. `server s1`.
    pub(super) what: String,
    pub(super) place: Place,
}

/// A backend that somebody uses.
pub(super) struct BackendClaim {
    pub(super) backend: Backend,
    pub(super) by: Placement,
    pub(super) place: Place,
}

/// Reports each address that is used twice. An address that listens on all interfaces uses its
/// port on every one.
pub(super) fn addresses(claims: &[Claim], problems: &Problems<'_>) {
    let mut by_port: BTreeMap<u16, Vec<&Claim>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for claim in claims {
        let earlier = by_port.entry(claim.address.port()).or_default();
        let first = earlier.iter().find(|first| overlap(first, claim));
        // Servers derived from one `listen` clash in a row; the first one says it.
        if let Some(first) = first
            && told.insert((&claim.by, &first.by, claim.place.file, claim.place.offset))
        {
            let what = format!(
                "{} of {} would use {}, which is {} of {} ({})",
                claim.what,
                claim.by,
                claim.address,
                first.what,
                first.by,
                problems.line_of(&first.place),
            );
            let mend =
                "give each its own port; servers derived from listen take the ports after it";
            problems.error(&claim.place, what, mend);
        }
        earlier.push(claim);
    }
}

fn overlap(a: &Claim, b: &Claim) -> bool {
    let (a, b) = (a.address.ip(), b.address.ip());
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// Reports each backend that two placements would steer.
pub(super) fn backends(claims: &[BackendClaim], problems: &Problems<'_>) {
    let mut seen: BTreeMap<&Backend, &BackendClaim> = BTreeMap::new();
    for claim in claims {
        if let Some(first) = seen.get(&claim.backend) {
            let what = format!(
                "{} would steer backend {} of balancer {}, which {} steers already ({})",
                claim.by,
                claim.backend.backend,
                claim.backend.balancer,
                first.by,
                problems.line_of(&first.place),
            );
            let mend = "set backend under [service.NAME.env.ENV] so that each has its own";
            problems.error(&claim.place, Clean::new(&what).into_string(), mend);
        }
        seen.entry(&claim.backend).or_insert(claim);
    }
}
