//! How long a cluster is without a coordinator when its coordinator is killed.

use std::time::Duration;

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::table;
use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// Times from a kill to the next view that somebody installs.
#[derive(Debug)]
pub struct Failover {
    /// How many members vote.
    pub voters: usize,
    /// How likely a datagram is lost.
    pub loss: f64,
    /// Microseconds.
    pub times: Histogram<u64>,
    /// Messages of the election, in each.
    pub messages: Histogram<u64>,
}

/// The 99th percentile must stay below this, in microseconds.
const P99_MAX: u64 = 1_500_000;

impl Failover {
    /// Whether the next view comes soon enough.
    pub fn is_soon_enough(&self) -> bool {
        self.times.value_at_quantile(0.99) < P99_MAX
    }
}

/// Kills the coordinator of a cluster of `voters` so many times.
///
/// # Errors
/// A violation of an invariant; or that there was no new view in time.
pub fn measure(voters: usize, loss: f64, kills: u64) -> Result<Failover, Violation> {
    let mut failover = Failover { voters, loss, times: histogram(), messages: histogram() };
    let mut options = Options::calm(voters);
    options.network.loss = loss;
    (options.network.tail, options.network.tail_most) = (0.01, Duration::from_millis(20));
    for seed in 0..kills.div_ceil(BATCH) {
        let mut cluster = Cluster::scripted(seed, options.clone(), Mutant::None, Trace::off());
        cluster.settle(Duration::from_secs(30))?;
        for _ in 0..BATCH.min(kills - seed * BATCH) {
            one_kill(&mut cluster, &mut failover)?;
        }
    }
    Ok(failover)
}

/// Kills in one cluster, before a new one is made.
const BATCH: u64 = 10;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

fn one_kill(cluster: &mut Cluster, failover: &mut Failover) -> Result<(), Violation> {
    // Not always at the same moment of a heartbeat.
    let moment = Duration::from_micros(2_000_000 + failover.times.len() * 7_919 % 400_000);
    cluster.run_for(moment)?;
    let Some(killed) = cluster.coordinator() else {
        return Err(Violation::new("failover", "there is no coordinator to kill"));
    };
    let (before, messages, at) = (cluster.epoch(killed), cluster.elections().0, cluster.now());
    cluster.kill(killed)?;
    let installed = |cluster: &Cluster| cluster.installs().last().is_some_and(|(_, view)| view.epoch() > before);
    let installed = cluster.expect("a view after the kill", Duration::from_secs(30), installed)?;
    let took = installed.checked_duration_since(at).unwrap_or_default();
    failover.times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    failover.messages.saturating_record(cluster.elections().0 - messages);
    cluster.boot(killed);
    cluster.run_for(Duration::from_millis(10))?;
    cluster.settle(Duration::from_secs(60))?;
    Ok(())
}

impl Failover {
    fn ms(&self, quantile: f64) -> u64 {
        self.times.value_at_quantile(quantile).div_ceil(1000)
    }

    /// The figures for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "voters": self.voters,
            "loss": self.loss,
            "kills": self.times.len(),
            "p50_ms": self.ms(0.5),
            "p99_ms": self.ms(0.99),
            "max_ms": self.ms(1.0),
            "messages_p50": self.messages.value_at_quantile(0.5),
            "messages_max": self.messages.max(),
        })
    }
}

/// The figures as a table.
pub fn to_table(rows: &[Failover]) -> Table {
    let headings = ["voters", "loss", "kills", "p50 ms", "p99 ms", "max ms", "messages p50", "messages max"];
    let mut table = table(headings);
    for row in rows {
        table.add_row([
            row.voters.to_string(),
            format!("{} %", row.loss * 100.0),
            row.times.len().to_string(),
            row.ms(0.5).to_string(),
            row.ms(0.99).to_string(),
            row.ms(1.0).to_string(),
            row.messages.value_at_quantile(0.5).to_string(),
            row.messages.max().to_string(),
        ]);
    }
    table
}
