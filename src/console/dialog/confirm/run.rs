//! What is asked of a run of a pipeline. The engine foretells nothing of it: the text is made from
//! the run as it was when the dialog opened, and made anew when the run has moved on.

use super::{Said, Seen};
use crate::console::pane::pipelines::mark;
use crate::link::wire::Request;
use crate::model::pipeline::RunResult;
use crate::model::{Clean, PipelineName, RunId, RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};
use crate::view::{PreviewLine, Snapshot, Tier};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAct {
    /// A new run.
    Begin {
        /// Of which pipeline; the only one there is when absent.
        pipeline: Option<PipelineName>,
        /// Of which branch; the pipeline's own when absent.
        branch: Option<Clean>,
    },
    /// The end of a run.
    Cancel {
        /// Which.
        run: RunNumber,
        /// The same one, by its identity.
        id: RunId,
    },
    /// That a stage begins which waits for a person.
    Confirm {
        /// Of which run.
        run: RunNumber,
        /// The same one, by its identity.
        id: RunId,
        /// Which stage.
        stage: StageName,
    },
}

impl RunAct {
    /// The verb as people type it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "run",
            Self::Cancel { .. } => "cancel",
            Self::Confirm { .. } => "confirm",
        }
    }

    pub(super) fn subject(&self) -> String {
        match self {
            Self::Begin { pipeline, .. } => name(pipeline.as_ref()),
            Self::Cancel { run, .. } => run.to_string(),
            Self::Confirm { run, stage, .. } => format!("{run} {stage}"),
        }
    }

    pub(super) fn request(&self) -> Request {
        match self.clone() {
            Self::Begin { pipeline, branch } => Request::TriggerPipeline {
                pipeline,
                branch,
                commit: None,
                environment: None,
                reason: None,
                request_id: None,
            },
            Self::Cancel { run, .. } => Request::CancelPipeline {
                id: run,
                reason: None,
            },
            Self::Confirm { run, stage, .. } => Request::ConfirmStage { id: run, stage },
        }
    }

    fn run<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a RunView> {
        let (Self::Cancel { run, id } | Self::Confirm { run, id, .. }) = self else {
            return None;
        };
        let same = |it: &&RunView| it.number == *run && it.id == *id;
        snapshot.runs.iter().find(same)
    }
}

fn name(pipeline: Option<&PipelineName>) -> String {
    pipeline.map_or_else(|| "the only pipeline".to_owned(), PipelineName::to_string)
}

/// What makes a text that was read wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Binds {
    result: Option<RunResult>,
    canceled: bool,
    /// Stages by name, status and attempts.
    stages: Vec<(StageName, String, u32)>,
}

impl Binds {
    fn of(act: &RunAct, run: Option<&RunView>) -> Self {
        let Some(run) = run else {
            return Self::default();
        };
        let bound = |stage: &&StageView| match act {
            RunAct::Begin { .. } => false,
            // A stage more or less that is ended is only another text; a rollout is not ended.
            RunAct::Cancel { .. } => stage.placement.is_some(),
            RunAct::Confirm { stage: name, .. } => stage.name == *name,
        };
        let stages = run.stages.iter().filter(bound);
        Self {
            result: run.result,
            canceled: run.canceled.is_some(),
            stages: stages
                .map(|stage| (stage.name.clone(), stage.status.clone(), stage.attempts))
                .collect(),
        }
    }
}

/// What is asked of a run, and what it would do.
#[derive(Debug, Clone, PartialEq)]
pub struct RunAsk {
    /// What is asked for.
    pub act: RunAct,
    text: Text,
    binds: Binds,
}

/// A dialog's words.
#[derive(Debug, Clone, PartialEq)]
struct Text {
    title: String,
    button: String,
    tier: Tier,
    lines: Vec<PreviewLine>,
    warnings: Vec<Clean>,
    refused: Option<String>,
}

impl RunAsk {
    /// For what the snapshot shows now.
    pub fn new(act: RunAct, snapshot: &Snapshot) -> Self {
        Self {
            text: text(&act, snapshot),
            binds: Binds::of(&act, act.run(snapshot)),
            act,
        }
    }

    /// The word that confirms it, where it takes one: an environment's name.
    pub fn environment(&self, snapshot: &Snapshot) -> String {
        let stage = self.stage(snapshot);
        let placement = stage.and_then(|stage| stage.placement.as_ref());
        placement.map_or_else(String::new, |placement| placement.environment.to_string())
    }

    fn stage<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a StageView> {
        let RunAct::Confirm { stage: name, .. } = &self.act else {
            return None;
        };
        let stages = &self.act.run(snapshot)?.stages;
        stages.iter().find(|stage| stage.name == *name)
    }

    pub(super) fn title(&self) -> String {
        self.text.title.clone()
    }

    pub(super) fn button(&self) -> String {
        self.text.button.clone()
    }

    pub(super) fn said(&self) -> Said<'_> {
        Said {
            lines: &self.text.lines,
            warnings: &self.text.warnings,
            refused: self.text.refused.clone(),
        }
    }

    pub(super) fn tier(&self) -> Option<Tier> {
        self.text.refused.is_none().then_some(self.text.tier)
    }

    pub(super) fn observe(&mut self, snapshot: &Snapshot) -> Seen {
        let run = self.act.run(snapshot);
        let binds = Binds::of(&self.act, run);
        let text = text(&self.act, snapshot);
        let same = text == self.text;
        let held = binds == self.binds && text.tier == self.text.tier;
        let held = held && text.refused == self.text.refused;
        (self.text, self.binds) = (text, binds);
        match (held, same) {
            (true, true) => Seen::Same,
            (true, false) => Seen::Text,
            (false, _) => Seen::Moved(moved(&self.act, run)),
        }
    }
}

fn moved(act: &RunAct, run: Option<&RunView>) -> String {
    let Some(run) = run else {
        return format!("{} is not there any more", act.subject());
    };
    let stage = match act {
        RunAct::Confirm { stage, .. } => run.stages.iter().find(|it| it.name == *stage),
        _ => run.foremost(),
    };
    match (run.result, stage) {
        (Some(result), _) => format!("{} {}", run.number, result.word()),
        (None, Some(stage)) => format!("{} {} is {} now", run.number, stage.name, stage.status),
        (None, None) => format!("{} has moved on", run.number),
    }
}

fn line(label: &str, text: &str) -> PreviewLine {
    PreviewLine {
        label: label.into(),
        text: Clean::new(text),
    }
}

fn text(act: &RunAct, snapshot: &Snapshot) -> Text {
    match (act, act.run(snapshot)) {
        (RunAct::Begin { pipeline, branch }, _) => {
            begin(pipeline.as_ref(), branch.as_ref(), snapshot)
        }
        (RunAct::Cancel { .. }, Some(run)) => cancel(run),
        (RunAct::Confirm { stage, .. }, Some(run)) => confirm(run, stage, snapshot),
        (_, None) => Text {
            title: format!("{} {}", act.word().to_uppercase(), act.subject()),
            button: act.word().to_owned(),
            tier: Tier::Two,
            lines: Vec::new(),
            warnings: Vec::new(),
            refused: Some(format!("there is no run {} any more", act.subject())),
        },
    }
}

fn begin(pipeline: Option<&PipelineName>, branch: Option<&Clean>, snapshot: &Snapshot) -> Text {
    let same = |run: &&RunView| pipeline.is_none_or(|name| run.pipeline == *name);
    // With several pipelines and no name nobody knows which one is meant.
    let mut known = snapshot.runs.iter().filter(same);
    let newest = known
        .next()
        .filter(|run| known.all(|it| it.pipeline == run.pipeline));
    let branch = branch.map_or_else(|| "its own branch".to_owned(), Clean::to_string);
    let mut lines = vec![
        line("Pipeline", &name(pipeline)),
        line(
            "This will",
            &format!("check out the newest commit of {branch}, then go from stage to stage"),
        ),
    ];
    match newest {
        None => lines.push(line("Stages", "not known here before its first run")),
        Some(run) => {
            let stages = names(run.stages.iter());
            lines.push(line("Stages", &format!("{stages} (as in {})", run.number)));
            let places = run
                .stages
                .iter()
                .filter_map(|stage| stage.placement.as_ref());
            let places: Vec<_> = places.map(ToString::to_string).collect();
            if !places.is_empty() {
                lines.push(line("Deploys to", &places.join(", ")));
            }
        }
    }
    lines.push(line(
        "Undo",
        "X cancels it; what it deployed is rolled back by R",
    ));
    Text {
        title: format!("RUN {} - {branch}", name(pipeline)),
        button: "Begin a run".to_owned(),
        tier: Tier::One,
        lines,
        warnings: Vec::new(),
        refused: None,
    }
}

fn names<'a>(stages: impl Iterator<Item = &'a StageView>) -> String {
    let names: Vec<_> = stages.map(|stage| stage.name.as_str()).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

fn cancel(run: &RunView) -> Text {
    let under_way = |stage: &&StageView| matches!(stage.status.as_str(), "running" | "resting");
    let ended = run.stages.iter().filter(under_way);
    let ended = ended.filter(|stage| stage.rollout.is_none());
    let ahead = |stage: &&StageView| matches!(stage.status.as_str(), "waiting" | "unknown");
    let ahead = run.stages.iter().filter(ahead);
    let mut lines = vec![
        line("Run", &format!("{}, by {}", mark::head(run), run.by)),
        line("This will", &format!("end under way: {}", names(ended))),
        line("", &format!("never begin: {}", names(ahead))),
    ];
    let rollouts = run.stages.iter().filter(under_way);
    for stage in rollouts {
        if let (Some(number), Some(placement)) = (stage.rollout, &stage.placement) {
            let said = format!("rollout {number} of {placement}; there A aborts it");
            lines.push(line("Goes on", &said));
        }
    }
    lines.push(line("Undo", "none; :pipeline run begins a new run"));
    let refused = match (run.result, &run.canceled) {
        (Some(result), _) => Some(format!("{} is over: {}", run.number, result.word())),
        (None, Some(by)) => Some(format!("{} is being canceled already: {by}", run.number)),
        (None, None) => None,
    };
    Text {
        title: format!("CANCEL {} of {} - {}", run.number, run.pipeline, run.branch),
        button: format!("End {}", run.number),
        tier: Tier::One,
        lines,
        warnings: Vec::new(),
        refused,
    }
}

fn confirm(run: &RunView, name: &StageName, snapshot: &Snapshot) -> Text {
    let stage = run.stages.iter().find(|stage| stage.name == *name);
    let place = stage.and_then(|stage| stage.placement.as_ref());
    let place_title = place.map_or_else(String::new, |place| {
        let environment = place.environment.as_str().to_uppercase();
        format!(" - {} {environment}", place.service)
    });
    let mut lines = vec![line("Run", &format!("{}, by {}", mark::head(run), run.by))];
    lines.extend(
        run.changed
            .as_ref()
            .map(|changed| line("Changed", changed.as_str())),
    );
    lines.extend(handed(run));
    lines.push(line(
        "This will",
        &match place {
            Some(place) => format!("let {name} begin: a rollout to {place}"),
            None => format!("let {name} begin"),
        },
    ));
    lines.push(line(
        "Undo",
        match place {
            Some(_) => "A aborts the rollout, traffic back to stable",
            None => "X cancels the run; what the stage did stays done",
        },
    ));
    let mut warnings = Vec::new();
    let unknown = stage.filter(|stage| stage.status == "unknown");
    if let Some(stage) = unknown {
        let why = stage.why.as_ref().map(Clean::as_str).unwrap_or_default();
        let said = format!("it may have been done already, in part or wholly: {why}");
        warnings.push(Clean::new(&said));
    }
    let refused = match (run.result, stage) {
        (Some(result), _) => Some(format!("{} is over: {}", run.number, result.word())),
        (None, None) => Some(format!("{} has no stage {name}", run.number)),
        (None, Some(stage)) if !stage.waits_for_person => Some(format!(
            "{name} of {} does not wait for a person: it is {}",
            run.number, stage.status
        )),
        (None, Some(_)) => None,
    };
    // Where nobody says what an environment is, it is taken for a protected one.
    let protected = place.is_some_and(|place| {
        let view = snapshot.placement(place);
        view.is_none_or(|view| view.protected)
    });
    Text {
        title: format!("CONFIRM {name} of {}{place_title}", run.number),
        button: format!("Begin {name}"),
        tier: if protected { Tier::Two } else { Tier::One },
        lines,
        warnings,
        refused,
    }
}

/// What earlier stages handed on that a deploy goes by, and how they went.
fn handed(run: &RunView) -> Vec<PreviewLine> {
    let value = |name: &str| {
        run.stages
            .iter()
            .rev()
            .find_map(|stage| stage.values.get(name))
    };
    let passed = run.stages.iter().filter(|stage| stage.status == "passed");
    let digest = value("digest").map(|digest| line("Digest", digest.as_str()));
    let image = value("image").map(|image| line("Image", image.as_str()));
    let passed = line("Passed", &names(passed));
    [image, digest, Some(passed)]
        .into_iter()
        .flatten()
        .collect()
}
