//! Where a pipeline's commits come from. Must not know whether anything is there.

use super::super::accepted::PIPELINE;
use super::super::defaults;
use super::super::errors::{Problems, quoted};
use super::super::reader::{Located, Reader};

/// What git fetches from. Others, such as `ext::`, run programs.
const SCHEMES: [&str; 5] = ["https", "ssh", "file", "http", "git"];

/// Longest branch or pattern, in bytes.
const REF_MAX: usize = 255;

/// The repository: what `git clone` takes; a path is made absolute.
pub(super) fn read(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<String> {
    const MEND: &str = "write a directory, e.g. \"/srv/git/shop.git\", or an address, \
                        e.g. \"ssh://git@example.com/shop.git\"";
    if !reader.mentions("repository", &PIPELINE) {
        reader.missing("repository", MEND);
    }
    let text = reader.text("repository")?;
    let odd = |c: char| c.is_control() || c.is_whitespace();
    let (scheme, rest) = text.value.split_once("://").unwrap_or(("", text.value));
    let known = scheme.is_empty() || SCHEMES.contains(&scheme);
    // What `git` would take for a program to run (`ext::`), or for an option.
    let program = text.value.contains("::") && !text.value.starts_with('[');
    if rest.is_empty() || rest.starts_with('-') || !known || program {
        let what = format!("{} is no repository", quoted(text.value));
        problems.error(&text.place, what, MEND);
        return None;
    }
    if scheme.is_empty() && !is_remote(text.value) {
        let path = problems.absolute(&text.place, text.value);
        return Some(path.to_string_lossy().into_owned());
    }
    if text.value.contains(odd) {
        let what = "holds a space or control character";
        problems.error(&text.place, what, MEND);
        return None;
    }
    no_password(&text, scheme, rest, problems)?;
    Some(text.value.to_owned())
}

/// Whether it is `HOST:PATH`, as `ssh` has it: a colon before the first slash.
fn is_remote(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    host.contains(':')
}

/// An address is shown and recorded: no password in it.
fn no_password(
    text: &Located<&str>,
    scheme: &str,
    rest: &str,
    problems: &Problems<'_>,
) -> Option<()> {
    let host = rest.split('/').next().unwrap_or_default();
    let user = host.rsplit_once('@').map(|(user, _)| user);
    let secret = user.is_some_and(|user| user.contains(':') || scheme.starts_with("http"));
    if secret {
        let mend = "use ssh:// with a key, or let git's credential helper answer";
        problems.error(&text.place, "carries a user or password", mend);
        return None;
    }
    if ["http", "git"].contains(&scheme) {
        let what = "is fetched in plain text: commits can be altered on the way";
        problems.warning(&text.place, what, "use https:// or ssh://");
    }
    Some(())
}

/// The branch whose newest commit is meant where nobody says another.
pub(super) fn branch(reader: &Reader<'_>, problems: &Problems<'_>) -> String {
    let Some(text) = reader.text("branch") else {
        return defaults::BRANCH.to_owned();
    };
    if !is_ref(text.value) || text.value.contains('*') {
        let what = format!("{} is no branch", quoted(text.value));
        let mend = "write its name without refs/heads/, e.g. \"main\"";
        problems.error(&text.place, what, mend);
    }
    text.value.to_owned()
}

/// Whether a text may name a branch or tag, or be a pattern of such names with `*`: what
/// `git check-ref-format` takes.
pub(in super::super) fn is_ref(text: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?[\\".contains(c);
    let edge = |c: char| c == '/' || c == '.';
    !text.is_empty()
        && text.len() <= REF_MAX
        && !text.starts_with("refs/")
        && !text.starts_with(|c| c == '-' || edge(c))
        && !text.ends_with(edge)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(odd)
}

/// Whether a text may name a repository at a provider: `owner/name`, on GitLab with groups.
pub(in super::super) fn project(text: &str) -> bool {
    let word = |word: &str| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !word.is_empty() && word.bytes().all(ok) && !word.bytes().all(|b| b == b'.')
    };
    text.contains('/') && text.len() <= REF_MAX && text.split('/').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_branches_and_projects_are_told_from_others() {
        for good in ["main", "release/*", "v*", "feature/a-b_c.d"] {
            assert!(is_ref(good), "{good}");
        }
        for bad in [
            "",
            "-f",
            "a b",
            "a..b",
            "/a",
            "a/",
            "a^",
            "refs/heads/main",
            "a\n",
        ] {
            assert!(!is_ref(bad), "{bad:?}");
        }
        assert!(project("acme/shop") && project("acme/web/shop"));
        for bad in [
            "shop",
            "acme/",
            "/shop",
            "acme/../x",
            "https://a/b",
            "a b/c",
        ] {
            assert!(!project(bad), "{bad}");
        }
    }
}
