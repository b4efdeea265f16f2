//! A process's own idea of time: it runs fast or slow, jumps ahead, and never goes back.

use std::time::Duration;

use quoit_core::time::Timestamp;

/// Parts per million.
const MILLION: u128 = 1_000_000;

/// The clock of one process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The simulation's time at which this clock's rate last changed or at which it jumped.
    since: Timestamp,
    /// What it showed then.
    shown: u64,
    /// How many of its microseconds pass in a second.
    rate: u32,
}

impl Clock {
    /// A clock that shows 0 at `now` and of which `rate` microseconds pass in a second.
    pub fn new(now: Timestamp, rate: u32) -> Self {
        Self { since: now, shown: 0, rate }
    }

    /// What it shows at `now`.
    pub fn read(&self, now: Timestamp) -> Timestamp {
        let passed = u128::from(now.as_micros().saturating_sub(self.since.as_micros()));
        let own = passed * u128::from(self.rate) / MILLION;
        Timestamp::from_micros(self.shown.saturating_add(u64::try_from(own).unwrap_or(u64::MAX)))
    }

    /// The first moment at which it shows `at`.
    pub fn when(&self, at: Timestamp) -> Timestamp {
        let ahead = u128::from(at.as_micros().saturating_sub(self.shown));
        let passed = (ahead * MILLION).div_ceil(u128::from(self.rate));
        self.since.saturating_add(Duration::from_micros(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Lets it jump ahead.
    pub fn jump(&mut self, now: Timestamp, by: Duration) {
        let shown = self.read(now).saturating_add(by);
        *self = Self { since: now, shown: shown.as_micros(), rate: self.rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_inverse_of_read() {
        for rate in [950_000, 999_999, 1_000_000, 1_000_001, 1_050_000] {
            let mut clock = Clock::new(Timestamp::from_micros(77), rate);
            clock.jump(Timestamp::from_micros(1_000), Duration::from_secs(5));
            for at in [5_000_923, 5_000_924, 5_100_000, 99_999_999] {
                let (at, moment) = (Timestamp::from_micros(at), clock.when(Timestamp::from_micros(at)));
                assert!(clock.read(moment) >= at, "{rate} {at}");
                let before = Timestamp::from_micros(moment.as_micros() - 1);
                assert!(moment == Timestamp::from_micros(1_000) || clock.read(before) < at, "{rate} {at}");
            }
        }
    }
}
