//! The account of connections that ask many things at once.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    End, Sample, Until,
    tally::{Tally, Totals},
};
use crate::workload::{Step, Verdict};

/// What some connections have to tell. A clone is another connection's, of the same account.
#[derive(Debug)]
pub struct BatchTally {
    until: Until,
    start: Instant,
    connections: usize,
    totals: Arc<Totals>,
    done: Arc<AtomicU64>,
    tally: Tally,
}

impl Clone for BatchTally {
    fn clone(&self) -> Self {
        let (totals, done) = (Arc::clone(&self.totals), Arc::clone(&self.done));
        Self { tally: Tally::new(Arc::clone(&totals), Arc::clone(&done)), totals, done, ..*self }
    }
}

impl BatchTally {
    /// The account of so many connections, which begins now.
    ///
    /// # Errors
    /// None with these bounds.
    pub fn new(until: Until, connections: usize, done: Arc<AtomicU64>) -> Result<Self> {
        let totals = Arc::new(Totals::new()?);
        let tally = Tally::new(Arc::clone(&totals), Arc::clone(&done));
        Ok(Self { until, start: Instant::now(), connections, totals, done, tally })
    }

    /// Whether the connection `index` has done its share.
    pub fn is_over(&self, index: usize, requests: usize, now: Instant) -> bool {
        End::of(self.until, self.start, index, self.connections).is_reached(requests, now)
    }

    /// An answer to a read.
    pub fn found(&mut self, verdict: Verdict) {
        self.tally.found(verdict);
    }

    /// All that was asked was answered within this time, which is the latency of each.
    pub fn took(&mut self, asked: &[(Step, u32)], time: Duration) {
        for (step, _) in asked {
            match step {
                Step::Get(_) => self.tally.read_took(time),
                Step::Set(_) | Step::Pretend(_) => self.tally.wrote(time),
            }
        }
    }

    /// Passes on what was kept back.
    pub fn flush(&mut self) {
        self.tally.flush();
    }

    /// What all have told, which end now.
    pub fn sample(&self) -> Sample {
        self.totals.sample(self.start.elapsed())
    }
}
