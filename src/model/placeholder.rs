//! `{…}` in a stage's settings: what counts as a name to be filled in. What it stands for is the
//! engine's to say, and whether it may stand there the configuration's.

use super::StageName;

/// Names that stand for something of the run itself; everything else is `STAGE.VALUE`.
pub const OWN: [&str; 4] = ["commit", "short", "branch", "pipeline"];

/// Names in a text that are to be filled in, in the order of the text.
pub fn names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, name, after)) = next(rest) {
        names.push(name);
        rest = after;
    }
    names
}

/// The text before the first name, the name, and the text after it. `${…}` is the shell's, and
/// braces around anything else stay as they are.
pub fn next(text: &str) -> Option<(&str, &str, &str)> {
    let opens = text.match_indices('{');
    opens
        .filter(|(at, _)| !text[..*at].ends_with('$'))
        .find_map(|(at, _)| {
            let (name, after) = text[at + 1..].split_once('}')?;
            is_name(name).then(|| (&text[..at], name, after))
        })
}

fn is_name(name: &str) -> bool {
    if OWN.contains(&name) {
        return true;
    }
    let word = |word: &str| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        word.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
            && word.bytes().all(ok)
    };
    name.split_once('.')
        .is_some_and(|(stage, value)| word(stage) && word(value))
}

/// The variable that tells a stage what a name of [`OWN`] stands for: `WHEELHOUSE_BRANCH`.
pub fn own_variable(name: &str) -> String {
    format!("WHEELHOUSE_{}", plain(name))
}

/// The variable that tells later stages a value: `WHEELHOUSE_BUILD_IMAGE`.
pub fn variable(stage: &StageName, value: &str) -> String {
    format!("WHEELHOUSE_{}", plain(&format!("{stage}_{value}")))
}

fn plain(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_name_is_one() {
        for (text, found) in [
            ("shop:{short}", vec!["short"]),
            (
                "{branch}/{build.image_id}",
                vec!["branch", "build.image_id"],
            ),
            ("${short} {Short} {shrt}", vec![]),
            ("awk '{print $1}' {.x} {x.} {a b.c}", vec![]),
            ("{{short}}", vec!["short"]),
            ("{short", vec![]),
        ] {
            assert_eq!(names(text), found, "{text}");
        }
    }

    #[test]
    fn a_variable_is_named_as_its_stage_and_value() {
        let stage = "build-2".parse().expect("a name");
        assert_eq!(variable(&stage, "image_id"), "WHEELHOUSE_BUILD_2_IMAGE_ID");
        assert_eq!(own_variable("branch"), "WHEELHOUSE_BRANCH");
    }
}
