//! Values that say which write they are of, and that cannot be mistaken for another one, nor be damaged, unnoticed.

use std::ops::Range;

/// The caller, the key's number, the number of the write, the checksum.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8;
/// Of a whole value, unless it is said. About what small things that are cached take.
pub(super) const VALUE_BYTES: Range<usize> = 40..161;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

/// Which write a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Who wrote it.
    pub(super) caller: u32,
    /// Which of its keys.
    pub(super) key: u32,
    /// The how-manieth write of that key.
    pub(super) number: u64,
}

impl Stamp {
    /// The value of this write, of a length that differs from write to write within `lengths`.
    pub(super) fn to_value(self, lengths: &Range<usize>) -> Vec<u8> {
        let spread = u64::from(self.caller) + u64::from(self.key) + self.number.wrapping_mul(7);
        let length = lengths.start + usize::try_from(spread % lengths.len().max(1) as u64).unwrap_or_default();
        self.to_value_of(length.max(HEAD_BYTES))
    }

    fn to_value_of(self, length: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(length);
        value.extend_from_slice(&self.caller.to_be_bytes());
        value.extend_from_slice(&self.key.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        value.extend_from_slice(&[0; 8]);
        let filling = value.iter().copied().cycle().take(length).skip(value.len()).collect::<Vec<_>>();
        value.extend(filling);
        let checksum = checksum(&value);
        value[HEAD_BYTES - 8..HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
        value
    }

    /// Which write a value is of; nothing if no write made it as it is.
    pub(super) fn of_value(value: &[u8]) -> Option<Self> {
        let caller = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
        let key = u32::from_be_bytes(value.get(4..8)?.try_into().ok()?);
        value.get(..HEAD_BYTES)?;
        let number = u64::from_be_bytes(value.get(8..16)?.try_into().ok()?);
        let stamp = Self { caller, key, number };
        (stamp.to_value_of(value.len()) == value).then_some(stamp)
    }
}

/// FNV-1a: short, and good enough against a swapped or cut value.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { caller: 7, key: 1234, number: 99 };

    #[test]
    fn a_value_tells_which_write_it_is_of() {
        for number in 0..500 {
            let stamp = Stamp { number, ..STAMP };
            let value = stamp.to_value(&VALUE_BYTES);
            assert!(VALUE_BYTES.contains(&value.len()));
            assert_eq!(Stamp::of_value(&value), Some(stamp));
        }
    }

    #[test]
    fn a_value_that_was_damaged_is_of_no_write() {
        let value = STAMP.to_value(&VALUE_BYTES);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert_eq!(Stamp::of_value(&damaged), None, "byte {at}");
            assert_eq!(Stamp::of_value(&value[..at]), None, "cut at {at}");
        }
        assert_eq!(Stamp::of_value(&[value, vec![0]].concat()), None);
    }
}
