//! The clock that stamps writes: close to the wall clock, never going back, and deaf to clocks that are far ahead.
//!
//! A hybrid logical clock (Kulkarni et al., 2014). What it leaves out is trust: a moment far ahead of the wall clock is
//! refused, not followed, so that one broken clock makes one node useless as a writer instead of giving every key a version
//! that nothing can beat for a day.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use quoit_proto_types::{ErrorCode, Hlc, message::client::Refusal};

use crate::time::Wall;

/// How far a moment may be ahead of the wall clock: more than clocks differ that are kept in step, and little enough that a
/// write that loses to one from a clock ahead loses to one of its own half second.
pub const MAX_SKEW: Duration = Duration::from_millis(500);

/// A moment is further ahead of the wall clock than [`MAX_SKEW`]. Nothing was stamped and nothing was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock is {ahead_ms} ms ahead of this node's")]
pub struct ClockSkew {
    /// By how many milliseconds.
    pub ahead_ms: u64,
}

impl From<ClockSkew> for Refusal {
    fn from(skew: ClockSkew) -> Self {
        Self::new(ErrorCode::ClockSkew, skew.ahead_ms)
    }
}

/// One process's hybrid logical clock, shared by all who stamp writes there.
#[derive(Debug, Default)]
pub struct HlcClock {
    /// The last moment that was given out or heard of.
    last: AtomicU64,
}

impl HlcClock {
    /// A clock that has given out nothing yet. Its process has a boot of its own, which keeps its versions apart from those
    /// of the process before it.
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0) }
    }

    /// Gives out the next moment: later than every one before, later than `after`, and no earlier than `wall`.
    ///
    /// # Errors
    /// [`ClockSkew`] if `after`, or the clock itself because the wall clock jumped back, is too far ahead of `wall`.
    pub fn stamp(&self, wall: Wall, after: Hlc) -> Result<Hlc, ClockSkew> {
        let next = |last: u64| Hlc::from_millis(wall.as_millis()).max(Hlc::new(last).next()).max(after.next());
        // Relaxed is enough: the clock orders its own moments and publishes nothing else.
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let moment = next(last);
            within_skew(wall, moment)?;
            match self.last.compare_exchange_weak(last, moment.value(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(moment),
                Err(other) => last = other,
            }
        }
    }

    /// Takes note of a moment of another clock: what is given out from here on is later.
    ///
    /// # Errors
    /// [`ClockSkew`] if it is too far ahead of `wall`. What carries it must be refused.
    pub fn observe(&self, wall: Wall, moment: Hlc) -> Result<(), ClockSkew> {
        within_skew(wall, moment)?;
        self.last.fetch_max(moment.value(), Ordering::Relaxed);
        Ok(())
    }
}

fn within_skew(wall: Wall, moment: Hlc) -> Result<(), ClockSkew> {
    match Wall::from_millis(moment.millis()).checked_duration_since(wall) {
        Some(ahead) if ahead > MAX_SKEW => {
            Err(ClockSkew { ahead_ms: u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX) })
        }
        Some(_) | None => Ok(()),
    }
}
