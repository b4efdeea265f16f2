//! Which stance towards new entries serves better: both are tried on a sample of the keys, at a scale of one in 64.
//!
//! A miniature simulation of a cache, with a sample of its keys and as much less room, has about its hit rate (Waldspurger et
//! al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017). Only hashes are kept, so that both
//! trials together take two bytes for each entry of the shard.

use std::hash::BuildHasherDefault;
use std::num::NonZeroUsize;

use clru::CLruCache;

use super::queue::PassThrough;
use super::remembered::Remembered;

/// What becomes of new entries when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stance {
    /// They push out what is not protected, a tenth of the memory or more, and stay if they are read, or come back, in time.
    #[default]
    Welcoming,
    /// They push out each other: what fills the memory stays. Against loops longer than what fits, of which the other way
    /// keeps nothing until it is asked for again.
    Holding,
}

impl Stance {
    /// How much of `all` is protected.
    pub(super) fn protected(self, all: usize) -> usize {
        match self {
            Self::Welcoming => all / 10 * 9,
            Self::Holding => all - all.div_ceil(100),
        }
    }
}

/// A trial of each stance.
#[derive(Debug)]
pub(super) struct Trials {
    welcoming: Trial,
    holding: Trial,
    capacity: usize,
    reads: u32,
}

impl Trials {
    /// Whether a key takes part.
    pub(super) fn samples(hash: u64) -> bool {
        // Not the bits that a table goes by, or the trials' would be crowded.
        (hash >> SAMPLED_BY) & (SCALE - 1) == 0
    }

    /// Of a shard that holds so many entries that take part.
    pub(super) fn new(sampled: usize) -> Self {
        let capacity = sampled.max(CAPACITY_MIN);
        let trial = |stance| Trial::new(stance, capacity);
        Self { welcoming: trial(Stance::Welcoming), holding: trial(Stance::Holding), capacity, reads: 0 }
    }

    /// A value that takes part is asked for; it may be absent from the shard. Returns the stance that serves better, if it is
    /// not `current` and that is certain enough.
    pub(super) fn read(&mut self, hash: u64, is_held: bool, current: Stance) -> Option<Stance> {
        self.welcoming.read(hash, is_held);
        self.holding.read(hash, is_held);
        self.reads += 1;
        if (self.reads as usize) < READS_OF_CAPACITY * self.capacity {
            return None;
        }
        let (mine, other, stance) = match current {
            Stance::Welcoming => (self.welcoming.hits, self.holding.hits, Stance::Holding),
            Stance::Holding => (self.holding.hits, self.welcoming.hits, Stance::Welcoming),
        };
        let better = other > mine + self.reads / 100 * MARGIN_PERCENT;
        // What is longer ago counts less.
        for count in [&mut self.reads, &mut self.welcoming.hits, &mut self.holding.hits] {
            *count /= 2;
        }
        better.then_some(stance)
    }

    /// A value that takes part is stored anew.
    pub(super) fn store(&mut self, hash: u64) {
        self.welcoming.store(hash);
        self.holding.store(hash);
    }
}

type Hashes = CLruCache<u64, (), BuildHasherDefault<PassThrough>>;

/// The queues of a shard in small, every entry of the same weight. What is read moves at once here, where all is at hand.
#[derive(Debug)]
struct Trial {
    stance: Stance,
    capacity: usize,
    probation: Hashes,
    protected: Hashes,
    remembered: Remembered,
    hits: u32,
}

impl Trial {
    fn new(stance: Stance, capacity: usize) -> Self {
        let hashes = || CLruCache::with_hasher(NonZeroUsize::MAX, BuildHasherDefault::default());
        let remembered = Remembered::for_entries(capacity);
        Self { stance, capacity, probation: hashes(), protected: hashes(), remembered, hits: 0 }
    }

    fn read(&mut self, hash: u64, is_held: bool) {
        if self.protected.get(&hash).is_some() {
            self.hits += 1;
        } else if self.probation.pop(&hash).is_some() {
            self.hits += 1;
            self.protect(hash);
        } else if is_held {
            // Here it was a miss, after which it would have been stored.
            self.store(hash);
        }
    }

    fn store(&mut self, hash: u64) {
        if self.protected.contains(&hash) || self.probation.contains(&hash) {
            return;
        }
        if self.probation.len() + self.protected.len() >= self.capacity {
            match self.probation.pop_back() {
                Some((evicted, ())) => self.remembered.note(evicted),
                None => drop(self.protected.pop_back()),
            }
        }
        let protected_max = self.stance.protected(self.capacity);
        match self.stance {
            Stance::Welcoming if self.remembered.take(hash) => return self.protect(hash),
            Stance::Welcoming => {}
            Stance::Holding if self.protected.len() < protected_max => {
                if let Some((oldest, ())) = self.probation.pop_back() {
                    self.protected.put(oldest, ());
                }
            }
            Stance::Holding => {}
        }
        self.probation.put(hash, ());
    }

    fn protect(&mut self, hash: u64) {
        self.protected.put(hash, ());
        if self.protected.len() > self.stance.protected(self.capacity)
            && let Some((demoted, ())) = self.protected.pop_back()
        {
            self.probation.put(demoted, ());
        }
    }
}

/// One key in so many takes part.
const SCALE: u64 = 64;
/// Bits that are the same for no slot, and no table goes by.
const SAMPLED_BY: u32 = 20;
/// With fewer entries a trial says little.
const CAPACITY_MIN: usize = 16;
/// Reads between two decisions, for each entry of a trial.
const READS_OF_CAPACITY: usize = 4;
/// How much better the other stance must be: chance is less than that.
const MARGIN_PERCENT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads keys, storing what is missing, and returns the stance after it.
    fn stance_after(keys: impl Iterator<Item = u64>) -> Stance {
        let mut trials = Trials::new(100);
        keys.fold(Stance::default(), |stance, key| {
            let hash = (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let better = trials.read(hash, false, stance);
            trials.store(hash);
            better.unwrap_or(stance)
        })
    }

    #[test]
    fn a_loop_is_held_against_and_forgotten_after_it() {
        let looped = || (0..10_000).map(|at| at % 125);
        assert_eq!(stance_after(looped()), Stance::Holding);
        // Then each key is asked for five times in a while, and never again.
        let drifting = (0..20_000).map(|at| 1000 + at / 5 - (at * 7 % 5) * 10);
        assert_eq!(stance_after(looped().chain(drifting)), Stance::Welcoming);
    }

    #[test]
    fn what_fits_changes_nothing() {
        assert_eq!(stance_after((0..10_000).map(|at| at % 90)), Stance::Welcoming);
    }
}
