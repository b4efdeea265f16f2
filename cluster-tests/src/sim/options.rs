//! What a seed does to the cluster.

use std::{ops::RangeInclusive, time::Duration};

use rand::{RngExt, rngs::StdRng};

/// The faults of one run. Each run has some of them only, so that no fault hides what another would show.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many founders there are.
    pub founders: usize,
    /// Everybody starts the first time within this time.
    pub started_within: Duration,
    /// The faults end after this time.
    pub faults_until: Duration,
    /// How long a message travels.
    pub delay: RangeInclusive<Duration>,
    /// How likely a message travels ten times as long.
    pub slow: f64,
    /// How likely a message arrives twice.
    pub duplicate: f64,
    /// How long after the first time it does.
    pub again: RangeInclusive<Duration>,
    /// How likely a message overtakes those sent before it on its connection.
    pub overtake: f64,
    /// How likely a message in flight arrives although its connection is cut.
    pub late: f64,
    /// After which time an end notices that its connection is cut.
    pub notice: RangeInclusive<Duration>,
    /// How many times a connection is cut.
    pub cuts: usize,
    /// How many times a process crashes.
    pub crashes: usize,
    /// How likely a process crashes before it carries out an output.
    pub crash_at_output: f64,
    /// How likely a process crashes as soon as it has installed a view, so that nobody hears of it.
    pub crash_at_install: f64,
    /// For how long a crashed process is down.
    pub down: RangeInclusive<Duration>,
}

impl Options {
    /// Draws the faults of a run.
    pub fn draw(rng: &mut StdRng) -> Self {
        let millis = Duration::from_millis;
        let longest = [2, 20, 150, 400][rng.random_range(0..4)];
        let notice = [5, 200, 1_500][rng.random_range(0..3)];
        let again = [10, 500, 3_000][rng.random_range(0..3)];
        let down = [5, 100, 1_000][rng.random_range(0..3)];
        Self {
            founders: [1, 2, 3, 3, 3, 4, 5][rng.random_range(0..7)],
            started_within: millis([0, 50, 2_000][rng.random_range(0..3)]),
            faults_until: millis([500, 3_000, 6_000][rng.random_range(0..3)]),
            delay: Duration::from_micros(100)..=millis(longest),
            slow: sometimes(rng, 0.1),
            duplicate: sometimes(rng, 0.2),
            again: Duration::ZERO..=millis(again),
            overtake: sometimes(rng, 0.5),
            late: sometimes(rng, 0.8),
            notice: millis(1)..=millis(notice),
            cuts: if rng.random_bool(0.5) { rng.random_range(0..8) } else { 0 },
            crashes: if rng.random_bool(0.5) { rng.random_range(0..8) } else { 0 },
            crash_at_output: sometimes(rng, 0.03),
            crash_at_install: sometimes(rng, 0.5),
            down: millis(1)..=millis(down),
        }
    }

    /// Faults end: what is left is a network of ordinary delays.
    pub fn heal(&mut self) {
        self.delay = Duration::from_micros(100)..=Duration::from_millis(20);
        (self.slow, self.duplicate, self.overtake, self.late) = (0.0, 0.0, 0.0, 0.0);
        (self.crash_at_output, self.crash_at_install) = (0.0, 0.0);
    }
}

/// A probability up to `most`, or none.
fn sometimes(rng: &mut StdRng, most: f64) -> f64 {
    if rng.random_bool(0.5) { rng.random_range(0.0..most) } else { 0.0 }
}
