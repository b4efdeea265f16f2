//! Callers that ask a cache, in a closed or an open loop, and what became of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

pub use self::{
    batch::BatchTally,
    preload::{audit, preload},
    schedule::{Arrivals, Schedule},
    tally::{Counts, Failures, Sample},
};
use self::{
    caller::{Buffers, Caller},
    schedule::Pacer,
    tally::{Tally, Totals},
};
use crate::{cache::Cache, process, workload::Workload};

mod batch;
mod caller;
mod preload;
mod schedule;
mod tally;

/// How a cache is to be asked.
#[derive(Clone, Debug)]
pub struct Load {
    /// Requests under way at once, at most.
    pub callers: usize,
    /// When it ends.
    pub until: Until,
    /// How much of the same comes first, is verified and not measured.
    pub warm_up: Until,
    /// When requests are made; nothing for as soon as the one before is answered.
    pub arrivals: Option<Arrivals>,
    /// Keys of each request that reads many.
    pub batch: usize,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many requests of all callers together.
    Requests(usize),
}

impl Until {
    /// A tenth of it.
    #[must_use]
    pub fn tenth(self) -> Self {
        match self {
            Self::Elapsed(duration) => Self::Elapsed(duration / 10),
            Self::Requests(requests) => Self::Requests(requests.div_ceil(10)),
        }
    }

    fn is_nothing(self) -> bool {
        matches!(self, Self::Elapsed(Duration::ZERO) | Self::Requests(0))
    }
}

impl Load {
    /// A closed loop, with a tenth of it to warm up.
    pub fn closed(callers: usize, until: Until) -> Self {
        Self { callers, until, warm_up: until.tenth(), arrivals: None, batch: 1 }
    }

    /// Asks `caches`, which the callers share evenly, and charges the processes `servers` with what they take meanwhile.
    /// `done` counts requests, for whoever watches.
    ///
    /// # Errors
    /// A process that has ended, and a caller of whom [so many](FAILURES_IN_A_ROW_MAX) requests fail one after the other.
    pub async fn run<C: Cache>(
        &self,
        caches: &[C],
        workload: &Arc<Workload>,
        servers: &[u32],
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        let mut before = Counts::default();
        if !self.warm_up.is_nothing() {
            before = self.once(caches, workload, self.warm_up, done).await?.counts;
        }
        let mut sample = charged(servers, self.once(caches, workload, self.until, done)).await?;
        sample.counts.blame(&before);
        Ok(sample)
    }

    async fn once<C: Cache>(
        &self,
        caches: &[C],
        workload: &Arc<Workload>,
        until: Until,
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        ensure!(!caches.is_empty(), "there is nobody to ask");
        let totals = Arc::new(Totals::new()?);
        let start = Instant::now();
        let pacer = self.arrivals.map(|arrivals| Arc::new(Pacer::new(Schedule::new(arrivals, start, until))));
        let mut running = JoinSet::new();
        for index in 0..self.callers {
            let caller = Box::new(Caller {
                index,
                cache: caches[index % caches.len()].clone(),
                workload: Arc::clone(workload),
                tally: Tally::new(Arc::clone(&totals), Arc::clone(done)),
                batch: self.batch,
                key: Vec::new(),
                value: Vec::new(),
                buffers: Buffers::default(),
            });
            match &pacer {
                Some(pacer) => running.spawn(caller.on_schedule(Arc::clone(pacer))),
                None => running.spawn(caller.without_pause(End::of(until, start, index, self.callers))),
            };
        }
        let _pacing = pacer.clone().map(|pacer| Pacing::start(pacer, self.callers));
        all(running).await?;
        let elapsed = start.elapsed();
        let mut sample = totals.sample(elapsed);
        sample.counts.unstarted = pacer.map_or(0, |pacer| pacer.unstarted());
        Ok(sample)
    }
}

/// Measures, and charges the processes `servers` and this one with what they take meanwhile.
///
/// # Errors
/// As `measuring`, and a process that has ended.
pub async fn charged(servers: &[u32], measuring: impl Future<Output = Result<Sample>>) -> Result<Sample> {
    let (server_before, client_before) = (process::cpu(servers)?, process::own_cpu()?);
    let mut sample = measuring.await?;
    sample.server_cpu = process::cpu(servers)?.saturating_sub(server_before);
    sample.client_cpu = process::own_cpu()?.saturating_sub(client_before);
    Ok(sample)
}

/// A pacer at work, until this is dropped.
struct Pacing(Arc<Pacer>);

impl Pacing {
    fn start(pacer: Arc<Pacer>, callers: usize) -> Self {
        let at_work = Arc::clone(&pacer);
        tokio::task::spawn_blocking(move || at_work.run(callers));
        Self(pacer)
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Waits for all tasks, or for the first that fails.
pub(crate) async fn all<T: 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    Ok(done)
}

/// When one caller ends.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    After(usize),
}

impl End {
    /// The end of the caller `index` of `callers`, which share the requests evenly.
    fn of(until: Until, start: Instant, index: usize, callers: usize) -> Self {
        match until {
            Until::Elapsed(duration) => Self::At(start + duration),
            Until::Requests(all) => Self::After(all / callers + usize::from(index < all % callers)),
        }
    }

    fn is_reached(self, requests: usize, now: Instant) -> bool {
        match self {
            Self::At(end) => now >= end,
            Self::After(end) => requests >= end,
        }
    }
}

fn count(done: &AtomicU64, more: usize) {
    done.fetch_add(more as u64, Ordering::Relaxed);
}

/// Failures of one caller one after the other, before it gives up for all: the cache is gone.
pub const FAILURES_IN_A_ROW_MAX: usize = 100;

#[cfg(test)]
mod tests;
