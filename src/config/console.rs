//! Reads `[console]` and `[keys]`: how the screen behaves. Whether a theme, an action or a key
//! exists is for the console to say; here they are only texts with their places.

use super::accepted::CONSOLE;
use super::errors::{Position, Problems};
use super::reader::{Reader, integer, text};
use super::tree::{Node, Value};

/// What is decided by looking at the terminal unless somebody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Toggle {
    /// By looking at the terminal.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How a person is called who is not looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attention {
    /// By what the terminal is known to support.
    #[default]
    Auto,
    /// The terminal's bell.
    Bell,
    /// The escape sequence OSC 9.
    Osc9,
    /// The escape sequence OSC 777.
    Osc777,
    /// Not at all.
    Off,
}

/// The screen's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsoleSettings {
    /// The theme's name; chosen by the terminal's colours when absent.
    pub theme: Option<String>,
    /// Draw with ASCII only.
    pub ascii: Toggle,
    /// Wrap frames so that the terminal shows them whole.
    pub synchronized_output: Toggle,
    /// Draw seldom and little.
    pub low_bandwidth: bool,
    /// How long a lone Esc waits for the rest of a sequence, in ms; by the connection when absent.
    pub esc_timeout_ms: Option<u16>,
    /// How a person is called who is not looking.
    pub notify: Attention,
}

/// One entry of `[keys]`, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBinding {
    /// The action's name.
    pub action: String,
    /// The key.
    pub key: String,
    /// Where it is written.
    pub position: Position,
}

const TOGGLES: [(&str, Toggle); 3] = [
    ("auto", Toggle::Auto),
    ("on", Toggle::On),
    ("off", Toggle::Off),
];

const ATTENTIONS: [(&str, Attention); 5] = [
    ("auto", Attention::Auto),
    ("bell", Attention::Bell),
    ("osc9", Attention::Osc9),
    ("osc777", Attention::Osc777),
    ("off", Attention::Off),
];

/// Reads `[console]`.
pub(super) fn settings(node: &Node, problems: &Problems<'_>) -> ConsoleSettings {
    let reader = Reader::new(node, &CONSOLE, problems);
    let toggle = |key| {
        reader
            .word(key, &TOGGLES)
            .map_or(Toggle::Auto, |found| found.value)
    };
    ConsoleSettings {
        theme: reader
            .text("theme")
            .map(|text| text.value.to_owned())
            .filter(|theme| theme != "auto"),
        ascii: toggle("ascii"),
        synchronized_output: toggle("synchronized_output"),
        low_bandwidth: reader.flag("low_bandwidth", false),
        esc_timeout_ms: esc_timeout_ms(&reader, problems),
        notify: reader
            .word("notify", &ATTENTIONS)
            .map_or(Attention::Auto, |found| found.value),
    }
}

fn esc_timeout_ms(reader: &Reader<'_>, problems: &Problems<'_>) -> Option<u16> {
    let node = reader.node("esc_timeout_ms")?;
    match &node.value {
        Value::Text(word) if word == "auto" => None,
        _ => integer(node, 0..=1_000, problems).map(|found| found.value),
    }
}

/// Reads `[keys]`, in the order of the actions' names.
pub(super) fn keys(node: &Node, problems: &Problems<'_>) -> Vec<KeyBinding> {
    Reader::open(node, problems)
        .entries()
        .filter_map(|(action, place, value)| {
            Some(KeyBinding {
                action: action.to_owned(),
                key: text(value, problems)?.value.to_owned(),
                position: problems.position(place),
            })
        })
        .collect()
}
