//! How often what is asked for is there: eviction policies on traces, at equal bytes.

use std::{fs, hint::black_box, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

pub use self::{
    policies::{Kind, Policy, Quoit, Weigher},
    prototype::Admitting,
    traces::Trace,
};

mod policies;
mod prototype;
mod traces;

/// What a policy came to on a trace.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// Hits of all accesses, in percent.
    pub hit_percent: f64,
    /// Nanoseconds of CPU time of each access, what it costs to store after a miss included: the least of some runs.
    pub access_ns: f64,
}

/// Runs `trace` on caches of this kind that hold `entries` entries of [`WEIGHT_BYTES`], `runs` times. Whoever misses stores.
/// The first fifth of the accesses fills the cache and is not counted.
///
/// # Errors
/// A cache that cannot be made.
pub fn run(kind: Kind, trace: &[u64], entries: usize, runs: usize) -> Result<Outcome> {
    let warm_up = trace.len() / 5;
    let mut best = Outcome { hit_percent: 0.0, access_ns: f64::INFINITY };
    for _ in 0..runs.max(1) {
        let mut policy = Policy::new(kind, entries * WEIGHT_BYTES)?;
        for key in &trace[..warm_up] {
            policy.access(*key);
        }
        policy.settle();
        let before = own_time()?;
        let hits = trace[warm_up..].iter().filter(|key| policy.access(**key)).count();
        let nanoseconds = (own_time()? - before).as_nanos() as f64;
        let counted = (trace.len() - warm_up) as f64;
        black_box(&policy);
        best.hit_percent = hits as f64 / counted * 100.0;
        best.access_ns = best.access_ns.min(nanoseconds / counted);
    }
    Ok(best)
}

/// CPU time of this thread, on which all of them do all of their work: others on the machine do not show in it, but for what they
/// do to the CPU's caches.
fn own_time() -> Result<Duration> {
    const PATH: &str = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    let nanoseconds = text.split(' ').next().unwrap_or_default().parse();
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{PATH} is not as the kernel documents it"))?))
}

/// What each entry costs in every cache: as much as Quoit's store counts for it, so that as many fit in all of them. What the
/// others take beside key and value for themselves is left out.
pub const WEIGHT_BYTES: usize = KEY_BYTES + VALUE_BYTES + 93;
const VALUE_BYTES: usize = 100;
const KEY_BYTES: usize = 16;
