//! A change to a backend: the line that makes it, and what came of it by the read-back.
//!
//! Must not know sockets or files.

use super::parse::{self, Dump, ServerState, StateTable};
use super::socket::LINE_MAX;
use super::state_file::Ticket;
use crate::model::effect::ServerSetting;
use crate::model::world::Admin;
use crate::model::{Clean, Name, Outcome, ServerName};
use std::collections::BTreeMap;

/// Longest part of HAProxy's own words that is passed on, in characters.
const WORDS_MAX: usize = 300;

/// What came of a line that HAProxy may have got.
pub(super) struct Sent {
    /// Whether it answered. If not, it may carry the line out even later.
    pub(super) answered: bool,
    /// Epoch and state table from just before the change, if it told.
    pub(super) before: Option<(String, StateTable)>,
    /// What it showed behind the change, to be read strictly.
    pub(super) after: Option<(String, Ticket)>,
    /// Its own words about the change, or why there are none.
    pub(super) words: Clean,
}

impl Sent {
    pub(super) fn answered(reply: &str, backend: &Name, ticket: Ticket) -> Self {
        let (reply, after) = reply.split_at(after_begins(reply));
        let mut parts = reply.trim_start_matches('\n').splitn(3, "\n\n");
        let (info, table) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let before = parse::process(info).ok().map(|(_, epoch)| epoch);
        let before = before.zip(parse::state_table(table.trim_start_matches('\n'), backend).ok());
        let said: Vec<&str> = parts
            .next()
            .unwrap_or("")
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let words = match said.is_empty() {
            true => "HAProxy said nothing".to_owned(),
            false => format!("HAProxy said: {}", said.join(" ")),
        };
        Self {
            answered: true,
            before,
            after: (!after.is_empty()).then(|| (after.to_owned(), ticket)),
            words: Clean::line(&words, WORDS_MAX),
        }
    }
}

/// Where the second `show info` of a reply begins: the look behind the change. Its end without one.
fn after_begins(reply: &str) -> usize {
    const FIRST_LINE: &str = "\nName: ";
    let first = reply.find(FIRST_LINE.trim_start()).map_or(0, |at| at + 1);
    reply[first..]
        .rfind(FIRST_LINE)
        .map_or(reply.len(), |at| first + at + 1)
}

/// The commands that make the settings, in the order given. Inside one server the order is such
/// that no request reaches it at a weight nobody asked for: weight before `ready`, `maint` and
/// `drain` before weight.
pub(super) fn change_line(
    backend: &Name,
    settings: &[(ServerName, ServerSetting)],
) -> Result<String, Clean> {
    let mut commands = Vec::with_capacity(2 * settings.len());
    for (server, setting) in settings {
        let place = format!("{backend}/{server}");
        // Names are validated where they are made; this line is the last place to be sure.
        if place.contains([';', '\n', '\r', ' ', '\\', '"']) {
            return Err(Clean::new(&format!("{place} cannot be put into a command")));
        }
        if setting.weight > 256 {
            let weight = setting.weight;
            return Err(Clean::new(&format!(
                "{place}: weight {weight} is above 256"
            )));
        }
        // Absolute numbers only: HAProxy takes "50%" and makes it 0 (measured).
        let weight = format!("set weight {place} {}", setting.weight);
        let state = |word: &str| format!("set server {place} state {word}");
        commands.extend(match setting.admin {
            Admin::Ready => [weight, state("ready")],
            Admin::Drain => [state("drain"), weight],
            Admin::Maintenance => [state("maint"), weight],
        });
    }
    let line = commands.join("; ");
    if line.len() > LINE_MAX - backend.as_str().len() - 64 {
        let count = settings.len();
        return Err(Clean::new(&format!(
            "{count} servers do not fit into one command line"
        )));
    }
    Ok(line)
}

/// Whether a server is as it was to be. A weight is held only against a ready server: elsewhere
/// it moves no request.
fn is_set(state: &ServerState, setting: &ServerSetting) -> bool {
    let weight_holds = setting.admin != Admin::Ready || state.weight == setting.weight;
    state.admin() == setting.admin && weight_holds
}

/// The first setting the table does not show, in words; `None` if it shows them all. A server
/// that was set twice is to be as set last.
pub(super) fn missing(
    table: &StateTable,
    settings: &[(ServerName, ServerSetting)],
) -> Option<String> {
    let last: BTreeMap<_, _> = settings
        .iter()
        .map(|(server, setting)| (server, setting))
        .collect();
    last.into_iter()
        .find_map(|(server, setting)| match table.servers.get(server) {
            None => Some(format!("no server {server}")),
            Some(state) if is_set(state, setting) => None,
            Some(state) => {
                let (admin, weight) = (state.admin(), state.weight);
                Some(format!("server {server} is {admin:?} at weight {weight}"))
            }
        })
}

/// Rejected if certainly nothing changed: HAProxy answered, the same process still runs, and the
/// tables before and after are the same. Unknown otherwise.
pub(super) fn not_applied(
    sent: &Sent,
    after: &Dump,
    settings: &[(ServerName, ServerSetting)],
    missing: &str,
) -> Outcome {
    let view = |table: &StateTable, server: &ServerName| {
        let state = table.servers.get(server);
        state.map(|state| (state.admin(), state.weight))
    };
    let unchanged = sent.before.as_ref().is_some_and(|(epoch, before)| {
        let mut servers = settings.iter().map(|(server, _)| server);
        *epoch == after.reading.epoch
            && servers.all(|server| view(before, server) == view(&after.table, server))
    });
    let why = Clean::new(&format!("{missing} after the change; {}", sent.words));
    match unchanged {
        true => Outcome::Rejected { why },
        false => Outcome::Unknown { why },
    }
}
