//! Before and after: writing every key once, and reading every key once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::{Counts, FAILURES_IN_A_ROW_MAX, all};
use crate::{cache::Cache, workload::Workload};

/// Writes every key once. `done` counts them.
///
/// # Errors
/// Too many failures of one writer in a row. Single ones are tried again.
pub async fn preload<C: Cache>(caches: &[C], workload: &Arc<Workload>, done: &Arc<AtomicU64>) -> Result<()> {
    let mut writers = JoinSet::new();
    for first in 0..SIDE_BY_SIDE {
        let (cache, workload) = (caches[first as usize % caches.len()].clone(), Arc::clone(workload));
        let done = Arc::clone(done);
        writers.spawn(async move {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            for index in (first..workload.plan().keys).step_by(SIDE_BY_SIDE as usize) {
                let version = workload.ledger().begin(index);
                workload.key(index, &mut key);
                workload.value(index, version, &mut value);
                write_until_taken(&cache, &key, &value).await?;
                workload.ledger().acknowledge(index);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    all(writers).await.map(drop)
}

async fn write_until_taken(cache: &impl Cache, key: &[u8], value: &[u8]) -> Result<()> {
    let mut failures = 0;
    while let Err(failure) = cache.set(key, value).await {
        failures += 1;
        if failures == FAILURES_IN_A_ROW_MAX {
            bail!("gave up after {failures} failures in a row, the last of them {failure}");
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Reads every key once, and says what was found. `done` counts them.
///
/// # Errors
/// None of its own: failures are counted.
pub async fn audit<C: Cache>(caches: &[C], workload: &Arc<Workload>, done: &Arc<AtomicU64>) -> Result<Counts> {
    let mut readers = JoinSet::new();
    for first in 0..SIDE_BY_SIDE {
        let (cache, workload) = (caches[first as usize % caches.len()].clone(), Arc::clone(workload));
        let done = Arc::clone(done);
        readers.spawn(async move {
            let (mut key, mut counts) = (Vec::new(), Counts::default());
            for index in (first..workload.plan().keys).step_by(SIDE_BY_SIDE as usize) {
                let floor = workload.ledger().floor(index);
                workload.key(index, &mut key);
                match cache.get(&key).await {
                    Ok(found) => counts.found(workload.judge(index, floor, found.as_deref())),
                    Err(failure) => counts.failed_with(&failure),
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(counts)
        });
    }
    let mut counts = Counts::default();
    all(readers).await?.iter().for_each(|more| counts.add(more));
    Ok(counts)
}

/// Requests under way at once.
const SIDE_BY_SIDE: u32 = 64;
