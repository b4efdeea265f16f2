//! The store of a node: shards behind locks, and what is known of each slot beside them.
//!
//! A key's table hash, under a seed that is secret to the process, picks its shard, and tells its slot. No lock is held longer than one
//! operation on one shard, or a look at a few keys, and none across an await: everything here is synchronous.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use quoit_proto_types::limits::KEY_BYTES_MAX;
use quoit_proto_types::message::transfer::SlotSummary;
use quoit_proto_types::slot_set::SlotSet;
use quoit_proto_types::version::{Hlc, Stamp};
use quoit_proto_types::{Fence, HashPoint, KeyspaceId, SlotCount, SlotIndex};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::entry::{Entry, Record};
use super::eviction::EvictionPolicy;
use super::merge::{Applied, ApplyError, FenceMoved, Origin};
use super::shard::{Shard, ShardConfig};
use super::slots::{SlotTable, table_hash};
use super::stats::ShardStats;
use super::walk::Walks;
use crate::planted::data::DataPlanted;
use crate::time::Wall;

/// Settings of a [`Store`].
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Bytes of resident memory the entries of all shards may cost together.
    pub memory_limit_bytes: usize,
    /// Longest value that will be stored, which decides how small a shard may be.
    pub value_bytes_max: usize,
    /// What leaves first when the limit is reached.
    pub policy: EvictionPolicy,
    /// Random and secret: whoever knows it can make keys meet in one shard or evict each other.
    pub seed: u64,
    /// For tests.
    pub planted: DataPlanted,
}

/// A cache shared by all connections of a node.
///
/// It holds nothing before [`prepare`](Self::prepare): until then requests are refused like those of another view.
#[derive(Debug)]
pub struct Store {
    pub(super) shards: Box<[Mutex<Shard>]>,
    pub(super) walks: Mutex<Walks>,
    slots: OnceLock<SlotTable>,
    memory_limit_bytes: usize,
    seed: u64,
    expire_first: AtomicUsize,
}

impl Store {
    /// Creates an empty store.
    pub fn new(config: StoreConfig) -> Self {
        let StoreConfig { memory_limit_bytes, value_bytes_max, policy, seed, planted } = config;
        let shards = shard_count(memory_limit_bytes, value_bytes_max);
        let shard = ShardConfig { memory_limit_bytes: memory_limit_bytes / shards, policy, planted };
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new(shard))).collect(),
            walks: Mutex::default(),
            slots: OnceLock::new(),
            memory_limit_bytes,
            seed,
            expire_first: AtomicUsize::new(0),
        }
    }

    /// Tells the store how many slots there are, which is known as soon as the cluster is. Says whether they are as many: a
    /// second call changes nothing.
    pub fn prepare(&self, slots: SlotCount) -> bool {
        self.slots.get_or_init(|| SlotTable::new(slots)).slots() == slots
    }

    /// Lets requests of `fence` into shard number `shard`, and no others. When this returns, the shard has answered its last
    /// request of any other fence.
    pub fn seal(&self, shard: usize, fence: Fence) {
        if let Some(shard) = self.shards.get(shard) {
            self.lock(shard).seal(fence);
        }
    }

    /// Calls `read` with the entry of a key, a tombstone or nothing, whichever there is. A value counts as used then.
    ///
    /// The shard is locked meanwhile: copy a short value straight into the reply, take a long one with
    /// [`Entry::to_bytes`], and do not call the store.
    ///
    /// # Errors
    ///
    /// [`FenceMoved`] if the shard goes by another fence.
    pub fn get_with<R>(
        &self,
        now: Wall,
        fence: Fence,
        key: &[u8],
        read: impl FnOnce(Option<&Entry>) -> R,
    ) -> Result<R, FenceMoved> {
        let (slots, hash) = (self.slots()?, self.hash(key));
        let mut shard = self.shard(hash);
        shard.check_fence(fence)?;
        Ok(shard.get(slots, now, (hash, key), read))
    }

    /// How many keys it looks at [together](Self::warm) at most: fewer where there are few shards, so that most are free. Nothing is
    /// gained by one.
    pub fn warmed_max(&self) -> usize {
        (self.shards.len() / 4).min(WARMED_MAX)
    }

    /// Whether there is so much that a processor is unlikely to have it at hand, as the shard of `key` tells: they fill evenly. Not
    /// known, and so not said, while somebody has that shard.
    pub fn outgrows_caches(&self, key: &[u8]) -> bool {
        let shard = self.shards[self.shard_of(self.hash(key))].try_lock();
        shard.is_ok_and(|shard| shard.stats().bytes * self.shards.len() > CACHED_BYTES)
    }

    /// Looks at keys that are about to be asked for, as far as they are not [too many](Self::warmed_max).
    ///
    /// Where each of them is found, what tells that is as a rule in main memory, at four places or five of which each tells the
    /// next: to look for many at once has the processor wait for all of them at the same time, where it would wait for one after
    /// the other (group prefetching: Chen et al., "Improving Hash Join Performance through Prefetching", ICDE 2004). That needs their
    /// shards all locked: to lock one in between would end what is under way. A shard that somebody has is left out, as nobody may
    /// wait for a lock while holding another.
    pub fn warm(&self, keys: &[&[u8]]) {
        let Some(slots) = self.slots.get() else { return };
        let mut held = [const { None }; WARMED_MAX];
        for (place, key) in held[..self.warmed_max()].iter_mut().zip(keys) {
            let hash = self.hash(key);
            *place = self.shards[self.shard_of(hash)].try_lock().ok().map(|shard| (hash, shard));
        }
        for (hash, shard) in held.iter().flatten() {
            // Whatever comes of it, it must have been looked at.
            black_box((shard.glance(*hash), slots.floor(slots.slot_of_hash(*hash))));
        }
    }

    /// As [`get_with`](Self::get_with), but this is no use of the key, nor is it counted.
    ///
    /// # Errors
    ///
    /// [`FenceMoved`] if the shard goes by another fence.
    pub fn peek_with<R>(
        &self,
        now: Wall,
        fence: Fence,
        key: &[u8],
        read: impl FnOnce(Option<&Entry>) -> R,
    ) -> Result<R, FenceMoved> {
        let (slots, hash) = (self.slots()?, self.hash(key));
        let mut shard = self.shard(hash);
        shard.check_fence(fence)?;
        Ok(read(shard.peek(slots, now, hash, key)))
    }

    /// Keeps the later of this entry and what is held of its key, and evicts what must go for it. Of a tombstone's record
    /// only the key is kept.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: nothing has changed then.
    pub fn apply(
        &self,
        now: Wall,
        fence: Fence,
        origin: Origin,
        stamp: Stamp,
        record: Record,
    ) -> Result<Applied, ApplyError> {
        let (slots, hash) = (self.slots()?, self.hash(record.key()));
        let entry = Entry::new(record, stamp);
        self.shard(hash).apply((slots, slots.slot_of_hash(hash)), now, (fence, origin), hash, entry)
    }

    /// Whether deleted and expired entries leave tombstones. They must if another process has, or has had, a copy of anything;
    /// otherwise nothing is left to be hidden, and [`expire`](Self::expire) removes those there are.
    pub fn set_shadowing(&self, shadowing: bool) {
        self.shards().for_each(|mut shard| shard.set_shadowing(shadowing));
    }

    /// Turns expired entries into tombstones, or removes tombstones that need not be, in `steps_max` steps at most: a step is
    /// an entry, or a look at one that expires soon. Returns how many it took. If that many, some may be left: call again
    /// soon. Each call starts at another shard, so that none waits behind the others for ever.
    pub fn expire(&self, now: Wall, steps_max: usize) -> usize {
        let Some(slots) = self.slots.get() else { return 0 };
        let shards = self.shards.len();
        let first = self.expire_first.fetch_add(1, Ordering::Relaxed) % shards;
        (first..first + shards).fold(0, |done, index| match steps_max - done {
            0 => done,
            left => done + self.lock(&self.shards[index % shards]).expire(slots, now, left),
        })
    }

    /// The next moment at which [`expire`](Self::expire) may have something to do, possibly past.
    pub fn next_deadline(&self) -> Option<Wall> {
        self.shards().filter_map(|shard| shard.next_deadline()).min()
    }

    /// How many shards there are, for those who go through them one by one.
    pub fn shards_count(&self) -> usize {
        self.shards.len()
    }

    /// Removes the entries of shard number `shard` whose slot is not to be kept, and returns how many it removed. The shard
    /// is locked meanwhile: some tens of nanoseconds for each of its entries.
    ///
    /// Once this has been done for all shards, [`reset_slots`](Self::reset_slots) makes the slots as good as new.
    pub fn retain_slots(&self, shard: usize, keep: impl Fn(SlotIndex) -> bool) -> usize {
        match (self.slots.get(), self.shards.get(shard)) {
            (Some(slots), Some(shard)) => self.lock(shard).retain(slots, |hash, _| keep(slots.slot_of_hash(hash))),
            (None, _) | (_, None) => 0,
        }
    }

    /// Forgets the floors and seals of slots that this node owns no more: when it comes to own one again, what it pulls may
    /// be older than the floor it left with.
    pub fn reset_slots(&self, slots: &SlotSet) {
        self.each_slot(slots, SlotTable::reset);
    }

    /// Removes all entries. Counters, floors, seals and fences stay.
    pub fn clear(&self) {
        if let Some(slots) = self.slots.get() {
            self.shards().for_each(|mut shard| shard.clear(slots));
        }
    }

    /// What is held of a slot. Read without a lock: while the slot changes, numbers may belong to different moments.
    pub fn summary(&self, slot: SlotIndex) -> SlotSummary {
        self.known(slot).map_or_else(SlotSummary::default, |slots| slots.summary(slot))
    }

    /// Up to where the tombstones of a slot have been collected.
    pub fn floor(&self, slot: SlotIndex) -> Hlc {
        self.known(slot).map_or(Hlc::MIN, |slots| slots.floor(slot))
    }

    /// Raises the floor of a slot, if it is lower. What is absent and not later is taken in no more.
    pub fn raise_floor(&self, slot: SlotIndex, until: Hlc) {
        if let Some(slots) = self.known(slot) {
            slots.raise_floor(slot, until);
        }
    }

    /// Refuses writes up to `until` into `slots` from now on, and holds their repair back. When this returns, the last such
    /// write that was taken is visible.
    pub fn seal_slots(&self, slots: &SlotSet, until: Hlc) {
        self.each_slot(slots, |table, slot| table.raise_seal(slot, until));
        // Whoever holds a lock may have read the seals before: when all have been free once, nobody has.
        self.shards().for_each(drop);
    }

    /// Takes such writes and repairs again.
    pub fn unseal_slots(&self, slots: &SlotSet) {
        self.each_slot(slots, SlotTable::lift_seal);
    }

    /// The sum of what happened in all shards and what they hold. Shards are read one after the other, not at one moment.
    pub fn stats(&self) -> ShardStats {
        self.shards().fold(ShardStats::default(), |mut sum, shard| {
            sum += shard.stats();
            sum
        })
    }

    /// Bytes of resident memory the entries may cost.
    pub fn memory_limit_bytes(&self) -> usize {
        self.memory_limit_bytes
    }

    /// The table of slots, or the refusal of a request that comes before there is one.
    fn slots(&self) -> Result<&SlotTable, FenceMoved> {
        self.slots.get().ok_or(FenceMoved { at: Fence::default() })
    }

    /// The table of slots, if it is prepared for sets like `slots`.
    pub(super) fn table_for(&self, slots: &SlotSet) -> Option<&SlotTable> {
        self.slots.get().filter(|table| table.slots() == slots.slots())
    }

    fn known(&self, slot: SlotIndex) -> Option<&SlotTable> {
        self.slots.get().filter(|table| slot.index() < table.slots().count() as usize)
    }

    pub(super) fn each_slot(&self, slots: &SlotSet, change: impl Fn(&SlotTable, SlotIndex)) {
        if let Some(table) = self.table_for(slots) {
            slots.iter().for_each(|slot| change(table, slot));
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        // 0 is no hash: a queue has other use for it.
        table_hash(xxh3_64_with_seed(key, self.seed), HashPoint::of_key(KeyspaceId::DEFAULT, key)).max(1)
    }

    /// The number of the shard of a table hash.
    pub(super) fn shard_of(&self, hash: u64) -> usize {
        // The shard's own table uses the lowest and the seven highest bits: take others, or they would be alike in a shard. In
        // between are the public ones, that tell the slot.
        ((hash >> SHARD_BITS_FROM) & (self.shards.len() as u64 - 1)) as usize
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.lock(&self.shards[self.shard_of(hash)])
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| self.lock(shard))
    }

    /// Locks a shard. One that a panic left half-changed is emptied first: for a cache that is always correct.
    pub(super) fn lock<'a>(&self, shard: &'a Mutex<Shard>) -> MutexGuard<'a, Shard> {
        shard.lock().unwrap_or_else(|poisoned| {
            let mut guard = poisoned.into_inner();
            if let Some(slots) = self.slots.get() {
                guard.clear(slots);
            }
            shard.clear_poison();
            guard
        })
    }
}

/// The largest power of two of shards, up to a bound, that leaves each room for several of the largest records, and for enough
/// small ones for the eviction to learn from.
fn shard_count(memory_limit_bytes: usize, value_bytes_max: usize) -> usize {
    let records = SHARD_RECORDS_MIN * Record::footprint_max(KEY_BYTES_MAX + value_bytes_max);
    let shard_bytes_min = records.max(SHARD_BYTES_MIN);
    let shards = (memory_limit_bytes / shard_bytes_min).clamp(1, SHARDS_MAX);
    1 << shards.ilog2()
}

/// With fewer, one large value would evict much of what its shard holds.
const SHARD_RECORDS_MIN: usize = 8;

/// Keys that are looked at together: about as many as a processor fetches for at once.
pub const WARMED_MAX: usize = 16;

/// Bytes of entries that a processor may well have at hand.
const CACHED_BYTES: usize = 8 << 20;

/// Some thousand small entries.
const SHARD_BYTES_MIN: usize = 1 << 20;

/// More shards than threads need, because a shard's memory bounds its longest pause, the rebuild of its slab: 64 GiB still
/// make shards of 64 MiB.
const SHARDS_MAX: usize = 1024;

/// Above the bits that a table of any shard's size uses and those of the slot, and more than ten below the highest seven.
const SHARD_BITS_FROM: u32 = 40;

#[cfg(test)]
mod tests;
