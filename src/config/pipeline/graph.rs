//! What stages need: only those declared before them, so that no circle can be written. Must not
//! know what stages do.

use super::super::accepted::STAGE;
use super::super::defaults::CHECKOUT;
use super::super::errors::{Problems, quoted};
use super::super::reader::{Located, Reader, parsed, text};
use super::super::suggest;
use super::super::tree::{Node, Place, Value};
use crate::model::StageName;
use crate::model::pipeline::StageSpec;
use std::collections::BTreeSet;

/// A stage with where it is written.
pub(super) struct Stage {
    pub(super) spec: StageSpec,
    pub(super) place: Place,
    /// All that must be over before it, however far back.
    pub(super) behind: BTreeSet<StageName>,
}

/// What a stage needs.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) names: Vec<StageName>,
    /// Whether every name that is written is there.
    is_whole: bool,
}

impl Needs {
    fn whole(stage: Option<&Stage>) -> Self {
        let name = stage.map(|stage| stage.spec.name.clone());
        Self {
            names: name.into_iter().collect(),
            is_whole: true,
        }
    }
}

/// The stages so far.
pub(super) struct Graph<'a> {
    stages: Vec<Stage>,
    /// Names as written, right or wrong, of stages so far and of those to come.
    written: Vec<Option<&'a str>>,
    /// How many of them have been read.
    at: usize,
    problems: &'a Problems<'a>,
}

impl<'a> Graph<'a> {
    /// Before the first written stage.
    pub(super) fn begin(
        checkout: StageSpec,
        nodes: &'a [Node],
        problems: &'a Problems<'a>,
    ) -> Self {
        let name = |node: &'a Node| match &node.get("name")?.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        };
        Self {
            stages: vec![Stage {
                spec: checkout,
                place: Place::file(0),
                behind: BTreeSet::new(),
            }],
            written: nodes.iter().map(name).collect(),
            at: 0,
            problems,
        }
    }

    /// A stage so far.
    pub(super) fn stage(&self, name: &str) -> Option<&Stage> {
        let mut stages = self.stages.iter();
        stages.find(|stage| stage.spec.name.as_str() == name)
    }

    /// Whether a name is written on a stage that has not been read yet, or is being read.
    pub(super) fn comes_later(&self, name: &str) -> bool {
        self.written[self.at..].contains(&Some(name))
    }

    /// Whether a name is written on a stage whose faults have been told.
    pub(super) fn is_faulty(&self, name: &str) -> bool {
        self.stage(name).is_none() && self.written[..self.at].contains(&Some(name))
    }

    /// Takes in a stage; `None` where it is too faulty to be one.
    pub(super) fn add(&mut self, stage: Option<Stage>) {
        self.stages.extend(stage);
        self.at += 1;
    }

    /// All stages.
    pub(super) fn finish(self) -> Vec<Stage> {
        self.stages
    }

    /// A stage's name, its own.
    pub(super) fn name(&self, reader: &Reader<'_>) -> Option<Located<StageName>> {
        let problems = self.problems;
        if !reader.mentions("name", &STAGE) {
            reader.missing("name", "name it, e.g. name = \"test\"");
        }
        let name: Located<StageName> = reader.parsed("name", "choose another name")?;
        let text = name.value.as_str();
        if text == CHECKOUT {
            let what = "is the name of the stage that every pipeline begins with";
            problems.error(&name.place, what, "choose another name");
            return None;
        }
        if text.contains('.') {
            let what = format!(
                "{} holds a dot, and {{STAGE.VALUE}} has its own",
                quoted(text)
            );
            problems.error(&name.place, what, "use - or _ instead");
            return None;
        }
        if let Some(first) = self.stage(text) {
            let what = format!(
                "{} is the name of another stage ({})",
                quoted(text),
                problems.line_of(&first.place)
            );
            problems.error(&name.place, what, "choose another name");
            return None;
        }
        Some(name)
    }

    /// What a stage needs: as written, else the stage before it. Nothing written is the checkout.
    pub(super) fn needs(&self, reader: &Reader<'_>) -> Needs {
        const MEND: &str = "name stages before it, e.g. needs = [\"test\"]";
        if reader.node("needs").is_none() {
            return Needs::whole(self.stages.last());
        }
        let Some(list) = reader.list("needs", MEND) else {
            return Needs::default();
        };
        if list.value.is_empty() {
            return Needs::whole(self.stages.first());
        }
        let mut needs = Needs {
            names: Vec::new(),
            is_whole: true,
        };
        for node in list.value {
            match self.need(node) {
                Some(need) if needs.names.contains(&need.value) => {
                    let what = format!("{} is named twice", quoted(need.value.as_str()));
                    self.problems.error(&need.place, what, "name it once");
                }
                Some(need) => needs.names.push(need.value),
                None => needs.is_whole = false,
            }
        }
        needs
    }

    fn need(&self, node: &Node) -> Option<Located<StageName>> {
        let written = text(node, self.problems)?;
        let name = written.value;
        if self.stage(name).is_some() {
            return parsed(&written, "choose another name", self.problems);
        }
        if self.comes_later(name) {
            let what = match self.written[self.at] == Some(name) {
                true => "names the stage itself".to_owned(),
                false => format!("{} is declared after this stage", quoted(name)),
            };
            let mend = "name stages before it, or move that one up: nothing runs in a circle";
            self.problems.error(&written.place, what, mend);
        } else if !self.is_faulty(name) {
            let known = self.stages.iter().map(|stage| stage.spec.name.as_str());
            let what = format!("{} is no stage of this pipeline", quoted(name));
            let mend = suggest::mend(name, known);
            self.problems.error(&written.place, what, mend);
        }
        None
    }

    /// All that must be over before a stage with these needs. Where one of them is faulty, it may
    /// be anything so far: what follows from a fault is not told as another.
    pub(super) fn behind(&self, needs: &Needs) -> BTreeSet<StageName> {
        if !needs.is_whole {
            let all = self.stages.iter().map(|stage| stage.spec.name.clone());
            return all.collect();
        }
        let names = &needs.names;
        let further = names.iter().filter_map(|name| self.stage(name.as_str()));
        let further = further.flat_map(|stage| stage.behind.iter());
        further.chain(names).cloned().collect()
    }
}
