//! A data set like a real cache's, generated: the same records for the same seed, none of them kept in memory.
//!
//! Sizes follow the ETC pool, the largest general-purpose one of Facebook's Memcached as published in Atikoglu et al.,
//! "Workload Analysis of a Large-Scale Key-Value Store" (SIGMETRICS 2012), section 5: keys a generalized extreme value
//! distribution, values a generalized Pareto distribution. The paper tabulates values under 15 bytes one by one; here they
//! follow the curve as well. Which keys are read follows Zipf's law with exponent 0.99, as in YCSB.

use rand::{Rng, RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution, Zipf};

/// Location, scale and shape of the length of keys, in bytes.
const KEY_BYTES: (f64, f64, f64) = (30.7984, 8.20449, 0.078_688);
/// Scale and shape of the length of values, in bytes; the location is 0.
const VALUE_BYTES: (f64, f64) = (214.476, 0.348_238);
/// Memcached's own limits, within which the paper measured.
const KEY_BYTES_RANGE: (f64, f64) = (16.0, 250.0);
const VALUE_BYTES_RANGE: (f64, f64) = (1.0, 1_048_576.0);
/// Skew of the reads: more than half of them ask for the most popular hundredth of 25,000 keys.
const ZIPF_EXPONENT: f64 = 0.99;
/// Share of the reads that ask for a key that was never stored.
const ABSENT_SHARE: f64 = 0.1;

const KINDS: [&str; 6] = ["user", "session", "page", "cart", "photo", "feed"];
const WORDS: [&str; 10] = ["profile", "friends", "en", "v2", "settings", "recent", "thumb", "counts", "de", "home"];

/// So many records of the data set that a seed stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dataset {
    records: u32,
    seed: u64,
}

impl Dataset {
    pub(crate) fn new(records: u32, seed: u64) -> Self {
        Self { records, seed }
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The key of record `index`, as in `user:4711:profile:9f3c2`. No two records have the same.
    pub(crate) fn key(&self, index: u32) -> String {
        let mut rng = self.rng(index, Part::Key);
        let bytes = clamped(extreme_value(rng.random(), KEY_BYTES), KEY_BYTES_RANGE);
        let mut key = format!("{}:{index}", pick(&KINDS, &mut rng));
        // Words while they fit, hexadecimal digits for the rest; a single byte of rest holds no part and is left out.
        while key.len() + 1 < bytes {
            key.push(':');
            let word = pick(&WORDS, &mut rng);
            if key.len() + word.len() <= bytes {
                key.push_str(word);
            } else {
                key.extend((key.len()..bytes).map(|_| char::from(*pick(b"0123456789abcdef", &mut rng))));
            }
        }
        key
    }

    /// The value of record `index`: arbitrary bytes.
    pub(crate) fn value(&self, index: u32) -> Vec<u8> {
        let mut rng = self.rng(index, Part::Value);
        let mut value = vec![0; clamped(pareto(rng.random(), VALUE_BYTES), VALUE_BYTES_RANGE)];
        rng.fill_bytes(&mut value);
        value
    }

    /// An endless sequence of reads: indices of records, and of absent ones from [`records`](Self::records) on.
    ///
    /// Sequences with different numbers are independent of each other.
    pub(crate) fn reads(&self, sequence: u32) -> impl Iterator<Item = u32> + use<> {
        let records = self.records.max(1);
        let popularity =
            Zipf::new(f64::from(records), ZIPF_EXPONENT).expect("one record at least, and a positive exponent");
        let mut rng = self.rng(sequence, Part::Reads);
        std::iter::repeat_with(move || {
            // Zipf's ranks start at 1.
            let popular = clamped(popularity.sample(&mut rng) - 1.0, (0.0, f64::from(records - 1)));
            let index = u32::try_from(popular).unwrap_or(records - 1);
            if rng.random_bool(ABSENT_SHARE) { records.saturating_add(index) } else { index }
        })
    }

    /// Every part of every record has a generator of its own, so that each can be made without the others.
    fn rng(&self, index: u32, part: Part) -> Xoshiro256PlusPlus {
        let stream = (u64::from(index) << 2) | part as u64;
        // An odd constant spreads neighbouring numbers; `seed_from_u64` mixes the rest.
        Xoshiro256PlusPlus::seed_from_u64(self.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

#[derive(Clone, Copy)]
enum Part {
    Key,
    Value,
    Reads,
}

fn pick<'a, T>(from: &'a [T], rng: &mut impl Rng) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// The quantile `u` of the generalized extreme value distribution.
fn extreme_value(u: f64, (location, scale, shape): (f64, f64, f64)) -> f64 {
    location + scale * ((-u.ln()).powf(-shape) - 1.0) / shape
}

/// The quantile `u` of the generalized Pareto distribution at location 0.
fn pareto(u: f64, (scale, shape): (f64, f64)) -> f64 {
    scale * ((1.0 - u).powf(-shape) - 1.0) / shape
}

fn clamped(value: f64, (least, most): (f64, f64)) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "every range passed in is small and positive"
    )]
    let whole = value.clamp(least, most).round() as usize;
    whole
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DATASET: Dataset = Dataset { records: 50_000, seed: 7 };

    fn mean(lengths: impl Iterator<Item = usize>) -> f64 {
        let (sum, count) = lengths.fold((0, 0), |(sum, count), length| (sum + length, count + 1));
        f64::from(u32::try_from(sum).unwrap()) / f64::from(count)
    }

    #[test]
    fn sizes_have_the_published_means() {
        // The means of the two distributions: 36.1 bytes, and scale / (1 - shape) = 329.1 bytes.
        let keys = mean((0..50_000).map(|i| DATASET.key(i).len()));
        assert!((35.0..37.0).contains(&keys), "{keys}");
        let values = mean((0..50_000).map(|i| DATASET.value(i).len()));
        assert!((313.0..345.0).contains(&values), "{values}");
    }

    #[test]
    fn keys_differ_and_are_readable() {
        let keys: BTreeSet<String> = (0..50_000).map(|i| DATASET.key(i)).collect();
        assert_eq!(keys.len(), 50_000);
        for key in keys {
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':'), "{key}");
            assert!((6..=250).contains(&key.len()), "{key}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_records_and_reads() {
        let again = Dataset::new(50_000, 7);
        let other = Dataset::new(50_000, 8);
        assert_eq!((again.key(9), again.value(9)), (DATASET.key(9), DATASET.value(9)));
        assert_ne!(other.value(9), DATASET.value(9));
        let reads = |dataset: &Dataset, sequence| dataset.reads(sequence).take(100).collect::<Vec<_>>();
        assert_eq!(reads(&again, 1), reads(&DATASET, 1));
        assert_ne!(reads(&again, 2), reads(&DATASET, 1));
    }

    #[test]
    fn reads_are_skewed_and_some_ask_for_what_is_not_there() {
        let reads: Vec<u32> = DATASET.reads(0).take(100_000).collect();
        let share = |wanted: &dyn Fn(u32) -> bool| mean(reads.iter().map(|i| usize::from(wanted(*i))));
        let absent = share(&|i| i >= 50_000);
        assert!((0.09..0.11).contains(&absent), "{absent}");
        let popular = share(&|i| i % 50_000 < 500);
        // Zipf's law: H(500, 0.99) / H(50,000, 0.99) = 0.582.
        assert!((0.56..0.60).contains(&popular), "{popular}");
    }

    #[test]
    fn one_record_can_be_read() {
        assert!(Dataset::new(1, 0).reads(0).take(50).all(|i| i <= 1));
    }
}
