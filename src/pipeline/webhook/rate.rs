//! How often senders are heard: a bucket for each address and one for all, filled by the minute.
//! Pure.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses remembered at once; those whose bucket is full again are forgotten first.
const SENDERS_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request.
    left: u64,
    at_ms: u64,
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Rates {
    per_sender: u64,
    all: Bucket,
    in_all: u64,
    senders: HashMap<IpAddr, Bucket>,
}

impl Bucket {
    fn full(per_minute: u64, at_ms: u64) -> Self {
        Self {
            left: per_minute * 1_000,
            at_ms,
        }
    }

    fn fill(&mut self, per_minute: u64, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        // Exact where it counts: what is not a whole thousandth yet stays to come.
        let gained = passed_ms.saturating_mul(per_minute) / 60;
        if gained == 0 {
            return;
        }
        self.left = self.left.saturating_add(gained).min(per_minute * 1_000);
        self.at_ms = now_ms;
    }

    /// Seconds until there is one, rounded up.
    fn wait_s(&self, per_minute: u64) -> u64 {
        let missing = 1_000_u64.saturating_sub(self.left);
        (missing * 60).div_ceil(per_minute.max(1) * 1_000).max(1)
    }
}

impl Rates {
    pub(super) fn new(per_sender: u32, in_all: u32) -> Self {
        let (per_sender, in_all) = (u64::from(per_sender), u64::from(in_all));
        Self {
            per_sender,
            all: Bucket::full(in_all, 0),
            in_all,
            senders: HashMap::new(),
        }
    }

    /// Takes one request; `Err` says in how many seconds to come again. One that is turned away for
    /// its own sender's sake costs the others nothing.
    pub(super) fn admit(&mut self, address: IpAddr, now_ms: u64) -> Result<(), u64> {
        let per_sender = self.per_sender;
        self.forget(now_ms);
        if !self.senders.contains_key(&address) && self.senders.len() >= SENDERS_MAX {
            return Err(self.all.wait_s(self.in_all));
        }
        self.all.fill(self.in_all, now_ms);
        let full = Bucket::full(per_sender, now_ms);
        let bucket = self.senders.entry(address).or_insert(full);
        bucket.fill(per_sender, now_ms);
        if bucket.left < 1_000 {
            return Err(bucket.wait_s(per_sender));
        }
        if self.all.left < 1_000 {
            return Err(self.all.wait_s(self.in_all));
        }
        bucket.left -= 1_000;
        self.all.left -= 1_000;
        Ok(())
    }

    fn forget(&mut self, now_ms: u64) {
        if self.senders.len() < SENDERS_MAX {
            return;
        }
        let per_sender = self.per_sender;
        self.senders.retain(|_, bucket| {
            bucket.fill(per_sender, now_ms);
            bucket.left < per_sender * 1_000
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn admitted(rates: &mut Rates, n: u32, now_ms: u64) -> usize {
        (0..1_000)
            .take_while(|_| rates.admit(address(n), now_ms).is_ok())
            .count()
    }

    #[test]
    fn each_sender_and_all_together_are_limited_and_filled_by_the_minute() {
        let mut rates = Rates::new(60, 100);
        assert_eq!(admitted(&mut rates, 1, 0), 60);
        assert_eq!(rates.admit(address(1), 0), Err(1));
        assert_eq!(admitted(&mut rates, 2, 0), 40, "in all");
        assert_eq!(admitted(&mut rates, 1, 10_000), 10);
        assert_eq!(
            admitted(&mut rates, 1, 600_000),
            60,
            "never more than a minute's"
        );
        for step in 0..20 {
            assert_eq!(rates.admit(address(3), 600_000 + step), Ok(()));
        }
    }

    #[test]
    fn many_addresses_take_no_more_room_than_there_is() {
        let mut rates = Rates::new(60, 1_000_000);
        for n in 0..5_000 {
            let _ = rates.admit(address(n), 0);
        }
        assert_eq!(rates.senders.len(), SENDERS_MAX);
        assert!(rates.admit(address(9_999), 0).is_err());
        assert_eq!(
            rates.admit(address(9_999), 5_000),
            Ok(()),
            "the others are forgotten"
        );
    }
}
