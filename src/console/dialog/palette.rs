//! `:` - commands typed, each leading to the same dialog as its key.

use super::confirm::Verb;
use crate::console::input::Key;
use crate::console::theme::Theme;
use crate::model::command::PromoteTo;
use crate::model::{Clean, PipelineName, RunNumber, ServerName, StageName};

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A dialog.
    Ask(Verb),
    /// A dialog about an instance; the selected one where none is named.
    Drain(Option<ServerName>),
    /// The same, for giving its traffic back.
    Undrain(Option<ServerName>),
    /// A line for the timeline.
    Note(Clean),
    /// The runs of pipelines.
    Pipelines,
    /// A dialog about a run of a pipeline.
    Run(RunCommand),
    /// Another theme.
    Theme(String),
    /// Leave.
    Quit,
}

/// What is asked of a run of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// A new one: of which pipeline and branch, where they are named.
    Begin(Option<PipelineName>, Option<Clean>),
    /// Its end; the shown one's where none is named.
    Cancel(Option<RunNumber>),
    /// That a stage begins which waits for a person; the shown run's where none is named.
    Confirm(Option<(RunNumber, StageName)>),
}

/// What can be typed, with what it does.
pub const COMMANDS: [(&str, &str); 21] = [
    ("promote", "to the next step"),
    ("promote --full", "to 100 %"),
    ("promote --to N", "to N %"),
    ("hold", "stop automatic progress"),
    ("resume", "let it go on"),
    ("abort", "traffic back to stable"),
    ("rollback", "to the previous verified version"),
    ("rollback --to V", "to version V"),
    (
        "rollback --emergency REASON",
        "the same, one passed probe is enough",
    ),
    ("restart", "every instance anew, a batch at a time"),
    ("scale N", "have N instances"),
    ("drain INSTANCE", "take one out of traffic"),
    ("undrain INSTANCE", "give its traffic back"),
    ("drill", "exercise: to the first step and back"),
    ("note TEXT", "write into the timeline"),
    ("pipeline", "runs of pipelines"),
    ("pipeline run [NAME] [BRANCH]", "begin a run"),
    ("pipeline cancel pN", "end a run"),
    ("pipeline confirm pN STAGE", "let a waiting stage begin"),
    ("theme NAME", "change the theme"),
    ("quit", "leave the console"),
];

/// A line being typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Palette {
    /// The text so far.
    pub text: String,
    /// What is wrong with the line that was entered.
    pub trouble: Option<String>,
}

/// Longest line.
const TEXT_MAX: usize = 80;

/// What a key does to a line being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// The line goes on.
    Stay,
    /// It is dropped.
    Cancel,
    /// It is entered.
    Enter,
}

/// Edits a line.
pub fn edit(line: &mut String, key: Key) -> Typed {
    match key {
        Key::Esc | Key::Ctrl('c') => return Typed::Cancel,
        Key::Enter => return Typed::Enter,
        Key::Backspace if line.is_empty() => return Typed::Cancel,
        Key::Backspace => {
            line.pop();
        }
        Key::Ctrl('u') => line.clear(),
        Key::Char(c) if line.chars().count() < TEXT_MAX => line.push(c),
        _ => {}
    }
    Typed::Stay
}

impl Palette {
    /// Completes the word as far as it is the only one.
    pub fn complete(&mut self) {
        let fitting: Vec<_> = self.fitting().collect();
        if let [(command, _)] = fitting.as_slice() {
            // What a person fills in begins with a capital letter.
            let open = command.find(|c: char| c.is_ascii_uppercase() || c == '[');
            self.text = command[..open.unwrap_or(command.len())].to_owned();
        }
    }

    /// The commands the text could become.
    pub fn fitting(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> + '_ {
        COMMANDS
            .iter()
            .filter(|(command, _)| command.starts_with(&self.text))
    }

    /// The line below what is typed: what is wrong, or what could follow.
    pub fn hint(&self, theme: &Theme) -> String {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        let dot = format!(" {} ", theme.symbols.dot);
        let names: Vec<_> = self.fitting().map(|(command, _)| *command).collect();
        names.join(&dot)
    }
}

/// Understands a line.
///
/// # Errors
/// What is wrong with it and what could be typed, for people.
pub fn parse(line: &str) -> Result<Command, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["promote"] => Command::Ask(Verb::Promote(PromoteTo::Next)),
        ["promote", "--full"] => Command::Ask(Verb::Promote(PromoteTo::Full)),
        ["promote", "--to", percent] => {
            let percent = percent.trim_end_matches('%').parse();
            match percent {
                Ok(percent @ 1..=100) => Command::Ask(Verb::Promote(PromoteTo::Percent(percent))),
                _ => return Err("promote --to takes a share from 1 to 100".to_owned()),
            }
        }
        ["hold"] => Command::Ask(Verb::Hold),
        ["resume"] => Command::Ask(Verb::Resume),
        ["abort"] => Command::Ask(Verb::Abort),
        ["rollback"] => Command::Ask(Verb::Rollback(None)),
        ["rollback", "--to", version] => match version.parse() {
            Ok(version) => Command::Ask(Verb::Rollback(Some(version))),
            Err(error) => return Err(format!("{error}")),
        },
        ["rollback", "--emergency", why @ ..] => emergency(why)?,
        ["restart"] => Command::Ask(Verb::Restart),
        ["scale", instances] => match instances.parse() {
            Ok(instances @ 1..) => Command::Ask(Verb::Scale(instances)),
            _ => return Err("scale takes a number of instances, at least 1".to_owned()),
        },
        ["drain"] => Command::Drain(None),
        ["drain", server] => Command::Drain(Some(instance(server)?)),
        ["undrain"] => Command::Undrain(None),
        ["undrain", server] => Command::Undrain(Some(instance(server)?)),
        ["drill"] => Command::Ask(Verb::Drill),
        ["note", _, ..] => {
            let text = line.trim_start().trim_start_matches("note").trim();
            Command::Note(Clean::new(text))
        }
        ["pipeline" | "pipelines"] => Command::Pipelines,
        ["pipeline", words @ ..] => Command::Run(pipeline(words)?),
        ["theme", name] => Command::Theme((*name).to_owned()),
        ["quit" | "q"] => Command::Quit,
        _ => {
            let known = COMMANDS.map(|(command, _)| command);
            return Err(format!("not a command; there are: {}", known.join(", ")));
        }
    })
}

/// `REASON` or `--to V REASON`.
fn emergency(words: &[&str]) -> Result<Command, String> {
    let (to, why) = match words {
        ["--to", version, why @ ..] => {
            let version = version.parse().map_err(|error| format!("{error}"))?;
            (Some(version), why)
        }
        why => (None, why),
    };
    if why.is_empty() {
        return Err(
            "an emergency rollback needs its reason: rollback --emergency REASON".to_owned(),
        );
    }
    let reason = Clean::new(&why.join(" "));
    Ok(Command::Ask(Verb::Emergency { to, reason }))
}

/// `run [NAME] [BRANCH]`, `cancel [pN]`, `confirm [pN STAGE]`.
fn pipeline(words: &[&str]) -> Result<RunCommand, String> {
    let run = |number: &str| {
        let parsed = number.parse::<RunNumber>();
        parsed.map_err(|error| format!("{number} {error}"))
    };
    Ok(match words {
        ["run"] => RunCommand::Begin(None, None),
        ["run", pipeline] => RunCommand::Begin(Some(name(pipeline)?), None),
        ["run", pipeline, branch] => {
            RunCommand::Begin(Some(name(pipeline)?), Some(Clean::new(branch)))
        }
        ["cancel"] => RunCommand::Cancel(None),
        ["cancel", number] => RunCommand::Cancel(Some(run(number)?)),
        ["confirm"] => RunCommand::Confirm(None),
        ["confirm", number, stage] => {
            let stage: Result<StageName, _> = stage.parse();
            let stage = stage.map_err(|error| error.to_string())?;
            RunCommand::Confirm(Some((run(number)?, stage)))
        }
        _ => {
            let known = "run [NAME] [BRANCH], cancel pN, confirm pN STAGE";
            return Err(format!("not a command of pipeline; there are: {known}"));
        }
    })
}

fn name(text: &str) -> Result<PipelineName, String> {
    text.parse()
        .map_err(|error: <PipelineName as std::str::FromStr>::Err| error.to_string())
}

fn instance(name: &str) -> Result<ServerName, String> {
    name.parse()
        .map_err(|error: <ServerName as std::str::FromStr>::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_or_say_what_is_wrong() {
        let ask = |verb| Ok(Command::Ask(verb));
        assert_eq!(parse("promote --full"), ask(Verb::Promote(PromoteTo::Full)));
        assert_eq!(
            parse(" promote  --to 50% "),
            ask(Verb::Promote(PromoteTo::Percent(50)))
        );
        let note = Ok(Command::Note("page  acknowledged".into()));
        assert_eq!(parse("note page  acknowledged "), note);
        let version = "v1".parse().expect("valid");
        assert_eq!(
            parse("rollback --to v1"),
            ask(Verb::Rollback(Some(version)))
        );
        let reason = Clean::new("it leaks");
        let emergency = |to| {
            ask(Verb::Emergency {
                to,
                reason: reason.clone(),
            })
        };
        assert_eq!(parse("rollback --emergency it leaks"), emergency(None));
        let version = "v1".parse().expect("valid");
        assert_eq!(
            parse("rollback --emergency --to v1 it leaks"),
            emergency(Some(version))
        );
        assert_eq!(parse("restart"), ask(Verb::Restart));
        assert_eq!(parse("scale 4"), ask(Verb::Scale(4)));
        assert_eq!(parse("drill"), ask(Verb::Drill));
        assert_eq!(parse("drain"), Ok(Command::Drain(None)));
        let web1 = "web1".parse().expect("valid");
        assert_eq!(parse("undrain web1"), Ok(Command::Undrain(Some(web1))));
        let run = |command| Ok(Command::Run(command));
        let main = "main".parse().expect("valid");
        let begin = RunCommand::Begin(Some(main), Some("fix".into()));
        assert_eq!(parse("pipeline run main fix"), run(begin));
        let begin = RunCommand::Begin(None, None);
        assert_eq!(parse("pipeline run"), run(begin));
        let cancel = RunCommand::Cancel(Some(RunNumber(12)));
        assert_eq!(parse("pipeline cancel p12"), run(cancel));
        let stage = "canary".parse().expect("valid");
        let confirm = RunCommand::Confirm(Some((RunNumber(12), stage)));
        assert_eq!(parse("pipeline confirm 12 canary"), run(confirm));
        for bad in [
            "pipeline cancel main",
            "pipeline confirm p12",
            "pipeline confirm p12 $(x)",
            "pipeline run a b c",
            "pipeline frobnicate",
            "",
            "scale",
            "scale 0",
            "scale many",
            "drain a b",
            "drain $(x)",
            "note",
            "promote --to 0",
            "promote --to 101",
            "rollback --to $(x)",
            "rollback --emergency",
            "rollback --emergency --to v1",
            "rollback --emergency --to $(x) it leaks",
            "frobnicate",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn completion_stops_where_a_person_must_go_on() {
        let mut palette = Palette {
            text: "th".to_owned(),
            trouble: None,
        };
        palette.complete();
        assert_eq!(palette.text, "theme ");
        palette.text = "pipeline ca".to_owned();
        palette.complete();
        assert_eq!(palette.text, "pipeline cancel p");
        palette.text = "p".to_owned();
        palette.complete();
        assert_eq!(palette.text, "p", "several fit");
    }
}
