//! Joins services with their parts: `part_of` under a service names the one that it is deployed
//! with. Judges what that asks of both.

use super::errors::{Problems, quoted};
use super::reader::Located;
use super::suggest;
use super::{Config, Placed};
use crate::model::strategy::Strategy;
use crate::model::{Placement, ServiceName, ServiceSpec};
use std::collections::BTreeMap;

/// What a placement says it is a part of, and where that is written.
pub(super) type Claims = Vec<(Placement, Located<ServiceName>)>;

/// Gives every service its parts, in the order of their names.
pub(super) fn join(config: &mut Config, claims: &Claims, problems: &Problems<'_>) {
    for (placement, lead) in claims {
        check(&config.placements, placement, lead, claims, problems);
    }
    let parts: Vec<ServiceSpec> = claims
        .iter()
        .filter_map(|(placement, _)| Some(config.placements.get(placement)?.spec.clone()))
        .collect();
    for part in parts {
        let lead = part
            .lead()
            .and_then(|lead| config.placements.get_mut(&lead));
        if let Some(lead) = lead {
            lead.spec.parts.push(part);
        }
    }
}

fn check(
    placements: &BTreeMap<Placement, Placed>,
    placement: &Placement,
    lead: &Located<ServiceName>,
    claims: &Claims,
    problems: &Problems<'_>,
) {
    let at = Placement {
        service: lead.value.clone(),
        ..placement.clone()
    };
    let place = &lead.place;
    if at == *placement {
        let what = "names the service itself";
        return problems.error(place, what, "name the service that it is deployed with");
    }
    let Some(leading) = placements.get(&at) else {
        let what = format!(
            "names {}, which {} does not have",
            quoted(lead.value.as_str()),
            at.environment
        );
        let known = placements
            .keys()
            .filter(|other| other.environment == at.environment);
        let known = known.map(|other| other.service.as_str());
        let mend = suggest::mend(lead.value.as_str(), known);
        return problems.error(place, what, mend);
    };
    if let Some((_, further)) = claims.iter().find(|(other, _)| *other == at) {
        let what = format!(
            "names {}, itself a part of {}",
            quoted(lead.value.as_str()),
            further.value
        );
        let mend = format!("name {}: it moves all its parts", further.value);
        return problems.error(place, what, mend);
    }
    if leading.spec.parts.len() >= PARTS_MAX {
        let mend = "make the others services of their own";
        problems.error(
            place,
            format!("is one of more than {PARTS_MAX} parts"),
            mend,
        );
    }
    let Some(part) = placements.get(placement) else {
        return;
    };
    if part.spec.has_traffic() || part.spec.strategy.stands_beside() {
        let what = format!(
            "makes it move with {}, but a part has no requests of its own",
            lead.value
        );
        let mend = "set traffic = \"none\" and strategy = \"rolling\" or \"recreate\", \
                    or take part_of out and deploy it by itself";
        problems.error(place, what, mend);
    }
    if let Strategy::Rolling(rolling) = &part.spec.strategy
        && rolling.pause_after_first
    {
        let what = format!("waits for a person, but it moves with {}", lead.value);
        let mend = format!(
            "set rolling.pause_after_first = false here, and let a step of {} pause",
            lead.value
        );
        problems.error(place, what, mend);
    }
}

/// More parts than anyone has; each is one more rollout.
const PARTS_MAX: usize = 16;
