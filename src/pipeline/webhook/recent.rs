//! What pushes started of late. Providers tell of a merge twice, as a push and as a merge; whichever
//! comes second starts nothing. Pure.

use super::{Moved, WebhookEvent, WebhookRule};
use crate::model::PipelineName;
use std::collections::VecDeque;

/// So long the second one may come after the first.
const TOGETHER_MS: u64 = 10 * 60_000;
/// Most that are remembered.
const KEPT: usize = 256;

/// What was started of late, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Told>);

#[derive(Debug)]
struct Told {
    pipeline: PipelineName,
    branch: String,
    commit: String,
    event: WebhookEvent,
    at_ms: u64,
}

impl Recent {
    /// Remembers what was started.
    pub(super) fn remember(&mut self, rule: &WebhookRule, moved: &Moved, now_ms: u64) {
        self.0.push_back(Told {
            pipeline: rule.pipeline.clone(),
            branch: moved.branch.clone(),
            commit: moved.commit.clone(),
            event: moved.event,
            at_ms: now_ms,
        });
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Whether the same commit of the same branch was told of by another event. The same event once
    /// more is for the engine to judge: a branch may be moved back.
    pub(super) fn is_told_otherwise(&self, rule: &WebhookRule, moved: &Moved, now_ms: u64) -> bool {
        self.0.iter().any(|told| {
            told.event != moved.event
                && told.at_ms + TOGETHER_MS >= now_ms
                && told.pipeline == rule.pipeline
                && told.branch == moved.branch
                && told.commit == moved.commit
                && WebhookEvent::Tag != moved.event
                && WebhookEvent::Tag != told.event
        })
    }
}
