//! A prototype of admission by frequency, to see what it would bring: segmented LRU as in Quoit's store behind a small window, and
//! a sketch of how often keys were asked for lately (W-TinyLFU, Einziger et al., 2017). All entries weigh the same here.

use std::num::NonZeroUsize;

use clru::CLruCache;
use xxhash_rust::xxh3::xxh3_64;

use super::KEY_BYTES;

type Queue = CLruCache<[u8; KEY_BYTES], std::sync::Arc<[u8]>>;

/// The cache.
#[derive(Debug)]
pub struct Admitting {
    window: Queue,
    probation: Queue,
    protected: Queue,
    window_max: usize,
    protected_max: usize,
    entries: usize,
    sketch: Sketch,
}

impl Admitting {
    /// An empty cache of so many entries, of which the window and the protected segment may hold such shares.
    pub fn new(entries: usize, window: f64, protected: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the entries")]
        let share = |share: f64| ((entries as f64 * share) as usize).max(1);
        let queue = || CLruCache::new(NonZeroUsize::MAX);
        Self {
            window: queue(),
            probation: queue(),
            protected: queue(),
            window_max: share(window),
            protected_max: share(protected),
            entries,
            sketch: Sketch::new(entries),
        }
    }

    /// Reads a key, and stores `value` if it is absent. Says whether it was there.
    pub fn access(&mut self, key: &[u8; KEY_BYTES], value: impl FnOnce() -> std::sync::Arc<[u8]>) -> bool {
        let hash = xxh3_64(key);
        self.sketch.note(hash);
        if self.window.get(key).is_some() || self.protected.get(key).is_some() {
            return true;
        }
        if let Some(value) = self.probation.pop(key) {
            self.protected.put(*key, value);
            if self.protected.len() > self.protected_max
                && let Some((key, value)) = self.protected.pop_back()
            {
                self.probation.put(key, value);
            }
            return true;
        }
        self.window.put(*key, value());
        if self.window.len() > self.window_max
            && let Some((key, value)) = self.window.pop_back()
        {
            self.admit(key, value);
        }
        false
    }

    /// Keeps what leaves the window, unless it is asked for less than what would have to go for it.
    fn admit(&mut self, key: [u8; KEY_BYTES], value: std::sync::Arc<[u8]>) {
        if self.probation.len() + self.protected.len() + self.window_max >= self.entries {
            let victims = if self.probation.is_empty() { &mut self.protected } else { &mut self.probation };
            let victim = victims.back().map_or(0, |(victim, _)| self.sketch.estimate(xxh3_64(victim)));
            if self.sketch.estimate(xxh3_64(&key)) <= victim {
                return;
            }
            victims.pop_back();
        }
        self.probation.put(key, value);
    }
}

/// Counts of four bits, four for each key; a key's estimate is the least of its four. All are halved now and then.
#[derive(Debug)]
struct Sketch {
    counts: Vec<u64>,
    noted: usize,
    reset_after: usize,
}

impl Sketch {
    fn new(entries: usize) -> Self {
        Self { counts: vec![0; entries.next_power_of_two().max(16)], noted: 0, reset_after: entries * 10 }
    }

    fn note(&mut self, hash: u64) {
        let mut added = false;
        for row in 0..4 {
            let (word, shift) = self.place(hash, row);
            if (self.counts[word] >> shift) & 15 < 15 {
                self.counts[word] += 1 << shift;
                added = true;
            }
        }
        self.noted += usize::from(added);
        if self.noted >= self.reset_after {
            // Halves sixteen counts at once.
            self.counts.iter_mut().for_each(|counts| *counts = (*counts >> 1) & 0x7777_7777_7777_7777);
            self.noted /= 2;
        }
    }

    fn estimate(&self, hash: u64) -> u64 {
        let count = |row| {
            let (word, shift) = self.place(hash, row);
            (self.counts[word] >> shift) & 15
        };
        (0..4).map(count).min().unwrap_or_default()
    }

    /// Where a key's count of this row is: four rows have four counts of a word each.
    fn place(&self, hash: u64, row: u64) -> (usize, u64) {
        let spread = crate::workload::mix(hash.wrapping_add(row));
        let word = usize::try_from(spread >> 8).unwrap_or_default() & (self.counts.len() - 1);
        (word, (row * 4 + (spread & 3)) * 4)
    }
}
