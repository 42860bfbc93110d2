//! The git command as the checkout uses it: bounded in what it may reach, never asking anybody.

use super::attempt::{Answer, Attempt, Failure};
use super::environment::{self, Env};
use super::process::Job;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Ways to a repository that may be used; `ext::` and the like would run programs.
const PROTOCOLS: &str = "file:https:ssh";

/// Settings that hold whatever the user's say: no hooks, nothing left running behind.
const SETTINGS: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "advice.detachedHead=false",
];

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repository {
    /// A directory of this machine.
    Directory(PathBuf),
    /// Behind an address, as git takes it.
    Remote(String),
}

impl Repository {
    /// Reads what the settings say.
    ///
    /// # Errors
    /// When it is nothing that may be fetched from, with the mend.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let allowed = ["https://", "ssh://", "file://"];
        let shown = without_password(text);
        if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) {
            return Err(format!(
                "{shown:?} is no repository; write a directory or a URL"
            ));
        }
        if allowed.iter().any(|begin| text.starts_with(begin)) {
            return Ok(Self::Remote(text.to_owned()));
        }
        if text.contains("::") || text.contains("://") {
            return Err(format!(
                "{shown}: only https://, ssh://, file:// and directories may be fetched from"
            ));
        }
        // `user@host:path`: a colon before any slash.
        let is_ssh = text
            .split('/')
            .next()
            .is_some_and(|host| host.contains(':'));
        match is_ssh {
            true => Ok(Self::Remote(text.to_owned())),
            false => Ok(Self::Directory(PathBuf::from(text))),
        }
    }

    /// As git takes it.
    pub(super) fn argument(&self) -> OsString {
        match self {
            Self::Directory(path) => path.clone().into(),
            Self::Remote(url) => url.into(),
        }
    }

    /// As people may see it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Remote(url) => without_password(url),
        }
    }
}

/// An address without the password in it.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) => match user.split_once(':') {
            None => url.to_owned(),
            Some((user, _)) => format!("{scheme}://{user}@{host}{path}"),
        },
    }
}

/// Refuses what is no revision that may be asked for.
///
/// # Errors
/// In words.
pub(super) fn must_be_revision(revision: &str) -> Result<(), String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ":?*[\\".contains(c);
    let begins_badly = revision.starts_with(['-', '.', '/', '@', '^', '~', '{']);
    let is_bad = revision.is_empty() || begins_badly || revision.contains(is_odd);
    match is_bad || revision.contains("..") || revision.contains("@{") {
        true => Err(format!(
            "{revision:?} is no revision; name a branch, a tag or a commit"
        )),
        false => Ok(()),
    }
}

/// Whether it is a commit's full name.
pub(super) fn is_full(revision: &str) -> bool {
    let is_hex = revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex && matches!(revision.len(), 40 | 64)
}

/// The git command for one attempt.
pub(super) struct Git<'a> {
    attempt: &'a Attempt<'a>,
    env: Env,
}

impl<'a> Git<'a> {
    pub(super) fn new(attempt: &'a Attempt<'a>) -> Self {
        let mut env = environment::inherited(&environment::FOR_GIT);
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", PROTOCOLS),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("LC_ALL", "C"),
        ] {
            env.push((name.into(), value.into()));
        }
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            env.push(("GIT_SSH_COMMAND".into(), "ssh -oBatchMode=yes".into()));
        }
        Self { attempt, env }
    }

    fn words(&self, more: &[OsString]) -> Vec<OsString> {
        let mut words = vec![OsString::from("git")];
        for setting in SETTINGS {
            words.extend(["-c".into(), setting.into()]);
        }
        words.extend_from_slice(more);
        words
    }

    /// A command that may take long: under the shepherd, its output kept.
    pub(super) fn job(&self, at: &Path, more: &[OsString]) -> Job {
        let words = self.words(more);
        self.attempt.job(words, at.to_owned(), self.env.clone())
    }

    /// A short question about what is on this machine.
    pub(super) async fn ask(&self, at: &Path, more: &[&str]) -> Result<Answer, Failure> {
        let more: Vec<OsString> = more.iter().map(OsString::from).collect();
        self.attempt.ask(&self.words(&more), at, &self.env).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_and_few_protocols_are_repositories() {
        let remote = |url: &str| Repository::Remote(url.to_owned());
        for (text, repository) in [
            ("/srv/shop", Repository::Directory("/srv/shop".into())),
            ("../shop", Repository::Directory("../shop".into())),
            ("/srv/a:b", Repository::Directory("/srv/a:b".into())),
            ("https://h/o/r.git", remote("https://h/o/r.git")),
            ("ssh://git@h/o/r", remote("ssh://git@h/o/r")),
            ("git@h:o/r.git", remote("git@h:o/r.git")),
        ] {
            assert_eq!(Repository::parse(text), Ok(repository));
        }
        for bad in [
            "",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c id",
            "http://h/r",
            "git://h/r",
            "a\nb",
        ] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
        let said = Repository::parse("http://me:hunter2@h/r").expect_err("refused");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("https://me:pw@h/r", "https://me@h/r"),
            ("https://me@h/r", "https://me@h/r"),
            ("https://h/r@v:1", "https://h/r@v:1"),
            ("git@h:r", "git@h:r"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn what_git_would_take_for_something_else_is_no_revision() {
        for good in ["main", "release/1.2", "v1.2.3", "HEAD~2", "a1b2c3d", "ünï"] {
            must_be_revision(good).expect(good);
        }
        for bad in [
            "", "-x", "--all", "a..b", ":/fix", "HEAD:a", "@{-1}", "a b", "^a", "a\u{7}", "x@{u}",
        ] {
            assert!(must_be_revision(bad).is_err(), "{bad}");
        }
        assert!(is_full(&"a".repeat(40)) && is_full(&"0".repeat(64)));
        assert!(!is_full("abc") && !is_full(&"g".repeat(40)));
    }
}
