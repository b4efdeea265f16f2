//! How long a read waits for one owner before it asks another as well.

use std::time::Duration;

/// The shortest wait. Below it the second question costs more than the wait.
pub const READ_HEDGE_MIN: Duration = Duration::from_millis(5);

/// The longest wait. Without it a node that hangs would teach the estimate to wait for it.
pub const READ_HEDGE_MAX: Duration = Duration::from_millis(25);

/// Of this many answers one may come later than the estimate.
const ONE_IN: u32 = 20;

/// The estimate moves by this fraction of itself, times [`ONE_IN`] upwards: a compromise between following and trembling.
const STEP_FRACTION: u32 = 256;

/// A running estimate of the 95th percentile of the time in which other nodes answer reads.
///
/// One number that every answer moves a little: up by nineteen steps if it came later, down by one if not, which balances
/// where one in twenty comes later (the idea of "frugal streaming", Ma, Muthukrishnan and Sandler, 2013).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latency {
    estimate: Duration,
}

impl Latency {
    pub(super) const fn new() -> Self {
        Self { estimate: READ_HEDGE_MIN }
    }

    /// How long to wait.
    pub(super) fn hedge(self) -> Duration {
        self.estimate.clamp(READ_HEDGE_MIN, READ_HEDGE_MAX)
    }

    /// An answer came after `elapsed`.
    pub(super) fn answered(&mut self, elapsed: Duration) {
        if elapsed > self.estimate { self.rise() } else { self.estimate -= self.step() }
    }

    /// No answer came in time.
    pub(super) fn overdue(&mut self) {
        self.rise();
    }

    fn rise(&mut self) {
        self.estimate = READ_HEDGE_MAX.min(self.estimate + self.step() * (ONE_IN - 1));
    }

    fn step(self) -> Duration {
        self.estimate / STEP_FRACTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait after a thousand answers, of which each `period`th took `slow` and the others 1 ms.
    fn settled(period: usize, slow: Duration) -> Duration {
        let mut latency = Latency::new();
        for i in 0..1000 {
            latency.answered(if i % period == 0 { slow } else { Duration::from_millis(1) });
        }
        latency.hedge()
    }

    #[test]
    fn rare_slow_answers_leave_the_wait_short() {
        assert_eq!(settled(100, Duration::from_millis(20)), READ_HEDGE_MIN);
    }

    #[test]
    fn the_wait_follows_answers_that_are_slow_often() {
        assert!(settled(5, Duration::from_millis(20)) > Duration::from_millis(15));
    }

    #[test]
    fn silence_lengthens_the_wait_up_to_its_bound() {
        let mut latency = Latency::new();
        (0..1000).for_each(|_| latency.overdue());
        assert_eq!(latency.hedge(), READ_HEDGE_MAX);
        (0..10_000).for_each(|_| latency.answered(Duration::from_millis(1)));
        assert_eq!(latency.hedge(), READ_HEDGE_MIN);
    }
}
