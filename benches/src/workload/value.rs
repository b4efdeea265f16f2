//! Values that say whose they are and of which version, under a checksum of every byte.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Length of the shortest value: the checksum, and the numbers of key and version.
pub const VALUE_BYTES_MIN: usize = CHECKSUM_BYTES + 8;
const CHECKSUM_BYTES: usize = 8;

/// Writes the value over `value`.
pub(super) fn write(key: u32, version: u32, seed: u32, bytes: usize, value: &mut Vec<u8>) {
    value.resize(bytes.max(VALUE_BYTES_MIN), 0);
    let (numbers, more) = value[CHECKSUM_BYTES..].split_at_mut(VALUE_BYTES_MIN - CHECKSUM_BYTES);
    numbers[..4].copy_from_slice(&key.to_le_bytes());
    numbers[4..].copy_from_slice(&version.to_le_bytes());
    let mut word = super::mix(u64::from(key) << 32 | u64::from(version));
    let mut words = more.chunks_exact_mut(size_of::<u64>());
    for place in &mut words {
        place.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(super::ODD);
    }
    let rest = words.into_remainder();
    rest.copy_from_slice(&word.to_le_bytes()[..rest.len()]);
    let checksum = checksum(&value[CHECKSUM_BYTES..], seed);
    value[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The numbers of key and version; nothing if the checksum is not that of the rest.
pub(super) fn read(value: &[u8], seed: u32) -> Option<(u32, u32)> {
    let (said, rest) = value.split_first_chunk()?;
    let (key, rest_of_it) = rest.split_first_chunk()?;
    let (version, _) = rest_of_it.split_first_chunk()?;
    let is_whole = u64::from_le_bytes(*said) == checksum(rest, seed);
    is_whole.then(|| (u32::from_le_bytes(*key), u32::from_le_bytes(*version)))
}

fn checksum(rest: &[u8], seed: u32) -> u64 {
    xxh3_64_with_seed(rest, u64::from(seed))
}
