//! One list in the order in which its entries came or were moved to its front, on a clru whose memory follows its length.

use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::num::{NonZeroU64, NonZeroUsize};

use clru::{CLruCache, CLruCacheConfig};

use super::entry::Entry;
use super::footprint;

/// Entries by table hash, from the front to the back, and what they weigh.
///
/// clru's slab doubles when it is full and never shrinks. At 40 bytes a slot, idle slots could cost as much as small
/// entries do, so the slab is sized here, by the shard's `room`, the bytes missing to its limit: a full one is rebuilt with
/// slots for the entries that still fit, or with `step` more when nothing does, and one with two steps more idle slots than
/// that is rebuilt smaller. So a shard at its limit has few idle slots, and each rebuild is paid for by as many insertions
/// or removals as a step has slots or the queue has entries.
#[derive(Debug)]
pub(super) struct Queue {
    cache: Cache,
    slots: usize,
    step: usize,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(step: usize) -> Self {
        Self { cache: cache_with_slots(0), slots: 0, step, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// The sum of the entries' footprints.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn peek(&self, hash: u64) -> Option<&Entry> {
        self.cache.peek(&key_of(hash))
    }

    /// Moves an entry to the front.
    pub(super) fn refresh(&mut self, hash: u64) {
        self.cache.get(&key_of(hash));
    }

    /// Notes that an entry has been used, and leaves it where it is.
    pub(super) fn mark_used(&mut self, hash: u64) {
        if let Some(entry) = self.cache.peek_mut(&key_of(hash)) {
            entry.set_used(true);
        }
    }

    /// Inserts an entry at the front. Its hash must be absent.
    pub(super) fn push_front(&mut self, room: usize, hash: u64, entry: Entry) {
        if self.len() == self.slots {
            self.rebuild(room);
        }
        self.bytes += entry.footprint();
        let replaced = self.cache.put(key_of(hash), entry);
        assert!(replaced.is_none(), "an entry is removed before its hash is inserted again");
    }

    /// Puts an entry in the place of that with its hash, which is returned; gives it back if there is none. It has been used if
    /// that one was, or if this `is_use`.
    pub(super) fn replace(&mut self, hash: u64, mut entry: Entry, is_use: bool) -> Result<Entry, Entry> {
        let Some(held) = self.cache.peek_mut(&key_of(hash)) else { return Err(entry) };
        if is_use || held.is_used() {
            entry.set_used(true);
        }
        self.bytes = self.bytes + entry.footprint() - held.footprint();
        Ok(mem::replace(held, entry))
    }

    pub(super) fn remove(&mut self, hash: u64) -> Option<Entry> {
        let entry = self.cache.pop(&key_of(hash))?;
        self.bytes -= entry.footprint();
        Some(entry)
    }

    pub(super) fn pop_back(&mut self) -> Option<(u64, Entry)> {
        let (hash, entry) = self.cache.pop_back()?;
        self.bytes -= entry.footprint();
        Some((hash.get(), entry))
    }

    /// Removes the last entry if it has been used, which it has not any more then.
    pub(super) fn pop_back_used(&mut self) -> Option<(u64, Entry)> {
        self.cache.back().filter(|(_, entry)| entry.is_used())?;
        let (hash, mut entry) = self.pop_back()?;
        entry.set_used(false);
        Some((hash, entry))
    }

    /// Moves the last entry to the front if it has been used, which it has not any more then. Says whether it has.
    pub(super) fn spare_back(&mut self) -> bool {
        let Some((hash, entry)) = self.cache.back_mut().filter(|(_, entry)| entry.is_used()) else { return false };
        entry.set_used(false);
        let hash = *hash;
        self.cache.get(&hash).is_some()
    }

    /// Every entry, the newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.cache.iter().map(|(hash, entry)| (hash.get(), entry))
    }

    /// Gives idle slots back if they are too many for the room there is.
    pub(super) fn shrink(&mut self, room: usize) {
        let idle = self.slots - self.len();
        if idle > 2 * self.step && idle > 2 * self.step + self.growth(room) {
            self.rebuild(room);
        }
    }

    /// Moves the entries, in order, to a cache with as many slots as they are likely to need.
    fn rebuild(&mut self, room: usize) {
        self.slots = self.len() + self.growth(room);
        let mut old = mem::replace(&mut self.cache, cache_with_slots(self.slots));
        for (hash, entry) in old.iter_mut().rev() {
            self.cache.put(*hash, entry.take());
        }
    }

    /// How many entries more the queue should have slots for: as many as fit, but at first twice what it holds, so that the
    /// last rebuild of a queue that fills up comes early enough for the rest of the filling to reuse the old slab.
    fn growth(&self, room: usize) -> usize {
        let len = self.len();
        let fitting = (room * len).checked_div(self.bytes).unwrap_or(0);
        let wanted = if fitting <= 2 * len { fitting } else { len };
        wanted.max(self.step.min(len)).max(SLOTS_MIN)
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots
    }
}

/// Fewest slots a queue grows by.
const SLOTS_MIN: usize = 16;

/// A slot of clru's slab: two links, the hash and the entry, in the 40 bytes that the zero an empty slot has for a hash saves
/// from being 48.
const _: () = assert!(size_of::<Option<(usize, usize, (NonZeroU64, Entry))>>() == footprint::SLAB_SLOT);

/// No hash is 0; should one be, then two keys have equal hashes, which is provided for.
fn key_of(hash: u64) -> NonZeroU64 {
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

type Cache = CLruCache<NonZeroU64, Entry, BuildHasherDefault<PassThrough>>;

fn cache_with_slots(slots: usize) -> Cache {
    let unbounded = CLruCacheConfig::new(NonZeroUsize::MAX);
    CLruCache::with_config(unbounded.with_hasher(BuildHasherDefault::default()).with_memory(slots))
}

/// Hands on a key that is a hash already.
#[derive(Debug, Default)]
pub(super) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys of a queue are 64 bits");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
