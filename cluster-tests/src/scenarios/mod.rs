//! What happens in named situations: each way to return, members that are slow, and the corner cases of the protocol.

pub mod changes;
pub mod corner_cases;
pub mod data;
pub mod gray;
pub mod returns;

use std::time::Duration;

use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// How long anything may take that takes seconds.
const SOON: Duration = Duration::from_secs(30);
/// How long a ring change and what comes with it may take.
const LATER: Duration = Duration::from_secs(120);

/// A settled cluster of `founders`, and `others` who may join.
fn settled(founders: usize, others: usize) -> Result<Cluster, Violation> {
    let options = Options { others, ..Options::calm(founders) };
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.settle(SOON)?;
    Ok(cluster)
}

/// Asserts what a scenario claims.
///
/// # Errors
/// [`Violation`] if `holds` is false.
fn claim(holds: bool, what: impl Into<String>) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new("scenario", what)) }
}

/// A host that does not preside.
fn follower(cluster: &Cluster) -> usize {
    let coordinator = cluster.coordinator();
    (0..).find(|host| Some(*host) != coordinator && cluster.is_up(*host)).unwrap_or(0)
}
