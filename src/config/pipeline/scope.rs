//! What may be filled in where: `{…}` names only what the run is, or what a stage that must be over
//! by then hands on; and into a shell's text goes nothing that others wrote.

use super::super::errors::{Problems, quoted};
use super::super::reader::Located;
use super::super::suggest;
use super::graph::Graph;
use crate::model::StageName;
use crate::model::pipeline::StageWork;
use crate::model::placeholder::{OWN, names, next, own_variable, variable};
use std::collections::BTreeSet;

/// Programs that read a text as a script after `-c`.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish"];

/// What a shell's text may hold of the run itself: hexadecimal digits and a configured name.
const HARMLESS: [&str; 3] = ["commit", "short", "pipeline"];

/// What can be filled in, for people.
const KNOWN: &str = "use {commit}, {short}, {branch}, {pipeline} or {STAGE.VALUE}";

/// Braces around anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Braces {
    /// Are left alone: programs have their own.
    Kept,
    /// Cannot stand there: no image, version or digest has any.
    Refused,
}

/// What one stage's texts may name.
pub(super) struct Scope<'a> {
    pub(super) graph: &'a Graph<'a>,
    /// The stages that must be over before it.
    pub(super) behind: &'a BTreeSet<StageName>,
    pub(super) problems: &'a Problems<'a>,
}

impl Scope<'_> {
    /// Judges a text; whether nothing is wrong with it.
    pub(super) fn text(&self, text: &Located<&str>, braces: Braces) -> bool {
        let values = names(text.value).into_iter();
        let wrong = values.filter(|name| !OWN.contains(name) && !self.value(text, name));
        let mut faults = wrong.count();
        for word in strangers(text.value) {
            let near = suggest::nearest(word, OWN);
            if near.is_some() || braces == Braces::Refused {
                let mend = match near {
                    Some(near) => format!("did you mean {{{near}}}?"),
                    None => KNOWN.to_owned(),
                };
                let what = format!("{{{word}}} stands for nothing");
                self.problems.error(&text.place, what, mend);
                faults += 1;
            }
        }
        let left = braces == Braces::Refused && sample(text.value).contains(['{', '}']);
        if left && faults == 0 {
            let what = "holds a brace that stands for nothing";
            self.problems.error(&text.place, what, KNOWN);
            faults += 1;
        }
        faults == 0
    }

    /// Judges `{STAGE.VALUE}`; whether nothing is wrong with it.
    fn value(&self, text: &Located<&str>, name: &str) -> bool {
        let (stage, value) = name.split_once('.').unwrap_or((name, ""));
        let fault = match self.graph.stage(stage) {
            None => self.no_stage(name, stage),
            Some(found) if !self.behind.contains(&found.spec.name) => Some((
                format!("{{{name}}} is of a stage that this one does not need"),
                format!("add {} to its needs", quoted(stage)),
            )),
            Some(found) => no_value(name, value, &found.spec.work),
        };
        let is_fine = fault.is_none();
        if let Some((what, mend)) = fault {
            self.problems.error(&text.place, what, mend);
        }
        is_fine
    }

    fn no_stage(&self, name: &str, stage: &str) -> Option<(String, String)> {
        if self.graph.comes_later(stage) {
            let what = format!("{{{name}}} is of a stage that is not over by then");
            let mend = "declare that stage before this one, and need it";
            return Some((what, mend.to_owned()));
        }
        // What is wrong with a faulty stage has been told.
        let is_unknown = !self.graph.is_faulty(stage);
        is_unknown.then(|| {
            let known = self.behind.iter().map(StageName::as_str);
            let what = format!("{{{name}}} names no stage of this pipeline");
            (what, suggest::mend(stage, known))
        })
    }

    /// Judges a program with its arguments: what a shell reads as its script may hold no text that
    /// others wrote, such as a branch's name.
    pub(super) fn command(&self, words: &[Located<&str>]) {
        for word in words {
            self.text(word, Braces::Kept);
        }
        for word in script(words) {
            let mut named = names(word.value).into_iter();
            if let Some(name) = named.find(|name| !self.is_harmless(name)) {
                let what = format!("{{{name}}} would be read by a shell, whoever wrote it");
                let mend = format!("use the variable instead: \"${}\"", variable_of(name));
                self.problems.error(&word.place, what, mend);
            }
        }
    }

    /// Whether what a name stands for is hexadecimal, or configured.
    fn is_harmless(&self, name: &str) -> bool {
        let Some((stage, value)) = name.split_once('.') else {
            return HARMLESS.contains(&name);
        };
        let Some(stage) = self.graph.stage(stage) else {
            return true; // That it is unknown has been told.
        };
        match &stage.spec.work {
            StageWork::Checkout => HARMLESS.contains(&value),
            StageWork::Push { .. } | StageWork::Deploy(_) => value == "digest",
            _ => false,
        }
    }

    /// Whether a name stands for a manifest's digest, as far as its stage's kind says.
    pub(super) fn may_be_digest(&self, name: &str) -> bool {
        let Some((stage, value)) = name.split_once('.') else {
            return false;
        };
        match self.graph.stage(stage).map(|stage| &stage.spec.work) {
            Some(StageWork::Push { .. } | StageWork::Deploy(_)) => value == "digest",
            // A command may hand on anything; what is unknown has been told.
            Some(StageWork::Command(_)) | None => true,
            Some(_) => false,
        }
    }
}

/// What stages of a kind hand on; `None` where that is theirs to say.
fn values(work: &StageWork) -> Option<&'static [&'static str]> {
    Some(match work {
        StageWork::Command(_) => return None,
        StageWork::Checkout => &[
            "commit",
            "short",
            "subject",
            "author",
            "files",
            "insertions",
            "deletions",
            "commits",
        ],
        StageWork::Build(_) => &["image", "image_id"],
        StageWork::Push { .. } => &["image", "digest"],
        StageWork::External(_) => &["url"],
        StageWork::Deploy(_) => &["rollout", "version", "digest"],
    })
}

/// What is wrong with a value that no stage of a kind hands on.
fn no_value(name: &str, value: &str, work: &StageWork) -> Option<(String, String)> {
    let known = values(work).filter(|known| !known.contains(&value))?;
    let what = format!(
        "{{{name}}} stands for nothing: no {} hands that on",
        work.word()
    );
    Some((what, suggest::mend(value, known.iter().copied())))
}

/// A text with `x` in place of everything that is filled in.
pub(super) fn sample(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, _, after)) = next(rest) {
        out.push_str(before);
        out.push('x');
        rest = after;
    }
    out + rest
}

fn variable_of(name: &str) -> String {
    let value = name.split_once('.');
    value
        .and_then(|(stage, value)| Some(variable(&stage.parse().ok()?, value)))
        .unwrap_or_else(|| own_variable(name))
}

/// Single words of letters in braces that are no names. `${…}` is the shell's.
fn strangers(text: &str) -> impl Iterator<Item = &str> {
    let opens = text.match_indices('{');
    opens
        .filter(|(at, _)| !text[..*at].ends_with('$'))
        .filter_map(|(at, _)| Some(text[at + 1..].split_once('}')?.0))
        .filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic()))
        .filter(|word| !OWN.contains(word))
}

/// What follows `-c` of a shell, wherever in the command that shell is named: `env A=b sh -c …` is
/// one too.
fn script<'a, 'b>(words: &'a [Located<&'b str>]) -> &'a [Located<&'b str>] {
    let is_shell = |word: &Located<&str>| {
        let program = word.value.rsplit('/').next().unwrap_or_default();
        SHELLS.contains(&program)
    };
    let takes_script = |word: &Located<&str>| {
        let flags = word.value.strip_prefix('-');
        flags.is_some_and(|flags| !flags.starts_with('-') && flags.contains('c'))
    };
    let Some(shell) = words.iter().position(is_shell) else {
        return &[];
    };
    let after = &words[shell + 1..];
    let script = after.iter().position(takes_script);
    script.map_or(&[], |at| &after[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_nothing_left_to_fill_in() {
        assert_eq!(sample("v{short}-{build.image}{x}"), "vx-x{x}");
    }
}
