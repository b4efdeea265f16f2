//! A key and its value in one allocation of exactly their size, with the stamp they were written with before them.

use std::cmp::Ordering;
use std::mem;

use bytes::Bytes;
use quoit_proto_types::limits::KEY_BYTES_MAX;
use quoit_proto_types::version::{EntryKind, Stamp, Version};
use xxhash_rust::xxh3::xxh3_128;

use super::expiry::{Alarm, Deadline, Expiry};
use super::footprint;
use super::header::Header;
use crate::time::Wall;

/// Longest value that [`Entry::to_bytes`] copies; a longer one is shared.
const COPIED_VALUE_BYTES_MAX: usize = 4096;

/// A key and a value, in memory of exactly their size and a stamp's that nothing else shares.
#[derive(Clone, Debug)]
pub struct Record {
    /// Room for a header, and then key and value.
    bytes: Vec<u8>,
    header_len: usize,
    key_len: usize,
}

impl Record {
    /// Copies a key and a value into a record.
    ///
    /// # Panics
    /// If the key is empty or longer than [`KEY_BYTES_MAX`], which decoding rules out.
    pub fn new(key: &[u8], value: &[u8]) -> Self {
        let mut builder = Self::builder(key, value.len());
        builder.record.bytes.extend_from_slice(value);
        builder.record
    }

    /// Starts a record whose value arrives in pieces, `value_len` bytes in all, so that each byte is copied once.
    ///
    /// Allocates the whole record: check `value_len` against the configured limit first.
    ///
    /// # Panics
    /// If the key is empty or longer than [`KEY_BYTES_MAX`], which decoding rules out.
    pub fn builder(key: &[u8], value_len: usize) -> RecordBuilder {
        assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "keys are checked where they are decoded");
        // What every stamp fits into is much for a short value and nothing for a long one, which is not to be copied again.
        let header_len = if value_len > COPIED_VALUE_BYTES_MAX { Header::LONGEST } else { Header::COMMON };
        let mut bytes = Vec::with_capacity(header_len + key.len() + value_len);
        bytes.resize(header_len, 0);
        bytes.extend_from_slice(key);
        RecordBuilder { record: Self { bytes, header_len, key_len: key.len() }, missing: value_len }
    }

    /// Bytes of resident memory that storing a key and a value of `record_bytes` together costs at most.
    pub fn footprint_max(record_bytes: usize) -> usize {
        footprint::ENTRY
            + footprint::allocation(Header::LONGEST + record_bytes)
            + footprint::SHARED
            + footprint::DEADLINE
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[self.header_len..self.header_len + self.key_len]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.header_len + self.key_len..]
    }
}

/// Of the same key and the same value.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (self.key(), self.value()) == (other.key(), other.value())
    }
}

impl Eq for Record {}

/// A record whose value is still arriving.
#[derive(Debug)]
pub struct RecordBuilder {
    record: Record,
    missing: usize,
}

impl RecordBuilder {
    /// Appends from the front of `piece` what the value still misses, and returns how many bytes that was.
    pub fn extend(&mut self, piece: &[u8]) -> usize {
        let taken = piece.len().min(self.missing);
        self.record.bytes.extend_from_slice(&piece[..taken]);
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
        if self.missing > 0 { Err(self) } else { Ok(self.record) }
    }
}

/// A stored record with its stamp, in 16 bytes and one allocation: there is one for every key.
///
/// A tombstone has a key and no value. One that comes from an expiry keeps the moment of it, because it may only be
/// collected some time after that.
#[derive(Debug)]
pub struct Entry(Blob);

/// Header, key and value.
#[derive(Debug)]
enum Blob {
    Own(Box<[u8]>),
    /// Of a long value, which whoever reads it may keep.
    Shared(Box<Shared>),
}

#[derive(Debug)]
struct Shared {
    bytes: Bytes,
    /// As [`Header::is_used`]: what is shared is not written to.
    is_used: bool,
}

impl Entry {
    /// An entry as it is to be stored: a tombstone has no value, and an expiry beyond the clock's last moment is none.
    pub(super) fn new(record: Record, stamp: Stamp) -> Self {
        if stamp.kind == EntryKind::Tombstone && !record.value().is_empty() {
            return Self::new(Record::new(record.key(), b""), stamp);
        }
        let shortest = Header::shortest(&stamp, record.key_len);
        let (header, mut bytes) = if shortest.len() == record.header_len {
            (shortest, record.bytes)
        } else if record.header_len == Header::LONGEST {
            (Header::longest(&stamp, record.key_len), record.bytes)
        } else {
            let mut bytes = Vec::with_capacity(shortest.len() + record.bytes.len() - record.header_len);
            bytes.resize(shortest.len(), 0);
            bytes.extend_from_slice(&record.bytes[record.header_len..]);
            (shortest, bytes)
        };
        header.write(&stamp, &mut bytes);
        let value_len = bytes.len() - header.len() - header.key_len();
        Self(if value_len > COPIED_VALUE_BYTES_MAX {
            Blob::Shared(Box::new(Shared { bytes: bytes.into(), is_used: false }))
        } else {
            Blob::Own(bytes.into_boxed_slice())
        })
    }

    /// The same version without its value.
    pub(super) fn into_tombstone(self) -> Self {
        if self.is_tombstone() {
            return self;
        }
        Self::new(Record::new(self.key(), b""), Stamp { kind: EntryKind::Tombstone, ..self.stamp() })
    }

    /// Leaves nothing behind, which is not to be used as an entry any more.
    pub(super) fn take(&mut self) -> Self {
        Self(mem::replace(&mut self.0, Blob::Own(Box::default())))
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        let bytes = self.bytes();
        let header = Header::of(bytes);
        &bytes[header.len()..][..header.key_len()]
    }

    /// The value, to copy from while the shard is held. That of a tombstone is empty.
    pub fn value(&self) -> &[u8] {
        let header = self.header();
        &self.bytes()[header.len() + header.key_len()..]
    }

    /// The value, to keep. A long value is shared with the store, which costs no copy and keeps its record (the value, its
    /// key and its stamp, nothing else) alive; a short one is copied.
    pub fn to_bytes(&self) -> Bytes {
        let header = self.header();
        match &self.0 {
            Blob::Own(_) => Bytes::copy_from_slice(self.value()),
            Blob::Shared(shared) => shared.bytes.slice(header.len() + header.key_len()..),
        }
    }

    /// What is known of it.
    pub fn stamp(&self) -> Stamp {
        let bytes = self.bytes();
        Header::of(bytes).stamp(bytes)
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
            Ordering::Equal if self.value() == held.value() => false,
            Ordering::Equal => xxh3_128(self.value()) > xxh3_128(held.value()),
        }
    }

    pub(super) fn version(&self) -> Version {
        let bytes = self.bytes();
        Header::of(bytes).version(bytes)
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.header().is_tombstone()
    }

    /// When its value expires. A tombstone has none left.
    pub(super) fn deadline(&self) -> Deadline {
        let bytes = self.bytes();
        let header = Header::of(bytes);
        if header.has_expiry_field() { Deadline::at_millis(header.expires_at_ms(bytes)) } else { Deadline::NEVER }
    }

    /// When it expires, and is watched for that under this hash of its key.
    pub(super) fn alarm(&self, hash: u64) -> Alarm {
        match self.deadline() {
            Deadline::NEVER => Alarm::NEVER,
            deadline => Alarm::new(deadline, self.stamp().moment().millis(), hash),
        }
    }

    /// Whether it has been used since it was written, or since that was last forgotten.
    pub(super) fn is_used(&self) -> bool {
        match &self.0 {
            Blob::Own(bytes) => Header::of(bytes).is_used(),
            Blob::Shared(shared) => shared.is_used,
        }
    }

    /// Notes, or forgets, that it has been used.
    pub(super) fn set_used(&mut self, is_used: bool) {
        match &mut self.0 {
            Blob::Own(bytes) => Header::set_used(bytes, is_used),
            Blob::Shared(shared) => shared.is_used = is_used,
        }
    }

    /// Bytes of its key and value.
    pub(super) fn record_bytes(&self) -> usize {
        self.bytes().len() - self.header().len()
    }

    /// Bytes of resident memory the entry costs, its deadline included.
    pub(super) fn footprint(&self) -> usize {
        let shared = match self.0 {
            Blob::Own(_) => 0,
            Blob::Shared(_) => footprint::SHARED,
        };
        let deadline = if self.deadline() == Deadline::NEVER { 0 } else { footprint::DEADLINE };
        footprint::ENTRY + footprint::allocation(self.bytes().len()) + shared + deadline
    }

    fn header(&self) -> Header {
        Header::of(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Blob::Own(bytes) => bytes,
            Blob::Shared(shared) => &shared.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::version::Hlc;

    use super::*;

    fn value(key: &[u8], value: &[u8], expires_at_ms: u64) -> Entry {
        Entry::new(Record::new(key, value), Stamp::value(Version::default(), expires_at_ms))
    }

    #[test]
    fn a_record_holds_binary_keys_and_values_empty_ones_included() {
        for (key, value) in [(&b"k"[..], &b"value"[..]), (b"\0\xff\r\n", b"\0\0"), (b"k", b"")] {
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
    fn an_entry_pays_for_its_stamp_and_its_deadline() {
        let entry = |expires_at_ms| value(b"0123456789abcdef", &[0; 100], expires_at_ms);
        assert_eq!(entry(0).footprint(), footprint::ENTRY + 128);
        // Six bytes more do not fit that size class.
        assert_eq!(entry(1000).footprint(), footprint::ENTRY + 160 + footprint::DEADLINE);
        assert_eq!(entry(1000).into_tombstone().footprint(), footprint::ENTRY + 48);
    }

    #[test]
    fn what_is_known_of_its_use_changes_nothing_else() {
        for len in [0, 100, COPIED_VALUE_BYTES_MAX + 1] {
            let mut entry = value(b"key", &vec![7; len], 1000);
            let kept = entry.to_bytes();
            assert!(!entry.is_used());
            entry.set_used(true);
            assert_eq!((entry.is_used(), entry.key(), entry.value()), (true, &b"key"[..], &kept[..]));
            assert_eq!(entry.stamp(), Stamp::value(Version::default(), 1000));
            entry.set_used(false);
            assert!(!entry.is_used());
        }
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn key_value_and_stamp_come_back_whatever_their_lengths() {
        let version = Version { hlc: Hlc::new(7), ..Version::default() };
        for value in [&[][..], &[1; 100], &[2; COPIED_VALUE_BYTES_MAX], &[3; COPIED_VALUE_BYTES_MAX + 1]] {
            for expires_at_ms in [0, 1000] {
                let stamp = Stamp { touched: Hlc::new(expires_at_ms), ..Stamp::value(version, expires_at_ms) };
                let entry = Entry::new(Record::new(&[7; KEY_BYTES_MAX], value), stamp);
                assert_eq!((entry.stamp(), entry.key(), entry.value()), (stamp, &[7; KEY_BYTES_MAX][..], value));
                assert_eq!(entry.record_bytes(), KEY_BYTES_MAX + value.len());
                let buried = Stamp { kind: EntryKind::Tombstone, ..stamp };
                let tombstone = entry.into_tombstone();
                assert_eq!((tombstone.stamp(), tombstone.key()), (buried, &[7; KEY_BYTES_MAX][..]));
                assert!(tombstone.value().is_empty() && tombstone.to_bytes().is_empty());
            }
        }
    }
}
