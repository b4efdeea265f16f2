//! One shard: entries, alarms, limit and counters, kept consistent, and the slots' numbers with them.

use quoit_proto_types::version::Hlc;
use quoit_proto_types::{Fence, SlotIndex};

use super::FenceMoved;
use super::entry::Entry;
use super::eviction::{EvictionPolicy, Segment, Segments};
use super::expiry::{Alarm, AlarmIndex, Deadline, Look};
use super::slots::SlotTable;
use super::stats::{Counters, ShardStats};
use crate::planted::data::{DataBug, DataPlanted};
use crate::time::Wall;

/// Settings of a [`Shard`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardConfig {
    /// Bytes of resident memory its entries may cost.
    pub(super) memory_limit_bytes: usize,
    /// What leaves first when the limit is reached.
    pub(super) policy: EvictionPolicy,
    /// For tests.
    pub(super) planted: DataPlanted,
}

/// A bounded cache of versioned records with time to live.
///
/// `hash` is always the caller's hash of `key`, the same for the same key, and `slots` always the same table. `now` may
/// differ a little between callers: an entry is expired for whoever finds its deadline reached, and from then on.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) config: ShardConfig,
    pub(super) segments: Segments,
    alarms: AlarmIndex,
    pub(super) counters: Counters,
    fence: Fence,
    shadowing: bool,
}

impl Shard {
    /// Creates an empty shard.
    pub(super) fn new(config: ShardConfig) -> Self {
        Self {
            config,
            segments: Segments::new(config.memory_limit_bytes, config.policy),
            alarms: AlarmIndex::default(),
            counters: Counters::default(),
            fence: Fence::default(),
            shadowing: true,
        }
    }

    /// Lets requests of this fence in, and no others.
    pub(super) fn seal(&mut self, fence: Fence) {
        self.fence = fence;
    }

    /// Refuses what goes by another fence than the shard.
    pub(super) fn check_fence(&self, fence: Fence) -> Result<(), FenceMoved> {
        if self.fence == fence { Ok(()) } else { Err(FenceMoved { at: self.fence }) }
    }

    pub(super) fn shadowing(&self) -> bool {
        self.shadowing
    }

    pub(super) fn set_shadowing(&mut self, shadowing: bool) {
        self.shadowing = shadowing;
    }

    /// Calls `read` with the entry of a key, if any, a tombstone too. Finding a value counts as a use of it.
    pub(super) fn get<R>(
        &mut self,
        slots: &SlotTable,
        now: Wall,
        (hash, key): (u64, &[u8]),
        read: impl FnOnce(Option<&Entry>) -> R,
    ) -> R {
        let found = self.segments.find(hash);
        let is_hit = |entry: &Entry| !entry.is_tombstone() && entry.key() == key && !entry.deadline().is_reached(now);
        // What every read of a value comes through: it is looked for once, and once more if it is to be marked, or moved.
        let Some((segment, entry)) = found.filter(|(_, entry)| is_hit(entry)) else {
            self.counters.misses += 1;
            self.segments.note_read(hash, false);
            return read(self.peek(slots, now, hash, key));
        };
        let (is_marked, answer) = (entry.is_used(), read(Some(entry)));
        self.counters.hits += 1;
        self.segments.note_read(hash, true);
        if !is_marked {
            self.segments.hit(segment, hash);
        }
        answer
    }

    /// The last byte of what is held under `hash`: to learn it, all that leads there is looked at.
    pub(super) fn glance(&self, hash: u64) -> Option<u8> {
        self.segments.peek(hash)?.value().last().copied()
    }

    /// Returns the entry of a key, if any, a tombstone too. This is no use of it.
    pub(super) fn peek(&mut self, slots: &SlotTable, now: Wall, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.bury_expired(slots, now, hash);
        self.segments.peek(hash).filter(|entry| entry.key() == key)
    }

    /// Turns expired entries into tombstones, those that expired first, or removes entries that are not to be shadowed any
    /// more, and returns how many steps that took, of which there are `steps_max` at most. A step is an entry, or a look at one
    /// that expires soon.
    pub(super) fn expire(&mut self, slots: &SlotTable, now: Wall, steps_max: usize) -> usize {
        (0..steps_max).take_while(|_| self.expire_one(slots, now) || self.forget_one(slots)).count()
    }

    /// The next moment at which an entry may expire or be removed, possibly past. No entry expires before it.
    pub(super) fn next_deadline(&self) -> Option<Wall> {
        if !self.shadowing && self.segments.graves() > 0 {
            return Some(Wall::MIN);
        }
        self.alarms.next()
    }

    /// Removes the entries that are not to be kept, and returns how many it removed.
    pub(super) fn retain(&mut self, slots: &SlotTable, mut keep: impl FnMut(u64, &Entry) -> bool) -> usize {
        if self.config.planted.is(DataBug::KeepsDataAfterLosingSlot) {
            return 0;
        }
        let unwanted = self.segments.iter().filter(|(hash, entry)| !keep(*hash, entry));
        let unwanted: Vec<u64> = unwanted.map(|(hash, _)| hash).collect();
        unwanted.into_iter().filter(|hash| self.remove(slots, *hash).is_some()).count()
    }

    /// Removes the tombstones up to `until` of the slots that are `chosen`, except those of entries that expired after
    /// `expired`, and returns how many it removed.
    pub(super) fn purge(
        &mut self,
        slots: &SlotTable,
        chosen: impl Fn(SlotIndex) -> bool,
        until: Hlc,
        expired: Wall,
    ) -> usize {
        while self.expire_one(slots, expired) {}
        let is_settled = |entry: &Entry| {
            let stamp = entry.stamp();
            stamp.version.hlc <= until && stamp.touched <= until && stamp.expires_at_ms <= expired.as_millis()
        };
        let settled = self.segments.iter_graves().filter(|(_, entry)| is_settled(entry));
        let settled = settled.filter(|(_, entry)| chosen(slots.slot_of(entry.key())));
        let settled: Vec<u64> = settled.map(|(hash, _)| hash).collect();
        settled.into_iter().filter(|hash| self.remove(slots, *hash).is_some()).count()
    }

    /// Removes all entries and gives their memory back. The counters stay.
    pub(super) fn clear(&mut self, slots: &SlotTable) {
        self.segments.iter().for_each(|(_, entry)| slots.subtract(entry));
        self.segments = Segments::new(self.config.memory_limit_bytes, self.config.policy);
        self.alarms = AlarmIndex::default();
    }

    /// What happened so far, and what is held.
    pub(super) fn stats(&self) -> ShardStats {
        self.counters.stats(self.segments.values(), self.segments.graves(), self.segments.bytes())
    }

    /// Turns what is held under `hash` into a tombstone if it has expired.
    pub(super) fn bury_expired(&mut self, slots: &SlotTable, now: Wall, hash: u64) {
        if self.segments.peek(hash).is_some_and(|entry| entry.deadline().is_reached(now)) {
            self.bury(slots, hash);
        }
    }

    /// Inserts an entry whose hash is absent, and sends away what is too much of tombstones then.
    pub(super) fn insert(&mut self, slots: &SlotTable, segment: Segment, hash: u64, entry: Entry) {
        slots.add(&entry);
        self.alarms.insert(entry.alarm(hash), hash);
        self.segments.insert(segment, hash, entry);
        while self.segments.graves_overflow() && self.drop_oldest_grave(slots) {}
    }

    /// Notes that an entry has another alarm now.
    pub(super) fn exchange_alarm(&mut self, hash: u64, before: Alarm, after: Alarm) {
        self.alarms.exchange(before, after, hash);
    }

    /// Removes an entry and says where it was.
    pub(super) fn remove(&mut self, slots: &SlotTable, hash: u64) -> Option<(Segment, Entry)> {
        let (segment, entry) = self.segments.remove(hash)?;
        slots.subtract(&entry);
        self.alarms.remove(entry.alarm(hash), hash);
        Some((segment, entry))
    }

    /// Brings the entries down to `footprint` bytes below the limit. No value leaves while something expired is held, and no
    /// tombstone while there is a value.
    pub(super) fn make_room(&mut self, slots: &SlotTable, now: Wall, footprint: usize) {
        while self.segments.bytes() + footprint > self.config.memory_limit_bytes {
            let smaller = self.expire_one(slots, now) || self.evict_one(slots) || self.drop_oldest_grave(slots);
            if !smaller {
                break;
            }
        }
    }

    /// A tombstone that leaves before its time leaves its slot's floor behind, so that what it hid stays hidden.
    pub(super) fn note_lost_grave(&mut self, slots: &SlotTable, entry: &Entry) {
        slots.raise_floor(slots.slot_of(entry.key()), entry.version().hlc);
        self.counters.tombstones_lost += 1;
    }

    fn evict_one(&mut self, slots: &SlotTable) -> bool {
        let Some((hash, entry)) = self.segments.evict() else {
            return false;
        };
        slots.subtract(&entry);
        self.alarms.remove(entry.alarm(hash), hash);
        self.counters.evictions += 1;
        true
    }

    fn drop_oldest_grave(&mut self, slots: &SlotTable) -> bool {
        let Some((_, entry)) = self.segments.exhume() else {
            return false;
        };
        slots.subtract(&entry);
        self.note_lost_grave(slots, &entry);
        true
    }

    fn expire_one(&mut self, slots: &SlotTable, now: Wall) -> bool {
        let deadline = |hash| self.segments.peek(hash).map_or(Deadline::NEVER, Entry::deadline);
        match self.alarms.look(now, deadline) {
            Look::Expired(hash) => self.bury(slots, hash),
            Look::Moved => {}
            Look::Nothing => return false,
        }
        true
    }

    /// Removes the oldest tombstone if there need not be any.
    fn forget_one(&mut self, slots: &SlotTable) -> bool {
        if self.shadowing {
            return false;
        }
        let forgotten = self.segments.exhume();
        forgotten.inspect(|(_, entry)| slots.subtract(entry)).is_some()
    }

    /// Makes an expired entry what it is: a tombstone of its version, or nothing if there is nothing to hide.
    fn bury(&mut self, slots: &SlotTable, hash: u64) {
        let Some((_, entry)) = self.remove(slots, hash) else {
            unreachable!("every indexed deadline has its entry");
        };
        self.counters.expirations += 1;
        if self.config.planted.is(DataBug::DigestNotUpdatedOnExpiry) {
            slots.toggle_digest(&entry);
        }
        if self.shadowing && !self.config.planted.is(DataBug::ExpiryLeavesNothing) {
            self.insert(slots, Segment::Graves, hash, entry.into_tombstone());
        }
    }

    #[cfg(test)]
    pub(super) fn alarms(&self) -> &AlarmIndex {
        &self.alarms
    }
}
