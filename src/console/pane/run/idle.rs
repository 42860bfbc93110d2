//! Pane 1 without a rollout: what runs, where `R` would go, and how the last one ended.

use super::Room;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::model::Status;
use crate::view::snapshot::{ClosedView, PlacementView, Ready, ReadyView};
use ratatui::text::Line;

/// `v1 warm until 12:23:42`, `v0 here`, `v0 starts anew`: only what is known.
fn readiness(version: &ReadyView) -> String {
    let until = version.warm_until_ms.map(text::time_of_day);
    let left = if version.withdrawn {
        ", rolled back from"
    } else {
        ""
    };
    let ready = match (version.ready, until) {
        (Ready::Pinned | Ready::Anew, _) if version.stock_words().is_some() => {
            version.stock_words().unwrap_or_default()
        }
        (Ready::Warm, Some(until)) => format!("warm until {until}"),
        (Ready::Warm, None) => "warm".to_owned(),
        (Ready::Here, _) => "here".to_owned(),
        (Ready::Pinned, _) => "starts anew from its pinned image".to_owned(),
        (Ready::Anew, _) => "starts anew".to_owned(),
    };
    format!("{} {ready}{left}", version.version)
}

impl Room<'_> {
    pub(super) fn idle(&self, view: &PlacementView, now_ms: u64) -> Vec<Line<'static>> {
        let fg = self.theme.style(Role::Fg);
        let mut lines = Vec::new();
        let stable = match &view.stable {
            Some(stable) => format!("{} has all traffic", stable.version),
            None => "nothing is deployed yet".to_owned(),
        };
        lines.extend(self.said("Stable", &stable, self.theme.style(Role::Stable)));
        match &view.slots {
            Some(slots) if self.rows < 12 => lines.push(self.colour(view, slots)),
            Some(slots) => lines.extend(self.slots(view, slots, now_ms)),
            None => lines.extend(self.instances(view)),
        }
        let told = view.slots.is_some() && self.rows >= 12;
        if let Some(rate) = view.traffic.requests_per_s.filter(|_| !told) {
            lines.extend(self.said("Traffic", &text::figure(rate, "/s"), fg));
        }
        if let Some(back) = &view.rollback {
            let until = back
                .warm_until_ms
                .map(|at_ms| format!(" until {}", text::time_of_day(at_ms)))
                .unwrap_or_default();
            let ready = format!("R goes to {}: {}{until}", back.version, back.readiness);
            lines.extend(self.said("Rollback", &ready, fg));
        }
        if view.ready.len() > 1 && self.rows >= 12 {
            let texts: Vec<_> = view.ready.iter().map(readiness).collect();
            lines.extend(self.said("Versions", &texts.join(", "), self.muted()));
        }
        if let Some(last) = &view.last {
            lines.push(Line::default());
            lines.extend(self.last(last));
        }
        let (service, environment) = (&view.placement.service, &view.placement.environment);
        let confirm = match view.protected {
            true => format!(" --confirm {environment}"),
            false => String::new(),
        };
        let deploy = format!("wheelhouse deploy {service} VERSION -e {environment}{confirm}");
        lines.push(Line::default());
        lines.extend(self.said("Deploy", &deploy, self.muted()));
        lines
    }

    fn last(&self, last: &ClosedView) -> Vec<Line<'static>> {
        let symbols = &self.theme.symbols;
        let (mark, role) = match last.status {
            Status::Succeeded => (symbols.passed, Role::Ok),
            Status::Failed | Status::RolledBack => (symbols.failed, Role::Fail),
            Status::Pending | Status::InProgress => (symbols.running, Role::Running),
        };
        let kind = last.kind.phrase();
        let first = format!(
            "{mark} {} {kind} {} {} at {}",
            last.number,
            last.release.version,
            last.status.word(),
            text::time_of_day(last.at_ms)
        );
        let mut lines = self.said("Last", &first, self.theme.style(role));
        lines.extend(self.said("", last.because.as_str(), self.theme.style(Role::Fg)));
        lines
    }
}
