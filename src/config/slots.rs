//! Reads `[service.NAME.slots]` and judges it against the service's servers: each is in exactly one
//! slot. Where the servers are derived, so are the slots.

use super::accepted::SLOTS;
use super::errors::{Problems, quoted};
use super::reader::{Located, Reader, parsed, text};
use super::service::ServiceText;
use super::suggest;
use super::tree::{Node, Place};
use crate::model::ServerName;
use crate::model::service::Server;
use crate::model::strategy::{Slot, Slots};

const MEND: &str = "name its servers, e.g. blue = [\"web1\", \"web2\"]";

/// Slots as read.
pub(super) struct SlotsText {
    blue: SlotText,
    green: SlotText,
    /// Where the table is.
    place: Place,
}

/// One slot as read.
struct SlotText {
    servers: Vec<Located<ServerName>>,
    /// Whether every name in it is one.
    is_whole: bool,
    place: Place,
}

/// Reads the slots.
pub(super) fn read(node: &Node, problems: &Problems<'_>) -> SlotsText {
    let reader = Reader::new(node, &SLOTS, problems);
    let is_table = node.table().is_some();
    SlotsText {
        blue: slot(&reader, "blue", is_table, problems),
        green: slot(&reader, "green", is_table, problems),
        place: reader.place().clone(),
    }
}

fn slot(reader: &Reader<'_>, key: &str, is_table: bool, problems: &Problems<'_>) -> SlotText {
    if is_table && !reader.mentions(key, &SLOTS) {
        reader.missing(key, MEND);
    }
    let Some(list) = reader.list(key, MEND) else {
        return SlotText {
            servers: Vec::new(),
            is_whole: false,
            place: reader.place().of_key(key),
        };
    };
    let name = |node| parsed(&text(node, problems)?, "use a server's name", problems);
    let servers: Vec<_> = list.value.iter().filter_map(name).collect();
    SlotText {
        is_whole: servers.len() == list.value.len(),
        servers,
        place: list.place,
    }
}

/// The slots of a service with these servers.
pub(super) fn settle(
    service: &ServiceText,
    servers: &[Located<Server>],
    instances: u32,
    problems: &Problems<'_>,
) -> Slots {
    let Some(slots) = &service.takeover.slots else {
        if service.servers.is_some() {
            let what = "is missing: blue-green needs to know which servers belong together";
            let mend = "add [service.NAME.slots] with blue = [\"web1\"] and green = [\"web2\"], \
                        every server in one of them";
            problems.error(&service.place.of_key("slots"), what, mend);
        }
        return halves(servers);
    };
    let written = service.servers.as_ref().map(|servers| servers.written);
    let servers_are_whole = written.is_none_or(|written| written == servers.len());
    if servers_are_whole && slots.blue.is_whole && slots.green.is_whole {
        slots.judge(servers, instances, problems);
    }
    slots.settled()
}

/// The first half is blue, the second green.
fn halves(servers: &[Located<Server>]) -> Slots {
    let (blue, green) = servers.split_at(servers.len() / 2);
    let names = |half: &[Located<Server>]| half.iter().map(|s| s.value.name.clone()).collect();
    Slots {
        blue: names(blue),
        green: names(green),
    }
}

impl SlotsText {
    fn of(&self, slot: Slot) -> &SlotText {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    fn settled(&self) -> Slots {
        let names = |slot: &SlotText| slot.servers.iter().map(|s| s.value.clone()).collect();
        Slots {
            blue: names(&self.blue),
            green: names(&self.green),
        }
    }

    /// Every server in exactly one slot, and each slot large enough.
    fn judge(&self, servers: &[Located<Server>], instances: u32, problems: &Problems<'_>) {
        let known = || servers.iter().map(|server| server.value.name.as_str());
        let mut seen: Vec<&ServerName> = Vec::new();
        for named in Slot::BOTH.iter().flat_map(|slot| &self.of(*slot).servers) {
            let name = &named.value;
            if !known().any(|server| server == name.as_str()) {
                let what = format!("{} is no server of the service", quoted(name.as_str()));
                problems.error(&named.place, what, suggest::mend(name.as_str(), known()));
            } else if seen.contains(&name) {
                let what = format!("{name} is in a slot already");
                problems.error(&named.place, what, "leave it in one of them");
            }
            seen.push(name);
        }
        let without = servers.iter().find(|s| !seen.contains(&&s.value.name));
        if let Some(server) = without {
            let what = format!("server {} is in no slot", server.value.name);
            problems.error(&self.place, what, "add it to blue or green");
        }
        for slot in Slot::BOTH {
            let text = self.of(slot);
            let count = text.servers.len();
            if count < instances as usize {
                let what = format!("has {count} servers, but must hold {instances} instances");
                let mend = "name more servers in it, or lower instances: one slot serves alone";
                problems.error(&text.place, what, mend);
            }
        }
    }
}
