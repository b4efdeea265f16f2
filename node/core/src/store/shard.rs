//! One shard: entries, deadlines, limit and counters, kept consistent.

use std::ops::AddAssign;

use super::entry::{Entry, Record};
use super::eviction::{EvictionPolicy, Segment, Segments};
use super::expiry::{Deadline, DeadlineIndex, Expiry};
use crate::time::Timestamp;

/// Settings of a [`Shard`].
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Bytes of resident memory its entries may cost.
    pub memory_limit_bytes: usize,
    /// What leaves first when the limit is reached.
    pub policy: EvictionPolicy,
}

/// A bounded cache of records with time to live.
///
/// `hash` is always the caller's hash of `key`, the same for the same key. `now` may differ a little between callers: an
/// entry is expired for whoever finds its deadline reached, and gone from then on.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    segments: Segments,
    deadlines: DeadlineIndex,
    counters: Counters,
}

impl Shard {
    /// Creates an empty shard.
    pub fn new(config: ShardConfig) -> Self {
        Self {
            config,
            segments: Segments::new(config.memory_limit_bytes, config.policy),
            deadlines: DeadlineIndex::default(),
            counters: Counters::default(),
        }
    }

    /// Returns the entry of a key, which counts as a use of it.
    pub fn get(&mut self, now: Timestamp, hash: u64, key: &[u8]) -> Option<&Entry> {
        if !self.is_live(now, hash, key) {
            self.counters.misses += 1;
            return None;
        }
        self.counters.hits += 1;
        self.segments.hit(hash)
    }

    /// Stores a record in place of any earlier one of its key, and evicts what must go for it.
    ///
    /// A key that was present keeps its segment: writing alone does not protect it.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if the record would not fit even alone. Nothing has changed then: the value before it, if any, is still
    /// there, as this one was never stored.
    pub fn set(&mut self, now: Timestamp, hash: u64, record: Record, expiry: Expiry) -> Result<SetOutcome, TooLarge> {
        let entry = Entry::new(record, Deadline::after(now, expiry));
        let footprint = entry.footprint();
        if footprint > self.config.memory_limit_bytes {
            return Err(TooLarge { footprint_bytes: footprint, memory_limit_bytes: self.config.memory_limit_bytes });
        }
        self.counters.sets += 1;
        let replaced = self.is_live(now, hash, entry.key());
        let segment = self.remove(hash).map_or(Segment::Probation, |(segment, old)| {
            if old.key() == entry.key() {
                return segment;
            }
            self.counters.evictions += 1;
            Segment::Probation
        });
        self.make_room(now, footprint);
        self.deadlines.insert(entry.deadline(), hash);
        self.segments.insert(segment, hash, entry);
        Ok(if replaced { SetOutcome::Replaced } else { SetOutcome::Inserted })
    }

    /// Removes a key, and says whether it was there.
    pub fn delete(&mut self, now: Timestamp, hash: u64, key: &[u8]) -> bool {
        let deleted = self.is_live(now, hash, key) && self.remove(hash).is_some();
        self.counters.deletes += u64::from(deleted);
        deleted
    }

    /// Gives a key another time to live, counted from `now`, and says whether it was there. Counts as a use of it.
    pub fn touch(&mut self, now: Timestamp, hash: u64, key: &[u8], expiry: Expiry) -> bool {
        if !self.is_live(now, hash, key) {
            return false;
        }
        let Some(old) = self.segments.hit(hash).map(Entry::deadline) else {
            return false;
        };
        let new = Deadline::after(now, expiry);
        self.deadlines.remove(old, hash);
        self.deadlines.insert(new, hash);
        self.segments.update(hash, |entry| entry.set_deadline(new));
        self.make_room(now, 0);
        true
    }

    /// Returns the time to live a key has left, or `None` if it is not there. Does not count as a use of it.
    pub fn ttl(&mut self, now: Timestamp, hash: u64, key: &[u8]) -> Option<Expiry> {
        if !self.is_live(now, hash, key) {
            return None;
        }
        self.segments.peek(hash).map(|entry| entry.remaining(now))
    }

    /// Removes up to `entries_max` expired entries, those that expired first, and returns how many it removed.
    pub fn expire(&mut self, now: Timestamp, entries_max: usize) -> usize {
        (0..entries_max).take_while(|_| self.expire_one(now)).count()
    }

    /// The next moment at which an entry expires, possibly past.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Removes the entries whose key is not to be kept, and returns how many it removed.
    pub fn retain(&mut self, keep: impl FnMut(&[u8]) -> bool) -> usize {
        let unwanted = self.segments.unwanted(keep);
        unwanted.into_iter().filter(|hash| self.remove(*hash).is_some()).count()
    }

    /// Removes all entries and gives their memory back. The counters stay.
    pub fn clear(&mut self) {
        self.segments = Segments::new(self.config.memory_limit_bytes, self.config.policy);
        self.deadlines = DeadlineIndex::default();
    }

    /// What happened so far, and what is held.
    pub fn stats(&self) -> ShardStats {
        let Counters { hits, misses, sets, deletes, evictions, expirations } = self.counters;
        ShardStats {
            hits,
            misses,
            sets,
            deletes,
            evictions,
            expirations,
            entries: self.segments.len(),
            bytes: self.segments.bytes(),
        }
    }

    /// Says whether the key is there, and removes what has expired under its hash.
    fn is_live(&mut self, now: Timestamp, hash: u64, key: &[u8]) -> bool {
        let Some(entry) = self.segments.peek(hash) else {
            return false;
        };
        if entry.deadline().is_reached(now) {
            self.remove(hash);
            self.counters.expirations += 1;
            return false;
        }
        entry.key() == key
    }

    /// Brings the entries down to `footprint` bytes below the limit. Nothing alive leaves while something expired is held.
    fn make_room(&mut self, now: Timestamp, footprint: usize) {
        while self.segments.bytes() + footprint > self.config.memory_limit_bytes {
            if self.expire_one(now) {
                continue;
            }
            let Some((hash, entry)) = self.segments.evict() else {
                break;
            };
            self.deadlines.remove(entry.deadline(), hash);
            self.counters.evictions += 1;
        }
    }

    fn expire_one(&mut self, now: Timestamp) -> bool {
        let Some(hash) = self.deadlines.reached(now) else {
            return false;
        };
        let removed = self.remove(hash);
        assert!(removed.is_some(), "every indexed deadline has its entry");
        self.counters.expirations += 1;
        true
    }

    fn remove(&mut self, hash: u64) -> Option<(Segment, Entry)> {
        let (segment, entry) = self.segments.remove(hash)?;
        self.deadlines.remove(entry.deadline(), hash);
        Some((segment, entry))
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Segments, &DeadlineIndex) {
        (&self.segments, &self.deadlines)
    }
}

/// What a successful set did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The key was not there.
    Inserted,
    /// The key had another value, which is gone.
    Replaced,
}

/// The record costs more memory than the whole shard may hold. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry needs {footprint_bytes} bytes, more than the {memory_limit_bytes} bytes its shard may hold")]
pub struct TooLarge {
    /// Bytes the entry would cost.
    pub footprint_bytes: usize,
    /// Bytes the shard may hold.
    pub memory_limit_bytes: usize,
}

/// Counters since the start, and what is held at this moment. Shards add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Gets that found their key.
    pub hits: u64,
    /// Gets that did not.
    pub misses: u64,
    /// Records stored.
    pub sets: u64,
    /// Keys removed on request.
    pub deletes: u64,
    /// Entries removed for lack of room, before their time.
    pub evictions: u64,
    /// Entries removed because their time was over.
    pub expirations: u64,
    /// Entries held, expired ones not yet removed included.
    pub entries: usize,
    /// Bytes of resident memory they cost.
    pub bytes: usize,
}

impl AddAssign for ShardStats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.sets += other.sets;
        self.deletes += other.deletes;
        self.evictions += other.evictions;
        self.expirations += other.expirations;
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

#[derive(Debug, Default)]
struct Counters {
    hits: u64,
    misses: u64,
    sets: u64,
    deletes: u64,
    evictions: u64,
    expirations: u64,
}
