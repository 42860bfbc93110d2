//! Theme files: TOML, every key optional, an unknown one only a warning.

use super::ROLES;
use ratatui::style::Color;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The shipped themes.
const BUILTIN: [(&str, &str); 2] = [
    (
        "default-dark",
        include_str!("../../../themes/default-dark.toml"),
    ),
    ("ansi16", include_str!("../../../themes/ansi16.toml")),
];

/// The theme a file extends that names none.
const ROOT: &str = "default-dark";

/// Themes in a chain of `extends`; more is a circle.
const CHAIN_MAX: usize = 8;

/// Why there is no such theme.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    /// No such name.
    #[error("there is no theme {name:?}; themes are {known}{}", beside(dir.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
        /// Where files were looked for.
        dir: Option<PathBuf>,
    },
    /// The file is no TOML.
    #[error("theme {name} cannot be read")]
    Broken {
        /// The theme.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is no colour.
    #[error(
        "theme {name}: {key} = {value} is no colour; use a name, \"#rrggbb\", 0 to 255 or \"reset\""
    )]
    Colour {
        /// The theme.
        name: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// It extends itself.
    #[error("theme {name} extends itself; take `extends` out of one of the files")]
    Circle {
        /// The theme.
        name: String,
    },
}

fn beside(dir: Option<&Path>) -> String {
    dir.map(|dir| format!(", or files in {}", dir.display()))
        .unwrap_or_default()
}

/// The shipped themes' names.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// A theme as its file and those it extends say.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) colours: [Color; ROLES.len()],
    pub(super) environments: BTreeMap<String, Color>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn read(name: &str, dir: Option<&Path>) -> Result<Written, ThemeError> {
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next.take() {
        if chain.len() == CHAIN_MAX {
            return Err(ThemeError::Circle { name });
        }
        let table = parse(&name, &text(&name, dir)?)?;
        next = match table.get("extends").and_then(Value::as_str) {
            Some(parent) => Some(parent.to_owned()),
            None if builtin_names().any(|builtin| builtin == name) => None,
            None => Some(ROOT.to_owned()),
        };
        chain.push((name, table));
    }
    let mut written = Written {
        colours: [Color::Reset; ROLES.len()],
        environments: BTreeMap::new(),
        warnings: Vec::new(),
    };
    for (name, table) in chain.iter().rev() {
        written.lay_over(name, table)?;
    }
    Ok(written)
}

fn text(name: &str, dir: Option<&Path>) -> Result<String, ThemeError> {
    if let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        return Ok((*text).to_owned());
    }
    let unknown = || ThemeError::Unknown {
        name: name.to_owned(),
        known: builtin_names().collect::<Vec<_>>().join(", "),
        dir: dir.map(Path::to_owned),
    };
    let safe = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let dir = dir.filter(|_| safe).ok_or_else(unknown)?;
    std::fs::read_to_string(dir.join(format!("{name}.toml"))).map_err(|_| unknown())
}

fn parse(name: &str, text: &str) -> Result<Table, ThemeError> {
    text.parse().map_err(|source| ThemeError::Broken {
        name: name.to_owned(),
        source: Box::new(source),
    })
}

impl Written {
    fn lay_over(&mut self, name: &str, table: &Table) -> Result<(), ThemeError> {
        for (key, value) in table {
            match (key.as_str(), ROLES.iter().find(|(role, _)| role == key)) {
                (_, Some((_, role))) => {
                    self.colours[*role as usize] = colour(name, key, value)?;
                }
                ("extends" | "name", None) => {}
                ("env", None) => self.environments_of(name, value)?,
                (_, None) => self
                    .warnings
                    .push(format!("theme {name}: unknown key {key}")),
            }
        }
        Ok(())
    }

    fn environments_of(&mut self, name: &str, value: &Value) -> Result<(), ThemeError> {
        for (environment, keys) in value.as_table().into_iter().flatten() {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let path = format!("env.{environment}.{key}");
                match key.as_str() {
                    "accent" => {
                        let accent = colour(name, &path, value)?;
                        self.environments.insert(environment.clone(), accent);
                    }
                    _ => self
                        .warnings
                        .push(format!("theme {name}: unknown key {path}")),
                }
            }
        }
        Ok(())
    }
}

fn colour(name: &str, key: &str, value: &Value) -> Result<Color, ThemeError> {
    let parsed = match value {
        Value::String(text) => text.parse().ok(),
        Value::Integer(index) => u8::try_from(*index).ok().map(Color::Indexed),
        _ => None,
    };
    parsed.ok_or_else(|| ThemeError::Colour {
        name: name.to_owned(),
        key: key.to_owned(),
        value: value.to_string(),
    })
}
