//! One cell of a run: callers that ask, one after the other answer, until time or operations are used up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{
    floor,
    process::{self, Server},
    workload::{KEY_BYTES, Step, Workload},
};

/// A cache, seen by its callers.
pub trait Cache: Clone + Send + Sync + 'static {
    /// Reads a key; `None` if it is absent.
    fn get(&self, key: &[u8; KEY_BYTES]) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Writes a key.
    fn set(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> impl Future<Output = Result<()>> + Send;
}

impl Cache for quoit_client::Client {
    async fn get(&self, key: &[u8; KEY_BYTES]) -> Result<Option<Bytes>> {
        Ok(self.get(key).await?)
    }

    async fn set(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> Result<()> {
        self.set(key, value).await?;
        Ok(())
    }
}

impl Cache for floor::Client {
    async fn get(&self, key: &[u8; KEY_BYTES]) -> Result<Option<Bytes>> {
        let answer = self.ask(key, &[]).await?;
        Ok(Some(answer).filter(|value| !value.is_empty()))
    }

    async fn set(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> Result<()> {
        self.ask(key, value).await.map(drop)
    }
}

/// When a cell ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many operations of all callers together.
    Operations(usize),
}

impl Until {
    /// A tenth of it, which is run first and not measured.
    fn warm_up(self) -> Self {
        match self {
            Self::Elapsed(duration) => Self::Elapsed(duration / 10),
            Self::Operations(operations) => Self::Operations(operations.div_ceil(10)),
        }
    }
}

/// What was measured in one cell.
#[derive(Debug)]
pub struct Sample {
    /// Operations that were answered.
    pub operations: usize,
    /// Values that were read, all of which were right.
    pub verified: usize,
    /// From the first question to the last answer.
    pub elapsed: Duration,
    /// CPU time of the server's process meanwhile.
    pub server_cpu: Duration,
    /// CPU time of this process meanwhile.
    pub client_cpu: Duration,
    /// Nanoseconds from one answer to the next, of each caller: what an operation takes, checking its value included.
    pub latency: Histogram<u64>,
}

/// Writes every key of `workload`.
///
/// # Errors
/// The first write that fails.
pub async fn preload(cache: &impl Cache, workload: &Arc<Workload>) -> Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (cache, workload) = (cache.clone(), Arc::clone(workload));
        writers.spawn(async move {
            let mut value = Vec::new();
            for key in workload.keys().skip(writer).step_by(WRITERS) {
                workload.fill(&key, &mut value);
                cache.set(&key, &value).await?;
            }
            Ok(())
        });
    }
    all(writers).await.map(drop)
}

/// Runs `callers` callers against the cache that `server` serves, after a short warm-up.
///
/// # Errors
/// The first operation that fails, and the first value that is missing or wrong.
pub async fn measure(
    cache: &impl Cache,
    workload: &Arc<Workload>,
    callers: usize,
    until: Until,
    server: &Server,
) -> Result<Sample> {
    run(cache, workload, callers, until.warm_up()).await?;
    let (server_before, client_before) = (server.cpu()?, process::own_cpu()?);
    let mut sample = run(cache, workload, callers, until).await?;
    sample.server_cpu = server.cpu()?.saturating_sub(server_before);
    sample.client_cpu = process::own_cpu()?.saturating_sub(client_before);
    Ok(sample)
}

/// The same without accounts of CPU time.
async fn run(cache: &impl Cache, workload: &Arc<Workload>, callers: usize, until: Until) -> Result<Sample> {
    let latency = Arc::new(Mutex::new(Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3)?));
    let mut running = JoinSet::new();
    let start = Instant::now();
    for index in 0..callers {
        let (cache, workload, end) = (cache.clone(), Arc::clone(workload), End::of(until, start, index, callers));
        let latency = Latency { shared: Arc::clone(&latency), recent: Vec::with_capacity(LATENCIES_AT_ONCE) };
        running.spawn(Caller { index, cache, workload, end, latency }.run());
    }
    let tallies = all(running).await?;
    let elapsed = start.elapsed();
    let latency = latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Sample {
        operations: tallies.iter().map(|tally| tally.operations).sum(),
        verified: tallies.iter().map(|tally| tally.verified).sum(),
        elapsed,
        server_cpu: Duration::ZERO,
        client_cpu: Duration::ZERO,
        latency,
    })
}

/// Waits for all tasks, or for the first that fails.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    Ok(done)
}

struct Caller<C> {
    index: usize,
    cache: C,
    workload: Arc<Workload>,
    end: End,
    latency: Latency,
}

#[derive(Default)]
struct Tally {
    operations: usize,
    verified: usize,
}

impl<C: Cache> Caller<C> {
    async fn run(mut self) -> Result<Tally> {
        let (mut tally, mut value) = (Tally::default(), Vec::new());
        let mut asked = Instant::now();
        while !self.end.is_reached(tally.operations, asked) {
            match self.workload.step(self.index, tally.operations) {
                Step::Get(key) => {
                    self.check(&key, self.cache.get(&key).await?)?;
                    tally.verified += 1;
                }
                Step::Set(key) => {
                    self.workload.fill(&key, &mut value);
                    self.cache.set(&key, &value).await?;
                }
            }
            tally.operations += 1;
            let answered = Instant::now();
            self.latency.record(answered - asked);
            asked = answered;
        }
        self.latency.flush();
        Ok(tally)
    }

    fn check(&self, key: &[u8; KEY_BYTES], value: Option<Bytes>) -> Result<()> {
        let value = value.with_context(|| format!("the key {key:02x?} was written and is gone"))?;
        if self.workload.is_value(key, &value) {
            return Ok(());
        }
        bail!("a wrong value of {} bytes was read for the key {key:02x?}", value.len());
    }
}

/// When one caller ends.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    After(usize),
}

impl End {
    /// The end of the caller `index` of `callers`, which share the operations evenly.
    fn of(until: Until, start: Instant, index: usize, callers: usize) -> Self {
        match until {
            Until::Elapsed(duration) => Self::At(start + duration),
            Until::Operations(all) => Self::After(all / callers + usize::from(index < all % callers)),
        }
    }

    fn is_reached(self, operations: usize, now: Instant) -> bool {
        match self {
            Self::At(end) => now >= end,
            Self::After(end) => operations >= end,
        }
    }
}

/// Latencies of one caller, passed on many at once: callers that met at the histogram at every operation would measure
/// that.
struct Latency {
    shared: Arc<Mutex<Histogram<u64>>>,
    recent: Vec<Duration>,
}

impl Latency {
    fn record(&mut self, latency: Duration) {
        self.recent.push(latency);
        if self.recent.len() == LATENCIES_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut histogram = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for latency in self.recent.drain(..) {
            histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// Writers that preload.
const WRITERS: usize = 64;
/// Enough to make meetings rare, and few enough to stay in the CPU's caches with a thousand callers.
const LATENCIES_AT_ONCE: usize = 32;
const LATENCY_NS_MIN: u64 = 100;
const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[cfg(test)]
mod tests;
