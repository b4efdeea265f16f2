//! How often each limit was hit.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the node started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handshakes_refused: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) busy: Counter,
    pub(crate) unsent: Counter,
    pub(crate) values_too_large: Counter,
    pub(crate) slow_frames: Counter,
    pub(crate) stalled_readers: Counter,
    pub(crate) protocol_errors: Counter,
}

/// What [`NodeHandle::limits_hit`](crate::NodeHandle::limits_hit) shows: how often each limit was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsHit {
    /// Handshakes refused: wrong certificates, too many at once, too slow.
    pub handshakes_refused: u64,
    /// Connections refused because there were too many.
    pub connections_refused: u64,
    /// Requests answered `Busy`.
    pub busy: u64,
    /// Requests to other nodes that were not sent: there was no connection, or too much under way on it.
    pub unsent: u64,
    /// Values refused for their size.
    pub values_too_large: u64,
    /// Connections closed because a frame took too long to arrive.
    pub slow_frames: u64,
    /// Connections closed because the other side did not read its replies.
    pub stalled_readers: u64,
    /// Connections closed because the other side broke the protocol.
    pub protocol_errors: u64,
}

/// One count. Relaxed: counts order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn read(&self) -> LimitsHit {
        LimitsHit {
            handshakes_refused: self.handshakes_refused.value(),
            connections_refused: self.connections_refused.value(),
            busy: self.busy.value(),
            unsent: self.unsent.value(),
            values_too_large: self.values_too_large.value(),
            slow_frames: self.slow_frames.value(),
            stalled_readers: self.stalled_readers.value(),
            protocol_errors: self.protocol_errors.value(),
        }
    }
}
