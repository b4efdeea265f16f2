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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// When an entry expires, and from when on it is watched for that: somewhat sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    early: Deadline,
    deadline: Deadline,
}

/// The longest time from early to deadline is this part of an entry's life.
const EARLY_PART: u64 = 16;

impl Alarm {
    /// That of an entry that never expires.
    pub(super) const NEVER: Self = Self { early: Deadline::NEVER, deadline: Deadline::NEVER };

    /// That of an entry which was given `deadline` at `since`, both in milliseconds since 1970.
    ///
    /// Whatever is written again and again with the same time to live keeps the same early moment through a 16th to a 32nd of
    /// that time. Hashes spread these moments, so that not all of a second come at once.
    pub(super) fn new(deadline: Deadline, since_ms: u64, hash: u64) -> Self {
        let longest = deadline.0.saturating_sub(since_ms) / EARLY_PART;
        // A power of two: some number of its lowest bits is what the deadline is sooner by.
        let span = longest.checked_ilog2().map_or(1, |log2| 1 << log2);
        let by = deadline.0.wrapping_add(hash) & (span - 1);
        Self { early: Deadline(deadline.0 - by), deadline }
    }
}

/// What a look at the first alarm came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The entry with this hash has expired, before all others.
    Expired(u64),
    /// An entry whose early moment has come was put under its deadline. There may be more to do.
    Moved,
    /// None has come.
    Nothing,
}

/// The alarms of exactly the entries that expire.
///
/// What is written again before it expires has a later deadline each time, and finding the old one in a tree of many to put
/// the new one elsewhere takes a third of the write. So an entry stands under its early moment, where it stays
/// through many writes, and is put under its deadline when that moment comes. What is written only once pays a tenth of its write
/// for that.
#[derive(Debug, Default)]
pub(super) struct AlarmIndex {
    /// By moment, with the hash of the entry.
    tree: BTreeSet<(Deadline, u64)>,
    /// Whatever would stand up to here by its early moment stands under its deadline, everything else under its early moment.
    settled: (Deadline, u64),
}

impl AlarmIndex {
    pub(super) fn insert(&mut self, alarm: Alarm, hash: u64) {
        if alarm != Alarm::NEVER {
            assert!(self.tree.insert((self.place(alarm, hash), hash)), "an entry has one alarm");
        }
    }

    pub(super) fn remove(&mut self, alarm: Alarm, hash: u64) {
        if alarm != Alarm::NEVER {
            assert!(self.tree.remove(&(self.place(alarm, hash), hash)), "every alarm is indexed");
        }
    }

    /// Notes that an entry has another alarm now.
    pub(super) fn exchange(&mut self, before: Alarm, after: Alarm, hash: u64) {
        if self.place(before, hash) != self.place(after, hash) {
            self.remove(before, hash);
            self.insert(after, hash);
        }
    }

    /// Looks at the first alarm. `deadline` tells the deadline of the entry with a hash.
    pub(super) fn look(&mut self, now: Wall, deadline: impl Fn(u64) -> Deadline) -> Look {
        let Some(&(moment, hash)) = self.tree.first().filter(|(moment, _)| moment.is_reached(now)) else {
            return Look::Nothing;
        };
        if (moment, hash) > self.settled {
            self.settled = (moment, hash);
            let deadline = deadline(hash);
            if deadline != moment {
                let is_moved = self.tree.remove(&(moment, hash)) && self.tree.insert((deadline, hash));
                assert!(is_moved && deadline != Deadline::NEVER, "every alarm is an entry's");
                return Look::Moved;
            }
        }
        Look::Expired(hash)
    }

    /// Where the entry with this alarm stands.
    fn place(&self, alarm: Alarm, hash: u64) -> Deadline {
        if (alarm.early, hash) <= self.settled { alarm.deadline } else { alarm.early }
    }

    /// No entry expires before this.
    pub(super) fn next(&self) -> Option<Wall> {
        self.tree.first().map(|(moment, _)| Wall::from_millis(moment.0))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    #[cfg(test)]
    pub(super) fn holds(&self, alarm: Alarm, hash: u64) -> bool {
        self.tree.contains(&(self.place(alarm, hash), hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const SINCE: u64 = 1_800_000_000_000;

    fn alarm(since_ms: u64, life_ms: u64, hash: u64) -> Alarm {
        Alarm::new(Deadline(since_ms + life_ms), since_ms, hash)
    }

    #[test]
    fn an_early_moment_is_a_16th_of_the_life_sooner_at_most_and_stays_for_a_32nd_at_least() {
        for (hash, life) in [(0, HOUR), (7, HOUR), (u64::MAX, 86_400_000), (1 << 40, 90), (3, 31), (9, 1), (9, 0)] {
            let early = |since| alarm(since, life, hash).early.0;
            let mut changes = 0;
            for since in SINCE..SINCE + 10_000 {
                let deadline = since + life;
                assert!((deadline - life / EARLY_PART..=deadline).contains(&early(since)), "{life} ms");
                changes += u64::from(early(since) != early(since + 1));
            }
            assert!(changes <= 10_000 / (life / EARLY_PART / 2).max(1) + 1, "{changes} changes in {life} ms");
        }
        // The first and the last moments there are.
        for deadline in [0, 1, Hlc::MILLIS_MAX] {
            let alarm = Alarm::new(Deadline(deadline), 0, u64::MAX);
            assert!(alarm.early <= alarm.deadline && alarm.deadline.0 == deadline);
        }
    }

    #[test]
    fn the_early_moments_of_what_is_written_at_once_are_spread() {
        let moments: BTreeSet<Deadline> = (0..1000u64).map(|n| alarm(SINCE, HOUR, n * 0x9E37_79B9).early).collect();
        assert!(moments.len() > 950, "{} different moments", moments.len());
    }

    #[test]
    fn what_is_written_again_stays_where_it_is_and_expires_at_its_last_deadline() {
        let mut index = AlarmIndex::default();
        let (mut last, mut moves) = (alarm(SINCE, HOUR, 5), 0);
        index.insert(last, 5);
        for since in SINCE + 1..SINCE + 100_000 {
            let (next, before) = (alarm(since, HOUR, 5), index.tree.clone());
            index.exchange(last, next, 5);
            moves += u32::from(index.tree != before);
            last = next;
        }
        assert!(moves <= 1, "{moves} moves");
        let look = |index: &mut AlarmIndex, at| index.look(Wall::from_millis(at), |_| last.deadline);
        assert_eq!(look(&mut index, last.early.0 - 1), Look::Nothing);
        assert_eq!(look(&mut index, last.early.0), Look::Moved);
        assert_eq!(index.next(), Some(Wall::from_millis(last.deadline.0)));
        assert_eq!(look(&mut index, last.deadline.0 - 1), Look::Nothing);
        assert_eq!(look(&mut index, last.deadline.0), Look::Expired(5));
        // A clock that goes back finds what is there all the same.
        assert_eq!(look(&mut index, last.early.0), Look::Nothing);
        index.remove(last, 5);
        assert_eq!((index.len(), index.next()), (0, None));
    }
}
