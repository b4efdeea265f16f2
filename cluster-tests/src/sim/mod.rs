//! A deterministic simulator: one seed, one thread, virtual time.
//!
//! A run draws its faults from its seed ([`Options`]), lets them loose on the cluster for a while, then heals everything
//! and demands that the cluster settles. Every fact of the run passes the invariants. The same seed gives the same run,
//! event by event, so a run is traced only when it is replayed.

mod cluster;
mod mutant;
mod network;
mod options;
mod queue;

use std::fmt;

pub use cluster::Cluster;
pub use mutant::Mutant;
pub use network::{Network, NetworkEvent};
pub use options::Options;
pub use queue::EventQueue;

use crate::invariants::Violation;

/// What happened in a run, line by line, if somebody wants to read it.
#[derive(Debug)]
pub enum Trace {
    /// Nobody does.
    Off,
    /// The lines so far.
    On(Vec<String>),
}

impl Trace {
    /// Appends a line. `line` is not called if nobody reads it.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Self::On(lines) = self {
            lines.push(line());
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many different views were installed, one after the other.
    pub views: usize,
    /// How many processes were in the cluster when the run ended.
    pub formed: usize,
    /// How many were superseded then.
    pub superseded: usize,
    /// How many processes crashed.
    pub crashes: usize,
    /// How many proposals repeated what an earlier ballot had proposed.
    pub adopted: usize,
}

/// A run that broke an invariant.
#[derive(Debug)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
    /// All that happened.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nseed {}: {}", self.trace.join("\n"), self.seed, self.violation)?;
        write!(f, "replay: SIM_SEED={} cargo test -p quoit-cluster-tests --test it genesis", self.seed)
    }
}

/// Runs `seed` with `mutant`'s bug planted.
///
/// # Errors
/// The violation, with the trace of the whole run.
pub fn run(seed: u64, mutant: Mutant) -> Result<Summary, Box<Failure>> {
    Cluster::new(seed, mutant, Trace::Off).run().map_err(|violation| {
        let trace = trace(seed, mutant);
        Box::new(Failure { seed, violation, trace })
    })
}

/// Runs `seed` and returns all that happened.
pub fn trace(seed: u64, mutant: Mutant) -> Vec<String> {
    let mut cluster = Cluster::new(seed, mutant, Trace::On(Vec::new()));
    // The violation is what the caller has already, or does not care for.
    let _ended = cluster.run();
    cluster.into_trace()
}
