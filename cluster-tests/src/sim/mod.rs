//! A deterministic simulator: one seed, one thread, virtual time.
//!
//! A run draws its faults from its seed ([`Options`]), lets them loose on the cluster for a while, then heals everything
//! and demands that the cluster settles. Every fact of the run passes the invariants. The same seed gives the same run,
//! event by event, so a run is traced only when it is replayed.
//!
//! The simulator plays the driver: it carries out what machines want over a network, disks and clocks of its own, and may
//! end a process before any output is carried out.

mod chaos;
mod clock;
mod cluster;
mod data;
mod disk;
mod drive;
mod links;
mod mutant;
mod network;
mod options;
mod plague;
mod process;
mod queue;
mod script;
mod summary;
mod trace;

use std::fmt;

pub use clock::Clock;
pub use cluster::{Cluster, Event};
pub use data::{DataBody, DataFrame, DataOptions, DataSide, DataWorld, Session, Waiting};
pub use disk::{Disk, DiskOptions};
pub use mutant::{DiskBug, Mutant};
pub use network::{Carried, Connection, CutId, End, Network, NetworkEvent, NetworkOptions};
pub use options::Options;
pub use plague::Plague;
pub use process::{Actor, Dial, Host, Process};
pub use queue::EventQueue;
pub use summary::Summary;
pub use trace::Trace;

use quoit_proto_types::view::RingAlgorithm;

use crate::invariants::Violation;
use drive::SLEEP;

/// Which run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// With how many founders, if that is given.
    pub founders: Option<usize>,
    /// Whether the processes have data, and clients.
    pub data: bool,
    /// How the ring is laid out.
    pub ring: RingAlgorithm,
    /// What is planted.
    pub mutant: Mutant,
}

impl Plan {
    /// A run of the control plane alone.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// A run with data.
    pub fn with_data(seed: u64) -> Self {
        Self { seed, data: true, ..Self::default() }
    }

    /// The same run with its ring laid out so.
    #[must_use]
    pub fn on(self, ring: RingAlgorithm) -> Self {
        Self { ring, ..self }
    }

    /// The same run with this planted.
    #[must_use]
    pub fn planted(self, mutant: Mutant) -> Self {
        Self { mutant, ..self }
    }
}

/// A run that broke an invariant.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub plan: Plan,
    /// What broke.
    pub violation: Violation,
}

impl Failure {
    /// The command that replays the run and prints all that happens.
    pub fn replay(&self) -> String {
        let mut command = format!("cargo run -p quoit-cluster-tests --bin sim -- --replay {}", self.plan.seed);
        if self.plan.data {
            command.push_str(" --data");
        }
        if self.plan.ring != RingAlgorithm::default() {
            command.push_str(&format!(" --ring {}", self.plan.ring));
        }
        if let Some(founders) = self.plan.founders {
            command.push_str(&format!(" --members {founders}"));
        }
        if self.plan.mutant != Mutant::None {
            command.push_str(&format!(" --mutant {}", self.plan.mutant));
        }
        command
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.plan.seed, self.violation)?;
        write!(f, "replay: {}", self.replay())
    }
}

/// What a run came to, and the digest of all that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it came to.
    pub summary: Summary,
    /// Two runs that differ anywhere differ here.
    pub digest: u64,
}

/// Runs `plan`.
///
/// # Errors
/// The violation.
pub fn run(plan: Plan) -> Result<Run, Box<Failure>> {
    let mut cluster = Cluster::drawn(plan, Trace::off());
    match cluster.run() {
        Ok(summary) => Ok(Run { summary, digest: cluster.into_trace().1 }),
        Err(violation) => Err(Box::new(Failure { plan, violation })),
    }
}

/// Runs `plan` and returns all that happened, and how it ended.
pub fn replay(plan: Plan) -> (Vec<String>, Result<Summary, Violation>) {
    let mut cluster = Cluster::drawn(plan, Trace::on());
    let ended = cluster.run();
    (cluster.into_trace().0, ended)
}
