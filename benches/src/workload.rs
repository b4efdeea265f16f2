//! What is asked for: keys, the values that belong to them, and in which order.

use clap::ValueEnum;
use rand::{SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};
use serde::Serialize;

pub use self::{
    keys::{KEY_BYTES_MIN, Keys},
    ledger::{Ledger, Verdict},
    sizes::{NoSizes, Sizes},
    value::VALUE_BYTES_MIN,
};

mod keys;
mod ledger;
mod sizes;
mod value;

/// What callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Read.
    Get,
    /// Write.
    Set,
    /// Read, and write now and then.
    Mix,
    /// Read many keys with each request.
    GetMany,
}

/// What a run asks for.
#[derive(Clone, Debug)]
pub struct WorkloadPlan {
    /// What callers do.
    pub mode: Mode,
    /// How many keys there are.
    pub keys: u32,
    /// Lengths of the keys, at least [`KEY_BYTES_MIN`].
    pub key_sizes: Sizes,
    /// Lengths of the values, at least [`VALUE_BYTES_MIN`].
    pub value_sizes: Sizes,
    /// The exponent of Zipf's law, by which keys are popular; 0 makes all alike.
    pub skew: f64,
    /// The share of steps that write in [`Mode::Mix`], from 0 to 1.
    pub writes: f64,
    /// The share of writes that are claimed and not made, from 0 to 1: a report that does not show them is worth nothing.
    pub dropped: f64,
    /// Tells the keys of one run from those of another.
    pub seed: u32,
}

impl WorkloadPlan {
    /// `keys` keys of 16 bytes with values of `value_bytes`, all alike.
    pub fn new(mode: Mode, keys: u32, value_bytes: usize) -> Self {
        let (key_sizes, value_sizes) = (Sizes::Fixed(16), Sizes::Fixed(value_bytes));
        Self { mode, keys, key_sizes, value_sizes, skew: 0.0, writes: 0.1, dropped: 0.0, seed: 0 }
    }
}

/// The keys of a run and the order in which they are asked for, drawn beforehand so that drawing costs the callers nothing.
#[derive(Debug)]
pub struct Workload {
    plan: WorkloadPlan,
    keys: Keys,
    ledger: Ledger,
    draws: Vec<u32>,
    writes_below: u32,
    drops_below: u32,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the key of this number.
    Get(u32),
    /// Write it.
    Set(u32),
    /// Claim to have written it.
    Pretend(u32),
}

impl Workload {
    /// The workload of `plan`.
    ///
    /// # Errors
    /// A negative skew, no keys, or lengths below the least.
    pub fn new(plan: WorkloadPlan) -> anyhow::Result<Self> {
        anyhow::ensure!(plan.key_sizes.min() >= KEY_BYTES_MIN, "keys have at least {KEY_BYTES_MIN} bytes");
        let least = VALUE_BYTES_MIN;
        anyhow::ensure!(plan.value_sizes.min() >= least, "values have at least {least} bytes, to be verified");
        let popularity = Zipf::new(f64::from(plan.keys), plan.skew)?;
        let mut rng = SmallRng::seed_from_u64(SEED);
        let draws = (0..DRAWS).map(|_| rank(popularity.sample(&mut rng)) - 1).collect();
        Ok(Self {
            draws,
            keys: Keys::new(plan.key_sizes.clone(), plan.seed),
            ledger: Ledger::new(plan.keys),
            writes_below: threshold(match plan.mode {
                Mode::Get | Mode::GetMany => 0.0,
                Mode::Mix => plan.writes,
                Mode::Set => 1.0,
            }),
            drops_below: threshold(plan.dropped),
            plan,
        })
    }

    /// What was asked for.
    pub fn plan(&self) -> &WorkloadPlan {
        &self.plan
    }

    /// What was acknowledged.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the caller `caller` does at its turn `turn`.
    pub fn step(&self, caller: usize, turn: usize) -> Step {
        let at = caller.wrapping_mul(STRIDE).wrapping_add(turn);
        let key = self.draw(at);
        if self.writes_below == 0 {
            return Step::Get(key);
        }
        // Whether it writes must not depend on which key it is, nor on the caller.
        let chance = mix(at as u64);
        let (low, high) = (low_half(chance), low_half(chance >> 32));
        match low < self.writes_below || self.writes_below == u32::MAX {
            true if high < self.drops_below => Step::Pretend(key),
            true => Step::Set(key),
            false => Step::Get(key),
        }
    }

    /// The number of the key at this place of the order.
    fn draw(&self, at: usize) -> u32 {
        if self.plan.skew == 0.0 {
            // All alike: no table, which would hold only some of very many keys.
            let spread = u128::from(mix(at as u64 ^ SEED)) * u128::from(self.plan.keys);
            return u32::try_from(spread >> 64).expect("below the count of keys, a u32");
        }
        self.draws[at % DRAWS]
    }

    /// Writes the key of number `index` over `key`.
    pub fn key(&self, index: u32, key: &mut Vec<u8>) {
        self.keys.write(index, key);
    }

    /// Writes the value that the key of number `index` has in this version over `value`.
    pub fn value(&self, index: u32, version: u32, value: &mut Vec<u8>) {
        let bytes = self.plan.value_sizes.of(u64::from(index) ^ VALUE_SALT);
        value::write(index, version, self.plan.seed, bytes, value);
    }

    /// What is to be said of an answer to a read of the key of number `index`, if `floor` was the least version that it
    /// may have had when it was asked for.
    pub fn judge(&self, index: u32, floor: u32, found: Option<&[u8]>) -> Verdict {
        let Some(found) = found else { return Verdict::of_absence(floor) };
        match value::read(found, self.plan.seed) {
            Some((key, version)) if key == index => self.ledger.judge(index, floor, version),
            Some(_) => Verdict::Wrong,
            None => Verdict::Corrupt,
        }
    }
}

/// Spreads the bits of `x` (SplitMix64, Steele et al., 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(ODD);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is not wanted")]
fn low_half(x: u64) -> u32 {
    x as u32
}

/// The number below which a random u32 is with this probability.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the largest u32")]
fn threshold(probability: f64) -> u32 {
    (probability.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers from 1 to the count of keys"
)]
fn rank(drawn: f64) -> u32 {
    drawn as u32
}

/// The same keys in the same order in every run.
const SEED: u64 = 1;
/// Draws before the order repeats: 1 MiB, of which callers read different parts.
const DRAWS: usize = 1 << 18;
/// How far apart in that order callers begin; odd, so that no two meet before they are very many.
const STRIDE: usize = 4_099;
/// So that a key's length says nothing of its value's.
const VALUE_SALT: u64 = 0x7661_6c75_6500_0000;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;
