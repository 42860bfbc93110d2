//! haproxy.cfg as far as it decides over a rollout and the stats socket does not tell.
//!
//! HAProxy 2.6 shows over its socket neither whether a backend loads its state from a file, nor
//! from which one, nor stick rules. So the file itself is read: it is named on the command line
//! of the running process (`-f`), which `/proc` shows. That is the right source also when it was
//! edited since: what matters is what the *next* start or reload will do.
//!
//! The reader knows words, quotes, comments, sections and `defaults`; it expands no environment
//! variables and follows no `.if`. Where HAProxy runs in another pid namespace or `/proc` hides
//! it, the answer is "cannot be seen", never "is fine".

mod logging;

pub(super) use logging::LogFacts;

use std::path::{Path, PathBuf};

/// Longest configuration that is read, all its files together.
const CONFIGURATION_MAX: u64 = 4 * 1024 * 1024;

/// One section: its first line's words, then its other lines'.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    head: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Section {
    fn kind(&self) -> &str {
        self.head.first().map_or("", String::as_str)
    }

    fn name(&self) -> Option<&str> {
        self.head
            .get(1)
            .map(String::as_str)
            .filter(|word| *word != "from")
    }

    /// The `defaults` section it names as its own.
    fn from(&self) -> Option<&str> {
        let at = self.head.iter().position(|word| word == "from")?;
        self.head.get(at + 1).map(String::as_str)
    }
}

/// What haproxy.cfg says of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BackendFacts {
    /// The word after `load-server-state-from-file`.
    pub(super) loads_state: Option<String>,
    /// The file it would load with `local`.
    pub(super) state_file: PathBuf,
    /// Whether `option redispatch` is on.
    pub(super) redispatches: bool,
    /// The words after `retry-on`.
    pub(super) retry_on: Vec<String>,
    /// First words of lines that make clients stick to a server.
    pub(super) sticky: Vec<String>,
    /// Whether a server starts with a part of its weight.
    pub(super) slow_start: bool,
    /// Whether going down or into maintenance cuts a server's requests.
    pub(super) cuts_sessions: bool,
    /// What its frontends log, and where to.
    pub(super) log: LogFacts,
}

/// Reads what the configuration text says of a backend; `None` if it has no such backend.
/// `directory` is where relative names begin.
pub(super) fn backend_facts(text: &str, backend: &str, directory: &Path) -> Option<BackendFacts> {
    let sections = sections(text);
    let found = sections.iter().position(|section| {
        matches!(section.kind(), "backend" | "listen") && section.name() == Some(backend)
    })?;
    let lines = effective_lines(&sections, found);
    let last = |first: &str| lines.iter().rev().find(|line| line[0] == first);
    let base = sections
        .iter()
        .filter(|section| section.kind() == "global")
        .flat_map(|section| &section.lines)
        .rfind(|line| line[0] == "server-state-base")
        .and_then(|line| line.get(1));
    let file = match last("server-state-file-name").and_then(|line| line.get(1)) {
        Some(file) if file != "use-backend-name" => file,
        _ => backend,
    };
    let sticky = |line: &&&Vec<String>| match line[0].as_str() {
        "stick" | "cookie" | "appsession" | "force-persist" => true,
        "option" => line.get(1).is_some_and(|word| word == "persist"),
        _ => false,
    };
    let servers = || lines.iter().filter(|line| line[0].contains("server"));
    let redispatch = lines
        .iter()
        .rev()
        .find(|line| line.iter().any(|w| w == "redispatch"));
    Some(BackendFacts {
        loads_state: last("load-server-state-from-file")
            .and_then(|line| line.get(1))
            .cloned(),
        state_file: directory.join(base.map_or("", String::as_str)).join(file),
        redispatches: redispatch.is_some_and(|line| line[0] == "option"),
        retry_on: last("retry-on").map_or_else(Vec::new, |line| line[1..].to_vec()),
        sticky: lines
            .iter()
            .filter(sticky)
            .map(|line| line.join(" "))
            .collect(),
        slow_start: servers().any(|line| line.iter().any(|word| word == "slowstart")),
        log: logging::facts(&sections, backend),
        cuts_sessions: servers().any(|line| line.iter().any(|w| w == "shutdown-sessions")),
    })
}

/// A section's lines after those of the `defaults` it stands under, which may stand under others.
fn effective_lines(sections: &[Section], at: usize) -> Vec<&Vec<String>> {
    let mut chain = vec![at];
    let mut current = at;
    while let Some(parent) = defaults_of(sections, current) {
        chain.push(parent);
        current = parent;
    }
    chain
        .into_iter()
        .rev()
        .flat_map(|at| &sections[at].lines)
        .collect()
}

/// The `defaults` over a section: the one it names, else the last one before it. A `defaults`
/// stands under another only if it names it.
fn defaults_of(sections: &[Section], at: usize) -> Option<usize> {
    let named = sections[at].from();
    if named.is_none() && sections[at].kind() == "defaults" {
        return None;
    }
    sections[..at].iter().rposition(|section| {
        section.kind() == "defaults" && (named.is_none() || section.name() == named)
    })
}

const SECTIONS: [&str; 17] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "mailers",
    "resolvers",
    "userlist",
    "program",
    "cache",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
];

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let words = words(line);
        let Some(first) = words.first() else { continue };
        if SECTIONS.contains(&first.as_str()) {
            sections.push(Section {
                head: words,
                lines: Vec::new(),
            });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(words);
        }
    }
    sections
}

/// Splits a line as HAProxy does: blanks, `\x`, '…', "…", and `#` to the end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '#') => break,
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, _) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The configuration of a running HAProxy: its text, and where its relative names begin.
///
/// # Errors
/// In words, why it cannot be seen.
pub(super) fn of_process(pid: u32) -> Result<(String, PathBuf), String> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let hidden = |_| format!("process {pid} cannot be seen from here");
    let program = std::fs::read_to_string(process.join("comm")).map_err(hidden)?;
    if !program.starts_with("haproxy") {
        return Err(format!(
            "process {pid} is another program here (HAProxy runs in a container?)"
        ));
    }
    let line = std::fs::read(process.join("cmdline")).map_err(hidden)?;
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let named = files_named(&arguments);
    if named.is_empty() {
        return Err(format!("process {pid} names no file on its command line"));
    }
    // Absolute names need no working directory, which may be hidden.
    let directory = std::fs::read_link(process.join("cwd")).unwrap_or_default();
    let mut text = String::new();
    for name in named {
        for file in expand(&directory.join(name))? {
            text.push_str(&read(&file)?);
            text.push('\n');
        }
        if text.len() as u64 > CONFIGURATION_MAX {
            return Err(format!("it is longer than {CONFIGURATION_MAX} bytes"));
        }
    }
    Ok((text, directory))
}

/// The files and directories a command line names: after each `-f`, and all after `--`.
fn files_named(arguments: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-f" => found.extend(rest.next()),
            "--" => found.extend(rest.by_ref().filter(|word| !word.is_empty())),
            _ => {}
        }
    }
    found.into_iter().map(String::as_str).collect()
}

/// A directory stands for its `*.cfg` files in order.
fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "cfg"))
        .collect();
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(CONFIGURATION_MAX).read_to_end(&mut bytes))
        .map_err(|error| unreadable(file, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests;
