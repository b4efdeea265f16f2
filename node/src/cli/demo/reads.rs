//! Skewed reads by many callers at once, each value checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use quoit_client::Client;
use tokio::{task::JoinSet, time::interval};

use super::{Record, check, crashed, wrong};
use crate::cli::{dataset::Dataset, error::CliError, output::Output, progress::Progress};

/// Callers that each wait for one answer at a time.
pub(super) const CALLERS: u32 = 64;
/// Latencies are kept to three digits up to a minute, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const LATENCY_DIGITS: u8 = 3;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What the reads came to.
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) elapsed: Duration,
    /// In nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl Reads {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("valid bounds and digits");
        Self { hits: 0, misses: 0, elapsed: Duration::ZERO, latency }
    }

    pub(super) fn count(&self) -> u64 {
        self.hits + self.misses
    }

    fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.latency.add(&other.latency).expect("both have the same bounds");
    }
}

/// Reads for `duration`.
pub(super) async fn read_skewed(
    dataset: Dataset,
    records: &Arc<Vec<Record>>,
    client: &Client,
    duration: Duration,
    output: &Output,
) -> Result<Reads, CliError> {
    let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut progress = Progress::new(output, "reading", Some(total));
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (records, client, count) = (Arc::clone(records), client.clone(), Arc::clone(&count));
        callers.spawn(async move { call(caller, dataset, &records, &client, started + duration, &count).await });
    }
    let mut reads = Reads::new();
    let mut ticks = interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            caller = callers.join_next() => match caller {
                Some(done) => reads.add(&done.map_err(crashed)??),
                None => break,
            },
            _ = ticks.tick() => {
                let position = u64::try_from(progress.elapsed().as_millis()).unwrap_or(total);
                progress.update(position.min(total), count.load(Ordering::Relaxed), 0);
            }
        }
    }
    reads.elapsed = started.elapsed();
    Ok(reads)
}

/// One caller: reads one key after the other until `deadline`.
async fn call(
    caller: u32,
    dataset: Dataset,
    records: &[Record],
    client: &Client,
    deadline: Instant,
    count: &AtomicU64,
) -> Result<Reads, CliError> {
    let mut reads = Reads::new();
    for index in dataset.reads(caller) {
        let started = Instant::now();
        if started >= deadline {
            break;
        }
        match records.get(index as usize) {
            Some(record) => {
                let value = client.get(&record.key).await?;
                reads.latency.saturating_record(nanoseconds(started.elapsed()));
                check(record, value.as_deref())?;
                reads.hits += 1;
            }
            None => {
                let key = dataset.key(index);
                let value = client.get(&key).await?;
                reads.latency.saturating_record(nanoseconds(started.elapsed()));
                if value.is_some() {
                    return Err(wrong(&key, "was never written and is there"));
                }
                reads.misses += 1;
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(reads)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
