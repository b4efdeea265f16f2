//! Whether a cluster on a bad day, of which nobody fails, is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// What happened while nothing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// How long.
    pub hours: u64,
    /// Members.
    pub members: usize,
    /// Views that were installed after the cluster had settled.
    pub views: usize,
    /// Messages of elections after that.
    pub election_messages: u64,
    /// Members that were called down.
    pub downs: usize,
    /// Datagrams.
    pub datagrams: u64,
}

/// Lets a cluster of `members` run for so many hours at 1 % loss and 1 % of the packets up to 20 ms late.
///
/// # Errors
/// A violation of an invariant.
pub fn measure(members: usize, hours: u64, mut each_minute: impl FnMut(u64)) -> Result<Quiet, Violation> {
    let mut options = Options::calm(members);
    options.network.loss = 0.01;
    (options.network.tail, options.network.tail_most) = (0.01, Duration::from_millis(20));
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.settle(Duration::from_secs(60))?;
    let (before, messages) = (cluster.installs().len(), cluster.elections().0);
    for minute in 0..hours * 60 {
        cluster.run_for(Duration::from_secs(60))?;
        each_minute(minute + 1);
    }
    let later = &cluster.installs()[before..];
    let is_down =
        |change: &&quoit_proto_types::view::Change| matches!(change, quoit_proto_types::view::Change::Down(_));
    let downs = later.iter().map(|(_, view)| view.fields().changes.iter().filter(is_down).count()).sum();
    Ok(Quiet {
        hours,
        members,
        views: later.len(),
        election_messages: cluster.elections().0 - messages,
        downs,
        datagrams: cluster.network_mut().carried.datagrams,
    })
}

impl Quiet {
    /// Whether the cluster was left alone.
    pub fn is_quiet(&self) -> bool {
        (self.views, self.election_messages, self.downs) == (0, 0, 0)
    }

    /// The figures for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "hours": self.hours,
            "members": self.members,
            "views": self.views,
            "election_messages": self.election_messages,
            "downs": self.downs,
            "datagrams": self.datagrams,
        })
    }
}
