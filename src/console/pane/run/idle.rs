//! Pane 1 without a rollout: what runs, where `R` would go, and how the last one ended.

use super::Room;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::model::Status;
use crate::view::snapshot::{ClosedView, PlacementView};
use ratatui::text::Line;

impl Room<'_> {
    pub(super) fn idle(&self, view: &PlacementView) -> Vec<Line<'static>> {
        let fg = self.theme.style(Role::Fg);
        let mut lines = Vec::new();
        let stable = match &view.stable {
            Some(stable) => format!("{} has all traffic", stable.version),
            None => "nothing is deployed yet".to_owned(),
        };
        lines.extend(self.said("Stable", &stable, self.theme.style(Role::Stable)));
        lines.extend(self.instances(view));
        if let Some(rate) = view.traffic.requests_per_s {
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
