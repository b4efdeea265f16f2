//! What is known of each slot without looking at its entries: kept up to date with every change of every shard, read
//! without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use quoit_proto_types::message::transfer::{Digest, SlotSummary};
use quoit_proto_types::version::{EntryKind, Hlc, Stamp};
use quoit_proto_types::{HashPoint, KeyspaceId, SlotCount, SlotIndex};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::entry::Entry;

/// Seed of [`key_hash`], fixed for ever: ASCII `quoitkno`.
const KEY_SEED: u64 = u64::from_be_bytes(*b"quoitkno");
/// Seed of values' shares of digests, fixed for ever: ASCII `quoitval`.
const VALUE_SEED: u64 = u64::from_be_bytes(*b"quoitval");
/// The same of tombstones: ASCII `quoitdel`.
const TOMBSTONE_SEED: u64 = u64::from_be_bytes(*b"quoitdel");

/// The hash by which nodes tell each other's keys apart: xxh3-128 under a public seed, the same everywhere.
pub fn key_hash(key: &[u8]) -> u128 {
    xxh3_128_with_seed(key, KEY_SEED)
}

/// An entry's share of its slot's digest: xxh3-128 over key hash ‖ hlc ‖ ordinal ‖ boot ‖ touched ‖ expiry, little-endian, under
/// the seed of its kind. The expiry is part of it as two changes of an expiry may have been given the same moment: owners that
/// differ by nothing else must find out.
pub(super) fn digest_of(entry: &Entry) -> u128 {
    digest_with(key_hash(entry.key()), entry)
}

/// The same, of an entry whose key has this hash.
fn digest_with(key: u128, entry: &Entry) -> u128 {
    let Stamp { version, touched, kind, expires_at_ms } = entry.stamp();
    // In pieces of sixteen bytes, which are hashed as they were written: a processor waits for what was written in others.
    let version = u128::from(version.hlc.value())
        | u128::from(version.ordinal.value()) << 64
        | u128::from(version.boot.value()) << 96;
    let changed = u128::from(touched.value()) | u128::from(expires_at_ms) << 64;
    let mut input = [0; 48];
    for (place, piece) in input.chunks_exact_mut(16).zip([key, version, changed]) {
        place.copy_from_slice(&piece.to_le_bytes());
    }
    let seed = match kind {
        EntryKind::Value => VALUE_SEED,
        EntryKind::Tombstone => TOMBSTONE_SEED,
    };
    xxh3_128_with_seed(&input, seed)
}

/// The table hash of a key: `secret` bits, and in the midst of them those of its point that tell its slot, so that who goes
/// through a shard need neither look at a key nor hash it. The lowest bits and the highest, which the table of a shard goes
/// by, stay secret, and so do those that pick the shard.
pub(super) fn table_hash(secret: u64, point: HashPoint) -> u64 {
    secret & !SLOT_BITS | (point.value() >> SLOT_BITS_DOWN) & SLOT_BITS
}

/// The bits of a table hash that tell the slot, as many as the largest number of slots needs.
const SLOT_BITS: u64 = (1 << 40) - (1 << 20);
/// How far above them they are in a point, where they are the highest.
const SLOT_BITS_DOWN: u32 = 24;

/// The slots of a store.
///
/// The entries of one slot are spread over all shards, so every number is an atomic of its own. Whoever reads while entries
/// change may see some numbers before a change and others after it, even the halves of one digest: a comparison that fails
/// for that is repeated like any other that fails.
#[derive(Debug)]
pub(super) struct SlotTable {
    slots: SlotCount,
    cells: Box<[Cell]>,
}

/// What an entry adds to its slot, kept while the entry itself has gone where it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    slot: SlotIndex,
    /// The key's hash, which an entry in whose place this one comes has as well.
    key: u128,
    digest: u128,
    bytes: u64,
}

impl Share {
    /// That of an entry, whose slot this is.
    pub(super) fn of(entry: &Entry, slot: SlotIndex) -> Self {
        let key = key_hash(entry.key());
        Self { slot, key, digest: digest_with(key, entry), bytes: entry.record_bytes() as u64 }
    }

    /// That of another entry of the same key.
    fn of_same_key(&self, entry: &Entry) -> Self {
        Self { digest: digest_with(self.key, entry), bytes: entry.record_bytes() as u64, ..*self }
    }
}

/// Up to when a slot takes nothing, or not everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What is absent and not later than this was deleted.
    pub(super) floor: Hlc,
    /// It takes no writes up to then.
    pub(super) seal: Hlc,
}

/// In one line of a processor's cache, though nearly a third of that stays empty: a write needs most of the rest.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    digest: [AtomicU64; 2],
    bytes: AtomicU64,
    floor: AtomicU64,
    seal: AtomicU64,
    entries: AtomicU32,
}

impl SlotTable {
    pub(super) fn new(slots: SlotCount) -> Self {
        Self { slots, cells: slots.slots().map(|_| Cell::default()).collect() }
    }

    pub(super) fn slots(&self) -> SlotCount {
        self.slots
    }

    /// The slot of a key.
    pub(super) fn slot_of(&self, key: &[u8]) -> SlotIndex {
        self.slots.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
    }

    /// The slot of the keys with a [`table_hash`].
    pub(super) fn slot_of_hash(&self, hash: u64) -> SlotIndex {
        self.slots.slot_of(HashPoint::new((hash & SLOT_BITS) << SLOT_BITS_DOWN))
    }

    /// Counts an entry in.
    pub(super) fn add(&self, entry: &Entry) {
        let cell = self.toggle(entry);
        cell.entries.fetch_add(1, Ordering::Relaxed);
        cell.bytes.fetch_add(entry.record_bytes() as u64, Ordering::Relaxed);
    }

    /// Counts an entry out.
    pub(super) fn subtract(&self, entry: &Entry) {
        let cell = self.toggle(entry);
        cell.entries.fetch_sub(1, Ordering::Relaxed);
        cell.bytes.fetch_sub(entry.record_bytes() as u64, Ordering::Relaxed);
    }

    /// Counts `entry` in and, of the same key, `replaced` out.
    pub(super) fn exchange(&self, entry: Share, replaced: &Entry) {
        let (cell, replaced) = (self.cell(entry.slot), entry.of_same_key(replaced));
        let [low, high] = halves(entry.digest ^ replaced.digest);
        cell.digest[0].fetch_xor(low, Ordering::Relaxed);
        cell.digest[1].fetch_xor(high, Ordering::Relaxed);
        if entry.bytes != replaced.bytes {
            cell.bytes.fetch_add(entry.bytes.wrapping_sub(replaced.bytes), Ordering::Relaxed);
        }
    }

    /// Adds an entry to its slot's digest, or takes it out: that is the same.
    pub(super) fn toggle_digest(&self, entry: &Entry) {
        self.toggle(entry);
    }

    fn toggle(&self, entry: &Entry) -> &Cell {
        let cell = self.cell(self.slot_of(entry.key()));
        let [low, high] = halves(digest_of(entry));
        cell.digest[0].fetch_xor(low, Ordering::Relaxed);
        cell.digest[1].fetch_xor(high, Ordering::Relaxed);
        cell
    }

    /// What is held of `slot`.
    pub(super) fn summary(&self, slot: SlotIndex) -> SlotSummary {
        let cell = self.cell(slot);
        let [low, high] = [0, 1].map(|half| u128::from(cell.digest[half].load(Ordering::Relaxed)));
        SlotSummary {
            digest: Digest(high << 64 | low),
            entries: cell.entries.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
            floor: self.floor(slot),
        }
    }

    /// What is absent from `slot` and not later than this was deleted.
    pub(super) fn floor(&self, slot: SlotIndex) -> Hlc {
        Hlc::new(self.cell(slot).floor.load(Ordering::Relaxed))
    }

    /// Raises the floor to `until`, if it is lower.
    pub(super) fn raise_floor(&self, slot: SlotIndex, until: Hlc) {
        self.cell(slot).floor.fetch_max(until.value(), Ordering::Relaxed);
    }

    /// Floor and seal of `slot`.
    pub(super) fn bounds(&self, slot: SlotIndex) -> Bounds {
        let cell = self.cell(slot);
        let [floor, seal] = [&cell.floor, &cell.seal].map(|at| Hlc::new(at.load(Ordering::Relaxed)));
        Bounds { floor, seal }
    }

    /// Raises the seal to `until`, if it is lower.
    pub(super) fn raise_seal(&self, slot: SlotIndex, until: Hlc) {
        self.cell(slot).seal.fetch_max(until.value(), Ordering::Relaxed);
    }

    /// Takes the seal off.
    pub(super) fn lift_seal(&self, slot: SlotIndex) {
        self.cell(slot).seal.store(Hlc::MIN.value(), Ordering::Relaxed);
    }

    /// Forgets floor and seal.
    pub(super) fn reset(&self, slot: SlotIndex) {
        self.cell(slot).floor.store(Hlc::MIN.value(), Ordering::Relaxed);
        self.lift_seal(slot);
    }

    fn cell(&self, slot: SlotIndex) -> &Cell {
        // Slots of another cluster's count do not reach this far: sets are checked, keys are hashed here.
        &self.cells[slot.index()]
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_le_bytes();
    let half = |from: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[from..from + 8]);
        u64::from_le_bytes(half)
    };
    [half(0), half(8)]
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::version::Version;
    use quoit_proto_types::{Boot, Ordinal};

    use super::super::entry::Record;
    use super::*;

    /// Nodes of all versions must agree on these: changing one is a protocol decision.
    #[test]
    fn hashes_that_nodes_compare_never_change() {
        let version = Version { hlc: Hlc::new(0x0102_0304), ordinal: Ordinal::new(5), boot: Boot::new(6) };
        let value =
            Entry::new(Record::new(b"key", b"value"), Stamp { touched: Hlc::new(7), ..Stamp::value(version, 8) });
        let tombstone = Entry::new(Record::new(b"key", b""), Stamp::tombstone(version));
        let hashes = [key_hash(b"key"), digest_of(&value), digest_of(&tombstone)];
        assert_eq!(hashes.map(|hash| format!("{hash:032x}")), GOLDEN);
    }

    const GOLDEN: [&str; 3] =
        ["1b7119395784269912e4f47edce9e562", "ee3d5d47d600235668c198b008d7754b", "b1863e115d9b2bf14dfee8546128c95d"];

    #[test]
    fn all_that_may_differ_changes_the_digest() {
        let key = |key: &[u8], stamp| digest_of(&Entry::new(Record::new(key, b""), stamp));
        let version = Version { hlc: Hlc::new(9), ordinal: Ordinal::new(9), boot: Boot::new(9) };
        let stamp = Stamp { touched: Hlc::new(10), ..Stamp::value(version, 11) };
        let versions = [
            Version { hlc: Hlc::new(8), ..version },
            Version { ordinal: Ordinal::new(8), ..version },
            Version { boot: Boot::new(8), ..version },
        ];
        let mut digests = vec![key(b"key", stamp), key(b"yek", stamp)];
        digests.extend(versions.map(|version| key(b"key", Stamp { version, ..stamp })));
        digests.push(key(b"key", Stamp { touched: Hlc::new(12), ..stamp }));
        digests.push(key(b"key", Stamp { kind: EntryKind::Tombstone, ..stamp }));
        digests.push(key(b"key", Stamp { expires_at_ms: 12, ..stamp }));
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_table_hash_tells_the_slot_and_keeps_its_other_bits() {
        for log2 in 4..=20 {
            let table = SlotTable::new(SlotCount::from_log2(log2).unwrap());
            for key in (0..100_u32).map(u32::to_be_bytes) {
                let point = HashPoint::of_key(KeyspaceId::DEFAULT, &key);
                for secret in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
                    let hash = table_hash(secret, point);
                    assert_eq!(table.slot_of_hash(hash), table.slot_of(&key));
                    assert_eq!(hash & !SLOT_BITS, secret & !SLOT_BITS);
                }
            }
        }
    }

    #[test]
    fn an_exchange_is_what_adding_and_subtracting_is() {
        let entry = |value: &[u8], hlc: u64, expires_at_ms: u64| {
            let version = Version { hlc: Hlc::new(hlc), ..Version::default() };
            Entry::new(Record::new(b"key", value), Stamp::value(version, expires_at_ms))
        };
        let held = entry(b"value", 1, 5);
        for next in [entry(b"other", 2, 5), entry(b"longer value", 2, 0), entry(b"v", 3, 7), entry(b"value", 1, 5)] {
            let [exchanged, expected] = [(); 2].map(|()| SlotTable::new(SlotCount::DEFAULT));
            for table in [&exchanged, &expected] {
                table.add(&held);
            }
            exchanged.exchange(Share::of(&next, exchanged.slot_of(next.key())), &held);
            expected.subtract(&held);
            expected.add(&next);
            let slot = expected.slot_of(b"key");
            assert_eq!(exchanged.summary(slot), expected.summary(slot), "{next:?}");
        }
    }

    #[test]
    fn what_is_added_and_subtracted_leaves_nothing() {
        let table = SlotTable::new(SlotCount::DEFAULT);
        let entry = Entry::new(Record::new(b"key", b"value"), Stamp::value(Version::default(), 0));
        let slot = table.slot_of(b"key");
        table.add(&entry);
        let summary = table.summary(slot);
        assert_eq!((summary.digest, summary.entries, summary.bytes), (Digest(digest_of(&entry)), 1, 8));
        table.subtract(&entry);
        assert_eq!(table.summary(slot), SlotSummary::default());
    }
}
