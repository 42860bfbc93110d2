//! What a strategy adds to pane 1: blue and green, batches, parts, the time without service.

use super::Room;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::view::snapshot::{LiveSlot, OutageView, PartView, PlacementView, SlotView, SlotsView};
use crate::view::words;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

impl Room<'_> {
    /// Both slots in one line: `Color    BLUE live v1 6/6 up   GREEN idle v2 6/6 up   lb ok`.
    pub(super) fn colour(&self, view: &PlacementView, slots: &SlotsView) -> Line<'static> {
        let mut spans = vec![Span::styled("Color    ", self.muted())];
        for slot in &slots.slots {
            let (said, style) = self.slot(slots, slot);
            spans.push(Span::styled(said, style));
            spans.push(Span::raw("   "));
        }
        let (said, role) = tail(view, slots);
        spans.push(Span::styled(said, self.theme.style(role)));
        Line::from(spans)
    }

    /// Both slots with their shares, since when the live one is, and until when the other is kept.
    pub(super) fn slots(
        &self,
        view: &PlacementView,
        slots: &SlotsView,
        now_ms: u64,
    ) -> Vec<Line<'static>> {
        let rate = view.traffic.requests_per_s;
        let rate = rate.map(|rate| format!("{} over all, ", text::figure(rate, "/s")));
        let title = format!("Traffic  {}{}", rate.unwrap_or_default(), slots.text);
        let role = match tail(view, slots) {
            (_, Role::Ok) => Role::Muted,
            (_, role) => role,
        };
        let mut lines = vec![Line::styled(title, self.theme.style(role))];
        for slot in &slots.slots {
            let (said, style) = self.slot(slots, slot);
            lines.push(Line::styled(format!("  {said}"), style));
            lines.push(Line::styled(format!("    {}", shares(slot)), self.muted()));
            lines.extend(
                since(slot, now_ms).map(|said| Line::styled(format!("    {said}"), self.muted())),
            );
        }
        lines
    }

    fn slot(&self, slots: &SlotsView, slot: &SlotView) -> (String, Style) {
        let name = slot.slot.to_string().to_uppercase();
        let word = word(slots, slot);
        let role = match word.as_str() {
            "live" => Role::Stable,
            "idle" | "?" => Role::Fg,
            _ => Role::Canary,
        };
        let said = match &slot.release {
            None => format!("{name} {word} empty"),
            Some(release) => {
                let (up, needed) = (slot.up, slot.needed);
                format!("{name} {word} {} {up}/{needed} up", release.version)
            }
        };
        (said, self.theme.style(role))
    }

    /// The parts that move with it: `Parts    shop-jobs #13 1/3 new, shop-mail #14 HELD 0/1 new`.
    pub(super) fn parts(&self, parts: &[PartView]) -> Vec<Line<'static>> {
        let said: Vec<_> = parts.iter().map(part).collect();
        let role = match parts.iter().any(|part| part.held) {
            true => Role::Warn,
            false => Role::Fg,
        };
        match said.is_empty() {
            true => Vec::new(),
            false => self.said("Parts", &said.join(", "), self.theme.style(role)),
        }
    }

    /// The time without service, as it runs or as it was measured.
    pub(super) fn outage(&self, outage: OutageView, now_ms: u64) -> Vec<Line<'static>> {
        let since = text::time_of_day(outage.since_ms);
        match outage.until_ms {
            None => {
                let so_far = words::clock(now_ms.saturating_sub(outage.since_ms));
                let said = format!("NO SERVICE for {so_far}, since {since}");
                self.said("Outage", &said, self.theme.style(Role::Fail))
            }
            Some(until_ms) => {
                let lasted = words::span(until_ms.saturating_sub(outage.since_ms));
                let until = text::time_of_day(until_ms);
                let said = format!("no service for {lasted}, {since} to {until}");
                self.said("Outage", &said, self.theme.style(Role::Warn))
            }
        }
    }
}

/// `live`, `idle`, its share while both have traffic, `?` before a reading.
fn word(slots: &SlotsView, slot: &SlotView) -> String {
    let share = slot.applied_percent;
    match (slots.live, slot.serves) {
        (LiveSlot::Unknown, _) | (_, None) => "?".to_owned(),
        (LiveSlot::Both, Some(true)) => {
            share.map_or_else(|| "?".to_owned(), |share| format!("{share:.0}%"))
        }
        (_, Some(true)) => "live".to_owned(),
        (_, Some(false)) => "idle".to_owned(),
    }
}

/// Whether the balancers are well, or what is odd about the slots.
fn tail(view: &PlacementView, slots: &SlotsView) -> (String, Role) {
    let trouble = view.peers.iter().any(|peer| {
        let balancer = peer.name.as_str().starts_with("balancer ");
        balancer && peer.trouble.is_some()
    });
    let said = slots.text.to_string();
    match slots.live {
        _ if trouble => ("lb TROUBLE".to_owned(), Role::Fail),
        LiveSlot::Unknown => ("lb not read".to_owned(), Role::Warn),
        LiveSlot::Neither => (said, Role::Fail),
        LiveSlot::Both if !is_switching(view) => (said, Role::Fail),
        LiveSlot::Both | LiveSlot::Blue | LiveSlot::Green => ("lb ok".to_owned(), Role::Ok),
    }
}

fn is_switching(view: &PlacementView) -> bool {
    let wanted = view.traffic.wanted_percent.unwrap_or(0.0);
    view.rollout.is_some() && wanted > 0.0
}

fn shares(slot: &SlotView) -> String {
    let rows = [
        ("wanted", slot.wanted_percent),
        ("applied", slot.applied_percent),
        ("observed", slot.observed_percent),
    ];
    let texts = rows.map(|(name, share)| match share {
        Some(share) if share.fract() == 0.0 => format!("{name} {share:.0}%"),
        Some(share) => format!("{name} {share:.1}%"),
        None => format!("{name} -"),
    });
    texts.join("  ")
}

fn since(slot: &SlotView, now_ms: u64) -> Option<String> {
    if let Some(since_ms) = slot.since_ms {
        let by = slot.by.as_ref().map(|by| format!(" by {by}"));
        let by = by.unwrap_or_default();
        return Some(format!("live since {}{by}", text::day_and_time(since_ms)));
    }
    let until_ms = slot.warm_until_ms.filter(|until_ms| *until_ms > now_ms)?;
    Some(format!("kept warm until {}", text::time_of_day(until_ms)))
}

fn part(part: &PartView) -> String {
    let (name, number) = (&part.placement.service, part.number);
    let held = if part.held { "HELD " } else { "" };
    format!(
        "{name} {number} {held}{}/{} new",
        part.replaced, part.instances
    )
}
