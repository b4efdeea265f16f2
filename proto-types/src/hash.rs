//! The key hash, and the slots it is cut into. Changing anything here moves every key of every cluster.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::id::{KeyspaceId, NodeId};

/// Seed of the key hash, fixed for ever: ASCII `quoitkey`.
const KEY_SEED: u64 = u64::from_be_bytes(*b"quoitkey");
/// Seed of the vnode tokens, apart from the keys' so that a key named like a vnode is not attracted to it.
const TOKEN_SEED: u64 = u64::from_be_bytes(*b"quoitvnd");

/// A point on the ring: 64 bits, wrapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HashPoint(u64);

impl HashPoint {
    /// THE key hash: xxh3-64 of the key's bytes, seeded by the keyspace.
    ///
    /// Public and unkeyed on purpose (client and node must agree), so it is never used to index a hash table.
    pub fn of_key(keyspace: KeyspaceId, key: &[u8]) -> Self {
        Self(xxh3_64_with_seed(key, KEY_SEED ^ u64::from(keyspace.value())))
    }

    /// The place of vnode number `index` of `node`: the upper half of xxh3-128 over id ‖ index (little-endian).
    pub fn of_vnode(node: NodeId, index: u32) -> Self {
        let mut input = [0; 20];
        input[..16].copy_from_slice(node.as_bytes());
        input[16..].copy_from_slice(&index.to_le_bytes());
        let [high, _low] = halves(xxh3_128_with_seed(&input, TOKEN_SEED));
        Self(high)
    }

    /// Wraps 64 bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// Splits 128 bits into the upper and the lower 64.
fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let mut high = [0; 8];
    let mut low = [0; 8];
    high.copy_from_slice(&bytes[..8]);
    low.copy_from_slice(&bytes[8..]);
    [u64::from_be_bytes(high), u64::from_be_bytes(low)]
}

impl fmt::Display for HashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for HashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashPoint({self})")
    }
}

/// A slot: the unit of placement, transfer, digest and repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotIndex(u32);

impl SlotIndex {
    /// Slot number `index`, which may be beyond the last one: [`SlotCount::contains`] tells.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Its number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The position of this slot in a table of all slots.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many slots a cluster has: a power of two, fixed at genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct SlotCount(u8);

impl SlotCount {
    /// 2^14 slots: enough for tens of nodes at 128 vnodes each.
    pub const DEFAULT: Self = Self(14);

    /// 2^`log2` slots, for 4 ≤ `log2` ≤ 20; `None` outside of that.
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 >= 4 && log2 <= 20 { Some(Self(log2)) } else { None }
    }

    /// The exponent.
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// The number of slots.
    pub const fn count(self) -> u32 {
        1 << self.0
    }

    /// Whether `slot` is one of them.
    pub const fn contains(self, slot: SlotIndex) -> bool {
        slot.0 < self.count()
    }

    /// The slot that holds `point`: its top bits.
    pub const fn slot_of(self, point: HashPoint) -> SlotIndex {
        #[expect(clippy::cast_possible_truncation, reason = "at most 20 bits remain after the shift")]
        SlotIndex((point.value() >> (64 - self.0)) as u32)
    }

    /// The first point of `slot`, where its owners are looked up on the ring.
    pub const fn first_point(self, slot: SlotIndex) -> HashPoint {
        HashPoint((slot.0 as u64) << (64 - self.0))
    }

    /// Every slot, in order.
    pub fn slots(self) -> impl Iterator<Item = SlotIndex> {
        (0..self.count()).map(SlotIndex)
    }
}

impl TryFrom<u8> for SlotCount {
    type Error = &'static str;

    fn try_from(log2: u8) -> Result<Self, Self::Error> {
        Self::from_log2(log2).ok_or("slots_log2 must be 4 to 20")
    }
}

impl From<SlotCount> for u8 {
    fn from(count: SlotCount) -> Self {
        count.0
    }
}
