//! Keys: hexadecimal digits, which every protocol takes, and different for every number and run.

use super::{mix, sizes::Sizes};

/// Length of the shortest key: the digits of its number.
pub const KEY_BYTES_MIN: usize = 8;

/// The keys of a run, by number.
#[derive(Clone, Debug)]
pub struct Keys {
    sizes: Sizes,
    seed: u32,
}

impl Keys {
    /// Keys of these lengths. A key of 16 digits and more differs from those with another seed.
    pub fn new(sizes: Sizes, seed: u32) -> Self {
        Self { sizes, seed }
    }

    /// Writes the key of number `index` over `key`.
    pub fn write(&self, index: u32, key: &mut Vec<u8>) {
        key.clear();
        let bytes = self.sizes.of(u64::from(index));
        digits(spread(index), key);
        digits(spread(index) ^ spread(self.seed.wrapping_add(index)), key);
        let mut more = u64::from(index);
        while key.len() < bytes {
            more = mix(more);
            let [a, b, c, d, ..] = more.to_be_bytes();
            digits(u32::from_be_bytes([a, b, c, d]), key);
        }
        key.truncate(bytes);
    }
}

fn digits(number: u32, key: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    key.extend(number.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|x| HEX[usize::from(x)]));
}

/// Spreads the bits of `x`, each to another number (the finalizer of `MurmurHash3`, Appleby, 2011).
fn spread(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}
