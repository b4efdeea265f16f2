//! Orders in which keys are asked for.

use clap::ValueEnum;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};

/// A trace. Caches hold a tenth of the keys of the first three; see each for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trace {
    /// Zipf's law, exponent 0.7.
    #[value(name = "zipf-0.7")]
    Zipf07,
    /// Zipf's law, exponent 0.9.
    #[value(name = "zipf-0.9")]
    Zipf09,
    /// Zipf's law, exponent 1.1.
    #[value(name = "zipf-1.1")]
    Zipf11,
    /// Three accesses of four to a hot set by Zipf's law (0.9), the fourth to keys that come once in order, as of a scan.
    Scan,
    /// The same keys in the same order again and again, a quarter more than fit.
    Loop,
    /// Zipf's law (0.9), and every so often other keys are the popular ones.
    Shifting,
}

impl Trace {
    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zipf07 => "Zipf 0.7",
            Self::Zipf09 => "Zipf 0.9",
            Self::Zipf11 => "Zipf 1.1",
            Self::Scan => "scan over a hot set",
            Self::Loop => "loop",
            Self::Shifting => "hot set that changes",
        }
    }

    /// `accesses` accesses, for a cache of so many entries. The same every time.
    pub fn keys(self, entries: usize, accesses: usize) -> Vec<u64> {
        let mut rng = SmallRng::seed_from_u64(7);
        let universe = entries * 10;
        let zipf = |exponent| Zipf::new(universe as f64, exponent).expect("a positive number of keys and exponent");
        let mut draw = |zipf: Zipf<f64>| (0..accesses).map(|_| rank(zipf.sample(&mut rng))).collect();
        match self {
            Self::Zipf07 => draw(zipf(0.7)),
            Self::Zipf09 => draw(zipf(0.9)),
            Self::Zipf11 => draw(zipf(1.1)),
            Self::Scan => {
                let (hot, mut scanned) = (zipf(0.9), 1 << 40);
                let mut next = |_| {
                    if rng.random_ratio(1, 4) {
                        scanned += 1;
                        scanned
                    } else {
                        rank(hot.sample(&mut rng))
                    }
                };
                (0..accesses).map(&mut next).collect()
            }
            Self::Loop => (0..accesses as u64).map(|at| at % (entries + entries / 4) as u64).collect(),
            Self::Shifting => {
                let (hot, every) = (zipf(0.9), (accesses / SHIFTS).max(1));
                let shifted = |at: usize, rank: u64| rank + ((at / every) * universe) as u64;
                (0..accesses).map(|at| shifted(at, rank(hot.sample(&mut rng)))).collect()
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers from 1 on")]
fn rank(drawn: f64) -> u64 {
    drawn as u64
}

/// How often the hot set changes.
const SHIFTS: usize = 10;
