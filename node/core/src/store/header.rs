//! What is kept of a stamp before the key and the value, in as few bytes as it takes.
//!
//! ```text
//!  flags  key length  hlc   ordinal      boot         touched  expiry   key   value
//!  1      1           8     1, 2 or 4    as ordinal   0 or 8   0 or 6   …     …
//! ```
//!
//! Ordinals and boots are small numbers for years, few entries are touched, and many never expire: most headers have 12
//! bytes or 18, where the stamp as it is has 33.

use quoit_proto_types::limits::KEY_BYTES_MAX;
use quoit_proto_types::version::{EntryKind, Hlc, Stamp, Version};
use quoit_proto_types::{Boot, Ordinal};

/// Which fields there are, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    flags: u8,
    key_low: u8,
}

impl Header {
    /// That of a value that never expires, of the first few hundred members and boots: most are not longer.
    pub(super) const COMMON: usize = 12;
    /// The longest.
    pub(super) const LONGEST: usize = 2 + 8 + 2 * 4 + 8 + EXPIRY;

    const TOMBSTONE: u8 = 1;
    const TOUCHED: u8 = 1 << 1;
    const EXPIRES: u8 = 1 << 2;
    /// Two bits: ordinal and boot have one byte each, or two, or four.
    const WIDTH_FROM: u32 = 3;
    /// All bits so far: a value that has none of them has a common header.
    const FIELDS: u8 = (1 << 5) - 1;
    /// Says nothing of the record: see [`set_used`](Self::set_used).
    const USED: u8 = 1 << 5;
    /// The two highest bits of the key's length, less one: no key is empty.
    const KEY_FROM: u32 = 6;

    /// The shortest for a stamp.
    pub(super) fn shortest(stamp: &Stamp, key_len: usize) -> Self {
        let ids = stamp.version.ordinal.value() | stamp.version.boot.value();
        let width = match ids {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            0x1_0000.. => 2,
        };
        let touched = if stamp.touched == Hlc::MIN { 0 } else { Self::TOUCHED };
        let expires = if expiry_of(stamp) == 0 { 0 } else { Self::EXPIRES };
        Self::with_fields(stamp, key_len, touched | expires | width << Self::WIDTH_FROM)
    }

    /// The one of [`LONGEST`](Self::LONGEST) bytes, into which every stamp fits.
    pub(super) fn longest(stamp: &Stamp, key_len: usize) -> Self {
        Self::with_fields(stamp, key_len, Self::TOUCHED | Self::EXPIRES | 2 << Self::WIDTH_FROM)
    }

    fn with_fields(stamp: &Stamp, key_len: usize, fields: u8) -> Self {
        let kind = match stamp.kind {
            EntryKind::Value => 0,
            EntryKind::Tombstone => Self::TOMBSTONE,
        };
        let [key_low, key_high, ..] = (key_len - 1).to_le_bytes();
        Self { flags: kind | fields | key_high << Self::KEY_FROM, key_low }
    }

    /// The header at the front of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { flags: bytes[0], key_low: bytes[1] }
    }

    /// Its own length.
    pub(super) fn len(self) -> usize {
        if self.is_common() {
            return Self::COMMON;
        }
        let touched = if self.has(Self::TOUCHED) { 8 } else { 0 };
        let expires = if self.has(Self::EXPIRES) { EXPIRY } else { 0 };
        IDS + 2 * self.width() + touched + expires
    }

    /// Bytes of the key that follows it.
    pub(super) fn key_len(self) -> usize {
        (usize::from(self.key_low) | usize::from(self.flags >> Self::KEY_FROM) << 8) + 1
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.has(Self::TOMBSTONE)
    }

    /// Whether the record has been used, as [`set_used`](Self::set_used) was told last.
    pub(super) fn is_used(self) -> bool {
        self.has(Self::USED)
    }

    /// Notes at the front of `bytes` whether the record has been used.
    pub(super) fn set_used(bytes: &mut [u8], is_used: bool) {
        bytes[0] = if is_used { bytes[0] | Self::USED } else { bytes[0] & !Self::USED };
    }

    /// Whether it is of a value and has a field for an expiry, which may say never.
    pub(super) fn has_expiry_field(self) -> bool {
        self.flags & (Self::TOMBSTONE | Self::EXPIRES) == Self::EXPIRES
    }

    /// Writes `stamp`, for which the header was made, to the front of `bytes`.
    pub(super) fn write(self, stamp: &Stamp, bytes: &mut [u8]) {
        let Version { hlc, ordinal, boot } = stamp.version;
        let (width, [ordinal, boot]) = (self.width(), [ordinal.value(), boot.value()].map(u32::to_le_bytes));
        (bytes[0], bytes[1]) = (self.flags, self.key_low);
        bytes[2..IDS].copy_from_slice(&hlc.value().to_le_bytes());
        for (at, id) in [(IDS, ordinal), (IDS + width, boot)] {
            match width {
                1 => bytes[at] = id[0],
                2 => bytes[at..at + 2].copy_from_slice(&id[..2]),
                _ => bytes[at..at + 4].copy_from_slice(&id),
            }
        }
        let from = IDS + 2 * width;
        if self.has(Self::TOUCHED) {
            bytes[from..from + 8].copy_from_slice(&stamp.touched.value().to_le_bytes());
        }
        if self.has(Self::EXPIRES) {
            let end = self.len();
            bytes[end - EXPIRY..end].copy_from_slice(&expiry_of(stamp).to_le_bytes()[..EXPIRY]);
        }
    }

    /// The write that is told of at the front of `bytes`.
    pub(super) fn version(self, bytes: &[u8]) -> Version {
        if let Some(bytes) = self.narrow(bytes) {
            let [_, _, hlc @ .., ordinal, boot] = *bytes;
            let (ordinal, boot) = (Ordinal::new(ordinal.into()), Boot::new(boot.into()));
            return Version { hlc: Hlc::new(u64::from_le_bytes(hlc)), ordinal, boot };
        }
        let width = self.width();
        let id = |at: usize| match width {
            1 => u32::from(bytes[at]),
            2 => u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])),
            _ => u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]),
        };
        let (ordinal, boot) = (Ordinal::new(id(IDS)), Boot::new(id(IDS + width)));
        Version { hlc: Hlc::new(word::<8>(bytes, 2)), ordinal, boot }
    }

    /// The expiry that is told of at the front of `bytes`; 0 for never.
    pub(super) fn expires_at_ms(self, bytes: &[u8]) -> u64 {
        if !self.has(Self::EXPIRES) {
            return 0;
        }
        word::<EXPIRY>(bytes, self.len() - EXPIRY)
    }

    /// The stamp at the front of `bytes`.
    pub(super) fn stamp(self, bytes: &[u8]) -> Stamp {
        if self.is_common() {
            return Stamp::value(self.version(bytes), 0);
        }
        let from = IDS + 2 * self.width();
        let touched = if self.has(Self::TOUCHED) { word::<8>(bytes, from) } else { 0 };
        let kind = if self.is_tombstone() { EntryKind::Tombstone } else { EntryKind::Value };
        let (version, expires_at_ms) = (self.version(bytes), self.expires_at_ms(bytes));
        Stamp { version, touched: Hlc::new(touched), kind, expires_at_ms }
    }

    /// Whether it is of a value and has the fields that most have: these are read without looking for each field.
    fn is_common(self) -> bool {
        self.flags & Self::FIELDS == 0
    }

    /// The front of the header up to the ids, if these have a byte each, as they have for years.
    fn narrow(self, bytes: &[u8]) -> Option<&[u8; Self::COMMON]> {
        bytes.first_chunk().filter(|_| self.width() == 1)
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn width(self) -> usize {
        1 << ((self.flags >> Self::WIDTH_FROM) & 3)
    }
}

/// An expiry beyond the clock's last moment is none.
fn expiry_of(stamp: &Stamp) -> u64 {
    if stamp.expires_at_ms <= Hlc::MILLIS_MAX { stamp.expires_at_ms } else { 0 }
}

/// The number in `N` bytes from `at` on: of a length that is known, or the copy of a few bytes would be a call.
fn word<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(all)
}

/// Where ordinal and boot are.
const IDS: usize = 10;
/// Bytes of an expiry, as many as a [`Hlc`] has for milliseconds.
const EXPIRY: usize = 6;

const _: () = assert!(KEY_BYTES_MAX <= 1 << 10, "the length of every key fits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_as_it_was_given() {
        for (ordinal, boot) in [(0, 0), (7, 255), (256, 1), (1, 65_535), (65_536, 0), (1, u32::MAX)] {
            for (touched, expires_at_ms) in [(0, 0), (u64::MAX, 0), (0, 1), (1, Hlc::MILLIS_MAX)] {
                for kind in [EntryKind::Value, EntryKind::Tombstone] {
                    for key_len in [1, 255, 256, 257, KEY_BYTES_MAX] {
                        let (ordinal, boot) = (Ordinal::new(ordinal), Boot::new(boot));
                        let version = Version { hlc: Hlc::new(u64::MAX - 1), ordinal, boot };
                        let stamp = Stamp { version, touched: Hlc::new(touched), kind, expires_at_ms };
                        check(Header::shortest(&stamp, key_len), &stamp, key_len);
                        check(Header::longest(&stamp, key_len), &stamp, key_len);
                        assert_eq!(Header::longest(&stamp, key_len).len(), Header::LONGEST);
                    }
                }
            }
        }
    }

    fn check(header: Header, stamp: &Stamp, key_len: usize) {
        let mut bytes = vec![0; header.len()];
        header.write(stamp, &mut bytes);
        let read = Header::of(&bytes);
        assert_eq!((read, read.key_len(), read.stamp(&bytes)), (header, key_len, *stamp));
        assert_eq!(read.is_tombstone(), stamp.kind == EntryKind::Tombstone);
        Header::set_used(&mut bytes, true);
        let used = Header::of(&bytes);
        assert_eq!((used.is_used(), used.len(), used.key_len()), (true, header.len(), key_len));
        assert_eq!(used.stamp(&bytes), *stamp);
        Header::set_used(&mut bytes, false);
        assert_eq!((Header::of(&bytes), read.is_used()), (header, false));
    }

    #[test]
    fn headers_are_short() {
        let value = Stamp::value(Version { boot: Boot::new(9), ..Version::default() }, 0);
        assert_eq!(Header::shortest(&value, 16).len(), Header::COMMON);
        assert_eq!(Header::shortest(&Stamp { expires_at_ms: 1, ..value }, 16).len(), Header::COMMON + 6);
    }

    #[test]
    fn an_expiry_after_the_last_moment_of_the_clock_is_none() {
        let stamp = Stamp::value(Version::default(), Hlc::MILLIS_MAX + 1);
        for header in [Header::shortest(&stamp, 1), Header::longest(&stamp, 1)] {
            let mut bytes = vec![0; header.len()];
            header.write(&stamp, &mut bytes);
            assert_eq!(header.stamp(&bytes).expires_at_ms, 0);
        }
    }
}
