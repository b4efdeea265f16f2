//! What is asked for: keys, the values that belong to them, and in which order.

use clap::ValueEnum;
use rand::{SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};
use serde::Serialize;

/// Length of every key.
pub const KEY_BYTES: usize = 16;

/// What callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Read.
    Get,
    /// Write.
    Set,
    /// Write once for every nine reads.
    Mix,
}

/// The keys of a run and the order in which they are asked for, drawn beforehand so that drawing costs the callers nothing.
#[derive(Debug)]
pub struct Workload {
    mode: Mode,
    keys: u32,
    value_bytes: usize,
    draws: Vec<u32>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this key.
    Get([u8; KEY_BYTES]),
    /// Write this key.
    Set([u8; KEY_BYTES]),
}

impl Workload {
    /// `keys` keys, at least one, with values of `value_bytes`. Their popularity follows Zipf's law with the exponent
    /// `skew`; 0 makes all alike.
    ///
    /// # Errors
    /// A negative `skew`, or no keys.
    pub fn new(mode: Mode, keys: u32, value_bytes: usize, skew: f64) -> anyhow::Result<Self> {
        let popularity = Zipf::new(f64::from(keys), skew)?;
        let mut rng = SmallRng::seed_from_u64(SEED);
        let draws = (0..DRAWS).map(|_| rank(popularity.sample(&mut rng)) - 1).collect();
        Ok(Self { mode, keys, value_bytes, draws })
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = [u8; KEY_BYTES]> + use<> {
        (0..self.keys).map(key)
    }

    /// What the caller `caller` does at its turn `turn`.
    pub fn step(&self, caller: usize, turn: usize) -> Step {
        let key = key(self.draws[caller.wrapping_mul(STRIDE).wrapping_add(turn) % DRAWS]);
        match self.mode {
            Mode::Mix if (caller + turn).is_multiple_of(SET_EVERY) => Step::Set(key),
            Mode::Set => Step::Set(key),
            Mode::Get | Mode::Mix => Step::Get(key),
        }
    }

    /// Writes the value of `key` over `value`.
    pub fn fill(&self, key: &[u8; KEY_BYTES], value: &mut Vec<u8>) {
        value.clear();
        value.extend(words(key).flatten().take(self.value_bytes));
    }

    /// Whether `value` is the value of `key`, to the last byte.
    pub fn is_value(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> bool {
        let (whole, rest) = value.as_chunks();
        let mut words = words(key);
        value.len() == self.value_bytes
            && whole.iter().zip(words.by_ref()).all(|(found, expected)| *found == expected)
            && words.flatten().zip(rest).all(|(expected, found)| expected == *found)
    }
}

/// Key number `index`: a number that looks random, and the index, which makes it unique.
fn key(index: u32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&mix(u64::from(index)).to_be_bytes());
    key[8..].copy_from_slice(&u64::from(index).to_be_bytes());
    key
}

/// The endless value of a key, of which as much is used as is needed. Every word depends on the key and on its place, so
/// that neither another key's value nor a shifted one passes for it.
fn words(key: &[u8; KEY_BYTES]) -> impl Iterator<Item = [u8; 8]> {
    let (halves, _) = key.as_chunks();
    let first = mix(u64::from_le_bytes(halves[0]) ^ u64::from_le_bytes(halves[1]));
    (0u64..).map(move |place| first.wrapping_add(place.wrapping_mul(ODD)).to_le_bytes())
}

/// Spreads the bits of `x` (SplitMix64, Steele et al., 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(ODD);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "Zipf draws whole numbers from 1 to the count of keys, a u32")]
fn rank(drawn: f64) -> u32 {
    drawn as u32
}

/// The same keys in the same order in every run.
const SEED: u64 = 1;
/// Draws before the order repeats: 1 MiB, of which callers read different parts.
const DRAWS: usize = 1 << 18;
/// How far apart in that order callers begin; odd, so that no two meet before they are very many.
const STRIDE: usize = 4_099;
/// In [`Mode::Mix`], one step in so many writes.
const SET_EVERY: usize = 10;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;
