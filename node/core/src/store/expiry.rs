//! When entries expire, and the index that finds those that have.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Timestamp;

/// How long an entry may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Until it is deleted or evicted.
    Never,
    /// At most this long; not at all if it is zero.
    After(Duration),
}

/// The moment from which an entry no longer exists. Ordered by that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline(Timestamp);

impl Deadline {
    /// The deadline that is not reached. As a plain moment, not an `Option`, it keeps every entry 8 bytes smaller.
    pub(super) const NEVER: Self = Self(Timestamp::MAX);

    pub(super) fn after(now: Timestamp, expiry: Expiry) -> Self {
        match expiry {
            Expiry::Never => Self::NEVER,
            Expiry::After(duration) => Self(now.saturating_add(duration)),
        }
    }

    pub(super) fn is_reached(self, now: Timestamp) -> bool {
        self != Self::NEVER && self.0 <= now
    }

    pub(super) fn remaining(self, now: Timestamp) -> Expiry {
        if self == Self::NEVER {
            return Expiry::Never;
        }
        Expiry::After(self.0.checked_duration_since(now).unwrap_or(Duration::ZERO))
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::NEVER
    }
}

/// The deadlines of exactly the entries that have one, soonest first.
#[derive(Debug, Default)]
pub(super) struct DeadlineIndex(BTreeSet<(Deadline, u64)>);

impl DeadlineIndex {
    pub(super) fn insert(&mut self, deadline: Deadline, hash: u64) {
        if deadline != Deadline::NEVER {
            assert!(self.0.insert((deadline, hash)), "an entry has one deadline");
        }
    }

    pub(super) fn remove(&mut self, deadline: Deadline, hash: u64) {
        if deadline != Deadline::NEVER {
            assert!(self.0.remove(&(deadline, hash)), "every deadline is indexed");
        }
    }

    /// The hash of the entry that expired first, if any has.
    pub(super) fn reached(&self, now: Timestamp) -> Option<u64> {
        let &(deadline, hash) = self.0.first()?;
        deadline.is_reached(now).then_some(hash)
    }

    /// The next moment at which an entry expires.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(deadline, _)| deadline.0)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
