//! What a store tells of itself.

use std::ops::AddAssign;

/// Counters since the start, and what is held at this moment. Shards add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Gets that found a value.
    pub hits: u64,
    /// Gets that did not.
    pub misses: u64,
    /// Values written.
    pub sets: u64,
    /// Values deleted on request.
    pub deletes: u64,
    /// Entries taken over from other nodes.
    pub imports: u64,
    /// Values removed for lack of room, before their time.
    pub evictions: u64,
    /// Values removed because their time was over.
    pub expirations: u64,
    /// Tombstones removed for lack of room, each of which raised its slot's floor.
    pub tombstones_lost: u64,
    /// Values held, expired ones not yet removed included.
    pub entries: usize,
    /// Tombstones held.
    pub tombstones: usize,
    /// Bytes of resident memory that values and tombstones cost.
    pub bytes: usize,
}

impl AddAssign for ShardStats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.sets += other.sets;
        self.deletes += other.deletes;
        self.imports += other.imports;
        self.evictions += other.evictions;
        self.expirations += other.expirations;
        self.tombstones_lost += other.tombstones_lost;
        self.entries += other.entries;
        self.tombstones += other.tombstones;
        self.bytes += other.bytes;
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) sets: u64,
    pub(super) deletes: u64,
    pub(super) imports: u64,
    pub(super) evictions: u64,
    pub(super) expirations: u64,
    pub(super) tombstones_lost: u64,
}

impl Counters {
    pub(super) fn stats(&self, entries: usize, tombstones: usize, bytes: usize) -> ShardStats {
        let Self { hits, misses, sets, deletes, imports, evictions, expirations, tombstones_lost } = *self;
        ShardStats {
            hits,
            misses,
            sets,
            deletes,
            imports,
            evictions,
            expirations,
            tombstones_lost,
            entries,
            tombstones,
            bytes,
        }
    }
}
