//! Reads a deploy stage: which service goes where, by which version and digest, and whether a
//! person must let it begin.

use super::super::errors::quoted;
use super::super::reader::{Located, Reader, parsed};
use super::super::{defaults, suggest};
use super::Ground;
use super::graph::Stage;
use super::scope::{Braces, Scope, sample};
use super::work::image_name;
use crate::model::pipeline::{DeployWork, StageWork};
use crate::model::placeholder::{OWN, names};
use crate::model::{Placement, ServiceSpec, StageName, Version};

/// Reads a deploy.
pub(super) fn read(
    ground: &Ground<'_>,
    scope: &Scope<'_>,
    reader: &Reader<'_>,
) -> Option<DeployWork> {
    let version = version(scope, reader);
    let digest = reader.text("digest");
    if let Some(digest) = &digest {
        judge_digest(scope, digest);
    }
    let placement = reader.text("deploy");
    let spec = placement.as_ref().and_then(|text| spec(ground, text))?;
    if let (Some(digest), None) = (&digest, &spec.workload.container) {
        let what = format!("means nothing here: {} is no container", spec.placement);
        let mend = "take it out, or run the service from an image";
        ground.problems.error(&digest.place, what, mend);
    }
    let confirm = reader.flag("confirm", spec.protected);
    if spec.protected && !confirm {
        let what = format!("lets anybody who may push deploy to {}", spec.placement);
        let mend = "take confirm out: then a person lets it begin";
        let place = reader
            .node("confirm")
            .map_or(reader.place(), |it| &it.place);
        ground.problems.warning(place, what, mend);
    }
    Some(DeployWork {
        spec: spec.clone(),
        version: version.to_owned(),
        digest: digest.map(|digest| digest.value.to_owned()),
        confirm,
    })
}

/// The service where it goes, as resolved, with its parts.
fn spec<'a>(ground: &'a Ground<'_>, text: &Located<&str>) -> Option<&'a ServiceSpec> {
    const MEND: &str = "write SERVICE@ENVIRONMENT, e.g. deploy = \"shop@staging\"";
    if !text.value.contains('@') {
        let what = format!("{} names no environment", quoted(text.value));
        ground.problems.error(&text.place, what, MEND);
        return None;
    }
    let placement: Located<Placement> = parsed(text, MEND, ground.problems)?;
    let Some(placed) = ground.placements.get(&placement.value) else {
        unknown(ground, &placement);
        return None;
    };
    if let Some(lead) = placed.spec.lead() {
        let what = format!("{} moves with {lead}", placement.value);
        let mend = format!("deploy {}", quoted(&lead.to_string()));
        ground.problems.error(&text.place, what, mend);
    }
    Some(&placed.spec)
}

/// A placement that is not configured; one whose faults have been told is not told again.
fn unknown(ground: &Ground<'_>, placement: &Located<Placement>) {
    let wanted = &placement.value;
    let service = &wanted.service;
    let homes = ground.placements.keys().filter(|it| it.service == *service);
    let homes: Vec<String> = homes.map(Placement::to_string).collect();
    if homes.is_empty() && ground.is_written("service", service.as_str()) {
        return;
    }
    let all: Vec<String> = ground.placements.keys().map(Placement::to_string).collect();
    let known = if homes.is_empty() { &all } else { &homes };
    let what = format!("{} is not configured", quoted(&wanted.to_string()));
    let mend = suggest::mend(&wanted.to_string(), known.iter().map(String::as_str));
    ground.problems.error(&placement.place, what, mend);
}

/// What the version will be called, as far as that can be judged.
fn version<'a>(scope: &Scope<'_>, reader: &Reader<'a>) -> &'a str {
    let Some(text) = reader.text("version") else {
        return defaults::STAGE_VERSION;
    };
    if !scope.text(&text, Braces::Refused) {
        return text.value;
    }
    let filled = sample(text.value);
    if let Err(error) = filled.parse::<Version>() {
        let mend = "write e.g. \"{short}\" or \"1.4.{short}\"";
        let what = error.to_string();
        scope.problems.error(&text.place, what, mend);
    }
    text.value
}

/// A digest: written out, or one that a stage hands on.
fn judge_digest(scope: &Scope<'_>, text: &Located<&str>) {
    const MEND: &str = "write what a push hands on, e.g. digest = \"{push.digest}\"";
    if !scope.text(text, Braces::Refused) {
        return;
    }
    let named = names(text.value);
    let what = match named.as_slice() {
        [] if is_digest(text.value) => return,
        [name] if text.value == format!("{{{name}}}") => {
            if scope.may_be_digest(name) {
                return;
            }
            format!("{{{name}}} is no manifest's digest")
        }
        _ => format!("{} is no digest", quoted(text.value)),
    };
    scope.problems.error(&text.place, what, MEND);
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Warns of deploys of an image that this pipeline pushes: where it is not pushed under the tag
/// that is deployed, and where production takes it by a tag that may have moved since it was
/// proved.
pub(super) fn warn(ground: &Ground<'_>, stages: &[Stage]) {
    for stage in stages {
        let StageWork::Deploy(work) = &stage.spec.work else {
            continue;
        };
        let container = work.spec.workload.container.as_ref();
        let Some(deployed) = container.map(|it| it.image.as_str()) else {
            continue;
        };
        let Some((name, image)) = pushed(stages, stage, deployed) else {
            continue;
        };
        warn_of_tag(ground, stage, work, (name, image), deployed);
        if work.spec.protected && work.digest.is_none() {
            let what = format!(
                "{} gets whatever the tag is by then; production should deploy the digest that \
                 staging proved",
                work.spec.placement
            );
            let mend = format!("digest = \"{{{name}.digest}}\"");
            let place = stage.place.of_key("digest");
            ground.problems.warning(&place, what, mend);
        }
    }
}

/// Warns where the tag that is deployed is not the one that is pushed, as far as both are known:
/// nobody pushes it then, or somebody else does.
fn warn_of_tag(
    ground: &Ground<'_>,
    stage: &Stage,
    work: &DeployWork,
    (name, pushed): (&StageName, &str),
    deployed: &str,
) {
    let deployed = deployed.replace("{version}", &work.version);
    let is_known = |text: &str| names(text).iter().all(|name| OWN.contains(name));
    if deployed == pushed || !is_known(&deployed) || !is_known(pushed) {
        return;
    }
    let what = format!(
        "makes the image {}, but {name} pushes {}",
        quoted(&deployed),
        quoted(pushed)
    );
    let mend = "push it under the tag that the service's image has with this version";
    let place = stage.place.of_key("version");
    ground.problems.warning(&place, what, mend);
}

/// The stage before this one that pushes an image of the same name, and what it pushes.
fn pushed<'a>(
    stages: &'a [Stage],
    before: &Stage,
    image: &str,
) -> Option<(&'a StageName, &'a str)> {
    let behind = stages
        .iter()
        .filter(|stage| before.behind.contains(&stage.spec.name));
    let mut pushes = behind.filter_map(|stage| match &stage.spec.work {
        StageWork::Push { image } => Some((&stage.spec.name, built(stages, image))),
        _ => None,
    });
    pushes.find(|(_, pushed)| image_name(pushed) == image_name(image))
}

/// The image that `{STAGE.image}` stands for, where a text is just that.
fn built<'a>(stages: &'a [Stage], text: &'a str) -> &'a str {
    let named = text
        .strip_prefix('{')
        .and_then(|it| it.strip_suffix(".image}"));
    let of = |stage: &&Stage| Some(stage.spec.name.as_str()) == named;
    match stages.iter().find(of).map(|stage| &stage.spec.work) {
        Some(StageWork::Build(work)) => &work.image,
        _ => text,
    }
}
