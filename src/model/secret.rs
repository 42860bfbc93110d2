//! Where a secret is to be found. The reference may be shown and recorded; what it leads to may
//! not, and is none of this room's business.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A reference to a secret: `env:NAME`, `file:PATH` or `cmd:["program", "argument"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// An environment variable of the engine.
    Env(String),
    /// A file's content without the line end.
    File(String),
    /// What a program writes to its standard output, without the line end; no shell.
    Command(Vec<String>),
}

/// Why a text is no reference. It never quotes the text: that may be the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no reference to a secret: write env:NAME, file:/PATH or cmd:[\"PROGRAM\", \"ARG\"]")]
pub struct SecretRefError;

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (kind, rest) = text.split_once(':').ok_or(SecretRefError)?;
        let clean = !rest.is_empty() && !rest.contains(['\0', '\n', '\r']);
        match kind {
            "env" if clean && !rest.contains('=') => Ok(Self::Env(rest.to_owned())),
            "file" if clean && rest.starts_with('/') => Ok(Self::File(rest.to_owned())),
            "cmd" => {
                let words: Vec<String> = serde_json::from_str(rest).map_err(|_| SecretRefError)?;
                let named = words.first().is_some_and(|program| !program.is_empty());
                let whole = words.iter().all(|word| !word.contains('\0'));
                (named && whole)
                    .then_some(Self::Command(words))
                    .ok_or(SecretRefError)
            }
            _ => Err(SecretRefError),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = SecretRefError;
    fn try_from(text: String) -> Result<Self, SecretRefError> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        reference.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Command(words) => {
                write!(f, "cmd:{}", serde_json::Value::from(words.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_survive_their_text_form_and_others_are_refused() {
        for good in [
            "env:TOKEN",
            "file:/run/token",
            r#"cmd:["pass","show","x y"]"#,
        ] {
            let parsed: SecretRef = good.parse().expect("a reference");
            assert_eq!(parsed.to_string(), good);
        }
        for bad in [
            "hunter2",
            "env:A=B",
            "file:relative",
            "cmd:pass show",
            "cmd:[]",
            "vault:x",
        ] {
            let error = bad.parse::<SecretRef>().expect_err("no reference");
            assert!(
                !error.to_string().contains(bad),
                "it may be the secret itself"
            );
        }
    }
}
