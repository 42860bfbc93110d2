//! The second chapter beside a person's console: a switch between two slots, and a restart.

use super::{FIRST, GOOD, REQUESTS_PER_S, THE_END};
use crate::model::{RolloutKind, Status};
use crate::view::snapshot::{ClosedView, PhaseView, PlacementView, RolloutView};

/// How the person comes to the service, where another one may be on the screen.
const GO_THERE: &str = "0, j, Enter shows stock";

/// The release that comes next, `None` while it is the person's turn.
pub(super) fn arriving(view: &PlacementView) -> Option<&'static str> {
    let last = view.last.as_ref().filter(|_| view.rollout.is_none())?;
    match (last.kind, last.release.version.as_str()) {
        (RolloutKind::Deploy, FIRST) => Some(GOOD),
        _ => None,
    }
}

/// Whether more than the first version was brought.
pub(super) fn has_begun(view: &PlacementView) -> bool {
    view.rollout.is_some() || view.last.is_some() && arriving(view).is_none()
}

/// What there is to see and to try now; `several` is whether other services are on the screen.
pub(super) fn line(view: &PlacementView, several: bool) -> String {
    match (&view.rollout, &view.last) {
        (Some(open), _) => during(open, several),
        (None, Some(last)) => between(view, last, several),
        (None, None) => "The first version is being started.".to_owned(),
    }
}

fn during(open: &RolloutView, several: bool) -> String {
    let version = open.release.version.as_str();
    let text = match (open.kind, open.phase) {
        (_, PhaseView::Reverting) => return format!("{version} goes back: {}", open.because),
        (RolloutKind::Restart, _) => {
            "One instance after the other leaves traffic, ends and begins anew (pane 6). No request \
             is lost."
        }
        (RolloutKind::Rollback, _) => {
            "The slot that stayed warm is proven up, then gets everything at once."
        }
        _ if open.hold.as_ref().is_some_and(|hold| hold.by_person) => {
            "Held: nothing moves forward by itself, and judging goes on. H resumes, A aborts."
        }
        (_, PhaseView::Starting | PhaseView::Smoking) if several => {
            return format!(
                "{version} starts in the idle slot; no request goes there. {GO_THERE}."
            );
        }
        (_, PhaseView::Starting | PhaseView::Smoking) => {
            "It starts in the idle slot (pane 1) and is tested there; no request goes there."
        }
        (_, PhaseView::Ready) if several => {
            return format!(
                "{version} is verified in the idle slot. {GO_THERE}; P, the environment's name, Tab, \
                 Enter: it switches."
            );
        }
        (_, PhaseView::Ready) => {
            "Verified in the idle slot, and no request went there. P, the environment's name, Tab, \
             Enter: all traffic switches."
        }
        _ => {
            "It has all traffic; the other slot stays warm. Let it soak, or A, then y, switches back."
        }
    };
    text.to_owned()
}

fn between(view: &PlacementView, last: &ClosedView, several: bool) -> String {
    let version = last.release.version.as_str();
    let restart = "Now type :restart, Enter: every instance anew, one by one.";
    match (last.kind, last.status) {
        (RolloutKind::Restart, _) => THE_END.to_owned(),
        (RolloutKind::Deploy, _) if version == FIRST && several => {
            format!("Chapter 2, blue-green: {GO_THERE}. v2 comes in a moment.")
        }
        (RolloutKind::Deploy, _) if version == FIRST => {
            format!("v1 in blue answers {REQUESTS_PER_S} requests a second. v2 comes in a moment.")
        }
        (RolloutKind::Deploy, Status::Succeeded) if view.rollback.is_some() => {
            format!("{version} has all traffic, the other slot is warm. R, then y, switches back.")
        }
        (_, Status::Succeeded) => format!("{version} has all traffic. {restart}"),
        _ => format!("{version}: {}. {restart}", last.because),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::after;
    use super::*;

    #[test]
    fn the_chapter_waits_for_the_person_from_its_second_version_on() {
        use RolloutKind::{Deploy, Restart, Rollback};
        let next = |kind, version| arriving(&after(kind, version, Status::Succeeded));
        assert_eq!(next(Deploy, "v1"), Some("v2"));
        for (kind, version) in [(Deploy, "v2"), (Rollback, "v1"), (Restart, "v1")] {
            assert_eq!(next(kind, version), None);
        }
    }

    #[test]
    fn whatever_the_person_did_the_line_leads_to_the_restart() {
        use RolloutKind::{Deploy, Restart, Rollback};
        let said = |kind, version, status| line(&after(kind, version, status), false);
        assert!(said(Deploy, "v2", Status::Succeeded).contains("R, then y"));
        assert!(said(Deploy, "v2", Status::RolledBack).contains(":restart"));
        assert!(said(Rollback, "v1", Status::Succeeded).contains(":restart"));
        assert!(said(Restart, "v1", Status::Succeeded).contains("That was the story"));
        let mut view = after(Deploy, "v2", Status::Succeeded);
        view.rollback = None;
        assert!(line(&view, false).contains(":restart"));
    }
}
