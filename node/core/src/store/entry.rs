//! A key and its value in one allocation of exactly their size.

use bytes::Bytes;

use super::expiry::{Deadline, Expiry};
use super::footprint;
use crate::time::Timestamp;

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
    pub fn new(key: &[u8], value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self { bytes: bytes.into(), key_len: key.len() }
    }

    /// Starts a record whose value arrives in pieces, `value_len` bytes in all, so that each byte is copied once.
    ///
    /// Allocates the whole record: check `value_len` against the configured limit first.
    pub fn builder(key: &[u8], value_len: usize) -> RecordBuilder {
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

/// A stored record and when it expires.
#[derive(Debug, Default)]
pub struct Entry {
    record: Record,
    deadline: Deadline,
}

impl Entry {
    pub(super) fn new(record: Record, deadline: Deadline) -> Self {
        Self { record, deadline }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.record.key()
    }

    /// The value, to copy from while the shard is held.
    pub fn value(&self) -> &[u8] {
        self.record.value()
    }

    /// The value, to keep. A long value is shared with the store, which costs no copy and keeps its record (the value and
    /// its key, nothing else) alive; a short one is copied.
    pub fn to_bytes(&self) -> Bytes {
        if self.value().len() > COPIED_VALUE_BYTES_MAX {
            self.record.bytes.slice(self.record.key_len..)
        } else {
            Bytes::copy_from_slice(self.value())
        }
    }

    /// The time to live that is left at `now`.
    pub fn remaining(&self, now: Timestamp) -> Expiry {
        self.deadline.remaining(now)
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Bytes of resident memory the entry costs, its deadline included.
    pub(super) fn footprint(&self) -> usize {
        let shared = if self.value().len() > COPIED_VALUE_BYTES_MAX { footprint::SHARED_HEADER } else { 0 };
        let deadline = if self.deadline == Deadline::NEVER { 0 } else { footprint::DEADLINE };
        footprint::ENTRY + footprint::allocation(self.record.bytes.len()) + shared + deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let long = Entry::new(Record::new(b"key", &[7; COPIED_VALUE_BYTES_MAX + 1]), Deadline::NEVER);
        assert_eq!(long.to_bytes().as_ptr(), long.value().as_ptr());
        let short = Entry::new(Record::new(b"key", &[7; COPIED_VALUE_BYTES_MAX]), Deadline::NEVER);
        assert_ne!(short.to_bytes().as_ptr(), short.value().as_ptr());
        assert_eq!(short.to_bytes(), short.value());
    }

    #[test]
    fn only_entries_with_a_deadline_pay_for_one() {
        let now = Timestamp::from_micros(5);
        let entry = |deadline| Entry::new(Record::new(b"0123456789abcdef", &[0; 100]), deadline);
        let never = entry(Deadline::NEVER).footprint();
        let ttl = entry(Deadline::after(now, Expiry::After(std::time::Duration::from_secs(1)))).footprint();
        assert_eq!(never, footprint::ENTRY + 128);
        assert_eq!(ttl, never + footprint::DEADLINE);
    }
}
