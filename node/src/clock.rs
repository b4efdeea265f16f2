//! The node's one clock.

use quoit_core::time::{Timestamp, Wall};
use tokio::time::Instant;

/// What both clocks show at one moment: what comes together is handled by one reading, as each takes its time. It is never kept
/// over a wait, but as a batch is handled, and a lock waited for, it grows old by some milliseconds; and by as long as the process
/// is stopped meanwhile. So of two that meet at one machine the later one may be the older.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The time since the node started.
    pub(crate) now: Timestamp,
    /// The time of day.
    pub(crate) wall: Wall,
}

/// Tells the time since the node started. Copies tell the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at zero. It follows tokio's time, so a simulation can pause and forward it.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(self) -> Timestamp {
        let micros = self.start.elapsed().as_micros();
        Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The time of day, by which versions and expiries are told. It may jump, also back.
    pub(crate) fn wall(self) -> Wall {
        let since_epoch = wall().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        Wall::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// Both.
    pub(crate) fn read(self) -> Reading {
        Reading { now: self.now(), wall: self.wall() }
    }

    /// The instant at which this clock shows `timestamp`, for timers.
    pub(crate) fn instant(self, timestamp: Timestamp) -> Instant {
        self.start + std::time::Duration::from_micros(timestamp.as_micros())
    }
}

/// The time of day as the system tells it, for dates.
pub(crate) fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
