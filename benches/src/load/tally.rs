//! What became of requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::count;
use crate::{cache::Failure, workload::Verdict};

/// Requests by what became of them. Of requests that read many keys, every key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Values that were read, and were right to the last byte.
    pub verified: u64,
    /// Reads of keys that were never written.
    pub misses: u64,
    /// Reads that found nothing where a write was acknowledged.
    pub missing: u64,
    /// Reads that found an older value than was acknowledged.
    pub stale: u64,
    /// Reads that found another key's value.
    pub wrong: u64,
    /// Reads that found damage.
    pub corrupt: u64,
    /// Writes that were claimed and not made, on purpose.
    pub pretended: u64,
    /// Requests that were due and never made, as no caller was free in time.
    pub unstarted: u64,
    /// Failures by kind.
    pub failures: BTreeMap<&'static str, Failures>,
}

/// Failures of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub example: String,
}

impl Counts {
    /// Reads and writes that were answered.
    pub fn operations(&self) -> u64 {
        self.reads + self.writes
    }

    /// Reads that show a write to be lost.
    pub fn lost(&self) -> u64 {
        self.missing + self.stale
    }

    /// Reads that found what nobody wrote.
    pub fn damaged(&self) -> u64 {
        self.wrong + self.corrupt
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// All that is wrong: lost, damaged and failed.
    pub fn faults(&self) -> u64 {
        self.lost() + self.damaged() + self.failed()
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.verified += other.verified;
        self.misses += other.misses;
        self.unstarted += other.unstarted;
        self.blame(other);
    }

    /// Adds what is wrong with `other`, and nothing of what was fine.
    pub(super) fn blame(&mut self, other: &Self) {
        self.missing += other.missing;
        self.stale += other.stale;
        self.wrong += other.wrong;
        self.corrupt += other.corrupt;
        self.pretended += other.pretended;
        for (kind, failures) in &other.failures {
            let own = self.failures.entry(kind).or_default();
            own.count += failures.count;
            if own.example.is_empty() {
                own.example.clone_from(&failures.example);
            }
        }
    }

    pub(super) fn found(&mut self, verdict: Verdict) {
        self.reads += 1;
        *match verdict {
            Verdict::Right => &mut self.verified,
            Verdict::Miss => &mut self.misses,
            Verdict::Missing => &mut self.missing,
            Verdict::Stale => &mut self.stale,
            Verdict::Wrong => &mut self.wrong,
            Verdict::Corrupt => &mut self.corrupt,
        } += 1;
    }

    pub(super) fn failed_with(&mut self, failure: &Failure) {
        let failures = self.failures.entry(failure.kind).or_default();
        failures.count += 1;
        if failures.example.is_empty() {
            failures.example.clone_from(&failure.why);
        }
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What became of the requests.
    pub counts: Counts,
    /// From the first question to the last answer.
    pub elapsed: Duration,
    /// CPU time of the servers' processes meanwhile.
    pub server_cpu: Duration,
    /// CPU time of this process meanwhile.
    pub client_cpu: Duration,
    /// Nanoseconds that requests to read took. In an open loop they count from when a request was due; in a closed one, from
    /// the answer before, so that checking that answer is in it.
    pub reads: Histogram<u64>,
    /// The same of requests to write.
    pub writes: Histogram<u64>,
    /// How late requests were made, in an open loop.
    pub late: Histogram<u64>,
}

impl Sample {
    /// Of nothing.
    ///
    /// # Errors
    /// None with these bounds.
    pub fn nothing() -> Result<Self, CreationError> {
        let new = || Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3);
        let (reads, writes, late) = (new()?, new()?, new()?);
        let (counts, elapsed) = (Counts::default(), Duration::ZERO);
        Ok(Self { counts, elapsed, server_cpu: Duration::ZERO, client_cpu: Duration::ZERO, reads, writes, late })
    }

    /// Latencies of all requests.
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        // Fails only where bounds differ.
        let _ = all.add(&self.writes);
        all
    }

    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.counts.operations() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the servers' CPU time for each operation.
    pub fn server_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.counts.operations() as f64
    }

    /// The same of this process.
    pub fn client_us(&self) -> f64 {
        self.client_cpu.as_secs_f64() * 1e6 / self.counts.operations() as f64
    }

    /// A quantile of the latencies of all requests, in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency().value_at_quantile(quantile) as f64 / 1e3
    }

    fn record(&mut self, recent: &mut Recent) {
        for (histogram, latencies) in [
            (&mut self.reads, &mut recent.reads),
            (&mut self.writes, &mut recent.writes),
            (&mut self.late, &mut recent.late),
        ] {
            for latency in latencies.drain(..) {
                histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
        }
        self.counts.add(&std::mem::take(&mut recent.counts));
    }
}

/// What all callers have to tell.
#[derive(Debug)]
pub(super) struct Totals(Mutex<Sample>);

impl Totals {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self(Mutex::new(Sample::nothing()?)))
    }

    pub(super) fn sample(&self, elapsed: Duration) -> Sample {
        let sample = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sample { elapsed, ..sample }
    }
}

#[derive(Debug, Default)]
struct Recent {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
    late: Vec<Duration>,
    counts: Counts,
}

/// What one caller has to tell, passed on many at once: callers that met at the totals at every request would measure that.
#[derive(Debug)]
pub(super) struct Tally {
    totals: Arc<Totals>,
    done: Arc<AtomicU64>,
    recent: Recent,
    failures_in_a_row: usize,
}

impl Tally {
    pub(super) fn new(totals: Arc<Totals>, done: Arc<AtomicU64>) -> Self {
        Self { totals, done, recent: Recent::default(), failures_in_a_row: 0 }
    }

    pub(super) fn late(&mut self, late: Duration) {
        self.recent.late.push(late);
    }

    pub(super) fn read_took(&mut self, latency: Duration) {
        self.recent.reads.push(latency);
        self.flush_if_many();
    }

    pub(super) fn wrote(&mut self, latency: Duration) {
        self.failures_in_a_row = 0;
        self.recent.counts.writes += 1;
        self.recent.writes.push(latency);
        self.flush_if_many();
    }

    pub(super) fn found(&mut self, verdict: Verdict) {
        self.failures_in_a_row = 0;
        self.recent.counts.found(verdict);
    }

    pub(super) fn pretended(&mut self) {
        self.recent.counts.pretended += 1;
    }

    /// Counts a failure, and says how many there were one after the other.
    pub(super) fn failed(&mut self, failure: &Failure) -> usize {
        self.recent.counts.failed_with(failure);
        self.failures_in_a_row += 1;
        self.failures_in_a_row
    }

    fn flush_if_many(&mut self) {
        if self.recent.reads.len() + self.recent.writes.len() >= LATENCIES_AT_ONCE {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        count(&self.done, self.recent.reads.len() + self.recent.writes.len());
        self.totals.0.lock().unwrap_or_else(PoisonError::into_inner).record(&mut self.recent);
    }
}

/// Enough to make meetings rare, and few enough to stay in the CPU's caches with a thousand callers.
const LATENCIES_AT_ONCE: usize = 32;
const LATENCY_NS_MIN: u64 = 100;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
