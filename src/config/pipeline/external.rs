//! Reads what another pipeline is asked. Must not know how a provider speaks.

use super::super::accepted::EXTERNAL;
use super::super::defaults;
use super::super::durations;
use super::super::errors::{Problems, quoted};
use super::super::reader::{Located, Reader, text};
use super::repository::project;
use crate::model::pipeline::{ExternalWork, Provider};
use crate::model::secret::SecretRef;

/// Contexts that one stage waits for.
const CONTEXTS_MAX: usize = 50;

/// Providers by their words.
pub(in super::super) const PROVIDERS: [(&str, Provider); 2] =
    [("github", Provider::Github), ("gitlab", Provider::Gitlab)];

/// Where a provider answers unless it is somebody's own: as both document.
fn home(provider: Provider) -> &'static str {
    match provider {
        Provider::Github => "https://api.github.com",
        Provider::Gitlab => "https://gitlab.com/api/v4",
    }
}

/// Reads an external stage.
pub(super) fn read(stage: &Reader<'_>, problems: &Problems<'_>) -> Option<ExternalWork> {
    let node = stage.node("external")?;
    let reader = Reader::new(node, &EXTERNAL, problems);
    node.table()?;
    for (key, mend) in [
        ("provider", "add provider = \"github\" or \"gitlab\""),
        (
            "project",
            "add the repository, e.g. project = \"acme/shop\"",
        ),
    ] {
        if !reader.mentions(key, &EXTERNAL) {
            reader.missing(key, mend);
        }
    }
    let provider = reader.word("provider", &PROVIDERS).map(|found| found.value);
    let token: Option<Located<SecretRef>> =
        reader.parsed("token", "a secret itself has no place in a configuration");
    let contexts = contexts(&reader, problems);
    let interval_ms = reader.duration_ms(
        "interval",
        1_000..=3_600_000,
        defaults::EXTERNAL_INTERVAL_MS,
    );
    let url = match reader.text("url") {
        Some(text) => Some(url(&text, token.is_some(), problems)),
        None => provider.map(|provider| Some(home(provider).to_owned())),
    };
    let project = reader.text("project").and_then(|text| {
        let numbered = provider == Some(Provider::Gitlab)
            && !text.value.is_empty()
            && text.value.bytes().all(|b| b.is_ascii_digit());
        if numbered || project(text.value) {
            return Some(text.value.to_owned());
        }
        let what = format!("{} is no repository", quoted(text.value));
        let mend = "write OWNER/NAME; on GitLab also GROUP/…/NAME or the project's number";
        problems.error(&text.place, what, mend);
        None
    });
    Some(ExternalWork {
        provider: provider?,
        url: url??,
        project: project?,
        contexts,
        token: token.map(|token| token.value),
        interval_ms,
    })
}

/// Whether it is asked more than once.
pub(super) fn fits(
    work: &ExternalWork,
    timeout_ms: u64,
    stage: &Reader<'_>,
    problems: &Problems<'_>,
) {
    if work.interval_ms < timeout_ms {
        return;
    }
    let what = format!(
        "{} is no shorter than the stage's timeout, {}",
        durations::text(work.interval_ms),
        durations::text(timeout_ms)
    );
    let place = match stage.node("external").and_then(|it| it.get("interval")) {
        Some(node) => node.place.clone(),
        None => stage.place().of_key("timeout"),
    };
    problems.error(&place, what, "lower interval, or raise timeout");
}

fn contexts(reader: &Reader<'_>, problems: &Problems<'_>) -> Vec<String> {
    const MEND: &str = "name the contexts as the provider shows them, e.g. [\"build\"]";
    let Some(list) = reader.list("contexts", MEND) else {
        return Vec::new();
    };
    if list.value.len() > CONTEXTS_MAX {
        let what = format!("holds more than {CONTEXTS_MAX} contexts");
        problems.error(
            &list.place,
            what,
            "leave it out: then all there are must succeed",
        );
    }
    let texts = list.value.iter().filter_map(|node| text(node, problems));
    texts
        .map(|text| {
            if text.value.trim().is_empty() {
                problems.error(&text.place, "is empty", MEND);
            }
            text.value.to_owned()
        })
        .collect()
}

/// Where the provider answers, without a slash at the end.
fn url(text: &Located<&str>, has_token: bool, problems: &Problems<'_>) -> Option<String> {
    const MEND: &str = "write where its interface is, e.g. \"https://git.example.com/api/v4\"";
    let (scheme, rest) = text.value.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        let what = "carries a user or password";
        problems.error(&text.place, what, "use the key token");
        return None;
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"\\".contains(c);
    if !["http", "https"].contains(&scheme) || host.is_empty() || rest.contains(odd) {
        let what = format!("{} is no address of a provider", quoted(text.value));
        problems.error(&text.place, what, MEND);
        return None;
    }
    let here = ["127.", "localhost", "[::1]"];
    if scheme == "http" && has_token && !here.iter().any(|mine| host.starts_with(mine)) {
        let what = "the token would be sent in plain text";
        problems.warning(&text.place, what, "use https://");
    }
    Some(text.value.trim_end_matches('/').to_owned())
}
