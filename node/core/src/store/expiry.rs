//! When entries expire, and the index that finds those that have.

use std::collections::BTreeSet;
use std::time::Duration;

use quoit_proto_types::version::Hlc;

use crate::time::Wall;

/// How long an entry may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Until it is deleted or evicted.
    Never,
    /// At most this long; not at all if it is zero.
    After(Duration),
}

impl Expiry {
    /// The moment it comes to, counted from `now`, as a stamp has it: in milliseconds since 1970, 0 for never. A lifetime
    /// beyond the last moment of the clock, some 8,900 years after 1970, is for ever.
    pub fn expires_at_ms(self, now: Wall) -> u64 {
        match self {
            Self::Never => 0,
            Self::After(duration) => match now.saturating_add(duration).as_millis() {
                millis if millis > Hlc::MILLIS_MAX => 0,
                // The first millisecond is taken by never.
                millis => millis.max(1),
            },
        }
    }
}

/// The moment from which an entry reads as absent. Ordered by that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline(u64);

impl Deadline {
    /// The deadline that is not reached.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// As a stamp tells it, where 0 is never.
    pub(super) fn at_millis(expires_at_ms: u64) -> Self {
        if expires_at_ms == 0 { Self::NEVER } else { Self(expires_at_ms) }
    }

    pub(super) fn is_reached(self, now: Wall) -> bool {
        self != Self::NEVER && self.0 <= now.as_millis()
    }

    pub(super) fn remaining(self, now: Wall) -> Expiry {
        if self == Self::NEVER {
            return Expiry::Never;
        }
        Expiry::After(Duration::from_millis(self.0.saturating_sub(now.as_millis())))
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
    pub(super) fn reached(&self, now: Wall) -> Option<u64> {
        let &(deadline, hash) = self.0.first()?;
        deadline.is_reached(now).then_some(hash)
    }

    /// The next moment at which an entry expires.
    pub(super) fn next(&self) -> Option<Wall> {
        self.0.first().map(|(deadline, _)| Wall::from_millis(deadline.0))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
