//! Virtual time.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;

/// What is going to happen, in order. Events of one moment happen in the order in which they were scheduled.
#[derive(Debug)]
pub struct EventQueue<E> {
    now: Timestamp,
    scheduled: u64,
    events: BTreeMap<(Timestamp, u64), E>,
}

impl<E> EventQueue<E> {
    /// An empty queue at time 0.
    pub fn new() -> Self {
        Self { now: Timestamp::from_micros(0), scheduled: 0, events: BTreeMap::new() }
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub fn at(&mut self, at: Timestamp, event: E) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    /// Lets `event` happen after `delay`.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// The next event; time moves on to it.
    pub fn pop(&mut self) -> Option<E> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        Some(event)
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}
