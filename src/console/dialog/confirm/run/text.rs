//! The words of dialogs about runs: what would happen, and why it cannot.

use super::{RunAct, name};
use crate::console::pane::pipelines::mark;
use crate::model::{Clean, PipelineName, Placement, StageName};
use crate::view::pipeline::{RunView, StageView};
use crate::view::{PreviewLine, Snapshot, Tier};

/// A dialog's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) title: String,
    pub(super) button: String,
    pub(super) tier: Tier,
    pub(super) lines: Vec<PreviewLine>,
    pub(super) warnings: Vec<Clean>,
    pub(super) refused: Option<String>,
}

fn line(label: &str, text: &str) -> PreviewLine {
    PreviewLine {
        label: label.into(),
        text: Clean::new(text),
    }
}

/// The words for what is asked, by what the snapshot shows.
pub(super) fn text(act: &RunAct, snapshot: &Snapshot) -> Text {
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
    let newest = known.next();
    let newest = newest.filter(|run| known.all(|it| it.pipeline == run.pipeline));
    let branch = branch.map_or_else(|| "its own branch".to_owned(), Clean::to_string);
    let does = format!("check out the newest commit of {branch}, then go from stage to stage");
    let front = [line("Pipeline", &name(pipeline)), line("This will", &does)];
    let undo = line("Undo", "X cancels it; what it deployed is rolled back by R");
    Text {
        title: format!("RUN {} - {branch}", name(pipeline)),
        button: "Begin a run".to_owned(),
        tier: Tier::One,
        lines: front.into_iter().chain(way(newest)).chain([undo]).collect(),
        warnings: Vec::new(),
        refused: None,
    }
}

/// Which way a new run goes, as far as an earlier one tells.
fn way(newest: Option<&RunView>) -> Vec<PreviewLine> {
    let Some(run) = newest else {
        return vec![line("Stages", "not known here before its first run")];
    };
    let stages = names(run.stages.iter());
    let mut lines = vec![line("Stages", &format!("{stages} (as in {})", run.number))];
    let places = run
        .stages
        .iter()
        .filter_map(|stage| stage.placement.as_ref());
    let places: Vec<_> = places.map(ToString::to_string).collect();
    if !places.is_empty() {
        lines.push(line("Deploys to", &places.join(", ")));
    }
    lines
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
    let ended = match ended.clone().next() {
        Some(_) => format!("end {}, under way", names(ended)),
        None => format!("end {}; none of its stages is ended half-way", run.number),
    };
    let mut lines = vec![
        line("Run", &format!("{}, by {}", mark::head(run), run.by)),
        line("This will", &ended),
    ];
    if ahead.clone().next().is_some() {
        lines.push(line("", &format!("not begin {}", names(ahead))));
    }
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
    // Where nobody says what an environment is, it is taken for a protected one.
    let protected = place.is_some_and(|place| {
        let view = snapshot.placement(place);
        view.is_none_or(|view| view.protected)
    });
    Text {
        title: format!("CONFIRM {name} of {}{place_title}", run.number),
        button: format!("Begin {name}"),
        tier: if protected { Tier::Two } else { Tier::One },
        lines: confirm_lines(run, name, place),
        warnings: stage.and_then(doubt).into_iter().collect(),
        refused: cannot_confirm(run, name, stage),
    }
}

fn confirm_lines(run: &RunView, name: &StageName, place: Option<&Placement>) -> Vec<PreviewLine> {
    let head = format!("{}, by {}", mark::head(run), run.by);
    let changed = run.changed.as_ref();
    let changed = changed.map(|changed| line("Changed", changed.as_str()));
    let (does, undo) = match place {
        Some(place) => (
            format!("let {name} begin: a rollout to {place}"),
            "A aborts the rollout, traffic back to stable",
        ),
        None => (
            format!("let {name} begin"),
            "X cancels the run; what the stage did stays done",
        ),
    };
    let front = [line("Run", &head)].into_iter().chain(changed);
    let rest = [line("This will", &does), line("Undo", undo)];
    front.chain(handed(run)).chain(rest).collect()
}

/// What is not known of a stage that would begin once more.
fn doubt(stage: &StageView) -> Option<Clean> {
    let why = stage.why.as_ref().map(Clean::as_str).unwrap_or_default();
    let said = format!("it may have been done already, in part or wholly: {why}");
    (stage.status == "unknown").then(|| Clean::new(&said))
}

fn cannot_confirm(run: &RunView, name: &StageName, stage: Option<&StageView>) -> Option<String> {
    match (run.result, stage) {
        (Some(result), _) => Some(format!("{} is over: {}", run.number, result.word())),
        (None, None) => Some(format!("{} has no stage {name}", run.number)),
        (None, Some(stage)) if !stage.waits_for_person => Some(format!(
            "{name} of {} does not wait for a person: it is {}",
            run.number, stage.status
        )),
        (None, Some(_)) => None,
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
