//! Fills PromQL templates in. Pure. Whatever is filled in stays a value inside the quotes it was
//! put into: no label value can end its string and become a query.

use crate::model::metrics::Subject;
use crate::model::{Placement, ServerName};
use std::fmt::Write as _;

/// What one question is filled in with.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// Whose release.
    pub placement: &'a Placement,
    /// The release.
    pub subject: &'a Subject,
    /// What selects its series; itself a template.
    pub selector: &'a str,
    /// How far back the question looks.
    pub window_ms: u64,
}

impl Filling<'_> {
    /// A template with everything filled in. What is filled in is not looked at again.
    pub fn fill(&self, template: &str) -> String {
        let mut query = String::with_capacity(template.len() * 2);
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            query.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find('}').unwrap_or(0);
            match rest.get(1..end).and_then(|word| self.value(word)) {
                Some(value) => {
                    query.push_str(&value);
                    rest = &rest[end + 1..];
                }
                None => {
                    query.push('{');
                    rest = &rest[1..];
                }
            }
        }
        query.push_str(rest);
        query
    }

    fn value(&self, word: &str) -> Option<String> {
        let backend = self.subject.backend.as_ref();
        Some(match word {
            "service" => quoted(self.placement.service.as_str()),
            "env" => quoted(self.placement.environment.as_str()),
            "release" => quoted(&self.subject.release.to_string()),
            "version" => quoted(self.subject.version.as_str()),
            "backend" => quoted(backend.map_or("", |name| name.as_str())),
            "servers" => one_of(self.subject.servers.iter()),
            "window" => format!("{}ms", self.window_ms),
            // A selector that holds itself stays as it is.
            "selector" if self.selector.contains("{selector}") => return None,
            "selector" => self.fill(self.selector),
            _ => return None,
        })
    }
}

/// A text as it may stand inside single or double quotes.
pub fn quoted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' | '.' | '-' | ':' | '/' | '+' | '@' => {
                safe.push(c);
            }
            // Writing to a string does not fail.
            c if u32::from(c) < 0x80 => drop(write!(safe, "\\x{:02x}", u32::from(c))),
            c => drop(write!(safe, "\\U{:08x}", u32::from(c))),
        }
    }
    safe
}

/// A regular expression that matches exactly these servers, as it may stand inside quotes. Nothing
/// matches none.
fn one_of<'a>(servers: impl Iterator<Item = &'a ServerName>) -> String {
    let each: Vec<_> = servers
        .map(|server| {
            let literal = |c: char| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c.to_string(),
                other => format!("[{other}]"),
            };
            server.as_str().chars().map(literal).collect::<String>()
        })
        .collect();
    match each.is_empty() {
        true => "[^\\x00-\\U0010ffff]".to_owned(),
        false => each.join("|"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReleaseId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn subject(servers: &[&str]) -> Subject {
        Subject {
            release: ReleaseId(uuid::Uuid::from_u128(7)),
            version: "v1".parse().expect("a version"),
            servers: servers.iter().map(|s| s.parse().expect("a name")).collect(),
            backend: None,
        }
    }

    fn filled(selector: &str, template: &str) -> String {
        let placement = "web@dev".parse().expect("a placement");
        let filling = Filling {
            placement: &placement,
            subject: &subject(&["web-1", "web2"]),
            selector,
            window_ms: 60_000,
        };
        filling.fill(template)
    }

    #[test]
    fn placeholders_are_filled_in_once_and_other_braces_stay() {
        let query = filled(
            r#"service="{service}",env="{env}""#,
            r#"sum(x{code="5..",{selector}}[{window}]) + y{{selector}} + z{a="b"}"#,
        );
        let selector = r#"service="web",env="dev""#;
        let expected =
            format!(r#"sum(x{{code="5..",{selector}}}[60000ms]) + y{{{selector}}} + z{{a="b"}}"#);
        assert_eq!(query, expected);
        assert_eq!(
            filled("", "x{server=~\"{servers}\"}"),
            "x{server=~\"web[-]1|web2\"}"
        );
        assert_eq!(filled("{selector}", "x{{selector}}"), "x{{selector}}");
        assert_eq!(filled("", "{unknown} {"), "{unknown} {");
    }

    /// FAULTS 86: what PromQL's lexer would make of the quoted text.
    fn unquoted(text: &str) -> Option<String> {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                if "\"'`\n".contains(c) {
                    return None;
                }
                out.push(c);
                continue;
            }
            let digits = match chars.next()? {
                'x' => 2,
                'U' => 8,
                _ => return None,
            };
            let code: String = chars.by_ref().take(digits).collect();
            out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn fault_86_no_value_leaves_its_quotes(value in "\\PC*|.*") {
            let safe = quoted(&value);
            prop_assert_eq!(unquoted(&safe), Some(value));
        }
    }

    #[test]
    fn fault_86_a_hostile_value_stays_a_value() {
        let safe = quoted(r#""}) or vector(1)"#);
        assert_eq!(safe, r"\x22\x7d\x29 or vector\x281\x29");
        let none: BTreeSet<ServerName> = BTreeSet::new();
        assert!(one_of(none.iter()).starts_with("[^"));
    }
}
