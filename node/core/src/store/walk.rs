//! Going through the entries of some slots, page by page, while they change.
//!
//! A walk keeps no state here: it goes through the shards in order and through each in ascending order of the table hash,
//! which no change of the store disturbs, and the cursor says where it is. An entry that is there from the first page to the
//! last and not replaced meanwhile is met at least once; what changes meanwhile is met in its newer form, or not at all.
//!
//! Finding a shard's next hashes means looking at all its entries, under its lock. So that this is not done again for each
//! page, the lists of the last few walks are remembered; a walk whose list was forgotten makes a new one, which differs from
//! the old one in nothing that was promised.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use quoit_proto_types::message::transfer::{BlockEntry, Cursor, Digest, EntryBlock, EntryBlockWriter, Handle, Known};
use quoit_proto_types::slot_set::SlotSet;
use quoit_proto_types::version::Hlc;

use super::entry::Entry;
use super::sharded::Store;
use super::slots::{SlotTable, digest_of, key_hash};
use crate::time::Wall;

/// The lists of hashes that were last made.
#[derive(Debug, Default)]
pub(super) struct Walks(VecDeque<Walk>);

#[derive(Debug)]
struct Walk {
    shard: u32,
    slots: SlotSet,
    hashes: Arc<[u64]>,
}

impl Store {
    /// Entries of `slots`, tombstones too, from where a walk has come to: some `bytes_max` bytes of them and at most one
    /// entry more, and where to go on, or nothing if that was all. A page may have few entries, or none, and not be the last.
    pub fn pull(&self, now: Wall, slots: &SlotSet, from: Cursor, bytes_max: usize) -> (EntryBlock, Option<Cursor>) {
        let mut block = EntryBlockWriter::with_capacity(bytes_max + LAST_ENTRY_BYTES);
        let next = self.walk(slots, from, Some(now), |_, entry| {
            push(&mut block, entry);
            if block.bytes() >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (block.finish(), next)
    }

    /// The versions of at most `entries_max` entries of `slots`, tombstones too, from where a walk has come to, and where to
    /// go on, or nothing if that was all. A page may be empty and not be the last.
    pub fn list(&self, slots: &SlotSet, from: Cursor, entries_max: usize) -> (Vec<Known>, Option<Cursor>) {
        let mut known = Vec::new();
        if entries_max == 0 {
            return (known, Some(from));
        }
        let next = self.walk(slots, from, None, |handle, entry| {
            known.push(Known { handle, key: key_hash(entry.key()), stamp: entry.stamp() });
            if known.len() == entries_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (known, next)
    }

    /// Those of the entries that are there still, in their order, until `bytes_max` is reached.
    pub fn fetch(&self, handles: &[Handle], bytes_max: usize) -> EntryBlock {
        let mut block = EntryBlockWriter::default();
        for Handle(hash) in handles {
            if block.bytes() >= bytes_max {
                break;
            }
            let shard = self.lock(&self.shards[self.shard_of(*hash)]);
            if let Some(entry) = shard.segments.peek(*hash) {
                push(&mut block, entry);
            }
        }
        block.finish()
    }

    /// For each of `slots`, in order, the digest of its entries up to `until`. Each shard is locked while it is gone
    /// through: some tens of nanoseconds for each of its entries.
    pub fn digests_until(&self, slots: &SlotSet, until: Hlc) -> Vec<Digest> {
        let mut digests = vec![Digest::default(); slots.len()];
        let Some(table) = self.table_for(slots) else { return digests };
        let mut places = vec![None; slots.slots().count() as usize];
        slots.iter().enumerate().for_each(|(place, slot)| places[slot.index()] = Some(place));
        for shard in self.shards() {
            for (hash, entry) in shard.segments.iter().filter(|(_, entry)| entry.version().hlc <= until) {
                if let Some(place) = places[table.slot_of_hash(hash).index()] {
                    digests[place].0 ^= digest_of(entry);
                }
            }
        }
        digests
    }

    /// Forgets the tombstones of `slots` up to `until`, which all owners have, raises the floors to it, and returns how many
    /// tombstones that were.
    ///
    /// An expired entry stays until nobody can prolong it any more: until it had expired some time before `until`, for as
    /// much as clocks differ. Otherwise one owner could forget what another, with a touch of the last moment, has alive.
    pub fn purge(&self, slots: &SlotSet, until: Hlc) -> usize {
        let Some(table) = self.table_for(slots) else { return 0 };
        // First, so that nothing comes in between.
        self.each_slot(slots, |table, slot| table.raise_floor(slot, until));
        let expired = Wall::from_millis(until.millis().saturating_sub(EXPIRY_SETTLED_AFTER_MS));
        self.shards().map(|mut shard| shard.purge(table, |slot| slots.contains(slot), until, expired)).sum()
    }

    /// Shows `visit` the entries after `from` until it breaks, and returns where to go on.
    fn walk(
        &self,
        slots: &SlotSet,
        from: Cursor,
        now: Option<Wall>,
        mut visit: impl FnMut(Handle, &Entry) -> ControlFlow<()>,
    ) -> Option<Cursor> {
        let table = self.table_for(slots).filter(|_| (from.shard as usize) < self.shards.len())?;
        let mut looked_at = 0;
        let mut after = from.after;
        for (number, shard) in (from.shard..).zip(self.shards.iter().skip(from.shard as usize)) {
            if looked_at >= LOOKED_AT_MAX {
                return Some(Cursor { shard: number, after });
            }
            let hashes = match after.and_then(|_| self.remembered(number, slots)) {
                Some(hashes) => hashes,
                None => self.collect(table, slots, number, &mut looked_at),
            };
            let done = after.take().map_or(0, |Handle(done)| hashes.partition_point(|hash| *hash <= done));
            for batch in hashes[done..].chunks(BATCH_ENTRIES) {
                let mut shard = self.lock(shard);
                for hash in batch {
                    if let Some(now) = now {
                        shard.bury_expired(table, now, *hash);
                    }
                    let Some(entry) = shard.segments.peek(*hash) else { continue };
                    if visit(Handle(*hash), entry).is_break() {
                        return Some(Cursor { shard: number, after: Some(Handle(*hash)) });
                    }
                }
            }
        }
        None
    }

    /// Lists the hashes of a shard's entries that belong to `slots`, in ascending order, and remembers the list.
    fn collect(&self, table: &SlotTable, slots: &SlotSet, number: u32, looked_at: &mut usize) -> Arc<[u64]> {
        let mut hashes: Vec<u64> = {
            let shard = self.lock(&self.shards[number as usize]);
            *looked_at += shard.segments.values() + shard.segments.graves();
            let chosen = shard.segments.iter().filter(|(hash, _)| slots.contains(table.slot_of_hash(*hash)));
            chosen.map(|(hash, _)| hash).collect()
        };
        hashes.sort_unstable();
        let hashes: Arc<[u64]> = hashes.into();
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.0.retain(|walk| walk.shard != number || walk.slots != *slots);
        walks.0.truncate(WALKS_MAX - 1);
        walks.0.push_front(Walk { shard: number, slots: slots.clone(), hashes: Arc::clone(&hashes) });
        hashes
    }

    fn remembered(&self, number: u32, slots: &SlotSet) -> Option<Arc<[u64]>> {
        let walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        let walk = walks.0.iter().find(|walk| walk.shard == number && walk.slots == *slots)?;
        Some(Arc::clone(&walk.hashes))
    }
}

fn push(block: &mut EntryBlockWriter, entry: &Entry) {
    block.push(&BlockEntry { stamp: entry.stamp(), key: entry.key(), value: entry.value() });
}

/// Entries that are copied while their shard is locked: short ones take some microseconds together.
const BATCH_ENTRIES: usize = 32;

/// Room for the entry by which a page exceeds its length; few are larger.
const LAST_ENTRY_BYTES: usize = 32 * 1024;

/// A page ends at the next shard once this many entries have been looked at for it: some ten milliseconds.
const LOOKED_AT_MAX: usize = 100_000;

/// Walks whose list is remembered: a list takes 8 bytes for each of the entries of one shard, and a node walks for few
/// others at a time.
const WALKS_MAX: usize = 8;

/// By how much the clocks that wrote an expiry and a touch may be apart: twice what a node accepts of another's.
const EXPIRY_SETTLED_AFTER_MS: u64 = 1000;

#[cfg(test)]
mod tests;
