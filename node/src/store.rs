//! The node's store: shards behind locks.
//!
//! A key's table hash, under a seed that is secret to the process, picks its shard. No lock is held longer than one
//! operation on one shard, and none across an await: everything here is synchronous.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use quoit_core::store::{Entry, EvictionPolicy, Expiry, Record, SetOutcome, Shard, ShardConfig, ShardStats, TooLarge};
use quoit_core::time::Timestamp;
use quoit_proto_types::limits::KEY_BYTES_MAX;
use xxhash_rust::xxh3::xxh3_64_with_seed;

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
}

/// A cache shared by all connections of a node.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    memory_limit_bytes: usize,
    seed: u64,
    expire_first: AtomicUsize,
}

impl Store {
    /// Creates an empty store.
    pub fn new(config: StoreConfig) -> Self {
        let shards = shard_count(config.memory_limit_bytes, config.value_bytes_max);
        let shard = ShardConfig { memory_limit_bytes: config.memory_limit_bytes / shards, policy: config.policy };
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new(shard))).collect(),
            memory_limit_bytes: config.memory_limit_bytes,
            seed: config.seed,
            expire_first: AtomicUsize::new(0),
        }
    }

    /// Calls `read` with the entry of a key, if there is one, which counts as a use of it.
    ///
    /// The shard is locked meanwhile: copy a short value straight into the reply, take a long one with
    /// [`Entry::to_bytes`], and do not call the store.
    pub fn get_with<R>(&self, now: Timestamp, key: &[u8], read: impl FnOnce(&Entry) -> R) -> Option<R> {
        let hash = self.hash(key);
        self.shard(hash).get(now, hash, key).map(read)
    }

    /// Stores a copy of a value.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if it does not fit one shard; see [`Shard::set`].
    pub fn set(&self, now: Timestamp, key: &[u8], value: &[u8], expiry: Expiry) -> Result<SetOutcome, TooLarge> {
        self.set_record(now, Record::new(key, value), expiry)
    }

    /// Stores a record that was built as its value arrived.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if it does not fit one shard; see [`Shard::set`].
    pub fn set_record(&self, now: Timestamp, record: Record, expiry: Expiry) -> Result<SetOutcome, TooLarge> {
        let hash = self.hash(record.key());
        self.shard(hash).set(now, hash, record, expiry)
    }

    /// Removes a key, and says whether it was there.
    pub fn delete(&self, now: Timestamp, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.shard(hash).delete(now, hash, key)
    }

    /// Gives a key another time to live, counted from `now`, and says whether it was there. Counts as a use of it.
    pub fn touch(&self, now: Timestamp, key: &[u8], expiry: Expiry) -> bool {
        let hash = self.hash(key);
        self.shard(hash).touch(now, hash, key, expiry)
    }

    /// Returns the time to live a key has left, or `None` if it is not there. Does not count as a use of it.
    pub fn ttl(&self, now: Timestamp, key: &[u8]) -> Option<Expiry> {
        let hash = self.hash(key);
        self.shard(hash).ttl(now, hash, key)
    }

    /// Removes up to `entries_max` expired entries and returns how many it removed. If that many, some may be left: call
    /// again soon. Each call starts at another shard, so that none waits behind the others for ever.
    pub fn expire(&self, now: Timestamp, entries_max: usize) -> usize {
        let shards = self.shards.len();
        let first = self.expire_first.fetch_add(1, Ordering::Relaxed) % shards;
        (first..first + shards).fold(0, |removed, index| match entries_max - removed {
            0 => removed,
            left => removed + lock(&self.shards[index % shards]).expire(now, left),
        })
    }

    /// The next moment at which an entry expires, possibly past.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shards().filter_map(|shard| shard.next_deadline()).min()
    }

    /// How many shards there are, for those who go through them one by one.
    pub fn shards_count(&self) -> usize {
        self.shards.len()
    }

    /// Removes the entries of shard number `shard` whose key is not to be kept, and returns how many it removed. The shard
    /// is locked meanwhile: some tens of nanoseconds for each of its entries.
    pub fn retain(&self, shard: usize, keep: impl FnMut(&[u8]) -> bool) -> usize {
        self.shards.get(shard).map_or(0, |shard| lock(shard).retain(keep))
    }

    /// Removes all entries. The counters stay.
    pub fn clear(&self) {
        self.shards().for_each(|mut shard| shard.clear());
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

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The shard's own table uses the lowest and the seven highest bits: take others, or they would be alike in a shard.
        let index = (hash >> SHARD_BITS_FROM) & (self.shards.len() as u64 - 1);
        lock(&self.shards[index as usize])
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }
}

/// Locks a shard. One that a panic left half-changed is emptied first: for a cache that is always correct.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(|poisoned| {
        let mut guard = poisoned.into_inner();
        guard.clear();
        shard.clear_poison();
        guard
    })
}

/// The largest power of two of shards, up to a bound, that leaves each room for several of the largest records.
fn shard_count(memory_limit_bytes: usize, value_bytes_max: usize) -> usize {
    let shard_bytes_min = SHARD_RECORDS_MIN * Record::footprint_max(KEY_BYTES_MAX + value_bytes_max);
    let shards = (memory_limit_bytes / shard_bytes_min).clamp(1, SHARDS_MAX);
    1 << shards.ilog2()
}

/// With fewer, one large value would evict much of what its shard holds.
const SHARD_RECORDS_MIN: usize = 8;

/// More shards than threads need, because a shard's memory bounds its longest pause, the rebuild of its slab: 64 GiB still
/// make shards of 64 MiB.
const SHARDS_MAX: usize = 1024;

/// Above the bits a table of any shard's size uses, and more than ten below the highest seven.
const SHARD_BITS_FROM: u32 = 40;

#[cfg(test)]
mod tests;
