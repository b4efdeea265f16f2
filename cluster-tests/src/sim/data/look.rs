//! What scripts see of the data, and set.

use quoit_core::{replication::Coordinator, store::ShardStats, upkeep::Progress};

use super::{DataSide, judge};
use crate::{invariants::Violation, sim::Cluster};

impl Cluster {
    fn data_of(&self, host: usize) -> Option<&DataSide> {
        self.hosts[host].process.as_ref()?.data.as_deref()
    }

    /// Sets how many bytes of entries the next process of `host` holds at most.
    pub fn set_memory(&mut self, host: usize, bytes: usize) {
        self.hosts[host].memory_bytes = bytes;
    }

    /// How far the process of `host` is with what it does in the background.
    pub fn progress(&self, host: usize) -> Option<Progress> {
        let process = self.hosts[host].process.as_ref()?;
        Some(process.data.as_ref()?.upkeep.progress(process.local(self.now())))
    }

    /// Whether the process of `host` has fetched a part of the slots that it is to own, and not all.
    pub fn is_fetching(&self, host: usize) -> bool {
        let handoff = self.progress(host).and_then(|progress| progress.handoff);
        handoff.is_some_and(|handoff| handoff.bytes > 0 && handoff.slots_left > 0)
    }

    /// What the store of the process of `host` tells of itself.
    pub fn store_stats(&self, host: usize) -> ShardStats {
        self.data_of(host).map(|data| data.store.stats()).unwrap_or_default()
    }

    /// How many requests of clients the process of `host` is carrying out.
    pub fn coordinates(&self, host: usize) -> usize {
        self.data_of(host).map_or(0, |data| data.coordinators.values().map(Coordinator::len).sum())
    }

    /// How many operations of clients were carried out.
    pub fn operations(&self) -> u64 {
        self.summary.operations
    }

    /// Whether all that was promised is there, at every owner but the process of `host`.
    ///
    /// # Errors
    /// What is missing.
    pub fn judge_without(&mut self, host: usize) -> Result<(), Violation> {
        self.note_wall();
        let Some(world) = &mut self.data else { return Ok(()) };
        let mut sides = judge::sides(&self.hosts);
        sides.retain(|side| side.actor.host != host);
        world.checks.judge(self.invariants.ledger(), &sides)
    }
}
