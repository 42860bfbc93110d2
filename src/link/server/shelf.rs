//! The newest snapshot as a frame, encoded once for all who watch.
//!
//! Must not know who takes it.

use crate::link::frame::{FrameError, encode};
use crate::link::wire::ServerFrame;
use crate::view::Snapshot;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Holds one encoded snapshot.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Option<(Arc<Snapshot>, Bytes)>>);

impl Shelf {
    /// The frame of a snapshot. The first who asks encodes it (about a millisecond for 200
    /// placements), under the lock, so that the others wait for it instead of doing the same.
    ///
    /// # Errors
    /// When it is too long for a frame.
    pub(super) fn frame(&self, snapshot: Arc<Snapshot>) -> Result<Bytes, FrameError> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, frame)) = shelf.as_ref()
            && Arc::ptr_eq(kept, &snapshot)
        {
            return Ok(frame.clone());
        }
        let frame = encode(&ServerFrame::Snapshot {
            snapshot: Arc::clone(&snapshot),
        })?;
        *shelf = Some((snapshot, frame.clone()));
        Ok(frame)
    }
}
