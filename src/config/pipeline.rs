//! Reads `[pipeline.*]`: from the checkout through stages to deploys, resolved as a run needs it.
//!
//! One file per question: `graph` what a stage needs, `scope` what may be filled in, `stage` one
//! stage, `work` and `deploy` what it does, `repository` where the commits are. Must not know how
//! any of it is done, nor whether a repository, image or address is there.

mod deploy;
mod external;
mod graph;
mod repository;
mod scope;
mod stage;
mod work;

use super::Placed;
use super::accepted::PIPELINE;
use super::defaults;
use super::errors::Problems;
use super::reader::{Located, Reader, parsed};
use super::tree::{Node, Value};
use super::world::EnvSettings;
use crate::model::pipeline::{PipelineSpec, StageSpec, WhenBusy};
use crate::model::{EnvName, PipelineName, Placement};
pub(super) use external::PROVIDERS;
use graph::Graph;
pub(super) use repository::{is_ref, project};
pub(super) use stage::environment;
use std::collections::BTreeMap;

/// Stages of one pipeline. More than anyone has; the rail and the plan look at each of them.
const STAGES_MAX: usize = 50;

/// What pipelines stand on: the rest of the configuration, resolved.
pub(super) struct Ground<'a> {
    /// The whole tree: what is written but faulty is not also reported as unknown.
    pub(super) root: &'a Node,
    pub(super) placements: &'a BTreeMap<Placement, Placed>,
    pub(super) environments: &'a BTreeMap<EnvName, EnvSettings>,
    pub(super) problems: &'a Problems<'a>,
}

impl Ground<'_> {
    /// Whether `[KEY.NAME]` is written, right or wrong.
    pub(super) fn is_written(&self, key: &str, name: &str) -> bool {
        let table = self.root.get(key);
        table.is_some_and(|table| table.get(name).is_some())
    }

    /// Whether every stage that is written became one.
    pub(super) fn is_whole(&self, pipeline: &PipelineSpec) -> bool {
        let table = self.root.get("pipeline");
        let node = table.and_then(|table| table.get(pipeline.name.as_str())?.get("stage"));
        let written = match node.map(|node| &node.value) {
            Some(Value::List(list)) => list.len(),
            _ => 0,
        };
        pipeline.stages.len() == written + 1
    }
}

/// Reads every pipeline.
pub(super) fn read(ground: &Ground<'_>) -> BTreeMap<PipelineName, PipelineSpec> {
    let Some(table) = ground.root.get("pipeline") else {
        return BTreeMap::new();
    };
    let entries = Reader::open(table, ground.problems);
    let pipelines = entries.entries().filter_map(|(key, place, node)| {
        let name = Located {
            value: key,
            place: place.clone(),
        };
        let name = parsed(&name, "choose another name", ground.problems)?;
        let spec = pipeline(ground, &name.value, node)?;
        Some((name.value, spec))
    });
    pipelines.collect()
}

fn pipeline(ground: &Ground<'_>, name: &PipelineName, node: &Node) -> Option<PipelineSpec> {
    let reader = Reader::new(node, &PIPELINE, ground.problems);
    node.table()?;
    let repository = repository::read(&reader, ground.problems);
    let stages = stages(ground, &reader);
    let busy = [("queue", WhenBusy::Queue), ("newest", WhenBusy::Newest)];
    Some(PipelineSpec {
        name: name.clone(),
        branch: repository::branch(&reader, ground.problems),
        stages,
        at_once: reader.integer_or("at_once", 1..=16, 1),
        when_busy: reader
            .word("when_busy", &busy)
            .map(|found| found.value)
            .unwrap_or_default(),
        repository: repository?,
    })
}

/// The stages in the order in which they are declared, the checkout before them.
fn stages(ground: &Ground<'_>, reader: &Reader<'_>) -> Vec<StageSpec> {
    const MEND: &str = "add a table [[pipeline.NAME.stage]] with name and command";
    if !reader.mentions("stage", &PIPELINE) {
        reader.missing("stage", MEND);
    }
    let Some(list) = reader.list("stage", MEND) else {
        return Vec::new();
    };
    if list.value.is_empty() {
        ground.problems.error(&list.place, "has no stage", MEND);
    }
    if let Some(over) = list.value.get(STAGES_MAX) {
        let what = format!("is one of more than {STAGES_MAX} stages");
        let mend = "join some, or make a pipeline of its own of them";
        ground.problems.error(&over.place, what, mend);
    }
    let kept = &list.value[..list.value.len().min(STAGES_MAX)];
    let mut graph = Graph::begin(defaults::checkout(), kept, ground.problems);
    for node in kept {
        stage::read(ground, &mut graph, node);
    }
    let stages = graph.finish();
    deploy::warn(ground, &stages);
    stages.into_iter().map(|stage| stage.spec).collect()
}
