//! A key and its value in one allocation of exactly their size, and the stamp they were written with.

use std::cmp::Ordering;

use bytes::Bytes;
use quoit_proto_types::limits::KEY_BYTES_MAX;
use quoit_proto_types::version::{EntryKind, Hlc, Stamp, Version};
use xxhash_rust::xxh3::xxh3_128;

use super::expiry::{Deadline, Expiry};
use super::footprint;
use crate::time::Wall;

/// Longest value that [`Entry::to_bytes`] copies; a longer one is shared.
const COPIED_VALUE_BYTES_MAX: usize = 4096;

/// A key and a value, in memory of exactly their size that nothing else shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    bytes: Bytes,
    key_len: usize,
}

impl Record {
    /// Copies a key and a value into a record.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`], which decoding rules out.
    pub fn new(key: &[u8], value: &[u8]) -> Self {
        let mut builder = Self::builder(key, value.len());
        builder.bytes.extend_from_slice(value);
        Self { bytes: builder.bytes.into(), key_len: key.len() }
    }

    /// Starts a record whose value arrives in pieces, `value_len` bytes in all, so that each byte is copied once.
    ///
    /// Allocates the whole record: check `value_len` against the configured limit first.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`], which decoding rules out.
    pub fn builder(key: &[u8], value_len: usize) -> RecordBuilder {
        assert!(key.len() <= KEY_BYTES_MAX, "keys are checked where they are decoded");
        let mut bytes = Vec::with_capacity(key.len() + value_len);
        bytes.extend_from_slice(key);
        RecordBuilder { bytes, key_len: key.len(), missing: value_len }
    }

    /// Bytes of resident memory that storing a key and a value of `record_bytes` together costs at most.
    pub fn footprint_max(record_bytes: usize) -> usize {
        footprint::ENTRY + footprint::allocation(record_bytes) + footprint::SHARED_HEADER + footprint::DEADLINE
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key_len..]
    }
}

/// A record whose value is still arriving.
#[derive(Debug)]
pub struct RecordBuilder {
    bytes: Vec<u8>,
    key_len: usize,
    missing: usize,
}

impl RecordBuilder {
    /// Appends from the front of `piece` what the value still misses, and returns how many bytes that was.
    pub fn extend(&mut self, piece: &[u8]) -> usize {
        let taken = piece.len().min(self.missing);
        self.bytes.extend_from_slice(&piece[..taken]);
        self.missing -= taken;
        taken
    }

    /// Bytes the value still misses.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Returns the record.
    ///
    /// # Errors
    ///
    /// The builder itself, unchanged, while bytes of the value are missing.
    pub fn finish(self) -> Result<Record, Self> {
        if self.missing > 0 {
            return Err(self);
        }
        Ok(Record { bytes: self.bytes.into(), key_len: self.key_len })
    }
}

/// A stored record with its stamp, in 64 bytes: there is one for every key.
///
/// A tombstone has a key and no value. One that comes from an expiry keeps the moment of it, because it may only be
/// collected some time after that.
#[derive(Debug, Default)]
pub struct Entry {
    bytes: Bytes,
    version: Version,
    touched: Hlc,
    packed: Packed,
}

impl Entry {
    /// An entry as it is to be stored: a tombstone has no value, and an expiry beyond the clock's last moment is none.
    pub(super) fn new(record: Record, stamp: Stamp) -> Self {
        let packed = Packed::new(&stamp, record.key_len);
        let entry = Self { bytes: record.bytes, version: stamp.version, touched: stamp.touched, packed };
        if packed.kind() == EntryKind::Tombstone { entry.into_tombstone() } else { entry }
    }

    /// The same version without its value.
    pub(super) fn into_tombstone(self) -> Self {
        let packed = self.packed.buried();
        let bytes = if self.value().is_empty() { self.bytes } else { Record::new(self.key(), b"").bytes };
        Self { bytes, packed, ..self }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.packed.key_len()]
    }

    /// The value, to copy from while the shard is held. That of a tombstone is empty.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.packed.key_len()..]
    }

    /// The value, to keep. A long value is shared with the store, which costs no copy and keeps its record (the value and
    /// its key, nothing else) alive; a short one is copied.
    pub fn to_bytes(&self) -> Bytes {
        if self.value().len() > COPIED_VALUE_BYTES_MAX {
            self.bytes.slice(self.packed.key_len()..)
        } else {
            Bytes::copy_from_slice(self.value())
        }
    }

    /// What is known of it.
    pub fn stamp(&self) -> Stamp {
        let Self { version, touched, packed, .. } = *self;
        Stamp { version, touched, kind: packed.kind(), expires_at_ms: packed.expires_at_ms() }
    }

    /// Whether it reads as present at `now`: neither a tombstone nor expired.
    pub fn is_live(&self, now: Wall) -> bool {
        !self.is_tombstone() && !self.deadline().is_reached(now)
    }

    /// The time to live that is left at `now`.
    pub fn remaining(&self, now: Wall) -> Expiry {
        self.deadline().remaining(now)
    }

    /// Whether it is to take the place of `held`, an entry of the same key: the order of [`Stamp`], continued for values
    /// that share a stamp, which only the duplication of an identity brings about: of them the one with the greater hash
    /// stays.
    pub(super) fn supersedes(&self, held: &Self) -> bool {
        match self.stamp().rank().cmp(&held.stamp().rank()) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.bytes == held.bytes => false,
            Ordering::Equal => xxh3_128(self.value()) > xxh3_128(held.value()),
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.packed.kind() == EntryKind::Tombstone
    }

    /// When its value expires. A tombstone has none left.
    pub(super) fn deadline(&self) -> Deadline {
        if self.is_tombstone() { Deadline::NEVER } else { Deadline::at_millis(self.packed.expires_at_ms()) }
    }

    /// Bytes of its key and value.
    pub(super) fn record_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of resident memory the entry costs, its deadline included.
    pub(super) fn footprint(&self) -> usize {
        let shared = if self.value().len() > COPIED_VALUE_BYTES_MAX { footprint::SHARED_HEADER } else { 0 };
        let deadline = if self.deadline() == Deadline::NEVER { 0 } else { footprint::DEADLINE };
        footprint::ENTRY + footprint::allocation(self.bytes.len()) + shared + deadline
    }
}

/// What is left of a stamp beside its moments, in one word: 48 bits of expiry, as many as a [`Hlc`] has for milliseconds,
/// 12 for the length of the key, one for the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    const KEY_FROM: u32 = 48;
    const KEY_BITS: u32 = 12;
    const TOMBSTONE: u64 = 1 << 60;

    fn new(stamp: &Stamp, key_len: usize) -> Self {
        let expires = if stamp.expires_at_ms <= Hlc::MILLIS_MAX { stamp.expires_at_ms } else { 0 };
        let word = Self(expires | (key_len as u64) << Self::KEY_FROM);
        match stamp.kind {
            EntryKind::Value => word,
            EntryKind::Tombstone => word.buried(),
        }
    }

    fn buried(self) -> Self {
        Self(self.0 | Self::TOMBSTONE)
    }

    fn key_len(self) -> usize {
        (self.0 >> Self::KEY_FROM) as usize & ((1 << Self::KEY_BITS) - 1)
    }

    fn kind(self) -> EntryKind {
        if self.0 & Self::TOMBSTONE == 0 { EntryKind::Value } else { EntryKind::Tombstone }
    }

    fn expires_at_ms(self) -> u64 {
        self.0 & Hlc::MILLIS_MAX
    }
}

const _: () = assert!(KEY_BYTES_MAX < 1 << Packed::KEY_BITS, "the length of every key fits");

#[cfg(test)]
mod tests {
    use quoit_proto_types::Ordinal;

    use super::*;

    fn value(key: &[u8], value: &[u8], expires_at_ms: u64) -> Entry {
        Entry::new(Record::new(key, value), Stamp::value(Version::default(), expires_at_ms))
    }

    #[test]
    fn a_record_holds_binary_keys_and_values_empty_ones_included() {
        for (key, value) in [(&b"k"[..], &b"value"[..]), (b"\0\xff\r\n", b"\0\0"), (b"k", b""), (b"", b"")] {
            let record = Record::new(key, value);
            assert_eq!((record.key(), record.value()), (key, value));
        }
    }

    #[test]
    fn a_record_built_in_pieces_equals_one_built_at_once() {
        let mut builder = Record::builder(b"key", 10);
        assert_eq!(builder.extend(b"0123"), 4);
        let mut builder = builder.finish().unwrap_err();
        assert_eq!(builder.missing(), 6);
        // What follows the value on the wire is not taken.
        assert_eq!(builder.extend(b"456789 and the next frame"), 6);
        assert_eq!(builder.extend(b"more"), 0);
        assert_eq!(builder.finish().unwrap(), Record::new(b"key", b"0123456789"));
    }

    #[test]
    fn a_long_value_is_shared_and_a_short_one_copied() {
        let long = value(b"key", &[7; COPIED_VALUE_BYTES_MAX + 1], 0);
        assert_eq!(long.to_bytes().as_ptr(), long.value().as_ptr());
        let short = value(b"key", &[7; COPIED_VALUE_BYTES_MAX], 0);
        assert_ne!(short.to_bytes().as_ptr(), short.value().as_ptr());
        assert_eq!(short.to_bytes(), short.value());
    }

    #[test]
    fn only_entries_with_a_deadline_pay_for_one() {
        let entry = |expires_at_ms| value(b"0123456789abcdef", &[0; 100], expires_at_ms);
        let (never, ttl) = (entry(0).footprint(), entry(1000).footprint());
        assert_eq!(never, footprint::ENTRY + 128);
        assert_eq!(ttl, never + footprint::DEADLINE);
        assert_eq!(entry(1000).into_tombstone().footprint(), footprint::ENTRY + 16);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 64);
        // With its hash and two links, as clru keeps it.
        assert_eq!(size_of::<Option<(usize, usize, (u64, Entry))>>(), 88);
    }

    #[test]
    fn a_stamp_comes_back_as_it_was_given() {
        let version = Version { hlc: Hlc::new(u64::MAX), ordinal: Ordinal::new(7), boot: Default::default() };
        for kind in [EntryKind::Value, EntryKind::Tombstone] {
            for expires_at_ms in [0, 1, Hlc::MILLIS_MAX] {
                let stamp = Stamp { version, touched: Hlc::new(u64::MAX - 1), kind, expires_at_ms };
                let entry = Entry::new(Record::new(&[7; KEY_BYTES_MAX], b"value"), stamp);
                assert_eq!((entry.stamp(), entry.key()), (stamp, &[7; KEY_BYTES_MAX][..]));
                assert_eq!(entry.value().is_empty(), kind == EntryKind::Tombstone);
            }
        }
    }

    #[test]
    fn an_expiry_after_the_last_moment_of_the_clock_is_none() {
        assert_eq!(value(b"k", b"", Hlc::MILLIS_MAX + 1).stamp().expires_at_ms, 0);
    }
}
