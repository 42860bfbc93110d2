//! Reads what a stage does in the work tree: a command, a build, a push.

use super::super::accepted::BUILD;
use super::super::defaults;
use super::super::errors::{Problems, quoted};
use super::super::reader::{Located, Reader, parsed, text};
use super::super::tree::Place;
use super::scope::{Braces, Scope};
use crate::model::pipeline::{BuildWork, CommandWork};
use crate::model::secret::SecretRef;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// Variables of one stage.
const VARIABLES_MAX: usize = 100;

/// How every variable that Wheelhouse sets begins.
const OURS: &str = "WHEELHOUSE_";

/// Reads a command.
pub(super) fn command(scope: &Scope<'_>, reader: &Reader<'_>) -> Option<CommandWork> {
    const MEND: &str = "write program and arguments one by one, e.g. [\"cargo\", \"test\"]; \
                        no shell is involved";
    let env = variables(scope, reader, "env");
    let secrets = secrets(scope, reader, &env);
    let image = reader.text("image").map(|text| image(scope, &text));
    let directory = below(reader, "directory", scope.problems);
    let list = reader.list("command", MEND)?;
    let words = list.value.iter();
    let words: Vec<_> = words
        .filter_map(|node| text(node, scope.problems))
        .collect();
    if words.first().is_none_or(|word| word.value.is_empty()) && words.len() == list.value.len() {
        scope.problems.error(&list.place, "names no program", MEND);
    }
    scope.command(&words);
    Some(CommandWork {
        command: words.iter().map(|word| word.value.to_owned()).collect(),
        image,
        directory,
        env,
        secrets,
    })
}

/// Reads a build.
pub(super) fn build(scope: &Scope<'_>, stage: &Reader<'_>) -> Option<BuildWork> {
    let node = stage.node("build")?;
    let reader = Reader::new(node, &BUILD, scope.problems);
    node.table()?;
    if !reader.mentions("image", &BUILD) {
        let mend = "name it with its tag, e.g. image = \"registry:5000/shop:{short}\"";
        reader.missing("image", mend);
    }
    let image = reader.text("image").map(|text| image(scope, &text));
    let path = |key, default: &str| {
        let written = below(&reader, key, scope.problems);
        written.unwrap_or_else(|| default.to_owned())
    };
    Some(BuildWork {
        context: path("context", defaults::BUILD_CONTEXT),
        dockerfile: path("dockerfile", defaults::DOCKERFILE),
        arguments: variables(scope, &reader, "arguments"),
        image: image?,
    })
}

/// An image with its tag, as far as it can be judged before it is filled in.
pub(super) fn image(scope: &Scope<'_>, text: &Located<&str>) -> String {
    scope.text(text, Braces::Refused);
    let name = text.value;
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if name.is_empty() || name.starts_with('-') || name.contains(odd) {
        let what = format!("{} is no image", quoted(name));
        let mend = "write it as docker does, e.g. \"registry:5000/shop:{short}\"";
        scope.problems.error(&text.place, what, mend);
    }
    name.to_owned()
}

/// A path that stays below where it begins.
fn below(reader: &Reader<'_>, key: &str, problems: &Problems<'_>) -> Option<String> {
    let text = reader.text(key)?;
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let path = Path::new(text.value);
    if text.value.is_empty() || text.value.starts_with('-') || !path.components().all(stays) {
        let what = format!("{} is not below the work tree", quoted(text.value));
        let mend = "write a relative path without .., e.g. \"services/shop\"";
        problems.error(&text.place, what, mend);
        return None;
    }
    Some(text.value.to_owned())
}

/// A table of texts that are filled in.
fn variables(scope: &Scope<'_>, reader: &Reader<'_>, key: &str) -> BTreeMap<String, String> {
    let Some(node) = reader.node(key) else {
        return BTreeMap::new();
    };
    let table = Reader::open(node, scope.problems);
    few(&table, scope.problems);
    let mut variables = BTreeMap::new();
    for (name, place, value) in table.entries() {
        named(name, place, scope.problems);
        if let Some(text) = text(value, scope.problems) {
            scope.text(&text, Braces::Kept);
            variables.insert(name.to_owned(), text.value.to_owned());
        }
    }
    variables
}

/// Secrets by the variables they become, none of which is in `env`.
fn secrets(
    scope: &Scope<'_>,
    reader: &Reader<'_>,
    env: &BTreeMap<String, String>,
) -> BTreeMap<String, SecretRef> {
    let Some(node) = reader.node("secrets") else {
        return BTreeMap::new();
    };
    let table = Reader::open(node, scope.problems);
    few(&table, scope.problems);
    let mut secrets = BTreeMap::new();
    for (name, place, value) in table.entries() {
        named(name, place, scope.problems);
        if env.contains_key(name) {
            let what = "is in env too";
            scope.problems.error(place, what, "keep one of the two");
        }
        let mend = "a secret itself has no place in a configuration";
        let reference: Option<Located<SecretRef>> =
            text(value, scope.problems).and_then(|text| parsed(&text, mend, scope.problems));
        secrets.extend(reference.map(|reference| (name.to_owned(), reference.value)));
    }
    secrets
}

fn few(table: &Reader<'_>, problems: &Problems<'_>) {
    if table.entries().count() > VARIABLES_MAX {
        let what = format!("holds more than {VARIABLES_MAX} variables");
        let mend = "put them into a file of the repository";
        problems.error(table.place(), what, mend);
    }
}

/// Judges a variable's name.
fn named(name: &str, place: &Place, problems: &Problems<'_>) {
    if name.is_empty() || name.contains(['=', '\0']) {
        let mend = "use a name without = and NUL";
        problems.error(place, "is no name of an environment variable", mend);
    } else if name.starts_with(OURS) {
        let what = format!("begins with {OURS}, which tells stages of the run");
        problems.error(place, what, "choose another name");
    }
}

/// Where an image is kept, without tag and digest: `registry:5000/shop`.
pub(super) fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let slash = image.rfind('/').map_or(0, |at| at + 1);
    let colon = image[slash..].find(':');
    colon.map_or(image, |at| &image[..slash + at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_kept_where_its_name_says() {
        for (image, name) in [
            ("registry:5000/shop:{short}", "registry:5000/shop"),
            ("registry:5000/shop", "registry:5000/shop"),
            ("shop:1", "shop"),
            ("a/b@sha256:00", "a/b"),
        ] {
            assert_eq!(image_name(image), name);
        }
    }
}
