//! How many bytes may be fetched at this moment: a token bucket that can be changed and held while it runs.

use std::{num::NonZeroU64, time::Duration};

use crate::time::Timestamp;

/// The bucket holds what arrives in this time, so that a pause is not followed by a burst.
const BURST: Duration = Duration::from_millis(100);
const MICROS: i128 = 1_000_000;

/// A token bucket. It may be overdrawn once, so that a page larger than the bucket passes too.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second; nothing for no limit.
    rate: Option<NonZeroU64>,
    /// In millionths of a byte.
    level: i128,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        let mut bucket = Self { rate, level: 0, at: Timestamp::default() };
        bucket.level = bucket.burst();
        bucket
    }

    pub(super) fn set_rate(&mut self, now: Timestamp, rate: Option<NonZeroU64>) {
        self.refill(now);
        self.rate = rate;
        // A debt at the old rate may take hours at the new one.
        self.level = self.level.clamp(-self.burst(), self.burst());
    }

    /// Whether there is anything in it.
    pub(super) fn allows(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.rate.is_none() || self.level > 0
    }

    /// Takes `bytes` out.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.level -= micros(bytes);
    }

    /// Puts `bytes` back that were not needed.
    pub(super) fn refund(&mut self, bytes: usize) {
        self.level = (self.level + micros(bytes)).min(self.burst());
    }

    /// When there will be something in it again.
    pub(super) fn ready_at(&self) -> Timestamp {
        let Some(rate) = self.rate.filter(|_| self.level <= 0) else { return self.at };
        let missing = (1 - self.level).div_euclid(i128::from(rate.get())) + 1;
        self.at.saturating_add(Duration::from_micros(u64::try_from(missing).unwrap_or(u64::MAX)))
    }

    fn refill(&mut self, now: Timestamp) {
        let passed = now.checked_duration_since(self.at).unwrap_or_default();
        self.at = self.at.max(now);
        let rate = self.rate.map_or(0, NonZeroU64::get);
        let gained = i128::from(rate).saturating_mul(i128::try_from(passed.as_micros()).unwrap_or(i128::MAX));
        self.level = self.level.saturating_add(gained).min(self.burst());
    }

    fn burst(&self) -> i128 {
        let rate = self.rate.map_or(0, NonZeroU64::get);
        i128::from(rate) * i128::try_from(BURST.as_micros()).unwrap_or(i128::MAX)
    }
}

fn micros(bytes: usize) -> i128 {
    i128::try_from(bytes).unwrap_or(i128::MAX).saturating_mul(MICROS)
}

/// How fast something goes, over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: Timestamp,
    bytes: u64,
    before: u64,
}

/// What a [`Rate`] looks back on.
const WINDOW: Duration = Duration::from_secs(2);

impl Rate {
    pub(super) fn note(&mut self, now: Timestamp, bytes: usize) {
        self.turn(now);
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Bytes per second.
    pub(super) fn per_second(&self, now: Timestamp) -> u64 {
        let passed = now.checked_duration_since(self.since).unwrap_or_default();
        if passed >= WINDOW * 2 {
            return 0;
        }
        let window = if self.before == 0 { passed.max(WINDOW / 4) } else { passed + WINDOW };
        let per_second = u128::from(self.bytes + self.before) * 1_000_000 / window.as_micros().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }

    fn turn(&mut self, now: Timestamp) {
        let passed = now.checked_duration_since(self.since).unwrap_or_default();
        if passed >= WINDOW {
            self.before = if passed < WINDOW * 2 { self.bytes } else { 0 };
            (self.since, self.bytes) = (now, 0);
        }
    }
}
