//! Markers kept by a daemon, numbered: the highest one is the target's.
//!
//! No kernel's lock stands behind them. Each is made or found in one step and never changed, so of
//! several engines that want the next number exactly one gets it, and nobody ever removes the
//! marker of an engine that may hold the target.

use super::{Holder, NotOurs};
use crate::model::Clean;
use futures::future::BoxFuture;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where numbered markers hang. Each call has a deadline of its own; errors are for people and
/// name the peer.
pub trait Board: Send + Sync {
    /// What people call it, e.g. `Docker's volumes`.
    fn words(&self) -> Clean;

    /// All of a target's markers: number and text.
    fn all(&self) -> BoxFuture<'_, Result<Vec<(u64, String)>, Clean>>;

    /// Makes the marker of this number unless there is one, and gives back the text of the one
    /// there is then: of several askers exactly one finds its own.
    fn post(&self, number: u64, text: String) -> BoxFuture<'_, Result<String, Clean>>;

    /// Removes the marker of this number.
    fn remove(&self, number: u64) -> BoxFuture<'_, Result<(), Clean>>;
}

/// A lease by markers on a [`Board`].
pub struct DaemonLease {
    board: Box<dyn Board>,
    me: Holder,
    standing: Mutex<Standing>,
    /// One look at a time: one that hangs is not joined by others.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for DaemonLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonLease")
            .field("me", &self.me)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not held yet, or held by another.
    Waiting,
    /// Held, by the marker of this number.
    Held(u64),
    /// Taken over by another engine: it stays so until a person takes it back.
    Lost(Holder),
}

/// What hangs there: the highest marker, if any.
struct Found {
    number: u64,
    holder: Option<Holder>,
}

impl DaemonLease {
    /// A lease on what this board's markers are about. Nothing is touched yet.
    pub fn new(board: impl Board + 'static, me: Holder) -> Self {
        Self {
            board: Box::new(board),
            me,
            standing: Mutex::new(Standing::Waiting),
            looking: Arc::default(),
        }
    }

    /// Where its markers hang.
    pub(super) fn words(&self) -> Clean {
        self.board.words()
    }

    /// Whether it was held when last looked at.
    pub(super) fn is_held(&self) -> bool {
        matches!(*self.lock(), Standing::Held(_))
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, standing: Standing) {
        *self.lock() = standing;
    }

    /// As [`super::Lease::check`], however long it takes. Goes on when nobody waits for it any
    /// more, so that a far daemon's answer counts for the next who asks.
    pub(super) async fn check(self: Arc<Self>) -> Result<(), NotOurs> {
        let one = Arc::clone(&self.looking).lock_owned().await;
        let look = tokio::spawn(async move {
            let _one = one;
            self.look().await
        });
        look.await
            .unwrap_or_else(|error| Err(NotOurs::Unknown(Clean::new(&error.to_string()))))
    }

    async fn look(&self) -> Result<(), NotOurs> {
        let before = self.lock().clone();
        if let Standing::Lost(holder) = before {
            return Err(NotOurs::Lost(holder));
        }
        let was_held = matches!(before, Standing::Held(_));
        let looked = self.claim(was_held).await;
        match &looked {
            Ok(number) => self.stand(Standing::Held(*number)),
            Err(NotOurs::Lost(holder)) => self.stand(Standing::Lost(holder.clone())),
            // Nothing shows that it is another's.
            Err(NotOurs::Unknown(_)) if was_held => return Ok(()),
            Err(_) => {}
        }
        looked.map(|_| ())
    }

    /// Finds our marker, or posts one where the highest is nobody's any more; its number.
    async fn claim(&self, was_held: bool) -> Result<u64, NotOurs> {
        let found = self.highest().await.map_err(NotOurs::Unknown)?;
        let Some(found) = found else {
            return self.post(1, was_held).await;
        };
        let holder = self.read(found.holder);
        match holder {
            mine if mine.engine == self.me.engine => Ok(found.number),
            other if was_held => Err(NotOurs::Lost(other)),
            gone if gone.is_gone(&self.me) => self.post(found.number + 1, was_held).await,
            other => Err(NotOurs::Held(other)),
        }
    }

    async fn post(&self, number: u64, was_held: bool) -> Result<u64, NotOurs> {
        let unread = |error: serde_json::Error| NotOurs::Unknown(Clean::new(&error.to_string()));
        let text = serde_json::to_string(&self.me).map_err(unread)?;
        let there = self.board.post(number, text).await;
        let there = self.read(serde_json::from_str(&there.map_err(NotOurs::Unknown)?).ok());
        match there.engine == self.me.engine {
            true => {
                self.tidy(number).await;
                Ok(number)
            }
            false if was_held => Err(NotOurs::Lost(there)),
            false => Err(NotOurs::Held(there)),
        }
    }

    /// Removes markers below this number: whoever posted them has lost or left. What stays counts
    /// for nothing while a higher one hangs.
    async fn tidy(&self, below: u64) {
        let all = self.board.all().await.unwrap_or_default();
        for (number, _) in all.into_iter().filter(|(number, _)| *number < below) {
            if let Err(why) = self.board.remove(number).await {
                tracing::debug!("an old marker stays: {why}");
            }
        }
    }

    async fn highest(&self) -> Result<Option<Found>, Clean> {
        let all = self.board.all().await?;
        let highest = all.into_iter().max_by_key(|(number, _)| *number);
        Ok(highest.map(|(number, text)| Found {
            number,
            holder: serde_json::from_str(&text).ok(),
        }))
    }

    /// A marker nobody can read was written by an engine all the same.
    fn read(&self, holder: Option<Holder>) -> Holder {
        holder.unwrap_or_else(|| Holder {
            host: "a machine its marker does not tell".into(),
            boot: String::new(),
            user: "somebody".into(),
            engine: String::new(),
            pid: 0,
            process: None,
            since_ms: 0,
        })
    }

    /// As [`super::Lease::take_over`].
    pub(super) async fn take_over(&self) -> io::Result<Option<Holder>> {
        let _one = self.looking.lock().await;
        let failed = |why: Clean| io::Error::other(why.into_string());
        let found = self.highest().await.map_err(failed)?;
        let number = found.as_ref().map_or(1, |found| found.number + 1);
        let from = found.map(|found| self.read(found.holder));
        if from
            .as_ref()
            .is_some_and(|from| from.engine == self.me.engine)
        {
            self.stand(Standing::Held(number - 1));
            return Ok(None);
        }
        match self.post(number, false).await {
            Ok(number) => {
                self.stand(Standing::Held(number));
                Ok(from)
            }
            Err(not_ours) => Err(io::Error::other(not_ours)),
        }
    }

    /// Gives the target back, so that an engine elsewhere may have it. One that ends without is
    /// found out on its own machine only.
    pub(super) async fn release(&self) {
        let _one = self.looking.lock().await;
        let Standing::Held(number) = self.lock().clone() else {
            return;
        };
        self.tidy(number).await;
        match self.board.remove(number).await {
            Ok(()) => self.stand(Standing::Waiting),
            Err(why) => tracing::warn!("the marker stays: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
