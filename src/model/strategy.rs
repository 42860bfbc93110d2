//! How a new release takes over from the old one, as the configuration says it.

use super::ServerName;
use super::service::Step;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a new release takes over from the old one. What all of them share — warm sets, drains,
/// minimum requests — is in [`super::service::CanarySettings`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// A whole second set beside the old one gets a rising share of the traffic.
    #[default]
    Canary,
    /// A whole second set in the slot that has no traffic, then a switch.
    BlueGreen(BlueGreen),
    /// Instances are replaced a batch at a time.
    Rolling(Rolling),
    /// The old instances end before the new ones begin.
    Recreate(Recreate),
}

impl Strategy {
    /// Its name, as the configuration writes it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::BlueGreen(_) => "blue-green",
            Self::Rolling(_) => "rolling",
            Self::Recreate(_) => "recreate",
        }
    }

    /// Whether it is the default.
    pub fn is_canary(&self) -> bool {
        *self == Self::Canary
    }

    /// Its slots, where it has any.
    pub fn slots(&self) -> Option<&Slots> {
        match self {
            Self::BlueGreen(settings) => Some(&settings.slots),
            _ => None,
        }
    }

    /// Whether a whole second set stands beside the old one, which stays warm afterwards.
    pub fn stands_beside(&self) -> bool {
        matches!(self, Self::Canary | Self::BlueGreen(_))
    }
}

/// One of two sets of servers, of which one is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The first.
    Blue,
    /// The second.
    Green,
}

impl Slot {
    /// Both, in their order.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blue => "blue",
            Self::Green => "green",
        })
    }
}

/// Which servers belong to which slot. A server is in exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slots {
    /// Servers of the blue slot.
    pub blue: Vec<ServerName>,
    /// Servers of the green slot.
    pub green: Vec<ServerName>,
}

impl Slots {
    /// The servers of a slot.
    pub fn servers(&self, slot: Slot) -> &[ServerName] {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    /// The slot a server belongs to.
    pub fn of(&self, server: &ServerName) -> Option<Slot> {
        let holds = |slot: &Slot| self.servers(*slot).contains(server);
        Slot::BOTH.into_iter().find(holds)
    }
}

/// Blue-green: the new release is verified in the idle slot before it gets a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlueGreen {
    /// Which servers are blue and which green.
    pub slots: Slots,
    /// The switch: rising shares, the last is 100 %; each is watched as long as it says.
    pub switch: Vec<Step>,
    /// Whether a person begins the switch once the idle slot is verified.
    pub confirm: bool,
}

/// Rolling: instances are replaced a batch at a time. The share of the new release is the part of
/// the instances that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolling {
    /// Instances replaced together, at least 1.
    pub batch: u32,
    /// So many instances may be missing while it goes on, 0 to the service's instances − 1.
    pub max_unavailable: u32,
    /// So many more than the service's instances may exist meanwhile. One of both is above 0.
    pub max_surge: u32,
    /// So long a batch must be healthy in traffic before the next is replaced.
    pub min_healthy_ms: u64,
    /// So long the first batch is watched; as long as the others where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_watch_ms: Option<u64>,
    /// Whether a person must promote after the first batch.
    pub pause_after_first: bool,
    /// From a batch's beginning until it has its traffic, at most; then what was replaced is
    /// restored.
    pub progress_deadline_ms: u64,
}

impl Rolling {
    /// Servers that a batch needs beside those of `instances`, so that no more are missing than may
    /// be: its traffic comes once all of it is up.
    pub fn beside(&self, instances: u32) -> u32 {
        let batch = self.batch.clamp(1, instances.max(1));
        batch.saturating_sub(self.max_unavailable)
    }

    /// Batches until `instances` are replaced.
    pub fn batches(&self, instances: u32) -> usize {
        instances.div_ceil(self.batch.max(1)) as usize
    }

    /// Instances replaced after so many batches.
    pub fn replaced(&self, batches: usize, instances: u32) -> u32 {
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        self.batch.max(1).saturating_mul(batches).min(instances)
    }

    /// One step per batch: the share is the part of the instances that is replaced then.
    pub fn steps(&self, instances: u32) -> Vec<Step> {
        let step = |batch: usize| {
            let replaced = f64::from(self.replaced(batch, instances));
            let first = self.first_watch_ms.filter(|_| batch == 1);
            Step {
                weight_percent: (replaced * 100.0 / f64::from(instances.max(1))).round() as u8,
                soak_ms: first.unwrap_or(self.min_healthy_ms),
                pause: batch == 1 && self.pause_after_first,
            }
        };
        (1..=self.batches(instances)).map(step).collect()
    }
}

/// Recreate: for what may run only once. There is no service in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recreate {
    /// So long the new release is watched before it counts as verified.
    pub watch_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(batch: u32) -> Rolling {
        Rolling {
            batch,
            max_unavailable: 0,
            max_surge: 1,
            min_healthy_ms: 10_000,
            first_watch_ms: Some(60_000),
            pause_after_first: true,
            progress_deadline_ms: 600_000,
        }
    }

    #[test]
    fn the_shares_of_a_rolling_update_are_the_part_that_is_replaced() {
        let shares = |batch, instances| {
            let steps = rolling(batch).steps(instances);
            steps
                .iter()
                .map(|step| step.weight_percent)
                .collect::<Vec<_>>()
        };
        assert_eq!(shares(1, 3), [33, 67, 100]);
        assert_eq!(shares(2, 3), [67, 100]);
        assert_eq!(shares(5, 3), [100]);
        assert_eq!(shares(1, 1), [100]);
    }

    #[test]
    fn only_the_first_batch_pauses_and_is_watched_for_longer() {
        let steps = rolling(1).steps(3);
        assert_eq!((steps[0].pause, steps[0].soak_ms), (true, 60_000));
        assert_eq!((steps[1].pause, steps[1].soak_ms), (false, 10_000));
    }

    #[test]
    fn a_server_is_in_one_slot() {
        let name = |text: &str| text.parse::<ServerName>().expect("a name");
        let slots = Slots {
            blue: vec![name("web1")],
            green: vec![name("web2")],
        };
        assert_eq!(slots.of(&name("web1")), Some(Slot::Blue));
        assert_eq!(slots.of(&name("web2")), Some(Slot::Green));
        assert_eq!(slots.of(&name("web3")), None);
    }
}
